//! A session's settings (GUCs), and the statements that bring a server from one session's settings to another's.

/// The settings that a session has made, in the order in which they were first made.
///
/// Two sessions with equal settings share servers without a word being sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    name: String,
    /// From the start-up packet: what RESET goes back to.
    startup: Option<String>,
    /// What SET made of it.
    current: Option<Change>,
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
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.entry(&name.to_ascii_lowercase()).startup = Some(value.clone());
        }
        settings
    }

    /// No setting differs from the server's own.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a setting was set to, as value or inside the statement that set it.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        match (&entry.current, &entry.startup) {
            (Some(Change::Statement(text, _) | Change::Value(text)), _) | (None, Some(text)) => Some(text),
            (None, None) => None,
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
        let entry = |entry: &Entry| {
            let startup = entry.startup.as_ref().map_or(0, String::len);
            size_of::<Entry>() + entry.name.len() + startup + entry.current.as_ref().map_or(0, change)
        };
        self.entries.iter().map(entry).sum()
    }

    /// The settings of the start-up packet.
    pub fn startup(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.startup.as_deref()?)))
    }

    /// The start-up value of a setting, which RESET goes back to.
    pub fn startup_value(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.name == name)?.startup.as_deref()
    }

    /// What the session made of `search_path`; `None` when it left it alone.
    pub fn search_path(&self) -> Option<SearchPath<'_>> {
        let entry = self.entries.iter().find(|entry| entry.name == "search_path")?;
        match (&entry.current, &entry.startup) {
            (Some(Change::Statement(_, schemas)), _) => schemas.as_deref().map(SearchPath::Schemas),
            (Some(Change::Value(value)), _) | (None, Some(value)) => Some(SearchPath::Text(value)),
            (None, None) => None,
        }
    }

    /// The role that SET ROLE has made the current one; `None` for the one that logged in. *Source*: manual of PostgreSQL 15,
    /// SET ROLE.
    pub fn role(&self) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.name == "role")?;
        let name = match (&entry.current, &entry.startup) {
            (Some(Change::Statement(_, names)), _) => names.as_deref()?.first()?,
            (Some(Change::Value(value)), _) | (None, Some(value)) => value,
            (None, None) => return None,
        };
        (name != "none").then_some(name)
    }

    /// With this change.
    pub fn with(&self, name: &str, change: Change) -> Self {
        let mut settings = self.clone();
        settings.entry(name).current = Some(change);
        settings
    }

    /// With this setting as at start-up.
    pub fn without(&self, name: &str) -> Self {
        let mut settings = self.clone();
        settings.entry(name).current = None;
        settings.tidy()
    }

    /// With all settings as at start-up. SET ROLE and SET SESSION AUTHORIZATION are not reset by RESET ALL
    /// (guc_tables.c: GUC_NO_RESET_ALL), unless `and_role` says so as DISCARD ALL does.
    pub fn reset_all(&self, and_role: bool) -> Self {
        let mut settings = self.clone();
        for entry in &mut settings.entries {
            if and_role || !is_role(&entry.name) {
                entry.current = None;
            }
        }
        settings.tidy()
    }

    /// One simple-protocol script that gives a server whose session has `before` these settings.
    pub fn script_from(&self, before: &Settings) -> String {
        let mut script = String::new();
        if !before.is_empty() {
            script.push_str("RESET ALL");
            if before.entries.iter().any(|entry| is_role(&entry.name)) {
                script.push_str(";RESET SESSION AUTHORIZATION;RESET ROLE");
            }
        }
        for entry in &self.entries {
            let statement = match (&entry.current, &entry.startup) {
                (Some(Change::Statement(text, _)), _) => text.clone(),
                (Some(Change::Value(value)), _) | (None, Some(value)) => assignment(&entry.name, value, false),
                (None, None) => continue,
            };
            if !script.is_empty() {
                // On a line of its own: what stands before it may end with a comment.
                script.push_str("\n;");
            }
            script.push_str(&statement);
        }
        script
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        let at = self.entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            self.entries.push(Entry { name: name.to_owned(), startup: None, current: None });
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }

    fn tidy(mut self) -> Self {
        self.entries.retain(|entry| entry.startup.is_some() || entry.current.is_some());
        self
    }
}

fn is_role(name: &str) -> bool {
    matches!(name, "role" | "session_authorization")
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
        assert_eq!(Settings::default().script_from(&used), "RESET ALL;RESET SESSION AUTHORIZATION;RESET ROLE");
    }

    #[test]
    fn reset_goes_back_to_the_startup_value() {
        let changed = startup().with("application_name", Change::Statement("SET application_name TO x".into(), None));
        assert_ne!(changed, startup());
        assert_eq!(changed.without("application_name"), startup());
        assert_eq!(changed.with("work_mem", Change::Value("1MB".into())).reset_all(false), startup());
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
