//! A demo of the program under test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pgbraid::demo::postgres::Server;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio_postgres::Client;

use super::{block_on, connect, host, processes_of, program, templates, unique};

/// A cluster that does not serve after so long does not. Generous: test machines are busy.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// With the sample data, by a debug build.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// One that is not gone after so long has hung.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What kind of cluster.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Shards.
    pub shards: u16,
    /// Replicas of each.
    pub replicas: u16,
    /// Lines of configuration to add.
    pub config: &'a str,
    /// Load the sample data.
    pub sample: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { shards: 2, replicas: 0, config: "", sample: false }
    }
}

/// Real shards and the gateway before them, in a process of its own. Dropping it stops it and checks that nothing is
/// left; one in a `static` ends with the test process.
#[derive(Debug)]
pub struct Cluster {
    child: Mutex<Child>,
    url: String,
    dir: PathBuf,
    log: PathBuf,
    extra: PathBuf,
    shard_urls: Vec<String>,
    /// Primaries that were killed and started again, which are ours and not the demo's.
    resumed: Mutex<Vec<Option<Server>>>,
}

impl Cluster {
    /// Starts an empty cluster.
    pub fn start(shards: u16) -> Cluster {
        Cluster::with(Setup { shards, ..Setup::default() })
    }

    /// Starts a cluster.
    pub fn with(setup: Setup<'_>) -> Cluster {
        let name = unique("cluster");
        let dir = std::env::temp_dir().join(&name);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (log, extra) = (kept.join(format!("{name}.log")), kept.join(format!("{name}.toml")));
        fs::write(&extra, setup.config).unwrap();
        let mut command = host().launcher.command(&program(), "TERM");
        command.args(["demo", "--port", "0", "--http-port", "0"]);
        command.args(["--shards", &setup.shards.to_string(), "--replicas", &setup.replicas.to_string()]);
        command.arg("--dir").arg(&dir).arg("--template").arg(templates()).arg("--config").arg(&extra);
        if !setup.sample {
            command.arg("--empty");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = host().launcher.launch(command).unwrap();
        let timeout = if setup.sample { LOAD_TIMEOUT } else { START_TIMEOUT };
        let Some(url) = ready(&mut child, timeout) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the cluster does not serve; it said:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        let shard_urls = shard_urls(&dir.join("pgbraid.toml"));
        let resumed = shard_urls.iter().map(|_| None).collect();
        Cluster { child: Mutex::new(child), url, dir, log, extra, shard_urls, resumed: Mutex::new(resumed) }
    }

    /// How the application connects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The gateway's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        let config: tokio_postgres::Config = self.url.parse().unwrap();
        config.get_ports()[0]
    }

    /// Connects as the application.
    pub async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// How the control side connects to a shard's primary, around the gateway, as a superuser.
    pub fn shard_url(&self, shard: usize) -> &str {
        &self.shard_urls[shard]
    }

    /// Connects to a shard's primary as a superuser.
    pub async fn connect_shard(&self, shard: usize) -> Client {
        connect(self.shard_url(shard)).await
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shard_urls.len()
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration that the gateway runs with.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("pgbraid.toml")
    }

    /// What the gateway has written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The gateway's process.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Kills the gateway with SIGKILL. Its shards end too, and everything is removed.
    pub fn kill9(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills a shard's primary as a crash of its machine would: no message to anybody.
    pub fn kill_shard(&self, shard: usize) {
        let data = self.primary(shard);
        let lock = data.join("postmaster.pid");
        let postmaster = first_line(&lock);
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let children: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        // The postmaster first, so that it starts no others.
        for pid in std::iter::once(postmaster).chain(children.iter().copied()) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        wait_until("the killed server is gone", || children.iter().all(|pid| is_gone(*pid)));
        self.resumed.lock().unwrap()[shard] = None;
        // The postmaster stays a zombie of the demo's, which its successor would take for a living one.
        let url: tokio_postgres::Config = self.shard_url(shard).parse().unwrap();
        let _ = fs::remove_file(data.with_file_name(format!(".s.PGSQL.{}.lock", url.get_ports()[0])));
        let _ = fs::remove_file(lock);
    }

    /// Starts a killed shard's primary again, on the same port; it recovers from its WAL.
    pub fn start_shard(&self, shard: usize) {
        let data = self.primary(shard);
        let server = block_on(async move { Server::resume(host(), &data).await.unwrap() });
        self.resumed.lock().unwrap()[shard] = Some(server);
    }

    /// Stops a shard's processes where they stand, as a network that swallows packets would look: connections stay, and
    /// nothing answers. [`Cluster::thaw_shard`] undoes it.
    pub fn freeze_shard(&self, shard: usize) {
        self.signal_shard(shard, Signal::STOP);
    }

    /// Undoes [`Cluster::freeze_shard`].
    pub fn thaw_shard(&self, shard: usize) {
        self.signal_shard(shard, Signal::CONT);
    }

    fn signal_shard(&self, shard: usize, signal: Signal) {
        let postmaster = first_line(&self.primary(shard).join("postmaster.pid"));
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([postmaster]) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    }

    /// Data directory of a shard's primary.
    fn primary(&self, shard: usize) -> PathBuf {
        self.dir.join(format!("s{shard}/primary"))
    }

    /// Asks for an orderly end and waits for it.
    fn stop(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap();
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.resumed.lock().unwrap().clear();
        let status = self.stop();
        let _ = fs::remove_file(&self.extra);
        if thread::panicking() {
            eprintln!("the cluster's standard error:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
            return;
        }
        assert!(status.is_some(), "the cluster does not stop; it said:\n{}", self.log());
        // After kill -9 the janitor needs a moment.
        wait_until("nothing is left", || !self.dir.exists() && processes_of(&self.dir).is_empty());
        let _ = fs::remove_file(&self.log);
    }
}

/// The URL of the `ready` line; `None` if the process ends or does not come up in time.
fn ready(child: &mut Child, timeout: Duration) -> Option<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    // Lives until the process closes its output, so that it can always write.
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + timeout;
    loop {
        let line = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        if let Some(url) = line.strip_prefix("ready ") {
            return Some(url.to_owned());
        }
    }
}

/// The primaries' URLs, from the generated configuration.
fn shard_urls(config: &Path) -> Vec<String> {
    let config: toml::Table = fs::read_to_string(config).unwrap().parse().unwrap();
    let shards = config["shard"].as_array().unwrap();
    shards.iter().map(|shard| shard["primary"].as_str().unwrap().to_owned()).collect()
}

fn first_line(path: &Path) -> i32 {
    fs::read_to_string(path).unwrap().lines().next().unwrap().parse().unwrap()
}

/// Whether a process has ended, even if nobody has taken note yet (state Z in proc(5)).
fn is_gone(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    test_kill_process(Pid::from_raw(pid).unwrap()).is_err() || status.contains("\nState:\tZ")
}

/// Looks again and again; fails after [`STOP_TIMEOUT`].
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
