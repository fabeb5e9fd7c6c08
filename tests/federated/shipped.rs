//! Values that travel beside users' types are what they were, whatever the session's settings.

use crate::client::Client;
use crate::compare::Protocol;
use crate::login;
use crate::{Both, Outcome, told};

const SCHEMA: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE TYPE plain AS (f float8, tz timestamptz)",
    "CREATE TYPE words AS (a text, m mood)",
    "CREATE TYPE mixed AS (tz timestamptz, m mood)",
    "CREATE TYPE typed AS (tz timestamptz, r regtype)",
    "CREATE TYPE floats AS RANGE (subtype = float8)",
    "CREATE DOMAIN humour AS mood",
    "CREATE TABLE x1 (customer_id bigint, id int, tz timestamptz, f float8, m mood, PRIMARY KEY (customer_id, id))",
    "CREATE TABLE x2 (customer_id bigint, id int, tz timestamptz, f float8, m mood, PRIMARY KEY (customer_id, id))",
    "CREATE TABLE x3 (customer_id bigint, tz timestamptz, h humour, ms mood[], r regtype, fs floats, p plain, ps plain[], \
     w words, x mixed, t typed, PRIMARY KEY (customer_id))",
    "INSERT INTO x1 SELECT k, k, '2026-01-01 00:00+00'::timestamptz + k * '1 hour'::interval, 0.1::float8 + 0.2::float8, \
     (ARRAY['sad', 'ok', 'happy'])[1 + k % 3]::mood FROM generate_series(1, 30) k",
    "INSERT INTO x3 SELECT k, tz, 'ok', '{sad,ok}', 'int4', floats(f, 1), ROW(f, tz)::plain, ARRAY[ROW(f, tz)::plain], \
     ROW('a', 'ok')::words, ROW(tz, 'ok')::mixed, ROW(tz, 'int4')::typed \
     FROM generate_series(1, 9) k, (SELECT 0.1::float8 + 0.2::float8 AS f, '2026-01-01 00:00+00'::timestamptz AS tz) v",
];

const SETTINGS: &[&str] = &[
    "SET DateStyle TO 'SQL'; SET TimeZone TO 'Asia/Kolkata'; SET extra_float_digits TO 0",
    "SET IntervalStyle TO 'sql_standard'; SET DateStyle TO 'Postgres'; SET extra_float_digits TO -3",
];

/// Queries over what another server can read in binary, whatever numbers it has for types.
const READ: &[&str] = &[
    "SELECT m, max(tz), min(f) FROM x1 GROUP BY m ORDER BY m",
    "SELECT m, min(tz) = '2026-01-01 03:00:00+00' FROM x1 GROUP BY m ORDER BY m",
    "SELECT m, f FROM (SELECT 'ok'::mood AS m, 0.1::float8 + 0.2::float8 AS f FROM x1 LIMIT 1) q WHERE f > 0.3::float8",
    "SELECT m, f > 0.3::float8, tz - '2025-01-01', count(*) OVER () FROM x1 ORDER BY tz",
    "SELECT h, tz, count(*) OVER () FROM x3 ORDER BY customer_id",
    "SELECT fs, lower(fs) > 0.3::float8, tz, count(*) OVER () FROM x3 ORDER BY customer_id",
    "SELECT p, (p).f > 0.3::float8, (p).tz, count(*) OVER () FROM x3 ORDER BY customer_id",
];

/// The same if it has the same numbers, which are in the values.
const READ_BY_NUMBER: &[&str] = &[
    "SELECT ms, tz, count(*) OVER () FROM x3 ORDER BY customer_id",
    "SELECT ps, (ps[1]).f > 0.3::float8, count(*) OVER () FROM x3 ORDER BY customer_id",
    "SELECT x, (x).tz, count(*) OVER () FROM x3 ORDER BY customer_id",
];

/// What another server can read as text only, which settings decide.
const NOT_READ: &[&str] =
    &["SELECT t, count(*) OVER () FROM x3 ORDER BY customer_id", "SELECT r, max(tz) FROM x3 GROUP BY r"];

/// The same, whatever the settings.
const SETTLED: &[&str] =
    &["SELECT w, ms, count(*) OVER () FROM x3 ORDER BY customer_id", "SELECT r, count(*) FROM x3 GROUP BY r"];

fn check(both: &mut Both, settings: &str, queries: &[&str], refused: bool) {
    for client in [&mut both.gateway, &mut both.postgres] {
        client.run(&format!("RESET ALL; {settings}"));
    }
    for sql in queries {
        for protocol in [Protocol::Simple, Protocol::Text] {
            let outcome = both.compare(sql, false, protocol);
            let as_wanted = match &outcome {
                Outcome::Alike => !refused,
                Outcome::Refused(reason) => refused && reason.contains("DateStyle"),
                _ => false,
            };
            assert!(as_wanted, "{settings}; [{protocol:?}] {sql}\n  {}", told(&outcome));
        }
    }
}

#[test]
fn values_beside_those_of_users_types_are_what_they_were() {
    for drifted in [false, true] {
        let mut both = Both::new("");
        for shard in (1..both._cluster.shard_count()).filter(|_| drifted) {
            let mut client = Client::connect(&login::of(both._cluster.shard_url(shard))).unwrap();
            (0..3 * shard).for_each(|_| client.run("CREATE TABLE public.x (); DROP TABLE public.x"));
        }
        for client in [&mut both.gateway, &mut both.postgres] {
            SCHEMA.iter().for_each(|sql| client.run(sql));
        }
        for settings in SETTINGS {
            check(&mut both, settings, READ, false);
            check(&mut both, settings, READ_BY_NUMBER, drifted);
            check(&mut both, settings, NOT_READ, true);
            check(&mut both, settings, SETTLED, false);
        }
        for queries in [READ, READ_BY_NUMBER, NOT_READ, SETTLED] {
            check(&mut both, "SET DateStyle TO 'ISO, DMY'; SET TimeZone TO 'Asia/Kolkata'", queries, false);
        }
        for client in [&mut both.gateway, &mut both.postgres] {
            client.run(SETTINGS[0]);
            client.run("INSERT INTO x2 SELECT customer_id + 100, id, tz, f, m FROM x1");
            client.run("CREATE TABLE x4 AS SELECT m, max(tz) AS tz, max(f) AS f FROM x1 GROUP BY m");
        }
        let stored = ["SELECT *, f - 0.3::float8 FROM x2 ORDER BY id", "SELECT *, f - 0.3::float8 FROM x4 ORDER BY m"];
        check(&mut both, "SET DateStyle TO 'ISO'", &stored, false);
    }
}
