//! SQL EXECUTE over several shards: a server computes the arguments, once for all shards; a statement that is not a query is run with them in
//! the places of its parameters.

use super::ask::Values;
use super::failure::Failure;
use super::gather::described::Wire;
use super::life::{Ended, Session};
use super::plans::compiled::Compiled;
use super::prepared::check_executes_no_other;
use super::statement::NoArguments;
use crate::catalog::Oid;
use crate::plan::{Access, Destination, Plan, literal};
use crate::pool::expect::Audience;
use crate::pool::server::statement_name;
use crate::sql::tokens;
use crate::wire::fields::{row, text_row};
use crate::wire::reply::Report;

impl Session {
    /// The arguments of an EXECUTE, in parentheses, as a server computes them for parameters of this statement's types.
    pub(super) async fn computed_arguments(
        &mut self,
        (name, compiled): (&str, &Compiled),
        tail: &[u8],
    ) -> Result<Values, Failure> {
        let place = self.place_of(tail).await?;
        let types = self.parameter_types(compiled).await?;
        let items: Vec<String> = (1..=types.len()).map(|number| format!("${number}")).collect();
        let query = self.compiled(format!("SELECT {}", items.join(", ")).as_bytes(), &types).await?;
        let at = match place {
            Destination::One(shard) => self.enlist_for(shard, Access::Write).await?,
            _ => self.enlist_any(Access::Read).await?,
        };
        self.hold_sql(at, &query).await?;
        let text = [b"EXECUTE ", &statement_name(query.id)[..], tail].concat();
        self.link.servers[at].server.send_query(&text, Audience::Gateway);
        self.pipeline.held.push((query.id, name.as_bytes().into()));
        let answers = self.answers().await?;
        self.pipeline.held.pop();
        self.give_back_if_idle().await;
        let body = answers.rows_of(at).last().unwrap_or_default();
        let utf8 = self.reported.utf8;
        if row(body).flatten().any(|value| std::str::from_utf8(value).is_err() || !utf8 && !value.is_ascii()) {
            return Err(Report::error(
                "0A000",
                "computed arguments of EXECUTE with characters of another encoding than UTF8 are not supported",
            )
            .with_hint("SET client_encoding TO UTF8.")
            .into());
        }
        Ok(text_row(body))
    }

    /// Runs a statement with values in the places of its parameters.
    pub(super) async fn execute_with(
        &mut self,
        named: (&str, &Compiled),
        values: &[Option<String>],
        alone: bool,
    ) -> Result<Ended, Failure> {
        let text = self.text_with(named, values).await?;
        let compiled = self.compiled(text.as_bytes(), &[]).await?;
        match compiled.plan() {
            Some(Plan::Rows(route)) => Box::pin(self.rows(text.as_bytes(), route, &NoArguments, alone)).await,
            Some(Plan::Refuse(refusal)) => Err(refusal.clone().into()),
            _ => Err(Report::error("0A000", "EXECUTE of this kind of statement is not supported").into()),
        }
    }

    /// EXPLAIN EXECUTE, CREATE TABLE AS EXECUTE: the statement stands, with its arguments, between two parts of another one.
    pub(super) async fn execute_within(
        &mut self,
        name: &str,
        (arguments, tail): (&[Result<Option<String>, ()>], &[u8]),
        (head, rest): (&[u8], &[u8]),
        alone: bool,
    ) -> Result<Ended, Failure> {
        let prepared = self.revalidated(name.as_bytes()).await?;
        check_executes_no_other(&prepared)?;
        let known: Result<Values, ()> = arguments.iter().cloned().collect();
        let values = match known {
            Ok(values) => values,
            Err(()) => self.computed_arguments((name, &prepared.compiled), tail).await?,
        };
        let text = self.text_with((name, &prepared.compiled), &values).await?;
        let text = text.trim().trim_end_matches(';');
        let words = String::from_utf8_lossy(rest).to_ascii_lowercase();
        let text = match words.split_whitespace().collect::<Vec<_>>().as_slice() {
            // PostgreSQL runs it for no row, and says how many there were. Source: prepare.c, ExecuteQuery.
            ["with", "no", "data", ..] => {
                [head, b"SELECT * FROM (", text.as_bytes(), b"\n) AS executed LIMIT 0"].concat()
            }
            _ => [head, text.as_bytes(), b"\n", rest].concat(),
        };
        let compiled = self.compiled(&text, &[]).await?;
        let plan = compiled.plan().ok_or_else(|| Report::error("0A000", "this EXECUTE is not supported"))?;
        Box::pin(self.statement(&compiled, &text, plan, alone)).await
    }

    /// A statement with values in the places of its parameters.
    async fn text_with(
        &mut self,
        (name, compiled): (&str, &Compiled),
        values: &[Option<String>],
    ) -> Result<String, Failure> {
        let types = self.parameter_types(compiled).await?;
        if types.len() != values.len() {
            // Source: prepare.c, EvaluateParams.
            let (expected, given) = (types.len(), values.len());
            let text = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Report::error("42601", text)
                .with_detail(format!("Expected {expected} parameters but got {given}."))
                .into());
        }
        let at = self.enlist_any(Access::Read).await?;
        let names = self.type_names(at, &types).await?;
        self.give_back_if_idle().await;
        let value = |number: usize| {
            let (value, name) = (values.get(number.checked_sub(1)?)?, names.get(number - 1)?);
            Some(format!("CAST({} AS {name})", value.as_deref().map_or_else(|| "NULL".to_owned(), escaped)))
        };
        let text = std::str::from_utf8(&compiled.text).ok();
        text.and_then(|text| tokens::with_parameters(text, value))
            .ok_or_else(|| Failure::from(Report::error("0A000", "EXECUTE of this statement is not supported")))
    }

    /// Where expressions are to be computed: those that draw from a sequence are not any server's.
    async fn place_of(&mut self, tail: &[u8]) -> Result<Destination, Failure> {
        let inner = tail.strip_prefix(b"(").and_then(|tail| tail.strip_suffix(b")")).unwrap_or(tail);
        let compiled = self.compiled(&[b"SELECT ", inner].concat(), &[]).await?;
        match compiled.plan() {
            Some(Plan::Rows(route)) => match self.destination(route, &NoArguments)? {
                place @ (Destination::Any | Destination::One(_)) => Ok(place),
                _ => Err(no_argument()),
            },
            Some(Plan::Refuse(refusal)) => Err(refusal.clone().into()),
            _ => Err(no_argument()),
        }
    }

    async fn parameter_types(&mut self, compiled: &Compiled) -> Result<Vec<Oid>, Failure> {
        if let Some(types) = compiled.inferred.as_ref().and_then(|inferred| inferred.get()) {
            return Ok(types.to_vec());
        }
        let at = self.enlist_any(Access::Read).await?;
        let mut answers = self.ask_of(at, &[&compiled.text], &compiled.types, Wire::Simple).await?;
        self.give_back_if_idle().await;
        Ok(answers.pop().unwrap_or_default().0)
    }

    async fn type_names(&mut self, at: usize, types: &[Oid]) -> Result<Vec<String>, Failure> {
        let list: Vec<String> = types.iter().map(ToString::to_string).collect();
        let text = format!(
            "SELECT pg_catalog.string_agg(pg_catalog.format_type(m.oid, NULL), E'\\n' ORDER BY m.n) \
             FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) WITH ORDINALITY m(oid, n)",
            list.join(",")
        );
        let names = self.one_value(at, &text, &[], Wire::Simple).await?;
        Ok(String::from_utf8_lossy(&names).lines().map(str::to_owned).collect())
    }
}

/// The arguments as constants, in parentheses.
pub(super) fn constants(values: &[Option<String>]) -> String {
    let constant = |value: &Option<String>| value.as_deref().map_or_else(|| "NULL".to_owned(), escaped);
    let list: Vec<String> = values.iter().map(constant).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

fn escaped(value: &str) -> String {
    literal(value)
}

fn no_argument() -> Failure {
    Report::error("0A000", "EXECUTE with these expressions as arguments is not supported over several shards")
        .with_hint("Give constants, or run the statement itself.")
        .into()
}
