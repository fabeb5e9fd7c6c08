//! Expressions and conditions that raise no error whatever the row, of each type.

use crate::data::Type::{self, *};
use crate::generate::{Generator, Item};

impl Generator {
    /// A column of this type, if there is one.
    pub fn column(&mut self, kind: Type, items: &[Item]) -> Option<String> {
        let names: Vec<String> = items
            .iter()
            .flat_map(|item| {
                let columns = item.columns.iter().filter(|(_, of)| *of == kind);
                columns.map(|(name, _)| format!("{}.{name}", item.alias))
            })
            .collect();
        if names.is_empty() { None } else { Some(names[self.choices.below(names.len() as u32) as usize].clone()) }
    }

    /// A constant, or a parameter where the query may have some.
    pub fn constant(&mut self, kind: Type) -> String {
        let n = self.choices.below(9);
        let (value, name) = match kind {
            Int => (n.to_string(), "int4"),
            Num => (format!("{n}.25"), "numeric(10,2)"),
            Text => (self.choices.one_of(&["new", "paid", "DE", "Ärger", "", "customer 3"]).to_owned(), "text"),
            Bool => (self.choices.one_of(&["true", "false", "NULL"]).to_owned(), "bool"),
            Date => (format!("2026-01-0{}", n % 6 + 1), "date"),
            Ts => (format!("2026-01-01 0{n}:00{}", self.choices.one_of(&["Z", "Z", ""])), "timestamptz"),
            Float => ((f64::from(n) * 0.25).to_string(), "float8"),
            Uuid => (format!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd38000{n}"), "uuid"),
            Bytes => (format!("\\x0{n}"), "bytea"),
            Json => (format!("{{\"a\": {}}}", n % 3), "jsonb"),
            Array => (format!("{{t{},NULL}}", n % 3), "text[]"),
            Span => (format!("{n} minutes"), "interval"),
            Mood => (["sad", "fine", "angry"][n as usize % 3].to_owned(), "mood"),
            Range => (format!("[{}, {})", n % 4, n % 4 + n % 3), "int4range"),
            Code => (["a", "B", "b", ""][n as usize % 4].to_owned(), "text COLLATE \"C\""),
        };
        if let Some(known) = self.parameters.len().checked_add(1).filter(|_| self.has_parameters)
            && self.choices.chance(2)
        {
            self.parameters.push((value != "NULL").then_some(value));
            return match kind {
                Code => format!("${known}::{name}"),
                _ => format!("(${known}::{name})"),
            };
        }
        match kind {
            Int => value,
            Bool if value == "NULL" => "NULL::bool".to_owned(),
            Bool => value,
            Num | Float => format!("{value}::{name}"),
            Date | Ts | Span => format!("{name} '{value}'"),
            Array => format!("ARRAY['t{}', NULL]", n % 3),
            Code => format!("'{value}' COLLATE \"C\""),
            Text | Uuid | Bytes | Json | Mood | Range => format!("'{value}'::{name}"),
        }
    }

    /// A column if there is one, else a constant.
    pub fn value(&mut self, kind: Type, items: &[Item]) -> String {
        self.column(kind, items).unwrap_or_else(|| self.constant(kind))
    }

    /// An expression. `deep`: whether it may hold a query.
    pub fn expression(&mut self, kind: Type, items: &[Item], deep: u32) -> String {
        match self.choices.below(9) {
            0..=4 => self.value(kind, items),
            5 => {
                let (a, b) = (self.column(kind, items), self.constant(kind));
                let both = self.choices.one_of(&["coalesce", "nullif", "greatest", "least"]);
                a.map_or(b.clone(), |a| format!("{both}({a}, {b})"))
            }
            6 if deep > 0 => self.scalar_query(kind, items),
            6 => {
                let condition = self.condition(items, 0);
                let value = self.value(kind, items);
                match self.choices.below(3) {
                    // Of a constant it would be computed before it is described.
                    0 if items.iter().any(|item| item.columns.iter().any(|(_, kind)| *kind == Int)) => {
                        let of = self.value(Int, items);
                        format!("CASE {of} WHEN 1 THEN {value} WHEN 2 THEN NULL ELSE {} END", self.constant(kind))
                    }
                    1 => format!("CASE WHEN {condition} THEN {value} END"),
                    _ => format!("CASE WHEN {condition} THEN {value} ELSE {} END", self.constant(kind)),
                }
            }
            _ => self.operation(kind, items),
        }
    }

    /// A query in place of a value, which may look at the names around it.
    fn scalar_query(&mut self, kind: Type, items: &[Item]) -> String {
        if self.choices.chance(3) {
            let (from, text) = self.clause_from(&[], 0);
            let scope: Vec<Item> = from.iter().chain(items).cloned().collect();
            let condition = self.condition(&scope, 0);
            return format!("(SELECT {} FROM {text} WHERE {condition})", self.aggregate(kind, &from));
        }
        let query = self.query(items, Some(&[kind]), 0, false);
        if kind == Array && self.choices.chance(2) {
            let query = self.query(items, Some(&[Text]), 0, false);
            return format!("ARRAY(SELECT c0::text FROM ({}) s ORDER BY 1)", query.sql);
        }
        format!("(SELECT c0 FROM ({}) s ORDER BY 1 NULLS LAST LIMIT 1)", query.sql)
    }

    fn operation(&mut self, kind: Type, items: &[Item]) -> String {
        match kind {
            Int => self.whole_number(items),
            Num => match self.choices.below(4) {
                0 => format!("({} - {})", self.value(Num, items), self.value(Num, items)),
                1 => format!("({} * {})", self.value(Num, items), self.value(Num, items)),
                2 => format!("({} / 3)", self.value(Num, items)),
                _ => format!("round({} * 2 + {}, 2)", self.value(Num, items), self.choices.below(5)),
            },
            Text => self.text(items),
            Bool => match self.choices.below(3) {
                0 => format!("({}) IS NOT TRUE", self.condition(items, 0)),
                1 => format!("({}) IS UNKNOWN", self.condition(items, 0)),
                _ => format!("({})", self.condition(items, 0)),
            },
            Date => match self.choices.below(2) {
                0 => format!("({} AT TIME ZONE 'UTC')::date", self.value(Ts, items)),
                _ => format!("({} + {})", self.value(Date, items), self.choices.below(4)),
            },
            Ts => match self.choices.below(2) {
                0 => format!("({} + {})", self.value(Ts, items), self.value(Span, items)),
                _ => format!("date_trunc('day', {})", self.value(Ts, items)),
            },
            Float => match self.choices.below(2) {
                0 => format!("(-{} * 2)", self.value(Float, items)),
                _ => format!("({} + 0.5)", self.value(Float, items)),
            },
            Span => match self.choices.below(2) {
                0 => format!("({} - TIMESTAMPTZ '2026-01-01')", self.value(Ts, items)),
                _ => format!("({} * 2)", self.value(Span, items)),
            },
            Json => match self.choices.below(3) {
                0 => format!("jsonb_build_object('x', {})", self.value(Int, items)),
                1 => format!("({} || '{{\"b\": null}}')", self.value(Json, items)),
                _ => format!("({} -> 'a')", self.value(Json, items)),
            },
            Array => match self.choices.below(3) {
                0 => format!("({} || 'x'::text)", self.value(Array, items)),
                1 => format!("({})[2:3]", self.value(Array, items)),
                _ => format!("ARRAY[{}::text, 'y']", self.value(Text, items)),
            },
            Range => {
                let of = self.value(Int, items);
                format!("int4range({of}::int4 % 9, {of}::int4 % 9 + 2, '[]')")
            }
            Bytes => format!("({} || '\\x00'::bytea)", self.value(Bytes, items)),
            Uuid | Mood | Code => self.value(kind, items),
        }
    }

    fn whole_number(&mut self, items: &[Item]) -> String {
        match self.choices.below(8) {
            0 => format!("({} + {})", self.value(Int, items), self.constant(Int)),
            1 => format!("({} % 3)", self.value(Int, items)),
            2 => format!("cardinality({})", self.value(Array, items)),
            3 => format!("extract(day FROM {})::int", self.value(Date, items)),
            4 => format!("upper({})", self.value(Range, items)),
            5 => format!("({} ->> 'a')::int", self.constant(Json)),
            6 => format!("octet_length({})", self.value(Bytes, items)),
            _ => format!("length({})", self.value(Text, items)),
        }
    }

    fn text(&mut self, items: &[Item]) -> String {
        match self.choices.below(9) {
            0 => format!("upper({})", self.value(Text, items)),
            1 => format!("({} || '-' || {})", self.value(Text, items), self.value(Int, items)),
            2 => format!("({})[1]", self.value(Array, items)),
            3 => format!("({} ->> 'a')", self.value(Json, items)),
            4 => format!("encode({}, 'hex')", self.value(Bytes, items)),
            5 => format!("to_char({}, 'FM999.00')", self.value(Num, items)),
            6 => {
                let kind = self.choices.one_of(crate::generate::ALL);
                format!("({})::text", self.value(kind, items))
            }
            // A whole row, if there is one.
            7 => items.first().map_or("'none'::text".into(), |item| format!("md5({}::text)", item.alias)),
            _ => format!("left({}, 2)", self.value(Text, items)),
        }
    }

    /// A condition. `deep`: whether it may hold a query.
    pub fn condition(&mut self, items: &[Item], deep: u32) -> String {
        match self.choices.below(17) {
            0..=2 => {
                let column = self.column(Int, items).unwrap_or_else(|| "1".into());
                let operator = self.choices.one_of(&["=", "<", ">", "<>", "<=", "IS DISTINCT FROM"]);
                format!("{column} {operator} {}", self.choices.below(12))
            }
            3 | 4 => self.about_the_key(items),
            5 => {
                let kind = self.choices.one_of(&[Text, Num, Date, Ts, Float, Bool, Array, Mood]);
                format!("{} {} NULL", self.value(kind, items), self.choices.one_of(&["IS", "IS NOT"]))
            }
            6 => {
                let kind = self.choices.one_of(&[Text, Num, Date, Ts, Float, Mood, Range, Span, Bytes]);
                let operator = self.choices.one_of(&["=", "<", ">=", "IS NOT DISTINCT FROM"]);
                format!("{} {operator} {}", self.value(kind, items), self.constant(kind))
            }
            7 => {
                let (a, b) = (self.condition(items, deep.min(1)), self.condition(items, 0));
                let word = self.choices.one_of(&["AND", "OR"]);
                format!("({a} {word} {b})")
            }
            8 => format!("NOT ({})", self.condition(items, deep.min(1))),
            9 | 10 if deep > 0 => self.about_a_query(items),
            11 if deep > 0 => {
                let query = self.query(items, Some(&[Num]), 0, false);
                let quantifier = self.choices.one_of(&["> ALL", "< ANY", "= ANY", "<> ALL"]);
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
                let pattern = self.choices.one_of(&["LIKE '%a%'", "LIKE 'n%'", "ILIKE '_E%'", "~ '^[a-p]'", "!~* 'R'"]);
                format!("{text} {pattern}")
            }
            14 => self.about_rows(items),
            15 => self.about_sets(items),
            _ => self.column(Bool, items).unwrap_or_else(|| "true".into()),
        }
    }

    fn about_the_key(&mut self, items: &[Item]) -> String {
        let keys = items.iter().filter(|item| item.columns.iter().any(|(name, _)| name == "customer_id"));
        let Some(alias) = keys.map(|item| item.alias.clone()).next() else { return "true".into() };
        let (a, b) = (self.choices.below(37), self.choices.below(37));
        match self.choices.below(7) {
            0 => format!("{alias}.customer_id = {a}"),
            1 => format!("{alias}.customer_id IN ({a}, {b})"),
            2 => format!("{alias}.customer_id = ANY (ARRAY[{a}, {b}, NULL])"),
            3 => format!("{alias}.customer_id BETWEEN {} AND {}", a.min(b), a.max(b)),
            4 => format!("({alias}.customer_id = {a} OR {alias}.customer_id = {b})"),
            5 => format!("{alias}.customer_id = ANY ('{{{a},{b}}}')"),
            _ => format!("{alias}.customer_id % 4 = {}", a % 4),
        }
    }

    fn about_a_query(&mut self, items: &[Item]) -> String {
        match self.choices.below(6) {
            4 => {
                let query = self.query(items, Some(&[Int, Text]), 0, false);
                format!("({}, {}) IN ({})", self.value(Int, items), self.value(Text, items), query.sql)
            }
            5 => {
                let query = self.query(items, Some(&[Int]), 0, false);
                format!("{} = ANY (ARRAY({}))", self.value(Int, items), query.sql)
            }
            choice => {
                let query = self.query(items, Some(&[Int]), 0, false);
                match choice {
                    0 => format!("EXISTS ({})", query.sql),
                    1 => format!("NOT EXISTS ({})", query.sql),
                    2 => format!("{} IN ({})", self.value(Int, items), query.sql),
                    _ => format!("{} NOT IN ({})", self.value(Int, items), query.sql),
                }
            }
        }
    }

    fn about_rows(&mut self, items: &[Item]) -> String {
        let (a, b) = (self.value(Int, items), self.value(Text, items));
        let (c, d) = (self.constant(Int), self.constant(Text));
        match self.choices.below(5) {
            0 => format!("({a}, {b}) < ({c}, {d})"),
            1 => format!("({a}, {b}) = ({c}, {d})"),
            2 => format!("ROW({a}, {b}) IS NOT NULL"),
            3 => format!("({a}, {b}) IN (({c}, {d}), (1, 'new'))"),
            _ => format!("ROW({a}, {b}) IS DISTINCT FROM ROW({c}, {d})"),
        }
    }

    fn about_sets(&mut self, items: &[Item]) -> String {
        match self.choices.below(7) {
            0 => format!("'t1' = ANY ({})", self.value(Array, items)),
            1 => format!("{} @> {}", self.value(Array, items), self.constant(Array)),
            2 => format!("{} @> {}", self.value(Range, items), self.choices.below(5)),
            3 => format!("{} && {}", self.value(Range, items), self.constant(Range)),
            4 => format!("{} @> {}", self.value(Json, items), self.constant(Json)),
            5 => format!("{} <> ALL (ARRAY[1, 3, NULL])", self.value(Int, items)),
            _ => format!("{} < {}", self.value(Code, items), self.constant(Code)),
        }
    }
}
