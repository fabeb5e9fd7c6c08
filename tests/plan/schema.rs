//! Reads the small language of `.schema` files into a catalog.

use std::sync::Arc;

use pgbraid::catalog::{
    Catalog, Column, ColumnDefault, Function, FunctionKind, Language, Parameter, Relation, RelationKind, Routine,
    Rules, Stamps, Volatility,
};
use pgbraid::config::TableRule;

/// A catalog with the rules that made it.
pub struct Schema {
    pub catalog: Catalog,
    pub rules: Rules,
}

/// The catalog of `shop.schema`.
pub fn shop() -> Schema {
    read(include_str!("shop.schema"))
}

/// The catalog that such a text describes, with PostgreSQL's functions.
pub fn read(text: &str) -> Schema {
    let mut schema = Schema { catalog: Catalog::default(), rules: Rules::default() };
    let (mut table, mut parent): (Option<Relation>, _) = (None, None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(columns) = line.strip_prefix("  primary key ") {
            table.as_mut().unwrap().primary_key = columns.split(", ").map(str::to_owned).collect();
            continue;
        }
        if let Some(name) = line.strip_prefix("  child of ") {
            parent = Some(name);
            continue;
        }
        if let Some(column) = line.strip_prefix("  ") {
            table.as_mut().unwrap().columns.push(read_column(column));
            continue;
        }
        schema.add(table.take(), parent.take());
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "key" => schema.rules.key = rest.to_owned(),
            "rule" => {
                let (name, rule) = rest.split_once(' ').unwrap();
                let rule = match rule.split_once(' ') {
                    Some(("key", column)) => TableRule::Key(column.to_owned()),
                    _ if rule == "reference" => TableRule::Reference,
                    _ => TableRule::Home,
                };
                schema.rules.tables.insert(name.to_owned(), rule);
            }
            "table" => {
                let (name, triggers) = match rest.strip_suffix(" triggers") {
                    Some(name) => (name, true),
                    None => (rest, false),
                };
                table = Some(Relation { rewrites_rows: triggers, ..relation(name, RelationKind::Home) });
            }
            "view" => {
                let (name, definition) = rest.split_once(": ").unwrap();
                let (name, columns) = name.split_once('(').unwrap_or((name, ""));
                let mut view = relation(name, RelationKind::View { definition: definition.to_owned(), owner: None });
                view.columns = columns
                    .trim_end_matches(')')
                    .split(", ")
                    .filter(|name| !name.is_empty())
                    .map(|name| read_column(&format!("{name} text")))
                    .collect();
                schema.insert(view);
            }
            "sequence" => schema.insert(relation(rest, RelationKind::Sequence)),
            "own" => {
                let words: Vec<_> = rest.split(' ').collect();
                let sequence = format!("\"public\".\"{}\"", words[2]);
                let own = Arc::make_mut(&mut schema.catalog.own_numbers);
                own.insert(("public", words[0], words[1]), &sequence);
            }
            "function" => schema.function("public", rest),
            "routine" => schema.routine(rest),
            other => panic!("{other}?"),
        }
    }
    schema.add(table, parent);
    builtin_functions(&mut schema);
    schema
}

fn relation(name: &str, kind: RelationKind) -> Relation {
    let name = name.replace('"', "");
    let (schema, name) = name.split_once('.').unwrap_or(("public", &name));
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Relation {
        schema,
        name,
        kind,
        columns: Vec::new(),
        primary_key: Vec::new(),
        cascades: false,
        rewrites_rows: false,
        stamps: Stamps::None,
        has_heirs: false,
        is_child: false,
        family: None,
        exempt: None,
        guarded: false,
        materialized: None,
    }
}

fn read_column(text: &str) -> Column {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\" ").unwrap(),
        None => text.split_once(' ').unwrap(),
    };
    let (type_name, extra) = rest.split_once(' ').unwrap_or((rest, ""));
    let (type_name, typmod) = match type_name.split_once('(') {
        Some((name, n)) => (name, n.trim_end_matches(')').parse::<i32>().unwrap() + 4),
        None => (type_name, -1),
    };
    let default = match extra.strip_prefix("default ") {
        Some("sequence") => ColumnDefault::Sequence,
        Some(expression) => ColumnDefault::Expression(expression.to_owned()),
        None if extra == "generated" => ColumnDefault::Expression("(quantity * price)".to_owned()),
        None => ColumnDefault::None,
    };
    let draws = if default == ColumnDefault::Sequence { "nextval('drawn')".to_owned() } else { String::new() };
    Column {
        name: name.to_owned(),
        type_oid: type_oid(type_name),
        typmod,
        default,
        generated: extra == "generated",
        type_name: format!("pg_catalog.{type_name}"),
        draws,
        always: false,
        identity: false,
        collation: 0,
        bytewise: false,
    }
}

/// *Source*: pg_type.dat.
pub fn type_oid(name: &str) -> u32 {
    match name {
        "bool" => 16,
        "name" => 19,
        "int8" => 20,
        "int2" => 21,
        "int4" => 23,
        "text" => 25,
        "oid" => 26,
        "float8" => 701,
        "unknown" => 705,
        "int2[]" => 1005,
        "int4[]" => 1007,
        "text[]" => 1009,
        "int8[]" => 1016,
        "char" | "bpchar" => 1042,
        "varchar" => 1043,
        "date" => 1082,
        "timestamptz" => 1184,
        "numeric" => 1700,
        "uuid" => 2950,
        "uuid[]" => 2951,
        other => panic!("type {other}?"),
    }
}

impl Schema {
    fn add(&mut self, table: Option<Relation>, parent: Option<&str>) {
        if let Some(mut table) = table {
            table.is_child = parent.is_some();
            table.kind = self.rules.kind(&table.schema, parent.unwrap_or(&table.name), &table.columns);
            self.insert(table);
        }
    }

    fn insert(&mut self, relation: Relation) {
        let schema = self.catalog.schemas.entry(relation.schema.clone()).or_default();
        schema.insert(relation.name.clone(), Arc::new(relation));
    }

    /// `procedure name(in type name, out type name) language: body`
    fn routine(&mut self, text: &str) {
        let (head, body) = text.split_once(": ").unwrap();
        let (head, language) = head.rsplit_once(' ').unwrap();
        let (kind, head) = head.split_once(' ').unwrap();
        let (name, parameters) = head.strip_suffix(')').unwrap().split_once('(').unwrap();
        let parameter = |text: &str| {
            let words: Vec<_> = text.split(' ').collect();
            Parameter {
                name: words.get(2).copied().unwrap_or_default().to_owned(),
                type_name: words[1].to_owned(),
                takes: words[0] != "out",
                gives: words[0] != "in",
                variadic: false,
            }
        };
        let routine = Routine {
            schema: "public".to_owned(),
            name: name.to_owned(),
            procedure: kind == "procedure",
            language: match language {
                "sql" => Language::Sql,
                "plpgsql" => Language::PlPgSql,
                _ => Language::Other,
            },
            body: body.to_owned(),
            settings: Vec::new(),
            definer: false,
            parameters: parameters.split(", ").filter(|text| !text.is_empty()).map(parameter).collect(),
            defaults: 0,
            default_text: String::new(),
        };
        self.catalog.routines.entry(name.to_owned()).or_default().push(routine);
        if kind != "procedure" {
            self.function("public", &format!("{name} volatile"));
        }
    }

    fn function(&mut self, schema: &str, text: &str) {
        let words: Vec<_> = text.split(' ').collect();
        let function = Function {
            schema: schema.to_owned(),
            volatility: match words[1] {
                "immutable" => Volatility::Immutable,
                "stable" => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            kind: if words.contains(&"aggregate") { FunctionKind::Aggregate } else { FunctionKind::Plain },
            native: words.contains(&"native"),
            returns_set: words.contains(&"set"),
            closed: false,
        };
        self.catalog.functions.entry(words[0].to_owned()).or_default().push(function);
    }
}

fn builtin_functions(schema: &mut Schema) {
    let mut kind = "";
    for line in include_str!("pg_catalog.functions").lines().filter(|line| !line.starts_with('#')) {
        let names = match line.strip_prefix("    ") {
            Some(names) => names,
            None => {
                let (word, names) = line.split_once(' ').unwrap();
                kind = word;
                names
            }
        };
        for name in names.split(' ') {
            let flags = kind.as_bytes();
            let function = Function {
                schema: "pg_catalog".to_owned(),
                volatility: match flags[0] {
                    b'i' => Volatility::Immutable,
                    b's' => Volatility::Stable,
                    _ => Volatility::Volatile,
                },
                kind: match flags[1] {
                    b'a' => FunctionKind::Aggregate,
                    b'w' => FunctionKind::Window,
                    b'p' => FunctionKind::Procedure,
                    _ => FunctionKind::Plain,
                },
                native: true,
                closed: false,
                returns_set: flags[2] == b's',
            };
            schema.catalog.functions.entry(name.to_owned()).or_default().push(function);
        }
    }
}
