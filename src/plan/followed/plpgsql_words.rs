//! A place among the words of a body in PL/pgSQL.

use std::ops::Range;

use crate::sql::tokens::{self, Word};

/// The words of a body, and how far they are read.
pub struct Words<'b> {
    body: &'b str,
    words: Vec<Word>,
    pub at: usize,
}

impl<'b> Words<'b> {
    /// At the first word; `None` if it cannot be cut into words.
    pub fn of(body: &'b str) -> Option<Self> {
        Some(Words { body, words: tokens::words(body)?, at: 0 })
    }

    /// All are read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.words.len()
    }

    /// The word at a place.
    pub fn get(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(|word| word.text.as_str())
    }

    /// Where reading has stopped.
    pub fn stopped(&self) -> Option<&str> {
        self.get(self.at.min(self.words.len().saturating_sub(1)))
    }

    /// The next word; empty behind the last.
    pub fn word(&self) -> &str {
        self.get(self.at).unwrap_or_default()
    }

    /// Goes past this word, if it is the next.
    pub fn take(&mut self, word: &str) -> Option<()> {
        let found = self.word() == word;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// A name, as PostgreSQL folds it.
    pub fn name(&mut self) -> Option<String> {
        let word = self.word();
        let name = match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None if word.starts_with(|c: char| c.is_alphabetic() || c == '_') && !word.contains('\'') => {
                word.to_owned()
            }
            None => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// Up to one of these words outside of parentheses: the words before it.
    pub fn until(&mut self, ends: &[&str]) -> Option<Range<usize>> {
        let first = self.at;
        let mut parentheses = 0usize;
        loop {
            match self.get(self.at)? {
                text if parentheses == 0 && ends.contains(&text) => return Some(first..self.at),
                "(" | "[" => parentheses += 1,
                ")" | "]" => parentheses = parentheses.checked_sub(1)?,
                // Ends any statement, so that nothing is taken for a part of the one before.
                ";" => return None,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The text of some words, as it was written.
    pub fn text(&self, words: Range<usize>) -> Option<&'b str> {
        let (first, last) = (self.words.get(words.start)?, self.words.get(words.end.checked_sub(1)?)?);
        self.body.get(first.range.start..last.range.end)
    }

    /// Parts of a range of words between a word outside of parentheses.
    pub fn split(&self, words: Range<usize>, at: &str) -> Option<Vec<Range<usize>>> {
        let mut parentheses = 0usize;
        let mut parts = Vec::new();
        let mut start = words.start;
        for position in words.clone() {
            match self.get(position)? {
                text if text == at && parentheses == 0 => {
                    parts.push(start..position);
                    start = position + 1;
                }
                "(" | "[" => parentheses += 1,
                ")" | "]" => parentheses = parentheses.checked_sub(1)?,
                _ => {}
            }
        }
        parts.push(start..words.end);
        Some(parts)
    }
}
