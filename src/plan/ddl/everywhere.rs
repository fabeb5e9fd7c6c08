//! DDL and maintenance: every shard has the same schema, so it runs on every shard, unless it promises what only one server can keep.

use pg_query::protobuf::{Node as Wrapped, ObjectType, RangeVar, ReindexObjectType, ReindexStmt, VacuumStmt};

use super::table;
use crate::plan::ir::Stop;
use crate::plan::{Context, Everywhere, Plan, Refusal, Vacated};
use crate::sql::{Node, names};

/// Plans what is no query and none of `utility`'s.
pub fn plan(node: &Node, context: &Context<'_>) -> Result<Plan, Stop> {
    check_temporary(node, context)?;
    table::check(node, context)?;
    refused(node)?;
    let everywhere = |in_transaction, changes_catalog| {
        let changes_logins = matches!(
            node,
            Node::AlterRoleSetStmt(_) | Node::AlterRoleStmt(_) | Node::AlterDatabaseSetStmt(_) | Node::RenameStmt(_)
        );
        let (vacates, renews) = (vacated(node), renewed(node));
        Ok(Plan::Everywhere(Everywhere { in_transaction, changes_catalog, changes_logins, vacates, renews }))
    };
    match node {
        Node::VacuumStmt(vacuum) => everywhere(!is_vacuum(vacuum), false),
        Node::CheckPointStmt(_) => everywhere(true, false),
        Node::ReindexStmt(reindex) => everywhere(!alone(reindex), false),
        Node::ClusterStmt(cluster) => everywhere(cluster.relation.is_some(), false),
        Node::IndexStmt(index) => everywhere(!index.concurrent, true),
        Node::DropStmt(drop) => everywhere(!drop.concurrent, true),
        Node::AlterSystemStmt(_) => everywhere(false, false),
        Node::CreatedbStmt(_) | Node::DropdbStmt(_) | Node::CreateTableSpaceStmt(_) | Node::DropTableSpaceStmt(_) => {
            everywhere(false, true)
        }
        // SET TABLESPACE moves files and cannot run in a transaction block.
        Node::AlterDatabaseStmt(alter) => {
            let moves = alter.options.iter().any(|node| match &node.node {
                Some(Node::DefElem(element)) => element.defname == "tablespace",
                _ => false,
            });
            everywhere(!moves, true)
        }
        Node::AlterTableStmt(alter) => everywhere(!detaches_concurrently(alter), true),
        _ if is_of_schema(node) || is_of_cluster(node) => everywhere(true, true),
        _ => Err(Refusal::unsupported("this kind of statement is not supported yet").into()),
    }
}

/// PostgreSQL wants nobody connected to a database that is dropped, renamed or copied (dbcommands.c).
fn vacated(node: &Node) -> Option<Vacated> {
    match node {
        Node::DropdbStmt(drop) => Some(Vacated::Dropped(drop.dbname.clone())),
        Node::RenameStmt(rename) if rename.rename_type() == ObjectType::ObjectDatabase => {
            Some(Vacated::Left(rename.subname.clone()))
        }
        Node::CreatedbStmt(create) => create.options.iter().find_map(|option| match &option.node {
            Some(Node::DefElem(option)) if option.defname == "template" => match option.arg.as_ref()?.node.as_ref()? {
                Node::String(name) => Some(Vacated::Left(name.sval.clone())),
                _ => None,
            },
            _ => None,
        }),
        _ => None,
    }
}

/// Databases whose names do not mean afterwards what they meant before.
fn renewed(node: &Node) -> Vec<String> {
    match node {
        Node::CreatedbStmt(create) => vec![create.dbname.clone()],
        Node::DropdbStmt(drop) => vec![drop.dbname.clone()],
        Node::RenameStmt(rename) if rename.rename_type() == ObjectType::ObjectDatabase => {
            vec![rename.subname.clone(), rename.newname.clone()]
        }
        _ => Vec::new(),
    }
}

/// Makes or changes what is in a schema, or belongs to it.
fn is_of_schema(node: &Node) -> bool {
    matches!(
        node,
        Node::CreateStmt(_)
            | Node::ViewStmt(_)
            | Node::CreateSchemaStmt(_)
            | Node::CreateSeqStmt(_)
            | Node::AlterSeqStmt(_)
            | Node::CreateFunctionStmt(_)
            | Node::AlterFunctionStmt(_)
            | Node::DefineStmt(_)
            | Node::CreateDomainStmt(_)
            | Node::AlterDomainStmt(_)
            | Node::CompositeTypeStmt(_)
            | Node::CreateEnumStmt(_)
            | Node::AlterEnumStmt(_)
            | Node::CreateRangeStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::CreateTrigStmt(_)
            | Node::RuleStmt(_)
            | Node::CreatePolicyStmt(_)
            | Node::AlterPolicyStmt(_)
            | Node::RenameStmt(_)
            | Node::AlterObjectSchemaStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterOwnerStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::AlterCollationStmt(_)
            | Node::CreateCastStmt(_)
            | Node::CreateConversionStmt(_)
            | Node::CreateTransformStmt(_)
            | Node::CreatePlangStmt(_)
            | Node::CreateAmStmt(_)
            | Node::CreateOpClassStmt(_)
            | Node::CreateOpFamilyStmt(_)
            | Node::AlterOpFamilyStmt(_)
            | Node::CreateStatsStmt(_)
            | Node::AlterStatsStmt(_)
            | Node::AlterTsdictionaryStmt(_)
            | Node::AlterTsconfigurationStmt(_)
    )
}

/// Makes or changes roles, rights, comments, extensions, and what belongs to a database or to other servers.
fn is_of_cluster(node: &Node) -> bool {
    matches!(
        node,
        Node::CreateExtensionStmt(_)
            | Node::AlterExtensionStmt(_)
            | Node::AlterExtensionContentsStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::AlterEventTrigStmt(_)
            | Node::GrantStmt(_)
            | Node::GrantRoleStmt(_)
            | Node::AlterDefaultPrivilegesStmt(_)
            | Node::CreateRoleStmt(_)
            | Node::AlterRoleStmt(_)
            | Node::AlterRoleSetStmt(_)
            | Node::DropRoleStmt(_)
            | Node::DropOwnedStmt(_)
            | Node::ReassignOwnedStmt(_)
            | Node::AlterDatabaseSetStmt(_)
            | Node::AlterDatabaseRefreshCollStmt(_)
            | Node::CommentStmt(_)
            | Node::SecLabelStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::CreateForeignServerStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::CreateForeignTableStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::AlterUserMappingStmt(_)
            | Node::DropUserMappingStmt(_)
            | Node::ImportForeignSchemaStmt(_)
            | Node::AlterTableMoveAllStmt(_)
            | Node::AlterTableSpaceOptionsStmt(_)
            | Node::CreatePublicationStmt(_)
            | Node::AlterPublicationStmt(_)
    )
}

fn refused(node: &Node) -> Result<(), Refusal> {
    match node {
        Node::CreateSubscriptionStmt(_) | Node::AlterSubscriptionStmt(_) | Node::DropSubscriptionStmt(_) => {
            Err(Refusal::unsupported("subscriptions are not supported: every shard would receive all rows")
                .hint("Subscribe on a shard directly, or load through the gateway."))
        }
        _ => Ok(()),
    }
}

/// Refuses what lives as long as a server's session.
pub fn check_temporary(node: &Node, context: &Context<'_>) -> Result<(), Refusal> {
    if is_temporary(node, context) { Err(temporary()) } else { Ok(()) }
}

fn temporary() -> Refusal {
    Refusal::unsupported("temporary objects are not supported: servers are lent for a transaction")
        .hint("Use an ordinary table, or WITH in the statement.")
}

/// Whether it makes something that lives as long as a server's session: TEMP, or in the schema `pg_temp`, written or first in
/// the search path.
fn is_temporary(node: &Node, context: &Context<'_>) -> bool {
    let by_default = context.search_path.first().is_some_and(|schema| schema == "pg_temp");
    let relation = |name: &Option<RangeVar>| {
        name.as_ref().is_some_and(|name| {
            name.relpersistence == "t" || name.schemaname == "pg_temp" || name.schemaname.is_empty() && by_default
        })
    };
    let qualified = |names: &[Wrapped]| match names::qualified(names) {
        Some((schema, _)) => schema.map_or(by_default, |schema| schema == "pg_temp"),
        None => false,
    };
    match node {
        Node::CreateStmt(create) => relation(&create.relation),
        Node::CreateSeqStmt(create) => relation(&create.sequence),
        Node::ViewStmt(create) => relation(&create.view),
        Node::CompositeTypeStmt(create) => relation(&create.typevar),
        Node::CreateTableAsStmt(create) => create.into.as_ref().is_some_and(|into| relation(&into.rel)),
        Node::CreateFunctionStmt(create) => qualified(&create.funcname),
        Node::CreateDomainStmt(create) => qualified(&create.domainname),
        Node::CreateEnumStmt(create) => qualified(&create.type_name),
        Node::CreateRangeStmt(create) => qualified(&create.type_name),
        Node::DefineStmt(create) => qualified(&create.defnames),
        _ => false,
    }
}

/// VACUUM cannot run in a transaction block, ANALYZE can.
fn is_vacuum(vacuum: &VacuumStmt) -> bool {
    vacuum.is_vacuumcmd
}

/// REINDEX of more than one table, or CONCURRENTLY. *Source*: ExecReindex, indexcmds.c.
fn alone(reindex: &ReindexStmt) -> bool {
    let concurrently = reindex.params.iter().any(|node| match &node.node {
        Some(Node::DefElem(element)) => element.defname == "concurrently" && names::option_flag(element) != Some(false),
        _ => false,
    });
    concurrently
        || matches!(
            reindex.kind(),
            ReindexObjectType::ReindexObjectSchema
                | ReindexObjectType::ReindexObjectSystem
                | ReindexObjectType::ReindexObjectDatabase
        )
}

fn detaches_concurrently(alter: &pg_query::protobuf::AlterTableStmt) -> bool {
    alter.cmds.iter().any(|node| match &node.node {
        Some(Node::AlterTableCmd(command)) => {
            matches!(names::inner(&command.def), Some(Node::PartitionCmd(partition)) if partition.concurrent)
        }
        _ => false,
    })
}
