//! EXPLAIN of a statement that several shards answer: one plan that says so, with each shard's own under it.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;
use crate::wire::reply::Report;
use crate::wire::{frame, reply};

/// What the shards' plans are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// A row for each line.
    Text,
    /// One document in one row.
    Json,
    /// The same.
    Yaml,
}

/// One EXPLAIN on several shards, by Query or Execute.
#[derive(Debug)]
pub struct ExplainMany {
    notation: Notation,
    /// Indexes into the link's servers, and the shards' names.
    servers: Vec<usize>,
    names: Vec<String>,
    /// Which of them is speaking.
    turn: usize,
    /// It has said something of its plan.
    begun: bool,
    /// JSON: each shard's document, under its name.
    documents: Vec<String>,
    error: Option<Vec<u8>>,
}

impl ExplainMany {
    /// For these servers, whose shards have these names.
    pub fn new(notation: Notation, servers: Vec<usize>, names: Vec<String>) -> Self {
        ExplainMany { notation, servers, names, turn: 0, begun: false, documents: Vec::new(), error: None }
    }

    /// Appends CommandComplete or the error; whether it went well.
    pub fn finish(&self, out: &mut BytesMut) -> bool {
        match (&self.error, self.notation) {
            (Some(body), _) => frame::write(out, b'E', |to| to.extend_from_slice(body)),
            (None, notation) => {
                if notation != Notation::Text {
                    reply::text_row(out, &[self.document().as_bytes()]);
                }
                reply::complete(out, "EXPLAIN");
            }
        }
        self.error.is_none()
    }

    fn name(&self) -> &str {
        self.names.get(self.turn).map_or("", String::as_str)
    }

    /// One line of a shard's plan, with what goes before it.
    fn line(&mut self, line: &[u8], client: &mut BytesMut) {
        if !std::mem::replace(&mut self.begun, true) {
            if self.turn == 0 {
                let title = format!("Scatter  (shards: {})", self.names.join(", "));
                reply::text_row(client, &[title.as_bytes()]);
            }
            reply::text_row(client, &[format!("  ->  Shard {}", self.name()).as_bytes()]);
        }
        reply::text_row(client, &[&[b"        ", line].concat()]);
    }

    /// The form of PostgreSQL's: a list of one statement's plan.
    fn document(&self) -> String {
        if self.notation == Notation::Yaml {
            let shards = self.documents.concat();
            return format!("- Plan: \n    Node Type: \"Scatter\"\n    Shards: \n{}", shards.trim_end_matches('\n'));
        }
        let shards = self.documents.join(",\n");
        format!(
            "[\n  {{\n    \"Plan\": {{\n      \"Node Type\": \"Scatter\",\n      \"Shards\": [\n{shards}\n      ]\n    }}\n  }}\n]"
        )
    }

    fn keep(&mut self, document: &[u8]) {
        let name = serde_json::Value::from(self.name());
        let document = String::from_utf8_lossy(document);
        if self.notation == Notation::Yaml {
            let plan: String = document.lines().map(|line| format!("          {line}\n")).collect();
            self.documents.push(format!("      - Shard: {name}\n        Explain: \n{plan}"));
            return;
        }
        self.documents.push(format!("{{\"Shard\": {name}, \"Explain\": {document}}}"));
    }
}

impl Joiner for ExplainMany {
    fn admits(&self, server: usize, _: Option<Step>) -> bool {
        self.servers.get(self.turn).is_none_or(|turn| *turn == server) || self.error.is_some()
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            _ if !frame.verdict.joined => {}
            b'C' => {
                self.turn += 1;
                self.begun = false;
            }
            _ if self.error.is_some() => {}
            b'T' if self.turn == 0 => return Handling::Forward,
            // One column: its count (2) and its length (4) come first.
            b'D' => match (frame.body.get(6..), self.notation) {
                (Some(line), Notation::Text) => self.line(line, client),
                (Some(document), Notation::Json | Notation::Yaml) => self.keep(document),
                // It is so long that it came in pieces.
                (None, _) => {
                    let text = format!("the plan of shard \"{}\" is too long to be joined with others", self.name());
                    let mut error = BytesMut::new();
                    Report::error("54000", text).write(&mut error);
                    self.error = Some(error.get(frame::HEADER_BYTES..).unwrap_or_default().to_vec());
                }
            },
            _ => {}
        }
        Handling::Drop
    }
}
