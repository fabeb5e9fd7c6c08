//! Transaction blocks in which something stands that a gateway might overlook.

use crate::client::{Answer, Received, bind, execute, frame, parse};
use crate::support::{Cluster, Setup};
use crate::{Stage, eventually, key_on};

#[test]
fn a_table_changed_in_a_block_is_not_asked_by_a_stale_plan_whatever_its_name() {
    let stage = Stage::new("");
    let mut client = stage.client();
    // A row that the old table has on the second shard, and the new one at home.
    let key = key_on(1);
    for name in ["\"Mixed\"", "\"two words\"", "plain"] {
        client.run(&format!("CREATE TABLE {name} (customer_id int8)"));
        client.run(&format!("PREPARE p{} AS INSERT INTO {name} VALUES ({key})", name.len()));
    }
    for name in ["\"Mixed\"", "\"two words\"", "U&\"\\0070lain\"", "PLAIN"] {
        let prepared = if name.contains("lain") { "plain".len() } else { name.len() };
        for write in [format!("INSERT INTO {name} VALUES ({key})"), format!("EXECUTE p{prepared}")] {
            client.run("BEGIN");
            client.run(&format!("DROP TABLE {name}"));
            client.run(&format!("CREATE TABLE {name} (id int8)"));
            client.run(&write);
            assert_eq!(client.value(&format!("SELECT id FROM {name}")), key.to_string(), "{write}");
            client.run("ROLLBACK");
        }
    }
}

#[test]
fn a_function_replaced_in_a_block_is_not_believed_to_be_the_old_one() {
    let stage = Stage::new("");
    let mut client = stage.client();
    client.run("CREATE TABLE others (id int8)");
    client.run("CREATE FUNCTION twice(x int8) RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT 2 * x'");
    client.run("BEGIN");
    client.run(
        "CREATE OR REPLACE FUNCTION twice(x int8) RETURNS int8 LANGUAGE sql STABLE AS 'SELECT count(*) FROM others'",
    );
    // Where the table is that it reads now, and elsewhere.
    client.run(&format!("SELECT twice(id) FROM rows WHERE customer_id = {}", key_on(0)));
    let answer = client.query(&format!("SELECT twice(id) FROM rows WHERE customer_id = {}", key_on(1)));
    assert_eq!(answer.sqlstate(), "0A000", "{:?}", answer.rows);
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT twice(4)"), "8");
}

#[test]
fn read_only_is_read_only_wherever_begin_stands() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let insert = format!("INSERT INTO rows VALUES ({}, 1)", key_on(0));
    for begin in ["BEGIN READ ONLY", "START TRANSACTION READ ONLY"] {
        let answer = client.query(&format!("SELECT FROM rows WHERE customer_id = {}; {begin}", key_on(0)));
        assert_eq!((answer.error, answer.status), (None, Some('T')));
        assert_eq!(client.query(&insert).sqlstate(), "25006", "behind another statement of a script: {begin}");
        client.run("ROLLBACK");
        // Behind a statement of a pipeline, on its server and on one that comes later.
        for key in [key_on(0), key_on(1)] {
            let mut messages = Vec::new();
            for sql in [&format!("SELECT FROM rows WHERE customer_id = {}", key_on(0)), begin] {
                messages.extend([parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)]);
            }
            messages.push(frame(b'S', b""));
            client.send(&messages.concat());
            let answer = Answer::of(client.receive_ready());
            let tag = begin.trim_end_matches(" READ ONLY");
            assert_eq!((answer.tags, answer.status), (vec!["SELECT 0".to_owned(), tag.to_owned()], Some('T')));
            let answer = client.query(&format!("INSERT INTO rows VALUES ({key}, 1)"));
            assert_eq!(answer.sqlstate(), "25006", "in a pipeline: {begin}");
            client.run("ROLLBACK");
        }
    }
    let answer = client.query("SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(answer.sqlstate(), "25001", "too late for an isolation level");
    assert_eq!(answer.status, Some('I'));
}

#[test]
fn what_a_standby_says_of_itself_comes_from_the_primary() {
    let cluster = Cluster::with(Setup {
        replicas: 1,
        config: "[[user]]\nname = \"app\"\npassword = \"app\"\nreads = \"prefer-replica\"\n",
        ..Setup::default()
    });
    let stage = Stage { cluster };
    let mut client = stage.client();
    client.run("CREATE TABLE rows (customer_id int8, id int8, v text, PRIMARY KEY (customer_id, id))");
    let key = key_on(1);
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let on_standbys = || {
        let used = |shard: usize| {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
            stage.shard(shard).value(sql).parse::<usize>().unwrap()
        };
        (used(0), used(1))
    };
    eventually("a read goes to a standby", || client.value("SELECT count(*) FROM rows WHERE customer_id = 0") == "0");
    for (ask, primary) in [
        ("SHOW transaction_read_only".to_owned(), "off"),
        ("SELECT pg_is_in_recovery()".to_owned(), "f"),
        ("SELECT current_setting('transaction_read_only')".to_owned(), "off"),
        ("SELECT setting FROM pg_settings WHERE name = 'in_hot_standby'".to_owned(), "off"),
        (format!("SELECT pg_is_in_recovery() FROM rows WHERE customer_id = {key}"), "f"),
        ("SELECT pg_is_in_recovery(); SELECT 1".to_owned(), "f"),
    ] {
        for _ in 0..3 {
            let answer = client.query(&ask);
            assert_eq!(answer.error, None, "{ask}");
            assert_eq!(answer.rows[0][0].as_deref(), Some(primary.as_bytes()), "{ask}");
        }
    }
    assert!(on_standbys() > (0, 0));
    // READ WRITE before the first query is no matter of a standby's.
    client.run("BEGIN READ ONLY");
    client.run("SET TRANSACTION READ WRITE");
    client.run(&format!("SELECT FROM rows WHERE customer_id = {key}"));
    client.run(&format!("INSERT INTO rows VALUES ({key}, 2)"));
    client.run("COMMIT");
}

#[test]
fn a_reader_that_cannot_commit_fails_the_transaction() {
    let stage = Stage::new("");
    let (read, written) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({read}, 1)"));
    client.run("CREATE TABLE once (id int8 UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    // A reader to whoever believes what functions say of themselves; its COMMIT fails all the same.
    client.run(
        "CREATE FUNCTION twice() RETURNS int8 LANGUAGE sql VOLATILE AS 'INSERT INTO once VALUES (1), (1) RETURNING id'",
    );
    client.run("CREATE FUNCTION innocent(int8) RETURNS int8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN twice(); END'");
    for write in [true, false] {
        client.run("BEGIN");
        client.run(&format!("SELECT innocent(id) FROM rows WHERE customer_id = {read}"));
        if write {
            client.run(&format!("INSERT INTO rows VALUES ({written}, 1)"));
        }
        let answer = client.query("COMMIT");
        assert_eq!(answer.sqlstate(), "23505", "{:?}", answer.tags);
        assert_eq!(answer.status, Some('I'));
    }
    assert_eq!(client.rows(&format!("SELECT FROM rows WHERE customer_id = {written}")).len(), 0);
}

/// They run once, on all shards, and their rows wait as those of one Postgres do.
#[test]
fn rows_of_a_write_to_a_reference_table_come_as_many_at_a_time_as_are_asked_for() {
    let stage = Stage::new("[tables.ref]\nkind = \"reference\"\n");
    let mut client = stage.client();
    client.run("CREATE TABLE ref (id int8 PRIMARY KEY, v int8)");
    client.run("INSERT INTO ref VALUES (1, 1), (2, 1), (3, 1)");
    let mut tags = |sql: &[u8], rows_max: &[u32]| {
        let executed: Vec<u8> = rows_max.iter().flat_map(|max| execute(b"p", *max)).collect();
        let bound = bind(b"p", b"", &[], &[], &[]);
        client.send(&[parse(b"", sql, &[]), bound, executed, frame(b'S', b"")].concat());
        let received = client.receive_ready();
        let tag = |item: &Received| match item {
            Received::Message(message) => char::from(message.tag),
            _ => '?',
        };
        received.iter().map(tag).collect::<String>()
    };
    assert_eq!(tags(b"UPDATE ref SET v = v + 1 RETURNING id", &[2, 2, 2]), "12DDsDCCZ");
    assert_eq!(tags(b"UPDATE ref SET v = v + 1 RETURNING id", &[3, 0]), "12DDDsCZ");
    assert_eq!(tags(b"UPDATE ref SET v = v + 1 WHERE id > 9 RETURNING id", &[2, 2]), "12CCZ");
    assert_eq!(tags(b"UPDATE ref SET v = v + 1", &[2, 2]), "12CEZ", "it runs once, and is undone by the error");
    assert_eq!(tags(b"UPDATE ref SET v = v + 1 WHERE id < 3", &[9]), "12CZ");
    for shard in 0..2 {
        assert_eq!(stage.shard(shard).value("SELECT sum(v) FROM ref"), "11");
    }
}

#[test]
fn a_write_of_a_reference_table_within_another_statement_finds_shards_that_have_drifted() {
    let stage = Stage::new("[tables.ref]\nkind = \"reference\"\n");
    let mut client = stage.client();
    client.run("CREATE TABLE ref (id int8 PRIMARY KEY, v text)");
    client.run("INSERT INTO ref VALUES (1, 'x'), (2, 'x')");
    client.run(&format!("INSERT INTO rows VALUES ({}, 1), ({}, 2)", key_on(0), key_on(1)));
    stage.shard(1).run("DELETE FROM ref WHERE id = 2");
    for write in [
        "UPDATE ref SET v = 'y'",
        "WITH w AS (UPDATE ref SET v = 'y' RETURNING id) SELECT rows.id FROM w JOIN rows USING (id)",
    ] {
        let answer = client.query(write);
        assert_eq!(answer.sqlstate(), "XX000", "{write}: {answer:?}");
        for shard in 0..2 {
            assert_eq!(stage.shard(shard).value("SELECT count(*) FROM ref WHERE v = 'y'"), "0", "{write}");
        }
    }
}

#[test]
fn shards_that_differ_by_as_many_rows_in_both_directions_have_drifted() {
    let setup = Setup { shards: 3, config: "[tables.ref]\nkind = \"reference\"\n", ..Setup::default() };
    let stage = Stage { cluster: Cluster::with(setup) };
    let mut client = stage.client();
    client.run("CREATE TABLE rows (customer_id int8, id int8, PRIMARY KEY (customer_id, id))");
    client.run("CREATE TABLE ref (id int8 PRIMARY KEY, v text)");
    client.run("INSERT INTO ref VALUES (1, 'x'), (2, 'x')");
    client.run("INSERT INTO rows VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)");
    stage.shard(1).run("DELETE FROM ref WHERE id = 2");
    stage.shard(2).run("INSERT INTO ref VALUES (3, 'x')");
    for write in [
        "UPDATE ref SET v = 'y'",
        "WITH w AS (UPDATE ref SET v = 'y' RETURNING id) SELECT rows.id FROM w JOIN rows USING (id)",
        "WITH w AS (UPDATE ref SET v = 'y' RETURNING id) DELETE FROM rows USING w WHERE rows.id = w.id",
    ] {
        let answer = client.query(write);
        assert_eq!(answer.sqlstate(), "XX000", "{write}: {answer:?}");
        for shard in 0..3 {
            assert_eq!(stage.shard(shard).value("SELECT count(*) FROM ref WHERE v = 'y'"), "0", "{write}");
        }
    }
}
