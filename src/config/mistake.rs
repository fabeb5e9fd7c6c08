//! Mistakes in a configuration and where they are.

use std::fmt;
use std::path::{Path, PathBuf};

/// A text and the file it came from.
pub(super) struct Source {
    pub text: String,
    pub file: PathBuf,
}

impl Source {
    pub(super) fn new(text: &str, file: &Path) -> Self {
        Self { text: text.to_owned(), file: file.to_owned() }
    }

    /// Directory that relative paths of this source start from.
    pub(super) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

/// A position in one of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Index of the source.
    pub source: usize,
    /// Byte offset in its text.
    pub offset: usize,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Mistakes found so far.
#[derive(Default)]
pub(super) struct Mistakes {
    found: Vec<(Place, String)>,
    /// A setting is there but could not be read, so that what seems missing may not be.
    misread: bool,
}

impl Mistakes {
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.found.push((place, message.into()));
    }

    /// A setting that cannot be read and is left out.
    pub(super) fn add_misread(&mut self, place: Place, message: impl Into<String>) {
        self.misread = true;
        self.add(place, message);
    }

    /// A setting that is missing; not said when it may be one of those that could not be read.
    pub(super) fn add_missing(&mut self, place: Place, message: impl Into<String>) {
        if !self.misread {
            self.add(place, message);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Turns offsets into lines, in the order of the text.
    pub(super) fn located(mut self, sources: &[Source]) -> ConfigErrors {
        self.found.sort();
        self.found.dedup();
        let mistakes = self.found.into_iter().filter_map(|(place, message)| {
            let source = sources.get(place.source)?;
            let (line, column) = line_and_column(&source.text, place.offset);
            Some(Mistake { file: source.file.clone(), line, column, message })
        });
        ConfigErrors { mistakes: mistakes.collect() }
    }
}

/// Both from 1; the column counts characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or("").chars().count() + 1)
}

/// One mistake. Displayed as `pgbraid.toml:12:1: unknown key ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file as it was named.
    pub file: PathBuf,
    /// From 1; 0 when the file could not be read at all.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to do. Never a password.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.message),
        }
    }
}

/// All mistakes of a configuration, in the order of its lines; never empty. Displayed one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// See [`Mistake`].
    pub mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        Self { mistakes: vec![Mistake { file: path.to_owned(), line: 0, column: 0, message }] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
