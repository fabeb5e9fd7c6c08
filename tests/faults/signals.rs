//! SIGTERM drains, SIGHUP reloads.

use crate::client::{Client, Received};
use crate::serve::Gateway;
use crate::{Stage, eventually, key_on};

#[test]
fn sigterm_lets_transactions_finish_and_takes_no_new_clients() {
    let stage = Stage::new("");
    let key = key_on(0);
    let mut gateway = Gateway::start("drain", &stage.cluster, |_| {});
    let mut busy = Client::connect(&gateway.login()).unwrap();
    let mut idle = Client::connect(&gateway.login()).unwrap();
    busy.run("BEGIN");
    busy.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    gateway.signal("TERM");
    eventually("no new clients are taken", || Client::connect(&gateway.login()).is_err());
    // An idle client is told to go, in the words a Postgres that shuts down uses.
    match idle.receive() {
        Received::Message(message) => assert!(String::from_utf8_lossy(&message.body).contains("57P01"), "{message:?}"),
        other => assert_eq!(other, Received::Closed),
    }
    busy.run(&format!("INSERT INTO rows VALUES ({key}, 2)"));
    busy.run("COMMIT");
    assert!(gateway.ended().success());
    assert_eq!(stage.client().value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")), "2");
}

#[test]
fn sigterm_does_not_wait_for_ever() {
    let stage = Stage::new("");
    let mut gateway = Gateway::start("impatient", &stage.cluster, |config| {
        config["gateway"].as_table_mut().unwrap().insert("drain_timeout".into(), "1s".into());
    });
    let mut busy = Client::connect(&gateway.login()).unwrap();
    busy.run("BEGIN");
    busy.run(&format!("INSERT INTO rows VALUES ({}, 1)", key_on(0)));
    gateway.signal("TERM");
    gateway.ended();
    assert_eq!(stage.client().rows("SELECT id FROM rows").len(), 0);
}

#[test]
fn sighup_reloads_users_and_keeps_clients() {
    let stage = Stage::new("");
    let gateway = Gateway::start("reload", &stage.cluster, |_| {});
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run("BEGIN");
    let second = gateway.login().with("user", "second");
    let second = crate::client::Login { password: "word".into(), ..second };
    assert!(Client::connect(&second).is_err());
    gateway.reload(|text| format!("{text}\n[[user]]\nname = \"second\"\npassword = \"word\"\nserver_user = \"app\"\nserver_password = \"app\"\n"));
    eventually("the new user may come", || Client::connect(&second).is_ok());
    assert_eq!(client.value("SELECT 1"), "1");
    client.run("COMMIT");
}

#[test]
fn sighup_with_a_mistake_keeps_the_old_configuration_and_says_where_the_mistake_is() {
    let stage = Stage::new("");
    let gateway = Gateway::start("mistake", &stage.cluster, |_| {});
    let mut client = Client::connect(&gateway.login()).unwrap();
    gateway.reload(|text| format!("{text}\n[pool]\nmaxx = 3\n"));
    eventually("the mistake is logged", || gateway.log().contains("maxx"));
    assert_eq!(client.value("SELECT 1"), "1");
    assert!(Client::connect(&gateway.login()).is_ok());
}

/// The metrics, as text.
fn metrics(address: std::net::SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn sighup_lets_clients_wait_on_in_new_pools_and_the_metrics_count_what_they_do() {
    let stage = Stage::new("");
    let http = crate::serve::free_address();
    let gateway = Gateway::start("waiting", &stage.cluster, |config| {
        config["gateway"].as_table_mut().unwrap().insert("http_listen".into(), http.to_string().into());
        config.insert("pool".into(), toml::toml! { max = 1 wait_timeout = "20s" }.into());
    });
    let key = key_on(0);
    let mut holder = Client::connect(&gateway.login()).unwrap();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let mut waiting = Client::connect(&gateway.login()).unwrap();
    let counted =
        std::thread::spawn(move || waiting.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {key}")));
    eventually("the client waits", || metrics(http).contains("pgbraid_clients{state=\"waiting\"} 1"));
    gateway.reload(|text| text.replace("20s", "25s"));
    assert_eq!(counted.join().unwrap(), "0");
    holder.run("COMMIT");
    eventually("both statements are counted", || {
        let text = metrics(http);
        text.contains("pgbraid_queries_total{plan=\"one_shard\"} 2") && text.contains("pgbraid_server_up")
    });
}

#[test]
fn sighup_refuses_what_would_change_where_rows_are() {
    let stage = Stage::new("");
    let gateway = Gateway::start("misplace", &stage.cluster, |_| {});
    gateway.reload(|text| format!("{text}\n[tables.rows]\nkind = \"home\"\n"));
    eventually("the refusal is logged", || gateway.log().contains("not reloaded: [tables] cannot be changed"));
}
