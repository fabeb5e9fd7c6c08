//! Plans that texts share: whatever a shared plan says of a text, planning the text by itself says the same.

use std::collections::HashMap;

use pgbraid::plan::{Context, Destination, Literals, Plan, Refusal, Shared, Sharing, compile, compile_shared};
use pgbraid::sql::lift::{Lifted, LiteralKind};
use shardmap::ShardId;

use crate::properties::{Random, corpus};
use crate::render::Quarters;
use crate::schema::{Schema, shop};

const HOME: ShardId = ShardId(1);

/// What the gateway does with the caches, on plain maps.
#[derive(Default)]
struct Cache {
    narrower: HashMap<Vec<u8>, Option<Vec<bool>>>,
    plans: HashMap<Vec<u8>, Shared>,
    hits: usize,
}

type Outcome = Result<Destination, Refusal>;

impl Cache {
    /// What a shared plan says of a text; when its shape is not known, it is learnt.
    fn ask(&mut self, text: &str, context: &Context<'_>) -> Option<(pgbraid::plan::Access, Outcome)> {
        let mut lifted = Lifted::default();
        if !lifted.read(text.as_bytes()) {
            return None;
        }
        let key = match self.narrower.get(&lifted.shape) {
            Some(None) => return None,
            Some(Some(literals)) => lifted.narrowed(text.as_bytes(), literals),
            None => Vec::new(),
        };
        if let Some(shared) = self.plans.get(&key) {
            self.hits += 1;
            let literals = Literals { text, literals: &lifted.literals };
            return Some((shared.route.access, shared.resolve(&Quarters, HOME, &literals)?));
        }
        match compile_shared(text, &lifted.literals, context) {
            Ok((_, Sharing::Shared(shared, literals))) => {
                self.plans.insert(lifted.narrowed(text.as_bytes(), &literals), shared);
                self.narrower.insert(lifted.shape, Some(literals));
            }
            Ok((_, Sharing::Never)) => drop(self.narrower.insert(lifted.shape, None)),
            Ok((_, Sharing::NotThis)) | Err(_) => {}
        }
        None
    }
}

fn context(schema: &Schema) -> Context<'_> {
    const PATH: &[String] = &[];
    Context {
        catalog: &schema.catalog,
        rules: &schema.rules,
        search_path: PATH,
        role: "",
        declared_types: &[],
        utf8: true,
    }
}

/// What planning the text by itself says.
fn alone(text: &str, context: &Context<'_>) -> Option<(pgbraid::plan::Access, Outcome)> {
    let planned = compile(text, context).ok()?;
    let [only] = planned.as_slice() else { return None };
    let Plan::Rows(route) = &only.plan else { return None };
    let none = Literals { text, literals: &[] };
    Some((route.access, route.resolve(&Quarters, HOME, &none)))
}

fn assert_same(text: &str, cache: &mut Cache, context: &Context<'_>) {
    if let Some(shared) = cache.ask(text, context) {
        assert_eq!(Some(shared), alone(text, context), "{text}");
    }
}

/// The text with other literals in some places.
fn varied(text: &str, random: &mut Random) -> String {
    const INTEGERS: [&str; 12] =
        ["0", "1", "2", "7", "8", "42", "007", "32767", "32768", "100000", "2147483647", "123456789"];
    const LONG: [&str; 4] = ["2147483648", "4294967303", "9223372036854775807", "9000000000"];
    const TEXTS: [&str; 16] = [
        "''",
        "'7'",
        "'8'",
        "' 7 '",
        "'-7'",
        "'7.0'",
        "'x'",
        "'it''s'",
        "'abcde'",
        "'abcde '",
        "'abcdef'",
        "'now'",
        "'{7,8}'",
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "'öß'",
        "'0x1F'",
    ];
    let mut lifted = Lifted::default();
    lifted.read(text.as_bytes());
    let mut other = String::new();
    let mut rest = 0;
    for literal in &lifted.literals {
        other += &text[rest..literal.start as usize];
        let choices: &[&str] = match (literal.kind, random.below(20)) {
            // Now and then a literal of another kind: another shape.
            (_, 0) => &["7.5", "'7'", "7", "9000000000", "NULL", "E'7'"],
            (LiteralKind::Int4, _) => &INTEGERS,
            (LiteralKind::Int8, _) => &LONG,
            (LiteralKind::Decimal, _) => &["0.0", "7.0", "1.5", "99999.99"],
            (LiteralKind::Text, _) => &TEXTS,
        };
        match random.below(4) {
            0 => other += literal.token(text),
            _ => other += choices[random.below(choices.len())],
        }
        rest = literal.end as usize;
    }
    other + &text[rest..]
}

/// Statements in which literals stand in places of all kinds.
const NEIGHBOURS: [&str; 56] = [
    "SELECT * FROM public.orders WHERE customer_id = 7",
    "SELECT * FROM public.orders WHERE customer_id = '7'",
    "SELECT * FROM public.orders WHERE customer_id = 7.0",
    "SELECT * FROM public.orders WHERE customer_id = 99999999999999999999",
    "SELECT * FROM public.orders WHERE customer_id = 9000000000",
    "SELECT * FROM public.orders WHERE customer_id = -7",
    "SELECT * FROM public.orders WHERE customer_id = - 7",
    "SELECT * FROM public.orders WHERE customer_id = -(7)",
    "SELECT * FROM public.orders WHERE customer_id = +7",
    "SELECT * FROM public.orders WHERE customer_id = 7 AND id = 8 AND total > 9.5 AND status = 'x'",
    "SELECT * FROM public.orders WHERE customer_id = 7 OR customer_id = 8",
    "SELECT * FROM public.orders WHERE customer_id = 7 OR id = 8",
    "SELECT * FROM public.orders WHERE customer_id = 7 AND customer_id = 8",
    "SELECT * FROM public.orders WHERE customer_id IN (7, 8, 7)",
    "SELECT * FROM public.orders WHERE customer_id IN (7)",
    "SELECT * FROM public.orders WHERE customer_id IN (7, 'x')",
    "SELECT * FROM public.orders WHERE customer_id = ANY ('{7,8}')",
    "SELECT * FROM public.orders WHERE customer_id = ANY (ARRAY[7, 8])",
    "SELECT * FROM public.orders WHERE (customer_id, id) = (7, 8)",
    "SELECT * FROM public.orders WHERE (customer_id, id) IN ((7, 8), (9, 10))",
    "SELECT * FROM public.orders WHERE customer_id BETWEEN 7 AND 7",
    "SELECT * FROM public.orders WHERE customer_id = 7::int",
    "SELECT * FROM public.orders WHERE customer_id = 7::int2",
    "SELECT * FROM public.orders WHERE customer_id = '7'::int8",
    "SELECT * FROM public.orders WHERE customer_id = int2 '7'",
    "SELECT * FROM public.orders WHERE customer_id = 7::text::int8",
    "SELECT * FROM public.orders WHERE customer_id = 7 + 0",
    "SELECT * FROM public.orders WHERE customer_id IS NOT DISTINCT FROM 7",
    "SELECT * FROM public.orders WHERE NOT customer_id = 7",
    "SELECT * FROM public.orders WHERE 7 = customer_id AND ts > date '2020-01-01' AND ts < interval '7' + now()",
    "SELECT customer_id, count(*) FROM public.orders WHERE id > 7 GROUP BY 1",
    "SELECT count(*), customer_id FROM public.orders WHERE id > 7 GROUP BY 2",
    "SELECT * FROM public.orders WHERE customer_id IN (7, 8) ORDER BY 1",
    "SELECT * FROM public.orders WHERE customer_id = 7 ORDER BY 1 LIMIT 0",
    "SELECT * FROM public.orders WHERE id = 7 LIMIT 0",
    "SELECT * FROM public.orders WHERE id = 7",
    "SELECT * FROM public.orders o JOIN public.items i ON i.customer_id = o.customer_id AND i.quantity = 7 WHERE o.customer_id = 8",
    "SELECT * FROM public.orders o, public.items i WHERE o.customer_id = 7 AND i.customer_id = 8",
    "SELECT * FROM public.orders o WHERE customer_id = 7 AND EXISTS (SELECT 1 FROM public.items i WHERE i.customer_id = 7)",
    "SELECT * FROM public.codes WHERE customer_id = 'abc' AND label = 'x'",
    "SELECT * FROM public.codes WHERE customer_id = 'abc'::varchar",
    "SELECT * FROM public.names WHERE customer_id = 'it''s' AND id = 7",
    "SELECT * FROM public.names WHERE customer_id = E'a\\'b' AND id = 7",
    "SELECT * FROM public.padded WHERE customer_id = 'abc  ' AND id = 7",
    "SELECT * FROM public.devices WHERE customer_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AND id = 7",
    "SELECT * FROM public.audit WHERE customer_id = 7",
    "SELECT 7 FROM public.products WHERE id = 7",
    "INSERT INTO public.orders (customer_id, id, status, total) VALUES (7, 8, 'x', 9.5), ('8', 9, 'y', -1.5)",
    "INSERT INTO public.codes (customer_id, id) VALUES ('abcde ', 7)",
    "INSERT INTO public.products (id, name) VALUES (7, 'x')",
    "INSERT INTO public.orders (customer_id, id) SELECT 7, 8",
    "INSERT INTO public.orders (customer_id, id) VALUES (7, 8) ON CONFLICT (customer_id, id) DO UPDATE SET total = 9",
    "UPDATE public.orders SET total = total + -5, status = 'x' WHERE customer_id = 7 AND id = 8 RETURNING 1",
    "UPDATE public.orders SET customer_id = 8 WHERE customer_id = 7",
    "DELETE FROM public.orders WHERE customer_id = 7 AND note IS NULL /* 7 */ -- 8",
    "SELECT * FROM public.orders WHERE customer_id = 7; SELECT * FROM public.orders WHERE customer_id = 8",
];

#[test]
fn a_shared_plan_says_of_each_text_what_planning_it_alone_says() {
    let schema = shop();
    let context = context(&schema);
    let path = ["public".to_owned()];
    let public = Context { search_path: &path, ..context };
    let mut cache = Cache::default();
    let mut random = Random(3);
    for text in NEIGHBOURS {
        for _ in 0..150 {
            assert_same(&varied(text, &mut random), &mut cache, &context);
        }
    }
    assert!(cache.hits > 2_000, "{} texts had a plan", cache.hits);
    let mut cache = Cache::default();
    for text in corpus() {
        for _ in 0..15 {
            assert_same(&varied(&text, &mut random), &mut cache, &public);
        }
    }
    assert!(cache.hits > 1_000, "{} texts had a plan", cache.hits);
}

/// Whether texts with other literals find the plan that the first one has left.
fn hits(texts: [&str; 3]) -> usize {
    let schema = shop();
    let mut cache = Cache::default();
    texts.iter().for_each(|text| assert_same(text, &mut cache, &context(&schema)));
    cache.hits
}

#[test]
fn statements_that_come_again_and_again_share_their_plans() {
    assert_eq!(
        hits([
            "SELECT * FROM public.orders WHERE customer_id = 7",
            "SELECT * FROM public.orders WHERE customer_id = 8",
            "SELECT * FROM public.orders WHERE customer_id = 42"
        ]),
        2
    );
    assert_eq!(
        hits([
            "UPDATE public.orders SET total = total + -5 WHERE customer_id = 7",
            "UPDATE public.orders SET total = total + -1 WHERE customer_id = 7",
            "UPDATE public.orders SET total = total + 5 WHERE customer_id = 7"
        ]),
        1
    );
    assert_eq!(
        hits([
            "INSERT INTO public.orders (customer_id, status) VALUES (7, 'a')",
            "INSERT INTO public.orders (customer_id, status) VALUES (8, 'b')",
            "INSERT INTO public.orders (customer_id, status) VALUES (9, '')"
        ]),
        2
    );
    assert_eq!(
        hits([
            "SELECT * FROM public.orders WHERE customer_id = 7 LIMIT 10",
            "SELECT * FROM public.orders WHERE customer_id = 8 LIMIT 10",
            "SELECT * FROM public.orders WHERE customer_id = 8 LIMIT 0"
        ]),
        1
    );
}

#[test]
fn a_text_whose_literal_is_no_key_neither_has_nor_leaves_a_plan() {
    let texts = [
        "SELECT * FROM public.orders WHERE customer_id = 'x'",
        "SELECT * FROM public.orders WHERE customer_id = '7'",
        "SELECT * FROM public.orders WHERE customer_id = 'x'",
    ];
    assert_eq!(hits(texts), 1);
    let schema = shop();
    let mut cache = Cache::default();
    assert_eq!(cache.ask(texts[1], &context(&schema)), None);
    assert!(cache.ask("SELECT * FROM public.orders WHERE customer_id = '8'", &context(&schema)).is_some());
    assert_eq!(cache.ask(texts[0], &context(&schema)), None);
}
