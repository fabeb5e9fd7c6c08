//! What holds for every map, plan and text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use shardmap::{
    BUCKETS, Bucket, BucketRange, Key, MapVersion, ShardId, ShardMap, add_shards, diff, drain_shards, rebalance,
};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s{n}")).collect()
}

/// A map of `shards` shards after some arbitrary moves.
fn any_map(shards: impl Strategy<Value = usize>) -> impl Strategy<Value = ShardMap> {
    let moves = prop::collection::vec((0..BUCKETS, 0..64_u16, any::<prop::sample::Index>()), 0..40);
    (shards, moves).prop_map(|(shards, moves)| {
        let mut map = ShardMap::even(&names(shards)).unwrap();
        for (first, len, to) in moves {
            let range = BucketRange::new(Bucket(first), Bucket((first + len).min(BUCKETS - 1))).unwrap();
            map = map.reassigned(&[(range, ShardId(to.index(shards) as u16))]).unwrap();
        }
        map
    })
}

/// Every bucket is in the ranges of exactly one shard, the one `shard_of` says.
fn assert_owned_once(map: &ShardMap) {
    let mut seen = BTreeSet::new();
    for id in map.ids() {
        for bucket in map.ranges_of(id).iter().flat_map(|range| range.buckets()) {
            assert!(seen.insert(bucket), "{bucket:?} is owned twice");
            assert_eq!(map.shard_of(bucket), id);
        }
    }
    assert_eq!(seen.len(), usize::from(BUCKETS));
}

fn spread(counts: &[u16]) -> u16 {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_even_map_owns_each_bucket_once_in_balance_and_in_order(shards in 1..200_usize) {
        let map = ShardMap::even(&names(shards)).unwrap();
        assert_owned_once(&map);
        prop_assert!(spread(&map.bucket_counts()) <= 1);
        prop_assert!(map.ids().all(|id| map.ranges_of(id).len() == 1));
        prop_assert_eq!(map.version(), MapVersion(1));
    }

    #[test]
    fn rendering_and_parsing_give_the_map_back(map in any_map(1..20_usize)) {
        let text = map.render();
        let parsed = ShardMap::parse(&text, map.shards()).unwrap();
        prop_assert_eq!(&parsed, &map);
        prop_assert_eq!(parsed.render(), text, "one way to write a map");
    }

    #[test]
    fn any_names_survive_the_file(names in prop::collection::btree_set(any::<String>(), 1..6)) {
        let names: Vec<String> = names.into_iter().collect();
        let map = ShardMap::even(&names).unwrap();
        prop_assert_eq!(ShardMap::parse(&map.render(), &names).unwrap(), map);
    }

    #[test]
    fn the_parser_survives_any_text(text in any::<String>()) {
        prop_assert!(ShardMap::parse(&text, &["s0"]).is_err());
    }

    #[test]
    fn the_parser_survives_texts_that_look_like_maps(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "version = 1", "version = -1", "version = 0x7", "version = 9999999999999999999", "[shards]", "[[shards]]",
                "s0 = [\"0-4095\"]", "s0 = [\"0-10\", 3]", "s1 = [\"4095-0\"]", "s1 = [\"0-99999999999\"]", "s0 = \"1\"",
                "s2 = []", "s1 = [\"-\"]", "s1 = [\"5-\"]", "\"é\" = [\"1\"]", "shards = 1", "{", "s0 = [", "\"", "#",
            ]),
            0..12,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = lines.join("\n");
        let text: String = text.chars().take(cut.index(text.chars().count() + 1)).collect();
        if let Err(error) = ShardMap::parse(&text, &["s0", "s1"]) {
            let line_max = text.lines().count().max(1);
            prop_assert!(error.mistakes.iter().all(|(line, _)| (1..=line_max).contains(line)), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_changed_character_never_parses_to_a_map_with_a_hole(
        map in any_map(2..5_usize), place in any::<prop::sample::Index>(), with in any::<char>(),
    ) {
        let text = map.render();
        let place = place.index(text.chars().count());
        let text: String = text.chars().enumerate().map(|(at, c)| if at == place { with } else { c }).collect();
        if let Ok(parsed) = ShardMap::parse(&text, map.shards()) {
            assert_owned_once(&parsed);
        }
    }

    #[test]
    fn adding_to_equal_shards_moves_what_the_newcomer_must_own_and_nothing_else(shards in 1..64_usize) {
        let old = ShardMap::even(&names(shards)).unwrap().with_shards(&names(shards + 1)).unwrap();
        let newcomer = ShardId(shards as u16);
        let plan = add_shards(&old, &[newcomer]).unwrap();
        assert_owned_once(&plan.next);
        let share = BUCKETS / (shards as u16 + 1);
        prop_assert_eq!(plan.moves.bucket_count(), share);
        prop_assert_eq!(plan.next.bucket_counts()[shards], share);
        let name = old.name(newcomer).unwrap();
        prop_assert!(plan.moves.moved.iter().all(|moved| moved.to == *name));
        prop_assert!(spread(&plan.next.bucket_counts()) <= 1);
        prop_assert_eq!(plan.next.version(), MapVersion(old.version().0 + 1));
    }

    #[test]
    fn adding_one_after_another_stays_balanced_within_one_bucket(added in 1..12_usize) {
        let all = names(1 + added);
        let mut map = ShardMap::even(&all[..1]).unwrap().with_shards(&all).unwrap();
        for newcomer in 1..=added {
            map = add_shards(&map, &[ShardId(newcomer as u16)]).unwrap().next;
            prop_assert!(spread(&map.bucket_counts()[..=newcomer]) <= 1);
        }
    }

    #[test]
    fn adding_to_any_map_moves_only_to_the_newcomers(map in any_map(1..8_usize), newcomers in 1..4_usize) {
        let shards = map.shards().len();
        let map = map.with_shards(&names(shards + newcomers)).unwrap();
        let ids: Vec<ShardId> = map.ids().skip(shards).collect();
        let plan = add_shards(&map, &ids).unwrap();
        assert_owned_once(&plan.next);
        prop_assert!(plan.moves.moved.iter().all(|moved| ids.contains(&map.shard(moved.to.as_str()).unwrap())));
        prop_assert!(spread(&plan.next.bucket_counts()[shards..]) == 0);
    }

    #[test]
    fn draining_moves_the_leavers_buckets_and_nothing_else(map in any_map(2..8_usize), leaver in any::<prop::sample::Index>()) {
        let leaver = ShardId(leaver.index(map.shards().len()) as u16);
        let counts = map.bucket_counts();
        prop_assume!(counts.iter().filter(|count| **count > 0).count() > 1);
        let plan = drain_shards(&map, &[leaver]).unwrap();
        assert_owned_once(&plan.next);
        prop_assert_eq!(plan.moves.bucket_count(), counts[usize::from(leaver.0)]);
        prop_assert_eq!(plan.next.buckets_of(leaver).count(), 0);
        prop_assert!(plan.moves.moved.iter().all(|moved| map.shard(moved.from.as_str()) == Some(leaver)));
    }

    #[test]
    fn weights_are_met_within_one_bucket_and_with_the_fewest_moves(
        (map, weights) in any_map(1..8_usize).prop_flat_map(|map| {
            let shards = map.shards().len();
            (Just(map), prop::collection::vec(0..20_u32, shards))
        })
    ) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let plan = rebalance(&map, &weights).unwrap();
        assert_owned_once(&plan.next);
        let old = map.bucket_counts();
        let new = plan.next.bucket_counts();
        let mut floor_surplus = 0;
        let mut extra = 0;
        let mut saved = 0;
        for shard in 0..weights.len() {
            let quota = f64::from(weights[shard]) * f64::from(BUCKETS) / f64::from(total);
            prop_assert!((f64::from(new[shard]) - quota).abs() < 1.0, "{old:?} {weights:?} -> {new:?}");
            let floor = quota.floor() as u16;
            floor_surplus += old[shard].saturating_sub(floor);
            extra += floor;
            saved += u16::from(old[shard] > floor && quota.fract() > 1e-9);
        }
        // Rounding leaves buckets over; each saves one move when its shard would have had to give it away.
        prop_assert_eq!(plan.moves.bucket_count(), floor_surplus - saved.min(BUCKETS - extra));
        prop_assert_eq!(rebalance(&map, &weights).unwrap(), plan.clone(), "the same wish, the same plan");
        prop_assert!(rebalance(&plan.next, &weights).unwrap().moves.is_empty(), "once is enough");
    }

    #[test]
    fn a_diff_leads_from_the_old_map_to_the_new(old in any_map(5..6_usize), new in any_map(5..6_usize)) {
        let moves: Vec<_> = diff(&old, &new).moved.iter()
            .map(|moved| (moved.range, new.shard(moved.to.as_str()).unwrap())).collect();
        let led = old.reassigned(&moves).unwrap();
        prop_assert!(new.ids().all(|id| led.ranges_of(id) == new.ranges_of(id)));
        prop_assert_eq!(led.version(), MapVersion(old.version().0 + 1));
        prop_assert!(diff(&old, &old).is_empty());
    }

    #[test]
    fn every_key_has_a_bucket_below_the_limit(number in any::<i64>(), text in any::<String>(), uuid in any::<[u8; 16]>()) {
        for key in [Key::Integer(number), Key::Text(text.into()), Key::Uuid(uuid)] {
            prop_assert!(key.bucket().0 < BUCKETS);
        }
    }
}

#[test]
fn integer_keys_spread_evenly_over_the_buckets() {
    let mut counts = vec![0_u32; usize::from(BUCKETS)];
    for key in 0..409_600 {
        counts[usize::from(Key::Integer(key).bucket().0)] += 1;
    }
    // 100 each on average, standard deviation 10: six of those either way.
    assert!(counts.iter().all(|count| (40..=160).contains(count)));
}
