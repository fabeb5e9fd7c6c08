//! Makes what a shard's server says speak of users' types and relations by the home shard's numbers, frame by frame, in place.
//!
//! `execute::relay` asks before each frame whether it is of interest (for servers of the home shard none is), and has it
//! rewritten before anybody looks at it. What clients send goes the other way: types declared in Parse, and the numbers inside
//! binary parameters.

use std::borrow::Cow;
use std::sync::Arc;

use crate::catalog::{CatalogVersion, Numbering, Oid, OidMap};
use crate::wire::embedded::{self, Shapes};

/// The number that stands for a type that a shard does not have: no type ever has it, so that the server refuses it.
/// *Source*: oids are handed out below it, access/transam/varsup.c, GetNewObjectId, and wrap around.
const NO_TYPE: Oid = Oid::MAX;

/// A server keeps memory for so many numbers between one frame and the next: a description of 64 columns.
const NUMBERS_KEPT: usize = 128;

/// A server's part in it.
#[derive(Debug, Default)]
pub struct Renumber {
    /// `None`: its numbers are those of the home shard.
    map: Option<Arc<OidMap>>,
    /// Of which catalog the map is; `None` when it is of none, or not known.
    version: Option<CatalogVersion>,
    /// Memory for what is to be written where in a frame.
    numbers: Vec<(usize, Oid)>,
    /// The map is of the transaction that the server is in, and knows the types made in it.
    own: bool,
    /// The columns of the rows that come now whose values hold numbers.
    columns: Box<[Embedding]>,
    unknown: Unknown,
}

/// A column whose binary values hold numbers of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Embedding {
    column: usize,
    /// The shard's number of its type.
    type_oid: Oid,
}

/// What is known of a number that has no translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Unknown {
    /// There is none.
    #[default]
    None,
    /// It holds up the server until the numbers have been read anew.
    Met,
    /// They have been.
    ReadAnew,
}

/// A number that has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untranslated {
    /// It has none although the numbers have just been read.
    pub finally: bool,
}

impl Renumber {
    /// At the beginning of a loan, under a catalog of this version, in which the map is found if it is another one than that of
    /// the last loan.
    pub fn begin(&mut self, version: CatalogVersion, map: impl FnOnce() -> Option<Arc<OidMap>>) {
        if self.version != Some(version) || self.own || self.unknown != Unknown::None {
            let numbers = std::mem::take(&mut self.numbers);
            *self = Renumber { map: map(), version: Some(version), numbers, ..Renumber::default() };
        } else if !self.columns.is_empty() {
            self.columns = Box::default();
        }
    }

    /// Takes the numbers as they are now, under a catalog of this version, unless it has its transaction's own.
    pub fn follow(&mut self, version: CatalogVersion, map: impl FnOnce() -> Option<Arc<OidMap>>) {
        if !self.own && self.version != Some(version) {
            (self.map, self.version) = (map(), Some(version));
        }
    }

    /// Takes the numbers as the transaction that the server is in sees them.
    pub fn follow_own(&mut self, map: Option<Arc<OidMap>>) {
        (self.map, self.own, self.version) = (map, true, None);
    }

    /// How its numbers translate.
    pub fn map(&self) -> Option<&Arc<OidMap>> {
        self.map.as_ref()
    }

    /// Types may have other numbers here than on the home shard.
    pub fn differs(&self) -> bool {
        self.map.as_ref().is_some_and(|map| !map.is_same())
    }

    /// A number without translation holds up the server.
    pub fn is_held_up(&self) -> bool {
        self.unknown == Unknown::Met
    }

    /// The numbers were read anew.
    pub fn try_again(&mut self) {
        self.unknown = Unknown::ReadAnew;
    }

    /// Whether frames of this type are to be given to [`Renumber::frame`], whole.
    pub fn reads(&self, tag: u8) -> bool {
        match tag {
            b'T' | b't' => self.map.is_some(),
            b'D' | b'C' | b's' | b'E' | b'Z' => !self.columns.is_empty(),
            _ => false,
        }
    }

    /// Whether in an answer with these columns (the body of its RowDescription, if it has one) only that one is to be rewritten.
    pub fn passes_rows(&mut self, columns: Option<&[u8]>) -> bool {
        let Some(map) = self.map.as_ref().filter(|map| !map.is_same()) else { return true };
        let read = |body| read_columns(body, map, &mut self.numbers).is_some_and(|embedding| embedding.is_empty());
        self.columns.is_empty() && columns.is_none_or(read)
    }

    /// Rewrites a frame's body. To be called once for a frame.
    ///
    /// # Errors
    /// A number has no translation, or a value is not one of its type; nothing has been rewritten.
    pub fn frame(&mut self, tag: u8, body: &mut [u8]) -> Result<(), Untranslated> {
        let Some(map) = &self.map else { return Ok(()) };
        let rewritten = match tag {
            b't' => parameters(body, map.incoming()),
            b'T' => columns(body, map, &mut self.numbers).map(|columns| self.columns = columns),
            b'D' => row(body, &self.columns, map.incoming()),
            _ => {
                self.columns = Box::default();
                Some(())
            }
        };
        match rewritten {
            Some(()) => {
                self.unknown = Unknown::None;
                Ok(())
            }
            None => {
                let finally = self.own || self.unknown == Unknown::ReadAnew;
                self.unknown = Unknown::Met;
                Err(Untranslated { finally })
            }
        }
    }

    /// Types declared by a client, in the server's numbers.
    pub fn declared<'t>(&self, types: &'t [Oid]) -> Cow<'t, [Oid]> {
        match &self.map {
            Some(map) if !map.is_same() => {
                types.iter().map(|oid| map.outgoing().number(*oid).unwrap_or(NO_TYPE)).collect()
            }
            _ => types.into(),
        }
    }

    /// What is to be written where in a client's binary value, which begins at `start`, for the server to read it.
    pub fn value(&self, value: &[u8], type_oid: Oid, start: usize) -> Vec<(usize, Oid)> {
        let Some(map) = self.map.as_ref().filter(|map| !map.is_same()) else { return Vec::new() };
        let numbering = map.outgoing();
        // A malformed value is the server's to refuse.
        let found = embedded::find(value, type_oid, numbering, start).unwrap_or_default();
        found.into_iter().map(|(at, oid)| (at, numbering.number(oid).unwrap_or(NO_TYPE))).collect()
    }
}

/// Writes numbers into bytes.
pub fn write(bytes: &mut [u8], numbers: &[(usize, Oid)]) {
    for (at, oid) in numbers {
        if let Some(place) = bytes.get_mut(*at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *place = oid.to_be_bytes();
        }
    }
}

/// ParameterDescription: a count (2) and a type (4) for each.
fn parameters(body: &mut [u8], numbering: &Numbering) -> Option<()> {
    let types = body.get_mut(2..)?.as_chunks_mut::<4>().0;
    let numbers: Option<Vec<Oid>> = types.iter().map(|oid| numbering.number(Oid::from_be_bytes(*oid))).collect();
    for (place, number) in types.iter_mut().zip(numbers?) {
        *place = number.to_be_bytes();
    }
    Some(())
}

/// RowDescription; returns the columns whose values hold numbers.
fn columns(body: &mut [u8], map: &OidMap, numbers: &mut Vec<(usize, Oid)>) -> Option<Box<[Embedding]>> {
    let embedding = read_columns(body, map, numbers)?;
    write(body, numbers);
    numbers.shrink_to(NUMBERS_KEPT);
    Some(embedding.into())
}

/// What is to be written where in a RowDescription, and the columns whose values hold numbers.
fn read_columns(body: &[u8], map: &OidMap, numbers: &mut Vec<(usize, Oid)>) -> Option<Vec<Embedding>> {
    numbers.clear();
    let mut embedding = Vec::new();
    let mut at = 2;
    let number = |at: usize| Some(Oid::from_be_bytes(*body.get(at..)?.first_chunk::<4>()?));
    let mut column = 0;
    // Name, terminator, table OID (4), attribute number (2), type OID (4), size (2), typmod (4), format (2).
    while let Some(end) = body.get(at..).and_then(|rest| memchr::memchr(0, rest)) {
        let field = at + end + 1;
        let (relation, type_oid) = (number(field)?, number(field + 6)?);
        for (at, theirs, ours) in
            [(field, relation, map.relation(relation)), (field + 6, type_oid, map.incoming().number(type_oid)?)]
        {
            if ours != theirs {
                numbers.push((at, ours));
            }
        }
        let binary = body.get(field + 16..field + 18) == Some(&[0, 1]);
        if binary && !map.is_same() && map.incoming().embeds(type_oid) {
            embedding.push(Embedding { column, type_oid });
        }
        at = field + 18;
        column += 1;
    }
    Some(embedding)
}

/// DataRow: a count (2), and for each column a length (4), -1 for NULL, and the value.
fn row(body: &mut [u8], columns: &[Embedding], numbering: &Numbering) -> Option<()> {
    let mut numbers = Vec::new();
    let mut at = 2;
    let mut next = 0;
    for embedding in columns {
        while next <= embedding.column {
            let length = i32::from_be_bytes(*body.get(at..)?.first_chunk::<4>()?);
            at += 4;
            if length < 0 {
                next += 1;
                continue;
            }
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            let value = body.get(at..end)?;
            if next == embedding.column {
                for (place, oid) in embedded::find(value, embedding.type_oid, numbering, at)? {
                    numbers.push((place, numbering.number(oid)?));
                }
            }
            at = end;
            next += 1;
        }
    }
    write(body, &numbers);
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::Numbers;

    /// The shard calls the enum 18000 and its array 18001; the home shard 17000 and 17001.
    fn renumber() -> Renumber {
        let numbers = |first: &str, second: &str, table: &str| {
            let rows = [
                ["t", first, "public", "mood", "e", "0"],
                ["t", second, "public", "mood", "A", "0"],
                ["r", table, "public", "people", "r", "0"],
            ];
            Numbers::of(rows.iter().map(|row| row.map(Some)))
        };
        let (shard, home) = (numbers("18000", "18001", "18002"), numbers("17000", "17001", "17002"));
        let mut renumber = Renumber::default();
        renumber.begin(CatalogVersion(1), || Some(Arc::new(OidMap::between(Some(&shard), Some(&home)))));
        renumber
    }

    fn column(name: &[u8], table: u32, type_oid: u32, format: u8) -> Vec<u8> {
        let numbers = [table.to_be_bytes().as_slice(), &[0, 1], &type_oid.to_be_bytes()].concat();
        [name, &[0], &numbers, &[0, 4, 0, 0, 0, 0, 0, format]].concat()
    }

    fn description(columns: &[Vec<u8>]) -> Vec<u8> {
        [vec![0, u8::try_from(columns.len()).unwrap()], columns.concat()].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// NULL, and an array of one element.
    fn data(element: u32) -> Vec<u8> {
        [vec![0, 2], words(&[u32::MAX, 26, 1, 0, element, 1, 1, 2]), b"ok".to_vec()].concat()
    }

    #[test]
    fn descriptions_speak_of_the_home_shards_numbers() {
        let mut renumber = renumber();
        let mut body = description(&[column(b"a", 18002, 18000, 0), column(b"b", 0, 25, 0)]);
        renumber.frame(b'T', &mut body).unwrap();
        assert_eq!(body, description(&[column(b"a", 17002, 17000, 0), column(b"b", 0, 25, 0)]));
        let mut body = [vec![0, 2], words(&[23, 18001])].concat();
        renumber.frame(b't', &mut body).unwrap();
        assert_eq!(body, [vec![0, 2], words(&[23, 17001])].concat());
        assert!(!renumber.reads(b'D'));
    }

    #[test]
    fn binary_arrays_name_the_home_shards_type() {
        let mut renumber = renumber();
        let mut body = description(&[column(b"x", 0, 18000, 1), column(b"a", 0, 18001, 1)]);
        renumber.frame(b'T', &mut body).unwrap();
        assert!(renumber.reads(b'D'));
        assert!(!renumber.passes_rows(None));
        let mut row = data(18000);
        renumber.frame(b'D', &mut row).unwrap();
        assert_eq!(row, data(17000));
        renumber.frame(b'C', &mut []).unwrap();
        assert!(!renumber.reads(b'D'));
    }

    #[test]
    fn rows_pass_unless_binary_values_in_them_hold_numbers() {
        let passes = |columns: &[Vec<u8>]| renumber().passes_rows(Some(&description(columns)));
        assert!(passes(&[column(b"a", 18002, 18000, 0), column(b"b", 0, 18001, 0), column(b"c", 0, 23, 1)]));
        assert!(passes(&[column(b"x", 0, 18000, 1)]), "an enum's binary value is its label");
        assert!(!passes(&[column(b"a", 0, 18001, 1)]), "an array names its elements' type");
        assert!(!passes(&[column(b"a", 0, 18009, 0)]), "its number is not known");
        assert!(renumber().passes_rows(None) && Renumber::default().passes_rows(Some(b"\0\x01a\0")));
    }

    #[test]
    fn an_unknown_number_is_refused_when_the_numbers_are_fresh_and_rewrites_nothing() {
        let mut renumber = renumber();
        let body = description(&[column(b"a", 18002, 18000, 0), column(b"b", 0, 18009, 0)]);
        let mut copy = body.clone();
        assert_eq!(renumber.frame(b'T', &mut copy), Err(Untranslated { finally: false }));
        assert!(renumber.is_held_up());
        renumber.try_again();
        assert_eq!(renumber.frame(b'T', &mut copy), Err(Untranslated { finally: true }));
        assert_eq!(copy, body);
    }

    #[test]
    fn what_clients_send_is_in_the_servers_numbers() {
        let renumber = renumber();
        assert_eq!(renumber.declared(&[17000, 0, 23, 16999]).as_ref(), [18000, 0, 23, NO_TYPE]);
        let value = &data(17000)[10..];
        assert_eq!(renumber.value(value, 17001, 100), [(108, 18000)]);
        assert_eq!(renumber.value(&value[..9], 17001, 0), []);
    }

    #[test]
    fn no_cut_of_a_frame_panics() {
        let body = description(&[column(b"a", 18002, 18000, 1), column(b"b", 0, 18001, 1)]);
        for end in 0..body.len() {
            let _ = renumber().frame(b'T', &mut body[..end].to_vec());
        }
        let mut renumber = renumber();
        renumber.frame(b'T', &mut body.clone()).unwrap();
        let row = data(18000);
        for end in 0..row.len() {
            assert!(renumber.frame(b'D', &mut row[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn the_home_shards_servers_are_left_alone() {
        let mut renumber = Renumber::default();
        assert!(!renumber.reads(b'T') && !renumber.differs());
        renumber.follow(CatalogVersion(2), || None);
        assert_eq!(renumber.declared(&[99999]).as_ref(), [99999]);
    }
}
