//! A server that does not keep to the protocol is closed, never lent again, and its client is told.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::client::{Answer, Client, Received, bind, execute, frame, parse};
use crate::serve::{Gateway, free_address};
use crate::{Stage, eventually, key_on, login};

/// What a proxy does to the next bytes from the server.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Lie {
    None,
    /// Bytes that are no messages.
    Garbage,
    /// A command tag whose length says two gigabytes: rows may be long, tags may not.
    HugeLength,
    /// A row that was cut, and the end.
    Cut,
    /// A message of a type that there is not.
    UnknownType,
    /// An authentication request in the middle of a session.
    WrongMoment,
    /// A length that is less than its own four bytes.
    ShortLength,
    /// Two ReadyForQuery.
    TwiceReady,
    /// A row whose length says two gigabytes: PostgreSQL's are shorter than one.
    HugeRow,
    /// ROLLBACK where COMMIT was asked for, as if its transaction had failed without anybody's knowing.
    RolledBack,
    /// It was cancelled.
    Cancelled,
    /// The truth, and with it the last word of a server that is stopped.
    LastWord,
    /// The next BEGIN fails, as one does that is cancelled.
    NoBegin,
}

/// A Query message, which is answered by itself, and a Parse, which is answered with what comes behind it.
const BEGINS: [&[u8]; 2] = [b"Q\0\0\0\x0aBEGIN\0", b"P\0\0\0\x0d\0BEGIN\0\0\0"];

/// What the statements have in their texts whose answers may be lies: the gateway has connections of its own to the shard
/// (the catalog's, the recovery's), which are told the truth.
const ASKED: &[u8] = b"FROM rows WHERE customer_id";

/// The same, on connections on which such a statement has run.
const ASKED_LATER: [&[u8]; 2] = [b"COMMIT", b"SAVEPOINT"];

/// Forwards connections to a shard, and lies once when told to.
struct Proxy {
    address: SocketAddr,
    lie: Arc<AtomicU8>,
    /// Connections closed by the gateway after a lie.
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(shard: SocketAddr) -> Proxy {
        let address = free_address();
        let listener = TcpListener::bind(address).unwrap();
        let proxy = Proxy { address, lie: Arc::new(AtomicU8::new(0)), open: Arc::default() };
        let (lie, open) = (proxy.lie.clone(), proxy.open.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(shard) else { continue };
                open.lock().unwrap().push(client.try_clone().unwrap());
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let asked = Arc::new(AtomicBool::new(false));
                let asks = asked.clone();
                let begins = lie.clone();
                thread::spawn(move || {
                    let known = Cell::new(false);
                    pass(from_client, to_server, |bytes| {
                        let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
                        let later = known.get() && ASKED_LATER.iter().any(|text| has(text));
                        known.set(known.get() || has(ASKED));
                        asks.store(has(ASKED) || later, Ordering::SeqCst);
                        let no_begin = known.get() && begins.load(Ordering::SeqCst) == Lie::NoBegin as u8;
                        let position = |begin: &[u8]| bytes.windows(begin.len()).position(|part| part == begin);
                        for begin in BEGINS.iter().filter(|_| no_begin) {
                            if let Some(at) = position(begin) {
                                begins.store(0, Ordering::SeqCst);
                                let fails = match begin[0] {
                                    b'Q' => frame(b'Q', b"SELECT 1/0\0"),
                                    _ => parse(b"", b"SELECT 1/0", &[]),
                                };
                                return ([&bytes[..at], &fails, &bytes[at + begin.len()..]].concat(), false);
                            }
                        }
                        (bytes.to_vec(), false)
                    });
                });
                let lie = lie.clone();
                thread::spawn(move || {
                    pass(server, client, |bytes| match asked.load(Ordering::SeqCst) {
                        true if lie.load(Ordering::SeqCst) != Lie::NoBegin as u8 => {
                            twisted(lie.swap(0, Ordering::SeqCst), bytes)
                        }
                        _ => (bytes.to_vec(), false),
                    });
                });
            }
        });
        proxy
    }

    /// The next bytes from a server that answers a client's statement are replaced.
    fn tell(&self, lie: Lie) {
        self.lie.store(lie as u8, Ordering::SeqCst);
    }

    fn told(&self) -> bool {
        self.lie.load(Ordering::SeqCst) == Lie::None as u8
    }
}

/// Forwards what `change` makes of the bytes, until it says that the connection ends.
fn pass(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&[u8]) -> (Vec<u8>, bool)) {
    let mut buffer = [0; 65536];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        let (bytes, ends) = change(&buffer[..size]);
        if to.write_all(&bytes).is_err() || ends {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// What is sent instead, and whether the connection ends there.
fn twisted(lie: u8, honest: &[u8]) -> (Vec<u8>, bool) {
    let row = [0, 1, 0, 0, 0, 3, b'a', b'b', b'c'];
    match lie {
        lie if lie == Lie::Garbage as u8 => (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false),
        lie if lie == Lie::HugeLength as u8 => ([&[b'C', 0x7f, 0xff, 0xff, 0xff][..], &row].concat(), false),
        lie if lie == Lie::HugeRow as u8 => ([&[b'D', 0x7f, 0xff, 0xff, 0xff][..], &row].concat(), false),
        lie if lie == Lie::Cut as u8 => (frame(b'D', &row)[..10].to_vec(), true),
        lie if lie == Lie::UnknownType as u8 => ([frame(b'?', b"what"), honest.to_vec()].concat(), false),
        lie if lie == Lie::WrongMoment as u8 => ([frame(b'R', &[0, 0, 0, 3]), honest.to_vec()].concat(), false),
        lie if lie == Lie::ShortLength as u8 => (vec![b'D', 0, 0, 0, 2, 0, 0, 0, 0], false),
        lie if lie == Lie::TwiceReady as u8 => ([honest.to_vec(), frame(b'Z', b"I")].concat(), false),
        lie if lie == Lie::LastWord as u8 => {
            let last = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";
            ([honest.to_vec(), frame(b'E', last)].concat(), true)
        }
        lie if lie == Lie::RolledBack as u8 => ([frame(b'C', b"ROLLBACK\0"), frame(b'Z', b"I")].concat(), false),
        lie if lie == Lie::Cancelled as u8 => {
            let error = frame(b'E', b"SERROR\0VERROR\0C57014\0Mcanceling statement due to user request\0\0");
            ([error, frame(b'Z', b"E")].concat(), false)
        }
        _ => (honest.to_vec(), false),
    }
}

fn behind_proxy(name: &str, stage: &Stage) -> (Proxy, Gateway) {
    let url = stage.cluster.shard_url(1).to_owned();
    let shard = login::of(&url).address;
    let proxy = Proxy::before(shard);
    let replaced = url.replace(&format!(":{}/", shard.port()), &format!(":{}/", proxy.address.port()));
    assert_ne!(url, replaced);
    let gateway = Gateway::start(name, &stage.cluster, |config| {
        config["shard"].as_array_mut().unwrap()[1]["primary"] = replaced.into();
    });
    (proxy, gateway)
}

#[test]
fn a_server_that_lies_is_closed_and_the_client_is_told_08() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("lies", &stage);
    let mut setup = Client::connect(&gateway.login()).unwrap();
    setup.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let select = format!("SELECT id FROM rows WHERE customer_id = {key}");
    let lies =
        [Lie::Garbage, Lie::HugeLength, Lie::Cut, Lie::UnknownType, Lie::WrongMoment, Lie::ShortLength, Lie::HugeRow];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut client = Client::connect(&gateway.login()).unwrap();
        // Connected and logged in already, so that the lie hits the answer.
        assert_eq!(client.value(&select), "1");
        proxy.tell(lie);
        let answer = client.query(&select);
        assert!(proxy.told(), "lie {number} was not told");
        assert!(answer.sqlstate().starts_with("08"), "lie {number}: {answer:?}");
        assert!(answer.tags.is_empty(), "lie {number}: {answer:?}");
        // The next one gets an honest server.
        let mut next = Client::connect(&gateway.login()).unwrap();
        eventually("an honest server serves", || next.query(&select).rows == [[Some(b"1".to_vec())]]);
        assert_eq!(next.value(&format!("SELECT count(*) FROM rows WHERE customer_id = {other}")), "0");
    }
}

#[test]
fn an_answer_too_many_does_not_reach_the_next_client() {
    let stage = Stage::new("");
    let key = key_on(1);
    let (proxy, gateway) = behind_proxy("twice", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    proxy.tell(Lie::TwiceReady);
    client.query(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    assert!(proxy.told());
    let mut next = Client::connect(&gateway.login()).unwrap();
    for id in 1..20 {
        assert_eq!(
            next.query(&format!("SELECT {id} FROM rows WHERE customer_id = {key}")).rows,
            [[Some(id.to_string().into_bytes())]]
        );
    }
}

/// A server that is stopped when it has answered has answered: its client gets no second answer, which it would take for that to its
/// next statement.
#[test]
fn the_last_word_of_a_server_is_no_answer() {
    let stage = Stage::new("");
    let key = key_on(1);
    let (proxy, gateway) = behind_proxy("last_word", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    let one = format!("SELECT id FROM rows WHERE customer_id = {key}");
    let texts = [
        (one.clone(), ""),
        (format!("{one} AND id = 1"), ""),
        (format!("SELECT id / 0 FROM rows WHERE customer_id = {key}"), "22012"),
        (format!("{one}; {one}"), ""),
        (format!("SELECT nothing FROM rows WHERE customer_id = {key}"), "42703"),
    ];
    for (text, sqlstate) in &texts {
        for extended in [false, true] {
            if extended && text.contains(';') {
                continue;
            }
            let messages = match extended {
                false => crate::client::query(text),
                true => {
                    [parse(b"", text.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0), frame(b'S', b"")]
                        .concat()
                }
            };
            for block in [false, true] {
                // The shard's connection that is lent next is one that is watched.
                client.run(&one);
                if block {
                    client.run("BEGIN");
                    client.run(&one);
                }
                proxy.tell(Lie::LastWord);
                client.send(&messages);
                let answer = Answer::of(client.receive_ready());
                assert!(proxy.told(), "{text}");
                assert_eq!(answer.sqlstate(), *sqlstate, "{text}: {answer:?}");
                if block {
                    let next = client.query(&one);
                    let failed = next.sqlstate() == "25P02" || next.sqlstate().starts_with("08");
                    assert!(failed && next.status == Some('E'), "{text}: {next:?}");
                    assert_eq!(client.query("COMMIT").tags, ["ROLLBACK"], "{text}");
                }
                for number in 0..3 {
                    assert_eq!(client.value(&format!("SELECT {number}")), number.to_string(), "{text}");
                }
            }
        }
    }
}

#[test]
fn a_network_that_ends_all_connections_at_once_is_survived() {
    let stage = Stage::new("");
    let key = key_on(1);
    let (proxy, gateway) = behind_proxy("cut", &stage);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(&gateway.login()).unwrap()).collect();
    for client in &mut clients {
        client.rows(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    }
    for connection in proxy.open.lock().unwrap().drain(..) {
        drop(connection.shutdown(Shutdown::Both));
    }
    for client in &mut clients {
        eventually("it is served again", || {
            client.query(&format!("SELECT id FROM rows WHERE customer_id = {key}")).error.is_none()
        });
    }
}

#[test]
fn a_commit_that_a_server_answers_with_rollback_is_told_as_an_error() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("rollback", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    let write = format!("INSERT INTO rows VALUES ({key}, 1) ON CONFLICT DO NOTHING");
    let lock = format!("SELECT id FROM rows WHERE customer_id = {other} FOR UPDATE");
    for more in [None, Some(write), Some(lock)] {
        client.run("BEGIN");
        client.run(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
        more.iter().for_each(|more| client.run(more));
        proxy.tell(Lie::RolledBack);
        assert_eq!(client.query("COMMIT").sqlstate(), "40000", "{more:?}");
        assert!(proxy.told());
    }
}

#[test]
fn a_savepoint_that_not_all_servers_have_made_is_not_rolled_back_to() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("savepoint", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    for second in ["SAVEPOINT a", "RELEASE SAVEPOINT a"] {
        client.run("BEGIN");
        client.run(&format!("SELECT id FROM rows WHERE customer_id = {other}"));
        client.run(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
        client.run("SAVEPOINT a");
        client.run("SAVEPOINT a");
        proxy.tell(Lie::Cancelled);
        assert_eq!(client.query(second).sqlstate(), "57014");
        assert_eq!(client.query("ROLLBACK TO a").sqlstate(), "25P02", "{second}");
        client.run("ROLLBACK");
    }
}

#[test]
fn a_write_on_several_shards_of_which_one_has_not_begun_changes_nothing() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("begin", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'x'), ({other}, 1, 'x')"));
    let insert = format!("INSERT INTO rows VALUES ({other}, 2, 'changed'), ({key}, 2, 'changed')");
    let update = |key| format!("UPDATE rows SET v = 'changed' WHERE customer_id = {key}");
    let scripts = [
        vec!["UPDATE rows SET v = 'changed'".to_owned()],
        vec![insert],
        vec!["BEGIN".into(), update(other), update(key)],
        vec!["BEGIN".into(), update(other), "DELETE FROM rows WHERE v <> 'changed'".into()],
        vec![format!("{}; {}", update(other), update(key))],
    ];
    for script in scripts {
        // The shard's connection that is lent next.
        client.run(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
        let (last, first) = script.split_last().unwrap();
        first.iter().for_each(|text| client.run(text));
        proxy.tell(Lie::NoBegin);
        assert_eq!(client.query(last).sqlstate(), "22012", "{script:?}");
        assert!(proxy.told());
        client.query("ROLLBACK");
        for shard in 0..2 {
            let rows = "SELECT count(*) FILTER (WHERE v = 'x') || ' ' || count(*) FROM rows";
            assert_eq!(stage.shard(shard).value(rows), "1 1", "{script:?} on shard {shard}");
        }
    }
}

#[test]
fn what_comes_behind_a_begin_that_fails_does_not_run_by_itself() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("begin_one", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'x'), ({other}, 1, 'x')"));
    let statements = [
        format!("UPDATE rows SET v = 'changed' WHERE customer_id = {key}"),
        format!(
            "WITH u AS (UPDATE rows SET v = 'changed' WHERE customer_id = {key} RETURNING v) SELECT count(*) FROM u"
        ),
        format!("INSERT INTO rows VALUES ({key}, 2, 'changed')"),
    ];
    // In one message; as drivers send it; with a Parse of its own; with one before it that any server answers.
    for way in 0..4 {
        for statement in &statements {
            // The shard's connection that is lent next.
            client.run(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
            client.run("BEGIN");
            proxy.tell(Lie::NoBegin);
            let portal = [bind(b"", b"", &[], &[], &[]), execute(b"", 0)].concat();
            let (parse, sync) = (parse(b"", statement.as_bytes(), &[]), frame(b'S', b""));
            let answer = match way {
                0 => client.query(statement),
                1 => {
                    client.send(&[&parse[..], &portal, &sync].concat());
                    Answer::of(client.receive_ready())
                }
                2 => {
                    client.send(&[&parse[..], &portal, &portal, &sync].concat());
                    Answer::of(client.receive_ready())
                }
                _ => {
                    client.send(&[&parse[..], &frame(b'H', b""), &portal, &sync].concat());
                    Answer::of(client.receive_ready())
                }
            };
            let case = format!("{statement}, way {way}");
            assert!(proxy.told(), "{case}");
            assert_eq!((answer.sqlstate(), answer.status), ("22012", Some('E')), "{case}: {answer:?}");
            assert!(answer.tags.is_empty(), "{case}: {answer:?}");
            // Each answer is that of its own question.
            assert_eq!(client.query("SELECT 1").sqlstate(), "25P02", "{case}");
            assert_eq!(client.query("ROLLBACK").tags, ["ROLLBACK"], "{case}");
            assert_eq!(client.value("SELECT 111"), "111", "{case}");
            let rows = "SELECT count(*) FILTER (WHERE v = 'x') || ' ' || count(*) FROM rows";
            assert_eq!(stage.shard(1).value(rows), "1 1", "{case}");
        }
    }
}

#[test]
fn an_error_of_the_clients_and_a_begin_that_fails_behind_it_are_one_error() {
    let stage = Stage::new("");
    let (key, other) = (key_on(1), key_on(0));
    let (proxy, gateway) = behind_proxy("two_errors", &stage);
    let mut client = Client::connect(&gateway.login()).unwrap();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'x'), ({other}, 1, 'x')"));
    // The shard's connection that is lent next.
    client.run(&format!("SELECT id FROM rows WHERE customer_id = {key}"));
    client.run("BEGIN");
    client.run(&format!("UPDATE rows SET v = 'changed' WHERE customer_id = {other}"));
    proxy.tell(Lie::NoBegin);
    let run =
        |text: String| [parse(b"", text.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), execute(b"", 0)].concat();
    let fails = run(format!("UPDATE rows SET v = 'x'::int::text WHERE customer_id = {other}"));
    let write = run(format!("UPDATE rows SET v = 'changed' WHERE customer_id = {key}"));
    client.send(&[fails, write, frame(b'S', b"")].concat());
    let received = client.receive_ready();
    let is_error = |item: &&Received| matches!(item, Received::Message(message) if message.tag == b'E');
    assert_eq!(received.iter().filter(is_error).count(), 1, "{received:?}");
    let answer = Answer::of(received);
    assert_eq!((answer.sqlstate(), answer.status), ("22P02", Some('E')), "{answer:?}");
    assert!(proxy.told());
    client.run("ROLLBACK");
    for shard in 0..2 {
        assert_eq!(stage.shard(shard).value("SELECT string_agg(v, ',') FROM rows"), "x", "on shard {shard}");
    }
}
