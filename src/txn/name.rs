//! The names under which shards keep prepared transactions: `pgbraid:<cluster>:<decision shard>:<transaction>`. Pure.

use std::fmt;

/// What all names begin with.
pub const PREFIX: &str = "pgbraid:";

/// *Source*: access/transam/twophase.c, GIDSIZE: 200 bytes with the final NUL.
const NAME_BYTES_MAX: usize = 199;

/// A transaction over several shards, as any gateway finds it on a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionName {
    /// The id that `pgbraid init` has given the cluster: without colons.
    pub cluster: String,
    /// Name of the shard whose commit is the decision.
    pub decision_shard: String,
    /// Unique for all times and gateways: without colons.
    pub transaction: String,
}

impl TransactionName {
    /// Takes a name apart; `None` when it is not one of ours.
    pub fn parse(text: &str) -> Option<TransactionName> {
        let (cluster, rest) = text.strip_prefix(PREFIX)?.split_once(':')?;
        let (shard, transaction) = rest.rsplit_once(':')?;
        let whole = ![cluster, shard, transaction].contains(&"");
        whole.then(|| TransactionName {
            cluster: cluster.to_owned(),
            decision_shard: shard.to_owned(),
            transaction: transaction.to_owned(),
        })
    }

    /// PostgreSQL takes a name of this length.
    pub fn fits(&self) -> bool {
        self.to_string().len() <= NAME_BYTES_MAX
    }

    /// As a literal in a statement, with `standard_conforming_strings` on.
    pub fn literal(&self) -> String {
        literal(&self.to_string())
    }
}

/// A text as a literal in a statement.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    format!("'{quoted}'")
}

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}:{}", self.cluster, self.decision_shard, self.transaction)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(shard: &str) -> TransactionName {
        TransactionName { cluster: "c1".to_owned(), decision_shard: shard.to_owned(), transaction: "ab.7".to_owned() }
    }

    #[test]
    fn names_are_read_as_they_were_written() {
        for shard in ["s0", "a:b", "o'hara", ":"] {
            assert_eq!(TransactionName::parse(&name(shard).to_string()).unwrap(), name(shard));
        }
        assert_eq!(name("o'hara").literal(), "'pgbraid:c1:o''hara:ab.7'");
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for text in ["", "pgbraid:", "pgbraid:c1:s0", "pgbraid:c1::t", "other:c1:s0:t", "pgbraid:c1:s0:"] {
            assert_eq!(TransactionName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_too_long_for_postgres_are_known() {
        assert!(name(&"s".repeat(180)).fits() && !name(&"s".repeat(190)).fits());
    }
}
