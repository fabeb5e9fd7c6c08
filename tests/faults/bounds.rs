//! Queries over several shards that are stopped: by a limit, a timeout, an error of one shard, a client that does not read, a bound on memory.

use crate::client::{Answer, Client, Received, bind, execute, frame, parse, query};
use crate::memory::{assert_bounded, reset_peak};
use crate::{Stage, eventually, key_on};

/// Row 1 on one shard and row 2 on the other.
fn stage(config: &str) -> (Stage, Client) {
    let stage = Stage::new(config);
    let mut client = stage.client();
    for shard in 0..2 {
        client.run(&format!("INSERT INTO rows VALUES ({}, {}, 'x')", key_on(shard), shard + 1));
    }
    (stage, client)
}

fn nobody_waits(stage: &Stage, event: &str) {
    eventually("no shard works on", || (0..2).all(|shard| stage.waiting(shard, event) == 0));
}

/// A query whose rows come as they are, one whose rows are merged in their order, and one that a merge server finishes.
fn three_ways(column: &str) -> [String; 3] {
    [
        format!("SELECT {column} FROM rows"),
        format!("SELECT {column}, id FROM rows ORDER BY id"),
        format!("SELECT DISTINCT ON (w) length(w::text) FROM (SELECT {column} AS w FROM rows) AS all_rows"),
    ]
}

#[test]
fn statement_timeout_reaches_all_shards() {
    let (stage, mut client) = stage("");
    client.run("SET statement_timeout = '500ms'");
    for sql in three_ways("pg_sleep(3600)::text") {
        assert_eq!(client.query(&sql).sqlstate(), "57014", "{sql}");
        nobody_waits(&stage, "PgSleep");
    }
    client.run("BEGIN; SET LOCAL statement_timeout = 0");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "2");
    client.run("COMMIT");
}

/// A part takes 0.7 seconds, and the merge query after it.
const LONG_IN_ALL: &str =
    "SELECT count(DISTINCT v) FROM rows WHERE id > (SELECT slow(sum(id)::int8) - 100 FROM rows) AND slow(id) > 0";

#[test]
fn statement_timeout_bounds_all_steps_of_a_statement_together() {
    let (stage, mut client) = stage("");
    let message = "canceling statement due to statement timeout";
    client.run(
        "CREATE FUNCTION slow(n int8) RETURNS int8 IMMUTABLE LANGUAGE plpgsql
        AS 'DECLARE s text; BEGIN s := pg_sleep(0.7)::text; RETURN n; END'",
    );
    client.run("SET statement_timeout = '1100ms'");
    for begin in ["", "BEGIN", "BEGIN; SET LOCAL statement_timeout = '1000ms'"] {
        client.query(begin);
        assert_eq!(client.query(LONG_IN_ALL).error, Some(("57014".to_owned(), message.to_owned())), "{begin}");
        nobody_waits(&stage, "PgSleep");
        client.run("ROLLBACK");
        assert_eq!(client.value("SELECT count(DISTINCT v) FROM rows"), "1");
    }
    client.send(
        &[parse(b"", LONG_IN_ALL.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0), frame(b'S', b"")]
            .concat(),
    );
    assert_eq!(Answer::of(client.receive_ready()).error, Some(("57014".to_owned(), message.to_owned())));
    client.run("RESET statement_timeout");
    assert_eq!(client.value(LONG_IN_ALL), "1");
}

#[test]
fn a_cancel_stops_a_gathered_statement_in_whatever_step_it_is() {
    let (stage, mut client) = stage("");
    let part = "SELECT count(DISTINCT length(pg_sleep(3600)::text || v)) FROM rows";
    let merge = "SELECT count(DISTINCT v), pg_sleep(3600 * count(DISTINCT v)) FROM rows";
    for begin in ["", "BEGIN"] {
        for sql in [part, merge] {
            client.query(begin);
            client.send(&query(sql));
            eventually("a server is at work", || (0..2).any(|shard| stage.waiting(shard, "PgSleep") > 0));
            crate::cancelled::cancel(&stage, &client);
            let answer = Answer::of(client.receive_ready());
            assert_eq!(answer.error.unwrap().1, "canceling statement due to user request", "{begin} {sql}");
            nobody_waits(&stage, "PgSleep");
            client.run("ROLLBACK");
            assert_eq!(client.value("SELECT count(DISTINCT v) FROM rows"), "1");
        }
    }
}

#[test]
fn an_error_of_one_shard_is_one_error_and_stops_the_other() {
    let (stage, mut client) = stage("");
    for sql in three_ways("CASE id WHEN 2 THEN (1 / (id - 2))::text ELSE pg_sleep(3600)::text END") {
        client.send(&query(&sql));
        let received = client.receive_ready();
        let errors = received.iter().filter(|one| matches!(one, Received::Message(of) if of.tag == b'E')).count();
        assert_eq!(errors, 1, "{sql}");
        assert_eq!(Answer::of(received).sqlstate(), "22012", "{sql}");
        nobody_waits(&stage, "PgSleep");
        assert_eq!(client.value("SELECT count(*) FROM rows"), "2");
    }
}

#[test]
fn a_limit_that_is_met_stops_the_shards() {
    let (stage, mut client) = stage("");
    // Described once, they wait for nothing but their rows.
    let sql = "SELECT id FROM rows WHERE id < 2 LIMIT 1";
    client.send(&[parse(b"s", b"SELECT id FROM rows WHERE id < 2 LIMIT $1", &[20]), frame(b'S', b"")].concat());
    client.receive_ready();
    let bound = bind(b"", b"s", &[], &[Some(b"1".to_vec())], &[]);
    let again = [parse(b"", b"SELECT 1", &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)].concat();
    let pipeline = [bound, execute(b"", 0), again, frame(b'S', b"")].concat();
    let mut both = |stage: &Stage| {
        assert_eq!(client.value(sql), "1");
        client.send(&pipeline);
        let answer = Answer::of(client.receive_ready());
        assert_eq!((answer.tags, answer.error), (vec!["SELECT 1".to_owned(); 2], None));
        nobody_waits(stage, "relation");
    };
    both(&stage);
    let mut locker = stage.shard(1);
    locker.run("BEGIN; LOCK TABLE rows");
    both(&stage);
    locker.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "2");
}

#[test]
fn a_client_that_reads_nothing_stops_what_is_merged_for_it() {
    let (stage, _) = stage("");
    let pid = stage.cluster.pid();
    let from = "FROM rows, generate_series(1, 4000) g";
    let ordered = format!("SELECT g, repeat('x', 50000) {from} ORDER BY g");
    let gathered =
        format!("SELECT repeat('x', 50000), number FROM (SELECT row_number() OVER () AS number {from}) AS numbered");
    for sql in [ordered, gathered] {
        let mut client = stage.client();
        let before = reset_peak(pid);
        client.send(&query(&sql));
        eventually("a server waits for the reader", || (0..2).any(|shard| stage.waiting(shard, "ClientWrite") > 0));
        assert_bounded(pid, before);
        drop(client);
        nobody_waits(&stage, "ClientWrite");
    }
}

#[test]
fn rows_that_are_fetched_in_portions_are_bounded() {
    let (_stage, mut client) = stage("[limits]\nheld_bytes_max = \"64kB\"\n");
    client.run("BEGIN");
    client.run("DECLARE c CURSOR FOR SELECT repeat('x', 1000) FROM rows, generate_series(1, 100)");
    let fetch = |count: &str, rows_max: u32| {
        let sql = format!("FETCH {count} FROM c");
        [parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", rows_max), frame(b'S', b"")]
            .concat()
    };
    client.send(&fetch("10", 5));
    assert_eq!(Answer::of(client.receive_ready()).rows.len(), 5);
    client.send(&fetch("50", 0));
    assert_eq!(Answer::of(client.receive_ready()).tags, ["FETCH 50"]);
    client.send(&fetch("ALL", 5));
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.sqlstate(), "53200");
    assert!(answer.error.unwrap().1.contains("held_bytes_max"));
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "2");
}
