//! Rust text -> words and signs, comments and literals left out. Coarse, but it never takes a string for code.

/// A word or a sign, and the line it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// An identifier or keyword, `::`, or one other character.
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// All tokens.
pub fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    while at < bytes.len() {
        let end = at + token_bytes(&bytes[at..]);
        let text = &source.get(at..end).unwrap_or(" ");
        let is_code =
            !text.starts_with("//") && !text.starts_with("/*") && !text.contains('"') && !text.starts_with('\'');
        if is_code && !text.trim().is_empty() {
            found.push(Token { text: (*text).to_owned(), line });
        }
        line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count();
        at = end;
    }
    found
}

/// The length of the token, comment, literal or blank that `rest`, not empty, begins with.
fn token_bytes(rest: &[u8]) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 128;
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => string(rest),
        [b'b', b'"', ..] | [b'c', b'"', ..] => 1 + string(&rest[1..]),
        [b'r', b'"' | b'#', ..] => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] => raw_string(rest, 2),
        [b'\'', b'\\', ..] => 2 + rest[2..].iter().skip(1).position(|&byte| byte == b'\'').map_or(1, |end| end + 2),
        [b'\'', ..] => character_or_lifetime(rest),
        [b':', b':', ..] => 2,
        _ => rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len()).max(1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."` or `r##"..."##`; `r#word` is a word.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return prefix + hashes;
    }
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| body + at + end.len())
}

/// `'x'` is a character, `'x` a lifetime.
fn character_or_lifetime(rest: &[u8]) -> usize {
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]).map_or_else(|e| e.valid_up_to(), str::len);
    let first = std::str::from_utf8(&rest[1..=text]).ok().and_then(|text| text.chars().next());
    let width = first.map_or(1, char::len_utf8);
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 }
}

#[test]
fn comments_and_literals_are_no_code() {
    let source = "a::b /* c /* d */ e */ \"f \\\" g\" r#\"h \" i\"# 'j' '\\'' 'k b\"l\" '\"' // m\nn '\\\\' o";
    let found: Vec<_> = tokens(source).into_iter().map(|token| (token.text, token.line)).collect();
    let expected = [("a", 1), ("::", 1), ("b", 1), ("k", 1), ("n", 2), ("o", 2)];
    assert_eq!(found, expected.map(|(text, line)| (text.to_owned(), line)));
}
