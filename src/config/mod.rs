//! Configuration: as written -> checked.
//!
//! `raw` is what is written (every key documented there), `checked` what the rest of the house codes against, and `check` turns one
//! into the other, naming file, line and remedy of every mistake it can find, not only of the first. Called by `main`, the SIGHUP
//! handler and `demo`; nobody else reads the file.

mod checked;
mod mistake;
mod reader;
mod units;
mod url;
mod raw;
mod shards;
mod users;
mod check;

use std::path::Path;

pub use checked::*;
pub use mistake::{ConfigErrors, Mistake};

use mistake::{Mistakes, Source};

/// Reads and checks a configuration file.
///
/// # Errors
/// Every mistake found, with its place; or that the file cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => Err(ConfigErrors::unreadable(path, &error)),
    }
}

/// Checks a configuration given as text. Relative paths in it are relative to the directory of `file`, which need not exist.
///
/// # Errors
/// Every mistake found, with its place.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
    parse_sources(vec![Source::new(text, file)])
}

/// Checks a generated configuration to which a file adds settings: scalars of the file win, `[[user]]` of the same name are replaced, others are added;
/// shards cannot be added. For `pgbraid demo --config EXTRA.toml`.
///
/// # Errors
/// Every mistake found, with its place.
pub fn parse_with_extra(base: &str, base_path: &Path, extra: &str, extra_path: &Path) -> Result<Config, ConfigErrors> {
    parse_sources(vec![Source::new(base, base_path), Source::new(extra, extra_path)])
}

/// The first source is the base, the others are laid over it.
fn parse_sources(sources: Vec<Source>) -> Result<Config, ConfigErrors> {
    let mut mistakes = Mistakes::default();
    let mut written = raw::RawConfig::default();
    for (index, source) in sources.iter().enumerate() {
        let layer = reader::read(index, &source.text, &mut mistakes);
        if index == 0 {
            written = layer;
        } else {
            written.overlay(layer, &mut mistakes);
        }
    }
    let checked = check::check(written, &sources, &mut mistakes);
    match (checked, mistakes.is_empty()) {
        (Some(config), true) => Ok(config),
        (_, _) => Err(mistakes.located(&sources)),
    }
}
