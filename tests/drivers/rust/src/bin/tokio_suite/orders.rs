//! Connections, and the table that most tests fill.

use rust_decimal::Decimal;
use suite::{Failure, Outcome, equal};
use tokio_postgres::{Client, Config, Error, NoTls};
use uuid::Uuid;

pub const KEYS: i64 = 64;
pub const INSERT: &str = "INSERT INTO tokio_orders (customer_id, id, total) VALUES ($1, $2, $3)";
pub const TOTALS: &str = "SELECT total FROM tokio_orders WHERE customer_id = $1 ORDER BY total";

pub async fn connect(url: &str) -> Result<Client, Error> {
    start(&url.parse()?).await
}

pub async fn start(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub fn raises<T>(code: &str, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Err(Failure(format!("expected SQLSTATE {code}, got no error"))),
        Err(error) => {
            equal(error.code().map(|state| state.code().to_owned()), Some(code.to_owned()), &format!("{error:?}"))
        }
    }
}

pub async fn orders(client: &Client) -> Result<(), Error> {
    client.batch_execute("DROP TABLE IF EXISTS tokio_orders").await?;
    let columns =
        "customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new', total numeric(12,2)";
    client.batch_execute(&format!("CREATE TABLE tokio_orders ({columns}, PRIMARY KEY (customer_id, id))")).await
}

pub async fn add(client: &Client, key: i64, total: i64) -> Result<Uuid, Error> {
    let id = Uuid::new_v4();
    client.execute(INSERT, &[&key, &id, &Decimal::from(total)]).await?;
    Ok(id)
}

pub async fn totals(client: &Client, key: i64) -> Result<Vec<Decimal>, Error> {
    Ok(client.query(TOTALS, &[&key]).await?.iter().map(|row| row.get(0)).collect())
}

pub fn decimals(numbers: impl IntoIterator<Item = i64>) -> Vec<Decimal> {
    numbers.into_iter().map(Decimal::from).collect()
}
