//! Which routine a call means, and what its parameters stand for.

use pg_query::protobuf::{FuncCall, Node as Wrapped};

use super::refused;
use crate::catalog::Routine;
use crate::plan::gather::node;
use crate::plan::ir::Stop;
use crate::plan::key::{self, Class};
use crate::sql::{Node, names};

/// The one routine that a call can only mean.
pub fn chosen<'r>(name: &str, candidates: &[&'r Routine], call: &FuncCall) -> Result<&'r Routine, Stop> {
    let fits = |routine: &&&Routine| {
        let takes = routine.parameters.iter().filter(|parameter| parameter.takes || routine.procedure).count();
        let variadic = routine.parameters.iter().any(|parameter| parameter.variadic);
        variadic || (takes.saturating_sub(routine.defaults)..=takes).contains(&call.args.len())
    };
    let mut fitting = candidates.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        // A server says that there is none.
        (None, _) => Err(Stop::Fails),
        (Some(_), Some(_)) => Err(refused(
            name,
            "several functions have this name and number of arguments, and which is called depends on types",
        )
        .into()),
    }
}

/// The value of each parameter, where it is one that may be a key; `None` if it is not clear which is which.
pub fn arguments(routine: &Routine, call: &FuncCall) -> Option<Vec<Option<Node>>> {
    let plain = !call.func_variadic && !routine.parameters.iter().any(|parameter| parameter.variadic);
    if !plain || call.over.is_some() || call.agg_filter.is_some() || !call.agg_order.is_empty() || call.agg_star {
        return None;
    }
    let mut values = vec![None; routine.parameters.len()];
    // An argument of CALL stands for an OUT parameter, too.
    let taking: Vec<usize> = (0..values.len())
        .filter(|at| routine.procedure || routine.parameters.get(*at).is_some_and(|parameter| parameter.takes))
        .collect();
    for (position, argument) in call.args.iter().enumerate() {
        let (at, node) = match argument.node.as_ref()? {
            Node::NamedArgExpr(named) => {
                let at = taking
                    .iter()
                    .find(|at| routine.parameters.get(**at).is_some_and(|parameter| parameter.name == named.name))?;
                (*at, names::inner(&named.arg)?.clone())
            }
            node => (*taking.get(position)?, node.clone()),
        };
        let parameter = routine.parameters.get(at)?;
        *values.get_mut(at)? = parameter.takes.then(|| typed(&node, &parameter.type_name)).flatten();
    }
    Some(values)
}

/// A constant or parameter among the arguments.
pub fn value(argument: &Wrapped) -> Option<&Node> {
    match argument.node.as_ref()? {
        Node::NamedArgExpr(named) => value(named.arg.as_deref()?),
        Node::TypeCast(cast) => value(cast.arg.as_deref()?).map(|_| argument.node.as_ref())?,
        node @ (Node::AConst(_) | Node::ParamRef(_)) => Some(node),
        _ => None,
    }
}

/// A constant or parameter as a value of a type; `None` for anything else.
fn typed(node: &Node, type_name: &str) -> Option<Node> {
    let target = Class::of_type(key::type_oid(type_name)?)?;
    let arg = match node {
        Node::AConst(_) if names::is_null(node) => return None,
        Node::AConst(_) | Node::ParamRef(_) => node.clone(),
        Node::TypeCast(cast) => {
            let (name, false) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
            let own = Class::of_type(key::type_oid(name)?)?;
            let same = own == target && own != Class::Padded;
            return (same && !names::is_null(names::inner(&cast.arg)?)).then(|| node.clone());
        }
        _ => return None,
    };
    Some(node::cast(arg, &["pg_catalog", type_name], &[]))
}
