//! What users' own collations, operators and functions mean, which are found before PostgreSQL's, or win over them.

use crate::compare::Protocol;
use crate::{Both, Outcome, told};

const TABLES: &[&str] = &[
    "CREATE SCHEMA h1; SET search_path = h1",
    r#"CREATE TABLE t (customer_id bigint NOT NULL, id int, a text COLLATE "C", b text COLLATE "POSIX", n numeric, s text,
        PRIMARY KEY (customer_id, id))"#,
    "INSERT INTO t SELECT g, g % 7, 'a' || g % 5, 'B' || g % 3, (g % 4)::numeric(10, 2), 's' || g % 4 FROM generate_series(1, 40) g",
    r#"CREATE TABLE c (customer_id bigint NOT NULL, id int, a text, b text COLLATE "en-x-icu", PRIMARY KEY (customer_id, id))"#,
    "INSERT INTO c SELECT g, g, CASE WHEN g % 2 = 0 THEN 'A' ELSE 'a' END || g % 5, CASE WHEN g % 3 = 0 THEN 'B' ELSE 'b' END || g % 3
        FROM generate_series(1, 20) g",
    r#"CREATE TABLE r (customer_id bigint NOT NULL, id int, a text, b text COLLATE "en-x-icu", PRIMARY KEY (customer_id, id))"#,
    "INSERT INTO r SELECT g, g, 'x', CASE WHEN g % 2 = 0 THEN 'A' ELSE 'a' END || g FROM generate_series(1, 20) g",
    "CREATE TABLE e (customer_id bigint NOT NULL, id int, v varchar(5), PRIMARY KEY (customer_id, id))",
    "INSERT INTO e SELECT k, k % 8, 'v' || k % 4 FROM generate_series(1, 40) k",
];

fn start(more: &[&str]) -> Both {
    let mut both = Both::new("");
    for client in [&mut both.gateway, &mut both.postgres] {
        TABLES.iter().chain(more).for_each(|sql| client.run(sql));
    }
    both
}

/// Answered alike, or an error of the same SQLSTATE.
fn alike(both: &mut Both, queries: &[&str]) {
    let mut failures = Vec::new();
    for sql in queries {
        for protocol in [Protocol::Simple, Protocol::Text] {
            let outcome = both.compare(sql, sql.contains("ORDER BY"), protocol);
            let got = both.gateway.query(sql).error;
            let refused = got.is_some_and(|(code, _)| code == "0A000");
            if refused || !matches!(outcome, Outcome::Alike | Outcome::Error(_)) {
                failures.push(format!("[{protocol:?}] {sql}\n  {}", told(&outcome)));
            }
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n\n"));
}

/// A collation that is written wins over a column's; undetermined is what has two of them.
const COLLATIONS: &[&str] = &[
    r#"SELECT max(a COLLATE "default") < min(b) FROM c"#,
    r#"SELECT greatest(max(a COLLATE "default"), min(b)) FROM c"#,
    r#"SELECT a COLLATE "default" < min(b) AS x FROM c GROUP BY a COLLATE "default" ORDER BY 1"#,
    r#"SELECT a COLLATE "default" < min(b) AS x, grouping(a COLLATE "default") FROM c GROUP BY ROLLUP (a COLLATE "default") ORDER BY 2, 1"#,
    r#"SELECT a COLLATE "default" AS x FROM c UNION ALL SELECT b FROM c ORDER BY 1"#,
    r#"SELECT lower(a COLLATE "default") AS x FROM c UNION ALL SELECT b FROM c ORDER BY 1"#,
    r#"(SELECT a COLLATE "default" AS x FROM c ORDER BY x, customer_id LIMIT 9) UNION ALL SELECT b FROM c ORDER BY 1"#,
    r#"(SELECT DISTINCT a COLLATE "default" AS x FROM c ORDER BY a COLLATE "default") UNION ALL SELECT b FROM c ORDER BY 1"#,
    r#"(SELECT DISTINCT a COLLATE "default" AS x FROM c) UNION ALL SELECT min(b) FROM c ORDER BY 1"#,
    r#"SELECT a COLLATE "default" AS x FROM c GROUP BY 1 UNION ALL SELECT b FROM c ORDER BY 1"#,
    r#"SELECT upper(a COLLATE "default") < min(b) AS x FROM c GROUP BY upper(a COLLATE "default") ORDER BY 1"#,
    r#"SELECT min(a || 'x' COLLATE "default") < min(b) FROM c"#,
    r#"SELECT string_agg(DISTINCT a COLLATE "default", ',') < min(b) FROM c"#,
    r#"SELECT x.y < c.b FROM (SELECT a COLLATE "default" AS y FROM c ORDER BY customer_id LIMIT 5) x, c ORDER BY 1"#,
    r#"SELECT max(s COLLATE "en-x-icu") > max(b) FROM t"#,
    r#"SELECT max(s) > max(b) FROM t"#,
    r#"SELECT a COLLATE "C" AS x FROM t UNION SELECT b FROM t ORDER BY 1"#,
    r#"SELECT count(*) FROM (SELECT a || b AS x FROM t LIMIT 5) z"#,
    r#"SELECT a || b AS x FROM t ORDER BY a COLLATE "C", customer_id LIMIT 3"#,
    r#"SELECT count(*), max(length(a || b)) FROM t GROUP BY length(a || b)"#,
    r#"SELECT count(*) FROM (SELECT CASE WHEN id > 3 THEN a ELSE b END AS x FROM t UNION ALL SELECT s FROM t) z"#,
    r#"SELECT min(a || b) FROM t"#,
    r#"SELECT count(*) FROM t GROUP BY a || b"#,
    r#"SELECT (a || b) COLLATE "C" AS x FROM t ORDER BY x, customer_id LIMIT 3"#,
    // Another column has the name of one that compares bytes.
    "SELECT a FROM r AS x (customer_id, id, b, a) ORDER BY a",
    r#"SELECT a FROM t AS x (customer_id, id, s, b, n, a) ORDER BY a, customer_id"#,
];

#[test]
fn a_written_collation_wins_over_those_of_columns() {
    alike(&mut start(&[]), COLLATIONS);
}
