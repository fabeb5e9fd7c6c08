//! Where PostgreSQL's programs are, and how the short-lived ones (`initdb`, `pg_basebackup`, `cp`) are run.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::{env, fs};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Account, PostgresError};

/// Where Debian's packages put each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How much of a failed program's output is worth showing.
const TAIL_LINES: usize = 20;

/// A directory with `postgres`, `initdb` and `pg_basebackup`.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Looks where `PG_CONFIG` points, then on the PATH, then for Debian's newest version.
    ///
    /// # Errors
    /// [`PostgresError::NotFound`].
    pub fn find() -> Result<Binaries, PostgresError> {
        let pg_config = env::var_os("PG_CONFIG").and_then(|program| bindir(Path::new(&program)));
        let path = env::var_os("PATH").unwrap_or_default();
        let candidates = pg_config.into_iter().chain(env::split_paths(&path)).chain(debian_versions(Path::new(DEBIAN)));
        let found = candidates.into_iter().find(|directory| is_complete(directory));
        found.map(|directory| Binaries { directory }).ok_or(PostgresError::NotFound)
    }

    /// Path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs one of PostgreSQL's programs to its end and returns what it wrote.
    ///
    /// # Errors
    /// [`PostgresError::Program`] with its last lines.
    ///
    /// # Cancel safety
    /// Dropping the future kills the program; what it has written so far stays.
    pub(super) async fn run(&self, run: Run<'_>) -> Result<String, PostgresError> {
        let mut command = Command::new(self.program(run.program));
        command.args(run.arguments).env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.envs(run.environment.iter().copied()).current_dir(run.directory);
        if let Some(account) = run.account {
            command.uid(account.uid).gid(account.gid);
        }
        match (run_to_end(command, run.program, run.input).await, run.account) {
            (Err(PostgresError::Io { source, .. }), Some(account)) if source.kind() == ErrorKind::PermissionDenied => {
                Err(PostgresError::NoEntry { account: account.name.clone(), directory: run.directory.to_owned() })
            }
            (result, _) => result,
        }
    }
}

/// One run of a program.
pub(super) struct Run<'a> {
    /// Which.
    pub program: &'a str,
    /// With what.
    pub arguments: &'a [&'a str],
    /// Beside PATH; nothing else is inherited, so that a PGPORT of the user's does no harm.
    pub environment: &'a [(&'a str, &'a str)],
    /// Current directory: one the account may enter.
    pub directory: &'a Path,
    /// As whom.
    pub account: Option<&'a Account>,
    /// Standard input.
    pub input: &'a [u8],
}

/// Runs a command to its end and returns what it wrote on both outputs.
pub(super) async fn run_to_end(mut command: Command, program: &str, input: &[u8]) -> Result<String, PostgresError> {
    let failed = || PostgresError::io(format!("running {program}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input says why itself.
        let _ = stdin.write_all(input).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().await.map_err(failed())?;
    let output = [stdout, stderr].concat();
    let output = String::from_utf8_lossy(&output);
    if status.success() {
        return Ok(output.into_owned());
    }
    Err(PostgresError::Program { program: program.to_owned(), status: status.to_string(), output: last_lines(&output) })
}

/// The last lines of a program's output or a server's log.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// Asks `pg_config` for its directory of programs.
fn bindir(pg_config: &Path) -> Option<PathBuf> {
    let output = std::process::Command::new(pg_config).arg("--bindir").output().ok()?;
    String::from_utf8(output.stdout).ok().map(|line| PathBuf::from(line.trim()))
}

/// Debian's directories of programs, newest version first.
fn debian_versions(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|version| parent.join(version.to_string()).join("bin")).collect()
}

/// Clients alone (Debian's `postgresql-client`) do not make a server. Debian has `pg_basebackup` on the PATH, but
/// through a wrapper; `postgres` and `initdb` are only in the real directory.
fn is_complete(directory: &Path) -> bool {
    ["postgres", "initdb", "pg_basebackup"].iter().all(|program| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let parent = env::temp_dir().join(format!("pgbraid-versions-{}", std::process::id()));
        for version in ["9", "15", "16", "common"] {
            fs::create_dir_all(parent.join(version)).unwrap();
        }
        let versions = debian_versions(&parent);
        fs::remove_dir_all(&parent).unwrap();
        let expected: Vec<PathBuf> = ["16", "15", "9"].iter().map(|v| parent.join(v).join("bin")).collect();
        assert_eq!(versions, expected);
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        let tail = last_lines(&text);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("99"));
        assert_eq!(last_lines("one\ntwo"), "one\ntwo");
    }
}
