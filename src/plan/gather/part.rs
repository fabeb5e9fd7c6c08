//! Parts: SELECTs with a route of their own, each once.

use pg_query::protobuf::SelectStmt;

use super::{Ordered, Part};
use crate::catalog::{Oid, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::{Access, Context, KeySource, Keyed, Refusal, Several, Target};
use crate::sql::edit;

/// Columns that a table can have, so also a part's. *Source*: htup_details.h, `MaxHeapAttributeNumber`.
const COLUMNS_MAX: usize = 1600;

/// The parts of one statement.
pub struct Parts<'c> {
    context: &'c Context<'c>,
    /// Types of parameters as the whole statement tells them.
    types: Vec<Option<Oid>>,
    /// The number of the first parameter for a value; 0: there are to be none.
    pub first_value: usize,
    /// Such parameters in use.
    pub values: usize,
    /// Made so far.
    pub made: Vec<Part>,
    /// By part, what would be needed to have each of its rows once.
    pub outlines: Vec<Option<Outline>>,
    /// See [`super::Gather::ordered`].
    pub ordered: Option<Ordered>,
}

/// A part that is columns of rows, all of them.
pub struct Outline {
    /// Names of its columns.
    pub columns: Vec<String>,
}

impl<'c> Parts<'c> {
    /// None yet. `types`: of the client's parameters, where the whole statement makes them certain.
    pub fn new(context: &'c Context<'c>, types: Vec<Option<Oid>>) -> Parts<'c> {
        Parts { context, types, first_value: 0, values: 0, made: Vec::new(), outlines: Vec::new(), ordered: None }
    }

    /// Where a query runs as a part; `None` if it is no part: it does not distribute, or does something besides reading.
    pub fn target(&self, select: &SelectStmt) -> Result<Option<Target>, Stop> {
        let mut builder = Builder::new(self.context);
        let opaque = super::value::opaque(select, self)?;
        let query = match builder.select(opaque.as_ref().unwrap_or(select)) {
            Ok(query) => query,
            Err(Stop::Refuse(_)) => return Ok(None),
            Err(Stop::Fails) => return Err(Stop::Fails),
        };
        let route = match builder.finish(Some(&query)) {
            Ok(route) if route.access != Access::Write => route,
            Ok(_) | Err(Stop::Refuse(_)) => return Ok(None),
            Err(Stop::Fails) => return Err(Stop::Fails),
        };
        let system = builder.leaves.iter().any(|leaf| leaf.relation.kind == RelationKind::System);
        Ok(match route.target {
            Target::Any if system => Some(Target::Home),
            target @ (Target::Any | Target::Home | Target::Scatter) => Some(target),
            Target::Keyed(keyed) => self.keyed(keyed).map(Target::Keyed),
            Target::Replicated { .. }
            | Target::Unknown
            | Target::Computed(_)
            | Target::Moved(_)
            | Target::Fetched(_)
            | Target::Gather(_) => None,
        })
    }

    fn keyed(&self, mut keyed: Keyed) -> Option<Keyed> {
        if keyed.touches_home || !(keyed.several == Several::Scatter || one_shard(&keyed)) {
            return None;
        }
        keyed.several = Several::Scatter;
        for source in keyed.pins.iter_mut().flat_map(|pin| &mut pin.sources) {
            match source {
                // In which type it arrives is decided by the statement that the client has sent.
                KeySource::Parameter { index, type_oid } | KeySource::ParameterArray { index, type_oid } => {
                    *type_oid = self.types.get(*index).copied().flatten();
                }
                KeySource::Constant(_) | KeySource::Literal(_) | KeySource::Null => {}
            }
        }
        Some(keyed)
    }

    /// Makes a query a part that runs there, and gives its name. The same text is the same part.
    pub fn add(&mut self, select: SelectStmt, target: Target) -> Result<String, Stop> {
        if select.target_list.len() > COLUMNS_MAX {
            return Err(super::engine::unfit());
        }
        let outline = super::once::outline(&select);
        let text = edit::print_owned(select).ok_or_else(super::plan::unprintable)?;
        if let Some(known) = self.made.iter().find(|part| part.text == text) {
            return Ok(known.name.clone());
        }
        let name = format!("part{}", self.made.len() + 1);
        self.outlines.push(outline);
        self.made.push(Part { name: name.clone(), text, target, lookups: Vec::new(), reducers: Vec::new(), wave: 0 });
        Ok(name)
    }
}

/// Why a statement whose keys are on several shards is refused, if it is and they may be.
pub fn refused(keyed: &Keyed) -> Option<&Refusal> {
    match &keyed.several {
        Several::Refuse(refusal) if keyed.touches_home || !one_shard(keyed) => Some(refusal),
        Several::Refuse(_) | Several::Scatter | Several::Split(_) | Several::Gather(_) => None,
    }
}

/// Whether it runs on one shard whatever the parameters are.
pub fn one_shard(keyed: &Keyed) -> bool {
    let scalar = |source: &KeySource| !matches!(source, KeySource::ParameterArray { .. });
    match keyed.pins.split_first() {
        Some((first, others)) => {
            first.sources.len() == 1
                && first.sources.iter().all(scalar)
                && others.iter().all(|pin| pin.sources == first.sources)
        }
        None => true,
    }
}
