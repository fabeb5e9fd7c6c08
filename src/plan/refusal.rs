//! Refusals: why a statement is not run, and what would make it possible.

use crate::wire::reply::ColumnName;

/// Why a statement is not run, and what would make it possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `0A000` unless another code says it better.
    pub sqlstate: &'static str,
    /// The reason, as an error message in PostgreSQL's style. Never a literal or key of the statement.
    pub reason: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// The column that it is about.
    pub column: Option<Box<ColumnName>>,
}

impl Refusal {
    /// `0A000`, feature_not_supported.
    pub fn unsupported(reason: impl Into<String>) -> Refusal {
        Refusal { sqlstate: "0A000", reason: reason.into(), hint: None, column: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }

    /// `54001`, statement_too_complex.
    pub fn too_complex() -> Refusal {
        Refusal {
            sqlstate: "54001",
            reason: "statement is nested too deeply to be analysed".to_owned(),
            hint: Some("Split it, or write long chains of operators as lists (IN, ANY, concat).".to_owned()),
            column: None,
        }
    }
}
