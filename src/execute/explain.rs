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
    /// The same.
    Xml,
}

/// *Source*: explain.c, ExplainBeginOutput.
pub const XML_HEAD: &str = "<explain xmlns=\"http://www.postgresql.org/2009/explain\">";

/// What shards say of their plans in text, at the most.
const PLAN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A text between tags. *Source*: xml.c, escape_xml.
pub fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#x0d;")
}

/// Names and values as elements. *Source*: explain.c, ExplainXMLTag: blanks become hyphens.
pub fn xml_elements(of: &[(&'static str, String)]) -> String {
    of.iter()
        .map(|(name, value)| {
            let name = name.replace(' ', "-");
            format!("<{name}>{value}</{name}>\n")
        })
        .collect()
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
    /// JSON and YAML: each shard's document, under its name.
    documents: Vec<String>,
    /// Text: rows, told when all has gone well, as PostgreSQL does.
    rows: BytesMut,
    /// Of EXPLAIN ANALYZE: what each shard's rows came to, name and value.
    pub sent: Vec<Vec<(&'static str, String)>>,
    error: Option<Vec<u8>>,
}

impl ExplainMany {
    /// For these servers, whose shards have these names.
    pub fn new(notation: Notation, servers: Vec<usize>, names: Vec<String>) -> Self {
        ExplainMany {
            notation,
            servers,
            names,
            turn: 0,
            begun: false,
            documents: Vec::new(),
            rows: BytesMut::new(),
            sent: Vec::new(),
            error: None,
        }
    }

    /// Appends CommandComplete or the error; whether it went well.
    pub fn finish(&self, out: &mut BytesMut) -> bool {
        match (&self.error, self.notation) {
            (Some(body), _) => frame::write(out, b'E', |to| to.extend_from_slice(body)),
            (None, notation) => {
                if notation != Notation::Text {
                    reply::text_row(out, &[self.document().as_bytes()]);
                } else {
                    out.extend_from_slice(&self.rows);
                    for (name, sent) in self.names.iter().zip(&self.sent) {
                        reply::text_row(out, &[format!("  Shard {name} {}", in_words(sent)).as_bytes()]);
                    }
                }
                reply::complete(out, "EXPLAIN");
            }
        }
        self.error.is_none()
    }

    /// No shard has failed.
    pub fn went_well(&self) -> bool {
        self.error.is_none()
    }

    fn name(&self) -> &str {
        self.names.get(self.turn).map_or("", String::as_str)
    }

    /// One line of a shard's plan, with what goes before it.
    fn line(&mut self, line: &[u8]) {
        if !std::mem::replace(&mut self.begun, true) {
            if self.turn == 0 {
                let title = format!("Scatter  (shards: {})", self.names.join(", "));
                reply::text_row(&mut self.rows, &[title.as_bytes()]);
            }
            let shard = format!("  ->  Shard {}", self.name());
            reply::text_row(&mut self.rows, &[shard.as_bytes()]);
        }
        reply::text_row(&mut self.rows, &[&[b"        ", line].concat()]);
    }

    /// The form of PostgreSQL's: a list of one statement's plan.
    fn document(&self) -> String {
        if self.notation == Notation::Yaml {
            let with = |(at, document): (usize, &String)| {
                let lines = self.sent_of(at).map(|(name, value)| format!("        {name}: {value}\n"));
                document.replacen("        Explain: \n", &(lines.collect::<String>() + "        Explain: \n"), 1)
            };
            let shards: String = self.documents.iter().enumerate().map(with).collect();
            return format!("- Plan: \n    Node Type: \"Scatter\"\n    Shards: \n{}", shards.trim_end_matches('\n'));
        }
        if self.notation == Notation::Xml {
            let with = |(at, document): (usize, &String)| {
                let sent = self.sent.get(at).map_or_else(String::new, |sent| xml_elements(sent));
                document.replacen("<Explain>", &(sent + "<Explain>"), 1)
            };
            let shards: String = self.documents.iter().enumerate().map(with).collect();
            return format!(
                "{XML_HEAD}\n<Query>\n<Plan>\n<Node-Type>Scatter</Node-Type>\n<Shards>\n{shards}</Shards>\n</Plan>\n</Query>\n</explain>"
            );
        }
        let with = |(at, document): (usize, &String)| {
            let fields = self.sent_of(at).map(|(name, value)| format!("\"{name}\": {value}, "));
            document.replacen("\"Explain\": ", &(fields.collect::<String>() + "\"Explain\": "), 1)
        };
        let shards = self.documents.iter().enumerate().map(with).collect::<Vec<_>>().join(",\n");
        format!(
            "[\n  {{\n    \"Plan\": {{\n      \"Node Type\": \"Scatter\",\n      \"Shards\": [\n{shards}\n      ]\n    }}\n  }}\n]"
        )
    }

    fn too_long(&mut self) {
        let text = format!("the plan of shard \"{}\" is too long to be joined with others", self.name());
        let mut error = BytesMut::new();
        Report::error("54000", text).write(&mut error);
        self.error = Some(error.get(frame::HEADER_BYTES..).unwrap_or_default().to_vec());
    }

    fn sent_of(&self, at: usize) -> impl Iterator<Item = &(&'static str, String)> {
        self.sent.get(at).into_iter().flatten()
    }

    fn keep(&mut self, document: &[u8]) {
        let name = serde_json::Value::from(self.name());
        let document = String::from_utf8_lossy(document);
        if self.notation == Notation::Yaml {
            let plan: String = document.lines().map(|line| format!("          {line}\n")).collect();
            self.documents.push(format!("      - Shard: {name}\n        Explain: \n{plan}"));
            return;
        }
        if self.notation == Notation::Xml {
            let name = xml_text(self.name());
            self.documents.push(format!("<Shard>\n<Name>{name}</Name>\n<Explain>\n{document}\n</Explain>\n</Shard>\n"));
            return;
        }
        self.documents.push(format!("{{\"Shard\": {name}, \"Explain\": {document}}}"));
    }
}

/// What a shard's rows came to, in the plan's text.
pub fn in_words(sent: &[(&'static str, String)]) -> String {
    let word = |(name, value): &(&'static str, String)| match *name {
        "Shipped Rows" => format!("rows={value}"),
        "Shipped Bytes" => format!("bytes={value}"),
        _ => format!("time={value} ms"),
    };
    format!("(shipped {})", sent.iter().map(word).collect::<Vec<_>>().join(" "))
}

impl Joiner for ExplainMany {
    fn admits(&self, server: usize, _: Option<Step>) -> bool {
        self.servers.get(self.turn).is_none_or(|turn| *turn == server) || self.error.is_some()
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
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
                // No plan is that long: all of it is held.
                (Some(_), Notation::Text) if self.rows.len() > PLAN_BYTES_MAX => self.too_long(),
                (Some(line), Notation::Text) => self.line(line),
                (Some(document), Notation::Json | Notation::Yaml | Notation::Xml) => self.keep(document),
                // It is so long that it came in pieces.
                (None, _) => self.too_long(),
            },
            _ => {}
        }
        Handling::Drop
    }
}
