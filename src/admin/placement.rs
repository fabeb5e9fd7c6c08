//! Whether a shard's `pgbraid.bucket` is the gateway's own function, by samples of every kind of key.
//!
//! A wrong one would move rows to shards where nobody looks for them. Used by `init` and `check`.

use shardmap::Key;
use tokio_postgres::Client;

/// Samples: edges of integers, texts of each path through the hash (none, bytes, words, stripes), uuids.
const INTEGERS: [i64; 8] = [0, 1, -1, 4711, i64::MAX, i64::MIN, 1 << 31, -(1 << 53)];
const TEXTS: [&str; 6] =
    ["", "a", "abcdefg", "Zürich 漢字", "twenty-nine bytes of some text", "0123456789abcdefghijklmnopqrstuvwxyzABCDEF"];
const UUIDS: [u128; 3] = [0, 1, u128::MAX - 1];

/// What a shard's function said for a sample, if that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    /// The sample.
    pub(super) key: Key,
    /// The gateway's bucket.
    pub(super) expected: i32,
    /// The shard's.
    pub(super) found: Option<i32>,
}

/// The first sample that the shard hashes to another bucket; `None` when it agrees on all.
///
/// # Errors
/// When the functions are not installed, or the query fails.
pub(super) async fn first_misplaced(client: &Client) -> Result<Option<Misplaced>, tokio_postgres::Error> {
    let texts: Vec<&str> = TEXTS.to_vec();
    let uuids: Vec<String> = UUIDS.iter().map(|uuid| format!("{uuid:032x}")).collect();
    let query = "SELECT pgbraid.bucket(k) FROM pg_catalog.unnest($1::bigint[]) WITH ORDINALITY u(k, n) ORDER BY n";
    let integers = client.query(query, &[&INTEGERS.to_vec()]).await?;
    let query = "SELECT pgbraid.bucket(k) FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY u(k, n) ORDER BY n";
    let texts_found = client.query(query, &[&texts]).await?;
    let query = "SELECT pgbraid.bucket(k::uuid) FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY u(k, n) ORDER BY n";
    let uuids_found = client.query(query, &[&uuids]).await?;
    let keys = INTEGERS.into_iter().map(Key::Integer);
    let keys = keys.chain(TEXTS.into_iter().map(|text| Key::Text(text.into())));
    let keys = keys.chain(UUIDS.into_iter().map(|uuid| Key::Uuid(uuid.to_be_bytes())));
    for (key, row) in keys.zip(integers.iter().chain(&texts_found).chain(&uuids_found)) {
        let expected = i32::from(key.bucket().0);
        let found: Option<i32> = row.try_get(0)?;
        if found != Some(expected) {
            return Ok(Some(Misplaced { key, expected, found }));
        }
    }
    Ok(None)
}
