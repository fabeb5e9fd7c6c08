//! The rows that every script finds.

use crate::client::Client;

/// Customers 1 to this.
pub const CUSTOMERS: i64 = 12;

/// Statements that fill the sharded tables, each with rows of one key, the same every time.
pub fn rows() -> Vec<String> {
    let mut statements = Vec::new();
    let statuses = ["new", "paid", "sent", "Ärger", ""];
    for customer in 1..=CUSTOMERS {
        let country = ["DE", "FR", "US"][customer as usize % 3];
        let name = if customer == 5 { "NULL".into() } else { format!("'customer {customer}'") };
        statements.push(format!(
            "INSERT INTO customers VALUES ({customer}, {name}, '{country}', {}, DATE '2020-01-01' + {customer}, {customer}.25)",
            customer % 4 == 0
        ));
        // Some customers have no orders, customer 3 has many.
        let orders = if customer == 3 { 9 } else { customer % 4 };
        for order in 1..=orders {
            let status = statuses[((customer + order) % 5) as usize];
            let total =
                if order == 4 { "NULL".into() } else { format!("{}.{:02}", customer * 37 * order % 250, order) };
            statements.push(format!(
                "INSERT INTO orders VALUES ({customer}, {order}, '{status}', {total}, TIMESTAMPTZ '2026-01-01 00:00Z' + INTERVAL '{} hours', {})",
                customer * 31 + order,
                if order % 2 == 0 { "NULL" } else { "'note'" },
            ));
            for line in 1..=(order % 3) {
                let product = (customer + line) % 4 + 1;
                statements
                    .push(format!("INSERT INTO items VALUES ({customer}, {order}, {line}, {product}, {line}, 1.5)"));
            }
            if order % 3 == 0 {
                statements.push(format!("INSERT INTO refunds VALUES ({customer}, {order}, 1.{order})"));
            }
        }
        statements.push(format!("INSERT INTO lineitem VALUES ({customer}, 1, 5), ({customer}, 2, {customer}.5)"));
        statements.push(format!("INSERT INTO k_int2 VALUES ({customer}, 1)"));
        statements.push(format!("INSERT INTO k_int4 VALUES (-{customer}, 2)"));
        statements.push(format!("INSERT INTO k_text VALUES ('key {customer}', 3)"));
        statements.push(format!("INSERT INTO k_varchar VALUES ('{customer}', 4)"));
        statements.push(format!("INSERT INTO k_char VALUES ('c{customer}', 5)"));
        statements.push(format!("INSERT INTO k_uuid VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd3800{customer:02}', 6)"));
        statements.push(format!("INSERT INTO archive.orders VALUES ({customer}, 1, 2020)"));
        statements.push(format!("INSERT INTO \"Odd Table\" VALUES ({customer}, 'w', {customer})"));
    }
    statements.push("INSERT INTO k_text VALUES ('', 31)".into());
    statements.push("INSERT INTO k_text VALUES ('12345', 32)".into());
    statements.push("INSERT INTO k_text VALUES ('grün', 33)".into());
    statements
}

/// Tables, for comparing what they hold in the end.
pub const TABLES: &[&str] = &[
    "customers",
    "orders",
    "items",
    "refunds",
    "countries",
    "products",
    "settings",
    "lineitem",
    "k_int2",
    "k_int4",
    "k_text",
    "k_varchar",
    "k_char",
    "k_uuid",
    "archive.orders",
    "\"Odd Table\"",
];

/// Configuration of the tables whose kind does not follow from their columns.
pub const CONFIG: &str = "[tables.countries]\nkind = \"reference\"\n[tables.products]\nkind = \"reference\"\n\
                          [tables.lineitem]\nkey = \"l_orderkey\"\n";

/// Drops what scripts leave and makes schema and rows anew.
pub fn make(client: &mut Client, schema: &[String]) {
    let leftovers = client.rows(
        "SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, \
         oid::regclass) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'S') AND relnamespace = 'public'::regnamespace \
         ORDER BY relkind = 'S', oid",
    );
    leftovers.into_iter().flatten().flatten().for_each(|statement| client.run(&statement));
    client.run("DROP SCHEMA IF EXISTS archive CASCADE");
    for statement in schema.iter().chain(&rows()) {
        client.run(statement);
    }
}
