//! Statements without a key.

use futures_util::{StreamExt, TryStreamExt};
use rust_decimal::Decimal;
use suite::{Outcome, equal};
use uuid::Uuid;

use crate::orders::{INSERT, KEYS, add, connect, decimals, orders, raises, totals};

pub async fn every_shard(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    for key in 1..=KEYS {
        add(&client, key, key).await?;
    }
    let mut got: Vec<i64> = client
        .query("SELECT customer_id FROM tokio_orders WHERE total < $1", &[&Decimal::from(33)])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    got.sort();
    equal(got, (1..33).collect::<Vec<i64>>(), "rows of all shards")?;
    let keys = vec![1_i64, 20, 40, 64];
    let stream = client.query_raw("SELECT customer_id FROM tokio_orders WHERE customer_id = ANY($1)", &[&keys]).await?;
    let mut got: Vec<i64> = stream.map(|row| row.map(|row| row.get::<_, i64>(0))).try_collect().await?;
    got.sort();
    equal(got, keys, "rows of some keys")
}

pub async fn all_shards(url: String) -> Outcome {
    let mut client = connect(&url).await?;
    orders(&client).await?;
    for key in 1..=KEYS {
        add(&client, key, key).await?;
    }
    let count: i64 = client.query_one("SELECT count(*) FROM tokio_orders", &[]).await?.get(0);
    equal(count, KEYS, "rows of all shards")?;
    let rows = client.query("SELECT total FROM tokio_orders ORDER BY total DESC LIMIT $1", &[&2i64]).await?;
    let largest: Vec<Decimal> = rows.iter().map(|row| row.get(0)).collect();
    equal(largest, decimals([KEYS, KEYS - 1]), "the largest")?;
    for statement in
        ["SELECT ctid FROM tokio_orders", "SELECT * FROM tokio_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)"]
    {
        raises("0A000", client.query(statement, &[]).await)?;
        raises("0A000", client.batch_execute(statement).await)?;
    }
    for kept in [false, true] {
        let transaction = client.transaction().await?;
        for key in 1..=KEYS {
            transaction.execute(INSERT, &[&key, &Uuid::new_v4(), &Decimal::ZERO]).await?;
        }
        if kept {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        for key in 1..=KEYS {
            let expected = if kept { decimals([0, key]) } else { decimals([key]) };
            equal(totals(&client, key).await?, expected, "all of it was kept, or nothing")?;
        }
    }
    equal(client.execute("DELETE FROM tokio_orders", &[]).await?, 2 * KEYS.unsigned_abs(), "rows deleted")?;
    client.batch_execute("DROP TABLE tokio_orders").await?;
    Ok(())
}
