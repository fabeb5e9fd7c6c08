//! Makes queries from choices: every clause that SELECT has, over the tables of `data`, such that one Postgres has exactly one
//! answer: numbers are rounded where equal ones may be written differently, limits have total orders, nothing divides.

use crate::choices::Choices;
use crate::data::{TABLES, Type};
use Type::*;

/// An output column.
type Column = (String, Type);

/// A query.
pub struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
    /// Its rows are totally ordered, but for equal ones.
    pub ordered: bool,
}

/// What a name in an expression may mean.
#[derive(Clone)]
struct Item {
    alias: String,
    columns: Vec<Column>,
    /// A table's columns that tell its rows apart.
    unique: Vec<&'static str>,
}

/// Makes queries.
pub struct Generator {
    pub choices: Choices,
    aliases: usize,
    /// WITH queries in force.
    ctes: Vec<Item>,
}

const ALL: &[Type] = &[Int, Num, Text, Bool, Date, Ts, Float, Uuid, Bytes, Json, Array, Span];

impl Generator {
    pub fn new(choices: Choices) -> Generator {
        Generator { choices, aliases: 0, ctes: Vec::new() }
    }

    /// A statement.
    pub fn statement(&mut self) -> Query {
        self.query(&[], None, 2, true)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// A query with these column types, or any. `outer`: names that it may refer to. `deep`: how deep it may nest.
    fn query(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32, top: bool) -> Query {
        let known = self.ctes.len();
        let with = if deep > 0 && self.choices.chance(6) { self.with(outer, deep) } else { String::new() };
        let body = match self.choices.below(12) {
            0..=4 => self.plain(outer, types, deep),
            5..=7 => self.grouped(outer, types, deep),
            8 => self.windowed(outer, types, deep),
            9 => self.distinct(outer, types, deep),
            _ if deep > 0 => self.set_operation(outer, types, deep),
            _ => self.plain(outer, types, deep),
        };
        self.ctes.truncate(known);
        let (sql, columns) = body;
        let mut query = Query { sql: format!("{with}{sql}"), columns, ordered: false };
        if self.choices.chance(if top { 3 } else { 8 }) {
            self.order(&mut query);
        }
        query
    }

    /// ORDER BY all columns, and perhaps a limit.
    fn order(&mut self, query: &mut Query) {
        if query.columns.iter().any(|(_, kind)| *kind == Json) && self.choices.chance(2) {
            return;
        }
        let mut items = Vec::new();
        for at in 0..query.columns.len() {
            let direction = self.choices.one_of(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            items.push(format!("{}{direction}", at + 1));
        }
        let limit = match self.choices.below(8) {
            0..=2 => String::new(),
            3 => format!(" LIMIT {}", self.choices.below(9)),
            4 => format!(" OFFSET {}", self.choices.below(5)),
            5 => format!(" LIMIT {} OFFSET {}", self.choices.below(9), self.choices.below(4)),
            6 => format!(" FETCH FIRST {} ROWS WITH TIES", self.choices.below(6) + 1),
            _ => " LIMIT ALL OFFSET 1".to_owned(),
        };
        query.sql = format!("{} ORDER BY {}{limit}", query.sql, items.join(", "));
        query.ordered = true;
    }

    fn with(&mut self, outer: &[Item], deep: u32) -> String {
        let alias = format!("w{}", self.alias());
        if self.choices.chance(4) {
            let start = self.query(&[], Some(&[Int]), 0, false).sql;
            let bound = self.choices.below(6);
            let union = self.choices.one_of(&["UNION", "UNION ALL"]);
            let step = match self.choices.below(2) {
                0 => format!("SELECT {alias}.n + 1 FROM {alias} WHERE {alias}.n < {bound}"),
                _ => format!(
                    "SELECT DISTINCT {alias}.n + 1 FROM {alias} JOIN orders o ON o.id = {alias}.n WHERE {alias}.n < {bound}"
                ),
            };
            let start = format!("SELECT s.n FROM ({start}) s(n) WHERE s.n > -3");
            self.ctes.push(Item { alias: alias.clone(), columns: vec![("n".into(), Int)], unique: Vec::new() });
            return format!("WITH RECURSIVE {alias}(n) AS ({start} {union} {step}) ");
        }
        let query = self.query(outer, None, deep - 1, false);
        let materialized = self.choices.one_of(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
        let names: Vec<&str> = query.columns.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("WITH {alias}({}) AS {materialized}({}) ", names.join(", "), query.sql);
        self.ctes.push(Item { alias, columns: query.columns, unique: Vec::new() });
        text
    }

    /// FROM items, and their text.
    fn clause_from(&mut self, outer: &[Item], deep: u32) -> (Vec<Item>, String) {
        let (first, mut text) = self.item_from(outer, &[], deep);
        let mut items = vec![first];
        let more = self.choices.one_of(&[0, 0, 0, 1, 1, 2]);
        for _ in 0..more {
            let (item, right) = self.item_from(outer, &items, deep);
            let mut join = self.choices.one_of(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            if right.starts_with("LATERAL") && join != "JOIN" {
                join = "LEFT JOIN";
            }
            let on = self.join_condition(&items, &item, join == "FULL JOIN");
            text = match on {
                Some(on) => format!("{text} {join} {right} ON {on}"),
                None if items.len() < 2 => format!("{text} CROSS JOIN {right}"),
                None => continue,
            };
            items.push(item);
        }
        (items, text)
    }

    fn join_condition(&mut self, left: &[Item], right: &Item, only_equal: bool) -> Option<String> {
        let mut pairs = Vec::new();
        for item in left {
            for (name, kind) in &item.columns {
                for (other, other_kind) in right.columns.iter().filter(|(_, other)| other == kind) {
                    let pair = format!("{}.{name} = {}.{other}", item.alias, right.alias);
                    // The key more often than anything else.
                    let weight = if name == "customer_id" && name == other { 6 } else { 1 };
                    if *other_kind != Bool && *other_kind != Json {
                        pairs.extend(std::iter::repeat_n(pair, weight));
                    }
                }
            }
        }
        if pairs.is_empty() {
            return None;
        }
        let mut on = pairs[self.choices.below(pairs.len() as u32) as usize].clone();
        if self.choices.chance(4) {
            on = format!("{on} AND {}", pairs[self.choices.below(pairs.len() as u32) as usize]);
        }
        if !only_equal && self.choices.chance(4) {
            let items: Vec<Item> = left.iter().chain([right]).cloned().collect();
            on = format!("{on} AND {}", self.condition(&items, 0));
        }
        Some(on)
    }

    fn item_from(&mut self, outer: &[Item], left: &[Item], deep: u32) -> (Item, String) {
        let alias = self.alias();
        match self.choices.below(10) {
            0 if deep > 0 => {
                let query = self.query(&[], None, deep - 1, false);
                let text = format!("({}) {alias}", query.sql);
                (Item { alias, columns: query.columns, unique: Vec::new() }, text)
            }
            1 if deep > 0 && !left.is_empty() => {
                let names: Vec<Item> = outer.iter().chain(left).cloned().collect();
                let query = self.query(&names, None, deep - 1, false);
                let text = format!("LATERAL ({}) {alias}", query.sql);
                (Item { alias, columns: query.columns, unique: Vec::new() }, text)
            }
            2 | 3 if !self.ctes.is_empty() => {
                let cte = self.ctes[self.choices.below(self.ctes.len() as u32) as usize].clone();
                let text = format!("{} {alias}", cte.alias);
                (Item { alias, ..cte }, text)
            }
            4 if self.choices.chance(3) => {
                let columns = vec![("a".to_owned(), Int), ("b".to_owned(), Text)];
                let text = format!("(VALUES (1, 'new'), (2, NULL), (3, 'paid')) {alias}(a, b)");
                (Item { alias, columns, unique: vec!["a"] }, text)
            }
            4 => {
                let text = format!("generate_series(1, {}) {alias}(n)", self.choices.below(5) + 1);
                (Item { alias, columns: vec![("n".to_owned(), Int)], unique: vec!["n"] }, text)
            }
            _ => {
                // The first ones more often.
                let count = TABLES.len() as u32;
                let table = &TABLES[self.choices.below(count).min(self.choices.below(count)) as usize];
                let columns = table.columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
                let text = format!("{} {alias}", table.name);
                (Item { alias, columns, unique: table.unique.to_vec() }, text)
            }
        }
    }

    fn types(&mut self, types: Option<&[Type]>, from: &[Item]) -> Vec<Type> {
        if let Some(types) = types {
            return types.to_vec();
        }
        let present: Vec<Type> = from.iter().flat_map(|item| item.columns.iter().map(|(_, kind)| *kind)).collect();
        let count = self.choices.below(3) + 1;
        (0..count)
            .map(|_| {
                if self.choices.chance(5) || present.is_empty() {
                    self.choices.one_of(ALL)
                } else {
                    self.choices.one_of(&present)
                }
            })
            .collect()
    }

    fn where_clause(&mut self, items: &[Item], deep: u32) -> String {
        if self.choices.chance(2) { format!(" WHERE {}", self.condition(items, deep)) } else { String::new() }
    }

    fn plain(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> (String, Vec<Column>) {
        let (items, from) = self.clause_from(outer, deep);
        let types = self.types(types, &items);
        let scope: Vec<Item> = items.iter().chain(outer).cloned().collect();
        let (list, columns) = self.list(&types, |this, kind| this.expression(kind, &scope, deep.min(1)));
        let condition = self.where_clause(&scope, deep);
        (format!("SELECT {list} FROM {from}{condition}"), columns)
    }

    fn list(&mut self, types: &[Type], mut value: impl FnMut(&mut Self, Type) -> String) -> (String, Vec<Column>) {
        let mut list = Vec::new();
        let mut columns = Vec::new();
        for (at, kind) in types.iter().enumerate() {
            let name = format!("c{at}");
            list.push(format!("{} AS {name}", value(self, *kind)));
            columns.push((name, *kind));
        }
        (list.join(", "), columns)
    }

    fn distinct(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> (String, Vec<Column>) {
        let (sql, columns) = self.plain(outer, types, deep);
        let rest = sql.strip_prefix("SELECT ").unwrap_or(&sql).to_owned();
        if self.choices.chance(2) {
            let order: Vec<String> = (1..=columns.len()).map(|at| at.to_string()).collect();
            return (format!("SELECT * FROM (SELECT DISTINCT ON (1) {rest} ORDER BY {}) d", order.join(", ")), columns);
        }
        (format!("SELECT DISTINCT {rest}"), columns)
    }

    fn grouped(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> (String, Vec<Column>) {
        let (items, from) = self.clause_from(outer, deep);
        let types = self.types(types, &items);
        let condition = self.where_clause(&items, deep);
        let mut keys = Vec::new();
        for _ in 0..self.choices.below(3) {
            let kind = self.types(None, &items)[0];
            keys.push((self.expression(kind, &items, 0), kind));
        }
        // A constant in GROUP BY would be an ordinal or nothing.
        keys.retain(|(text, _)| text.contains(".") && text.contains('t'));
        let sets = keys.len() > 1 && self.choices.chance(4);
        let (list, columns) = self.list(&types, |this, kind| {
            let of_kind: Vec<&String> = keys.iter().filter(|(_, key)| *key == kind).map(|(text, _)| text).collect();
            match of_kind.first() {
                Some(key) if !this.choices.chance(3) => (*key).clone(),
                _ => this.aggregate(kind, &items),
            }
        });
        let texts: Vec<&str> = keys.iter().map(|(text, _)| text.as_str()).collect();
        let group = match (texts.is_empty(), sets) {
            (true, _) => String::new(),
            (false, false) => format!(" GROUP BY {}", texts.join(", ")),
            (false, true) => {
                let texts = texts.join(", ");
                match self.choices.below(3) {
                    0 => format!(" GROUP BY ROLLUP ({texts})"),
                    1 => format!(" GROUP BY CUBE ({texts})"),
                    _ => format!(" GROUP BY GROUPING SETS (({texts}), ())"),
                }
            }
        };
        let having = if self.choices.chance(5) {
            format!(" HAVING {} > {}", self.aggregate(Int, &items), self.choices.below(4))
        } else {
            String::new()
        };
        (format!("SELECT {list} FROM {from}{condition}{group}{having}"), columns)
    }

    fn aggregate(&mut self, kind: Type, items: &[Item]) -> String {
        let distinct = if self.choices.chance(5) { "DISTINCT " } else { "" };
        let call = match kind {
            Int => match self.choices.below(4) {
                0 => "count(*)".to_owned(),
                1 => {
                    let of = self.choices.one_of(ALL);
                    let of = self.expression(of, items, 0);
                    format!("count({distinct}{of})")
                }
                2 => format!("sum({distinct}{})::int8", self.expression(Int, items, 0)),
                _ => format!("max({})", self.expression(Int, items, 0)),
            },
            Num => match self.choices.below(4) {
                0 => format!("sum({distinct}{})", self.expression(Num, items, 0)),
                1 => format!("round(avg({}), 2)", self.expression(Num, items, 0)),
                2 => format!("round(stddev({}), 2)", self.expression(Int, items, 0)),
                _ => format!("min({})", self.expression(Num, items, 0)),
            },
            Text => match self.choices.below(3) {
                0 => format!("max({})", self.expression(Text, items, 0)),
                _ => {
                    let of = self.expression(Text, items, 0);
                    format!("string_agg({distinct}{of}, ',' ORDER BY {of})")
                }
            },
            Bool => {
                let name = self.choices.one_of(&["bool_and", "bool_or"]);
                format!("{name}({})", self.expression(Bool, items, 0))
            }
            Float => match self.choices.below(2) {
                0 => format!("sum({distinct}{})", self.expression(Float, items, 0)),
                _ => format!("avg({})", self.expression(Float, items, 0)),
            },
            Date | Ts | Span => {
                let name = self.choices.one_of(&["min", "max"]);
                format!("{name}({})", self.expression(kind, items, 0))
            }
            Array => {
                let of = self.expression(Text, items, 0);
                format!("array_agg({distinct}{of} ORDER BY {of})")
            }
            Json => {
                let of = self.expression(Int, items, 0);
                format!("jsonb_agg({of} ORDER BY {of})")
            }
            Uuid | Bytes => {
                let of = self.expression(kind, items, 0);
                return format!("(array_agg({of} ORDER BY {of}))[1]");
            }
        };
        if call.starts_with("round") || call.ends_with("::int8") || !self.choices.chance(6) {
            return call;
        }
        format!("{call} FILTER (WHERE {})", self.condition(items, 0))
    }

    fn windowed(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> (String, Vec<Column>) {
        let (items, from) = self.clause_from(outer, deep.min(1));
        let types = self.types(types, &items);
        let condition = self.where_clause(&items, 0);
        let total = items.iter().all(|item| !item.unique.is_empty());
        let order: Vec<String> =
            items.iter().flat_map(|item| item.unique.iter().map(|name| format!("{}.{name}", item.alias))).collect();
        let (list, columns) = self.list(&types, |this, kind| {
            let key = this.types(None, &items)[0];
            let partition = match this.choices.below(3) {
                0 => String::new(),
                1 => format!("PARTITION BY {}.{} ", items[0].alias, items[0].columns[0].0),
                _ => format!("PARTITION BY {} ", this.expression(key, &items, 0)),
            };
            let by = this.expression(key, &items, 0);
            if total && this.choices.chance(2) {
                let order = order.join(", ");
                let of = this.expression(kind, &items, 0);
                return match (kind, this.choices.below(3)) {
                    (Int, 0) => format!("row_number() OVER ({partition}ORDER BY {order})"),
                    (_, 1) => format!("first_value({of}) OVER ({partition}ORDER BY {by}, {order})"),
                    _ => format!("lag({of}) OVER ({partition}ORDER BY {order})"),
                };
            }
            match (kind, this.choices.below(3)) {
                (Int, 0) => format!("rank() OVER ({partition}ORDER BY {by})"),
                (Int, 1) => format!("count(*) OVER ({partition}ORDER BY {by})"),
                (Num, _) => {
                    format!("round(sum({}) OVER ({partition}ORDER BY {by}), 2)", this.expression(Num, &items, 0))
                }
                (Uuid | Bytes | Json | Array | Bool, _) => this.expression(kind, &items, 0),
                _ => format!("max({}) OVER ({partition}ORDER BY {by})", this.expression(kind, &items, 0)),
            }
        });
        (format!("SELECT {list} FROM {from}{condition}"), columns)
    }

    fn set_operation(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> (String, Vec<Column>) {
        let left = self.query(outer, types, deep - 1, false);
        let types: Vec<Type> = left.columns.iter().map(|(_, kind)| *kind).collect();
        let right = self.query(outer, Some(&types), deep - 1, false);
        let operator =
            self.choices.one_of(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL"]);
        (format!("({}) {operator} ({})", left.sql, right.sql), left.columns)
    }

    fn column(&mut self, kind: Type, items: &[Item]) -> Option<String> {
        let names: Vec<String> = items
            .iter()
            .flat_map(|item| {
                let columns = item.columns.iter().filter(|(_, of)| *of == kind);
                columns.map(|(name, _)| format!("{}.{name}", item.alias))
            })
            .collect();
        if names.is_empty() { None } else { Some(names[self.choices.below(names.len() as u32) as usize].clone()) }
    }

    fn constant(&mut self, kind: Type) -> String {
        let n = self.choices.below(9);
        match kind {
            Int => n.to_string(),
            Num => format!("{n}.25::numeric(10,2)"),
            Text => format!("'{}'::text", self.choices.one_of(&["new", "paid", "DE", "Ärger", "", "customer 3"])),
            Bool => self.choices.one_of(&["true", "false", "NULL::bool"]).to_owned(),
            Date => format!("DATE '2026-01-0{}'", n % 6 + 1),
            Ts => format!("TIMESTAMPTZ '2026-01-01 0{n}:00Z'"),
            Float => format!("{}::float8", f64::from(n) * 0.25),
            Uuid => format!("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd38000{n}'::uuid"),
            Bytes => format!("'\\x0{n}'::bytea"),
            Json => format!("'{{\"a\": {}}}'::jsonb", n % 3),
            Array => format!("ARRAY['t{}', NULL]", n % 3),
            Span => format!("INTERVAL '{n} minutes'"),
        }
    }

    /// An expression that raises no error whatever the row.
    fn expression(&mut self, kind: Type, items: &[Item], deep: u32) -> String {
        match self.choices.below(8) {
            0..=4 => self.column(kind, items).unwrap_or_else(|| self.constant(kind)),
            5 => {
                let (a, b) = (self.column(kind, items), self.constant(kind));
                a.map_or(b.clone(), |a| format!("coalesce({a}, {b})"))
            }
            6 if deep > 0 => {
                let query = self.query(items, Some(&[kind]), 0, false);
                let of = format!("SELECT c0 FROM ({}) s ORDER BY 1 NULLS LAST LIMIT 1", query.sql);
                format!("({of})")
            }
            6 => {
                let condition = self.condition(items, 0);
                let value = self.column(kind, items).unwrap_or_else(|| self.constant(kind));
                format!("CASE WHEN {condition} THEN {value} ELSE {} END", self.constant(kind))
            }
            _ => self.operation(kind, items),
        }
    }

    fn operation(&mut self, kind: Type, items: &[Item]) -> String {
        let value = |this: &mut Self, kind| this.column(kind, items).unwrap_or_else(|| this.constant(kind));
        match kind {
            Int => match self.choices.below(3) {
                0 => format!("({} + {})", value(self, Int), self.constant(Int)),
                1 => format!("({} % 3)", value(self, Int)),
                _ => format!("length({})", value(self, Text)),
            },
            Num => format!("round({} * 2 + {}, 2)", value(self, Num), self.choices.below(5)),
            Text => match self.choices.below(3) {
                0 => format!("upper({})", value(self, Text)),
                1 => format!("({} || '-' || {})", value(self, Text), value(self, Int)),
                _ => format!("left({}, 2)", value(self, Text)),
            },
            Bool => format!("({})", self.condition(items, 0)),
            Date => format!("({} + {})", value(self, Date), self.choices.below(4)),
            Ts => format!("date_trunc('day', {})", value(self, Ts)),
            Float => format!("({} + 0.5)", value(self, Float)),
            Span => format!("({} * 2)", value(self, Span)),
            Uuid | Bytes | Json | Array => value(self, kind),
        }
    }

    fn condition(&mut self, items: &[Item], deep: u32) -> String {
        match self.choices.below(14) {
            0..=2 => {
                let column = self.column(Int, items).unwrap_or_else(|| "1".into());
                let operator = self.choices.one_of(&["=", "<", ">", "<>", "<=", "IS DISTINCT FROM"]);
                format!("{column} {operator} {}", self.choices.below(12))
            }
            3 | 4 => {
                let keys = items.iter().filter(|item| item.columns.iter().any(|(name, _)| name == "customer_id"));
                match keys.map(|item| item.alias.clone()).next() {
                    Some(alias) => {
                        let (a, b) = (self.choices.below(37), self.choices.below(37));
                        let test = self.choices.one_of(&[0, 1, 2]);
                        match test {
                            0 => format!("{alias}.customer_id = {a}"),
                            1 => format!("{alias}.customer_id IN ({a}, {b})"),
                            _ => format!("{alias}.customer_id % 4 = {}", a % 4),
                        }
                    }
                    None => "true".into(),
                }
            }
            5 => {
                let kind = self.choices.one_of(&[Text, Num, Date, Ts, Float, Bool]);
                let column = self.column(kind, items).unwrap_or_else(|| self.constant(kind));
                format!("{column} {} NULL", self.choices.one_of(&["IS", "IS NOT"]))
            }
            6 => {
                let kind = self.choices.one_of(&[Text, Num, Date, Ts, Float]);
                let column = self.column(kind, items).unwrap_or_else(|| self.constant(kind));
                let operator = self.choices.one_of(&["=", "<", ">="]);
                format!("{column} {operator} {}", self.constant(kind))
            }
            7 => {
                let (a, b) = (self.condition(items, 0), self.condition(items, 0));
                let word = self.choices.one_of(&["AND", "OR"]);
                format!("({a} {word} {b})")
            }
            8 => format!("NOT ({})", self.condition(items, 0)),
            9 | 10 if deep > 0 => {
                let query = self.query(items, Some(&[Int]), 0, false);
                match self.choices.below(4) {
                    0 => format!("EXISTS ({})", query.sql),
                    1 => format!("NOT EXISTS ({})", query.sql),
                    2 => format!("{} IN ({})", self.value(Int, items), query.sql),
                    _ => format!("{} NOT IN ({})", self.value(Int, items), query.sql),
                }
            }
            11 if deep > 0 => {
                let query = self.query(items, Some(&[Num]), 0, false);
                let quantifier = self.choices.one_of(&["> ALL", "< ANY", "= ANY"]);
                format!("{} {quantifier} ({})", self.value(Num, items), query.sql)
            }
            12 if deep > 0 => {
                let from = self.clause_from(&[], 0);
                let scope: Vec<Item> = from.0.iter().chain(items).cloned().collect();
                let condition = self.condition(&scope, 0);
                let aggregate = self.aggregate(Int, &from.0);
                format!("{} < (SELECT {aggregate} FROM {} WHERE {condition})", self.value(Int, items), from.1)
            }
            13 => {
                let text = self.value(Text, items);
                format!("{text} LIKE '{}'", self.choices.one_of(&["%a%", "n%", "_e%", "%"]))
            }
            _ => self.column(Bool, items).unwrap_or_else(|| "true".into()),
        }
    }

    fn value(&mut self, kind: Type, items: &[Item]) -> String {
        self.column(kind, items).unwrap_or_else(|| self.constant(kind))
    }
}
