//! Values in binary, as bytes with their numbers.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

/// Any value as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn of(bytes: impl AsRef<[u8]>) -> Raw {
        Raw { bytes: bytes.as_ref().to_vec() }
    }
}

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw::of(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of `pair AS (a int, m mood, ms mood[])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub a: i32,
    pub m: String,
    pub ms: Vec<String>,
}

impl ToSql for Pair {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Kind::Composite(fields) = ty.kind() else { return Err("no composite".into()) };
        let moods: Vec<Raw> = self.ms.iter().map(Raw::of).collect();
        let values: [&dyn ToSql; 3] = [&self.a, &Raw::of(&self.m), &moods];
        out.put_i32(3);
        for (field, value) in fields.iter().zip(values) {
            let mut bytes = BytesMut::new();
            value.to_sql_checked(field.type_(), &mut bytes)?;
            out.put_u32(field.type_().oid());
            out.put_i32(i32::try_from(bytes.len())?);
            out.extend_from_slice(&bytes);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "pair"
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Pair {
    /// Believes nothing: each number must be that of the type that pg_type led to.
    fn from_sql(ty: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let Kind::Composite(fields) = ty.kind() else { return Err("no composite".into()) };
        let mut rest = bytes.get(4..).ok_or("short")?;
        let mut values = Vec::new();
        for field in fields {
            let (number, after) = rest.split_first_chunk::<4>().ok_or("short")?;
            if u32::from_be_bytes(*number) != field.type_().oid() {
                return Err(format!("{} has another number", field.name()).into());
            }
            let (length, after) = after.split_first_chunk::<4>().ok_or("short")?;
            let (value, after) = after.split_at(usize::try_from(i32::from_be_bytes(*length))?);
            values.push(value);
            rest = after;
        }
        if let Kind::Array(element) = fields[2].type_().kind()
            && header_type(values[2]) != element.oid()
        {
            return Err("an array's elements have another number".into());
        }
        let moods = Vec::<Raw>::from_sql(fields[2].type_(), values[2])?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Pair {
            a: i32::from_be_bytes(values[0].try_into()?),
            m: text(values[1]),
            ms: moods.iter().map(|mood| text(&mood.bytes)).collect(),
        })
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "pair"
    }
}

/// The number of its elements' type in an array's header.
pub fn header_type(array: &[u8]) -> u32 {
    u32::from_be_bytes(array[8..12].try_into().unwrap())
}
