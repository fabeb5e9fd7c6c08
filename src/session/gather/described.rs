//! What servers say of the texts of a query over several shards: asked once per plan, kept while the plan is.

use std::sync::Arc;

use super::explain::is_explain;
use super::formats::PartFormat;
use super::inline::Inline;
use super::ordered::DescribedOrdered;
use crate::catalog::Oid;
use crate::execute::link::Enlisted;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::plan::{Access, Gather, oid};
use crate::pool::expect::{Audience, StatementId, Step};
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::Columns;

/// A plan with what servers say of it.
#[derive(Debug)]
pub struct Described {
    /// The plan.
    pub gather: Arc<Gather>,
    /// Columns of the client's statement.
    pub columns: Columns,
    /// Types of its parameters.
    pub parameter_types: Vec<Oid>,
    /// Types of the parameters of the plan's texts: the client's and the gateway's own.
    pub types: Vec<Oid>,
    /// What is known of each part.
    pub parts: Vec<DescribedPart>,
    /// How the parts reach the merge query without temporary tables, where they can.
    pub inline: Option<Inline>,
    /// What is known of [`Gather::ordered`]; `None` if it cannot be used.
    pub ordered: Option<DescribedOrdered>,
    /// Columns of the parts' temporary tables, and of the one for rows to be stored, where the merge server must not name what they are made of.
    pub definitions: Option<Vec<String>>,
}

/// A part with what servers say of it.
#[derive(Debug)]
pub struct DescribedPart {
    /// Names it on servers.
    pub id: StatementId,
    /// In which format it travels.
    pub format: PartFormat,
}

/// How messages end: Sync, or Flush where an implicit transaction is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Wire {
    /// The client sent a Query.
    Simple,
    /// The client is in an extended-protocol pipeline.
    Extended,
}

impl Wire {
    /// Ends the messages that were sent to a server. In a block Sync ends nothing else.
    pub(in crate::session) fn end_messages(self, enlisted: &mut Enlisted) {
        match self {
            Wire::Simple => enlisted.server.send_sync(Audience::Gateway),
            Wire::Extended => {
                enlisted.needs_sync = true;
                enlisted.server.send_flush();
            }
        }
    }
}

impl Session {
    /// Has a server describe a plan's texts, unless that has been done.
    pub(in crate::session) async fn described(
        &mut self,
        text: &[u8],
        types: &[Oid],
        gather: &Arc<Gather>,
        wire: Wire,
    ) -> Result<Arc<Described>, Failure> {
        let changed = self.uncommitted(text);
        // What was described before the block changed or locked something named it to the merge server.
        let still_good = |described: &Arc<Described>| changed.is_none() || described.definitions.is_some();
        if let Some(described) = self.gateway.plans.described(gather).filter(still_good) {
            return Ok(described);
        }
        // A plan of the block's own, if it has the catalog of its own: others may not have to care about its locks.
        let kept = changed.is_none() || self.seen().is_some();
        let at = self.enlist_to_ask().await?;
        let mut answers = self.ask_of(at, &[text], types, wire).await?;
        let (parameter_types, columns) = answers.pop().unwrap_or_default();
        let columns = Columns::new(columns.unwrap_or_default());
        let mut texts_types = parameter_types.clone();
        texts_types.extend(gather.now_parameter.map(|_| oid::TIMESTAMPTZ));
        if !gather.values.is_empty() {
            let originals: Vec<&[u8]> = gather.values.iter().map(|value| value.original.as_bytes()).collect();
            let answers = self.ask_of(at, &originals, &texts_types, wire).await?;
            let columns = answers.into_iter().map(|(_, columns)| Columns::new(columns.unwrap_or_default()).types());
            texts_types.extend(columns.map(|types| types.first().copied().unwrap_or_default()));
        }
        let mut texts: Vec<&[u8]> = gather.parts.iter().map(|part| part.text.as_bytes()).collect();
        texts.extend(Self::ordered_texts(gather));
        let mut answers = self.ask_of(at, &texts, &texts_types, wire).await?;
        let ordered = answers.split_off(gather.parts.len().min(answers.len())).into_iter();
        let ordered = ordered.map(|(_, columns)| Columns::new(columns.unwrap_or_default())).collect();
        // The columns of an EXPLAIN are not the query's.
        let ordered = self.describe_ordered(gather, (!is_explain(text)).then_some(&columns), ordered);
        let answers: Vec<Columns> =
            answers.into_iter().map(|(_, columns)| Columns::new(columns.unwrap_or_default())).collect();
        let inline = Inline::new(gather, &texts_types, &answers);
        let formats = self.part_formats(at, &answers, wire).await?;
        let definitions = self.uncommitted_definitions(changed, gather, &answers, &texts_types, wire).await?;
        let parts =
            formats.into_iter().map(|format| DescribedPart { id: self.gateway.plans.next_id(), format }).collect();
        let described = Arc::new(Described {
            gather: gather.clone(),
            columns,
            parameter_types,
            types: texts_types,
            parts,
            inline,
            ordered,
            definitions,
        });
        if kept {
            self.gateway.plans.keep_described(described.clone());
        }
        if wire == Wire::Simple && self.transaction.block().is_none() {
            // Parts enlist shards in their order, so that two such queries do not wait for each other.
            self.give_back().await;
        }
        Ok(described)
    }

    /// [`Described::definitions`], in a block that ran DDL or has locked tables; `changed`: what the text names of them.
    async fn uncommitted_definitions(
        &mut self,
        changed: Option<String>,
        gather: &Gather,
        parts: &[Columns],
        types: &[Oid],
        wire: Wire,
    ) -> Result<Option<Vec<String>>, Failure> {
        if self.seen().is_none() && changed.is_none() {
            return Ok(None);
        }
        self.check_mergeable(gather, changed.as_deref(), wire).await?;
        if changed.is_none() {
            return Ok(None);
        }
        let mut texts: Vec<(&str, &Columns)> = gather.parts.iter().map(|part| part.text.as_str()).zip(parts).collect();
        let stored = gather.put().map(crate::session::write::insert_select::stored_columns);
        let mut stored_columns = Columns::default();
        if let Some(stored) = &stored {
            let at = self.enlist_any(Access::Read).await?;
            let mut answers = self.ask_of(at, &[stored.as_bytes()], &[], wire).await?;
            stored_columns = Columns::new(answers.pop().and_then(|(_, columns)| columns).unwrap_or_default());
        }
        texts.extend(stored.as_deref().map(|text| (text, &stored_columns)));
        self.definitions(&texts, types, wire).await.map(Some)
    }

    /// Has a server describe texts: parameter types and columns of each.
    pub(in crate::session) async fn ask_of(
        &mut self,
        at: usize,
        texts: &[&[u8]],
        types: &[Oid],
        wire: Wire,
    ) -> Result<Vec<Description>, Failure> {
        let enlisted = &mut self.link.servers[at];
        let server: &mut Server = &mut enlisted.server;
        for text in texts {
            reply::parse(&mut server.outbound, b"", text, &server.oids.declared(types));
            server.expects.push(Step::Parse(None), Audience::Gateway);
            reply::named(&mut server.outbound, b'D', b'S', b"");
            server.expects.push(Step::DescribeStatement, Audience::Gateway);
        }
        server.unnamed = None;
        wire.end_messages(enlisted);
        let mut describing = Describing::default();
        self.relay_in_block(&mut describing).await?;
        match describing.error {
            None if describing.answers.len() == texts.len() => Ok(describing.answers),
            None => Err(Report::error("XX000", "a server did not describe a statement").into()),
            Some(body) => Err(self.tell_error(&body)),
        }
    }
}

/// Parameter types, and RowDescription's body if there are columns.
pub(super) type Description = (Vec<Oid>, Option<Vec<u8>>);

/// Gathers descriptions.
#[derive(Debug, Default)]
struct Describing {
    answers: Vec<Description>,
    types: Vec<Oid>,
    error: Option<Vec<u8>>,
}

impl Joiner for Describing {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut bytes::BytesMut) -> Handling {
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            // Other answers may still be owed, as those of a block's beginning.
            _ if frame.verdict.step != Some(Step::DescribeStatement) => {}
            b't' => {
                let types = frame.body.get(2..).unwrap_or_default().as_chunks::<4>().0;
                self.types = types.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
            }
            b'T' | b'n' => {
                let columns = (frame.tag == b'T').then(|| frame.body.to_vec());
                self.answers.push((std::mem::take(&mut self.types), columns));
            }
            _ => {}
        }
        Handling::Drop
    }
}
