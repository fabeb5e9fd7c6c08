//! tokio-postgres: prepared statements, pipelining by `join!`, portals, COPY, cancel, simple queries.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future, pin_mut};
use rust_decimal::Decimal;
use suite::{Failure, Outcome, arguments, equal, test};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};
use uuid::Uuid;

const KEYS: i64 = 64;
const INSERT: &str = "INSERT INTO tokio_orders (customer_id, id, total) VALUES ($1, $2, $3)";
const TOTALS: &str = "SELECT total FROM tokio_orders WHERE customer_id = $1 ORDER BY total";

async fn connect(url: &str) -> Result<Client, Error> {
    start(&url.parse()?).await
}

async fn start(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn raises<T>(code: &str, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Err(Failure(format!("expected SQLSTATE {code}, got no error"))),
        Err(error) => {
            equal(error.code().map(|state| state.code().to_owned()), Some(code.to_owned()), &format!("{error:?}"))
        }
    }
}

async fn orders(client: &Client) -> Result<(), Error> {
    client.batch_execute("DROP TABLE IF EXISTS tokio_orders").await?;
    let columns =
        "customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new', total numeric(12,2)";
    client.batch_execute(&format!("CREATE TABLE tokio_orders ({columns}, PRIMARY KEY (customer_id, id))")).await
}

async fn add(client: &Client, key: i64, total: i64) -> Result<Uuid, Error> {
    let id = Uuid::new_v4();
    client.execute(INSERT, &[&key, &id, &Decimal::from(total)]).await?;
    Ok(id)
}

async fn totals(client: &Client, key: i64) -> Result<Vec<Decimal>, Error> {
    Ok(client.query(TOTALS, &[&key]).await?.iter().map(|row| row.get(0)).collect())
}

fn decimals(numbers: impl IntoIterator<Item = i64>) -> Vec<Decimal> {
    numbers.into_iter().map(Decimal::from).collect()
}

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

async fn types(url: String) -> Outcome {
    let client = connect(&url).await?;
    client.batch_execute("DROP TABLE IF EXISTS tokio_types").await?;
    client
        .batch_execute(
            "CREATE TABLE tokio_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric, f8 float8, t text,
             b bytea, tstz timestamptz, d date, jb jsonb, ia int[], ta text[], bo bool, PRIMARY KEY (customer_id, id))",
        )
        .await?;
    let insert =
        client.prepare("INSERT INTO tokio_types VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)").await?;
    let select = client.prepare("SELECT * FROM tokio_types WHERE customer_id = $1 AND id = $2").await?;
    let when = SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_251_199_999_999);
    let day = time::Date::from_calendar_date(1900, time::Month::January, 1)?;
    let number: Decimal = "-1234567890123456789.123456789".parse()?;
    let text = "Grüße, 世界 \\ ' \" \t\n";
    let bytes: Vec<u8> = (0..=255).collect();
    let json = serde_json::json!({"a": [1, 2.5, null, "x"]});
    let numbers = vec![Some(1), None, Some(-3)];
    let words = vec![Some("a".to_owned()), None, Some("q\"uo,te".to_owned()), Some(String::new())];
    for key in 1..=16_i32 {
        let id = Uuid::new_v4();
        client
            .execute(
                &insert,
                &[
                    &key,
                    &id,
                    &i16::MIN,
                    &i32::MAX,
                    &i64::MIN,
                    &number,
                    &1e-300,
                    &text,
                    &bytes,
                    &when,
                    &day,
                    &json,
                    &numbers,
                    &words,
                    &true,
                ],
            )
            .await?;
        let row = client.query_one(&select, &[&key, &id]).await?;
        equal((row.get(2), row.get(3), row.get(4)), (i16::MIN, i32::MAX, i64::MIN), "integers")?;
        equal((row.get(5), row.get(6)), (number, 1e-300), "numbers")?;
        equal((row.get::<_, &str>(7), row.get::<_, Vec<u8>>(8)), (text, bytes.clone()), "text and bytea")?;
        equal((row.get::<_, SystemTime>(9), row.get::<_, time::Date>(10)), (when, day), "time")?;
        equal(row.get::<_, serde_json::Value>(11), json.clone(), "jsonb")?;
        equal(
            (row.get::<_, Vec<Option<i32>>>(12), row.get::<_, Vec<Option<String>>>(13)),
            (numbers.clone(), words.clone()),
            "arrays",
        )?;
        equal(row.get::<_, bool>(14), true, "bool")?;
        let nothing = Uuid::new_v4();
        client.execute("INSERT INTO tokio_types (customer_id, id) VALUES ($1, $2)", &[&key, &nothing]).await?;
        let row = client.query_one(&select, &[&key, &nothing]).await?;
        equal((row.get::<_, Option<i16>>(2), row.get::<_, Option<bool>>(14)), (None, None), "NULLs")?;
        let messages = client
            .simple_query(&format!("SELECT i4, t, bo, ia FROM tokio_types WHERE customer_id = {key} AND id = '{id}'"))
            .await?;
        let texts: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some((0..4).map(|n| row.get(n).map(str::to_owned)).collect::<Vec<_>>()),
                _ => None,
            })
            .collect();
        let expected = ["2147483647", text, "t", "{1,NULL,-3}"].map(|value| Some(value.to_owned())).to_vec();
        equal(texts, vec![expected], "text format")?;
    }
    Ok(())
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

async fn prepared(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    let insert = client.prepare(INSERT).await?;
    equal(insert.params(), [Type::INT8, Type::UUID, Type::NUMERIC], "parameter types")?;
    for key in 1..=KEYS {
        client.execute(&insert, &[&key, &Uuid::new_v4(), &Decimal::from(key)]).await?;
    }
    let select = client.prepare(TOTALS).await?;
    equal(
        select.columns().iter().map(|column| column.type_().clone()).collect::<Vec<_>>(),
        vec![Type::NUMERIC],
        "column types",
    )?;
    for _ in 0..3 {
        for key in 1..=KEYS {
            equal(client.query_one(&select, &[&key]).await?.get::<_, Decimal>(0), Decimal::from(key), "by key")?;
        }
    }
    let mut many = Vec::new();
    for n in 0..60_i64 {
        many.push(client.prepare(&format!("SELECT total + {n} FROM tokio_orders WHERE customer_id = $1")).await?);
    }
    for (n, statement) in (0_i64..).zip(&many) {
        equal(
            client.query_one(statement, &[&(n + 1)]).await?.get::<_, Decimal>(0),
            Decimal::from(2 * n + 1),
            "many statements",
        )?;
    }
    drop(many);
    let typed = client.prepare_typed("SELECT $1 + 1", &[Type::INT4]).await?;
    equal(client.query_one(&typed, &[&41]).await?.get::<_, i32>(0), 42, "declared types")?;
    client.batch_execute("ALTER TABLE tokio_orders ADD COLUMN note text DEFAULT 'none'").await?;
    for key in 1..=8_i64 {
        equal(client.query_one(&select, &[&key]).await?.get::<_, Decimal>(0), Decimal::from(key), "after DDL")?;
    }
    equal(
        client.query_one("SELECT note FROM tokio_orders WHERE customer_id = 1", &[]).await?.get::<_, String>(0),
        "none",
        "new column",
    )
}

async fn pipelined(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    let insert = client.prepare(INSERT).await?;
    let added = (1..=KEYS).map(|key| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[&key, &Uuid::new_v4(), &Decimal::from(key)]).await }
    });
    equal(future::try_join_all(added).await?.iter().sum::<u64>(), KEYS as u64, "rows inserted, pipelined")?;
    let got = future::try_join_all((1..=KEYS).map(|key| totals(&client, key))).await?;
    equal(got, (1..=KEYS).map(|key| decimals([key])).collect::<Vec<_>>(), "rows read, pipelined")?;
    let (good, bad, also_good) = tokio::join!(
        client.query_one("SELECT 1", &[]),
        client.query_one("SELECT 1/0", &[]),
        client.query_one("SELECT 2", &[])
    );
    raises("22012", bad)?;
    equal((good?.get::<_, i32>(0), also_good?.get::<_, i32>(0)), (1, 2), "an error in the middle")
}

async fn portals(url: String) -> Outcome {
    let mut client = connect(&url).await?;
    orders(&client).await?;
    for n in 0..30 {
        add(&client, 19, n).await?;
    }
    let transaction = client.transaction().await?;
    let portal = transaction.bind(TOTALS, &[&19_i64]).await?;
    let other = transaction.bind(TOTALS, &[&19_i64]).await?;
    let mut got = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 7).await?;
        if rows.is_empty() {
            break;
        }
        got.extend(rows.iter().map(|row| row.get::<_, Decimal>(0)));
        transaction.query_portal(&other, 1).await?;
    }
    equal(got, decimals(0..30), "all rows in portions")?;
    transaction.commit().await?;
    let rows: Vec<_> =
        client.query_raw(TOTALS, &[&19_i64]).await?.map_ok(|row| row.get::<_, Decimal>(0)).try_collect().await?;
    equal(rows, decimals(0..30), "streamed")
}

async fn copying(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    let sink = client.copy_in("COPY tokio_orders (customer_id, id, status, total) FROM STDIN").await?;
    pin_mut!(sink);
    for key in 1..=KEYS {
        for n in 0..50 {
            sink.send(Bytes::from(format!("{key}\t{}\tä\\tb\t{n}\n", Uuid::new_v4()))).await?;
        }
    }
    equal(sink.as_mut().finish().await?, KEYS as u64 * 50, "rows in")?;
    for key in 1..=KEYS {
        equal(totals(&client, key).await?, decimals(0..50), "by key")?;
    }
    let kinds = [Type::INT8, Type::UUID, Type::TEXT];
    let stream = client.copy_out("COPY tokio_orders (customer_id, id, status) TO STDOUT (FORMAT binary)").await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &kinds).try_collect().await?;
    equal(rows.len(), KEYS as usize * 50, "rows out, binary")?;
    let kept: Vec<(i64, Uuid, String)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    orders(&client).await?;
    let writer = BinaryCopyInWriter::new(
        client.copy_in("COPY tokio_orders (customer_id, id, status) FROM STDIN BINARY").await?,
        &kinds,
    );
    pin_mut!(writer);
    for (key, id, status) in &kept {
        writer.as_mut().write(&[key, id, status]).await?;
    }
    equal(writer.finish().await?, kept.len() as u64, "rows in, binary")?;
    let text: Vec<Bytes> = client
        .copy_out("COPY (SELECT status FROM tokio_orders WHERE customer_id = 7) TO STDOUT")
        .await?
        .try_collect()
        .await?;
    equal(text.concat(), "ä\\tb\n".repeat(50).into_bytes(), "COPY of a query")?;
    orders(&client).await?;
    let sink = client.copy_in("COPY tokio_orders (customer_id, id, total) FROM STDIN").await?;
    pin_mut!(sink);
    for key in 1..=KEYS {
        sink.send(Bytes::from(format!("{key}\t{}\t1\n", Uuid::new_v4()))).await?;
    }
    sink.send(Bytes::from_static(b"1\tno uuid\t1\n")).await?;
    raises("22P02", sink.as_mut().finish().await)?;
    for key in 1..=KEYS {
        equal(totals(&client, key).await?, decimals([]), "a failed COPY leaves nothing")?;
    }
    let dropped = client.copy_in::<_, Bytes>("COPY tokio_orders (customer_id, id, total) FROM STDIN").await?;
    drop(dropped);
    equal(totals(&client, 1).await?, decimals([]), "usable after a dropped COPY")?;
    client.batch_execute("DROP TABLE IF EXISTS tokio_countries").await?;
    client.batch_execute("CREATE TABLE tokio_countries (code text PRIMARY KEY, name text NOT NULL)").await?;
    let sink = client.copy_in("COPY tokio_countries FROM STDIN").await?;
    pin_mut!(sink);
    sink.send(Bytes::from_static(b"new\tNewland\nat\tAustria\n")).await?;
    sink.finish().await?;
    for key in 1..=16 {
        add(&client, key, 1).await?;
        let join =
            "SELECT c.name FROM tokio_orders o JOIN tokio_countries c ON c.code = o.status WHERE o.customer_id = $1";
        equal(client.query_one(join, &[&key]).await?.get::<_, String>(0), "Newland", "join with a reference table")?;
    }
    Ok(())
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

async fn introspection(url: String) -> Outcome {
    let client = connect(&url).await?;
    client.batch_execute("DROP TABLE IF EXISTS tokio_moods").await?;
    client.batch_execute("DROP TYPE IF EXISTS tokio_mood").await?;
    client.batch_execute("CREATE TYPE tokio_mood AS ENUM ('sad', 'glad')").await?;
    client
        .batch_execute("CREATE TABLE tokio_moods (customer_id int PRIMARY KEY, mood tokio_mood, moods tokio_mood[])")
        .await?;
    // The driver asks the catalog what the types are.
    let insert = client
        .prepare("INSERT INTO tokio_moods VALUES ($1, $2::text::tokio_mood, ARRAY[$2::text::tokio_mood])")
        .await?;
    for key in 1..=16 {
        client.execute(&insert, &[&key, &"glad"]).await?;
        let row =
            client.query_one("SELECT mood, moods, mood::text FROM tokio_moods WHERE customer_id = $1", &[&key]).await?;
        equal(
            row.columns().iter().map(|column| column.type_().name().to_owned()).collect::<Vec<_>>(),
            ["tokio_mood", "_tokio_mood", "text"].map(str::to_owned).to_vec(),
            "types",
        )?;
        equal(row.get::<_, String>(2), "glad", "mood")?;
    }
    client.check_connection().await?;
    Ok(())
}

async fn every_shard(url: String) -> Outcome {
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

async fn simple(url: String) -> Outcome {
    let client = connect(&url).await?;
    orders(&client).await?;
    let messages = client
        .simple_query("INSERT INTO tokio_orders VALUES (3, gen_random_uuid(), 'a', 5); SELECT total FROM tokio_orders WHERE customer_id = 3; SELECT 1 AS one")
        .await?;
    let shape: Vec<String> = messages
        .iter()
        .map(|message| match message {
            SimpleQueryMessage::Row(row) => format!("row {}", row.get(0).unwrap_or("NULL")),
            SimpleQueryMessage::CommandComplete(rows) => format!("done {rows}"),
            SimpleQueryMessage::RowDescription(columns) => format!("columns {}", columns.len()),
            _ => "other".to_owned(),
        })
        .collect();
    equal(
        shape,
        ["done 1", "columns 1", "row 5.00", "done 1", "columns 1", "row 1", "done 1"].map(str::to_owned).to_vec(),
        "messages",
    )?;
    client.batch_execute("").await?;
    client.batch_execute("DISCARD ALL").await?;
    equal(totals(&client, 3).await?, decimals([5]), "after DISCARD ALL")
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

async fn all_shards(url: String) -> Outcome {
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
    for statement in ["SELECT ctid FROM tokio_orders", "SELECT * FROM tokio_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)"] {
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
