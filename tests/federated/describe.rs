//! What Describe of a statement tells before any Bind: parameters' types, and columns with names, types, modifiers, tables and numbers.

use std::collections::HashMap;

use crate::client::{Client, Received, frame, parse, row_description, target};

/// Statements with parameters, whose types PostgreSQL infers from what stands beside them.
pub const PARAMETERS: &[&str] = &[
    "SELECT count(*), max(total) FROM orders WHERE qty = $1 AND mood < $2",
    "SELECT a.total, b.name, b.tags FROM orders a JOIN customers b ON b.grade = a.qty WHERE b.nick = $1 ORDER BY a.id LIMIT $2",
    "SELECT status, sum(total) * $1 AS s FROM orders GROUP BY status HAVING sum(total) > $2",
    "SELECT $1::mood, $2 || name, code FROM countries, orders WHERE span && $3",
    "SELECT note, country, total, took, mood, span FROM orders JOIN customers USING (customer_id) WHERE customers.customer_id = $1",
    "SELECT x.* FROM (SELECT DISTINCT status, note, total FROM orders) x WHERE x.total IN ($1, $2)",
    "SELECT o, o.note, (SELECT name FROM products p WHERE p.id = o.qty) FROM orders o ORDER BY o.id + $1",
    "SELECT id FROM orders UNION SELECT id FROM products WHERE price < $1",
];

/// A description with names in place of numbers, which differ from server to server.
pub fn described(client: &mut Client, sql: &str) -> String {
    let mut bytes = parse(b"", sql.as_bytes(), &[]);
    bytes.extend(target(b'D', b'S', b""));
    bytes.extend(frame(b'S', b""));
    client.send(&bytes);
    let (mut types, mut columns, mut error) = (Vec::new(), Vec::new(), false);
    for received in client.receive_ready() {
        let Received::Message(message) = received else { continue };
        match message.tag {
            b't' => types = message.body[2..].chunks(4).map(|oid| u32::from_be_bytes(oid.try_into().unwrap())).collect(),
            b'T' => columns = row_description(&message.body),
            b'E' => error = true,
            _ => {}
        }
    }
    if error {
        return "an error".to_owned();
    }
    let mut names = Names { client, known: HashMap::new() };
    let types: Vec<String> = types.into_iter().map(|oid| names.of("regtype", oid)).collect();
    let mut lines = vec![format!("parameters {}", types.join(", "))];
    for column in columns {
        let name = String::from_utf8_lossy(&column.name).into_owned();
        let (kind, table) = (names.of("regtype", column.type_oid), names.of("regclass", column.table));
        lines.push(format!("{name} {kind} {} of {table} {}", column.typmod, column.attribute));
    }
    lines.join("\n")
}

struct Names<'c> {
    client: &'c mut Client,
    known: HashMap<(&'static str, u32), String>,
}

impl Names<'_> {
    fn of(&mut self, kind: &'static str, oid: u32) -> String {
        let client = &mut *self.client;
        self.known.entry((kind, oid)).or_insert_with(|| client.value(&format!("SELECT {oid}::{kind}::text"))).clone()
    }
}
