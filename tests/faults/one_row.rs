//! Queries for one row that servers have prepared: what happens on a shard meanwhile is seen as a text of the client's own would see it.

use crate::client::{Client, Received, query};
use crate::{Stage, eventually, key_on};

/// On a shard, servers whose last statement had a parameter in a literal's place.
fn prepared(stage: &Stage, shard: usize, text: &str) -> usize {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND query = '{text}'");
    stage.shard(shard).value(&sql).parse().unwrap()
}

/// What servers prepare for [`asked`].
const PREPARED: &str = "SELECT * FROM rows WHERE customer_id =  $1  AND id =  $2 ";

/// A row on the second shard, and a text for it that has been run often enough to be prepared.
fn asked(stage: &Stage, app: &mut Client) -> String {
    let key = key_on(1);
    app.run(&format!("INSERT INTO rows VALUES ({key}, 1, 'one')"));
    let text = format!("SELECT * FROM rows WHERE customer_id = {key} AND id = 1");
    for _ in 0..3 {
        assert_eq!(app.rows(&text).len(), 1);
    }
    assert_eq!(prepared(stage, 1, PREPARED), 1);
    text
}

#[test]
fn a_table_changed_on_its_shard_is_read_as_it_is() {
    let stage = Stage::new("");
    let mut app = stage.client();
    let text = asked(&stage, &mut app);
    let key = key_on(1);
    stage.shard(1).run("ALTER TABLE rows ADD COLUMN w int8 DEFAULT 5");
    let row: Vec<_> = [key.to_string(), "1".into(), "one".into(), "5".into()].map(Some).into();
    assert_eq!(app.rows(&text), [row]);
    stage.shard(1).run("ALTER TABLE rows DROP COLUMN v");
    assert_eq!(app.rows(&text)[0].len(), 3);
    stage.shard(1).run("ALTER TABLE rows RENAME TO others");
    assert_eq!(app.query(&text).sqlstate(), "42P01");
    stage.shard(1).run("ALTER TABLE others RENAME TO rows");
    assert_eq!(app.rows(&text)[0].len(), 3);
}

/// A parameter has the type that its column had when the text was prepared.
#[test]
fn a_column_whose_type_has_changed_is_compared_as_it_is_now() {
    let stage = Stage::new("");
    let mut app = stage.client();
    asked(&stage, &mut app);
    let key = key_on(1);
    let strings = format!("SELECT v FROM rows WHERE customer_id = '{key}' AND id = '1'");
    let padded = format!("SELECT id FROM rows WHERE customer_id = {key} AND id = 1 AND v = 'one  '");
    for _ in 0..3 {
        assert_eq!(app.rows(&strings).len(), 1);
        assert_eq!(app.rows(&padded).len(), 0);
    }
    let mut shard = stage.shard(1);
    shard.run("BEGIN; ALTER TABLE rows ALTER COLUMN v TYPE char(8), ALTER COLUMN id TYPE text");
    let strings = format!("SELECT v FROM rows WHERE customer_id = '{key}' AND id = '1 '");
    let padded = format!("SELECT id FROM rows WHERE customer_id = {key} AND id = '1' AND v = 'one  '");
    std::thread::scope(|scope| {
        let mut other = stage.client();
        let asking = [scope.spawn(|| app.rows(&strings).len()), scope.spawn(move || other.rows(&padded).len())];
        eventually("both wait", || stage.waiting(1, "relation") == 2);
        shard.run("COMMIT");
        let found = asking.map(|asking| asking.join().unwrap());
        assert_eq!(found, [0, 1], "no id is '1 ', and blanks at the end of char(8) say nothing");
    });
}

#[test]
fn waiting_too_long_for_a_lock_is_told_once() {
    let stage = Stage::new("");
    let mut app = stage.client();
    let text = asked(&stage, &mut app);
    let mut shard = stage.shard(1);
    shard.run("BEGIN; LOCK TABLE rows");
    for (setting, sqlstate) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        app.run(&format!("SET {setting} = '200ms'"));
        assert_eq!(app.query(&text).sqlstate(), sqlstate);
        assert_eq!(prepared(&stage, 1, PREPARED), 1, "the text itself was not asked then");
        app.run(&format!("RESET {setting}"));
    }
    // One that waits sees what the other has made of the table.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| app.rows(&text));
        eventually("it waits", || stage.waiting(1, "relation") == 1);
        shard.run("ALTER TABLE rows ADD COLUMN w int8; COMMIT");
        assert_eq!(asking.join().unwrap()[0].len(), 4);
    });
}

#[test]
fn what_clients_have_prepared_keeps_its_places() {
    let stage = Stage::new("[limits]\nprepared_max = 4\n[pool]\nmax = 1\n");
    let mut app = stage.client();
    asked(&stage, &mut app);
    let key = key_on(1);
    // Half of four places may be taken: that is the second.
    for (column, held) in [("id", true), ("v", false), ("customer_id", false)] {
        let text = format!("SELECT {column} FROM rows WHERE customer_id = {key} AND id = 1");
        for _ in 0..3 {
            assert_eq!(app.rows(&text).len(), 1);
        }
        let with_parameters = format!("SELECT {column} FROM rows WHERE customer_id =  $1  AND id =  $2 ");
        assert_eq!(prepared(&stage, 1, &with_parameters), usize::from(held), "{column}");
    }
}

#[test]
fn a_setting_that_a_server_turns_out_to_have_is_told_with_the_answer() {
    let stage = Stage::new("[pool]\nmax = 1\n");
    let mut app = stage.client();
    let text = asked(&stage, &mut app);
    let mut shard = stage.shard(1);
    shard.run("ALTER ROLE app SET timezone = 'Europe/Rome'");
    shard.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    let mut other = stage.client();
    other.run("SET timezone = 'Asia/Tokyo'");
    eventually("there is a new server", || other.query(&text).error.is_none());
    // The server goes back to what its role has, and says so.
    app.send(&query(&text));
    let answer = app.receive_ready();
    let is_told = |message: &Received| matches!(message, Received::Message(told) if told.tag == b'S' && told.body.starts_with(b"TimeZone\0Europe/Rome\0"));
    let told = answer.iter().any(is_told);
    assert!(told, "{answer:?}");
}
