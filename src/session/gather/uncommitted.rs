//! Gathers over tables that the client's own block has made, changed or locked.
//!
//! The merge server is outside the block: it must not name such tables (it would not see them, or wait for the block's locks). So its
//! temporary tables are defined by their columns' types and collations, which the block's own server tells, instead of by the parts' texts.

use super::described::Wire;
use crate::plan::{Gather, quoted};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::wire::reply::Report;
use crate::wire::row_description::Columns;

/// What the merge server would have to know of the block besides tables: has it made or changed functions, types and the like? Rows of the
/// catalog with an `xmin` that is not older than the transaction. Row types of tables do not count.
const CHANGED: &str = "EXISTS (SELECT FROM pg_catalog.pg_proc x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_enum x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_collation x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_cast x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_operator x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_opclass x WHERE pg_catalog.age(x.xmin) <= 0) \
     OR EXISTS (SELECT FROM pg_catalog.pg_type x LEFT JOIN pg_catalog.pg_type e ON e.oid = x.typelem \
        LEFT JOIN pg_catalog.pg_class c ON c.oid IN (x.typrelid, e.typrelid) \
        WHERE pg_catalog.age(x.xmin) <= 0 AND (c.oid IS NULL OR c.relkind = 'c')) \
     OR EXISTS (SELECT FROM pg_catalog.pg_class x WHERE x.relkind = 'c' AND pg_catalog.age(x.xmin) <= 0)";

/// A composite type of its own (not a table's) of PostgreSQL's types, which the block has not altered: the merge server knows it as well.
const KEPT: &str = "(c.relkind = 'c' AND pg_catalog.age(c.xmin) > 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid >= 16384))";

impl Session {
    /// Whether the merge server may stand in for the block at all.
    ///
    /// # Errors
    /// The block has made or changed functions or types, or the merge query names what it has made.
    pub(super) async fn check_mergeable(
        &mut self,
        gather: &Gather,
        changed: Option<&str>,
        wire: Wire,
    ) -> Result<(), Failure> {
        if self.one_of_block(&format!("SELECT ({CHANGED})::text"), &[], wire).await? == b"true" {
            return Err(Report::error(
                "0A000",
                "the rows of several shards cannot be merged: this transaction has made or changed functions or types",
            )
            .with_hint("Commit the DDL first.")
            .into());
        }
        let draws = gather.put().is_some_and(|put| put.draws);
        match changed {
            Some(name) if draws || names_a_table(&gather.merge, name) => Err(not_mergeable(name)),
            _ => Ok(()),
        }
    }

    /// The columns of temporary tables for rows of these texts.
    ///
    /// # Errors
    /// A column's type is one that the merge server may know otherwise.
    pub(in crate::session) async fn definitions(
        &mut self,
        texts: &[(&str, &Columns)],
        types: &[u32],
        wire: Wire,
    ) -> Result<Vec<String>, Failure> {
        let mut definitions = Vec::new();
        for (text, columns) in texts {
            let columns = columns.named();
            let told = self.told_of_types(&columns, wire).await?;
            let collatable: Vec<usize> =
                told.iter().enumerate().filter(|(_, told)| told.collatable).map(|(at, _)| at).collect();
            let mut collations = self.collations(text, &columns, &collatable, types, wire).await?.into_iter();
            let mut items = Vec::new();
            for (at, ((name, ..), told)) in columns.iter().zip(&told).enumerate() {
                let collation = if collatable.contains(&at) { collations.next() } else { None };
                let collate = collation.filter(|name| !name.is_empty()).map(|name| format!(" COLLATE {name}"));
                items.push(format!("{} {}{}", quoted(name), told.name, collate.unwrap_or_default()));
            }
            definitions.push(items.join(", "));
        }
        Ok(definitions)
    }

    async fn told_of_types(&mut self, columns: &[(String, u32, i32)], wire: Wire) -> Result<Vec<Told>, Failure> {
        let list = |of: &dyn Fn(&(String, u32, i32)) -> String| columns.iter().map(of).collect::<Vec<_>>().join(",");
        let text = format!(
            "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(E'\\t', pg_catalog.format_type(t.oid, m.typmod), t.typcollation <> 0, \
             t.oid >= 16384 AND c.oid IS NOT NULL AND NOT {KEPT}), E'\\n' ORDER BY m.n) \
             FROM ROWS FROM (pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]), pg_catalog.unnest('{{{}}}'::pg_catalog.int4[])) WITH ORDINALITY m(oid, typmod, n) \
             JOIN pg_catalog.pg_type t ON t.oid = m.oid LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
             LEFT JOIN pg_catalog.pg_class c ON c.oid IN (t.typrelid, e.typrelid)",
            list(&|column| column.1.to_string()),
            list(&|column| column.2.to_string()),
        );
        let told = self.one_of_block(&text, &[], wire).await?;
        let told = String::from_utf8_lossy(&told).into_owned();
        let told: Vec<Told> = told.lines().filter_map(Told::read).collect();
        if told.len() == columns.len() && !told.iter().any(|told| told.of_table) {
            return Ok(told);
        }
        Err(not_mergeable(columns.first().map_or("it", |column| column.0.as_str())))
    }

    /// By `pg_collation_for`, of no row: what the parser knows.
    async fn collations(
        &mut self,
        text: &str,
        columns: &[(String, u32, i32)],
        wanted: &[usize],
        types: &[u32],
        wire: Wire,
    ) -> Result<Vec<String>, Failure> {
        let of = |at: &usize| {
            let name = quoted(columns.get(*at).map_or("", |column| column.0.as_str()));
            format!("pg_catalog.pg_collation_for((SELECT q.{name} FROM ({text}) q LIMIT 0))")
        };
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<String> = wanted.iter().map(of).collect();
        let text = format!("SELECT pg_catalog.array_to_string(ARRAY[{}], E'\\n', '')", items.join(", "));
        let told = self.one_of_block(&text, types, wire).await?;
        Ok(String::from_utf8_lossy(&told).split('\n').map(str::to_owned).collect())
    }

    /// The same of the block's server on the home shard.
    pub(in crate::session) async fn one_of_block(
        &mut self,
        text: &str,
        types: &[u32],
        wire: Wire,
    ) -> Result<Vec<u8>, Failure> {
        self.drain().await?;
        let home = self.gateway.home();
        let at = self.link.position(home);
        let at = at.ok_or_else(|| Failure::from(Report::error("XX000", "the block has lost its home")))?;
        self.one_value(at, text, types, wire).await
    }
}

/// What is known of a column's type.
struct Told {
    name: String,
    collatable: bool,
    /// It is the row type of a table, or an array of it, or of types that may be such.
    of_table: bool,
}

impl Told {
    fn read(line: &str) -> Option<Told> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        Some(Told { name: next()?.to_owned(), collatable: next()? == "t", of_table: next()? == "t" })
    }
}

/// The merge query casts to a relation of this name, or looks one up. Its text is a printed one: casts have `::`.
fn names_a_table(merge: &str, name: &str) -> bool {
    let cast_to = |cast: &str| {
        let end = cast.find(|c: char| !c.is_alphanumeric() && !"_$.\"".contains(c)).unwrap_or(cast.len());
        let last = cast.get(..end).unwrap_or(cast).rsplit('.').next().unwrap_or_default();
        last.trim_matches('"') == name
    };
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    merge.contains("regclass") || merge.split("::").skip(1).any(cast_to) || !plain && merge.contains(&quoted(name))
}

fn not_mergeable(name: &str) -> Failure {
    let text = format!(
        "the rows of several shards cannot be merged for \"{name}\": DDL of this transaction may have changed a type that the query uses"
    );
    Report::error("0A000", text).with_hint("Commit the DDL first.").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_server_tells_of_a_type_is_read() {
        let told = Told::read("numeric(12,2)\tf\tf").unwrap();
        assert!(told.name == "numeric(12,2)" && !told.collatable && !told.of_table);
        assert!(Told::read("text\tt").is_none());
    }

    #[test]
    fn a_merge_query_that_casts_to_a_row_of_the_table_names_it() {
        assert!(names_a_table("SELECT ROW(1)::mine FROM pg_temp.part1 part1", "mine"));
        assert!(names_a_table("SELECT part1.a::public.\"mine\"[] FROM pg_temp.part1 part1", "mine"));
        assert!(!names_a_table("SELECT part1.mine, 1::mines FROM pg_temp.part1 part1", "mine"));
    }
}
