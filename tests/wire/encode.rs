//! A line of a `send` block as bytes. `tests/wire/README.md` is the manual.

use crate::client::{bind, execute, frame, parse, put_cstr, query, target};
use crate::render::TYPES;

/// A word of a message.
#[derive(Clone, Debug)]
enum Token {
    Word(String),
    Bytes(Vec<u8>),
    List(Vec<Token>),
}

/// The bytes of one message as written.
pub fn encode(text: &str) -> Vec<u8> {
    let mut reader = Reader { rest: text };
    let mut positional = Vec::new();
    let mut named = Vec::new();
    let verb = match reader.token() {
        Some(Token::Word(word)) => word,
        other => panic!("{text}: {other:?} is no message"),
    };
    while let Some(token) = reader.token() {
        match token {
            Token::Word(word) if word.ends_with('=') => {
                let value = reader.token().unwrap_or_else(|| panic!("{text}: {word} needs a value"));
                named.push((word.trim_end_matches('=').to_owned(), value));
            }
            other => positional.push(other),
        }
    }
    let parts = Parts { text, positional, named };
    parts.encode(&verb)
}

struct Parts<'a> {
    text: &'a str,
    positional: Vec<Token>,
    named: Vec<(String, Token)>,
}

impl Parts<'_> {
    fn encode(&self, verb: &str) -> Vec<u8> {
        match verb {
            "Query" => frame(b'Q', &self.cstr(0)),
            "Parse" => {
                let types: Vec<u32> = self.positional.get(2..).unwrap_or(&[]).iter().map(type_oid).collect();
                parse(&self.bytes(0), &self.bytes(1), &types)
            }
            "Bind" => {
                let parameters: Vec<Option<Vec<u8>>> = self.list("params").iter().map(value).collect();
                bind(&self.bytes(0), &self.bytes(1), &self.numbers("formats"), &parameters, &self.numbers("results"))
            }
            "Describe" => target(b'D', self.word(0).as_bytes()[0], &self.bytes(1)),
            "Close" => target(b'C', self.word(0).as_bytes()[0], &self.bytes(1)),
            "Execute" => execute(&self.bytes(0), if self.positional.len() > 1 { self.number(1) } else { 0 }),
            "Sync" => frame(b'S', b""),
            "Flush" => frame(b'H', b""),
            "Terminate" => frame(b'X', b""),
            "CopyData" => frame(b'd', &self.bytes(0)),
            "CopyDone" => frame(b'c', b""),
            "CopyFail" => frame(b'f', &self.cstr(0)),
            "FunctionCall" => self.function_call(),
            "Message" => {
                let body = if self.positional.len() > 1 { self.bytes(1) } else { Vec::new() };
                frame(self.word(0).as_bytes()[0], &body)
            }
            "Raw" => self.bytes(0),
            "Startup" => self.startup(),
            "SSLRequest" => packet(80_877_103),
            "GSSENCRequest" => packet(80_877_104),
            "Queries" => (0..self.number(0)).flat_map(|_| query(&String::from_utf8(self.bytes(1)).unwrap())).collect(),
            other => panic!("{}: {other} is no message", self.text),
        }
    }

    fn function_call(&self) -> Vec<u8> {
        let mut body = self.number(0).to_be_bytes().to_vec();
        let formats = self.numbers("formats");
        body.extend((formats.len() as u16).to_be_bytes());
        formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
        let arguments = self.list("args");
        body.extend((arguments.len() as u16).to_be_bytes());
        for argument in &arguments {
            match value(argument) {
                None => body.extend((-1i32).to_be_bytes()),
                Some(bytes) => {
                    body.extend((bytes.len() as u32).to_be_bytes());
                    body.extend(bytes);
                }
            }
        }
        body.extend(self.numbers("result").first().copied().unwrap_or(0).to_be_bytes());
        frame(b'F', &body)
    }

    /// `Startup 3.0 user "app" database "shop"`; nobody answers the password request.
    fn startup(&self) -> Vec<u8> {
        let version = self.word(0);
        let (major, minor) = version.split_once('.').unwrap();
        let version = (major.parse::<u32>().unwrap() << 16) | minor.parse::<u32>().unwrap();
        let mut body = version.to_be_bytes().to_vec();
        for index in 1..self.positional.len() {
            put_cstr(&mut body, &self.bytes(index));
        }
        body.push(0);
        let mut packet = ((body.len() + 4) as u32).to_be_bytes().to_vec();
        packet.extend(body);
        packet
    }

    fn bytes(&self, index: usize) -> Vec<u8> {
        match self.positional.get(index) {
            Some(Token::Bytes(bytes)) => bytes.clone(),
            Some(Token::Word(word)) => word.clone().into_bytes(),
            other => panic!("{}: argument {index} is {other:?}", self.text),
        }
    }

    fn cstr(&self, index: usize) -> Vec<u8> {
        let mut bytes = self.bytes(index);
        bytes.push(0);
        bytes
    }

    fn word(&self, index: usize) -> String {
        String::from_utf8(self.bytes(index)).unwrap()
    }

    fn number(&self, index: usize) -> u32 {
        self.word(index).parse().unwrap_or_else(|_| panic!("{}: argument {index} must be a number", self.text))
    }

    fn list(&self, name: &str) -> Vec<Token> {
        match self.named.iter().find(|(known, _)| known == name) {
            None => Vec::new(),
            Some((_, Token::List(items))) => items.clone(),
            Some((_, single)) => vec![single.clone()],
        }
    }

    fn numbers(&self, name: &str) -> Vec<u16> {
        self.list(name)
            .iter()
            .map(|token| match token {
                Token::Word(word) => word.parse().unwrap(),
                other => panic!("{}: {other:?} is no format", self.text),
            })
            .collect()
    }
}

fn packet(code: u32) -> Vec<u8> {
    let mut bytes = 8u32.to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes
}

fn type_oid(token: &Token) -> u32 {
    let Token::Word(word) = token else { panic!("{token:?} is no type") };
    match TYPES.iter().find(|(name, _)| name == word) {
        Some((_, oid)) => *oid,
        None => word.parse().unwrap_or_else(|_| panic!("{word} is no type")),
    }
}

/// `null`, text or bytes, or `int4:7` and the like for a binary value.
fn value(token: &Token) -> Option<Vec<u8>> {
    let word = match token {
        Token::Bytes(bytes) => return Some(bytes.clone()),
        Token::Word(word) => word,
        Token::List(_) => panic!("a list within a list"),
    };
    if word == "null" {
        return None;
    }
    Some(match word.split_once(':') {
        Some(("int2", number)) => number.parse::<i16>().unwrap().to_be_bytes().to_vec(),
        Some(("int4", number)) => number.parse::<i32>().unwrap().to_be_bytes().to_vec(),
        Some(("int8", number)) => number.parse::<i64>().unwrap().to_be_bytes().to_vec(),
        Some(("float8", number)) => number.parse::<f64>().unwrap().to_be_bytes().to_vec(),
        _ => word.clone().into_bytes(),
    })
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn token(&mut self) -> Option<Token> {
        self.rest = self.rest.trim_start_matches([' ', '\n', ',']);
        let first = self.rest.chars().next()?;
        if self.rest.starts_with("x'") {
            let end = self.rest[2..].find('\'').unwrap() + 2;
            let digits: String = self.rest[2..end].chars().filter(|c| !c.is_whitespace()).collect();
            self.rest = &self.rest[end + 1..];
            let bytes = (0..digits.len() / 2).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap());
            let bytes = bytes.collect();
            return Some(self.repeated(bytes));
        }
        match first {
            '[' => {
                self.rest = &self.rest[1..];
                let mut items = Vec::new();
                loop {
                    self.rest = self.rest.trim_start_matches([' ', '\n', ',']);
                    if let Some(rest) = self.rest.strip_prefix(']') {
                        self.rest = rest;
                        return Some(Token::List(items));
                    }
                    items.push(self.token().unwrap_or_else(|| panic!("a list does not end")));
                }
            }
            '`' => {
                let end = self.rest[1..].find('`').unwrap() + 1;
                let bytes = self.rest.as_bytes()[1..end].to_vec();
                self.rest = &self.rest[end + 1..];
                Some(self.repeated(bytes))
            }
            '"' => Some(self.quoted()),
            _ => {
                let end = self.rest.find([' ', '\n', ',', ']', '=']).unwrap_or(self.rest.len());
                let end = if self.rest[end..].starts_with('=') { end + 1 } else { end };
                let word = self.rest[..end].to_owned();
                self.rest = &self.rest[end..];
                Some(Token::Word(word))
            }
        }
    }

    fn quoted(&mut self) -> Token {
        let mut bytes = Vec::new();
        let mut chars = self.rest.char_indices().skip(1);
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next().unwrap().1 {
                    'n' => bytes.push(b'\n'),
                    't' => bytes.push(b'\t'),
                    'r' => bytes.push(b'\r'),
                    '0' => bytes.push(0),
                    'x' => {
                        let digits: String = [chars.next().unwrap().1, chars.next().unwrap().1].iter().collect();
                        bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                    }
                    other => bytes.extend(other.to_string().into_bytes()),
                },
                other => bytes.extend(other.to_string().into_bytes()),
            }
        }
        self.rest = &self.rest[end..];
        self.repeated(bytes)
    }

    /// `"ab"*1000`.
    fn repeated(&mut self, bytes: Vec<u8>) -> Token {
        let Some(rest) = self.rest.strip_prefix('*') else { return Token::Bytes(bytes) };
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let times: usize = rest[..end].parse().unwrap();
        self.rest = &rest[end..];
        Token::Bytes(bytes.repeat(times))
    }
}
