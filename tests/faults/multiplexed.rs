//! Reads of one row by its key share servers: nobody sees anything of it, whatever happens to one of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::beside::{get, with_http};
use crate::cancelled::cancel_at;
use crate::client::{Answer, Client, Login, bind, execute, frame, parse, query, target};
use crate::serve::Gateway;
use crate::{Stage, eventually, key_on};

/// How many reads have shared a server.
fn shared(http: SocketAddr) -> u64 {
    let text = get(http, "/metrics");
    let line = text.lines().find(|line| line.starts_with("pgbraid_multiplexed_reads_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// One server of the first shard is used by somebody, so that reads there are shared, and rows of two tables.
struct Shared {
    stage: Stage,
    gateway: Gateway,
    http: SocketAddr,
    key: i64,
    _holder: Client,
}

impl Shared {
    fn new(name: &str) -> Shared {
        let stage = Stage::new("[pool]\nmax = 4\n");
        let (gateway, http) = with_http(name, &stage);
        let key = key_on(0);
        let mut holder = Client::connect(&gateway.login()).unwrap();
        holder.run("CREATE TABLE others (customer_id int8, id int8, v text, PRIMARY KEY (customer_id, id))");
        for table in ["rows", "others"] {
            holder.run(&format!("INSERT INTO {table} VALUES ({key}, 1, '{table} 1')"));
        }
        holder.run("CREATE TABLE held (customer_id int8 PRIMARY KEY)");
        holder.run("BEGIN");
        holder.run(&format!("INSERT INTO held VALUES ({key})"));
        let shared = Shared { stage, gateway, http, key, _holder: holder };
        // Servers prepare what is to be shared.
        for table in ["rows", "others"] {
            shared.until_shared(&mut shared.client(), table);
        }
        shared
    }

    fn client(&self) -> Client {
        Client::connect(&self.gateway.login()).unwrap()
    }

    fn read(&self, table: &str) -> String {
        format!("SELECT v FROM {table} WHERE customer_id = {} AND id = 1", self.key)
    }

    fn until_shared(&self, client: &mut Client, table: &str) {
        eventually("reads are shared", || {
            let before = shared(self.http);
            assert_eq!(client.value(&self.read(table)), format!("{table} 1"));
            shared(self.http) > before
        });
    }

    /// Has a table locked on the shard, and a client wait for it in a line.
    fn waits(&self, client: &mut Client) -> Client {
        self.until_shared(client, "rows");
        let mut lock = self.stage.shard(0);
        lock.run("BEGIN; LOCK TABLE rows");
        client.send(&query(&self.read("rows")));
        eventually("the read waits", || self.stage.waiting(0, "relation") == 1);
        lock
    }
}

#[test]
fn who_is_behind_a_read_that_waits_for_a_lock_does_not_wait() {
    let shared = Shared::new("behind");
    let mut clients: Vec<Client> = (0..3).map(|_| shared.client()).collect();
    clients.iter_mut().for_each(|client| shared.until_shared(client, "others"));
    let mut first = shared.client();
    let mut lock = shared.waits(&mut first);
    for client in &mut clients {
        client.send(&query(&shared.read("others")));
    }
    for client in &mut clients {
        assert_eq!(Answer::of(client.receive_ready()).rows, [[Some(b"others 1".to_vec())]]);
        assert_eq!(client.value(&shared.read("others")), "others 1");
    }
    assert_eq!(shared.stage.waiting(0, "relation"), 1, "the first one waits on, and once");
    lock.run("COMMIT");
    assert_eq!(Answer::of(first.receive_ready()).rows, [[Some(b"rows 1".to_vec())]]);
    shared.until_shared(&mut first, "rows");
}

#[test]
fn one_that_is_cancelled_is_answered_at_once_and_its_read_ends() {
    let shared = Shared::new("cancelled");
    let mut first = shared.client();
    let mut lock = shared.stage.shard(0);
    lock.run("BEGIN; LOCK TABLE rows");
    first.send(&query(&shared.read("rows")));
    eventually("the read waits", || shared.stage.waiting(0, "relation") == 1);
    let mut second = shared.client();
    second.send(&query(&shared.read("rows")));
    cancel_at(shared.gateway.login().address, &first);
    let answer = Answer::of(first.receive_ready());
    assert_eq!((answer.sqlstate(), answer.status), ("57014", Some('I')));
    eventually("only the second one waits", || shared.stage.waiting(0, "relation") == 1);
    assert_eq!(first.value(&shared.read("others")), "others 1");
    cancel_at(shared.gateway.login().address, &second);
    assert_eq!(Answer::of(second.receive_ready()).sqlstate(), "57014");
    eventually("nobody waits", || shared.stage.waiting(0, "relation") == 0);
}

#[test]
fn a_timeout_is_told_when_it_has_come() {
    let shared = Shared::new("timeout");
    let mut clients: Vec<Client> = (0..3).map(|_| shared.client()).collect();
    clients.iter_mut().for_each(|client| client.run("SET statement_timeout = '1s'"));
    // Under these settings, too.
    clients.iter_mut().for_each(|client| shared.until_shared(client, "rows"));
    let mut lock = shared.stage.shard(0);
    lock.run("BEGIN; LOCK TABLE rows");
    for client in &mut clients {
        client.send(&query(&shared.read("rows")));
    }
    for client in &mut clients {
        let answer = Answer::of(client.receive_ready());
        assert_eq!((answer.sqlstate(), answer.status), ("57014", Some('I')), "{answer:?}");
        assert_eq!(client.value("SELECT 1"), "1");
    }
    lock.run("COMMIT");
    clients.iter_mut().for_each(|client| assert_eq!(client.value(&shared.read("rows")), "rows 1"));
}

#[test]
fn the_read_of_one_that_vanishes_ends() {
    let shared = Shared::new("vanishes");
    let mut first = shared.client();
    let _lock = shared.waits(&mut first);
    drop(first);
    eventually("nobody waits", || shared.stage.waiting(0, "relation") == 0);
}

#[test]
fn a_server_that_is_ended_takes_nobodys_answer_with_it() {
    let shared = Shared::new("ended");
    let mut clients: Vec<Client> = (0..3).map(|_| shared.client()).collect();
    clients.iter_mut().for_each(|client| shared.until_shared(client, "rows"));
    let mut first = shared.client();
    let mut lock = shared.waits(&mut first);
    for client in &mut clients {
        client.send(&query(&shared.read("rows")));
    }
    let ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' \
                AND wait_event = 'relation'";
    assert_ne!(shared.stage.shard(0).value(ends), "0");
    lock.run("COMMIT");
    for client in clients.iter_mut().chain([&mut first]) {
        let answer = Answer::of(client.receive_ready());
        // One that waited on a server of its own is told of its end.
        let told = answer.sqlstate() == "57P01" || answer.sqlstate().starts_with("08");
        assert!(told || answer.rows == [[Some(b"rows 1".to_vec())]], "{answer:?}");
        assert_eq!(client.value(&shared.read("rows")), "rows 1");
    }
}

/// Errors, notices of the server, long values and changed tables are what they are on a server of one's own.
#[test]
fn what_is_out_of_the_ordinary_is_answered_as_ever() {
    let shared = Shared::new("ordinary");
    let mut client = shared.client();
    let wrong = format!("SELECT v FROM rows WHERE customer_id = {} AND id = 'one'", shared.key);
    let long = format!("SELECT v FROM rows WHERE customer_id = {} AND id = 3", shared.key);
    client.run(&format!("INSERT INTO rows VALUES ({}, 3, repeat('long', 100000))", shared.key));
    for _ in 0..3 {
        let mut client = shared.client();
        for _ in 0..3 {
            shared.until_shared(&mut shared.client(), "rows");
            assert_eq!(client.query(&wrong).sqlstate(), "22P02");
            assert_eq!(client.value(&shared.read("rows")), "rows 1");
            assert_eq!(client.value(&long).len(), 400_000);
        }
    }
    let mut client = shared.client();
    shared.until_shared(&mut client, "others");
    shared.stage.shard(0).run("ALTER TABLE others ALTER COLUMN v TYPE char(10)");
    assert_eq!(client.value(&shared.read("others")), "others 1  ");
    shared.stage.shard(0).run("DROP TABLE others");
    assert_eq!(client.query(&shared.read("others")).sqlstate(), "42P01");
}

#[test]
fn each_client_reads_under_its_own_settings() {
    let shared = Shared::new("settings");
    let mut clients: Vec<(Client, &str)> = Vec::new();
    shared.client().run("CREATE TABLE days (customer_id int8 PRIMARY KEY, d date)");
    shared.client().run(&format!("INSERT INTO days VALUES ({}, '2026-11-23')", shared.key));
    for _ in 0..4 {
        for (style, shown) in [("ISO", "2026-11-23"), ("German", "23.11.2026"), ("SQL, DMY", "23/11/2026")] {
            let mut client = shared.client();
            client.run(&format!("SET DateStyle TO {style}"));
            clients.push((client, shown));
        }
    }
    let read = query(&format!("SELECT d FROM days WHERE customer_id = {}", shared.key));
    let before = self::shared(shared.http);
    for _ in 0..100 {
        clients.iter_mut().for_each(|(client, _)| client.send(&read));
        for (client, shown) in &mut clients {
            let answer = Answer::of(client.receive_ready());
            assert_eq!(answer.rows, [[Some(shown.as_bytes().to_vec())]], "{answer:?}");
        }
    }
    assert!(self::shared(shared.http) > before);
}

#[test]
fn reads_without_end_leave_servers_to_others() {
    for max in [1, 2] {
        let stage = Stage::new(&format!("[pool]\nmax = {max}\n"));
        let key = key_on(0);
        stage.client().run(&format!("INSERT INTO rows VALUES ({key}, 1, 'one'), ({key}, 2, '0')"));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = stage.client();
                    while !done.load(Ordering::Relaxed) {
                        let read = format!("SELECT v FROM rows WHERE customer_id = {key} AND id = 1");
                        assert_eq!(client.value(&read), "one");
                    }
                });
            }
            let mut writer = stage.client();
            for _ in 0..50 {
                writer.run("BEGIN");
                writer.run(&format!("UPDATE rows SET v = v::int8 + 1 WHERE customer_id = {key} AND id = 2"));
                writer.run("COMMIT");
            }
            done.store(true, Ordering::Relaxed);
            let read = format!("SELECT v FROM rows WHERE customer_id = {key} AND id = 2");
            assert_eq!(writer.value(&read), "50");
        });
    }
}

/// How a client sends a read.
#[derive(Clone, Copy)]
enum Way {
    Simple,
    Unnamed,
    Named,
}

const READ: &str = "SELECT customer_id, id, v FROM rows WHERE customer_id = $1 AND id = $2";

fn send_read(client: &mut Client, way: Way, key: i64, id: i64) {
    let values = [key, id].map(|value| Some(value.to_string().into_bytes()));
    let rest = |name: &[u8]| {
        [bind(b"", name, &[], &values, &[]), target(b'D', b'P', b""), execute(b"", 0), frame(b'S', b"")].concat()
    };
    client.send(&match way {
        Way::Simple => query(&READ.replace("$1", &key.to_string()).replace("$2", &id.to_string())),
        Way::Unnamed => [parse(b"", READ.as_bytes(), &[]), rest(b"")].concat(),
        Way::Named => rest(b"read"),
    });
}

/// Reads rows that no other client changes, and one that it changes itself: each must be what it was last.
fn read_and_write(login: &Login, number: i64, keys: &[i64], other_errors: bool) {
    let connect = || loop {
        match Client::connect(login) {
            Ok(client) => break client,
            Err(error) => assert!(other_errors, "{error}"),
        }
    };
    let mut client = connect();
    let way = [Way::Simple, Way::Unnamed, Way::Named][usize::try_from(number).unwrap() % 3];
    let mut random = u64::try_from(number).unwrap() + 1;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    // What is unexpected is an error of what others do to this client's servers.
    let fine = |answer: &Answer| match answer.sqlstate() {
        "" => true,
        code if other_errors && (code == "57014" || code == "57P01" || code.starts_with("08")) => false,
        _ => panic!("{answer:?}"),
    };
    client.send(&[parse(b"read", READ.as_bytes(), &[]), frame(b'S', b"")].concat());
    while !fine(&Answer::of(client.receive_ready())) {
        client = connect();
        client.send(&[parse(b"read", READ.as_bytes(), &[]), frame(b'S', b"")].concat());
    }
    let own = keys[next(keys.len())];
    let mut written = vec![0_i64];
    for round in 1..300_i64 {
        match next(20) {
            0 => {
                let update =
                    format!("UPDATE rows SET v = '{round}' WHERE customer_id = {own} AND id = {}", 1000 + number);
                let answer = client.query(&update);
                // One that has failed may have been done, or not.
                if fine(&answer) {
                    assert_eq!(answer.tags, ["UPDATE 1"]);
                    written.clear();
                }
                written.push(round);
            }
            1 => {
                send_read(&mut client, way, own, 1000 + number);
                let answer = Answer::of(client.receive_ready());
                if fine(&answer) {
                    let value = String::from_utf8(answer.rows[0][2].clone().unwrap()).unwrap();
                    assert!(written.contains(&value.parse().unwrap()), "{value} is none of {written:?}");
                }
            }
            2 => {
                send_read(&mut client, way, own, 5);
                let answer = Answer::of(client.receive_ready());
                assert!(!fine(&answer) || answer.rows.is_empty(), "there is no such row: {answer:?}");
            }
            3 => {
                let answer = client.query(&format!("SELECT v FROM rows WHERE customer_id = {own} AND id = 'x'"));
                assert!(answer.sqlstate() == "22P02" || !fine(&answer), "{answer:?}");
            }
            _ => {
                // Several at once: answers come in the order of the reads.
                let wanted: Vec<i64> = (0..=next(3)).map(|_| keys[next(keys.len())]).collect();
                for key in &wanted {
                    send_read(&mut client, way, *key, 1);
                }
                let answers: Vec<Answer> = wanted.iter().map(|_| Answer::of(client.receive_ready())).collect();
                for (key, answer) in wanted.iter().zip(&answers).filter(|(_, answer)| fine(answer)) {
                    let row = [key.to_string(), "1".to_owned(), format!("v{key}")];
                    let row = row.map(|value| Some(value.into_bytes()));
                    assert_eq!(answer.rows, [row], "of {wanted:?}: {answers:?}");
                }
            }
        }
    }
}

/// `trouble` happens again and again while clients read.
fn readers(name: &str, trouble: Option<fn(&Stage, &Login)>) {
    const CLIENTS: i64 = 24;
    let stage = Stage::new("[pool]\nmax = 3\n");
    let (gateway, http) = with_http(name, &stage);
    let keys: Vec<i64> = (1..200).collect();
    let mut client = Client::connect(&gateway.login()).unwrap();
    for key in &keys {
        client.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'v{key}')"));
        let own = (0..CLIENTS).map(|number| format!("({key}, {}, '0')", 1000 + number)).collect::<Vec<_>>();
        client.run(&format!("INSERT INTO rows VALUES {}", own.join(", ")));
    }
    let login = gateway.login();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (login, keys) = (&login, &keys);
                scope.spawn(move || read_and_write(login, number, keys, trouble.is_some()))
            })
            .collect();
        let troubling = trouble.map(|trouble| {
            let (stage, login, done) = (&stage, &login, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    trouble(stage, login);
                    thread::sleep(Duration::from_millis(50));
                }
            })
        });
        let ended: Vec<_> = reading.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        troubling.into_iter().for_each(|troubling| troubling.join().unwrap());
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    let least = if trouble.is_some() { 100 } else { 500 };
    assert!(shared(http) > least, "only {} reads were shared", shared(http));
}

#[test]
fn each_of_many_clients_gets_its_own_rows() {
    readers("rows", None);
}

#[test]
fn each_of_many_clients_gets_its_own_rows_while_servers_are_ended() {
    readers(
        "terminated",
        Some(|stage, _| {
            for shard in 0..2 {
                let ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                            WHERE usename = 'app' AND query LIKE '%FROM rows%' AND random() < 0.5";
                stage.shard(shard).value(ends);
            }
        }),
    );
}

#[test]
fn each_of_many_clients_gets_its_own_rows_while_statements_are_cancelled() {
    readers(
        "stopped",
        Some(|stage, _| {
            for shard in 0..2 {
                let stops = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
                stage.shard(shard).value(stops);
            }
        }),
    );
}

/// Clients that cancel what they have just sent, and go on.
#[test]
fn a_cancel_hits_no_other_client() {
    let shared = Shared::new("hits");
    let address = shared.gateway.login().address;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = shared.client();
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(client.value(&shared.read("others")), "others 1");
                    }
                })
            })
            .collect();
        let mut client = shared.client();
        for _ in 0..200 {
            client.send(&query(&shared.read("rows")));
            cancel_at(address, &client);
            let answer = Answer::of(client.receive_ready());
            assert!(answer.sqlstate() == "57014" || answer.rows == [[Some(b"rows 1".to_vec())]], "{answer:?}");
        }
        assert!(matches!(client.query("SELECT 1").status, Some('I')));
        done.store(true, Ordering::Relaxed);
        reading.into_iter().for_each(|reading| reading.join().unwrap());
    });
}

#[test]
fn nothing_is_shared_if_the_configuration_says_so() {
    let stage = Stage::new("[pool]\nmultiplex = false\n");
    let (gateway, http) = with_http("apart", &stage);
    let key = key_on(0);
    let mut holder = Client::connect(&gateway.login()).unwrap();
    holder.run("BEGIN");
    holder.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'one')"));
    let mut client = Client::connect(&gateway.login()).unwrap();
    for _ in 0..5 {
        let answer = client.query(&format!("SELECT v FROM rows WHERE customer_id = {key} AND id = 1"));
        assert!(answer.rows.is_empty() && answer.error.is_none());
    }
    assert_eq!(shared(http), 0);
}
