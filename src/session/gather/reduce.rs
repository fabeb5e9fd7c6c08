//! In which order the parts of a gathered query are shipped, and of which rows the later ones can be relieved by what the earlier
//! ones have brought: semi-joins.
//!
//! Estimates are the shards' planners'. They decide about time only: what is left out is of no use to the merge query, see
//! [`Reducer`]. Called by `ship`.

use bytes::BytesMut;

use crate::catalog::Oid;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::plan::{Part, Reducer};
use crate::pool::expect::Step;

/// Fewer rows than this are shipped at once: a round trip costs more. In debug builds the bounds are low, so that tests with few rows
/// reach what is done with many.
const REDUCED_ROWS_MIN: u64 = if cfg!(debug_assertions) { 2 } else { 1_000 };

/// A part with more rows is not asked for its values.
pub(super) const SOURCE_ROWS_MAX: u64 = 100_000;

/// More values reduce nothing. With 20 bytes each, a row of them stays below `STREAM_FRAME_BYTES`.
pub(super) const VALUES_MAX: usize = 10_000;

/// Up to so many values are compared one by one with what the planner knows of a column (`scalararraysel`, selfuncs.c).
const ANY_MAX: usize = if cfg!(debug_assertions) { 20 } else { 500 };

/// A part with fewer rows than this share of another's may reduce it.
const SHARE: u64 = if cfg!(debug_assertions) { 1 } else { 2 };

/// `_int2`, `_int4`, `_int8`, `_date`, `_timestamp`, `_timestamptz`, `_uuid` with their elements. *Source*: pg_type.dat.
const ARRAYS: [(Oid, Oid, &str); 7] = [
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (20, 1016, "int8"),
    (1082, 1182, "date"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (2950, 2951, "uuid"),
];

/// The stage in which each part is shipped, and those of its reducers that pay, given how many rows it may have.
pub(super) fn stages(parts: &[Part], rows: &[u64]) -> Vec<(usize, Vec<Reducer>)> {
    let mut stages: Vec<(usize, Vec<Reducer>)> = parts.iter().map(|_| (0, Vec::new())).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let estimate = |at: usize| rows.get(at).copied().unwrap_or(0);
    order.sort_by_key(|at| (estimate(*at), *at));
    for at in order {
        let Some(part) = parts.get(at) else { continue };
        let pays = |reducer: &&Reducer| {
            let source = estimate(reducer.source);
            source <= SOURCE_ROWS_MAX && source * SHARE < estimate(at) && estimate(at) >= REDUCED_ROWS_MIN
        };
        let chosen: Vec<Reducer> = part.reducers.iter().filter(pays).cloned().collect();
        let before = chosen.iter().filter_map(|reducer| stages.get(reducer.source)).map(|(stage, _)| stage + 1).max();
        if let Some(stage) = stages.get_mut(at) {
            *stage = (before.unwrap_or(0), chosen);
        }
    }
    stages
}

/// The query for the values that a reducer goes by: one row with an array, one value longer when there are too many.
pub(super) fn values_query(reducer: &Reducer, source: &str) -> Option<String> {
    let (_, _, name) = ARRAYS.iter().find(|(element, ..)| *element == reducer.type_oid)?;
    let column = quoted(&reducer.source_column);
    Some(format!(
        "SELECT ARRAY(SELECT DISTINCT {column}::pg_catalog.{name} FROM pg_temp.{source} WHERE {column} IS NOT NULL LIMIT {})",
        VALUES_MAX + 1
    ))
}

/// Values by which a part is reduced.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) column: String,
    /// An array in binary format.
    pub(super) values: Vec<u8>,
    /// Of the array.
    pub(super) type_oid: Oid,
}

impl Filter {
    /// From the answer to [`values_query`]; `None` if there are too many values.
    pub(super) fn new(reducer: &Reducer, values: Vec<u8>) -> Option<Filter> {
        let (_, type_oid, _) = ARRAYS.iter().find(|(element, ..)| *element == reducer.type_oid)?;
        let filter = Filter { column: reducer.column.clone(), values, type_oid: *type_oid };
        (filter.count() <= VALUES_MAX).then_some(filter)
    }

    /// How many values. *Source*: array_send, arrayfuncs.c: dimensions, flags, type of elements; size and lower bound of each dimension.
    fn count(&self) -> usize {
        let word = |at: usize| {
            let bytes = self.values.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            bytes.map_or(0, |bytes| u32::from_be_bytes(bytes) as usize)
        };
        if word(0) == 0 { 0 } else { word(12) }
    }
}

/// The text of a part with these filters, the first of which is parameter `first`.
pub(super) fn reduced_text(text: &str, filters: &[Filter], first: usize) -> String {
    if filters.is_empty() {
        return text.to_owned();
    }
    let conditions: Vec<String> = filters
        .iter()
        .enumerate()
        .map(|(nth, filter)| {
            let (column, parameter) = (quoted(&filter.column), first + nth);
            if filter.count() <= ANY_MAX {
                format!("reduced.{column} OPERATOR(pg_catalog.=) ANY (${parameter})")
            } else {
                format!("reduced.{column} IN (SELECT pg_catalog.unnest(${parameter}))")
            }
        })
        .collect();
    format!("SELECT * FROM ({text}) AS reduced WHERE {}", conditions.join(" AND "))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reads the rows that EXPLAIN expects, of one statement after the other on each server.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    /// By server: estimates in the order of the statements.
    pub(super) rows: std::collections::BTreeMap<usize, Vec<u64>>,
    read: std::collections::BTreeSet<usize>,
    pub(super) error: Option<Vec<u8>>,
}

impl Joiner for Estimates {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            // The first line is the uppermost node.
            b'D' if self.read.insert(frame.server) => {
                self.rows.entry(frame.server).or_default().push(expected_rows(frame.body));
            }
            b'C' => {
                self.read.remove(&frame.server);
            }
            _ => {}
        }
        Handling::Drop
    }

    fn stops_at_copy_in(&self) -> bool {
        false
    }
}

/// `... (cost=0.00..1.01 rows=5 width=4)`.
fn expected_rows(body: &[u8]) -> u64 {
    let line = String::from_utf8_lossy(body);
    let number =
        line.split(" rows=").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    number.and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// Keeps the first value of each row of one server.
#[derive(Debug)]
pub(super) struct FirstValues {
    server: usize,
    pub(super) values: Vec<Option<Vec<u8>>>,
    pub(super) error: Option<Vec<u8>>,
}

impl FirstValues {
    pub(super) fn of(server: usize) -> FirstValues {
        FirstValues { server, values: Vec::new(), error: None }
    }
}

impl Joiner for FirstValues {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            // Number of columns (2) and length of the value (4) come first.
            b'D' if frame.server == self.server => {
                let head = frame.body.get(2..6).and_then(|head| <[u8; 4]>::try_from(head).ok());
                let is_null = head.is_none_or(|head| i32::from_be_bytes(head) < 0);
                self.values.push(frame.body.get(6..).filter(|_| !is_null).map(<[u8]>::to_vec));
            }
            _ => {}
        }
        Handling::Drop
    }

    fn stops_at_copy_in(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Target;

    fn part(reducers: Vec<Reducer>) -> Part {
        Part {
            name: String::new(),
            text: String::new(),
            target: Target::Scatter,
            lookups: Vec::new(),
            reducers,
            wave: 0,
        }
    }

    fn by(source: usize) -> Reducer {
        Reducer { column: "a".into(), source, source_column: "b".into(), type_oid: 23 }
    }

    #[test]
    fn small_parts_come_first_and_reduce_larger_ones_step_by_step() {
        let parts = [part(vec![by(1), by(2)]), part(vec![by(2), by(0)]), part(vec![by(0)])];
        let found: Vec<(usize, usize)> =
            stages(&parts, &[90_000, 15_000, 200]).iter().map(|(stage, chosen)| (*stage, chosen.len())).collect();
        assert_eq!(found, [(2, 2), (1, 1), (0, 0)]);
    }

    #[test]
    fn parts_of_the_same_size_do_not_wait_for_each_other() {
        let parts = [part(vec![by(1)]), part(vec![by(0)])];
        assert!(stages(&parts, &[5_000, 5_000]).iter().all(|(stage, chosen)| *stage == 0 && chosen.is_empty()));
    }

    #[test]
    fn the_rows_that_a_plan_expects_stand_in_its_first_line() {
        assert_eq!(expected_rows(b"\0\x01\0\0\0\x30Seq Scan on t  (cost=0.00..22.70 rows=1270 width=36)"), 1270);
        assert_eq!(expected_rows(b"nothing of the kind"), u64::MAX);
    }

    #[test]
    fn more_values_than_are_sent_make_no_filter() {
        let array = |count: u32| [1, 0, 23, count, 1].map(u32::to_be_bytes).concat();
        assert!(Filter::new(&by(0), array(10_000)).is_some());
        assert!(Filter::new(&by(0), array(10_001)).is_none());
        assert_eq!(Filter::new(&by(0), [0u32, 0, 23].map(u32::to_be_bytes).concat()).unwrap().count(), 0);
    }
}
