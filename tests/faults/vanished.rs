//! A client that vanishes, at whatever moment, frees its server, and its transaction leaves nothing.

use crate::client::{Client, Received, bind, execute, frame, parse, query};
use crate::{Stage, eventually, key_on};

/// With one server per shard, the next client is served only if the first one's server came free.
const ONE: &str = "[pool]\nmax = 1\n";

fn next_client_is_served(stage: &Stage, key: i64, rows: &str) {
    let mut next = stage.client();
    assert_eq!(next.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), rows);
    assert_eq!(next.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {}", key_on(1))), "0");
}

#[test]
fn one_that_vanishes_during_its_query_frees_the_server_and_stops_the_query() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    stage.client().run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut gone = stage.client();
    gone.send(&query(&format!("SELECT pg_sleep(3600) FROM rows WHERE customer_id = {key}")));
    eventually("the query runs", || stage.waiting(0, "PgSleep") == 1);
    drop(gone);
    next_client_is_served(&stage, key, "1");
    eventually("the query is cancelled", || stage.waiting(0, "PgSleep") == 0);
}

#[test]
fn one_that_vanishes_during_a_fan_out_frees_all_servers() {
    let stage = Stage::new(ONE);
    let (key, other) = (key_on(0), key_on(1));
    let mut gone = stage.client();
    gone.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    gone.run(&format!("INSERT INTO rows VALUES ({other}, 1)"));
    gone.send(&query("SELECT id, pg_sleep(3600) FROM rows"));
    eventually("both shards are asked", || stage.waiting(0, "PgSleep") == 1 && stage.waiting(1, "PgSleep") == 1);
    drop(gone);
    let mut next = stage.client();
    assert_eq!(next.rows("SELECT id FROM rows").len(), 2);
    eventually("both are cancelled", || stage.waiting(0, "PgSleep") == 0 && stage.waiting(1, "PgSleep") == 0);
}

#[test]
fn one_that_vanishes_in_a_transaction_has_it_rolled_back() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    let mut gone = stage.client();
    gone.run("BEGIN");
    gone.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    drop(gone);
    next_client_is_served(&stage, key, "0");
}

#[test]
fn one_that_vanishes_in_a_pipeline_without_sync_has_it_rolled_back() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    let mut gone = stage.client();
    let mut bytes = parse(b"", format!("INSERT INTO rows VALUES ({key}, 1)").as_bytes(), &[]);
    bytes.extend(bind(b"", b"", &[], &[], &[]));
    bytes.extend(execute(b"", 0));
    bytes.extend(frame(b'H', b""));
    gone.send(&bytes);
    for tag in [b'1', b'2', b'C'] {
        assert!(matches!(gone.receive(), Received::Message(message) if message.tag == tag));
    }
    drop(gone);
    next_client_is_served(&stage, key, "0");
}

#[test]
fn one_that_vanishes_while_copying_in_leaves_no_rows() {
    let stage = Stage::new(ONE);
    let (key, other) = (key_on(0), key_on(1));
    let mut gone = stage.client();
    gone.send(&query("COPY rows (customer_id, id) FROM STDIN"));
    assert!(matches!(gone.receive(), Received::Message(message) if message.tag == b'G'));
    gone.send(&frame(b'd', format!("{key}\t1\n{other}\t1\n{key}\t2\n").as_bytes()));
    drop(gone);
    next_client_is_served(&stage, key, "0");
}

#[test]
fn one_that_vanishes_within_a_message_leaves_no_rows() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    let mut gone = stage.client();
    gone.run("BEGIN");
    gone.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    // A Bind of 10 MB of which only the beginning comes.
    gone.send(&parse(b"", format!("UPDATE rows SET v = $1 WHERE customer_id = {key}").as_bytes(), &[]));
    gone.send(&bind(b"", b"", &[], &[Some(vec![b'x'; 10_000_000])], &[])[..1_000_000]);
    drop(gone);
    next_client_is_served(&stage, key, "0");
}

#[test]
fn one_that_vanishes_while_rows_come_frees_the_server() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    stage.client().run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut gone = stage.client();
    gone.send(&query(&format!(
        "SELECT repeat('x', 1000000) FROM rows, generate_series(1, 1000) WHERE customer_id = {key}"
    )));
    assert!(matches!(gone.receive(), Received::Message(message) if message.tag == b'T'));
    drop(gone);
    next_client_is_served(&stage, key, "1");
}

#[test]
fn one_that_vanishes_while_it_waits_for_a_server_takes_none() {
    let stage = Stage::new(ONE);
    let key = key_on(0);
    let mut holder = stage.client();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut waiters: Vec<Client> = (0..20).map(|_| stage.client()).collect();
    for waiter in &mut waiters {
        waiter.send(&query(&format!("INSERT INTO rows VALUES ({key}, 2)")));
    }
    drop(waiters);
    let mut patient = stage.client();
    patient.send(&query(&format!("SELECT count(*) FROM rows WHERE customer_id = {key} AND id = 1")));
    holder.run("COMMIT");
    let answer = crate::client::Answer::of(patient.receive_ready());
    assert_eq!(answer.rows, vec![vec![Some(b"1".to_vec())]], "{:?}", answer.error);
}
