//! Plans for all texts that differ in their literals only.
//!
//! A text is planned twice: as it is, and with the values of its literals erased from the syntax tree, so that the planner
//! cannot look at them: where a key's value comes from a literal, the plan names the literal instead. If both plans are the
//! same when the values are put back, the second one is right for every text of the shape, provided that its literals can be
//! read as keys at all; those whose cannot are planned by themselves.

use shardmap::ShardId;

use super::literal::Literals;
use super::one_row::{self, Given};
use super::{
    Access, Context, Destination, KeySource, Output, Placement, Plan, Planned, Refusal, Route, Several, Target,
    statement,
};
use crate::sql::lift::Literal;
use crate::sql::{self, erase};

/// A route for all texts of a shape.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The route, with [`KeySource::Literal`] where a literal gives a key.
    pub route: Route,
    /// Whether keys on several shards are dealt with by it: if not, such texts are planned by themselves.
    any_shards: bool,
    /// See [`super::one_row`].
    pub finds_one_row: bool,
}

/// Whether a plan is that of other texts too.
#[derive(Clone, Debug)]
pub enum Sharing {
    /// With the literals that are lifted: true for each that may differ.
    Shared(Shared, Vec<bool>),
    /// No text of this shape shares its plan.
    Never,
    /// Not the plan of this text, whose literals are no keys; others of its shape may.
    NotThis,
}

/// Plans the statements of a text, as [`super::compile`] does, and tells whether the plan is that of other texts.
///
/// # Errors
/// When the text is not SQL.
pub fn compile_shared(
    text: &str,
    literals: &[Literal],
    context: &Context<'_>,
) -> Result<(Vec<Planned>, Sharing), sql::SyntaxError> {
    let mut script = sql::parse(text)?;
    let planned = super::plan_script(text, &script, context);
    let sharing = match (script.statements.as_mut_slice(), planned.as_slice()) {
        ([parsed], [Planned { plan: Plan::Rows(whole), .. }]) => share(text, parsed, literals, whole, context),
        _ => Sharing::Never,
    };
    Ok((planned, sharing))
}

fn share(
    text: &str,
    parsed: &mut sql::Statement,
    literals: &[Literal],
    whole: &Route,
    context: &Context<'_>,
) -> Sharing {
    if !is_simple(whole) {
        return Sharing::Never;
    }
    let Some(node) = parsed.tree.as_mut().and_then(|tree| tree.stmt.as_mut()).and_then(|stmt| stmt.node.as_mut())
    else {
        return Sharing::Never;
    };
    let lifted = erase::erase(node, text, literals);
    if !lifted.contains(&true) {
        return Sharing::Never;
    }
    let finds_one_row = whole.access == Access::Read
        && lifted.iter().all(|lifted| *lifted)
        && one_row::finds_one_row(node, Given::Literals, context);
    let Plan::Rows(route) = statement::plan(text, parsed, context) else { return Sharing::Never };
    let Some(filled) = filled(&route, &Literals { text, literals }) else { return Sharing::NotThis };
    // In words, which name all there is to a route: nothing can be forgotten here.
    // What is refused for keys on several shards may be gathered with other literals, and the other way round.
    let refused = matches!(&whole.target, Target::Keyed(keyed) if matches!(keyed.several, Several::Refuse(_)));
    let any_shards = !refused && format!("{filled:?}") == format!("{whole:?}");
    if !any_shards && format!("{:?}", one_shard(filled)) != format!("{:?}", one_shard(whole.clone())) {
        return Sharing::Never;
    }
    Sharing::Shared(Shared { route, any_shards, finds_one_row }, lifted)
}

/// Kinds of routes of which it is known that constants decide keys and nothing else.
fn is_simple(route: &Route) -> bool {
    let target = match &route.target {
        // The places of rows in the text are those of one text.
        Target::Keyed(keyed) => !matches!(keyed.several, Several::Split(_)),
        Target::Any | Target::Home | Target::Scatter => true,
        // Constants decide what a reference table may be given.
        Target::Unknown | Target::Replicated { .. } | Target::Computed(_) | Target::Moved(_) | Target::Fetched(_) => {
            false
        }
        // The plan's texts have the constants in them.
        Target::Gather(_) => false,
    };
    target && route.output == Output::Rows
}

/// A route with the values of literals put back; `None` when one is no key.
fn filled(route: &Route, literals: &Literals<'_>) -> Option<Route> {
    let mut route = route.clone();
    if let Target::Keyed(keyed) = &mut route.target {
        for pin in &mut keyed.pins {
            let filled = pin.sources.iter().map(|source| match source {
                KeySource::Literal(literal) => literal.key(pin, literals).map(KeySource::Constant),
                other => Some(other.clone()),
            });
            pin.sources = filled.collect::<Option<Vec<_>>>()?;
        }
    }
    Some(route)
}

/// A route without what it says of keys on several shards.
fn one_shard(mut route: Route) -> Route {
    if let Target::Keyed(keyed) = &mut route.target {
        keyed.several = Several::Scatter;
    }
    route
}

impl Shared {
    /// The shards on which a text with these literals runs; `None` when it must be planned by itself.
    pub fn resolve(
        &self,
        map: &dyn Placement,
        home: ShardId,
        literals: &Literals<'_>,
    ) -> Option<Result<Destination, Refusal>> {
        // A word like `now` is not what was planned, on several shards.
        let moment = || self.route.access == Access::Write && literals.has_moment();
        let Target::Keyed(keyed) = &self.route.target else {
            return (!moment()).then(|| self.route.resolve(map, home, literals));
        };
        // The usual one by a shorter way: one key, which one literal gives.
        if let [pin] = keyed.pins.as_slice()
            && let [KeySource::Literal(literal)] = pin.sources.as_slice()
            && !keyed.touches_home
        {
            let key = literal.key(pin, literals)?;
            return Some(Ok(Destination::One(map.shard_of(key.bucket()))));
        }
        let fits = keyed.pins.iter().all(|pin| {
            pin.sources.iter().all(|source| match source {
                KeySource::Literal(literal) => literal.key(pin, literals).is_some(),
                _ => true,
            })
        });
        if !fits {
            return None;
        }
        match self.route.resolve(map, home, literals) {
            Ok(destination @ (Destination::Any | Destination::One(_))) => Some(Ok(destination)),
            other => (self.any_shards && !moment()).then_some(other),
        }
    }
}
