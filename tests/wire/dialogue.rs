//! Dialogue files: their grammar, and how recorded answers are written back. `tests/wire/README.md` is the manual.

use std::path::{Path, PathBuf};

/// A file.
pub struct Dialogue {
    /// Where it was read from.
    pub path: PathBuf,
    /// As read.
    lines: Vec<String>,
    /// SQL that runs first, through a connection of its own.
    pub schema: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// One block and the line (from 1) its first word stands on.
pub struct Step {
    /// Line from 1.
    pub line: usize,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done.
pub enum Action {
    /// Log in. The start-up's messages are the first to be received.
    Connect {
        /// Connection.
        connection: String,
        /// Start-up parameters beyond user and database; `protocol` is the version.
        parameters: Vec<(String, String)>,
    },
    /// Open the socket only.
    Open {
        /// Connection.
        connection: String,
    },
    /// Write messages, all at once unless `chunk_bytes` says otherwise.
    Send {
        /// Connection.
        connection: String,
        /// Bytes per write.
        chunk_bytes: Option<usize>,
        /// One text per message.
        messages: Vec<String>,
    },
    /// Read messages and compare.
    Receive {
        /// Connection.
        connection: String,
        /// How much to read.
        until: Until,
        /// Runs of DataRow (and CopyData) lines are sorted before comparing.
        unordered: bool,
        /// What Postgres says.
        expected: Recorded,
        /// What the gateway says, where it rightly differs.
        gateway: Option<Recorded>,
    },
    /// Ask for the cancelling of what the connection runs, until it answers.
    Cancel {
        /// Connection.
        connection: String,
    },
    /// Drop the socket.
    Close {
        /// Connection.
        connection: String,
    },
}

/// How much to read.
#[derive(Clone, Debug)]
pub enum Until {
    /// So many ReadyForQuery.
    Ready(usize),
    /// So many messages.
    Count(usize),
    /// A message whose line starts with this word, or ReadyForQuery.
    Named(String),
    /// The end of the connection.
    Closed,
}

/// Recorded lines.
pub struct Recorded {
    /// Index of the block's first body line in the file.
    first: usize,
    /// Index after its last.
    end: usize,
    /// Without indentation.
    pub lines: Vec<String>,
}

impl Dialogue {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Dialogue {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut dialogue = Dialogue { path: path.to_owned(), lines, schema: String::new(), steps: Vec::new() };
        let mut at = 0;
        while at < dialogue.lines.len() {
            let head = dialogue.lines[at].clone();
            if head.trim().is_empty() || head.starts_with('#') {
                at += 1;
                continue;
            }
            let first = at + 1;
            let mut end = first;
            let mut look = first;
            while look < dialogue.lines.len()
                && (dialogue.lines[look].starts_with(' ') || dialogue.lines[look].is_empty())
            {
                look += 1;
                if !dialogue.lines[look - 1].is_empty() {
                    end = look;
                }
            }
            dialogue.block(&head, first, end);
            at = look;
        }
        dialogue
    }

    fn block(&mut self, head: &str, first: usize, end: usize) {
        let place = format!("{}:{first}", self.path.display());
        let mut words = head.split_whitespace();
        let verb = words.next().unwrap();
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        let mut flag = |name: &str| {
            let found = words.iter().position(|word| word == name);
            found.map(|index| words.remove(index)).is_some()
        };
        let unordered = flag("unordered");
        let body = &self.lines[first..end];
        let action = match verb {
            "schema" => {
                self.schema = body.join("\n");
                return;
            }
            "gateway" => {
                let recorded = recorded(body, first, end);
                match self.steps.last_mut().map(|step| &mut step.action) {
                    Some(Action::Receive { gateway, .. }) => *gateway = Some(recorded),
                    _ => panic!("{place}: gateway must follow receive"),
                }
                return;
            }
            "connect" => Action::Connect {
                connection: name(&mut words),
                parameters: words.iter().map(|word| parameter(word, &place)).collect(),
            },
            "open" => Action::Open { connection: name(&mut words) },
            "cancel" => Action::Cancel { connection: name(&mut words) },
            "close" => Action::Close { connection: name(&mut words) },
            "send" => {
                let chunk = words.iter().position(|word| word.starts_with("chunked="));
                let chunk = chunk.map(|index| words.remove(index)["chunked=".len()..].parse().unwrap());
                Action::Send { connection: name(&mut words), chunk_bytes: chunk, messages: messages(body) }
            }
            "receive" => {
                let until = until(&mut words, &place);
                let expected = recorded(body, first, end);
                Action::Receive { connection: name(&mut words), until, unordered, expected, gateway: None }
            }
            other => panic!("{place}: {other} is no directive"),
        };
        self.steps.push(Step { line: first, action });
    }

    /// Writes the file back with other lines recorded: pairs of a step's index and what was received there. A `gateway`
    /// block that says what Postgres says is dropped.
    pub fn rewrite(&self, received: &[(usize, Vec<String>)], gateway: bool) {
        let mut lines = self.lines.clone();
        for (index, new) in received.iter().rev() {
            let Action::Receive { expected, gateway: other, .. } = &self.steps[*index].action else { continue };
            match other {
                Some(block) if gateway && *new == expected.lines => drop(lines.drain(block.first - 1..block.end)),
                Some(block) if gateway => block.replace(&mut lines, new),
                None if gateway => {}
                _ => expected.replace(&mut lines, new),
            }
        }
        std::fs::write(&self.path, lines.join("\n") + "\n").unwrap();
    }
}

impl Recorded {
    fn replace(&self, lines: &mut Vec<String>, new: &[String]) {
        lines.splice(self.first..self.end, new.iter().map(|line| format!("  {line}")));
    }
}

fn name(words: &mut Vec<String>) -> String {
    match words.first() {
        Some(word) if !word.contains('=') => words.remove(0),
        _ => "main".into(),
    }
}

/// `name=value`; a blank in the value is written `%20`, as in a connection URL.
fn parameter(word: &str, place: &str) -> (String, String) {
    let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{place}: {word} is not name=value"));
    (name.into(), value.replace("%20", " "))
}

fn until(words: &mut Vec<String>, place: &str) -> Until {
    let keyword = words.iter().position(|word| matches!(word.as_str(), "ready" | "count" | "until" | "closed"));
    let Some(index) = keyword else { return Until::Ready(1) };
    let rest: Vec<String> = words.drain(index..).collect();
    let number = || rest.get(1).and_then(|word| word.parse().ok());
    match rest[0].as_str() {
        "ready" => Until::Ready(number().unwrap_or(1)),
        "count" => Until::Count(number().unwrap_or_else(|| panic!("{place}: count needs a number"))),
        "until" => Until::Named(rest.get(1).unwrap_or_else(|| panic!("{place}: until what?")).clone()),
        _ => Until::Closed,
    }
}

fn recorded(body: &[String], first: usize, end: usize) -> Recorded {
    Recorded { first, end, lines: body.iter().map(|line| line.trim().to_owned()).collect() }
}

/// A message stands on a line indented by two; lines indented deeper continue it.
fn messages(body: &[String]) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in body {
        match messages.last_mut() {
            Some(last) if line.starts_with("   ") => {
                last.push('\n');
                last.push_str(line.trim());
            }
            _ if line.trim().starts_with('#') => {}
            _ => messages.push(line.trim().to_owned()),
        }
    }
    messages
}
