//! A user whose reads go to replicas: parts are read there; the merge, which needs temporary tables, is a primary's.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::login;
use crate::support::{Cluster, Setup};

#[test]
fn what_replicas_give_is_merged_for_a_user_and_in_a_block_that_only_read() {
    let cluster = Cluster::with(Setup { shards: 2, replicas: 1, ..Setup::default() });
    let mut owner = Client::connect(&login::of(cluster.url())).unwrap();
    owner.run("CREATE TABLE rows (customer_id int8 PRIMARY KEY, v text)");
    owner.run("INSERT INTO rows SELECT g, 'v' || g % 4 FROM generate_series(1, 40) g");
    owner.run("GRANT SELECT ON rows TO PUBLIC");
    let mut reader = Client::connect(&login::of(&cluster.url().replace("app:app", "analyst:analyst"))).unwrap();
    let begun = Instant::now();
    let joined = "SELECT count(*) FROM rows a JOIN rows b ON a.v = b.v";
    // In a block the first answer of a lagging replica would be an error that ends it.
    let all = |reader: &mut Client| reader.query("SELECT v FROM rows").rows.len() == 40;
    while !all(&mut reader) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the replicas do not follow");
        thread::sleep(Duration::from_millis(20));
    }
    for begin in ["", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"] {
        if !begin.is_empty() {
            reader.run(begin);
        }
        assert_eq!(reader.value(joined), "400", "after {begin:?}");
        assert_eq!(reader.value("SELECT count(DISTINCT v) FROM rows"), "4", "after {begin:?}");
        assert_eq!(reader.rows("SELECT v, rank() OVER (ORDER BY v) FROM rows").len(), 40, "after {begin:?}");
        if !begin.is_empty() {
            reader.run("DECLARE c CURSOR FOR SELECT v, count(*) FROM rows GROUP BY v ORDER BY v");
            assert_eq!(reader.rows("FETCH 3 FROM c").len(), 3);
            reader.run("COMMIT");
        }
    }
}

#[test]
fn reads_of_one_client_take_turns_on_all_replicas_of_a_shard() {
    let cluster = Cluster::with(Setup { shards: 2, replicas: 2, ..Setup::default() });
    let mut owner = Client::connect(&login::of(cluster.url())).unwrap();
    owner.run("CREATE TABLE rows (customer_id int8 PRIMARY KEY, v text)");
    owner.run("INSERT INTO rows VALUES (1, 'one')");
    owner.run("GRANT SELECT ON rows TO PUBLIC");
    let mut reader = Client::connect(&login::of(&cluster.url().replace("app:app", "analyst:analyst"))).unwrap();
    let config: toml::Table = std::fs::read_to_string(cluster.config_path()).unwrap().parse().unwrap();
    let shards = config["shard"].as_array().unwrap();
    let urls = shards.iter().flat_map(|shard| shard["replicas"].as_array().unwrap());
    let mut replicas: Vec<Client> =
        urls.map(|url| Client::connect(&login::of(url.as_str().unwrap())).unwrap()).collect();
    assert_eq!(replicas.len(), 4);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'analyst' AND query ~ 'FROM rows'";
    let begun = Instant::now();
    // At first the replicas may not have the table.
    loop {
        for _ in 0..4 {
            reader.query("SELECT v FROM rows WHERE customer_id = 1");
        }
        let used: Vec<String> = replicas.iter_mut().map(|replica| replica.value(sessions)).collect();
        if used.iter().filter(|count| *count == "1").count() == 2 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "sessions on the replicas: {used:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
