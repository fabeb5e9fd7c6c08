//! What goes wrong while a query is gathered, and what must not be left of it.

use std::thread;

use crate::client::{Answer, Client, Received, bind, cancel_request, execute, frame, parse, query, target};
use crate::eventually;
use crate::login;
use crate::support::{Cluster, Setup};

/// Rows 1 to 40 of as many customers on two shards.
fn stage(config: &str) -> Cluster {
    let cluster = Cluster::with(Setup { shards: 2, config, ..Setup::default() });
    let mut client = client(&cluster);
    client.run("CREATE TABLE rows (customer_id int8 PRIMARY KEY, v text)");
    for row in 1..=40 {
        client.run(&format!("INSERT INTO rows VALUES ({row}, repeat('x', 100))"));
    }
    cluster
}

fn client(cluster: &Cluster) -> Client {
    Client::connect(&login::of(cluster.url())).unwrap()
}

/// A count over all shards, of every application's servers there.
fn on_shards(cluster: &Cluster, sql: &str) -> i64 {
    let of = |shard| Client::connect(&login::of(cluster.shard_url(shard))).unwrap().value(sql).parse::<i64>().unwrap();
    (0..cluster.shard_count()).map(of).sum()
}

const COUNT: &str = "SELECT count(*) FROM rows a JOIN rows b ON a.customer_id = b.customer_id + 1";

#[test]
fn a_cancelled_gather_stops_everywhere_and_the_client_goes_on() {
    let cluster = stage("");
    let mut client = client(&cluster);
    client.send(&query("SELECT count(*), max(pg_sleep(3600)::text) FROM rows a JOIN rows b ON a.v = b.v"));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
    eventually("somebody sleeps", || on_shards(&cluster, sleeping) > 0);
    let mut request = Client::open(login::of(cluster.url()).address).unwrap();
    request.send(&cancel_request(client.pid, &client.secret));
    request.receive();
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "57014");
    eventually("nobody sleeps", || on_shards(&cluster, sleeping) == 0);
    assert_eq!(client.value(COUNT), "39");
}

#[test]
fn a_query_that_ships_too_much_is_refused_by_name_and_its_block_fails() {
    let cluster = stage("[limits]\nshipped_bytes_max = \"1kB\"\n");
    let mut client = client(&cluster);
    let much = "SELECT max(a.v) FROM rows a JOIN rows b ON a.v = b.v || 'x'";
    let (code, message) = client.query(much).error.unwrap();
    assert_eq!(code, "54000");
    assert!(message.contains("shipped_bytes_max"), "{message}");
    assert_eq!(client.value("SELECT count(DISTINCT customer_id % 2) FROM rows"), "2");
    client.run("BEGIN");
    assert_eq!(client.query(much).sqlstate(), "54000");
    assert_eq!(client.query("SELECT 1").sqlstate(), "25P02");
    client.run("ROLLBACK");
}

#[test]
fn nothing_is_left_of_a_gather_and_its_servers_are_used_again() {
    let cluster = stage("[pool]\nmax = 1\nmerge_max = 1\n");
    let mut client = client(&cluster);
    for _ in 0..20 {
        assert_eq!(client.value(COUNT), "39");
        assert_eq!(
            client.query("SELECT sum(1 / (a.customer_id - 7)) FROM rows a JOIN rows b ON a.v = b.v").sqlstate(),
            "22012"
        );
    }
    assert_eq!(on_shards(&cluster, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"), 0);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    assert!(on_shards(&cluster, open) <= 4, "more servers than the pools may have");
    let in_transaction = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    assert_eq!(on_shards(&cluster, in_transaction), 0);
}

#[test]
fn many_clients_with_few_servers_do_not_wait_for_each_other_in_a_circle() {
    let cluster = stage("[pool]\nmax = 1\nmerge_max = 1\nwait_timeout = \"60s\"\n");
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let mut client = client(&cluster);
            thread::spawn(move || {
                for _ in 0..6 {
                    if number % 2 == 0 {
                        client.run("BEGIN");
                    }
                    assert_eq!(client.value(COUNT), "39");
                    if number % 2 == 0 {
                        client.run("COMMIT");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn cursors_that_hold_merge_servers_are_bounded_and_refused_at_once() {
    let cluster = stage("[pool]\nmerge_max = 2\n");
    let (mut holder, mut other) = (client(&cluster), client(&cluster));
    holder.run("BEGIN");
    holder.run(&format!("DECLARE c CURSOR FOR {COUNT}"));
    other.run("BEGIN");
    assert_eq!(other.query(&format!("DECLARE d CURSOR FOR {COUNT}")).sqlstate(), "53300");
    other.run("ROLLBACK");
    assert_eq!(other.value(COUNT), "39");
    assert_eq!(holder.value("FETCH c"), "39");
    holder.run("COMMIT");
    other.run("BEGIN");
    other.run(&format!("DECLARE d CURSOR FOR {COUNT}"));
    assert_eq!(other.value("FETCH d"), "39");
    other.run("COMMIT");
}

#[test]
fn a_gather_in_a_block_sees_what_the_block_has_written() {
    let cluster = stage("");
    let mut client = client(&cluster);
    client.run("BEGIN");
    client.run("INSERT INTO rows VALUES (41, 'new')");
    assert_eq!(client.value(COUNT), "40");
    assert_eq!(client.value("SELECT count(*) = 41 AND max(now()) = now() FROM (SELECT now() FROM rows) s"), "t");
    client.run("ROLLBACK");
    assert_eq!(client.value(COUNT), "39");
    client.run("BEGIN READ ONLY");
    assert_eq!(client.value(COUNT), "39");
    client.run("COMMIT");
}

#[test]
fn rows_too_long_to_hold_and_types_of_users_arrive_whole() {
    let cluster = stage("");
    let mut client = client(&cluster);
    client.run("CREATE TYPE mood AS ENUM ('sad', 'glad')");
    client.run("CREATE TABLE long (customer_id int8, m mood, moods mood[], v text)");
    for row in 1..=6 {
        client.run(&format!(
            "INSERT INTO long VALUES ({row}, 'glad', '{{sad,NULL}}', repeat(E'\\\\\\t', {}))",
            row * 300_000
        ));
    }
    let long = "SELECT count(*), sum(length(a.v)), count(DISTINCT md5(b.v)) FROM long a JOIN long b ON a.v = b.v";
    assert_eq!(client.rows(long)[0], ["6", "12600000", "6"].map(|value| Some(value.to_owned())));
    let moods = "SELECT m, moods[1], count(*) OVER () FROM long ORDER BY customer_id LIMIT 1";
    assert_eq!(client.rows(moods)[0], ["glad", "sad", "6"].map(|value| Some(value.to_owned())));
}

#[test]
fn a_portal_with_a_row_limit_goes_on_where_it_stopped() {
    let cluster = stage("");
    let mut client = client(&cluster);
    let sql = "SELECT a.customer_id FROM rows a JOIN rows b ON a.customer_id = b.customer_id + 1 ORDER BY 1";
    client.run("BEGIN");
    let mut bytes = parse(b"s", sql.as_bytes(), &[]);
    bytes.extend(bind(b"p", b"s", &[], &[], &[0]));
    bytes.extend(target(b'D', b'P', b"p"));
    bytes.extend(execute(b"p", 2));
    bytes.extend(frame(b'S', b""));
    client.send(&bytes);
    let tags = |received: &[Received]| -> Vec<u8> {
        received
            .iter()
            .filter_map(|message| match message {
                Received::Message(message) => Some(message.tag),
                _ => None,
            })
            .collect()
    };
    assert_eq!(tags(&client.receive_ready()), b"12TDDsZ");
    client.send(&[execute(b"p", 3), frame(b'S', b"")].concat());
    assert_eq!(tags(&client.receive_ready()), b"DDDsZ");
    assert_eq!(client.value(COUNT), "39");
    client.send(&[execute(b"p", 0), frame(b'S', b"")].concat());
    let rest = client.receive_ready();
    assert_eq!(tags(&rest).len(), 36);
    client.send(&[target(b'C', b'P', b"p"), frame(b'S', b"")].concat());
    assert_eq!(tags(&client.receive_ready()), b"3Z");
    client.run("COMMIT");
}

#[test]
fn a_shard_that_is_lost_is_named_and_the_session_goes_on() {
    let cluster = stage("");
    let mut client = client(&cluster);
    assert_eq!(client.value(COUNT), "39");
    cluster.kill_shard(1);
    let (code, message) = client.query(COUNT).error.unwrap();
    assert!(code.starts_with("08"), "{code} {message}");
    assert!(message.contains("s1"), "{message}");
    cluster.start_shard(1);
    eventually("the shard answers", || client.query(COUNT).error.is_none());
}

#[test]
fn sorted_rows_too_long_for_a_window_are_merged_and_a_reader_may_be_slow() {
    let cluster = stage("");
    let mut client = client(&cluster);
    client
        .send(&query("SELECT repeat('x', customer_id::int * 40000), customer_id FROM rows ORDER BY customer_id DESC"));
    eventually("a shard waits for the reader", || {
        on_shards(
            &cluster,
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'ClientWrite'",
        ) > 0
    });
    let answer = Answer::of(client.receive_ready());
    let lengths: Vec<usize> = answer.rows.iter().map(|row| row[0].as_ref().unwrap().len()).collect();
    assert_eq!(lengths, (1..=40).rev().map(|row| row * 40_000).collect::<Vec<_>>());
    assert_eq!(client.value(COUNT), "39");
}

#[test]
fn an_error_in_the_middle_of_sorted_rows_ends_the_statement_once_and_a_limit_leaves_servers_in_use() {
    let cluster = stage("");
    let mut client = client(&cluster);
    for _ in 0..3 {
        // Its sort key is known before what fails is computed.
        client.send(&query(
            "SELECT 1 / (customer_id - 33), repeat('x', 100000) FROM rows, generate_series(1, 30) ORDER BY customer_id",
        ));
        assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "22012");
        // More than is worth reading to its end, and less.
        for limit in [15_000, 7] {
            let some = format!("SELECT g FROM rows, generate_series(1, 10000) g ORDER BY g LIMIT {limit}");
            let rows = client.rows(&some);
            assert_eq!((rows.len(), rows[0][0].as_deref()), (limit, Some("1")));
        }
    }
    client.run("BEGIN");
    assert_eq!(client.rows("SELECT g FROM rows, generate_series(1, 10000) g LIMIT 12000 OFFSET 5").len(), 12_000);
    assert_eq!(client.value(COUNT), "39");
    client.run("COMMIT");
    assert_eq!(on_shards(&cluster, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"), 0);
}

#[test]
fn a_cancelled_ordered_merge_stops_everywhere_and_the_client_goes_on() {
    let cluster = stage("");
    let mut client = client(&cluster);
    // Described once, it waits for nothing but its rows.
    assert_eq!(client.rows("SELECT customer_id, v FROM rows ORDER BY customer_id").len(), 40);
    let mut lockers = [0, 1].map(|shard| Client::connect(&login::of(cluster.shard_url(shard))).unwrap());
    lockers.iter_mut().for_each(|locker| locker.run("BEGIN; LOCK TABLE rows"));
    client.send(&query("SELECT customer_id, v FROM rows ORDER BY customer_id"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'";
    eventually("both wait", || on_shards(&cluster, waiting) == 2);
    let mut request = Client::open(login::of(cluster.url()).address).unwrap();
    request.send(&cancel_request(client.pid, &client.secret));
    request.receive();
    assert_eq!(Answer::of(client.receive_ready()).sqlstate(), "57014");
    eventually("nobody waits", || on_shards(&cluster, waiting) == 0);
    drop(lockers);
    assert_eq!(client.rows("SELECT customer_id FROM rows ORDER BY 1 LIMIT 1")[0], [Some("1".to_owned())]);
}
