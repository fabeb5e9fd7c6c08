//! The directory everything of a demo lives in, gone when the demo is gone, even when it was killed with -9.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::PostgresError;

/// Waits until nobody holds its standard input any more, which is when the demo has ended in whatever way; then stops
/// the servers left in `$1` (their command lines name it) and clears it. `$2` is `keep` when the directory itself was there before.
const JANITOR: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
[ -d "$1" ] || exit 0
for turn in INT INT INT INT INT INT INT INT INT INT KILL; do
    left=
    for file in "$1"/*/*/postmaster.pid; do
        [ -f "$file" ] || continue
        pid=$(head -n 1 "$file")
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1/" || continue
        kill -$turn "$pid" 2>/dev/null && left=yes
    done
    [ -n "$left" ] || break
    sleep 0.5
done
rm -rf "$1"/*
[ "$2" = keep ] || rmdir "$1"
"#;

/// A directory of ours; dropping it removes what is in it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// It was there before, empty, and stays.
    keep: bool,
    janitor: Child,
}

impl Directory {
    /// Takes the directory that the user named, or makes a new one for temporary files.
    ///
    /// # Errors
    /// [`PostgresError::NotEmpty`]; or it cannot be made.
    pub fn take(named: Option<&Path>) -> Result<Directory, PostgresError> {
        let (path, keep) = match named {
            Some(path) => taken(path)?,
            None => (temporary()?, false),
        };
        let cannot = || PostgresError::io(format!("using {}", path.display()));
        let path = path.canonicalize().map_err(cannot())?;
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "pgbraid-janitor"])
            .arg(&path)
            .arg(if keep { "keep" } else { "remove" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(PostgresError::io("starting sh"))?;
        Ok(Directory { path, keep, janitor })
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let removed = clear(&self.path).and_then(|()| if self.keep { Ok(()) } else { fs::remove_dir(&self.path) });
        match removed {
            // It must not come back to a path that may be somebody else's by then.
            Ok(()) => drop(self.janitor.kill()),
            // A server that is still writing its last files: the janitor tries again.
            Err(_) => drop(self.janitor.stdin.take()),
        }
        let _ = self.janitor.wait();
    }
}

/// The directory named by the user; whether it was there.
fn taken(path: &Path) -> Result<(PathBuf, bool), PostgresError> {
    let cannot = || PostgresError::io(format!("using {}", path.display()));
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(PostgresError::NotEmpty(path.to_owned())),
            None => Ok((path.to_owned(), true)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            builder().recursive(true).create(path).map_err(cannot())?;
            Ok((path.to_owned(), false))
        }
        Err(error) => Err(cannot()(error)),
    }
}

/// A new directory among the temporary files. Creating one that exists fails, so nobody can have prepared it.
fn temporary() -> Result<PathBuf, PostgresError> {
    let parent = std::env::temp_dir();
    let mut attempt = 0_u32;
    loop {
        let path = parent.join(format!("pgbraid-demo-{}-{attempt}", std::process::id()));
        match builder().create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(error) => return Err(PostgresError::io(format!("creating {}", path.display()))(error)),
        }
    }
}

/// Others may pass through, as the servers' account must, but not look.
fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o711);
    builder
}

/// Removes what is in a directory.
fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// A path of a test's own: names are given again as soon as they are free.
    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pgbraid-test-{}-{name}", std::process::id()))
    }

    #[test]
    fn two_directories_for_temporary_files_differ() {
        let (one, two) = (Directory::take(None).unwrap(), Directory::take(None).unwrap());
        assert_ne!(one.path(), two.path());
    }

    #[test]
    fn a_directory_with_somebodys_files_is_refused_and_left_alone() {
        let path = place("precious");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "x").unwrap();
        let error = Directory::take(Some(&path)).unwrap_err();
        assert!(matches!(error, PostgresError::NotEmpty(_)), "{error}");
        assert!(path.join("precious").exists());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn an_empty_directory_of_the_users_is_emptied_but_stays() {
        let path = place("empty");
        fs::create_dir(&path).unwrap();
        let directory = Directory::take(Some(&path)).unwrap();
        fs::create_dir(path.join("s0")).unwrap();
        fs::write(path.join("pgbraid.toml"), "x").unwrap();
        drop(directory);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_new_directory_is_removed_with_all_that_is_in_it() {
        let directory = Directory::take(Some(&place("new"))).unwrap();
        let path = directory.path().to_owned();
        fs::create_dir_all(path.join("s0/primary/base")).unwrap();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn the_janitor_clears_up_after_a_demo_that_had_no_chance_to() {
        let mut directory = Directory::take(Some(&place("killed"))).unwrap();
        let path = directory.path().to_owned();
        fs::create_dir_all(path.join("s0/primary/base")).unwrap();
        // What kill -9 does: the pipe closes and nothing of ours runs.
        drop(directory.janitor.stdin.take());
        assert!(directory.janitor.wait().unwrap().success());
        assert!(!path.exists());
    }
}
