//! Values of many types, and types that the driver looks up in the catalog.

use std::time::{Duration, SystemTime};

use rust_decimal::Decimal;
use suite::{Outcome, equal};
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

use crate::orders::connect;

pub async fn types(url: String) -> Outcome {
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

pub async fn introspection(url: String) -> Outcome {
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
