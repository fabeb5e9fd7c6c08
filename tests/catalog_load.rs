//! The catalog as read from a real Postgres, and how it follows changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgbraid::catalog::{
    self, Catalog, CatalogHandle, CatalogVersion, ColumnDefault, Connect, ConnectFailure, FunctionKind, KeyType,
    LoadError, Relation, RelationKind, Rules, Stamps, Volatility,
};
use pgbraid::config::TableRule;
use postgres::Postgres;
use tokio_postgres::Client;

fn rules() -> Rules {
    let rules = [
        ("lineitem", TableRule::Key("l_orderkey".to_owned())),
        ("products", TableRule::Reference),
        ("tagged", TableRule::Reference),
        ("report_home", TableRule::Home),
        ("base", TableRule::Home),
    ];
    let tables = rules.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect();
    Rules { key: "customer_id".to_owned(), tables }
}

async fn load(client: &Client) -> Catalog {
    catalog::load(client, &rules(), CatalogVersion(7)).await.unwrap()
}

fn relation<'c>(catalog: &'c Catalog, name: &str) -> &'c Relation {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    catalog.schemas.get(schema).and_then(|schema| schema.get(name)).unwrap_or_else(|| panic!("no relation {name}"))
}

fn unusable<'c>(catalog: &'c Catalog, name: &str) -> &'c str {
    match &relation(catalog, name).kind {
        RelationKind::Unusable { reason } => reason,
        other => panic!("{name} is {other:?}"),
    }
}

const SCHEMA: &str = "
    CREATE TABLE customers (customer_id bigint PRIMARY KEY, name text DEFAULT 'x', at timestamptz DEFAULT now());
    CREATE TABLE notes (gone int, id bigserial, customer_id varchar(20), ident int GENERATED ALWAYS AS IDENTITY,
        double_id bigint GENERATED ALWAYS AS (1 + 2) STORED, late text DEFAULT ('n-' || nextval('notes_id_seq'::text)::text));
    ALTER TABLE notes DROP COLUMN gone;
    CREATE DOMAIN colour AS text DEFAULT 'red';
    CREATE TABLE settings (name text, shade colour, own colour DEFAULT 'blue');
    CREATE TABLE products (id int);
    CREATE TABLE by_uuid (customer_id uuid);
    CREATE TABLE keyed (id int, extra int, customer_id int, PRIMARY KEY (customer_id, id) INCLUDE (extra), UNIQUE (extra, customer_id));
    CREATE TABLE by_char (customer_id char(8));
    CREATE TABLE by_numeric (customer_id numeric);
    CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE by_loose (customer_id text COLLATE loose);
    CREATE TABLE lineitem (l_orderkey bigint, n int) PARTITION BY RANGE (n);
    CREATE TABLE lineitem_1 (n int, l_orderkey bigint, customer_id int);
    ALTER TABLE lineitem_1 DROP COLUMN customer_id;
    ALTER TABLE lineitem ATTACH PARTITION lineitem_1 FOR VALUES FROM (0) TO (10);
    CREATE TABLE base (id int);
    CREATE TABLE child (customer_id int) INHERITS (base);
    CREATE TABLE cities (name text);
    CREATE TABLE capitals (customer_id int) INHERITS (cities);
    CREATE TABLE torn (x int) INHERITS (base, customers);
    CREATE VIEW big_customers AS SELECT c.customer_id FROM customers c WHERE c.name LIKE 'B%';
    CREATE VIEW invoked WITH (security_invoker) AS SELECT c.customer_id FROM customers c;
    CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM customers;
    CREATE MATERIALIZED VIEW report_home AS SELECT count(*) FROM settings;
    CREATE SCHEMA void;
    CREATE SCHEMA pgbraid; CREATE TABLE pgbraid.decision (txn bigint);
    CREATE SCHEMA \"Odd \"\"name\"; CREATE TABLE \"Odd \"\"name\".\"T\" (customer_id smallint);
    CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1; RETURN NEW; END';
    CREATE TRIGGER t BEFORE INSERT ON lineitem_1 FOR EACH ROW EXECUTE FUNCTION change();
    CREATE TRIGGER t AFTER INSERT ON settings FOR EACH ROW EXECUTE FUNCTION change();
    CREATE TRIGGER t BEFORE UPDATE ON by_uuid FOR EACH ROW EXECUTE FUNCTION change();
    ALTER TABLE by_uuid DISABLE TRIGGER t;
    CREATE RULE r AS ON INSERT TO by_char DO INSTEAD NOTHING;
    CREATE TABLE lone (customer_id int PRIMARY KEY, words tsvector, body text);
    CREATE TRIGGER t BEFORE INSERT OR UPDATE ON lone FOR EACH ROW
        EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.english', body);
    CREATE TABLE heads (id int PRIMARY KEY);
    CREATE TABLE kept (id int REFERENCES heads);
    CREATE TABLE parts (id int PRIMARY KEY REFERENCES heads ON DELETE CASCADE, lone int REFERENCES lone);
    CREATE TRIGGER t AFTER DELETE ON parts FOR EACH STATEMENT EXECUTE FUNCTION change();
    CREATE TABLE events (customer_id int, n int, PRIMARY KEY (customer_id, n)) PARTITION BY LIST (n);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
    CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2);
    CREATE TABLE seen (customer_id int, n int, FOREIGN KEY (customer_id, n) REFERENCES events_1 ON DELETE CASCADE);
    CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
    CREATE FUNCTION many(int) RETURNS SETOF int STABLE LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE act() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
    CREATE TEMPORARY TABLE fleeting (customer_id int);";

/// Triggers that touch nothing but the row, and neighbours that do more.
const STAMPED: &str = "
    CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
    CREATE FUNCTION calls_other(int) RETURNS int LANGUAGE sql AS 'SELECT Plus_One($1)';
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN IF NEW.x < 0 THEN RAISE EXCEPTION ''% is negative'', NEW.x; END IF; NEW.at := now(); RETURN NEW; END';
    CREATE FUNCTION to_key() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.customer_id = 1; RETURN NEW; END';
    CREATE FUNCTION to_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW := OLD; RETURN NEW; END';
    CREATE FUNCTION to_table() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO customers VALUES (1); RETURN NEW; END';
    CREATE FUNCTION to_sequence() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := nextval(''notes_id_seq''); RETURN NEW; END';
    CREATE FUNCTION suppressed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION by_other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := plus_one(1); RETURN NEW; END';
    CREATE TABLE stamped (customer_id int, x int, at timestamptz);
    CREATE TABLE to_key (LIKE stamped); CREATE TABLE to_row (LIKE stamped); CREATE TABLE to_table (LIKE stamped);
    CREATE TABLE to_sequence (LIKE stamped); CREATE TABLE suppressed (LIKE stamped); CREATE TABLE by_other (LIKE stamped);
    CREATE TABLE by_condition (LIKE stamped);
    CREATE TABLE stamped_root (LIKE stamped) PARTITION BY LIST (x);
    CREATE TABLE stamped_one PARTITION OF stamped_root FOR VALUES IN (1);
    CREATE TRIGGER t BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW WHEN (NEW.x > 0) EXECUTE FUNCTION stamp();
    CREATE TRIGGER u AFTER INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION suppressed();
    CREATE TRIGGER t BEFORE INSERT ON stamped_one FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE TRIGGER t BEFORE INSERT ON to_key FOR EACH ROW EXECUTE FUNCTION to_key();
    CREATE TRIGGER t BEFORE UPDATE ON to_row FOR EACH ROW EXECUTE FUNCTION to_row();
    CREATE TRIGGER t AFTER INSERT ON to_table FOR EACH ROW EXECUTE FUNCTION to_table();
    CREATE TRIGGER t BEFORE INSERT ON to_sequence FOR EACH ROW EXECUTE FUNCTION to_sequence();
    CREATE TRIGGER t BEFORE INSERT ON suppressed FOR EACH ROW EXECUTE FUNCTION suppressed();
    CREATE TRIGGER t BEFORE INSERT ON by_other FOR EACH ROW EXECUTE FUNCTION by_other();
    CREATE TRIGGER t BEFORE INSERT ON by_condition FOR EACH ROW WHEN (plus_one(NEW.x) > 1) EXECUTE FUNCTION stamp();
    CREATE EXTENSION moddatetime; CREATE EXTENSION insert_username;
    CREATE TABLE timed (customer_id int, at timestamptz, who text); CREATE TABLE named (customer_id text);
    CREATE TRIGGER t BEFORE UPDATE ON timed FOR EACH ROW EXECUTE FUNCTION moddatetime('at');
    CREATE TRIGGER u BEFORE UPDATE ON timed FOR EACH ROW EXECUTE FUNCTION insert_username('who');
    CREATE TRIGGER t BEFORE UPDATE ON named FOR EACH ROW EXECUTE FUNCTION insert_username('customer_id');
    ALTER TABLE products ADD PRIMARY KEY (id);
    CREATE TABLE tagged (id int REFERENCES products ON UPDATE CASCADE, at timestamptz);
    CREATE TRIGGER t BEFORE UPDATE ON tagged FOR EACH ROW EXECUTE FUNCTION moddatetime('at')";

#[tokio::test]
async fn everything_planning_asks_about_is_read() {
    let server = Postgres::start(&[]);
    let client = server.connect("postgres").await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(STAMPED).await.unwrap();
    let catalog = load(&client).await;

    assert_eq!(catalog.version, CatalogVersion(7));
    where_rows_live(&catalog);
    columns_and_defaults(&catalog);
    what_rewrites_rows(&catalog);
    assert_eq!(relation(&catalog, "keyed").primary_key, ["customer_id", "id"], "in its own order");
    assert!(relation(&catalog, "settings").primary_key.is_empty());
    functions(&catalog);
    assert!(catalog.empty_schemas.contains("void"));
    assert!(!catalog.empty_schemas.contains("public"));
    let temporary = |schema: &&String| schema.starts_with("pg_temp") || schema.starts_with("pg_toast");
    assert_eq!(catalog.schemas.keys().chain(&catalog.empty_schemas).find(temporary), None);
    let open: i64 = client.query_one("SELECT count(*) FROM fleeting", &[]).await.unwrap().get(0);
    assert_eq!(open, 0, "the connection is as it was: search path and transaction ended");
}

fn where_rows_live(catalog: &Catalog) {
    let sharded = |key, key_type| RelationKind::Sharded { key, key_type };
    let kind = |name| relation(catalog, name).kind.clone();
    assert_eq!(kind("customers"), sharded(0, KeyType::Integer));
    assert_eq!(kind("notes"), sharded(1, KeyType::Text { max_chars: Some(20) }));
    assert_eq!(kind("by_uuid"), sharded(0, KeyType::Uuid));
    assert_eq!(kind("by_char"), sharded(0, KeyType::PaddedText { max_chars: 8 }));
    assert_eq!(kind("Odd \"name.T"), sharded(0, KeyType::Integer));
    assert_eq!(kind("lineitem"), sharded(0, KeyType::Integer));
    assert_eq!(kind("lineitem_1"), sharded(1, KeyType::Integer), "a partition follows its root, by its own columns");
    assert_eq!(kind("settings"), RelationKind::Home);
    assert_eq!(kind("child"), RelationKind::Home, "a child's rows are the parent's too");
    assert_eq!(kind("capitals"), RelationKind::Home, "a parent without the key");
    assert_eq!(kind("products"), RelationKind::Reference);
    assert_eq!(kind("report_home"), RelationKind::Home);
    assert_eq!(kind("notes_id_seq"), RelationKind::Sequence);
    assert_eq!(kind("pg_catalog.pg_class"), RelationKind::System);
    assert_eq!(kind("information_schema.tables"), RelationKind::System);
    assert_eq!(kind("pgbraid.decision"), RelationKind::System);
    let RelationKind::View { definition, owner } = kind("big_customers") else { panic!() };
    assert_eq!(owner.as_deref(), Some("postgres"));
    assert!(matches!(kind("invoked"), RelationKind::View { owner: None, .. }), "security_invoker");
    assert_eq!(
        definition.split_whitespace().collect::<Vec<_>>().join(" "),
        "SELECT c.customer_id FROM public.customers c WHERE (c.name ~~ 'B%'::text)"
    );
    assert!(unusable(catalog, "by_numeric").contains("cannot be hashed"));
    assert!(unusable(catalog, "by_loose").contains("nondeterministic collation"));
    assert!(unusable(catalog, "torn").contains("different places"));
    assert!(unusable(catalog, "report").contains("materialized view"));
}

fn columns_and_defaults(catalog: &Catalog) {
    let notes = relation(catalog, "notes");
    let names: Vec<_> = notes.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "customer_id", "ident", "double_id", "late"]);
    let of = |table, index: usize| relation(catalog, table).columns[index].default.clone();
    let expression = |text: &str| ColumnDefault::Expression(text.to_owned());
    assert_eq!(of("notes", 0), ColumnDefault::Sequence);
    assert_eq!(of("notes", 1), ColumnDefault::None);
    assert_eq!(of("notes", 2), ColumnDefault::Sequence);
    assert_eq!((of("notes", 3), notes.columns[3].generated), (ColumnDefault::None, true));
    assert_eq!((of("notes", 4), notes.columns[4].generated), (ColumnDefault::Sequence, false));
    assert_eq!(of("customers", 1), expression("'x'::text"));
    assert_eq!(of("customers", 2), expression("now()"));
    assert_eq!(of("settings", 1), expression("'red'::text"), "a domain's default is its columns'");
    assert_eq!(of("settings", 2), expression("'blue'::text"));
    assert_eq!((notes.columns[1].type_oid, notes.columns[1].typmod), (1043, 24));
}

fn what_rewrites_rows(catalog: &Catalog) {
    let rewriting = |name| relation(catalog, name).rewrites_rows;
    assert!(rewriting("lineitem_1"));
    assert!(rewriting("lineitem"), "its rows meet the triggers of its partitions");
    assert!(rewriting("by_char"), "a rule");
    assert!(rewriting("settings"), "an AFTER trigger");
    assert!(rewriting("parts"), "a trigger FOR EACH STATEMENT");
    assert!(rewriting("heads"), "ON DELETE CASCADE leads to a trigger");
    assert!(!rewriting("lone"), "a built-in trigger, and a foreign key without actions");
    assert!(!rewriting("kept"), "triggers of a foreign key");
    assert!(!rewriting("by_uuid"), "a disabled trigger");
    assert!(!rewriting("customers"));
    let stamps = |name| relation(catalog, name).stamps;
    assert_eq!(
        (stamps("stamped"), rewriting("stamped")),
        (Stamps::Freely, false),
        "its trigger touches nothing but the row"
    );
    assert_eq!(stamps("stamped_root"), Stamps::Freely, "its partition's trigger");
    assert_eq!((stamps("lone"), stamps("customers")), (Stamps::Alike, Stamps::None), "a built-in trigger, and none");
    assert_eq!(stamps("timed"), Stamps::Freely, "a trigger in C");
    assert!(!rewriting("timed") && rewriting("named"), "insert_username of another column, and of the key");
    assert_eq!(
        (stamps("products"), stamps("heads")),
        (Stamps::Freely, Stamps::None),
        "an action leads to a reference table's"
    );
    let cascades = |name| relation(catalog, name).cascades;
    assert!(cascades("events_1") && cascades("heads"));
    assert!(cascades("events"), "its rows are those of its partitions");
    assert!(!cascades("events_2") && !cascades("seen") && !cascades("lone"));
    let has_heirs = |name| relation(catalog, name).has_heirs;
    assert!(has_heirs("base") && !has_heirs("child") && !has_heirs("lineitem") && !has_heirs("products"));
    for name in ["to_key", "to_row", "to_table", "to_sequence", "suppressed", "by_other", "by_condition"] {
        assert!(rewriting(name), "{name}");
    }
    let closed = |name: &str| catalog.functions[name].iter().all(|function| function.closed);
    assert!(closed("stamp") && closed("plus_one") && !closed("calls_other") && !closed("to_table") && !closed("lower"));
    assert!(!rewriting("big_customers"), "the rule every view has");
}

/// Rows that cannot be read or written without calling what may read tables.
const ELSEWHERE: &str = "
    CREATE TABLE looked_up (id int);
    CREATE FUNCTION known(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT EXISTS (SELECT 1 FROM looked_up WHERE id = $1)';
    CREATE FUNCTION short(text) RETURNS boolean LANGUAGE sql IMMUTABLE
        AS 'SELECT length(trim(both ''x'' from $1)) < 9 AND $1 IS DISTINCT FROM ''''';
    CREATE OPERATOR ?! (FUNCTION = known, RIGHTARG = int);
    CREATE DOMAIN real_id AS int CHECK (known(VALUE));
    CREATE DOMAIN short_text AS text CHECK (short(VALUE));
    CREATE DOMAIN realer_id AS real_id;
    CREATE TYPE pair AS (a int, b realer_id);
    CREATE TABLE e_check (customer_id int, x int CHECK (known(x)));
    CREATE TABLE e_operator (customer_id int, x int CHECK (?! x));
    CREATE TABLE e_default (customer_id int, x boolean DEFAULT known(1));
    CREATE TABLE e_generated (customer_id int, x int, y boolean GENERATED ALWAYS AS (known(x)) STORED);
    CREATE TABLE e_index (customer_id int, x int);
    CREATE INDEX ON e_index (known(x));
    CREATE TABLE e_domain (customer_id int, x real_id);
    CREATE TABLE e_array (customer_id int, x realer_id[]);
    CREATE TABLE e_pair (customer_id int, x pair);
    CREATE TABLE e_innocent (customer_id int, x text CHECK (short(x)), y short_text);
    CREATE TABLE p_own (customer_id int, owner name);
    CREATE POLICY own ON p_own USING (owner = current_user);
    CREATE TABLE p_sub (customer_id int);
    CREATE POLICY sub ON p_sub USING (EXISTS (SELECT 1 FROM looked_up WHERE id = p_sub.customer_id));
    CREATE TABLE p_function (customer_id int);
    CREATE POLICY function ON p_function USING (known(customer_id));
    CREATE TABLE p_reference (customer_id int);
    CREATE POLICY reference ON p_reference USING (EXISTS (SELECT 1 FROM products WHERE id = p_reference.customer_id));
    CREATE TABLE p_home (x int);
    CREATE POLICY home ON p_home USING (EXISTS (SELECT 1 FROM looked_up WHERE id = x));
    CREATE TABLE p_off (customer_id int);
    CREATE POLICY off ON p_off USING (EXISTS (SELECT 1 FROM looked_up WHERE id = p_off.customer_id));
    CREATE TABLE p_forced (customer_id int);
    CREATE POLICY forced ON p_forced USING (known(customer_id));
    ALTER TABLE p_own ENABLE ROW LEVEL SECURITY; ALTER TABLE p_sub ENABLE ROW LEVEL SECURITY;
    ALTER TABLE p_function ENABLE ROW LEVEL SECURITY; ALTER TABLE p_reference ENABLE ROW LEVEL SECURITY;
    ALTER TABLE p_home ENABLE ROW LEVEL SECURITY;
    ALTER TABLE p_forced ENABLE ROW LEVEL SECURITY; ALTER TABLE p_forced FORCE ROW LEVEL SECURITY;
    CREATE ROLE owner_of_sub; CREATE ROLE anybody;
    ALTER TABLE p_sub OWNER TO owner_of_sub; ALTER TABLE p_forced OWNER TO owner_of_sub";

#[tokio::test]
async fn rows_that_need_a_look_elsewhere_are_known() {
    let server = Postgres::start(&[]);
    let client = server.connect("postgres").await;
    client.batch_execute("CREATE TABLE products (id int)").await.unwrap();
    client.batch_execute(ELSEWHERE).await.unwrap();
    let catalog = load(&client).await;
    let names = |wanted: &dyn Fn(&Relation) -> bool| {
        let relations = catalog.schemas["public"].values();
        let mut names: Vec<&str> = relations.filter(|found| wanted(found)).map(|found| found.name.as_str()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(
        names(&|relation| relation.rewrites_rows),
        "e_array e_check e_default e_domain e_generated e_index e_operator e_pair"
    );
    assert_eq!(names(&|relation| relation.guarded), "p_forced p_function p_sub");
    assert_eq!(names(&|relation| relation.exempt.is_some()), "p_forced p_function p_home p_own p_reference p_sub");
    let exempt = |name: &str, role: &str| relation(&catalog, name).exempt.as_ref().unwrap().iter().any(|r| r == role);
    assert!(exempt("p_sub", "owner_of_sub") && exempt("p_sub", "postgres"));
    assert!(!exempt("p_sub", "anybody") && !exempt("p_function", "owner_of_sub"));
    assert!(!exempt("p_forced", "owner_of_sub"), "FORCE ROW LEVEL SECURITY");
}

fn functions(catalog: &Catalog) {
    let one = |name: &str| match catalog.functions.get(name).map(Vec::as_slice) {
        Some([function]) => function.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let twice = one("twice");
    assert_eq!((twice.schema.as_str(), twice.volatility, twice.native), ("public", Volatility::Immutable, false));
    assert_eq!((one("many").volatility, one("many").returns_set), (Volatility::Stable, true));
    assert_eq!(one("act").kind, FunctionKind::Procedure);
    assert_eq!(one("total").kind, FunctionKind::Aggregate);
    assert_eq!(one("row_number").kind, FunctionKind::Window);
    assert_eq!((one("random").volatility, one("random").native), (Volatility::Volatile, true));
}

#[tokio::test]
async fn search_paths_are_what_a_fresh_connection_shows() {
    let server = Postgres::start(&[]);
    let client = server.connect("postgres").await;
    client.batch_execute("ALTER SYSTEM SET search_path = from_file, public").await.unwrap();
    client.query_one("SELECT pg_reload_conf()", &[]).await.unwrap();
    while show(&server, "postgres").await != "from_file, public" {
        tokio::task::yield_now().await;
    }
    let setup =
        "CREATE ROLE plain LOGIN; CREATE ROLE own LOGIN; CREATE ROLE double LOGIN; CREATE ROLE \"we.ird\" LOGIN;
        ALTER ROLE own SET search_path = own_schema, \"Odd one\";
        ALTER ROLE double SET search_path = nowhere;
        ALTER ROLE double IN DATABASE postgres SET search_path = here;
        ALTER ROLE \"we.ird\" SET search_path = '';
        ALTER ROLE plain SET work_mem = '8MB';
        ALTER ROLE postgres SET search_path = control";
    client.batch_execute(setup).await.unwrap();
    check_search_paths(&server, "from_file, public").await;
    client.batch_execute("ALTER DATABASE postgres SET search_path = of_database").await.unwrap();
    check_search_paths(&server, "of_database").await;
    client.batch_execute("ALTER ROLE ALL SET search_path = of_all").await.unwrap();
    check_search_paths(&server, "of_database").await;
    client.batch_execute("ALTER DATABASE postgres RESET search_path").await.unwrap();
    check_search_paths(&server, "of_all").await;
}

async fn show(server: &Postgres, role: &str) -> String {
    server.connect_as(role, "postgres").await.query_one("SHOW search_path", &[]).await.unwrap().get(0)
}

/// What is read must be what SHOW says to each role.
async fn check_search_paths(server: &Postgres, expected_default: &str) {
    let catalog = load(&server.connect("postgres").await).await;
    for role in ["plain", "own", "double", "we.ird", "postgres"] {
        let shown = show(server, role).await;
        let found = catalog.search_paths.get(role).or_else(|| catalog.search_paths.get(""));
        assert_eq!(found, Some(&shown), "{role}");
    }
    assert_eq!(catalog.search_paths.get("").unwrap(), expected_default);
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused_with_the_remedy() {
    let server = Postgres::start(&[]);
    let client = server.connect("postgres").await;
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    client.batch_execute(create).await.unwrap();
    let error = catalog::load(&server.connect("latin").await, &rules(), CatalogVersion(1)).await.unwrap_err();
    assert!(matches!(&error, LoadError::Encoding(encoding) if encoding == "LATIN1"), "{error}");
    assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
}

#[tokio::test]
async fn the_fingerprint_changes_with_all_that_is_read_and_with_nothing_else() {
    let server = Postgres::start(&[]);
    let (client, ddl) = (server.connect("postgres").await, server.connect("postgres").await);
    let mut before = catalog::fingerprint(&client).await.unwrap();
    let changes = "
        CREATE TABLE t (customer_id int, n int)
        CREATE VIEW v AS SELECT n FROM t
        CREATE OR REPLACE VIEW v AS SELECT n + 1 - 1 AS n FROM t
        ALTER TABLE t RENAME n TO m
        ALTER TABLE t ALTER m SET NOT NULL
        ALTER TABLE t ADD PRIMARY KEY (m)
        ALTER TABLE t DROP CONSTRAINT t_pkey
        ALTER TABLE t ALTER m SET DEFAULT 5
        ALTER TABLE t ALTER m SET DEFAULT 6
        ALTER TABLE t ALTER m DROP DEFAULT
        ALTER TABLE t ALTER customer_id TYPE bigint
        ALTER TABLE t DROP COLUMN customer_id
        ALTER TABLE t RENAME TO u
        CREATE SCHEMA s
        ALTER TABLE u SET SCHEMA s
        CREATE OPERATOR @+ (rightarg = numeric, function = numeric_uplus)
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
        ALTER FUNCTION f() IMMUTABLE
        CREATE TRIGGER g BEFORE INSERT ON s.u FOR EACH ROW EXECUTE FUNCTION f()
        ALTER TABLE s.u DISABLE TRIGGER g
        CREATE RULE r AS ON INSERT TO s.u DO NOTHING
        DROP RULE r ON s.u
        CREATE SEQUENCE q
        CREATE DOMAIN d AS int
        ALTER DOMAIN d SET DEFAULT 1
        CREATE TABLE heir () INHERITS (s.u)
        ALTER TABLE heir NO INHERIT s.u
        DROP TABLE heir
        CREATE ROLE r
        ALTER ROLE r SET search_path = a
        ALTER ROLE r SET search_path = b
        ALTER ROLE r RENAME TO r2
        ALTER DATABASE postgres SET search_path = c
        ALTER DATABASE postgres RESET search_path
        CREATE TABLE k (a int PRIMARY KEY, b int)
        ALTER TABLE k ADD CONSTRAINT c FOREIGN KEY (b) REFERENCES k ON DELETE CASCADE
        DROP FUNCTION f() CASCADE
        DROP SCHEMA s CASCADE";
    for change in changes.lines().map(str::trim).filter(|change| !change.is_empty()) {
        ddl.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let after = catalog::fingerprint(&client).await.unwrap();
        // A role without settings is nothing the catalog holds.
        assert_eq!(before == after, change == "CREATE ROLE r", "{change}: {before} -> {after}");
        before = after;
    }
    let others = "
        CREATE TEMPORARY TABLE t (customer_id int DEFAULT 3)
        INSERT INTO t SELECT 1
        ALTER TABLE t RENAME customer_id TO c
        ANALYZE
        VACUUM";
    for other in others.lines().map(str::trim).filter(|other| !other.is_empty()) {
        ddl.batch_execute(other).await.unwrap_or_else(|error| panic!("{other}: {error:?}"));
        assert_eq!(catalog::fingerprint(&client).await.unwrap(), before, "{other}");
    }
}

/// Connects to the server and counts how often.
struct Counting {
    directory: PathBuf,
    connects: Arc<AtomicUsize>,
}

impl Connect for Counting {
    fn connect(&self) -> Pin<Box<dyn Future<Output = Result<Client, ConnectFailure>> + Send + '_>> {
        Box::pin(async {
            self.connects.fetch_add(1, Ordering::SeqCst);
            let mut config = tokio_postgres::Config::new();
            config.host_path(&self.directory).user("postgres").dbname("postgres");
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }
}

async fn watched(server: &Postgres) -> (CatalogHandle, Arc<AtomicUsize>) {
    let connects = Arc::new(AtomicUsize::new(0));
    let directory = PathBuf::from(server.address("postgres").host);
    let connect = Counting { directory, connects: connects.clone() };
    (CatalogHandle::start(rules(), Box::new(connect)).await.unwrap(), connects)
}

#[tokio::test]
async fn a_refresh_shows_what_was_committed_before_it() {
    let server = Postgres::start(&[]);
    let (handle, connects) = watched(&server).await;
    let client = server.connect("postgres").await;
    for n in 0..5 {
        let before = handle.current().version;
        client.batch_execute(&format!("CREATE TABLE t{n} (customer_id int)")).await.unwrap();
        let (a, b, c) = tokio::join!(handle.refresh(), handle.refresh(), handle.refresh());
        a.and(b).and(c).unwrap();
        let catalog = handle.current();
        assert!(catalog.schemas["public"].contains_key(&format!("t{n}")));
        assert!(catalog.version > before);
    }
    let version = handle.current().version;
    handle.refresh().await.unwrap();
    assert_eq!(handle.current().version, version, "nothing changed: plans stay valid");
    assert_eq!(connects.load(Ordering::SeqCst), 1, "one control connection");
}

#[tokio::test]
async fn changes_behind_the_gateways_back_are_found_also_after_the_connection_broke() {
    let server = Postgres::start(&[]);
    let (handle, connects) = watched(&server).await;
    let mut changes = handle.subscribe();
    let client = server.connect("postgres").await;
    let sever = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    client.batch_execute(sever).await.unwrap();
    client.batch_execute("CREATE TABLE behind (customer_id int)").await.unwrap();
    while !handle.current().schemas.get("public").is_some_and(|schema| schema.contains_key("behind")) {
        changes.changed().await.unwrap();
    }
    assert!(connects.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn a_refresh_dropped_half_way_leaves_nothing_behind() {
    let server = Postgres::start(&[]);
    let (handle, _) = watched(&server).await;
    let client = server.connect("postgres").await;
    for polls in 0..40 {
        let mut refresh = Box::pin(handle.refresh());
        for _ in 0..polls {
            if futures_util::poll!(refresh.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(refresh);
    }
    client.batch_execute("CREATE TABLE after (customer_id int)").await.unwrap();
    handle.refresh().await.unwrap();
    assert!(handle.current().schemas["public"].contains_key("after"));
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_the_old_catalog_stays() {
    let mut server = Postgres::start(&[]);
    let (handle, _) = watched(&server).await;
    server.stop();
    let before = handle.current();
    assert!(handle.refresh().await.is_err());
    assert!(Arc::ptr_eq(&before, &handle.current()));
}
