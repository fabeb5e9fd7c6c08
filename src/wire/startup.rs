//! The first packets of a connection, from the client's side: start-up, TLS and GSSAPI requests, cancel requests, and the answers to them.
//!
//! By hand, because `pgwire` sorts the parameters, loses duplicates and malformed layouts, and has no words for what is wrong.
//! *Source*: PostgreSQL 18 manual, 54.7 "Message Formats"; `src/backend/tcop/backend_startup.c`, `ProcessStartupPacket`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::startup_options;

/// A packet is 4 bytes of length and at most this. *Source*: `src/include/libpq/pqcomm.h`, `MAX_STARTUP_PACKET_LENGTH`.
pub const STARTUP_PACKET_BYTES_MAX: usize = 10_000;

/// Highest minor version of protocol 3 that is spoken.
pub const PROTOCOL_MINOR_MAX: u16 = 2;

/// `NAMEDATALEN` - 1: longer user and database names are cut, as PostgreSQL does. *Source*: `src/include/pg_config_manual.h`.
const NAME_BYTES_MAX: usize = 63;

/// Longest cancel key of protocol 3.2. *Source*: manual, 54.7, BackendKeyData.
const CANCEL_KEY_BYTES_MAX: usize = 256;

const CANCEL_REQUEST_CODE: u32 = 1234 << 16 | 5678;
const SSL_REQUEST_CODE: u32 = 1234 << 16 | 5679;
const GSSENC_REQUEST_CODE: u32 = 1234 << 16 | 5680;

/// What a client may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// It wants to log in.
    Startup(Startup),
    /// It asks for TLS.
    SslRequest,
    /// It asks for GSSAPI encryption.
    GssEncRequest,
    /// It wants a running query cancelled; nothing is answered.
    Cancel(CancelKey),
}

/// Names a session in a CancelRequest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// As in BackendKeyData.
    pub process_id: i32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Bytes,
}

/// A StartupMessage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The protocol's minor version as asked for; may be higher than [`PROTOCOL_MINOR_MAX`].
    pub protocol_minor: u16,
    /// Never empty.
    pub user: String,
    /// The user's name where none was given.
    pub database: String,
    /// `replication` is on, or `database`.
    pub replication: bool,
    /// Settings in the order in which they take effect: those of `options`, then the other parameters.
    pub settings: Vec<(String, String)>,
    /// Names of `_pq_.` options, none of which is known.
    pub unrecognized: Vec<String>,
}

impl Startup {
    /// The minor version both sides speak.
    pub fn agreed_minor(&self) -> u16 {
        self.protocol_minor.min(PROTOCOL_MINOR_MAX)
    }

    /// A NegotiateProtocolVersion has to be sent before anything else.
    pub fn needs_negotiation(&self) -> bool {
        self.protocol_minor > PROTOCOL_MINOR_MAX || !self.unrecognized.is_empty()
    }
}

/// Why a first packet is not answered as it would like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// Hopeless bytes: PostgreSQL only logs this and hangs up.
    #[error("{0}")]
    Garbage(&'static str),
    /// To be told to the client.
    #[error("{}", .0.message)]
    Fatal(Fatal),
}

/// An ErrorResponse of severity FATAL: after it the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// Five characters.
    pub sqlstate: &'static str,
    /// Primary message.
    pub message: String,
    /// Detail.
    pub detail: Option<&'static str>,
    /// Hint.
    pub hint: Option<&'static str>,
}

impl Fatal {
    /// An error without detail and hint.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// The same with a detail.
    pub fn detail(self, detail: &'static str) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// The same with a hint.
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// Appends the ErrorResponse.
    pub fn encode(&self, out: &mut BytesMut) {
        let fields = [
            (b'S', "FATAL"),
            (b'V', "FATAL"),
            (b'C', self.sqlstate),
            (b'M', &self.message),
            (b'D', self.detail.unwrap_or("")),
            (b'H', self.hint.unwrap_or("")),
        ];
        put_message(out, b'E', |out| {
            for (field, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                out.put_u8(field);
                out.put_slice(text.replace('\0', "").as_bytes());
                out.put_u8(0);
            }
            out.put_u8(0);
        });
    }
}

/// Appends a NegotiateProtocolVersion. The version is sent with its major part, as PostgreSQL does and libpq expects.
pub fn encode_negotiate_protocol_version(startup: &Startup, out: &mut BytesMut) {
    put_message(out, b'v', |out| {
        out.put_u16(3);
        out.put_u16(startup.agreed_minor());
        out.put_u32(u32::try_from(startup.unrecognized.len()).unwrap_or(u32::MAX));
        for name in &startup.unrecognized {
            out.put_slice(name.as_bytes());
            out.put_u8(0);
        }
    });
}

/// Appends a typed message whose length is filled in afterwards.
pub fn put_message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Takes the first packet out of `buffer`; `None` until it is there as a whole.
///
/// # Errors
/// What PostgreSQL would say to it.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<FirstPacket>, StartupError> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(8..=STARTUP_PACKET_BYTES_MAX + 4).contains(&length) {
        return Err(StartupError::Garbage("invalid length of startup packet"));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(4);
    let code = packet.get_u32();
    match code {
        SSL_REQUEST_CODE => Ok(Some(FirstPacket::SslRequest)),
        GSSENC_REQUEST_CODE => Ok(Some(FirstPacket::GssEncRequest)),
        CANCEL_REQUEST_CODE => cancel_request(packet).map(|key| Some(FirstPacket::Cancel(key))),
        version => {
            startup(version, &packet).map(|startup| Some(FirstPacket::Startup(startup))).map_err(StartupError::Fatal)
        }
    }
}

fn cancel_request(mut packet: Bytes) -> Result<CancelKey, StartupError> {
    if packet.len() <= 4 || packet.len() > 4 + CANCEL_KEY_BYTES_MAX {
        return Err(StartupError::Garbage("invalid length of cancel request packet"));
    }
    Ok(CancelKey { process_id: packet.get_i32(), secret: packet })
}

fn startup(version: u32, parameters: &[u8]) -> Result<Startup, Fatal> {
    let (major, minor) = ((version >> 16) as u16, (version & 0xffff) as u16);
    if major != 3 {
        let message =
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{PROTOCOL_MINOR_MAX}");
        return Err(Fatal::new("0A000", message));
    }
    let (mut user, mut database, mut options, mut replication) = (None, None, None, false);
    let (mut others, mut unrecognized) = (Vec::new(), Vec::new());
    for (name, value) in pairs(parameters)? {
        match name {
            b"user" => user = Some(name_text(value)?),
            b"database" => database = Some(name_text(value)?),
            b"options" => options = Some(text(value)?),
            b"replication" => replication = replication_mode(&text(value)?)?,
            name if name.starts_with(b"_pq_.") => unrecognized.push(text(name)?),
            b"application_name" => others.push(("application_name".to_owned(), clean_ascii(value))),
            name => others.push((text(name)?, text(value)?)),
        }
    }
    let user = user
        .filter(|user| !user.is_empty())
        .ok_or_else(|| Fatal::new("28000", "no PostgreSQL user name specified in startup packet"))?;
    let mut settings = startup_options::parse(options.as_deref().unwrap_or(""))?;
    settings.append(&mut others);
    let database = database.filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
    Ok(Startup { protocol_minor: minor, user, database, replication, settings, unrecognized })
}

/// Name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Splits `name\0value\0...\0`.
fn pairs(mut rest: &[u8]) -> Result<Vec<Pair<'_>>, Fatal> {
    let mut pairs = Vec::new();
    loop {
        match (cstring(&mut rest), rest) {
            (Some(b""), b"") => return Ok(pairs),
            (Some(name), _) if !name.is_empty() => match cstring(&mut rest) {
                Some(value) => pairs.push((name, value)),
                None => return Err(bad_layout()),
            },
            (Some(_) | None, _) => return Err(bad_layout()),
        }
    }
}

fn bad_layout() -> Fatal {
    Fatal::new("08P01", "invalid startup packet layout: expected terminator as last byte")
}

fn cstring<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, rest)?;
    let (string, after) = (rest.get(..end)?, rest.get(end + 1..)?);
    *rest = after;
    Some(string)
}

/// PostgreSQL takes the bytes as they are; here they have to be UTF-8, as names and settings of the configuration are.
fn text(bytes: &[u8]) -> Result<String, Fatal> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or(0);
            Err(Fatal::new("22021", format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}")))
        }
    }
}

fn name_text(bytes: &[u8]) -> Result<String, Fatal> {
    let mut name = text(bytes)?;
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    Ok(name)
}

/// What PostgreSQL 16 makes of an `application_name`: `\xc3` for bytes that are not printable ASCII. *Source*: `pg_clean_ascii`, `src/common/string.c`.
fn clean_ascii(bytes: &[u8]) -> String {
    let mut clean = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            32..=126 => clean.push(char::from(byte)),
            _ => clean.push_str(&format!("\\x{byte:02x}")),
        }
    }
    clean
}

fn replication_mode(value: &str) -> Result<bool, Fatal> {
    if value == "database" {
        return Ok(true);
    }
    parse_bool(value).ok_or_else(|| {
        Fatal::new("22023", format!("invalid value for parameter \"replication\": \"{value}\""))
            .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
    })
}

/// Unambiguous prefixes count. *Source*: `src/backend/utils/adt/bool.c`, `parse_bool_with_len`.
fn parse_bool(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let prefix_of = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    if prefix_of("true", 1) || prefix_of("yes", 1) || value == "on" || value == "1" {
        Some(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
