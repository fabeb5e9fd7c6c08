//! A real Postgres for a test: its own directory, a Unix socket (no port to collide on), stopped when dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgbraid::config::{ServerAddress, ServerTls, SslMode};
use tokio_postgres::{Client, NoTls};

/// A running server. Any local user is let in.
pub struct Postgres {
    directory: PathBuf,
    process: Child,
    /// Also the number in the socket's name.
    port: u16,
}

impl Postgres {
    /// Starts a server with these further settings (`name=value`).
    pub fn start(settings: &[&str]) -> Postgres {
        Postgres::start_in(made_by_postgres(), settings)
    }

    /// Starts a server that lets users in over TCP by TLS and SCRAM only, on a free port, which is returned.
    pub fn start_with_tls(certificate: &str, key: &str) -> (Postgres, u16) {
        let directory = made_by_postgres();
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        for (name, text) in [("server.crt", certificate), ("server.key", key), ("hba.conf", hba)] {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let owner = std::fs::metadata(&directory).unwrap();
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = |setting: &str, name: &str| format!("{setting}={}", directory.join(name).display());
        let settings = [
            "ssl=on".to_owned(),
            file("ssl_cert_file", "server.crt"),
            file("ssl_key_file", "server.key"),
            file("hba_file", "hba.conf"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
        ];
        (Postgres::start_in(directory, &settings.each_ref().map(String::as_str)), port)
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
        let directory = made_by_postgres();
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

/// A PostgreSQL program: of Debian's newest version, else from the PATH.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// Postgres refuses to run as root.
fn as_postgres(name: &str) -> Command {
    run_as_postgres(&program(name))
}

fn run_as_postgres(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    let mut command = if id.stdout == b"0\n" {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// A new directory that the server may write to.
fn made_by_postgres() -> PathBuf {
    let output = run_as_postgres(Path::new("mktemp")).args(["-d", "/tmp/pgbraid-test.XXXXXXXX"]).output().unwrap();
    assert!(output.status.success(), "mktemp: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
