//! The lexer against what PostgreSQL's own lexer and parser make of the same texts.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::super::{Node, erase, parse, walk};
use super::*;

/// The shape with `?i` for marks.
fn shape(text: &str) -> Option<String> {
    let mut lifted = Lifted::default();
    lifted.read(text.as_bytes()).then(|| String::from_utf8(lifted.shape).unwrap().replace('\0', "?"))
}

#[test]
fn literals_of_each_kind_are_lifted() {
    assert_eq!(
        shape("SELECT a1 FROM t2 WHERE k=7 AND x = 'it''s' AND y<-1.50 AND z > 3000000000").unwrap(),
        "SELECT a1 FROM t2 WHERE k=?i AND x = ?t AND y<-?d AND z > ?l"
    );
    assert_eq!(shape("SELECT 2147483647, 2147483648, 9223372036854775807").unwrap(), "SELECT ?i, ?l, ?l");
}

#[test]
fn what_versions_read_differently_stays_as_it_is() {
    for text in [
        "SELECT 123abc",
        "SELECT 0x1F",
        "SELECT 0b11",
        "SELECT 1_000",
        "SELECT 1e5",
        "SELECT 1e+5",
        "SELECT 1.5e-3",
        "SELECT 1.",
        "SELECT .5",
        "SELECT t.5",
        "SELECT 1..2",
        "SELECT $1",
        "SELECT 9223372036854775808",
        "SELECT a1b2, _3, é4, \"5\", a$6",
        "SELECT E'a\\'5'",
        "SELECT",
    ] {
        assert_eq!(shape(text), None, "{text}");
    }
    assert_eq!(shape("SELECT E'a\\'7''8\\\\', 9").unwrap(), "SELECT E'a\\'7''8\\\\', ?i");
}

#[test]
fn texts_with_rare_strings_are_left_alone() {
    for text in [
        "SELECT b'01', 7",
        "SELECT X'1F', 7",
        "SELECT N'a', 7",
        "SELECT u&'a', 7",
        "SELECT U&\"a\" = 7",
        "SELECT $$a$$, 7",
        "SELECT $a$ 'b $a$, 7",
        "SELECT 'a'\n'b', 7",
        "SELECT 'a' -- c\n  'b', 7",
        "SELECT E'a'\n'b', 7",
        "SELECT 'a, 7",
        "SELECT \"a, 7",
        "SELECT E'a\\', 7",
        "SELECT /* /* */ 7",
        "SELECT 7\0",
    ] {
        assert_eq!(shape(text), None, "{text}");
    }
    // Letters that only look like the beginning of such a string.
    assert_eq!(shape("SELECT a.ab'7'").unwrap(), "SELECT a.ab?t");
    assert_eq!(shape("SELECT u & 7").unwrap(), "SELECT u & ?i");
}

#[test]
fn comments_are_left_out_and_what_is_in_them_is_no_literal() {
    assert_eq!(shape("SELECT/* 1 '/* ' */ */7--8 '\n,'--9'").unwrap(), "SELECT ?i \n,?t");
    assert_eq!(shape("SELECT 5*--3\n4").unwrap(), "SELECT ?i* \n?i");
    assert_eq!(shape("SELECT 5//*3*/4").unwrap(), "SELECT ?i/ ?i");
}

#[test]
fn a_narrower_shape_spells_the_other_literals() {
    let text = b"SELECT 1, 'a' -- c\n, 2";
    let mut lifted = Lifted::default();
    assert!(lifted.read(text));
    assert_eq!(lifted.narrowed(text, &[false, true, false]), b"SELECT 1, \0t  \n, 2");
    assert_eq!(lifted.narrowed(text, &[true, true, true]), lifted.shape);
}

/// All constants of a tree, by their places.
fn constants(node: &Node, found: &mut Vec<usize>) {
    if let Node::AConst(constant) = node {
        found.push(usize::try_from(constant.location).unwrap());
    }
    let _: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        constants(child, found);
        Ok(())
    });
}

/// PostgreSQL's lexer must see each literal as one token. It is version 18's: what older versions cut differently is tested above.
fn agrees_with_postgresql(text: &str) -> Result<(), TestCaseError> {
    let mut lifted = Lifted::default();
    let Ok(tokens) = pg_query::scan_tokens(text) else { return Ok(()) };
    if !lifted.read(text.as_bytes()) {
        return Ok(());
    }
    use pg_query::protobuf::Token;
    for literal in &lifted.literals {
        let token = tokens.iter().find(|token| token.start == literal.start as i32 && token.end == literal.end as i32);
        let expected = match literal.kind {
            LiteralKind::Int4 => Token::Iconst,
            LiteralKind::Int8 | LiteralKind::Decimal => Token::Fconst,
            LiteralKind::Text => Token::Sconst,
        };
        prop_assert_eq!(token.map(|token| token.token), Some(expected as i32), "{} at {:?}", text, literal);
    }
    // Texts of one shape are cut alike.
    let shape = lifted.shape.clone();
    let mut other = Vec::new();
    let mut rest = 0;
    for literal in &lifted.literals {
        other.extend_from_slice(&text.as_bytes()[rest..literal.start as usize]);
        other.extend_from_slice(match literal.kind {
            LiteralKind::Int4 => b"8",
            LiteralKind::Int8 => b"8000000000",
            LiteralKind::Decimal => b"8.8",
            LiteralKind::Text => b"'8''8'",
        });
        rest = literal.end as usize;
    }
    other.extend_from_slice(&text.as_bytes()[rest..]);
    prop_assert!(lifted.read(&other));
    prop_assert_eq!(&lifted.shape, &shape);
    let others = pg_query::scan_tokens(std::str::from_utf8(&other).unwrap());
    let kinds = |tokens: Vec<pg_query::protobuf::ScanToken>| tokens.iter().map(|token| token.token).collect::<Vec<_>>();
    prop_assert_eq!(others.ok().map(kinds), Some(kinds(tokens)), "{}", text);
    Ok(())
}

/// Pieces that meet in nasty ways.
fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "'",
        "''",
        "\"",
        "\\",
        "--",
        "/*",
        "*/",
        "\n",
        " ",
        "$",
        "$$",
        "$1",
        "$a$",
        "e",
        "E'",
        "e'",
        "b'",
        "x'",
        "n'",
        "u&'",
        "u&\"",
        "U",
        "&",
        "7",
        "0",
        "12",
        ".",
        "1.5",
        "_",
        "+",
        "-",
        "*",
        "/",
        "=",
        "(",
        ")",
        ",",
        ";",
        ":",
        "::",
        "a",
        "é",
        "'a'",
        "'b''c'",
        "99999999999",
        "1e5",
        "0x1f",
        "select ",
        "\t",
        "\r",
        "@",
        "?",
        "#",
        "[",
        "]",
        "in",
        "date ",
        "interval ",
    ]);
    proptest::collection::vec(piece, 1..14).prop_map(|pieces| format!("select {}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_lifted_is_a_token_of_postgresql(text in pieces()) {
        agrees_with_postgresql(&text)?;
    }
}

#[test]
fn only_constants_of_plain_expressions_are_erased() {
    for (text, expected) in [
        ("SELECT 1 FROM t WHERE a = 2 AND b IN (3, -4) OR c = '5'::text GROUP BY 6 ORDER BY 7 LIMIT 8", "0111100 0"),
        ("SELECT 1 FROM t WHERE a = f(2) AND b > (SELECT 3) AND c = interval '4' AND d = - (5) AND e = -6", "000101"),
        ("INSERT INTO t VALUES (1, 'a', f(2)), (-3, DEFAULT, 4.5)", "11011"),
        ("UPDATE t SET a = 1, b = b + 2, c = c - 3, (d, e) = (4, 5) WHERE f = 6", "111001"),
        ("DELETE FROM t WHERE a BETWEEN 1 AND 2 AND b LIKE '3' AND c::numeric(4) = 5", "11101"),
        ("SELECT * FROM t WHERE a = ANY ('{1}') AND b = 2 FETCH FIRST 3 ROWS ONLY", "010"),
        ("COPY t TO STDOUT (DELIMITER '1')", ""),
    ] {
        let mut lifted = Lifted::default();
        assert!(lifted.read(text.as_bytes()));
        let mut script = parse(text).unwrap();
        let node = script.statements[0].tree.as_mut().unwrap().stmt.as_mut().unwrap().node.as_mut().unwrap();
        let done: String =
            erase::erase(node, text, &lifted.literals).iter().map(|done| if *done { '1' } else { '0' }).collect();
        assert_eq!(done, expected.replace(' ', ""), "{text}");
    }
}

#[test]
fn places_of_constants_are_those_of_their_tokens() {
    let text = "SELECT 1 WHERE a = 22 AND b = 'c' AND d = -5";
    let script = parse(text).unwrap();
    let Node::SelectStmt(select) = script.statements[0].node().unwrap() else { panic!("no SELECT") };
    let mut found = Vec::new();
    constants(select.where_clause.as_ref().unwrap().node.as_ref().unwrap(), &mut found);
    assert_eq!(found, [text.find("22").unwrap(), text.find("'c'").unwrap(), text.find("-5").unwrap()]);
}
