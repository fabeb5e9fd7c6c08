//! TOML text -> [`RawConfig`]: walks the tree with places, so that every unknown key and wrong type is reported, not only the first.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{At, Mistakes, Place};
use super::raw::{
    RawAuth, RawConfig, RawGateway, RawLimits, RawPool, RawShard, RawSharding, RawTable, RawUser, Setting,
};
use super::units;

/// Reads source number `source`. Mistakes of syntax and type leave their settings out.
pub(super) fn read(source: usize, text: &str, mistakes: &mut Mistakes) -> RawConfig {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            let offset = error.span().map_or(0, |span| span.start);
            mistakes.add_misread(Place { source, offset }, error.message().trim_end().to_owned());
        }
        return RawConfig::default();
    }
    let mut root = Section::new(source, "the file".to_owned(), Place { source, offset: 0 }, tree.get_ref(), mistakes);
    let config = RawConfig {
        gateway: root.table("gateway", gateway).unwrap_or_default(),
        sharding: root.table("sharding", sharding).unwrap_or_default(),
        tables: root.named_tables("tables", table),
        shards: root.table_list("shard", shard),
        users: root.table_list("user", user),
        auth: root.table("auth", auth).unwrap_or_default(),
        pool: root.table("pool", pool).unwrap_or_default(),
        limits: root.table("limits", limits).unwrap_or_default(),
    };
    root.finish();
    config
}

fn gateway(section: &mut Section) -> RawGateway {
    RawGateway {
        listen: section.texts("listen"),
        http_listen: section.text("http_listen"),
        tls_certificate: section.text("tls_certificate"),
        tls_key: section.text("tls_key"),
        tls_client_ca: section.text("tls_client_ca"),
        tls_required: section.flag("tls_required"),
        drain_timeout: section.duration("drain_timeout"),
        threads: section.count("threads"),
    }
}

fn sharding(section: &mut Section) -> RawSharding {
    RawSharding {
        place: Some(section.place),
        key: section.text("key"),
        home: section.text("home"),
        map: section.text("map"),
    }
}

fn table(section: &mut Section, name: At<String>) -> RawTable {
    RawTable { name, key: section.text("key"), kind: section.text("kind") }
}

fn shard(section: &mut Section) -> RawShard {
    RawShard {
        place: section.place,
        name: section.text("name"),
        primary: section.text("primary"),
        replicas: section.texts("replicas").unwrap_or_default(),
        password_file: section.text("password_file"),
    }
}

fn user(section: &mut Section) -> RawUser {
    RawUser {
        place: section.place,
        name: section.text("name"),
        auth: section.text("auth"),
        password: section.text("password"),
        password_file: section.text("password_file"),
        verifier: section.text("verifier"),
        server_user: section.text("server_user"),
        server_password: section.text("server_password"),
        server_password_file: section.text("server_password_file"),
        reads: section.text("reads"),
        pool_max: section.count("pool_max"),
    }
}

fn auth(section: &mut Section) -> RawAuth {
    RawAuth { trust: section.texts("trust").unwrap_or_default(), query: section.text("query") }
}

fn pool(section: &mut Section) -> RawPool {
    RawPool {
        max: section.count("max"),
        merge_max: section.count("merge_max"),
        multiplex: section.flag("multiplex"),
        min: section.count("min"),
        idle_timeout: section.duration("idle_timeout"),
        lifetime: section.duration("lifetime"),
        wait_timeout: section.duration("wait_timeout"),
        connect_timeout: section.duration("connect_timeout"),
    }
}

fn limits(section: &mut Section) -> RawLimits {
    RawLimits {
        clients_max: section.count("clients_max"),
        statement_bytes_max: section.bytes("statement_bytes_max"),
        held_bytes_max: section.bytes("held_bytes_max"),
        shipped_bytes_max: section.bytes("shipped_bytes_max"),
        plans_max: section.count("plans_max"),
        prepared_max: section.count("prepared_max"),
        client_statements_max: section.count("client_statements_max"),
        client_bytes_max: section.bytes("client_bytes_max"),
        login_timeout: section.duration("login_timeout"),
    }
}

/// A table being read. The keys asked for are the keys there are; [`Section::finish`] reports the others.
struct Section<'t, 'm> {
    source: usize,
    /// As written, for messages: `[pool]`.
    label: String,
    place: Place,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
    mistakes: &'m mut Mistakes,
}

impl<'t, 'm> Section<'t, 'm> {
    fn new(source: usize, label: String, place: Place, table: &'t DeTable<'t>, mistakes: &'m mut Mistakes) -> Self {
        Self { source, label, place, table, known: Vec::new(), mistakes }
    }

    fn find(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn at(&self, value: &Spanned<DeValue<'_>>) -> Place {
        Place { source: self.source, offset: value.span().start }
    }

    fn wrong_type(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let message =
            format!("`{key}` in {} must be {wanted}, not {}", self.label, article(value.get_ref().type_str()));
        self.mistakes.add_misread(self.at(value), message);
    }

    /// Reads a value with `read`, which says `None` for a wrong type and `Err` for a wrong spelling.
    fn setting<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<Result<T, String>>,
    ) -> Setting<T> {
        let value = self.find(key)?;
        let place = self.at(value);
        match read(value.get_ref()) {
            Some(Ok(value)) => Some(At { value, place }),
            Some(Err(message)) => {
                self.mistakes.add_misread(place, format!("`{key}` in {}: {message}", self.label));
                None
            }
            None => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    fn text(&mut self, key: &'static str) -> Setting<String> {
        self.setting(key, "a string", |value| value.as_str().map(|text| Ok(text.to_owned())))
    }

    fn flag(&mut self, key: &'static str) -> Setting<bool> {
        self.setting(key, "true or false", |value| value.as_bool().map(Ok))
    }

    fn count(&mut self, key: &'static str) -> Setting<u64> {
        self.setting(key, "a whole number", |value| value.is_integer().then(|| whole(value)))
    }

    fn bytes(&mut self, key: &'static str) -> Setting<u64> {
        self.setting(key, "a size such as \"64MB\" or a number of bytes", |value| match value.as_str() {
            Some(text) => Some(units::bytes(text)),
            None => value.is_integer().then(|| whole(value)),
        })
    }

    fn duration(&mut self, key: &'static str) -> Setting<Duration> {
        self.setting(key, "a duration such as \"10s\" or a number of seconds", |value| match value.as_str() {
            Some(text) => Some(units::duration(text)),
            None => value.is_integer().then(|| whole(value).map(Duration::from_secs)),
        })
    }

    /// A string or a list of strings.
    fn texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        const WANTED: &str = "a string or a list of strings";
        let value = self.find(key)?;
        let place = self.at(value);
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![At { value: text.to_owned(), place }]);
        }
        let Some(elements) = value.get_ref().as_array() else {
            self.wrong_type(key, value, WANTED);
            return None;
        };
        let mut texts = Vec::new();
        for element in elements.iter() {
            match element.get_ref().as_str() {
                Some(text) => texts.push(At { value: text.to_owned(), place: self.at(element) }),
                None => self.wrong_type(key, element, WANTED),
            }
        }
        Some(texts)
    }

    fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'t, '_>) -> T) -> Option<T> {
        let value = self.find(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, &format!("a section [{key}]"));
            return None;
        };
        let mut section = Section::new(self.source, format!("[{key}]"), self.at(value), table, self.mistakes);
        let read = read(&mut section);
        section.finish();
        Some(read)
    }

    fn table_list<T>(&mut self, key: &'static str, read: impl Fn(&mut Section<'t, '_>) -> T) -> Vec<T> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(elements) = value.get_ref().as_array() else {
            self.wrong_type(key, value, &format!("a list: write [[{key}]] with two brackets"));
            return Vec::new();
        };
        let mut list = Vec::new();
        for element in elements.iter() {
            let Some(table) = element.get_ref().as_table() else {
                self.wrong_type(key, element, &format!("a section [[{key}]]"));
                continue;
            };
            let mut section = Section::new(self.source, format!("[[{key}]]"), self.at(element), table, self.mistakes);
            list.push(read(&mut section));
            section.finish();
        }
        list
    }

    fn named_tables<T>(&mut self, key: &'static str, read: impl Fn(&mut Section<'t, '_>, At<String>) -> T) -> Vec<T> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(tables) = value.get_ref().as_table() else {
            self.wrong_type(key, value, &format!("sections [{key}.NAME]"));
            return Vec::new();
        };
        let mut list = Vec::new();
        for (name, value) in tables.iter() {
            let Some(table) = value.get_ref().as_table() else {
                self.wrong_type(key, value, &format!("sections [{key}.NAME]"));
                continue;
            };
            let place = Place { source: self.source, offset: name.span().start };
            let label = format!("[{key}.{}]", name.get_ref());
            let mut section = Section::new(self.source, label, place, table, self.mistakes);
            list.push(read(&mut section, At { value: name.get_ref().clone().into_owned(), place }));
            section.finish();
        }
        list
    }

    fn finish(self) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = Place { source: self.source, offset: key.span().start };
            let suggestion = did_you_mean(name, &self.known);
            self.mistakes.add(place, format!("unknown key `{name}` in {}{suggestion}", self.label));
        }
    }
}

fn whole<T: TryFrom<i64>>(value: &DeValue<'_>) -> Result<T, String> {
    let integer = value.as_integer();
    integer
        .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
        .and_then(|integer| T::try_from(integer).ok())
        .ok_or_else(|| "must not be negative or larger than 9223372036854775807".to_owned())
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// `, did you mean ...?`, or nothing when no known word is near.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= (word.chars().count() / 3).max(1) => {
            format!(", did you mean `{known}`?")
        }
        Some(_) | None => {
            format!("; there are {}", known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", "))
        }
    }
}
