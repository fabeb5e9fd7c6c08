//! Builds pieces of syntax trees.

use pg_query::protobuf::{
    AConst, Alias, CaseExpr, CaseWhen, CoercionForm, ColumnRef, Integer, LimitOption, Node as Wrapped, ParamRef,
    RangeVar, ResTarget, SelectStmt, SetOperation, String as Name, TypeCast, TypeName, a_const::Val,
};

use crate::sql::Node;

/// A node in the wrapper that lists hold.
pub fn wrap(node: Node) -> Wrapped {
    Wrapped { node: Some(node) }
}

/// A node in the box that single children are held in.
pub fn boxed(node: Node) -> Option<Box<Wrapped>> {
    Some(Box::new(wrap(node)))
}

/// A name.
pub fn name(text: &str) -> Wrapped {
    wrap(Node::String(Name { sval: text.to_owned() }))
}

/// `a`, `a.b`.
pub fn column(fields: &[&str]) -> Node {
    Node::ColumnRef(ColumnRef { fields: fields.iter().map(|field| name(field)).collect(), location: 0 })
}

/// A node out of its place, where something that costs nothing stands then.
pub fn taken(place: &mut Node) -> Node {
    std::mem::replace(place, Node::Integer(Integer { ival: 0 }))
}

/// A whole number.
pub fn integer(value: i32) -> Node {
    Node::AConst(AConst { isnull: false, location: 0, val: Some(Val::Ival(Integer { ival: value })) })
}

/// A text constant.
pub fn text(value: &str) -> Node {
    let val = Some(Val::Sval(Name { sval: value.to_owned() }));
    Node::AConst(AConst { isnull: false, location: 0, val })
}

/// `true`.
pub fn yes() -> Node {
    let val = Some(Val::Boolval(pg_query::protobuf::Boolean { boolval: true }));
    Node::AConst(AConst { isnull: false, location: 0, val })
}

/// NULL.
pub fn null() -> Node {
    Node::AConst(AConst { isnull: true, location: 0, val: None })
}

/// `$n`.
pub fn parameter(number: usize) -> Node {
    Node::ParamRef(ParamRef { number: i32::try_from(number).unwrap_or(i32::MAX), location: 0 })
}

/// `argument::schema.type(modifiers)`.
pub fn cast(argument: Node, type_name: &[&str], modifiers: &[i32]) -> Node {
    let type_name = TypeName {
        names: type_name.iter().map(|part| name(part)).collect(),
        typmods: modifiers.iter().map(|modifier| wrap(integer(*modifier))).collect(),
        typemod: -1,
        ..TypeName::default()
    };
    Node::TypeCast(Box::new(TypeCast { arg: boxed(argument), type_name: Some(type_name), location: 0 }))
}

/// `argument + number`.
pub fn plus(argument: Node, number: i32) -> Node {
    Node::AExpr(Box::new(pg_query::protobuf::AExpr {
        kind: pg_query::protobuf::AExprKind::AexprOp as i32,
        name: vec![name("pg_catalog"), name("+")],
        lexpr: boxed(argument),
        rexpr: boxed(integer(number)),
        ..pg_query::protobuf::AExpr::default()
    }))
}

/// `value AS label`; no label when it is empty.
pub fn target(value: Node, label: &str) -> Wrapped {
    let target = ResTarget { name: label.to_owned(), val: boxed(value), ..ResTarget::default() };
    wrap(Node::ResTarget(Box::new(target)))
}

/// `*`.
pub fn star() -> Node {
    Node::ColumnRef(ColumnRef { fields: vec![wrap(Node::AStar(pg_query::protobuf::AStar {}))], location: 0 })
}

/// `schema.name`, with an alias when it is not empty.
pub fn relation(schema: &str, relation: &str, alias: &str) -> RangeVar {
    RangeVar {
        schemaname: schema.to_owned(),
        relname: relation.to_owned(),
        inh: true,
        relpersistence: "p".to_owned(),
        alias: (!alias.is_empty()).then(|| Alias { aliasname: alias.to_owned(), colnames: Vec::new() }),
        ..RangeVar::default()
    }
}

/// Whether it stands for rows that are fetched first.
pub fn is_mark(name: &RangeVar) -> bool {
    name.schemaname == "pg_temp" && name.relname.starts_with("pgbraid_rows_")
}

/// `SELECT targets FROM from`.
pub fn select(targets: Vec<Wrapped>, from: Vec<Wrapped>) -> SelectStmt {
    SelectStmt {
        target_list: targets,
        from_clause: from,
        limit_option: LimitOption::Default as i32,
        op: SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    }
}

/// `pg_catalog.function(arguments)`.
pub fn call(function: &str, arguments: Vec<Node>) -> pg_query::protobuf::FuncCall {
    pg_query::protobuf::FuncCall {
        funcname: vec![name("pg_catalog"), name(function)],
        args: arguments.into_iter().map(wrap).collect(),
        funcformat: CoercionForm::CoerceExplicitCall as i32,
        ..pg_query::protobuf::FuncCall::default()
    }
}

/// CASE: the result of the first condition that holds.
pub fn case(arms: Vec<(Node, Node)>, otherwise: Node) -> Node {
    let when = |(condition, result): (Node, Node)| {
        let when = CaseWhen { expr: boxed(condition), result: boxed(result), ..CaseWhen::default() };
        wrap(Node::CaseWhen(Box::new(when)))
    };
    let args = arms.into_iter().map(when).collect();
    Node::CaseExpr(Box::new(CaseExpr { args, defresult: boxed(otherwise), ..CaseExpr::default() }))
}

/// `ROW(...)`.
pub fn row(fields: impl Iterator<Item = Node>) -> Node {
    Node::RowExpr(Box::new(pg_query::protobuf::RowExpr {
        args: fields.map(wrap).collect(),
        row_format: CoercionForm::CoerceExplicitCall as i32,
        ..pg_query::protobuf::RowExpr::default()
    }))
}

/// `(query) AS alias(columns)`.
pub fn subselect(query: Node, alias: &str, columns: &[String]) -> Node {
    let colnames = columns.iter().map(|column| name(column)).collect();
    Node::RangeSubselect(Box::new(pg_query::protobuf::RangeSubselect {
        lateral: false,
        subquery: boxed(query),
        alias: Some(Alias { aliasname: alias.to_owned(), colnames }),
    }))
}
