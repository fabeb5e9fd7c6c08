//! The map file: TOML that people read in a review. [`ShardMap::render`] writes it, [`ShardMap::parse`] reads it.
//!
//! Shards go by name there; their places come from the list of names that the configuration gives. There is one way to
//! write a map, so that a change of the file shows what changed in the map.

use std::fmt::{self, Write as _};

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bucket::{self, BUCKETS, Bucket, BucketRange};
use crate::map::{self, MapVersion, NamesError, ShardId, ShardMap, ShardName};

/// The first lines of a rendered map.
const HEADER: &str = "\
# Which shard owns which of the 4096 buckets (0-4095) of the keys' hash space. Written by pgbraid.
# A map is never edited in place: `pgbraid rebalance` and `pgbraid move` carry the rows over and write the next version.
";

/// Versions in a file; more would not be exact in every reader of numbers (2^53).
const VERSION_MAX: u64 = 1 << 53;

/// All that is wrong with a map file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapTextError {
    /// In the order of the lines; never empty. Lines count from 1.
    pub mistakes: Vec<(usize, MapMistake)>,
}

/// One thing that is wrong with a map file. `Display` says what and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MapMistake {
    /// Not TOML.
    #[error("{0}; a map file has a line `version = N` and, under `[shards]`, a line `name = [\"0-1023\"]` per shard")]
    Syntax(String),
    /// The configuration's own list of shards is wrong.
    #[error("{0}")]
    Names(NamesError),
    /// A key that a map file does not have.
    #[error("unknown key {0:?}: a map file has `version` and `[shards]` only")]
    UnknownKey(String),
    /// No `version`.
    #[error("there is no version: write `version = 1` above [shards]")]
    VersionMissing,
    /// `version` is not a whole number from 1 up.
    #[error("the version must be a whole number from 1 to {VERSION_MAX}, without quotes")]
    VersionBad,
    /// No `[shards]`, or it is not a table.
    #[error("there are no shards: write `[shards]` and below it a line `name = [\"0-1023\"]` per shard")]
    ShardsMissing,
    /// A shard that the configuration does not have.
    #[error("unknown shard {name:?}: the configuration has {known}; rename it here or add a [[shard]] there")]
    UnknownShard {
        /// As written.
        name: String,
        /// The configuration's names.
        known: String,
    },
    /// A value that is not a list of ranges.
    #[error("the buckets of {0:?} must be a list of ranges in quotes, such as [\"0-511\", \"1024-2047\"]")]
    NotRanges(String),
    /// Not a range.
    #[error("{0:?} is not a range of buckets: write \"0-1023\", or \"7\" for one bucket")]
    BadRange(String),
    /// The range ends before it begins.
    #[error("the range {0:?} ends before it begins: write the lower bucket first")]
    Reversed(String),
    /// A bucket past the last one.
    #[error("the range {range:?} goes past the last bucket, {}", BUCKETS - 1)]
    OutOfRange {
        /// As written.
        range: String,
    },
    /// Buckets that an earlier line gives away already.
    #[error(
        "buckets {range} belong to {owner:?} already (line {line}): each bucket has one owner, take them out of one"
    )]
    Overlap {
        /// The buckets that are given twice.
        range: BucketRange,
        /// Who has them.
        owner: ShardName,
        /// Where that is written.
        line: usize,
    },
    /// Buckets that nobody owns.
    #[error("buckets {0} have no owner: add the range to the shard that has their rows")]
    Gap(BucketRange),
}

impl std::error::Error for MapTextError {}

impl fmt::Display for MapTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, mistake)) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}line {line}: {mistake}")?;
        }
        Ok(())
    }
}

impl ShardMap {
    /// Reads a map file. `names` are the configuration's shards in order; one that the file leaves out owns nothing, and
    /// the file may name shards that are gone from the configuration as long as they own nothing.
    ///
    /// # Errors
    /// All mistakes of the file, with their lines.
    pub fn parse<N: AsRef<str>>(text: &str, names: &[N]) -> Result<ShardMap, MapTextError> {
        let shards = match map::checked_names(names) {
            Ok(shards) => shards,
            Err(error) => return Err(MapTextError { mistakes: vec![(1, MapMistake::Names(error))] }),
        };
        let mut reader = Reader { text, shards, owners: Box::new([None; BUCKETS as usize]), mistakes: Vec::new() };
        let version = match DeTable::parse(text) {
            Ok(table) => reader.document(table.get_ref()),
            Err(error) => {
                let place = error.span().map_or(0, |span| span.start);
                reader.mistake(place, MapMistake::Syntax(error.message().to_owned()));
                MapVersion::FIRST
            }
        };
        reader.finish(version)
    }

    /// The canonical map file. Parsing it with this map's names gives this map.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}\nversion = {}\n\n[shards]\n", self.version());
        for (id, name) in self.ids().zip(self.shards()) {
            let ranges = self.ranges_of(id);
            let count: u16 = ranges.iter().map(|range| range.count()).sum();
            let name = quoted_key(name.as_str());
            // Writing to a String cannot fail.
            let _ = match ranges.as_slice() {
                [] => writeln!(text, "{name} = []"),
                [range] => writeln!(text, "{name} = [\"{range}\"]  # {count} buckets"),
                [..] => {
                    let lines: String = ranges.iter().map(|range| format!("    \"{range}\",\n")).collect();
                    writeln!(text, "{name} = [  # {count} buckets\n{lines}]")
                }
            };
        }
        text
    }
}

/// A map file half read.
struct Reader<'t> {
    text: &'t str,
    shards: Vec<ShardName>,
    /// Per bucket its owner and the byte at which that is written.
    owners: Box<[Option<(ShardId, usize)>; BUCKETS as usize]>,
    /// By the byte at which they are.
    mistakes: Vec<(usize, MapMistake)>,
}

impl Reader<'_> {
    fn mistake(&mut self, place: usize, mistake: MapMistake) {
        self.mistakes.push((place, mistake));
    }

    /// Reads all there is and returns the version.
    fn document(&mut self, table: &DeTable<'_>) -> MapVersion {
        let mut version = None;
        let mut shards = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "version" => version = Some(value),
                "shards" => shards = Some(value),
                other => self.mistake(key.span().start, MapMistake::UnknownKey(other.to_owned())),
            }
        }
        match shards.map(|value| (value.span().start, value.get_ref().as_table())) {
            Some((_, Some(table))) => table.iter().for_each(|(name, ranges)| self.shard(name, ranges)),
            Some((place, None)) => self.mistake(place, MapMistake::ShardsMissing),
            None => self.mistake(self.text.len(), MapMistake::ShardsMissing),
        }
        match version {
            Some(value) => self.version(value),
            None => {
                self.mistake(0, MapMistake::VersionMissing);
                MapVersion::FIRST
            }
        }
    }

    fn version(&mut self, value: &Spanned<DeValue<'_>>) -> MapVersion {
        let number = value.get_ref().as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number @ 1..=VERSION_MAX) => MapVersion(number),
            _ => {
                self.mistake(value.span().start, MapMistake::VersionBad);
                MapVersion::FIRST
            }
        }
    }

    /// A line of `[shards]`.
    fn shard(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, ranges: &Spanned<DeValue<'_>>) {
        let place = name.span().start;
        let Some(list) = ranges.get_ref().as_array() else {
            return self.mistake(place, MapMistake::NotRanges(name.get_ref().to_string()));
        };
        let known = self.shards.iter().position(|known| known.as_str() == name.get_ref());
        match known {
            Some(index) => list.iter().for_each(|item| match item.get_ref().as_str() {
                Some(text) => self.range(ShardId(index as u16), item.span().start, text),
                None => self.mistake(item.span().start, MapMistake::NotRanges(name.get_ref().to_string())),
            }),
            // It was drained and has left the configuration.
            None if list.is_empty() => {}
            None => {
                let known = self.shards.iter().map(ShardName::as_str).collect::<Vec<_>>().join(", ");
                self.mistake(place, MapMistake::UnknownShard { name: name.get_ref().to_string(), known });
            }
        }
    }

    /// One range of a shard.
    fn range(&mut self, shard: ShardId, place: usize, text: &str) {
        let range = match parse_range(text) {
            Ok(range) => range,
            Err(mistake) => return self.mistake(place, mistake),
        };
        let owner_of = |bucket: &Bucket| self.owners[usize::from(bucket.0)];
        let taken: Vec<Bucket> = range.buckets().filter(|bucket| owner_of(bucket).is_some()).collect();
        let same_owner = taken.chunk_by(|a, b| owner_of(a) == owner_of(b)).map(<[Bucket]>::to_vec);
        let groups: Vec<_> = same_owner.filter_map(|group| Some((owner_of(group.first()?)?, group))).collect();
        for ((owner, earlier), group) in groups {
            let owner = self.shards[usize::from(owner.0)].clone();
            let line = line_of(self.text, earlier);
            for range in bucket::ranges(group.into_iter()) {
                self.mistake(place, MapMistake::Overlap { range, owner: owner.clone(), line });
            }
        }
        for bucket in range.buckets() {
            self.owners[usize::from(bucket.0)].get_or_insert((shard, place));
        }
    }

    /// The map, if all buckets have an owner and nothing else was wrong.
    fn finish(mut self, version: MapVersion) -> Result<ShardMap, MapTextError> {
        // What is wrong above explains the gaps.
        if self.mistakes.is_empty() {
            let unowned = (0..BUCKETS).map(Bucket).filter(|bucket| self.owners[usize::from(bucket.0)].is_none());
            let gaps = bucket::ranges(unowned);
            gaps.into_iter().for_each(|gap| self.mistake(self.text.len(), MapMistake::Gap(gap)));
        }
        if self.mistakes.is_empty() {
            let owners = Box::new(self.owners.map(|owner| owner.map_or(ShardId(0), |(shard, _)| shard)));
            return Ok(ShardMap::from_parts(version, self.shards, owners));
        }
        self.mistakes.sort_by_key(|(place, _)| *place);
        let lines = self.mistakes.into_iter().map(|(place, mistake)| (line_of(self.text, place), mistake));
        Err(MapTextError { mistakes: lines.collect() })
    }
}

/// `7` or `0-1023`.
fn parse_range(text: &str) -> Result<BucketRange, MapMistake> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (parse_number(first), parse_number(last)) else {
        return Err(MapMistake::BadRange(text.to_owned()));
    };
    if first > last {
        return Err(MapMistake::Reversed(text.to_owned()));
    }
    BucketRange::new(Bucket(first), Bucket(last)).ok_or_else(|| MapMistake::OutOfRange { range: text.to_owned() })
}

/// Digits, with spaces around them; what is past any `u16` is only past the last bucket.
fn parse_number(text: &str) -> Option<u16> {
    let digits = text.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u16::MAX))
}

/// The line, from 1, of a byte of the text; of the last byte when past the end.
fn line_of(text: &str, place: usize) -> usize {
    let before = text.as_bytes().get(..place).unwrap_or(text.as_bytes());
    let lines = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    if place >= text.len() && text.ends_with('\n') { lines - 1 } else { lines }
}

/// A name as a TOML key: bare where that is allowed, else a basic string. *Source*: TOML 1.0, "Keys" and "String".
fn quoted_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    let mut key = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => key.extend(['\\', c]),
            c if c.is_control() => key.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => key.push(c),
        }
    }
    key.push('"');
    key
}
