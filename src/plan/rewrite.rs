//! Statements whose text must change before it can run on several shards: values to be computed once, for all of them, and rows
//! that belong to different shards.

use std::ops::Range;

use super::Target;
use crate::sql::values::Row;

/// A statement some of whose values a server must compute before it can be routed, or so that all shards get the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// What is to be computed, as a select list.
    pub expressions: Vec<String>,
    /// What becomes of the text with the values.
    pub edits: Vec<Edit>,
    /// Numbers are drawn: the home shard's are the cluster's.
    pub draws: bool,
    /// Who knows the values.
    pub values: Values,
    /// Length of the statement that the edits are for; what is sent may have blanks before it.
    pub statement_bytes: usize,
    /// When that is necessary.
    pub when: When,
}

/// Who knows the values of a [`Computed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// A server computes the expressions.
    Computed,
    /// The server that has drawn the numbers they ask for. Without edits the statement itself runs there.
    Remembered,
    /// The gateway: its only value is a list of the transactions that are in doubt.
    InDoubt,
    /// The gateway: its only value is a list of the statements that the session has prepared.
    Prepared,
}

/// When values must be computed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Always: the plan depends on them. The statement with the values is planned anew.
    Always,
    /// Always, and what the statement becomes takes several steps.
    Anew,
    /// If the statement, which has this target, runs on several shards.
    Several(Box<Target>),
}

/// A change of a statement's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the statement that are replaced; empty to insert.
    pub range: Range<usize>,
    /// By what.
    pub pieces: Vec<Piece>,
}

/// A part of what replaces bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// The value of this expression, as a literal.
    Value(usize),
}

/// Types whose text is the same under all settings of `extra_float_digits`.
const IN_FULL: [&str; 19] = [
    "bool",
    "bpchar",
    "bytea",
    "date",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "name",
    "numeric",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varchar",
];

/// Expressions in one SELECT; PostgreSQL takes 1,664. *Source*: access/htup_details.h, MaxTupleAttributeNumber.
const TARGETS_MAX: usize = 1_000;

impl Computed {
    /// The SELECTs that compute the values, each in one row.
    pub fn queries(&self) -> impl Iterator<Item = (String, usize)> {
        self.expressions.chunks(TARGETS_MAX).map(|part| (format!("SELECT {}", part.join(", ")), part.len()))
    }

    /// Whether a setting may have a value printed with fewer digits than it has: what is cast to a type that may hold floating-point numbers.
    pub fn may_be_rounded(&self) -> bool {
        let cast = |expression: &String| expression.rsplit_once("::").map(|(_, name)| name.to_owned());
        let types = self.expressions.iter().filter_map(cast).filter(|name| !name.ends_with(')'));
        types.into_iter().any(|name| name.strip_prefix("pg_catalog.").is_none_or(|name| !IN_FULL.contains(&name)))
    }

    /// The statement with the values in it.
    pub fn apply(&self, text: &[u8], values: &[Option<String>]) -> Vec<u8> {
        let base = text.len().saturating_sub(self.statement_bytes);
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut at = 0;
        for edit in &self.edits {
            let (start, end) = (base + edit.range.start, base + edit.range.end);
            out.extend_from_slice(text.get(at..start).unwrap_or_default());
            for piece in &edit.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Value(index) => match values.get(*index) {
                        Some(Some(value)) => out.extend_from_slice(literal(value).as_bytes()),
                        Some(None) | None => out.extend_from_slice(b"NULL"),
                    },
                }
            }
            at = end;
        }
        out.extend_from_slice(text.get(at..).unwrap_or_default());
        out
    }
}

/// A string constant. Backslashes are what they seem: sessions with `standard_conforming_strings` off are refused.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// An identifier, quoted.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Above this the rows of other shards are cut out instead of blanked: the place that an error points to is then another.
const BLANKED_BYTES: usize = 16 * 1024;

/// An INSERT whose rows may live on several shards: each gets the statement with its own rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The rows' places in the statement.
    pub rows: Vec<Row>,
    /// As in [`Computed`].
    pub statement_bytes: usize,
}

impl Split {
    /// The statement with the rows for which `keeps` says so. Where it is short, what stays keeps its place, so that errors
    /// point where they should.
    pub fn text(&self, text: &[u8], keeps: impl Fn(usize) -> bool) -> Vec<u8> {
        let base = text.len().saturating_sub(self.statement_bytes);
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return text.to_vec() };
        let blanks = text.len() <= BLANKED_BYTES;
        let bytes = |range: Range<usize>| text.get(base + range.start..base + range.end).unwrap_or_default();
        let mut out = text.get(..base + first.range.start).unwrap_or_default().to_vec();
        let blank = |out: &mut Vec<u8>, range: Range<usize>| {
            if blanks {
                out.extend(bytes(range).iter().filter(|byte| (**byte & 0xc0) != 0x80).map(|_| b' '));
            }
        };
        let (mut at, mut any) = (first.range.start, false);
        for (index, row) in self.rows.iter().enumerate() {
            if !keeps(index) {
                continue;
            }
            if std::mem::replace(&mut any, true) {
                blank(&mut out, at..row.comma);
                out.push(b',');
                at = row.comma + 1;
            }
            blank(&mut out, at..row.range.start);
            out.extend_from_slice(bytes(row.range.clone()));
            at = row.range.end;
        }
        blank(&mut out, at..last.range.end);
        out.extend_from_slice(text.get(base + last.range.end..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sql::values;

    #[test]
    fn each_shard_gets_its_rows_where_they_stood() {
        let text = "INSERT INTO t VALUES (1, 'é'), (2, 'b'), (3, 'c') RETURNING a";
        let split = Split { rows: values::find(text).unwrap().rows, statement_bytes: text.len() };
        let kept = |rows: &[usize]| String::from_utf8(split.text(text.as_bytes(), |at| rows.contains(&at))).unwrap();
        assert_eq!(kept(&[0, 2]), "INSERT INTO t VALUES (1, 'é')          , (3, 'c') RETURNING a");
        assert_eq!(kept(&[1]), "INSERT INTO t VALUES           (2, 'b')           RETURNING a");
        assert_eq!(kept(&[0, 1, 2]), text);
    }

    #[test]
    fn values_take_their_places_as_literals() {
        let edits = vec![
            Edit { range: 2..3, pieces: vec![Piece::Value(0)] },
            Edit { range: 4..4, pieces: vec![Piece::Text(", ".into()), Piece::Value(1)] },
        ];
        let computed = Computed {
            expressions: vec![],
            edits,
            draws: false,
            values: Values::Computed,
            statement_bytes: 5,
            when: When::Always,
        };
        assert_eq!(computed.apply(b"  a x)b", &[Some("it's".into()), None]), b"  a 'it''s'), NULLb");
    }
}
