//! The parts of an UPDATE in its text, with PostgreSQL's own lexer.

use std::ops::Range;

use pg_query::protobuf::Token;

/// The parts, each without the word that begins it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The table, with its alias.
    pub table: Range<usize>,
    /// `column = expression`: both.
    pub set: Vec<(Range<usize>, Range<usize>)>,
    /// FROM.
    pub from: Option<Range<usize>>,
    /// WHERE.
    pub condition: Option<Range<usize>>,
    /// RETURNING.
    pub returning: Option<Range<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Table,
    Column,
    Expression,
    From,
    Condition,
    Returning,
}

/// Takes an UPDATE apart; `None` for one with WITH, with several columns on one side, or with parts of columns.
pub fn parts(text: &str) -> Option<Update> {
    let mut tokens = Vec::new();
    for token in pg_query::scan_tokens(text).ok()? {
        let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        text.get(range.clone())?;
        let kind = Token::try_from(token.token).ok()?;
        if !matches!(kind, Token::SqlComment | Token::CComment) {
            tokens.push((kind, range));
        }
    }
    if tokens.first()?.0 != Token::Update {
        return None;
    }
    let mut found = Update::default();
    let (mut part, mut depth, mut column) = (Part::Table, 0usize, 0..0);
    let mut current: Option<Range<usize>> = None;
    let mut last = Token::Update;
    for (kind, range) in tokens.into_iter().skip(1) {
        let before = depth;
        match kind {
            Token::Ascii40 | Token::Ascii91 => depth += 1,
            Token::Ascii41 | Token::Ascii93 => depth = depth.checked_sub(1)?,
            _ => {}
        }
        let next = match (part, kind) {
            _ if before > 0 => None,
            (Part::Table, Token::Set) => Some(Part::Column),
            (Part::Column, Token::Ascii61) => Some(Part::Expression),
            (Part::Expression, Token::Ascii44) => Some(Part::Column),
            (Part::Expression, Token::From) if last != Token::Distinct => Some(Part::From),
            (Part::Expression | Part::From, Token::Where) => Some(Part::Condition),
            (Part::Expression | Part::From | Part::Condition, Token::Returning) => Some(Part::Returning),
            _ => None,
        };
        last = kind;
        let Some(next) = next else {
            let start = current.as_ref().map_or(range.start, |current| current.start);
            current = Some(start..range.end);
            continue;
        };
        let ended = current.take()?;
        column = found.put(part, ended, column);
        part = next;
    }
    found.put(part, current?, column);
    (part != Part::Table && part != Part::Column).then_some(found)
}

impl Update {
    /// Notes a part that has ended; the column that waits for its expression.
    fn put(&mut self, part: Part, range: Range<usize>, column: Range<usize>) -> Range<usize> {
        match part {
            Part::Table => self.table = range,
            Part::Column => return range,
            Part::Expression => self.set.push((column, range)),
            Part::From => self.from = Some(range),
            Part::Condition => self.condition = Some(range),
            Part::Returning => self.returning = Some(range),
        }
        0..0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_update_is_taken_apart() {
        let text = "UPDATE ONLY a.t AS x SET b = f(1, '='), \"c\" = (SELECT 1 FROM y WHERE z) IS DISTINCT FROM true FROM u, v WHERE p = 1 RETURNING *";
        let found = parts(text).unwrap();
        assert_eq!(&text[found.table], "ONLY a.t AS x");
        let set: Vec<_> = found.set.iter().map(|(c, e)| (&text[c.clone()], &text[e.clone()])).collect();
        assert_eq!(set, [("b", "f(1, '=')"), ("\"c\"", "(SELECT 1 FROM y WHERE z) IS DISTINCT FROM true")]);
        assert_eq!(&text[found.from.unwrap()], "u, v");
        assert_eq!(&text[found.condition.unwrap()], "p = 1");
        assert_eq!(&text[found.returning.unwrap()], "*");
        assert_eq!(parts("WITH x AS (SELECT 1) UPDATE t SET a = 1"), None);
        assert!(parts("UPDATE t SET a = 1").unwrap().condition.is_none());
    }
}
