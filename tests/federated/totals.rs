//! Conditions that compare with a total of all rows: the value is computed first and the condition decided on the shards.

use crate::{Both, Outcome, PROTOCOLS, told};

/// Sub-selects that are one value. The last ones are none that is computed first.
const VALUES: &[&str] = &[
    "(SELECT avg(total) FROM orders)",
    "(SELECT avg(total) FROM orders WHERE status = 'paid')",
    "(SELECT sum(total) / 100 FROM orders WHERE gift)",
    "(SELECT 0.2 * avg(total) + count(*) FROM orders WHERE qty > 0)",
    "(SELECT max(amount) * 20 FROM refunds WHERE customer_id = 3)",
    "(SELECT coalesce(max(price), 7) FROM items WHERE quantity > 100)",
    "(SELECT max(v) FROM nothing)",
    "(SELECT avg(x.total) FROM orders x WHERE x.total > (SELECT avg(y.total) FROM orders y WHERE y.qty < 3))",
    "(SELECT avg(r.amount) * 30 FROM refunds r JOIN items i ON i.line = r.id)",
    "(SELECT count(DISTINCT status) * 10 FROM orders)",
    "(SELECT max(customer_id) FROM orders)",
    "(SELECT sum(people) FROM countries)",
    "(SELECT sum(n) FROM settings)",
    "(SELECT avg(quantity) * 10 FROM items i WHERE i.customer_id = o.customer_id)",
    "(SELECT avg(price) FROM items GROUP BY line ORDER BY 1 LIMIT 1)",
    "(SELECT sum(total) FROM orders HAVING count(*) > 1000000)",
    "(SELECT o.qty * 10 + max(line) FROM items)",
];

/// Queries with `{}` for such a value.
const QUERIES: &[&str] = &[
    "SELECT count(*), sum(o.total), avg(o.qty) FROM orders o WHERE o.total > {}",
    "SELECT o.status, count(*) FROM orders o WHERE o.total <= {} GROUP BY o.status",
    "SELECT o.customer_id, o.id, o.note FROM orders o WHERE o.total < {} AND o.qty IS NOT NULL",
    "SELECT o.* FROM orders o WHERE NOT o.total > {} ORDER BY o.total DESC, o.customer_id, o.id LIMIT 5",
    "SELECT DISTINCT o.status FROM orders o WHERE o.total > {} OR o.total IS NULL",
    "SELECT o.id, r.why FROM orders o JOIN refunds r ON r.id = o.id AND r.amount * 50 < {} WHERE o.total > {}",
    "SELECT o.customer_id, count(r.id) FROM orders o LEFT JOIN refunds r ON r.id = o.id AND r.amount < {} GROUP BY 1",
    "SELECT count(*) FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.price * 40 > {})",
    "SELECT count(*) FROM orders o WHERE o.customer_id = {}",
    "SELECT o.id FROM orders o WHERE o.customer_id IN (SELECT c.customer_id FROM customers c WHERE c.grade < {})",
    "SELECT sum(s.t) FROM (SELECT o.total AS t FROM orders o WHERE o.total BETWEEN 10 AND {} UNION ALL SELECT price FROM items o WHERE false) s",
    "SELECT o.status, sum(o.total) FROM orders o GROUP BY o.status, o.customer_id, o.qty HAVING sum(o.total) > {}",
    "SELECT CASE WHEN o.total > {} THEN 'more' ELSE 'less' END AS what, count(*) FROM orders o GROUP BY o.customer_id, o.qty, o.total",
    "WITH big AS (SELECT * FROM orders o WHERE o.total >= {}) SELECT a.id, b.id FROM big a JOIN big b ON a.qty = b.qty AND a.customer_id < b.customer_id",
];

#[test]
fn conditions_on_totals_are_decided_as_by_one_postgres() {
    let mut both = Both::start();
    let mut different = Vec::new();
    let (mut alike, mut nth) = (0, 0);
    for query in QUERIES {
        for value in VALUES {
            let sql = query.replace("{}", value);
            let ordered = query.contains("LIMIT");
            nth += 1;
            match both.compare(&sql, ordered, PROTOCOLS[nth % 3]) {
                Outcome::Alike => alike += 1,
                Outcome::Error(_) | Outcome::TooLarge => {}
                outcome => different.push(format!("{}\n{sql}", told(&outcome))),
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert!(alike > 180, "{alike}");
}

#[test]
fn a_total_is_of_the_same_rows_as_the_condition_that_compares_with_it() {
    let mut both = Both::start();
    let gateway = &mut both.gateway;
    let above = "SELECT count(*) FROM orders WHERE total > (SELECT avg(total) FROM orders)";
    let before = gateway.value(above);
    // In a block it sees the block's own rows, in both places.
    gateway.run("BEGIN");
    gateway.run("UPDATE orders SET total = 5");
    assert_eq!(gateway.value(above), "0");
    gateway.run("DECLARE c CURSOR FOR SELECT count(*) FROM orders WHERE total >= (SELECT avg(total) FROM orders)");
    assert_eq!(gateway.value("FETCH c"), gateway.value("SELECT count(*) FROM orders"));
    gateway.run("ROLLBACK");
    assert_eq!(gateway.value(above), before);
    assert_eq!(gateway.query(&format!("EXPLAIN {above}")).sqlstate(), "");
}
