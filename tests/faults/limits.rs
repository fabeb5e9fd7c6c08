//! Nothing unbounded: what a client can make the gateway keep between its messages has an end, with a name and a remedy.

use crate::client::{Answer, Client, bind, execute, frame, parse, target};
use crate::{Stage, key_on};

const SMALL: &str = "[limits]\nclient_statements_max = 20\nclient_bytes_max = \"200kB\"\n";

fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

/// The hint of an error must name what to raise.
fn limited(answer: &Answer, setting: &str) -> bool {
    answer.sqlstate() == "53400" && answer.error.as_ref().is_some_and(|(_, message)| message.contains(setting))
}

#[test]
fn prepared_statements_of_a_client_are_counted() {
    let stage = Stage::new(SMALL);
    let mut client = stage.client();
    let prepare = |client: &mut Client, name: &str| {
        client.send(&[parse(name.as_bytes(), b"SELECT 1", &[]), sync()].concat());
        Answer::of(client.receive_ready())
    };
    for number in 0..10 {
        assert_eq!(prepare(&mut client, &format!("p{number}")).error, None);
        client.run(&format!("PREPARE s{number} AS SELECT 2"));
    }
    let answer = prepare(&mut client, "one_more");
    assert!(limited(&answer, "client_statements_max"), "{answer:?}");
    assert!(limited(&client.query("PREPARE one_more AS SELECT 2"), "client_statements_max"));
    assert_eq!(client.value("EXECUTE s3"), "2", "what there is can be used");
    client.send(&[target(b'C', b'S', b"p5"), sync()].concat());
    assert_eq!(Answer::of(client.receive_ready()).error, None);
    assert_eq!(prepare(&mut client, "one_more").error, None);
    client.run("DEALLOCATE ALL");
    assert_eq!(prepare(&mut client, "p0").error, None);
}

#[test]
fn portals_and_cursors_of_a_client_are_counted() {
    let stage = Stage::new(SMALL);
    let mut client = stage.client();
    let key = key_on(0);
    client.run("BEGIN");
    for number in 0..20 {
        client.run(&format!("DECLARE c{number} CURSOR FOR SELECT FROM rows WHERE customer_id = {key}"));
    }
    let more = format!("DECLARE one_more CURSOR FOR SELECT FROM rows WHERE customer_id = {key}");
    assert!(limited(&client.query(&more), "client_statements_max"));
    client.run("ROLLBACK");
    client.run("BEGIN");
    let mut messages = parse(b"", b"SELECT 1", &[]);
    for number in 0..21 {
        messages.extend(bind(format!("p{number}").as_bytes(), b"", &[], &[], &[]));
    }
    client.send(&[messages, sync()].concat());
    assert!(limited(&Answer::of(client.receive_ready()), "client_statements_max"));
    client.run("ROLLBACK");
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
}

#[test]
fn what_statements_and_a_block_keep_is_weighed() {
    let stage = Stage::new(SMALL);
    let mut client = stage.client();
    // Texts that the unnamed statement replaces live on in their portals.
    client.run("BEGIN");
    let long = |number: usize| format!("SELECT {number} /* {} */", "x".repeat(10_000));
    let mut messages = Vec::new();
    for number in 0..15 {
        messages.push(parse(b"", long(number).as_bytes(), &[]));
        messages.push(bind(format!("p{number}").as_bytes(), b"", &[], &[], &[]));
    }
    client.send(&[messages.concat(), sync()].concat());
    assert!(limited(&Answer::of(client.receive_ready()), "client_bytes_max"));
    client.run("ROLLBACK");
    // Savepoints that are not released.
    client.run("BEGIN");
    let mut savepoints = 0;
    let answer = loop {
        let answer = client.query(&format!("SAVEPOINT s{savepoints}"));
        if answer.error.is_some() || savepoints > 5_000 {
            break answer;
        }
        savepoints += 1;
    };
    assert!(limited(&answer, "client_bytes_max"), "{savepoints} savepoints: {answer:?}");
    client.run("ROLLBACK");
    // Those that are, as often as one likes.
    client.run("BEGIN");
    for _ in 0..savepoints + 100 {
        client.run("SAVEPOINT a");
        client.run("RELEASE a");
    }
    client.run("COMMIT");
}

#[test]
fn settings_of_a_session_are_weighed() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let set = |number: usize| format!("SET own.s{number} = '{}'", "x".repeat(100_000));
    for number in 0..10 {
        client.run(&set(number));
    }
    let answer = client.query(&set(10));
    assert_eq!(answer.sqlstate(), "53400", "it has its eleventh setting");
    client.run("RESET own.s3");
    client.run(&set(10));
    assert_eq!(client.value("SELECT length(current_setting('own.s10'))"), "100000");
}

#[test]
fn a_pipeline_without_an_end_is_answered_as_it_comes() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let one = [parse(b"", b"SELECT 1", &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)].concat();
    let count = 5_000;
    client.send(&[one.repeat(count), sync()].concat());
    let answer = Answer::of(client.receive_ready());
    assert_eq!((answer.error, answer.tags.len()), (None, count));
}

#[test]
fn rows_kept_for_executes_to_come_are_weighed() {
    let stage = Stage::new(SMALL);
    let mut client = stage.client();
    for shard in 0..2 {
        client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(shard)));
    }
    let text = "SELECT repeat('x', 1000) FROM rows, generate_series(1, 40) WHERE id = 1 FOR UPDATE OF rows";
    client.send(&[parse(b"s", text.as_bytes(), &[]), sync()].concat());
    assert_eq!(Answer::of(client.receive_ready()).error, None);
    client.run("BEGIN");
    let portion = |client: &mut Client, portal: &str, rows: u32| {
        let messages = [bind(portal.as_bytes(), b"s", &[], &[], &[]), execute(portal.as_bytes(), rows), sync()];
        client.send(&messages.concat());
        Answer::of(client.receive_ready())
    };
    // What is closed or has been fetched counts no more.
    for _ in 0..6 {
        assert_eq!(portion(&mut client, "a", 1).error, None);
        client.send(&[execute(b"a", 78), execute(b"a", 0), target(b'C', b'P', b"a"), sync()].concat());
        assert_eq!(Answer::of(client.receive_ready()).error, None);
        assert_eq!(portion(&mut client, "a", 1).error, None);
        client.send(&[target(b'C', b'P', b"a"), sync()].concat());
        assert_eq!(Answer::of(client.receive_ready()).error, None);
    }
    assert_eq!(portion(&mut client, "a", 1).error, None);
    assert_eq!(portion(&mut client, "b", 1).error, None);
    let answer = portion(&mut client, "c", 1);
    assert!(limited(&answer, "client_bytes_max"), "{answer:?}");
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "2");
}

#[test]
fn descriptions_that_a_client_has_got_are_weighed() {
    let stage = Stage::new(SMALL);
    let mut client = stage.client();
    let text = format!("SELECT {} FROM (SELECT 1 AS {}) a", ["a.*"; 300].join(", "), "x".repeat(60));
    let answers = (0..15).map(|number| {
        let name = format!("p{number}");
        let messages = [parse(name.as_bytes(), text.as_bytes(), &[]), target(b'D', b'S', name.as_bytes()), sync()];
        client.send(&messages.concat());
        Answer::of(client.receive_ready())
    });
    assert!(answers.into_iter().any(|answer| limited(&answer, "client_bytes_max")));
}
