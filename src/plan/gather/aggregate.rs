//! Aggregates over rows that distribute: each shard computes partial ones for its rows, grouped as finely as the query needs, and
//! the merge server combines them, exactly.

use std::collections::BTreeSet;

use pg_query::protobuf::{FuncCall, Node as Wrapped, SelectStmt, a_const::Val};

use super::engine::{self, Engine};
use super::reference::{self, Content};
use super::{collation, combine};
use super::{label, node};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// What each shard computes, and where the merge server finds it.
pub struct Partial {
    /// The FROM item that stands for the part.
    pub item: String,
    /// What the part is grouped by, with the names of its columns.
    keys: Vec<(Node, String)>,
    /// Partial aggregates, with the names of their columns.
    aggregates: Vec<(FuncCall, String)>,
}

impl Partial {
    /// The column of the part with this grouping expression.
    pub fn key(&mut self, value: &Node) -> Node {
        if let Some(column) = self.known_key(value) {
            return column;
        }
        let name = format!("k{}", self.keys.len() + 1);
        self.keys.push((value.clone(), name.clone()));
        collation::written(value, node::column(&[&self.item, &name]))
    }

    fn known_key(&self, value: &Node) -> Option<Node> {
        let (_, name) = self.keys.iter().find(|(key, _)| key == value)?;
        Some(collation::written(value, node::column(&[&self.item, name])))
    }

    /// The column of the part with this partial aggregate.
    pub fn aggregate(&mut self, call: FuncCall) -> Node {
        let known = self.aggregates.iter().find(|(known, _)| *known == call).map(|(_, name)| name.clone());
        let name = known.unwrap_or_else(|| {
            let name = format!("a{}", self.aggregates.len() + 1);
            self.aggregates.push((call, name.clone()));
            name
        });
        node::column(&[&self.item, &name])
    }
}

/// How `count(DISTINCT x)` comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Distinct {
    /// Each shard counts, if no other has values of its own.
    Counted,
    /// The values are shipped.
    Shipped,
}

/// A level whose rows are a part's.
enum Rewritten {
    /// With the part, and the column whose values each shard counts.
    Level(Box<SelectStmt>, Partial, Option<Box<Node>>),
    /// What each shard counts it would count several times, or not alone.
    Finer,
    /// Its aggregates cannot be combined.
    Not,
}

/// Rewrites the expressions of one level.
struct Rewriter<'e, 'p, 'c> {
    engine: &'e Engine<'p, 'c>,
    builder: Builder<'e>,
    partial: Partial,
    /// FROM items of the level.
    items: BTreeSet<String>,
    failed: bool,
    distinct: Distinct,
    /// Columns whose values each shard counts.
    counted: Vec<Node>,
    /// How many of the partial's keys are those of a plain GROUP BY; more of them make finer groups.
    grouped: Option<usize>,
}

impl Engine<'_, '_> {
    /// Puts a part with partial aggregates in place of a level's rows, if its aggregates can be combined exactly.
    ///
    /// It has some, see [`Engine::is_aggregate`]. `correlated`: conditions that are decided on the merge server, for which the parts are grouped by their columns too.
    pub fn aggregate(
        &mut self,
        select: &mut SelectStmt,
        rows: &mut super::level::Level,
        (units, conditions): (&[usize], &[usize]),
        correlated: &[usize],
    ) -> Result<bool, Stop> {
        let mut items = BTreeSet::new();
        for unit in rows.lend(units, &[]).0 {
            items.extend(Content::of(unit)?.items);
        }
        let item = self.known.fresh("partial");
        let correlated = rows.conditions(correlated);
        for distinct in [Distinct::Counted, Distinct::Shipped] {
            let (level, partial, counted) =
                match self.rewritten(select, (&item, &items), correlated.clone(), distinct)? {
                    Rewritten::Level(level, partial, counted) => (level, partial, counted),
                    Rewritten::Finer => continue,
                    Rewritten::Not => return Ok(false),
                };
            let apart = match &counted {
                // One that distributes with each value once: no two shards have the same.
                Some(column) => {
                    let outputs = vec![node::target(column.as_ref().clone(), "")];
                    let all = vec![Wrapped { node: None }];
                    self.rows_once(rows.lend(units, conditions), outputs, all)?.is_some()
                }
                None => true,
            };
            if apart {
                return self.partial(select, level, rows, (units, conditions), (&item, &partial, counted));
            }
        }
        Ok(false)
    }

    /// A level over a part that is not made yet.
    fn rewritten(
        &self,
        select: &SelectStmt,
        (item, items): (&str, &BTreeSet<String>),
        mut correlated: Vec<Node>,
        distinct: Distinct,
    ) -> Result<Rewritten, Stop> {
        let mut rewriter = Rewriter {
            engine: self,
            builder: Builder::new(self.context),
            partial: Partial { item: item.to_owned(), keys: Vec::new(), aggregates: Vec::new() },
            items: items.clone(),
            failed: false,
            distinct,
            counted: Vec::new(),
            grouped: None,
        };
        let mut level = select.clone();
        rewriter.level(&mut level)?;
        for condition in &mut correlated {
            reference::substitute(condition, &mut |node| {
                let (item, _) = reference::of(node)?;
                rewriter.items.contains(item).then(|| rewriter.partial.key(node))
            })?;
        }
        level.where_clause = super::condition::all(correlated);
        let Rewriter { partial, failed, counted, grouped, .. } = rewriter;
        let finer = grouped != Some(partial.keys.len()) || partial.aggregates.len() != 1;
        if !counted.is_empty() && finer {
            return Ok(Rewritten::Finer);
        }
        let mut columns = true;
        for (key, _) in &partial.keys {
            columns &= self.is_column(key)? && !collation::within(key, &self.known)?;
        }
        if failed || !columns || (partial.keys.is_empty() && partial.aggregates.is_empty()) {
            return Ok(Rewritten::Not);
        }
        Ok(Rewritten::Level(Box::new(level), partial, counted.into_iter().next().map(Box::new)))
    }

    /// Puts the part there.
    fn partial(
        &mut self,
        select: &mut SelectStmt,
        mut level: Box<SelectStmt>,
        rows: &mut super::level::Level,
        (units, conditions): (&[usize], &[usize]),
        (item, partial, counted): (&str, &Partial, Option<Box<Node>>),
    ) -> Result<bool, Stop> {
        let arguments = partial.aggregates.iter().flat_map(|(call, _)| {
            call.args.iter().filter_map(|node| node.node.as_ref()).chain(names::inner(&call.agg_filter))
        });
        let sources: Vec<Wrapped> = partial
            .keys
            .iter()
            .map(|(key, _)| key)
            .chain(arguments)
            .map(|value| node::target(value.clone(), ""))
            .collect();
        let Some(target) = self.rows(rows.lend(units, conditions), sources)? else { return Ok(false) };
        let keys = partial.keys.iter().map(|(key, name)| node::target(key.clone(), name));
        let aggregates =
            partial.aggregates.iter().map(|(call, name)| node::target(Node::FuncCall(Box::new(call.clone())), name));
        let (from, conditions) = rows.take(units, conditions);
        let mut part = match counted {
            None => engine::select(from, conditions, keys.chain(aggregates).collect()),
            Some(column) => {
                let values = keys.chain(std::iter::once(node::target(*column, "c"))).collect();
                counts(engine::select(from, conditions, values), partial, &self.known.fresh("d"))
            }
        };
        part.group_clause = ordinals(partial.keys.len());
        let part = self.parts.add(part, target)?;
        for (key, name) in &partial.keys {
            if let Some(type_oid) = self.known.type_of(key) {
                self.known.types.insert((item.to_owned(), name.clone()), type_oid);
            }
        }
        level.from_clause = vec![node::wrap(Node::RangeVar(node::relation("pg_temp", &part, item)))];
        *select = *level;
        self.all_sublinks(select)?;
        Ok(true)
    }

    /// Whether a level has aggregates or groups.
    pub fn is_aggregate(&self, select: &SelectStmt) -> Result<bool, Stop> {
        if !select.group_clause.is_empty() || select.having_clause.is_some() {
            return Ok(true);
        }
        let mut builder = Builder::new(self.context);
        let mut found = false;
        for item in select.target_list.iter().chain(&select.sort_clause).filter_map(|item| item.node.as_ref()) {
            has_aggregate(&mut item.clone(), &mut builder, &mut found)?;
        }
        Ok(found)
    }
}

/// The values of the last column of some rows, each once, counted for each group of the other columns. PostgreSQL would sort all rows for
/// `count(DISTINCT c)`; so it can hash them, and in parallel.
fn counts(mut rows: SelectStmt, partial: &Partial, item: &str) -> SelectStmt {
    rows.group_clause = ordinals(partial.keys.len() + 1);
    let names = partial.keys.iter().map(|(_, name)| node::target(node::column(&[item, name]), name));
    let count = Node::FuncCall(Box::new(node::call("count", vec![node::column(&[item, "c"])])));
    let count = partial.aggregates.iter().map(|(_, name)| node::target(count.clone(), name));
    let outputs = names.chain(count).collect();
    node::select(outputs, vec![node::wrap(node::subselect(Node::SelectStmt(Box::new(rows)), item, &[]))])
}

fn ordinals(count: usize) -> Vec<Wrapped> {
    (1..).take(count).map(|position| node::wrap(node::integer(position))).collect()
}

fn aggregates(call: &FuncCall, builder: &Builder<'_>) -> Result<bool, Stop> {
    let Some((schema, name)) = names::qualified(&call.funcname) else { return Ok(false) };
    Ok(call.over.is_none() && builder.call(schema, name)?.0 == Call::Aggregate)
}

fn has_aggregate(node: &mut Node, builder: &mut Builder<'_>, found: &mut bool) -> Result<(), Stop> {
    match node {
        // What a sub-select is compared with is computed here.
        Node::SubLink(link) => {
            let test = link.testexpr.as_mut().and_then(|node| node.node.as_mut());
            return test.map_or(Ok(()), |test| has_aggregate(test, builder, found));
        }
        Node::FuncCall(call) => *found |= aggregates(call, builder)?,
        _ => {}
    }
    edit::children(node, &mut |child| has_aggregate(child, builder, found))
}

impl Rewriter<'_, '_, '_> {
    fn level(&mut self, level: &mut SelectStmt) -> Result<(), Stop> {
        let targets: Vec<Node> = level.target_list.iter().filter_map(label::labelled).map(|(_, value)| value).collect();
        level.where_clause = None;
        level.from_clause.clear();
        for item in level.group_clause.iter_mut().filter_map(|item| item.node.as_mut()) {
            self.group(item, &targets)?;
        }
        let plain = |item: &Wrapped| !matches!(item.node, Some(Node::GroupingSet(_)));
        self.grouped = level.group_clause.iter().all(plain).then_some(self.partial.keys.len());
        self.failed |= self.grouped.is_none() && !self.partial.keys.iter().all(|(key, _)| super::group::lasts(key));
        let mut rest = Node::SelectStmt(Box::new(SelectStmt {
            target_list: std::mem::take(&mut level.target_list),
            distinct_clause: std::mem::take(&mut level.distinct_clause),
            having_clause: level.having_clause.take(),
            window_clause: std::mem::take(&mut level.window_clause),
            sort_clause: std::mem::take(&mut level.sort_clause),
            ..SelectStmt::default()
        }));
        edit::children(&mut rest, &mut |child| self.node(child))?;
        let Node::SelectStmt(rest) = rest else { return Ok(()) };
        level.target_list = rest.target_list;
        level.distinct_clause = rest.distinct_clause;
        level.having_clause = rest.having_clause;
        level.window_clause = rest.window_clause;
        level.sort_clause = rest.sort_clause;
        Ok(())
    }

    fn group(&mut self, item: &mut Node, targets: &[Node]) -> Result<(), Stop> {
        match item {
            Node::GroupingSet(set) => set
                .content
                .iter_mut()
                .filter_map(|node| node.node.as_mut())
                .try_for_each(|node| self.group(node, targets)),
            Node::RowExpr(row) => {
                row.args.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(|node| self.group(node, targets))
            }
            _ => {
                let value = match names::constant(item) {
                    Some(Val::Ival(position)) => {
                        let at = usize::try_from(position.ival).ok().and_then(|at| at.checked_sub(1));
                        at.and_then(|at| targets.get(at)).filter(|value| !matches!(value, Node::AConst(_))).cloned()
                    }
                    Some(_) => None,
                    None => Some(item.clone()),
                };
                match value {
                    Some(value) if self.plain(&value)? => *item = self.partial.key(&value),
                    _ => self.failed = true,
                }
                Ok(())
            }
        }
    }

    fn node(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Some(column) = self.partial.known_key(node) {
            *node = column;
            return Ok(());
        }
        match node {
            Node::SubLink(link) => {
                if let Some(test) = link.testexpr.as_mut().and_then(|node| node.node.as_mut()) {
                    self.node(test)?;
                }
                let query = link.subselect.as_mut().and_then(|node| node.node.as_mut());
                query.map_or(Ok(()), |query| self.inside(query))
            }
            Node::FuncCall(call) if aggregates(call, &self.builder)? => {
                match self.combined(call)? {
                    Some(combined) => *node = combined,
                    None => self.failed = true,
                }
                Ok(())
            }
            Node::ColumnRef(_) => {
                self.column(node);
                Ok(())
            }
            _ => edit::children(node, &mut |child| self.node(child)),
        }
    }

    /// In a sub-select, whose aggregates are its own, but for those of the level's columns, which may be of the level: no partial row
    /// stands for the rows that these are about. *Source*: parse_agg.c, transformAggregateCall.
    fn inside(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Some(column) = self.partial.known_key(node) {
            *node = column;
            return Ok(());
        }
        match node {
            Node::FuncCall(call) if aggregates(call, &self.builder)? => {
                let content = Content::of(&mut Node::FuncCall(call.clone()))?;
                self.failed |= content.outside().iter().any(|item| self.items.contains(*item));
                edit::children(node, &mut |child| self.inside(child))
            }
            Node::ColumnRef(_) => {
                self.column(node);
                Ok(())
            }
            _ => edit::children(node, &mut |child| self.inside(child)),
        }
    }

    fn column(&mut self, node: &Node) {
        let Some((item, _)) = reference::of(node) else { return };
        self.failed |= self.items.contains(item);
    }

    /// Only of the level's own rows, and the same wherever it is computed.
    fn plain(&self, node: &Node) -> Result<bool, Stop> {
        let content = Content::of(&mut node.clone())?;
        let own = content.outside().iter().all(|item| self.items.contains(*item));
        Ok(own && !content.sublinks && content.bare.is_empty() && self.engine.steady(&content)?)
    }

    fn combined(&mut self, call: &FuncCall) -> Result<Option<Node>, Stop> {
        let Some((None | Some("pg_catalog"), name)) = names::qualified(&call.funcname) else { return Ok(None) };
        if self.builder.is_overloaded(name) {
            return Ok(None);
        }
        for part in call
            .args
            .iter()
            .chain(&call.agg_order)
            .filter_map(|node| node.node.as_ref())
            .chain(names::inner(&call.agg_filter))
        {
            if !self.plain(part)? {
                return Ok(None);
            }
        }
        let argument = call.args.first().and_then(|node| node.node.as_ref());
        if let (Distinct::Counted, "count", Some(column @ Node::ColumnRef(_))) = (self.distinct, name, argument)
            && (call.agg_distinct, call.func_variadic, call.args.len()) == (true, false, 1)
            && call.agg_order.is_empty()
            && call.agg_filter.is_none()
        {
            self.counted.push(column.clone());
            return Ok(Some(combine::counted(self.partial.aggregate(call.clone()))));
        }
        let known = &self.engine.known;
        if let (Some(argument), "min" | "max") = (argument, name)
            && (collation::within(argument, known)? || !collation::determined(argument, known)?)
        {
            return Ok(None);
        }
        let type_oid = argument.and_then(|argument| known.type_of(argument));
        combine::combine(name, call, type_oid, &mut self.partial)
    }
}
