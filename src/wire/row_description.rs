//! RowDescription: the types of its columns, and the same description in other formats.
//!
//! *Source*: manual of PostgreSQL 15, 55.7 "Message Formats", RowDescription.

use super::embedded::FIRST_NORMAL_OID;

/// aclitem, aclitem[], record, record[], pg_node_tree and the regs, whose binary form is a number of the server's own, and the like.
pub const NOT_IN_BINARY: [u32; 30] = [
    1033, 1034, 2249, 2287, 194, 24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191, 1008, 2207, 2208,
    2209, 2210, 2211, 3735, 3770, 4090, 4097, 4192, 3642, 705, 2970,
];

/// A RowDescription's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    body: Vec<u8>,
}

impl Columns {
    /// Of a body as it came.
    pub fn new(body: Vec<u8>) -> Self {
        Columns { body }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Type of each column.
    pub fn types(&self) -> Vec<u32> {
        fields(&self.body).filter_map(|at| number(&self.body, at + 6)).collect()
    }

    /// The first so many columns.
    #[must_use]
    pub fn first(&self, count: usize) -> Columns {
        let end = fields(&self.body).take(count).last().map_or(2, |at| at + 18);
        let mut body = self.body.get(..end).unwrap_or_default().to_vec();
        if let (Some(head), Ok(count)) = (body.get_mut(..2), u16::try_from(fields(&self.body).take(count).count())) {
            head.copy_from_slice(&count.to_be_bytes());
        }
        Columns { body }
    }

    /// With the formats of another description of the same columns.
    #[must_use]
    pub fn in_formats_of(&self, other: &[u8]) -> Columns {
        let code = |at: usize| other.get(at + 16..at + 18)?.try_into().ok().map(i16::from_be_bytes);
        let formats: Vec<i16> = fields(other).filter_map(code).collect();
        self.in_formats(&formats)
    }

    /// Name, type and modifier of each column.
    pub fn named(&self) -> Vec<(String, u32, i32)> {
        let mut start = 2;
        let mut of = |at: usize| {
            let name = String::from_utf8_lossy(self.body.get(start..at - 1).unwrap_or_default()).into_owned();
            start = at + 18;
            let modifier = number(&self.body, at + 12).unwrap_or(u32::MAX).cast_signed();
            (name, number(&self.body, at + 6).unwrap_or(0), modifier)
        };
        fields(&self.body).map(&mut of).collect()
    }

    /// With the formats that a Bind asks for: none means text, one stands for all. *Source*: manual, Bind.
    #[must_use]
    pub fn in_formats(&self, formats: &[i16]) -> Columns {
        let mut body = self.body.clone();
        for (nth, at) in fields(&self.body).enumerate() {
            let code = if formats.len() == 1 { formats.first() } else { formats.get(nth) };
            if let Some(field) = body.get_mut(at + 16..at + 18) {
                field.copy_from_slice(&code.copied().unwrap_or(0).to_be_bytes());
            }
        }
        Columns { body }
    }
}

/// Both describe columns of the same types; users' types count as one, since their numbers differ between servers.
pub fn same_types(a: &[u8], b: &[u8]) -> bool {
    let types = |body: &[u8]| -> Vec<u32> {
        let types = fields(body).filter_map(|at| number(body, at + 6));
        types.map(|oid| oid.min(FIRST_NORMAL_OID)).collect()
    };
    types(a) == types(b)
}

/// A body without what may differ between shards and over time: OIDs of tables, numbers of columns, and the formats, which Bind
/// decides. Types have the home shard's numbers (see `pool::renumber`).
pub fn without_table_oids(body: &[u8]) -> Vec<u8> {
    let mut copy = body.to_vec();
    for at in fields(body) {
        // Behind the name: table OID (4), attribute number (2), type OID (4), size (2), modifier (4), format (2).
        for range in [at..at + 6, at + 16..at + 18] {
            if let Some(bytes) = copy.get_mut(range) {
                bytes.fill(0);
            }
        }
    }
    copy
}

/// Whether rows with this type may travel in binary format between servers: it has one, and it holds no number of a user's type.
/// *Source*: pg_type.dat, typreceive; arrayfuncs.c, array_recv; rowtypes.c, record_recv.
pub fn travels_in_binary(oid: u32) -> bool {
    oid < FIRST_NORMAL_OID && !NOT_IN_BINARY.contains(&oid)
}

/// Where each field's table OID stands: behind the name's terminator.
fn fields(body: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 2;
    std::iter::from_fn(move || {
        let end = memchr::memchr(0, body.get(at..)?)?;
        let field = at + end + 1;
        // Table OID (4), attribute number (2), type OID (4), size (2), typmod (4), format (2).
        at = field + 18;
        (at <= body.len()).then_some(field)
    })
}

fn number(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let field = |name: &[u8], oid: u8| [name, b"\0\0\0\0\0\0\0\0\0\0", &[oid], &[0; 8]].concat();
        [&b"\0\x02"[..], &field(b"a", 23), &field(b"bc", 25)].concat()
    }

    #[test]
    fn types_are_found_behind_names_of_any_length() {
        assert_eq!(Columns::new(two()).types(), [23, 25]);
        assert!(Columns::new(b"\0\x02a".to_vec()).types().is_empty());
    }

    #[test]
    fn the_first_columns_are_a_description_of_their_own() {
        let columns = Columns::new(two());
        assert_eq!(columns.first(1).types(), [23]);
        assert_eq!(columns.first(1).body()[..2], [0, 1]);
        assert_eq!(columns.first(5), columns);
    }

    #[test]
    fn one_format_stands_for_all_columns() {
        let columns = Columns::new(two());
        assert_eq!(columns.in_formats(&[1]), columns.in_formats(&[1, 1]));
        assert_eq!(columns.in_formats(&[]), columns);
        assert_ne!(columns.in_formats(&[0, 1]), columns);
    }
}
