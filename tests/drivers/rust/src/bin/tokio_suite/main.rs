//! tokio-postgres: prepared statements, pipelining by `join!`, portals, COPY, cancel, simple queries.

mod messages;
mod orders;
mod shards;
mod values;

use std::time::Duration;

use futures_util::pin_mut;
use rust_decimal::Decimal;
use suite::{Failure, Outcome, arguments, equal, test};
use tokio_postgres::{Config, IsolationLevel, NoTls};
use uuid::Uuid;

use messages::{copying, pipelined, portals, prepared, simple};
use orders::{INSERT, TOTALS, add, connect, decimals, orders, raises, start, totals};
use shards::{all_shards, every_shard};
use values::{introspection, types};

async fn connecting(url: String) -> Outcome {
    let mut config: Config = url.parse()?;
    config.application_name("drivers-tokio").options("-c timezone=Asia/Tokyo -c work_mem=5MB");
    let client = start(&config).await?;
    for (setting, expected) in [("application_name", "drivers-tokio"), ("timezone", "Asia/Tokyo"), ("work_mem", "5MB")]
    {
        let got: String = client.query_one("SELECT current_setting($1)", &[&setting]).await?.get(0);
        equal(got, expected, setting)?;
    }
    config.password("wrong");
    raises("28P01", start(&config).await)?;
    let mut nowhere: Config = url.parse()?;
    raises("3D000", start(nowhere.dbname("nowhere")).await)
}

async fn transactions(url: String) -> Outcome {
    let mut client = connect(&url).await?;
    orders(&client).await?;
    let mut transaction = client.transaction().await?;
    transaction.execute(INSERT, &[&5_i64, &Uuid::new_v4(), &Decimal::ONE]).await?;
    {
        let inner = transaction.savepoint("a").await?;
        inner.execute(INSERT, &[&5_i64, &Uuid::new_v4(), &Decimal::TWO]).await?;
        raises("22012", inner.query("SELECT 1/0", &[]).await)?;
        raises("25P02", inner.query("SELECT 1", &[]).await)?;
        inner.rollback().await?;
    }
    transaction.execute(INSERT, &[&5_i64, &Uuid::new_v4(), &Decimal::TEN]).await?;
    transaction.commit().await?;
    equal(totals(&client, 5).await?, decimals([1, 10]), "after commit")?;
    {
        let dropped = client.transaction().await?;
        dropped.execute(INSERT, &[&5_i64, &Uuid::new_v4(), &Decimal::ONE_HUNDRED]).await?;
    }
    equal(totals(&client, 5).await?, decimals([1, 10]), "a dropped transaction is rolled back")?;
    let options =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    equal(
        options.query_one("SHOW transaction_isolation", &[]).await?.get::<_, String>(0),
        "repeatable read",
        "isolation",
    )?;
    raises("25006", options.execute(INSERT, &[&5_i64, &Uuid::new_v4(), &Decimal::ONE]).await)?;
    options.rollback().await?;
    let transaction = client.transaction().await?;
    for key in 1..=16_i64 {
        transaction.query(TOTALS, &[&key]).await?;
    }
    transaction.execute(INSERT, &[&3_i64, &Uuid::new_v4(), &Decimal::ONE]).await?;
    transaction.commit().await?;
    equal(totals(&client, 3).await?, decimals([1]), "reads of many keys, a write of one")
}

async fn errors(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    let id = add(&client, 13, 1).await?;
    let error = client.execute(INSERT, &[&13_i64, &id, &Decimal::ONE]).await.err().ok_or(Failure("no error".into()))?;
    equal(error.as_db_error().and_then(|error| error.constraint()), Some("tokio_orders_pkey"), "constraint")?;
    for (code, text) in [
        ("42601", "SELEC 1"),
        ("42P01", "SELECT * FROM tokio_no_such_table"),
        ("42703", "SELECT x FROM tokio_orders WHERE customer_id = 1"),
        ("22012", "SELECT 1/0"),
        ("42883", "SELECT no_such_function()"),
    ] {
        raises(code, client.query(text, &[]).await)?;
        raises(code, client.batch_execute(text).await)?;
        equal(client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1, "usable afterwards")?;
    }
    Ok(())
}

async fn cancel(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    add(&client, 17, 1).await?;
    for statement in ["SELECT pg_sleep(50)", "SELECT pg_sleep(50) FROM tokio_orders WHERE customer_id = 17"] {
        let token = client.cancel_token();
        let running = client.query(statement, &[]);
        pin_mut!(running);
        let result = loop {
            // Again and again: nobody tells when the statement has begun.
            match tokio::time::timeout(Duration::from_millis(500), &mut running).await {
                Ok(result) => break result,
                Err(_) => token.cancel_query(NoTls).await?,
            }
        };
        raises("57014", result)?;
        equal(client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1, "usable afterwards")?;
    }
    Ok(())
}

async fn drop_all(url: String) -> Outcome {
    let client = connect(&url).await?;
    for table in ["orders", "types", "countries", "moods"] {
        client.batch_execute(&format!("DROP TABLE IF EXISTS tokio_{table}")).await?;
    }
    client.batch_execute("DROP TYPE IF EXISTS tokio_mood").await?;
    let left: i64 =
        client.query_one("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'tokio\\_%'", &[]).await?.get(0);
    equal(left, 0, "tables left")
}

#[tokio::main]
async fn main() {
    let (url, gateway) = arguments();
    test("connect with application_name and options; wrong password and database", connecting(url.clone())).await;
    test("types go in and come back, binary and text, over many keys", types(url.clone())).await;
    test("commit, rollback, savepoint, errors", transactions(url.clone())).await;
    test("prepared statements re-used over many keys, and after DDL", prepared(url.clone())).await;
    test("pipelined by join, reads and writes over many keys", pipelined(url.clone())).await;
    test("portals in portions, two at once; streamed rows", portals(url.clone())).await;
    test("COPY in and out, text and binary, rows of every shard", copying(url.clone())).await;
    test("errors keep SQLSTATE and fields; the connection is usable afterwards", errors(url.clone())).await;
    test("cancel", cancel(url.clone())).await;
    test("types looked up in the catalog", introspection(url.clone())).await;
    test("SELECT without key returns the rows of all shards", every_shard(url.clone())).await;
    test("several statements in one simple query; DISCARD ALL", simple(url.clone())).await;
    test("dropping what the suite made", drop_all(url.clone())).await;
    if gateway {
        test("all shards: aggregates, order, transactions; what is refused", all_shards(url)).await;
    }
    println!("end");
}
