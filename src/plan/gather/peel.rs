//! ORDER BY, LIMIT and DISTINCT over a query that distributes without them: each shard gives its own first rows, or each value
//! once, and the merge server chooses among them.

use pg_query::protobuf::{Float, LimitOption, Node as Wrapped, SelectStmt, SortBy, a_const::Val};

use super::engine::{self, Engine};
use super::reference::Content;
use super::{collation, condition, label, node};
use crate::plan::ir::Stop;
use crate::plan::key;
use crate::sql::{Node, names};

impl Engine<'_, '_> {
    /// Puts a part in place of a level, if that distributes but for its order, limit and DISTINCT.
    pub fn peel(&mut self, select: &mut SelectStmt, top: bool) -> Result<bool, Stop> {
        let limited = select.limit_count.is_some() || select.limit_offset.is_some();
        if select.sort_clause.is_empty() && !limited && select.distinct_clause.is_empty() {
            return Ok(false);
        }
        let content = Content::of_select(select)?;
        if content.tables.is_empty() || !content.closed() || (select.with_clause.is_some() && content.sublinks) {
            return Ok(false);
        }
        // One moment for all rows.
        if content.functions.iter().any(|(_, name)| name == "statement_timestamp") {
            return Ok(false);
        }
        let Some(mut level) = self.level(select)? else { return Ok(false) };
        let Some(target) = self.parts.target(&level.core)? else {
            level.undo(select);
            return Ok(false);
        };
        if top && self.parts.made.is_empty() {
            self.parts.ordered = self.ordered(select, &level, &content)?;
        }
        let distinct: Vec<Wrapped> = level.distinct.iter().map(|at| level.ordinal(*at)).collect();
        let limit = select.limit_count.as_deref().and_then(|_| first_rows(select));
        if limit.is_some() || !distinct.is_empty() {
            level.core.sort_clause = level.sorted(|level, at| level.ordinal(at));
        }
        if limit.is_some() {
            level.core.limit_count = limit;
            level.core.limit_option = select.limit_option;
        }
        level.core.distinct_clause =
            if select.distinct_clause.len() == distinct.len() { distinct } else { select.distinct_clause.clone() };
        let core = std::mem::take(&mut level.core);
        let values: Vec<Node> = collation::outputs(&core.target_list).cloned().collect();
        let part = self.parts.add(core, target)?;
        let item = self.known.fresh(&part);
        let column = |at: usize| {
            let column = node::column(&[&item, level.names.get(at).map_or("", String::as_str)]);
            values.get(at).map_or(column.clone(), |value| collation::written(value, column))
        };
        let labels: Vec<String> = select.target_list.iter().map(engine::label).collect();
        select.target_list = labels.iter().enumerate().map(|(at, label)| node::target(column(at), label)).collect();
        select.sort_clause = level.sorted(|_, at| node::wrap(column(at)));
        if !level.distinct.is_empty() {
            select.distinct_clause = level.distinct.iter().map(|at| node::wrap(column(*at))).collect();
        }
        select.from_clause = vec![node::wrap(Node::RangeVar(node::relation("pg_temp", &part, &item)))];
        select.where_clause = None;
        select.group_clause.clear();
        select.group_distinct = false;
        select.having_clause = None;
        select.window_clause.clear();
        select.with_clause = None;
        self.all_sublinks(select)?;
        Ok(true)
    }

    /// One whose columns a table can have.
    fn level(&self, select: &mut SelectStmt) -> Result<Option<Level>, Stop> {
        let order = select.sort_clause.iter().filter_map(|item| match &item.node {
            Some(Node::SortBy(by)) => names::inner(&by.node),
            _ => None,
        });
        for value in order.chain(select.distinct_clause.iter().filter_map(|item| item.node.as_ref())) {
            if !collation::determined(value, &self.known)? {
                return Ok(None);
            }
        }
        Ok(if collation::determined_outputs(select, &self.known)? { Level::new(select) } else { None })
    }
}

/// A level without its order, with what it is ordered by among its outputs.
pub struct Level {
    pub core: SelectStmt,
    /// Of the output columns.
    pub names: Vec<String>,
    /// Positions of what it is ordered by.
    pub order: Vec<(usize, SortBy)>,
    /// Positions of DISTINCT ON.
    pub distinct: Vec<usize>,
}

impl Level {
    /// Takes what it needs out of `select`, if it is one.
    fn new(select: &mut SelectStmt) -> Option<Level> {
        let all = matches!(select.distinct_clause.as_slice(), [only] if only.node.is_none());
        let outputs: Vec<(String, Node)> = select.target_list.iter().filter_map(label::labelled).collect();
        if outputs.len() != select.target_list.len() || !outputs.iter().all(|(_, value)| engine::shippable(value)) {
            return None;
        }
        let mut level =
            Level { core: SelectStmt::default(), names: Vec::new(), order: Vec::new(), distinct: Vec::new() };
        let mut values = outputs;
        for item in &select.sort_clause {
            let Some(Node::SortBy(by)) = &item.node else { return None };
            let before = values.len();
            let at = position(names::inner(&by.node)?, &mut values, select.target_list.len())?;
            if all && values.len() > before {
                return None;
            }
            level.order.push((at, by.as_ref().clone()));
        }
        if !all {
            for item in &select.distinct_clause {
                level.distinct.push(position(item.node.as_ref()?, &mut values, select.target_list.len())?);
            }
        }
        let labels: Vec<String> = values.iter().map(|(label, _)| label.clone()).collect();
        level.names = engine::distinct(&labels);
        let outputs = values.into_iter().zip(&level.names).map(|((_, value), name)| node::target(value, name));
        level.core = SelectStmt {
            target_list: outputs.collect(),
            from_clause: std::mem::take(&mut select.from_clause),
            where_clause: select.where_clause.take(),
            group_clause: std::mem::take(&mut select.group_clause),
            group_distinct: select.group_distinct,
            having_clause: select.having_clause.take(),
            window_clause: std::mem::take(&mut select.window_clause),
            with_clause: select.with_clause.take(),
            limit_option: LimitOption::Default as i32,
            locking_clause: select.locking_clause.clone(),
            op: select.op,
            ..SelectStmt::default()
        };
        Some(level)
    }

    /// What it has been made of is whole again.
    fn undo(self, select: &mut SelectStmt) {
        let SelectStmt { from_clause, where_clause, group_clause, having_clause, window_clause, with_clause, .. } =
            self.core;
        *select = SelectStmt {
            from_clause,
            where_clause,
            group_clause,
            having_clause,
            window_clause,
            with_clause,
            ..std::mem::take(select)
        };
    }

    pub fn ordinal(&self, at: usize) -> Wrapped {
        node::wrap(node::integer(i32::try_from(at + 1).unwrap_or(i32::MAX)))
    }

    pub fn sorted(&self, value: impl Fn(&Level, usize) -> Wrapped) -> Vec<Wrapped> {
        let by = |(at, by): &(usize, SortBy)| {
            let by = SortBy { node: Some(Box::new(value(self, *at))), ..by.clone() };
            node::wrap(Node::SortBy(Box::new(by)))
        };
        self.order.iter().map(by).collect()
    }
}

/// The output column that an ORDER BY item means; one more is added if there is none (findTargetlistEntrySQL92).
fn position(item: &Node, values: &mut Vec<(String, Node)>, outputs: usize) -> Option<usize> {
    if let Some(Val::Ival(position)) = names::constant(item) {
        return usize::try_from(position.ival).ok()?.checked_sub(1).filter(|at| *at < outputs);
    }
    if let Node::ColumnRef(column) = item
        && let [only] = column.fields.as_slice()
    {
        let name = names::string(only)?;
        return values.iter().take(outputs).position(|(label, _)| label == name);
    }
    if let Some(at) = values.iter().position(|(_, value)| value == item) {
        return Some(at);
    }
    if !engine::shippable(item) {
        return None;
    }
    values.push((format!("s{}", values.len() + 1), item.clone()));
    Some(values.len() - 1)
}

/// Two of them can be added.
const SUMMED_MAX: i64 = i64::MAX / 2;

/// How many rows of each shard suffice: LIMIT and OFFSET together. `None`: no number does.
pub fn first_rows(select: &SelectStmt) -> Option<Box<Wrapped>> {
    let limit = names::inner(&select.limit_count)?;
    let Some(offset) = names::inner(&select.limit_offset) else {
        return amount(limit).map(|_| ()).and(node::boxed(limit.clone()));
    };
    match (amount(limit)?, amount(offset)?) {
        // The error that PostgreSQL has for it comes first. Source: nodeLimit.c, recompute_limits.
        (_, Some(..=-1)) => None,
        (Some(limit), Some(offset)) => node::boxed(whole_number(limit.checked_add(offset)?)),
        (Some(SUMMED_MAX..), None) | (None, Some(SUMMED_MAX..)) => None,
        known => {
            let wide = |node: &Node| node::cast(node.clone(), &["pg_catalog", "int8"], &[]);
            // NULL is no limit: where the sum is no number of rows.
            let unless = |operator, node, bound| (condition::operator(operator, wide(node), bound), node::null());
            let mut arms = Vec::new();
            if known.1.is_none() {
                arms.push(unless("<", offset, node::integer(0)));
                arms.push(unless(">", offset, whole_number(SUMMED_MAX)));
            }
            if known.0.is_none() {
                arms.push(unless(">", limit, whole_number(SUMMED_MAX)));
            }
            node::boxed(node::case(arms, condition::operator("+", wide(limit), wide(offset))))
        }
    }
}

/// A constant amount, or `Some(None)` for a parameter; `None` for what each server might compute differently.
fn amount(node: &Node) -> Option<Option<i64>> {
    match node {
        Node::ParamRef(_) => Some(None),
        Node::AConst(_) => match names::constant(node)? {
            Val::Ival(value) => Some(Some(i64::from(value.ival))),
            Val::Fval(value) => key::integer(&value.fval).map(Some),
            Val::Boolval(_) | Val::Sval(_) | Val::Bsval(_) => None,
        },
        _ => None,
    }
}

fn whole_number(value: i64) -> Node {
    match i32::try_from(value) {
        Ok(value) => node::integer(value),
        Err(_) => Node::AConst(pg_query::protobuf::AConst {
            val: Some(Val::Fval(Float { fval: value.to_string() })),
            ..pg_query::protobuf::AConst::default()
        }),
    }
}
