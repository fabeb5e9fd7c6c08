//! Values of INSERT ... VALUES that must be computed before it runs: keys given as expressions or defaults, numbers of sequences,
//! what each shard would compute for itself; and the current time, of which a statement on several shards has only one.

use super::differing::casts_moment;
use crate::catalog::{Column, ColumnDefault, Relation, RelationKind};
use crate::plan::builder::{Builder, WriteVerb};
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::plan::rewrite::{Computed, Edit, Piece, Split, Values, When, quoted};
use crate::plan::{Access, Refusal, Several, Target};
use crate::sql::{self, Node, clock, names, values, walk};

/// A value to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Counted from 0.
    pub row: usize,
    /// Position in the relation.
    pub column: usize,
    /// Position in the row; `None` when it is left out.
    pub item: Option<usize>,
    /// It is the column's default.
    pub default: bool,
    /// Only if the rows live on several shards.
    pub late: bool,
}

/// What is known of an expression before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computable {
    /// It needs rows, or may change something.
    No,
    /// Any server gives its value.
    Anywhere,
    /// It draws numbers.
    Draws,
}

impl Builder<'_> {
    /// Whether an expression can be computed by itself.
    pub fn computable(&self, node: &Node) -> Result<Computable, Stop> {
        let mut found = Computable::Anywhere;
        self.needs(node, &mut found)?;
        Ok(found)
    }

    fn needs(&self, node: &Node, found: &mut Computable) -> Result<(), Stop> {
        match node {
            Node::ColumnRef(_) | Node::SubLink(_) | Node::SetToDefault(_) | Node::AStar(_) => *found = Computable::No,
            Node::FuncCall(call) => {
                let kind = match names::qualified(&call.funcname) {
                    Some((schema, name)) => self.call(schema, name)?,
                    None => (Call::Missing, false),
                };
                match kind {
                    (Call::Steady | Call::Fresh | Call::Unique, false) => {}
                    (Call::Sequence, false) if *found == Computable::Anywhere => *found = Computable::Draws,
                    (Call::Sequence, false) => {}
                    _ => *found = Computable::No,
                }
            }
            _ => {}
        }
        walk::children(node, &mut |child| self.needs(child, found))
    }

    /// Whether the text is at hand, so that it can be changed.
    pub fn can_rewrite(&self) -> bool {
        self.text.is_some()
    }

    /// The columns that an INSERT leaves out and a server must compute; a refusal for those that it cannot.
    pub fn wanted_defaults(&self, relation: &Relation, given: &[usize]) -> Result<Vec<(usize, bool)>, Stop> {
        let mut wanted = Vec::new();
        let key = match relation.kind {
            RelationKind::Sharded { key, .. } => Some(key),
            _ => None,
        };
        for (at, column) in relation.columns.iter().enumerate().filter(|(at, _)| !given.contains(at)) {
            let is_key = key == Some(at) && column.default != ColumnDefault::None;
            match self.own_default(relation, column)? {
                None if !is_key => {
                    if key.is_some() && tells_time(column) && !column.generated {
                        wanted.push((at, true));
                    }
                }
                refusal => {
                    if !self.can_rewrite() || column.type_name.is_empty() || default_text(column).is_none() {
                        return Err(refusal.unwrap_or_else(unanalysed).into());
                    }
                    wanted.push((at, false));
                }
            }
        }
        Ok(wanted)
    }

    /// The statement whose wanted values are to be computed first.
    pub fn computed(&self) -> Result<Option<Target>, Stop> {
        if self.wanted.iter().all(|wanted| wanted.late) {
            return Ok(None);
        }
        let computed = self.computed_if(When::Always, |wanted| !wanted.late)?;
        Ok(Some(Target::Computed(Box::new(computed))))
    }

    /// The target of a write, with the current time computed first if it runs on several shards.
    pub fn clocked(&self, target: Target, access: Access) -> Result<Target, Stop> {
        let several = match &target {
            Target::Scatter | Target::Replicated { .. } => true,
            Target::Keyed(keyed) => !matches!(keyed.several, Several::Refuse(_)),
            Target::Any
            | Target::Home
            | Target::Unknown
            | Target::Gather(_)
            | Target::Computed(_)
            | Target::Moved(_)
            | Target::Fetched(_) => false,
        };
        let Some(text) = self.text.filter(|_| several && access == Access::Write && !self.writes.is_empty()) else {
            return Ok(target);
        };
        let clocks = clock::find(text);
        if clocks.is_empty() && self.wanted.is_empty() {
            return Ok(target);
        }
        if clocks.iter().any(|clock| clock.returned) {
            let refusal = Refusal::unsupported("RETURNING the current time from several shards is not supported")
                .hint("Store it in a column and return that.");
            return match target {
                Target::Keyed(keyed) => {
                    Ok(Target::Keyed(crate::plan::Keyed { several: Several::Refuse(refusal), ..keyed }))
                }
                _ => Err(refusal.into()),
            };
        }
        let mut computed = self.computed_if(When::Several(Box::new(target)), |wanted| wanted.late)?;
        for clock in clocks {
            let function = if clock.of_statement { "statement_timestamp()" } else { "now()" };
            // In a form that every DateStyle and TimeZone reads alike.
            let utc = format!(
                "pg_catalog.to_char(pg_catalog.{function} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            );
            let value = Piece::Value(place_of(&mut computed.expressions, utc));
            let close = Piece::Text(format!("::pg_catalog.timestamptz::{})", clock.type_name));
            computed.edits.push(Edit { range: clock.range, pieces: vec![Piece::Text("(".to_owned()), value, close] });
        }
        computed.edits.sort_by_key(|edit| edit.range.start);
        Ok(Target::Computed(Box::new(computed)))
    }

    /// How the rows of INSERT ... VALUES are parted between shards.
    pub fn split(&self) -> Option<Split> {
        let text = self.text?;
        let rows = values::find(text)?.rows;
        Some(Split { rows, statement_bytes: text.len() })
    }

    fn computed_if(&self, when: When, wants: impl Fn(&Wanted) -> bool) -> Result<Computed, Stop> {
        let text = self.text.unwrap_or_default();
        let wanted: Vec<_> = self.wanted.iter().filter(|wanted| wants(wanted)).collect();
        let mut computed = Computed {
            expressions: Vec::new(),
            edits: Vec::new(),
            draws: self.draws,
            values: Values::Computed,
            statement_bytes: text.len(),
            when,
        };
        if wanted.is_empty() {
            return Ok(computed);
        }
        let target = self.writes.iter().find(|write| write.verb == WriteVerb::Insert).map(|write| write.target);
        let relation = target.and_then(|id| self.leaves.get(id.0)).map(|leaf| leaf.relation.clone());
        let (Some(relation), Some(places)) = (relation, values::find(text)) else { return Err(unanalysed().into()) };
        let mut places = Places { text, relation: &relation, values: places, edits: Vec::new() };
        let rows = places.values.rows.len().max(1);
        for row in 0..rows {
            let mut added = Vec::new();
            for wanted in wanted.iter().filter(|wanted| wanted.row == row) {
                let expression = places.expression(wanted).ok_or_else(unanalysed)?;
                // Each row draws and dices for itself; the time is one.
                let known = if wanted.late {
                    place_of(&mut computed.expressions, expression)
                } else {
                    computed.expressions.push(expression);
                    computed.expressions.len() - 1
                };
                let value = Piece::Value(known);
                match wanted.item {
                    Some(item) => places.replace(row, item, value).ok_or_else(unanalysed)?,
                    None => added.push((wanted.column, value)),
                }
            }
            places.add(row, &added).ok_or_else(unanalysed)?;
        }
        if wanted
            .iter()
            .any(|wanted| wanted.default && relation.columns.get(wanted.column).is_some_and(|own| own.always))
        {
            places.override_numbers();
        }
        computed.edits = places.edits;
        // What is inserted goes before what is replaced.
        computed.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        Ok(computed)
    }
}

/// An INSERT's text under change.
struct Places<'t> {
    text: &'t str,
    relation: &'t Relation,
    values: values::Values,
    edits: Vec<Edit>,
}

impl Places<'_> {
    fn expression(&self, wanted: &Wanted) -> Option<String> {
        let column = self.relation.columns.get(wanted.column)?;
        let text = match wanted.item.filter(|_| !wanted.default) {
            Some(item) => self.text.get(self.values.rows.get(wanted.row)?.items.get(item)?.clone())?,
            None => default_text(column)?,
        };
        Some(format!("({text})::{}", column.type_name))
    }

    fn replace(&mut self, row: usize, item: usize, value: Piece) -> Option<()> {
        let range = self.values.rows.get(row)?.items.get(item)?.clone();
        self.edits.push(Edit { range, pieces: vec![value] });
        Some(())
    }

    /// Adds columns to a row, and to the column list with the first row.
    fn add(&mut self, row: usize, added: &[(usize, Piece)]) -> Option<()> {
        if added.is_empty() {
            return Some(());
        }
        if row == 0 {
            self.add_to_list(added)?;
        }
        let values = || added.iter().flat_map(|(_, value)| [Piece::Text(", ".to_owned()), value.clone()]);
        match self.values.rows.get(row) {
            Some(row) => {
                let end = row.range.end.checked_sub(1)?;
                let pieces = values().skip(usize::from(row.items.is_empty())).collect();
                self.edits.push(Edit { range: end..end, pieces });
            }
            None => {
                let opening = std::iter::once(Piece::Text("VALUES (".to_owned()));
                let pieces = opening.chain(values().skip(1)).chain([Piece::Text(")".to_owned())]).collect();
                self.edits.push(Edit { range: self.values.word.clone(), pieces });
            }
        }
        Some(())
    }

    fn add_to_list(&mut self, added: &[(usize, Piece)]) -> Option<()> {
        let columns = &self.relation.columns;
        let names = |at: &mut dyn Iterator<Item = usize>| -> Vec<String> {
            at.filter_map(|at| columns.get(at)).map(|column| quoted(&column.name)).collect()
        };
        let new = names(&mut added.iter().map(|(at, _)| *at));
        let (at, text) = match self.values.list_end {
            Some(end) => (end, format!(", {}", new.join(", "))),
            None => {
                let given = self.values.rows.first().map_or(0, |row| row.items.len());
                let mut all = names(&mut (0..given));
                all.extend(new);
                (self.values.list_start, format!("({}) ", all.join(", ")))
            }
        };
        self.edits.push(Edit { range: at..at, pieces: vec![Piece::Text(text)] });
        Some(())
    }

    /// Numbers that have been drawn are stored where PostgreSQL wants DEFAULT. They are behind the column list, which may be new.
    fn override_numbers(&mut self) {
        let at = self.values.word.start;
        if !self.values.overriding {
            let words = Piece::Text("OVERRIDING SYSTEM VALUE ".to_owned());
            self.edits.push(Edit { range: at..at, pieces: vec![words] });
        }
    }
}

fn place_of(expressions: &mut Vec<String>, expression: String) -> usize {
    match expressions.iter().position(|known| *known == expression) {
        Some(at) => at,
        None => {
            expressions.push(expression);
            expressions.len() - 1
        }
    }
}

fn unanalysed() -> Refusal {
    Refusal::unsupported("this INSERT cannot be taken apart").hint("Give constants for the values.")
}

/// The expression that gives a column's default.
pub fn default_text(column: &Column) -> Option<&str> {
    match &column.default {
        ColumnDefault::None => None,
        ColumnDefault::Sequence => (!column.draws.is_empty()).then_some(column.draws.as_str()),
        ColumnDefault::Expression(text) => Some(text),
    }
}

/// Whether an expression reads a constant like 'now' as a time when it runs: `('now'::text)::timestamp`, as dumps of old versions write.
fn is_moment_text(text: &str) -> bool {
    clock::has_moment(text)
        && sql::parse(&format!("SELECT {text}")).is_ok_and(|script| match script.statements.first() {
            Some(statement) => match statement.node() {
                Some(Node::SelectStmt(select)) => {
                    let mut targets = select.target_list.iter().filter_map(|node| node.node.as_ref());
                    targets.any(casts_moment)
                }
                _ => true,
            },
            None => true,
        })
}

/// Whether a column's default is the current time.
pub fn tells_time(column: &Column) -> bool {
    matches!(&column.default, ColumnDefault::Expression(text) if !clock::find(text).is_empty() || is_moment_text(text))
}
