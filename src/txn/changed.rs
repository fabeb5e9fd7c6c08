//! What the DDL of a block may have changed, as far as words tell: the catalog does not know it before COMMIT.
//!
//! Words are compared, not names, so that a statement may be taken for one about a changed table for nothing, but is never missed:
//! folded to lower case, as identifiers without quotes are, and a name with blanks or other case counts as its words.

use std::collections::HashSet;

/// The words of one or several statements.
#[derive(Clone, Debug, Default)]
pub struct Words {
    words: HashSet<String>,
    /// It may name anything: by `U&"..."`, whose escapes are not read, or by a schema.
    anything: bool,
}

impl Words {
    /// Of a statement.
    pub fn of(text: &[u8]) -> Words {
        let text = String::from_utf8_lossy(text).to_lowercase();
        let words: HashSet<String> = split(&text).map(str::to_owned).collect();
        // Source: manual of PostgreSQL 15, 4.1.1, identifiers with Unicode escapes.
        Words { words, anything: text.contains("u&\"") }
    }

    /// Of a statement that changes what there is. Schemas that go or get another name change what all names mean.
    pub fn of_ddl(text: &[u8]) -> Words {
        let mut words = Words::of(text);
        let has = |word: &str| words.words.contains(word);
        words.anything |= has("schema") && (has("alter") || has("drop"));
        words
    }

    /// Takes in those of another statement.
    pub fn extend(&mut self, other: Words) {
        self.words.extend(other.words);
        self.anything |= other.anything;
    }

    /// What they take, about.
    pub fn bytes(&self) -> usize {
        self.words.iter().map(|word| word.len() + 2 * size_of::<String>()).sum()
    }

    /// Whether it may name what has this name.
    pub fn may_name(&self, name: &str) -> bool {
        self.anything || split(&name.to_lowercase()).all(|word| self.words.contains(word))
    }

    /// Whether it may be about functions, aggregates or operators.
    pub fn may_change_functions(&self) -> bool {
        let kinds = ["function", "procedure", "routine", "aggregate", "operator"];
        self.anything || kinds.iter().any(|kind| self.words.contains(*kind))
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        let of = |text: &str| Words::of(text.as_bytes());
        assert!(of("SELECT * FROM Rows").may_name("rows"));
        assert!(of("SELECT * FROM \"Mixed\"").may_name("Mixed"));
        assert!(of("SELECT * FROM \"my table\", x").may_name("my table"));
        assert!(of("SELECT * FROM U&\"\\0072ows\"").may_name("rows"));
        assert!(of("SELECT * FROM Größe").may_name("größe"));
        assert!(!of("SELECT * FROM rows2").may_name("rows"));
        assert!(!of("SELECT * FROM my").may_name("my table"));
    }

    #[test]
    fn a_schema_that_goes_takes_everything_with_it() {
        assert!(Words::of_ddl(b"DROP SCHEMA a CASCADE").may_name("rows"));
        assert!(Words::of_ddl(b"ALTER SCHEMA a RENAME TO b").may_name("rows"));
        assert!(!Words::of_ddl(b"CREATE SCHEMA a").may_name("rows"));
    }
}
