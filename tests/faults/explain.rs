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
    client.send(&extended(sql, 1, 0));
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "0A000", "in portions");
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
    assert_eq!(client.query(&of("XML", "rows")).sqlstate(), "0A000");
    assert_eq!(client.query(&of("yaml", "rows")).error, None);
    for format in ["XML", "yaml"] {
        assert_eq!(client.query(&of(format, &one)).error, None);
    }
    assert_eq!(client.query("EXPLAIN (FORMAT verse) SELECT * FROM rows").sqlstate(), "22023");
}
