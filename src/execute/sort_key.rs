//! Values that rows are sorted by, compared as PostgreSQL compares them, as they came. Only types whose order the gateway can
//! reproduce exactly have a [`KeyKind`].
//!
//! *Source*: PostgreSQL 15, utils/adt: int.c, float.c (float8_cmp_internal), numeric.c (cmp_numerics, numeric_send), timestamp.c
//! (interval_cmp_internal), date.c (timetz_cmp_internal), varlena.c (varstr_cmp, collate_c), varchar.c (bpcharcmp), bytea.c, uuid.c, mac.c.

use std::cmp::Ordering;

/// How values of a type are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `int2`, `int4`, `int8`.
    Integer,
    /// `date`, `time`, `timestamp`, `timestamptz`, `money`: a signed number in binary format.
    Signed,
    /// `oid`.
    Unsigned,
    /// `float4`, `float8`.
    Float,
    /// `numeric`.
    Numeric,
    /// `interval`.
    Interval,
    /// `timetz`.
    TimeTz,
    /// Bytes in both formats: `bool` (`f`, `t`; 0, 1), `uuid`, and text compared by bytes.
    Bytes,
    /// Bytes in binary format: `bytea`, `macaddr`, `macaddr8`.
    BinaryBytes,
    /// `char(n)` compared by bytes: blanks at its end do not count.
    Padded,
}

/// How the values of a column came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// As PostgreSQL prints them.
    Text,
    /// Binary.
    Binary,
}

impl KeyKind {
    /// Of a type; text is compared by bytes if `bytewise`. *Source*: pg_type.dat.
    pub fn of(oid: u32, bytewise: bool) -> Option<KeyKind> {
        Some(match oid {
            20 | 21 | 23 => KeyKind::Integer,
            1082 | 1083 | 1114 | 1184 | 790 => KeyKind::Signed,
            26 => KeyKind::Unsigned,
            700 | 701 => KeyKind::Float,
            1700 => KeyKind::Numeric,
            1186 => KeyKind::Interval,
            1266 => KeyKind::TimeTz,
            16 | 2950 => KeyKind::Bytes,
            17 | 829 | 774 => KeyKind::BinaryBytes,
            25 | 1043 | 19 if bytewise => KeyKind::Bytes,
            1042 if bytewise => KeyKind::Padded,
            _ => return None,
        })
    }

    /// Whether what PostgreSQL prints tells the order, whatever the settings are.
    pub fn reads_text(self) -> bool {
        match self {
            KeyKind::Integer | KeyKind::Unsigned | KeyKind::Bytes | KeyKind::Padded => true,
            KeyKind::Signed
            | KeyKind::Float
            | KeyKind::Numeric
            | KeyKind::Interval
            | KeyKind::TimeTz
            | KeyKind::BinaryBytes => false,
        }
    }

    /// A number that orders values as far as it goes, and whether equal numbers mean equal values. `None`: no such value.
    pub fn lead(self, format: KeyFormat, value: &[u8]) -> Option<(u64, bool)> {
        Some(match self {
            KeyKind::Integer | KeyKind::Signed => (above_sign(number(format, value)?), true),
            KeyKind::Unsigned => (unsigned(format, value)?, true),
            KeyKind::Float => (float(value)?, true),
            KeyKind::Numeric => (Numeric::read(value)?.lead(), false),
            KeyKind::Interval => {
                // Days at the most 2^31 months of 30 days: 66 bits of microseconds, of which the lower ones are left out.
                let wide = interval(value)? >> 16;
                (above_sign(i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })), false)
            }
            KeyKind::TimeTz => (above_sign(time_tz(value)?.0), false),
            KeyKind::Bytes | KeyKind::BinaryBytes => (first_bytes(value), false),
            // A blank left out and a smaller byte in its place are told apart by the full comparison.
            KeyKind::Padded => (first_bytes(unpadded(value)), false),
        })
    }

    /// Compares two values of a column. What is no value of the type is equal to everything; [`KeyKind::lead`] has refused it.
    pub fn compare(self, format: KeyFormat, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            KeyKind::Integer | KeyKind::Signed => both(a, b, |value| number(format, value)),
            KeyKind::Unsigned => both(a, b, |value| unsigned(format, value)),
            KeyKind::Float => both(a, b, float),
            KeyKind::Numeric => both(a, b, Numeric::read),
            KeyKind::Interval => both(a, b, interval),
            KeyKind::TimeTz => both(a, b, time_tz),
            KeyKind::Bytes | KeyKind::BinaryBytes => a.cmp(b),
            KeyKind::Padded => unpadded(a).cmp(unpadded(b)),
        }
    }
}

fn both<'a, T: Ord>(a: &'a [u8], b: &'a [u8], read: impl Fn(&'a [u8]) -> Option<T>) -> Ordering {
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    }
}

/// Order-preserving.
fn above_sign(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

fn number(format: KeyFormat, value: &[u8]) -> Option<i64> {
    match format {
        KeyFormat::Text => digits(value),
        KeyFormat::Binary => match value.len() {
            2 => Some(i64::from(i16::from_be_bytes(value.try_into().ok()?))),
            4 => Some(i64::from(i32::from_be_bytes(value.try_into().ok()?))),
            8 => Some(i64::from_be_bytes(value.try_into().ok()?)),
            _ => None,
        },
    }
}

fn unsigned(format: KeyFormat, value: &[u8]) -> Option<u64> {
    match format {
        KeyFormat::Text => u64::try_from(digits(value)?).ok(),
        KeyFormat::Binary => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
    }
}

fn digits(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// NaN is above all and equal to itself; the zeros are equal.
fn float(value: &[u8]) -> Option<u64> {
    let value = match value.len() {
        4 => f64::from(f32::from_be_bytes(value.try_into().ok()?)),
        8 => f64::from_be_bytes(value.try_into().ok()?),
        _ => return None,
    };
    if value.is_nan() {
        return Some(u64::MAX);
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    Some(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
}

/// A month counts 30 days, a day 24 hours.
fn interval(value: &[u8]) -> Option<i128> {
    let (time, rest) = value.split_first_chunk::<8>()?;
    let (days, rest) = rest.split_first_chunk::<4>()?;
    let months: &[u8; 4] = rest.try_into().ok()?;
    let days = i64::from(i32::from_be_bytes(*days)) + 30 * i64::from(i32::from_be_bytes(*months));
    Some(i128::from(i64::from_be_bytes(*time)) + i128::from(days) * 86_400_000_000)
}

/// The moment, then the zone: seconds west of Greenwich, as sent.
fn time_tz(value: &[u8]) -> Option<(i64, i32)> {
    let (time, zone) = value.split_first_chunk::<8>()?;
    let zone = i32::from_be_bytes(zone.try_into().ok()?);
    Some((i64::from_be_bytes(*time).checked_add(i64::from(zone) * 1_000_000)?, zone))
}

fn first_bytes(value: &[u8]) -> u64 {
    let mut first = [0; 8];
    let count = value.len().min(8);
    first[..count].copy_from_slice(&value[..count]);
    u64::from_be_bytes(first)
}

fn unpadded(value: &[u8]) -> &[u8] {
    let blanks = value.iter().rev().take_while(|byte| **byte == b' ').count();
    &value[..value.len() - blanks]
}

/// A `numeric` in binary format: digits of base 10,000, the first of which stands for `10,000 ^ weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numeric<'a> {
    class: Class,
    weight: i16,
    /// Without zeros in front or behind.
    digits: &'a [[u8; 2]],
}

/// In their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    MinusInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

impl<'a> Numeric<'a> {
    fn read(value: &'a [u8]) -> Option<Numeric<'a>> {
        // Number of digits (2), weight (2), sign (2), scale (2), which does not count: 1.0 is 1.00.
        let (head, rest) = value.split_first_chunk::<8>()?;
        let [_, _, w, e, s, i, _, _] = *head;
        let (mut digits, left) = rest.as_chunks::<2>();
        if !left.is_empty() {
            return None;
        }
        let mut weight = i16::from_be_bytes([w, e]);
        while let [[0, 0], others @ ..] = digits {
            digits = others;
            weight = weight.saturating_sub(1);
        }
        while let [others @ .., [0, 0]] = digits {
            digits = others;
        }
        let class = match u16::from_be_bytes([s, i]) {
            0x0000 if digits.is_empty() => Class::Zero,
            0x4000 if digits.is_empty() => Class::Zero,
            0x0000 => Class::Positive,
            0x4000 => Class::Negative,
            0xc000 => Class::NaN,
            0xd000 => Class::Infinity,
            0xf000 => Class::MinusInfinity,
            _ => return None,
        };
        Some(Numeric { class, weight, digits })
    }

    /// Class, weight and the first two digits.
    fn lead(&self) -> u64 {
        let digit = |at: usize| self.digits.get(at).map_or(0, |digit| u64::from(u16::from_be_bytes(*digit)));
        let weight = u64::from(self.weight.cast_unsigned() ^ 0x8000);
        let size = weight << 32 | digit(0) << 16 | digit(1);
        let class = (self.class as u64) << 48;
        match self.class {
            Class::Positive => class | size,
            Class::Negative => class | (size ^ 0xffff_ffff_ffff),
            Class::MinusInfinity | Class::Zero | Class::Infinity | Class::NaN => class,
        }
    }
}

impl Ord for Numeric<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.weight.cmp(&other.weight).then_with(|| self.digits.cmp(other.digits));
        self.class.cmp(&other.class).then_with(|| match self.class {
            Class::Positive => size(),
            Class::Negative => size().reverse(),
            Class::MinusInfinity | Class::Zero | Class::Infinity | Class::NaN => Ordering::Equal,
        })
    }
}

impl PartialOrd for Numeric<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use KeyFormat::{Binary, Text};

    /// Each value is smaller than the next, by the full comparison, and not larger by the short one.
    fn check(kind: KeyKind, format: KeyFormat, values: &[Vec<u8>]) {
        for (at, a) in values.iter().enumerate() {
            for (other, b) in values.iter().enumerate() {
                assert_eq!(kind.compare(format, a, b), at.cmp(&other), "{kind:?} {a:?} {b:?}");
                let leads = [a, b].map(|value| kind.lead(format, value).unwrap());
                assert!(leads[0].0.cmp(&leads[1].0) as i8 * at.cmp(&other) as i8 >= 0, "{kind:?} {a:?} {b:?}");
                assert!(!leads[0].1 || (leads[0].0 == leads[1].0) == (at == other), "{kind:?} {a:?} {b:?}");
            }
        }
    }

    fn numeric(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
        let head = [u16::try_from(digits.len()).unwrap(), weight.cast_unsigned(), sign, 0];
        head.iter().chain(digits).flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_compared_by_value_in_both_formats() {
        check(KeyKind::Integer, Text, &[b"-20".to_vec(), b"-3".to_vec(), b"0".to_vec(), b"7".to_vec(), b"10".to_vec()]);
        let four = |value: i32| value.to_be_bytes().to_vec();
        check(KeyKind::Signed, Binary, &[four(i32::MIN), four(-1), four(0), four(i32::MAX)]);
        check(KeyKind::Unsigned, Binary, &[four(0), four(i32::MAX), four(-1)]);
    }

    #[test]
    fn nan_is_above_infinity_and_the_zeros_are_equal() {
        let eight = |value: f64| value.to_be_bytes().to_vec();
        let values = [f64::NEG_INFINITY, -2.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN];
        check(KeyKind::Float, Binary, &values.map(eight));
        assert_eq!(KeyKind::Float.compare(Binary, &eight(0.0), &eight(-0.0)), Ordering::Equal);
        assert_eq!(KeyKind::Float.compare(Binary, &eight(-f64::NAN), &eight(f64::NAN)), Ordering::Equal);
        assert_eq!(KeyKind::Float.compare(Binary, &(-1.5f32).to_be_bytes(), &1.5f32.to_be_bytes()), Ordering::Less);
    }

    #[test]
    fn numerics_are_compared_by_value_not_by_scale() {
        let values = [
            numeric(0, 0xf000, &[]),
            numeric(1, 0x4000, &[1, 1]),
            numeric(1, 0x4000, &[1]),
            numeric(0, 0x4000, &[9999]),
            numeric(-1, 0x4000, &[5]),
            numeric(0, 0, &[]),
            numeric(-2, 0, &[9999]),
            numeric(-1, 0, &[5]),
            numeric(0, 0, &[1]),
            numeric(0, 0, &[1, 0, 0, 1]),
            numeric(0, 0, &[1, 1]),
            numeric(1, 0, &[1]),
            numeric(0, 0xd000, &[]),
            numeric(0, 0xc000, &[]),
        ];
        check(KeyKind::Numeric, Binary, &values);
        assert_eq!(KeyKind::Numeric.compare(Binary, &numeric(0, 0, &[1, 0]), &numeric(1, 0, &[0, 1])), Ordering::Equal);
    }

    #[test]
    fn a_month_is_thirty_days_and_a_day_is_24_hours() {
        let interval = |months: i32, days: i32, time: i64| {
            [&time.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
        };
        let day = 86_400_000_000;
        let values =
            [interval(i32::MIN, 0, 0), interval(-1, 29, 0), interval(0, 0, 5), interval(0, 1, 0), interval(1, 0, 1)];
        check(KeyKind::Interval, Binary, &[&values[..], &[interval(i32::MAX, i32::MAX, i64::MAX)]].concat());
        assert_eq!(KeyKind::Interval.compare(Binary, &interval(1, 0, 0), &interval(0, 29, day)), Ordering::Equal);
    }

    #[test]
    fn times_with_zones_are_compared_by_moment_then_zone() {
        let time = |time: i64, zone: i32| [&time.to_be_bytes()[..], &zone.to_be_bytes()].concat();
        let hour = 3_600_000_000;
        check(KeyKind::TimeTz, Binary, &[time(hour, 0), time(2 * hour, 0), time(0, 7200 + 1), time(4 * hour, 0)]);
        assert_eq!(KeyKind::TimeTz.compare(Binary, &time(2 * hour, 0), &time(hour, 3600)), Ordering::Less);
    }

    #[test]
    fn bytes_are_compared_one_by_one_and_blanks_at_the_end_of_char_do_not_count() {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        check(KeyKind::Bytes, Text, &texts(&["", "A", "Ab", "a", "a ", "abcdefgh", "abcdefghi", "é"]));
        check(KeyKind::Bytes, Text, &[vec![], vec![0], vec![0, 0]]);
        check(KeyKind::Padded, Binary, &texts(&["  ", "a ", "a\t", "b  "]));
        assert_eq!(KeyKind::Padded.compare(Text, b"a  ", b"a"), Ordering::Equal);
        assert_eq!(KeyKind::Padded.compare(Text, b"a\t", b"a "), Ordering::Greater);
    }

    #[test]
    fn types_in_an_unknown_order_have_no_kind() {
        // jsonb, int4[], inet, and text in any collation.
        assert!([3802, 1007, 869, 25].iter().all(|oid| KeyKind::of(*oid, false).is_none()));
    }
}
