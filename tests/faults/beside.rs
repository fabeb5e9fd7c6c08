//! What runs beside the statements: health, metrics, pools that are kept warm, users and databases that are looked up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use crate::client::{Client, Login, bind, execute, frame, parse, query};
use crate::serve::Gateway;
use crate::{Stage, eventually, key_on};

pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub fn with_http(name: &str, stage: &Stage) -> (Gateway, SocketAddr) {
    let http = crate::serve::free_address();
    let gateway = Gateway::start(name, &stage.cluster, |config| {
        config["gateway"].as_table_mut().unwrap().insert("http_listen".into(), http.to_string().into());
    });
    (gateway, http)
}

#[test]
fn bytes_read_from_and_written_to_clients_are_counted() {
    let stage = Stage::new("");
    let (gateway, http) = with_http("bytes", &stage);
    let sum = |name: &str| -> u64 {
        let text = get(http, "/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let mut client = Client::connect(&gateway.login()).unwrap();
    let key = key_on(1);
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1, '{}')", "x".repeat(300_000)));
    eventually("what was sent is counted", || sum("pgbraid_received_bytes_total") > 300_000);
    assert!(sum("pgbraid_sent_bytes_total") < 100_000);
    client.value(&format!("SELECT v FROM rows WHERE customer_id = {key}"));
    eventually("what was got is counted", || sum("pgbraid_sent_bytes_total") > 300_000);
    assert!(sum("pgbraid_received_bytes_total") < 400_000);
    client.goodbye();
}

#[test]
fn each_transaction_of_those_sent_in_one_write_is_counted() {
    let stage = Stage::new("");
    let (gateway, http) = with_http("transactions", &stage);
    let count = || -> u64 {
        let text = get(http, "/metrics");
        let line = text.lines().find(|line| line.starts_with("pgbraid_transactions_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let mut client = Client::connect(&gateway.login()).unwrap();
    let before = count();
    let volley = [
        parse(b"", format!("SELECT v FROM rows WHERE customer_id = {}", key_on(1)).as_bytes(), &[]),
        bind(b"", b"", &[], &[], &[]),
        execute(b"", 0),
        frame(b'S', b""),
    ];
    client.send(&[volley.concat().repeat(5), query("SELECT 1"), volley.concat().repeat(5)].concat());
    for _ in 0..11 {
        client.receive_ready();
    }
    eventually("all are counted", || count() - before == 11);
    client.goodbye();
}

#[test]
fn health_says_that_a_shard_is_down_and_that_it_is_back_without_a_client_trying() {
    let stage = Stage::new("");
    let (gateway, http) = with_http("health", &stage);
    assert!(get(http, "/health").starts_with("HTTP/1.1 200"));
    stage.cluster.kill_shard(1);
    let mut client = Client::connect(&gateway.login()).unwrap();
    let ask = format!("SELECT FROM rows WHERE customer_id = {}", key_on(1));
    assert!(client.query(&ask).sqlstate().starts_with("08"));
    let health = get(http, "/health");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("degraded"), "{health}");
    assert!(get(http, "/ready").starts_with("HTTP/1.1 200"), "the gateway itself takes clients");
    stage.cluster.start_shard(1);
    eventually("it is noticed", || get(http, "/health").starts_with("HTTP/1.1 200"));
    client.run(&ask);
}

#[test]
fn health_says_that_a_shard_is_down_which_no_client_has_asked_for() {
    let stage = Stage::new("");
    let (_gateway, http) = with_http("unasked", &stage);
    assert!(get(http, "/health").starts_with("HTTP/1.1 200"));
    stage.cluster.kill_shard(1);
    eventually("it is noticed", || get(http, "/health").starts_with("HTTP/1.1 503"));
    let health = get(http, "/health");
    assert_eq!(health.matches("\"up\":false").count(), 1, "{health}");
    stage.cluster.start_shard(1);
    eventually("it is back", || get(http, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn servers_that_are_kept_open_are_opened_again() {
    let stage = Stage::new("[pool]\nmin = 3\n");
    let mut client = stage.client();
    client.run(&format!("SELECT FROM rows WHERE customer_id = {}", key_on(1)));
    let mut shard = stage.shard(1);
    let mut open = || shard.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("there are as many as [pool] min", || open() == "3");
    stage.shard(1).run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("they are gone", || open() == "0");
    client.run(&format!("SELECT FROM rows WHERE customer_id = {}", key_on(1)));
    eventually("there are as many again", || open() == "3");
}

#[test]
fn users_are_looked_up_many_at_once_and_again_after_the_home_shard_was_down() {
    let query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin";
    let stage = Stage::new(&format!("[auth]\nquery = \"{query}\"\n"));
    for shard in 0..2 {
        for user in 0..20 {
            stage.shard(shard).run(&format!("CREATE ROLE u{user} LOGIN SUPERUSER PASSWORD 'p{user}'"));
        }
    }
    let app = stage.login();
    let database = app.parameters[1].1.clone();
    let log_in = move |user: usize, password: &str| {
        Client::connect(&Login::new(app.address, &format!("u{user}"), password, &database)).map(|_| ())
    };
    thread::scope(|scope| {
        for user in 0..20 {
            let log_in = &log_in;
            scope.spawn(move || {
                let refusal = log_in(user, "wrong").unwrap_err();
                assert!(refusal.starts_with("28P01"), "{refusal}");
            });
        }
    });
    assert!(log_in(77, "nobody").unwrap_err().starts_with("28P01"));
    stage.cluster.kill_shard(0);
    assert!(log_in(3, "p3").is_err(), "nobody can be asked");
    stage.cluster.start_shard(0);
    eventually("users are found again", || log_in(3, "wrong").unwrap_err().starts_with("28P01"));
}

#[test]
fn a_database_that_could_not_be_opened_is_tried_again_and_then_opened_once_for_all() {
    let stage = Stage::new("");
    let app = stage.login();
    let login = Login::new(app.address, "app", "app", "later");
    let refusal = Client::connect(&login).map(|_| ()).unwrap_err();
    assert!(refusal.starts_with("3D000"), "{refusal}");
    for shard in 0..2 {
        stage.shard(shard).run("CREATE DATABASE later OWNER app");
    }
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let login = login.clone();
            thread::spawn(move || Client::connect(&login).map(|mut client| client.value("SELECT current_database()")))
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap().as_deref(), Ok("later"));
    }
    // One reads the catalog and one the numbers of types, once a second: not two for each client.
    let mut shard = stage.shard(0);
    let control = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'later' AND usename <> 'app'";
    eventually("two control connections read its catalog", || shard.value(control) == "2");
}
