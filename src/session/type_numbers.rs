//! What a session does because a user's type may have another number on each shard: clients know those of the home shard.
//!
//! Servers translate what they say by themselves (`pool::renumber`). Here: questions about the catalog go to the home shard, and
//! values that hold numbers are found: in parameters, in rows, in binary COPY, which is refused. While all shards have the
//! same numbers, nothing of this costs more than to ask whether they have.

use std::sync::Arc;

use super::failure::Failure;
use super::life::Session;
use super::plans::compiled::Embeds;
use super::statement::Prepared;
use crate::catalog::{NUMBERS, Numbers, Oid, OidMap};
use crate::execute::plain::Plain;
use crate::plan::{Access, CopyFormat, CopyTarget, Plan};
use crate::pool::expect::{Audience, Step};
use crate::sql::tokens;
use crate::wire::embedded::{FIRST_NORMAL_OID, Shapes};
use crate::wire::fields::text_row;
use crate::wire::frontend::Bind;
use crate::wire::reply::{self, Report};

/// Words that say nothing of types and tables, so that any shard may answer a statement that has no others.
const PLAIN_WORDS: [&str; 22] = [
    "select",
    "as",
    "and",
    "or",
    "not",
    "true",
    "false",
    "null",
    "int",
    "int4",
    "int8",
    "integer",
    "bigint",
    "text",
    "now",
    "version",
    "current_timestamp",
    "current_database",
    "current_schema",
    "current_user",
    "pg_sleep",
    "pg_is_in_recovery",
];

/// In which protocol a statement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Its transaction, if it has none, is its own.
    Simple,
    /// It is part of a pipeline, whose implicit transaction must not end.
    Extended,
}

impl Session {
    /// Some shard has other numbers for users' types than the home shard.
    pub(super) fn numbers_differ(&self) -> bool {
        self.catalog.numbers_differ() || self.link.servers.iter().any(|enlisted| enlisted.server.oids.differs())
    }

    /// A server for a statement that any shard can answer, but for the numbers in its answer: when they differ, the home shard's.
    pub(super) async fn enlist_anywhere(&mut self, text: &[u8], access: Access) -> Result<usize, Failure> {
        if !self.numbers_differ() || is_plain(text) {
            return self.enlist_any(access).await;
        }
        let home = self.gateway.home();
        self.enlist(home, access).await
    }

    /// A type declared that some shard does not know: the numbers are read anew, and if that does not help, the home shard says what
    /// is wrong with it.
    ///
    /// # Errors
    /// The home shard's.
    pub(super) async fn check_declared(&mut self, text: &[u8], types: &[Oid]) -> Result<(), Failure> {
        if !self.knows_not(types) || self.catalog.refresh_numbers().await.is_ok() && !self.knows_not(types) {
            return Ok(());
        }
        self.drain().await?;
        let home = self.gateway.home();
        let at = self.enlist(home, Access::Read).await?;
        self.probe_on(at, text, types).await
    }

    fn knows_not(&self, types: &[Oid]) -> bool {
        types.iter().any(|oid| *oid >= FIRST_NORMAL_OID)
            && self.maps().iter().any(|map| types.iter().any(|oid| map.outgoing().number(*oid).is_none()))
    }

    /// What the binary values of a statement hold of numbers; `None` when nothing need be translated. Asks a server once for
    /// each statement.
    pub(super) async fn embeds(
        &mut self,
        bind: &Bind<'_>,
        prepared: &Prepared,
        plan: &Plan,
    ) -> Result<Option<Embeds>, Failure> {
        // Of a cursor's rows only its own server knows; each Execute asks it.
        let asks = matches!(plan, Plan::Rows(_)) && (bind.sends_binary() || bind.asks_for_binary());
        if !asks || !self.numbers_differ() {
            return Ok(None);
        }
        if let Some(known) = prepared.compiled.embeds.get() {
            return Ok(Some(known.clone()));
        }
        let plain = self.ask(bind.statement, &prepared.compiled).await?;
        let maps = self.maps();
        let parameters = plain.parameter_types.iter().copied().enumerate();
        let embeds = Embeds {
            parameters: parameters.filter(|(_, oid)| any_embeds(&maps, *oid)).collect(),
            rows: plain.row_description.is_some_and(|body| types(&body).any(|oid| any_embeds(&maps, oid))),
        };
        Ok(Some(prepared.compiled.embeds.get_or_init(|| embeds).clone()))
    }

    /// Where a server is to read other numbers in the parameters of a Bind, counted from the start of [`Bind::rest`].
    pub(super) fn bound_numbers(&self, at: usize, bind: &Bind<'_>, embeds: Option<&Embeds>) -> Vec<(usize, Oid)> {
        let (Some(embeds), Some(enlisted)) = (embeds, self.link.servers.get(at)) else { return Vec::new() };
        if embeds.parameters.is_empty() || !enlisted.server.oids.differs() {
            return Vec::new();
        }
        let mut numbers = Vec::new();
        for (index, start, bytes) in bind.binary_values() {
            if let Some((_, type_oid)) = embeds.parameters.iter().find(|(parameter, _)| *parameter == index) {
                numbers.extend(enlisted.server.oids.value(bytes, *type_oid, start));
            }
        }
        numbers
    }

    /// Whether rows of a portal may hold numbers that are to be translated, so that its columns must be known.
    pub(super) fn may_embed(&self, at: usize, portal: &[u8]) -> bool {
        let differs = self.link.servers.get(at).is_some_and(|enlisted| enlisted.server.oids.differs());
        differs
            && self.names.portals.get(portal).is_none_or(|portal| {
                portal.binary_rows && portal.compiled.embeds.get().is_none_or(|embeds| embeds.rows)
            })
    }

    /// # Errors
    /// A binary COPY FROM of values that hold numbers, to shards that have others.
    pub(super) fn check_copy_in(&self, copy: &crate::plan::CopyIn) -> Result<(), Failure> {
        let binary = matches!(copy.format, CopyFormat::Binary) && !matches!(copy.target, CopyTarget::Home);
        if !binary || !self.numbers_differ() {
            return Ok(());
        }
        let maps = self.maps();
        if copy.types.iter().any(|oid| any_embeds(&maps, *oid)) { Err(binary_copy()) } else { Ok(()) }
    }

    /// # Errors
    /// A binary COPY TO of values that hold numbers, from shards that may have others.
    pub(super) async fn check_copy_out(&mut self, text: &[u8], protocol: Protocol) -> Result<(), Failure> {
        if !self.numbers_differ() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(text);
        let query = tokens::copied_query(&text).ok_or_else(binary_copy)?;
        if protocol == Protocol::Extended {
            self.drain().await?;
        }
        let at = self.enlist_any(Access::Read).await?;
        let enlisted = &mut self.link.servers[at];
        let server = &mut enlisted.server;
        reply::parse(&mut server.outbound, b"", query.as_bytes(), &[]);
        server.expects.push(Step::Parse(None), Audience::Gateway);
        server.unnamed = None;
        reply::named(&mut server.outbound, b'D', b'S', b"");
        server.expects.push(Step::DescribeStatement, Audience::Gateway);
        match protocol {
            Protocol::Simple => server.send_sync(Audience::Gateway),
            Protocol::Extended => server.send_flush(),
        }
        enlisted.needs_sync |= protocol == Protocol::Extended;
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        let maps = self.maps();
        let body = plain.row_description.unwrap_or_default();
        if types(&body).any(|oid| any_embeds(&maps, oid)) { Err(binary_copy()) } else { Ok(()) }
    }

    /// In a block that ran DDL, what its types are called is known to its own servers only: asks them, before rows are taken
    /// from them.
    pub(super) async fn number_block(&mut self, plan: &Plan) -> Result<(), Failure> {
        let made = self.transaction.block().is_some_and(|block| block.changed_catalog && !block.numbered);
        if !made
            || !matches!(plan, Plan::Rows(_) | Plan::CopyIn(_) | Plan::Cursor(_) | Plan::Prepared(_))
            || self.gateway.shards() < 2
        {
            return Ok(());
        }
        self.drain().await?;
        for enlisted in &mut self.link.servers {
            enlisted.server.send_query(NUMBERS.as_bytes(), Audience::Gateway);
        }
        let answers = self.answers().await?;
        let home = self.gateway.home();
        let numbers: Vec<Numbers> = (0..self.link.servers.len()).map(|at| numbers(answers.rows_of(at))).collect();
        let canonical = self.link.position(home).and_then(|at| numbers.get(at));
        for (enlisted, numbers) in self.link.servers.iter_mut().zip(&numbers) {
            let map = || Arc::new(OidMap::between(Some(numbers), canonical));
            enlisted.server.oids.follow_own((enlisted.shard != home).then(map));
        }
        if let Some(block) = self.transaction.block_mut() {
            block.numbered = true;
        }
        Ok(())
    }

    /// Maps whose numbers differ.
    fn maps(&self) -> Vec<Arc<OidMap>> {
        let own = self.link.servers.iter().filter_map(|enlisted| enlisted.server.oids.map().cloned());
        let current = self.catalog.current();
        own.chain(current.oids.iter().flatten().cloned()).filter(|map| !map.is_same()).collect()
    }
}

/// Whether values of a type, by the home shard's number, hold numbers. What some shard does not know may.
fn any_embeds(maps: &[Arc<OidMap>], oid: Oid) -> bool {
    maps.iter().any(|map| map.outgoing().embeds(oid))
}

/// The types in a RowDescription.
fn types(body: &[u8]) -> impl Iterator<Item = Oid> + '_ {
    let mut at = 2;
    std::iter::from_fn(move || {
        let end = memchr::memchr(0, body.get(at..)?)?;
        // Terminator, table OID (4), attribute number (2), type OID (4), size (2), typmod (4), format (2).
        let field = at + end + 1;
        at = field + 18;
        Some(Oid::from_be_bytes(*body.get(field + 6..)?.first_chunk::<4>()?))
    })
}

/// Whether a statement cannot ask for numbers of types or tables: SHOW, and SELECT of constants and a few functions.
fn is_plain(text: &[u8]) -> bool {
    let words = words(text);
    let plain = |word: &String| {
        PLAIN_WORDS.contains(&word.as_str()) || word.trim_start_matches('$').bytes().all(|byte| byte.is_ascii_digit())
    };
    words.contains("select") && words.iter().all(plain) || text.trim_ascii().to_ascii_lowercase().starts_with(b"show ")
}

/// The words of a text, folded to lower case.
pub(super) fn words(text: &[u8]) -> std::collections::HashSet<String> {
    let text = String::from_utf8_lossy(text).to_lowercase();
    split_words(&text).map(str::to_owned).collect()
}

/// The parts of a text that identifiers without quotes can consist of.
pub(super) fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').filter(|word| !word.is_empty())
}

/// A statement whose values are parted between shards, or which moves rows, binds the client's values again.
pub(super) fn not_rewritten() -> Failure {
    Report::error("0A000", "binary arrays or composites of users' types are not supported in a write whose rows are parted between shards while shards differ in the numbers of these types")
        .with_hint("Send such values in text format, or one statement for each key.")
        .into()
}

fn binary_copy() -> Failure {
    Report::error("0A000", "a binary COPY of arrays or composites of users' types is not supported while shards differ in the numbers of these types")
        .with_hint("Use COPY in text or CSV format.")
        .into()
}

fn numbers<'r>(rows: impl Iterator<Item = &'r [u8]>) -> Numbers {
    let rows: Vec<_> = rows.map(text_row).collect();
    Numbers::of(rows.iter().map(|row| std::array::from_fn(|column| row.get(column).and_then(Option::as_deref))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_statements_say_nothing_of_numbers() {
        for text in ["SELECT 1", "select version();", "SHOW search_path", "SELECT $1::int, 2 AS int"] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
        let others = [
            "SELECT oid FROM pg_type",
            "SELECT 'mood'::regtype::oid",
            "SELECT f(1)",
            "SELECT 16500::regclass",
            "",
            "VALUES (1)",
        ];
        for text in others {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn types_are_read_from_a_description() {
        let column = |name: &str, oid: u8| [name.as_bytes(), &[0; 7], &[0, 0, 64, oid], &[0; 8]].concat();
        let body = [vec![0, 2], column("a", 1), column("bb", 2)].concat();
        assert_eq!(types(&body).collect::<Vec<_>>(), [16385, 16386]);
        assert_eq!(types(&body[..body.len() - 9]).count(), 1);
    }
}
