//! What SHOW TRANSACTIONS shows: transactions that are prepared on a shard and not finished, as recovery has last seen them.

use serde_json::json;

use super::life::Session;
use crate::txn::name::TransactionName;

impl Session {
    /// A list of objects with the names of the columns.
    pub(super) fn in_doubt(&self) -> String {
        let row = |found: crate::txn::in_doubt::InDoubt| {
            let name = TransactionName::parse(&found.name);
            let gateway = name.as_ref().and_then(|name| Some(name.transaction.split_once('.')?.0.to_owned()));
            json!({
                "shard": self.gateway.shard_name(shardmap::ShardId(u16::try_from(found.shard).unwrap_or(u16::MAX))),
                "decision_shard": name.map(|name| name.decision_shard),
                "gateway": gateway,
                "name": found.name,
                "database": found.database,
                "owner": found.owner,
                "age": format!("{:.3} seconds", found.age.as_secs_f64()),
            })
        };
        serde_json::Value::Array(self.gateway.commits.in_doubt().into_iter().map(row).collect()).to_string()
    }
}
