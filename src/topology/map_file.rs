//! The map's file: made when it is missing, read, and replaced by the next version, each atomically.
//!
//! The calls block for the moment that a small file takes; they belong to start-up, SIGHUP and the operator's commands.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use shardmap::{MapTextError, MapVersion, NamesError, ShardMap};
use thiserror::Error;

use crate::config::Config;

/// The file that `[sharding] map` names, and the shards of the configuration, by which it is read.
#[derive(Clone, Debug)]
pub struct MapFile {
    path: PathBuf,
    names: Vec<String>,
}

/// Why a map file could not be read or replaced.
#[derive(Debug, Error)]
pub enum MapFileError {
    /// Reading or writing failed.
    #[error("{}: cannot {doing} the shard map: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What it says is no map.
    #[error("{}", in_file(.path, .source))]
    Text {
        /// The file.
        path: PathBuf,
        /// The mistakes.
        #[source]
        source: MapTextError,
    },
    /// The configuration's shards cannot have a map.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The map to be stored does not follow the one in the file.
    #[error("{}: has version {found}, so version {offered} cannot follow: read the map again and plan anew", .path.display())]
    NotNext {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: MapVersion,
        /// The version of the map that was to be stored.
        offered: MapVersion,
    },
    /// The file is older than the map in use.
    #[error("{}: has version {found}, but version {in_use} is in use: a map never goes back, put the newer file there", .path.display())]
    Backwards {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: MapVersion,
        /// The version in use.
        in_use: MapVersion,
    },
    /// The file has another map under the version that is in use.
    #[error("{}: differs from version {version} in use without a new version: a map is never edited in place", .path.display())]
    EditedInPlace {
        /// The file.
        path: PathBuf,
        /// The version.
        version: MapVersion,
    },
}

/// Each mistake with the file before it, as compilers do.
fn in_file(path: &Path, error: &MapTextError) -> String {
    let lines = error.mistakes.iter().map(|(line, mistake)| format!("{}:{line}: {mistake}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

impl MapFile {
    /// The configuration's file.
    pub fn new(config: &Config) -> MapFile {
        let names = config.shards.iter().map(|shard| shard.name.clone()).collect();
        MapFile { path: config.sharding.map.clone(), names }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads the map.
    ///
    /// # Errors
    /// When the file cannot be read or its text is not a map of the configuration's shards.
    pub fn load(&self) -> Result<ShardMap, MapFileError> {
        let text = fs::read_to_string(&self.path).map_err(|source| self.io("read", source))?;
        ShardMap::parse(&text, &self.names).map_err(|source| MapFileError::Text { path: self.path.clone(), source })
    }

    /// Reads the map; where there is no file, makes an even map, version 1, and the file. Of several processes that do so at
    /// the same time one makes it and all read it.
    ///
    /// # Errors
    /// As [`MapFile::load`], or when the file cannot be written.
    pub fn load_or_create(&self) -> Result<ShardMap, MapFileError> {
        if !self.exists() {
            let _lock = self.locked().map_err(|source| self.io("write", source))?;
            // Another may have made it meanwhile.
            if !self.exists() {
                self.write(&ShardMap::even(&self.names)?)?;
            }
        }
        self.load()
    }

    /// Replaces the map by the next version.
    ///
    /// # Errors
    /// When the version is not the one that follows the file's (another has changed it meanwhile), or writing fails.
    pub fn store(&self, map: &ShardMap) -> Result<(), MapFileError> {
        // Held until the end: between reading the version and replacing the file nobody else may.
        let _lock = self.locked().map_err(|source| self.io("write", source))?;
        let found = self.load()?.version();
        let offered = map.version();
        if found.0.checked_add(1) != Some(offered.0) {
            return Err(MapFileError::NotNext { path: self.path.clone(), found, offered });
        }
        self.write(map)
    }

    /// Reads the map again; `None` when it is the one in use.
    ///
    /// # Errors
    /// As [`MapFile::load`]; also when the file is older than the map in use, or differs from it under the same version.
    pub fn reload(&self, in_use: &ShardMap) -> Result<Option<ShardMap>, MapFileError> {
        let map = self.load()?;
        let (found, used) = (map.version(), in_use.version());
        match found.cmp(&used) {
            std::cmp::Ordering::Greater => Ok(Some(map)),
            std::cmp::Ordering::Less => Err(MapFileError::Backwards { path: self.path.clone(), found, in_use: used }),
            std::cmp::Ordering::Equal if shardmap::diff(in_use, &map).is_empty() => Ok(None),
            std::cmp::Ordering::Equal => Err(MapFileError::EditedInPlace { path: self.path.clone(), version: found }),
        }
    }

    /// Writes the map beside the file, safely on disk, and puts it in place. Under the lock.
    fn write(&self, map: &ShardMap) -> Result<(), MapFileError> {
        let temporary = self.beside(".new");
        let written = write_synced(&temporary, &map.render())
            .and_then(|()| fs::rename(&temporary, &self.path))
            .and_then(|()| File::open(self.directory())?.sync_all());
        written.map_err(|source| self.io("write", source))
    }

    /// The directory, locked against others, threads and processes, that write a map in it. Unlocked when dropped.
    fn locked(&self) -> io::Result<File> {
        let directory = File::open(self.directory())?;
        directory.lock()?;
        Ok(directory)
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The file's path with something added to its name.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    }

    fn io(&self, doing: &'static str, source: io::Error) -> MapFileError {
        MapFileError::Io { path: self.path.clone(), doing, source }
    }
}

/// Writes a file and waits until it is on disk.
fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use shardmap::{Bucket, BucketRange, ShardId};

    use super::*;

    /// A map file in a directory of its own that goes with the guard.
    fn file(names: &[&str]) -> (tempfile::TempDir, MapFile) {
        let directory = tempfile::tempdir().unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let file = MapFile { path: directory.path().join("shardmap.toml"), names };
        (directory, file)
    }

    fn changed(map: &ShardMap) -> ShardMap {
        let bucket = BucketRange::new(Bucket(7), Bucket(7)).unwrap();
        map.reassigned(&[(bucket, ShardId(1))]).unwrap()
    }

    fn files(directory: &tempfile::TempDir) -> Vec<OsString> {
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_missing_map_is_made_even_and_read_from_then_on() {
        let (directory, file) = file(&["a", "b"]);
        let map = file.load_or_create().unwrap();
        assert_eq!((map.version(), map.bucket_counts()), (MapVersion(1), vec![2048, 2048]));
        file.store(&changed(&map)).unwrap();
        assert_eq!(file.load_or_create().unwrap().version(), MapVersion(2), "what is there is not made again");
        assert_eq!(files(&directory), ["shardmap.toml"], "nothing temporary is left");
    }

    #[test]
    fn processes_that_make_the_map_at_the_same_time_agree() {
        let (directory, file) = file(&["a", "b", "c"]);
        let maps: Vec<ShardMap> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| file.load_or_create().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(maps.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(files(&directory), ["shardmap.toml"]);
    }

    #[test]
    fn only_the_next_version_is_stored() {
        let (_directory, file) = file(&["a", "b"]);
        let first = file.load_or_create().unwrap();
        let second = changed(&first);
        file.store(&second).unwrap();
        for stale in [&first, &second, &changed(&changed(&second))] {
            assert!(matches!(file.store(stale), Err(MapFileError::NotNext { .. })), "{stale:?}");
        }
        assert_eq!(file.load().unwrap(), second);
    }

    #[test]
    fn of_two_who_store_at_the_same_time_one_is_told() {
        let (_directory, file) = file(&["a", "b"]);
        let next = changed(&file.load_or_create().unwrap());
        let stored = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| file.store(&next).is_ok())).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|stored| *stored).count()
        });
        assert_eq!(stored, 1);
    }

    #[test]
    fn a_reload_goes_forward_only() {
        let (_directory, file) = file(&["a", "b"]);
        let first = file.load_or_create().unwrap();
        let second = changed(&first);
        assert!(file.reload(&first).unwrap().is_none());
        assert!(matches!(file.reload(&second), Err(MapFileError::Backwards { .. })));
        file.store(&second).unwrap();
        assert_eq!(file.reload(&first).unwrap(), Some(second.clone()));
        let edited = second.render().replace("version = 2", "version = 1");
        fs::write(file.path(), edited).unwrap();
        assert!(matches!(file.reload(&first), Err(MapFileError::EditedInPlace { .. })));
    }

    #[test]
    fn mistakes_name_the_file_and_the_line() {
        let (_directory, file) = file(&["a"]);
        fs::write(file.path(), "version = 1\n[shards]\nz = [\"0-4095\"]\n").unwrap();
        let error = file.load_or_create().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:3: unknown shard \"z\"", file.path().display())), "{error}");
    }
}
