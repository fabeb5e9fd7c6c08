//! Where the rows of INSERT ... VALUES stand in the text, with PostgreSQL's own lexer: the syntax tree does not tell where an
//! expression ends.

use std::ops::Range;

use pg_query::protobuf::Token;

/// The places of an INSERT ... VALUES or DEFAULT VALUES.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// In order; none for DEFAULT VALUES.
    pub rows: Vec<Row>,
    /// Where a column list would be inserted: before OVERRIDING, VALUES or DEFAULT.
    pub list_start: usize,
    /// The parenthesis that closes the column list, if there is one.
    pub list_end: Option<usize>,
    /// OVERRIDING is said.
    pub overriding: bool,
    /// VALUES; with DEFAULT before it where that is said.
    pub word: Range<usize>,
    /// DEFAULT VALUES.
    pub defaults: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// With its parentheses.
    pub range: Range<usize>,
    /// The comma before it; its own start for the first row.
    pub comma: usize,
    /// Its values.
    pub items: Vec<Range<usize>>,
}

/// Finds them; `None` for what does not look like an INSERT ... VALUES.
pub fn find(text: &str) -> Option<Values> {
    let mut reader = Reader::default();
    for token in pg_query::scan_tokens(text).ok()? {
        let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
        text.get(start..end)?;
        let kind = Token::try_from(token.token).ok()?;
        if matches!(kind, Token::SqlComment | Token::CComment) {
            continue;
        }
        if !reader.token(kind, start..end) {
            break;
        }
    }
    let Reader { found, depth, .. } = reader;
    (depth == 0 && (found.defaults || !found.rows.is_empty())).then_some(found)
}

#[derive(Default)]
struct Reader {
    found: Values,
    depth: usize,
    place: Place,
    /// Of the value that is being read.
    item: Option<Range<usize>>,
    row: Option<Row>,
    comma: Option<usize>,
    /// Where DEFAULT stood, if it was the last word.
    default: Option<usize>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeInto,
    BeforeValues,
    Rows,
}

impl Reader {
    /// Whether to go on.
    fn token(&mut self, kind: Token, at: Range<usize>) -> bool {
        let before = self.depth;
        match kind {
            Token::Ascii40 | Token::Ascii91 => self.depth += 1,
            Token::Ascii41 | Token::Ascii93 => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match self.place {
            Place::BeforeInto => {
                if kind == Token::Into && before == 0 {
                    self.place = Place::BeforeValues;
                }
                true
            }
            Place::BeforeValues => self.heading(kind, at, before),
            Place::Rows => self.rows(kind, at, before),
        }
    }

    fn heading(&mut self, kind: Token, at: Range<usize>, before: usize) -> bool {
        if before > 0 && self.depth > 0 {
            return true;
        }
        match kind {
            Token::Ascii41 => self.found.list_end = Some(at.start),
            Token::Overriding => {
                self.found.overriding = true;
                self.found.list_start = at.start;
            }
            Token::Default => self.default = Some(at.start),
            Token::Values => {
                self.found.defaults = self.default.is_some();
                self.found.word = self.default.unwrap_or(at.start)..at.end;
                if !self.found.overriding {
                    self.found.list_start = self.found.word.start;
                }
                self.place = Place::Rows;
                return !self.found.defaults;
            }
            _ => {}
        }
        true
    }

    fn rows(&mut self, kind: Token, at: Range<usize>, before: usize) -> bool {
        match (&mut self.row, kind) {
            (None, Token::Ascii40) => {
                let comma = self.comma.take();
                if comma.is_none() && !self.found.rows.is_empty() {
                    return false;
                }
                self.row = Some(Row { comma: comma.unwrap_or(at.start), range: at, items: Vec::new() });
            }
            (None, Token::Ascii44) => self.comma = Some(at.start),
            (None, _) => return false,
            (Some(row), Token::Ascii44) if before == 1 => row.items.extend(self.item.take()),
            (Some(row), Token::Ascii41) if self.depth == 0 => {
                row.items.extend(self.item.take());
                row.range.end = at.end;
                self.found.rows.extend(self.row.take());
            }
            (Some(_), _) => {
                let start = self.item.as_ref().map_or(at.start, |item| item.start);
                self.item = Some(start..at.end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_and_their_values_are_found_between_anything() {
        let text = "WITH x AS (SELECT 1) INSERT INTO t (a, \"values\") /* ( */ VALUES (1, 'x,)') , -- (\n (f(2, 3), ARRAY[4,5]) RETURNING (a), b";
        let values = find(text).unwrap();
        let items = |row: &Row| row.items.iter().map(|item| &text[item.clone()]).collect::<Vec<_>>();
        assert_eq!(items(&values.rows[0]), ["1", "'x,)'"]);
        assert_eq!(items(&values.rows[1]), ["f(2, 3)", "ARRAY[4,5]"]);
        assert_eq!(values.rows.len(), 2);
        assert_eq!(&text[values.rows[1].range.clone()], "(f(2, 3), ARRAY[4,5])");
        assert_eq!(&text[values.rows[1].comma..=values.rows[1].comma], ",");
        assert_eq!(&text[values.list_end.unwrap()..=values.list_end.unwrap()], ")");
        assert_eq!(&text[values.word], "VALUES");
    }

    #[test]
    fn default_values_have_no_rows_and_a_list_has_its_place() {
        let values = find("insert into t default values returning *").unwrap();
        assert!(values.defaults && values.rows.is_empty() && values.list_end.is_none());
        assert_eq!(values.word, 14..28);
        let values = find("insert into t as x overriding user value values (1)").unwrap();
        assert!(values.overriding);
        assert_eq!(values.list_start, 19);
        assert_eq!(find("insert into t select 1"), None);
    }
}
