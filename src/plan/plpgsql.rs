//! Reads a body in PL/pgSQL: which SQL it may run, and which names in it are variables. Cuts it as PL/pgSQL itself does; what each piece
//! means is for the planner. What is not known here makes the body unreadable.
//!
//! *Source*: manual of PostgreSQL 15, chapter 43; `pl_gram.y`.

use std::collections::HashSet;
use std::ops::Range;

use crate::sql::tokens::{self, Word};

/// Statements within statements at the most.
const DEPTH_MAX: usize = 50;

/// What a body consists of.
#[derive(Debug, Default)]
pub struct Body {
    /// Statements, and expressions as queries, without their INTO.
    pub pieces: Vec<String>,
    /// Names of variables and labels.
    pub variables: HashSet<String>,
    /// Names of variables and parameters that are given values, but by CALL.
    pub assigned: HashSet<String>,
}

/// Reads a body; `Err` says what in it is not understood.
pub fn read(body: &str) -> Result<Body, String> {
    let words = tokens::words(body).ok_or("it cannot be cut into words")?;
    let mut reader = Reader { body, words, at: 0, depth: 0, found: Body::default() };
    // Source: pl_comp.c, do_compile, add_dummy_return; pl_gram.y, exception_sect.
    reader.found.variables.extend(["found", "sqlstate", "sqlerrm"].map(str::to_owned));
    let whole = reader.block(true).is_some() && reader.at == reader.words.len();
    if whole {
        return Ok(reader.found);
    }
    let stopped = reader.words.get(reader.at.min(reader.words.len().saturating_sub(1)));
    let word = stopped.map(|word| word.text.as_str()).filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
    Err(match word {
        Some(word) => format!("it has a statement of PL/pgSQL that is not followed, near {}", word.to_uppercase()),
        None => "it has a statement of PL/pgSQL that is not followed".to_owned(),
    })
}

struct Reader<'b> {
    body: &'b str,
    words: Vec<Word>,
    at: usize,
    depth: usize,
    found: Body,
}

impl Reader<'_> {
    fn word(&self) -> &str {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &str {
        self.words.get(self.at + by).map_or("", |word| word.text.as_str())
    }

    fn take(&mut self, word: &str) -> Option<()> {
        let found = self.word() == word;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// A name, as PostgreSQL folds it.
    fn name(&mut self) -> Option<String> {
        let word = self.word();
        let name = match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None if word.starts_with(|c: char| c.is_alphabetic() || c == '_') && !word.contains('\'') => {
                word.to_owned()
            }
            None => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// Up to one of these words outside of parentheses: the words before it.
    fn until(&mut self, ends: &[&str]) -> Option<Range<usize>> {
        let first = self.at;
        let mut parentheses = 0usize;
        loop {
            match self.words.get(self.at)?.text.as_str() {
                text if parentheses == 0 && ends.contains(&text) => return Some(first..self.at),
                "(" | "[" => parentheses += 1,
                ")" | "]" => parentheses = parentheses.checked_sub(1)?,
                // Ends any statement, so that nothing is taken for a part of the one before.
                ";" => return None,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn text(&self, words: Range<usize>) -> Option<&str> {
        let (first, last) = (self.words.get(words.start)?, self.words.get(words.end.checked_sub(1)?)?);
        self.body.get(first.range.start..last.range.end)
    }

    /// What stands there is computed; nothing may stand there too.
    fn expression(&mut self, words: Range<usize>) -> Option<()> {
        if !words.is_empty() {
            let piece = format!("SELECT {}", self.text(words)?);
            self.found.pieces.push(piece);
        }
        Some(())
    }

    fn expression_until(&mut self, ends: &[&str]) -> Option<()> {
        let words = self.until(ends)?;
        self.expression(words)
    }

    fn label(&mut self) -> Option<()> {
        if self.take("<<").is_some() {
            let name = self.name()?;
            self.found.variables.insert(name);
            self.take(">>")?;
        }
        Some(())
    }

    /// `[<<label>>] [DECLARE ...] BEGIN ... [EXCEPTION WHEN ... THEN ...] END [label] [;]`
    fn block(&mut self, outermost: bool) -> Option<()> {
        self.label()?;
        if self.take("declare").is_some() {
            while self.word() != "begin" {
                if self.take("declare").is_none() {
                    self.declaration()?;
                }
            }
        }
        self.take("begin")?;
        self.statements()?;
        if self.take("exception").is_some() {
            while self.take("when").is_some() {
                self.until(&["then"])?;
                self.take("then")?;
                self.statements()?;
            }
        }
        self.take("end")?;
        if self.at < self.words.len() && self.word() != ";" {
            self.name()?;
        }
        let ended = self.take(";").is_some();
        (ended || outermost).then_some(())
    }

    /// `name [CONSTANT] type [NOT NULL] [{DEFAULT | := | =} expression];`
    fn declaration(&mut self) -> Option<()> {
        let name = self.name()?;
        self.found.variables.insert(name);
        if matches!(self.word(), "alias" | "cursor" | "no" | "scroll") {
            return None;
        }
        self.until(&[";", "default", ":=", "="])?;
        if self.take(";").is_some() {
            return Some(());
        }
        self.at += 1;
        self.expression_until(&[";"])?;
        self.take(";")
    }

    fn statements(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        while !matches!(self.word(), "end" | "exception" | "when" | "else" | "elsif" | "elseif") {
            self.statement()?;
        }
        self.depth -= 1;
        Some(())
    }

    fn statement(&mut self) -> Option<()> {
        if self.assignment()? {
            return Some(());
        }
        self.label()?;
        match self.word() {
            "begin" | "declare" => self.block(false),
            "if" => self.condition(),
            "case" => self.case(),
            "loop" | "while" | "for" | "foreach" => self.repetition(),
            "exit" | "continue" => {
                if self.until(&["when", ";"]).is_some() && self.take("when").is_some() {
                    self.expression_until(&[";"])?;
                }
                self.take(";")
            }
            "return" => self.returning(),
            "raise" => self.raise(),
            "assert" | "perform" => {
                self.at += 1;
                self.expression_until(&[";"])?;
                self.take(";")
            }
            "null" => {
                self.at += 1;
                self.take(";")
            }
            "get" => self.diagnostics(),
            "commit" | "rollback" => {
                self.at += 1;
                self.until(&[";"])?;
                self.take(";")
            }
            "select" | "insert" | "update" | "delete" | "with" | "merge" | "values" | "call" | "(" => self.sql(),
            _ => None,
        }
    }

    /// `name[.field][[index]] {:= | =} expression;`, if it is one.
    fn assignment(&mut self) -> Option<bool> {
        let start = self.at;
        let reserved =
            matches!(self.word(), "if" | "case" | "begin" | "loop" | "while" | "for" | "select" | "null" | "");
        let target = if reserved { None } else { self.name() };
        if let Some(target) = target {
            self.accessors()?;
            if self.take(":=").or_else(|| self.take("=")).is_some() {
                self.found.assigned.insert(target);
                self.expression_until(&[";"])?;
                self.take(";")?;
                return Some(true);
            }
        }
        self.at = start;
        Some(false)
    }

    /// `.field` and `[index]`, as many as there are.
    fn accessors(&mut self) -> Option<()> {
        loop {
            if self.take(".").is_some() {
                self.name()?;
            } else if self.take("[").is_some() {
                self.expression_until(&["]"])?;
                self.take("]")?;
            } else {
                return Some(());
            }
        }
    }

    fn condition(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.expression_until(&["then"])?;
            self.take("then")?;
            self.statements()?;
            if self.take("elsif").or_else(|| self.take("elseif")).is_none() {
                break;
            }
        }
        if self.take("else").is_some() {
            self.statements()?;
        }
        self.ended("if")
    }

    fn case(&mut self) -> Option<()> {
        self.at += 1;
        self.expression_until(&["when"])?;
        while self.take("when").is_some() {
            self.expression_until(&["then"])?;
            self.take("then")?;
            self.statements()?;
        }
        if self.take("else").is_some() {
            self.statements()?;
        }
        self.ended("case")
    }

    /// `END word [label];`
    fn ended(&mut self, word: &str) -> Option<()> {
        self.take("end")?;
        self.take(word)?;
        if self.word() != ";" {
            self.name()?;
        }
        self.take(";")
    }

    fn repetition(&mut self) -> Option<()> {
        match self.word() {
            "while" => {
                self.at += 1;
                self.expression_until(&["loop"])?;
            }
            "for" => self.counting()?,
            "foreach" => {
                self.at += 1;
                self.targets()?;
                self.until(&["in"])?;
                self.at += 1;
                self.take("array")?;
                self.expression_until(&["loop"])?;
            }
            _ => {}
        }
        self.take("loop")?;
        self.statements()?;
        self.ended("loop")
    }

    /// `FOR names IN [REVERSE] a .. b [BY c]` or `FOR names IN query`
    fn counting(&mut self) -> Option<()> {
        self.at += 1;
        let first = self.at;
        self.targets()?;
        // A counter is a variable of its own; nothing is lost if records are taken for such.
        let names: Vec<String> =
            self.words.get(first..self.at)?.iter().map(|word| word.text.trim_matches('"').to_owned()).collect();
        self.found.variables.extend(names);
        self.take("in")?;
        let query =
            matches!(self.word(), "select" | "with" | "values" | "insert" | "update" | "delete" | "merge" | "(");
        let start = self.at;
        let words = self.until(&["loop"])?;
        let parts = self.split(words.clone(), "..")?;
        if let [from, to] = parts.as_slice() {
            let reverse = usize::from(self.words.get(from.start)?.text == "reverse");
            self.expression(from.start + reverse..from.end)?;
            return self.split(to.clone(), "by")?.into_iter().try_for_each(|part| self.expression(part));
        }
        self.at = start;
        if !query || parts.len() != 1 {
            return None;
        }
        self.at = words.end;
        let piece = self.text(words)?.to_owned();
        self.found.pieces.push(piece);
        Some(())
    }

    /// Parts of a range of words between a word outside of parentheses.
    fn split(&self, words: Range<usize>, at: &str) -> Option<Vec<Range<usize>>> {
        let mut parentheses = 0usize;
        let mut parts = Vec::new();
        let mut start = words.start;
        for position in words.clone() {
            match self.words.get(position)?.text.as_str() {
                text if text == at && parentheses == 0 => {
                    parts.push(start..position);
                    start = position + 1;
                }
                "(" | "[" => parentheses += 1,
                ")" | "]" => parentheses = parentheses.checked_sub(1)?,
                _ => {}
            }
        }
        parts.push(start..words.end);
        Some(parts)
    }

    /// Variables that are given values, with commas between them.
    fn targets(&mut self) -> Option<()> {
        loop {
            let name = self.name()?;
            self.found.assigned.insert(name);
            self.accessors()?;
            if self.take(",").is_none() {
                return Some(());
            }
        }
    }

    fn returning(&mut self) -> Option<()> {
        self.at += 1;
        match self.word() {
            "next" => {
                self.at += 1;
                self.expression_until(&[";"])?;
            }
            "query" => {
                self.at += 1;
                let words = (self.word() != "execute").then(|| self.until(&[";"]))??;
                let piece = self.text(words)?.to_owned();
                self.found.pieces.push(piece);
            }
            _ => self.expression_until(&[";"])?,
        }
        self.take(";")
    }

    /// `RAISE [level] ['format' [, expression ...] | name | SQLSTATE 'code'] [USING option = expression, ...];`
    fn raise(&mut self) -> Option<()> {
        self.at += 1;
        let head = self.until(&[",", "using", ";"])?;
        if head.len() > 3 {
            return None;
        }
        if self.take(",").is_some() {
            self.expression_until(&["using", ";"])?;
        }
        if self.take("using").is_some() {
            let options = self.until(&[";"])?;
            for option in self.split(options, ",")? {
                let sign = &self.words.get(option.start + 1)?.text;
                if !matches!(sign.as_str(), "=" | ":=") {
                    return None;
                }
                self.expression(option.start + 2..option.end)?;
            }
        }
        self.take(";")
    }

    /// `GET [CURRENT | STACKED] DIAGNOSTICS name {= | :=} item, ...;`
    fn diagnostics(&mut self) -> Option<()> {
        self.at += 1;
        if matches!(self.word(), "current" | "stacked") {
            self.at += 1;
        }
        self.take("diagnostics")?;
        let items = self.until(&[";"])?;
        for item in self.split(items, ",")? {
            self.at = item.start;
            let name = self.name()?;
            self.found.assigned.insert(name);
            self.at = item.end;
        }
        self.take(";")
    }

    /// A statement, without `INTO [STRICT] names`. *Source*: pl_gram.y, make_execsql_stmt.
    fn sql(&mut self) -> Option<()> {
        let words = self.until(&[";"])?;
        let end = self.at;
        let mut into = None;
        for position in words.clone().skip(1) {
            let before = self.words.get(position - 1)?.text.as_str();
            if self.words.get(position)?.text != "into" || matches!(before, "insert" | "merge") {
                continue;
            }
            if into.is_some() {
                return None;
            }
            self.at = position + 1;
            if self.word() == "strict" {
                self.at += 1;
            }
            self.targets()?;
            into = Some(position..self.at);
        }
        self.at = end;
        let piece = match into {
            None => self.text(words)?.to_owned(),
            Some(into) => {
                let behind = if into.end < words.end { self.text(into.end..words.end)? } else { "" };
                format!("{} {behind}", self.text(words.start..into.start)?)
            }
        };
        self.found.pieces.push(piece);
        self.take(";")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces(body: &str) -> Vec<String> {
        read(body).unwrap().pieces
    }

    fn assigned(body: &str) -> Vec<String> {
        let mut names: Vec<_> = read(body).unwrap().assigned.into_iter().collect();
        names.sort();
        names
    }

    #[test]
    fn statements_and_expressions_are_cut_out() {
        let body = "<<outer>> DECLARE n int := count(*) FROM t; r record; \"Odd\" numeric(10,2) NOT NULL DEFAULT f(1, 2); BEGIN
            IF a > 1 THEN UPDATE t SET x = 1; ELSIF b THEN NULL; ELSE n := n + 1; END IF;
            FOR i IN REVERSE 10..1 BY f(2) LOOP PERFORM g(i); END LOOP;
            FOR r IN SELECT * FROM t LOOP EXIT WHEN r.x > 3; CONTINUE; END LOOP outer;
            WHILE n < 3 LOOP n = n + 1; END LOOP;
            CASE n WHEN 1, 2 THEN RETURN 3; ELSE RETURN QUERY SELECT 4; END CASE;
            RAISE NOTICE 'a % b', n, r.x USING HINT = 'x' || n, ERRCODE = '22000'; RAISE;
            a[n + 1].b := 5;
            RETURN;
            EXCEPTION WHEN unique_violation OR others THEN RAISE EXCEPTION 'no'; END outer";
        let wanted = [
            "SELECT count(*) FROM t",
            "SELECT f(1, 2)",
            "SELECT a > 1",
            "UPDATE t SET x = 1",
            "SELECT b",
            "SELECT n + 1",
            "SELECT 10",
            "SELECT 1",
            "SELECT f(2)",
            "SELECT g(i)",
            "SELECT * FROM t",
            "SELECT r.x > 3",
            "SELECT n < 3",
            "SELECT n + 1",
            "SELECT n",
            "SELECT 1, 2",
            "SELECT 3",
            "SELECT 4",
            "SELECT n, r.x",
            "SELECT 'x' || n",
            "SELECT '22000'",
            "SELECT n + 1",
            "SELECT 5",
        ];
        assert_eq!(pieces(body), wanted);
    }

    #[test]
    fn where_a_statement_puts_its_rows_is_left_out_and_noted() {
        let body = "BEGIN SELECT a, b INTO STRICT x, r.y FROM t; INSERT INTO t VALUES (1) RETURNING id INTO z; SELECT INTO v a FROM t; END";
        assert_eq!(pieces(body), ["SELECT a, b FROM t", "INSERT INTO t VALUES (1) RETURNING id ", "SELECT a FROM t"]);
        assert_eq!(assigned(body), ["r", "v", "x", "z"]);
    }

    #[test]
    fn whatever_gives_a_variable_a_value_is_noted() {
        let body = "BEGIN GET DIAGNOSTICS a = ROW_COUNT, b := PG_CONTEXT; FOR c, d IN SELECT 1, 2 LOOP NULL; END LOOP;
            FOREACH e SLICE 1 IN ARRAY f LOOP NULL; END LOOP; g[1] := 2; h.i = 3; \"J\" := 4; END";
        assert_eq!(assigned(body), ["J", "a", "b", "c", "d", "e", "g", "h"]);
    }

    #[test]
    fn what_is_not_followed_makes_a_body_unreadable() {
        for statement in [
            "EXECUTE 'DELETE FROM t'",
            "FOR r IN EXECUTE 'x' LOOP NULL; END LOOP",
            "FOR r IN cur LOOP NULL; END LOOP",
            "OPEN c FOR SELECT 1",
            "RETURN QUERY EXECUTE 'x'",
            "SET x = 1",
            "CREATE TABLE t (a int)",
            "SELECT 1 INTO a INTO b",
            "LOCK TABLE t",
        ] {
            assert!(read(&format!("BEGIN {statement}; END")).is_err(), "{statement}");
        }
        for body in
            ["", "BEGIN", "BEGIN END; x", "#option dump BEGIN END", "DECLARE a ALIAS FOR $1; BEGIN END", "SELECT 1"]
        {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
