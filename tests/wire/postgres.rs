//! A throw-away Postgres: the oracle.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Client, Login};

/// A running server; stopped and removed when dropped.
pub struct Postgres {
    child: Child,
    directory: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Postgres {
    /// Starts a server with role `app`, password `app`, owning database `shop`.
    pub fn start(name: &str) -> Postgres {
        let directory = std::env::temp_dir().join(format!("pgbraid-oracle-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let owner = unprivileged();
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).unwrap();
        }
        let data = directory.join("data");
        let mut initdb = command(&binaries().join("initdb"), owner);
        initdb.args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(&data);
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let port = free_port();
        let mut server = command(&binaries().join("postgres"), owner);
        server.arg("-D").arg(&data).arg("-k").arg(&directory).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200", "log_timezone=UTC", "timezone=UTC"] {
            server.args(["-c", setting]);
        }
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let child = server.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let postgres = Postgres { child, directory, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        postgres.prepare();
        postgres
    }

    fn prepare(&self) {
        let login = Login::new(self.address, "postgres", "", "postgres");
        let begun = Instant::now();
        let mut client = loop {
            match Client::connect(&login) {
                Ok(client) => break client,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "Postgres does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        client.run("CREATE ROLE app LOGIN PASSWORD 'app'");
        client.run("CREATE DATABASE shop OWNER app");
        client.goodbye();
    }

    /// As `app` to `shop`.
    pub fn login(&self) -> Login {
        Login::new(self.address, "app", "app", "shop")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// Directory of PostgreSQL's programs: `PGBRAID_PG_BIN`, or Debian's newest.
pub fn binaries() -> PathBuf {
    if let Some(given) = std::env::var_os("PGBRAID_PG_BIN") {
        return given.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed");
    let newest = versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", newest.expect("PostgreSQL is not installed")))
}

/// User and group `postgres` when this runs as root, which Postgres refuses.
pub fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let entry = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = entry.split(':').skip(2);
    let ids = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    root.then_some(ids)
}

/// A program that runs as the given user, in a process group of its own.
pub fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env_remove("PGHOST").process_group(0);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

/// A port nobody listens on: from `PGBRAID_TEST_PORTS` (`first-last`) or of the kernel's choice.
pub fn free_port() -> u16 {
    let given = std::env::var("PGBRAID_TEST_PORTS").ok();
    let range = given.as_deref().and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    };
    let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
    // Several tests choose at the same time: start at a place that differs between them.
    let span = u32::from(last - first) + 1;
    static TAKEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let start = std::process::id().wrapping_add(TAKEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    (0..span)
        .map(|n| first + (start.wrapping_add(n) % span) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("all ports of PGBRAID_TEST_PORTS are taken")
}
