//! Reads a body in PL/pgSQL: which SQL it may run, and which names in it are variables. Cuts it as PL/pgSQL itself does; what each piece
//! means is for the planner. What is not known here makes the body unreadable.
//!
//! *Source*: manual of PostgreSQL 15, chapter 43; `pl_gram.y`.

use std::collections::HashSet;
use std::ops::Range;

use super::plpgsql_words::Words;

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
    let words = Words::of(body).ok_or("it cannot be cut into words")?;
    let mut reader = Reader { words, depth: 0, found: Body::default() };
    // Source: pl_comp.c, do_compile, add_dummy_return; pl_gram.y, exception_sect.
    reader.found.variables.extend(["found", "sqlstate", "sqlerrm"].map(str::to_owned));
    let whole = reader.block(true).is_some() && reader.words.is_at_end();
    if whole {
        return Ok(reader.found);
    }
    let word = reader.words.stopped().filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
    Err(match word {
        Some(word) => format!("it has a statement of PL/pgSQL that is not followed, near {}", word.to_uppercase()),
        None => "it has a statement of PL/pgSQL that is not followed".to_owned(),
    })
}

struct Reader<'b> {
    words: Words<'b>,
    depth: usize,
    found: Body,
}

impl Reader<'_> {
    /// What stands there is computed; nothing may stand there too.
    fn expression(&mut self, words: Range<usize>) -> Option<()> {
        if !words.is_empty() {
            let piece = format!("SELECT {}", self.words.text(words)?);
            self.found.pieces.push(piece);
        }
        Some(())
    }

    fn expression_until(&mut self, ends: &[&str]) -> Option<()> {
        let words = self.words.until(ends)?;
        self.expression(words)
    }

    fn label(&mut self) -> Option<()> {
        if self.words.take("<<").is_some() {
            let name = self.words.name()?;
            self.found.variables.insert(name);
            self.words.take(">>")?;
        }
        Some(())
    }

    /// `[<<label>>] [DECLARE ...] BEGIN ... [EXCEPTION WHEN ... THEN ...] END [label] [;]`
    fn block(&mut self, outermost: bool) -> Option<()> {
        self.label()?;
        if self.words.take("declare").is_some() {
            while self.words.word() != "begin" {
                if self.words.take("declare").is_none() {
                    self.declaration()?;
                }
            }
        }
        self.words.take("begin")?;
        self.statements()?;
        if self.words.take("exception").is_some() {
            while self.words.take("when").is_some() {
                self.words.until(&["then"])?;
                self.words.take("then")?;
                self.statements()?;
            }
        }
        self.words.take("end")?;
        if !self.words.is_at_end() && self.words.word() != ";" {
            self.words.name()?;
        }
        let ended = self.words.take(";").is_some();
        (ended || outermost).then_some(())
    }

    /// `name [CONSTANT] type [NOT NULL] [{DEFAULT | := | =} expression];`
    fn declaration(&mut self) -> Option<()> {
        let name = self.words.name()?;
        self.found.variables.insert(name);
        if matches!(self.words.word(), "alias" | "cursor" | "no" | "scroll") {
            return None;
        }
        self.words.until(&[";", "default", ":=", "="])?;
        if self.words.take(";").is_some() {
            return Some(());
        }
        self.words.at += 1;
        self.expression_until(&[";"])?;
        self.words.take(";")
    }

    fn statements(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        while !matches!(self.words.word(), "end" | "exception" | "when" | "else" | "elsif" | "elseif") {
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
        match self.words.word() {
            "begin" | "declare" => self.block(false),
            "if" => self.condition(),
            "case" => self.case(),
            "loop" | "while" | "for" | "foreach" => self.repetition(),
            "exit" | "continue" => {
                if self.words.until(&["when", ";"]).is_some() && self.words.take("when").is_some() {
                    self.expression_until(&[";"])?;
                }
                self.words.take(";")
            }
            "return" => self.returning(),
            "raise" => self.raise(),
            "assert" | "perform" => {
                self.words.at += 1;
                self.expression_until(&[";"])?;
                self.words.take(";")
            }
            "null" => {
                self.words.at += 1;
                self.words.take(";")
            }
            "get" => self.diagnostics(),
            "commit" | "rollback" => {
                self.words.at += 1;
                self.words.until(&[";"])?;
                self.words.take(";")
            }
            "select" | "insert" | "update" | "delete" | "with" | "merge" | "values" | "call" | "(" => self.sql(),
            _ => None,
        }
    }

    /// `name[.field][[index]] {:= | =} expression;`, if it is one.
    fn assignment(&mut self) -> Option<bool> {
        let start = self.words.at;
        let reserved =
            matches!(self.words.word(), "if" | "case" | "begin" | "loop" | "while" | "for" | "select" | "null" | "");
        let target = if reserved { None } else { self.words.name() };
        if let Some(target) = target {
            self.accessors()?;
            if self.words.take(":=").or_else(|| self.words.take("=")).is_some() {
                self.found.assigned.insert(target);
                self.expression_until(&[";"])?;
                self.words.take(";")?;
                return Some(true);
            }
        }
        self.words.at = start;
        Some(false)
    }

    /// `.field` and `[index]`, as many as there are.
    fn accessors(&mut self) -> Option<()> {
        loop {
            if self.words.take(".").is_some() {
                self.words.name()?;
            } else if self.words.take("[").is_some() {
                self.expression_until(&["]"])?;
                self.words.take("]")?;
            } else {
                return Some(());
            }
        }
    }

    fn condition(&mut self) -> Option<()> {
        self.words.at += 1;
        loop {
            self.expression_until(&["then"])?;
            self.words.take("then")?;
            self.statements()?;
            if self.words.take("elsif").or_else(|| self.words.take("elseif")).is_none() {
                break;
            }
        }
        if self.words.take("else").is_some() {
            self.statements()?;
        }
        self.ended("if")
    }

    fn case(&mut self) -> Option<()> {
        self.words.at += 1;
        self.expression_until(&["when"])?;
        while self.words.take("when").is_some() {
            self.expression_until(&["then"])?;
            self.words.take("then")?;
            self.statements()?;
        }
        if self.words.take("else").is_some() {
            self.statements()?;
        }
        self.ended("case")
    }

    /// `END word [label];`
    fn ended(&mut self, word: &str) -> Option<()> {
        self.words.take("end")?;
        self.words.take(word)?;
        if self.words.word() != ";" {
            self.words.name()?;
        }
        self.words.take(";")
    }

    fn repetition(&mut self) -> Option<()> {
        match self.words.word() {
            "while" => {
                self.words.at += 1;
                self.expression_until(&["loop"])?;
            }
            "for" => self.counting()?,
            "foreach" => {
                self.words.at += 1;
                self.targets()?;
                self.words.until(&["in"])?;
                self.words.at += 1;
                self.words.take("array")?;
                self.expression_until(&["loop"])?;
            }
            _ => {}
        }
        self.words.take("loop")?;
        self.statements()?;
        self.ended("loop")
    }

    /// `FOR names IN [REVERSE] a .. b [BY c]` or `FOR names IN query`
    fn counting(&mut self) -> Option<()> {
        self.words.at += 1;
        let first = self.words.at;
        self.targets()?;
        // A counter is a variable of its own; nothing is lost if records are taken for such.
        let names: Vec<String> = (first..self.words.at)
            .filter_map(|at| self.words.get(at))
            .map(|word| word.trim_matches('"').to_owned())
            .collect();
        self.found.variables.extend(names);
        self.words.take("in")?;
        let query =
            matches!(self.words.word(), "select" | "with" | "values" | "insert" | "update" | "delete" | "merge" | "(");
        let start = self.words.at;
        let words = self.words.until(&["loop"])?;
        let parts = self.words.split(words.clone(), "..")?;
        if let [from, to] = parts.as_slice() {
            let reverse = usize::from(self.words.get(from.start)? == "reverse");
            self.expression(from.start + reverse..from.end)?;
            return self.words.split(to.clone(), "by")?.into_iter().try_for_each(|part| self.expression(part));
        }
        self.words.at = start;
        if !query || parts.len() != 1 {
            return None;
        }
        self.words.at = words.end;
        let piece = self.words.text(words)?.to_owned();
        self.found.pieces.push(piece);
        Some(())
    }

    /// Variables that are given values, with commas between them.
    fn targets(&mut self) -> Option<()> {
        loop {
            let name = self.words.name()?;
            self.found.assigned.insert(name);
            self.accessors()?;
            if self.words.take(",").is_none() {
                return Some(());
            }
        }
    }

    fn returning(&mut self) -> Option<()> {
        self.words.at += 1;
        match self.words.word() {
            "next" => {
                self.words.at += 1;
                self.expression_until(&[";"])?;
            }
            "query" => {
                self.words.at += 1;
                let words = (self.words.word() != "execute").then(|| self.words.until(&[";"]))??;
                let piece = self.words.text(words)?.to_owned();
                self.found.pieces.push(piece);
            }
            _ => self.expression_until(&[";"])?,
        }
        self.words.take(";")
    }

    /// `RAISE [level] ['format' [, expression ...] | name | SQLSTATE 'code'] [USING option = expression, ...];`
    fn raise(&mut self) -> Option<()> {
        self.words.at += 1;
        let head = self.words.until(&[",", "using", ";"])?;
        if head.len() > 3 {
            return None;
        }
        if self.words.take(",").is_some() {
            self.expression_until(&["using", ";"])?;
        }
        if self.words.take("using").is_some() {
            let options = self.words.until(&[";"])?;
            for option in self.words.split(options, ",")? {
                let sign = self.words.get(option.start + 1)?;
                if !matches!(sign, "=" | ":=") {
                    return None;
                }
                self.expression(option.start + 2..option.end)?;
            }
        }
        self.words.take(";")
    }

    /// `GET [CURRENT | STACKED] DIAGNOSTICS name {= | :=} item, ...;`
    fn diagnostics(&mut self) -> Option<()> {
        self.words.at += 1;
        if matches!(self.words.word(), "current" | "stacked") {
            self.words.at += 1;
        }
        self.words.take("diagnostics")?;
        let items = self.words.until(&[";"])?;
        for item in self.words.split(items, ",")? {
            self.words.at = item.start;
            let name = self.words.name()?;
            self.found.assigned.insert(name);
            self.words.at = item.end;
        }
        self.words.take(";")
    }

    /// A statement, without `INTO [STRICT] names`. *Source*: pl_gram.y, make_execsql_stmt.
    fn sql(&mut self) -> Option<()> {
        let words = self.words.until(&[";"])?;
        let end = self.words.at;
        let mut into = None;
        for position in words.clone().skip(1) {
            let before = self.words.get(position - 1)?;
            if self.words.get(position)? != "into" || matches!(before, "insert" | "merge") {
                continue;
            }
            if into.is_some() {
                return None;
            }
            self.words.at = position + 1;
            if self.words.word() == "strict" {
                self.words.at += 1;
            }
            self.targets()?;
            into = Some(position..self.words.at);
        }
        self.words.at = end;
        let piece = match into {
            None => self.words.text(words)?.to_owned(),
            Some(into) => {
                let behind = if into.end < words.end { self.words.text(into.end..words.end)? } else { "" };
                format!("{} {behind}", self.words.text(words.start..into.start)?)
            }
        };
        self.found.pieces.push(piece);
        self.words.take(";")
    }
}

#[cfg(test)]
#[path = "plpgsql_tests.rs"]
mod tests;
