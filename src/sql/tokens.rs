//! Finds places in a statement's text that the syntax tree does not record, with PostgreSQL's own lexer.

use std::ops::Range;

use pg_query::protobuf::Token;

/// What follows the blanks and comments that a text begins with.
pub fn behind_comments(text: &[u8]) -> &[u8] {
    let mut rest = text.trim_ascii_start();
    loop {
        rest = match rest {
            [b'-', b'-', line @ ..] => {
                line.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(&[][..], |end| &line[end..])
            }
            [b'/', b'*', ..] => behind_comment(rest),
            _ => return rest,
        }
        .trim_ascii_start();
    }
}

/// What follows a comment, which may have others in it.
fn behind_comment(text: &[u8]) -> &[u8] {
    let (mut at, mut depth) = (0, 0usize);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    &text[at..]
}

/// The bytes after the first AS outside parentheses: the body of `PREPARE name (types) AS body`.
pub fn after_as(text: &str) -> Option<Range<usize>> {
    let mut depth = 0usize;
    for token in pg_query::scan_tokens(text).ok()? {
        let (_, end) = bounds(text, token.start, token.end)?;
        match Token::try_from(token.token).ok()? {
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth = depth.saturating_sub(1),
            Token::As if depth == 0 => {
                let body = text.get(end..)?;
                return Some(text.len() - body.trim_start().len()..text.len());
            }
            _ => {}
        }
    }
    None
}

/// What the commas of the first list in parentheses part; empty when there is none.
pub fn first_list(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut from, mut items) = (0usize, 0, Vec::new());
    for token in pg_query::scan_tokens(text).ok()? {
        let (start, end) = bounds(text, token.start, token.end)?;
        let token = Token::try_from(token.token).ok()?;
        match token {
            Token::Ascii40 | Token::Ascii91 => depth += 1,
            Token::Ascii41 | Token::Ascii93 => depth = depth.checked_sub(1)?,
            _ => {}
        }
        match token {
            Token::Ascii40 if depth == 1 => from = end,
            Token::Ascii44 if depth == 1 => {
                items.push(text.get(from..start)?);
                from = end;
            }
            Token::Ascii41 if depth == 0 => {
                items.push(text.get(from..start)?);
                break;
            }
            _ => {}
        }
    }
    Some(items)
}

/// The bytes of the first parenthesis to the last: the arguments of `EXECUTE name (...)`. Empty at the end when there is none.
pub fn arguments(text: &str) -> Option<Range<usize>> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let start = tokens.iter().find(|token| token.token == Token::Ascii40 as i32);
    let end = tokens.iter().rev().find(|token| token.token == Token::Ascii41 as i32);
    match (start, end) {
        (Some(start), Some(end)) => {
            let (start, _) = bounds(text, start.start, start.end)?;
            let (_, end) = bounds(text, end.start, end.end)?;
            (start < end).then_some(start..end)
        }
        _ => Some(text.len()..text.len()),
    }
}

/// Of a statement with `EXECUTE name [(arguments)]` in it, behind AS or not: where that begins, its arguments with their parentheses, and
/// where it ends.
pub fn execute_within(text: &str, behind_as: bool) -> Option<(usize, Range<usize>, usize)> {
    let words = words(text)?;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|of| of.text == word);
    let at = (0..words.len()).find(|at| is(*at, "execute") && (!behind_as || *at > 0 && is(*at - 1, "as")))?;
    let (begin, name_end) = (words.get(at)?.range.start, words.get(at + 1)?.range.end);
    if !is(at + 2, "(") {
        return Some((begin, name_end..name_end, name_end));
    }
    let mut depth = 0usize;
    for word in words.get(at + 2..)? {
        match word.text.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some((begin, words.get(at + 2)?.range.start..word.range.end, word.range.end));
        }
    }
    None
}

/// A query for what `COPY ... TO` copies: the query in it, or all of its table's columns or those listed.
pub fn copied_query(text: &str) -> Option<String> {
    let (words, listed) = copied(text)?;
    let listed = listed.and_then(|range| text.get(range));
    Some(match (words.is_empty(), listed) {
        (true, query) => query?.to_owned(),
        (false, columns) => format!("SELECT {} FROM {}", columns.unwrap_or("*"), words.concat()),
    })
}

/// Where in `COPY (query) TO` the query is.
pub fn query_copied(text: &str) -> Option<Range<usize>> {
    copied(text).filter(|(words, _)| words.is_empty())?.1
}

/// The words that name what is copied, and where the first parentheses' content is.
fn copied(text: &str) -> Option<(Vec<&str>, Option<Range<usize>>)> {
    let mut depth = 0usize;
    let mut words = Vec::new();
    let mut opened = None;
    let mut listed = None;
    for token in pg_query::scan_tokens(text).ok()? {
        let (start, end) = bounds(text, token.start, token.end)?;
        match Token::try_from(token.token).ok()? {
            Token::SqlComment | Token::CComment => {}
            Token::Ascii40 => {
                depth += 1;
                opened = opened.or(Some(end));
            }
            Token::Ascii41 => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && listed.is_none() {
                    listed = Some(opened?..start);
                }
            }
            Token::To if depth == 0 => break,
            Token::Copy | Token::Binary if words.is_empty() => {}
            _ if depth == 0 => words.push(text.get(start..end)?),
            _ => {}
        }
    }
    Some((words, listed))
}

/// The string constants, as written.
pub fn strings(text: &str) -> impl Iterator<Item = &str> {
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let is_string = |token: i32| token == Token::Sconst as i32 || token == Token::Usconst as i32;
    tokens.into_iter().filter(move |token| is_string(token.token)).filter_map(move |token| {
        let (start, end) = bounds(text, token.start, token.end)?;
        text.get(start..end)
    })
}

/// The parameters `$n` in order, counted from 0, each as often as it is written.
pub fn parameters(text: &str) -> Vec<usize> {
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let of = |token: &pg_query::protobuf::ScanToken| {
        let (start, end) = bounds(text, token.start, token.end)?;
        text.get(start..end)?.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
    };
    tokens.iter().filter(|token| token.token == Token::Param as i32).filter_map(of).collect()
}

/// The text with others in the places of its parameters, which are counted from 1; `None` if one has no other.
pub fn with_parameters(text: &str, other: impl Fn(usize) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for token in pg_query::scan_tokens(text).ok()? {
        if token.token == Token::Param as i32 {
            let (start, end) = bounds(text, token.start, token.end)?;
            out.push_str(text.get(from..start)?);
            out.push_str(&other(text.get(start..end)?.strip_prefix('$')?.parse().ok()?)?);
            from = end;
        }
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

fn bounds(text: &str, start: i32, end: i32) -> Option<(usize, usize)> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    text.get(start..end).map(|_| (start, end))
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// In lower case, unless it is quoted.
    pub text: String,
    /// Its bytes.
    pub range: Range<usize>,
}

/// The words of a text, without comments; `None` if the lexer does not take it.
pub fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    // `scan_tokens` must not be given a text without any.
    let tokens = pg_query::scan_tokens(&format!("{text}\n;")).ok()?;
    for token in tokens.split_last().map_or(&[][..], |(_, tokens)| tokens) {
        let (start, end) = bounds(text, token.start, token.end)?;
        if matches!(Token::try_from(token.token).ok()?, Token::SqlComment | Token::CComment) {
            continue;
        }
        let word = text.get(start..end)?;
        let quoted = word.starts_with(['"', '\'', '$']);
        words.push(Word { text: if quoted { word.to_owned() } else { word.to_ascii_lowercase() }, range: start..end });
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_statement_begins_behind_its_comments() {
        for text in ["lock t", " \n/* a /* b */ c */lock t", "-- x\n-- /* y\r\n  lock t", "/**/ --\nlock t"] {
            assert_eq!(behind_comments(text.as_bytes()), b"lock t", "{text}");
        }
        for text in ["", " ", "-- lock t", "/* lock t", "/* /* */ lock t"] {
            assert_eq!(behind_comments(text.as_bytes()), b"", "{text}");
        }
        assert_eq!(behind_comments(b"-1"), b"-1");
    }

    #[test]
    fn execute_is_found_in_other_statements() {
        let parts = |text: &'static str, behind_as| {
            let (begin, tail, end) = execute_within(text, behind_as).unwrap();
            (&text[..begin], &text[tail], &text[end..])
        };
        let text = "CREATE TABLE execute (a, b) AS EXECUTE \"p\"(f(1), ')') WITH NO DATA";
        assert_eq!(parts(text, true), ("CREATE TABLE execute (a, b) AS ", "(f(1), ')')", " WITH NO DATA"));
        assert_eq!(parts("EXPLAIN (COSTS OFF) EXECUTE p", false), ("EXPLAIN (COSTS OFF) ", "", ""));
    }

    #[test]
    fn the_body_of_prepare_starts_after_its_own_as() {
        let text = "PREPARE \"as\" (int, text) /* as */ AS SELECT 1 AS x";
        assert_eq!(&text[after_as(text).unwrap()], "SELECT 1 AS x");
    }

    #[test]
    fn a_list_is_parted_by_its_own_commas() {
        let text = "PREPARE a (numeric(10, 2), \"a,)b\" -- , \n, int[3]) AS SELECT (1, 2)";
        assert_eq!(first_list(text).unwrap(), ["numeric(10, 2)", " \"a,)b\" -- , \n", " int[3]"]);
        assert!(first_list("PREPARE a AS").unwrap().is_empty());
    }

    #[test]
    fn what_is_copied_can_be_asked_for() {
        let query = |text| copied_query(text).unwrap();
        assert_eq!(
            query("COPY (SELECT (1), ')' /* ( */ FROM t) TO STDOUT (FORMAT binary)"),
            "SELECT (1), ')' /* ( */ FROM t"
        );
        assert_eq!(query("copy a.\"B\" (x, y) to stdout with binary"), "SELECT x, y FROM a.\"B\"");
        assert_eq!(query("COPY BINARY t TO STDOUT"), "SELECT * FROM t");
    }

    #[test]
    fn values_stand_where_parameters_stood() {
        let value = |number| (number < 3).then(|| format!("<{number}>"));
        assert_eq!(with_parameters("SELECT $2, '$1', $1+1", value).unwrap(), "SELECT <2>, '$1', <1>+1");
        assert!(with_parameters("SELECT $3", value).is_none());
    }

    #[test]
    fn parameters_are_listed_as_written() {
        assert_eq!(parameters("SELECT $2, '$3', $1::int + $2 -- $4"), [1, 0, 1]);
    }

    #[test]
    fn arguments_of_execute_keep_their_parentheses() {
        let text = "EXECUTE p (1, f(2), ')')";
        assert_eq!(&text[arguments(text).unwrap()], "(1, f(2), ')')");
        assert_eq!(arguments("EXECUTE p").unwrap(), 9..9);
    }
}
