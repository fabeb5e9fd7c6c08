//! Ways to write two shards at once. Each leaves two rows in `ledger`, or none, that add up to nothing.

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, Error};

/// What they write; `rates` is a reference table.
pub const TABLES: &str =
    "CREATE TABLE ledger (customer_id int8, unit int8, v int8 NOT NULL, PRIMARY KEY (customer_id, unit));
    CREATE TABLE pending (customer_id int8, unit int8, v int8 NOT NULL, PRIMARY KEY (customer_id, unit));
    CREATE TABLE rates (id int8 PRIMARY KEY, v int8 NOT NULL);
    INSERT INTO rates VALUES (1, 0), (2, 0)";

/// Says that `rates` is one.
pub const CONFIG: &str = "[tables.rates]\nkind = \"reference\"\n";

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Block,
    ReadOnly,
    Rows,
    Parameters,
    Copy,
    InsertSelect,
    Gathered,
    WritingCte,
    Merge,
    KeyMove,
    Reference,
    TableAs,
}

pub const ALL: [Way; 12] = [
    Way::Block,
    Way::ReadOnly,
    Way::Rows,
    Way::Parameters,
    Way::Copy,
    Way::InsertSelect,
    Way::Gathered,
    Way::WritingCte,
    Way::Merge,
    Way::KeyMove,
    Way::Reference,
    Way::TableAs,
];

/// Who writes what: a key on one shard and one on another, both with a row in `accounts`.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    pub id: i64,
    pub one: i64,
    pub other: i64,
    pub amount: i64,
}

impl Unit {
    fn row(&self, key: i64, amount: i64) -> String {
        format!("({key}, {}, {amount})", self.id)
    }

    fn rows(&self) -> String {
        format!("{}, {}", self.row(self.one, self.amount), self.row(self.other, -self.amount))
    }

    /// What a way sends; `None` for those that need more than texts.
    pub fn script(&self, way: Way) -> Option<String> {
        let Unit { id, one, other, amount } = *self;
        Some(match way {
            Way::Parameters | Way::Copy => return None,
            Way::Block => format!(
                "BEGIN; INSERT INTO ledger VALUES {}; INSERT INTO ledger VALUES {}; COMMIT",
                self.row(one, amount),
                self.row(other, -amount)
            ),
            // Nothing more can be written when it commits.
            Way::ReadOnly => format!(
                "BEGIN; INSERT INTO ledger VALUES {}; SET TRANSACTION READ ONLY; COMMIT",
                self.rows()
            ),
            Way::Rows => format!("INSERT INTO ledger VALUES {}", self.rows()),
            Way::InsertSelect => format!(
                "INSERT INTO ledger SELECT customer_id, {id}, CASE customer_id WHEN {one} THEN {amount} ELSE {} END
                 FROM accounts WHERE customer_id IN ({one}, {other})",
                -amount
            ),
            // The rows change shards.
            Way::Gathered => format!(
                "INSERT INTO ledger SELECT {one} + {other} - customer_id, {id}, CASE customer_id WHEN {one} THEN {amount} ELSE {} END
                 FROM accounts WHERE customer_id IN ({one}, {other})",
                -amount
            ),
            Way::WritingCte => format!(
                "BEGIN; INSERT INTO pending VALUES {};
                 WITH d AS (DELETE FROM pending WHERE unit = {id} RETURNING *) INSERT INTO ledger SELECT * FROM d; COMMIT",
                self.rows()
            ),
            Way::Merge => format!(
                "MERGE INTO ledger l USING (VALUES {}) s (c, u, v) ON l.customer_id = s.c AND l.unit = s.u
                 WHEN NOT MATCHED THEN INSERT VALUES (s.c, s.u, s.v)",
                self.rows()
            ),
            // Both rows are on one shard before.
            Way::KeyMove => format!(
                "BEGIN; INSERT INTO ledger VALUES {}, {};
                 UPDATE ledger SET customer_id = {other} WHERE customer_id = {one} AND unit = -{id};
                 UPDATE ledger SET unit = {id} WHERE customer_id = {other} AND unit = -{id}; COMMIT",
                self.row(one, amount),
                format_args!("({one}, -{id}, -{amount})")
            ),
            Way::Reference => format!(
                "BEGIN; UPDATE rates SET v = v + 1 WHERE id = 1; INSERT INTO ledger VALUES {}; COMMIT",
                self.rows()
            ),
            Way::TableAs => format!(
                "BEGIN; CREATE TABLE made_{id} AS SELECT customer_id, v FROM accounts; INSERT INTO ledger VALUES {}; COMMIT",
                self.rows()
            ),
        })
    }

    /// Does it.
    pub async fn run(&self, client: &Client, way: Way) -> Result<(), Error> {
        match (self.script(way), way) {
            (Some(script), _) => client.batch_execute(&script).await,
            (None, Way::Copy) => {
                let sink = client.copy_in("COPY ledger FROM STDIN").await?;
                let mut sink = std::pin::pin!(sink);
                for (key, amount) in [(self.one, self.amount), (self.other, -self.amount)] {
                    sink.send(Bytes::from(format!("{key}\t{}\t{amount}\n", self.id))).await?;
                }
                sink.finish().await.map(drop)
            }
            (None, _) => {
                let text = "INSERT INTO ledger VALUES ($1, $2, $3), ($4, $2, $5)";
                client.execute(text, &[&self.one, &self.id, &self.amount, &self.other, &-self.amount]).await.map(drop)
            }
        }
    }
}
