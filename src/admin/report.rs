//! What a check found, for people and for an exit status.

use std::fmt;

/// All findings, in the order in which things were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// See [`Finding`].
    pub findings: Vec<Finding>,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: `map`, `shard s0`, `table public.orders`.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Works, and may surprise.
    Warning,
    /// Does not work, or would answer wrongly.
    Error,
}

impl Report {
    /// Whether there is an error: the exit status says so.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn fine(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Fine, subject.into(), message.into(), None);
    }

    pub(super) fn warning(&mut self, subject: impl Into<String>, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Warning, subject.into(), message.into(), Some(remedy.to_owned()));
    }

    pub(super) fn error(&mut self, subject: impl Into<String>, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Error, subject.into(), message.into(), Some(remedy.to_owned()));
    }

    fn add(&mut self, severity: Severity, subject: String, message: String, remedy: Option<String>) {
        self.findings.push(Finding { severity, subject, message, remedy });
    }
}

/// One line per finding, its remedy indented below it, and a line that counts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{} errors, {} warnings", self.count(Severity::Error), self.count(Severity::Warning))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fine => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity:<8} {}: {}", self.subject, self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n         -> {remedy}"),
            None => Ok(()),
        }
    }
}
