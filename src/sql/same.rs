//! Trees without the places of their nodes in a text, so that two trees can be compared.

use pg_query::protobuf::{
    self as ast, Node as Wrapped, OnConflictClause, RangeVar, ReturningClause, TypeName, WindowDef, WithClause,
    node::Node,
};

use super::statements;
use super::walk::Unknown;

/// Every place is 0. What is not known how to walk keeps its places, and will differ.
pub fn without_places(mut node: Node) -> Node {
    let _: Result<(), Unknown> = clear(&mut node);
    node
}

fn clear(node: &mut Node) -> Result<(), Unknown> {
    places(node);
    match node {
        // What holds a statement is no statement of rows itself.
        Node::CreateTableAsStmt(e) => inner(&mut e.query),
        Node::ExplainStmt(e) => inner(&mut e.query),
        Node::DeclareCursorStmt(e) => inner(&mut e.query),
        Node::CopyStmt(e) => {
            inner(&mut e.query)?;
            inner(&mut e.where_clause)
        }
        _ => statements::children(node, &mut clear),
    }
}

fn inner(node: &mut Option<Box<Wrapped>>) -> Result<(), Unknown> {
    node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), clear)
}

/// Clears the places that a node holds itself.
fn places(node: &mut Node) {
    if let Some(place) = place(node) {
        *place = 0;
        return;
    }
    match node {
        Node::SelectStmt(e) => {
            with(&mut e.with_clause);
            e.into_clause.as_deref_mut().into_iter().for_each(into);
        }
        Node::CommonTableExpr(e) => {
            e.location = 0;
            if let Some(search) = &mut e.search_clause {
                search.location = 0;
            }
            if let Some(cycle) = &mut e.cycle_clause {
                cycle.location = 0;
            }
        }
        Node::LockingClause(e) => each(&mut e.locked_rels),
        Node::ColumnDef(e) => typed(&mut e.location, &mut e.type_name),
        Node::TypeCast(e) => typed(&mut e.location, &mut e.type_name),
        Node::XmlSerialize(e) => typed(&mut e.location, &mut e.type_name),
        Node::RangeTableFuncCol(e) => typed(&mut e.location, &mut e.type_name),
        Node::FuncCall(e) => {
            e.location = 0;
            e.over.as_deref_mut().into_iter().for_each(window);
        }
        Node::RangeFunction(e) => each(&mut e.coldeflist),
        Node::AExpr(e) => {
            e.location = 0;
            e.rexpr_list_start = 0;
            e.rexpr_list_end = 0;
        }
        Node::AArrayExpr(e) => {
            e.location = 0;
            e.list_start = 0;
            e.list_end = 0;
        }
        Node::DefElem(e) => {
            e.location = 0;
            if let Some(Node::TypeName(name)) = e.arg.as_mut().and_then(|arg| arg.node.as_mut()) {
                type_name(name);
            }
        }
        _ => statement(node),
    }
}

/// Of a node whose one place it is.
fn place(node: &mut Node) -> Option<&mut i32> {
    Some(match node {
        Node::AConst(e) => &mut e.location,
        Node::RangeVar(e) => &mut e.location,
        Node::TypeName(e) => &mut e.location,
        Node::WindowDef(e) => &mut e.location,
        Node::GroupingFunc(e) => &mut e.location,
        Node::NamedArgExpr(e) => &mut e.location,
        Node::BoolExpr(e) => &mut e.location,
        Node::SubLink(e) => &mut e.location,
        Node::CaseExpr(e) => &mut e.location,
        Node::CaseWhen(e) => &mut e.location,
        Node::RowExpr(e) => &mut e.location,
        Node::CoalesceExpr(e) => &mut e.location,
        Node::MinMaxExpr(e) => &mut e.location,
        Node::SqlvalueFunction(e) => &mut e.location,
        Node::XmlExpr(e) => &mut e.location,
        Node::NullTest(e) => &mut e.location,
        Node::BooleanTest(e) => &mut e.location,
        Node::SetToDefault(e) => &mut e.location,
        Node::ColumnRef(e) => &mut e.location,
        Node::ParamRef(e) => &mut e.location,
        Node::CollateClause(e) => &mut e.location,
        Node::ResTarget(e) => &mut e.location,
        Node::SortBy(e) => &mut e.location,
        Node::RangeTableFunc(e) => &mut e.location,
        Node::RangeTableSample(e) => &mut e.location,
        Node::GroupingSet(e) => &mut e.location,
        Node::ReturningOption(e) => &mut e.location,
        _ => return None,
    })
}

/// The same of writes and of what holds a query.
fn statement(node: &mut Node) {
    match node {
        Node::InsertStmt(e) => {
            write(&mut e.relation, &mut e.with_clause, &mut e.returning_clause);
            e.on_conflict_clause.as_deref_mut().into_iter().for_each(conflict);
            // The columns of the list, which no visitor of values is shown.
            each(&mut e.cols);
        }
        Node::UpdateStmt(e) => write(&mut e.relation, &mut e.with_clause, &mut e.returning_clause),
        Node::DeleteStmt(e) => write(&mut e.relation, &mut e.with_clause, &mut e.returning_clause),
        Node::MergeStmt(e) => write(&mut e.relation, &mut e.with_clause, &mut e.returning_clause),
        // Each column of `(a, b) = ...` holds a copy of the right side; the first one's counts. Source: parse_expr.c,
        // transformMultiAssignRef.
        Node::MultiAssignRef(e) if e.colno > 1 => e.source = None,
        Node::CreateTableAsStmt(e) => e.into.as_deref_mut().into_iter().for_each(into),
        Node::ExplainStmt(e) => each(&mut e.options),
        Node::CopyStmt(e) => {
            name(&mut e.relation);
            each(&mut e.options);
        }
        _ => json(node),
    }
}

fn json(node: &mut Node) {
    match node {
        Node::JsonIsPredicate(e) => {
            e.location = 0;
            format(&mut e.format);
        }
        Node::JsonValueExpr(e) => format(&mut e.format),
        Node::JsonArgument(e) => value(&mut e.val),
        Node::JsonKeyValue(e) => value(&mut e.value),
        Node::JsonParseExpr(e) => {
            e.location = 0;
            value(&mut e.expr);
            output(&mut e.output);
        }
        Node::JsonScalarExpr(e) => {
            e.location = 0;
            output(&mut e.output);
        }
        Node::JsonSerializeExpr(e) => {
            e.location = 0;
            value(&mut e.expr);
            output(&mut e.output);
        }
        Node::JsonObjectConstructor(e) => {
            e.location = 0;
            output(&mut e.output);
        }
        Node::JsonArrayConstructor(e) => {
            e.location = 0;
            output(&mut e.output);
        }
        Node::JsonObjectAgg(e) => {
            e.arg.as_deref_mut().into_iter().for_each(|pair| value(&mut pair.value));
            aggregate(&mut e.constructor);
        }
        Node::JsonArrayAgg(e) => {
            value(&mut e.arg);
            aggregate(&mut e.constructor);
        }
        Node::JsonFuncExpr(e) => {
            e.location = 0;
            value(&mut e.context_item);
            output(&mut e.output);
            for behavior in [&mut e.on_empty, &mut e.on_error].into_iter().flatten() {
                behavior.location = 0;
            }
        }
        _ => {}
    }
}

fn each(nodes: &mut [Wrapped]) {
    nodes.iter_mut().filter_map(|node| node.node.as_mut()).for_each(places);
}

fn typed(location: &mut i32, name: &mut Option<TypeName>) {
    *location = 0;
    name.iter_mut().for_each(type_name);
}

fn type_name(name: &mut TypeName) {
    name.location = 0;
    each(&mut name.typmods);
    each(&mut name.array_bounds);
}

fn window(window: &mut WindowDef) {
    window.location = 0;
}

fn with(clause: &mut Option<WithClause>) {
    if let Some(clause) = clause {
        clause.location = 0;
    }
}

fn name(relation: &mut Option<RangeVar>) {
    if let Some(relation) = relation {
        relation.location = 0;
    }
}

fn write(relation: &mut Option<RangeVar>, clause: &mut Option<WithClause>, returning: &mut Option<ReturningClause>) {
    name(relation);
    with(clause);
    returning.iter_mut().for_each(|returning| each(&mut returning.options));
}

fn conflict(conflict: &mut OnConflictClause) {
    conflict.location = 0;
    if let Some(infer) = &mut conflict.infer {
        infer.location = 0;
    }
}

fn into(into: &mut ast::IntoClause) {
    name(&mut into.rel);
    each(&mut into.options);
}

fn format(format: &mut Option<ast::JsonFormat>) {
    if let Some(format) = format {
        format.location = 0;
    }
}

fn value(value: &mut Option<Box<ast::JsonValueExpr>>) {
    if let Some(value) = value {
        format(&mut value.format);
    }
}

fn output(output: &mut Option<ast::JsonOutput>) {
    if let Some(output) = output {
        output.type_name.iter_mut().for_each(type_name);
        if let Some(returning) = &mut output.returning {
            format(&mut returning.format);
        }
    }
}

fn aggregate(constructor: &mut Option<Box<ast::JsonAggConstructor>>) {
    if let Some(constructor) = constructor {
        constructor.location = 0;
        output(&mut constructor.output);
        constructor.over.as_deref_mut().into_iter().for_each(window);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{edit, parse};
    use super::*;

    fn printed(text: &str, change: fn(&mut Node)) -> Option<String> {
        let mut raw = *parse(text).unwrap().statements.remove(0).tree.unwrap();
        change(raw.stmt.as_mut().unwrap().node.as_mut().unwrap());
        edit::print_statement(raw)
    }

    #[test]
    fn statements_of_rows_are_the_same_wherever_their_nodes_stand() {
        for text in [
            "with  w  as  (select  1) insert into t as u (a, b) values (1, default), ($1, 'x'::varchar(3)) \
             on conflict (a, (lower(b))) where a > 1 do update set (a, b) = (select 1, 2), c[1] = 2 where u.a = 1 \
             returning with (old as o) o.a, count(*) over (order by 1)",
            "insert  into s.t  overriding system value select a from u on conflict on constraint k do nothing",
            "with w as (select 1)  update only t as u  set a = 1, (b, c) = (1, 2) from w join x using (a) where u.a = any($1)",
            "delete  from t using u where t.a = u.a returning *",
            "merge  into t using (select 1) s on t.a = s.a when matched and s.b then update set a = 1 when not matched then \
             insert (a) values (s.a) when not matched by source then delete",
            "create  temporary  table t (a, b) with (fillfactor = 70) on commit drop as select a::int from u with no data",
            "copy  (select a  from t where b) to stdout with (format csv, force_quote (a), header true)",
            "explain  (analyze, costs off, format json) delete from t where a = 1",
            "declare  c scroll cursor with hold for select a  from t",
            "select  a from t  for update of t skip locked",
        ] {
            assert!(printed(text, |_| ()).is_some(), "{text}");
        }
    }

    #[test]
    fn json_is_the_same_wherever_its_nodes_stand() {
        for expression in [
            "json_object('a' value  1 format json, b: 2 absent on null with unique keys returning jsonb)",
            "json_array(1,  2 null on null returning text format json)",
            "json_objectagg('a' :  b absent on null) filter (where b > 1) over (order by a)",
            "json_arrayagg(a  order by b desc null on null returning varchar(7))",
            "json_value(a,  '$.x' passing b as x returning int default 1 on empty error on error)",
            "json_query(a,  '$.x' with wrapper keep quotes)",
            "json_exists(a,  '$.x' true on error)",
            "json_serialize(a  returning text)",
            "json(a  with unique keys)",
            "json_scalar( a)",
            "a is  json object",
        ] {
            let text = format!("select  {expression} from t");
            assert!(printed(&text, |_| ()).is_some(), "{text}");
        }
    }

    #[test]
    fn a_write_is_not_printed_if_its_text_would_mean_another_tree() {
        let text = "update t set a = 1";
        assert!(printed(text, |_| ()).is_some());
        let other = |node: &mut Node| {
            let Node::UpdateStmt(update) = node else { return };
            update.relation.as_mut().unwrap().relpersistence = "t".to_owned();
        };
        assert_eq!(printed(text, other), None);
    }
}
