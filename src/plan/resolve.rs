//! Route + parameter values + map -> shards.

use shardmap::{Key, ShardId};

use super::key::{self, Class};
use super::{
    Access, Argument, Arguments, Destination, KeySource, Keyed, NullKey, Pin, Placement, Refusal, Route, Several,
    Target, When,
};
use crate::catalog::Oid;
use crate::wire::reply::ColumnName;

/// What a key source gives.
enum Value {
    Key(Key),
    Null,
    /// A server will raise an error for it, whichever is asked.
    Invalid,
    /// The type must be asked for first.
    TypeNeeded,
    /// Not comparable with the key bit by bit.
    Unsupported,
}

impl Route {
    /// The shards on which the statement runs with these parameter values.
    ///
    /// # Errors
    /// A refusal that depends on values: rows of several shards in a statement that cannot be split, a NULL key to be stored,
    /// a parameter type whose equality is not the key's.
    pub fn resolve(
        &self,
        map: &dyn Placement,
        home: ShardId,
        arguments: &dyn Arguments,
    ) -> Result<Destination, Refusal> {
        self.resolve_target(&self.target, map, home, arguments)
    }

    fn resolve_target(
        &self,
        target: &Target,
        map: &dyn Placement,
        home: ShardId,
        arguments: &dyn Arguments,
    ) -> Result<Destination, Refusal> {
        match target {
            Target::Computed(computed) => match &computed.when {
                When::Always => Ok(Destination::Compute),
                When::Anew => Ok(Destination::Stepwise),
                When::Several(target) => Ok(match self.resolve_target(target, map, home, arguments)? {
                    Destination::Many(_) | Destination::All { .. } | Destination::Split(_) => Destination::Compute,
                    single => single,
                }),
            },
            Target::Moved(moving) => match &moving.stays {
                Some(target) => Ok(match self.resolve_target(target, map, home, arguments) {
                    Ok(Destination::One(shard)) => Destination::One(shard),
                    Ok(Destination::NeedsParameterTypes) => Destination::NeedsParameterTypes,
                    // A new key that is NULL, too: the rows tell.
                    Ok(_) | Err(_) => Destination::Stepwise,
                }),
                None => Ok(Destination::Stepwise),
            },
            Target::Fetched(fetched) => match &fetched.stays {
                Some(target) => Ok(match self.resolve_target(target, map, home, arguments) {
                    Ok(single) => single,
                    Err(_) => Destination::Stepwise,
                }),
                None => Ok(Destination::Stepwise),
            },
            Target::Any | Target::Unknown => Ok(Destination::Any),
            Target::Home => Ok(Destination::One(home)),
            Target::Scatter => Ok(several(map.shard_ids())),
            Target::Replicated { takes_turn } => Ok(match several(map.shard_ids()) {
                Destination::Many(_) => Destination::All { takes_turn: *takes_turn },
                one => one,
            }),
            Target::Gather(gather) => Ok(Destination::Gather(gather.clone())),
            Target::Keyed(keyed) => self.keyed(keyed, map, home, arguments),
        }
    }

    fn keyed(
        &self,
        keyed: &Keyed,
        map: &dyn Placement,
        home: ShardId,
        arguments: &dyn Arguments,
    ) -> Result<Destination, Refusal> {
        if let Some(shard) = only(keyed, map, arguments)
            && (!keyed.touches_home || shard == home)
        {
            return Ok(Destination::One(shard));
        }
        // Where a statement goes that changes no row, or only raises an error.
        let nowhere = match self.access {
            Access::Read | Access::ReadPrimary if !keyed.touches_home => Destination::Any,
            Access::Read | Access::ReadPrimary | Access::Write => Destination::One(home),
        };
        let mut shards = Shards::default();
        let mut of_rows = matches!(keyed.several, Several::Split(_)).then(Vec::new);
        for pin in &keyed.pins {
            for source in &pin.sources {
                for value in values(source, pin, keyed.utf8, arguments) {
                    match value {
                        Value::Key(key) => {
                            let shard = map.shard_of(key.bucket());
                            shards.add(shard);
                            if let Some(of_rows) = &mut of_rows {
                                of_rows.push(shard);
                            }
                        }
                        Value::Null if pin.null == NullKey::Nothing => {}
                        Value::Null => return Err(null_key(pin)),
                        Value::Invalid => return Ok(nowhere),
                        Value::TypeNeeded => return Ok(Destination::NeedsParameterTypes),
                        Value::Unsupported => return Err(unsupported(pin)),
                    }
                }
            }
        }
        if keyed.touches_home && shards.any(|shard| shard != home) {
            return match &keyed.several {
                Several::Gather(gather) => Ok(Destination::Gather(gather.clone())),
                Several::Scatter | Several::Split(_) | Several::Refuse(_) => Err(away_from_home(&keyed.pins)),
            };
        }
        match (shards.destination(), &keyed.several) {
            (Destination::Any, _) => Ok(nowhere),
            (Destination::Many(_), Several::Refuse(refusal)) => Err(refusal.clone()),
            (Destination::Many(_), Several::Split(_)) => Ok(Destination::Split(of_rows.unwrap_or_default())),
            (Destination::Many(_), Several::Gather(gather)) => Ok(Destination::Gather(gather.clone())),
            (destination, Several::Scatter | Several::Split(_) | Several::Refuse(_) | Several::Gather(_)) => {
                Ok(destination)
            }
        }
    }
}

/// The shard of the only key, if there is but one: the rule, and a tenth of what several cost.
fn only(keyed: &Keyed, map: &dyn Placement, arguments: &dyn Arguments) -> Option<ShardId> {
    let [pin] = keyed.pins.as_slice() else { return None };
    let [source] = pin.sources.as_slice() else { return None };
    match values(source, pin, keyed.utf8, arguments) {
        Values::One(Some(Value::Key(key))) => Some(map.shard_of(key.bucket())),
        Values::One(_) | Values::Many(_) => None,
    }
}

/// The shards of keys, gathered. One shard, which is the rule, takes no allocation.
#[derive(Default)]
struct Shards {
    first: Option<ShardId>,
    others: Vec<ShardId>,
}

impl Shards {
    fn add(&mut self, shard: ShardId) {
        match self.first {
            None => self.first = Some(shard),
            Some(first) if first == shard => {}
            Some(_) => self.others.push(shard),
        }
    }

    fn any(&self, is: impl Fn(ShardId) -> bool) -> bool {
        self.first.iter().chain(&self.others).any(|shard| is(*shard))
    }

    fn destination(mut self) -> Destination {
        match self.first {
            Some(only) if self.others.is_empty() => Destination::One(only),
            first => {
                self.others.extend(first);
                self.others.sort_unstable();
                self.others.dedup();
                several(self.others)
            }
        }
    }
}

fn several(shards: Vec<ShardId>) -> Destination {
    match shards.as_slice() {
        [] => Destination::Any,
        [one] => Destination::One(*one),
        [..] => Destination::Many(shards),
    }
}

/// One value without an allocation, or those of an array.
enum Values {
    One(Option<Value>),
    Many(std::vec::IntoIter<Value>),
}

impl Values {
    fn one(value: Value) -> Values {
        Values::One(Some(value))
    }
}

impl Iterator for Values {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        match self {
            Values::One(value) => value.take(),
            Values::Many(values) => values.next(),
        }
    }
}

fn values(source: &KeySource, pin: &Pin, utf8: bool, arguments: &dyn Arguments) -> Values {
    Values::one(match source {
        KeySource::Constant(key) => stored(pin, Some(key.clone())).map_or(Value::Invalid, Value::Key),
        KeySource::Null => Value::Null,
        KeySource::Literal(literal) => literal.key(pin, arguments).map_or(Value::Unsupported, Value::Key),
        KeySource::Parameter { index, type_oid } => {
            match (arguments.argument(*index), type_of(*index, *type_oid, arguments)) {
                (Argument::Missing, _) => Value::Invalid,
                (Argument::Null, _) => Value::Null,
                (_, None) => Value::TypeNeeded,
                (argument, Some(type_oid)) => scalar(pin, utf8, type_oid, argument),
            }
        }
        KeySource::ParameterArray { index, type_oid } => {
            match (arguments.argument(*index), type_of(*index, *type_oid, arguments)) {
                (Argument::Missing, _) => Value::Invalid,
                // NULL array: the comparison is NULL.
                (Argument::Null, _) => Value::Null,
                (_, None) => Value::TypeNeeded,
                (argument, Some(type_oid)) => {
                    return Values::Many(array(pin, utf8, type_oid, argument).into_iter());
                }
            }
        }
    })
}

fn type_of(index: usize, known: Option<Oid>, arguments: &dyn Arguments) -> Option<Oid> {
    known.or_else(|| arguments.resolved_type(index)).filter(|oid| *oid != 0)
}

fn array(pin: &Pin, utf8: bool, array_oid: Oid, argument: Argument<'_>) -> Vec<Value> {
    let Some(element_oid) = key::element_of(array_oid) else { return vec![Value::Unsupported] };
    match argument {
        Argument::Missing => vec![Value::Invalid],
        Argument::Null => vec![Value::Null],
        Argument::Text(bytes) => {
            let Ok(text) = std::str::from_utf8(bytes) else { return vec![invalid_bytes(utf8)] };
            let Some(elements) = key::array_elements(text) else { return vec![Value::Unsupported] };
            let element = |element: Option<String>| match element {
                Some(text) => scalar(pin, utf8, element_oid, Argument::Text(text.as_bytes())),
                None => Value::Null,
            };
            elements.into_iter().map(element).collect()
        }
        Argument::Binary(bytes) => {
            let Some(elements) = key::binary_array_elements(bytes) else { return vec![Value::Invalid] };
            let element = |element: Option<&[u8]>| match element {
                Some(bytes) => scalar(pin, utf8, element_oid, Argument::Binary(bytes)),
                None => Value::Null,
            };
            elements.into_iter().map(element).collect()
        }
    }
}

fn scalar(pin: &Pin, utf8: bool, type_oid: Oid, argument: Argument<'_>) -> Value {
    let class = Class::of_key(pin.key_type);
    if !class.accepts(type_oid) {
        return Value::Unsupported;
    }
    let (bytes, binary) = match argument {
        Argument::Missing => return Value::Invalid,
        Argument::Null => return Value::Null,
        Argument::Text(bytes) => (bytes, false),
        Argument::Binary(bytes) => (bytes, true),
    };
    let key = match Class::of_type(type_oid) {
        Some(Class::Integer) if binary => integer(bytes).map(Key::Integer),
        Some(Class::Uuid) if binary => bytes.try_into().ok().map(Key::Uuid),
        // The text types' binary format is their text format.
        Some(Class::Integer | Class::Uuid | Class::Text | Class::Padded) | None => match std::str::from_utf8(bytes) {
            Ok(text) if utf8 || text.is_ascii() => class.parse(text),
            Ok(_) => return Value::Unsupported,
            Err(_) => return invalid_bytes(utf8),
        },
    };
    stored(pin, key).map_or(Value::Invalid, Value::Key)
}

/// A key that is stored may lose blanks.
fn stored(pin: &Pin, key: Option<Key>) -> Option<Key> {
    match pin.null {
        NullKey::Nothing => key,
        NullKey::Refused(_) => key.and_then(|key| key::stored(key, pin.key_type)),
    }
}

/// Bytes that are no UTF-8: an error if they are meant to be, else text of another encoding.
fn invalid_bytes(utf8: bool) -> Value {
    if utf8 { Value::Invalid } else { Value::Unsupported }
}

/// int2, int4 or int8 by their length: which of them the server inferred makes no difference to the value.
fn integer(bytes: &[u8]) -> Option<i64> {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return Some(i64::from_be_bytes(bytes));
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(i64::from(i32::from_be_bytes(bytes)));
    }
    <[u8; 2]>::try_from(bytes).ok().map(|bytes| i64::from(i16::from_be_bytes(bytes)))
}

/// PostgreSQL's not_null_violation: a row without a key has no shard.
fn null_key(pin: &Pin) -> Refusal {
    Refusal {
        sqlstate: "23502",
        reason: format!("null value in the sharding key of relation \"{}\"", pin.relation),
        hint: Some("The key decides on which shard a row lives; give it a value.".to_owned()),
        column: match &pin.null {
            NullKey::Refused(column) => Some(Box::new(ColumnName::clone(column))),
            NullKey::Nothing => None,
        },
    }
}

fn unsupported(pin: &Pin) -> Refusal {
    Refusal::unsupported(format!(
        "the parameter for the sharding key of \"{}\" is of a type or encoding in which it cannot be matched exactly",
        pin.relation
    ))
    .hint("Declare the parameter with the key column's own type, and use UTF8 as client_encoding.")
}

fn away_from_home(pins: &[Pin]) -> Refusal {
    let relation = pins.first().map_or("", |pin| pin.relation.as_str());
    Refusal::unsupported(format!(
        "a statement with home tables and rows of \"{relation}\" that live on another shard is not supported yet"
    ))
    .hint("Make the home table a reference table, or use two statements.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::KeyType;
    use crate::plan::Output;
    use crate::plan::built_in::oid;
    use shardmap::{BUCKETS, Bucket};

    struct Even(u16);

    impl Placement for Even {
        fn shard_of(&self, bucket: Bucket) -> ShardId {
            ShardId(bucket.0 / (BUCKETS / self.0))
        }
        fn shard_ids(&self) -> Vec<ShardId> {
            (0..self.0).map(ShardId).collect()
        }
    }

    struct Values<'a>(Vec<Argument<'a>>, Vec<Oid>);

    impl Arguments for Values<'_> {
        fn argument(&self, index: usize) -> Argument<'_> {
            self.0.get(index).copied().unwrap_or(Argument::Missing)
        }
        fn resolved_type(&self, index: usize) -> Option<Oid> {
            self.1.get(index).copied()
        }
    }

    fn route(key_type: KeyType, null: NullKey, sources: Vec<KeySource>) -> Route {
        let pins = vec![Pin { relation: "orders".to_owned(), key_type, sources, null }];
        let several = Several::Refuse(Refusal::unsupported("several"));
        let target = Target::Keyed(Keyed { pins, touches_home: false, several, utf8: true });
        Route { access: Access::Write, target, output: Output::Rows }
    }

    fn parameter(type_oid: Option<Oid>) -> Vec<KeySource> {
        vec![KeySource::Parameter { index: 0, type_oid }]
    }

    const HOME: ShardId = ShardId(3);

    fn shard_of(key: Key) -> Destination {
        Destination::One(Even(4).shard_of(key.bucket()))
    }

    #[test]
    fn a_parameter_goes_where_its_value_lives_in_every_width_and_format() {
        let route = route(KeyType::Integer, NullKey::Nothing, parameter(Some(oid::INT8)));
        for key in [0i64, 1, 7, 300, -5, 70_000] {
            let text = key.to_string();
            let mut spellings = vec![text.as_bytes().to_vec(), format!(" {text} ").into_bytes()];
            if key > 0 {
                spellings.push(format!("+00{text}").into_bytes());
            }
            for spelling in &spellings {
                let to = route.resolve(&Even(4), HOME, &Values(vec![Argument::Text(spelling)], vec![]));
                assert_eq!(to.unwrap(), shard_of(Key::Integer(key)));
            }
            let mut widths = vec![key.to_be_bytes().to_vec(), i32::try_from(key).unwrap().to_be_bytes().to_vec()];
            widths.extend(i16::try_from(key).map(|narrow| narrow.to_be_bytes().to_vec()));
            for width in &widths {
                let to = route.resolve(&Even(4), HOME, &Values(vec![Argument::Binary(width)], vec![]));
                assert_eq!(to.unwrap(), shard_of(Key::Integer(key)));
            }
        }
    }

    #[test]
    fn a_value_no_server_accepts_goes_to_one_server_that_says_so() {
        let route = route(KeyType::Integer, NullKey::Nothing, parameter(Some(oid::INT4)));
        for argument in [Argument::Text(b"seven"), Argument::Text(b"7.5"), Argument::Binary(b"123"), Argument::Missing]
        {
            let to = route.resolve(&Even(4), HOME, &Values(vec![argument], vec![]));
            assert_eq!(to.unwrap(), Destination::One(HOME));
        }
    }

    #[test]
    fn a_parameter_of_open_type_waits_for_the_server_and_a_numeric_one_is_refused() {
        let route = route(KeyType::Integer, NullKey::Nothing, parameter(None));
        let resolve = |types: Vec<Oid>| route.resolve(&Even(4), HOME, &Values(vec![Argument::Text(b"7")], types));
        assert_eq!(resolve(vec![]).unwrap(), Destination::NeedsParameterTypes);
        assert_eq!(resolve(vec![0]).unwrap(), Destination::NeedsParameterTypes);
        assert_eq!(resolve(vec![oid::INT4]).unwrap(), shard_of(Key::Integer(7)));
        assert_eq!(resolve(vec![oid::NUMERIC]).unwrap_err().sqlstate, "0A000");
    }

    #[test]
    fn a_null_key_matches_nothing_and_is_never_stored() {
        let null = Values(vec![Argument::Null], vec![]);
        let compared = route(KeyType::Integer, NullKey::Nothing, parameter(None));
        assert_eq!(compared.resolve(&Even(4), HOME, &null).unwrap(), Destination::One(HOME));
        let stored = route(KeyType::Integer, NullKey::Refused(std::sync::Arc::default()), parameter(None));
        assert_eq!(stored.resolve(&Even(4), HOME, &null).unwrap_err().sqlstate, "23502");
    }

    #[test]
    fn padding_of_char_does_not_count_and_a_blank_of_text_does() {
        let padded = route(KeyType::PaddedText { max_chars: 5 }, NullKey::Nothing, parameter(Some(oid::BPCHAR)));
        let text = route(KeyType::Text { max_chars: None }, NullKey::Nothing, parameter(Some(oid::TEXT)));
        let blank = Values(vec![Argument::Text(b"abc  ")], vec![]);
        assert_eq!(padded.resolve(&Even(4), HOME, &blank).unwrap(), shard_of(Key::Text("abc".into())));
        assert_eq!(text.resolve(&Even(4), HOME, &blank).unwrap(), shard_of(Key::Text("abc  ".into())));
        let bpchar = route(KeyType::Text { max_chars: None }, NullKey::Nothing, parameter(Some(oid::BPCHAR)));
        assert_eq!(bpchar.resolve(&Even(4), HOME, &blank).unwrap_err().sqlstate, "0A000");
    }

    #[test]
    fn an_array_goes_where_all_its_elements_live_or_is_refused() {
        let sources = vec![KeySource::ParameterArray { index: 0, type_oid: Some(oid::INT4_ARRAY) }];
        let route = route(KeyType::Integer, NullKey::Nothing, sources);
        let resolve =
            |text: &str| route.resolve(&Even(4), HOME, &Values(vec![Argument::Text(text.as_bytes())], vec![]));
        assert_eq!(resolve("{7,NULL,7}").unwrap(), shard_of(Key::Integer(7)));
        assert_eq!(resolve("{}").unwrap(), Destination::One(HOME));
        assert_eq!(resolve("{1,2,3,4,5,6,7,8}").unwrap_err().reason, "several");
        let mut binary = Vec::new();
        for word in [1u32, 0, oid::INT4, 2, 1, 4, 7, u32::MAX] {
            binary.extend(word.to_be_bytes());
        }
        let to = route.resolve(&Even(4), HOME, &Values(vec![Argument::Binary(&binary)], vec![]));
        assert_eq!(to.unwrap(), shard_of(Key::Integer(7)));
    }

    #[test]
    fn text_of_another_encoding_is_never_hashed() {
        let mut route = route(KeyType::Text { max_chars: None }, NullKey::Nothing, parameter(Some(oid::TEXT)));
        if let Target::Keyed(keyed) = &mut route.target {
            keyed.utf8 = false;
        }
        let resolve = |bytes: &[u8]| route.resolve(&Even(4), HOME, &Values(vec![Argument::Text(bytes)], vec![]));
        assert_eq!(resolve(b"abc").unwrap(), shard_of(Key::Text("abc".into())));
        assert_eq!(resolve(b"\xe4").unwrap_err().sqlstate, "0A000");
        assert_eq!(resolve("ä".as_bytes()).unwrap_err().sqlstate, "0A000");
    }
}
