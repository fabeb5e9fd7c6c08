//! EXPLAIN of a gather: each part with the plans that its shards have for it, and the merge. With ANALYZE the parts run on their shards, and
//! the merge over what they ship; what it comes to is thrown away.

use std::time::{SystemTime, UNIX_EPOCH};

use super::described::Wire;
use super::output::{only, place, print};
use super::run::{Gathering, Run};
use crate::execute::explain::{Notation, XML_HEAD, in_words, xml_elements, xml_text};
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::sql::{Node, ast, names};
use crate::wire::reply::{self, Report};

/// Microseconds from the Unix epoch to that of PostgreSQL, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A part and what each of its shards says of it.
struct PartPlan {
    name: String,
    place: &'static str,
    query: String,
    /// What may be done about its rows.
    notes: Vec<String>,
    shards: Vec<ShardPlan>,
}

/// What one shard says of a part.
struct ShardPlan {
    name: String,
    plan: Vec<String>,
    /// Of EXPLAIN ANALYZE: what it shipped, names and values.
    sent: Vec<(&'static str, String)>,
}

/// What is shown.
struct Shown {
    /// What puts the parts together.
    node: &'static str,
    reason: String,
    parts: Vec<PartPlan>,
    /// The merge query; an ordered merge has none.
    merge: Option<String>,
    merge_plan: Option<Vec<String>>,
    stores: Option<String>,
}

impl Session {
    /// What answers such an EXPLAIN, without the description of its column.
    pub(super) async fn gather_explain(
        &mut self,
        text: &[u8],
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<bytes::BytesMut, Failure> {
        let unfit = || Report::error("0A000", "this EXPLAIN over several shards is not supported");
        let Some(explain) = Explain::of(text) else { return Err(unfit().into()) };
        if explain.analyze && gathering.described.gather.put().is_some() {
            return Err(Report::error(
                "0A000",
                "EXPLAIN ANALYZE of an INSERT over several shards is not supported yet",
            )
            .with_hint("EXPLAIN ANALYZE its query.")
            .into());
        }
        let lines = self.gather_plan(&explain, gathering, wire).await?;
        let mut answer = bytes::BytesMut::new();
        for line in lines {
            reply::text_row(&mut answer, &[line.as_bytes()]);
        }
        reply::complete(&mut answer, "EXPLAIN");
        Ok(answer)
    }

    /// The plan of a gather, a row for each string.
    pub(in crate::session) async fn gather_plan(
        &mut self,
        explain: &Explain,
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<Vec<String>, Failure> {
        let unfit = || Report::error("0A000", "this EXPLAIN over several shards is not supported");
        let gather = gathering.described.gather.clone();
        let ordered = self.ordered_streams(gathering).map(|(ordered, _)| ordered);
        let asked = ordered.map_or(&gather.parts[..], |ordered| std::slice::from_ref(&ordered.part));
        let places = self.part_places(gathering, asked)?;
        let places = self.enlist_parts(&places).await?;
        let mut parts = Vec::new();
        for (part, servers) in asked.iter().zip(&places) {
            let text = explain.with(&gather.explained(part)).ok_or_else(unfit)?;
            let mut shards = Vec::new();
            for at in servers {
                let name = self.gateway.shard_name(self.link.servers[*at].shard);
                let plan = self.ask_plan(*at, &text, gathering, wire).await?;
                let sent = match explain.analyze && ordered.is_some() {
                    true => self.count_part(*at, &part.text, gathering, wire).await?.in_plan(explain.timing),
                    false => Vec::new(),
                };
                shards.push(ShardPlan { name, plan, sent });
            }
            let (name, query, notes) = (part.name.clone(), part.text.clone(), gather.notes(part));
            parts.push(PartPlan { name, place: place(part), query, notes, shards });
        }
        let merge_plan = if explain.analyze && ordered.is_none() {
            let text = explain.with(&gather.merge).ok_or_else(unfit)?;
            let run = Run { wire, tells_columns: false, rows_max: 0, statement: Some(&text), keeps: false };
            self.measured = Some(Box::default());
            let merged = self.run_gather(gathering, run).await;
            let measured = self.measured.take().unwrap_or_default();
            for (at, part) in parts.iter_mut().enumerate() {
                for shard in &mut part.shards {
                    shard.sent = measured.sent(at, &shard.name).in_plan(explain.timing);
                }
            }
            let merged = merged?;
            if let Some(server) = merged.held {
                let key = server.server.cancel_key();
                self.link.servers.push(server);
                self.drop_merge(&key).await?;
            }
            let plan = merged.tag.unwrap_or_default();
            Some(String::from_utf8_lossy(&plan).lines().map(str::to_owned).collect())
        } else {
            None
        };
        let stores = gather.put().map(|put| put.relation.clone());
        let node = ordered.map_or("Gather", crate::plan::Ordered::name);
        let merge = ordered.is_none().then(|| gather.merge.clone());
        let shown = Shown { node, reason: gather.reason.clone(), parts, merge, merge_plan, stores };
        Ok(match explain.notation {
            Notation::Text => shown.text(),
            Notation::Json => vec![shown.json()],
            Notation::Yaml => vec![shown.yaml()],
            Notation::Xml => vec![shown.xml()],
        })
    }

    /// What one server says of a text.
    async fn ask_plan(
        &mut self,
        at: usize,
        text: &str,
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<Vec<String>, Failure> {
        self.send_part_text(at, text, gathering, wire);
        let rows = self.harvest(too_much).await?;
        let rows = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        Ok(rows.flat_map(|row| row.lines().map(str::to_owned).collect::<Vec<_>>()).collect())
    }

    /// Has one server run a text with a gather's parameters.
    pub(super) fn send_part_text(&mut self, at: usize, text: &str, gathering: &Gathering, wire: Wire) {
        let mut parameters = gathering.parameters.clone();
        if gathering.described.gather.now_parameter.is_some() {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH_MICROS);
            parameters.push_binary(micros.to_be_bytes().to_vec());
        }
        parameters.reserve(gathering.described.gather.values.len());
        let rest = parameters.bind_rest(&[]);
        let enlisted = &mut self.link.servers[at];
        enlisted.server.send_bound(text.as_bytes(), &gathering.described.types, &rest, Audience::Gateway);
        wire.end_messages(enlisted);
    }
}

fn too_much(bytes_max: usize) -> Report {
    Report::error("53200", format!("what a shard says of its plan exceeds held_bytes_max ({bytes_max})"))
        .with_hint("EXPLAIN without VERBOSE, or raise held_bytes_max in [limits].")
}

/// Whether a text is an EXPLAIN.
pub(super) fn is_explain(text: &[u8]) -> bool {
    Explain::of(text).is_some()
}

/// The client's statement.
pub(in crate::session) struct Explain {
    statement: ast::ExplainStmt,
    pub(super) analyze: bool,
    /// Times are shown.
    pub(super) timing: bool,
    pub(in crate::session) notation: Notation,
}

impl Explain {
    pub(in crate::session) fn of(text: &[u8]) -> Option<Explain> {
        let node = only(std::str::from_utf8(text).ok()?)?.stmt?.node?;
        let Node::ExplainStmt(statement) = node else { return None };
        let (mut analyze, mut timing) = (false, true);
        let mut notation = Notation::Text;
        for option in &statement.options {
            let Some(Node::DefElem(option)) = &option.node else { return None };
            match option.defname.as_str() {
                "analyze" => analyze = names::option_flag(option) != Some(false),
                "timing" => timing = names::option_flag(option) != Some(false),
                "format" => {
                    let format = names::value_text(names::inner(&option.arg)?)?;
                    notation = match format.to_ascii_lowercase().as_str() {
                        "text" => Notation::Text,
                        "json" => Notation::Json,
                        "yaml" => Notation::Yaml,
                        "xml" => Notation::Xml,
                        _ => return None,
                    };
                }
                _ => {}
            }
        }
        Some(Explain { statement: *statement, analyze, timing, notation })
    }

    /// What it explains.
    pub(super) fn query(&self) -> Option<String> {
        names::inner(&self.statement.query).filter(|node| matches!(node, Node::SelectStmt(_)))?;
        print(ast::RawStmt { stmt: self.statement.query.clone(), ..ast::RawStmt::default() })
    }

    /// The same EXPLAIN of another query.
    pub(in crate::session) fn with(&self, query: &str) -> Option<String> {
        let mut statement = self.statement.clone();
        statement.query = only(query)?.stmt;
        let node = ast::Node { node: Some(Node::ExplainStmt(Box::new(statement))) };
        print(ast::RawStmt { stmt: Some(Box::new(node)), ..ast::RawStmt::default() })
    }
}

impl Shown {
    fn text(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(table) = &self.stores {
            lines.push(format!("Insert on {table}"));
        }
        lines.push(match &self.merge {
            Some(_) => format!("{}  ({})", self.node, self.reason),
            None => format!("{} in the gateway", self.node),
        });
        for part in &self.parts {
            lines.push(format!("  ->  Part {} on {}", part.name, part.place));
            lines.push(format!("        {}", part.query));
            lines.extend(part.notes.iter().map(|note| format!("        {note}")));
            for ShardPlan { name, plan, sent } in &part.shards {
                let sent = if sent.is_empty() { String::new() } else { format!("  {}", in_words(sent)) };
                lines.push(format!("        ->  Shard {name}{sent}"));
                lines.extend(plan.iter().map(|line| format!("              {line}")));
            }
        }
        if let Some(merge) = &self.merge {
            lines.push("  ->  Merge".to_owned());
            lines.push(format!("        {merge}"));
        }
        lines.extend(self.merge_plan.iter().flatten().map(|line| format!("        {line}")));
        lines
    }

    fn json(&self) -> String {
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let indented = |lines: &[String], by: &str| lines.join(&format!("\n{by}"));
        let shard = |ShardPlan { name, plan, sent }: &ShardPlan| {
            let plan = indented(plan, "                ");
            let sent = sent.iter().map(|(name, value)| format!("                \"{name}\": {value},\n"));
            format!(
                "              {{\n                \"Shard\": {},\n{}                \"Explain\": {plan}\n              }}",
                string(name),
                sent.collect::<String>()
            )
        };
        let part = |part: &PartPlan| {
            let shards: Vec<String> = part.shards.iter().map(shard).collect();
            format!(
                "        {{\n          \"Part\": {},\n          \"Place\": {},\n          \"Query\": {},\n          \"Shards\": [\n{}\n          ]\n        }}",
                string(&part.name),
                string(part.place),
                string(&part.query),
                shards.join(",\n")
            )
        };
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        let merge_plan =
            self.merge_plan.as_ref().map(|plan| format!(",\n        \"Explain\": {}", indented(plan, "        ")));
        let stores = self.stores.as_ref().map(|table| format!("      \"Insert\": {},\n", string(table)));
        let merge_plan = merge_plan.unwrap_or_default();
        let merge = self
            .merge
            .as_ref()
            .map(|merge| format!(",\n      \"Merge\": {{\n        \"Query\": {}{merge_plan}\n      }}", string(merge)));
        format!(
            "[\n  {{\n    \"Plan\": {{\n      \"Node Type\": {},\n{}      \"Reason\": {},\n      \"Parts\": [\n{}\n      ]{}\n    }}\n  }}\n]",
            string(self.node),
            stores.unwrap_or_default(),
            string(&self.reason),
            parts.join(",\n"),
            merge.unwrap_or_default()
        )
    }

    fn xml(&self) -> String {
        let element = |name: &str, text: &str| format!("<{name}>{}</{name}>\n", xml_text(text));
        let shard = |ShardPlan { name, plan, sent }: &ShardPlan| {
            let (name, sent, plan) = (element("Name", name), xml_elements(sent), plan.join("\n"));
            format!("<Shard>\n{name}{sent}<Explain>\n{plan}\n</Explain>\n</Shard>\n")
        };
        let part = |part: &PartPlan| {
            let head = element("Name", &part.name) + &element("Place", part.place) + &element("Query", &part.query);
            let shards: String = part.shards.iter().map(shard).collect();
            format!("<Part>\n{head}<Shards>\n{shards}</Shards>\n</Part>\n")
        };
        let head = element("Node-Type", self.node)
            + &self.stores.as_ref().map_or_else(String::new, |table| element("Insert", table))
            + &element("Reason", &self.reason);
        let parts: String = self.parts.iter().map(part).collect();
        let plan = self.merge_plan.as_ref().map(|plan| format!("<Explain>\n{}\n</Explain>\n", plan.join("\n")));
        let plan = plan.unwrap_or_default();
        let merge = self.merge.as_ref().map(|merge| format!("<Merge>\n{}{plan}</Merge>\n", element("Query", merge)));
        let merge = merge.unwrap_or_default();
        format!("{XML_HEAD}\n<Query>\n<Plan>\n{head}<Parts>\n{parts}</Parts>\n{merge}</Plan>\n</Query>\n</explain>")
    }

    fn yaml(&self) -> String {
        // A string of JSON is one of YAML.
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let mut lines = vec!["- Plan: ".to_owned(), format!("    Node Type: {}", string(self.node))];
        lines.extend(self.stores.iter().map(|table| format!("    Insert: {}", string(table))));
        lines.push(format!("    Reason: {}", string(&self.reason)));
        if !self.parts.is_empty() {
            lines.push("    Parts: ".to_owned());
        }
        for part in &self.parts {
            lines.push(format!("      - Part: {}", string(&part.name)));
            lines.push(format!("        Place: {}", string(part.place)));
            lines.push(format!("        Query: {}", string(&part.query)));
            lines.push("        Shards: ".to_owned());
            for ShardPlan { name, plan, sent } in &part.shards {
                lines.push(format!("          - Shard: {}", string(name)));
                lines.extend(sent.iter().map(|(name, value)| format!("            {name}: {value}")));
                lines.push("            Explain: ".to_owned());
                lines.extend(plan.iter().map(|line| format!("              {line}")));
            }
        }
        if let Some(merge) = &self.merge {
            lines.push("    Merge: ".to_owned());
            lines.push(format!("      Query: {}", string(merge)));
        }
        if let Some(plan) = &self.merge_plan {
            lines.push("      Explain: ".to_owned());
            lines.extend(plan.iter().map(|line| format!("        {line}")));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown() -> Shown {
        let plan = vec!["[".to_owned(), "  {\"Plan\": {}}".to_owned(), "]".to_owned()];
        let sent = vec![("Shipped Rows", "3".to_owned())];
        let parts = vec![PartPlan {
            name: "part1".to_owned(),
            place: "all shards",
            query: "SELECT 'a\"b'".to_owned(),
            notes: Vec::new(),
            shards: ["s0", "s1"]
                .map(|name| ShardPlan { name: name.to_owned(), plan: plan.clone(), sent: sent.clone() })
                .into(),
        }];
        Shown {
            node: "Gather",
            reason: "an aggregate".to_owned(),
            parts,
            merge: Some("SELECT 1".to_owned()),
            merge_plan: Some(plan),
            stores: None,
        }
    }

    #[test]
    fn a_json_plan_is_one_document_of_one_element() {
        let document: serde_json::Value = serde_json::from_str(&shown().json()).unwrap();
        assert_eq!(document.as_array().unwrap().len(), 1);
        assert_eq!(document[0]["Plan"]["Parts"][0]["Shards"][1]["Shard"], "s1");
        assert_eq!(document[0]["Plan"]["Parts"][0]["Query"], "SELECT 'a\"b'");
        assert_eq!(document[0]["Plan"]["Parts"][0]["Shards"][1]["Shipped Rows"], 3);
    }

    #[test]
    fn an_ordered_merge_has_no_merge_query() {
        let shown = Shown { node: "Ordered merge", merge: None, merge_plan: None, ..shown() };
        assert_eq!(shown.text()[0], "Ordered merge in the gateway");
        let document: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
        assert_eq!(document[0]["Plan"]["Node Type"], "Ordered merge");
        assert_eq!(document[0]["Plan"]["Merge"], serde_json::Value::Null);
    }

    #[test]
    fn an_explain_keeps_its_options_for_another_query() {
        let explain = Explain::of(b"EXPLAIN (ANALYZE, COSTS OFF) SELECT 1").unwrap();
        assert!(explain.analyze);
        assert_eq!(explain.with("SELECT 2").unwrap(), "EXPLAIN (ANALYZE, COSTS OFF) SELECT 2");
    }
}
