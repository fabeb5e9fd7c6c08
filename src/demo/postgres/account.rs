//! Who runs the servers: PostgreSQL refuses to run as root, so root lends them another account.

use std::path::Path;
use std::{fs, os::unix};

use super::PostgresError;

/// The accounts that root may lend, best first. Debian's packages create the first; every system has the second.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// An operating system user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Account {
    /// Who is to run servers: `None` when whoever runs us can do it.
    ///
    /// # Errors
    /// [`PostgresError::NoAccount`] when we are root and nobody else is there.
    pub fn for_servers() -> Result<Option<Account>, PostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(PostgresError::io("reading /etc/passwd"))?;
        let found = CANDIDATES.iter().find_map(|name| Account::in_passwd(&passwd, name));
        found.map(Some).ok_or(PostgresError::NoAccount)
    }

    /// Gives a file or directory to the account.
    pub(super) fn own(&self, path: &Path) -> Result<(), PostgresError> {
        unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(PostgresError::io(format!(
            "giving {} to {}",
            path.display(),
            self.name
        )))
    }

    /// Looks a name up in passwd(5): `name:password:uid:gid:...`.
    fn in_passwd(passwd: &str, name: &str) -> Option<Account> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        let (uid, gid) = (ids.next()?.parse().ok()?, ids.next()?.parse().ok()?);
        (uid != 0).then(|| Account { name: name.to_owned(), uid, gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:7::/:\npostgres:x:104:106:,,,:/var/lib:/bin/sh\n";

    #[test]
    fn a_name_is_found_whole_and_never_as_a_prefix() {
        let expected = Account { name: "postgres".to_owned(), uid: 104, gid: 106 };
        assert_eq!(Account::in_passwd(PASSWD, "postgres"), Some(expected));
        assert_eq!(Account::in_passwd(PASSWD, "post"), None);
    }

    #[test]
    fn root_under_another_name_is_not_lent() {
        assert_eq!(Account::in_passwd("postgres:x:0:0::/:\n", "postgres"), None);
    }
}
