//! Sequences that each shard draws from for itself. On all shards they have the same increment, the *stride*, and start at
//! different places within it, so that no two shards ever give the same number and none asks another.
//!
//! What is here decides; `shards` asks every shard what it has, the session repairs after DDL, `admin` after a shard was added.

use std::collections::{BTreeMap, HashSet};

use crate::catalog::Rules;
use crate::catalog::relations::is_system;

/// Installs `pgbraid.setval` and `pgbraid.unique_id`; `{slot}` stands for the shard's place.
const SQL: &str = include_str!("sequences.sql");

/// Room for as many shards as there are buckets, where a sequence has numbers enough.
const STRIDE_WIDE: i128 = 4096;

/// Of an integer: 33 million numbers for each of 64 shards.
const STRIDE_NARROW: i128 = 64;

/// A sequence with fewer numbers than this for each shard is drawn from on the home shard, as its numbers would be used up.
const ROOM_WIDE: i128 = 1 << 40;
const ROOM_NARROW: i128 = 1 << 20;

/// The functions, for the shard at this place.
pub fn functions_sql(slot: usize) -> String {
    SQL.replace("{slot}", &slot.to_string())
}

/// Columns that draw from a sequence: one line for each sequence of a column, fields parted by tabs. Names with a tab or a line
/// break in them are left out, and drawn from on the home shard.
pub const DRAWN: &str = r#"
    WITH RECURSIVE drawn(rel, num, seq, plain) AS (
        SELECT d.adrelid, d.adnum, p.refobjid,
            (SELECT pg_catalog.count(*) = 2 FROM pg_catalog.string_to_table(pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'nextval('))
        FROM pg_catalog.pg_attrdef d
        JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid
            AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        JOIN pg_catalog.pg_sequence s ON s.seqrelid = p.refobjid
        UNION ALL
        SELECT a.attrelid, a.attnum, p.objid, true
        FROM pg_catalog.pg_sequence s
        JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = s.seqrelid
            AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.deptype = 'i'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid AND a.attidentity <> ''
    ), up(rel, root) AS (
        SELECT rel, rel FROM drawn UNION SELECT up.rel, i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.root
    )
    SELECT pg_catalog.string_agg(line, E'\n') FROM (
        SELECT DISTINCT pg_catalog.concat_ws(E'\t', n.nspname, c.relname, a.attname, pg_catalog.concat('"', pg_catalog.replace(sn.nspname, '"', '""'), '"."', pg_catalog.replace(sc.relname, '"', '""'), '"'),
            s.seqincrement, s.seqstart, s.seqmin, s.seqmax, s.seqcycle::int, d.plain::int,
            pg_catalog.pg_has_role(sc.relowner, 'USAGE')::int, rn.nspname, r.relname,
            (SELECT pg_catalog.string_agg(k.attname, E'\r') FROM pg_catalog.pg_attribute k
                WHERE k.attrelid = r.oid AND k.attnum > 0 AND NOT k.attisdropped)) AS line,
            pg_catalog.concat(n.nspname, c.relname, a.attname, sn.nspname, sc.relname) AS words
        FROM drawn d
        JOIN pg_catalog.pg_class c ON c.oid = d.rel AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p')
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.rel AND a.attnum = d.num
        JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.seq
        JOIN pg_catalog.pg_class sc ON sc.oid = d.seq
        JOIN pg_catalog.pg_namespace sn ON sn.oid = sc.relnamespace
        JOIN up ON up.rel = d.rel AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = up.root)
        JOIN pg_catalog.pg_class r ON r.oid = up.root
        JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
    ) lines WHERE words !~ '[\t\n\r]'"#;

/// A column and a sequence that it draws from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Schema, table, column.
    pub column: (String, String, String),
    /// The sequence's qualified name, both parts quoted.
    pub sequence: String,
    /// `pg_sequence`.
    pub increment: i64,
    /// `pg_sequence`.
    pub start: i64,
    min: i64,
    max: i64,
    cycles: bool,
    /// The column's default calls nextval once.
    plain: bool,
    /// The asking role may alter it.
    pub own: bool,
    /// Schema and name of the table at the root of its partitions, and that one's columns.
    root: (String, String, Vec<String>),
}

impl Drawn {
    /// From the answer to [`DRAWN`].
    pub fn of(answer: &str) -> Vec<Drawn> {
        answer.lines().filter_map(Drawn::line).collect()
    }

    fn line(line: &str) -> Option<Drawn> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            schema,
            table,
            column,
            sequence,
            increment,
            start,
            min,
            max,
            cycles,
            plain,
            own,
            root_schema,
            root,
            columns,
        ] = fields.as_slice()
        else {
            return None;
        };
        let text = |text: &str| text.to_owned();
        Some(Drawn {
            column: (text(schema), text(table), text(column)),
            sequence: text(sequence),
            increment: increment.parse().ok()?,
            start: start.parse().ok()?,
            min: min.parse().ok()?,
            max: max.parse().ok()?,
            cycles: *cycles == "1",
            plain: *plain == "1",
            own: *own == "1",
            root: (text(root_schema), text(root), columns.split('\r').map(str::to_owned).collect()),
        })
    }

    /// Whether its table is sharded: the numbers are drawn where the rows are.
    pub fn is_sharded(&self, rules: &Rules) -> bool {
        let (schema, name, columns) = &self.root;
        !is_system(schema) && rules.key_of(schema, name).is_some_and(|key| columns.iter().any(|column| column == key))
    }

    /// The stride that leaves room for other shards, if the sequence has numbers enough.
    fn stride(&self, base: i128, shards: usize) -> Option<i128> {
        let span = i128::from(self.max) - i128::from(self.min);
        let room = |stride: i128| span / (base.abs().max(1) * stride);
        let shards = i128::try_from(shards).ok()?;
        [(STRIDE_WIDE, ROOM_WIDE), (STRIDE_NARROW, ROOM_NARROW)]
            .into_iter()
            .find(|(stride, enough)| room(*stride) >= *enough && shards <= *stride && !self.cycles)
            .map(|(stride, _)| stride)
    }
}

/// Which columns and sequences each shard draws from for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNumbers {
    /// There is one shard: all.
    all: bool,
    columns: HashSet<(String, String, String)>,
    sequences: HashSet<String>,
}

impl OwnNumbers {
    /// Of a cluster of one shard: all.
    pub fn all() -> OwnNumbers {
        OwnNumbers { all: true, ..OwnNumbers::default() }
    }

    /// What is certain in a block after DDL of its own, which may have made another table of the same name: nothing, so that
    /// numbers are drawn on the home shard.
    pub fn in_block(&self) -> OwnNumbers {
        if self.all { OwnNumbers::all() } else { OwnNumbers::default() }
    }

    /// What all shards' answers to [`DRAWN`] agree on; a shard that was not asked agrees with nothing.
    pub fn agreed(shards: &[Option<&[Drawn]>]) -> OwnNumbers {
        let mut own = OwnNumbers::default();
        let mut found: BTreeMap<&(String, String, String), Vec<&Drawn>> = BTreeMap::new();
        for drawn in shards.iter().copied().flatten().flatten() {
            found.entry(&drawn.column).or_default().push(drawn);
        }
        for (column, drawn) in found {
            let places: Vec<_> = drawn.iter().map(|drawn| (drawn.increment, drawn.start)).collect();
            let alike = drawn.iter().all(|one| {
                one.plain && !one.cycles && Some(&one.sequence) == drawn.first().map(|first| &first.sequence)
            });
            if drawn.len() == shards.len() && alike && apart(&places) {
                own.columns.insert(column.clone());
                own.sequences.extend(drawn.first().map(|drawn| drawn.sequence.clone()));
            }
        }
        own
    }

    /// Whether each shard may compute this column's default for itself.
    pub fn column(&self, schema: &str, table: &str, column: &str) -> bool {
        self.all || self.columns.contains(&(schema.to_owned(), table.to_owned(), column.to_owned()))
    }

    /// Whether shards draw from this sequence for themselves, one beside the other.
    pub fn sequence(&self, schema: &str, name: &str) -> bool {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        self.sequences.contains(&format!("{}.{}", quoted(schema), quoted(name)))
    }

    /// There are such sequences.
    pub fn any(&self) -> bool {
        !self.sequences.is_empty()
    }

    /// For tests of plans: as if shards drew for themselves here.
    pub fn insert(&mut self, column: (&str, &str, &str), sequence: &str) {
        self.columns.insert((column.0.to_owned(), column.1.to_owned(), column.2.to_owned()));
        self.sequences.insert(sequence.to_owned());
    }
}

/// Whether sequences of this increment and with one number each never give the same number.
fn apart(places: &[(i64, i64)]) -> bool {
    let Some((stride, _)) = places.first() else { return false };
    let rest = |number: &i64| i128::from(*number).checked_rem_euclid(i128::from(*stride).abs());
    let rests: HashSet<_> = places.iter().filter_map(|(_, number)| rest(number)).collect();
    places.iter().all(|(increment, _)| increment == stride) && rests.len() == places.len()
}

/// What a shard's sequence is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// `pg_sequence.seqincrement`.
    pub increment: i64,
    /// `pg_sequence.seqstart`.
    pub start: i64,
    /// `last_value`.
    pub last: i64,
    /// `is_called`.
    pub called: bool,
}

impl Position {
    /// Asks a shard for the positions of these sequences.
    pub fn query<'s>(sequences: impl Iterator<Item = &'s str>) -> String {
        let one = |sequence: &str| {
            format!(
                "(SELECT pg_catalog.concat_ws(',', s.seqincrement, s.seqstart, q.last_value, q.is_called::int) \
                 FROM pg_catalog.pg_sequence s, {sequence} q WHERE s.seqrelid = '{}'::pg_catalog.regclass)",
                sequence.replace('\'', "''")
            )
        };
        format!("SELECT pg_catalog.concat_ws('/', {})", sequences.map(one).collect::<Vec<_>>().join(", "))
    }

    /// From the answer.
    pub fn of(answer: &str) -> Vec<Position> {
        let one = |text: &str| {
            let mut fields = text.split(',').map(|field| field.parse::<i64>().ok());
            let mut next = || fields.next().flatten();
            Some(Position { increment: next()?, start: next()?, last: next()?, called: next()? == 1 })
        };
        answer.split('/').filter_map(one).collect()
    }

    fn next(&self) -> i128 {
        i128::from(self.last) + if self.called { i128::from(self.increment) } else { 0 }
    }
}

/// What a sequence is to be on each shard so that none gives a number that another gives or has given; `None` if it is that, or
/// has too few numbers. By shard, in order; the first one's START is where the numbers begin.
pub fn spread(drawn: &Drawn, shards: &[Position]) -> Option<Vec<String>> {
    let first = shards.first()?;
    let starts: Vec<_> = shards.iter().map(|shard| (shard.increment, shard.start)).collect();
    let stride = i128::from(first.increment).abs();
    let aligned = |shard: &Position| (i128::from(shard.last) - i128::from(shard.start)) % stride.max(1) == 0;
    let is_spread = apart(&starts) && !drawn.cycles;
    if is_spread && shards.iter().all(aligned) {
        return None;
    }
    // They were apart before a START or RESTART for all of them, or before a shard was added whose sequence is new or a copy.
    let same: Vec<_> = shards.iter().filter(|shard| shard.increment == first.increment).collect();
    let places = |number: fn(&Position) -> i64| {
        let rests: HashSet<_> =
            same.iter().filter_map(|at| i128::from(number(at)).checked_rem_euclid(stride)).collect();
        rests.len()
    };
    let were_apart = places(|at| at.start) > 1 || places(|at| at.last) > 1 || same.len() == 1 && shards.len() > 1;
    let was = [STRIDE_WIDE, STRIDE_NARROW].into_iter().find(|known| stride % known == 0 && were_apart);
    let increment = i128::from(first.increment);
    let base = was.map_or(increment, |stride| increment / stride);
    let stride = match was {
        Some(stride) => stride,
        None if is_spread => return None,
        None => drawn.stride(base, shards.len())?,
    };
    let step = base * stride;
    let furthest = shards.iter().map(Position::next);
    let next = if step > 0 { furthest.max()? } else { furthest.min()? };
    let mut alters = Vec::with_capacity(shards.len());
    for (slot, _) in shards.iter().enumerate() {
        let start = i128::from(first.start) + base * i128::try_from(slot).ok()?;
        let restart = next + (start - next).rem_euclid(step.abs());
        let restart = if step > 0 { restart } else { next - (next - start).rem_euclid(step.abs()) };
        alters.push(format!(
            "ALTER SEQUENCE {} INCREMENT BY {step} START WITH {start} RESTART WITH {restart}",
            drawn.sequence
        ));
    }
    Some(alters)
}

/// Each sequence of sharded tables once.
pub fn to_spread(drawn: Vec<Drawn>, rules: &Rules) -> Vec<Drawn> {
    let mut seen = HashSet::new();
    drawn.into_iter().filter(|one| one.is_sharded(rules) && one.plain && seen.insert(one.sequence.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn drawn(max: i64) -> Drawn {
        let line = format!("public\tt\tid\tpublic.t_id_seq\t1\t1\t1\t{max}\t0\t1\t1\tpublic\tt\tcustomer_id\rid");
        Drawn::of(&line).remove(0)
    }

    fn at(increment: i64, start: i64, last: i64, called: bool) -> Position {
        Position { increment, start, last, called }
    }

    fn settled(alters: &[String]) -> Vec<Position> {
        let number =
            |text: &str, word: &str| text.split(word).nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        alters
            .iter()
            .map(|a| at(number(a, "INCREMENT BY "), number(a, "START WITH "), number(a, "RESTART WITH "), false))
            .collect()
    }

    #[test]
    fn new_sequences_start_one_beside_the_other() {
        let alters = spread(&drawn(i64::MAX), &[at(1, 1, 1, false); 2]).unwrap();
        assert_eq!(alters[0], "ALTER SEQUENCE public.t_id_seq INCREMENT BY 4096 START WITH 1 RESTART WITH 1");
        assert_eq!(alters[1], "ALTER SEQUENCE public.t_id_seq INCREMENT BY 4096 START WITH 2 RESTART WITH 2");
        assert_eq!(spread(&drawn(i64::MAX), &settled(&alters)), None);
    }

    #[test]
    fn an_integer_has_narrow_strides_and_a_smallint_none() {
        let alters = spread(&drawn(i32::MAX.into()), &[at(1, 1, 1, false); 3]).unwrap();
        assert_eq!(alters[2], "ALTER SEQUENCE public.t_id_seq INCREMENT BY 64 START WITH 3 RESTART WITH 3");
        assert_eq!(spread(&drawn(i16::MAX.into()), &[at(1, 1, 1, false); 3]), None);
        assert_eq!(spread(&drawn(i32::MAX.into()), &[at(1, 1, 1, false); 65]), None);
    }

    #[test]
    fn numbers_that_were_drawn_before_are_not_drawn_again() {
        let alters = spread(&drawn(i64::MAX), &[at(1, 1, 5000, true), at(1, 1, 1, false)]).unwrap();
        assert!(settled(&alters).iter().all(|place| place.last > 5000 && (place.last - place.start) % 4096 == 0));
    }

    #[test]
    fn a_restart_for_all_shards_is_put_right_and_one_of_its_own_stays() {
        let alters = spread(&drawn(i64::MAX), &[at(4096, 1, 1000, false), at(4096, 2, 1000, false)]).unwrap();
        assert_eq!(settled(&alters), [at(4096, 1, 4097, false), at(4096, 2, 4098, false)]);
        assert_eq!(spread(&drawn(i64::MAX), &[at(4096, 1, 1, false), at(4096, 2, 2, false)]), None);
        let started = spread(&drawn(i64::MAX), &[at(4096, 500, 4097, true), at(4096, 500, 2, true)]).unwrap();
        assert!(settled(&started).iter().all(|place| place.increment == 4096 && place.last > 4097));
    }

    #[test]
    fn a_new_shard_gets_numbers_of_its_own_beyond_all_others() {
        let shards = [at(4096, 1, 8193, true), at(4096, 2, 2, true), at(1, 1, 1, false)];
        let alters = spread(&drawn(i64::MAX), &shards);
        assert!(alters.as_ref().unwrap()[2].contains("INCREMENT BY 4096 START WITH 3 "));
        let copied = [at(4096, 1, 8193, true), at(4096, 2, 2, true), at(4096, 1, 1, false)];
        assert_eq!(spread(&drawn(i64::MAX), &copied), alters);
        let places = settled(&alters.unwrap());
        assert!(apart(&places.iter().map(|place| (place.increment, place.start)).collect::<Vec<_>>()));
        assert!(places.iter().all(|place| place.last > 8193));
    }

    #[test]
    fn descending_sequences_go_on_downwards() {
        let line = "public\tt\tid\tpublic.s\t-1\t-1\t-9223372036854775808\t-1\t0\t1\t1\tpublic\tt\tcustomer_id";
        let alters = spread(&Drawn::of(line)[0], &[at(-1, -1, -7, true), at(-1, -1, -1, false)]).unwrap();
        for place in settled(&alters) {
            assert!(place.last < -7 && place.increment == -4096 && (place.last - place.start) % 4096 == 0);
        }
    }

    #[test]
    fn shards_that_count_alike_do_not_agree() {
        let lines = |start: i64, increment: i64| {
            Drawn::of(&format!(
                "public\tt\tid\tpublic.t_id_seq\t{increment}\t{start}\t1\t99999999\t0\t1\t1\tpublic\tt\tcustomer_id"
            ))
        };
        let agree =
            |one: &[Drawn], other: &[Drawn]| OwnNumbers::agreed(&[Some(one), Some(other)]).column("public", "t", "id");
        assert!(agree(&lines(1, 64), &lines(2, 64)));
        assert!(!agree(&lines(1, 64), &lines(65, 64)));
        assert!(!agree(&lines(1, 64), &lines(2, 32)));
        assert!(!agree(&lines(1, 1), &lines(2, 1)));
        assert!(!OwnNumbers::agreed(&[Some(&lines(1, 64)), None]).column("public", "t", "id"));
    }
}
