//! Conditions -> facts, and every expression -> what it contains: sublinks, aggregates, volatile functions, parameters.

use pg_query::protobuf::{AExpr, AExprKind, BoolExprType, FuncCall, Node as Wrapped, SubLink, SubLinkType, WindowDef};

use super::KeySource;
use super::Refusal;
use super::builder::Builder;
use super::built_in::oid;
use super::function::{self, Call};
use super::ir::{Fact, Parts, Stop, Sublink, Term};
use super::key::Class;
use super::scope::{self, Place, Scope};
use super::write::differing::are_constants;
use crate::catalog::Oid;
use crate::sql::{Node, names, walk};

impl<'a> Builder<'a> {
    /// A condition that every row must meet: WHERE, ON of an inner join.
    pub fn condition(&mut self, node: &'a Node, parts: &mut Parts) -> Result<(), Stop> {
        match node {
            Node::BoolExpr(all) if all.boolop() == BoolExprType::AndExpr => {
                for node in all.args.iter().filter_map(|node| node.node.as_ref()) {
                    self.condition(node, parts)?;
                }
                Ok(())
            }
            Node::SubLink(link) => self.sublink_condition(link, parts),
            Node::AExpr(comparison) if self.is_equality(comparison) => {
                match (names::inner(&comparison.lexpr), names::inner(&comparison.rexpr)) {
                    // column = (SELECT ...): true only if the one row is there.
                    (Some(column), Some(Node::SubLink(link))) if link.sub_link_type() == SubLinkType::ExprSublink => {
                        self.expression(column, parts)?;
                        let column = self.expression_term(column);
                        self.sublink(link, vec![column], true, parts)
                    }
                    _ => self.comparison(node, parts),
                }
            }
            _ => self.comparison(node, parts),
        }
    }

    fn comparison(&mut self, node: &'a Node, parts: &mut Parts) -> Result<(), Stop> {
        self.fact(node, &mut parts.facts);
        self.expression(node, parts)
    }

    fn sublink_condition(&mut self, link: &'a SubLink, parts: &mut Parts) -> Result<(), Stop> {
        let columns = match link.sub_link_type() {
            SubLinkType::ExistsSublink => Some(Vec::new()),
            // No operator name: IN.
            SubLinkType::AnySublink if link.oper_name.is_empty() && self.system_equality() => self.test_columns(link),
            SubLinkType::AnySublink if names::operator(&link.oper_name).is_some_and(|op| self.equals(op)) => {
                self.test_columns(link)
            }
            _ => None,
        };
        if let Some(test) = names::inner(&link.testexpr) {
            self.expression(test, parts)?;
        }
        match columns {
            Some(columns) => self.sublink(link, columns, true, parts),
            None => self.sublink(link, Vec::new(), false, parts),
        }
    }

    /// The columns on the left of IN.
    fn test_columns(&mut self, link: &'a SubLink) -> Option<Vec<Option<Term>>> {
        match names::inner(&link.testexpr)? {
            Node::RowExpr(row) => Some(row.args.iter().map(|node| self.expression_term(node.node.as_ref()?)).collect()),
            column => Some(vec![self.expression_term(column)]),
        }
    }

    /// Plans a sub-select; `columns` are those on the left which are equal to its output columns.
    fn sublink(
        &mut self,
        link: &'a SubLink,
        columns: Vec<Option<Term>>,
        condition: bool,
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        let Some(node) = names::inner(&link.subselect) else { return Ok(()) };
        let query = self.query(node)?;
        for (outer, inner) in columns.iter().zip(&query.columns) {
            if let (Some(left), Some(right)) = (*outer, inner.term)
                && self.class(left) == self.class(right)
            {
                parts.facts.push(Fact::Equal { left, right, strict: true });
            }
        }
        parts.sublinks.push(Sublink { query, condition });
        Ok(())
    }

    fn class(&self, term: Term) -> Option<Class> {
        self.terms.get(term.0 as usize).map(|info| info.class)
    }

    pub fn equals(&self, (name, written): (&str, bool)) -> bool {
        name == "=" && (written || self.system_equality())
    }

    fn is_equality(&self, comparison: &AExpr) -> bool {
        comparison.kind() == AExprKind::AexprOp && names::operator(&comparison.name).is_some_and(|op| self.equals(op))
    }

    /// What a condition says of keys, if anything. Called once for each condition, since it counts uses of parameters.
    fn fact(&mut self, node: &'a Node, facts: &mut Vec<Fact>) {
        match node {
            Node::BoolExpr(all) if all.boolop() == BoolExprType::AndExpr => {
                all.args.iter().filter_map(|node| node.node.as_ref()).for_each(|node| self.fact(node, facts));
            }
            Node::BoolExpr(any) if any.boolop() == BoolExprType::OrExpr => self.alternatives(&any.args, facts),
            Node::AExpr(comparison) if names::operator(&comparison.name).is_some_and(|op| self.equals(op)) => {
                self.equality(comparison, facts);
            }
            _ => {}
        }
    }

    /// OR: what every arm says.
    fn alternatives(&mut self, arms: &'a [Wrapped], facts: &mut Vec<Fact>) {
        let mut common: Option<Vec<(Term, Vec<KeySource>)>> = None;
        for arm in arms {
            let mut said = Vec::new();
            if let Some(node) = &arm.node {
                self.fact(node, &mut said);
            }
            let values = |term: Term| {
                said.iter().find_map(|fact| match fact {
                    Fact::OneOf { term: of, sources } if *of == term => Some(sources),
                    Fact::OneOf { .. } | Fact::Equal { .. } => None,
                })
            };
            common = Some(match common {
                None => said
                    .iter()
                    .filter_map(|fact| match fact {
                        Fact::OneOf { term, sources } => Some((*term, sources.clone())),
                        Fact::Equal { .. } => None,
                    })
                    .collect(),
                Some(common) => common
                    .into_iter()
                    .filter_map(|(term, mut sources)| {
                        sources.extend(values(term)?.iter().cloned());
                        Some((term, sources))
                    })
                    .collect(),
            });
        }
        facts.extend(common.into_iter().flatten().map(|(term, sources)| Fact::OneOf { term, sources }));
    }

    fn equality(&mut self, comparison: &'a AExpr, facts: &mut Vec<Fact>) {
        let (Some(left), Some(right)) = (names::inner(&comparison.lexpr), names::inner(&comparison.rexpr)) else {
            return;
        };
        match comparison.kind() {
            AExprKind::AexprOp => self.equal(left, right, facts),
            AExprKind::AexprNotDistinct => {
                let before = facts.len();
                self.equal(left, right, facts);
                // NULL IS NOT DISTINCT FROM NULL: only a constant that is not NULL says something.
                let constant = |fact: &Fact| match fact {
                    Fact::OneOf { sources, .. } => {
                        sources.iter().all(|s| matches!(s, KeySource::Constant(_) | KeySource::Literal(_)))
                    }
                    Fact::Equal { .. } => false,
                };
                let kept: Vec<_> = facts.drain(before..).filter(constant).collect();
                facts.extend(kept);
            }
            AExprKind::AexprIn => self.in_list(left, right, facts),
            AExprKind::AexprOpAny => {
                let Some((term, class, type_oid)) = self.column(left) else { return };
                if let Some(sources) = self.array_sources(right, class, type_oid) {
                    facts.push(Fact::OneOf { term, sources });
                }
            }
            _ => {}
        }
    }

    fn equal(&mut self, left: &'a Node, right: &'a Node, facts: &mut Vec<Fact>) {
        if let (Node::RowExpr(left), Node::RowExpr(right)) = (left, right) {
            if left.args.len() == right.args.len() {
                for (left, right) in left.args.iter().zip(&right.args) {
                    if let (Some(left), Some(right)) = (&left.node, &right.node) {
                        self.equal(left, right, facts);
                    }
                }
            }
            return;
        }
        match (self.column(left), self.column(right)) {
            (Some((left, class, _)), Some((right, other, _))) => {
                if class == other {
                    facts.push(Fact::Equal { left, right, strict: true });
                }
            }
            (Some((term, class, type_oid)), None) => self.equal_to(term, class, type_oid, right, facts),
            (None, Some((term, class, type_oid))) => self.equal_to(term, class, type_oid, left, facts),
            (None, None) => {}
        }
    }

    fn equal_to(&mut self, term: Term, class: Class, type_oid: Oid, value: &Node, facts: &mut Vec<Fact>) {
        if let Some(source) = self.source(value, class, type_oid) {
            facts.push(Fact::OneOf { term, sources: vec![source] });
        }
    }

    fn in_list(&mut self, left: &'a Node, right: &'a Node, facts: &mut Vec<Fact>) {
        let Node::List(list) = right else { return };
        if let Node::RowExpr(columns) = left {
            for (at, column) in columns.args.iter().enumerate() {
                let Some((term, class, type_oid)) = column.node.as_ref().and_then(|node| self.column(node)) else {
                    continue;
                };
                let value = |row: &'a Wrapped| match row.node.as_ref()? {
                    Node::RowExpr(row) if row.args.len() == columns.args.len() => row.args.get(at)?.node.as_ref(),
                    _ => None,
                };
                let sources: Option<Vec<_>> =
                    list.items.iter().map(|row| self.source(value(row)?, class, type_oid)).collect();
                facts.extend(sources.map(|sources| Fact::OneOf { term, sources }));
            }
            return;
        }
        let Some((term, class, type_oid)) = self.column(left) else { return };
        facts.extend(self.list_sources(&list.items, class, type_oid).map(|sources| Fact::OneOf { term, sources }));
    }

    fn column(&mut self, node: &Node) -> Option<(Term, Class, Oid)> {
        let term = self.expression_term(node)?;
        let info = self.terms.get(term.0 as usize)?;
        Some((term, info.class, info.type_oid))
    }

    /// Notes what an expression contains.
    pub fn expression(&mut self, node: &'a Node, parts: &mut Parts) -> Result<(), Stop> {
        self.enter()?;
        self.note_differing(node);
        match node {
            Node::ParamRef(parameter) => self.count_parameter(parameter.number),
            Node::ColumnRef(column) => match (self.place(node), names::strings(&column.fields).as_deref()) {
                (Some((_, Place::System)), _) => {
                    parts.local.get_or_insert_with(|| "system columns are each shard's own".to_owned());
                    parts.unsteady.get_or_insert("a system column");
                }
                (None, Some([.., _, name])) => self.field(name, parts)?,
                _ => {}
            },
            Node::AIndirection(of) => {
                for name in of.indirection.iter().filter_map(names::string) {
                    self.field(name, parts)?;
                }
            }
            Node::SubLink(link) => {
                if let Some(test) = names::inner(&link.testexpr) {
                    self.expression(test, parts)?;
                }
                self.sublink(link, Vec::new(), false, parts)?;
                if let Some(sublink) = parts.sublinks.last_mut() {
                    sublink.query.shows_order = link.sub_link_type() == SubLinkType::ArraySublink && reads_rows(link);
                }
                return Ok(());
            }
            // One of its elements is enough, or all are needed: their order says nothing.
            Node::AExpr(comparison)
                if matches!(comparison.kind(), AExprKind::AexprOpAny | AExprKind::AexprOpAll)
                    && let Some(Node::SubLink(link)) = names::inner(&comparison.rexpr)
                    && link.sub_link_type() == SubLinkType::ArraySublink =>
            {
                if let Some(left) = names::inner(&comparison.lexpr) {
                    self.expression(left, parts)?;
                }
                return self.sublink(link, Vec::new(), false, parts);
            }
            Node::FuncCall(call) => return self.function(node, call, parts),
            // A server says so.
            Node::TypeCast(cast) if !cast.type_name.as_ref().is_none_or(names::has_plain_modifiers) => {
                return Err(Stop::Fails);
            }
            // The constant is not read as a date.
            Node::TypeCast(cast) if self.is_steady_cast(cast) => return Ok(()),
            Node::AExpr(expression) if self.beside_steady(expression) => {
                return walk::children(node, &mut |child| {
                    if are_constants(child) { Ok(()) } else { self.expression(child, parts) }
                });
            }
            Node::CaseExpr(_) | Node::CoalesceExpr(_) | Node::MinMaxExpr(_) | Node::AArrayExpr(_)
                if self.has_steady_results(node) =>
            {
                return self.beside_results(node, parts);
            }
            Node::CurrentOfExpr(_) => {
                parts.local.get_or_insert_with(|| "a cursor is on one shard".to_owned());
            }
            Node::JsonObjectAgg(_) | Node::JsonArrayAgg(_) => {
                parts.aggregate = true;
                parts.unsteady.get_or_insert("an aggregate that depends on the order of rows");
                return Err(Refusal::unsupported("JSON_OBJECTAGG and JSON_ARRAYAGG are not supported yet")
                    .hint("Use json_object_agg or json_agg.")
                    .into());
            }
            _ => {}
        }
        walk::children(node, &mut |child| self.expression(child, parts))
    }

    fn function(&mut self, node: &'a Node, call: &'a FuncCall, parts: &mut Parts) -> Result<(), Stop> {
        let Some((schema, name)) = names::qualified(&call.funcname) else { return Ok(()) };
        let (mut kind, returns_set) = self.call(schema, name)?;
        if kind == Call::Steady && name == "current_setting" && function::asks_own_setting(call) {
            kind = Call::Identity;
        }
        let windowed = call.over.is_some();
        if let Some(window) = &call.over {
            let partition = self.partition(window);
            parts.windows.push(partition);
            parts.unsteady.get_or_insert("a window function");
        }
        if kind == Call::Missing && is_syntax_aggregate(call) {
            parts.aggregate |= !windowed;
        } else {
            self.called(kind, name, windowed, parts);
        }
        if kind == Call::Aggregate && !windowed {
            self.aggregate(call, name, parts)?;
        }
        if returns_set && kind == Call::Fresh {
            parts.local.get_or_insert_with(|| format!("function {name} is volatile"));
        }
        let texts = self.takes_texts(call);
        walk::children(node, &mut |child| match child {
            Node::AConst(_) if texts => Ok(()),
            _ => self.expression(child, parts),
        })
    }

    /// COALESCE, CASE, GREATEST, LEAST or ARRAY whose constants are not read as dates.
    fn beside_results(&mut self, node: &'a Node, parts: &mut Parts) -> Result<(), Stop> {
        let Node::CaseExpr(case) = node else {
            return walk::children(node, &mut |child| match child {
                Node::AConst(_) => Ok(()),
                _ => self.expression(child, parts),
            });
        };
        let compared = names::inner(&case.arg);
        let beside = compared.is_some_and(|arg| self.is_steady(arg));
        compared.map_or(Ok(()), |arg| self.expression(arg, parts))?;
        for when in &case.args {
            let Some(Node::CaseWhen(when)) = &when.node else { continue };
            let (expr, result) = (names::inner(&when.expr), names::inner(&when.result));
            let expr = expr.filter(|node| !(beside && are_constants(node)));
            let result = result.filter(|node| !are_constants(node));
            for node in expr.into_iter().chain(result) {
                self.expression(node, parts)?;
            }
        }
        let default = names::inner(&case.defresult).filter(|node| !are_constants(node));
        default.map_or(Ok(()), |node| self.expression(node, parts))
    }

    /// `x.name`, where no column is certain to be meant.
    fn field(&mut self, name: &str, parts: &mut Parts) -> Result<(), Stop> {
        if self.is_attribute(name) {
            let (kind, _) = self.call(None, name)?;
            self.called(kind, name, true, parts);
        }
        Ok(())
    }

    fn called(&mut self, kind: Call, name: &str, windowed: bool, parts: &mut Parts) {
        self.effects.asks_server |= kind == Call::Identity || name == "current_setting";
        match kind {
            Call::Steady | Call::Window => {}
            Call::Missing => {
                self.effects.changes = true;
                parts.local.get_or_insert_with(|| format!("function {name} is not known to the gateway"));
                parts.unsteady.get_or_insert("an unknown function");
            }
            Call::Identity => {
                parts.local.get_or_insert_with(|| format!("{name} differs between shards"));
                parts.unsteady.get_or_insert("a function that differs between servers");
            }
            Call::Fresh | Call::Unique => {
                self.effects.changes |= kind == Call::Unique;
                parts.unsteady.get_or_insert("a volatile function");
            }
            Call::Changing => {
                self.effects.changes = true;
                parts.local.get_or_insert_with(|| format!("function {name} may change something on each shard"));
                parts.unsteady.get_or_insert("a volatile function");
            }
            Call::Sequence => self.effects.sequence = true,
            Call::TransactionLock => self.effects.transaction_lock = true,
            Call::Aggregate => parts.aggregate |= !windowed,
        }
    }

    /// An aggregate whose arguments are all of an outer query belongs to that query, which then is an aggregate one without
    /// looking like it (transformAggregateCall, parse_agg.c).
    fn aggregate(&mut self, call: &'a FuncCall, name: &str, parts: &mut Parts) -> Result<(), Stop> {
        let mut level = Levels::default();
        for argument in call.args.iter().chain(&call.agg_order).filter_map(|node| node.node.as_ref()) {
            self.levels(argument, &mut level);
        }
        if let Some(filter) = names::inner(&call.agg_filter) {
            self.levels(filter, &mut level);
        }
        let exact = match call.args.first().and_then(|node| node.node.as_ref()) {
            Some(argument) => self
                .place(argument)
                .and_then(|(_, place)| self.place_type(place))
                .is_some_and(|of| matches!(of, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC)),
            None => false,
        };
        if !function::orderless(name, exact) || !call.agg_order.is_empty() {
            parts.unsteady.get_or_insert("an aggregate that depends on the order of rows");
        }
        if level.outer && !level.own && self.scopes.len() > 1 && !self.gathering {
            return Err(Refusal::unsupported(
                "an aggregate in a subquery over columns of the outer query is not supported yet",
            )
            .hint("Compute the aggregate in the outer query.")
            .into());
        }
        Ok(())
    }

    /// Notes of which queries the columns in an expression are.
    fn levels(&self, node: &Node, levels: &mut Levels) {
        let current = self.scopes.len().saturating_sub(1);
        match node {
            Node::ColumnRef(column) => match self.place(node) {
                Some((depth, _)) if depth == current => levels.own = true,
                Some(_) => levels.outer = true,
                // Of this query's function in FROM, unless an outer query may have a column of that name.
                None => {
                    let around = self.scopes.get(..current).unwrap_or_default();
                    let fields = names::strings(&column.fields).unwrap_or_default();
                    let open = self.scopes.last().is_some_and(Scope::open);
                    if open && !scope::may_resolve(around, &fields) { levels.own = true } else { levels.outer = true }
                }
            },
            // Its columns may be of any query around.
            Node::SubLink(_) => levels.outer = true,
            _ => {
                let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
                    self.levels(child, levels);
                    Ok(())
                });
                levels.outer |= visited.is_err();
            }
        }
    }

    /// PARTITION BY of a window, with that of the window it is derived from.
    pub fn partition(&mut self, window: &WindowDef) -> Vec<Option<Term>> {
        let mut columns: Vec<_> = window
            .partition_clause
            .iter()
            .map(|node| node.node.as_ref().and_then(|node| self.expression_term(node)))
            .collect();
        let base = if window.refname.is_empty() { &window.name } else { &window.refname };
        if let Some((_, inherited)) =
            self.windows.last().and_then(|named| named.iter().find(|(name, _)| !base.is_empty() && name == base))
        {
            columns.extend(inherited);
        }
        columns
    }
}

/// Of which queries an aggregate's columns are.
#[derive(Default)]
struct Levels {
    own: bool,
    outer: bool,
}

/// Whether a sub-select's rows are more than what functions in FROM give, in an order of their own.
fn reads_rows(link: &SubLink) -> bool {
    let Some(Node::SelectStmt(select)) = names::inner(&link.subselect) else { return true };
    let function = |item: &Wrapped| matches!(item.node, Some(Node::RangeFunction(_)));
    select.larg.is_some() || !select.from_clause.iter().all(function)
}

/// What only an aggregate can be written with.
fn is_syntax_aggregate(call: &FuncCall) -> bool {
    call.agg_star
        || call.agg_distinct
        || call.agg_within_group
        || call.agg_filter.is_some()
        || !call.agg_order.is_empty()
}
