//! In which order the parts of a gathered query are shipped, and of which rows the later ones can be relieved by what the earlier
//! ones have brought: semi-joins.
//!
//! Estimates are the shards' planners'. They decide about time only: what is left out is of no use to the merge query, see
//! [`Reducer`]. Called by `ship`.

use std::collections::BTreeMap;

use crate::catalog::Oid;
use crate::plan::{Part, Reducer, quoted};

/// Costs as planners count them (a page read in sequence is 1, a row looked at 0.01) that are as much as shipping one row. Estimates of
/// rows may be far too low where conditions hang together; costs tell that much is read.
const ROW_COST: u64 = 50;

/// What weighs less than so many rows is shipped at once: a round trip costs more. In debug builds the bounds are low, so that tests with
/// few rows reach what is done with many.
const REDUCED_WEIGHT_MIN: u64 = if cfg!(debug_assertions) { 2 } else { 1_000 };

/// A part with more rows is not asked for its values.
pub(super) const SOURCE_ROWS_MAX: u64 = 100_000;

/// More values reduce nothing.
pub(super) const VALUES_MAX: usize = 100_000;

/// Values in one row of the answer. With 20 bytes each, it stays below `STREAM_FRAME_BYTES`.
const VALUES_ROW_MAX: usize = if cfg!(debug_assertions) { 7 } else { 10_000 };

/// All values that are sent to reduce one part, to all its shards together. Those of reducers with more are left out.
pub(super) const VALUES_BYTES_MAX: usize = 16 << 20;

/// Up to so many values are compared one by one with what the planner knows of a column (`scalararraysel`, selfuncs.c).
const ANY_MAX: usize = if cfg!(debug_assertions) { 20 } else { 500 };

/// A part with less than this share of another's weight may reduce it.
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

/// The stage in which each part is shipped, and those of its reducers that pay, given what is thought of it.
pub(super) fn stages(parts: &[Part], estimates: &[Estimate]) -> Vec<(usize, Vec<Reducer>)> {
    let mut stages: Vec<(usize, Vec<Reducer>)> = parts.iter().map(|_| (0, Vec::new())).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let estimate = |at: usize| estimates.get(at).copied().unwrap_or_default();
    order.sort_by_key(|at| (estimate(*at).weight, *at));
    for at in order {
        let Some(part) = parts.get(at) else { continue };
        let pays = |reducer: &&Reducer| {
            let (source, weight) = (estimate(reducer.source), estimate(at).weight);
            source.rows <= SOURCE_ROWS_MAX
                && source.weight.saturating_mul(SHARE) < weight
                && weight >= REDUCED_WEIGHT_MIN
        };
        let chosen: Vec<Reducer> = part.reducers.iter().filter(pays).cloned().collect();
        let before = chosen.iter().filter_map(|reducer| stages.get(reducer.source)).map(|(stage, _)| stage + 1).max();
        if let Some(stage) = stages.get_mut(at) {
            *stage = (before.unwrap_or(0), chosen);
        }
    }
    stages
}

/// The query for the values that a reducer goes by, in arrays: one value more when there are too many. Its rows say what they answer: they
/// begin with the number of the query, `nth`.
pub(super) fn values_query(nth: usize, reducer: &Reducer, source: &str) -> Option<String> {
    let (_, _, name) = ARRAYS.iter().find(|(element, ..)| *element == reducer.type_oid)?;
    let column = quoted(&reducer.source_column);
    Some(format!(
        "SELECT {nth}, pg_catalog.array_agg(v) FROM (SELECT v, (pg_catalog.row_number() OVER () - 1) / {VALUES_ROW_MAX} AS n FROM (SELECT DISTINCT {column}::pg_catalog.{name} AS v FROM pg_temp.{source} WHERE {column} IS NOT NULL LIMIT {}) d) s GROUP BY n",
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
    /// From the arrays that answer [`values_query`]; `None` if there are too many values, or they are no such arrays.
    pub(super) fn new(reducer: &Reducer, arrays: &[Vec<u8>]) -> Option<Filter> {
        let (element, type_oid, _) = ARRAYS.iter().find(|(element, ..)| *element == reducer.type_oid)?;
        let (mut count, mut bytes) = (0, Vec::new());
        for array in arrays {
            count += counted(array);
            // One dimension, without NULLs.
            bytes.extend_from_slice(
                array.get(HEAD_BYTES..).filter(|_| array.get(..8) == Some(&[0, 0, 0, 1, 0, 0, 0, 0]))?,
            );
        }
        if count > VALUES_MAX {
            return None;
        }
        let words = [1, 0, *element, u32::try_from(count).ok()?, 1];
        let words = if count == 0 { &[0, 0, *element][..] } else { &words[..] };
        let values = words.iter().flat_map(|word| word.to_be_bytes()).chain(bytes).collect();
        Some(Filter { column: reducer.column.clone(), values, type_oid: *type_oid })
    }

    fn count(&self) -> usize {
        counted(&self.values)
    }
}

/// Of an array in binary format with one dimension: dimensions, flags, type of elements; size and lower bound of the dimension. *Source*:
/// array_send, arrayfuncs.c.
const HEAD_BYTES: usize = 20;

/// How many values such an array has.
fn counted(array: &[u8]) -> usize {
    let word = |at: usize| {
        let bytes = array.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes) as usize)
    };
    if word(0) == 0 { 0 } else { word(12) }
}

/// The smallest of these filters that together are not too much for so many shards.
pub(super) fn affordable(mut filters: Vec<Filter>, shards: usize) -> Vec<Filter> {
    filters.sort_by_key(|filter| filter.values.len());
    let mut left = VALUES_BYTES_MAX / shards.max(1);
    filters.retain(|filter| {
        let fits = filter.values.len() <= left;
        left -= if fits { filter.values.len() } else { 0 };
        fits
    });
    filters
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

/// What planners think of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Estimate {
    /// How many there are.
    pub(super) rows: u64,
    /// To find and to ship them, as if it were done for rows only.
    pub(super) weight: u64,
}

impl Estimate {
    pub(super) fn of(rows: u64, cost: u64) -> Estimate {
        Estimate { rows, weight: rows.saturating_add(cost / ROW_COST) }
    }

    /// On so many shards.
    pub(super) fn times(self, shards: u64) -> Estimate {
        Estimate { rows: self.rows.saturating_mul(shards), weight: self.weight.saturating_mul(shards) }
    }

    /// From the first line of a plan, the uppermost node: `... (cost=0.00..1.01 rows=5 width=4)`.
    pub(super) fn read(body: &[u8]) -> Estimate {
        let line = String::from_utf8_lossy(body);
        let number = |before: &str, line: &str| {
            let rest = line.split(before).nth(1)?;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        };
        let cost = line.split("(cost=").nth(1).and_then(|rest| number("..", rest));
        match number(" rows=", &line) {
            Some(rows) => Estimate::of(rows, cost.unwrap_or(0)),
            None => Estimate { rows: u64::MAX, weight: u64::MAX },
        }
    }
}

/// The arrays that answer [`values_query`], by the number of the query; `None` if a row is none of theirs. That a query has been answered is
/// not to be seen by counting answers: others may be owed before theirs, as those of CREATE TABLE and ANALYZE.
pub(super) fn arrays<'r>(rows: impl Iterator<Item = &'r [u8]>) -> Option<BTreeMap<usize, Vec<Vec<u8>>>> {
    let mut found: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for row in rows {
        let (nth, array) = numbered(row)?;
        found.entry(nth).or_default().push(array.to_vec());
    }
    Some(found)
}

/// A row of an int4 and something else in binary format: number of columns (2), length (4) and value of each.
fn numbered(body: &[u8]) -> Option<(usize, &[u8])> {
    let ([0, 2, 0, 0, 0, 4], rest) = body.split_first_chunk::<6>()? else { return None };
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let (_, array) = rest.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_be_bytes(*number)).ok()?, array))
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

    fn rows(of: &[u64]) -> Vec<Estimate> {
        of.iter().map(|rows| Estimate::of(*rows, 0)).collect()
    }

    #[test]
    fn a_part_that_reads_much_is_reduced_though_few_rows_are_expected() {
        let parts = [part(vec![by(1)]), part(vec![by(0)])];
        let found = stages(&parts, &[Estimate::of(4, 330_000), Estimate::of(400, 360)]);
        let found: Vec<(usize, usize)> = found.iter().map(|(stage, chosen)| (*stage, chosen.len())).collect();
        assert_eq!(found, [(1, 1), (0, 0)]);
    }

    #[test]
    fn small_parts_come_first_and_reduce_larger_ones_step_by_step() {
        let parts = [part(vec![by(1), by(2)]), part(vec![by(2), by(0)]), part(vec![by(0)])];
        let found: Vec<(usize, usize)> = stages(&parts, &rows(&[90_000, 15_000, 200]))
            .iter()
            .map(|(stage, chosen)| (*stage, chosen.len()))
            .collect();
        assert_eq!(found, [(2, 2), (1, 1), (0, 0)]);
    }

    #[test]
    fn parts_of_the_same_size_do_not_wait_for_each_other() {
        let parts = [part(vec![by(1)]), part(vec![by(0)])];
        assert!(stages(&parts, &rows(&[5_000, 5_000])).iter().all(|(stage, chosen)| *stage == 0 && chosen.is_empty()));
    }

    #[test]
    fn the_rows_and_the_cost_that_a_plan_expects_stand_in_its_first_line() {
        let line = b"\0\x01\0\0\0\x30Seq Scan on t  (cost=0.30..2250.70 rows=1270 width=36)";
        assert_eq!(Estimate::read(line), Estimate { rows: 1270, weight: 1270 + 45 });
        assert_eq!(Estimate::read(b"nothing of the kind").rows, u64::MAX);
    }

    fn arrays(sizes: &[u32]) -> Vec<Vec<u8>> {
        let array = |count: &u32| {
            let values = (0..*count).flat_map(|value| [4, value].map(u32::to_be_bytes).concat());
            [1, 0, 23, *count, 1].map(u32::to_be_bytes).concat().into_iter().chain(values).collect()
        };
        sizes.iter().map(array).collect()
    }

    #[test]
    fn arrays_of_several_rows_become_one() {
        let filter = Filter::new(&by(0), &arrays(&[2, 1])).unwrap();
        let values = [4u32, 0, 4, 1, 4, 0].map(u32::to_be_bytes).concat();
        assert_eq!(filter.values, [[1u32, 0, 23, 3, 1].map(u32::to_be_bytes).concat(), values].concat());
        assert_eq!(Filter::new(&by(0), &[]).unwrap().values, [0u32, 0, 23].map(u32::to_be_bytes).concat());
        assert!(Filter::new(&by(0), &[vec![1]]).is_none());
    }

    #[test]
    fn rows_say_which_query_they_answer() {
        assert_eq!(numbered(b"\0\x02\0\0\0\x04\0\0\0\x03\0\0\0\x01a"), Some((3, &b"a"[..])));
        assert_eq!(numbered(b"\0\x01\0\0\0\x01a"), None);
    }

    #[test]
    fn more_values_than_are_sent_make_no_filter() {
        assert!(Filter::new(&by(0), &arrays(&[60_000, 40_000])).is_some());
        assert!(Filter::new(&by(0), &arrays(&[60_000, 40_001])).is_none());
        let filters = || [90_000, 10].iter().filter_map(|count| Filter::new(&by(0), &arrays(&[*count]))).collect();
        assert_eq!(affordable(filters(), 4).len(), 2);
        assert_eq!(affordable(filters(), 64).iter().map(Filter::count).collect::<Vec<_>>(), [10]);
    }
}
