//! A MERGE that inserts rows on other shards than its source's: taken apart into the rows of the source, which of them match, a MERGE of those
//! that do, and an INSERT of the others.
//!
//! The source is read once, and its rows are numbered. Every shard says which of them match rows of its own. Then each part of the statement
//! has the source as constants, and no two parts deal with the same row of it. *Source*: manual of PostgreSQL 15, MERGE: a WHEN clause is
//! chosen for a row before any is executed, and what the statement itself inserts does not match.

use pg_query::protobuf::{
    BoolExpr, BoolExprType, BoolTestType, BooleanTest, CaseExpr, CaseWhen, CmdType, InsertStmt, MergeMatchKind,
    MergeStmt, MergeWhenClause, Node as Wrapped, RangeVar, ResTarget, SelectStmt, SubLink, SubLinkType, WithClause,
};

use super::reference::Content;
use super::survey::{self, Survey};
use super::{condition, node};
use crate::catalog::Relation;
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::scope::SYSTEM_COLUMNS;
use crate::sql::{Node, edit, names};

/// The number of a source's row among them.
const ROW: &str = "pgbraid_row";

/// What was read for rows of it.
const READ: &str = "pgbraid_read";

/// The parts of a MERGE.
pub struct Apart {
    /// The rows of the source, numbered: the first source.
    pub source: SelectStmt,
    /// What is read over it: the numbers of the rows that match, which is the next source, and values of those that do not, each one more.
    pub reads: Vec<SelectStmt>,
    /// What is done, over all of them, in this order.
    pub writes: Vec<Node>,
}

/// Whether it inserts rows.
pub fn inserts(merge: &MergeStmt) -> bool {
    merge.merge_when_clauses.iter().filter_map(clause).any(|clause| clause.command_type() == CmdType::CmdInsert)
}

/// Whether other parts than the source name its WITH queries, so that what these return must be there for all.
pub fn shares_with(merge: &MergeStmt) -> Option<bool> {
    let mut content = Content::default();
    for mut part in expressions(merge)?.into_iter().filter_map(|part| part.node) {
        content.add(&mut part).ok()?;
    }
    let mut named = merge.with_clause.iter().flat_map(|with| &with.ctes).filter_map(names::cte_name);
    Some(named.any(|name| content.bare.contains(&name)))
}

/// Takes a MERGE apart, whose source is the source of this number; `None` if it inserts nothing, or its parts might mean something else
/// than the whole. `shared`: WITH queries that all parts may name.
pub fn apart(merge: &MergeStmt, first: usize, shared: bool, context: &Context<'_>) -> Option<Apart> {
    let target = merge.relation.as_ref()?;
    let relation = Builder::new(context).target(Some(target)).ok()?;
    let shown = shown(names::inner(&merge.source_relation)?)?;
    let clauses: Vec<&MergeWhenClause> = merge.merge_when_clauses.iter().map(clause).collect::<Option<_>>()?;
    if merge.returning_clause.is_some() || !inserts(merge) {
        return None;
    }
    let mut rest = merge.clone();
    rest.source_relation = None;
    let with = rest.with_clause.take();
    if means_system(merge)? || !chooses_once(merge, &clauses, context)? {
        return None;
    }
    let shared = with.clone().filter(|_| shared);
    rest.with_clause.clone_from(&shared);
    let (matched, unmatched): (Vec<&MergeWhenClause>, Vec<&MergeWhenClause>) =
        clauses.iter().partition(|clause| clause.match_kind() == MergeMatchKind::MergeWhenMatched);
    // What its rows take along goes before what is inserted.
    if relation.cascades && matched.iter().any(|clause| clause.command_type() == CmdType::CmdDelete) {
        return None;
    }
    let mut writes = Vec::new();
    if matched.iter().any(|clause| clause.command_type() != CmdType::CmdNothing) {
        let own = |clause: &&MergeWhenClause| node::wrap(Node::MergeWhenClause(Box::new((*clause).clone())));
        rest.merge_when_clauses = matched.iter().map(own).collect();
        rest.source_relation = node::boxed(of_source(first, &shown, Some(in_matches(first))));
        writes.push(Node::MergeStmt(Box::new(rest)));
    }
    let mut reads = Vec::new();
    let mut before: Vec<Node> = Vec::new();
    for clause in unmatched {
        let own = names::inner(&clause.condition);
        if clause.command_type() == CmdType::CmdInsert {
            let conditions = before.iter().cloned().chain(own.cloned()).collect();
            let rows = Unmatched { first, shown: &shown, condition: chosen(first, condition::all(conditions)) };
            writes.push(insert(target, &relation, clause, rows, (&mut reads, &shared))?);
        }
        // A row goes to the first clause whose condition holds.
        match own {
            Some(condition) => before.push(is_not_true(condition.clone())),
            None => break,
        }
    }
    let number = Node::FuncCall(Box::new(pg_query::protobuf::FuncCall {
        over: Some(Box::new(pg_query::protobuf::WindowDef { frame_options: DEFAULT_FRAME, ..Default::default() })),
        ..node::call("row_number", Vec::new())
    }));
    let item = *merge.source_relation.clone()?;
    let mut targets = columns(merge, &item, &shown, with.iter().flat_map(|with| &with.ctes), context)?;
    targets.push(node::target(number, ROW));
    let mut source = node::select(targets, vec![item]);
    source.with_clause = with;
    let tables = [Node::RangeVar(target.clone()), of_source(first, &shown, None)].map(node::wrap).to_vec();
    let mut matches = node::select(vec![node::target(node::column(&[&shown, ROW]), ROW)], tables);
    matches.where_clause.clone_from(&merge.join_condition);
    matches.with_clause = shared;
    reads.insert(0, matches);
    Some(Apart { source, reads, writes })
}

/// The columns of the source: of a table those that are mentioned.
fn columns<'w>(
    merge: &MergeStmt,
    item: &Wrapped,
    shown: &str,
    mut with: impl Iterator<Item = &'w Wrapped>,
    context: &Context<'_>,
) -> Option<Vec<Wrapped>> {
    let mut survey = Survey::default();
    let clauses = merge.merge_when_clauses.iter().filter_map(clause);
    let listed = clauses.clone().flat_map(|clause| clause.target_list.iter().chain(&clause.values));
    let conditions = clauses.filter_map(|clause| clause.condition.as_deref()).chain(merge.join_condition.as_deref());
    for mut part in listed.chain(conditions).filter_map(|part| part.node.clone()) {
        survey.node(&mut part).ok()?;
    }
    if let Some(Node::RangeVar(name)) = &item.node
        && !survey::in_full(&survey, name)
        && !with.any(|cte| names::cte_name(cte).as_deref() == Some(&name.relname))
    {
        let relation = Builder::new(context).table(name).cloned()?;
        let mentioned = relation.columns.iter().filter(|column| survey.mentioned.contains(&column.name));
        return Some(mentioned.map(|column| node::target(node::column(&[shown, &column.name]), "")).collect());
    }
    let star = node::wrap(Node::AStar(pg_query::protobuf::AStar {}));
    let all = Node::ColumnRef(pg_query::protobuf::ColumnRef { fields: vec![node::name(shown), star], location: 0 });
    Some(vec![node::target(all, "")])
}

/// *Source*: parsenodes.h, FRAMEOPTION_DEFAULTS (RANGE, START_UNBOUNDED_PRECEDING, END_CURRENT_ROW).
const DEFAULT_FRAME: i32 = 0x2 | 0x20 | 0x400;

fn clause(node: &Wrapped) -> Option<&MergeWhenClause> {
    match &node.node {
        Some(Node::MergeWhenClause(clause)) => match clause.match_kind() {
            MergeMatchKind::MergeWhenMatched | MergeMatchKind::MergeWhenNotMatchedByTarget => Some(clause),
            MergeMatchKind::MergeWhenNotMatchedBySource | MergeMatchKind::Undefined => None,
        },
        _ => None,
    }
}

/// The name under which the source's columns are known, if it is a table or a sub-select with one.
pub(super) fn shown(source: &Node) -> Option<String> {
    match source {
        Node::RangeVar(name) => Some(names::alias_or_name(name).to_owned()),
        Node::RangeSubselect(query) if !query.lateral => query.alias.as_ref().map(|alias| alias.aliasname.clone()),
        _ => None,
    }
}

/// The expressions of all but the source.
fn expressions(merge: &MergeStmt) -> Option<Vec<Wrapped>> {
    let mut parts = vec![*merge.join_condition.clone()?];
    for clause in merge.merge_when_clauses.iter().map(clause) {
        let clause = clause?;
        parts.extend(clause.condition.as_deref().cloned());
        parts.extend(clause.target_list.iter().chain(&clause.values).cloned());
    }
    Some(parts)
}

/// Whether a system column may be meant, or all columns of something.
fn means_system(merge: &MergeStmt) -> Option<bool> {
    let mut found = false;
    for mut part in expressions(merge)?.into_iter().filter_map(|part| part.node) {
        found |= meant(&mut part, false).ok()?;
    }
    Some(found)
}

/// The same of an expression; in a sub-select `*` is its own.
fn meant(node: &mut Node, within: bool) -> Result<bool, Stop> {
    let mut found = match node {
        Node::ColumnRef(column) => column.fields.last().is_some_and(|last| match names::string(last) {
            Some(name) => SYSTEM_COLUMNS.contains(&name),
            None => !within,
        }),
        _ => false,
    };
    let within = within || matches!(node, Node::SubLink(_));
    edit::children(node, &mut |child| -> Result<(), Stop> {
        found |= meant(child, within)?;
        Ok(())
    })?;
    Ok(found)
}

/// Whether WITH queries say the same each time they are asked.
pub fn steady_with(with: &WithClause, context: &Context<'_>) -> Option<bool> {
    let builder = Builder::new(context);
    for cte in with.ctes.iter().filter_map(|cte| cte.node.as_ref()) {
        if !Content::of(&mut cte.clone()).ok()?.calls_steady(&builder)? {
            return Some(false);
        }
    }
    Some(true)
}

/// Whether conditions that stand in several parts say the same in each.
fn chooses_once(merge: &MergeStmt, clauses: &[&MergeWhenClause], context: &Context<'_>) -> Option<bool> {
    let unmatched = |clause: &&&MergeWhenClause| clause.match_kind() != MergeMatchKind::MergeWhenMatched;
    let several = clauses.iter().filter(unmatched).count() > 1;
    let conditions = clauses.iter().filter(|_| several).filter_map(|clause| names::inner(&clause.condition));
    let builder = Builder::new(context);
    for condition in conditions.chain(names::inner(&merge.join_condition)) {
        if !Content::of(&mut condition.clone()).ok()?.calls_steady(&builder)? {
            return Some(false);
        }
    }
    Some(true)
}

/// The rows of the source as a FROM item.
fn of_source(first: usize, shown: &str, condition: Option<Node>) -> Node {
    let mut rows = super::site::rows(first);
    rows.where_clause = condition.and_then(node::boxed);
    node::subselect(Node::SelectStmt(Box::new(rows)), shown, &[])
}

/// `pgbraid_row IN (the numbers of rows that match)`
fn in_matches(first: usize) -> Node {
    Node::SubLink(Box::new(SubLink {
        sub_link_type: SubLinkType::AnySublink as i32,
        testexpr: node::boxed(node::column(&[ROW])),
        subselect: node::boxed(Node::SelectStmt(Box::new(super::site::rows(first + 1)))),
        ..SubLink::default()
    }))
}

fn is_not_true(condition: Node) -> Node {
    Node::BooleanTest(Box::new(BooleanTest {
        arg: node::boxed(condition),
        booltesttype: BoolTestType::IsNotTrue as i32,
        ..BooleanTest::default()
    }))
}

fn not(condition: Node) -> Node {
    Node::BoolExpr(Box::new(BoolExpr {
        boolop: BoolExprType::NotExpr as i32,
        args: vec![node::wrap(condition)],
        ..BoolExpr::default()
    }))
}

/// Rows of the source for which a WHEN NOT MATCHED is chosen.
struct Unmatched<'a> {
    first: usize,
    shown: &'a str,
    condition: Option<Box<Wrapped>>,
}

/// WHEN NOT MATCHED as an INSERT of the source's rows that have no match. What it finds by sub-selects is read before anything is written.
fn insert(
    target: &RangeVar,
    relation: &Relation,
    clause: &MergeWhenClause,
    rows: Unmatched<'_>,
    (reads, with): (&mut Vec<SelectStmt>, &Option<WithClause>),
) -> Option<Node> {
    let mut columns = Vec::new();
    let mut values = Vec::new();
    let mut read = vec![node::target(node::column(&[rows.shown, ROW]), ROW)];
    let asks = |value: &Node| Some(Content::of(&mut value.clone()).ok()?.sublinks);
    for (at, value) in clause.values.iter().enumerate() {
        if matches!(value.node, Some(Node::SetToDefault(_))) {
            continue;
        }
        columns.push(match clause.target_list.get(at) {
            Some(column) => column.clone(),
            None if clause.target_list.is_empty() => {
                let name = relation.columns.get(at)?.name.clone();
                node::wrap(Node::ResTarget(Box::new(ResTarget { name, ..ResTarget::default() })))
            }
            None => return None,
        });
        let mut value = value.node.clone()?;
        if asks(&value)? {
            let name = format!("c{}", read.len());
            read.push(node::target(value, &name));
            value = node::column(&[READ, &name]);
        }
        values.push(node::target(value, ""));
    }
    if values.is_empty() {
        return None;
    }
    let own_condition = names::inner(&clause.condition).map_or(Some(false), asks)?;
    let mut select = node::select(values, vec![node::wrap(of_source(rows.first, rows.shown, None))]);
    if read.len() > 1 || own_condition {
        let mut reading = node::select(read, vec![node::wrap(of_source(rows.first, rows.shown, None))]);
        reading.where_clause = rows.condition;
        reading.with_clause.clone_from(with);
        reads.push(reading);
        // The numbers of those that match are the one before the first of these.
        let found = super::site::rows(rows.first + 1 + reads.len());
        select.from_clause.push(node::wrap(node::subselect(Node::SelectStmt(Box::new(found)), READ, &[])));
        select.where_clause =
            node::boxed(condition::equal(node::column(&[rows.shown, ROW]), node::column(&[READ, ROW])));
    } else {
        select.where_clause = rows.condition;
    }
    Some(Node::InsertStmt(Box::new(InsertStmt {
        relation: Some(RangeVar { alias: None, ..target.clone() }),
        cols: columns,
        select_stmt: node::boxed(Node::SelectStmt(Box::new(select))),
        r#override: clause.r#override,
        ..InsertStmt::default()
    })))
}

/// Rows that do not match and meet a condition, which is not evaluated for those that do: PostgreSQL puts conditions in an order of its own,
/// but not those in a CASE.
fn chosen(first: usize, condition: Option<Box<Wrapped>>) -> Option<Box<Wrapped>> {
    let first = not(in_matches(first));
    let Some(condition) = condition else { return node::boxed(first) };
    let when = CaseWhen { expr: node::boxed(first), result: Some(condition), ..CaseWhen::default() };
    let when = node::wrap(Node::CaseWhen(Box::new(when)));
    node::boxed(Node::CaseExpr(Box::new(CaseExpr { args: vec![when], ..CaseExpr::default() })))
}
