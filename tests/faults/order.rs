//! What runs on all shards begins on the first one and has its locks there before it asks for others: two such statements
//! wait for each other on one shard, which sees it, and not crosswise on two, which nobody would see.

use crate::client::{Answer, Client, Received, bind, execute, frame, parse, query};
use crate::{Stage, eventually, key_on};

/// Locks that the application holds or waits for on a table of a shard, but for those of reading.
fn locks(stage: &Stage, shard: usize, table: &str) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'app' \
         AND l.relation = '{table}'::regclass AND l.mode <> 'AccessShareLock'"
    );
    stage.shard(shard).value(&sql).parse().unwrap()
}

/// Somebody has locked the table on the first shard. Runs `start`; while it waits there, it must not hold the table on the
/// second one.
fn waits_on_the_first_shard_alone(stage: &Stage, table: &str, start: impl FnOnce() -> Client) -> Client {
    let mut holder = stage.shard(0);
    holder.run("BEGIN");
    holder.run(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
    let client = start();
    eventually("it waits on the first shard", || stage.waiting(0, "relation") == 1);
    assert_eq!(locks(stage, 1, table), 0, "it has gone on to the second shard");
    holder.run("ROLLBACK");
    client
}

const REFERENCE: &str = "[tables.colours]\nkind = \"reference\"\n";

#[test]
fn copy_into_a_sharded_table_locks_one_shard_after_the_other() {
    let stage = Stage::new("");
    let mut client = waits_on_the_first_shard_alone(&stage, "rows", || {
        let mut client = stage.client();
        // Taken into the transaction the other way round.
        client.run("BEGIN");
        client.run(&format!("SELECT FROM rows WHERE customer_id = {}", key_on(1)));
        client.send(&query("COPY rows FROM STDIN"));
        client
    });
    assert!(matches!(&client.receive(), Received::Message(message) if message.tag == b'G'));
    let data = format!("{}\t1\ta\n{}\t1\tb\n", key_on(0), key_on(1));
    client.send(&[frame(b'd', data.as_bytes()), frame(b'c', b"")].concat());
    assert_eq!(Answer::of(client.receive_ready()).tags, ["COPY 2"]);
    client.run("COMMIT");
    assert_eq!(stage.client().rows("SELECT v FROM rows").len(), 2);
}

#[test]
fn ddl_in_a_block_begins_on_the_first_shard_whatever_the_block_did_before() {
    let stage = Stage::new("");
    stage.client().run("CREATE TABLE others (customer_id int8, id int8)");
    let mut client = waits_on_the_first_shard_alone(&stage, "others", || {
        let mut client = stage.client();
        client.run("BEGIN");
        client.run(&format!("SELECT FROM rows WHERE customer_id = {}", key_on(1)));
        client.send(&query("ALTER TABLE others ADD v text"));
        client
    });
    assert_eq!(Answer::of(client.receive_ready()).tags, ["ALTER TABLE"]);
    client.run("COMMIT");
}

#[test]
fn writes_of_reference_tables_lock_one_shard_after_the_other() {
    let stage = Stage::new(REFERENCE);
    stage.client().run("CREATE TABLE colours (id int8 PRIMARY KEY, name text)");
    let statements: [(&str, Vec<u8>); 3] = [
        ("COPY", query("COPY colours FROM STDIN")),
        ("simple INSERT", query("INSERT INTO colours VALUES (1, 'red')")),
        (
            "extended INSERT",
            [
                parse(b"", b"INSERT INTO colours VALUES (2, 'blue')", &[]),
                bind(b"", b"", &[], &[], &[]),
                execute(b"", 0),
                frame(b'S', b""),
            ]
            .concat(),
        ),
    ];
    for (what, messages) in statements {
        let mut client = waits_on_the_first_shard_alone(&stage, "colours", || {
            let mut client = stage.client();
            client.run("BEGIN");
            client.run(&format!("SELECT FROM rows WHERE customer_id = {}", key_on(1)));
            client.send(&messages);
            client
        });
        if what == "COPY" {
            client.send(&[frame(b'd', b"3\tgreen\n"), frame(b'c', b"")].concat());
        }
        let answer = Answer::of(client.receive_ready());
        assert_eq!((answer.error, answer.tags.len()), (None, 1), "{what}");
        client.run("COMMIT");
    }
    assert_eq!(stage.client().value("SELECT string_agg(name, ' ' ORDER BY id) FROM colours"), "red blue green");
}
