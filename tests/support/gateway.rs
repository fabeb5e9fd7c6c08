//! Another gateway before a cluster's shards, in a process of its own that can be killed without them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{Cluster, connect, host, program, unique};

/// One that does not serve after so long does not.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// `pgbraid serve` with a cluster's configuration, on a port of its own.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    config: PathBuf,
    log: PathBuf,
    pauses: PathBuf,
    url: String,
    http: String,
}

impl Gateway {
    /// Starts one and waits until it serves.
    pub fn start(cluster: &Cluster) -> Gateway {
        Gateway::start_through(cluster, &[])
    }

    /// Starts one that reaches the shards' primaries on these ports, and waits until it serves.
    pub fn start_through(cluster: &Cluster, ports: &[u16]) -> Gateway {
        let name = unique("gateway");
        let mut table: toml::Table = fs::read_to_string(cluster.config_path()).unwrap().parse().unwrap();
        let port = free_port();
        let gateway = table["gateway"].as_table_mut().unwrap();
        gateway.insert("listen".to_owned(), format!("127.0.0.1:{port}").into());
        let http = format!("127.0.0.1:{}", free_port());
        gateway.insert("http_listen".to_owned(), http.clone().into());
        for (shard, port) in table["shard"].as_array_mut().unwrap().iter_mut().zip(ports) {
            let primary = shard["primary"].as_str().unwrap();
            let (before, after) = primary.rsplit_once(':').unwrap();
            let (_, database) = after.split_once('/').unwrap();
            shard["primary"] = format!("{before}:{port}/{database}").into();
        }
        // Beside the map's file.
        let config = cluster.dir().join(format!("{name}.toml"));
        fs::write(&config, toml::to_string(&table).unwrap()).unwrap();
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (log, pauses) = (kept.join(format!("{name}.log")), kept.join(format!("{name}.pauses")));
        fs::create_dir_all(&pauses).unwrap();
        let url = cluster.url().replace(&format!(":{}/", cluster.port()), &format!(":{port}/"));
        let child = launch(&config, &log, &pauses);
        let gateway = Gateway { child, config, log, pauses, url, http };
        gateway.wait();
        gateway
    }

    /// How the application connects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        let config: tokio_postgres::Config = self.url.parse().unwrap();
        config.get_ports()[0]
    }

    /// Where it serves its metrics.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Connects as the application.
    pub async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) {
        self.child = launch(&self.config, &self.log, &self.pauses);
        self.wait();
    }

    /// Starts it again if it was killed.
    pub fn restart_if_killed(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.restart();
        }
    }

    /// Commits stop at this point from now on.
    pub fn pause_at(&self, point: &str) {
        fs::write(self.pauses.join(point), "").unwrap();
    }

    /// Whether a commit stops at the point.
    pub fn is_paused_at(&self, point: &str) -> bool {
        self.pauses.join(point).with_extension("reached").exists()
    }

    /// Commits go on.
    pub fn go_on(&self) {
        for entry in fs::read_dir(&self.pauses).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    fn wait(&self) {
        let address = self.url.rsplit('@').next().unwrap().split('/').next().unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < START_TIMEOUT, "the gateway does not serve; it said:\n{}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the gateway's standard error:\n{}", self.said());
        }
        let _ = fs::remove_file(&self.log);
        let _ = fs::remove_dir_all(&self.pauses);
    }
}

fn launch(config: &Path, log: &Path, pauses: &Path) -> Child {
    let mut command = host().launcher.command(&program(), "KILL");
    command.args(["serve", "--config"]).arg(config).env("PGBRAID_PAUSE", pauses);
    command.stderr(File::options().create(true).append(true).open(log).unwrap());
    host().launcher.launch(command).unwrap()
}

/// A port below those that outgoing connections are given, which would take it while the gateway is dead. *Source*: ip(7),
/// ip_local_port_range.
fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id().wrapping_mul(61).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (nth % u32::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
