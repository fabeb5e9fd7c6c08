//! Queries with several answers after all: what one Postgres says depends on its plan.

use crate::client::{Answer, Client};
use crate::compare::{Protocol, ask, difference};
use crate::script::Statement;

/// `numeric`, `src/include/catalog/pg_type.dat`.
const NUMERIC: u32 = 1700;

/// Ways of planning, each of which a planner could have chosen by itself.
const WAYS: &[&str] = &[
    "enable_hashagg",
    "enable_sort",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_material",
    "enable_seqscan",
    "enable_indexscan, enable_indexonlyscan, enable_bitmapscan",
    "enable_hashagg, enable_hashjoin",
    "enable_hashagg, enable_mergejoin",
];

/// The same rows in the same order, but for those that are equal there: numerics written with more digits or fewer (0.5 and 0.50).
pub fn tied(wanted: &Answer, got: &Answer) -> bool {
    let sorted = |answer: &Answer| {
        let mut rows = answer.rows.clone();
        rows.sort();
        rows
    };
    wanted.rows != got.rows && sorted(wanted) == sorted(got) && equal(wanted, got, true)
}

/// Whether all is the same but for how numerics are written.
fn equal(wanted: &Answer, got: &Answer, ordered: bool) -> bool {
    let of = |answer: &Answer| Answer { rows: values(answer), ..answer.clone() };
    difference(of(wanted), of(got), ordered).is_none()
}

/// Rows whose numerics are written with as few digits as they need.
fn values(answer: &Answer) -> Vec<Vec<Option<Vec<u8>>>> {
    let mut rows = answer.rows.clone();
    for value in &mut rows {
        for (value, column) in value.iter_mut().zip(&answer.columns).filter(|(_, column)| column.type_oid == NUMERIC) {
            let Some(bytes) = value else { continue };
            match column.format {
                0 if bytes.contains(&b'.') => {
                    let digits = bytes.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
                    bytes.truncate(digits + usize::from(bytes[digits] != b'.'));
                }
                0 => {}
                // How many digits are shown (`numeric_send`, `src/backend/utils/adt/numeric.c`).
                _ => bytes[6..8].fill(0),
            }
        }
    }
    rows
}

/// Whether one Postgres gives this answer by another plan than that which it likes best, or with its rows stored in another order: UNION
/// keeps the first of equal ones, so that each must be among all.
pub fn one_gives(
    postgres: &mut Client,
    statement: &Statement,
    protocol: Protocol,
    wanted: &Answer,
    got: &Answer,
) -> bool {
    if statement.sql.contains(" UNION (") && equal(wanted, got, statement.ordered) {
        let sql = statement.sql.replace(" UNION (", " UNION ALL (");
        let all = ask(postgres, &Statement { sql, ..statement.clone() }, protocol);
        return got.rows.iter().all(|row| all.rows.contains(row));
    }
    WAYS.iter().any(|way| {
        let set = |postgres: &mut Client, value: &str| {
            let sets: Vec<String> = way.split(", ").map(|name| format!("SET {name} TO {value}")).collect();
            postgres.query(&sets.join("; "));
        };
        set(postgres, "off");
        let wanted = ask(postgres, statement, protocol);
        set(postgres, "DEFAULT");
        difference(wanted, got.clone(), statement.ordered).is_none()
    })
}

#[test]
fn numerics_tie_when_they_are_equal() {
    let column = crate::client::ColumnDescription {
        name: b"n".to_vec(),
        type_oid: NUMERIC,
        typmod: -1,
        format: 0,
        table: 0,
        attribute: 0,
    };
    let answer = |texts: &[&str]| Answer {
        columns: vec![column.clone()],
        rows: texts.iter().map(|text| vec![Some(text.as_bytes().to_vec())]).collect(),
        ..Answer::default()
    };
    assert!(tied(&answer(&["0.5", "0.50", "10"]), &answer(&["0.50", "0.5", "10"])));
    assert!(!tied(&answer(&["0.5", "10"]), &answer(&["10", "0.5"])));
    assert!(!tied(&answer(&["0.5"]), &answer(&["0.50"])));
    assert_eq!(values(&answer(&["10", "1.00", "0.0", "NaN"])), values(&answer(&["10", "1", "0", "NaN"])));
}
