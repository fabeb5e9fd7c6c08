//! A volley: all that most drivers send for a statement, in one piece. Bind of the unnamed portal, perhaps its Describe, its
//! Execute and Sync; perhaps a Parse of the unnamed statement before them.
//!
//! Seen at the start of a client's bytes by `session::volley`, which carries it out in one step. Whatever is not exactly this
//! (or malformed, or not all here) is none, and its messages are read one by one.

use super::frame::Header;
use super::frontend::{Bind, Parse};

/// A message of a volley is no longer than this, so that no limit of single messages applies to it.
const MESSAGE_BYTES_MAX: usize = 10_000;

/// Describe of the unnamed portal.
const DESCRIBE: &[u8] = b"D\0\0\0\x06P\0";

/// Execute of the unnamed portal, up to its row limit, which has four bytes.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0";

/// Sync.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// A volley, as a view of the client's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Volley<'a> {
    /// Of the unnamed statement.
    pub parse: Option<Parse<'a>>,
    /// To the unnamed portal; of the unnamed statement if there is a Parse.
    pub bind: Bind<'a>,
    /// There is a Describe.
    pub describes: bool,
    /// What follows Bind: Describe, Execute and Sync as they came.
    pub tail: &'a [u8],
    /// Up to the end of Bind.
    pub bind_end: usize,
    /// Up to the end of Sync.
    pub end: usize,
}

impl<'a> Volley<'a> {
    /// The volley at the start of `bytes`, if there is one and all of it is here.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (parse, after) = match bytes.first()? {
            b'P' => {
                let (body, after) = message(bytes, b'P')?;
                (Some(Parse::read(body).ok().filter(|parse| parse.name.is_empty())?), after)
            }
            _ => (None, bytes),
        };
        let (body, tail) = message(after, b'B')?;
        let (describes, after) = match tail.strip_prefix(DESCRIBE) {
            Some(after) => (true, after),
            None => (false, tail),
        };
        let (_rows_max, after) = after.strip_prefix(EXECUTE)?.split_first_chunk::<4>()?;
        let after = after.strip_prefix(SYNC)?;
        let bind = Bind::read(body).ok()?;
        let unnamed = bind.portal.is_empty() && (parse.is_none() || bind.statement.is_empty());
        let (bind_end, end) = (bytes.len() - tail.len(), bytes.len() - after.len());
        let tail = tail.get(..end - bind_end)?;
        unnamed.then_some(Volley { parse, bind, describes, tail, bind_end, end })
    }
}

/// The body of the message at the start of `bytes`, if it is of this type, and what follows.
fn message(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let header = Header::read(bytes).ok()?.filter(|header| header.tag == tag)?;
    if header.frame_bytes > MESSAGE_BYTES_MAX {
        return None;
    }
    let (frame, after) = bytes.split_at_checked(header.frame_bytes)?;
    Some((frame.get(super::frame::HEADER_BYTES..)?, after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{frame, reply};
    use super::*;
    use bytes::BytesMut;

    /// One parameter of two bytes, and a count of result formats that are not there.
    const MALFORMED: &[u8] = b"\0\0\0\x01\0\0\0\x0247\0\x01";

    fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8]) {
        // No formats, one parameter of two bytes, no result formats.
        reply::bind(out, portal, statement, b"\0\0\0\x01\0\0\0\x0247\0\0", 0);
    }

    fn tail(out: &mut BytesMut, rows_max: i32) {
        reply::named(out, b'D', b'P', b"");
        reply::execute(out, b"", rows_max);
        frame::write(out, b'S', |_| {});
    }

    #[test]
    fn a_volley_is_seen_whole_and_what_follows_it_is_left() {
        let mut bytes = BytesMut::new();
        reply::parse(&mut bytes, b"", b"SELECT $1", &[23]);
        bind(&mut bytes, b"", b"");
        let bind_end = bytes.len();
        tail(&mut bytes, 0);
        let end = bytes.len();
        bytes.extend_from_slice(b"Q\0\0");
        let volley = Volley::read(&bytes).unwrap();
        assert_eq!(volley.parse.unwrap().text, b"SELECT $1");
        assert_eq!((volley.bind_end, volley.end, volley.describes), (bind_end, end, true));
        assert_eq!(volley.tail, &bytes[bind_end..end]);
    }

    #[test]
    fn parse_and_describe_may_be_missing() {
        let mut bytes = BytesMut::new();
        bind(&mut bytes, b"", b"name");
        reply::execute(&mut bytes, b"", 7);
        frame::write(&mut bytes, b'S', |_| {});
        let volley = Volley::read(&bytes).unwrap();
        assert!(volley.parse.is_none() && !volley.describes);
        assert_eq!((volley.bind.statement, volley.end), (&b"name"[..], bytes.len()));
    }

    #[test]
    fn a_part_of_a_volley_is_none() {
        let mut bytes = BytesMut::new();
        reply::parse(&mut bytes, b"", b"SELECT $1", &[]);
        bind(&mut bytes, b"", b"");
        tail(&mut bytes, 0);
        for end in 0..bytes.len() {
            assert!(Volley::read(&bytes[..end]).is_none(), "{end}");
        }
        assert!(Volley::read(&bytes).is_some());
    }

    #[test]
    fn names_and_other_messages_are_no_volley() {
        let read = |make: &dyn Fn(&mut BytesMut)| {
            let mut bytes = BytesMut::new();
            make(&mut bytes);
            tail(&mut bytes, 0);
            Volley::read(&bytes).is_some()
        };
        assert!(read(&|out| bind(out, b"", b"s")));
        assert!(!read(&|out| bind(out, b"p", b"s")));
        let parse = |out: &mut BytesMut, name: &[u8]| reply::parse(out, name, b"SELECT 1", &[]);
        assert!(read(&|out| {
            parse(out, b"");
            bind(out, b"", b"");
        }));
        // The statement bound is another one, or has a name; a statement is described between them.
        assert!(!read(&|out| {
            parse(out, b"");
            bind(out, b"", b"s");
        }));
        assert!(!read(&|out| {
            parse(out, b"s");
            bind(out, b"", b"s");
        }));
        assert!(!read(&|out| {
            parse(out, b"");
            reply::named(out, b'D', b'S', b"");
            bind(out, b"", b"");
        }));
        assert!(!read(&|out| reply::bind(out, b"", b"", MALFORMED, 0)), "a malformed Bind is none");
    }
}
