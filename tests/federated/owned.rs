//! What a view reads is read with its owner's rights and under the policies that apply to him, whoever asks.

use crate::compare::Protocol;
use crate::{Both, Outcome, told};

const SCHEMA: &[&str] = &[
    "CREATE ROLE reader",
    "GRANT reader TO app",
    "GRANT ALL ON SCHEMA public TO reader",
    "CREATE TABLE r (customer_id int8, id int4, owner text, PRIMARY KEY (customer_id, id))",
    "CREATE TABLE s (customer_id int8, id int4)",
    "INSERT INTO r SELECT g, g, CASE WHEN g % 3 = 0 THEN 'app' ELSE 'reader' END FROM generate_series(1, 20) g",
    "INSERT INTO s SELECT g, g FROM generate_series(1, 20) g",
    "ALTER TABLE r ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON r USING (owner = current_user)",
    "CREATE VIEW rows_of_all AS SELECT * FROM r",
    "CREATE VIEW later AS SELECT * FROM rows_of_all WHERE id > 3",
    "CREATE VIEW by_owner AS SELECT owner, count(*) AS n FROM r GROUP BY owner",
    "CREATE VIEW of_mine WITH (security_invoker) AS SELECT owner, count(*) AS n FROM r GROUP BY owner",
    "CREATE VIEW hidden AS SELECT customer_id, id FROM s WHERE id < 10",
    "CREATE VIEW by_parity AS SELECT id % 2 AS odd, count(*) AS n FROM s GROUP BY 1",
    "CREATE VIEW timed AS SELECT id, now() AS t FROM s",
    "GRANT SELECT ON r, rows_of_all, later, by_owner, of_mine, hidden, by_parity TO reader",
    "CREATE VIEW of_reader AS SELECT * FROM r",
    "CREATE VIEW by_owner_of_reader AS SELECT owner, count(*) AS n FROM r GROUP BY owner",
    "GRANT SELECT ON of_reader, by_owner_of_reader TO app",
    "ALTER VIEW of_reader OWNER TO reader",
    "ALTER VIEW by_owner_of_reader OWNER TO reader",
];

/// Alike for both of them.
const ALIKE: &[&str] = &[
    "SELECT count(*), max(id) FROM r",
    "SELECT count(*), max(id) FROM rows_of_all",
    "SELECT count(*), max(id) FROM of_reader",
    "SELECT owner, count(*) FROM later GROUP BY owner ORDER BY owner",
    "SELECT v.owner, count(*), min(x.owner) FROM later v LEFT JOIN of_reader x ON x.id = v.id GROUP BY v.owner ORDER BY 1",
    "SELECT x.id, v.id FROM rows_of_all v FULL JOIN of_reader x ON x.id = v.id + 1 ORDER BY 1, 2",
    "SELECT v, count(*) OVER () FROM later v ORDER BY v",
    "SELECT a FROM (SELECT id AS a, owner FROM rows_of_all v (k) ORDER BY id DESC LIMIT 7) q WHERE owner = 'reader'",
    "SELECT sum(n), count(*) FROM of_mine",
    "SELECT id % 2, count(*) FROM hidden GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM hidden a, hidden b WHERE a.id = b.id + 1",
];

fn check(both: &mut Both, sql: &str, wanted: impl Fn(&Outcome) -> bool) {
    for protocol in [Protocol::Simple, Protocol::Text] {
        let outcome = both.compare(sql, false, protocol);
        assert!(wanted(&outcome), "[{protocol:?}] {sql}\n  {}", told(&outcome));
    }
}

#[test]
fn a_view_reads_what_its_owner_may_read() {
    let mut both = Both::new("");
    for client in [&mut both.gateway, &mut both.postgres] {
        SCHEMA.iter().for_each(|sql| client.run(sql));
    }
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(reason) if reason.contains("row security"));
    let alike = |outcome: &Outcome| matches!(outcome, Outcome::Alike);
    for (role, own, others) in [
        ("app", "SELECT * FROM by_owner WHERE n > 1", "SELECT n FROM by_owner_of_reader"),
        ("reader", "SELECT * FROM by_owner_of_reader WHERE n > 1", "SELECT n FROM by_owner"),
    ] {
        for client in [&mut both.gateway, &mut both.postgres] {
            client.run(&format!("SET ROLE {role}"));
        }
        ALIKE.iter().for_each(|sql| check(&mut both, sql, alike));
        check(&mut both, own, alike);
        check(&mut both, others, refused);
    }
    assert_eq!(both.gateway.query("SELECT sum(n) FROM by_parity").sqlstate(), "42501", "a known limit");
    both.gateway.run("SET ROLE app");
    assert_eq!(both.gateway.value("SELECT sum(n) FROM by_parity"), "20");
    assert_eq!(both.gateway.value("SELECT count(DISTINCT t) FROM timed"), "1");
}
