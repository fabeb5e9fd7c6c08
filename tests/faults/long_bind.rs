//! Parameters too long to hold pass through, in their place in the pipeline, whatever goes wrong before, in or behind them.

use crate::client::{Answer, Client, Message, Received, bind, execute, frame, parse};
use crate::{Stage, eventually, key_on};

/// Long enough to pass through.
const LONG_BYTES: usize = 3 << 20;

const INSERT: &[u8] = b"INSERT INTO rows VALUES ($1, $2, $3)";

fn text(value: i64) -> Option<Vec<u8>> {
    Some(value.to_string().into_bytes())
}

fn long() -> Option<Vec<u8>> {
    Some(vec![b'x'; LONG_BYTES])
}

fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

fn insert(statement: &[u8], key: i64, id: i64, v: Option<Vec<u8>>) -> Vec<u8> {
    [bind(b"", statement, &[], &[text(key), text(id), v], &[]), execute(b"", 0)].concat()
}

/// SQLSTATEs of all errors up to ReadyForQuery, and the tags.
fn answer(client: &mut Client) -> (Vec<String>, Vec<String>) {
    let received = client.receive_ready();
    let is_error = |item: &&Received| matches!(item, Received::Message(Message { tag: b'E', .. }));
    let errors = received.iter().filter(is_error).map(|item| Answer::of(vec![item.clone()]).sqlstate().to_owned());
    (errors.collect(), Answer::of(received.clone()).tags)
}

fn lengths(client: &mut Client, key: i64) -> Vec<String> {
    let rows = client.rows(&format!("SELECT length(v) FROM rows WHERE customer_id = {key} ORDER BY id"));
    rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

#[test]
fn long_and_short_ones_of_a_pipeline_are_answered_in_order_on_both_shards() {
    let stage = Stage::new("");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.chunk_bytes = Some(9973);
    let count = b"SELECT count(*) FROM rows WHERE customer_id = $1 AND v <> $2";
    let read = |key| [bind(b"", b"c", &[], &[text(key), long()], &[]), execute(b"", 0)].concat();
    let messages = [
        parse(b"s", INSERT, &[]),
        insert(b"s", key, 1, long()),
        parse(b"c", count, &[]),
        read(other),
        insert(b"s", key, 2, text(5)),
        read(key),
        sync(),
    ];
    client.send(&messages.concat());
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.tags, ["INSERT 0 1", "SELECT 1", "INSERT 0 1", "SELECT 1"], "{:?}", answer.error);
    assert_eq!(answer.rows, [[Some(b"0".to_vec())], [Some(b"1".to_vec())]]);
    client.chunk_bytes = None;
    assert_eq!(lengths(&mut client, key), [LONG_BYTES.to_string(), "1".to_owned()]);
}

#[test]
fn one_whose_key_comes_last_or_that_runs_everywhere_is_held_as_long_as_the_limit_allows() {
    let stage = Stage::new("[limits]\nheld_bytes_max = \"4MB\"\n");
    let key = key_on(1);
    let mut client = stage.client();
    let backwards = parse(b"s", b"INSERT INTO rows (v, id, customer_id) VALUES ($1, $2, $3)", &[]);
    let messages = [backwards, bind(b"", b"s", &[], &[long(), text(1), text(key)], &[]), execute(b"", 0), sync()];
    client.send(&messages.concat());
    assert_eq!(answer(&mut client), (vec![], vec!["INSERT 0 1".to_owned()]));
    for (bytes, errors, tags) in
        [(LONG_BYTES, vec![], vec!["SELECT 1".to_owned()]), (5 << 20, vec!["54000".to_owned()], vec![])]
    {
        let value = Some(vec![b'x'; bytes]);
        let everywhere = parse(b"", b"SELECT id FROM rows WHERE v = $1", &[]);
        client.send(&[everywhere, bind(b"", b"", &[], &[value], &[]), execute(b"", 0), sync()].concat());
        assert_eq!(answer(&mut client), (errors, tags));
    }
    assert_eq!(lengths(&mut client, key), [LONG_BYTES.to_string()]);
}

#[test]
fn errors_before_in_and_behind_a_long_one_are_told_once_and_the_session_goes_on() {
    let stage = Stage::new("[limits]\nheld_bytes_max = \"1MB\"\n");
    let key = key_on(1);
    let mut client = stage.client();
    let mut longer = insert(b"", key, 1, long());
    let end = longer.len() - execute(b"", 0).len();
    // The parameter says that it goes on behind the message's end.
    let at = end - 2 - LONG_BYTES - 4;
    longer[at..at + 4].copy_from_slice(&(LONG_BYTES as u32 + 100).to_be_bytes());
    let fails = format!("SELECT 1 / (id - id) FROM rows WHERE customer_id = {key}");
    let cases = [
        (insert(b"nobody", key, 1, long()), "26000"),
        ([parse(b"", b"SELEC", &[]), insert(b"", key, 1, long())].concat(), "42601"),
        ([parse(b"", INSERT, &[]), longer].concat(), "08P01"),
        ([parse(b"", INSERT, &[]), insert(b"", key, 1, long()), insert(b"", key, 1, None)].concat(), "23505"),
        (
            [parse(b"", b"INSERT INTO rows VALUES ($1, $2, $3::int8)", &[]), insert(b"", key, 1, long())].concat(),
            "22P02",
        ),
        // The server skips a long one because of what came before it.
        (
            [
                parse(b"", INSERT, &[]),
                insert(b"", key, 7, text(1)),
                parse(b"", fails.as_bytes(), &[]),
                bind(b"", b"", &[], &[], &[]),
                execute(b"", 0),
                parse(b"", INSERT, &[]),
                insert(b"", key, 1, long()),
            ]
            .concat(),
            "22012",
        ),
    ];
    for (number, (messages, sqlstate)) in cases.into_iter().enumerate() {
        client.send(&[messages, sync()].concat());
        assert_eq!(answer(&mut client).0, [sqlstate], "case {number}");
        assert_eq!(client.value("SELECT 1"), "1", "case {number}");
    }
    assert_eq!(lengths(&mut client, key).len(), 0);
}

#[test]
fn a_shard_that_dies_in_the_middle_of_a_long_one_costs_the_statement_and_not_the_session() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let mut client = stage.client();
    let messages = [parse(b"", INSERT, &[]), insert(b"", key, 1, long()), sync()].concat();
    let (first, second) = messages.split_at(LONG_BYTES / 2);
    client.send(first);
    eventually("a server takes it", || {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'";
        stage.shard(1).value(busy) == "1"
    });
    stage.cluster.kill_shard(1);
    client.send(second);
    let (errors, tags) = answer(&mut client);
    assert!(errors.len() == 1 && errors[0].starts_with("08"), "{errors:?}");
    assert!(tags.is_empty());
    assert_eq!(client.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {other}")), "0");
    stage.cluster.start_shard(1);
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_long_one_frees_its_server() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let key = key_on(1);
    let mut gone = stage.client();
    let messages = [parse(b"", INSERT, &[]), insert(b"", key, 1, long())].concat();
    gone.send(&messages[..LONG_BYTES / 2]);
    drop(gone);
    let mut next = stage.client();
    assert_eq!(next.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "0");
}

/// What the gateway itself answers has no server to which the rest could pass.
#[test]
fn too_long_for_a_cursor_over_several_shards() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let declare = "DECLARE c CURSOR FOR SELECT * FROM rows ORDER BY id";
    for sql in ["FETCH 1 FROM c", "CLOSE c", "CLOSE ALL"] {
        client.run("BEGIN");
        client.run(declare);
        let bound = bind(b"", b"", &[], &[Some(vec![b'x'; 1_100_000])], &[]);
        client.send(&[parse(b"", sql.as_bytes(), &[]), bound, execute(b"", 0), sync()].concat());
        assert_eq!(answer(&mut client), (vec!["08P01".to_owned()], vec![]), "{sql}");
        client.run("ROLLBACK");
    }
}
