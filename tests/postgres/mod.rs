//! A real Postgres for a test: its own directory, a Unix socket (no port to collide on), stopped when dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgbraid::config::{ServerAddress, ServerTls, SslMode};
use pgbraid::demo::postgres::{Account, Binaries};
use tokio_postgres::{Client, NoTls};

/// A running server. Any local user is let in.
pub struct Postgres {
    directory: PathBuf,
    process: Child,
    /// Also the number in the socket's name.
    pub port: u16,
}

/// What a server shows its clients, as PEM.
pub struct Tls<'a> {
    pub certificate: &'a str,
    pub key: &'a str,
    /// Who signs clients' certificates.
    pub authority: &'a str,
}

impl Postgres {
    /// Starts a server with these further settings (`name=value`).
    pub fn start(settings: &[&str]) -> Postgres {
        Postgres::start_in(new_directory(), settings)
    }

    /// Starts a server that listens to TCP too, on a free port. `hba`: all of its pg_hba.conf.
    pub fn start_for_logins(hba: &str, tls: Option<Tls<'_>>) -> Postgres {
        let directory = new_directory();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            // As PostgreSQL demands of keys. Source: be-secure-common.c, check_ssl_key_file_permissions.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            give_to_postgres(&path);
            path.display().to_string()
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = vec!["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
        settings.push(format!("hba_file={}", file("hba.conf", hba)));
        if let Some(Tls { certificate, key, authority }) = tls {
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", file("server.crt", certificate)));
            settings.push(format!("ssl_key_file={}", file("server.key", key)));
            settings.push(format!("ssl_ca_file={}", file("ca.crt", authority)));
        }
        Postgres::start_in(directory, &settings.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn start_in(directory: PathBuf, settings: &[&str]) -> Postgres {
        let data = directory.join("data");
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        let output = as_postgres("initdb").args(options).arg(&data).output().unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Postgres::run(directory, settings)
    }

    /// Starts the server whose data is there.
    fn run(directory: PathBuf, settings: &[&str]) -> Postgres {
        let data = directory.join("data");
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(&directory);
        for setting in ["listen_addresses=", "fsync=off", "autovacuum=off"].iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port=")?.parse().ok()).unwrap_or(5432);
        let server = Postgres { directory, process, port };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut command = Command::new(program("pg_isready"));
            command.arg("-q").arg("-h").arg(&self.directory).args(["-p", &self.port.to_string()]);
            let ready = command.status().unwrap();
            if ready.success() {
                return;
            }
            assert!(Instant::now() < deadline, "Postgres did not start in a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How to reach a database of this server.
    pub fn address(&self, database: &str) -> ServerAddress {
        ServerAddress {
            host: self.directory.to_str().unwrap().to_owned(),
            port: self.port,
            database: database.to_owned(),
            user: "postgres".to_owned(),
            password: None,
            tls: ServerTls { mode: SslMode::Prefer, root_certificate: None, certificate: None, key: None },
        }
    }

    /// Runs SQL as the superuser.
    pub fn set_up(&self, sql: &str) {
        let mut command = as_postgres("psql");
        command.args(["-X", "-q", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql, "-h"]).arg(&self.directory);
        let output = command.args(["-p", &self.port.to_string()]).output().unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where its socket is.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// A connection to a database, as a user.
    pub async fn connect_as(&self, user: &str, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.directory).port(self.port).user(user).dbname(database);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A connection to a database.
    pub async fn connect(&self, database: &str) -> Client {
        self.connect_as("postgres", database).await
    }

    /// A hot standby of this server.
    pub fn replica(&self) -> Postgres {
        let directory = new_directory();
        let data = directory.join("data");
        let mut command = as_postgres("pg_basebackup");
        command.args(["-U", "postgres", "-R", "-c", "fast", "--no-sync", "-D"]).arg(&data);
        let output = command.arg("-h").arg(&self.directory).output().unwrap();
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        Postgres::run(directory, &[])
    }

    /// Stops the server, leaving its data.
    pub fn stop(&mut self) {
        if self.process.try_wait().unwrap().is_some() {
            return;
        }
        let data = self.directory.join("data");
        let _ = as_postgres("pg_ctl").args(["stop", "-m", "immediate", "-s", "-D"]).arg(data).status();
        let _ = self.process.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One of PostgreSQL's programs.
fn program(name: &str) -> PathBuf {
    Binaries::find().unwrap().program(name)
}

/// One of PostgreSQL's programs, run as somebody else if need be: Postgres refuses to run as root.
fn as_postgres(name: &str) -> Command {
    let mut command = Command::new(program(name));
    if let Some(account) = Account::for_servers().unwrap() {
        command.uid(account.uid).gid(account.gid);
    }
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// A new directory that the server may write to.
fn new_directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("pgbraid-test.").tempdir().unwrap().keep();
    give_to_postgres(&directory);
    directory
}

fn give_to_postgres(path: &Path) {
    if let Some(account) = Account::for_servers().unwrap() {
        chown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}
