//! Random writes that are taken apart: MERGE from any source, moves in WITH, numbers drawn in any place.

use crate::random::Generator;
use crate::script::Statement;
use crate::writes::plain;

impl Generator {
    /// One of them.
    pub fn taken_apart(&mut self) -> Statement {
        match self.below(8) {
            0..=3 => self.merge_from_anything(),
            4..=5 => self.move_in_with(),
            _ => self.draw(),
        }
    }

    /// The source has rows `(c, i)`, under some names.
    fn merge_from_anything(&mut self) -> Statement {
        let condition = self.condition("o");
        let (from, to) = (self.below(6), self.below(12));
        let (with, source, c, i) = match self.below(7) {
            0 => (
                String::new(),
                format!(
                    "(orders o JOIN items t ON t.customer_id = o.customer_id AND t.order_id = o.id AND {condition})"
                ),
                "o.customer_id + 1",
                "t.order_id + t.line * 10",
            ),
            1 => (
                String::new(),
                format!("((SELECT * FROM orders o WHERE {condition}) o LEFT JOIN products p ON p.id = o.id)"),
                "o.customer_id",
                "coalesce(p.id, 77)",
            ),
            2 => (
                String::new(),
                "(customers c JOIN countries u ON u.code = c.country) AS s".to_owned(),
                "s.customer_id",
                "length(s.code) + s.customer_id",
            ),
            3 => (String::new(), format!("generate_series({from}, {to}) g"), "g + 1", "g"),
            4 => (String::new(), format!("unnest(ARRAY[{from}, {to}, 3], ARRAY[1, 2, 3]) AS g(k, n)"), "k", "g.n"),
            5 => (
                format!(
                    "WITH w AS (SELECT o.customer_id + 1 AS k, max(o.id) AS m FROM orders o WHERE {condition} GROUP BY 1) "
                ),
                "w".to_owned(),
                "w.k",
                "m",
            ),
            _ => (
                format!("WITH w(k, m) AS (VALUES ({from}, 1), ({to}, 2)), z AS (SELECT max(id) AS top FROM orders) "),
                "(w CROSS JOIN z)".to_owned(),
                "k",
                "top + m",
            ),
        };
        let asked = match with.is_empty() {
            true => self.one_of(&[
                "1",
                "(SELECT count(*) FROM refunds)",
                "(SELECT max(x.id) FROM refunds x WHERE x.customer_id = $C)",
            ]),
            false => self.one_of(&["2", "(SELECT count(*) FROM w)", "(SELECT max(x.id) FROM refunds x, w)"]),
        };
        let matched = self.one_of(&[
            "",
            " WHEN MATCHED THEN DELETE",
            " WHEN MATCHED AND r.amount > 2 THEN DELETE WHEN MATCHED THEN DO NOTHING",
        ]);
        let unmatched = self.one_of(&[
            "THEN INSERT VALUES ($C, $I, $A)",
            "AND $I > 2 THEN INSERT (customer_id, id) VALUES ($C, $I)",
            "AND $A > 1 THEN INSERT (id, customer_id, amount) VALUES ($I, $C, $A + 1)",
            "AND EXISTS (SELECT * FROM refunds x WHERE x.id = $I) THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES ($C, $I, $A)",
        ]);
        let text = format!(
            "{with}MERGE INTO refunds r USING {source} ON r.customer_id = $C AND r.id = $I{matched} WHEN NOT MATCHED {unmatched}"
        );
        plain(text.replace("$A", asked).replace("$C", c).replace("$I", i))
    }

    fn move_in_with(&mut self) -> Statement {
        let (condition, key) = (self.condition("o"), self.key());
        let set = self.one_of(&[
            "customer_id = $K",
            "customer_id = o.customer_id + 1, amount = coalesce(o.amount, 0) + 1",
            "customer_id = (SELECT coalesce(max(customer_id), 2) FROM orders)",
            "customer_id = $K, amount = 10 / (o.id - 3)",
        ]);
        let rest = self.one_of(&[
            "SELECT count(*), sum(customer_id), max(id) FROM m",
            "SELECT customer_id, id, amount FROM m WHERE id > 1",
            "INSERT INTO k_int4 SELECT customer_id, id FROM m",
            "UPDATE orders SET note = 'w' FROM m WHERE orders.customer_id = m.customer_id AND orders.id = m.id",
            "DELETE FROM items USING m WHERE items.customer_id = m.customer_id",
            "SELECT c.name, m.id FROM m JOIN customers c ON c.customer_id = m.customer_id",
        ]);
        plain(
            format!("WITH m AS (UPDATE refunds o SET {set} WHERE {condition} RETURNING o.*) {rest}")
                .replace("$K", &key),
        )
    }

    fn draw(&mut self) -> Statement {
        let condition = self.condition("o");
        let query = self.one_of(&[
            "SELECT customer_id, id, 0 * n FROM (SELECT o.customer_id, o.id, nextval('steps') AS n FROM orders o WHERE $W) x",
            "SELECT o.customer_id + 1, o.id, o.total FROM orders o WHERE nextval('steps') > 0 AND ($W)",
            "SELECT o.customer_id, count(*), 0 * (SELECT nextval('steps')) FROM orders o WHERE $W GROUP BY 1",
            "SELECT o.customer_id, count(*) FROM orders o WHERE $W GROUP BY 1 HAVING nextval('steps') > 0 UNION ALL SELECT 3, 3",
        ]);
        let returning = self.one_of(&["", " RETURNING *"]);
        let columns = if query.contains("UNION") { " (customer_id, id)" } else { "" };
        plain(format!("INSERT INTO refunds{columns} {}{returning}", query.replace("$W", &condition)))
    }
}
