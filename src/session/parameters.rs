//! Parameters of a Bind that the gateway itself sends to several servers.

use bytes::{BufMut, BytesMut};

use crate::wire::frontend::{Bind, BoundValue};

/// Text format's code. *Source*: manual, Bind.
const TEXT: i16 = 0;

/// Binary format's code.
const BINARY: i16 = 1;

/// Values with their formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    values: Vec<(i16, Option<Vec<u8>>)>,
}

impl Parameters {
    /// Those of a client's Bind.
    pub fn of(bind: &Bind<'_>) -> Self {
        let owned = |value| match value {
            BoundValue::Null => (TEXT, None),
            BoundValue::Text(text) => (TEXT, Some(text.to_vec())),
            BoundValue::Binary(bytes) => (BINARY, Some(bytes.to_vec())),
        };
        Parameters { values: bind.parameters().map(owned).collect() }
    }

    /// Of texts.
    pub fn texts(values: impl IntoIterator<Item = Option<String>>) -> Self {
        Parameters { values: values.into_iter().map(|value| (TEXT, value.map(String::into_bytes))).collect() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// An integer; `Some(None)` for NULL, `None` if its type, by number, is no integer or it is not one.
    pub fn integer(&self, index: usize, oid: u32) -> Option<Option<i64>> {
        // int8, int2 and int4. Source: pg_type.dat.
        let (format, value) = self.values.get(index).filter(|_| matches!(oid, 20 | 21 | 23))?;
        let Some(value) = value else { return Some(None) };
        let number = match (*format, value.len()) {
            (TEXT, _) => std::str::from_utf8(value).ok()?.trim().parse().ok()?,
            (_, 2) => i64::from(i16::from_be_bytes(value.as_slice().try_into().ok()?)),
            (_, 4) => i64::from(i32::from_be_bytes(value.as_slice().try_into().ok()?)),
            (_, 8) => i64::from_be_bytes(value.as_slice().try_into().ok()?),
            _ => return None,
        };
        Some(Some(number))
    }

    /// How much memory they take, about.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|(_, value)| size_of_val(value) + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// One more, in binary format.
    pub fn push_binary(&mut self, value: Vec<u8>) {
        self.values.push((BINARY, Some(value)));
    }

    /// The first so many of them.
    pub fn first(&self, count: usize) -> Parameters {
        Parameters { values: self.values.iter().take(count).cloned().collect() }
    }

    /// More of them, NULL until they are set.
    pub fn reserve(&mut self, count: usize) {
        self.values.resize(self.values.len() + count, (BINARY, None));
    }

    /// Sets one, in binary format.
    pub fn set_binary(&mut self, index: usize, value: Option<Vec<u8>>) {
        if let Some(place) = self.values.get_mut(index) {
            *place = (BINARY, value);
        }
    }

    /// What stands behind the names in a Bind: these parameters and the formats of the results.
    pub fn bind_rest(&self, result_formats: &[i16]) -> BytesMut {
        let mut out = BytesMut::new();
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        out.put_u16(count(self.values.len()));
        self.values.iter().for_each(|(format, _)| out.put_i16(*format));
        out.put_u16(count(self.values.len()));
        for (_, value) in &self.values {
            match value {
                None => out.put_i32(-1),
                Some(bytes) => {
                    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                    out.extend_from_slice(bytes);
                }
            }
        }
        out.put_u16(count(result_formats.len()));
        result_formats.iter().for_each(|format| out.put_i16(*format));
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut parameters = Parameters::texts([Some("7".to_owned()), None]);
        parameters.push_binary(vec![1, 2]);
        let body = [b"p\0s\0".as_slice(), &parameters.bind_rest(&[1])].concat();
        let bind = Bind::read(&body).unwrap();
        assert_eq!(Parameters::of(&bind), parameters);
        assert_eq!(bind.result_formats(), [1]);
    }

    #[test]
    fn integers_are_read_in_both_formats() {
        let mut parameters = Parameters::texts([Some(" 7".to_owned()), None, Some("x".to_owned())]);
        parameters.push_binary(vec![0xff, 0xff]);
        let read = [0, 1, 2, 3, 4].map(|index| parameters.integer(index, 20));
        assert_eq!(read, [Some(Some(7)), Some(None), None, Some(Some(-1)), None]);
        assert_eq!(parameters.integer(0, 25), None);
    }
}
