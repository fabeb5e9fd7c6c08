//! Random writes and transactions of several statements, with errors in their middle.

use crate::random::Generator;
use crate::script::{Expectation, Statement};

/// Statements that belong together: one alone, or a block.
pub struct Unit {
    /// In order, BEGIN and its end included.
    pub statements: Vec<Statement>,
    /// They are a block.
    pub block: bool,
}

fn statement(sql: String, ordered: bool, parameters: Option<Vec<Option<String>>>) -> Statement {
    Statement { line: 0, either_line: None, sql, expectation: Expectation::Either, ordered, parameters }
}

/// A statement of these words, by the simple protocol.
pub fn plain(sql: impl Into<String>) -> Statement {
    statement(sql.into(), false, None)
}

impl Generator {
    /// A statement alone or a block.
    pub fn unit(&mut self) -> Unit {
        match self.below(12) {
            0..=6 => return Unit { statements: vec![self.write()], block: false },
            7 => return Unit { statements: vec![self.message()], block: false },
            _ => {}
        }
        let mut statements = vec![plain("BEGIN")];
        for _ in 0..self.below(6) + 1 {
            let name = self.one_of(&["a", "a", "b"]);
            match self.below(12) {
                0 => statements.push(plain(format!("SAVEPOINT {name}"))),
                1 => statements.push(plain(format!("ROLLBACK TO {name}"))),
                2 => statements.push(plain(format!("RELEASE {name}"))),
                3 => statements.push(self.read()),
                // The block fails, unless it has, and a savepoint brings it back.
                4 => statements.extend([plain(format!("SAVEPOINT {name}")), self.write(), plain("SELECT 1 / 0")]),
                5 => statements.push(plain(format!("ROLLBACK TO {name}"))),
                _ => statements.push(self.write()),
            }
        }
        statements.push(plain(self.one_of(&["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])));
        Unit { statements, block: true }
    }

    fn read(&mut self) -> Statement {
        let (condition, lock) = (self.condition("o"), self.one_of(&["", " FOR UPDATE", " FOR KEY SHARE"]));
        plain(format!("SELECT * FROM orders o WHERE {condition}{lock}"))
    }

    /// Several statements in one message: a transaction of their own.
    fn message(&mut self) -> Statement {
        let texts: Vec<String> = (0..self.below(3) + 2)
            .map(|_| {
                loop {
                    let write = self.write_simply();
                    if write.parameters.is_none() {
                        return write.sql;
                    }
                }
            })
            .collect();
        plain(texts.join("; "))
    }

    fn write(&mut self) -> Statement {
        let mut write = self.write_simply();
        if write.parameters.is_none() && self.below(4) == 0 {
            write.parameters = Some(Vec::new());
        }
        write
    }

    fn write_simply(&mut self) -> Statement {
        match self.below(16) {
            0..=3 => self.insert_rows(),
            4..=5 => self.insert_parameters(),
            6 => self.insert_select(),
            7..=9 => self.update(),
            10..=11 => self.delete(),
            12..=13 => self.reference(),
            14 => self.move_rows(),
            _ => self.other(),
        }
    }

    fn returning(&mut self) -> &'static str {
        self.one_of(&["", "", " RETURNING *", " RETURNING id, customer_id + 1 AS next", " RETURNING customer_id"])
    }

    fn key_value(&mut self) -> String {
        let key = self.key();
        match self.below(8) {
            0 => format!("{key} + 0"),
            1 => format!("'{key}'"),
            2 => format!("abs(-{key})"),
            3 => format!("{key}.0"),
            _ => key,
        }
    }

    fn insert_rows(&mut self) -> Statement {
        let count = self.below(5) + 1;
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let (key, id, total) = (self.key_value(), self.below(40), self.below(900));
                let ts = self.one_of(&["NULL", "DEFAULT", "date_trunc('millennium', now())", "'2026-01-01 00:00Z'"]);
                format!("({key}, {id}, 's{}', {total} / 10.0, {ts})", id % 3)
            })
            .collect();
        let conflict = self.one_of(&[
            "",
            "",
            " ON CONFLICT DO NOTHING",
            " ON CONFLICT (customer_id, id) DO UPDATE SET note = 'again', total = excluded.total + orders.total",
            " ON CONFLICT (customer_id, id) DO UPDATE SET note = excluded.status WHERE orders.id % 2 = 0",
        ]);
        let returning = self.returning();
        let sql = format!(
            "INSERT INTO orders (customer_id, id, status, total, ts) VALUES {}{conflict}{returning}",
            rows.join(", ")
        );
        statement(sql, conflict.is_empty(), None)
    }

    fn insert_parameters(&mut self) -> Statement {
        let rows = self.below(4) + 1;
        let mut parameters = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..rows {
            let (key, id) = (self.key(), self.below(40).to_string());
            let at = parameters.len();
            let key_text = self.one_of(&["$K", "$K", "$K", "$K::int8 + 0"]).replace("$K", &format!("${}", at + 1));
            texts.push(format!("({key_text}, ${}, ${})", at + 2, at + 3));
            let status = if self.below(4) == 0 { None } else { Some(format!("p'{id}")) };
            parameters.extend([Some(key), Some(id), status]);
        }
        let returning = self.returning();
        let sql = format!("INSERT INTO orders (customer_id, id, status) VALUES {}{returning}", texts.join(", "));
        statement(sql, true, Some(parameters))
    }

    fn insert_select(&mut self) -> Statement {
        let condition = self.condition("o");
        let returning = self.one_of(&["", "", " RETURNING *"]);
        plain(match self.below(12) {
            0 => format!("INSERT INTO refunds SELECT o.customer_id, o.id, o.total FROM orders o WHERE {condition}"),
            3 => format!(
                "INSERT INTO refunds SELECT o.customer_id + i.line, count(*), sum(o.total) FROM orders o JOIN items i ON i.order_id = o.id WHERE {condition} GROUP BY 1{returning}"
            ),
            4 => format!(
                "INSERT INTO refunds SELECT max(o.customer_id) + 1, o.id % 3, count(*) FROM orders o WHERE {condition} GROUP BY 2{returning}"
            ),
            5 => format!(
                "INSERT INTO orders AS t (customer_id, id, total) SELECT DISTINCT o.id, o.customer_id, 1 FROM orders o WHERE {condition} AND o.id IS NOT NULL ON CONFLICT (customer_id, id) DO UPDATE SET total = excluded.total + coalesce(t.total, 0){returning}"
            ),
            6 => format!(
                "INSERT INTO settings SELECT o.status || o.customer_id, count(*) FROM orders o WHERE {condition} GROUP BY 1 ON CONFLICT (key) DO UPDATE SET value = excluded.value{returning}"
            ),
            7 => format!(
                "INSERT INTO countries SELECT left(c.name, 2), max(c.name) FROM customers c JOIN orders o ON o.id = c.customer_id WHERE {condition} GROUP BY 1 ON CONFLICT DO NOTHING{returning}"
            ),
            8 => format!(
                "INSERT INTO k_int4 SELECT o.id, 10 / (o.customer_id - 2) FROM orders o WHERE {condition}{returning}"
            ),
            9 => format!(
                "INSERT INTO orders (customer_id, id, note) SELECT o.customer_id + 1, o.id + 40, 'moved' FROM orders o WHERE {condition} AND o.id < 40{returning}"
            ),
            1 => format!(
                "INSERT INTO orders (customer_id, id, note) SELECT o.customer_id, o.id + 100, o.status FROM orders o WHERE {condition} AND o.id < 40 ON CONFLICT DO NOTHING"
            ),
            2 => format!(
                "INSERT INTO refunds SELECT i.customer_id, i.order_id, o.total FROM orders o JOIN items i ON i.customer_id = o.customer_id AND i.order_id = o.id WHERE {condition} RETURNING *"
            ),
            _ => format!("INSERT INTO refunds SELECT o.customer_id + 1, o.id, o.total FROM orders o WHERE {condition}"),
        })
    }

    fn update(&mut self) -> Statement {
        let condition = self.condition("o");
        let set = self.one_of(&[
            "total = coalesce(total, 0) + 1",
            "status = 'u' || o.id, note = NULL",
            "ts = date_trunc('millennium', now()), total = 10 / nullif(o.id, 99)",
            "total = 1 / (o.id - 1)",
            "note = (SELECT c.name FROM customers c WHERE c.customer_id = o.customer_id)",
            "note = (SELECT name FROM countries WHERE code = 'DE')",
            "(status, note) = (o.note, o.status)",
        ]);
        let (from, extra) = match self.below(4) {
            0 => (" FROM customers c", " AND c.customer_id = o.customer_id AND c.vip"),
            1 => (" FROM products c", " AND c.id = o.id"),
            _ => ("", ""),
        };
        let returning = self.one_of(&["", "", " RETURNING o.*", " RETURNING o.id, o.total"]);
        plain(format!("UPDATE orders o SET {set}{from} WHERE {condition}{extra}{returning}"))
    }

    fn delete(&mut self) -> Statement {
        let condition = self.condition("o");
        let returning = self.one_of(&["", "", " RETURNING *", " RETURNING id"]);
        match self.below(6) {
            0 => plain(format!("DELETE FROM refunds o WHERE {condition}{returning}")),
            1 => plain(format!(
                "DELETE FROM orders o USING refunds r WHERE r.customer_id = o.customer_id AND r.id = o.id AND {condition}"
            )),
            2 => plain(format!(
                "DELETE FROM orders o WHERE {condition} AND NOT EXISTS (SELECT 1 FROM items i WHERE i.customer_id = o.customer_id AND i.order_id = o.id)"
            )),
            3 => {
                let keys = vec![Some(format!("{{{},{}}}", self.key(), self.key()))];
                statement(
                    format!("DELETE FROM orders o WHERE o.customer_id = ANY($1) AND o.id > 9{returning}"),
                    false,
                    Some(keys),
                )
            }
            _ => plain(format!("DELETE FROM orders o WHERE {condition} AND o.id > 5{returning}")),
        }
    }

    fn reference(&mut self) -> Statement {
        let id = self.below(12) + 5;
        let returning = self.one_of(&["", " RETURNING *", " RETURNING id"]);
        plain(match self.below(9) {
            0 => {
                format!("INSERT INTO products VALUES ({id}, 'n', {id}.5), ({id} + 20, upper('m'), sqrt(4)){returning}")
            }
            1 => format!(
                "INSERT INTO products VALUES ({id}, 'c', 1) ON CONFLICT (id) DO UPDATE SET price = excluded.price + products.price{returning}"
            ),
            2 => format!(
                "INSERT INTO products SELECT id + 40, name, price FROM products WHERE id = {id} ON CONFLICT DO NOTHING{returning}"
            ),
            3 => format!("UPDATE products SET price = price + 1 WHERE id > {id}{returning}"),
            4 => format!(
                "UPDATE products SET name = (SELECT max(name) FROM countries), price = id / ({id} - id) WHERE id = {id}{returning}"
            ),
            5 => format!("DELETE FROM products WHERE id = {id}{returning}"),
            6 => "DELETE FROM products p USING countries c WHERE c.name = p.name".to_owned(),
            7 => format!("UPDATE settings SET value = '{id}' WHERE key = 'size'"),
            _ => format!("INSERT INTO settings VALUES ('k{id}', 'x') ON CONFLICT DO NOTHING"),
        })
    }

    fn move_rows(&mut self) -> Statement {
        let (condition, key) = (self.condition("o"), self.key());
        let set = match self.below(4) {
            0 => format!("customer_id = {key}"),
            1 => format!("customer_id = {key}, status = 'moved ' || o.id, total = 7"),
            2 => "customer_id = o.customer_id + 1".to_owned(),
            _ => format!("note = 'm', customer_id = {key} + o.customer_id"),
        };
        let returning = self.one_of(&["", " RETURNING o.*", " RETURNING customer_id, id + 1"]);
        plain(format!(
            "UPDATE refunds o SET {} WHERE {condition}{}",
            set.replace("status", "amount = 3, id")
                .replace("'moved ' || o.id", "o.id")
                .replace(", total = 7", "")
                .replace("note = 'm'", "amount = 2.5"),
            returning.replace("id + 1", "id + 2")
        ))
    }

    /// Writes that need rows of other shards.
    fn across(&mut self) -> Statement {
        let condition = self.condition("o");
        let set = self.one_of(&[
            "note = 'a'",
            "total = (SELECT max(total) FROM orders)",
            "note = (SELECT max(r.id)::text FROM refunds r WHERE r.id < o.id)",
            "(note, total) = (SELECT max(name), count(*) FROM customers)",
        ]);
        let returning = self.one_of(&["", " RETURNING o.id, o.note"]);
        plain(match self.below(14) {
            0 => format!(
                "UPDATE orders o SET {set} WHERE o.total > (SELECT avg(total) FROM orders) AND {condition}{returning}"
            ),
            1 => format!(
                "UPDATE orders o SET {set} WHERE o.id IN (SELECT r.id FROM refunds r WHERE r.amount > 2){returning}"
            ),
            2 => format!(
                "UPDATE orders o SET {set} WHERE o.id NOT IN (SELECT i.order_id + 1 FROM items i) AND {condition}{returning}"
            ),
            3 => format!(
                "UPDATE orders o SET {set} FROM (SELECT id, max(amount) AS m FROM refunds GROUP BY id) r WHERE r.id = o.id AND {condition}{returning}"
            ),
            4 => format!(
                "DELETE FROM orders o USING refunds r WHERE r.id = o.id + 1 AND r.customer_id <> o.customer_id AND {condition}"
            ),
            5 => {
                format!("DELETE FROM items i WHERE EXISTS (SELECT 1 FROM orders o WHERE o.id = i.line AND {condition})")
            }
            6 => format!(
                "DELETE FROM refunds o WHERE o.amount = (SELECT min(amount) FROM refunds) AND {condition} RETURNING *"
            ),
            7 => format!(
                "UPDATE settings s SET value = n.n FROM (SELECT count(*) AS n FROM orders o WHERE {condition}) n WHERE s.key = 'size' RETURNING *"
            ),
            8 => format!(
                "UPDATE products SET price = (SELECT max(total) FROM orders o WHERE {condition}) WHERE id IN (SELECT product_id FROM items)"
            ),
            9 => format!(
                "WITH d AS (DELETE FROM refunds o WHERE {condition} RETURNING *) SELECT count(*), sum(amount), max(id) FROM d"
            ),
            10 => format!(
                "WITH d AS (DELETE FROM refunds o WHERE {condition} RETURNING *) INSERT INTO refunds SELECT customer_id + 1, id, amount FROM d RETURNING *"
            ),
            11 => format!(
                "WITH u AS (UPDATE orders o SET {set} WHERE {condition} RETURNING o.id, o.status) SELECT status, count(*), max(id) FROM u GROUP BY status"
            ),
            12 => format!(
                "WITH b AS (SELECT o.customer_id, o.id FROM orders o WHERE {condition} ORDER BY o.id DESC, o.customer_id LIMIT 3) DELETE FROM refunds USING b WHERE refunds.id = b.id"
            ),
            _ => format!(
                "INSERT INTO orders AS o (customer_id, id, total) VALUES ({}, 7, (SELECT count(*) FROM refunds)), (2, 8, 1) ON CONFLICT (customer_id, id) DO UPDATE SET total = (SELECT max(amount) FROM refunds){returning}",
                self.key()
            ),
        })
    }

    /// MERGE whose rows go anywhere.
    fn merge(&mut self) -> Statement {
        let condition = self.condition("o");
        // Of one row the planner of PostgreSQL makes constants, and divides by zero even where nothing is evaluated.
        let rows = self.below(4) + 1;
        let keys: Vec<String> = (0..rows)
            .map(|at| format!("({}, {}, {})", self.key(), self.below(30), at + u64::from(rows == 1)))
            .collect();
        let (source, key, id) = match self.below(6) {
            0 => (
                format!("(SELECT id + 1 AS i, customer_id + 2 AS c, id AS n FROM orders o WHERE {condition})"),
                "s.c",
                "s.i",
            ),
            1 => (
                "(SELECT i.order_id AS i, max(i.customer_id) AS c, count(*) AS n FROM items i GROUP BY 1)".to_owned(),
                "s.c",
                "s.i",
            ),
            2 => ("(SELECT id AS i, id + 1 AS c, 1 AS n FROM products)".to_owned(), "s.c", "s.n"),
            _ => (format!("(SELECT * FROM (VALUES {}) v(c, i, n))", keys.join(", ")), "s.c", "s.i"),
        };
        let on = self.one_of(&[
            "r.customer_id = s.c AND r.id = s.i",
            "r.customer_id = s.c AND r.id = s.i",
            "r.id = s.i",
            "r.id = s.i AND r.customer_id < s.c",
            "r.id = s.i + 1 AND EXISTS (SELECT 1 FROM customers c WHERE c.customer_id = r.customer_id)",
        ]);
        let matched = self.one_of(&[
            "",
            " WHEN MATCHED THEN DELETE",
            " WHEN MATCHED AND s.n > 0 THEN DO NOTHING WHEN MATCHED THEN DELETE",
            " WHEN MATCHED AND r.customer_id > 3 THEN DELETE WHEN MATCHED THEN DO NOTHING",
            " WHEN MATCHED THEN UPDATE SET $A = s.n + (SELECT count(*) FROM customers)",
            " WHEN MATCHED THEN UPDATE SET $A = 10 / s.n",
        ]);
        let unmatched = self.one_of(&[
            "THEN INSERT ($K, id, $A) VALUES (K, I, s.n)",
            "AND s.n > 1 THEN INSERT ($K, id, $A) VALUES (K, I, (SELECT max(price) FROM products))",
            "AND 10 / s.n > 3 THEN DO NOTHING WHEN NOT MATCHED THEN INSERT ($K, id) VALUES (K, I)",
            "AND s.n = 1 THEN INSERT ($K, id) VALUES (7, I + 50) WHEN NOT MATCHED AND s.n <> 2 THEN INSERT (id, $K, $A) VALUES (I, K + 1, DEFAULT)",
        ]);
        let (table, amount) = self.one_of(&[("refunds", "amount"), ("refunds", "amount"), ("orders", "total")]);
        let text = format!("MERGE INTO {table} r USING {source} s ON {on}{matched} WHEN NOT MATCHED {unmatched}");
        let text = text.replace("(K,", &format!("({key},")).replace(", K + 1", &format!(", {key} + 1"));
        let text = text.replace(", I", &format!(", {id}")).replace("(I,", &format!("({id},"));
        plain(text.replace("$K", "customer_id").replace("$A", amount))
    }

    /// UPDATE of the key to what rows elsewhere say.
    fn move_far(&mut self) -> Statement {
        let condition = self.condition("o");
        let set = self.one_of(&[
            "customer_id = (SELECT coalesce(max(customer_id), 2) FROM customers)",
            "customer_id = (SELECT count(*) FROM refunds), amount = 4",
            "(amount, customer_id) = (SELECT max(total), coalesce(min(customer_id), 1) + 1 FROM orders)",
            "(customer_id, amount) = (o.customer_id + 1, DEFAULT)",
            "customer_id = o.customer_id + coalesce((SELECT length(value) FROM settings WHERE key = 'colour'), 1)",
            "customer_id = 1 + coalesce((SELECT id FROM products WHERE id = 2), 4), id = 10 / (o.id - 1)",
        ]);
        let returning = self.one_of(&["", " RETURNING o.*", " RETURNING customer_id, id"]);
        plain(match self.below(4) {
            0 => format!(
                "UPDATE refunds o SET customer_id = c.m FROM (SELECT coalesce(max(customer_id), 3) AS m FROM orders) c WHERE {condition}{returning}"
            )
            .replace("RETURNING customer_id, id", "RETURNING o.customer_id, id"),
            1 => format!(
                "WITH w AS (SELECT coalesce(max(id), 3) AS m FROM orders) UPDATE refunds o SET customer_id = w.m FROM w WHERE {condition} AND o.id < 9"
            ),
            _ => format!("UPDATE refunds o SET {set} WHERE {condition}{returning}"),
        })
    }

    fn other(&mut self) -> Statement {
        let condition = self.condition("o");
        match self.below(30) {
            22..=29 => self.taken_apart(),
            12..=15 => self.across(),
            16..=18 => self.merge(),
            19..=20 => self.move_far(),
            21 => {
                let returning = self.one_of(&["", " RETURNING *"]);
                plain(format!(
                    "INSERT INTO refunds SELECT o.customer_id + 1, o.id + nextval('steps') * 0, o.total FROM orders o WHERE {condition}{returning}"
                ))
            }
            5 => plain(format!(
                "WITH d AS (DELETE FROM orders o WHERE {condition} AND o.id > 20 RETURNING *) INSERT INTO refunds SELECT customer_id, id, total FROM d RETURNING *"
            )),
            6 => plain(format!(
                "WITH d AS (UPDATE orders o SET note = 'w' WHERE {condition} RETURNING o.customer_id, o.id) DELETE FROM refunds r USING d WHERE r.customer_id = d.customer_id AND r.id = d.id"
            )),
            7 => plain(format!(
                "WITH d AS (DELETE FROM refunds o WHERE {condition} RETURNING amount, customer_id AS c) SELECT c, amount FROM d WHERE amount > 1"
            )),
            8 => plain(format!(
                "WITH d AS (DELETE FROM refunds o WHERE {condition} RETURNING *) UPDATE orders SET note = 'gone' FROM d WHERE d.id = orders.id"
            )),
            9 => {
                let matched =
                    self.one_of(&["UPDATE SET amount = coalesce(r.amount, 0) + o.id", "DELETE", "DO NOTHING"]);
                let key = self.one_of(&["o.customer_id", "o.customer_id", "o.customer_id", "o.customer_id + 1", "7"]);
                plain(format!(
                    "MERGE INTO refunds r USING (SELECT * FROM orders o WHERE {condition}) o ON r.customer_id = o.customer_id AND r.id = o.id WHEN MATCHED THEN {matched} WHEN NOT MATCHED AND o.id % 2 = 0 THEN INSERT VALUES ({key}, o.id, o.total)"
                ))
            }
            10 => {
                let (one, other) = (self.key(), self.key());
                plain(format!(
                    "MERGE INTO refunds r USING (VALUES ({one}, 1), ({other}, 2)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i)"
                ))
            }
            11 => plain(format!(
                "MERGE INTO orders o USING products p ON p.id = o.id AND {condition} WHEN MATCHED THEN UPDATE SET note = p.name"
            )),
            0 => plain(format!(
                "WITH d AS (DELETE FROM orders o WHERE {condition} AND o.id > 20 RETURNING *) SELECT count(*) FROM d"
            )),
            1 => plain("TRUNCATE refunds"),
            2 => plain(format!("SELECT * FROM orders o WHERE {condition} FOR UPDATE")),
            3 => plain(format!(
                "UPDATE orders o SET total = 1 WHERE o.id IN (SELECT r.id FROM refunds r WHERE r.customer_id = o.customer_id) AND {condition}"
            )),
            _ => plain("INSERT INTO orders (customer_id, id) VALUES (NULL, 1), (1, 1)"),
        }
    }
}
