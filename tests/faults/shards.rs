//! A shard that dies, hangs, or loses a connection harms only those who need it, and comes back by itself.

use crate::client::{Answer, query};
use crate::{Stage, eventually, key_on};

#[test]
fn a_dead_shard_fails_only_statements_that_need_it_and_recovers_by_itself() {
    let stage = Stage::new("");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    client.run(&format!("INSERT INTO rows VALUES ({other}, 1)"));
    stage.cluster.kill_shard(1);

    let mut fresh = stage.client();
    assert_eq!(fresh.value(&format!("SELECT id FROM rows WHERE customer_id = {key}")), "1");
    for sql in [format!("SELECT id FROM rows WHERE customer_id = {other}"), "SELECT id FROM rows".into()] {
        let answer = fresh.query(&sql);
        assert!(answer.sqlstate().starts_with("08"), "{sql}: {:?}", answer.error);
        assert!(answer.error.as_ref().unwrap().1.contains("s1"), "the shard is not named: {:?}", answer.error);
        assert_eq!(answer.status, Some('I'), "the session goes on");
    }
    assert_eq!(fresh.value(&format!("SELECT id FROM rows WHERE customer_id = {key}")), "1");

    stage.cluster.start_shard(1);
    eventually("the shard is used again", || {
        fresh.query(&format!("SELECT id FROM rows WHERE customer_id = {other}")).error.is_none()
    });
    assert_eq!(fresh.rows("SELECT id FROM rows").len(), 2);
}

#[test]
fn a_dead_home_shard_lets_others_be_read() {
    let stage = Stage::new("");
    let other = key_on(1);
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({other}, 1)"));
    stage.cluster.kill_shard(0);
    assert_eq!(client.value(&format!("SELECT id FROM rows WHERE customer_id = {other}")), "1");
    let mut fresh = stage.client();
    assert_eq!(fresh.value(&format!("SELECT id FROM rows WHERE customer_id = {other}")), "1");
    stage.cluster.start_shard(0);
}

#[test]
fn a_server_lost_while_rows_are_gathered_for_the_first_of_two_steps_ends_the_statement() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for key in [key_on(0), key_on(1)] {
        client.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'x')"));
    }
    let query = "SELECT count(DISTINCT a.v) FROM rows a JOIN rows b ON a.id = b.customer_id WHERE b.id > (SELECT avg(DISTINCT id) FROM rows)";
    assert_eq!(client.value(query), "0");
    // Each gather takes its merge server on the next shard. On the one that is not lost it stands in a COPY, which nobody would end.
    for gathers_between in [1, 2, 1, 2] {
        let mut holder = stage.shard(1);
        holder.run("BEGIN; LOCK TABLE rows");
        let lost = std::thread::scope(|scope| {
            let asked = scope.spawn(|| client.query(query));
            eventually("a shard waits for the lock", || stage.waiting(1, "relation") > 0);
            let ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'relation'";
            assert_ne!(holder.value(ends), "0");
            asked.join().unwrap()
        });
        assert_eq!((lost.sqlstate(), lost.status), ("08006", Some('I')), "{:?}", lost.error);
        holder.run("ROLLBACK");
        for _ in 0..gathers_between {
            assert_eq!(client.value(query), "0");
        }
    }
}

#[test]
fn a_shard_that_dies_in_a_transaction_fails_it_and_nothing_is_kept() {
    let stage = Stage::new("");
    let key = key_on(1);
    let mut client = stage.client();
    client.run("BEGIN");
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    stage.cluster.kill_shard(1);
    let answer = client.query(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    assert!(answer.sqlstate().starts_with("08") || answer.sqlstate() == "57P01", "{:?}", answer.error);
    if answer.lost.is_none() {
        // What the client may see if its session goes on: a failed transaction, never a fresh one.
        assert_eq!(answer.status, Some('E'));
        let commit = client.query("COMMIT");
        assert_eq!(commit.tags, ["ROLLBACK"]);
    }
    stage.cluster.start_shard(1);
    let mut fresh = stage.client();
    eventually("the shard is used again", || {
        let answer = fresh.query(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
        answer.error.is_none() && answer.rows.is_empty()
    });
}

#[test]
fn a_shard_that_dies_while_rows_come_ends_the_answer_with_an_error() {
    let stage = Stage::new("");
    let key = key_on(1);
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    client.send(&query(&format!(
        "SELECT g, pg_sleep(g / 100 * 3600) FROM rows, generate_series(1, 200) g WHERE customer_id = {key}"
    )));
    eventually("it runs", || stage.waiting(1, "PgSleep") == 1);
    stage.cluster.kill_shard(1);
    let answer = Answer::of(client.receive_ready());
    assert!(answer.sqlstate().starts_with("08") || answer.sqlstate() == "57P01", "{:?}", answer.error);
    assert!(answer.tags.is_empty(), "an answer cut short must not look complete: {:?}", answer.tags);
    stage.cluster.start_shard(1);
}

#[test]
fn a_server_terminated_while_idle_in_the_pool_is_not_lent() {
    let stage = Stage::new("[pool]\nmax = 3\n");
    let key = key_on(1);
    let mut clients: Vec<_> = (0..3).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.run("BEGIN");
        client.rows(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    }
    clients.iter_mut().for_each(|client| client.run("COMMIT"));
    let mut shard = stage.shard(1);
    shard.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("they are gone", || shard.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == "0");
    for client in &mut clients {
        client.run(&format!("INSERT INTO rows VALUES ({key}, 1) ON CONFLICT DO NOTHING"));
    }
}

#[test]
fn a_server_terminated_in_a_transaction_says_so() {
    let stage = Stage::new("");
    let key = key_on(1);
    let mut client = stage.client();
    client.run("BEGIN");
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    stage.shard(1).run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    let answer = client.query(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    assert!(answer.sqlstate() == "57P01" || answer.sqlstate().starts_with("08"), "{:?}", answer.error);
    let mut fresh = stage.client();
    assert_eq!(fresh.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "0");
}

#[test]
fn a_shard_that_hangs_does_not_hold_up_the_others() {
    let stage = Stage::new("[pool]\nconnect_timeout = \"1s\"\n");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    client.run(&format!("INSERT INTO rows VALUES ({other}, 1)"));
    let mut stuck = stage.client();
    stage.cluster.freeze_shard(1);
    stuck.send(&query(&format!("SELECT id FROM rows WHERE customer_id = {other}")));
    assert_eq!(client.value(&format!("SELECT id FROM rows WHERE customer_id = {key}")), "1");
    let mut fresh = stage.client();
    assert_eq!(fresh.value(&format!("SELECT id FROM rows WHERE customer_id = {key}")), "1");
    stage.cluster.thaw_shard(1);
    // It was waiting on a live connection, or was told that a new one could not be had.
    let answer = Answer::of(stuck.receive_ready());
    assert!(answer.rows.len() == 1 || answer.sqlstate().starts_with("08"), "{answer:?}");
    eventually("the shard is used again", || {
        client.query(&format!("SELECT id FROM rows WHERE customer_id = {other}")).rows.len() == 1
    });
}

#[test]
fn a_shard_that_fails_half_way_through_ddl_is_told() {
    let stage = Stage::new("");
    let mut client = stage.client();
    stage.cluster.kill_shard(1);
    let answer = client.query("CREATE TABLE everywhere (customer_id int8)");
    assert!(answer.sqlstate().starts_with("08"), "{:?}", answer.error);
    stage.cluster.start_shard(1);
    let mut shard = stage.shard(0);
    assert_eq!(shard.value("SELECT to_regclass('everywhere') IS NULL"), "t", "nothing may be half made");
}
