//! What is computed over several rows, with one answer in whatever order they come: aggregates and window functions.

use crate::data::Type::{self, *};
use crate::generate::{ALL, Generator, Item};

/// Frames that mean the same whatever the order of equal rows.
const FRAMES_OF_PEERS: &[&str] = &[
    "",
    " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    " RANGE UNBOUNDED PRECEDING EXCLUDE CURRENT ROW",
    " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE GROUP",
    " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES",
];

/// Those that count rows.
const FRAMES_OF_ROWS: &[&str] = &[
    "",
    " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
    " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
];

impl Generator {
    /// An aggregate of this type.
    pub fn aggregate(&mut self, kind: Type, items: &[Item]) -> String {
        let distinct = if self.choices.chance(5) { "DISTINCT " } else { "" };
        let call = match kind {
            Int => return self.counting(distinct, items),
            Num => return self.numeric(distinct, items),
            Text => match self.choices.below(5) {
                0 => format!("max({})", self.expression(Text, items, 0)),
                1 => format!("mode() WITHIN GROUP (ORDER BY {})", self.expression(Text, items, 0)),
                2 => {
                    let (of, by) = (self.expression(Text, items, 0), self.expression(Int, items, 0));
                    format!("string_agg({of}, '+' ORDER BY {by} DESC, {of})")
                }
                _ => {
                    let of = self.expression(Text, items, 0);
                    format!("string_agg({distinct}{of}, ',' ORDER BY {of})")
                }
            },
            Bool => {
                let name = self.choices.one_of(&["bool_and", "bool_or", "every"]);
                format!("{name}({})", self.expression(Bool, items, 0))
            }
            Float => match self.choices.below(4) {
                0 => format!("sum({distinct}{})", self.expression(Float, items, 0)),
                1 => format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {})", self.expression(Float, items, 0)),
                2 => format!("percentile_disc(0.25) WITHIN GROUP (ORDER BY {})", self.expression(Float, items, 0)),
                _ => format!("avg({})", self.expression(Float, items, 0)),
            },
            Span => {
                let name = self.choices.one_of(&["min", "max", "sum", "avg"]);
                format!("{name}({})", self.expression(kind, items, 0))
            }
            Date | Ts | Mood | Code => {
                let name = self.choices.one_of(&["min", "max"]);
                format!("{name}({})", self.expression(kind, items, 0))
            }
            Array => {
                let of = self.expression(Text, items, 0);
                format!("array_agg({distinct}{of} ORDER BY {of})")
            }
            Json => {
                let of = self.choices.one_of(ALL);
                let of = self.expression(of, items, 0);
                format!("jsonb_agg({distinct}{of} ORDER BY {of})")
            }
            Uuid | Bytes | Range => {
                let of = self.expression(kind, items, 0);
                return format!("(array_agg({of} ORDER BY {of}))[1]");
            }
        };
        self.filtered(call, items)
    }

    fn filtered(&mut self, call: String, items: &[Item]) -> String {
        if !self.choices.chance(6) {
            return call;
        }
        format!("{call} FILTER (WHERE {})", self.condition(items, 0))
    }

    fn counting(&mut self, distinct: &str, items: &[Item]) -> String {
        match self.choices.below(9) {
            0 => self.filtered("count(*)".to_owned(), items),
            1 => {
                let of = self.choices.one_of(ALL);
                let of = self.expression(of, items, 0);
                self.filtered(format!("count({distinct}{of})"), items)
            }
            2 => {
                let (a, b) = (self.value(Int, items), self.value(Text, items));
                format!("count({distinct}({a}, {b}))")
            }
            3 => format!("bit_{}({})", self.choices.one_of(&["and", "or", "xor"]), self.value(Int, items)),
            4 => format!("(rank(2) WITHIN GROUP (ORDER BY {}))::int8", self.expression(Int, items, 0)),
            5 => format!("count({})", items.first().map_or("*", |item| &item.alias)),
            6 => format!("coalesce(sum({}), 0)::int8", self.expression(Int, items, 0)),
            7 => format!("sum({distinct}{})::int8", self.expression(Int, items, 0)),
            _ => format!("max({})", self.expression(Int, items, 0)),
        }
    }

    fn numeric(&mut self, distinct: &str, items: &[Item]) -> String {
        match self.choices.below(9) {
            0 => {
                let call = format!("sum({distinct}{})", self.expression(Num, items, 0));
                self.filtered(call, items)
            }
            1 => format!("avg({distinct}{})", self.expression(Num, items, 0)),
            2 => format!("stddev({})", self.expression(Int, items, 0)),
            3 => format!("avg({distinct}{})", self.expression(Int, items, 0)),
            4 => format!("var_pop({})", self.expression(Num, items, 0)),
            5 => {
                let (a, b) = (self.expression(Float, items, 0), self.expression(Float, items, 0));
                let name = self.choices.one_of(&["covar_pop", "regr_sxy", "regr_avgx", "covar_samp"]);
                format!("round({name}({a}, {b})::numeric, 6)")
            }
            6 => format!("round(variance({})::numeric, 6)", self.expression(Float, items, 0)),
            7 => format!("sum({}) / nullif(count(*), 0)", self.expression(Num, items, 0)),
            _ => {
                let call = format!("min({})", self.expression(Num, items, 0));
                self.filtered(call, items)
            }
        }
    }

    /// A window function, or what has none.
    pub fn window(&mut self, kind: Type, items: &[Item]) -> String {
        let key = self.types(None, items)[0];
        let partition = match self.choices.below(3) {
            0 => String::new(),
            1 => format!("PARTITION BY {}.{} ", items[0].alias, items[0].columns[0].0),
            _ => format!("PARTITION BY {} ", self.expression(key, items, 0)),
        };
        if items.iter().all(|item| !item.unique.is_empty()) && self.choices.chance(2) {
            return self.over_rows(kind, items, &partition);
        }
        let by = self.expression(key, items, 0);
        let frame = self.choices.one_of(FRAMES_OF_PEERS);
        let over = format!("OVER ({partition}ORDER BY {by}{frame})");
        match (kind, self.choices.below(5)) {
            (Int, 0) => format!("rank() OVER ({partition}ORDER BY {by})"),
            (Int, 1) => format!("count(*) {over}"),
            (Int, 2) => format!("dense_rank() OVER ({partition}ORDER BY {by} DESC NULLS LAST)"),
            (Int, 3) => "count(*) OVER ()".to_owned(),
            (Int, _) => {
                let (of, by) = (self.expression(Int, items, 0), self.value(Int, items));
                format!("max({of}) OVER ({partition}ORDER BY {by} RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING)")
            }
            // Multiples of a power of two, so that sums of them are exact in any order.
            (Float, 0) => format!("(round(1024 * percent_rank() OVER ({partition}ORDER BY {by})) / 1024)"),
            (Float, 1) => format!("(round(1024 * cume_dist() OVER ({partition}ORDER BY {by})) / 1024)"),
            (Num, 0 | 1) => format!("avg({}) {over}", self.expression(Num, items, 0)),
            (Num, _) => format!("sum({}) {over}", self.expression(Num, items, 0)),
            (Uuid | Bytes | Json | Array | Bool | Range, _) => self.expression(kind, items, 0),
            (_, 0) => {
                let (of, condition) = (self.expression(kind, items, 0), self.condition(items, 0));
                format!("min({of}) FILTER (WHERE {condition}) {over}")
            }
            (Text | Date | Ts | Float | Span | Mood | Code, _) => {
                format!("max({}) {over}", self.expression(kind, items, 0))
            }
        }
    }

    /// Over rows in a total order.
    fn over_rows(&mut self, kind: Type, items: &[Item], partition: &str) -> String {
        let order: Vec<String> =
            items.iter().flat_map(|item| item.unique.iter().map(|name| format!("{}.{name}", item.alias))).collect();
        let order = order.join(", ");
        let of = self.expression(kind, items, 0);
        let frame = self.choices.one_of(FRAMES_OF_ROWS);
        match (kind, self.choices.below(5)) {
            (Int, 0) => format!("row_number() OVER ({partition}ORDER BY {order})"),
            (Int, 1) => format!("ntile(3) OVER ({partition}ORDER BY {order})"),
            (_, 1) => {
                let kind = self.types(None, items)[0];
                let by = self.expression(kind, items, 0);
                format!("first_value({of}) OVER ({partition}ORDER BY {by}, {order}{frame})")
            }
            (_, 2) => format!("nth_value({of}, 2) OVER ({partition}ORDER BY {order}{frame})"),
            (_, 3) => format!("lead({of}, 2) OVER ({partition}ORDER BY {order})"),
            _ => format!("lag({of}) OVER ({partition}ORDER BY {order})"),
        }
    }
}
