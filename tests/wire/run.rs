//! Plays a dialogue against one address.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::client::{Client, Login, Received, cancel_request};
use crate::dialogue::{Action, Dialogue, Until};
use crate::encode::encode;
use crate::render::render;

/// What a dialogue came to.
pub struct Outcome {
    /// Index of each `receive` step and the lines received.
    pub received: Vec<(usize, Vec<String>)>,
    /// Where it differs from what is expected, for people.
    pub differences: Vec<String>,
}

/// Whom a dialogue is played with.
#[derive(Clone)]
pub struct Partner {
    /// As what to log in.
    pub login: Login,
    /// `gateway` blocks count.
    pub gateway: bool,
    /// Bytes per write; `None`: whole blocks.
    pub chunk_bytes: Option<usize>,
}

/// A dialogue waits this long for a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// Drops what the dialogue before left, makes the schema, and plays all steps.
pub fn play(dialogue: &Dialogue, partner: &Partner) -> Outcome {
    let mut outcome = Outcome { received: Vec::new(), differences: Vec::new() };
    if let Err(problem) = prepare(dialogue, partner) {
        outcome.differences.push(format!("{}: schema: {problem}", dialogue.path.display()));
        return outcome;
    }
    let mut stage = Stage { partner, clients: HashMap::new(), backlog: HashMap::new() };
    for (index, step) in dialogue.steps.iter().enumerate() {
        let Action::Receive { connection, until, unordered, expected, gateway } = &step.action else {
            stage.act(&step.action);
            continue;
        };
        let mut lines = stage.receive(connection, until);
        arrange(&mut lines, *unordered);
        let wanted = match gateway {
            Some(other) if partner.gateway => &other.lines,
            _ => &expected.lines,
        };
        let lost = lines.last().is_some_and(|line| line == "(silence)");
        if &lines != wanted {
            let place = format!("{}:{}", dialogue.path.display(), step.line);
            outcome.differences.push(difference(&place, wanted, &lines));
        }
        outcome.received.push((index, lines));
        if lost && wanted.last().is_none_or(|line| line != "(silence)") {
            outcome.differences.push(format!("{}: given up after silence", dialogue.path.display()));
            break;
        }
    }
    outcome
}

fn prepare(dialogue: &Dialogue, partner: &Partner) -> Result<(), String> {
    let mut client = Client::connect(&partner.login)?;
    clean(&mut client)?;
    for statement in dialogue.schema.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        let answer = client.query(statement);
        if answer.error.is_some() || answer.lost.is_some() {
            return Err(format!("{statement}: {:?} {:?}", answer.error, answer.lost));
        }
    }
    client.goodbye();
    Ok(())
}

/// Drops everything in `public`.
fn clean(client: &mut Client) -> Result<(), String> {
    let kinds = "SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' \
                 WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, oid::regclass) FROM pg_class WHERE relkind IN \
                 ('r', 'v', 'm', 'S', 'p') AND relnamespace = 'public'::regnamespace ORDER BY relkind = 'S', oid";
    let functions = "SELECT format('DROP FUNCTION IF EXISTS %s', oid::regprocedure) FROM pg_proc \
                     WHERE pronamespace = 'public'::regnamespace";
    let types = "SELECT format('DROP TYPE IF EXISTS %s CASCADE', oid::regtype) FROM pg_type \
                 WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd') ORDER BY oid";
    for listing in [kinds, functions, types] {
        let answer = client.query(listing);
        if answer.error.is_some() || answer.lost.is_some() {
            return Err(format!("{listing}: {:?} {:?}", answer.error, answer.lost));
        }
        for row in answer.rows {
            let statement = String::from_utf8_lossy(row[0].as_deref().unwrap()).into_owned();
            let answer = client.query(&statement);
            if answer.error.is_some() || answer.lost.is_some() {
                return Err(format!("{statement}: {:?} {:?}", answer.error, answer.lost));
            }
        }
    }
    Ok(())
}

struct Stage<'a> {
    partner: &'a Partner,
    clients: HashMap<String, Client>,
    /// Start-up messages not yet looked at.
    backlog: HashMap<String, Vec<Received>>,
}

impl Stage<'_> {
    fn act(&mut self, action: &Action) {
        match action {
            Action::Connect { connection, parameters } => self.connect(connection, parameters),
            Action::Open { connection } => {
                let client = Client::open(self.partner.login.address).unwrap();
                client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                self.clients.insert(connection.clone(), client);
            }
            Action::Send { connection, chunk_bytes, messages } => {
                let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message)).collect();
                let chunk = chunk_bytes.or(self.partner.chunk_bytes);
                self.backlog.remove(connection);
                let client = self.client(connection);
                // A megabyte in single bytes tells nothing that the first kilobytes did not.
                client.chunk_bytes = if bytes.len() > 20_000 { None } else { chunk };
                client.send(&bytes);
            }
            Action::Cancel { connection } => self.cancel(connection),
            Action::Close { connection } => {
                self.clients.remove(connection);
            }
            Action::Receive { .. } => {}
        }
    }

    fn connect(&mut self, connection: &str, parameters: &[(String, String)]) {
        let mut login = self.partner.login.clone();
        for (name, value) in parameters {
            if name == "protocol" {
                let (major, minor) = value.split_once('.').unwrap();
                login.protocol = (major.parse::<u32>().unwrap() << 16) | minor.parse::<u32>().unwrap();
            } else {
                login = login.with(name, value);
            }
        }
        let mut client = Client::open(login.address).unwrap();
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.chunk_bytes = self.partner.chunk_bytes;
        let messages = client.log_in(&login);
        self.clients.insert(connection.into(), client);
        self.backlog.insert(connection.into(), messages);
    }

    fn client(&mut self, connection: &str) -> &mut Client {
        if !self.clients.contains_key(connection) {
            self.connect(connection, &[]);
            self.backlog.remove(connection);
        }
        self.clients.get_mut(connection).unwrap()
    }

    fn receive(&mut self, connection: &str, until: &Until) -> Vec<String> {
        let client = self.clients.get_mut(connection).unwrap_or_else(|| panic!("{connection} is not connected"));
        let mut backlog = self.backlog.remove(connection).unwrap_or_default().into_iter();
        let mut lines = Vec::new();
        let mut ready = 0;
        loop {
            let line = match backlog.next() {
                Some(first) => render(&first),
                None => render(&client.receive()),
            };
            if line.starts_with("ReadyForQuery") {
                ready += 1;
            }
            let over = line == "(closed)"
                || line == "(silence)"
                || match until {
                    Until::Ready(wanted) => ready == *wanted,
                    Until::Count(wanted) => lines.len() + 1 == *wanted,
                    Until::Named(name) => ready > 0 || line.split(' ').next() == Some(name),
                    Until::Closed => false,
                };
            lines.push(line);
            if over {
                return lines;
            }
        }
    }

    /// A cancel that comes before the statement runs has no effect, so it is repeated until all is answered.
    fn cancel(&mut self, connection: &str) {
        let address = self.partner.login.address;
        let client = self.clients.get_mut(connection).unwrap();
        client.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        for _ in 0..20 {
            // Long enough for the statement to get past planning, so that what comes before the error is always the same.
            let begun = Instant::now();
            let mut answer = [0; 64 * 1024];
            let count = client.stream.peek(&mut answer).unwrap_or(0);
            let ready = |state: &u8| answer[..count].ends_with(&[b'Z', 0, 0, 0, 5, *state]);
            if b"ITE".iter().any(ready) {
                break;
            }
            std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
            let mut other = Client::open(address).unwrap();
            other.send(&cancel_request(client.pid, &client.secret));
            // The server closes when it has dealt with the request.
            other.receive();
        }
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

/// Sorts runs of ParameterStatus lines, whose order PostgreSQL does not promise, and rows where the dialogue says so.
fn arrange(lines: &mut [String], unordered: bool) {
    let mut at = 0;
    while at < lines.len() {
        let kind = ["ParameterStatus ", "DataRow ", "CopyData "].into_iter().find(|kind| lines[at].starts_with(kind));
        let run = kind.map_or(1, |kind| lines[at..].iter().take_while(|line| line.starts_with(kind)).count());
        if kind == Some("ParameterStatus ") || unordered {
            lines[at..at + run].sort();
        }
        at += run;
    }
}

fn difference(place: &str, wanted: &[String], got: &[String]) -> String {
    let same = wanted.iter().zip(got).take_while(|(one, other)| one == other).count();
    let mut out = format!("{place}\n");
    for line in &wanted[same.saturating_sub(2)..same] {
        out.push_str(&format!("    {line}\n"));
    }
    wanted[same..].iter().for_each(|line| out.push_str(&format!("  - {line}\n")));
    got[same..].iter().for_each(|line| out.push_str(&format!("  + {line}\n")));
    out
}
