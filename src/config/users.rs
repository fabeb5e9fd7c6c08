//! Rules of `[[user]]`.

use super::check::Check;
use super::checked::{AuthMethod, Pool, Reads, Secret, ServerSecret, User};
use super::mistake::{At, Place};
use super::raw::{RawUser, Setting};
use super::reader::did_you_mean;

const METHODS: [(&str, AuthMethod); 3] =
    [("scram-sha-256", AuthMethod::Scram), ("md5", AuthMethod::Md5), ("cert", AuthMethod::Cert)];

const READS: [(&str, Reads); 3] =
    [("primary", Reads::Primary), ("prefer-replica", Reads::PreferReplica), ("replica", Reads::Replica)];

/// `None` only together with a mistake. `client_ca`: client certificates can be checked.
pub(super) fn check(check: &mut Check<'_>, written: RawUser, pool: &Pool, client_ca: bool) -> Option<User> {
    let place = written.place;
    let method_place = written.auth.as_ref().map_or(place, |method| method.place);
    let method = one_of(check, "auth", written.auth, &METHODS);
    let reads = one_of(check, "reads", written.reads, &READS).unwrap_or_default();
    let pool_max = check.positive("pool_max", written.pool_max, pool.max);
    let password = password(check, "password", written.password, written.password_file);
    let server_password =
        password_for_servers(check, written.server_password, written.server_password_file, password.as_ref());
    let secret = secret(check, password, written.verifier);
    let method = method.unwrap_or(match &secret {
        Some(At { value: Secret::Verifier(verifier), .. }) if verifier.starts_with("md5") => AuthMethod::Md5,
        Some(_) | None => AuthMethod::Scram,
    });
    match (method, &secret) {
        (AuthMethod::Cert, Some(secret)) => {
            check.wrong(secret.place, "a user with `auth = \"cert\"` has no password or verifier; `server_password` is the one for the shards");
        }
        (AuthMethod::Cert, None) if !client_ca => {
            check.wrong(method_place, "`auth = \"cert\"` needs `tls_client_ca` in [gateway]");
        }
        (AuthMethod::Cert, None) => {}
        (AuthMethod::Scram | AuthMethod::Md5, None) => {
            check.missing(place, "[[user]] needs `password`, `password_file` or `verifier`");
        }
        (AuthMethod::Scram, Some(At { value: Secret::Verifier(verifier), place })) if verifier.starts_with("md5") => {
            check.wrong(*place, "`verifier` is for md5: add `auth = \"md5\"`");
        }
        (AuthMethod::Md5, Some(At { value: Secret::Verifier(verifier), place })) if !verifier.starts_with("md5") => {
            check.wrong(*place, "`verifier` is for SCRAM: leave `auth` out or set it to \"scram-sha-256\"");
        }
        (AuthMethod::Scram | AuthMethod::Md5, Some(_)) => {}
    }
    let Some(name) = written.name else {
        check.missing(place, "[[user]] needs `name`");
        return None;
    };
    // NAMEDATALEN - 1, src/include/pg_config_manual.h: longer names are cut by clients' servers and would never match.
    if name.value.is_empty() || name.value.len() > 63 {
        check.wrong(name.place, "`name` in [[user]] must have 1 to 63 bytes");
    }
    let server_user = written.server_user.map_or_else(|| name.value.clone(), |user| user.value);
    // The hash contains the user's name.
    let own_md5 = match &secret {
        Some(At { value: Secret::Verifier(text), .. }) if method == AuthMethod::Md5 && server_user == name.value => {
            Some(ServerSecret::Md5(text.clone()))
        }
        Some(_) | None => None,
    };
    Some(User {
        server_user,
        name: name.value,
        method,
        secret: secret.map(|secret| secret.value),
        server_password: server_password.map(ServerSecret::Password).or(own_md5),
        reads,
        pool_max,
    })
}

fn one_of<T: Copy>(check: &mut Check<'_>, key: &str, setting: Setting<String>, known: &[(&str, T)]) -> Option<T> {
    let At { value, place } = setting?;
    let found = known.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        check.wrong(place, format!("unknown value `{value}` of `{key}` in [[user]]{}", did_you_mean(&value, &names)));
    }
    found
}

fn password(check: &mut Check<'_>, key: &str, inline: Setting<String>, file: Setting<String>) -> Setting<String> {
    let password = match (inline, file) {
        (Some(password), None) => password,
        (None, Some(file)) => {
            let place = file.place;
            At { value: check.password_in_file(&format!("{key}_file"), file)?, place }
        }
        (Some(_), Some(file)) => {
            check.misread(file.place, format!("[[user]] has `{key}` and `{key}_file`: give one of them"));
            return None;
        }
        (None, None) => return None,
    };
    if password.value.is_empty() {
        check
            .wrong(password.place, format!("`{key}` in [[user]] is empty: PostgreSQL never accepts an empty password"));
    }
    Some(password)
}

fn password_for_servers(
    check: &mut Check<'_>,
    inline: Setting<String>,
    file: Setting<String>,
    client: Option<&At<String>>,
) -> Option<String> {
    let own = password(check, "server_password", inline, file).map(|password| password.value);
    own.or_else(|| client.map(|password| password.value.clone()))
}

fn secret(check: &mut Check<'_>, password: Setting<String>, verifier: Setting<String>) -> Option<At<Secret>> {
    match (password, verifier) {
        (Some(password), None) => Some(At { value: Secret::Plain(password.value), place: password.place }),
        (None, Some(verifier)) => {
            if !is_verifier(&verifier.value) {
                check.wrong(
                    verifier.place,
                    "`verifier` in [[user]] must be `SCRAM-SHA-256$...` or `md5...`, as in pg_authid.rolpassword",
                );
            }
            Some(At { value: Secret::Verifier(verifier.value), place: verifier.place })
        }
        (Some(_), Some(verifier)) => {
            let place: Place = verifier.place;
            check.wrong(
                place,
                "[[user]] has a password and `verifier`: give one of them; `server_password` is the one for the shards",
            );
            None
        }
        (None, None) => None,
    }
}

/// Looks like what `pg_authid.rolpassword` may hold. Whether its base64 is right shows when it is used (`auth`).
fn is_verifier(text: &str) -> bool {
    let md5 =
        text.strip_prefix("md5").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let scram = text
        .strip_prefix("SCRAM-SHA-256$")
        .is_some_and(|rest| rest.split_once('$').is_some_and(|(salt, keys)| salt.contains(':') && keys.contains(':')));
    md5 || scram
}
