//! A session's settings (GUCs), and the statements that bring a server from one session's settings to another's.

/// The settings that a session has made.
///
/// Two sessions with equal settings share servers without a word being sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// From the start-up packet: what RESET goes back to.
    startup: Vec<(String, String)>,
    /// What SET made of them, in the order in which they were changed last: who may change what depends on the role.
    changes: Vec<(String, Change)>,
}

/// A search path as a session gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchPath<'a> {
    /// Schema by schema.
    Schemas(&'a [String]),
    /// As one text, separated by commas.
    Text(&'a str),
}

/// How a session changed a setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// By this SET statement, replayed as it is; of `search_path` also the schemas it names, of `role` its name.
    Statement(String, Option<Vec<String>>),
    /// By `set_config` with this value.
    Value(String),
}

impl Settings {
    /// Of a start-up packet, in which names may be spelled as in `TimeZone`.
    pub fn from_startup(pairs: &[(String, String)]) -> Self {
        let mut startup: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            let name = name.to_ascii_lowercase();
            match startup.iter_mut().find(|(known, _)| *known == name) {
                Some((_, before)) => value.clone_into(before),
                None => startup.push((name, value.clone())),
            }
        }
        Settings { startup, changes: Vec::new() }
    }

    /// No setting differs from the server's own.
    pub fn is_empty(&self) -> bool {
        self.startup.is_empty() && self.changes.is_empty()
    }

    fn change(&self, name: &str) -> Option<&Change> {
        self.changes.iter().find(|(changed, _)| changed == name).map(|(_, change)| change)
    }

    /// What a setting was set to, as value or inside the statement that set it.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        match self.change(name) {
            Some(Change::Statement(text, _) | Change::Value(text)) => Some(text),
            None => self.startup_value(name),
        }
    }

    /// What they take, about.
    pub fn bytes(&self) -> usize {
        let change = |change: &Change| match change {
            Change::Statement(text, names) => {
                text.len() + names.iter().flatten().map(|name| name.len() + size_of::<String>()).sum::<usize>()
            }
            Change::Value(value) => value.len(),
        };
        let entry = size_of::<(String, Change)>();
        let startup = self.startup.iter().map(|(name, value)| entry + name.len() + value.len()).sum::<usize>();
        startup + self.changes.iter().map(|(name, made)| entry + name.len() + change(made)).sum::<usize>()
    }

    /// The settings of the start-up packet.
    pub fn startup(&self) -> impl Iterator<Item = (&str, &str)> {
        self.startup.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The start-up value of a setting, which RESET goes back to.
    pub fn startup_value(&self, name: &str) -> Option<&str> {
        self.startup().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What the session made of `search_path`; `None` when it left it alone.
    pub fn search_path(&self) -> Option<SearchPath<'_>> {
        match self.change("search_path") {
            Some(Change::Statement(_, schemas)) => schemas.as_deref().map(SearchPath::Schemas),
            Some(Change::Value(value)) => Some(SearchPath::Text(value)),
            None => self.startup_value("search_path").map(SearchPath::Text),
        }
    }

    /// The role that SET ROLE has made the current one; `None` for the one that logged in. *Source*: manual of PostgreSQL 15,
    /// SET ROLE.
    pub fn role(&self) -> Option<&str> {
        let name = match self.change("role") {
            Some(Change::Statement(_, names)) => names.as_deref()?.first()?,
            Some(Change::Value(value)) => value,
            None => self.startup_value("role")?,
        };
        (name != "none").then_some(name)
    }

    /// With this change, as the last.
    pub fn with(&self, name: &str, change: Change) -> Self {
        let mut settings = self.without(name);
        settings.changes.push((name.to_owned(), change));
        settings
    }

    /// With this setting as at start-up.
    pub fn without(&self, name: &str) -> Self {
        let mut settings = self.clone();
        settings.changes.retain(|(changed, _)| changed != name);
        settings
    }

    /// With no role: SET SESSION AUTHORIZATION ends SET ROLE. *Source*: miscinit.c, SetSessionAuthorization.
    pub fn without_role(&self) -> Self {
        match self.startup_value("role") {
            None => self.without("role"),
            Some(_) => self.with("role", Change::Value("none".to_owned())),
        }
    }

    /// With all settings as at start-up. SET ROLE and SET SESSION AUTHORIZATION are not reset by RESET ALL
    /// (guc_tables.c: GUC_NO_RESET_ALL), unless `and_role` says so as DISCARD ALL does.
    pub fn reset_all(&self, and_role: bool) -> Self {
        let mut settings = self.clone();
        settings.changes.retain(|(name, _)| !and_role && is_role(name));
        settings
    }

    /// Simple-protocol scripts that give a server whose session has `before` these settings. A script is read whole before it runs: what
    /// has other characters than ASCII, in UTF-8, comes behind the one that sees to the encoding.
    pub fn scripts_from(&self, before: &Settings) -> Vec<String> {
        let script = self.script_from(before);
        if script.is_ascii() {
            return if script.is_empty() { Vec::new() } else { vec![script] };
        }
        let mut first = Settings::default().script_from(before);
        first.push_str(if first.is_empty() { "" } else { "\n;" });
        first.push_str("SET client_encoding TO 'UTF8'");
        let own = self.text_of("client_encoding").is_some();
        let back = (!own).then(|| "RESET client_encoding".to_owned());
        vec![first, joined(self.assignments().chain(back))]
    }

    /// One script that does it on a server that reads it in the right encoding.
    pub fn script_from(&self, before: &Settings) -> String {
        let named = |name: &str| before.startup_value(name).is_some() || before.change(name).is_some();
        let reset = (!before.is_empty()).then(|| "RESET ALL".to_owned());
        let roles = ROLES.iter().any(|name| named(name));
        let reset = reset.into_iter().chain(roles.then(|| "RESET SESSION AUTHORIZATION;RESET ROLE".to_owned()));
        joined(reset.chain(self.assignments()))
    }

    fn assignments(&self) -> impl Iterator<Item = String> {
        let startup = self.startup().filter(|(name, _)| self.change(name).is_none());
        let changes = self.changes.iter().map(|(name, change)| match change {
            Change::Statement(text, _) => text.clone(),
            Change::Value(value) => assignment(name, value, false),
        });
        startup.map(|(name, value)| assignment(name, value, false)).chain(changes)
    }
}

const ROLES: [&str; 2] = ["role", "session_authorization"];

fn is_role(name: &str) -> bool {
    ROLES.contains(&name)
}

/// One script, each statement on lines of its own: one may end with a comment.
fn joined(statements: impl Iterator<Item = String>) -> String {
    statements.collect::<Vec<String>>().join("\n;")
}

/// Sets `name` to a value as the start-up packet would: the whole text is the value, also of list settings.
pub fn assignment(name: &str, value: &str, local: bool) -> String {
    format!("SELECT pg_catalog.set_config({},{},{local})", literal(name), literal(value))
}

/// A string constant that means the same whatever `standard_conforming_strings` is.
pub fn literal(text: &str) -> String {
    let text = text.replace('\0', "");
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup() -> Settings {
        Settings::from_startup(&[("application_name".into(), "it's".into())])
    }

    #[test]
    fn a_fresh_server_gets_the_startup_values() {
        assert_eq!(
            startup().script_from(&Settings::default()),
            "SELECT pg_catalog.set_config('application_name','it''s',false)"
        );
    }

    #[test]
    fn a_used_server_is_reset_first() {
        let used = Settings::default().with("role", Change::Statement("SET ROLE a".into(), None));
        assert_eq!(Settings::default().script_from(&used), "RESET ALL\n;RESET SESSION AUTHORIZATION;RESET ROLE");
    }

    #[test]
    fn reset_goes_back_to_the_startup_value() {
        let changed = startup().with("application_name", Change::Statement("SET application_name TO x".into(), None));
        assert_ne!(changed, startup());
        assert_eq!(changed.without("application_name"), startup());
        assert_eq!(changed.with("work_mem", Change::Value("1MB".into())).reset_all(false), startup());
    }

    #[test]
    fn what_is_changed_again_is_said_behind_what_was_changed_meanwhile() {
        let set = |settings: Settings, name: &str| settings.with(name, Change::Value("x".into()));
        let changed = ["role", "a", "role"].into_iter().fold(Settings::default(), set);
        assert!(changed.script_from(&Settings::default()).ends_with("set_config('role','x',false)"));
    }

    #[test]
    fn other_characters_than_ascii_come_behind_the_encoding() {
        let latin = Settings::from_startup(&[("client_encoding".into(), "LATIN1".into())]);
        let set = |settings: &Settings| settings.with("a.b", Change::Statement("SET a.b = 'é'".into(), None));
        assert_eq!(
            set(&Settings::default()).scripts_from(&latin),
            ["RESET ALL\n;SET client_encoding TO 'UTF8'", "SET a.b = 'é'\n;RESET client_encoding"]
        );
        let both = set(&latin).scripts_from(&Settings::default());
        assert_eq!(both[0], "SET client_encoding TO 'UTF8'");
        assert!(both[1].starts_with("SELECT pg_catalog.set_config('client_encoding','LATIN1',false)\n;SET"));
    }

    #[test]
    fn reset_all_keeps_the_role_and_discard_all_does_not() {
        let changed = Settings::default().with("role", Change::Statement("SET ROLE a".into(), None));
        assert_eq!(changed.reset_all(false), changed);
        assert!(changed.reset_all(true).is_empty());
    }

    #[test]
    fn backslashes_are_literal_in_any_server() {
        assert_eq!(literal(r"a\b'c"), r" E'a\\b''c'");
    }
}
