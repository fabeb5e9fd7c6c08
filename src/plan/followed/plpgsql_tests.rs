//! Tests of [`super`].

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
    let body =
        "<<outer>> DECLARE n int := count(*) FROM t; r record; \"Odd\" numeric(10,2) NOT NULL DEFAULT f(1, 2); BEGIN
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
    for body in ["", "BEGIN", "BEGIN END; x", "#option dump BEGIN END", "DECLARE a ALIAS FOR $1; BEGIN END", "SELECT 1"]
    {
        assert!(read(body).is_err(), "{body}");
    }
}
