//! Trees without the places of their nodes in a text, so that two trees can be compared.

use pg_query::protobuf::{TypeName, WindowDef, WithClause, node::Node};

use super::edit;
use super::walk::Unknown;

/// Every place is 0. What is not known how to walk keeps its places, and will differ.
pub fn without_places(mut node: Node) -> Node {
    let _: Result<(), Unknown> = clear(&mut node);
    node
}

fn clear(node: &mut Node) -> Result<(), Unknown> {
    places(node);
    edit::children(node, &mut clear)
}

fn type_name(name: &mut Option<TypeName>) {
    if let Some(name) = name {
        name.location = 0;
        for node in name.typmods.iter_mut().chain(&mut name.array_bounds).filter_map(|node| node.node.as_mut()) {
            places(node);
        }
    }
}

fn window(window: &mut WindowDef) {
    window.location = 0;
}

fn with(clause: &mut Option<WithClause>) {
    if let Some(clause) = clause {
        clause.location = 0;
    }
}

/// Clears the places that a node holds itself.
fn places(node: &mut Node) {
    match node {
        Node::SelectStmt(e) => with(&mut e.with_clause),
        Node::CommonTableExpr(e) => {
            e.location = 0;
            if let Some(search) = &mut e.search_clause {
                search.location = 0;
            }
            if let Some(cycle) = &mut e.cycle_clause {
                cycle.location = 0;
            }
        }
        Node::ColumnDef(e) => {
            e.location = 0;
            type_name(&mut e.type_name);
        }
        Node::TypeCast(e) => {
            e.location = 0;
            type_name(&mut e.type_name);
        }
        Node::XmlSerialize(e) => {
            e.location = 0;
            type_name(&mut e.type_name);
        }
        Node::RangeTableFuncCol(e) => {
            e.location = 0;
            type_name(&mut e.type_name);
        }
        Node::FuncCall(e) => {
            e.location = 0;
            if let Some(over) = &mut e.over {
                window(over);
            }
        }
        Node::RangeFunction(e) => e.coldeflist.iter_mut().filter_map(|node| node.node.as_mut()).for_each(places),
        Node::WindowDef(e) => window(e),
        Node::TypeName(e) => e.location = 0,
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
        Node::AConst(e) => e.location = 0,
        Node::RangeVar(e) => e.location = 0,
        Node::GroupingFunc(e) => e.location = 0,
        Node::NamedArgExpr(e) => e.location = 0,
        Node::BoolExpr(e) => e.location = 0,
        Node::SubLink(e) => e.location = 0,
        Node::CaseExpr(e) => e.location = 0,
        Node::CaseWhen(e) => e.location = 0,
        Node::RowExpr(e) => e.location = 0,
        Node::CoalesceExpr(e) => e.location = 0,
        Node::MinMaxExpr(e) => e.location = 0,
        Node::SqlvalueFunction(e) => e.location = 0,
        Node::XmlExpr(e) => e.location = 0,
        Node::NullTest(e) => e.location = 0,
        Node::BooleanTest(e) => e.location = 0,
        Node::SetToDefault(e) => e.location = 0,
        Node::ColumnRef(e) => e.location = 0,
        Node::ParamRef(e) => e.location = 0,
        Node::CollateClause(e) => e.location = 0,
        Node::ResTarget(e) => e.location = 0,
        Node::SortBy(e) => e.location = 0,
        Node::RangeTableFunc(e) => e.location = 0,
        Node::RangeTableSample(e) => e.location = 0,
        Node::DefElem(e) => e.location = 0,
        Node::GroupingSet(e) => e.location = 0,
        Node::JsonIsPredicate(e) => e.location = 0,
        Node::JsonParseExpr(e) => e.location = 0,
        Node::JsonScalarExpr(e) => e.location = 0,
        Node::JsonSerializeExpr(e) => e.location = 0,
        Node::JsonObjectConstructor(e) => e.location = 0,
        Node::JsonArrayConstructor(e) => e.location = 0,
        _ => {}
    }
}
