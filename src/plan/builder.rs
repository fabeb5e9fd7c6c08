//! The state of turning one statement's syntax tree into [`super::ir`]: relation instances, terms, scopes, parameters, effects.

use std::sync::Arc;

use pg_query::protobuf::RangeVar;

use super::ir::{Body, Leaf, LeafId, Level, Owner, Query, Stop, Term, TermInfo};
use super::key::Class;
use super::scope::{self, Place, Scope};
use super::{Context, KeySource, Refusal};
use crate::catalog::{Oid, Relation, RelationKind};
use crate::sql::{self, Node, names};

/// Relation instances and queries at the most: WITH queries and views are planned once for each use, which can multiply.
const OWNERS_MAX: u32 = 2_000;

/// Views within views at the most.
const VIEW_DEPTH_MAX: usize = 20;

/// One statement being built.
pub struct Builder<'a> {
    pub context: &'a Context<'a>,
    pub leaves: Vec<Leaf>,
    pub terms: Vec<TermInfo>,
    pub scopes: Vec<Scope>,
    pub ctes: Vec<Vec<Cte<'a>>>,
    pub effects: Effects,
    pub parameters: Vec<ParameterUse>,
    /// INSERT, UPDATE, DELETE, MERGE: the statement's own and those in WITH.
    pub writes: Vec<Write>,
    /// Named windows of each level under construction.
    pub windows: Vec<Vec<(String, Vec<Option<Term>>)>>,
    pub view_depth: usize,
    /// The statement's text, if it may be changed.
    pub text: Option<&'a str>,
    /// Values to be computed before it runs.
    pub wanted: Vec<super::write::wanted::Wanted>,
    /// One of them draws numbers.
    pub draws: bool,
    /// A default that each shard would compute at a time of its own.
    pub own_time: bool,
    /// What the last write returns.
    pub returned: Option<Returned>,
    /// What UPDATEs set the key to.
    pub new_keys: Vec<super::write::moving::NewKey>,
    /// The query will run over copies of its tables on one server: what only matters where it runs is let pass.
    pub gathering: bool,
    /// Rows that an INSERT selects are stored where their keys say: it is asked for its names only, not where it runs.
    pub putting: bool,
    /// The search path in force: empty inside views.
    path: &'a [String],
    owners: u32,
    stack: Stack,
}

/// A WITH query in force.
#[derive(Clone)]
pub struct Cte<'a> {
    pub name: &'a str,
    /// Column names given after its name.
    pub columns: Vec<String>,
    pub query: CteQuery<'a>,
    pub used: bool,
    /// WITH RECURSIVE: its query may name itself and all others of the clause; else those before it.
    pub recursive: bool,
    /// Scopes around the WITH clause: what its queries may refer to.
    pub depth: usize,
    /// The rows of a write on a sharded table.
    pub written: Option<Arc<Written>>,
}

/// What a WITH query stands for.
#[derive(Clone, Copy)]
pub enum CteQuery<'a> {
    /// A query, planned anew for each use.
    Select(&'a Node),
    /// The same, with columns beyond those of its query.
    Open(&'a Node),
    /// The query refers to itself here, or writes: nothing is known of its columns but the names given.
    Rows,
}

/// What a statement does besides reading tables.
#[derive(Debug, Default)]
pub struct Effects {
    /// It may change something.
    pub changes: bool,
    /// nextval and its kin.
    pub sequence: bool,
    /// pg_advisory_xact_lock.
    pub transaction_lock: bool,
    /// FOR UPDATE or FOR NO KEY UPDATE of a reference table.
    pub locks_reference: bool,
    /// FOR UPDATE and its kin.
    pub locks: bool,
    /// It asks the server about itself.
    pub asks_server: bool,
    /// Two servers may answer it differently: see [`Builder::note_differing`].
    pub differs: bool,
    /// A constant in it may be read as the time of reading.
    pub moment: bool,
}

/// How a parameter is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParameterUse {
    /// Times it is written.
    pub total: u32,
    /// Times it is compared with or stored into a column of a hashable type, or cast to such.
    pub typed: u32,
    /// The type of those.
    pub type_oid: Option<Oid>,
    /// They are not all of one class.
    pub mixed: bool,
}

/// A statement that changes rows.
#[derive(Debug)]
pub struct Write {
    pub target: LeafId,
    pub verb: WriteVerb,
    pub body: WriteBody,
    /// Keys of the rows that a MERGE inserts, one for each of its INSERTs.
    pub inserts: Vec<InsertedKey>,
    /// Of rows that are selected the first of each key stays: INSERT ... SELECT ... ON CONFLICT DO NOTHING.
    pub keeps_first: bool,
}

/// Where the key of rows that a MERGE inserts comes from.
#[derive(Clone, Debug)]
pub enum InsertedKey {
    /// A column of the source.
    Column(Term),
    /// Constants and parameters.
    Values(Vec<KeySource>),
}

/// The rows of a write in WITH, as its RETURNING gives them: each on the shard of the row that was written.
#[derive(Debug)]
pub struct Written {
    /// What a name of the WITH clause stands for.
    pub relation: Arc<Relation>,
    /// The values that the key is one of.
    pub sources: Option<Vec<KeySource>>,
    /// There are more columns than are known.
    pub open: bool,
}

/// Columns of a RETURNING clause.
#[derive(Debug, Default)]
pub struct Returned {
    /// Names, and the columns of tables that they are.
    pub columns: Vec<(Option<String>, Option<Term>)>,
    /// There are more.
    pub open: bool,
}

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    Insert,
    Update,
    Delete,
    Merge,
}

/// Where a write's rows come from.
#[derive(Debug)]
pub enum WriteBody {
    /// UPDATE, DELETE, MERGE, INSERT ... VALUES (the expressions).
    Level(Level),
    /// INSERT ... SELECT, the expressions of ON CONFLICT and RETURNING, and the position of the key in the output.
    Select { query: Box<Query>, extra: Level, key: Option<usize> },
}

/// Where on the stack the work began. WITH queries and views nest without a limit of the parser's.
#[derive(Clone, Copy)]
pub struct Stack(usize);

/// What planning may use of it. A thread that plans has twice as much: the rest is for whoever calls, and for the parser.
pub const STACK_BYTES_MAX: usize = 1 << 20;

impl Stack {
    /// Here.
    pub fn here() -> Stack {
        let marker = 0u8;
        Stack(std::ptr::from_ref(&marker).addr())
    }

    /// Whether too much of it is used since then.
    pub fn is_deep(self) -> bool {
        self.0.abs_diff(Stack::here().0) > STACK_BYTES_MAX
    }
}

impl<'a> Builder<'a> {
    /// Refuses to go deeper than the stack allows.
    pub fn enter(&self) -> Result<(), Stop> {
        if self.stack.is_deep() { Err(Refusal::too_complex().into()) } else { Ok(()) }
    }

    /// An empty statement.
    pub fn new(context: &'a Context<'a>) -> Builder<'a> {
        Builder {
            context,
            leaves: Vec::new(),
            terms: Vec::new(),
            scopes: Vec::new(),
            ctes: Vec::new(),
            effects: Effects::default(),
            parameters: Vec::new(),
            writes: Vec::new(),
            windows: Vec::new(),
            view_depth: 0,
            text: None,
            wanted: Vec::new(),
            draws: false,
            own_time: false,
            returned: None,
            new_keys: Vec::new(),
            gathering: false,
            putting: false,
            path: context.search_path,
            owners: 0,
            stack: Stack::here(),
        }
    }

    /// The search path in force.
    pub fn path(&self) -> &'a [String] {
        self.path
    }

    /// Whether a bare operator or type name is looked up in pg_catalog first.
    pub fn system_first(&self) -> bool {
        self.path().iter().position(|schema| schema == "pg_catalog").is_none_or(|at| at == 0)
    }

    /// Whether a bare operator over types of pg_catalog can be no other than pg_catalog's.
    pub fn system_operators(&self) -> bool {
        self.system_first() && !self.path().iter().any(|schema| self.context.catalog.operators.contains_key(schema))
    }

    /// The same of `=` over types of keys.
    pub fn system_equality(&self) -> bool {
        self.system_first()
            && !self.path().iter().any(|schema| self.context.catalog.operators.get(schema) == Some(&true))
    }

    /// Whether a user's function may be meant where one of pg_catalog has the name.
    pub fn is_overloaded(&self, function: &str) -> bool {
        let all = self.context.catalog.functions.get(function).map_or(&[][..], Vec::as_slice);
        all.iter().any(|function| function.schema != "pg_catalog" && self.path().contains(&function.schema))
    }

    /// Whether `x.name` may mean `name(x)`: a user's function takes one value, of a user's type or of any. *Source*: manual of PostgreSQL
    /// 15, 8.16.5.
    pub fn is_attribute(&self, name: &str) -> bool {
        let all = self.context.catalog.routines.get(name).map_or(&[][..], Vec::as_slice);
        all.iter().filter(|routine| !routine.procedure && self.path().contains(&routine.schema)).any(|routine| {
            let mut taken = routine.parameters.iter().filter(|parameter| parameter.takes);
            let first = taken.next().is_some_and(|one| matches!(one.type_name.as_str(), "" | "record" | "anyelement"));
            first && taken.count() <= routine.defaults
        })
    }

    /// Plans a view's definition, with no search path and none of the names in force.
    pub fn view(&mut self, relation: &Relation, definition: &str) -> Result<Query, Stop> {
        if self.view_depth >= VIEW_DEPTH_MAX {
            return Err(Refusal::too_complex().into());
        }
        let unreadable = || Refusal::unsupported(format!("view \"{}\" cannot be analysed", relation.name));
        let script = sql::parse(definition).map_err(|_| unreadable())?;
        let node = script.statements.first().and_then(sql::Statement::node).ok_or_else(unreadable)?;
        let mut nested = Builder {
            leaves: std::mem::take(&mut self.leaves),
            terms: std::mem::take(&mut self.terms),
            effects: std::mem::take(&mut self.effects),
            parameters: std::mem::take(&mut self.parameters),
            view_depth: self.view_depth + 1,
            gathering: self.gathering,
            path: &[],
            owners: self.owners,
            stack: self.stack,
            ..Builder::new(self.context)
        };
        let query = nested.query(node);
        self.leaves = nested.leaves;
        self.terms = nested.terms;
        self.effects = nested.effects;
        self.parameters = nested.parameters;
        self.owners = nested.owners;
        query
    }

    /// The relation of this name, `None` if there is none.
    pub fn relation(&self, schema: Option<&str>, name: &str) -> Option<&'a Arc<Relation>> {
        let schemas = &self.context.catalog.schemas;
        let find = |schema: &str| schemas.get(schema).and_then(|relations| relations.get(name));
        match schema {
            Some(schema) => find(schema),
            None if self.path().iter().any(|schema| schema == "pg_catalog") => {
                self.path().iter().find_map(|schema| find(schema))
            }
            None => find("pg_catalog").or_else(|| self.path().iter().find_map(|schema| find(schema))),
        }
    }

    /// The relation that is named here, `None` if there is none.
    pub fn table(&self, name: &RangeVar) -> Option<&'a Arc<Relation>> {
        let schema = (!name.schemaname.is_empty()).then_some(name.schemaname.as_str());
        self.relation(schema, &name.relname)
    }

    /// A new owner of terms.
    pub fn owner(&mut self) -> Result<Owner, Stop> {
        self.owners += 1;
        if self.owners > OWNERS_MAX {
            return Err(Refusal::too_complex().into());
        }
        Ok(Owner(self.owners))
    }

    /// A new instance of a relation.
    pub fn leaf(&mut self, relation: &Arc<Relation>) -> Result<LeafId, Stop> {
        self.check_guard(relation)?;
        let owner = self.owner()?;
        let id = LeafId(self.leaves.len());
        let home = matches!(relation.kind, RelationKind::Home | RelationKind::Sequence);
        let leaf = Leaf { owner, relation: relation.clone(), key: None, home, terms: Vec::new(), stored: None };
        self.leaves.push(leaf);
        if let RelationKind::Sharded { key, key_type } = relation.kind {
            let term = self.column_term(id, key);
            if let (Some(leaf), Some(term)) = (self.leaves.get_mut(id.0), term) {
                leaf.key = Some((term, key_type));
            }
        }
        Ok(id)
    }

    /// Policies of row security run on the shard where the row is. Those of tables in a view apply to the view's owner.
    pub fn check_guard(&self, relation: &Relation) -> Result<(), Refusal> {
        match relation.guarded && self.secured(relation) {
            false => Ok(()),
            true => Err(Refusal::unsupported(format!(
                "row security policies of \"{}\" may read rows that are not on the same shard",
                relation.name
            ))
            .hint("Let policies look at the row itself and at reference tables, or use a role that bypasses them.")),
        }
    }

    /// Whether a relation's policies of row security apply.
    pub fn secured(&self, relation: &Relation) -> bool {
        let exempt = |roles: &Vec<String>| self.view_depth == 0 && roles.iter().any(|role| role == self.context.role);
        relation.exempt.as_ref().is_some_and(|roles| !exempt(roles))
    }

    /// A new term.
    pub fn term(&mut self, class: Class, type_oid: Oid, owner: Owner) -> Term {
        let term = Term(u32::try_from(self.terms.len()).unwrap_or(u32::MAX));
        self.terms.push(TermInfo { class, type_oid, owner });
        term
    }

    /// The term of a column of an instance, `None` if its type is not hashable. Text only for keys, whose collation is known
    /// to compare bytes.
    pub fn column_term(&mut self, id: LeafId, column: usize) -> Option<Term> {
        let leaf = self.leaves.get(id.0)?;
        if let Some((_, term)) = leaf.terms.iter().find(|(at, _)| *at == column) {
            return Some(*term);
        }
        let type_oid = leaf.relation.columns.get(column)?.type_oid;
        let is_key = matches!(leaf.relation.kind, RelationKind::Sharded { key, .. } if key == column);
        let class = match (Class::of_type(type_oid)?, is_key) {
            (Class::Text | Class::Padded, false) => return None,
            (class, _) => class,
        };
        let owner = leaf.owner;
        let term = self.term(class, type_oid, owner);
        self.leaves.get_mut(id.0)?.terms.push((column, term));
        Some(term)
    }

    /// Looks a column reference up; with the depth of its scope.
    pub fn place(&self, reference: &Node) -> Option<(usize, Place)> {
        let Node::ColumnRef(column) = reference else { return None };
        scope::resolve(&self.scopes, &names::strings(&column.fields)?)
    }

    /// The term of a place.
    pub fn place_term(&mut self, place: Place) -> Option<Term> {
        match place {
            Place::Column(leaf, column) => self.column_term(leaf, column),
            Place::Derived(term) => term,
            Place::System => None,
        }
    }

    /// The type of a place, where it is a relation's column.
    pub fn place_type(&self, place: Place) -> Option<Oid> {
        match place {
            Place::Column(leaf, column) => Some(self.leaves.get(leaf.0)?.relation.columns.get(column)?.type_oid),
            Place::Derived(_) | Place::System => None,
        }
    }

    /// The term of an expression that is a column, or a column cast within its class.
    pub fn expression_term(&mut self, node: &Node) -> Option<Term> {
        match node {
            Node::ColumnRef(_) => {
                let (_, place) = self.place(node)?;
                self.place_term(place)
            }
            Node::TypeCast(cast) => {
                let Node::ColumnRef(_) = names::inner(&cast.arg)? else { return None };
                let (name, false) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
                let target = Class::of_type(super::key::type_oid(name)?)?;
                let term = self.expression_term(names::inner(&cast.arg)?)?;
                let class = self.terms.get(term.0 as usize)?.class;
                (class == target && matches!(class, Class::Integer | Class::Text | Class::Uuid)).then_some(term)
            }
            _ => None,
        }
    }

    /// Counts a use of a parameter, `number` from 1.
    pub fn count_parameter(&mut self, number: i32) {
        if let Some(parameter) = self.parameter(number) {
            parameter.total += 1;
        }
    }

    /// Counts a use of a parameter as a value of this type.
    pub fn type_parameter(&mut self, number: i32, type_oid: Oid) {
        let Some(parameter) = self.parameter(number) else { return };
        parameter.typed += 1;
        let class =
            |oid| super::key::element_of(oid).map_or((Class::of_type(oid), false), |e| (Class::of_type(e), true));
        match parameter.type_oid {
            None => parameter.type_oid = Some(type_oid),
            Some(known) if class(known) == class(type_oid) => {}
            Some(_) => parameter.mixed = true,
        }
    }

    /// 65,535 parameters at the most: the protocol's Int16.
    fn parameter(&mut self, number: i32) -> Option<&mut ParameterUse> {
        let index = usize::try_from(number).ok()?.checked_sub(1).filter(|index| *index < 65_535)?;
        if self.parameters.len() <= index {
            self.parameters.resize(index + 1, ParameterUse::default());
        }
        self.parameters.get_mut(index)
    }

    /// The type in which parameter `index` arrives, if it is certain.
    pub fn parameter_type(&self, index: usize) -> Option<Oid> {
        if let Some(declared) = self.context.declared_types.get(index).filter(|oid| **oid != 0) {
            return Some(*declared);
        }
        let parameter = self.parameters.get(index)?;
        (parameter.typed == parameter.total && !parameter.mixed).then_some(parameter.type_oid).flatten()
    }
}

impl Query {
    /// A query of which nothing is known but its body.
    pub fn new(owner: Owner, body: Body) -> Query {
        Query {
            owner,
            body,
            columns: Vec::new(),
            open: false,
            links: Vec::new(),
            pushable: false,
            order: false,
            limit: false,
            shows_order: false,
            locking: false,
            extra: super::ir::Parts::default(),
        }
    }
}
