//! In which format the rows of a part travel to the merge server: in binary, where they stay what they are, or as text, where a type's binary
//! format is not one that another server can read.

use std::collections::BTreeMap;

use super::described::{DescribedPart, Wire};
use crate::catalog::Oid;
use crate::execute::ship::LotFormat;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::wire::reply::Report;
use crate::wire::row_description::{Columns, NOT_IN_BINARY, travels_in_binary};

/// Whether text is read back as what it was. *Source*: manual of PostgreSQL 15, 8.5.2, 8.5.4, 20.11.2. Other styles of dates abbreviate time
/// zones, and an abbreviation may be read as another zone's.
const READ_BACK: &str = "SELECT (pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 > 0 \
     AND pg_catalog.current_setting('DateStyle') LIKE 'ISO%' \
     AND pg_catalog.current_setting('IntervalStyle') = 'postgres')::pg_catalog.text";

/// What a part's rows travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFormat {
    /// The format.
    pub format: LotFormat,
    /// It is text, and there are settings under which a value is not read back as what it was.
    pub lossy: bool,
}

/// What a server says of a type.
#[derive(Clone, Copy, Debug)]
struct Told {
    binary: Binary,
    /// Settings decide what its text says.
    lossy: bool,
}

/// Whether another server can read a type's binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    Read,
    /// If it has the same numbers for users' types, which are in the value.
    ReadByNumber,
    NotRead,
}

impl Session {
    /// The formats of parts with these columns. A server of the link is asked if users' types are among them.
    pub(super) async fn part_formats(
        &mut self,
        at: usize,
        parts: &[Columns],
        wire: Wire,
    ) -> Result<Vec<PartFormat>, Failure> {
        let of_users = |types: &&Vec<Oid>| !types.iter().all(|oid| travels_in_binary(*oid));
        let parts: Vec<Vec<Oid>> = parts.iter().map(Columns::types).collect();
        let mut asked: Vec<Oid> = parts.iter().filter(of_users).flatten().copied().collect();
        asked.sort_unstable();
        asked.dedup();
        let mut known = BTreeMap::new();
        if !asked.is_empty() {
            let numbers = self.link.servers[at].server.oids.declared(&asked).into_owned();
            let letters = self.one_value(at, &question(&numbers), &[], wire).await?;
            known.extend(asked.into_iter().zip(letters.as_chunks::<2>().0.iter().map(told)));
        }
        let same = !self.numbers_differ();
        let format = |types: &Vec<Oid>| {
            if !of_users(&types) {
                return PartFormat { format: LotFormat::Binary, lossy: false };
            }
            let told = types
                .iter()
                .map(|oid| known.get(oid).copied().unwrap_or(Told { binary: Binary::NotRead, lossy: true }));
            let binary =
                told.clone().all(|told| told.binary == Binary::Read || same && told.binary == Binary::ReadByNumber);
            match binary {
                true => PartFormat { format: LotFormat::Binary, lossy: false },
                false => PartFormat { format: LotFormat::Text, lossy: told.clone().any(|told| told.lossy) },
            }
        };
        Ok(parts.iter().map(format).collect())
    }

    /// Refuses to ship text that would be read as something else. The merge server's settings are the client's; on the shards they cannot be
    /// others, as what the parts compute may depend on them.
    pub(super) async fn check_read_back(&mut self, parts: &[DescribedPart], merge: usize) -> Result<(), Failure> {
        if !parts.iter().any(|part| part.format.lossy)
            || self.one_value(merge, READ_BACK, &[], Wire::Simple).await? == b"true"
        {
            return Ok(());
        }
        let text = "rows with values of this query's types cannot be shipped under a DateStyle other than ISO, an IntervalStyle other than postgres, or extra_float_digits below 1";
        Err(Report::error("0A000", text).with_hint("RESET these settings.").into())
    }
}

/// Two letters for each of these types, in their order: [`Binary`], and whether its text is lossy. What a type is made of is looked into: binary
/// values of arrays and composites name the types of what they hold. Of users' base types nothing is known. PostgreSQL 13 has no `rngmultitypid`.
/// *Source*: manual of PostgreSQL 15, 53.64; arrayfuncs.c, array_recv; rowtypes.c, record_recv.
fn question(types: &[Oid]) -> String {
    let list = |oids: &[Oid]| oids.iter().map(Oid::to_string).collect::<Vec<_>>().join(",");
    format!(
        "WITH RECURSIVE made(n, oid, named) AS ( \
         SELECT m.n, m.oid, false FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) WITH ORDINALITY m(oid, n) UNION \
         SELECT m.n, i.oid, i.named FROM made m JOIN pg_catalog.pg_type t ON t.oid = m.oid CROSS JOIN LATERAL ( \
             SELECT t.typelem, true WHERE t.typcategory = 'A' AND t.typelem <> 0 \
             UNION ALL SELECT t.typbasetype, false WHERE t.typtype = 'd' \
             UNION ALL SELECT r.rngsubtype, false FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid \
             UNION ALL SELECT r.rngtypid, false FROM pg_catalog.pg_range r \
                 WHERE t.typtype = 'm' AND pg_catalog.to_jsonb(r) ->> 'rngmultitypid' = t.oid::pg_catalog.text \
             UNION ALL SELECT a.atttypid, true FROM pg_catalog.pg_attribute a \
                 WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
         ) i(oid, named)) \
         SELECT pg_catalog.string_agg(letters, '' ORDER BY n) FROM (SELECT m.n, \
             CASE WHEN COALESCE(pg_catalog.bool_or(t.oid IS NULL OR t.typsend = 0 OR t.typreceive = 0 OR t.typtype = 'p' \
                 OR x.base OR t.oid IN ({})), true) THEN 'n' \
             WHEN pg_catalog.bool_or(m.named AND m.oid >= 16384) THEN 's' ELSE 'b' END \
             || CASE WHEN pg_catalog.bool_or(t.oid IS NULL OR t.typtype = 'p' OR x.base OR t.typcategory IN ('D', 'T', 'G') \
                 OR t.oid IN (700, 701)) THEN 'l' ELSE 'e' END AS letters \
             FROM made m LEFT JOIN pg_catalog.pg_type t ON t.oid = m.oid \
             CROSS JOIN LATERAL (SELECT t.oid >= 16384 AND t.typtype = 'b' AND t.typcategory <> 'A' AS base) x GROUP BY m.n) s",
        list(types),
        list(&NOT_IN_BINARY)
    )
}

fn told([binary, lossy]: &[u8; 2]) -> Told {
    let binary = match binary {
        b'b' => Binary::Read,
        b's' => Binary::ReadByNumber,
        _ => Binary::NotRead,
    };
    Told { binary, lossy: *lossy != b'e' }
}
