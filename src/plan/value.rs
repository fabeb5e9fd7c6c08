//! Constants and parameters in the text -> where a key's value comes from. Only what is certain to be the value itself:
//! no arithmetic, no function, no cast that could change it.

use pg_query::protobuf::{TypeCast, a_const::Val};
use shardmap::Key;

use super::builder::Builder;
use super::built_in::oid;
use super::key::{self, Class};
use super::{KeySource, LiteralKey};
use crate::catalog::Oid;
use crate::sql::{Node, erase, names};

impl Builder<'_> {
    /// The value of an expression compared with (or stored into) a column of this class and type.
    pub fn source(&mut self, node: &Node, class: Class, type_oid: Oid) -> Option<KeySource> {
        match node {
            Node::AConst(_) if names::is_null(node) => Some(KeySource::Null),
            Node::AConst(_) => match erase::erased(node) {
                Some(erased) => LiteralKey::new(erased, class, None).map(KeySource::Literal),
                None => self.literal(names::constant(node)?, class).map(KeySource::Constant),
            },
            Node::ParamRef(parameter) => self.parameter_source(parameter.number, type_oid),
            Node::TypeCast(cast) => self.cast_source(cast, class),
            _ => None,
        }
    }

    fn parameter_source(&mut self, number: i32, type_oid: Oid) -> Option<KeySource> {
        self.type_parameter(number, type_oid);
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Some(KeySource::Parameter { index, type_oid: None })
    }

    /// A cast between types of the class keeps the value; a cast of a literal gives it its type.
    fn cast_source(&mut self, cast: &TypeCast, class: Class) -> Option<KeySource> {
        let (name, false) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
        let target = key::type_oid(name)?;
        let keeps = class.keeps(target);
        if !keeps || !self.system_first() {
            return None;
        }
        let argument = names::inner(&cast.arg)?;
        if let Some(erased) = erase::erased(argument) {
            return LiteralKey::new(erased, class, Some(target)).map(KeySource::Literal);
        }
        match (argument, class, names::constant(argument)) {
            (Node::ParamRef(parameter), _, _) => self.parameter_source(parameter.number, target),
            (_, Class::Text | Class::Padded, Some(Val::Sval(_)))
            | (_, Class::Integer, Some(Val::Sval(_) | Val::Ival(_) | Val::Fval(_)))
            | (_, Class::Uuid, Some(Val::Sval(_))) => {
                let key = self.literal(names::constant(argument)?, class)?;
                in_range(&key, target).then_some(KeySource::Constant(key))
            }
            _ if names::is_null(argument) => Some(KeySource::Null),
            _ => None,
        }
    }

    fn literal(&self, value: &Val, class: Class) -> Option<Key> {
        match value {
            Val::Ival(value) if class == Class::Integer => Some(Key::Integer(i64::from(value.ival))),
            // An integer that does not fit int4 (make_const, parse_node.c); numbers with a point or exponent do not parse.
            Val::Fval(value) if class == Class::Integer => key::integer(&value.fval).map(Key::Integer),
            Val::Sval(value) if self.context.utf8 || value.sval.is_ascii() => class.parse(&value.sval),
            Val::Ival(_) | Val::Fval(_) | Val::Sval(_) | Val::Boolval(_) | Val::Bsval(_) => None,
        }
    }

    /// The values of the array in `= ANY (array)`.
    pub fn array_sources(&mut self, node: &Node, class: Class, type_oid: Oid) -> Option<Vec<KeySource>> {
        match node {
            Node::AConst(_) if names::is_null(node) => Some(vec![KeySource::Null]),
            Node::AConst(_) => self.array_literal(names::string_constant(node)?, class, type_oid),
            Node::ParamRef(parameter) => Some(vec![self.array_parameter(parameter.number, type_oid)?]),
            Node::AArrayExpr(array) => self.list_sources(&array.elements, class, type_oid),
            Node::TypeCast(cast) => {
                let (name, true) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
                let target = key::type_oid(name)?;
                let keeps = class.keeps(target);
                match names::inner(&cast.arg)? {
                    Node::TypeCast(_) => None,
                    argument if keeps && self.system_first() => self.array_sources(argument, class, target),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The values of a list of expressions; `None` if one of them is not certain.
    pub fn list_sources(
        &mut self,
        nodes: &[pg_query::protobuf::Node],
        class: Class,
        type_oid: Oid,
    ) -> Option<Vec<KeySource>> {
        nodes.iter().map(|node| self.source(node.node.as_ref()?, class, type_oid)).collect()
    }

    fn array_literal(&self, text: &str, class: Class, type_oid: Oid) -> Option<Vec<KeySource>> {
        if !self.context.utf8 && !text.is_ascii() {
            return None;
        }
        let element = |element: Option<String>| match element {
            None => Some(KeySource::Null),
            Some(text) => class.parse(&text).filter(|key| in_range(key, type_oid)).map(KeySource::Constant),
        };
        key::array_elements(text)?.into_iter().map(element).collect()
    }

    fn array_parameter(&mut self, number: i32, element: Oid) -> Option<KeySource> {
        // An unknown array compared with varchar is taken as text[]: there is no operator for varchar.
        let array = key::array_of(if element == oid::VARCHAR { oid::TEXT } else { element })?;
        self.type_parameter(number, array);
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Some(KeySource::ParameterArray { index, type_oid: None })
    }
}

/// Whether an integer fits its type; out of range the server raises an error.
pub fn in_range(key: &Key, type_oid: Oid) -> bool {
    match (key, type_oid) {
        (Key::Integer(value), oid::INT2) => i16::try_from(*value).is_ok(),
        (Key::Integer(value), oid::INT4) => i32::try_from(*value).is_ok(),
        (Key::Integer(_) | Key::Text(_) | Key::Uuid(_), _) => true,
    }
}
