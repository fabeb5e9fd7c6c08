//! Rules of `[[shard]]`.

use std::collections::HashMap;

use super::check::Check;
use super::checked::{ServerAddress, Shard};
use super::mistake::{At, Place};
use super::raw::RawShard;
use super::url;

impl Check<'_> {
    pub(super) fn shards(&mut self, written: Vec<RawShard>) -> Vec<Shard> {
        if written.is_empty() {
            self.missing(Place::default(), "there is no [[shard]]: give each shard a name and a primary");
        }
        if let Some(one_too_many) = written.get(usize::from(u16::MAX)) {
            self.wrong(one_too_many.place, format!("more than {} shards", u16::MAX));
        }
        let mut names: HashMap<String, Place> = HashMap::new();
        let mut servers: HashMap<(String, u16, String), String> = HashMap::new();
        let mut shards = Vec::new();
        for shard in written {
            let name = self.shard_name(&shard, &mut names);
            let password = shard.password_file.and_then(|setting| self.password_in_file("password_file", setting));
            let Some(primary) = shard.primary else {
                self.missing(
                    shard.place,
                    "[[shard]] needs `primary`, such as `primary = \"postgres://10.0.0.1/shop\"`",
                );
                continue;
            };
            let mut addresses = Vec::new();
            for (key, setting) in std::iter::once(("primary", primary))
                .chain(shard.replicas.into_iter().map(|replica| ("replicas", replica)))
            {
                addresses.extend(self.server(key, setting, password.as_ref(), &name, &mut servers));
            }
            if !addresses.is_empty() {
                let primary = addresses.remove(0);
                shards.push(Shard { name, primary, replicas: addresses });
            }
        }
        shards
    }

    fn shard_name(&mut self, shard: &RawShard, names: &mut HashMap<String, Place>) -> String {
        let Some(At { value, place }) = &shard.name else {
            self.missing(shard.place, "[[shard]] needs `name`");
            return String::new();
        };
        if value.is_empty() {
            self.wrong(*place, "`name` in [[shard]] is empty");
        } else if names.insert(value.clone(), *place).is_some() {
            self.wrong(*place, format!("two shards are named `{value}`"));
        }
        value.clone()
    }

    fn server(
        &mut self,
        key: &str,
        setting: At<String>,
        password: Option<&String>,
        shard: &str,
        servers: &mut HashMap<(String, u16, String), String>,
    ) -> Option<ServerAddress> {
        let mut address = match url::parse(&setting.value, self.directory(setting.place)) {
            Ok(address) => address,
            Err(message) => {
                self.wrong(setting.place, format!("`{key}`: {message}"));
                return None;
            }
        };
        address.password = address.password.or_else(|| password.cloned());
        let tls = address.tls.clone();
        for (parameter, file) in
            [("sslrootcert", tls.root_certificate), ("sslcert", tls.certificate), ("sslkey", tls.key)]
        {
            if let Some(file) = file {
                self.readable(parameter, &file, setting.place);
            }
        }
        let identity = (address.host.to_ascii_lowercase(), address.port, address.database.clone());
        if let Some(other) = servers.insert(identity, shard.to_owned()) {
            let at = format!("{} on {}:{}", address.database, address.host, address.port);
            self.wrong(setting.place, format!("`{key}`: database {at} already belongs to shard `{other}`"));
        }
        Some(address)
    }
}
