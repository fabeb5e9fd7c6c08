//! `pgbraid serve` in front of a cluster's shards: a second gateway, whose configuration and signals are the test's.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use toml::{Table, Value};

use crate::client::{Client, Login};
use crate::support::Cluster;
use crate::{eventually, login};

/// A gateway of its own; ended when dropped.
pub struct Gateway {
    child: Child,
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    /// Takes the cluster's configuration, lets `change` change it, and serves.
    pub fn start(name: &str, cluster: &Cluster, change: impl FnOnce(&mut Table)) -> Gateway {
        let address = free_address();
        let text = std::fs::read_to_string(cluster.config_path()).unwrap();
        let mut table: Table = text.parse().unwrap();
        table["gateway"]["listen"] = Value::String(address.to_string());
        table["gateway"].as_table_mut().unwrap().remove("http_listen");
        let map = cluster.config_path().with_file_name("shardmap.toml");
        table["sharding"]["map"] = Value::String(map.to_str().unwrap().into());
        change(&mut table);
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let config = kept.join(format!("serve-{name}-{}.toml", std::process::id()));
        let log = config.with_extension("log");
        std::fs::write(&config, toml::to_string(&table).unwrap()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pgbraid"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let gateway = Gateway { child, config, log, address };
        eventually("the second gateway serves", || Client::connect(&gateway.login()).is_ok());
        gateway
    }

    /// As `app`.
    pub fn login(&self) -> Login {
        let mut login = login::of("postgres://app:app@127.0.0.1:1/shop");
        login.address = self.address;
        login
    }

    /// Changes the file, then says SIGHUP.
    pub fn reload(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, change(text)).unwrap();
        self.signal("HUP");
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the gateway ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the second gateway's log:\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.config));
        drop(std::fs::remove_file(&self.log));
    }
}

/// An address on the loopback interface that nobody listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
