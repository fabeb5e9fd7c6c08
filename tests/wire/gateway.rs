//! A gateway before shards of its own: `pgbraid demo --empty`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::client::Login;
use crate::postgres::free_port;

/// A running demo; stopped when dropped.
pub struct Gateway {
    child: Child,
    directory: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Gateway {
    /// Starts `shards` empty shards and the gateway; `extra` is TOML added to the configuration.
    pub fn start(name: &str, shards: u32, extra: &str) -> Gateway {
        let directory = std::env::temp_dir().join(format!("pgbraid-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // Shards run as another user than root and must reach their directory.
        std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let config = directory.join("extra.toml");
        std::fs::write(&config, extra).unwrap();
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgbraid"))
            .args(["demo", "--empty", "--shards", &shards.to_string(), "--port", &free_port().to_string()])
            .args(["--http-port", &free_port().to_string(), "--config"])
            .arg(&config)
            .arg("--dir")
            .arg(directory.join("demo"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = match ready(&mut child) {
            Some(address) => address,
            None => {
                terminate(&mut child);
                let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                panic!("the demo does not become ready:\n{log}");
            }
        };
        Gateway { child, directory, address }
    }

    /// As `app` to `shop`.
    pub fn login(&self) -> Login {
        Login::new(self.address, "app", "app", "shop")
    }

    /// The demo's process, which is the gateway's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the shards' data directories are.
    pub fn shards_directory(&self) -> PathBuf {
        self.directory.join("demo")
    }

    /// What the gateway has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the gateway's log ends:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        terminate(&mut self.child);
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    drop(std::fs::remove_dir_all(directory));
}

/// The address of the line `ready postgres://app:app@127.0.0.1:6432/shop`.
fn ready(child: &mut Child) -> Option<SocketAddr> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Keeps reading, so that the demo never waits for a reader.
        for line in lines.map_while(Result::ok) {
            let address = line.strip_prefix("ready ").and_then(|url| {
                url.split_once('@').and_then(|(_, rest)| rest.split_once('/')).and_then(|(address, _)| address.parse().ok())
            });
            if let Some(address) = address {
                drop(sender.send(address));
            }
        }
    });
    receiver.recv_timeout(Duration::from_secs(90)).ok()
}

/// SIGTERM, and SIGKILL for one that does not go.
fn terminate(child: &mut Child) {
    drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
    for _ in 0..300 {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(child.kill());
    drop(child.wait());
}
