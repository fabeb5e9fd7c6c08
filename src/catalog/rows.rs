//! Rows of the gateway's own questions about the catalog, in text format: as a control connection's simple query gives them, and
//! as a client's server does in the middle of its transaction.

use tokio_postgres::SimpleQueryMessage;

use crate::catalog::{LoadError, Oid};

/// One row; `None` stands for NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRow(pub Vec<Option<String>>);

impl TextRow {
    /// A column's value.
    ///
    /// # Errors
    /// When it does not read as what is asked for: the query is not the one that was meant.
    pub(super) fn get<T: FromText>(&self, column: usize) -> Result<T, LoadError> {
        let text = self.0.get(column).and_then(Option::as_deref);
        T::from_text(text).ok_or_else(|| LoadError::Value { column, value: text.unwrap_or("NULL").to_owned() })
    }
}

/// What can be read from a value in text format.
pub(super) trait FromText: Sized {
    /// `None` if the text is not one of the type's.
    fn from_text(text: Option<&str>) -> Option<Self>;
}

impl FromText for String {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text.map(str::to_owned)
    }
}

impl FromText for Option<String> {
    fn from_text(text: Option<&str>) -> Option<Self> {
        Some(text.map(str::to_owned))
    }
}

impl FromText for bool {
    fn from_text(text: Option<&str>) -> Option<Self> {
        match text? {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        }
    }
}

impl FromText for i32 {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }
}

impl FromText for Oid {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }
}

/// A `"char"`. *Source*: PostgreSQL 15, char.c, charout: NUL is an empty text.
impl FromText for char {
    fn from_text(text: Option<&str>) -> Option<Self> {
        Some(text?.chars().next().unwrap_or('\0'))
    }
}

/// What `array_to_json` makes of an array of texts.
impl FromText for Vec<String> {
    fn from_text(text: Option<&str>) -> Option<Self> {
        serde_json::from_str(text?).ok()
    }
}

/// The rows of each query in a simple query's answer; statements without rows leave nothing.
pub(super) fn answers(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<TextRow>> {
    let mut answers: Vec<Vec<TextRow>> = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => answers.push(Vec::new()),
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect();
                if let Some(rows) = answers.last_mut() {
                    rows.push(TextRow(values));
                }
            }
            _ => {}
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        let row = TextRow(vec![Some("t".into()), None, Some("[\"a\",\"b\\\"c\"]".into()), Some("4294967295".into())]);
        assert!(row.get::<bool>(0).unwrap());
        assert_eq!(row.get::<Option<String>>(1).unwrap(), None);
        assert_eq!(row.get::<Vec<String>>(2).unwrap(), ["a", "b\"c"]);
        assert_eq!(row.get::<Oid>(3).unwrap(), Oid::MAX);
        assert!(row.get::<i32>(3).is_err());
        assert!(row.get::<String>(1).is_err());
        assert!(row.get::<bool>(9).is_err());
    }
}
