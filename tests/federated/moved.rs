//! What goes wrong while the rows of an INSERT ... SELECT go to other shards than they come from.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, bind, cancel_request, execute, frame, parse, query};
use crate::login;
use crate::support::{Cluster, Setup};

fn stage(config: &str) -> (Cluster, Client) {
    let cluster = Cluster::with(Setup { shards: 2, config, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE rows (customer_id int8 PRIMARY KEY, v text)");
    client.run("INSERT INTO rows SELECT g, repeat('x', 100) FROM generate_series(1, 40) g");
    (cluster, client)
}

#[test]
fn a_row_that_one_shard_refuses_leaves_nothing_on_any() {
    let (_cluster, mut client) = stage("");
    assert_eq!(client.query("INSERT INTO rows SELECT customer_id + 39, v FROM rows").sqlstate(), "23505");
    assert_eq!(client.query("INSERT INTO rows SELECT NULLIF(customer_id, 5) + 100, v FROM rows").sqlstate(), "23502");
    assert_eq!(client.query("INSERT INTO rows SELECT 100 / (customer_id - 40) + 300, v FROM rows").sqlstate(), "22012");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "40");
    assert_eq!(client.query("INSERT INTO rows SELECT customer_id + 40, v FROM rows").tags, ["INSERT 0 40"]);
    assert_eq!(client.value("SELECT count(*) FROM rows"), "80");
}

#[test]
fn more_rows_than_the_gateway_holds_are_stored() {
    let (_cluster, mut client) = stage("[limits]\nheld_bytes_max = \"64kB\"\n");
    let many =
        "INSERT INTO rows SELECT a.customer_id * 1000 + g, repeat('y', 200) FROM rows a, generate_series(1, 500) g";
    assert_eq!(client.query(many).tags, ["INSERT 0 20000"]);
    assert_eq!(client.value("SELECT count(*) FROM rows"), "20040");
    let held = "INSERT INTO rows SELECT customer_id + 1000000, v FROM rows RETURNING *";
    let (code, message) = client.query(held).error.unwrap();
    assert_eq!(code, "53200");
    assert!(message.contains("held_bytes_max"), "{message}");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "20040");
}

#[test]
fn a_cancelled_insert_stores_nothing_and_the_client_goes_on() {
    let (cluster, mut client) = stage("");
    let sleeps = "INSERT INTO rows SELECT a.customer_id + 100 + length(pg_sleep(600)::text), a.v FROM rows a";
    client.send(&query(sleeps));
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
    let begun = Instant::now();
    let of = |shard| Client::connect(&login::of(cluster.shard_url(shard))).unwrap().value(count) != "0";
    while !(0..2).any(of) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody sleeps");
        thread::sleep(Duration::from_millis(20));
    }
    let mut request = Client::open(login::of(cluster.url()).address).unwrap();
    request.send(&cancel_request(client.pid, &client.secret));
    request.receive();
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "57014");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "40");
}

#[test]
fn messages_of_one_pipeline_are_one_transaction() {
    let (_cluster, mut client) = stage("");
    let moved = "INSERT INTO rows SELECT customer_id + 100, v FROM rows";
    let execute_now =
        |sql: &str| [parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)].concat();
    let messages = [
        execute_now("INSERT INTO rows VALUES (99, 'first')"),
        execute_now(moved),
        execute_now("SELECT 1 / (count(*) - count(*)) FROM rows"),
        frame(b'S', b""),
    ];
    client.send(&messages.concat());
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "22012");
    assert_eq!(client.value("SELECT count(*) FROM rows"), "40");
}
