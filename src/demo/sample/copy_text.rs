//! Rows in COPY's text format, written straight into one buffer: nothing is allocated per field.
//!
//! *Source*: manual of PostgreSQL 15, COPY, "Text Format".

/// Seconds in a day.
pub const DAY: u64 = 86_400;

/// Rows being written.
#[derive(Debug, Default)]
pub struct CopyText {
    bytes: Vec<u8>,
    in_row: bool,
}

impl CopyText {
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out what has been written and begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        let next = Vec::with_capacity(self.bytes.len());
        std::mem::replace(&mut self.bytes, next)
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        self.bytes.push(b'\n');
        self.in_row = false;
    }

    /// NULL.
    pub fn null(&mut self) -> &mut CopyText {
        self.field().raw("\\N")
    }

    /// Begins a field of which the content comes in pieces.
    pub fn field(&mut self) -> &mut CopyText {
        if self.in_row {
            self.bytes.push(b'\t');
        }
        self.in_row = true;
        self
    }

    /// A piece of a field, as it is: without backslash, tab or line end unless they are meant for COPY.
    pub fn raw(&mut self, text: &str) -> &mut CopyText {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// A whole number, as a piece of a field.
    pub fn digits(&mut self, value: u64) -> &mut CopyText {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value);
        self.raw(text)
    }

    /// A number with leading zeros, as a piece of a field.
    pub fn padded(&mut self, value: u64, width: u32) -> &mut CopyText {
        for place in (0..width).rev() {
            let digit = value / 10_u64.pow(place) % 10;
            self.bytes.push(b'0' + digit as u8);
        }
        self
    }

    /// Bytes as hexadecimal digits, as a piece of a field.
    pub fn hex(&mut self, value: u64, digits: u32) -> &mut CopyText {
        for place in (0..digits).rev() {
            let digit = (value >> (4 * place)) & 15;
            self.bytes.push(b"0123456789abcdef"[digit as usize]);
        }
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut CopyText {
        self.field().raw(text)
    }

    /// A whole number.
    pub fn integer(&mut self, value: u64) -> &mut CopyText {
        self.field().digits(value)
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) -> &mut CopyText {
        self.text(if value { "t" } else { "f" })
    }

    /// A numeric with two digits after the point, given in hundredths.
    pub fn money(&mut self, hundredths: u64) -> &mut CopyText {
        self.field().digits(hundredths / 100).raw(".").padded(hundredths % 100, 2)
    }

    /// A date, given in days since 1970.
    pub fn date(&mut self, days: u64) -> &mut CopyText {
        let (year, month, day) = civil(days);
        self.field().padded(year, 4).raw("-").padded(month, 2).raw("-").padded(day, 2)
    }

    /// A timestamptz, given in seconds since 1970.
    pub fn timestamp(&mut self, seconds: u64) -> &mut CopyText {
        let clock = seconds % DAY;
        self.date(seconds / DAY).raw(" ").padded(clock / 3600, 2).raw(":");
        self.padded(clock / 60 % 60, 2).raw(":").padded(clock % 60, 2).raw("+00")
    }

    /// A uuid of version 4, made of random bits.
    pub fn uuid(&mut self, high: u64, low: u64) -> &mut CopyText {
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(3 << 62)) | (1 << 63);
        self.field().hex(high >> 32, 8).raw("-").hex(high >> 16, 4).raw("-").hex(high, 4);
        self.raw("-").hex(low >> 48, 4).raw("-").hex(low, 12)
    }
}

/// Year, month and day of a number of days since 1970.
///
/// *Source*: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days, for days from 1970 on.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(write: impl FnOnce(&mut CopyText)) -> String {
        let mut text = CopyText::default();
        write(&mut text);
        String::from_utf8(text.take()).unwrap()
    }

    #[test]
    fn fields_are_separated_and_rows_ended() {
        let text = written(|rows| {
            rows.integer(7).null().text("Zoë").boolean(true).money(12_305);
            rows.end_row();
            rows.integer(8);
            rows.end_row();
        });
        assert_eq!(text, "7\t\\N\tZoë\tt\t123.05\n8\n");
    }

    #[test]
    fn dates_are_right_around_leap_days_and_new_year() {
        assert_eq!(
            written(|rows| {
                rows.date(0);
            }),
            "1970-01-01"
        );
        assert_eq!(
            written(|rows| {
                rows.date(19_782);
            }),
            "2024-02-29"
        );
        assert_eq!(
            written(|rows| {
                rows.date(19_783);
            }),
            "2024-03-01"
        );
        assert_eq!(
            written(|rows| {
                rows.timestamp(1_735_689_599);
            }),
            "2024-12-31 23:59:59+00"
        );
        assert_eq!(
            written(|rows| {
                rows.timestamp(1_735_689_600);
            }),
            "2025-01-01 00:00:00+00"
        );
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let text = written(|rows| {
            rows.uuid(u64::MAX, 0x0123_4567_89ab_cdef);
        });
        assert_eq!(text, "ffffffff-ffff-4fff-8123-456789abcdef");
    }
}
