//! Tables and rows that queries are generated over: sharded, reference and home tables; NULLs, one shard without rows, one customer with many.

use crate::client::Client;
use Type::*;

/// What a column holds, as far as expressions over it matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// int2, int4, int8.
    Int,
    /// numeric with two digits.
    Num,
    Text,
    Bool,
    Date,
    Ts,
    /// float8, multiples of a quarter: sums of them are exact in any order.
    Float,
    Uuid,
    Bytes,
    Json,
    Array,
    Span,
    /// An enum whose order is not that of its labels.
    Mood,
    /// int4range.
    Range,
    /// text in collation "C".
    Code,
}

/// A table with its columns.
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Type)],
    /// Columns that tell its rows apart.
    pub unique: &'static [&'static str],
}

/// All tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "orders",
        columns: &[
            ("customer_id", Int),
            ("id", Int),
            ("status", Text),
            ("total", Num),
            ("ts", Ts),
            ("note", Text),
            ("qty", Int),
            ("ratio", Float),
            ("day", Date),
            ("gift", Bool),
            ("took", Span),
            ("mood", Mood),
            ("span", Range),
        ],
        unique: &["customer_id", "id"],
    },
    Table {
        name: "customers",
        columns: &[
            ("customer_id", Int),
            ("name", Text),
            ("country", Text),
            ("vip", Bool),
            ("since", Date),
            ("credit", Num),
            ("ref", Uuid),
            ("profile", Json),
            ("tags", Array),
            ("grade", Int),
            ("nick", Code),
        ],
        unique: &["customer_id"],
    },
    Table {
        name: "items",
        columns: &[
            ("customer_id", Int),
            ("order_id", Int),
            ("line", Int),
            ("product_id", Int),
            ("quantity", Int),
            ("price", Num),
            ("raw", Bytes),
        ],
        unique: &["customer_id", "order_id", "line"],
    },
    Table {
        name: "refunds",
        columns: &[("customer_id", Int), ("id", Int), ("amount", Num), ("why", Text)],
        unique: &["customer_id", "id"],
    },
    Table { name: "nothing", columns: &[("customer_id", Int), ("v", Int), ("t", Text)], unique: &["customer_id"] },
    Table { name: "countries", columns: &[("code", Text), ("name", Text), ("people", Int)], unique: &["code"] },
    Table {
        name: "products",
        columns: &[("id", Int), ("name", Text), ("price", Num), ("kind", Text)],
        unique: &["id"],
    },
    Table { name: "settings", columns: &[("key", Text), ("value", Text), ("n", Int)], unique: &["key"] },
];

/// Configuration of tables whose kind does not follow from their columns.
pub const CONFIG: &str = "[tables.countries]\nkind = \"reference\"\n[tables.products]\nkind = \"reference\"\n";

const SCHEMA: &str = "
CREATE TYPE mood AS ENUM ('sad', 'fine', 'angry');
CREATE DOMAIN grade AS int4 CHECK (VALUE BETWEEN 0 AND 9);
CREATE TABLE customers (customer_id int8 PRIMARY KEY, name text, country char(2), vip bool, since date, credit numeric(10,2), ref uuid, profile jsonb, tags text[], grade grade, nick text COLLATE \"C\");
CREATE TABLE orders (customer_id int8, id int8, status text, total numeric(12,2), ts timestamptz, note varchar(20), qty int4, ratio float8, day date, gift bool, took interval, mood mood, span int4range, PRIMARY KEY (customer_id, id));
CREATE TABLE items (customer_id int8, order_id int8, line int4, product_id int4, quantity int2, price numeric(10,2), raw bytea, PRIMARY KEY (customer_id, order_id, line));
CREATE TABLE refunds (customer_id int8, id int8, amount numeric(12,2), why text);
CREATE TABLE nothing (customer_id int8, v int4, t text);
CREATE TABLE countries (code char(2) PRIMARY KEY, name text, people int8);
CREATE TABLE products (id int4 PRIMARY KEY, name text, price numeric(10,2), kind varchar(10));
CREATE TABLE settings (key text PRIMARY KEY, value text, n int4);
INSERT INTO countries VALUES ('DE', 'Germany', 83), ('FR', 'France', 67), ('US', 'United States', 331), ('ZZ', NULL, NULL);
INSERT INTO products VALUES (1, 'apple', 0.50, 'fruit'), (2, 'pear', 0.70, 'fruit'), (3, 'plum', 1.25, 'fruit'), (4, 'gold', 999.99, 'metal'), (5, 'Ärger', NULL, NULL);
INSERT INTO settings VALUES ('colour', 'blue', 1), ('size', '7', 7), ('empty', NULL, NULL)";

/// Makes schema and rows. `left_out`: customers that have none.
pub fn make(client: &mut Client, left_out: &[i64]) {
    SCHEMA.split(";\n").for_each(|statement| client.run(statement));
    for customer in (1..=CUSTOMERS).filter(|customer| !left_out.contains(customer)) {
        rows(customer).iter().for_each(|statement| client.run(statement));
    }
}

/// Customers are numbered from 1 to this.
pub const CUSTOMERS: i64 = 36;

fn rows(customer: i64) -> Vec<String> {
    let null_if = |is_null: bool, value: String| if is_null { "NULL".to_owned() } else { value };
    let n = customer;
    let name = null_if(n % 7 == 5, format!("'customer {}'", n % 10));
    let country = null_if(n % 11 == 0, format!("'{}'", ["DE", "FR", "US"][n as usize % 3]));
    let mut statements = vec![format!(
        "INSERT INTO customers VALUES ({n}, {name}, {country}, {}, {}, {}, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd38{n:04}', '{{\"a\": {}}}', {}, {}, {})",
        null_if(n % 5 == 0, (n % 4 == 0).to_string()),
        null_if(n % 6 == 0, format!("DATE '2020-01-01' + {}", n % 9)),
        null_if(n % 8 == 0, format!("{}.25", n % 5)),
        n % 3,
        null_if(n % 4 == 1, format!("ARRAY['t{}', NULL]", n % 3)),
        null_if(n % 6 == 1, (n % 5).to_string()),
        null_if(n % 9 == 2, format!("'{}'", ["a", "B", "Ä", "b", ""][n as usize % 5])),
    )];
    let orders = if n == 3 { 25 } else { n % 4 };
    for id in 1..=orders {
        let k = n * 7 + id;
        let status = ["new", "paid", "sent", "Ärger", ""][(k % 5) as usize];
        statements.push(format!(
            "INSERT INTO orders VALUES ({n}, {id}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            null_if(k % 13 == 0, format!("'{status}'")),
            null_if(k % 6 == 0, format!("{}.{:02}", k * 37 % 250, k % 4 * 25)),
            null_if(k % 10 == 0, format!("TIMESTAMPTZ '2026-01-01 00:00Z' + INTERVAL '{} hours'", k % 40)),
            null_if(k % 2 == 0, format!("'note {}'", k % 3)),
            null_if(k % 9 == 0, (k % 6 - 2).to_string()),
            null_if(k % 8 == 0, format!("{}", (k % 17) as f64 * 0.25)),
            null_if(k % 12 == 0, format!("DATE '2026-01-01' + {}", k % 6)),
            null_if(k % 3 == 0, (k % 2 == 0).to_string()),
            null_if(k % 5 == 0, format!("INTERVAL '{} minutes'", k % 7)),
            null_if(k % 7 == 3, format!("'{}'", ["sad", "fine", "angry"][k as usize % 3])),
            null_if(k % 4 == 3, format!("'[{}, {})'", k % 5, k % 5 + k % 3)),
        ));
        for line in 1..=(k % 3) {
            statements.push(format!(
                "INSERT INTO items VALUES ({n}, {id}, {line}, {}, {}, {}, {})",
                null_if(k % 7 == 0, ((k + line) % 5 + 1).to_string()),
                null_if(k % 11 == 0, (k % 4).to_string()),
                null_if(k % 5 == 0, format!("{}.5", k % 4)),
                null_if(k % 4 == 0, format!("'\\x{:02x}'", k % 9)),
            ));
        }
        if k % 3 == 0 {
            statements.push(format!("INSERT INTO refunds VALUES ({n}, {id}, {}.{:02}, 'why {}')", k % 4, k % 3, k % 2));
        }
    }
    statements
}
