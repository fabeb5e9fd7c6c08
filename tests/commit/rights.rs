//! Who may decide and finish: the transaction's own gateway and recovery, not whoever can connect.

use std::time::Duration;

use crate::support::{Cluster, Gateway, connect};
use crate::{accounts, code, eventually, keys_on, on_shard, prepared};

/// A shard's URL for the plain role that every demo has.
fn as_analyst(cluster: &Cluster, shard: usize) -> String {
    let (_, place) = cluster.shard_url(shard).rsplit_once('@').unwrap();
    format!("postgres://analyst:analyst@{place}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_role_commits_its_own_and_can_neither_forge_nor_finish_anothers() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    cluster.connect().await.batch_execute("GRANT ALL ON accounts TO analyst").await.unwrap();
    let own = connect(&cluster.url().replace("app:app@", "analyst:analyst@")).await;
    own.batch_execute(&format!("INSERT INTO accounts VALUES ({a}, 1), ({b}, 1)")).await.unwrap();

    let mut gateway = Gateway::start(&cluster);
    let client = gateway.connect().await;
    gateway.pause_at("prepared");
    let commit = tokio::spawn(async move { client.batch_execute("UPDATE accounts SET v = 2").await });
    eventually("it is prepared", Duration::from_secs(60), async || gateway.is_paused_at("prepared")).await;
    let (decides, prepares) = (connect(&as_analyst(&cluster, 0)).await, connect(&as_analyst(&cluster, 1)).await);
    let name: String = prepares.query_one("SELECT gid FROM pg_prepared_xacts", &[]).await.unwrap().get(0);
    let transaction = name.rsplit(':').next().unwrap();
    let (public, proof) = transaction.rsplit_once('.').unwrap();
    for (client, text) in [
        (&prepares, format!("COMMIT PREPARED '{name}'")),
        (&prepares, format!("ROLLBACK PREPARED '{name}'")),
        (&decides, format!("INSERT INTO pgbraid.decision (txn, committed) VALUES ('{transaction}', true)")),
        (&decides, "UPDATE pgbraid.decision SET committed = true".to_owned()),
        (&decides, "DELETE FROM pgbraid.decision".to_owned()),
        (&decides, "DELETE FROM pgbraid.cluster".to_owned()),
        (&decides, "DELETE FROM pgbraid.waiting".to_owned()),
        (&decides, "CREATE FUNCTION pgbraid.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'".to_owned()),
    ] {
        let error = client.batch_execute(&text).await.unwrap_err();
        assert_eq!(code(&error), "42501", "{text}");
    }
    // Who does not know the secret decides something else.
    for guess in [proof, public, ""] {
        for of in [public, transaction] {
            decides.batch_execute(&format!("SELECT pgbraid.decide('{of}', '{guess}')")).await.unwrap();
        }
    }
    gateway.kill9();
    commit.await.unwrap().unwrap_err();
    eventually("nothing is prepared", Duration::from_secs(60), async || prepared(&cluster).await == 0).await;
    for shard in 0..2 {
        assert_eq!(on_shard(&cluster, shard, "SELECT sum(v)::int8 FROM accounts").await, 1, "it was rolled back");
    }
}
