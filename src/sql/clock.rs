//! Where a statement asks for the current time: each server would answer with its own.

use std::ops::Range;

use pg_query::protobuf::{ScanToken, Token};

/// A call for the current time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Its place in the text.
    pub range: Range<usize>,
    /// The type that it gives, with its precision.
    pub type_name: String,
    /// `statement_timestamp()`; all others tell when the transaction began.
    pub of_statement: bool,
    /// Behind RETURNING.
    pub returned: bool,
}

/// Constants that mean a moment when they are read as a date or time (datetime.c, `datetktbl`).
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Whether a constant may mean a moment, alone or with more around it, as in `today 08:00` or `[now,)`: PostgreSQL reads it when it
/// parses the text, so that what has been prepared once tells that moment for ever.
pub fn has_moment(text: &str) -> bool {
    /// Longer ones are no dates (datetime.h, `MAXDATELEN`); of arrays and ranges there may be two.
    const LONGEST: usize = 2 * 128;
    let is_moment = |word: &str| MOMENTS.iter().any(|moment| word.eq_ignore_ascii_case(moment));
    let mentions = |text: &str| text.split(|char: char| !char.is_ascii_alphabetic()).any(is_moment);
    mentions(text) && super::tokens::strings(text).any(|one| one.len() <= LONGEST && mentions(one))
}

/// All of them. *Source*: manual of PostgreSQL 15, 9.9.5. `clock_timestamp` and `timeofday` differ at each call anyway.
pub fn find(text: &str) -> Vec<Clock> {
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let tokens: Vec<_> = tokens.iter().filter_map(|token| Word::of(text, token)).collect();
    let mut found = Vec::new();
    let (mut depth, mut returned) = (0usize, false);
    for (at, word) in tokens.iter().enumerate() {
        match word.kind {
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth = depth.saturating_sub(1),
            Token::Returning if depth == 0 => returned = true,
            _ => {}
        }
        let kind = |index: usize| tokens.get(index).map(|word| word.kind);
        let special = match word.kind {
            Token::CurrentDate => Some("date"),
            Token::CurrentTime => Some("timetz"),
            Token::CurrentTimestamp => Some("timestamptz"),
            Token::Localtime => Some("time"),
            Token::Localtimestamp => Some("timestamp"),
            _ => None,
        };
        if let Some(name) = special {
            let precise = kind(at + 1) == Some(Token::Ascii40)
                && kind(at + 2) == Some(Token::Iconst)
                && kind(at + 3) == Some(Token::Ascii41);
            let (digits, last) = match tokens.get(at + 2).filter(|_| precise) {
                Some(digits) => (format!("({})", digits.text), at + 3),
                None => (String::new(), at),
            };
            let end = tokens.get(last).map_or(word.range.end, |word| word.range.end);
            let type_name = format!("pg_catalog.{name}{digits}");
            found.push(Clock { range: word.range.start..end, type_name, of_statement: false, returned });
            continue;
        }
        let called = kind(at + 1) == Some(Token::Ascii40) && kind(at + 2) == Some(Token::Ascii41);
        let of_statement = word.names("statement_timestamp");
        let of_transaction = ["now", "transaction_timestamp"].iter().any(|name| word.names(name));
        if !called || !(of_statement || of_transaction) {
            continue;
        }
        let mut start = word.range.start;
        if at > 0 && kind(at - 1) == Some(Token::Ascii46) {
            match at.checked_sub(2).and_then(|before| tokens.get(before)) {
                Some(schema) if schema.names("pg_catalog") => start = schema.range.start,
                _ => continue,
            }
        }
        let end = tokens.get(at + 2).map_or(word.range.end, |word| word.range.end);
        let type_name = "pg_catalog.timestamptz".to_owned();
        found.push(Clock { range: start..end, type_name, of_statement, returned });
    }
    found
}

struct Word<'t> {
    kind: Token,
    text: &'t str,
    range: Range<usize>,
}

impl<'t> Word<'t> {
    fn of(text: &'t str, token: &ScanToken) -> Option<Word<'t>> {
        let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        let kind = Token::try_from(token.token).ok()?;
        if matches!(kind, Token::SqlComment | Token::CComment) {
            return None;
        }
        Some(Word { kind, text: text.get(range.clone())?, range })
    }

    /// Whether it is this name, in quotes or without.
    fn names(&self, name: &str) -> bool {
        let quoted = self.text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        quoted.map_or_else(|| self.text.eq_ignore_ascii_case(name), |quoted| quoted == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_that_tell_a_moment_are_known() {
        for text in [
            "SELECT 'now'",
            "SELECT date ' Today '",
            "a < 'tomorrow 08:00'",
            "a <@ '[yesterday,)'",
            "E'\\x20now'",
            "U&'now'",
        ] {
            assert!(has_moment(text), "{text}");
        }
        for text in ["SELECT now()", "SELECT 'new', today", "SELECT 'known'", "SELECT 'nowhere' AS \"now\""] {
            assert!(!has_moment(text), "{text}");
        }
        assert!(!has_moment(&format!("SELECT 'now{}'", " and then".repeat(40))));
    }

    #[test]
    fn the_time_is_found_where_it_is_asked_for_and_nowhere_else() {
        let text = "UPDATE now SET a = now (), b = CURRENT_TIMESTAMP(3), c = 'now()', d = x.now(), e = pg_catalog.now(), \
                    f = now.now, g = statement_timestamp(), h = \"now\"(), i = \"NOW\"(), \"pg_catalog\".\"now\" () \
                    RETURNING current_date";
        let found = find(text);
        let texts: Vec<_> = found.iter().map(|clock| &text[clock.range.clone()]).collect();
        assert_eq!(
            texts,
            [
                "now ()",
                "CURRENT_TIMESTAMP(3)",
                "pg_catalog.now()",
                "statement_timestamp()",
                "\"now\"()",
                "\"pg_catalog\".\"now\" ()",
                "current_date"
            ]
        );
        assert!(found.iter().map(|clock| clock.returned).eq([false, false, false, false, false, false, true]));
        assert_eq!(found.get(1).map(|clock| clock.type_name.as_str()), Some("pg_catalog.timestamptz(3)"));
    }
}
