//! EXPLAIN of a write of several steps: the statements in their order. Those that are read first have their plans under them; the plans of
//! the others depend on the rows of these. Nothing is changed.

use crate::execute::explain::{Notation, XML_HEAD, xml_text};
use crate::plan::{Fetched, Move, Route, Target};
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::explain::Explain;
use crate::session::gather::run::Gathering;
use crate::session::life::{Ended, Session};
use crate::session::plans::compiled::Compiled;
use crate::wire::frame;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::Columns;

use super::stepwise::Given;

/// A statement and what is known of its plan.
struct Step {
    statement: String,
    /// In the notation that was asked for.
    plan: Vec<String>,
}

/// What is shown.
struct Shown {
    node: &'static str,
    steps: Vec<Step>,
}

impl Session {
    /// Such an EXPLAIN in the simple protocol.
    pub(super) async fn explain_simple(&mut self, text: &[u8], route: &Route) -> Result<Ended, Failure> {
        let at = self.enlist_any(crate::plan::Access::Read).await?;
        let columns = self.ask_of(at, &[text], &[], Wire::Simple).await?.pop().and_then(|(_, columns)| columns);
        // A server that is not in the block is none of its own.
        self.give_back_if_idle().await;
        let own = self.begin_own_block();
        let lines = Box::pin(self.steps(text, route, Given::Nothing)).await?;
        if let Some(columns) = columns.map(Columns::new) {
            frame::write(&mut self.link.client.outbound, b'T', |to| to.extend_from_slice(columns.body()));
        }
        self.settle(own, &answer(&lines), true).await
    }

    /// The same in the extended protocol.
    pub(super) async fn explain_bound(
        &mut self,
        given: Given<'_>,
        compiled: &std::sync::Arc<Compiled>,
        route: &Route,
        execute: &crate::wire::frontend::Execute<'_>,
    ) -> Result<(), Failure> {
        self.drain().await?;
        self.begin_behind_pipeline();
        self.drain().await?;
        let lines = Box::pin(self.steps(&compiled.text, route, given)).await?;
        self.deliver_answer(&answer(&lines), execute)
    }

    async fn steps(&mut self, text: &[u8], route: &Route, given: Given<'_>) -> Result<Vec<String>, Failure> {
        let Some(explain) = Explain::of(text) else { return Err(unfit().into()) };
        let shown = match &route.target {
            Target::Fetched(fetched) => {
                Shown { node: "Fetch", steps: self.fetched_steps(&explain, fetched, given).await? }
            }
            Target::Moved(moving) => Shown { node: "Move", steps: self.moved_steps(&explain, moving, given).await? },
            _ => return Err(unfit().into()),
        };
        Ok(match explain.notation {
            Notation::Text => shown.text(),
            Notation::Json => vec![shown.json()],
            Notation::Yaml => vec![shown.yaml()],
            Notation::Xml => vec![shown.xml()],
        })
    }

    async fn fetched_steps(
        &mut self,
        explain: &Explain,
        fetched: &Fetched,
        given: Given<'_>,
    ) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        let later = fetched.sources.iter().filter(|source| source.gather.is_none());
        for source in fetched.sources.iter().filter(|source| source.gather.is_some()).chain(later) {
            let statement = source.shown();
            let mut plan = Vec::new();
            if let Some(gather) = &source.gather {
                let described = self.described(statement.as_bytes(), given.types(), gather, Wire::Simple).await?;
                let gathering = Gathering { described, parameters: given.parameters(), result_formats: Vec::new() };
                plan = self.gather_plan(explain, &gathering, Wire::Simple).await?;
            }
            steps.push(Step { statement, plan });
        }
        let last = Fetched::fill(&fetched.text, |at| format!("(rows {})", at + 1), |at| format!("(value {})", at + 1));
        steps.push(Step { statement: last, plan: Vec::new() });
        Ok(steps)
    }

    /// The rows are taken everywhere alike: one shard's plan stands for all.
    async fn moved_steps(&mut self, explain: &Explain, moving: &Move, given: Given<'_>) -> Result<Vec<Step>, Failure> {
        let shards = self.sources(moving, given)?;
        let shard = shards.first().copied().unwrap_or(self.default_shard);
        let at = self.enlist(shard, crate::plan::Access::Read).await?;
        let text = explain.with(&moving.take).ok_or_else(unfit)?;
        let rest = given.parameters().bind_rest(&[]);
        let server = &mut self.link.servers[at].server;
        server.send_bound(text.as_bytes(), given.types(), &rest, Audience::Gateway);
        server.send_sync(Audience::Gateway);
        let rows = self.harvest(super::fetched::too_much).await?;
        let lines = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        let plan = lines.flat_map(|line| line.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let put = format!("{}VALUES ...{}", moving.put, moving.returning);
        Ok(vec![Step { statement: moving.take.clone(), plan }, Step { statement: put, plan: Vec::new() }])
    }
}

fn unfit() -> Report {
    Report::error("0A000", "this EXPLAIN over several shards is not supported")
        .with_hint("EXPLAIN the queries that it needs.")
}

fn answer(lines: &[String]) -> bytes::BytesMut {
    let mut out = bytes::BytesMut::new();
    lines.iter().for_each(|line| reply::text_row(&mut out, &[line.as_bytes()]));
    reply::complete(&mut out, "EXPLAIN");
    out
}

/// Lines of a text, each a few blanks further in.
fn indented(lines: &[String], by: usize) -> Vec<String> {
    let lines = lines.iter().flat_map(|line| line.lines());
    lines.map(|line| format!("{}{line}", " ".repeat(by))).collect()
}

impl Shown {
    fn text(&self) -> Vec<String> {
        let mut lines = vec![self.node.to_owned()];
        for (at, step) in self.steps.iter().enumerate() {
            lines.push(format!("  ->  Step {}", at + 1));
            lines.push(format!("        {}", step.statement));
            lines.extend(indented(&step.plan, 8));
        }
        lines
    }

    fn json(&self) -> String {
        // So that a plan stands where its key ends.
        let plan = |step: &Step| match step.plan.is_empty() {
            true => String::new(),
            false => format!(",\n          \"Explain\": {}", indented(&step.plan, 10).join("\n").trim_start()),
        };
        let step = |step: &Step| {
            let statement = serde_json::Value::from(step.statement.as_str());
            format!("        {{\n          \"Statement\": {statement}{}\n        }}", plan(step))
        };
        let steps: Vec<String> = self.steps.iter().map(step).collect();
        format!(
            "[\n  {{\n    \"Plan\": {{\n      \"Node Type\": \"{}\",\n      \"Steps\": [\n{}\n      ]\n    }}\n  }}\n]",
            self.node,
            steps.join(",\n")
        )
    }

    fn yaml(&self) -> String {
        let mut lines = vec!["- Plan: ".to_owned(), format!("    Node Type: \"{}\"", self.node)];
        lines.push("    Steps: ".to_owned());
        for step in &self.steps {
            // A string of JSON is one of YAML.
            lines.push(format!("      - Statement: {}", serde_json::Value::from(step.statement.as_str())));
            if !step.plan.is_empty() {
                lines.push("        Explain: ".to_owned());
                lines.extend(indented(&step.plan, 10));
            }
        }
        lines.join("\n")
    }

    fn xml(&self) -> String {
        let plan = |step: &Step| match step.plan.is_empty() {
            true => String::new(),
            false => format!("<Explain>\n{}\n</Explain>\n", step.plan.join("\n")),
        };
        let step = |step: &Step| {
            format!("<Step>\n<Statement>{}</Statement>\n{}</Step>\n", xml_text(&step.statement), plan(step))
        };
        let steps: String = self.steps.iter().map(step).collect();
        format!(
            "{XML_HEAD}\n<Query>\n<Plan>\n<Node-Type>{}</Node-Type>\n<Steps>\n{steps}</Steps>\n</Plan>\n</Query>\n</explain>",
            self.node
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_json_plan_is_one_document_of_one_element() {
        let plan = vec!["[\n  {\"Plan\": {}}\n]".to_owned()];
        let steps = vec![
            Step { statement: "SELECT 'a\"b'".to_owned(), plan },
            Step { statement: "UPDATE t SET a = (value 1)".to_owned(), plan: Vec::new() },
        ];
        let shown = Shown { node: "Fetch", steps };
        let document: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
        assert_eq!(document.as_array().unwrap().len(), 1);
        assert_eq!(document[0]["Plan"]["Steps"][0]["Statement"], "SELECT 'a\"b'");
        assert_eq!(document[0]["Plan"]["Steps"][0]["Explain"][0]["Plan"], serde_json::json!({}));
        assert_eq!(document[0]["Plan"]["Steps"][1]["Explain"], serde_json::Value::Null);
    }
}
