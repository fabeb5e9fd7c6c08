//! COPY FROM STDIN, from the statement to its CommandComplete.

use bytes::Buf;

use super::failure::Failure;
use super::life::Session;
use super::write::turn::first_then_others;
use crate::execute::copy_in::{CopyAnswers, CopyIn, Router, copy_fail};
use crate::execute::copy_key::FieldFormat;
use crate::plan::{CopyFormat, CopyTarget};
use crate::pool::expect::Audience;
use crate::txn::pause::{Point, pause};
use crate::wire::copy::Splitter;
use crate::wire::frame::{self, HEADER_BYTES, Header};
use crate::wire::reply::{self, Report};

/// Above this much unsent to the shards, the client is not read.
const BACKLOG_BYTES: usize = 256 * 1024;

/// CopyFail's reason may be this long.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes asked of the client's socket at once.
const READ_BYTES: usize = 128 * 1024;

impl Session {
    /// Runs a COPY FROM STDIN; everything but ReadyForQuery is answered.
    pub(super) async fn copy_in(&mut self, text: &[u8], copy: &crate::plan::CopyIn) -> Result<(), Failure> {
        self.check_copy_in(copy)?;
        let router = self.router(copy)?;
        let own = self.begin_own_block();
        let parts = self.gather_servers(&copy.target).await?;
        let answers = CopyAnswers::new(parts, !matches!(copy.target, CopyTarget::Reference));
        let watched = self.watched(copy)?;
        let copy = CopyIn::new(router, copy.relation.clone(), parts).watching(watched);
        let rows = self.run_copy(text, copy, answers, parts).await?;
        if own {
            self.commit_block().await?;
        }
        reply::complete(&mut self.link.client.outbound, &format!("COPY {rows}"));
        Ok(())
    }

    /// What finds the fields that must not be read as the time of reading. In binary format no field is.
    fn watched(&self, copy: &crate::plan::CopyIn) -> Result<Vec<Splitter>, Failure> {
        if copy.moments.is_empty() || matches!(copy.format, CopyFormat::Binary) {
            return Ok(Vec::new());
        }
        if !copy.format.is_splittable() {
            return Err(unsplittable().into());
        }
        let held = self.gateway.config.load().limits.held_bytes_max;
        Ok(copy.moments.iter().map(|field| Splitter::new(&copy.format, *field, held)).collect())
    }

    fn router(&self, copy: &crate::plan::CopyIn) -> Result<Router, Failure> {
        let CopyTarget::Sharded { field, key_type } = copy.target else { return Ok(Router::Same) };
        if !self.reported.utf8 {
            return Err(Report::error("0A000", "COPY into a sharded table needs client_encoding UTF8")
                .with_hint("SET client_encoding TO 'UTF8', and convert the data.")
                .into());
        }
        if !copy.format.is_splittable() {
            return Err(unsplittable().into());
        }
        let held = self.gateway.config.load().limits.held_bytes_max;
        Ok(Router::ByKey {
            splitter: Box::new(Splitter::new(&copy.format, field, held)),
            key_type,
            format: match copy.format {
                CopyFormat::Binary => FieldFormat::Binary,
                CopyFormat::Text { .. } | CopyFormat::Csv { .. } => FieldFormat::Text,
            },
            map: self.gateway.map.load_full(),
        })
    }

    /// Enlists those that take part and puts them first, in an order in which a router by key finds shard i at index i;
    /// returns how many they are.
    pub(super) async fn gather_servers(&mut self, target: &CopyTarget) -> Result<usize, Failure> {
        match target {
            CopyTarget::Home => {
                let home = self.gateway.home();
                let at = self.enlist_for(home, crate::plan::Access::Write).await?;
                self.link.servers.swap(0, at);
                Ok(1)
            }
            CopyTarget::Reference | CopyTarget::Sharded { .. } => {
                self.note_write_everywhere().await?;
                self.note_all_touched(crate::plan::Access::Write)?;
                self.enlist_all().await?;
                self.link.servers.retain(|enlisted| !enlisted.replica);
                self.link.servers.sort_by_key(|enlisted| enlisted.shard);
                Ok(self.link.servers.len())
            }
        }
    }

    /// Takes part: servers `0..parts` of the link.
    async fn run_copy(
        &mut self,
        text: &[u8],
        mut copy: CopyIn,
        mut answers: CopyAnswers,
        parts: usize,
    ) -> Result<u64, Failure> {
        self.start_copy(text, &mut answers, parts).await?;
        let mut stopped = None;
        pause(Point::Copying).await;
        if !answers.failed() {
            if let Some(response) = &answers.response {
                copy.expect_columns(response);
                frame::write(&mut self.link.client.outbound, b'G', |out| out.extend_from_slice(response));
            }
            stopped = self.pass_data(&mut copy, &mut answers, parts).await?;
        }
        let finished = match &stopped {
            None if !answers.failed() => copy.finish(&mut self.link.servers[..parts]).err(),
            _ => None,
        };
        let failed = stopped.or(finished);
        let ends_well = failed.is_none() && !answers.failed();
        let ended = failed.as_ref().map_or("another shard failed", |report| &report.message);
        for at in (0..parts).filter(|at| answers.waits(*at)) {
            let out = &mut self.link.servers[at].server.outbound;
            if ends_well { reply::bare(out, b'c') } else { copy_fail(out, ended) }
        }
        // What shards have got before may be wrong all the same, in a line before that which has ended it.
        self.relay_in_block(&mut answers).await?;
        if let Some(body) = copy.first_error(&answers.errors, ended) {
            return Err(self.tell_error(&body));
        }
        match (failed, answers.errors.first()) {
            (Some(report), _) => Err(Failure::Statement(report)),
            (None, Some((server, body))) => Err(self.tell_error(&copy.translate(*server, body))),
            (None, None) => Ok(answers.rows),
        }
    }

    /// Sends the statement and waits until each server waits for data or has failed, in which case it owes nothing.
    pub(super) async fn start_copy(
        &mut self,
        text: &[u8],
        answers: &mut CopyAnswers,
        parts: usize,
    ) -> Result<(), Failure> {
        for part in first_then_others(parts) {
            if answers.failed() {
                return Ok(());
            }
            for at in part.clone() {
                if answers.replicates() {
                    self.send_turn(at);
                }
                self.link.servers[at].server.send_query(text, Audience::Joiner);
            }
            loop {
                while self.link.pump_all(answers)?.is_some() {}
                let mut servers = self.link.servers[..part.end.min(parts)].iter().enumerate();
                if servers.all(|(at, enlisted)| answers.waits(at) || enlisted.server.expects.is_empty()) {
                    break;
                }
                self.link.turn().await?;
            }
        }
        Ok(())
    }

    /// Passes the client's data on until CopyDone (`None`), or until something is wrong with it.
    async fn pass_data(
        &mut self,
        copy: &mut CopyIn,
        answers: &mut CopyAnswers,
        parts: usize,
    ) -> Result<Option<Box<Report>>, Failure> {
        loop {
            let backlog: usize = self.link.servers[..parts].iter().map(|enlisted| enlisted.server.outbound.len()).sum();
            if backlog < BACKLOG_BYTES {
                match self.next_data(copy, parts) {
                    Data::Passed => {}
                    Data::Done => return Ok(None),
                    Data::Wrong(report) => return Ok(Some(report)),
                    Data::Unsynchronized(report) => {
                        report.write(&mut self.link.client.outbound);
                        // Source: postgres.c, PostgresMain, pq_is_reading_msg.
                        let text = "terminating connection because protocol synchronization was lost";
                        return Err(Failure::Fatal(Box::new(Report::fatal("08P01", text))));
                    }
                    Data::NeedMore => {
                        self.link.client.inbound.reserve(READ_BYTES);
                        self.link.turn().await?;
                    }
                }
            } else {
                self.link.turn().await?;
            }
            while self.link.pump_all(answers)?.is_some() {}
            if answers.failed() {
                return Ok(None);
            }
        }
    }

    fn next_data(&mut self, copy: &mut CopyIn, parts: usize) -> Data {
        let inbound = &mut self.link.client.inbound;
        if self.discard_bytes > 0 {
            let count = inbound.len().min(self.discard_bytes);
            if count == 0 {
                return Data::NeedMore;
            }
            let chunk = inbound.split_to(count);
            self.discard_bytes -= count;
            return match copy.feed(&chunk, &mut self.link.servers[..parts]) {
                Ok(()) => Data::Passed,
                Err(report) => Data::Wrong(report),
            };
        }
        let header = match Header::read(inbound) {
            Ok(Some(header)) => header,
            Ok(None) => return Data::NeedMore,
            Err(bad) => return Data::Wrong(Box::new(Report::fatal("08P01", bad.to_string()))),
        };
        if header.tag == b'd' {
            inbound.advance(HEADER_BYTES);
            self.discard_bytes = header.frame_bytes - HEADER_BYTES;
            return Data::Passed;
        }
        if header.frame_bytes > CONTROL_BYTES_MAX {
            let text = format!("message of {} bytes during COPY from stdin", header.frame_bytes);
            return Data::Unsynchronized(Box::new(copy.located(Report::error("08P01", text))));
        }
        if inbound.len() < header.frame_bytes {
            self.link.client.frame_bytes_wanted = header.frame_bytes;
            return Data::NeedMore;
        }
        self.link.client.frame_bytes_wanted = 0;
        let inbound = &mut self.link.client.inbound;
        let message = inbound.split_to(header.frame_bytes);
        match header.tag {
            b'c' => Data::Done,
            // Source: copyfromparse.c, CopyGetData.
            b'f' => {
                let reason = message.get(HEADER_BYTES..message.len() - 1).unwrap_or_default();
                let text = format!("COPY from stdin failed: {}", String::from_utf8_lossy(reason));
                Data::Wrong(Box::new(copy.located(Report::error("57014", text))))
            }
            b'H' | b'S' => Data::Passed,
            other => {
                let text = format!("unexpected message type 0x{other:02X} during COPY from stdin");
                Data::Unsynchronized(Box::new(copy.located(Report::error("08P01", text))))
            }
        }
    }
}

fn unsplittable() -> Report {
    Report::error("0A000", "COPY with this QUOTE cannot be taken apart for several shards")
        .with_hint("Use another quote character, or text format.")
}

enum Data {
    Passed,
    NeedMore,
    Done,
    Wrong(Box<Report>),
    Unsynchronized(Box<Report>),
}
