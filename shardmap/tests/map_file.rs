//! The map file as people see it: how it looks, and what is said about each mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use shardmap::{Bucket, BucketRange, ChangeError, MapVersion, NamesError, PlanError, ShardId, ShardMap};
use shardmap::{add_shards, diff, drain_shards, rebalance};

fn range(first: u16, last: u16) -> BucketRange {
    BucketRange::new(Bucket(first), Bucket(last)).unwrap()
}

/// Parses with the shards `a` and `b` and compares all that is said.
fn check(text: &str, expected: &[&str]) {
    let error = ShardMap::parse(text, &["a", "b"]).expect_err("a mistake");
    assert_eq!(error.to_string().lines().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn a_rendered_map_reads_well() {
    let map = ShardMap::even(&["a", "b", "new one"]).unwrap();
    let map = map.reassigned(&[(range(10, 19), ShardId(1)), (range(2731, 4095), ShardId(0))]).unwrap();
    let expected = "\
# Which shard owns which of the 4096 buckets (0-4095) of the keys' hash space. Written by pgbraid.
# A map is never edited in place: `pgbraid rebalance` and `pgbraid move` carry the rows over and write the next version.

version = 2

[shards]
a = [  # 2721 buckets
    \"0-9\",
    \"20-1365\",
    \"2731-4095\",
]
b = [  # 1375 buckets
    \"10-19\",
    \"1366-2730\",
]
\"new one\" = []
";
    assert_eq!(map.render(), expected);
}

#[test]
fn ownership_goes_by_name_whatever_the_order() {
    let text = "version = 7\n[shards]\nb = [\"0-2047\"]\na = [\"4095\", \"2048 - 4094\"]\ngone = []\n";
    let map = ShardMap::parse(text, &["a", "idle", "b"]).unwrap();
    assert_eq!(map.version(), MapVersion(7));
    assert_eq!(map.shard_of(Bucket(0)), ShardId(2));
    assert_eq!(map.ranges_of(ShardId(0)), [range(2048, 4095)]);
    assert_eq!(map.bucket_counts(), [2048, 0, 2048]);
}

#[test]
fn each_mistake_names_its_line_and_remedy() {
    check(
        "version = 1\n[shards]\na = [\"0-4095\"]\nc = [\"1\"]\n",
        &["line 4: unknown shard \"c\": the configuration has a, b; rename it here or add a [[shard]] there"],
    );
    check(
        "version = 1\n[shards]\na = [\"0-2047\"]\nb = [\"2049-4000\"]\n",
        &[
            "line 4: buckets 2048 have no owner: add the range to the shard that has their rows",
            "line 4: buckets 4001-4095 have no owner: add the range to the shard that has their rows",
        ],
    );
    check(
        "version = 1\n[shards]\na = [\"0-2047\"]\nb = [\n  \"2048-4095\",\n  \"2000-2050\",\n]\n",
        &[
            "line 6: buckets 2000-2047 belong to \"a\" already (line 3): each bucket has one owner, take them out of one",
            "line 6: buckets 2048-2050 belong to \"b\" already (line 5): each bucket has one owner, take them out of one",
        ],
    );
    check(
        "version = 1\n[shards]\na = [\"0-4096\", \"9-1\", \"x\", 5]\n",
        &[
            "line 3: the range \"0-4096\" goes past the last bucket, 4095",
            "line 3: the range \"9-1\" ends before it begins: write the lower bucket first",
            "line 3: \"x\" is not a range of buckets: write \"0-1023\", or \"7\" for one bucket",
            "line 3: the buckets of \"a\" must be a list of ranges in quotes, such as [\"0-511\", \"1024-2047\"]",
        ],
    );
    check(
        "version = 1\n[shards]\na = \"0-4095\"\n",
        &["line 3: the buckets of \"a\" must be a list of ranges in quotes, such as [\"0-511\", \"1024-2047\"]"],
    );
}

#[test]
fn a_bad_or_missing_version_is_named() {
    let bad = "the version must be a whole number from 1 to 9007199254740992, without quotes";
    for version in ["0", "-1", "1.5", "\"1\"", "9007199254740993", "99999999999999999999"] {
        check(&format!("version = {version}\n[shards]\na = [\"0-4095\"]\n"), &[&format!("line 1: {bad}")]);
    }
    check("[shards]\na = [\"0-4095\"]\n", &["line 1: there is no version: write `version = 1` above [shards]"]);
}

#[test]
fn an_empty_file_says_what_belongs_there() {
    let shards = "there are no shards: write `[shards]` and below it a line `name = [\"0-1023\"]` per shard";
    check("", &[&format!("line 1: {shards}"), "line 1: there is no version: write `version = 1` above [shards]"]);
    check("version = 1\n", &[&format!("line 1: {shards}")]);
    check("version = 1\nshards = 3\n", &[&format!("line 2: {shards}")]);
    check(
        "version = 1\n[shards]\n",
        &["line 2: buckets 0-4095 have no owner: add the range to the shard that has their rows"],
    );
}

#[test]
fn unknown_keys_and_duplicates_are_errors() {
    check(
        "version = 1\nbuckets = 7\n[shards]\na = [\"0-4095\"]\n",
        &["line 2: unknown key \"buckets\": a map file has `version` and `[shards]` only"],
    );
    let error = ShardMap::parse("version = 1\n[shards]\na = []\na = [\"0-4095\"]\n", &["a"]).unwrap_err();
    assert!(error.to_string().starts_with("line 4: duplicate key"), "{error}");
}

#[test]
fn lists_of_names_that_cannot_have_a_map_are_refused() {
    assert_eq!(ShardMap::even::<&str>(&[]), Err(NamesError::Empty));
    assert_eq!(ShardMap::even(&["a", "b", "a"]), Err(NamesError::Duplicate("a".into())));
    let many: Vec<String> = (0..4097).map(|n| n.to_string()).collect();
    assert_eq!(ShardMap::even(&many), Err(NamesError::TooMany(4097)));
    assert!(ShardMap::even(&many[..4096]).is_ok());
    let map = ShardMap::even(&["a", "b"]).unwrap();
    assert_eq!(map.with_shards(&["a"]), Err(NamesError::OwnerMissing("b".into())));
}

#[test]
fn impossible_changes_are_refused() {
    let map = ShardMap::even(&["a", "b"]).unwrap();
    let unknown = ChangeError::UnknownShard { id: ShardId(2), shards: 2 };
    assert_eq!(map.reassigned(&[(range(0, 1), ShardId(2))]), Err(unknown));
    let twice = map.reassigned(&[(range(0, 5), ShardId(0)), (range(5, 6), ShardId(1))]);
    assert_eq!(twice, Err(ChangeError::GivenTwice(Bucket(5))));
    assert_eq!(add_shards(&map, &[ShardId(0)]), Err(PlanError::NotNew("a".to_owned())));
    assert_eq!(add_shards(&map, &[ShardId(9)]), Err(PlanError::UnknownShard { id: ShardId(9), shards: 2 }));
    assert_eq!(drain_shards(&map, &[ShardId(0), ShardId(1)]), Err(PlanError::NobodyLeft));
    assert_eq!(rebalance(&map, &[0, 0]), Err(PlanError::NobodyLeft));
    assert_eq!(rebalance(&map, &[1]), Err(PlanError::WeightCount { given: 1, shards: 2 }));
    assert_eq!(BucketRange::new(Bucket(3), Bucket(2)), None);
    assert_eq!(BucketRange::new(Bucket(0), Bucket(4096)), None);
}

#[test]
fn a_diff_says_what_moves_in_a_line_per_pair() {
    let old = ShardMap::even(&["a", "b"]).unwrap();
    let new = old.reassigned(&[(range(0, 99), ShardId(1)), (range(1000, 1000), ShardId(1))]).unwrap();
    let said = "a -> b: 101 buckets (2.5 %): 0-99 1000\n101 of 4096 buckets move";
    assert_eq!(diff(&old, &new).to_string(), said);
}

#[test]
fn shards_that_are_drained_get_nothing_from_the_next_drain() {
    let map = ShardMap::even(&["a", "b", "c"]).unwrap();
    let map = drain_shards(&map, &[ShardId(2)]).unwrap().next;
    let map = drain_shards(&map, &[ShardId(1)]).unwrap().next;
    assert_eq!(map.bucket_counts(), [4096, 0, 0]);
    assert_eq!(map.version(), MapVersion(3));
}
