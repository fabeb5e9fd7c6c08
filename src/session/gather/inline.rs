//! Gathers of total aggregates: each shard gives one row for a part, and these rows travel to the merge query as arrays among its
//! parameters instead of through temporary tables.

use bytes::BytesMut;

use super::run::{Gathering, Run};
use super::ship::{Owing, Shipping};
use crate::catalog::Oid;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::execute::ship::{ShipError, Silence};
use crate::plan::{Gather, Part, Sink, quoted};
use crate::pool::expect::Step;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::sql::walk::Unknown;
use crate::sql::{self, Node, edit, names};
use crate::wire::reply::Report;
use crate::wire::row_description::Columns;

/// Aggregates of `pg_catalog` that stand in parts which are one row.
const AGGREGATES: [&str; 6] = ["count", "sum", "min", "max", "bool_and", "bool_or"];

/// A merge query over arrays.
#[derive(Debug)]
pub struct Inline {
    /// The text.
    pub(super) text: String,
    /// Types of its parameters.
    pub(super) types: Vec<Oid>,
    /// Types of the columns of each part.
    columns: Vec<Vec<Oid>>,
    /// Queries for the plan's values.
    values: Vec<String>,
}

impl Inline {
    /// Of a plan with these types of parameters and columns of parts; `None` if its parts are not one row for each shard, of types
    /// without collation.
    pub(super) fn new(gather: &Gather, types: &[Oid], parts: &[Columns]) -> Option<Inline> {
        let columns: Vec<Vec<Oid>> = parts.iter().map(Columns::types).collect();
        let mut types = types.to_vec();
        let mut items = Vec::new();
        for (part, columns) in gather.parts.iter().zip(&columns) {
            let names = one_row(part).filter(|names| names.len() == columns.len())?;
            let mut arguments = Vec::new();
            for column in columns {
                types.push(array_of(*column)?);
                arguments.push(format!("pg_catalog.unnest(${})", types.len()));
            }
            items.push((part.name.as_str(), arguments.join(", "), names.join(", ")));
        }
        let text = over_arrays(&gather.merge, &items)?;
        let values = gather.values.iter().map(|value| over_arrays(&value.text, &items)).collect::<Option<_>>()?;
        (!items.is_empty()).then_some(Inline { text, types, columns, values })
    }
}

impl Session {
    /// Has the merge query's arrays filled by the parts.
    pub(super) async fn inline_parts(
        &mut self,
        shipping: Shipping<'_>,
        inline: &Inline,
        parameters: &mut Parameters,
    ) -> Result<(), Failure> {
        let mut own = Owing::new();
        self.begin_own(shipping, &mut own);
        let gather = &shipping.gathering.described.gather;
        let first = parameters.len();
        parameters.reserve(inline.columns.iter().map(Vec::len).sum());
        for wave in 0..gather.waves() {
            let result = self.inline_wave(shipping, inline, (wave, first), parameters, &mut own).await;
            if result.is_err() {
                self.end_own(own).await?;
                return result;
            }
        }
        Ok(())
    }

    /// `first`: the first array's parameter.
    async fn inline_wave(
        &mut self,
        shipping: Shipping<'_>,
        inline: &Inline,
        (wave, first): (usize, usize),
        parameters: &mut Parameters,
        own: &mut Owing,
    ) -> Result<(), Failure> {
        let gather = &shipping.gathering.described.gather;
        self.send_wave(shipping, &parameters.first(first), wave, own);
        let in_wave = |at: usize| gather.parts.get(at).is_some_and(|part| part.wave == wave);
        let places: Vec<Vec<usize>> = shipping
            .places
            .iter()
            .enumerate()
            .map(|(at, places)| if in_wave(at) { places.clone() } else { Vec::new() })
            .collect();
        let mut rows = OneRows::new(self.link.servers.len(), &places);
        self.link.relay(&mut rows).await?;
        if let Some(body) = rows.error.take() {
            let mut silence = Silence::default();
            self.link.relay(&mut silence).await?;
            return Err(self.tell_ship_error(ShipError::Server(body), 0));
        }
        let mut parameter = first;
        for (at, ((columns, rows), places)) in inline.columns.iter().zip(&rows.rows).zip(&places).enumerate() {
            for (column, oid) in columns.iter().enumerate().filter(|_| in_wave(at)) {
                let array = if rows.len() == places.len() { array(*oid, column, rows) } else { None };
                parameters.set_binary(parameter + column, Some(array.ok_or_else(not_as_described)?));
            }
            parameter += columns.len();
        }
        self.tally.shipped(rows.rows.iter().map(Vec::len).sum::<usize>() as u64, rows.bytes);
        let values = gather.values.iter().zip(&inline.values).filter(|(value, _)| value.wave == wave);
        self.compute_values(shipping, values.map(|(_, text)| text.as_str()).collect(), wave, parameters).await
    }
}

/// Whether this run goes this way.
pub(super) fn of<'a>(gathering: &'a Gathering, run: &Run<'_>) -> Option<&'a Inline> {
    let plan = &gathering.described.gather;
    let to_client = run.statement.is_none() && plan.sink == Sink::Asker;
    gathering.described.inline.as_ref().filter(|_| to_client)
}

/// A query over the parts as one over arrays.
fn over_arrays(text: &str, items: &[(&str, String, String)]) -> Option<String> {
    let mut script = sql::parse(text).ok()?;
    let mut tree = script.statements.pop()?.tree?.stmt?.node?;
    replace(&mut tree, items).ok()?;
    let Node::SelectStmt(select) = &tree else { return None };
    edit::print(select).filter(|text| !text.contains("pg_temp"))
}

fn not_as_described() -> Failure {
    Report::error("XX000", "a part of the query did not give one row").with_hint("Please report the statement.").into()
}

/// The names of a part's columns, quoted, if it is one row whatever there is to read.
fn one_row(part: &Part) -> Option<Vec<String>> {
    let script = sql::parse(&part.text).ok()?;
    let [statement] = script.statements.as_slice() else { return None };
    let Node::SelectStmt(select) = statement.node()? else { return None };
    let plain = select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.distinct_clause.is_empty()
        && select.larg.is_none()
        && !select.target_list.is_empty();
    let name = |target: &pg_query::protobuf::Node| match &target.node {
        Some(Node::ResTarget(target)) if aggregate(names::inner(&target.val)?) => Some(quoted(&target.name)),
        _ => None,
    };
    if plain { select.target_list.iter().map(name).collect() } else { None }
}

fn aggregate(node: &Node) -> bool {
    let Node::FuncCall(call) = node else { return false };
    let known = matches!(names::qualified(&call.funcname), Some((None | Some("pg_catalog"), name)) if AGGREGATES.contains(&name));
    known && call.over.is_none()
}

/// Puts `unnest` in the places of parts: name, arguments, columns.
fn replace(node: &mut Node, items: &[(&str, String, String)]) -> Result<(), Unknown> {
    if let Node::RangeVar(table) = node
        && table.schemaname == "pg_temp"
        && let Some((_, arguments, columns)) = items.iter().find(|(name, ..)| *name == table.relname)
    {
        let alias = quoted(names::alias_or_name(table));
        let text = format!("SELECT FROM ROWS FROM ({arguments}) AS {alias}({columns})");
        if let Some(function) = from_item(&text) {
            *node = function;
        }
        return Ok(());
    }
    edit::children(node, &mut |child| replace(child, items))
}

fn from_item(text: &str) -> Option<Node> {
    let mut script = sql::parse(text).ok()?;
    let statement = script.statements.pop()?.tree?.stmt?.node?;
    let Node::SelectStmt(mut select) = statement else { return None };
    select.from_clause.pop()?.node
}

/// The number of the array type of a type without collation. *Source*: pg_type.dat.
fn array_of(oid: Oid) -> Option<Oid> {
    Some(match oid {
        16 => 1000,
        20 => 1016,
        21 => 1005,
        23 => 1007,
        26 => 1028,
        700 => 1021,
        701 => 1022,
        1082 => 1182,
        1083 => 1183,
        1114 => 1115,
        1184 => 1185,
        1186 => 1187,
        1266 => 1270,
        1700 => 1231,
        2950 => 2951,
        _ => return None,
    })
}

/// Values of a column of rows in binary format as an array in binary format; `None` if a row has no such column. *Source*: arrayfuncs.c, array_recv.
fn array(element: Oid, column: usize, rows: &[Box<[u8]>]) -> Option<Vec<u8>> {
    let mut values = Vec::new();
    let mut nulls = 0u32;
    for row in rows {
        let mut rest = row.get(2..)?;
        for at in 0..=column {
            let (head, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*head)).ok();
            let value = after.get(..length.unwrap_or(0))?;
            if at == column {
                values.extend_from_slice(head);
                values.extend_from_slice(value);
                nulls |= u32::from(length.is_none());
            }
            rest = &after[value.len()..];
        }
    }
    // One dimension, counted from 1.
    let head = [1, nulls, element, u32::try_from(rows.len()).ok()?, 1];
    Some(head.iter().flat_map(|number| number.to_be_bytes()).chain(values).collect())
}

/// Takes one row of each part from each of its servers.
#[derive(Debug)]
struct OneRows {
    /// By server: the parts that it sends, in their order, and how many it has sent.
    parts: Vec<(Vec<usize>, usize)>,
    /// By part.
    rows: Vec<Vec<Box<[u8]>>>,
    bytes: u64,
    error: Option<Vec<u8>>,
    cancelled: bool,
}

impl OneRows {
    fn new(servers: usize, places: &[Vec<usize>]) -> OneRows {
        let of = |server: usize| {
            let mine = places.iter().enumerate().filter(|(_, places)| places.contains(&server));
            (mine.map(|(part, _)| part).collect(), 0)
        };
        OneRows {
            parts: (0..servers).map(of).collect(),
            rows: vec![Vec::new(); places.len()],
            bytes: 0,
            error: None,
            cancelled: false,
        }
    }
}

impl Joiner for OneRows {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        let of_part = frame.verdict.step == Some(Step::Execute);
        match (frame.tag, self.parts.get_mut(frame.server)) {
            (b'E', _) => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            (b'D', Some((parts, sent))) if of_part => {
                if let Some(rows) = parts.get(*sent).and_then(|part| self.rows.get_mut(*part)) {
                    self.bytes += frame.body.len() as u64;
                    rows.push(frame.body.into());
                }
            }
            (b'C', Some((_, sent))) if of_part => *sent += 1,
            _ => {}
        }
        Handling::Drop
    }

    fn cancels(&mut self) -> bool {
        self.error.is_some() && !std::mem::replace(&mut self.cancelled, true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(text: &str) -> Part {
        Part {
            name: "part1".to_owned(),
            text: text.to_owned(),
            target: crate::plan::Target::Scatter,
            lookups: Vec::new(),
            reducers: Vec::new(),
            wave: 0,
        }
    }

    #[test]
    fn only_total_aggregates_are_one_row() {
        let names = one_row(&part("SELECT count(*) AS a1, pg_catalog.sum(x) AS a2 FROM t WHERE y > 3")).unwrap();
        assert_eq!(names, ["\"a1\"", "\"a2\""]);
        for text in [
            "SELECT x FROM t",
            "SELECT count(*) FROM t GROUP BY x",
            "SELECT count(*) OVER () FROM t",
            "SELECT mine.sum(x) FROM t",
        ] {
            assert!(one_row(&part(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn a_part_becomes_arrays_behind_the_parameters() {
        let merge = "SELECT sum(partial.a1) AS s FROM pg_temp.part1 partial WHERE $1".to_owned();
        let parts = vec![part("SELECT count(*) AS a1 FROM t")];
        let gather = Gather {
            parts,
            merge,
            now_parameter: None,
            values: Vec::new(),
            parameters: 1,
            sink: Sink::Asker,
            ordered: None,
            reason: String::new(),
        };
        let columns = Columns::new([&b"\0\x01a1\0\0\0\0\0\0\0\0\0\0\x14"[..], &[0; 8]].concat());
        let inline = Inline::new(&gather, &[16], &[columns]).unwrap();
        assert!(inline.text.contains("unnest($2)") && inline.text.ends_with(" WHERE $1"), "{}", inline.text);
        assert_eq!(inline.types, [16, 1016]);
    }

    #[test]
    fn values_of_a_column_become_an_array() {
        let rows: Vec<Box<[u8]>> =
            vec![b"\0\x02\0\0\0\x01a\0\0\0\x01b"[..].into(), b"\0\x02\0\0\0\x01c\xff\xff\xff\xff"[..].into()];
        let head = b"\0\0\0\x01\0\0\0\x01\0\0\0\x14\0\0\0\x02\0\0\0\x01";
        assert_eq!(array(20, 1, &rows).unwrap(), [&head[..], b"\0\0\0\x01b\xff\xff\xff\xff"].concat());
        assert!(array(20, 2, &rows).is_none());
    }
}
