//! Constraints that the shards have, though they would be refused if they were made through the gateway: each shard keeps them for its own rows,
//! or they change rows that would have to move.

use tokio_postgres::Client;

use super::report::Report;
use crate::catalog::{Catalog, Rules};
use crate::plan::{self, Context, Plan};
use crate::topology;

/// Table, constraint, and the statement that would make it. Partitions have those of their root.
/// *Source*: manual of PostgreSQL 15, 53.13, 53.26; numbers below 16384 are PostgreSQL's own (`transam.h`, `FirstNormalObjectId`).
const CONSTRAINTS: &str = "
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), 'constraint ' || r.conname,
        pg_catalog.format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, r.conname, pg_catalog.pg_get_constraintdef(r.oid))
    FROM pg_catalog.pg_constraint r JOIN pg_catalog.pg_class c ON c.oid = r.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE r.contype IN ('p', 'u', 'f', 'x') AND r.conparentid = 0 AND c.oid >= 16384
        AND n.nspname !~ '^(pg_|pgbraid$|information_schema$)'
    UNION ALL
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), 'index ' || i.relname, pg_catalog.pg_get_indexdef(i.oid)
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE x.indisunique AND NOT i.relispartition AND c.oid >= 16384
        AND n.nspname !~ '^(pg_|pgbraid$|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint r WHERE r.conindid = i.oid AND r.contype IN ('p', 'u', 'x'))
    ORDER BY 1, 2";

/// Tells of each what the gateway would say.
pub(super) async fn check_constraints(client: &Client, catalog: &Catalog, rules: &Rules, report: &mut Report) {
    let rows = match read(client).await {
        Ok(rows) => rows,
        Err(error) => {
            let message = format!("they cannot be read: {}", topology::describe(&error));
            return report.error("constraints", message, "see the server's log");
        }
    };
    let context = Context { catalog, rules, search_path: &[], role: "", declared_types: &[], utf8: true };
    let mut kept = 0_usize;
    for (table, constraint, statement) in rows {
        let planned = plan::compile(&statement, &context).unwrap_or_default();
        let refusal = planned.into_iter().find_map(|planned| match planned.plan {
            Plan::Refuse(refusal) => Some(refusal),
            _ => None,
        });
        match refusal {
            Some(refusal) => report.warning(
                format!("table {table}"),
                format!("{constraint} is each shard's own: {}", refusal.reason),
                &refusal.hint.unwrap_or_else(|| "drop it, or change the table's kind in [tables]".to_owned()),
            ),
            None => kept += 1,
        }
    }
    report.fine("constraints", format!("{kept} that the shards keep for the whole"));
}

async fn read(client: &Client) -> Result<Vec<(String, String, String)>, tokio_postgres::Error> {
    // Names of other schemas are written out then.
    client.batch_execute("BEGIN READ ONLY; SET LOCAL search_path = ''").await?;
    let rows = client.query(CONSTRAINTS, &[]).await?;
    client.batch_execute("COMMIT").await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
