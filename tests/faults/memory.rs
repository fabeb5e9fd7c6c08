//! Nothing unbounded: the gateway's memory does not follow what clients and shards send.
//!
//! Measured as VmHWM and VmRSS of `/proc/PID/status`, proc(5).

use std::io::Write;
use std::time::Duration;

use crate::client::{Answer, Client, bind, execute, frame, parse, query};
use crate::{Stage, eventually, key_on};

/// A debug build's buffers, and room for the allocator's habits.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Forgets the peak (proc(5), `clear_refs`).
pub fn reset_peak(pid: u32) -> u64 {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    status_bytes(pid, "VmHWM")
}

pub fn assert_bounded(pid: u32, before: u64) {
    let peak = status_bytes(pid, "VmHWM");
    assert!(peak < before + GROWTH_BYTES_MAX, "memory grew from {} MB to {} MB", before >> 20, peak >> 20);
}

#[test]
fn a_client_that_reads_nothing_does_not_fill_the_gateway() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for shard in 0..2 {
        client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(shard)));
    }
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    // Four gigabytes in all, if anyone took them.
    client.send(&query("SELECT repeat('x', 1000000) FROM rows, generate_series(1, 2000)"));
    for shard in 0..2 {
        eventually("the shard waits for a reader", || stage.waiting(shard, "ClientWrite") == 1);
    }
    assert_bounded(pid, before);
    drop(client);
    for shard in 0..2 {
        eventually("the shard is free", || stage.waiting(shard, "ClientWrite") == 0);
    }
}

#[test]
fn a_slow_reader_gets_every_row() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for shard in 0..2 {
        client.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(shard)));
    }
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    client.send(&query("SELECT g, repeat('x', 100000) FROM rows, generate_series(1, 300) g"));
    eventually("the shards wait", || stage.waiting(0, "ClientWrite") == 1 && stage.waiting(1, "ClientWrite") == 1);
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.tags, ["SELECT 600"]);
    assert_eq!(answer.rows.len(), 600);
    assert_bounded(pid, before);
}

#[test]
fn a_parameter_of_200_mb_passes_through() {
    let stage = Stage::new("");
    let key = key_on(1);
    let mut client = stage.client();
    client.run("CREATE TABLE blobs (customer_id int8, b bytea)");
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    let size = 200 << 20;
    let mut bytes = parse(b"", b"INSERT INTO blobs VALUES ($1, $2)", &[]);
    bytes.extend(bind(b"", b"", &[0, 1], &[Some(key.to_string().into_bytes()), Some(vec![7; size])], &[]));
    bytes.extend(execute(b"", 0));
    bytes.extend(frame(b'S', b""));
    client.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    client.send(&bytes);
    drop(bytes);
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.tags, ["INSERT 0 1"], "{:?}", answer.error);
    assert_bounded(pid, before);
    assert_eq!(client.value(&format!("SELECT length(b) FROM blobs WHERE customer_id = {key}")), size.to_string());

    // And back.
    let before = reset_peak(pid);
    let mut bytes = parse(b"", format!("SELECT b FROM blobs WHERE customer_id = {key}").as_bytes(), &[]);
    bytes.extend(bind(b"", b"", &[], &[], &[1]));
    bytes.extend(execute(b"", 0));
    bytes.extend(frame(b'S', b""));
    client.send(&bytes);
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.rows[0][0].as_ref().unwrap().len(), size);
    assert_bounded(pid, before);
}

#[test]
fn a_parameter_that_would_have_to_be_held_too_long_is_refused() {
    let stage = Stage::new("[limits]\nheld_bytes_max = \"1MB\"\n");
    let key = key_on(1);
    let mut client = stage.client();
    client.run("CREATE TABLE blobs (customer_id int8, b bytea)");
    // The key comes after what is too long to hold.
    let mut bytes = parse(b"", b"INSERT INTO blobs (b, customer_id) VALUES ($1, $2)", &[]);
    let long = Some(vec![b'7'; 8 << 20]);
    bytes.extend(bind(b"", b"", &[1, 0], &[long, Some(key.to_string().into_bytes())], &[]));
    bytes.extend(execute(b"", 0));
    bytes.extend(frame(b'S', b""));
    client.send(&bytes);
    let answer = Answer::of(client.receive_ready());
    assert_eq!(answer.sqlstate(), "54000", "{:?}", answer.error);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_statement_that_is_too_long_is_refused_and_the_session_goes_on() {
    let stage = Stage::new("[limits]\nstatement_bytes_max = \"1MB\"\n");
    let mut client = stage.client();
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    let answer = client.query(&format!("SELECT '{}'", "x".repeat(100 << 20)));
    assert_eq!(answer.sqlstate(), "54000", "{:?}", answer.error);
    assert_bounded(pid, before);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_copy_of_300_mb_streams() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    client.send(&query("COPY rows (customer_id, id, v) FROM STDIN"));
    client.receive();
    let filling = "y".repeat(1000);
    let mut id = 0;
    for _ in 0..300 {
        let mut chunk = String::new();
        for _ in 0..1000 {
            id += 1;
            chunk.push_str(&format!("{}\t{id}\t{filling}\n", id % 50));
        }
        client.send(&frame(b'd', chunk.as_bytes()));
    }
    client.send(&frame(b'c', b""));
    client.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    assert_eq!(Answer::of(client.receive_ready()).tags, ["COPY 300000"]);
    assert_bounded(pid, before);
}

#[test]
fn a_client_that_sends_queries_and_reads_no_answers_is_held_back() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    let bytes = query("SELECT repeat('x', 10000)").repeat(1000);
    client.stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut sent = 0u64;
    while let Ok(size) = client.stream.write(&bytes) {
        sent += size as u64;
        assert!(sent < 1 << 30, "a gigabyte of queries was taken in");
    }
    assert_bounded(pid, before);
}

#[test]
fn a_thousand_idle_clients_cost_little() {
    let stage = Stage::new("");
    let pid = stage.cluster.pid();
    let before = reset_peak(pid);
    let mut clients: Vec<Client> = (0..1000).map(|_| stage.client()).collect();
    assert_eq!(clients[999].value("SELECT 1"), "1");
    let each = status_bytes(pid, "VmRSS").saturating_sub(before) / 1000;
    assert!(each < 100 << 10, "an idle client costs {} kB", each >> 10);
}
