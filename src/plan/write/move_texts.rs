//! The text of an UPDATE of the key as the DELETE that gives the changed rows and the INSERT that stores them.

use pg_query::protobuf::{Node as Wrapped, RawStmt, SubLink, SubLinkType, UpdateStmt, WithClause};

use super::wanted::default_text;
use crate::catalog::{Column, ColumnDefault, Relation};
use crate::plan::builder::Builder;
use crate::plan::gather::{Content, node, writes_in_with};
use crate::plan::rewrite::quoted;
use crate::sql::{self, Node, edit, names, update};

/// The statements that a [`crate::plan::Move`] consists of.
pub struct Texts {
    pub take: String,
    pub put: String,
    pub nothing: String,
    pub returning: String,
    pub key: usize,
}

impl Texts {
    /// Of an UPDATE of the key; `None` if it cannot be taken apart.
    pub fn of(text: &str, relation: &Relation, key: usize, builder: &Builder<'_>) -> Option<Texts> {
        let Unfolded { with, text } = unfolded(text, builder)?;
        let text = text.as_str();
        let parts = update::parts(text)?;
        let node = sql::parse(text).ok()?;
        let Some(Node::UpdateStmt(statement)) = node.statements.first()?.node() else { return None };
        let shown = shown_name(statement)?;
        let piece = |range: &Option<std::ops::Range<usize>>, word: &str| match range {
            Some(range) => text.get(range.clone()).map(|text| format!(" {word} {text}")),
            None => Some(String::new()),
        };
        // With other tables in FROM, RETURNING may name their columns.
        if (parts.from.is_some() || !with.is_empty()) && !returns_own(statement, relation) {
            return None;
        }
        // By name: the tree has the columns as PostgreSQL folds them.
        let set: Vec<(&str, bool)> = statement
            .target_list
            .iter()
            .filter_map(|node| match &node.node {
                Some(Node::ResTarget(target)) if target.indirection.is_empty() => {
                    Some((target.name.as_str(), matches!(names::inner(&target.val), Some(Node::SetToDefault(_)))))
                }
                _ => None,
            })
            .collect();
        if set.len() != parts.set.len() || set.len() != statement.target_list.len() {
            return None;
        }
        let stored: Vec<_> = relation.columns.iter().enumerate().filter(|(_, column)| !column.generated).collect();
        let mut values = Vec::new();
        let mut names = Vec::new();
        for (_, column) in &stored {
            let name = quoted(&column.name);
            let value = match set.iter().position(|(set, _)| *set == column.name) {
                Some(at) if set.get(at)?.1 => Some(default_of(column)?),
                Some(at) => Some(text.get(parts.set.get(at)?.1.clone())?),
                None => None,
            };
            values.push(match value {
                Some(value) => format!("({value})::{}", column.type_name),
                None => format!("{shown}.{name}"),
            });
            names.push(name);
        }
        // A generated column cannot be set, and PostgreSQL says so.
        if set.iter().any(|(set, _)| !stored.iter().any(|(_, column)| column.name == *set)) {
            return None;
        }
        let table = format!("{}.{}", quoted(&relation.schema), quoted(&relation.name));
        // Not under its own name: RETURNING may say the schema too.
        let has_alias = statement.relation.as_ref().is_some_and(|relation| relation.alias.is_some());
        let alias = if has_alias { format!(" AS {shown}") } else { String::new() };
        let from = piece(&parts.from, "USING")?;
        let condition = piece(&parts.condition, "WHERE")?;
        let whole = text.get(parts.table.clone())?;
        Some(Texts {
            take: format!("{with}DELETE FROM {whole}{from}{condition} RETURNING {}", values.join(", ")),
            put: format!("INSERT INTO {table}{alias} ({}) OVERRIDING SYSTEM VALUE ", names.join(", ")),
            nothing: format!("SELECT {} FROM {table} WHERE false", names.join(", ")),
            returning: piece(&parts.returning, "RETURNING")?,
            key: stored.iter().position(|(at, _)| *at == key)?,
        })
    }
}

/// What DEFAULT means.
fn default_of(column: &Column) -> Option<&str> {
    match &column.default {
        ColumnDefault::None => Some("NULL"),
        ColumnDefault::Sequence | ColumnDefault::Expression(_) => default_text(column),
    }
}

/// The name under which an UPDATE's expressions know its table.
fn shown_name(statement: &UpdateStmt) -> Option<String> {
    statement.relation.as_ref().map(|name| quoted(names::alias_or_name(name)))
}

/// An UPDATE in which each column has a value of its own.
struct Unfolded {
    /// `WITH ... `, or nothing.
    with: String,
    text: String,
}

/// As it was written if there is nothing to unfold.
fn unfolded(text: &str, builder: &Builder<'_>) -> Option<Unfolded> {
    let mut script = sql::parse(text).ok()?;
    let stmt = script.statements.pop()?.tree?.stmt?;
    let Some(Node::UpdateStmt(mut statement)) = stmt.node else { return None };
    let folded = |target: &Wrapped| matches!(value_of(target), Some(Node::MultiAssignRef(_)));
    if statement.with_clause.is_none() && !statement.target_list.iter().any(folded) {
        return Some(Unfolded { with: String::new(), text: text.to_owned() });
    }
    let with = match statement.with_clause.take() {
        Some(with) => with_text(with)?,
        None => String::new(),
    };
    for target in &mut statement.target_list {
        let Some(Node::ResTarget(target)) = &mut target.node else { return None };
        if let Some(Node::MultiAssignRef(_)) = names::inner(&target.val) {
            let value = target.val.take()?.node?;
            target.val = node::boxed(one_of(&value, builder)?);
        }
    }
    let statement = Wrapped { node: Some(Node::UpdateStmt(statement)) };
    let text = edit::print_statement(RawStmt { stmt: Some(Box::new(statement)), ..RawStmt::default() })?;
    Some(Unfolded { with, text })
}

/// WITH of queries, as text.
fn with_text(with: WithClause) -> Option<String> {
    const REST: &str = "SELECT 1";
    if with.ctes.iter().any(writes_in_with) {
        return None;
    }
    let mut select = node::select(vec![node::target(node::integer(1), "")], Vec::new());
    select.with_clause = Some(with);
    edit::print(&select)?.strip_suffix(REST).map(str::to_owned)
}

fn value_of(target: &Wrapped) -> Option<&Node> {
    match &target.node {
        Some(Node::ResTarget(target)) => names::inner(&target.val),
        _ => None,
    }
}

/// The value of a column by itself: of `(a, b) = (x, y)` that of the one; `None` if a sub-select gives several.
pub fn alone(value: &Node) -> Option<&Node> {
    let Node::MultiAssignRef(of) = value else { return Some(value) };
    let row = match names::inner(&of.source)? {
        Node::RowExpr(row) => row,
        source => return (of.ncolumns == 1).then_some(source),
    };
    row.args.get(usize::try_from(of.colno).ok()?.checked_sub(1)?)?.node.as_ref()
}

/// The same as an expression, of a sub-select too: it is asked once for each column.
fn one_of(value: &Node, builder: &Builder<'_>) -> Option<Node> {
    if let Some(value) = alone(value) {
        return Some(value.clone());
    }
    let Node::MultiAssignRef(of) = value else { return None };
    let Some(Node::SubLink(link)) = names::inner(&of.source) else { return None };
    let query = names::inner(&link.subselect)?;
    if !Content::of(&mut query.clone()).ok()?.calls_steady(builder)? {
        return None;
    }
    let columns: Vec<String> = (1..=of.ncolumns).map(|at| format!("c{at}")).collect();
    let column = columns.get(usize::try_from(of.colno).ok()?.checked_sub(1)?)?;
    let target = node::target(node::column(&["set_to", column]), "");
    let select = node::select(vec![target], vec![node::wrap(node::subselect(query.clone(), "set_to", &columns))]);
    Some(Node::SubLink(Box::new(SubLink {
        sub_link_type: SubLinkType::ExprSublink as i32,
        subselect: node::boxed(Node::SelectStmt(Box::new(select))),
        ..SubLink::default()
    })))
}

/// Whether this UPDATE's RETURNING names columns of other tables, or asks for more rows.
pub fn returns_others(text: &str, relation: &Relation) -> bool {
    let Ok(script) = sql::parse(text) else { return false };
    match script.statements.first().and_then(sql::Statement::node) {
        Some(Node::UpdateStmt(update)) => !returns_own(update, relation),
        _ => false,
    }
}

/// Whether RETURNING names columns of the table itself only.
fn returns_own(statement: &UpdateStmt, relation: &Relation) -> bool {
    let shown = statement.relation.as_ref().map(names::alias_or_name);
    let own = |fields: &[Option<&str>]| match fields {
        [Some(name)] => relation.columns.iter().any(|column| column.name == *name),
        [table, Some(_) | None] => *table == shown,
        _ => false,
    };
    fn all(node: &mut Node, own: &dyn Fn(&[Option<&str>]) -> bool) -> Result<bool, sql::walk::Unknown> {
        let mut fits = match node {
            Node::ColumnRef(column) => own(&column.fields.iter().map(names::string).collect::<Vec<_>>()),
            Node::SubLink(_) => false,
            _ => true,
        };
        edit::children(node, &mut |child| -> Result<(), sql::walk::Unknown> {
            fits &= all(child, own)?;
            Ok(())
        })?;
        Ok(fits)
    }
    let mut exprs = statement.returning_clause.iter().flat_map(|clause| &clause.exprs);
    exprs.all(|expr| expr.node.as_ref().is_some_and(|expr| all(&mut expr.clone(), &own).unwrap_or(false)))
}
