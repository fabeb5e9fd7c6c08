//! What the gateway says itself, to clients and to servers, through pgwire's message types where text is UTF-8 by nature.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::{CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{BackendKeyData, ParameterStatus, SecretKey};

use super::frame;

/// How bad an error or notice is. *Source*: manual, "Error and Notice Message Fields", field `V`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// And the connection is closed.
    Fatal,
    /// Something the user should know.
    Warning,
    /// Information.
    Notice,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// Of which column a report is. Drivers map it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnName {
    /// Field `s`; empty where it is not known.
    pub schema: String,
    /// Field `t`.
    pub table: String,
    /// Field `c`.
    pub column: String,
}

/// An error or notice of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Field `S` and `V`.
    pub severity: Severity,
    /// Field `C`.
    pub sqlstate: String,
    /// Field `M`.
    pub message: String,
    /// Field `D`.
    pub detail: Option<String>,
    /// Field `H`.
    pub hint: Option<String>,
    /// Field `W`.
    pub context: Option<String>,
    /// Fields `s`, `t` and `c`.
    pub column: Option<Box<ColumnName>>,
    /// Field `R`: PostgreSQL's function, where drivers look at it (pgjdbc at `RevalidateCachedQuery`).
    pub routine: Option<&'static str>,
}

impl Report {
    /// An error.
    pub fn error(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, sqlstate, message)
    }

    /// An error after which the connection is closed.
    pub fn fatal(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, sqlstate, message)
    }

    /// A warning.
    pub fn warning(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, sqlstate, message)
    }

    fn new(severity: Severity, sqlstate: &str, message: impl Into<String>) -> Self {
        Report {
            severity,
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            column: None,
            routine: None,
        }
    }

    /// With a detail.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of a column.
    #[must_use]
    pub fn with_column(mut self, column: ColumnName) -> Self {
        self.column = Some(Box::new(column));
        self
    }

    /// Appends it as ErrorResponse or NoticeResponse.
    pub fn write(&self, out: &mut BytesMut) {
        let word = self.severity.word().to_owned();
        let mut fields =
            vec![(b'S', word.clone()), (b'V', word), (b'C', self.sqlstate.clone()), (b'M', clean(&self.message))];
        fields.extend(self.detail.as_deref().map(|text| (b'D', clean(text))));
        fields.extend(self.hint.as_deref().map(|text| (b'H', clean(text))));
        fields.extend(self.context.as_deref().map(|text| (b'W', clean(text))));
        if let Some(of) = &self.column {
            let named = [(b's', clean(&of.schema)), (b't', clean(&of.table)), (b'c', clean(&of.column))];
            fields.extend(named.into_iter().filter(|(_, name)| !name.is_empty()));
        }
        fields.extend(self.routine.map(|text| (b'R', text.to_owned())));
        match self.severity {
            Severity::Error | Severity::Fatal => encode(&ErrorResponse::new(fields), out),
            Severity::Warning | Severity::Notice => encode(&NoticeResponse::new(fields), out),
        }
    }
}

/// What ReadyForQuery says of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// `I`: not in a transaction block.
    #[default]
    Idle,
    /// `T`: in one.
    Open,
    /// `E`: in one that has failed.
    Failed,
}

impl Status {
    /// From ReadyForQuery's byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Status::Idle),
            b'T' => Some(Status::Open),
            b'E' => Some(Status::Failed),
            _ => None,
        }
    }
}

/// ReadyForQuery.
pub fn ready(out: &mut BytesMut, status: Status) {
    let status = match status {
        Status::Idle => TransactionStatus::Idle,
        Status::Open => TransactionStatus::Transaction,
        Status::Failed => TransactionStatus::Error,
    };
    encode(&ReadyForQuery::new(status), out);
}

/// CommandComplete with this tag.
pub fn complete(out: &mut BytesMut, tag: &str) {
    encode(&CommandComplete::new(tag.to_owned()), out);
}

/// ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    encode(&ParameterStatus::new(name.to_owned(), value.to_owned()), out);
}

/// BackendKeyData. Protocol 3.0 has four bytes of secret; 3.2 up to 256.
pub fn key_data(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    let key = match <[u8; 4]>::try_from(secret) {
        Ok(four) => SecretKey::I32(i32::from_be_bytes(four)),
        Err(_) => SecretKey::Bytes(bytes::Bytes::copy_from_slice(secret)),
    };
    encode(&BackendKeyData::new(process_id, key), out);
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut BytesMut) {
    frame::write(out, b'I', |_| {});
}

/// ParseComplete (`1`), BindComplete (`2`), CloseComplete (`3`), NoData (`n`): frames without a body.
pub fn bare(out: &mut BytesMut, tag: u8) {
    frame::write(out, tag, |_| {});
}

/// ParameterDescription of no parameters.
pub fn no_parameters(out: &mut BytesMut) {
    parameters(out, &[]);
}

/// ParameterDescription.
pub fn parameters(out: &mut BytesMut, types: &[u32]) {
    frame::write(out, b't', |body| {
        body.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|oid| body.put_u32(*oid));
    });
}

/// DataRow of text values.
pub fn text_row(out: &mut BytesMut, values: &[&[u8]]) {
    frame::write(out, b'D', |body| {
        body.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        for value in values {
            body.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
            body.extend_from_slice(value);
        }
    });
}

/// Query, to a server.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    frame::write(out, b'Q', |body| {
        body.extend_from_slice(text);
        body.put_u8(0);
    });
}

/// Parse, to a server.
pub fn parse(out: &mut BytesMut, name: &[u8], text: &[u8], types: &[u32]) {
    frame::write(out, b'P', |body| {
        for part in [name, text] {
            body.extend_from_slice(part);
            body.put_u8(0);
        }
        body.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|oid| body.put_u32(*oid));
    });
}

/// Describe (`D`) or Close (`C`) of a statement (`S`) or portal (`P`), to a server.
pub fn named(out: &mut BytesMut, tag: u8, kind: u8, name: &[u8]) {
    frame::write(out, tag, |body| {
        body.put_u8(kind);
        body.extend_from_slice(name);
        body.put_u8(0);
    });
}

/// Bind, to a server, under another statement name; `rest` is what followed the name in the client's message, up to the
/// last `more_bytes` of it, which are to follow.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], rest: &[u8], more_bytes: usize) {
    // Length field, two names with their terminators.
    let length = 4 + portal.len() + 1 + statement.len() + 1 + rest.len() + more_bytes;
    out.put_u8(b'B');
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for part in [portal, statement] {
        out.extend_from_slice(part);
        out.put_u8(0);
    }
    out.extend_from_slice(rest);
}

/// Execute, to a server.
pub fn execute(out: &mut BytesMut, portal: &[u8], rows_max: i32) {
    frame::write(out, b'E', |body| {
        body.extend_from_slice(portal);
        body.put_u8(0);
        body.put_i32(rows_max);
    });
}

/// A string inside a message ends at a NUL, so it must hold none.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// pgwire's encoders only fail for messages over their limit, which none of ours reaches.
fn encode(message: &impl Message, out: &mut BytesMut) {
    let before = out.len();
    if message.encode(out).is_err() {
        out.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_severity_sqlstate_message_and_hint() {
        let mut out = BytesMut::new();
        Report::error("0A000", "no").with_hint("yes").write(&mut out);
        assert_eq!(&out[..1], b"E");
        assert_eq!(super::super::fields::field(&out[5..], b'C'), Some(&b"0A000"[..]));
        assert_eq!(super::super::fields::field(&out[5..], b'H'), Some(&b"yes"[..]));
    }

    #[test]
    fn ready_says_the_status() {
        let mut out = BytesMut::new();
        ready(&mut out, Status::Failed);
        assert_eq!(&out[..], b"Z\0\0\0\x05E");
    }
}
