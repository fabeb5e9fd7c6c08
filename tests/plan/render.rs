//! Plans as one line of text each, and a refusal's hint on a second.

use pgbraid::plan::{
    Access, Amount, Argument, Arguments, Context, CopyFormat, CopyIn, CopyTarget, CursorVerb, Destination, Fetched,
    KeySource, Ordered, Output, Placement, Plan, PreparedVerb, Refusal, Route, SortKey, Target, When, compile,
};
use shardmap::{BUCKETS, Bucket, ShardId};

use crate::schema::{Schema, type_oid};

/// Four shards with a quarter of the buckets each.
pub struct Quarters;

impl Placement for Quarters {
    fn shard_of(&self, bucket: Bucket) -> ShardId {
        ShardId(bucket.0 / (BUCKETS / 4))
    }

    fn shard_ids(&self) -> Vec<ShardId> {
        (0..4).map(ShardId).collect()
    }
}

/// No key of one digit lives there.
const HOME: ShardId = ShardId(1);

/// Values of a case's `$n` lines.
#[derive(Default)]
struct Values {
    declared: Vec<u32>,
    values: Vec<Value>,
}

enum Value {
    Null,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Arguments for Values {
    fn argument(&self, index: usize) -> Argument<'_> {
        match self.values.get(index) {
            None => Argument::Missing,
            Some(Value::Null) => Argument::Null,
            Some(Value::Text(bytes)) => Argument::Text(bytes),
            Some(Value::Binary(bytes)) => Argument::Binary(bytes),
        }
    }

    fn resolved_type(&self, _index: usize) -> Option<u32> {
        None
    }
}

impl Values {
    fn read(&mut self, line: &str) {
        let (head, value) = line.split_once(" = ").unwrap();
        let declared = head.split_once(' ').map_or(0, |(_, name)| type_oid(name));
        self.declared.push(declared);
        self.values.push(match value.split_once(' ') {
            Some(("binary", text)) => Value::Binary(match text.parse::<i64>() {
                Ok(number) => number.to_be_bytes().to_vec(),
                Err(_) => text.as_bytes().to_vec(),
            }),
            _ if value == "NULL" => Value::Null,
            _ => Value::Text(value.trim_matches('\'').as_bytes().to_vec()),
        });
    }
}

/// Plans a case's statements.
pub fn case(input: &str, schema: &Schema) -> String {
    let mut values = Values::default();
    let mut search_path = vec!["public".to_owned()];
    let mut utf8 = true;
    let mut text = String::new();
    for line in input.lines() {
        if line.starts_with('$') && line.contains(" = ") {
            values.read(line);
        } else if let Some(path) = line.strip_prefix("search_path: ") {
            search_path = path.split(", ").map(str::to_owned).collect();
        } else if line == "client_encoding: LATIN1" {
            utf8 = false;
        } else {
            text += line;
            text.push('\n');
        }
    }
    let context = Context {
        catalog: &schema.catalog,
        rules: &schema.rules,
        search_path: &search_path,
        role: "",
        declared_types: &values.declared,
        utf8,
    };
    let Ok(planned) = compile(text.trim_end(), &context) else { return "syntax error\n".to_owned() };
    let line = |planned: &pgbraid::plan::Planned| {
        let again = if planned.replan { "(plan again) " } else { "" };
        format!("{again}{}", plan(&planned.plan, text.trim_end(), &values))
    };
    planned.iter().map(line).collect()
}

fn plan(plan: &Plan, text: &str, values: &dyn Arguments) -> String {
    match plan {
        Plan::Empty => "empty\n".to_owned(),
        Plan::Rows(rows) => route(rows, text, values),
        Plan::CopyIn(copy) => copy_in(copy),
        Plan::Everywhere(everywhere) => {
            let alone = if everywhere.in_transaction { "" } else { ", not in a transaction" };
            let catalog = if everywhere.changes_catalog { ", changes the catalog" } else { "" };
            format!("everywhere{catalog}{alone}\n")
        }
        Plan::Transaction(verb) => format!("transaction {verb:?}\n"),
        Plan::Setting(verb) => format!("setting {verb:?}\n"),
        Plan::SettingQuery(names) => format!("setting query {names:?}\n"),
        Plan::Discard(verb) => format!("discard {verb:?}\n"),
        Plan::Prepared(PreparedVerb::Prepare { name, types, body, plan: inner, .. }) => {
            let types: Vec<String> =
                types.iter().map(|known| known.as_ref().map_or_else(Clone::clone, ToString::to_string)).collect();
            let types = types.join(", ");
            format!("prepare {name} [{types}] {:?}: {}", &text[body.clone()], self::plan(inner, text, values))
        }
        Plan::Prepared(PreparedVerb::Execute { name, arguments, tail }) => {
            format!("execute {name} {:?} {arguments:?}\n", &text[tail.clone()])
        }
        Plan::Prepared(PreparedVerb::Within { name, arguments, tail, head, rest }) => {
            let part = |range: &std::ops::Range<usize>| text[range.clone()].to_owned();
            format!("{:?} execute {name} {:?} {arguments:?} {:?}\n", part(head), part(tail), part(rest))
        }
        Plan::Prepared(PreparedVerb::Deallocate(name)) => format!("deallocate {name:?}\n"),
        Plan::Cursor(CursorVerb::Declare { name, route: rows, .. }) => {
            format!("declare {name}: {}", route(rows, text, values))
        }
        Plan::Cursor(verb) => format!("cursor {verb:?}\n"),
        Plan::Refuse(refusal) => refuse("refuse", refusal),
    }
}

fn refuse(word: &str, refusal: &Refusal) -> String {
    let hint = refusal.hint.as_ref().map_or(String::new(), |hint| format!("  hint: {hint}\n"));
    format!("{word} {}: {}\n{hint}", refusal.sqlstate, refusal.reason)
}

/// What is computed, and the text with the places of the values.
fn computed(target: &Target, text: &str) -> String {
    let Target::Computed(computed) = target else { return String::new() };
    let values: Vec<_> = (1..=computed.expressions.len()).map(|number| Some(format!("?{number}"))).collect();
    let text = String::from_utf8_lossy(&computed.apply(text.as_bytes(), &values)).into_owned();
    let home = if computed.draws { " at home" } else { "" };
    format!("{}{home}:\n  {text}", computed.queries().map(|(text, _)| text).collect::<Vec<_>>().join("; "))
}

fn fetched(target: &Target) -> String {
    let Target::Fetched(fetched) = target else { return String::new() };
    let sources = fetched.sources.iter().enumerate();
    let sources: String = sources.map(|(at, source)| format!("fetch {}: {}\n  ", at + 1, source.shown())).collect();
    let text = Fetched::fill(&fetched.text, |at| format!("(rows {})", at + 1), |at| format!("(value {})", at + 1));
    format!("{sources}{text}\n")
}

fn moved(target: &Target) -> String {
    let Target::Moved(moving) = target else { return String::new() };
    format!("{}\n  {}VALUES ...{}", moving.take, moving.put, moving.returning)
}

fn route(route: &Route, text: &str, values: &dyn Arguments) -> String {
    let access = match route.access {
        Access::Read => "read",
        Access::ReadPrimary => "read-primary",
        Access::Write => "write",
    };
    let output = match route.output {
        Output::Rows => "",
        Output::CopyText => ", copy text",
        Output::CopyTextWithHeader => ", copy text with header",
        Output::CopyBinary => ", copy binary",
        Output::Explain => ", explain",
        Output::ExplainJson => ", explain json",
        Output::ExplainYaml => ", explain yaml",
        Output::ExplainXml => ", explain xml",
    };
    let target = match &route.target {
        Target::Computed(computed) => match &computed.when {
            When::Several(target) => target,
            When::Always | When::Anew => &route.target,
        },
        target => target,
    };
    let keys = match target {
        Target::Keyed(keyed) => keyed.pins.iter().flat_map(|pin| &pin.sources).filter_map(source).collect(),
        Target::Any
        | Target::Home
        | Target::Scatter
        | Target::Gather(_)
        | Target::Replicated { .. }
        | Target::Computed(_)
        | Target::Moved(_)
        | Target::Fetched(_)
        | Target::Unknown => Vec::new(),
    };
    let keys = if keys.is_empty() { String::new() } else { format!(" by {}", keys.join(", ")) };
    let shards = |shards: &[ShardId]| shards.iter().map(|shard| format!(" s{}", shard.0)).collect::<String>();
    match route.resolve(&Quarters, HOME, values) {
        _ if matches!(route.target, Target::Unknown) => format!("{access} unknown{output}\n"),
        Ok(Destination::Any) => format!("{access} any{keys}{output}\n"),
        Ok(Destination::One(shard)) => format!("{access}{}{keys}{output}\n", shards(&[shard])),
        Ok(Destination::Many(many)) => format!("{access} scatter{}{keys}{output}\n", shards(&many)),
        Ok(Destination::Split(rows)) => format!("{access} rows{}{keys}{output}\n", shards(&rows)),
        Ok(Destination::Stepwise) if matches!(route.target, Target::Fetched(_)) => {
            format!("{access} {}", fetched(&route.target))
        }
        Ok(Destination::Stepwise) if matches!(route.target, Target::Computed(_)) => {
            format!("{access} anew after {}{output}\n", computed(&route.target, text))
        }
        Ok(Destination::Stepwise) => format!("{access} move: {}\n", moved(&route.target)),
        Ok(Destination::Compute) => format!("{access} after {}{output}\n", computed(&route.target, text)),
        Ok(Destination::All { .. }) => format!("{access} all{output}\n"),
        Ok(Destination::Gather(gather)) => {
            let part = |part: &pgbraid::plan::Part| {
                let notes: String = gather.notes(part).iter().map(|note| format!("        {note}\n")).collect();
                format!("    {}: {}\n{notes}", part.name, part.text)
            };
            let parts: String = gather.parts.iter().map(part).collect();
            let value = |value: &pgbraid::plan::Value| format!("    ${} first: {}\n", value.parameter, value.text);
            let values: String = gather.values.iter().map(value).collect();
            let ordered = gather.ordered.as_ref().map(ordered).unwrap_or_default();
            let store = stores(&gather);
            format!("{access} gather{keys}{output}\n{parts}{values}    merge: {}\n{ordered}{store}", gather.merge)
        }
        Ok(Destination::NeedsParameterTypes) => format!("{access} when parameter types are known{keys}{output}\n"),
        Err(refusal) => refuse("refuse at bind", &refusal),
    }
}

/// Sort keys as ordinals; those in brackets are compared where a copy of them stands if the client wants text.
fn ordered(ordered: &Ordered) -> String {
    let key = |key: &SortKey| {
        let place = if key.copy == key.column { "".to_owned() } else { format!("[{}]", key.copy + 1) };
        let direction = if key.descending { " DESC" } else { "" };
        let nulls = if key.nulls_first == key.descending { "" } else { " NULLS other way" };
        let bytewise = if key.bytewise { " by bytes" } else { "" };
        format!("{}{place}{direction}{nulls}{bytewise}", key.column + 1)
    };
    let keys: Vec<String> = ordered.keys.iter().map(key).collect();
    let amount = |name: &str, amount: Option<Amount>| match amount {
        None => String::new(),
        Some(Amount::Rows(rows)) => format!(" {name} {rows}"),
        Some(Amount::Parameter(index)) => format!(" {name} ${}", index + 1),
    };
    let (limit, offset) = (amount("limit", ordered.limit), amount("offset", ordered.offset));
    let columns = ordered.columns;
    let copies = if ordered.copies == ordered.part.text {
        String::new()
    } else {
        format!("        copied: {}\n", ordered.copies)
    };
    format!("    or {columns} columns by ({}){limit}{offset} of: {}\n{copies}", keys.join(", "), ordered.part.text)
}

fn source(source: &KeySource) -> Option<String> {
    let named = |index: usize, type_oid: Option<u32>| match type_oid {
        Some(oid) => format!("${}:{oid}", index + 1),
        None => format!("${}:?", index + 1),
    };
    match source {
        KeySource::Constant(_) | KeySource::Null | KeySource::Literal(_) => None,
        KeySource::Parameter { index, type_oid } => Some(named(*index, *type_oid)),
        KeySource::ParameterArray { index, type_oid } => Some(format!("each of {}", named(*index, *type_oid))),
    }
}

fn copy_in(copy: &CopyIn) -> String {
    let target = match &copy.target {
        CopyTarget::Home => "home".to_owned(),
        CopyTarget::Reference => "every shard".to_owned(),
        CopyTarget::Sharded { field, key_type } => format!("by field {field} as {key_type:?}"),
    };
    let format = match &copy.format {
        CopyFormat::Binary => "binary".to_owned(),
        CopyFormat::Text { delimiter, null, header } => {
            let (delimiter, null) = (char::from(*delimiter), String::from_utf8_lossy(null));
            format!("text delimiter {delimiter:?} null {null:?} header {header}")
        }
        CopyFormat::Csv { delimiter, quote, escape, null, force_not_null, force_null, header } => {
            let [delimiter, quote, escape] = [delimiter, quote, escape].map(|byte| char::from(*byte));
            let null = String::from_utf8_lossy(null);
            format!(
                "csv delimiter {delimiter:?} quote {quote:?} escape {escape:?} null {null:?} header {header} force_not_null {force_not_null} force_null {force_null}"
            )
        }
    };
    format!("copy into {} {target}, {format}\n", copy.relation)
}

/// Where a gather's rows go, if not to the client.
fn stores(gather: &pgbraid::plan::Gather) -> String {
    let put = gather.put().map(|put| {
        let columns = put.columns.join(", ");
        let defaults: Vec<String> = put.defaults.iter().map(|(column, text)| format!("{column} = {text}")).collect();
        let defaults = if defaults.is_empty() { String::new() } else { format!(" defaults {}", defaults.join(", ")) };
        let insert = put.insert.as_ref().map(|(head, tail)| format!(" by {head}...{tail}")).unwrap_or_default();
        format!("    put: {} ({columns}){defaults} {:?}{insert}\n", put.table, put.store)
    });
    let make = gather.make().map(|make| format!("    make: {}\n", make.create));
    put.or(make).unwrap_or_default()
}
