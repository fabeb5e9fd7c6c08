//! Takes the values of lifted literals out of a syntax tree: what is then planned cannot depend on them.
//!
//! An erased constant is an `A_Const` without a value that is not NULL, which no parser makes; instead of its place it knows
//! its number. [`super::names::constant`] has nothing to say of it. Only constants where expressions of plain operators stand
//! are erased (WHERE, SET, the rows of VALUES): not in LIMIT, ORDER BY, GROUP BY, type names or arguments of functions.

use pg_query::protobuf::{AConst, AExprKind, Node as Wrapped, SelectStmt, a_const::Val};

use super::Node;
use super::lift::{Literal, LiteralKind};

/// A constant whose value has been taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Its number among the text's literals, from 0.
    pub slot: usize,
    /// What it is.
    pub kind: LiteralKind,
    /// With a minus sign before it, which the parser makes part of the constant (gram.y, doNegate).
    pub negative: bool,
}

/// The constant in a node, if it is an erased one.
pub fn erased(node: &Node) -> Option<Erased> {
    match node {
        Node::AConst(constant) if !constant.isnull && constant.val.is_none() => {
            let number = u32::try_from(constant.location).ok()?;
            let kind = match number & 3 {
                0 => LiteralKind::Int4,
                1 => LiteralKind::Int8,
                2 => LiteralKind::Decimal,
                _ => LiteralKind::Text,
            };
            Some(Erased { slot: (number >> 3) as usize, kind, negative: number & 4 != 0 })
        }
        _ => None,
    }
}

/// Erases what can be erased of a statement's literals; which of them. Empty for a statement of another kind.
pub fn erase(statement: &mut Node, text: &str, literals: &[Literal]) -> Vec<bool> {
    let mut eraser = Eraser { text, literals, done: vec![false; literals.len()] };
    match statement {
        Node::SelectStmt(select) => eraser.node(&mut select.where_clause),
        Node::InsertStmt(insert) => {
            if let Some(Node::SelectStmt(select)) = insert.select_stmt.as_mut().and_then(|node| node.node.as_mut()) {
                eraser.rows(select);
            }
        }
        Node::UpdateStmt(update) => {
            for target in &mut update.target_list {
                if let Some(Node::ResTarget(target)) = &mut target.node {
                    eraser.node(&mut target.val);
                }
            }
            eraser.node(&mut update.where_clause);
        }
        Node::DeleteStmt(delete) => eraser.node(&mut delete.where_clause),
        _ => return Vec::new(),
    }
    eraser.done
}

struct Eraser<'a> {
    text: &'a str,
    literals: &'a [Literal],
    done: Vec<bool>,
}

impl Eraser<'_> {
    fn rows(&mut self, select: &mut SelectStmt) {
        self.list(&mut select.values_lists);
    }

    fn list(&mut self, nodes: &mut [Wrapped]) {
        nodes.iter_mut().filter_map(|node| node.node.as_mut()).for_each(|node| self.expression(node));
    }

    fn node(&mut self, node: &mut Option<Box<Wrapped>>) {
        if let Some(node) = node.as_mut().and_then(|node| node.node.as_mut()) {
            self.expression(node);
        }
    }

    fn expression(&mut self, node: &mut Node) {
        match node {
            Node::AConst(constant) => self.constant(constant),
            Node::AExpr(e) => {
                // An array in a text has several values in it.
                if !matches!(e.kind(), AExprKind::AexprOpAny | AExprKind::AexprOpAll) {
                    self.node(&mut e.rexpr);
                }
                self.node(&mut e.lexpr);
            }
            Node::BoolExpr(e) => self.list(&mut e.args),
            Node::TypeCast(e) => self.node(&mut e.arg),
            Node::List(e) => self.list(&mut e.items),
            Node::RowExpr(e) => self.list(&mut e.args),
            Node::NullTest(e) => self.node(&mut e.arg),
            _ => {}
        }
    }

    /// The parser and our lexer must agree on what stands there.
    fn constant(&mut self, constant: &mut AConst) {
        let Some(erased) = self.find(constant) else { return };
        let Some(done) = self.done.get_mut(erased.slot) else { return };
        let Ok(slot) = i32::try_from(erased.slot) else { return };
        let kind = match erased.kind {
            LiteralKind::Int4 => 0,
            LiteralKind::Int8 => 1,
            LiteralKind::Decimal => 2,
            LiteralKind::Text => 3,
        };
        *done = true;
        constant.val = None;
        constant.location = slot << 3 | i32::from(erased.negative) << 2 | kind;
    }

    fn find(&self, constant: &AConst) -> Option<Erased> {
        let value = constant.val.as_ref().filter(|_| !constant.isnull)?;
        let location = u32::try_from(constant.location).ok()?;
        let negative = self.text.as_bytes().get(location as usize) == Some(&b'-');
        let start = location + u32::from(negative);
        let slot = self.literals.binary_search_by_key(&start, |literal| literal.start).ok()?;
        let literal = self.literals.get(slot)?;
        let token = literal.token(self.text);
        let signed = || if negative { format!("-{token}") } else { token.to_owned() };
        let agree = match (literal.kind, value) {
            (LiteralKind::Int4, Val::Ival(value)) => signed().parse() == Ok(value.ival),
            (LiteralKind::Int8 | LiteralKind::Decimal, Val::Fval(value)) => value.fval == signed(),
            (LiteralKind::Text, Val::Sval(value)) => !negative && value.sval == string(token),
            _ => false,
        };
        agree.then_some(Erased { slot, kind: literal.kind, negative })
    }
}

/// The string that a token of kind [`LiteralKind::Text`] stands for.
pub fn string(token: &str) -> std::borrow::Cow<'_, str> {
    let inside = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or_default();
    if inside.contains('\'') { inside.replace("''", "'").into() } else { inside.into() }
}
