//! What was SET on a server is believed only when it is known to stay: the next client of that server, or of that kind of cursor, finds
//! what it set itself, and nothing else.

use crate::client::Client;
use crate::{Stage, key_on};

/// One server of each shard for all, and rows on both.
fn stage() -> (Stage, i64, i64) {
    let stage = Stage::new("[pool]\nmax = 1\nmerge_max = 1\n");
    let (key, other) = (key_on(0), key_on(1));
    let mut client = stage.client();
    client.run(&format!("INSERT INTO rows VALUES ({key}, 1), ({other}, 1)"));
    client.run("CREATE TABLE parents (customer_id int8 PRIMARY KEY)");
    client.run("CREATE TABLE children (customer_id int8 PRIMARY KEY REFERENCES parents DEFERRABLE INITIALLY DEFERRED)");
    (stage, key, other)
}

fn date_style(client: &mut Client, key: i64) -> String {
    client.value(&format!("SELECT current_setting('DateStyle') FROM rows WHERE customer_id = {key} LIMIT 1"))
}

#[test]
fn a_commit_that_fails_leaves_no_server_with_what_was_set_in_it() {
    let (stage, key, other) = stage();
    for first in ["SELECT id FROM rows", "SELECT id FROM rows FOR UPDATE", "UPDATE rows SET v = 'x'"] {
        let mut client = stage.client();
        let first = first.replace("FROM rows", &format!("FROM rows WHERE customer_id = {key}"));
        let first = first.replace("'x'", &format!("'x' WHERE customer_id = {key}"));
        client.run("BEGIN");
        client.run(&first);
        client.run("SET DateStyle TO German");
        client.run(&format!("INSERT INTO children VALUES ({other})"));
        assert_eq!(client.query("COMMIT").sqlstate(), "23503");
        for mut client in [client, stage.client()] {
            assert_eq!(date_style(&mut client, key), "ISO, MDY", "{first}");
            assert_eq!(date_style(&mut client, other), "ISO, MDY", "{first}");
        }
    }
}
