//! Makes queries from choices: every clause that SELECT has, over the tables of `data`, such that one Postgres has exactly one
//! answer: limits have total orders, sums of floats are exact, nothing divides. `from` makes FROM and WITH, `values`
//! expressions and conditions, `aggregates` what is computed over several rows.

use crate::choices::Choices;
use crate::data::{TABLES, Type};
use Type::*;

/// An output column.
pub type Column = (String, Type);

/// A query.
pub struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
    /// Its rows are totally ordered, but for equal ones.
    pub ordered: bool,
}

/// A query before ORDER BY.
struct Body {
    sql: String,
    columns: Vec<Column>,
    /// What it may be ordered by that is no column of its own.
    by: Vec<String>,
    /// Aggregates without GROUP BY.
    one_row: bool,
}

/// What a name in an expression may mean.
#[derive(Clone)]
pub struct Item {
    pub alias: String,
    pub columns: Vec<Column>,
    /// Columns that tell its rows apart.
    pub unique: Vec<&'static str>,
}

/// Makes queries.
pub struct Generator {
    pub choices: Choices,
    /// Some constants become parameters.
    pub has_parameters: bool,
    /// Their values as text.
    pub parameters: Vec<Option<String>>,
    aliases: usize,
    /// WITH queries in force.
    pub ctes: Vec<Item>,
}

/// All types.
pub const ALL: &[Type] = &[Int, Num, Text, Bool, Date, Ts, Float, Uuid, Bytes, Json, Array, Span, Mood, Range, Code];

impl Generator {
    pub fn new(choices: Choices) -> Generator {
        Generator { choices, has_parameters: false, parameters: Vec::new(), aliases: 0, ctes: Vec::new() }
    }

    /// A statement.
    pub fn statement(&mut self) -> Query {
        self.query(&[], None, 2, true)
    }

    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// A query with these column types, or any. `outer`: names that it may refer to. `deep`: how deep it may nest.
    pub fn query(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32, top: bool) -> Query {
        let known = self.ctes.len();
        let with = if deep > 0 && self.choices.chance(6) { self.with(outer, deep) } else { String::new() };
        let body = match self.choices.below(14) {
            0..=4 => self.plain(outer, types, deep),
            5..=7 => self.grouped(outer, types, deep),
            8 => self.windowed(outer, types, deep),
            9 => self.distinct(outer, types, deep),
            10 | 11 if deep > 0 => self.set_operation(outer, types, deep),
            12 if types.is_none() => self.stars(),
            13 if self.choices.chance(3) => self.constants(outer, types),
            _ => self.plain(outer, types, deep),
        };
        self.ctes.truncate(known);
        let mut query = Query { sql: format!("{with}{}", body.sql), columns: body.columns.clone(), ordered: false };
        if self.choices.chance(if top { 3 } else { 8 }) {
            self.order(&mut query, &body);
        }
        query
    }

    /// ORDER BY all columns, perhaps something else before them, and perhaps a limit.
    fn order(&mut self, query: &mut Query, body: &Body) {
        let by = &body.by;
        let mut items = Vec::new();
        if !by.is_empty() && self.choices.chance(2) {
            let direction = self.choices.one_of(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            items.push(format!("{}{direction}", by[self.choices.below(by.len() as u32) as usize]));
        }
        for at in 0..query.columns.len() {
            let direction = self.choices.one_of(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            items.push(format!("{}{direction}", at + 1));
        }
        let limit = match self.choices.below(11) {
            // Of min() by an index PostgreSQL keeps the ties, and fails (21000).
            6 | 7 if body.one_row => String::new(),
            0..=2 => String::new(),
            3 => format!(" LIMIT {}", self.choices.below(9)),
            4 => format!(" OFFSET {}", self.choices.below(5)),
            5 => format!(" LIMIT {} OFFSET {}", self.choices.below(9), self.choices.below(4)),
            6 => format!(" FETCH FIRST {} ROWS WITH TIES", self.choices.below(6) + 1),
            7 => format!(" OFFSET 2 ROWS FETCH NEXT {} ROWS WITH TIES", self.choices.below(6) + 1),
            8 => format!(" LIMIT {}::bigint + 1", self.choices.below(4)),
            9 => {
                let condition = self.choices.one_of(&["customer_id < 9", "customer_id = 3", "id = 2", "amount > 2"]);
                format!(" LIMIT (SELECT count(*) FROM refunds WHERE {condition})")
            }
            _ => self.choices.one_of(&[" LIMIT ALL OFFSET 1", " LIMIT NULL OFFSET 2"]).to_owned(),
        };
        query.sql = format!("{} ORDER BY {}{limit}", query.sql, items.join(", "));
        query.ordered = true;
    }

    /// Types of output columns: these, or some that FROM has.
    pub fn types(&mut self, types: Option<&[Type]>, from: &[Item]) -> Vec<Type> {
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

    fn plain(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> Body {
        let (items, from) = self.clause_from(outer, deep);
        let types = self.types(types, &items);
        let scope: Vec<Item> = items.iter().chain(outer).cloned().collect();
        let (list, columns) = self.list(&types, |this, kind| {
            if kind == Int && this.choices.chance(14) {
                let value = this.value(Int, &scope);
                return format!("generate_series(1, least({value}, 3))");
            }
            this.expression(kind, &scope, deep.min(1))
        });
        let condition = self.where_clause(&scope, deep);
        let kind = self.types(None, &items)[0];
        let by = self.expression(kind, &items, deep.min(1));
        let by = if by.contains('.') { vec![by] } else { Vec::new() };
        Body { sql: format!("SELECT {list} FROM {from}{condition}"), columns, by, one_row: false }
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

    /// Columns without names of their own: `*`, `t.*`, USING's and NATURAL's, TABLE.
    fn stars(&mut self) -> Body {
        let table = &TABLES[self.choices.below(TABLES.len() as u32) as usize];
        let columns: Vec<Column> = table.columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let name = table.name;
        let sql = match self.choices.below(6) {
            0 => format!("TABLE {name}"),
            1 => format!("SELECT * FROM {name}"),
            2 => format!("SELECT x.* FROM {name} x LEFT JOIN refunds r ON r.id = 2 AND r.customer_id = 6"),
            3 if name == "items" => {
                format!("SELECT * FROM {name} NATURAL LEFT JOIN (SELECT customer_id FROM refunds) r")
            }
            4 => format!("SELECT (x).* FROM (SELECT y AS x FROM {name} y) z"),
            _ => format!("SELECT * FROM (SELECT * FROM {name} LIMIT ALL) x"),
        };
        Body { sql, columns, by: Vec::new(), one_row: false }
    }

    /// No FROM, or VALUES.
    fn constants(&mut self, outer: &[Item], types: Option<&[Type]>) -> Body {
        let types = self.types(types, outer);
        if outer.is_empty() && self.choices.chance(2) {
            let rows: Vec<String> = (0..self.choices.below(3) + 1)
                .map(|_| {
                    let row: Vec<String> = types.iter().map(|kind| self.constant(*kind)).collect();
                    format!("({})", row.join(", "))
                })
                .collect();
            let columns: Vec<Column> = types.iter().enumerate().map(|(at, kind)| (format!("c{at}"), *kind)).collect();
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let sql = format!("SELECT * FROM (VALUES {}) v({})", rows.join(", "), names.join(", "));
            return Body { sql, columns, by: Vec::new(), one_row: false };
        }
        let (list, columns) = self.list(&types, |this, kind| this.expression(kind, outer, 1));
        Body { sql: format!("SELECT {list}"), columns, by: Vec::new(), one_row: false }
    }

    fn distinct(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> Body {
        let body = self.plain(outer, types, deep);
        let rest = body.sql.strip_prefix("SELECT ").unwrap_or(&body.sql).to_owned();
        if self.choices.chance(2) {
            let directions: Vec<&str> =
                body.columns.iter().map(|_| self.choices.one_of(&["", " DESC", " NULLS FIRST"])).collect();
            let order: Vec<String> =
                directions.iter().enumerate().map(|(at, direction)| format!("{}{direction}", at + 1)).collect();
            let sql = format!("SELECT * FROM (SELECT DISTINCT ON (1) {rest} ORDER BY {}) d", order.join(", "));
            return Body { sql, columns: body.columns, by: Vec::new(), one_row: false };
        }
        Body { sql: format!("SELECT DISTINCT {rest}"), columns: body.columns, by: Vec::new(), one_row: false }
    }

    fn grouped(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> Body {
        let (items, from) = self.clause_from(outer, deep);
        let types = self.types(types, &items);
        let condition = self.where_clause(&items, deep);
        let mut keys = Vec::new();
        for _ in 0..self.choices.below(4) {
            let kind = self.types(None, &items)[0];
            keys.push((self.expression(kind, &items, 0), kind));
        }
        // A constant in GROUP BY would be an ordinal or nothing.
        keys.retain(|(text, _)| text.contains(".") && text.contains('t'));
        let texts: Vec<String> = keys.iter().map(|(text, _)| text.clone()).collect();
        let group = if texts.is_empty() { String::new() } else { self.group_by(&texts) };
        let sets = group.contains("ROLLUP") || group.contains("CUBE") || group.contains("SETS");
        let (list, columns) = self.list(&types, |this, kind| {
            let of_kind: Vec<&String> = keys.iter().filter(|(_, key)| *key == kind).map(|(text, _)| text).collect();
            match of_kind.first() {
                Some(key) if !this.choices.chance(3) => (*key).clone(),
                _ if sets && kind == Int && this.choices.chance(2) => format!("grouping({})", texts.join(", ")),
                _ if kind == Int && this.choices.chance(12) => {
                    format!("(sum({}) OVER ())::int8", this.aggregate(Int, &items))
                }
                _ if kind == Int && this.choices.chance(12) => {
                    format!("rank() OVER (ORDER BY {})", this.aggregate(Num, &items))
                }
                _ => this.aggregate(kind, &items),
            }
        });
        let having = match self.choices.below(10) {
            0 => format!(" HAVING {} > {}", self.aggregate(Int, &items), self.choices.below(4)),
            1 => {
                let (left, right) = (self.aggregate(Num, &items), self.aggregate(Num, &items));
                format!(" HAVING {left} > (SELECT avg(price) FROM items) OR {right} < 40")
            }
            2 if deep > 0 => {
                let query = self.query(&[], Some(&[Int]), 0, false);
                format!(" HAVING {} IN ({})", self.aggregate(Int, &items), query.sql)
            }
            _ => String::new(),
        };
        let by = vec![self.aggregate(Int, &items)];
        let one_row = group.is_empty();
        Body { sql: format!("SELECT {list} FROM {from}{condition}{group}{having}"), columns, by, one_row }
    }

    fn group_by(&mut self, keys: &[String]) -> String {
        let all = keys.join(", ");
        if !self.choices.chance(4) || !keys.iter().all(|key| lasts(key)) {
            return format!(" GROUP BY {all}");
        }
        let (first, last) = (&keys[0], &keys[keys.len() - 1]);
        match self.choices.below(7) {
            0 => format!(" GROUP BY ROLLUP ({all})"),
            1 => format!(" GROUP BY CUBE ({all})"),
            2 => format!(" GROUP BY GROUPING SETS (({all}), ())"),
            3 => format!(" GROUP BY GROUPING SETS (({first}), ({last}), ({all}))"),
            4 => format!(" GROUP BY {first}, ROLLUP ({all})"),
            5 => format!(" GROUP BY DISTINCT ROLLUP ({all}), CUBE ({last})"),
            _ => format!(" GROUP BY GROUPING SETS (ROLLUP ({all}), ({first}), ())"),
        }
    }

    fn windowed(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> Body {
        let (items, from) = self.clause_from(outer, deep.min(1));
        let types = self.types(types, &items);
        let condition = self.where_clause(&items, 0);
        let named = self.choices.chance(5);
        let (list, columns) = self.list(&types, |this, kind| {
            let text = this.window(kind, &items);
            match named && text.ends_with(" OVER ()") {
                true => format!("{}OVER everything", text.trim_end_matches("OVER ()")),
                false => text,
            }
        });
        let window = if list.contains("OVER everything") { " WINDOW everything AS ()" } else { "" };
        Body { sql: format!("SELECT {list} FROM {from}{condition}{window}"), columns, by: Vec::new(), one_row: false }
    }

    fn set_operation(&mut self, outer: &[Item], types: Option<&[Type]>, deep: u32) -> Body {
        let left = self.query(outer, types, deep - 1, false);
        let types: Vec<Type> = left.columns.iter().map(|(_, kind)| *kind).collect();
        let right = self.query(outer, Some(&types), deep - 1, false);
        let operator = self.operator(&types);
        let mut sql = format!("({}) {operator} ({})", left.sql, right.sql);
        let mut columns = left.columns;
        if self.choices.chance(4) {
            let third = self.query(outer, Some(&types), 0, false).sql;
            let other = self.operator(&types);
            sql = match self.choices.below(3) {
                0 => format!("{sql} {other} ({third})"),
                1 => {
                    columns.iter_mut().enumerate().for_each(|(at, (name, _))| *name = format!("c{at}"));
                    format!("({third}) {other} ({sql})")
                }
                _ => format!("({sql}) {other} ({third})"),
            };
        }
        Body { sql, columns, by: Vec::new(), one_row: false }
    }

    /// Of equal numbers that are written differently (0.0, 0.00), INTERSECT returns those of the side that the planner takes for the
    /// smaller one, and EXCEPT those that come first. *Source*: prepunion.c, generate_nonunion_paths; nodeSetOp.c, setop_fill_hash_table.
    fn operator(&mut self, types: &[Type]) -> &'static str {
        match self.choices.one_of(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL"]) {
            "INTERSECT" | "EXCEPT" if types.contains(&Type::Num) => "UNION",
            "INTERSECT ALL" | "EXCEPT ALL" if types.contains(&Type::Num) => "UNION ALL",
            operator => operator,
        }
    }
}

/// Whether a key is certain to stay an expression about columns. Where it comes to be a constant, the answer of grouping sets is the plan's up to
/// PostgreSQL 17: of one query, NULL by itself and the constant as a branch of UNION ALL. *Source*: set_upper_references, setrefs.c.
fn lasts(key: &str) -> bool {
    const MAY_DROP: [&str; 6] = ["CASE", "coalesce", "greatest", "least", " AND ", " OR "];
    let column = key.split(|c: char| !c.is_alphanumeric() && c != '.').any(|word| {
        let table = word.split('.').next().unwrap_or_default();
        word.contains('.') && table.strip_prefix('t').is_some_and(|number| number.parse::<u32>().is_ok())
    });
    column && !MAY_DROP.iter().any(|word| key.contains(word))
}
