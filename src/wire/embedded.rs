//! Numbers of types inside binary values: arrays and composites carry those of their elements and columns.
//!
//! Pure: finds where they stand. What they mean on which shard is `catalog::oids`' business; callers are `pool::renumber`
//! (rows) and `session::numbers` (parameters).

/// A type's `pg_type.oid`.
type Oid = u32;

/// Types from here on are users' and may have another number on every server. *Source*: access/transam.h,
/// FirstNormalObjectId.
pub const FIRST_NORMAL_OID: Oid = 16384;

/// Values nested deeper than this are taken for malformed: whoever sends bytes decides how deep they nest.
const DEPTH_MAX: usize = 32;

/// Pseudo-types that name what they hold in each value. *Source*: pg_type.dat.
const RECORD: Oid = 2249;
const RECORD_ARRAY: Oid = 2287;
const ANYARRAY: Oid = 2277;

/// What a type's binary values are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Nothing that has a number.
    Plain,
    /// Elements, their type's number in the header. *Source*: arrayfuncs.c, array_send.
    Array,
    /// Columns, each behind its type's number. *Source*: rowtypes.c, record_send.
    Composite,
    /// Up to two bounds of this type. *Source*: rangetypes.c, range_send.
    Range(Oid),
    /// Ranges of this type. *Source*: multirangetypes.c, multirange_send.
    Multirange(Oid),
    /// Values of this type.
    Domain(Oid),
}

/// Says what a type is made of.
pub trait Shapes {
    /// The shape of a users' type; `None` if it is not known.
    fn users(&self, oid: Oid) -> Option<Shape>;

    /// The shape of any type. Arrays of built-in types hold numbers that are the same everywhere.
    fn shape(&self, oid: Oid) -> Option<Shape> {
        match oid {
            RECORD => Some(Shape::Composite),
            RECORD_ARRAY | ANYARRAY => Some(Shape::Array),
            FIRST_NORMAL_OID.. => self.users(oid),
            _ => Some(Shape::Plain),
        }
    }

    /// Whether values of a type hold numbers of types; those of an unknown type may.
    fn embeds(&self, oid: Oid) -> bool {
        let mut next = oid;
        for _ in 0..DEPTH_MAX {
            next = match self.shape(next) {
                Some(Shape::Plain) => return false,
                Some(Shape::Array | Shape::Composite) | None => return true,
                Some(Shape::Range(inner) | Shape::Multirange(inner) | Shape::Domain(inner)) => inner,
            };
        }
        true
    }
}

/// Where the numbers of types stand in a value, with the numbers; offsets count from `start`.
///
/// # Errors
/// `None`: the bytes are not a value of this type.
pub fn find(value: &[u8], oid: Oid, shapes: &dyn Shapes, start: usize) -> Option<Vec<(usize, Oid)>> {
    let mut found = Vec::new();
    let mut reader = Reader { rest: value, at: start };
    Walk { shapes, found: &mut found }.value(&mut reader, oid, 0)?;
    Some(found)
}

struct Walk<'a> {
    shapes: &'a dyn Shapes,
    found: &'a mut Vec<(usize, Oid)>,
}

impl Walk<'_> {
    fn value(&mut self, reader: &mut Reader<'_>, oid: Oid, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        // What an unknown type holds is not looked for: its own number is found, and found unknown.
        match self.shapes.shape(oid).unwrap_or(Shape::Plain) {
            Shape::Plain => Some(()),
            Shape::Domain(base) => self.value(reader, base, depth + 1),
            Shape::Array => self.array(reader, depth),
            Shape::Composite => self.composite(reader, depth),
            Shape::Range(subtype) => self.range(reader, subtype, depth),
            Shape::Multirange(range) => {
                for _ in 0..reader.u32()? {
                    self.item(reader, range, depth)?;
                }
                Some(())
            }
        }
    }

    /// A length, -1 for NULL, and the value.
    fn item(&mut self, reader: &mut Reader<'_>, oid: Oid, depth: usize) -> Option<()> {
        let length = i32::from_be_bytes(reader.u32()?.to_be_bytes());
        if length == -1 {
            return Some(());
        }
        let mut inner = reader.take(usize::try_from(length).ok()?)?;
        self.value(&mut inner, oid, depth + 1)
    }

    /// A number, which is noted.
    fn number(&mut self, reader: &mut Reader<'_>) -> Option<Oid> {
        let at = reader.at;
        let oid = reader.u32()?;
        if oid >= FIRST_NORMAL_OID {
            self.found.push((at, oid));
        }
        Some(oid)
    }

    fn array(&mut self, reader: &mut Reader<'_>, depth: usize) -> Option<()> {
        let dimensions = reader.u32()?;
        reader.u32()?; // whether there are NULLs
        let element = self.number(reader)?;
        reader.take(usize::try_from(dimensions).ok()?.checked_mul(8)?)?;
        if !self.shapes.embeds(element) {
            return Some(());
        }
        while !reader.rest.is_empty() {
            self.item(reader, element, depth)?;
        }
        Some(())
    }

    fn composite(&mut self, reader: &mut Reader<'_>, depth: usize) -> Option<()> {
        for _ in 0..reader.u32()? {
            let column = self.number(reader)?;
            self.item(reader, column, depth)?;
        }
        Some(())
    }

    fn range(&mut self, reader: &mut Reader<'_>, subtype: Oid, depth: usize) -> Option<()> {
        reader.take(1)?; // flags; a bound that is not there has no bytes
        while !reader.rest.is_empty() {
            self.item(reader, subtype, depth)?;
        }
        Some(())
    }
}

/// Bytes not read yet, and where they are.
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<Reader<'a>> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        let taken = Reader { rest: taken, at: self.at };
        self.rest = rest;
        self.at += count;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.rest.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ENUM: Oid = 20000;
    const ENUM_ARRAY: Oid = 20001;
    const PAIR: Oid = 20002;
    const PAIR_RANGE: Oid = 20003;
    const PAIR_MULTIRANGE: Oid = 20004;
    const NAMED: Oid = 20005;

    struct Five;

    impl Shapes for Five {
        fn users(&self, oid: Oid) -> Option<Shape> {
            Some(match oid {
                ENUM => Shape::Plain,
                ENUM_ARRAY => Shape::Array,
                PAIR => Shape::Composite,
                PAIR_RANGE => Shape::Range(PAIR),
                PAIR_MULTIRANGE => Shape::Multirange(PAIR_RANGE),
                NAMED => Shape::Domain(ENUM_ARRAY),
                _ => return None,
            })
        }
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn array() -> Vec<u8> {
        [words(&[1, 0, ENUM, 2, 1, 2]), b"no".to_vec(), words(&[u32::MAX])].concat()
    }

    /// An integer, an array of enums, and NULL of an enum.
    fn pair() -> Vec<u8> {
        let array = array();
        let length = u32::try_from(array.len()).unwrap();
        [words(&[3, 23, 4, 7, ENUM_ARRAY, length]), array, words(&[ENUM, u32::MAX])].concat()
    }

    #[test]
    fn an_array_names_its_elements() {
        assert_eq!(find(&array(), ENUM_ARRAY, &Five, 100), Some(vec![(108, ENUM)]));
        assert_eq!(find(&array(), NAMED, &Five, 0), Some(vec![(8, ENUM)]));
    }

    #[test]
    fn a_composite_names_its_columns_and_what_they_hold() {
        let found = find(&pair(), PAIR, &Five, 0).unwrap();
        assert_eq!(found, [(16, ENUM_ARRAY), (32, ENUM), (54, ENUM)]);
        assert_eq!(find(&pair(), RECORD, &Five, 0).unwrap(), found);
    }

    #[test]
    fn bounds_of_ranges_are_looked_into() {
        let pair = pair();
        let length = u32::try_from(pair.len()).unwrap();
        let range = [vec![2], words(&[length]), pair].concat();
        assert_eq!(find(&range, PAIR_RANGE, &Five, 0).unwrap(), [(21, ENUM_ARRAY), (37, ENUM), (59, ENUM)]);
        let several = [words(&[1, u32::try_from(range.len()).unwrap()]), range].concat();
        assert_eq!(find(&several, PAIR_MULTIRANGE, &Five, 0).unwrap().len(), 3);
    }

    #[test]
    fn no_cut_of_a_value_panics() {
        let pair = pair();
        for end in 0..pair.len() {
            assert_eq!(find(&pair[..end], PAIR, &Five, 0), None, "{end}");
        }
    }

    #[test]
    fn values_nested_without_end_are_malformed() {
        let mut value = Vec::new();
        for _ in 0..200_000 {
            value.extend(words(&[1, RECORD, 0x7fff_ffff]));
        }
        assert_eq!(find(&value, RECORD, &Five, 0), None);
        let mut deep = words(&[0]);
        for _ in 0..10_000 {
            deep = [words(&[1, RECORD, u32::try_from(deep.len()).unwrap()]), deep].concat();
            if deep.len() > 4000 {
                break;
            }
        }
        assert_eq!(find(&deep, RECORD, &Five, 0), None);
    }

    #[test]
    fn only_some_types_embed() {
        let embedding: Vec<Oid> = [23, 1007, RECORD, ENUM, ENUM_ARRAY, PAIR, PAIR_RANGE, PAIR_MULTIRANGE, NAMED, 30000]
            .into_iter()
            .filter(|oid| Five.embeds(*oid))
            .collect();
        assert_eq!(embedding, [RECORD, ENUM_ARRAY, PAIR, PAIR_RANGE, PAIR_MULTIRANGE, NAMED, 30000]);
    }
}
