//! Literals lifted out of a text -> keys, by the rules by which constants become keys.

use shardmap::Key;

use super::built_in::oid;
use super::key::{self, Class};
use super::write::insert::relative_time;
use super::{Arguments, NullKey, Pin, value};
use crate::catalog::Oid;
use crate::sql::erase::{self, Erased};
use crate::sql::lift::{Literal, LiteralKind};

/// A literal that is a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiteralKey {
    /// Which literal.
    pub literal: Erased,
    /// What it is compared as.
    pub class: Class,
    /// The integer type it is cast to, whose range it must keep.
    pub type_oid: Option<Oid>,
}

impl LiteralKey {
    /// `None` for a literal that is a key's value in no text: see `Builder::literal`, which says the same of constants.
    pub fn new(literal: Erased, class: Class, type_oid: Option<Oid>) -> Option<LiteralKey> {
        match (literal.kind, class) {
            (LiteralKind::Int4 | LiteralKind::Int8, Class::Integer) | (LiteralKind::Text, _) => {
                Some(LiteralKey { literal, class, type_oid })
            }
            (LiteralKind::Int4 | LiteralKind::Int8 | LiteralKind::Decimal, _) => None,
        }
    }

    /// The key, in a text with these literals, as it is compared or stored; `None` when the text must be planned by itself.
    pub fn key(&self, pin: &Pin, arguments: &dyn Arguments) -> Option<Key> {
        let (kind, token) = arguments.literal(self.literal.slot).filter(|(kind, _)| *kind == self.literal.kind)?;
        let key = match kind {
            LiteralKind::Int4 | LiteralKind::Int8 => {
                let value: i64 = token.parse().ok()?;
                Key::Integer(if self.literal.negative { -value } else { value })
            }
            LiteralKind::Text => self.class.parse(&erase::string(token))?,
            LiteralKind::Decimal => return None,
        };
        if !value::in_range(&key, self.type_oid.unwrap_or(oid::UNKNOWN)) {
            return None;
        }
        match pin.null {
            NullKey::Nothing => Some(key),
            NullKey::Refused(_) => key::stored(key, pin.key_type),
        }
    }
}

/// A text's literals as arguments.
#[derive(Clone, Copy, Debug)]
pub struct Literals<'a> {
    /// The text.
    pub text: &'a str,
    /// Its literals.
    pub literals: &'a [Literal],
}

impl Literals<'_> {
    /// Whether one may be read as the time of reading.
    pub fn has_moment(&self) -> bool {
        let mut texts = self.literals.iter().filter(|literal| literal.kind == LiteralKind::Text);
        texts.any(|literal| relative_time(&erase::string(literal.token(self.text))))
    }
}

impl Arguments for Literals<'_> {
    fn argument(&self, _: usize) -> super::Argument<'_> {
        super::Argument::Missing
    }

    fn resolved_type(&self, _: usize) -> Option<Oid> {
        None
    }

    fn literal(&self, slot: usize) -> Option<(LiteralKind, &str)> {
        let literal = self.literals.get(slot)?;
        Some((literal.kind, literal.token(self.text)))
    }
}
