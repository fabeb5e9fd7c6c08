//! A data directory made once and copied for each server: initdb takes a second, a copy takes a twentieth of it.
//!
//! The copies share a system identifier, which matters to nobody here: replicas are made by pg_basebackup.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::binaries::{Run, run_to_end};
use super::{Host, PostgresError};

/// The control side's role.
pub const SUPERUSER: &str = "postgres";
/// The application's role, its password too. It owns the database and is no superuser, as in real life.
pub const APP: &str = "app";
/// The database.
pub const DATABASE: &str = "shop";

/// Where in the scratch directory a template is made.
const SCRATCH: &str = "template";

/// Roles and database, a statement a line (single-user mode takes no other form).
const SETUP: &str = "\
CREATE ROLE app LOGIN CREATEDB CREATEROLE PASSWORD 'app';
CREATE ROLE analyst LOGIN PASSWORD 'analyst' IN ROLE pg_read_all_data;
CREATE DATABASE shop OWNER app;
";

/// An initialised data directory that no server runs on.
#[derive(Debug)]
pub struct Template {
    data: PathBuf,
    password: String,
}

impl Template {
    /// Makes a template in `scratch`, a directory that the servers' account may enter; or takes the one kept in `cache`,
    /// making it there if this version of PostgreSQL has none yet.
    ///
    /// # Errors
    /// `initdb` or `cp` failed.
    pub async fn obtain(host: &Host, scratch: &Path, cache: Option<&Path>) -> Result<Template, PostgresError> {
        let Some(cache) = cache else {
            return Template::initialise(host, &scratch.join(SCRATCH)).await;
        };
        let kept = cache.join(cache_key(host)?);
        if let Some(template) = Template::read(&kept) {
            return Ok(template);
        }
        let made = Template::initialise(host, &scratch.join(SCRATCH)).await?;
        made.keep(cache, &kept).await?;
        Template::read(&kept).ok_or_else(|| PostgresError::Program {
            program: "cp".to_owned(),
            status: "done".to_owned(),
            output: format!("but {} is not complete; remove it", kept.display()),
        })
    }

    /// Removes what making a template has left in `scratch`; one in a cache stays.
    ///
    /// # Errors
    /// The system refuses.
    pub fn clear_scratch(scratch: &Path) -> Result<(), PostgresError> {
        match fs::remove_dir_all(scratch.join(SCRATCH)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(PostgresError::io(format!("clearing {}", scratch.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Makes a server's data directory.
    ///
    /// # Errors
    /// `cp` failed.
    pub(super) async fn copy_to(&self, data: &Path) -> Result<(), PostgresError> {
        copy(&self.data, data).await
    }

    /// `initdb`, roles, database.
    async fn initialise(host: &Host, parent: &Path) -> Result<Template, PostgresError> {
        let io = || PostgresError::io(format!("preparing {}", parent.display()));
        fs::create_dir(parent).map_err(io())?;
        let password = random_password().map_err(PostgresError::io("reading /dev/urandom"))?;
        let password_file = parent.join("password");
        fs::write(&password_file, &password).map_err(io())?;
        if let Some(account) = &host.account {
            account.own(parent)?;
            account.own(&password_file)?;
        }
        let data = parent.join("data");
        let run = |program, arguments, input| Run {
            program,
            arguments,
            environment: &[],
            directory: parent,
            account: host.account.as_ref(),
            input,
        };
        let (data_text, file_text) = (data.to_string_lossy(), password_file.to_string_lossy());
        let pwfile = format!("--pwfile={file_text}");
        let arguments = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", &pwfile];
        let arguments = [&arguments[..], &["--username", SUPERUSER, "-D", &data_text]].concat();
        host.binaries.run(run("initdb", &arguments, b"")).await?;
        let arguments = ["--single", "-F", "-D", &data_text, "postgres"];
        let output = host.binaries.run(run("postgres", &arguments, SETUP.as_bytes())).await?;
        if output.contains("ERROR:") {
            let status = "statements failed".to_owned();
            return Err(PostgresError::Program { program: "postgres --single".to_owned(), status, output });
        }
        Ok(Template { data, password })
    }

    /// Copies the template to where the next one looks. Another process may do the same: the first one wins.
    async fn keep(&self, cache: &Path, kept: &Path) -> Result<(), PostgresError> {
        let io = || PostgresError::io(format!("keeping a template in {}", cache.display()));
        let half = cache.join(format!("half-{}", std::process::id()));
        fs::create_dir_all(&half).map_err(io())?;
        copy(&self.data, &half.join("data")).await?;
        fs::write(half.join("password"), &self.password).map_err(io())?;
        match fs::rename(&half, kept) {
            Err(error) if !kept.exists() => Err(io()(error)),
            Err(_) => fs::remove_dir_all(&half).map_err(io()),
            Ok(()) => Ok(()),
        }
    }

    /// A kept template.
    fn read(kept: &Path) -> Option<Template> {
        let password = fs::read_to_string(kept.join("password")).ok()?;
        Some(Template { data: kept.join("data"), password })
    }
}

/// Copies a directory with its owners, sharing blocks where the file system can.
async fn copy(from: &Path, to: &Path) -> Result<(), PostgresError> {
    let mut command = Command::new("cp");
    command.args(["-a", "--reflink=auto", "--"]).arg(from).arg(to);
    run_to_end(command, "cp", b"").await.map(drop)
}

/// Names what a template depends on: the server's version, what is set up in it, and who owns its files.
fn cache_key(host: &Host) -> Result<String, PostgresError> {
    let output = std::process::Command::new(host.binaries.program("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(PostgresError::io("running postgres --version"))?;
    let mut hasher = DefaultHasher::new();
    (output.stdout, SETUP, host.account.as_ref().map(|account| account.uid)).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// 128 random bits.
fn random_password() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
