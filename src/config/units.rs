//! Durations and sizes as people write them. Units and spelling are those of `postgresql.conf`.
//!
//! *Source*: PostgreSQL 15 manual, 20.1.1 "Parameter Names and Values".

use std::time::Duration;

/// `500ms`, `10s`, `5min`, `1h`, `7d`. The message names the units when the text is something else.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!("`{text}` is not a duration: write a number with ms, s, min, h or d, such as \"10s\""));
        }
    };
    number.and_then(|number| number.checked_mul(milliseconds)).map(Duration::from_millis).ok_or_else(|| {
        format!("`{text}` is not a duration: write a whole number with ms, s, min, h or d, such as \"10s\"")
    })
}

/// `4096B`, `64kB`, `64MB`, `1GB`, powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size: write a number with B, kB, MB or GB, such as \"64MB\"")),
    };
    number
        .and_then(|number: u64| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is not a size: write a whole number with B, kB, MB or GB, such as \"64MB\""))
}

fn split(text: &str) -> (Option<u64>, &str) {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_units_of_postgresql_conf() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10 s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "10", "10m", "1.5s", "-1s", "10sec", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("64MB"), Ok(64 << 20));
        assert_eq!(bytes("1 kB"), Ok(1024));
        assert_eq!(bytes("10"), Ok(10));
        assert_eq!(bytes("2GB"), Ok(2 << 30));
        for text in ["", "MB", "1mb", "1TBs", "18446744073709551615GB", "-1MB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
