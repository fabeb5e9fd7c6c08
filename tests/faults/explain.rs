//! EXPLAIN over several shards: whose plan is whose, in both protocols and in formats that programs read.

use crate::client::{Answer, bind, execute, frame, parse};
use crate::{Stage, key_on};

fn lines(answer: &Answer) -> Vec<String> {
    assert_eq!((&answer.error, &answer.tags[..]), (&None, &["EXPLAIN".to_owned()][..]));
    answer.rows.iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect()
}

fn extended(sql: &str, rows_max: u32, binary: u16) -> Vec<u8> {
    let bind = bind(b"", b"", &[], &[], &[binary]);
    [parse(b"", sql.as_bytes(), &[]), bind, execute(b"", rows_max), frame(b'S', b"")].concat()
}

#[test]
fn each_shards_plan_stands_under_its_name() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let sql = "EXPLAIN (COSTS OFF) SELECT * FROM rows";
    let expected = [
        "Scatter  (shards: s0, s1)",
        "  ->  Shard s0",
        "        Seq Scan on rows",
        "  ->  Shard s1",
        "        Seq Scan on rows",
    ];
    assert_eq!(lines(&client.query(sql)), expected);
    for binary in [0, 1] {
        client.send(&extended(sql, 0, binary));
        assert_eq!(lines(&Answer::of(client.receive_ready())), expected);
    }
    assert_eq!(client.query("EXPLAIN ANALYZE SELECT 1 / (id - id) FROM rows").error, None);
    for key in [key_on(0), key_on(1)] {
        client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    }
    let answer = client.query("EXPLAIN ANALYZE SELECT 1 / (id - id) FROM rows");
    assert_eq!((answer.sqlstate(), answer.status), ("22012", Some('I')));
}

#[test]
fn json_is_one_document_and_what_cannot_be_one_is_refused() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let sql = "EXPLAIN (FORMAT JSON, COSTS OFF) SELECT * FROM rows";
    let simple = client.query(sql);
    client.send(&extended(sql, 0, 0));
    for answer in [simple, Answer::of(client.receive_ready())] {
        let lines = lines(&answer);
        assert_eq!(lines.len(), 1);
        let document: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        let plan = &document[0]["Plan"];
        assert_eq!(plan["Node Type"], "Scatter");
        for (at, name) in ["s0", "s1"].into_iter().enumerate() {
            assert_eq!(plan["Shards"][at]["Shard"], name);
            assert_eq!(plan["Shards"][at]["Explain"][0]["Plan"]["Node Type"], "Seq Scan");
        }
    }
    assert_eq!(client.query(sql).columns[0].type_oid, 114, "json");
    let one = format!("rows WHERE customer_id = {}", key_on(1));
    let of = |format: &str, rows: &str| format!("EXPLAIN (FORMAT {format}) SELECT * FROM {rows}");
    assert_eq!(client.query(&of("yaml", "rows")).error, None);
    for format in ["XML", "yaml"] {
        assert_eq!(client.query(&of(format, &one)).error, None);
    }
    assert_eq!(client.query("EXPLAIN (FORMAT verse) SELECT * FROM rows").sqlstate(), "22023");
}

/// What each shard sent, as EXPLAIN ANALYZE says it in JSON: rows and bytes.
fn sent(shards: &serde_json::Value) -> Vec<(u64, u64)> {
    let number = |shard: &serde_json::Value, name: &str| shard[name].as_u64().unwrap();
    let of = |shard: &serde_json::Value| {
        assert!(shard["Shipping Time"].as_f64().unwrap() >= 0.0);
        assert!(shard["Explain"][0]["Execution Time"].as_f64().unwrap() >= 0.0);
        (number(shard, "Shipped Rows"), number(shard, "Shipped Bytes"))
    };
    shards.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn analyze_tells_rows_bytes_and_times_of_each_shard() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for (key, rows) in [(key_on(0), 3), (key_on(1), 5)] {
        client.run(&format!("INSERT INTO rows SELECT {key}, g, 'abcd' FROM generate_series(1, {rows}) g"));
    }
    // A column of text of 4 bytes: a count (2), a length (4), the value.
    let scatter = ("SELECT v FROM rows", [(3, 30), (5, 50)]);
    let ordered = ("SELECT id FROM rows ORDER BY id", [(3, 21), (5, 35)]);
    // In binary, from the first shard one row in three.
    let gather =
        ("SELECT avg(n) FROM (SELECT id % 2 AS n FROM rows WHERE id = 2 LIMIT 100) AS few", [(1, 14), (1, 14)]);
    for (query, expected) in [scatter, ordered, gather] {
        let lines_of = |client: &mut crate::client::Client, options: &str| {
            lines(&client.query(&format!("EXPLAIN (ANALYZE{options}) {query}")))
        };
        let document: serde_json::Value = serde_json::from_str(&lines_of(&mut client, ", FORMAT JSON")[0]).unwrap();
        let plan = &document[0]["Plan"];
        let shards = if plan["Shards"].is_null() { &plan["Parts"][0]["Shards"] } else { &plan["Shards"] };
        assert_eq!(sent(shards), expected, "{query}");
        let yaml = lines_of(&mut client, ", FORMAT YAML").join("\n");
        let text = lines_of(&mut client, "").join("\n");
        let without_times = lines_of(&mut client, ", TIMING OFF").join("\n");
        for (rows, bytes) in expected {
            assert!(yaml.contains(&format!("Shipped Rows: {rows}\n")), "{yaml}");
            assert!(text.contains(&format!("(shipped rows={rows} bytes={bytes} time=")), "{text}");
            assert!(without_times.contains(&format!("(shipped rows={rows} bytes={bytes})")), "{without_times}");
        }
    }
    let plain = lines(&client.query("EXPLAIN SELECT v FROM rows")).join("\n");
    assert!(!plain.contains("shipped"), "{plain}");
    client.run("BEGIN; EXPLAIN ANALYZE DELETE FROM rows; ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "8");
}

#[test]
fn a_plan_comes_in_portions_and_the_portal_stays_what_it_was() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let moved = format!("UPDATE rows SET customer_id = {} WHERE customer_id = {}", key_on(1), key_on(0));
    for query in ["SELECT * FROM rows", "SELECT count(DISTINCT v) FROM rows", "SELECT id FROM rows ORDER BY id", &moved]
    {
        let sql = format!("EXPLAIN (COSTS OFF) {query}");
        let all = lines(&client.query(&sql));
        assert!(all.len() > 4, "{all:?}");
        let begin = [parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[])].concat();
        let portions = [execute(b"", 1), execute(b"", 2), execute(b"", 0), execute(b"", 0)].concat();
        client.send(&[&begin[..], &portions, &frame(b'S', b"")].concat());
        let answer = Answer::of(client.receive_ready());
        assert_eq!(
            (&answer.error, &answer.tags[..]),
            (&None, &["EXPLAIN".to_owned(), "EXPLAIN".to_owned()][..]),
            "{query}"
        );
        let told: Vec<String> =
            answer.rows.iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect();
        assert_eq!(told, all, "{query}");
        // As many as there are: whether that was all is told by the next.
        let exactly = u32::try_from(all.len()).unwrap();
        client.send(&[&begin[..], &execute(b"", exactly), &frame(b'S', b"")].concat());
        let answer = Answer::of(client.receive_ready());
        assert_eq!((answer.rows.len(), answer.tags.len()), (all.len(), 0), "{query}");
    }
    // Described when it has begun, closed, and its name taken again.
    client.run("BEGIN");
    let again = [
        parse(b"e", b"EXPLAIN (COSTS OFF) SELECT * FROM rows", &[]),
        bind(b"p", b"e", &[], &[], &[]),
        execute(b"p", 1),
        frame(b'D', b"Pp\0"),
        frame(b'C', b"Pp\0"),
        bind(b"p", b"e", &[], &[], &[]),
        execute(b"p", 0),
        frame(b'S', b""),
    ];
    client.send(&again.concat());
    let answer = Answer::of(client.receive_ready());
    assert_eq!((&answer.error, answer.rows.len(), answer.columns.len()), (&None, 6, 1));
    client.run("COMMIT");
}

#[test]
fn analyze_tells_the_same_in_the_extended_protocol() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for (key, rows) in [(key_on(0), 3), (key_on(1), 5)] {
        client.run(&format!("INSERT INTO rows SELECT {key}, g, 'abcd' FROM generate_series(1, {rows}) g"));
    }
    let explain = |query: &str| format!("EXPLAIN (ANALYZE, FORMAT JSON) {query}");
    let one = [
        parse(b"", explain("SELECT v FROM rows WHERE id > $1").as_bytes(), &[]),
        bind(b"", b"", &[], &[Some(b"1".to_vec())], &[1]),
        execute(b"", 0),
        frame(b'S', b""),
    ];
    client.send(&one.concat());
    let document: serde_json::Value = serde_json::from_str(&lines(&Answer::of(client.receive_ready()))[0]).unwrap();
    assert_eq!(sent(&document[0]["Plan"]["Shards"]), [(2, 20), (4, 40)]);
    // Rows are counted by a portal of the gateway's own: that of the client goes on where it was.
    client.run("BEGIN");
    let beside = [
        parse(b"", b"SELECT id FROM rows WHERE id < $1", &[]),
        bind(b"", b"", &[], &[Some(b"9".to_vec())], &[]),
        execute(b"", 1),
        parse(b"e", explain("SELECT v FROM rows").as_bytes(), &[]),
        bind(b"e", b"e", &[], &[], &[]),
        execute(b"e", 0),
        execute(b"", 0),
        frame(b'S', b""),
    ];
    client.send(&beside.concat());
    let answer = Answer::of(client.receive_ready());
    assert_eq!((&answer.error, answer.rows.len()), (&None, 8 + 1));
    client.run("COMMIT");
    // A write is explained and not run a second time.
    client.run("BEGIN");
    client.send(&extended("EXPLAIN ANALYZE DELETE FROM rows", 0, 0));
    assert!(!lines(&Answer::of(client.receive_ready())).join("\n").contains("shipped"));
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "8");
}

#[test]
fn xml_is_one_document_that_postgres_reads() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let read = "SELECT array_to_string(xpath('//e:Shard/e:Name/text()', $x$DOCUMENT$x$::xml, \
                ARRAY[ARRAY['e', 'http://www.postgresql.org/2009/explain']]), ',')";
    for options in ["FORMAT XML", "ANALYZE, FORMAT XML"] {
        for query in [
            "SELECT v FROM rows WHERE v < 'a&b'",
            "SELECT count(DISTINCT v) FROM rows WHERE id < 3",
            "SELECT id FROM rows ORDER BY id",
        ] {
            let answer = client.query(&format!("EXPLAIN ({options}) {query}"));
            assert_eq!((answer.columns[0].type_oid, answer.rows.len()), (142, 1), "xml");
            let document = lines(&answer).concat();
            assert_eq!(document.contains("<Shipped-Rows>0</Shipped-Rows>"), options.contains("ANALYZE"), "{document}");
            assert_eq!(client.value(&read.replace("DOCUMENT", &document)), "s0,s1");
        }
    }
}

#[test]
fn a_plan_that_is_too_long_to_be_held_is_refused_and_not_cut() {
    let stage = Stage::new("[limits]\nheld_bytes_max = \"64kB\"\n");
    let mut client = stage.client();
    let answer =
        client.query(&format!("EXPLAIN SELECT count(DISTINCT id) FROM rows WHERE v <> '{}'", "x".repeat(100_000)));
    assert_eq!(answer.sqlstate(), "53200", "{:?}", answer.error);
    assert_eq!(client.query("EXPLAIN SELECT count(DISTINCT id) FROM rows").error, None);
}

#[test]
fn explain_of_what_holds_a_query_explains_the_query() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for sql in ["CREATE TABLE made AS", "CREATE MATERIALIZED VIEW made AS", "DECLARE c CURSOR FOR"] {
        for query in ["SELECT * FROM rows", "SELECT count(DISTINCT v) FROM rows", "SELECT 1"] {
            assert_eq!(client.query(&format!("EXPLAIN {sql} {query}")).error, None, "{sql} {query}");
        }
    }
    client.run("EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT v FROM rows");
    assert_eq!(client.query("SELECT * FROM made").sqlstate(), "42P01");
}

#[test]
fn a_write_of_several_steps_shows_them_in_every_format_and_changes_nothing() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for key in [key_on(0), key_on(1)] {
        client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    }
    let writes = [
        ("Fetch", "UPDATE rows SET v = 'x' WHERE id = (SELECT max(id) FROM rows)".to_owned()),
        ("Move", "UPDATE rows SET customer_id = customer_id + 1".to_owned()),
        (
            "Fetch",
            format!(
                "MERGE INTO rows r USING (VALUES ({}, 1), ({}, 1)) s(k, i) ON r.customer_id = s.k AND r.id = s.i + 5 \
                 WHEN NOT MATCHED THEN INSERT VALUES (s.k, s.i + 1)",
                key_on(0),
                key_on(1)
            ),
        ),
    ];
    for (node, write) in &writes {
        let text = lines(&client.query(&format!("EXPLAIN (COSTS OFF) {write}")));
        assert_eq!((text[0].as_str(), text[1].as_str()), (*node, "  ->  Step 1"), "{text:#?}");
        client.send(&extended(&format!("EXPLAIN (COSTS OFF) {write}"), 0, 0));
        assert_eq!(lines(&Answer::of(client.receive_ready())), text);
        let json = lines(&client.query(&format!("EXPLAIN (FORMAT JSON) {write}")));
        let document: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(document[0]["Plan"]["Node Type"], *node);
        for format in ["XML", "YAML"] {
            assert_eq!(client.query(&format!("EXPLAIN (FORMAT {format}) {write}")).error, None);
        }
        assert_eq!(client.query(&format!("EXPLAIN ANALYZE {write}")).sqlstate(), "0A000");
    }
    assert_eq!(lines_of(&client.query("SELECT sum(id), count(v) FROM rows")), ["2", "0"]);
}

fn lines_of(answer: &Answer) -> Vec<String> {
    answer.rows[0].iter().map(|value| String::from_utf8(value.clone().unwrap()).unwrap()).collect()
}
