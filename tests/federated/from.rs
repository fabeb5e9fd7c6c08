//! FROM, the conditions of its joins, and WITH, whose queries are among what FROM may name.

use crate::data::TABLES;
use crate::data::Type::{self, *};
use crate::generate::{Column, Generator, Item};

impl Generator {
    /// WITH queries, which are in force from then on.
    pub fn with(&mut self, outer: &[Item], deep: u32) -> String {
        let alias = format!("w{}", self.alias());
        if self.choices.chance(4) {
            return self.recursive(alias);
        }
        let mut text = String::from("WITH ");
        for more in 0..self.choices.one_of(&[1, 1, 2]) {
            let name = format!("{alias}{}", ["", "b"][more]);
            let query = self.query(outer, None, deep - 1, false);
            let materialized = self.choices.one_of(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            let columns: Vec<&str> = query.columns.iter().map(|(name, _)| name.as_str()).collect();
            let separator = if more == 0 { "" } else { ", " };
            text = format!("{text}{separator}{name}({}) AS {materialized}({})", columns.join(", "), query.sql);
            self.ctes.push(Item { alias: name, columns: query.columns, unique: Vec::new() });
        }
        text + " "
    }

    fn recursive(&mut self, alias: String) -> String {
        let start = self.query(&[], Some(&[Int]), 0, false).sql;
        let bound = self.choices.below(6);
        let union = self.choices.one_of(&["UNION", "UNION ALL"]);
        let step = match self.choices.below(3) {
            0 => format!("SELECT {alias}.n + 1 FROM {alias} WHERE {alias}.n < {bound}"),
            1 => format!(
                "SELECT DISTINCT {alias}.n + 1 FROM {alias} JOIN orders o ON o.id = {alias}.n WHERE {alias}.n < {bound}"
            ),
            _ => format!(
                "SELECT {alias}.n + 1 FROM {alias} WHERE {alias}.n < {bound} AND EXISTS (SELECT 1 FROM items i WHERE i.line = {alias}.n)"
            ),
        };
        let start = format!("SELECT DISTINCT s.n FROM ({start}) s(n) WHERE s.n > -3");
        self.ctes.push(Item { alias: alias.clone(), columns: vec![("n".into(), Int)], unique: Vec::new() });
        let after = match self.choices.below(6) {
            0 => " SEARCH DEPTH FIRST BY n SET path",
            1 => " CYCLE n SET is_cycle USING path",
            _ => "",
        };
        format!("WITH RECURSIVE {alias}(n) AS ({start} {union} {step}){after} ")
    }

    /// FROM items, and their text.
    pub fn clause_from(&mut self, outer: &[Item], deep: u32) -> (Vec<Item>, String) {
        let (first, mut text) = self.item_from(outer, &[], deep);
        let mut items = vec![first];
        let more = self.choices.one_of(&[0, 0, 0, 1, 1, 2]);
        for _ in 0..more {
            let (item, right) = self.item_from(outer, &items, deep);
            let mut join = self.choices.one_of(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            if ["LATERAL", "unnest", "jsonb"].iter().any(|start| right.starts_with(start)) && join != "JOIN" {
                join = "LEFT JOIN";
            }
            if self.choices.chance(5) && both_have_the_key(&items, &item) {
                text = format!("{text} {join} {right} USING (customer_id)");
                items.push(item);
                continue;
            }
            let on = self.join_condition(&items, &item, join == "FULL JOIN", deep);
            text = match on {
                Some(on) => format!("{text} {join} {right} ON {on}"),
                None if items.len() < 2 => format!("{text} CROSS JOIN {right}"),
                None => continue,
            };
            items.push(item);
        }
        (items, text)
    }

    fn join_condition(&mut self, left: &[Item], right: &Item, only_equal: bool, deep: u32) -> Option<String> {
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
            on = format!("{on} AND {}", self.condition(&items, deep.min(1)));
        }
        Some(on)
    }

    fn item_from(&mut self, outer: &[Item], left: &[Item], deep: u32) -> (Item, String) {
        let alias = self.alias();
        let none = Vec::new();
        match self.choices.below(11) {
            0 if deep > 0 => {
                let query = self.query(&[], None, deep - 1, false);
                let text = format!("({}) {alias}", query.sql);
                (Item { alias, columns: query.columns, unique: none }, text)
            }
            1 if deep > 0 && !left.is_empty() => {
                let names: Vec<Item> = outer.iter().chain(left).cloned().collect();
                let query = self.query(&names, None, deep - 1, false);
                let text = format!("LATERAL ({}) {alias}", query.sql);
                (Item { alias, columns: query.columns, unique: none }, text)
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
            5 if !left.is_empty() => self.function(alias, left),
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

    /// A function over columns to its left.
    fn function(&mut self, alias: String, left: &[Item]) -> (Item, String) {
        let names = |names: &[(&str, Type)]| names.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let (columns, text): (Vec<Column>, String) = match self.choices.below(3) {
            0 => {
                let of = self.value(Array, left);
                (names(&[("e", Text), ("o", Int)]), format!("unnest({of}) WITH ORDINALITY {alias}(e, o)"))
            }
            1 => {
                let of = self.value(Json, left);
                let of = format!("CASE jsonb_typeof({of}) WHEN 'object' THEN {of} ELSE '{{}}' END");
                (names(&[("k", Text), ("v", Text)]), format!("jsonb_each_text({of}) {alias}(k, v)"))
            }
            _ => {
                let of = self.value(Int, left);
                (names(&[("n", Int)]), format!("LATERAL generate_series(1, least({of}, 3)) {alias}(n)"))
            }
        };
        (Item { alias, columns, unique: Vec::new() }, text)
    }
}

/// Whether USING the key would be right: one item to the left has it, and the right one.
fn both_have_the_key(left: &[Item], right: &Item) -> bool {
    let count = |item: &Item| item.columns.iter().filter(|(name, _)| name == "customer_id").count();
    left.iter().map(count).sum::<usize>() == 1 && count(right) == 1
}
