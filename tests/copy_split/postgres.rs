//! A throw-away PostgreSQL, the oracle: stopped and removed when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// Servers this process has started: each looks for its port in a place of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running server.
pub struct Postgres {
    child: Child,
    directory: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts a server whose superuser `postgres` needs no password.
    pub fn start() -> Postgres {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let port = free_port(number);
        let directory = std::env::temp_dir().join(format!("pgbraid-copy-split-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        if let Some((user, group)) = unprivileged() {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).unwrap();
        }
        let data = directory.join("data");
        let output = command("initdb")
            .args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&directory).args(["-p", &port.to_string()]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        let child = server.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Postgres { child, directory, port }
    }

    /// A connection, as soon as the server takes one.
    pub async fn connect(&self) -> Client {
        let begun = Instant::now();
        let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        loop {
            match tokio_postgres::connect(&url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// A program of PostgreSQL's (in `PGBRAID_PG_BIN`, or Debian's newest), as user `postgres` when this runs as root.
fn command(program: &str) -> Command {
    let mut command = Command::new(binaries().join(program));
    command.current_dir("/").process_group(0);
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command
}

fn binaries() -> PathBuf {
    if let Some(given) = std::env::var_os("PGBRAID_PG_BIN") {
        return given.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed");
    let newest = versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    Path::new("/usr/lib/postgresql").join(newest.expect("PostgreSQL is not installed").to_string()).join("bin")
}

/// User and group `postgres` when this runs as root, which PostgreSQL refuses.
fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let entry = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = entry.split(':').skip(2);
    let ids = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    root.then_some(ids)
}

/// A free port: from `PGBRAID_TEST_PORTS` (`first-last`) or of the kernel's choice.
fn free_port(number: u32) -> u16 {
    let given = std::env::var("PGBRAID_TEST_PORTS").ok();
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?.local_addr().ok().map(|a| a.port());
    match given.as_deref().and_then(|range| range.split_once('-')) {
        None => free(0).unwrap(),
        Some((first, last)) => {
            let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
            let span = u32::from(last - first) + 1;
            let ports = (0..span).map(|n| first + ((number * 16 + n) % span) as u16);
            ports.filter_map(free).next().expect("all ports of PGBRAID_TEST_PORTS are taken")
        }
    }
}
