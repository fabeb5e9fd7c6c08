//! Cancel requests stop what their client runs, all of it, and nothing else.

use crate::client::{Answer, Client, cancel_request, frame, query};
use crate::{Stage, eventually, key_on};

pub fn cancel(stage: &Stage, client: &Client) {
    cancel_at(stage.login().address, client);
}

/// At a gateway of this address.
pub fn cancel_at(address: std::net::SocketAddr, client: &Client) {
    let mut request = Client::open(address).unwrap();
    request.send(&cancel_request(client.pid, &client.secret));
    // Closed when the request has been dealt with, as Postgres does.
    request.receive();
}

#[test]
fn a_cancelled_fan_out_stops_on_every_shard() {
    let stage = Stage::new("");
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(0)));
    client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(1)));
    client.send(&query("SELECT id, pg_sleep(3600) FROM rows"));
    eventually("both shards are asked", || stage.waiting(0, "PgSleep") == 1 && stage.waiting(1, "PgSleep") == 1);
    cancel(&stage, &client);
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.sqlstate(), "57014");
    eventually("both are cancelled", || stage.waiting(0, "PgSleep") == 0 && stage.waiting(1, "PgSleep") == 0);
    assert_eq!(client.rows("SELECT id FROM rows").len(), 2);
}

#[test]
fn a_cancel_that_comes_late_does_not_hit_the_next_client_of_the_same_server() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let key = key_on(0);
    let mut first = stage.client();
    first.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut second = stage.client();
    second.send(&query(&format!("SELECT id, pg_sleep(1) FROM rows WHERE customer_id = {key}")));
    eventually("the second one runs", || stage.waiting(0, "PgSleep") == 1);
    for _ in 0..5 {
        cancel(&stage, &first);
    }
    let answer = Answer::of(second.receive_ready());
    assert_eq!(answer.error, None);
    assert_eq!(answer.rows.len(), 1);
}

#[test]
fn a_cancel_with_a_wrong_secret_does_nothing() {
    let stage = Stage::new("");
    let key = key_on(0);
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    client.send(&query(&format!("SELECT id, pg_sleep(3600) FROM rows WHERE customer_id = {key}")));
    eventually("it runs", || stage.waiting(0, "PgSleep") == 1);
    let mut request = Client::open(stage.login().address).unwrap();
    let wrong: Vec<u8> = client.secret.iter().map(|byte| byte ^ 1).collect();
    request.send(&cancel_request(client.pid, &wrong));
    request.receive();
    assert_eq!(stage.waiting(0, "PgSleep"), 1);
    cancel(&stage, &client);
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "57014");
}

#[test]
fn a_client_that_waits_for_a_server_can_be_cancelled() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let key = key_on(0);
    let mut holder = stage.client();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut waiter = stage.client();
    waiter.send(&query(&format!("SELECT id FROM rows WHERE customer_id = {key}")));
    waiter.stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    eventually("it is cancelled", || {
        cancel(&stage, &waiter);
        waiter.stream.peek(&mut [0]).is_ok()
    });
    waiter.stream.set_read_timeout(Some(crate::client::PATIENCE)).unwrap();
    assert_eq!(Answer::of(waiter.receive_ready()).sqlstate(), "57014");
    holder.run("COMMIT");
    assert_eq!(waiter.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "1");
}

#[test]
fn an_idle_client_is_not_harmed_by_its_cancel() {
    let stage = Stage::new("");
    let mut client = stage.client();
    cancel(&stage, &client);
    assert_eq!(client.value("SELECT 1"), "1");
    client.run("BEGIN");
    client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(0)));
    cancel(&stage, &client);
    assert_eq!(client.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {}", key_on(0))), "1");
    client.run("COMMIT");
}

#[test]
fn a_copy_can_be_cancelled_and_leaves_nothing() {
    let stage = Stage::new("");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.send(&query("COPY rows (customer_id, id) FROM STDIN"));
    client.receive();
    client.send(&frame(b'd', format!("{key}\t1\n{other}\t1\n").as_bytes()));
    cancel(&stage, &client);
    // One Postgres notices when the next data comes.
    client.send(&frame(b'd', format!("{key}\t2\n").as_bytes()));
    client.send(&frame(b'c', b""));
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.sqlstate(), "57014");
    assert_eq!(client.rows("SELECT id FROM rows").len(), 0);
}
