//! `SHOW TRANSACTIONS` (`SHOW pgbraid.transactions`): what is in doubt on the shards, as a query over what the gateway knows of it.

use super::rewrite::{Computed, Edit, Piece, Values, When};
use super::{Access, Output, Plan, Planned, Route, Target};

/// The query; the gateway puts what it knows in the place of the empty list.
const TRANSACTIONS: &str = "SELECT * FROM pg_catalog.json_to_recordset('[]') AS transactions (shard pg_catalog.text, name pg_catalog.text, decision_shard pg_catalog.text, gateway pg_catalog.text, database pg_catalog.text, owner pg_catalog.text, age pg_catalog.interval)";

/// The list in it.
const LIST: &str = "'[]'";

/// The statement that stands for such a text, with its plan; `None` for any other text.
pub fn transactions(text: &[u8]) -> Option<(&'static str, Planned)> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 200)?;
    let lower = text.trim().trim_end_matches(';').to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    let is = words.next() == Some("show")
        && matches!(words.next(), Some("transactions" | "pgbraid.transactions"))
        && words.next().is_none();
    let start = TRANSACTIONS.find(LIST).filter(|_| is)?;
    let computed = Computed {
        expressions: Vec::new(),
        edits: vec![Edit { range: start..start + LIST.len(), pieces: vec![Piece::Value(0)] }],
        draws: false,
        values: Values::InDoubt,
        statement_bytes: TRANSACTIONS.len(),
        when: When::Always,
    };
    let route = Route { access: Access::Read, target: Target::Computed(Box::new(computed)), output: Output::Rows };
    Some((TRANSACTIONS, Planned { range: 0..TRANSACTIONS.len(), plan: Plan::Rows(route), replan: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_themselves_show_transactions() {
        for text in ["SHOW TRANSACTIONS", " show\n pgbraid.transactions ; "] {
            assert!(transactions(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["SHOW transaction_isolation", "SHOW TRANSACTIONS x", "SELECT 1", "", "SHOW \"transactions\""] {
            assert!(transactions(text.as_bytes()).is_none(), "{text}");
        }
    }
}
