//! One plain Postgres that says what the right answer is.

use std::path::PathBuf;
use std::sync::OnceLock;

use pgbraid::demo::postgres::{APP, DATABASE, Directory, SUPERUSER, Server, Template};
use tokio_postgres::Client;

use super::{block_on, connect, host, templates, unique};

/// A Postgres server, shared by a test program, with a fresh database for whoever asks.
#[derive(Debug)]
pub struct Oracle {
    /// Before the directory: fields are dropped in order.
    server: Server,
    password: String,
    _directory: Directory,
}

/// A database of the oracle's, empty and owned by the role `app`, as a cluster's is.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    superuser_url: String,
}

impl Oracle {
    /// The test program's oracle; started for the first who asks.
    pub fn shared() -> &'static Oracle {
        static ORACLE: OnceLock<Oracle> = OnceLock::new();
        ORACLE.get_or_init(|| block_on(Oracle::start()))
    }

    /// Starts one.
    async fn start() -> Oracle {
        let directory = Directory::take(Some(&std::env::temp_dir().join(unique("oracle")))).unwrap();
        let template = Template::obtain(host(), directory.path(), Some(&templates())).await.unwrap();
        let data: PathBuf = directory.path().join("oracle/primary");
        let server = Server::primary(host(), &template, &data).await.unwrap();
        Oracle { server, password: template.password().to_owned(), _directory: directory }
    }

    /// A fresh database.
    pub async fn database(&self) -> Database {
        let name = unique("db").replace('-', "_");
        let postgres = connect(&self.superuser_url(DATABASE)).await;
        postgres.batch_execute(&format!("create database {name} owner {APP}")).await.unwrap();
        let url = format!("postgres://{APP}:{APP}@127.0.0.1:{}/{name}", self.server.port());
        Database { superuser_url: self.superuser_url(&name), name, url }
    }

    fn superuser_url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.server.port())
    }
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How `app` connects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How a superuser connects.
    pub fn superuser_url(&self) -> &str {
        &self.superuser_url
    }

    /// Connects as `app`.
    pub async fn connect(&self) -> Client {
        connect(&self.url).await
    }
}
