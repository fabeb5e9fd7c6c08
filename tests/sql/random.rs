//! Random queries over the fixture's tables, of shapes that route to one shard, scatter, or tempt a router to guess.

use crate::fixture::CUSTOMERS;
use crate::script::{Expectation, Statement};

/// Makes statements from a seed.
pub struct Generator {
    state: u64,
}

/// A table in a FROM list: name, alias.
type Source = (&'static str, &'static str);

impl Generator {
    /// The same seed makes the same statements.
    pub fn new(seed: u64) -> Generator {
        Generator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    pub fn key(&mut self) -> String {
        (self.below(CUSTOMERS as u64 + 2) + 1).to_string()
    }

    /// A query, ordered where its text says so completely.
    pub fn statement(&mut self) -> Statement {
        let (sql, ordered) = match self.below(12) {
            0..=3 => self.plain(),
            4..=5 => self.joined(),
            6 => self.nested(),
            7 => self.union(),
            8 => self.aggregated(),
            9 => self.with(),
            10 => self.ordered(),
            _ => self.tempting(),
        };
        Statement { line: 0, either_line: None, sql, expectation: Expectation::Either, ordered, parameters: None }
    }

    /// A condition on the key of `alias`: sometimes decisive, sometimes only looking so.
    fn on_key(&mut self, alias: &str) -> String {
        let (a, b) = (self.key(), self.key());
        match self.below(16) {
            0..=4 => format!("{alias}.customer_id = {a}"),
            5 => format!("{a} = {alias}.customer_id"),
            6 => format!("{alias}.customer_id IN ({a}, {b})"),
            7 => format!("{alias}.customer_id = ANY('{{{a},{b}}}')"),
            8 => format!("({alias}.customer_id = {a} OR {alias}.customer_id = {b})"),
            9 => format!("({alias}.customer_id = {a} OR {})", self.on_column(alias)),
            10 => format!("NOT ({alias}.customer_id = {a})"),
            11 => format!("{alias}.customer_id = {a} AND {alias}.customer_id = {b}"),
            12 => format!("{alias}.customer_id <> {a}"),
            13 => format!("{alias}.customer_id = '{a}'"),
            14 => format!("({alias}.customer_id = {a}) IS NOT FALSE"),
            _ => format!("{alias}.customer_id BETWEEN {a} AND {b}"),
        }
    }

    fn on_column(&mut self, alias: &str) -> String {
        let number = self.below(9);
        match self.below(4) {
            0 => format!("{alias}.customer_id % 3 = {}", number % 3),
            1 => format!("{alias}.customer_id > {number}"),
            2 => format!("{alias}.customer_id + 1 = {number}"),
            _ => "true".into(),
        }
    }

    pub fn condition(&mut self, alias: &str) -> String {
        match self.below(5) {
            0 => self.on_column(alias),
            1 => format!("{} AND {}", self.on_key(alias), self.on_column(alias)),
            _ => self.on_key(alias),
        }
    }

    fn table(&mut self) -> &'static str {
        self.one_of(&["orders", "customers", "items", "refunds", "archive.orders", "k_int2"])
    }

    fn columns(&mut self, alias: &str) -> String {
        match self.below(4) {
            0 => format!("{alias}.*"),
            1 => format!("{alias}.customer_id"),
            2 => format!("{alias}.customer_id + 1 AS next, 'x' AS x"),
            _ => format!("{alias}.customer_id = 7 AS seven"),
        }
    }

    fn plain(&mut self) -> (String, bool) {
        let (table, columns, condition) = (self.table(), self.columns("t"), self.condition("t"));
        (format!("SELECT {columns} FROM {table} t WHERE {condition}"), false)
    }

    fn joined(&mut self) -> (String, bool) {
        let right: Source = self.one_of(&[
            ("orders", "b"),
            ("items", "b"),
            ("refunds", "b"),
            ("customers", "b"),
            ("countries", "c"),
            ("products", "c"),
            ("settings", "c"),
        ]);
        let join = self.one_of(&["JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let on = match right {
            ("countries", _) => "a.country = c.code".into(),
            ("products", _) => "a.customer_id = c.id".into(),
            ("settings", _) => "c.value = a.customer_id::text".into(),
            _ => match self.below(5) {
                0..=2 => "a.customer_id = b.customer_id".into(),
                3 => format!("a.customer_id = b.customer_id AND {}", self.condition("b")),
                _ => format!("a.customer_id = b.customer_id + 1 AND {}", self.condition("b")),
            },
        };
        let condition = if right.1 == "b" && self.below(2) == 0 {
            format!("{} AND {}", self.condition("a"), self.condition("b"))
        } else {
            self.condition("a")
        };
        let columns = self.columns("a");
        (
            format!(
                "SELECT {columns}, {}.* FROM customers a {join} {} {} ON {on} WHERE {condition}",
                right.1, right.0, right.1
            ),
            false,
        )
    }

    fn nested(&mut self) -> (String, bool) {
        let (outer, inner) = (self.condition("a"), self.condition("b"));
        let table = self.one_of(&["orders", "items", "refunds"]);
        let test = match self.below(5) {
            0 => format!("EXISTS (SELECT 1 FROM {table} b WHERE b.customer_id = a.customer_id AND {inner})"),
            1 => format!("NOT EXISTS (SELECT 1 FROM {table} b WHERE b.customer_id = a.customer_id)"),
            2 => format!("a.customer_id IN (SELECT b.customer_id FROM {table} b WHERE {inner})"),
            3 => format!("a.customer_id NOT IN (SELECT b.customer_id FROM {table} b WHERE {inner})"),
            _ => format!("(SELECT count(*) FROM {table} b WHERE b.customer_id = a.customer_id AND {inner}) > 1"),
        };
        (format!("SELECT a.customer_id, a.name FROM customers a WHERE {outer} AND {test}"), false)
    }

    fn union(&mut self) -> (String, bool) {
        let operator = self.one_of(&["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
        let (left, right) = (self.condition("a"), self.condition("b"));
        let sql = format!(
            "SELECT a.customer_id, a.id FROM orders a WHERE {left} {operator} SELECT b.customer_id, b.id FROM refunds b WHERE {right}"
        );
        (sql, false)
    }

    fn aggregated(&mut self) -> (String, bool) {
        let aggregate = self.one_of(&[
            "count(*)",
            "sum(a.total)",
            "max(a.ts)",
            "avg(a.total)",
            "count(DISTINCT a.status)",
            "bool_or(a.id = 2)",
        ]);
        let condition = self.condition("a");
        let sql = match self.below(3) {
            0 => format!("SELECT {aggregate} FROM orders a WHERE {condition}"),
            1 => format!("SELECT a.customer_id, {aggregate} FROM orders a WHERE {condition} GROUP BY a.customer_id"),
            _ => format!(
                "SELECT a.status, {aggregate} FROM orders a WHERE {condition} GROUP BY a.status HAVING count(*) > 1"
            ),
        };
        (sql, false)
    }

    fn with(&mut self) -> (String, bool) {
        let (inner, outer) = (self.condition("a"), self.condition("w"));
        let body = match self.below(3) {
            0 => "SELECT a.customer_id, a.id FROM orders a",
            1 => "SELECT DISTINCT a.customer_id, a.id FROM orders a",
            _ => "SELECT a.customer_id, a.line AS id FROM items a",
        };
        (format!("WITH w AS ({body} WHERE {inner}) SELECT w.customer_id, w.id FROM w WHERE {outer}"), false)
    }

    fn ordered(&mut self) -> (String, bool) {
        let condition = self.condition("a");
        let limit = self.one_of(&["", " LIMIT 3", " OFFSET 1", " LIMIT 2 OFFSET 1"]);
        let direction = self.one_of(&["", " DESC"]);
        let sql = format!(
            "SELECT a.customer_id, a.id FROM orders a WHERE {condition} ORDER BY a.customer_id{direction}, a.id{limit}"
        );
        (sql, true)
    }

    /// The key is compared, but nothing follows from it.
    fn tempting(&mut self) -> (String, bool) {
        let (a, b) = (self.key(), self.key());
        let sql = match self.below(10) {
            0 => format!("SELECT count(*) FILTER (WHERE customer_id = {a}) FROM orders"),
            1 => format!("SELECT CASE WHEN customer_id = {a} THEN 1 ELSE 2 END FROM orders"),
            2 => format!("SELECT id FROM orders WHERE coalesce(customer_id = {a}, true)"),
            3 => format!(
                "SELECT (SELECT count(*) FROM orders WHERE customer_id = {a}), (SELECT count(*) FROM orders WHERE customer_id = {b})"
            ),
            4 => format!("SELECT a.id FROM orders a, refunds b WHERE a.customer_id = {a} AND b.customer_id = {b}"),
            5 => format!("SELECT id FROM orders WHERE (customer_id, id) = ({a}, {b})"),
            6 => format!("SELECT id FROM orders WHERE (customer_id, id) IN (({a}, 1), ({b}, 2))"),
            7 => format!("SELECT * FROM (SELECT customer_id AS k, id FROM orders) s WHERE s.k = {a}"),
            8 => format!("SELECT * FROM (SELECT id AS customer_id FROM orders) s WHERE s.customer_id = {a}"),
            _ => format!(
                "SELECT id FROM orders WHERE customer_id = {a} AND EXISTS (SELECT 1 FROM refunds WHERE customer_id = {b})"
            ),
        };
        (sql, false)
    }
}
