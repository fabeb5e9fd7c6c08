//! A blocking client of the frontend/backend protocol that hides nothing: every backend message is kept as it came.
//!
//! Written apart from the gateway's own `wire` module on purpose, so that a mistake there is not made here too.
//! *Source*: manual of PostgreSQL 15, chapter 55.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::{md5_hash, sasl};

/// How long a test waits for a message that must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One backend message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// What reading came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// The other side closed.
    Closed,
    /// Nothing within [`PATIENCE`].
    Silence,
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct Login {
    /// Address.
    pub address: SocketAddr,
    /// Start-up parameters, `user` and `database` among them.
    pub parameters: Vec<(String, String)>,
    /// Answers any password request.
    pub password: String,
    /// Protocol version, major in the high half.
    pub protocol: u32,
}

impl Login {
    /// Protocol 3.0 with the given user, password and database.
    pub fn new(address: SocketAddr, user: &str, password: &str, database: &str) -> Login {
        Login {
            address,
            parameters: vec![("user".into(), user.into()), ("database".into(), database.into())],
            password: password.into(),
            protocol: 0x0003_0000,
        }
    }

    /// The same with one more start-up parameter.
    pub fn with(mut self, name: &str, value: &str) -> Login {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.into(), value.into()));
        self
    }
}

/// A connection.
pub struct Client {
    /// The socket, for tests that mistreat it.
    pub stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    /// Process id of BackendKeyData.
    pub pid: u32,
    /// Secret of BackendKeyData.
    pub secret: Vec<u8>,
    /// Bytes per write; `None` writes all at once.
    pub chunk_bytes: Option<usize>,
}

impl Client {
    /// Opens the socket and says nothing.
    pub fn open(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream, buffer: Vec::new(), start: 0, pid: 0, secret: Vec::new(), chunk_bytes: None })
    }

    /// Opens and logs in; fails with the error's text when refused.
    pub fn connect(login: &Login) -> Result<Client, String> {
        let mut client = Client::open(login.address).map_err(|error| format!("{}: {error}", login.address))?;
        let messages = client.log_in(login);
        match messages.last() {
            Some(Received::Message(Message { tag: b'Z', .. })) => Ok(client),
            Some(Received::Message(message)) if message.tag == b'E' => Err(error_fields(&message.body)
                .into_iter()
                .filter(|(field, _)| *field == b'C' || *field == b'M')
                .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
                .collect::<Vec<_>>()
                .join(" ")),
            other => Err(format!("log-in ended with {other:?}")),
        }
    }

    /// Sends the start-up packet, proves the password, and returns what came but for the proving, up to ReadyForQuery, an
    /// error, the end, or silence.
    pub fn log_in(&mut self, login: &Login) -> Vec<Received> {
        let mut body = login.protocol.to_be_bytes().to_vec();
        for (name, value) in &login.parameters {
            put_cstr(&mut body, name.as_bytes());
            put_cstr(&mut body, value.as_bytes());
        }
        body.push(0);
        let mut packet = ((body.len() + 4) as u32).to_be_bytes().to_vec();
        packet.extend(body);
        self.send(&packet);
        let mut scram: Option<sasl::ScramSha256> = None;
        let mut received = Vec::new();
        loop {
            let next = self.receive();
            let Received::Message(message) = &next else {
                received.push(next);
                return received;
            };
            match (message.tag, message.body.get(..4)) {
                (b'R', Some(&[0, 0, 0, 0])) => received.push(next),
                (b'R', Some(&[0, 0, 0, code])) => self.prove(login, code, &message.body[4..], &mut scram),
                (b'K', _) => {
                    self.pid = u32::from_be_bytes(message.body[..4].try_into().unwrap());
                    self.secret = message.body[4..].to_vec();
                    received.push(next);
                }
                (b'Z' | b'E', _) => {
                    received.push(next);
                    return received;
                }
                _ => received.push(next),
            }
        }
    }

    fn prove(&mut self, login: &Login, code: u8, data: &[u8], scram: &mut Option<sasl::ScramSha256>) {
        let user = login.parameters.iter().find(|(name, _)| name == "user").map_or("", |(_, value)| value);
        let mut body = Vec::new();
        match code {
            3 => put_cstr(&mut body, login.password.as_bytes()),
            5 => {
                let salt = data[..4].try_into().unwrap();
                put_cstr(&mut body, md5_hash(user.as_bytes(), login.password.as_bytes(), salt).as_bytes());
            }
            10 => {
                let exchange = sasl::ScramSha256::new(login.password.as_bytes(), sasl::ChannelBinding::unsupported());
                put_cstr(&mut body, b"SCRAM-SHA-256");
                body.extend((exchange.message().len() as u32).to_be_bytes());
                body.extend(exchange.message());
                *scram = Some(exchange);
            }
            11 => {
                let exchange = scram.as_mut().unwrap();
                exchange.update(data).unwrap();
                body.extend(exchange.message());
            }
            12 => {
                scram.as_mut().unwrap().finish(data).unwrap();
                return;
            }
            other => panic!("authentication request {other} is not known to this client"),
        }
        self.send(&frame(b'p', &body));
    }

    /// Writes bytes; a broken pipe shows in what is received.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.chunk_bytes {
            None => drop(self.stream.write_all(bytes)),
            Some(size) => {
                for chunk in bytes.chunks(size) {
                    if self.stream.write_all(chunk).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The next message.
    pub fn receive(&mut self) -> Received {
        loop {
            if let Some(message) = self.buffered() {
                return Received::Message(message);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(size) => self.buffer.extend_from_slice(&chunk[..size]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Received::Silence;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    fn buffered(&mut self) -> Option<Message> {
        let pending = &self.buffer[self.start..];
        let length = u32::from_be_bytes(pending.get(1..5)?.try_into().unwrap()) as usize;
        let body = pending.get(5..length + 1)?.to_vec();
        let tag = pending[0];
        self.start += length + 1;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 1 << 20 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        Some(Message { tag, body })
    }

    /// One byte that is no message: the answer to SSLRequest.
    pub fn receive_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// All messages up to and including ReadyForQuery; ends early with the connection or with silence.
    pub fn receive_ready(&mut self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let next = self.receive();
            let last = !matches!(&next, Received::Message(message) if message.tag != b'Z');
            all.push(next);
            if last {
                return all;
            }
        }
    }

    /// A simple query and its whole answer.
    pub fn query(&mut self, sql: &str) -> Answer {
        self.send(&query(sql));
        Answer::of(self.receive_ready())
    }

    /// A simple query that must succeed; rows as text.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let answer = self.query(sql);
        assert!(answer.error.is_none(), "{sql}: {:?}", answer.error);
        let text = |value: &Option<Vec<u8>>| value.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        answer.rows.iter().map(|row| row.iter().map(text).collect()).collect()
    }

    /// A simple query that must succeed with one value.
    pub fn value(&mut self, sql: &str) -> String {
        self.rows(sql)
            .first()
            .and_then(|row| row.first().cloned().flatten())
            .unwrap_or_else(|| panic!("{sql}: no value"))
    }

    /// A simple query that must succeed.
    pub fn run(&mut self, sql: &str) {
        let answer = self.query(sql);
        assert!(answer.error.is_none(), "{sql}: {:?}", answer.error);
    }

    /// Says Terminate and closes.
    pub fn goodbye(mut self) {
        self.send(&frame(b'X', b""));
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// What a statement came to, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Name, type OID, typmod and format of each column of the last RowDescription.
    pub columns: Vec<ColumnDescription>,
    /// All rows.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Command tags.
    pub tags: Vec<String>,
    /// First error: SQLSTATE and message.
    pub error: Option<(String, String)>,
    /// Status of the last ReadyForQuery.
    pub status: Option<char>,
    /// The connection ended or fell silent.
    pub lost: Option<&'static str>,
}

/// A column of RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Name, in the client's encoding.
    pub name: Vec<u8>,
    /// Type.
    pub type_oid: u32,
    /// Modifier.
    pub typmod: i32,
    /// 0 text, 1 binary.
    pub format: u16,
    /// OID of the table whose column it is, else 0.
    pub table: u32,
    /// Attribute number if it is a table's column, else 0.
    pub attribute: u16,
}

impl Answer {
    /// Reads the messages up to ReadyForQuery.
    pub fn of(received: Vec<Received>) -> Answer {
        let mut answer = Answer::default();
        for item in received {
            match item {
                Received::Closed => answer.lost = Some("closed"),
                Received::Silence => answer.lost = Some("silence"),
                Received::Message(message) => match message.tag {
                    b'T' => answer.columns = row_description(&message.body),
                    b'D' => answer.rows.push(data_row(&message.body)),
                    b'C' => answer.tags.push(String::from_utf8_lossy(trim_nul(&message.body)).into_owned()),
                    b'E' if answer.error.is_none() => {
                        let fields = error_fields(&message.body);
                        let field = |wanted: u8| {
                            fields
                                .iter()
                                .find(|(name, _)| *name == wanted)
                                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                                .unwrap_or_default()
                        };
                        answer.error = Some((field(b'C'), field(b'M')));
                    }
                    b'Z' => answer.status = message.body.first().map(|byte| *byte as char),
                    _ => {}
                },
            }
        }
        answer
    }

    /// SQLSTATE of the error, or "".
    pub fn sqlstate(&self) -> &str {
        self.error.as_ref().map_or("", |(code, _)| code)
    }
}

/// A message with its type and length before it.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend(((body.len() + 4) as u32).to_be_bytes());
    message.extend(body);
    message
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_cstr(&mut body, sql.as_bytes());
    frame(b'Q', &body)
}

/// Parse.
pub fn parse(name: &[u8], sql: &[u8], types: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    put_cstr(&mut body, name);
    put_cstr(&mut body, sql);
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    frame(b'P', &body)
}

/// Bind.
pub fn bind(
    portal: &[u8],
    statement: &[u8],
    formats: &[u16],
    parameters: &[Option<Vec<u8>>],
    results: &[u16],
) -> Vec<u8> {
    let mut body = Vec::new();
    put_cstr(&mut body, portal);
    put_cstr(&mut body, statement);
    body.extend((formats.len() as u16).to_be_bytes());
    formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
    body.extend((parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        match parameter {
            None => body.extend((-1i32).to_be_bytes()),
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(value);
            }
        }
    }
    body.extend((results.len() as u16).to_be_bytes());
    results.iter().for_each(|format| body.extend(format.to_be_bytes()));
    frame(b'B', &body)
}

/// Describe (`b'D'`) or Close (`b'C'`) of a statement (`b'S'`) or portal (`b'P'`).
pub fn target(tag: u8, kind: u8, name: &[u8]) -> Vec<u8> {
    let mut body = vec![kind];
    put_cstr(&mut body, name);
    frame(tag, &body)
}

/// Execute.
pub fn execute(portal: &[u8], rows_max: u32) -> Vec<u8> {
    let mut body = Vec::new();
    put_cstr(&mut body, portal);
    body.extend(rows_max.to_be_bytes());
    frame(b'E', &body)
}

/// CancelRequest for a connection's key.
pub fn cancel_request(pid: u32, secret: &[u8]) -> Vec<u8> {
    let mut packet = ((12 + secret.len()) as u32).to_be_bytes().to_vec();
    packet.extend(80_877_102u32.to_be_bytes());
    packet.extend(pid.to_be_bytes());
    packet.extend(secret);
    packet
}

/// Bytes and a NUL.
pub fn put_cstr(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.push(0);
}

/// Without the NUL at the end.
pub fn trim_nul(body: &[u8]) -> &[u8] {
    body.strip_suffix(&[0]).unwrap_or(body)
}

/// Fields of ErrorResponse or NoticeResponse.
pub fn error_fields(body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut fields = Vec::new();
    let mut rest = body;
    while let Some((&field, tail)) = rest.split_first() {
        if field == 0 {
            break;
        }
        let end = tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len());
        fields.push((field, tail[..end].to_vec()));
        rest = tail.get(end + 1..).unwrap_or(&[]);
    }
    fields
}

/// Columns of RowDescription.
pub fn row_description(body: &[u8]) -> Vec<ColumnDescription> {
    let mut columns = Vec::new();
    let mut at = 2;
    for _ in 0..u16_at(body, 0) {
        let end = at + body[at..].iter().position(|byte| *byte == 0).unwrap();
        let name = body[at..end].to_vec();
        at = end + 1;
        let table = u32_at(body, at);
        columns.push(ColumnDescription {
            name,
            table,
            attribute: if table == 0 { 0 } else { u16_at(body, at + 4) },
            type_oid: u32_at(body, at + 6),
            typmod: u32_at(body, at + 12) as i32,
            format: u16_at(body, at + 16),
        });
        at += 18;
    }
    assert_eq!(at, body.len(), "RowDescription has bytes left over");
    columns
}

/// Values of DataRow.
pub fn data_row(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut values = Vec::new();
    let mut at = 2;
    for _ in 0..u16_at(body, 0) {
        let length = u32_at(body, at) as i32;
        at += 4;
        if length < 0 {
            values.push(None);
        } else {
            values.push(Some(body[at..at + length as usize].to_vec()));
            at += length as usize;
        }
    }
    assert_eq!(at, body.len(), "DataRow has bytes left over");
    values
}

/// Big-endian.
pub fn u16_at(body: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(body[at..at + 2].try_into().unwrap())
}

/// Big-endian.
pub fn u32_at(body: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(body[at..at + 4].try_into().unwrap())
}
