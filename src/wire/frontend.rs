//! Messages from the client, as views that borrow the frame. Each is read once, where it is handled.

use super::name::SHORT_NAME_BYTES;

/// A message's body does not have the form its type prescribes. In the words of pqformat.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A string without its terminator.
    #[error("invalid string in message")]
    String,
    /// The message ends too early.
    #[error("insufficient data left in message")]
    Short,
    /// The message goes on behind its end.
    #[error("invalid message format")]
    Long,
    /// Describe or Close of neither statement nor portal.
    #[error("invalid message subtype")]
    Subtype,
}

/// Parse: a statement to prepare.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    /// Statement name; empty is the unnamed one.
    pub name: &'a [u8],
    /// The statement's text.
    pub text: &'a [u8],
    types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a Parse body (the frame without its header).
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (name, rest) = cstr(body)?;
        let (text, rest) = cstr(rest)?;
        let (count, types) = u16_of(rest)?;
        whole(types, usize::from(count) * 4)?;
        Ok(Parse { name, text, types })
    }

    /// The declared parameter types, 0 for those left to the server.
    pub fn types(&self) -> impl Iterator<Item = u32> + 'a {
        self.types.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Bind: parameters for a statement, making a portal.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    /// Portal name.
    pub portal: &'a [u8],
    /// Statement name.
    pub statement: &'a [u8],
    /// Everything after the statement name's terminator, as far as it is here.
    pub rest: &'a [u8],
    /// Bytes of the message that follow `rest` and are not here; not 0 only if made by [`BindHead::read`].
    pub more_bytes: usize,
    formats: &'a [u8],
    values: &'a [u8],
    /// Formats of the columns asked for; `None` if they are not here.
    results: Option<&'a [u8]>,
    /// Parameters that are wholly here.
    count: u16,
}

/// The beginning of a Bind that is too long to be held.
#[derive(Clone, Copy, Debug)]
pub struct BindHead<'a> {
    /// As much of it as is here.
    pub bind: Bind<'a>,
    /// Parameters in the message.
    count: u16,
    /// Bytes of the body that must be here to see one more parameter.
    pub wanted_bytes: usize,
}

/// A parameter as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundValue<'a> {
    /// NULL.
    Null,
    /// Format 0.
    Text(&'a [u8]),
    /// Format 1.
    Binary(&'a [u8]),
}

impl<'a> Bind<'a> {
    /// Reads a Bind body. Values are checked to lie within the body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (portal, rest) = cstr(body)?;
        let (statement, rest) = cstr(rest)?;
        let (format_count, after) = u16_of(rest)?;
        let (formats, after) = after.split_at_checked(usize::from(format_count) * 2).ok_or(Malformed::Short)?;
        let (count, values) = u16_of(after)?;
        let mut at = values;
        for _ in 0..count {
            at = value(at)?.1;
        }
        let (result_count, results) = u16_of(at)?;
        whole(results, usize::from(result_count) * 2)?;
        Ok(Bind { portal, statement, rest, more_bytes: 0, formats, values, results: Some(results), count })
    }

    /// Parameters in the message.
    pub fn parameter_count(&self) -> usize {
        usize::from(self.count)
    }

    /// Formats of parameters in the message: none, one for all, or one for each.
    pub fn format_count(&self) -> usize {
        self.formats.len() / 2
    }

    /// Codes of the formats of result columns, as they stand in the message.
    pub fn result_formats(&self) -> Vec<i16> {
        let mut at = self.values;
        for _ in 0..self.count {
            let Ok((_, rest)) = value(at) else { return Vec::new() };
            at = rest;
        }
        let codes = at.get(2..).unwrap_or_default().as_chunks::<2>().0;
        codes.iter().map(|code| i16::from_be_bytes(*code)).collect()
    }

    /// Parameter `index`, counted from 0; `None` when not supplied.
    pub fn parameter(&self, index: usize) -> Option<BoundValue<'a>> {
        if index >= usize::from(self.count) {
            return None;
        }
        let mut at = self.values;
        for _ in 0..index {
            at = value(at).ok()?.1;
        }
        Some(self.bound(index, value(at).ok()?.0))
    }

    /// All parameters, in one pass.
    pub fn parameters(&self) -> impl Iterator<Item = BoundValue<'a>> {
        let mut at = self.values;
        (0..usize::from(self.count)).map_while(move |index| {
            let (bytes, rest) = value(at).ok()?;
            at = rest;
            Some(self.bound(index, bytes))
        })
    }

    fn bound(&self, index: usize, value: Option<&'a [u8]>) -> BoundValue<'a> {
        match value {
            None => BoundValue::Null,
            Some(bytes) if self.is_binary(index) => BoundValue::Binary(bytes),
            Some(bytes) => BoundValue::Text(bytes),
        }
    }

    /// Whether parameter `index` is in binary format. One code stands for all; none means text. *Source*: manual, Bind.
    fn is_binary(&self, index: usize) -> bool {
        let formats = self.formats.as_chunks::<2>().0;
        let code = if formats.len() == 1 { formats.first() } else { formats.get(index) };
        code == Some(&[0, 1])
    }

    /// Some parameter is in binary format, or is meant to be.
    pub fn sends_binary(&self) -> bool {
        self.formats.as_chunks::<2>().0.contains(&[0, 1])
    }

    /// Some column is asked for in binary format, or may be: that part of the message is not here.
    pub fn asks_for_binary(&self) -> bool {
        self.results.is_none_or(|results| results.as_chunks::<2>().0.contains(&[0, 1]))
    }

    /// The parameters in binary format that are wholly here, by their index, and where in `rest` each begins.
    pub fn binary_values(&self) -> impl Iterator<Item = (usize, usize, &'a [u8])> {
        let bind = *self;
        let mut at = bind.values;
        (0..usize::from(bind.count)).filter_map(move |index| {
            let (bytes, after) = value(at).ok()?;
            at = after;
            let bytes = bytes.filter(|_| bind.is_binary(index))?;
            let start = (bytes.as_ptr() as usize).checked_sub(bind.rest.as_ptr() as usize)?;
            Some((index, start, bytes))
        })
    }
}

impl Bind<'_> {
    /// The body, to be kept. Only of one that is here whole.
    pub fn whole(&self) -> Box<[u8]> {
        [self.portal, b"\0", self.statement, b"\0", self.rest].concat().into()
    }

    /// How many parameters there are.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// What stands behind the names in a Bind with the same parameters, NULL where `keeps` says no; with the formats of the results
    /// or, if not `results`, all as text.
    pub fn with_values(&self, keeps: impl Fn(usize) -> bool, results: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rest.len());
        let formats = u16::try_from(self.formats.len() / 2).unwrap_or(0);
        out.extend_from_slice(&formats.to_be_bytes());
        out.extend_from_slice(self.formats);
        out.extend_from_slice(&self.count.to_be_bytes());
        let mut at = self.values;
        for index in 0..self.count() {
            let Ok((bytes, rest)) = value(at) else { break };
            let taken = at.len() - rest.len();
            match bytes {
                Some(_) if keeps(index) => out.extend_from_slice(at.get(..taken).unwrap_or_default()),
                Some(_) | None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
            at = rest;
        }
        out.extend_from_slice(if results { at } else { &[0, 0] });
        out
    }
}

impl<'a> BindHead<'a> {
    /// Reads the first bytes of a Bind body of `body_bytes`; `None` when the parameters have not begun yet.
    ///
    /// # Errors
    /// A parameter goes on behind the message's end. What is not here is the server's to check.
    pub fn read(prefix: &'a [u8], body_bytes: usize) -> Result<Option<Self>, Malformed> {
        let Some((mut bind, count)) = Self::beginning(prefix) else { return Ok(None) };
        bind.more_bytes = body_bytes.saturating_sub(prefix.len());
        let mut at = bind.values;
        while bind.count < count {
            let Ok((_, rest)) = value(at) else { break };
            at = rest;
            bind.count += 1;
        }
        let begun = prefix.len() - at.len();
        let length = at.first_chunk::<4>().map(|length| i32::from_be_bytes(*length));
        let value_bytes = match length {
            None | Some(-1) => 0,
            Some(length) => usize::try_from(length).map_err(|_| Malformed::Short)?,
        };
        let wanted_bytes = if bind.count < count { begun.saturating_add(4).saturating_add(value_bytes) } else { begun };
        if wanted_bytes > body_bytes {
            return Err(Malformed::Short);
        }
        Ok(Some(BindHead { bind, count, wanted_bytes }))
    }

    /// Up to the count of parameters, which is returned beside it.
    fn beginning(prefix: &'a [u8]) -> Option<(Bind<'a>, u16)> {
        let (portal, rest) = cstr(prefix).ok()?;
        let (statement, rest) = cstr(rest).ok()?;
        let (format_count, after) = u16_of(rest).ok()?;
        let (formats, after) = after.split_at_checked(usize::from(format_count) * 2)?;
        let (count, values) = u16_of(after).ok()?;
        Some((Bind { portal, statement, rest, more_bytes: 0, formats, values, results: None, count: 0 }, count))
    }

    /// The first `count` parameters, or all there are if fewer, are wholly here.
    pub fn has(&self, count: usize) -> bool {
        usize::from(self.bind.count) >= count.min(usize::from(self.count))
    }
}

/// Describe and Close: a statement (`S`) or a portal (`P`) by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// `S`.
    Statement(&'a [u8]),
    /// `P`.
    Portal(&'a [u8]),
}

impl<'a> Named<'a> {
    /// Reads a Describe or Close body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&kind, rest) = body.split_first().ok_or(Malformed::Short)?;
        let (name, rest) = cstr(rest)?;
        match kind {
            b'S' | b'P' if !rest.is_empty() => Err(Malformed::Long),
            b'S' => Ok(Named::Statement(name)),
            b'P' => Ok(Named::Portal(name)),
            _ => Err(Malformed::Subtype),
        }
    }
}

/// Execute: runs a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Portal name.
    pub portal: &'a [u8],
    /// Rows at the most; 0 is no limit.
    pub rows_max: i32,
}

impl<'a> Execute<'a> {
    /// Reads an Execute body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (portal, rest) = cstr(body)?;
        whole(rest, 4)?;
        let rows_max = i32::from_be_bytes(rest.try_into().map_err(|_| Malformed::Short)?);
        // PostgreSQL takes a negative limit as none. Source: postgres.c, exec_execute_message, "if (max_rows <= 0)".
        Ok(Execute { portal, rows_max: rows_max.max(0) })
    }
}

/// A Query body's text: all but the terminator.
pub fn query(body: &[u8]) -> Result<&[u8], Malformed> {
    let (text, rest) = cstr(body)?;
    if rest.is_empty() { Ok(text) } else { Err(Malformed::Long) }
}

fn whole(bytes: &[u8], length: usize) -> Result<(), Malformed> {
    match bytes.len().cmp(&length) {
        std::cmp::Ordering::Less => Err(Malformed::Short),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Malformed::Long),
    }
}

fn cstr(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    // Most names are short, so that a call costs more than to look.
    let end = match bytes.iter().take(SHORT_NAME_BYTES).position(|byte| *byte == 0) {
        Some(end) => end,
        None => memchr::memchr(0, bytes).ok_or(Malformed::String)?,
    };
    Ok((&bytes[..end], &bytes[end + 1..]))
}

fn u16_of(bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed::Short)?;
    Ok((u16::from_be_bytes(*head), rest))
}

#[allow(clippy::type_complexity)]
fn value(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Short)?;
    match i32::from_be_bytes(*head) {
        -1 => Ok((None, rest)),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed::Short)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Short)?;
            Ok((Some(value), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BIND: &[u8] = b"p\0s\0\0\x01\0\x01\0\x03\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\0\0\0";

    #[test]
    fn one_format_code_stands_for_all_parameters() {
        let bind = Bind::read(BIND).unwrap();
        assert_eq!(bind.parameter(0), Some(BoundValue::Binary(b"hi")));
        assert_eq!(bind.parameter(1), Some(BoundValue::Null));
        assert_eq!(bind.parameter(2), Some(BoundValue::Binary(b"")));
        assert_eq!(bind.parameter(3), None);
    }

    #[test]
    fn binary_values_say_where_they_are() {
        let bind = Bind::read(BIND).unwrap();
        let values: Vec<_> = bind.binary_values().collect();
        assert_eq!(values, [(0, 10, &b"hi"[..]), (2, 20, &b""[..])]);
        assert_eq!(&bind.rest[10..12], b"hi");
        assert!(bind.sends_binary() && !bind.asks_for_binary());
        assert!(BindHead::read(BIND, BIND.len()).unwrap().unwrap().bind.asks_for_binary());
    }

    #[test]
    fn a_bind_is_repeated_without_some_of_its_values() {
        let bind = Bind::read(BIND).unwrap();
        assert_eq!(bind.with_values(|_| true, true), bind.rest);
        assert_eq!(
            bind.with_values(|_| false, false),
            b"\0\x01\0\x01\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0"
        );
    }

    #[test]
    fn every_cut_of_a_bind_is_malformed_and_none_panics() {
        for end in 0..BIND.len() {
            assert!(Bind::read(&BIND[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_head_of_a_bind_has_the_parameters_that_are_whole_and_wants_the_next() {
        let whole = BIND.len();
        let values = BIND.len() - 2 - 4 - 4 - 6;
        for (end, count, wanted) in [(values, 0, 4), (values + 4, 0, 6), (values + 6, 1, 10), (values + 10, 2, 14)] {
            let head = BindHead::read(&BIND[..end], whole).unwrap().unwrap();
            assert!(head.has(count) && !head.has(count + 1), "{end}");
            assert_eq!((head.wanted_bytes, head.bind.more_bytes), (values + wanted, whole - end));
        }
        let head = BindHead::read(&BIND[..values + 6], whole).unwrap().unwrap();
        assert_eq!(head.bind.parameter(0), Some(BoundValue::Binary(b"hi")));
        assert_eq!(head.bind.parameter(1), None);
        assert!(BindHead::read(BIND, whole).unwrap().unwrap().has(usize::MAX));
    }

    #[test]
    fn a_bind_whose_parameters_have_not_begun_has_no_head_yet() {
        for end in 0..BIND.len() - 16 {
            assert!(BindHead::read(&BIND[..end], BIND.len()).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn a_parameter_longer_than_its_bind_is_malformed() {
        assert!(BindHead::read(b"p\0s\0\0\0\0\x01\x7f\xff\xff\xff", 1 << 20).is_err());
        assert!(BindHead::read(b"p\0s\0\0\0\0\x01\xff\xff\xff\xfe", 1 << 20).is_err());
    }

    #[test]
    fn parse_lists_its_types() {
        let parse = Parse::read(b"a\0select 1\0\0\x02\0\0\0\x17\0\0\0\0").unwrap();
        assert_eq!(parse.types().collect::<Vec<_>>(), [23, 0]);
        assert!(Parse::read(b"a\0select 1\0\0\x02\0\0\0\x17").is_err());
    }

    #[test]
    fn describe_of_an_unknown_kind_is_malformed() {
        assert_eq!(Named::read(b"Sx\0"), Ok(Named::Statement(b"x")));
        assert!(Named::read(b"Xx\0").is_err());
        assert!(Named::read(b"").is_err());
    }
}
