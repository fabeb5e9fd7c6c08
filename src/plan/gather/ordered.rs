//! ORDER BY, LIMIT and OFFSET over a query that distributes without them: the shards sort, and the gateway merges their streams as they
//! come. Whether it can reproduce the order is known when the types are; the plan by way of the merge server is there if not.

use pg_query::protobuf::{LimitOption, SelectStmt, SortBy, SortByDir, SortByNulls, a_const::Val};

use super::engine::{self, Engine};
use super::peel::{self, Level};
use super::reference::{self, Content};
use super::{Part, node};
use crate::plan::ir::Stop;
use crate::plan::key;
use crate::sql::{Node, edit, names};

/// One sorted stream of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// A SELECT whose first columns are the client's, sorted, with as many rows as can be needed; what it is sorted by besides stands
    /// behind them.
    pub part: Part,
    /// The same with a copy of each column that it is sorted by and that the client gets behind those, for formats in which the
    /// client's cannot be compared.
    pub copies: String,
    /// How many columns the client gets.
    pub columns: usize,
    /// What it is sorted by; none: in any order.
    pub keys: Vec<SortKey>,
    /// Rows at the most.
    pub limit: Option<Amount>,
    /// Rows left out.
    pub offset: Option<Amount>,
}

/// An item of ORDER BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Of [`Ordered::part`], counted from 0.
    pub column: usize,
    /// Of [`Ordered::copies`].
    pub copy: usize,
    /// Largest first.
    pub descending: bool,
    /// NULLs come first.
    pub nulls_first: bool,
    /// If it is text, it is compared byte by byte.
    pub bytewise: bool,
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A constant.
    Rows(i64),
    /// `$n`, n counted from 0.
    Parameter(usize),
}

impl Ordered {
    /// What it is, for EXPLAIN.
    pub fn name(&self) -> &'static str {
        if self.keys.is_empty() { "Limit" } else { "Ordered merge" }
    }
}

impl Engine<'_, '_> {
    /// How a level that is the whole statement is answered by merging streams, if its order can be theirs.
    pub fn ordered(&self, select: &SelectStmt, level: &Level, content: &Content) -> Result<Option<Ordered>, Stop> {
        // Copies must have the value of what they are copies of.
        if select.limit_option() == LimitOption::WithTies || !level.distinct.is_empty() || !self.steady(content)? {
            return Ok(None);
        }
        let (Ok(limit), Ok(offset)) = (amount(&select.limit_count), amount(&select.limit_offset)) else {
            return Ok(None);
        };
        let mut core = level.core.clone();
        core.distinct_clause = select.distinct_clause.clone();
        let Some(target) = self.parts.target(&core)? else { return Ok(None) };
        if limit.is_some() {
            let Some(first) = peel::first_rows(select) else { return Ok(None) };
            core.limit_count = Some(first);
            core.limit_option = select.limit_option;
        }
        core.sort_clause = level.sorted(Level::ordinal);
        let columns = select.target_list.len();
        let (Some(keys), Some(text)) = (self.sort_keys(level, columns), edit::print(&core)) else { return Ok(None) };
        let copies = if keys.iter().any(|key| key.column < columns) {
            with_copies(core, level, &keys, columns).and_then(edit::print_owned)
        } else {
            Some(text.clone())
        };
        let Some(copies) = copies else { return Ok(None) };
        let part =
            Part { name: "ordered".to_owned(), text, target, lookups: Vec::new(), reducers: Vec::new(), wave: 0 };
        Ok(Some(Ordered { part, copies, columns, keys, limit, offset }))
    }

    fn sort_keys(&self, level: &Level, columns: usize) -> Option<Vec<SortKey>> {
        let mut copy = level.names.len();
        let key = |(column, by): &(usize, SortBy)| {
            let descending = match by.sortby_dir() {
                SortByDir::SortbyDefault | SortByDir::SortbyAsc => false,
                SortByDir::SortbyDesc => true,
                SortByDir::SortbyUsing | SortByDir::Undefined => return None,
            };
            let nulls_first = match by.sortby_nulls() {
                SortByNulls::SortbyNullsDefault => descending,
                SortByNulls::SortbyNullsFirst => true,
                SortByNulls::SortbyNullsLast => false,
                SortByNulls::Undefined => return None,
            };
            let value = output(&level.core, *column)?;
            let bytewise = self.bytewise(&value);
            let place = if *column < columns { copy } else { *column };
            copy += usize::from(*column < columns);
            Some(SortKey { column: *column, copy: place, descending, nulls_first, bytewise })
        };
        level.order.iter().map(key).collect()
    }

    /// Whether its collation is certain to compare bytes.
    fn bytewise(&self, value: &Node) -> bool {
        if let Node::CollateClause(clause) = value {
            return matches!(names::qualified(&clause.collname), Some((None | Some("pg_catalog"), "C" | "POSIX")));
        }
        let column = reference::of(value)
            .and_then(|(item, column)| self.known.tables.get(item)?.columns.iter().find(|known| known.name == column));
        column.is_some_and(|column| column.bytewise)
    }
}

/// A sorted query with a copy of each of the client's columns that it is sorted by behind its columns.
fn with_copies(mut core: SelectStmt, level: &Level, keys: &[SortKey], columns: usize) -> Option<SelectStmt> {
    let keys: Vec<&SortKey> = keys.iter().filter(|key| key.column < columns).collect();
    let mut labels = level.names.clone();
    labels.extend((1..=keys.len()).map(|nth| format!("k{}", level.names.len() + nth)));
    let fresh = engine::distinct(&labels).split_off(level.names.len());
    if core.limit_count.is_none() {
        let values: Option<Vec<Node>> = keys.iter().map(|key| output(&core, key.column)).collect();
        core.target_list.extend(values?.into_iter().zip(&fresh).map(|(value, name)| node::target(value, name)));
        return Some(core);
    }
    // Copied are the few rows that are left: if each row had one before it is sorted, the shard would have to build a row of its own
    // for each that it reads, of which it keeps hardly any. That takes twice as long as reading, comparing and forgetting it does.
    let item = "first";
    let column = |name: &String| node::column(&[item, name]);
    let mut targets: Vec<_> = level.names.iter().map(|name| node::target(column(name), name)).collect();
    for (key, name) in keys.into_iter().zip(&fresh) {
        targets.push(node::target(column(level.names.get(key.column)?), name));
    }
    let sort_clause = core.sort_clause.clone();
    let rows = node::subselect(Node::SelectStmt(Box::new(core)), item, &level.names);
    Some(SelectStmt { sort_clause, ..node::select(targets, vec![node::wrap(rows)]) })
}

/// What an output column is computed from.
fn output(core: &SelectStmt, column: usize) -> Option<Node> {
    super::label::labelled(core.target_list.get(column)?).map(|(_, value)| value)
}

/// Of LIMIT or OFFSET; an error for what is no constant and no parameter.
fn amount(node: &Option<Box<pg_query::protobuf::Node>>) -> Result<Option<Amount>, ()> {
    let Some(node) = names::inner(node) else { return Ok(None) };
    match node {
        Node::ParamRef(parameter) => {
            let index = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
            index.map(|index| Some(Amount::Parameter(index))).ok_or(())
        }
        _ if names::is_null(node) => Err(()),
        _ => match names::constant(node) {
            Some(Val::Ival(value)) => Ok(Some(Amount::Rows(i64::from(value.ival)))),
            Some(Val::Fval(value)) => key::integer(&value.fval).map(|rows| Some(Amount::Rows(rows))).ok_or(()),
            Some(Val::Boolval(_) | Val::Sval(_) | Val::Bsval(_)) | None => Err(()),
        },
    }
}
