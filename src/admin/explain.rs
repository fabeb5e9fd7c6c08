//! `pgbraid explain`: where a statement would run, and why, without running it.

use std::fmt::Write as _;

use crate::catalog::load;
use crate::config::Config;
use crate::plan::{self, Access, Context, Destination, KeySource, Plan, Planned, Refusal, Route, Target, When};
use crate::session::gateway::rules;
use crate::session::plans::scope::Scope;
use crate::session::statement::NoArguments;
use crate::topology::{self, ControlError, MapFile, MapFileError};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The home shard cannot be asked for the catalog.
    #[error("the home shard cannot be reached: {0}")]
    Control(#[from] ControlError),
    /// Its catalog cannot be read.
    #[error(transparent)]
    Load(#[from] crate::catalog::LoadError),
    /// The map's file.
    #[error(transparent)]
    Map(#[from] MapFileError),
    /// The text is not SQL.
    #[error("{0}")]
    Syntax(String),
    /// A configuration without shards, which checking excludes.
    #[error("no home shard is configured")]
    NoHome,
}

/// The plan of each statement in `sql`, as text.
///
/// # Errors
/// See [`ExplainError`].
pub async fn explain(config: &Config, sql: &str) -> Result<String, ExplainError> {
    let home = config.shards.get(usize::from(config.sharding.home.0)).ok_or(ExplainError::NoHome)?;
    let client = topology::connect(&home.primary, None).await?;
    let rules = rules(config);
    let catalog = load(&client, &rules, crate::catalog::CatalogVersion(1)).await?;
    let map = MapFile::new(config).load()?;
    let scope = Scope::new(&home.primary.database, &home.primary.user, &catalog, &Default::default(), true);
    let context = Context {
        catalog: &catalog,
        rules: &rules,
        search_path: &scope.search_path,
        role: &scope.role,
        declared_types: &[],
        utf8: true,
    };
    let statements = plan::compile(sql, &context).map_err(|error| ExplainError::Syntax(error.to_string()))?;
    let name = |shard: shardmap::ShardId| {
        config.shards.get(usize::from(shard.0)).map_or_else(|| shard.0.to_string(), |shard| shard.name.clone())
    };
    let mut text = String::new();
    for Planned { plan, .. } in &statements {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&describe(plan, &|route| route.resolve(&map, config.sharding.home, &NoArguments), &name));
    }
    Ok(text)
}

type Resolve<'a> = dyn Fn(&Route) -> Result<Destination, Refusal> + 'a;

fn describe(plan: &Plan, resolve: &Resolve<'_>, name: &dyn Fn(shardmap::ShardId) -> String) -> String {
    match plan {
        Plan::Rows(route) => describe_route(route, resolve, name),
        Plan::CopyIn(copy) => format!("COPY into {}: {:?}", copy.relation, copy.target),
        Plan::Everywhere(_) => "Everywhere: the statement runs on all shards".to_owned(),
        Plan::Transaction(_) => {
            "Transaction control: answered by the gateway, and sent to the shards that take part".to_owned()
        }
        Plan::Setting(_) | Plan::SettingQuery(_) | Plan::Discard(_) => {
            "Setting: follows the client from server to server".to_owned()
        }
        Plan::Prepared(_) => "Prepared statement: the gateway keeps its name".to_owned(),
        Plan::Cursor(_) => "Cursor: lives on the shard where it is declared".to_owned(),
        Plan::Empty => "Empty statement".to_owned(),
        Plan::Refuse(refusal) => refused(refusal),
    }
}

fn describe_route(route: &Route, resolve: &Resolve<'_>, name: &dyn Fn(shardmap::ShardId) -> String) -> String {
    let access = match route.access {
        Access::Read => "read",
        Access::ReadPrimary => "read of the primary",
        Access::Write => "write",
    };
    if let Some(parameters) = key_parameters(&route.target) {
        return format!("One shard ({access}), known when {parameters} is bound");
    }
    match resolve(route) {
        Ok(Destination::Any) => format!("Any shard ({access}): it needs no row that differs between shards"),
        Ok(Destination::One(shard)) => format!("One shard ({access}): {}", name(shard)),
        Ok(Destination::Many(shards)) => {
            let mut text = format!("Scatter ({access}): the rows of all these shards are the answer");
            for shard in shards {
                let _ = write!(text, "\n  ->  {}", name(shard));
            }
            text
        }
        Ok(Destination::Split(rows)) => {
            let mut shards = rows.clone();
            shards.sort_unstable();
            shards.dedup();
            let mut text = format!("Split ({access}): {} rows, each to the shard of its key", rows.len());
            for shard in shards {
                let _ = write!(text, "\n  ->  {}", name(shard));
            }
            text
        }
        Ok(Destination::Stepwise) => {
            if let Target::Fetched(fetched) = &route.target {
                let mut text = format!("Fetch ({access}): rows are fetched first, what is left runs where they say");
                for source in &fetched.sources {
                    let _ = write!(text, "\n  ->  {}", source.shown());
                }
                return text;
            }
            if let Target::Computed(_) = &route.target {
                return format!("Computed ({access}): where its rows go is known when its values are");
            }
            format!("Move ({access}): rows are taken from their shards and put where their new keys say")
        }
        Ok(Destination::Compute) => format!("Computed ({access}): where it runs is known when its values are"),
        Ok(Destination::Gather(gather)) => {
            let mut text = String::new();
            if let Some(ordered) = &gather.ordered {
                let _ = write!(text, "{} in the gateway ({access})\n  ->  {}", ordered.name(), ordered.part.text);
                text.push_str("\nOr, if a key's type, a cursor or a row limit needs it:\n");
            }
            let _ = write!(text, "Gather ({access}): {}", gather.reason);
            let _ = write!(text, "\n  merge: {}", gather.merge);
            for value in &gather.values {
                let _ = write!(text, "\n  first ${}: {}", value.parameter, value.text);
            }
            for part in &gather.parts {
                let _ = write!(text, "\n  ->  {}: {}", part.name, part.text);
            }
            text
        }
        Ok(Destination::All { .. }) => "All shards (write): the same on each".to_owned(),
        Ok(Destination::NeedsParameterTypes) => "One shard, known when the parameters are bound".to_owned(),
        Err(refusal) => refused(&refusal),
    }
}

/// The parameters that a keyed statement's place depends on.
fn key_parameters(target: &Target) -> Option<String> {
    let keyed = match target {
        Target::Keyed(keyed) => keyed,
        Target::Computed(computed) => match &computed.when {
            When::Several(target) => return key_parameters(target),
            When::Always | When::Anew => return None,
        },
        Target::Any
        | Target::Home
        | Target::Scatter
        | Target::Unknown
        | Target::Replicated { .. }
        | Target::Gather(_)
        | Target::Fetched(_)
        | Target::Moved(_) => {
            return None;
        }
    };
    let mut names: Vec<String> = keyed
        .pins
        .iter()
        .flat_map(|pin| &pin.sources)
        .filter_map(|source| match source {
            KeySource::Parameter { index, .. } | KeySource::ParameterArray { index, .. } => {
                Some(format!("${}", index + 1))
            }
            KeySource::Constant(_) | KeySource::Null | KeySource::Literal(_) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join(", "))
}

fn refused(refusal: &Refusal) -> String {
    let hint = refusal.hint.as_deref().map(|hint| format!("\nHint: {hint}")).unwrap_or_default();
    format!("Refused ({}): {}{hint}", refusal.sqlstate, refusal.reason)
}
