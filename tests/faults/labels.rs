//! What was SET on a server is believed only when it is known to stay: the next client of that server, or of that kind of cursor, finds
//! what it set itself, and nothing else.

use crate::client::{Answer, Client, bind, execute, frame, parse};
use crate::{Stage, eventually, key_on};

/// One server of each shard for all, and rows on both.
fn stage() -> (Stage, i64, i64) {
    let stage = Stage::new("[pool]\nmax = 1\nmerge_max = 1\n");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1), ({other}, 1)"));
    client.run("CREATE TABLE parents (customer_id int8 PRIMARY KEY)");
    client.run("CREATE TABLE children (customer_id int8 PRIMARY KEY REFERENCES parents DEFERRABLE INITIALLY DEFERRED)");
    (stage, key, other)
}

fn date_style(client: &mut Client, key: i64) -> String {
    client.value(&format!("SELECT current_setting('DateStyle') FROM rows WHERE customer_id = {key} LIMIT 1"))
}

/// One pipeline of statements with one Sync.
fn pipeline(client: &mut Client, statements: &[&str]) -> Answer {
    let mut messages = Vec::new();
    for sql in statements {
        messages.extend([parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)]);
    }
    messages.push(frame(b'S', b""));
    client.send(&messages.concat());
    Answer::of(client.receive_ready())
}

#[test]
fn a_commit_that_fails_leaves_no_server_with_what_was_set_in_it() {
    let (stage, key, other) = stage();
    for first in ["SELECT id FROM rows", "SELECT id FROM rows FOR UPDATE", "UPDATE rows SET v = 'x'"] {
        let mut client = stage.client();
        let first = first.replace("FROM rows", &format!("FROM rows WHERE customer_id = {key}"));
        let first = first.replace("'x'", &format!("'x' WHERE customer_id = {key}"));
        client.run("BEGIN");
        client.run(&first);
        client.run("SET DateStyle TO German");
        client.run(&format!("INSERT INTO children VALUES ({other})"));
        assert_eq!(client.query("COMMIT").sqlstate(), "23503");
        for mut client in [client, stage.client()] {
            assert_eq!(date_style(&mut client, key), "ISO, MDY", "{first}");
            assert_eq!(date_style(&mut client, other), "ISO, MDY", "{first}");
        }
    }
}

#[test]
fn what_was_set_in_a_pipeline_that_fails_is_not_believed_to_be_set() {
    let (stage, key, other) = stage();
    let set = "SET DateStyle TO German";
    let select = format!("SELECT id FROM rows WHERE customer_id = {key}");
    let fails = format!("SELECT 1 / (id - id) FROM rows WHERE customer_id = {key}");
    let inserts = [key, other].map(|key| format!("INSERT INTO rows VALUES ({key}, 2)"));
    let orphan = format!("INSERT INTO children VALUES ({other})");
    let ways: [(&[&str], &str); 4] = [
        (&[&select, set, &fails], "22012"),
        (&[&select, set, "SELECT nothing FROM nowhere"], "42P01"),
        (&[&select, set, &inserts[0], &inserts[1], &fails], "22012"),
        (&[&select, set, &inserts[0], &orphan], "23503"),
    ];
    for (way, error) in ways {
        let mut german = stage.client();
        german.run(set);
        let mut client = stage.client();
        assert_eq!(date_style(&mut client, key), "ISO, MDY");
        assert_eq!(pipeline(&mut client, way).sqlstate(), error, "{way:?}");
        assert_eq!(date_style(&mut german, key), "German, DMY", "{way:?}");
        assert_eq!(date_style(&mut client, key), "ISO, MDY", "{way:?}");
        // What does not fail, stays.
        assert_eq!(pipeline(&mut client, &[&select, set, &select]).error, None);
        assert_eq!(date_style(&mut client, key), "German, DMY");
    }
}

#[test]
fn what_was_set_before_begin_in_its_pipeline_ends_with_its_transaction() {
    let (stage, key, other) = stage();
    let select = format!("SELECT id FROM rows WHERE customer_id = {key}");
    for (end, style) in [("ROLLBACK", "ISO, MDY"), ("COMMIT", "German, DMY")] {
        let mut german = stage.client();
        german.run("SET DateStyle TO German");
        let mut client = stage.client();
        let answer = pipeline(&mut client, &[&select, "SET DateStyle TO German", "BEGIN"]);
        assert_eq!((answer.error, answer.status), (None, Some('T')));
        for key in [key, other] {
            assert_eq!(date_style(&mut client, key), "German, DMY", "before {end}");
        }
        client.run(end);
        for key in [key, other] {
            assert_eq!(date_style(&mut client, key), style, "after {end}");
            assert_eq!(date_style(&mut german, key), "German, DMY", "after {end}");
            assert_eq!(date_style(&mut stage.client(), key), "ISO, MDY", "after {end}");
        }
    }
}

#[test]
fn a_server_that_does_not_tell_what_a_query_set_is_not_used_again() {
    let (stage, key, other) = stage();
    let may = |verb: &str, whom: &str| {
        for shard in 0..2 {
            stage.shard(shard).run(&format!("{verb} EXECUTE ON FUNCTION current_setting(text, bool) {whom} PUBLIC"));
        }
    };
    for extended in [false, true] {
        let mut client = stage.client();
        may("REVOKE", "FROM");
        let sql = "SELECT set_config('DateStyle', 'German', false), 1";
        let answer = if extended { pipeline(&mut client, &[sql]) } else { client.query(sql) };
        assert_eq!(answer.sqlstate(), "42501");
        may("GRANT", "TO");
        for mut client in [client, stage.client()] {
            assert_eq!(date_style(&mut client, key), "ISO, MDY");
            assert_eq!(date_style(&mut client, other), "ISO, MDY");
        }
    }
}

#[test]
fn a_query_that_sets_is_asked_before_the_pipeline_lets_its_server_go() {
    let (stage, key, other) = stage();
    let mut client = stage.client();
    let sql = "SELECT set_config('DateStyle', 'German', false), 1";
    assert_eq!(pipeline(&mut client, &[sql, "CREATE TABLE more (customer_id int8)"]).error, None);
    for key in [key, other] {
        assert_eq!(date_style(&mut client, key), "German, DMY");
        assert_eq!(date_style(&mut stage.client(), key), "ISO, MDY");
    }
}

const DECLARE: &str = "DECLARE c CURSOR WITH HOLD FOR SELECT sum(id) AS s, count(DISTINCT v) AS n FROM rows";

#[test]
fn a_cursor_that_outlives_its_transaction_does_not_outlive_its_session() {
    let (stage, ..) = stage();
    let mut first = stage.client();
    first.run(DECLARE);
    assert_eq!(first.value("FETCH c"), "2");
    first.goodbye();
    let mut second = stage.client();
    eventually("its server is free", || {
        second.query(DECLARE).error.is_none_or(|(code, text)| {
            assert_eq!(code, "53300", "{text}");
            false
        })
    });
    assert_eq!(second.value("FETCH c"), "2");
    second.run("DISCARD ALL");
    assert_eq!(second.query("FETCH c").sqlstate(), "34000");
    second.run(DECLARE);
    second.run("CLOSE c");
}

#[test]
fn a_cursor_whose_block_set_something_leaves_no_merge_server_with_it() {
    let (stage, ..) = stage();
    let mut client = stage.client();
    for end in ["CLOSE c", "CLOSE ALL", "DISCARD ALL"] {
        client.run("BEGIN");
        client.run("SET DateStyle TO German");
        client.run(DECLARE);
        client.run("COMMIT");
        client.run(end);
        let ask = "SELECT current_setting('DateStyle') FROM (SELECT sum(id), count(DISTINCT v) FROM rows) x";
        let mut other = stage.client();
        assert_eq!(other.value(ask), "ISO, MDY", "{end}");
    }
}

#[test]
fn a_cursor_of_a_block_that_does_not_commit_is_none() {
    let (stage, key, _) = stage();
    let mut client = stage.client();
    client.run("BEGIN");
    client.run(&format!("INSERT INTO rows VALUES ({key}, 5)"));
    client.run(DECLARE);
    client.run(&format!("INSERT INTO children VALUES ({key})"));
    assert_eq!(client.query("COMMIT").sqlstate(), "23503");
    assert_eq!(client.query("FETCH c").sqlstate(), "34000");
    // One of another block stays.
    client.run(DECLARE);
    client.run("BEGIN");
    client.run(&format!("INSERT INTO children VALUES ({key})"));
    assert_eq!(client.query("COMMIT").sqlstate(), "23503");
    assert_eq!(client.value("FETCH c"), "2");
}

#[test]
fn who_leaves_in_the_middle_of_a_fetch_keeps_no_locks() {
    let (stage, key, _) = stage();
    let declare =
        "DECLARE c CURSOR FOR SELECT s, pg_sleep(3600) FROM (SELECT sum(id) AS s, count(DISTINCT v) FROM rows) x";
    let by_name = [parse(b"", b"FETCH c", &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0), frame(b'S', b"")];
    let as_portal = [execute(b"c", 0), frame(b'S', b"")];
    for fetch in [by_name.concat(), as_portal.concat()] {
        let mut client = stage.client();
        client.run("BEGIN");
        client.run(&format!("UPDATE rows SET v = 'locked' WHERE customer_id = {key}"));
        client.run(declare);
        client.send(&fetch);
        let sleeping = || stage.waiting(0, "PgSleep") + stage.waiting(1, "PgSleep");
        eventually("it sleeps", || sleeping() == 1);
        drop(client);
        eventually("nobody sleeps", || sleeping() == 0);
        stage.client().run(&format!("UPDATE rows SET v = 'free' WHERE customer_id = {key}"));
    }
}

#[test]
fn what_the_gateway_refuses_in_a_pipeline_does_not_commit_what_stands_before_it() {
    let (stage, key, _) = stage();
    let mut client = stage.client();
    let insert = format!("INSERT INTO rows VALUES ({key}, 3)");
    for refused in [
        "CREATE VIEW v AS SELECT * FROM nowhere",
        "SELECT * FROM nowhere",
        "LOCK TABLE nowhere",
        "COPY nowhere TO STDOUT",
        "DECLARE c CURSOR FOR SELECT * FROM nowhere",
        "TRUNCATE nowhere",
        "REFRESH MATERIALIZED VIEW nowhere",
        "PREPARE p AS SELECT * FROM nowhere",
    ] {
        let answer = pipeline(&mut client, &[&insert, refused]);
        assert!(answer.error.is_some(), "{refused}");
        let count = format!("SELECT count(*) FROM rows WHERE customer_id = {key}");
        assert_eq!(client.value(&count), "1", "{refused}");
    }
}

#[test]
fn an_encoding_that_a_lost_server_was_set_to_is_not_believed() {
    let stage = Stage::new("");
    stage.client().run("CREATE TABLE named (customer_id text PRIMARY KEY, n int)");
    // As UTF-8, the key would be another, on another shard perhaps.
    let insert = "INSERT INTO named VALUES ('\u{e9}', 1)";
    for end in ["ROLLBACK", "COMMIT"] {
        let mut client = Client::connect(&stage.login().with("client_encoding", "LATIN1")).unwrap();
        assert_eq!(client.query(insert).sqlstate(), "0A000");
        client.run("BEGIN");
        client.run("SET client_encoding = 'UTF8'");
        for shard in 0..2 {
            stage.shard(shard).run(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE state = 'idle in transaction'",
            );
        }
        client.query(end);
        assert_eq!(client.value("SHOW client_encoding"), "LATIN1", "{end}");
        assert_eq!(client.query(insert).sqlstate(), "0A000", "{end}");
        client.run("SET client_encoding = 'UTF8'");
        client.run(insert);
        client.run("DELETE FROM named");
    }
}
