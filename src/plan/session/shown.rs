//! What the gateway itself knows, as queries over lists that it puts in: `SHOW TRANSACTIONS` (`SHOW pgbraid.transactions`), what is in doubt
//! on the shards; and `pg_prepared_statements`, the session's own.

use pg_query::protobuf::RangeVar;

use crate::plan::rewrite::{Computed, Edit, Piece, Values, When};
use crate::plan::{Access, Output, Plan, Planned, Route, Target};
use crate::sql::walk::Unknown;
use crate::sql::{self, Node, edit};

/// The query; the gateway puts what it knows in the place of the empty list.
const TRANSACTIONS: &str = "SELECT * FROM pg_catalog.json_to_recordset('[]') AS transactions (shard pg_catalog.text, name pg_catalog.text, decision_shard pg_catalog.text, gateway pg_catalog.text, database pg_catalog.text, owner pg_catalog.text, age pg_catalog.interval)";

/// In place of the view; how often servers have made plans of them is not known. *Source*: manual of PostgreSQL 15, 54.16.
const STATEMENTS: &str = "(SELECT name, statement, pg_catalog.to_timestamp(made) AS prepare_time, parameter_types, from_sql, NULL::pg_catalog.int8 AS generic_plans, NULL::pg_catalog.int8 AS custom_plans FROM pg_catalog.json_to_recordset('[]') AS own (name pg_catalog.text, statement pg_catalog.text, made pg_catalog.float8, parameter_types pg_catalog.regtype[], from_sql pg_catalog.bool))";

/// The list in them.
const LIST: &str = "'[]'";

const VIEW: &str = "pg_prepared_statements";

/// The statement that stands for a text about what the gateway knows, with its plan; `None` for any other text.
pub fn shown(text: &[u8]) -> Option<(String, Planned)> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() <= 200 && is_show(text) {
        let start = TRANSACTIONS.find(LIST)?;
        return Some(planned(TRANSACTIONS.to_owned(), vec![start], Values::InDoubt));
    }
    let mentioned = text.as_bytes().windows(VIEW.len()).any(|word| word.eq_ignore_ascii_case(VIEW.as_bytes()));
    if mentioned { statements(text) } else { None }
}

fn is_show(text: &str) -> bool {
    let lower = text.trim().trim_end_matches(';').to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    words.next() == Some("show")
        && matches!(words.next(), Some("transactions" | "pgbraid.transactions"))
        && words.next().is_none()
}

/// A query with the lists in the places of the view. What is not understood is left as it is, and refused.
fn statements(text: &str) -> Option<(String, Planned)> {
    let mut node = only_select(text)?;
    let mut places = Vec::new();
    find(&mut node, &mut places).ok()?;
    places.sort_unstable();
    let (mut out, mut lists, mut at) = (String::new(), Vec::new(), 0);
    for (start, length, has_alias) in places {
        out += text.get(at..start)?;
        lists.push(out.len() + STATEMENTS.find(LIST)?);
        out += STATEMENTS;
        if !has_alias {
            out = out + " AS " + VIEW;
        }
        at = start + length;
        text.get(start..at)
            .filter(|name| name.eq_ignore_ascii_case(VIEW) || name.eq_ignore_ascii_case(&qualified()))?;
    }
    out += text.get(at..)?;
    only_select(&out).filter(|_| !lists.is_empty())?;
    Some(planned(out, lists, Values::Prepared))
}

fn qualified() -> String {
    format!("pg_catalog.{VIEW}")
}

fn only_select(text: &str) -> Option<Node> {
    let mut script = sql::parse(text).ok()?;
    let statement = script.statements.pop().filter(|_| script.statements.is_empty())?;
    statement.tree?.stmt?.node.filter(|node| matches!(node, Node::SelectStmt(_)))
}

/// Where the view's name stands, how long it is, and whether it has an alias.
fn find(node: &mut Node, places: &mut Vec<(usize, usize, bool)>) -> Result<(), Unknown> {
    match node {
        // Its name may mean the WITH query.
        Node::CommonTableExpr(cte) if cte.ctename == VIEW => return Err(Unknown),
        Node::RangeVar(RangeVar { relname, schemaname, location, alias, inh: true, .. }) if relname == VIEW => {
            let length = match schemaname.as_str() {
                "" => VIEW.len(),
                "pg_catalog" => qualified().len(),
                _ => return Ok(()),
            };
            places.push((usize::try_from(*location).map_err(|_| Unknown)?, length, alias.is_some()));
        }
        _ => {}
    }
    edit::children(node, &mut |child| find(child, places))
}

fn planned(text: String, lists: Vec<usize>, values: Values) -> (String, Planned) {
    let edit = |start: usize| Edit { range: start..start + LIST.len(), pieces: vec![Piece::Value(0)] };
    let computed = Computed {
        expressions: Vec::new(),
        edits: lists.into_iter().map(edit).collect(),
        draws: false,
        values,
        statement_bytes: text.len(),
        when: When::Always,
    };
    let route = Route { access: Access::Read, target: Target::Computed(Box::new(computed)), output: Output::Rows };
    let range = 0..text.len();
    (text, Planned { range, plan: Plan::Rows(route), replan: false, finds_one_row: false })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_the_words_themselves_show_transactions() {
        for text in ["SHOW TRANSACTIONS", " show\n pgbraid.transactions ; "] {
            assert!(shown(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["SHOW transaction_isolation", "SHOW TRANSACTIONS x", "SELECT 1", "", "SHOW \"transactions\""] {
            assert!(shown(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_view_of_prepared_statements_becomes_a_list_wherever_it_is_read() {
        let (text, _) = shown(b"SELECT count(*) FROM PG_Prepared_Statements WHERE name = $1").unwrap();
        assert!(text.starts_with("SELECT count(*) FROM (SELECT name,"), "{text}");
        assert!(text.ends_with(")) AS pg_prepared_statements WHERE name = $1"), "{text}");
        let text =
            "SELECT 1 WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p, pg_prepared_statements AS q (a))";
        let (text, planned) = shown(text.as_bytes()).unwrap();
        assert!(text.contains(")) p, (SELECT") && text.ends_with(")) AS q (a))"), "{text}");
        let Plan::Rows(Route { target: Target::Computed(computed), .. }) = planned.plan else { panic!("{planned:?}") };
        assert!(computed.edits.iter().all(|edit| &text[edit.range.clone()] == LIST) && computed.edits.len() == 2);
    }

    #[test]
    fn what_only_looks_like_the_view_is_left_alone() {
        for text in [
            "SELECT 'pg_prepared_statements'",
            "SELECT * FROM mine.pg_prepared_statements",
            "TABLE pg_prepared_statements",
            "SELECT * FROM \"pg_prepared_statements\"",
            "SELECT * FROM ONLY pg_prepared_statements",
            "WITH pg_prepared_statements AS (SELECT 1) SELECT * FROM pg_prepared_statements",
            "SELECT 1; SELECT * FROM pg_prepared_statements",
            "CREATE VIEW v AS SELECT * FROM pg_prepared_statements",
        ] {
            assert!(shown(text.as_bytes()).is_none(), "{text}");
        }
    }
}
