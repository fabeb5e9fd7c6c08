//! How statements and rows travel: prepared, pipelined, in portions, by COPY, in simple queries.

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, future, pin_mut};
use rust_decimal::Decimal;
use suite::{Outcome, equal};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::orders::{INSERT, KEYS, TOTALS, add, connect, decimals, orders, raises, totals};

pub async fn prepared(url: String) -> Outcome {
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

pub async fn pipelined(url: String) -> Outcome {
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

pub async fn portals(url: String) -> Outcome {
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

pub async fn copying(url: String) -> Outcome {
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

pub async fn simple(url: String) -> Outcome {
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
