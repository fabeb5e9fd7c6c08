//! What stands in the places of a body's parameters and variables, so that its statements can be planned without it.

use std::collections::HashSet;

use super::scope::Scope;
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::gather::node;
use crate::sql::{self, Node, names, statements};

/// What stands in the places of a body's parameters and variables.
pub struct Values<'v> {
    pub context: &'v Context<'v>,
    /// Of all parameters, in order; empty for one without.
    pub names: &'v [&'v str],
    /// Their values; `None` where nothing is known.
    pub arguments: &'v [Option<Node>],
    /// `$n` is the n-th of them.
    pub numbered: bool,
    /// A qualifier of their names.
    pub routine: &'v str,
    pub variables: &'v HashSet<String>,
}

impl Values<'_> {
    /// Puts values in the places of names, in one pass.
    pub fn put(&self, node: &mut Node) -> Result<(), ()> {
        let mut scope = Scope::default();
        scope.look(node, &Builder::new(self.context)).map_err(|_| ())?;
        self.walk(node, &scope).map_err(|_| ())
    }

    fn walk(&self, node: &mut Node, scope: &Scope) -> Result<(), sql::walk::Unknown> {
        match node {
            Node::ColumnRef(column) => {
                let Some(fields) = names::strings(&column.fields) else {
                    // All columns of a table, or of a variable, of which it is not known how many they are.
                    let first = column.fields.first().and_then(names::string);
                    let own = first.is_some_and(|name| self.is_own(name) && !scope.tables.contains(name));
                    return if own { Err(sql::walk::Unknown) } else { Ok(()) };
                };
                if let Some(value) = self.value(&fields, scope) {
                    *node = value;
                }
                Ok(())
            }
            Node::ParamRef(parameter) => {
                let at = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
                let known = at.filter(|_| self.numbered).and_then(|at| self.arguments.get(at)).cloned().flatten();
                *node = known.unwrap_or_else(opaque);
                Ok(())
            }
            Node::AIndirection(part) => {
                let star = part.indirection.iter().any(|node| matches!(node.node, Some(Node::AStar(_))));
                if star {
                    Err(sql::walk::Unknown)
                } else {
                    statements::children(node, &mut |child| self.walk(child, scope))
                }
            }
            _ => statements::children(node, &mut |child| self.walk(child, scope)),
        }
    }

    fn is_own(&self, name: &str) -> bool {
        self.variables.contains(name) || name == self.routine || self.names.contains(&name)
    }

    fn argument(&self, name: &str) -> Option<&Option<Node>> {
        let at = self.names.iter().position(|known| *known == name && !name.is_empty())?;
        self.arguments.get(at)
    }

    /// What stands for a name; `None` if it is none of the body's own. What may be a column as well is neither: nothing is known of it.
    fn value(&self, fields: &[&str], scope: &Scope) -> Option<Node> {
        match fields {
            [name] => match self.argument(name) {
                Some(argument) if !scope.has_column(name) => Some(argument.clone().unwrap_or_else(opaque)),
                Some(_) => Some(opaque()),
                None => self.variables.contains(*name).then(opaque),
            },
            [first, ..] if scope.tables.contains(*first) => None,
            [first, name] if *first == self.routine => {
                Some(self.argument(name).cloned().flatten().unwrap_or_else(opaque))
            }
            [first, ..] => self.is_own(first).then(opaque),
            [] => None,
        }
    }
}

/// A value of which nothing is known.
fn opaque() -> Node {
    Node::FuncCall(Box::new(node::call("abs", vec![node::integer(0)])))
}
