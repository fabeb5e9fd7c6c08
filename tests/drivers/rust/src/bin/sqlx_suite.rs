//! sqlx: everything prepared and cached by connection, its own pool, listeners left out.

use futures_util::{TryStreamExt, future};
use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Column, Connection, Error, Executor, PgPool, Row, Statement, TypeInfo};
use suite::{Failure, Outcome, arguments, equal, test};
use uuid::Uuid;

const KEYS: i64 = 64;
const INSERT: &str = "INSERT INTO sqlx_orders (customer_id, id, total) VALUES ($1, $2, $3)";
const TOTALS: &str = "SELECT total FROM sqlx_orders WHERE customer_id = $1 ORDER BY total";

async fn connect(url: &str) -> Result<PgConnection, Error> {
    PgConnection::connect(url).await
}

fn raises<T>(code: &str, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Err(Failure(format!("expected SQLSTATE {code}, got no error"))),
        Err(error) => {
            let got = error.as_database_error().and_then(|error| error.code()).map(|state| state.into_owned());
            equal(got, Some(code.to_owned()), &format!("{error:?}"))
        }
    }
}

async fn orders(conn: &mut PgConnection) -> Result<(), Error> {
    conn.execute("DROP TABLE IF EXISTS sqlx_orders").await?;
    conn.execute(
        "CREATE TABLE sqlx_orders (customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new',
         total numeric(12,2), PRIMARY KEY (customer_id, id))",
    )
    .await?;
    Ok(())
}

async fn add<'e>(executor: impl Executor<'e, Database = sqlx::Postgres>, key: i64, total: i64) -> Result<Uuid, Error> {
    let id = Uuid::new_v4();
    sqlx::query(INSERT).bind(key).bind(id).bind(Decimal::from(total)).execute(executor).await?;
    Ok(id)
}

async fn totals<'e>(executor: impl Executor<'e, Database = sqlx::Postgres>, key: i64) -> Result<Vec<Decimal>, Error> {
    sqlx::query_scalar(TOTALS).bind(key).fetch_all(executor).await
}

fn decimals(numbers: impl IntoIterator<Item = i64>) -> Vec<Decimal> {
    numbers.into_iter().map(Decimal::from).collect()
}

async fn connecting(url: String) -> Outcome {
    let options: PgConnectOptions = url.parse()?;
    let options = options.application_name("drivers-sqlx").options([("lock_timeout", "7s"), ("work_mem", "5MB")]);
    let mut conn = PgConnection::connect_with(&options).await?;
    for (setting, expected) in
        [("application_name", "drivers-sqlx"), ("lock_timeout", "7s"), ("work_mem", "5MB"), ("client_encoding", "UTF8")]
    {
        let got: String = sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut conn).await?;
        equal(got, expected, setting)?;
    }
    conn.ping().await?;
    conn.close().await?;
    raises("28P01", PgConnection::connect_with(&options.clone().password("wrong")).await)?;
    raises("3D000", PgConnection::connect_with(&options.database("nowhere")).await)
}

async fn types(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    conn.execute("DROP TABLE IF EXISTS sqlx_types").await?;
    conn.execute(
        "CREATE TABLE sqlx_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric, f8 float8, t text,
         b bytea, tstz timestamptz, d date, jb jsonb, ia int[], ta text[], bo bool, PRIMARY KEY (customer_id, id))",
    )
    .await?;
    let when = time::OffsetDateTime::from_unix_timestamp_nanos(1_709_251_199_999_999_000)?;
    let day = time::Date::from_calendar_date(1900, time::Month::January, 1)?;
    let number: Decimal = "-1234567890123456789.123456789".parse()?;
    let text = "Grüße, 世界 \\ ' \" \t\n";
    let bytes: Vec<u8> = (0..=255).collect();
    let json = serde_json::json!({"a": [1, 2.5, null, "x"]});
    let numbers = vec![Some(1), None, Some(-3)];
    let words = vec![Some("a".to_owned()), None, Some("q\"uo,te".to_owned()), Some(String::new())];
    for key in 1..=16_i32 {
        let id = Uuid::new_v4();
        sqlx::query("INSERT INTO sqlx_types VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)")
            .bind(key)
            .bind(id)
            .bind(i16::MIN)
            .bind(i32::MAX)
            .bind(i64::MIN)
            .bind(number)
            .bind(1e-300)
            .bind(text)
            .bind(&bytes)
            .bind(when)
            .bind(day)
            .bind(Json(&json))
            .bind(&numbers)
            .bind(&words)
            .bind(true)
            .execute(&mut conn)
            .await?;
        let row = sqlx::query("SELECT * FROM sqlx_types WHERE customer_id = $1 AND id = $2")
            .bind(key)
            .bind(id)
            .fetch_one(&mut conn)
            .await?;
        equal((row.try_get(2)?, row.try_get(3)?, row.try_get(4)?), (i16::MIN, i32::MAX, i64::MIN), "integers")?;
        equal((row.try_get(5)?, row.try_get(6)?), (number, 1e-300), "numbers")?;
        equal((row.try_get::<&str, _>(7)?, row.try_get::<Vec<u8>, _>(8)?), (text, bytes.clone()), "text and bytea")?;
        equal((row.try_get::<time::OffsetDateTime, _>(9)?, row.try_get::<time::Date, _>(10)?), (when, day), "time")?;
        equal(row.try_get::<Json<serde_json::Value>, _>(11)?.0, json.clone(), "jsonb")?;
        equal(
            (row.try_get::<Vec<Option<i32>>, _>(12)?, row.try_get::<Vec<Option<String>>, _>(13)?),
            (numbers.clone(), words.clone()),
            "arrays",
        )?;
        equal(row.try_get::<bool, _>(14)?, true, "bool")?;
        let nothing = Uuid::new_v4();
        sqlx::query("INSERT INTO sqlx_types (customer_id, id) VALUES ($1, $2)")
            .bind(key)
            .bind(nothing)
            .execute(&mut conn)
            .await?;
        let row = sqlx::query("SELECT * FROM sqlx_types WHERE customer_id = $1 AND id = $2")
            .bind(key)
            .bind(nothing)
            .fetch_one(&mut conn)
            .await?;
        equal((row.try_get::<Option<i16>, _>(2)?, row.try_get::<Option<bool>, _>(14)?), (None, None), "NULLs")?;
        let query = AssertSqlSafe(format!("SELECT i4, bo FROM sqlx_types WHERE customer_id = {key} AND id = '{id}'"));
        let row = sqlx::raw_sql(query).fetch_one(&mut conn).await?;
        equal((row.try_get(0)?, row.try_get(1)?), (i32::MAX, true), "text format")?;
    }
    Ok(())
}

async fn transactions(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    let mut transaction = conn.begin().await?;
    add(&mut *transaction, 5, 1).await?;
    {
        let mut inner = transaction.begin().await?;
        add(&mut *inner, 5, 2).await?;
        raises("22012", inner.execute("SELECT 1/0").await)?;
        raises("25P02", inner.execute("SELECT 1").await)?;
        inner.rollback().await?;
    }
    add(&mut *transaction, 5, 10).await?;
    transaction.commit().await?;
    equal(totals(&mut conn, 5).await?, decimals([1, 10]), "after commit")?;
    {
        let mut dropped = conn.begin().await?;
        add(&mut *dropped, 5, 100).await?;
    }
    equal(totals(&mut conn, 5).await?, decimals([1, 10]), "a dropped transaction is rolled back")?;
    let mut special = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let level: String = sqlx::query_scalar("SHOW transaction_isolation").fetch_one(&mut *special).await?;
    equal(level, "repeatable read", "isolation")?;
    raises("25006", add(&mut *special, 5, 3).await)?;
    special.rollback().await?;
    let mut transaction = conn.begin().await?;
    for key in 1..=16 {
        totals(&mut *transaction, key).await?;
    }
    add(&mut *transaction, 3, 1).await?;
    transaction.commit().await?;
    equal(totals(&mut conn, 3).await?, decimals([1]), "reads of many keys, a write of one")
}

async fn prepared(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    for key in 1..=KEYS {
        add(&mut conn, key, key).await?;
    }
    for _ in 0..3 {
        for key in 1..=KEYS {
            equal(totals(&mut conn, key).await?, decimals([key]), "by key")?;
        }
    }
    equal(conn.cached_statements_size() >= 2, true, "statements are cached")?;
    // More than the driver's cache of 100 holds, so that it closes some.
    for n in 0..130_i64 {
        let query = AssertSqlSafe(format!("SELECT total + {n} FROM sqlx_orders WHERE customer_id = $1"));
        let got: Decimal = sqlx::query_scalar(query).bind(n % KEYS + 1).fetch_one(&mut conn).await?;
        equal(got, Decimal::from(n % KEYS + 1 + n), "many statements")?;
    }
    let once: Vec<Decimal> = sqlx::query_scalar(TOTALS).persistent(false).bind(7_i64).fetch_all(&mut conn).await?;
    equal(once, decimals([7]), "not persistent")?;
    let described = conn
        .prepare(sqlx::SqlStr::from_static("SELECT customer_id, total FROM sqlx_orders WHERE customer_id = $1"))
        .await?;
    let columns: Vec<_> =
        described.columns().iter().map(|column| format!("{} {}", column.name(), column.type_info().name())).collect();
    equal(columns, ["customer_id INT8", "total NUMERIC"].map(str::to_owned).to_vec(), "describe")?;
    conn.execute("ALTER TABLE sqlx_orders ADD COLUMN note text DEFAULT 'none'").await?;
    for key in 1..=8 {
        equal(totals(&mut conn, key).await?, decimals([key]), "after DDL")?;
    }
    conn.clear_cached_statements().await?;
    equal(totals(&mut conn, 5).await?, decimals([5]), "after clearing the cache")
}

async fn streaming(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    for key in 1..=KEYS {
        add(&mut conn, key, key).await?;
    }
    let mut got: Vec<i64> = sqlx::query("SELECT customer_id FROM sqlx_orders WHERE total < $1")
        .bind(Decimal::from(33))
        .fetch(&mut conn)
        .and_then(|row: PgRow| async move { row.try_get::<i64, _>(0) })
        .try_collect()
        .await?;
    got.sort();
    equal(got, (1..33).collect::<Vec<i64>>(), "rows of all shards")?;
    let keys = vec![1_i64, 20, 40, 64];
    let mut got: Vec<i64> = sqlx::query_scalar("SELECT customer_id FROM sqlx_orders WHERE customer_id = ANY($1)")
        .bind(&keys)
        .fetch_all(&mut conn)
        .await?;
    got.sort();
    equal(got, keys, "rows of some keys")?;
    // Left in the middle: the driver reads the rest before the next statement.
    {
        let mut stream = sqlx::query("SELECT customer_id FROM sqlx_orders").fetch(&mut conn);
        stream.try_next().await?;
    }
    equal(totals(&mut conn, 3).await?, decimals([3]), "after a stream left in the middle")
}

async fn copying(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    let mut copy = conn.copy_in_raw("COPY sqlx_orders (customer_id, id, total) FROM STDIN (FORMAT csv)").await?;
    for key in 1..=KEYS {
        let lines: String = (0..50).map(|n| format!("{key},{},{n}\n", Uuid::new_v4())).collect();
        copy.send(lines.into_bytes()).await?;
    }
    equal(copy.finish().await?, KEYS as u64 * 50, "rows in")?;
    for key in 1..=KEYS {
        equal(totals(&mut conn, key).await?, decimals(0..50), "by key")?;
    }
    let out: Vec<_> = conn.copy_out_raw("COPY sqlx_orders (customer_id) TO STDOUT").await?.try_collect().await?;
    equal(String::from_utf8_lossy(&out.concat()).lines().count(), KEYS as usize * 50, "rows out")?;
    let mut copy = conn.copy_in_raw("COPY sqlx_orders (customer_id, id) FROM STDIN").await?;
    copy.send(format!("1\t{}\n", Uuid::new_v4()).into_bytes()).await?;
    copy.abort("given up").await?;
    equal(totals(&mut conn, 1).await?.len(), 50, "nothing of a given up COPY is kept")?;
    conn.execute("DROP TABLE IF EXISTS sqlx_countries").await?;
    conn.execute("CREATE TABLE sqlx_countries (code text PRIMARY KEY, name text NOT NULL)").await?;
    let mut copy = conn.copy_in_raw("COPY sqlx_countries FROM STDIN").await?;
    copy.send("new\tNewland\nat\tAustria\n".as_bytes()).await?;
    copy.finish().await?;
    for key in 1..=16_i64 {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT c.name FROM sqlx_orders o JOIN sqlx_countries c ON c.code = o.status WHERE o.customer_id = $1",
        )
        .bind(key)
        .fetch_all(&mut conn)
        .await?;
        equal(names, vec!["Newland".to_owned()], "join with a reference table")?;
    }
    Ok(())
}

async fn errors(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    let id = add(&mut conn, 13, 1).await?;
    let same = sqlx::query(INSERT).bind(13_i64).bind(id).bind(Decimal::ONE).execute(&mut conn).await;
    let constraint =
        same.as_ref().err().and_then(|error| error.as_database_error()).and_then(|error| error.constraint());
    equal(constraint, Some("sqlx_orders_pkey"), "constraint")?;
    raises("23505", same)?;
    for (code, text) in [
        ("42601", "SELEC 1"),
        ("42P01", "SELECT * FROM sqlx_no_such_table"),
        ("42703", "SELECT x FROM sqlx_orders WHERE customer_id = 1"),
        ("22012", "SELECT 1/0"),
    ] {
        raises(code, sqlx::query(text).execute(&mut conn).await)?;
        raises(code, sqlx::raw_sql(text).execute(&mut conn).await)?;
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut conn).await?;
        equal(one, 1, "usable afterwards")?;
    }
    conn.execute("SET statement_timeout = '200ms'").await?;
    raises("57014", conn.execute("SELECT pg_sleep(50)").await)?;
    conn.execute("RESET statement_timeout").await?;
    let several = sqlx::raw_sql("SELECT 1; SELECT 2; SELECT 3").fetch_all(&mut conn).await?;
    equal(several.len(), 3, "several statements in one simple query")
}

async fn introspection(url: String) -> Outcome {
    #[derive(sqlx::Type, Debug, PartialEq, Clone, Copy)]
    #[sqlx(type_name = "sqlx_mood", rename_all = "lowercase")]
    enum Mood {
        Sad,
        Glad,
    }
    let mut conn = connect(&url).await?;
    conn.execute("DROP TABLE IF EXISTS sqlx_moods").await?;
    conn.execute("DROP TYPE IF EXISTS sqlx_mood").await?;
    conn.execute("CREATE TYPE sqlx_mood AS ENUM ('sad', 'glad')").await?;
    conn.execute("CREATE TABLE sqlx_moods (customer_id int PRIMARY KEY, mood sqlx_mood)").await?;
    for key in 1..=16_i32 {
        let mood = if key % 2 == 0 { Mood::Sad } else { Mood::Glad };
        sqlx::query("INSERT INTO sqlx_moods VALUES ($1, $2)").bind(key).bind(mood).execute(&mut conn).await?;
        let got: Mood = sqlx::query_scalar("SELECT mood FROM sqlx_moods WHERE customer_id = $1")
            .bind(key)
            .fetch_one(&mut conn)
            .await?;
        equal(got, mood, "mood")?;
    }
    Ok(())
}

async fn pool(url: String) -> Outcome {
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(6)
        .after_connect(|conn, _| {
            Box::pin(async move { conn.execute("SET statement_timeout = '30s'").await.map(|_| ()) })
        })
        .after_release(|conn, _| {
            Box::pin(async move { conn.execute("SELECT pg_advisory_unlock_all()").await.map(|_| true) })
        })
        .connect(&url)
        .await?;
    orders(&mut *pool.acquire().await?).await?;
    let work = (1..=KEYS).map(|key| {
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin().await?;
            for n in 0..4 {
                add(&mut *transaction, key, n).await?;
            }
            transaction.commit().await?;
            totals(&pool, key).await
        }
    });
    for got in future::try_join_all(work).await? {
        equal(got, decimals(0..4), "each worker's rows")?;
    }
    let setting: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&pool).await?;
    equal(setting, "30s", "set by after_connect")?;
    pool.close().await;
    Ok(())
}

async fn drop_all(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    for table in ["orders", "types", "countries", "moods"] {
        conn.execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS sqlx_{table}"))).await?;
    }
    conn.execute("DROP TYPE IF EXISTS sqlx_mood").await?;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'sqlx\\_%'")
        .fetch_one(&mut conn)
        .await?;
    equal(left, 0, "tables left")
}

async fn all_shards(url: String) -> Outcome {
    let mut conn = connect(&url).await?;
    orders(&mut conn).await?;
    for key in 1..=KEYS {
        add(&mut conn, key, key).await?;
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlx_orders").fetch_one(&mut conn).await?;
    equal(count, KEYS, "rows of all shards")?;
    let largest: Vec<Decimal> = sqlx::query_scalar("SELECT total FROM sqlx_orders ORDER BY total DESC LIMIT $1")
        .bind(2i64)
        .fetch_all(&mut conn)
        .await?;
    equal(largest, decimals([KEYS, KEYS - 1]), "the largest")?;
    for statement in ["SELECT ctid FROM sqlx_orders", "SELECT * FROM sqlx_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)"] {
        raises("0A000", sqlx::query(statement).execute(&mut conn).await)?;
        raises("0A000", sqlx::raw_sql(statement).execute(&mut conn).await)?;
    }
    for kept in [false, true] {
        let mut transaction = conn.begin().await?;
        for key in 1..=KEYS {
            add(&mut *transaction, key, 0).await?;
        }
        if kept {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        for key in 1..=KEYS {
            let expected = if kept { decimals([0, key]) } else { decimals([key]) };
            equal(totals(&mut conn, key).await?, expected, "all of it was kept, or nothing")?;
        }
    }
    let deleted = sqlx::query("DELETE FROM sqlx_orders").execute(&mut conn).await?.rows_affected();
    equal(deleted, 2 * KEYS.unsigned_abs(), "rows deleted")?;
    conn.execute("DROP TABLE sqlx_orders").await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    let (url, gateway) = arguments();
    test("connect with application_name and options; wrong password and database", connecting(url.clone())).await;
    test("types go in and come back, binary and text, over many keys", types(url.clone())).await;
    test("commit, rollback, savepoint, errors", transactions(url.clone())).await;
    test("prepared statements re-used over many keys, and after DDL", prepared(url.clone())).await;
    test("SELECT without key returns the rows of all shards, streamed", streaming(url.clone())).await;
    test("COPY in and out, rows of every shard", copying(url.clone())).await;
    test("errors keep SQLSTATE and fields; the connection is usable afterwards", errors(url.clone())).await;
    test("types looked up in the catalog", introspection(url.clone())).await;
    test("pool with after_connect and after_release, many workers", pool(url.clone())).await;
    test("dropping what the suite made", drop_all(url.clone())).await;
    if gateway {
        test("all shards: aggregates, order, transactions; what is refused", all_shards(url)).await;
    }
    println!("end");
}
