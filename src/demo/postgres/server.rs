//! One running server: settings, start, readiness, end.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use rustix::process::{Pid, Signal, kill_process};

use super::binaries::{Run, last_lines};
use super::{Host, PostgresError, SUPERUSER, Template};

/// A laptop's demo: nothing has to survive a crash of the machine, but what was committed survives a killed server (so
/// `synchronous_commit` stays on: without fsync it costs a write, no wait); room for several pools, for prepared
/// transactions and for logical decoding; enough WAL between checkpoints for loading.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
timezone = 'UTC'
fsync = off
full_page_writes = off
shared_buffers = '64MB'
max_connections = 300
max_prepared_transactions = 64
wal_level = logical
max_wal_size = '2GB'
checkpoint_timeout = '30min'
autovacuum_naptime = '10s'
";

/// Length of `sockaddr_un.sun_path` without its final NUL (unix(7)); a longer path makes the server fail to start.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A server that has not come up after so long does not.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that has not gone after so long is killed. Fast shutdown writes at most its shared buffers.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a starting or stopping server is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Somebody else may take the port between our finding it free and the server's binding it.
const PORT_ATTEMPTS: usize = 8;

/// A Postgres server that runs as our child; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    data: PathBuf,
    port: u16,
}

impl Server {
    /// Makes a primary in `data` and starts it. `data` has a parent of its own, whose name goes into `cluster_name`.
    ///
    /// # Errors
    /// The copy failed, or the server does not come up.
    pub async fn primary(host: &Host, template: &Template, data: &Path) -> Result<Server, PostgresError> {
        make_parent(host, data)?;
        template.copy_to(data).await?;
        append(data, SETTINGS)?;
        Server::start(host, data).await
    }

    /// Makes a replica of this server in `data` and starts it. A replication slot keeps the primary's WAL for it.
    ///
    /// # Errors
    /// `pg_basebackup` failed, or the replica does not come up.
    pub async fn replica(&self, host: &Host, password: &str, data: &Path) -> Result<Server, PostgresError> {
        let (port, data_text) = (self.port.to_string(), data.to_string_lossy());
        let slot = data.file_name().map_or_else(|| "replica".into(), |name| name.to_string_lossy());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER, "-D", &data_text];
        let how = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "-C", "-S", &slot];
        let run = Run {
            program: "pg_basebackup",
            arguments: &[&from[..], &how].concat(),
            environment: &[("PGPASSWORD", password)],
            directory: data.parent().unwrap_or(data),
            account: host.account.as_ref(),
            input: b"",
        };
        host.binaries.run(run).await?;
        Server::start(host, data).await
    }

    /// Starts a server that has been stopped or killed, on its port. The lock file of a killed one must be gone.
    ///
    /// # Errors
    /// The server does not come up.
    pub async fn resume(host: &Host, data: &Path) -> Result<Server, PostgresError> {
        let path = data.join("postgresql.conf");
        let text = fs::read_to_string(&path).map_err(PostgresError::io(format!("reading {}", path.display())))?;
        let ports = text.lines().rev().filter_map(|line| line.strip_prefix("port = ")?.parse().ok());
        let Some(port) = ports.into_iter().next() else {
            let missing = io::Error::new(io::ErrorKind::InvalidData, "no line `port = N`");
            return Err(PostgresError::io(format!("reading {}", path.display()))(missing));
        };
        let mut server = Server { child: launch(host, data)?, data: data.to_owned(), port };
        server.ready().await.map(|()| server)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a fast shutdown without waiting for it: sessions are ended, nothing is lost.
    pub fn begin_stop(&mut self) {
        // try_wait has reaped it or not: as long as it has not, the id is still its own.
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may be gone already.
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Starts a server on a data directory that is ready for it.
    async fn start(host: &Host, data: &Path) -> Result<Server, PostgresError> {
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            append(data, &placement(data, port))?;
            let child = launch(host, data)?;
            let mut server = Server { child, data: data.to_owned(), port };
            match server.ready().await {
                Err(PostgresError::NotStarted { log, .. })
                    if attempt < PORT_ATTEMPTS && log.contains("could not bind IPv4 address") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// Waits until it accepts connections.
    async fn ready(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if is_ready(&self.data, self.child.id()) {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(PostgresError::io("waiting for postgres"))?;
            if let Some(status) = ended {
                return Err(self.not_started(&ended_text(status)));
            }
            if Instant::now() > deadline {
                return Err(self.not_started(&format!("not ready after {} s", START_TIMEOUT.as_secs())));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn not_started(&self, reason: &str) -> PostgresError {
        let log = fs::read(log_path(&self.data)).unwrap_or_default();
        let log = last_lines(&String::from_utf8_lossy(&log));
        PostgresError::NotStarted { directory: self.data.clone(), reason: reason.to_owned(), log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.begin_stop();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Starts the postmaster.
fn launch(host: &Host, data: &Path) -> Result<Child, PostgresError> {
    let log_path = log_path(data);
    let log_file = || File::options().create(true).append(true).open(&log_path);
    let log = log_file().map_err(PostgresError::io(format!("writing {}", log_path.display())))?;
    let log_too = log.try_clone().map_err(PostgresError::io(format!("writing {}", log_path.display())))?;
    let mut command = host.launcher.command(&host.binaries.program("postgres"), "INT");
    command.arg("-D").arg(data).current_dir(data.parent().unwrap_or(data));
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(log).stderr(log_too);
    if let Some(account) = &host.account {
        command.uid(account.uid).gid(account.gid);
    }
    host.launcher.launch(command).map_err(PostgresError::io("starting postgres"))
}

/// The parent holds the server's log and socket.
fn make_parent(host: &Host, data: &Path) -> Result<(), PostgresError> {
    let Some(parent) = data.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(PostgresError::io(format!("creating {}", parent.display())))?;
    host.account.as_ref().map_or(Ok(()), |account| account.own(parent))
}

/// Settings that differ from server to server. The last line of a name counts, so they can be appended again.
fn placement(data: &Path, port: u16) -> String {
    let parent = data.parent().unwrap_or(data);
    let name = parent.file_name().map_or_else(|| "demo".into(), |name| name.to_string_lossy());
    let role = data.file_name().map_or_else(|| "server".into(), |name| name.to_string_lossy());
    let socket = parent.join(format!(".s.PGSQL.{port}"));
    let fits = socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
    let directory = if fits { parent.to_string_lossy().replace('\'', "''") } else { String::new() };
    format!("port = {port}\nunix_socket_directories = '{directory}'\ncluster_name = '{name}/{role}'\n")
}

/// Appends lines to `postgresql.conf`.
fn append(data: &Path, lines: &str) -> Result<(), PostgresError> {
    let path = data.join("postgresql.conf");
    let file = OpenOptions::new().append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
    written.map_err(PostgresError::io(format!("writing {}", path.display())))
}

/// Whether the postmaster says in its lock file that it accepts connections.
///
/// *Source*: src/include/utils/pidfile.h, REL_15: line 1 is the process id, line 8 the status, padded with blanks. As
/// pg_ctl does it; cheaper than connecting.
fn is_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = text.lines();
    lines.next().is_some_and(|line| line.parse() == Ok(pid)) && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

/// A server's log stands beside its data.
fn log_path(data: &Path) -> PathBuf {
    data.with_extension("log")
}

fn ended_text(status: ExitStatus) -> String {
    format!("it ended ({status})")
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, PostgresError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(PostgresError::io("finding a free port"))
}
