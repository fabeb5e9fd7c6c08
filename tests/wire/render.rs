//! Backend messages as lines of text.
//!
//! Left out on purpose, because one Postgres and several may differ in it rightly: process ids and secrets, OIDs of tables
//! and of types that users made, and where in PostgreSQL's source an error arose. The version of the servers, which machines differ in,
//! is a word.

use std::fmt::Write;
use std::process::Command;
use std::sync::OnceLock;

use pgbraid::demo::postgres::Binaries;

use crate::client::{Message, Received, data_row, error_fields, row_description, trim_nul, u16_at, u32_at};

/// One line, without a line break in it.
pub fn render(received: &Received) -> String {
    match received {
        Received::Closed => "(closed)".into(),
        Received::Silence => "(silence)".into(),
        Received::Message(message) => render_message(message),
    }
}

/// `server_version` of the installed PostgreSQL, as `postgres --version` has it in "postgres (PostgreSQL) 15.20 (...)".
fn installed_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let program = Binaries::find().unwrap().program("postgres");
        let told = Command::new(program).arg("--version").output().unwrap().stdout;
        let (_, version) = std::str::from_utf8(&told).unwrap().trim().split_once(") ").unwrap();
        version.to_owned()
    })
}

fn render_message(message: &Message) -> String {
    let body = &message.body[..];
    match message.tag {
        b'R' => match u32_at(body, 0) {
            0 => "AuthenticationOk".into(),
            other => format!("Authentication {other}"),
        },
        b'S' => {
            let mut parts = body.split(|byte| *byte == 0);
            let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if name == b"server_version" && value == installed_version().as_bytes() {
                return "ParameterStatus \"server_version\" installed".into();
            }
            format!("ParameterStatus {} {}", text(name), text(value))
        }
        b'K' => format!("BackendKeyData pid secret({} bytes)", body.len().saturating_sub(4)),
        b'Z' => format!("ReadyForQuery {}", String::from_utf8_lossy(body)),
        b'T' => render_columns(body),
        b't' => {
            let types = (0..u16_at(body, 0) as usize).map(|n| type_name(u32_at(body, 2 + 4 * n)));
            line("ParameterDescription", types)
        }
        b'D' => line("DataRow", data_row(body).into_iter().map(|value| value.map_or("null".into(), |v| text(&v)))),
        b'C' => format!("CommandComplete {}", text(trim_nul(body))),
        b'I' => bare("EmptyQueryResponse", body),
        b'1' => bare("ParseComplete", body),
        b'2' => bare("BindComplete", body),
        b'3' => bare("CloseComplete", body),
        b'n' => bare("NoData", body),
        b's' => bare("PortalSuspended", body),
        b'c' => bare("CopyDone", body),
        b'd' => format!("CopyData {}", text(body)),
        b'G' => render_copy("CopyInResponse", body),
        b'H' => render_copy("CopyOutResponse", body),
        b'E' => render_error("ErrorResponse", body),
        b'N' => render_error("NoticeResponse", body),
        b'V' => match u32_at(body, 0) as i32 {
            -1 => "FunctionCallResponse null".into(),
            _ => format!("FunctionCallResponse {}", text(&body[4..])),
        },
        b'A' => {
            let mut parts = body[4..].split(|byte| *byte == 0).map(text);
            format!("NotificationResponse {} {}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        }
        b'v' => {
            let version = u32_at(body, 0);
            let names = body[8..].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(text);
            line(&format!("NegotiateProtocolVersion {}.{}", version >> 16, version & 0xffff), names)
        }
        other => format!("Message {:?} {}", other as char, hex(body)),
    }
}

fn bare(name: &str, body: &[u8]) -> String {
    if body.is_empty() { name.into() } else { format!("{name} {}", hex(body)) }
}

fn line(name: &str, parts: impl Iterator<Item = String>) -> String {
    parts.fold(name.to_string(), |mut line, part| {
        line.push(' ');
        line.push_str(&part);
        line
    })
}

fn render_columns(body: &[u8]) -> String {
    line(
        "RowDescription",
        row_description(body).into_iter().map(|column| {
            let mut out = format!("{}:{}", text(&column.name), type_name(column.type_oid));
            if column.typmod != -1 {
                write!(out, "[{}]", column.typmod).unwrap();
            }
            if column.attribute != 0 {
                write!(out, "@{}", column.attribute as i16).unwrap();
            }
            match column.format {
                0 => {}
                1 => out.push_str(":binary"),
                other => write!(out, ":format{other}").unwrap(),
            }
            out
        }),
    )
}

fn render_copy(name: &str, body: &[u8]) -> String {
    let formats = (0..u16_at(body, 1) as usize).map(|n| u16_at(body, 3 + 2 * n).to_string());
    line(&format!("{name} {}", body[0]), formats)
}

/// All fields in the order they came, but for file, line and routine.
fn render_error(name: &str, body: &[u8]) -> String {
    let fields = error_fields(body).into_iter().filter(|(field, _)| !b"FLR".contains(field));
    line(name, fields.map(|(field, value)| format!("{}={}", field as char, text(&value))))
}

/// Longer values are shown by length and hash.
const SHOWN_BYTES_MAX: usize = 200;

/// Quoted when it reads as text, else hexadecimal.
pub fn text(bytes: &[u8]) -> String {
    if bytes.len() > SHOWN_BYTES_MAX {
        // FNV-1a: enough to see that two long values are the same.
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        return format!("({} bytes, {hash:016x})", bytes.len());
    }
    let Ok(string) = std::str::from_utf8(bytes) else { return hex(bytes) };
    if string.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return hex(bytes);
    }
    let mut out = String::from("\"");
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("x'");
    bytes.iter().for_each(|byte| write!(out, "{byte:02x}").unwrap());
    out.push('\'');
    out
}

/// Names of built-in types as dialogues write them; `pg_type.oid`.
pub const TYPES: &[(&str, u32)] = &[
    ("unspecified", 0),
    ("bool", 16),
    ("bytea", 17),
    ("char", 18),
    ("name", 19),
    ("int8", 20),
    ("int2", 21),
    ("int4", 23),
    ("regproc", 24),
    ("text", 25),
    ("oid", 26),
    ("xid", 28),
    ("json", 114),
    ("xml", 142),
    ("point", 600),
    ("cidr", 650),
    ("float4", 700),
    ("float8", 701),
    ("unknown", 705),
    ("money", 790),
    ("macaddr", 829),
    ("inet", 869),
    ("bool[]", 1000),
    ("bytea[]", 1001),
    ("int2[]", 1005),
    ("int4[]", 1007),
    ("text[]", 1009),
    ("bpchar", 1042),
    ("varchar", 1043),
    ("date", 1082),
    ("time", 1083),
    ("int8[]", 1016),
    ("float8[]", 1022),
    ("timestamp", 1114),
    ("timestamptz", 1184),
    ("interval", 1186),
    ("numeric[]", 1231),
    ("timetz", 1266),
    ("bit", 1560),
    ("varbit", 1562),
    ("numeric", 1700),
    ("regclass", 2205),
    ("regtype", 2206),
    ("record", 2249),
    ("void", 2278),
    ("uuid", 2950),
    ("uuid[]", 2951),
    ("jsonb", 3802),
    ("int4range", 3904),
];

fn type_name(oid: u32) -> String {
    match TYPES.iter().find(|(_, known)| *known == oid) {
        Some((name, _)) => (*name).into(),
        None if oid >= 16384 => "user".into(),
        None => oid.to_string(),
    }
}
