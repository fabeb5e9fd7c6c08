//! Queries for one row, with parameters in their literals' places: what servers prepare for texts of a shape.

use bytes::{BufMut, BytesMut};

use crate::catalog::Oid;
use crate::plan::oid;
use crate::pool::expect::StatementId;
use crate::sql::erase::string;
use crate::sql::lift::{Lifted, LiteralKind};

/// The text with its parameters.
#[derive(Debug)]
pub struct Bound {
    /// Names it on servers.
    pub id: StatementId,
    /// As servers prepare it.
    pub text: Box<[u8]>,
    /// Types of the parameters: those that PostgreSQL gives the literals.
    pub types: Box<[Oid]>,
}

impl Bound {
    /// For all texts of this shape.
    pub fn new(id: StatementId, lifted: &Lifted) -> Bound {
        let mut text = Vec::with_capacity(lifted.shape.len() + 4 * lifted.literals.len());
        let mut pieces = lifted.shape.split(|byte| *byte == 0);
        text.extend_from_slice(pieces.next().unwrap_or_default());
        for (number, piece) in (1..).zip(pieces) {
            // With a space on both sides: a string may touch the words beside it.
            text.extend_from_slice(b" $");
            text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            text.push(b' ');
            // Behind the NUL stands the literal's kind.
            text.extend_from_slice(piece.get(1..).unwrap_or_default());
        }
        // Source: parse_node.c, make_const. A string's type is decided by what it is compared with, as a parameter's is.
        let types = lifted.literals.iter().map(|literal| match literal.kind {
            LiteralKind::Int4 => oid::INT4,
            LiteralKind::Int8 => oid::INT8,
            LiteralKind::Decimal => oid::NUMERIC,
            LiteralKind::Text => 0,
        });
        Bound { id, text: text.into(), types: types.collect() }
    }

    /// Writes what follows the names in a Bind that gives these literals as parameters and asks for text.
    pub fn write_values(&self, out: &mut BytesMut, text: &str, lifted: &Lifted) {
        out.put_u16(0);
        out.put_u16(u16::try_from(lifted.literals.len()).unwrap_or(u16::MAX));
        for literal in &lifted.literals {
            let token = literal.token(text);
            let value = if literal.kind == LiteralKind::Text { string(token) } else { token.into() };
            out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(value.as_bytes());
        }
        out.put_u16(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_where_the_literals_stood() {
        let text = "SELECT a FROM t WHERE b='it''s'AND d=5000000000 AND e = 7;";
        let mut lifted = Lifted::default();
        assert!(lifted.read(text.as_bytes()));
        let bound = Bound::new(StatementId(1), &lifted);
        assert_eq!(&*bound.text, b"SELECT a FROM t WHERE b= $1 AND d= $2  AND e =  $3 ;");
        assert_eq!(&*bound.types, [0, oid::INT8, oid::INT4]);
        let mut out = BytesMut::new();
        bound.write_values(&mut out, text, &lifted);
        assert_eq!(&*out, b"\0\0\0\x03\0\0\0\x04it's\0\0\0\x0a5000000000\0\0\0\x017\0\0");
    }
}
