//! Few servers, many clients: in order, bounded, and nothing of one client's shows to the next.

use std::thread;
use std::time::Duration;

use crate::client::{Answer, Client, Received, bind, execute, frame, parse, query, target};
use crate::{Stage, eventually, key_on};

#[test]
fn fifty_clients_share_one_server() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let (key, login) = (key_on(0), stage.login());
    let threads: Vec<_> = (0..50)
        .map(|number| {
            let login = login.clone();
            thread::spawn(move || {
                let mut client = Client::connect(&login).unwrap();
                for round in 0..10 {
                    client.run(&format!("INSERT INTO rows VALUES ({key}, {})", number * 100 + round));
                }
            })
        })
        .collect();
    let mut most = 0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        most = most.max(stage.shard(0).value(sql).parse().unwrap());
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(most, 1, "more servers than pool_max");
    assert_eq!(stage.client().value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "500");
}

#[test]
fn waiting_clients_are_served_in_the_order_in_which_they_came() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let key = key_on(0);
    let mut holder = stage.client();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 0)"));
    let mut waiters: Vec<Client> = (0..15).map(|_| stage.client()).collect();
    for (number, waiter) in waiters.iter_mut().enumerate() {
        waiter.send(&query(&format!("INSERT INTO rows VALUES ({key}, {}, clock_timestamp())", number + 1)));
        // Nothing tells from outside that a client has joined the queue.
        thread::sleep(Duration::from_millis(60));
    }
    holder.run("COMMIT");
    for waiter in &mut waiters {
        assert_eq!(Answer::of(waiter.receive_ready()).error, None);
    }
    let order = stage
        .client()
        .rows(&format!("SELECT id FROM rows WHERE customer_id = {key} AND id > 0 ORDER BY v::timestamptz"));
    let order: Vec<String> = order.into_iter().flatten().flatten().collect();
    assert_eq!(order, (1..=15).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn one_that_waits_too_long_gets_53300_and_goes_on() {
    let stage = Stage::new("[pool]\nmax = 1\nwait_timeout = \"500ms\"\n");
    let key = key_on(0);
    let mut holder = stage.client();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 0)"));
    let mut waiter = stage.client();
    let answer = waiter.query(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    assert_eq!(answer.sqlstate(), "53300", "{:?}", answer.error);
    assert_eq!(answer.status, Some('I'));
    assert_eq!(waiter.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {}", key_on(1))), "0");
    holder.run("COMMIT");
    assert_eq!(waiter.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "1");
}

/// Drivers parse by itself what they bind a moment later.
#[test]
fn clients_that_parse_in_a_block_do_not_wait_crosswise() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    stage.client().run(&format!("INSERT INTO rows VALUES ({}, 0), ({}, 0)", key_on(0), key_on(1)));
    // Each is asked on its own default shard, and bound for the other's.
    let mut clients: Vec<Client> = (0..2).map(|_| stage.client()).collect();
    for round in 0..4 {
        let sql = format!("SELECT id, {round} FROM rows WHERE customer_id = $1");
        for client in &mut clients {
            client.run("BEGIN");
            client.send(&[parse(b"s", sql.as_bytes(), &[20]), target(b'D', b'S', b"s"), frame(b'S', b"")].concat());
            assert_eq!(Answer::of(client.receive_ready()).error, None);
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let key = key_on(u16::from((at + round) % 2 == 1)).to_string();
            let bound = bind(b"", b"s", &[], &[Some(key.as_bytes().to_vec())], &[]);
            client.send(&[bound, execute(b"", 0), target(b'C', b'S', b"s"), frame(b'S', b"")].concat());
        }
        for client in &mut clients {
            let answer = Answer::of(client.receive_ready());
            assert_eq!((answer.error, answer.status), (None, Some('T')));
            client.run("COMMIT");
        }
    }
}

#[test]
fn clients_beyond_the_limit_are_told_53300_and_a_place_comes_free() {
    let stage = Stage::new("[limits]\nclients_max = 5\n");
    let mut within: Vec<Client> = Vec::new();
    eventually("the limit is reached", || match Client::connect(&stage.login()) {
        Ok(client) => {
            within.push(client);
            false
        }
        Err(reason) => {
            assert!(reason.starts_with("53300"), "{reason}");
            true
        }
    });
    assert_eq!(within.len(), 5);
    within.pop().unwrap().goodbye();
    eventually("the place is free", || Client::connect(&stage.login()).is_ok());
    assert_eq!(within[0].value("SELECT 1"), "1");
}

#[test]
fn nothing_of_one_client_shows_to_the_next_on_the_same_server() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let key = key_on(0);
    let mut first = Client::connect(&stage.login().with("application_name", "first")).unwrap();
    let mut second = Client::connect(&stage.login().with("datestyle", "German")).unwrap();
    first.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    for _ in 0..3 {
        first.run("SET work_mem = '7MB'");
        first.run("SET timezone = 'America/New_York'");
        let ask = |setting: &str| format!("SELECT current_setting('{setting}') FROM rows WHERE customer_id = {key}");
        assert_eq!(first.value(&ask("work_mem")), "7MB");
        assert_eq!(second.value(&ask("work_mem")), "4MB");
        assert_eq!(second.value(&ask("timezone")), "UTC");
        assert_eq!(second.value(&ask("datestyle")), "German, DMY");
        assert_eq!(second.value(&ask("application_name")), "");
        assert_eq!(first.value(&ask("datestyle")), "ISO, MDY");
        assert_eq!(first.value(&ask("application_name")), "first");
        assert_eq!(first.value(&ask("timezone")), "America/New_York");
        first.run("RESET ALL");
        assert_eq!(first.value(&ask("application_name")), "first");
        assert_eq!(second.value(&ask("datestyle")), "German, DMY");
    }
    for leaking in ["LISTEN x", "CREATE TEMP TABLE scratch (x int)", "SELECT pg_advisory_lock(1)"] {
        let answer = first.query(leaking);
        assert_eq!(
            answer.sqlstate(),
            "0A000",
            "{leaking} must be refused while servers are shared: {:?}",
            answer.error
        );
    }
}

#[test]
fn one_that_does_not_log_in_is_sent_away() {
    let stage = Stage::new("[limits]\nlogin_timeout = \"1s\"\n");
    let mut silent = Client::open(stage.login().address).unwrap();
    let mut half = Client::open(stage.login().address).unwrap();
    half.send(&[0, 0, 0, 50, 0, 3]);
    for client in [&mut silent, &mut half] {
        loop {
            match client.receive() {
                Received::Message(_) => {}
                Received::Closed => break,
                Received::Silence => panic!("still connected"),
            }
        }
    }
    assert_eq!(stage.client().value("SELECT 1"), "1");
}
