//! Rows of several shards sorted by every type, with ties, NULLs and the values at the ends of each type's order.

use crate::choices::Choices;
use crate::compare::Protocol;
use crate::{Both, Outcome, PROTOCOLS, number, told};

/// Columns with values to choose from. Text columns without a collation of their own are in the database's.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("i2", "int2", &["-32768", "-1", "0", "7", "32767"]),
    ("i4", "int4", &["-2147483648", "-10", "9", "10", "100"]),
    ("i8", "int8", &["-9223372036854775808", "-1", "0", "5", "9223372036854775807"]),
    ("b", "bool", &["true", "false"]),
    ("o", "oid", &["0", "9", "10", "4294967295"]),
    ("d", "date", &["-infinity", "0044-03-15 BC", "1999-12-31", "2000-01-01", "2026-11-21", "infinity"]),
    ("t", "time", &["00:00", "12:34:56.789", "24:00"]),
    ("tz", "timetz", &["12:00+00", "13:00+01", "12:00-02", "23:59+05:30"]),
    ("ts", "timestamp", &["-infinity", "1000-01-01", "1999-12-31 23:59:59.999999", "2026-11-21 01:02:03", "infinity"]),
    ("tstz", "timestamptz", &["-infinity", "1999-01-01 00:00+05", "2026-11-21 01:02:03.5+00", "infinity"]),
    ("iv", "interval", &["1 mon", "30 days", "29 days 24:00", "-1 mon 29 days", "0", "178000000 years", "1 us"]),
    (
        "u",
        "uuid",
        &[
            "00000000-0000-0000-0000-00000000000a",
            "f0000000-0000-0000-0000-000000000000",
            "09000000-0000-0000-0000-000000000000",
        ],
    ),
    (
        "n",
        "numeric",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "0.000",
            "1.0",
            "1.00",
            "-1.5",
            "10000",
            "9999.9999",
            "1e-20",
            "-123456789012345678901234567890",
            "123456789012345678901234567890.5",
        ],
    ),
    ("f4", "float4", &["NaN", "Infinity", "-Infinity", "0", "-0", "1.5", "-1.5", "1e-30"]),
    ("f8", "float8", &["NaN", "Infinity", "-Infinity", "0", "-0", "1.5", "-1e300", "1e-300"]),
    ("by", "bytea", &["\\x", "\\x00", "\\x0001", "\\xff", "\\x7f"]),
    ("tx", "text COLLATE \"C\"", &["", "a", "A", "ab", "é", "Z", " a", "abcdefgh", "abcdefghi"]),
    ("vc", "varchar(10) COLLATE \"C\"", &["", "b", "B", "ba", "~"]),
    ("ch", "char(4) COLLATE \"C\"", &["", "a", "a\t", "ab", "é"]),
    ("nm", "name", &["a", "B", "_"]),
    ("m", "money", &["-5", "0", "12.34"]),
    ("mac", "macaddr", &["08:00:2b:01:02:03", "00:00:00:00:00:01"]),
    ("tl", "text", &["a", "A", "b", "é"]),
    ("j", "jsonb", &["1", "\"a\"", "[2]", "{}"]),
    ("arr", "int4[]", &["{1}", "{1,2}", "{}"]),
    ("ip", "inet", &["10.0.0.1", "10.0.0.0/8", "::1"]),
];

/// Rows of the table, over as many customers.
const ROWS: u32 = 240;

fn make(both: &mut Both) {
    let columns: String = COLUMNS.iter().map(|(name, kind, _)| format!(", {name} {kind}")).collect();
    let mut choices = Choices::from_seed(7);
    let mut rows = Vec::new();
    for id in 0..ROWS {
        let mut value = |values: &[&str]| match choices.below(values.len() as u32 + 1).checked_sub(1) {
            Some(at) => format!("'{}'", values[at as usize]),
            None => "NULL".to_owned(),
        };
        let values: Vec<String> = COLUMNS.iter().map(|(_, _, values)| value(values)).collect();
        rows.push(format!("({}, {id}, {})", id % 40, values.join(", ")));
    }
    for client in [&mut both.gateway, &mut both.postgres] {
        client.run(&format!("CREATE TABLE sorts (customer_id int8, id int8{columns}, PRIMARY KEY (customer_id, id))"));
        client.run(&format!("INSERT INTO sorts VALUES {}", rows.join(", ")));
    }
}

/// A query whose order is total.
fn query(choices: &mut Choices) -> String {
    let mut keys = Vec::new();
    let mut outputs = Vec::new();
    for nth in 0..choices.below(4) {
        let (name, ..) = COLUMNS[choices.below(COLUMNS.len() as u32) as usize];
        let direction = choices.one_of(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        let of = match (choices.below(6), name) {
            (0, _) => {
                outputs.push(format!("{name} AS a{nth}"));
                format!("a{nth}")
            }
            (1, _) => {
                outputs.push(name.to_owned());
                outputs.len().to_string()
            }
            (2, "tx" | "tl") => format!("lower({name}) COLLATE \"C\""),
            (2, "i4" | "n" | "f8") => format!("abs({name})"),
            (3, _) => format!("{name} IS NULL"),
            _ => name.to_owned(),
        };
        keys.push(format!("{of}{direction}"));
    }
    let distinct = if choices.chance(8) { "DISTINCT " } else { "" };
    let unique = choices.one_of(&["id", "id DESC"]);
    let all = choices.chance(3) && distinct.is_empty();
    outputs.push(if all { "*" } else { "id, customer_id, n, tx, ts" }.to_owned());
    if !distinct.is_empty() {
        // Only what is in the select list: its places and aliases.
        let output = |key: &str| key.trim_start_matches('a').starts_with(|c: char| c.is_ascii_digit());
        keys.retain(|key| output(key));
    }
    keys.push(unique.to_owned());
    let limit = match choices.below(7) {
        0 => format!(" LIMIT {}", choices.below(30)),
        1 => format!(" OFFSET {}", choices.below(300)),
        2 => format!(" LIMIT {} OFFSET {}", choices.below(30), choices.below(250)),
        3 => format!(" FETCH FIRST {} ROWS WITH TIES", choices.below(9) + 1),
        _ => String::new(),
    };
    let condition = choices.one_of(&["", " WHERE i4 > 0", " WHERE customer_id IN (1, 2, 3, 4, 5)", " WHERE false"]);
    format!("SELECT {distinct}{} FROM sorts{condition} ORDER BY {}{limit}", outputs.join(", "), keys.join(", "))
}

#[test]
fn rows_sorted_by_any_type_come_in_postgres_order() {
    let mut both = Both::new("");
    make(&mut both);
    let first = number("FEDERATED_SEED", 1);
    let mut failures = Vec::new();
    for client in [&mut both.gateway, &mut both.postgres] {
        client.run("SET DateStyle TO 'SQL, DMY'");
    }
    let mut differs = |sql: &str, protocol: Protocol| match both.compare(sql, true, protocol) {
        // The smallest integer has no absolute value.
        Outcome::Alike | Outcome::Error(_) => {}
        other => failures.push(format!("[{protocol:?}] {sql}\n    {}", told(&other))),
    };
    for (name, ..) in COLUMNS {
        for protocol in PROTOCOLS {
            differs(&format!("SELECT {name}, id FROM sorts ORDER BY {name}, id"), protocol);
            differs(&format!("SELECT id FROM sorts ORDER BY {name} DESC, id LIMIT 50 OFFSET 3"), protocol);
        }
    }
    for seed in first..first + number("FEDERATED_QUERIES", 300) {
        let sql = query(&mut Choices::from_seed(seed));
        differs(&sql, PROTOCOLS[(seed % 3) as usize]);
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_limit_without_an_order_gives_as_many_rows_and_none_twice() {
    let mut both = Both::new("");
    make(&mut both);
    for (limit, rows) in
        [("LIMIT 7", 7), ("LIMIT 0", 0), ("OFFSET 230", 10), ("LIMIT 20 OFFSET 225", 15), ("LIMIT 9999", 240)]
    {
        for protocol in PROTOCOLS {
            let count = format!("SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM sorts {limit}) s");
            let told = told(&both.compare(&count, true, protocol));
            assert_eq!(told, "alike", "{limit}");
        }
        let answer = both.gateway.rows(&format!("SELECT id FROM sorts {limit}"));
        let ids: std::collections::BTreeSet<_> = answer.iter().collect();
        assert_eq!((answer.len(), ids.len()), (rows, rows), "{limit}");
    }
}
