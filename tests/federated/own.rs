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

/// Types that an operator's or a function's arguments have exactly are preferred to those of pg_catalog.
const CASELESS: &[&str] = &[
    "CREATE TABLE kv (customer_id varchar NOT NULL, id int, PRIMARY KEY (customer_id, id))",
    "INSERT INTO kv VALUES ('abc', 100), ('ABC', 101), ('Abc', 102), ('b', 103), ('B', 104)",
    "CREATE VIEW ids AS SELECT customer_id, id FROM kv WHERE customer_id = 'ABC'",
    "CREATE VIEW ids_n AS SELECT count(*) AS n FROM kv k JOIN kv l USING (customer_id)",
    "CREATE FUNCTION cieq(varchar, varchar) RETURNS bool IMMUTABLE LANGUAGE sql
        AS 'SELECT lower($1::text) OPERATOR(pg_catalog.=) lower($2::text)'",
    "CREATE OPERATOR h1.= (leftarg = varchar, rightarg = varchar, function = cieq)",
];

const CASELESS_QUERIES: &[&str] = &[
    "SELECT id FROM kv WHERE customer_id = 'ABC' ORDER BY id",
    "SELECT id FROM kv WHERE customer_id IN ('ABC', 'b') ORDER BY id",
    "SELECT id FROM kv WHERE customer_id = ANY ('{ABC,b}') ORDER BY id",
    "SELECT id FROM kv WHERE customer_id IN (SELECT 'ABC'::varchar) ORDER BY id",
    "SELECT k.id, l.id FROM kv k JOIN kv l ON k.customer_id = l.customer_id ORDER BY 1, 2",
    "SELECT k.id, l.id FROM kv k JOIN kv l USING (customer_id) ORDER BY 1, 2",
    "SELECT count(*) FROM kv k WHERE EXISTS (SELECT FROM kv l WHERE l.customer_id = k.customer_id AND l.id > k.id)",
    "SELECT k.id, (SELECT count(*) FROM kv l WHERE l.customer_id = k.customer_id) FROM kv k ORDER BY 1",
    "SELECT id FROM kv WHERE customer_id OPERATOR(pg_catalog.=) 'ABC' ORDER BY id",
    "SELECT id FROM ids ORDER BY id",
    "SELECT count(*), customer_id FROM kv GROUP BY customer_id ORDER BY 2",
    "SELECT sum(id), avg(id) FROM t WHERE customer_id = 3",
    "UPDATE kv SET id = id + 10 WHERE customer_id = 'ABC'",
    "SELECT customer_id, id FROM kv ORDER BY id",
    "DELETE FROM kv WHERE customer_id IN ('ABC')",
    "SELECT customer_id, id FROM kv ORDER BY id",
];

#[test]
fn a_users_equality_of_keys_is_not_that_of_the_shard_map() {
    let mut both = start(CASELESS);
    // Reads are asked by each protocol, writes once.
    for sql in CASELESS_QUERIES {
        if sql.starts_with("SELECT") {
            alike(&mut both, &[sql]);
        } else {
            let (wanted, got) = (both.postgres.query(sql), both.gateway.query(sql));
            assert_eq!((got.error, got.tags), (wanted.error, wanted.tags), "{sql}");
        }
    }
    // A view means pg_catalog's operators, whatever the path.
    let (code, reason) = both.gateway.query("SELECT n FROM ids_n").error.unwrap();
    assert_eq!(code, "0A000", "{reason}");
    for client in [&mut both.gateway, &mut both.postgres] {
        client.run("SET search_path TO public");
    }
    alike(&mut both, &["SELECT n FROM h1.ids_n", "SELECT id FROM h1.kv WHERE customer_id = 'b' ORDER BY id"]);
}

const OVERLOADS: &[&str] = &[
    "CREATE VIEW total AS SELECT sum(length(v)) AS s FROM e",
    "CREATE FUNCTION nz(numeric, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR h1.= (leftarg = numeric, rightarg = int4, function = nz)",
    "CREATE FUNCTION h1.length(varchar) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT 0.3'",
    "CREATE FUNCTION plus(int, numeric) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ''+'''",
    "CREATE OPERATOR h1.+ (leftarg = int4, rightarg = numeric, function = plus)",
];

const OVERLOADED: &[&str] = &[
    "SELECT avg(id) FROM t",
    "SELECT avg(id), n FROM t GROUP BY n ORDER BY n",
    "SELECT stddev(id), n = 1 FROM t GROUP BY n ORDER BY n",
    "SELECT id FROM t WHERE customer_id = 3",
    "SELECT count(*) FROM t WHERE n = 1",
    "SELECT max(id + n) FROM t",
    "SELECT sum(length(v)) FROM e",
    "SELECT x FROM (SELECT sum(length(v))::text x FROM e) q",
    "SELECT sum(pg_catalog.length(v)), sum(length(v::text)) FROM e",
];

#[test]
fn a_users_operators_and_functions_have_their_own_types() {
    let mut both = start(OVERLOADS);
    alike(&mut both, OVERLOADED);
    for client in [&mut both.gateway, &mut both.postgres] {
        client.run("DROP OPERATOR h1.= (numeric, int4); DROP OPERATOR h1.+ (int4, numeric)");
    }
    alike(&mut both, OVERLOADED);
    alike(&mut both, &["SELECT s FROM total"]);
}

const ATTRIBUTES: &[&str] = &[
    "CREATE FUNCTION fullt(t) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1.a || $1.s'",
    "CREATE FUNCTION a(t) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION others(t) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM h1.t'",
    "CREATE FUNCTION more(t, int DEFAULT 2) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.id + $2'",
    "CREATE FUNCTION two(t, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.id + $2'",
    "CREATE VIEW vt AS SELECT * FROM t",
    "CREATE FUNCTION fullv(vt) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1.a || $1.s'",
];

const OF_ATTRIBUTES: &[&str] = &[
    "SELECT max(t.fullt) FROM t",
    "SELECT max(t.fullt), h1.t.id FROM h1.t GROUP BY t.id ORDER BY 2",
    "SELECT max(x.fullt || y.v) FROM t x JOIN e y ON x.id = y.id",
    "SELECT t.fullt FROM t ORDER BY t.fullt, customer_id",
    "SELECT t.fullt FROM t WHERE customer_id = 3",
    "SELECT max(t.more) FROM t",
    "SELECT max(t.two) FROM t",
    "SELECT max(t.none) FROM t",
    "SELECT max(t.a), max(a(t)) FROM t",
    "SELECT max(x.fullt) FROM t x LEFT JOIN e ON e.customer_id = x.id",
    "SELECT max(x.fullv), count(*) FROM vt x",
    "SELECT max(x.fullv) FROM vt x JOIN e ON e.id = x.id",
    "SELECT max(x.fullt) FROM (SELECT 'x' AS fullt FROM t) x",
];

#[test]
fn a_function_of_a_row_is_called_in_the_notation_of_a_column() {
    let mut both = start(ATTRIBUTES);
    alike(&mut both, OF_ATTRIBUTES);
    // What the function reads is not all on the shard of the row.
    for sql in
        ["SELECT t.others FROM t", "SELECT (t).others FROM t", "SELECT max(t.others) FROM t", "SELECT others(t) FROM t"]
    {
        let got = both.gateway.query(sql);
        if got.error.as_ref().is_none_or(|(code, _)| code != "0A000") {
            let wanted = both.postgres.query(sql);
            assert!(got.error == wanted.error && got.rows == wanted.rows, "{sql}: {:?} {:?}", got.error, got.rows);
        }
    }
}
