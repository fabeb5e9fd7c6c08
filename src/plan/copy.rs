//! COPY: which rows and fields its data have, and where they go.

use pg_query::protobuf::{CopyStmt, DefElem, Node as Wrapped};

use super::builder::Builder;
use super::from::unusable;
use super::ir::Stop;
use super::write::untriggered;
use super::{Access, Context, CopyFormat, Output, Plan, Refusal, Route, Target};
use crate::catalog::{KeyType, Relation, RelationKind};
use crate::sql::{Node, names};

/// COPY FROM STDIN.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyIn {
    /// The table, for messages.
    pub relation: String,
    /// Which shards get which rows.
    pub target: CopyTarget,
    /// Fields of a reference table's row that must not be read as the time of reading, which is each shard's own.
    pub moments: Vec<usize>,
    /// Types of the fields of a row, by the home shard's numbers.
    pub types: Vec<crate::catalog::Oid>,
    /// How rows and fields are delimited.
    pub format: CopyFormat,
}

/// Which shards get which rows of a COPY FROM.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyTarget {
    /// All rows to the home shard.
    Home,
    /// All rows to every shard.
    Reference,
    /// Each row to the shard of its key.
    Sharded {
        /// Position of the key among the fields of a row, from 0.
        field: usize,
        /// How the key is hashed.
        key_type: KeyType,
    },
}

/// The options of COPY, as written.
#[derive(Default)]
struct Options<'t> {
    format: Option<String>,
    delimiter: Option<String>,
    null: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    header: Option<String>,
    force_not_null: Option<&'t DefElem>,
    force_null: Option<&'t DefElem>,
}

/// Plans COPY.
pub fn plan(copy: &CopyStmt, context: &Context<'_>) -> Result<Plan, Stop> {
    if copy.is_program || !copy.filename.is_empty() {
        return Err(Refusal::unsupported("COPY with a file or program on the server is not supported")
            .hint("Use COPY ... FROM STDIN or TO STDOUT; psql's \\copy does.")
            .into());
    }
    let options = options(copy, context)?;
    if copy.is_from {
        return copy_in(copy, &options, context).map(Plan::CopyIn);
    }
    copy_out(copy, &options, context).map(Plan::Rows)
}

fn options<'t>(copy: &'t CopyStmt, context: &Context<'_>) -> Result<Options<'t>, Stop> {
    let mut options = Options::default();
    for node in &copy.options {
        let Some(Node::DefElem(element)) = &node.node else { continue };
        if !is_well_formed(element) {
            return Err(Stop::Fails);
        }
        let text = || names::option_text(element).unwrap_or_default();
        match element.defname.as_str() {
            "format" => options.format = Some(text()),
            "delimiter" => options.delimiter = Some(text()),
            "null" => options.null = Some(text()),
            "quote" => options.quote = Some(text()),
            "escape" => options.escape = Some(text()),
            "header" => options.header = Some(text()),
            "force_not_null" => options.force_not_null = Some(element),
            "force_null" => options.force_null = Some(element),
            "force_quote" | "freeze" | "log_verbosity" => {}
            "encoding" => {
                let name = text().to_ascii_uppercase().replace(['-', '_'], "");
                if !matches!(name.as_str(), "UTF8" | "UNICODE") {
                    return Err(Refusal::unsupported("COPY in an encoding other than UTF8 is not supported yet").into());
                }
            }
            "default" | "on_error" | "reject_limit" => {
                return Err(
                    Refusal::unsupported(format!("the COPY option {} is not supported yet", element.defname)).into()
                );
            }
            // The server knows whether there is such an option.
            _ => return Err(Stop::Fails),
        }
    }
    if !context.utf8 && copy.is_from {
        return Err(Refusal::unsupported("COPY FROM with a client_encoding other than UTF8 is not supported yet")
            .hint("SET client_encoding TO UTF8.")
            .into());
    }
    Ok(options)
}

/// It has an argument of a kind that PostgreSQL takes, so that it can be printed. A server says what is wrong with others. *Source*: copy.c,
/// ProcessCopyOptions.
fn is_well_formed(option: &DefElem) -> bool {
    let argument = names::inner(&option.arg);
    match option.defname.as_str() {
        "format" => {
            matches!(argument, Some(Node::String(text)) if matches!(text.sval.as_str(), "text" | "csv" | "binary"))
        }
        "delimiter" | "null" | "quote" | "escape" | "encoding" => matches!(argument, Some(Node::String(_))),
        "header" | "freeze" => {
            matches!(argument, None | Some(Node::String(_) | Node::Integer(_) | Node::Boolean(_)))
        }
        "force_quote" | "force_not_null" | "force_null" => matches!(argument, Some(Node::AStar(_) | Node::List(_))),
        _ => true,
    }
}

fn relation(copy: &CopyStmt, builder: &Builder<'_>) -> Result<std::sync::Arc<Relation>, Stop> {
    let name = copy.relation.as_ref().ok_or(Stop::Fails)?;
    let relation = builder.table(name).cloned().ok_or(Stop::Fails)?;
    match &relation.kind {
        RelationKind::Unusable { reason } => Err(unusable(&relation, reason).into()),
        _ => Ok(relation),
    }
}

// COPY FROM

fn copy_in(copy: &CopyStmt, options: &Options<'_>, context: &Context<'_>) -> Result<CopyIn, Stop> {
    let builder = Builder::new(context);
    let relation = relation(copy, &builder)?;
    let columns = listed_columns(&relation, &copy.attlist)?;
    if relation.kind != RelationKind::System {
        untriggered(&relation)?;
    }
    builder.check_copied(&relation, &columns)?;
    if let Some(condition) = names::inner(&copy.where_clause) {
        check_condition(&builder, condition, &relation)?;
    }
    let (target, key) = match relation.kind {
        RelationKind::Sharded { key, key_type } => {
            let name = relation.columns.get(key).map_or("", |column| column.name.as_str());
            let field = columns.iter().position(|at| *at == key).ok_or_else(|| {
                Stop::Refuse(
                    Refusal::unsupported(format!(
                        "COPY into \"{}\" without its sharding key \"{name}\"",
                        relation.name
                    ))
                    .hint(format!("Add {name} to the column list and to the data.")),
                )
            })?;
            (CopyTarget::Sharded { field, key_type }, name)
        }
        RelationKind::Reference => (CopyTarget::Reference, ""),
        RelationKind::Home | RelationKind::Sequence => (CopyTarget::Home, ""),
        RelationKind::System | RelationKind::View { .. } | RelationKind::Unusable { .. } => {
            return Err(Refusal::unsupported(format!("COPY into \"{}\" is not supported", relation.name))
                .hint("COPY into a table.")
                .into());
        }
    };
    let types = columns.iter().filter_map(|at| Some(relation.columns.get(*at)?.type_oid)).collect();
    let moments = |(field, at): (usize, &usize)| {
        relation.columns.get(*at).is_some_and(|column| builder.reads_moments(column)).then_some(field)
    };
    let moments = match target {
        CopyTarget::Reference => columns.iter().enumerate().filter_map(moments).collect(),
        CopyTarget::Home | CopyTarget::Sharded { .. } => Vec::new(),
    };
    Ok(CopyIn { relation: relation.name.clone(), target, moments, types, format: format(options, key)? })
}

/// Positions of the fields of a row: the columns listed, or all but generated ones.
fn listed_columns(relation: &Relation, list: &[Wrapped]) -> Result<Vec<usize>, Stop> {
    if list.is_empty() {
        let stored = |(at, column): (usize, &crate::catalog::Column)| (!column.generated).then_some(at);
        return Ok(relation.columns.iter().enumerate().filter_map(stored).collect());
    }
    let position = |node: &Wrapped| {
        let name = names::string(node)?;
        relation.columns.iter().position(|column| column.name == name)
    };
    list.iter().map(|node| position(node).ok_or(Stop::Fails)).collect()
}

/// WHERE of COPY FROM only drops rows; sub-selects are not allowed in it (manual of PostgreSQL 15, COPY). Each shard must drop those that
/// another would.
fn check_condition(builder: &Builder<'_>, node: &Node, relation: &Relation) -> Result<(), Stop> {
    let type_of = |node: &Node| {
        let Node::ColumnRef(column) = node else { return None };
        let name = names::strings(&column.fields)?.pop()?;
        Some(relation.columns.iter().find(|column| column.name == name)?.type_oid)
    };
    match relation.kind {
        RelationKind::Home | RelationKind::Sequence => Ok(()),
        _ if !builder.may_differ(node, &type_of)? => Ok(()),
        _ => Err(Refusal::unsupported(
            "COPY ... WHERE with a function that is not the same on every shard is not supported",
        )
        .into()),
    }
}

fn format(options: &Options<'_>, key: &str) -> Result<CopyFormat, Stop> {
    let byte = |option: &Option<String>, default: u8| match option.as_deref().map(str::as_bytes) {
        None => Ok(default),
        Some([byte]) => Ok(*byte),
        // "must be a single one-byte character": the server says so.
        Some(_) => Err(Stop::Fails),
    };
    let header = match options.header.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "off" | "0") => false,
        Some("" | "true" | "on" | "1" | "match") => true,
        Some(_) => return Err(Stop::Fails),
    };
    let null = |default: &str| options.null.as_deref().unwrap_or(default).as_bytes().to_vec();
    match options.format.as_deref().unwrap_or("text") {
        "text" => Ok(CopyFormat::Text { delimiter: byte(&options.delimiter, b'\t')?, null: null("\\N"), header }),
        "csv" => {
            let quote = byte(&options.quote, b'"')?;
            Ok(CopyFormat::Csv {
                delimiter: byte(&options.delimiter, b',')?,
                quote,
                escape: byte(&options.escape, quote)?,
                null: null(""),
                force_not_null: names_column(options.force_not_null, key),
                force_null: names_column(options.force_null, key),
                header,
            })
        }
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(Stop::Fails),
    }
}

/// Whether an option that is a list of columns, or `*`, names the key.
fn names_column(option: Option<&DefElem>, key: &str) -> bool {
    match option.and_then(|element| names::inner(&element.arg)) {
        Some(Node::AStar(_)) => true,
        Some(Node::List(list)) => list.items.iter().any(|node| names::string(node) == Some(key)),
        _ => false,
    }
}

// COPY TO

fn copy_out(copy: &CopyStmt, options: &Options<'_>, context: &Context<'_>) -> Result<Route, Stop> {
    let header = matches!(
        options.header.as_deref().map(str::to_ascii_lowercase).as_deref(),
        Some("" | "true" | "on" | "1" | "match")
    );
    let output = match options.format.as_deref() {
        Some("binary") => Output::CopyBinary,
        _ if header => Output::CopyTextWithHeader,
        _ => Output::CopyText,
    };
    let mut route = match names::inner(&copy.query) {
        Some(query) => super::followed::instead(super::statement::rows(query, None, context), query, context)?,
        None => {
            let builder = Builder::new(context);
            let relation = relation(copy, &builder)?;
            builder.check_guard(&relation)?;
            let target = match relation.kind {
                RelationKind::Sharded { .. } => Target::Scatter,
                RelationKind::Home | RelationKind::Sequence => Target::Home,
                // A view cannot be copied: the server says so.
                RelationKind::Reference
                | RelationKind::System
                | RelationKind::View { .. }
                | RelationKind::Unusable { .. } => Target::Any,
            };
            Route { access: Access::Read, target, output }
        }
    };
    if matches!(route.target, Target::Replicated { .. }) {
        return Err(Refusal::unsupported("COPY of a write to a reference table is not supported").into());
    }
    route.output = output;
    Ok(route)
}
