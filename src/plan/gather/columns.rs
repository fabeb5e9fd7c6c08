//! MERGE from a source that is no single table or sub-select with a name, or whose rows are meant as a whole: the same MERGE from a
//! sub-select that has what is used of the source, a column each.

use pg_query::protobuf::{MergeMatchKind, MergeStmt, Node as Wrapped};

use super::qualify::qualify;
use super::reference::{self, Content, Reference};
use super::site::source_of;
use super::{node, survey, unmatched};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::plan::{Context, Refusal};
use crate::sql::{Node, edit, names};

/// The name of the sub-select.
const SOURCE: &str = "pgbraid_source";

/// Such a MERGE as one from columns; any other as it is. `None` if a name in it is not certain.
pub fn of(merge: &MergeStmt, context: &Context<'_>) -> Option<MergeStmt> {
    let source = names::inner(&merge.source_relation)?;
    let mut merge = merge.clone();
    let shown = unmatched::shown(source);
    let mut whole = false;
    for (_, expression) in expressions(&mut merge) {
        whole |= means_whole(expression, shown.as_deref().unwrap_or_default()).ok()?;
    }
    if shown.is_some() && !whole { Some(merge) } else { from_columns(merge, context) }
}

/// Why a MERGE that inserts rows on several shards cannot be taken apart, where that is something in its own words.
pub fn reason(merge: &MergeStmt, context: &Context<'_>) -> Option<Refusal> {
    let mut merge = merge.clone();
    let builder = Builder::new(context);
    let condition = names::inner(&merge.join_condition)?.clone();
    for (schema, name) in Content::of(&mut condition.clone()).ok()?.functions {
        if !matches!(builder.call(schema.as_deref(), &name), Ok((Call::Steady | Call::Aggregate | Call::Window, _))) {
            return Some(
                Refusal::unsupported(format!(
                    "the condition of a MERGE over several shards calls {name}(), which might say something else each time it is asked"
                ))
                .hint("Compute it in a sub-select that is the source of the MERGE."),
            );
        }
    }
    let shown = match names::inner(&merge.source_relation)? {
        Node::RangeVar(name) => names::alias_or_name(name).to_owned(),
        Node::RangeSubselect(query) => query.alias.as_ref()?.aliasname.clone(),
        _ => return None,
    };
    for (_, expression) in expressions(&mut merge) {
        if means_whole(expression, &shown).ok()? {
            return Some(
                Refusal::unsupported(format!(
                    "a MERGE over several shards that takes a row of \"{shown}\" as a whole is not supported"
                ))
                .hint("Name its columns, or make the row a column in the source of the MERGE."),
            );
        }
        let mut survey = survey::Survey::default();
        if let Err(Stop::Refuse(refusal)) = survey.node(expression) {
            return Some(refusal);
        }
    }
    None
}

fn from_columns(mut merge: MergeStmt, context: &Context<'_>) -> Option<MergeStmt> {
    let source = *merge.source_relation.take()?;
    let target = node::wrap(Node::RangeVar(merge.relation.clone()?));
    let with = merge.with_clause.take();
    // Where nothing matches, the target's names are not seen.
    let mut seen: [Vec<Wrapped>; 2] = Default::default();
    for (matched, expression) in expressions(&mut merge) {
        let [unseen, both] = &mut seen;
        let list = if matched { both } else { unseen };
        list.push(node::target(expression.clone(), "x"));
    }
    let [unseen, both] = seen;
    let counts = [unseen.len(), both.len()];
    let mut selects = [node::select(unseen, vec![source.clone()]), node::select(both, vec![target, source])];
    for (select, count) in selects.iter_mut().zip(counts) {
        select.with_clause.clone_from(&with);
        qualify(select, context).ok()?;
        if select.target_list.len() != count {
            return None;
        }
    }
    let [mut unseen, mut both] = selects;
    merge.with_clause = both.with_clause.take();
    let (source, again) = (unseen.from_clause.pop()?, both.from_clause.pop()?);
    let Some(Node::RangeVar(target)) = both.from_clause.pop()?.node else { return None };
    // Both must have given the same names.
    if again != source || unseen.with_clause != merge.with_clause {
        return None;
    }
    let own = target.alias.as_ref()?.aliasname.clone();
    let mut columns: Vec<Reference> = Vec::new();
    let (mut unseen, mut both) = (unseen.target_list.into_iter(), both.target_list.into_iter());
    for (matched, expression) in expressions(&mut merge) {
        let Some(Node::ResTarget(named)) = (if matched { both.next() } else { unseen.next() })?.node else {
            return None;
        };
        *expression = named.val?.node?;
        let content = Content::of(expression).ok()?;
        let outside: Vec<String> = content.outside().into_iter().map(str::to_owned).collect();
        let of_source = |item: &str| item != own && outside.iter().any(|name| name == item);
        reference::substitute(expression, &mut |node| {
            let (item, column) = reference::of(node).filter(|(item, _)| of_source(item))?;
            let found = columns.iter().position(|(i, c)| i == item && c == column).unwrap_or_else(|| {
                columns.push((item.to_owned(), column.to_owned()));
                columns.len() - 1
            });
            Some(node::column(&[SOURCE, &format!("c{}", found + 1)]))
        })
        .ok()?;
    }
    let named = columns.iter().enumerate();
    let mut targets: Vec<Wrapped> = named
        .map(|(at, (item, column))| node::target(node::column(&[item, column]), &format!("c{}", at + 1)))
        .collect();
    if targets.is_empty() {
        targets.push(node::target(node::yes(), "c1"));
    }
    let select = node::select(targets, vec![source]);
    merge.source_relation = node::boxed(node::subselect(Node::SelectStmt(Box::new(select)), SOURCE, &[]));
    merge.relation = Some(target);
    Some(merge)
}

/// The expressions of a MERGE, and whether each sees the target.
fn expressions(merge: &mut MergeStmt) -> Vec<(bool, &mut Node)> {
    let mut found = Vec::new();
    found.extend(merge.join_condition.as_mut().and_then(|node| node.node.as_mut()).map(|node| (true, node)));
    for clause in merge.merge_when_clauses.iter_mut().filter_map(|clause| clause.node.as_mut()) {
        let Node::MergeWhenClause(clause) = clause else { continue };
        let matched = clause.match_kind() != MergeMatchKind::MergeWhenNotMatchedByTarget;
        found.extend(clause.condition.as_mut().and_then(|node| node.node.as_mut()).map(|node| (matched, node)));
        let set = clause.target_list.iter_mut().filter_map(|node| node.node.as_mut()).filter_map(set_value);
        let values = clause.values.iter_mut().filter_map(|node| node.node.as_mut());
        found.extend(set.chain(values).map(|node| (matched, node)));
    }
    found.retain(|(_, node)| !matches!(node, Node::SetToDefault(_)));
    found
}

/// What a column is set to.
fn set_value(target: &mut Node) -> Option<&mut Node> {
    if source_of(target).is_some() {
        return source_of(target);
    }
    match target {
        Node::ResTarget(target) => target.val.as_mut()?.node.as_mut(),
        _ => None,
    }
}

/// Whether the row of this name may be meant as a whole.
fn means_whole(node: &mut Node, shown: &str) -> Result<bool, Stop> {
    let mut found = false;
    if let Node::ColumnRef(column) = node {
        let fields: Vec<Option<&str>> = column.fields.iter().map(names::string).collect();
        found = matches!(fields.as_slice(), [Some(name)] | [.., Some(name), None] if *name == shown);
    }
    edit::children(node, &mut |child| -> Result<(), Stop> {
        found |= means_whole(child, shown)?;
        Ok(())
    })?;
    Ok(found)
}
