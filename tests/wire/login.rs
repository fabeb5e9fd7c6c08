//! Log-ins of the test harness's servers.

use crate::client::Login;
use crate::support::{Database, Oracle};

/// What a URL says: user, password, address on the loopback interface, database.
pub fn of(url: &str) -> Login {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec()).unwrap();
    let address = ([127, 0, 0, 1], config.get_ports()[0]).into();
    Login::new(address, config.get_user().unwrap(), &password, config.get_dbname().unwrap())
}

/// An empty database on the oracle.
pub fn database() -> Database {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Oracle::shared().database())
}
