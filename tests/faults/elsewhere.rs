//! What PostgreSQL evaluates beside the statement itself must not read one shard's part of what it means.

use crate::client::{Client, Login};
use crate::{Stage, key_on};

fn log_in(stage: &Stage, user: &str) -> Login {
    let app = stage.login();
    Login::new(app.address, user, user, &app.parameters[1].1)
}

const ANN: &str = "[[user]]\nname = \"ann\"\npassword = \"ann\"\n";

/// Ann is a user of her own, and may become the role `team`.
fn stage_with_ann() -> Stage {
    let stage = Stage::new(ANN);
    for shard in 0..2 {
        let mut shard = stage.shard(shard);
        shard.run("CREATE ROLE ann LOGIN PASSWORD 'ann'");
        shard.run("CREATE ROLE team");
        shard.run("GRANT team TO ann");
    }
    stage
}

#[test]
fn policies_that_read_other_tables_are_refused_to_whom_they_apply() {
    let stage = stage_with_ann();
    let mut app = stage.client();
    app.run("CREATE TABLE members (id int8)");
    app.run("CREATE POLICY members_only ON rows USING (EXISTS (SELECT 1 FROM members m WHERE m.id = rows.id))");
    app.run("ALTER TABLE rows ENABLE ROW LEVEL SECURITY");
    app.run("GRANT ALL ON rows, members TO ann");
    app.run("INSERT INTO members VALUES (1)");
    let (key, ask) = (key_on(1), format!("SELECT * FROM rows WHERE customer_id = {}", key_on(1)));
    app.run(&format!("INSERT INTO rows VALUES ({key}, 1)"));
    assert_eq!(app.rows(&ask).len(), 1, "the owner is not concerned");
    let mut ann = Client::connect(&log_in(&stage, "ann")).unwrap();
    for sql in [&ask, &format!("UPDATE rows SET v = 'x' WHERE customer_id = {key}"), "COPY rows TO STDOUT"] {
        let answer = ann.query(sql);
        assert_eq!(answer.sqlstate(), "0A000", "{sql}: {:?}", answer.rows);
        assert!(answer.error.unwrap().1.contains("row security"), "{sql}");
    }
    app.run("ALTER TABLE rows DISABLE ROW LEVEL SECURITY");
    assert_eq!(ann.rows(&ask).len(), 1);
}

#[test]
fn writes_that_call_functions_on_tables_are_refused() {
    let stage = Stage::new("");
    let mut app = stage.client();
    app.run("CREATE TABLE members (id int8)");
    app.run("CREATE FUNCTION is_member(int8) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT 1 FROM members WHERE id = $1)'");
    app.run("INSERT INTO members VALUES (1)");
    app.run("ALTER TABLE rows ADD CHECK (is_member(id))");
    let key = key_on(1);
    for sql in [format!("INSERT INTO rows VALUES ({key}, 1)"), "COPY rows FROM STDIN".to_owned()] {
        let answer = app.query(&sql);
        assert_eq!(answer.sqlstate(), "0A000", "{sql}: {:?}", answer.error);
    }
}

#[test]
fn the_role_in_force_is_the_user_of_the_search_path() {
    let stage = stage_with_ann();
    for shard in 0..2 {
        let mut shard = stage.shard(shard);
        for (schema, column) in [("ann", "customer_id"), ("team", "id")] {
            shard.run(&format!("CREATE SCHEMA {schema} AUTHORIZATION {schema}"));
            // By name and role another table: sharded for Ann, at home for the team.
            shard.run(&format!("CREATE TABLE {schema}.mine ({column} int8)"));
            shard.run(&format!("ALTER TABLE {schema}.mine OWNER TO {schema}"));
        }
    }
    let mut ann = Client::connect(&log_in(&stage, "ann")).unwrap();
    let insert = format!("INSERT INTO mine VALUES ({})", key_on(1));
    let count = |table: &str| {
        let count = |shard: usize| stage.shard(shard).value(&format!("SELECT count(*) FROM {table}"));
        (count(0), count(1))
    };
    let counts = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    ann.run(&insert);
    assert_eq!(count("ann.mine"), counts("0", "1"));
    ann.run("SET ROLE team");
    ann.run(&insert);
    assert_eq!(count("team.mine"), counts("1", "0"), "a home table");
    ann.run("SET ROLE NONE");
    ann.run(&insert);
    assert_eq!(count("ann.mine"), counts("0", "2"));
    ann.run("BEGIN");
    ann.run("SET LOCAL ROLE team");
    ann.run(&insert);
    ann.run("COMMIT");
    ann.run("SELECT set_config('role', 'team', false)");
    ann.run(&insert);
    assert_eq!(count("team.mine"), counts("3", "0"));
    ann.run("RESET ROLE");
    ann.run(&insert);
    let mut team = Client::connect(&log_in(&stage, "ann").with("role", "team")).unwrap();
    team.run(&insert);
    assert_eq!((count("ann.mine"), count("team.mine")), (counts("0", "3"), counts("4", "0")));
    assert_eq!(ann.query("SET SESSION AUTHORIZATION team").sqlstate(), "0A000");
}

#[test]
fn settings_that_change_what_a_statement_means_are_refused_wherever_they_come_from() {
    let stage = Stage::new("");
    let mut client = stage.client();
    for (name, value, usual) in [("transform_null_equals", "on", "off"), ("array_nulls", "off", "on")] {
        for sql in [format!("SET {name} = {value}"), format!("SELECT set_config('{name}', '{value}', false)")] {
            assert_eq!(client.query(&sql).sqlstate(), "0A000", "{sql}");
        }
        client.run(&format!("SET {name} = {usual}"));
        assert_eq!(client.query(&format!("SET {name} = sometimes")).sqlstate(), "22023");
        for login in [
            stage.login().with(name, value),
            stage.login().with("options", &format!("-c {name}={value}")),
            stage.login().with(&name.to_uppercase(), value),
        ] {
            let refusal = Client::connect(&login).map(|_| ()).unwrap_err();
            assert!(refusal.starts_with("0A000"), "{refusal}");
        }
        assert!(Client::connect(&stage.login().with(name, usual)).is_ok());
    }
}
