//! Errors of every stage: message, place, hint.

use super::{TABLES, error, with_tables};
use crate::error::ErrorKind;

/// The place is where `^` stands in the text (taken out before parsing).
#[test]
fn places_and_messages() {
    let cases = [
        ("SELECT ^prize FROM bid", "column 'prize' not found", "did you mean 'price'?"),
        ("SELECT ^b.prize FROM bid b", "column 'prize' not found", "did you mean 'price'?"),
        ("SELECT price FROM ^bids", "table 'bids' not found", "did you mean 'bid'?"),
        (
            "SELECT ^upperr(channel) FROM bid",
            "function 'upperr' not found",
            "did you mean 'upper'?",
        ),
        ("SELECT price FROM bid WHER ^price > 1 AND", "expected", ""),
        ("SELECT price FROM bid;\n^SELEC price FROM bid", "", "did you mean 'SELECT'?"),
        ("^DROP TABLE bid", "unsupported statement 'DROP'", "supported are"),
        ("^SELEKT 1", "unsupported statement 'SELEKT'", "did you mean 'SELECT'?"),
        ("SELECT 1;\n\n  SET 'a.b' = 'c'", "unknown setting 'a.b'", "known settings"),
        ("CREATE TABLE t (a ^STRNG)", "unknown data type 'STRNG'", "did you mean 'STRING'?"),
        ("CREATE TABLE t (a INT, ^a INT)", "column 'a' occurs twice", ""),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (a^))",
            "a primary key is not enforced",
            "write PRIMARY KEY .. NOT ENFORCED",
        ),
        (
            "CREATE TABLE ^t (a INT, WATERMARK FOR b AS a)",
            "the watermark names 'b', which is no column of the table",
            "",
        ),
        ("CREATE VIEW ^bid AS SELECT 1 AS x", "table or view 'bid' exists already", ""),
        ("CREATE VIEW ^v (a, b) AS SELECT 1 AS x", "view 'v' lists 2 columns", ""),
        ("INSERT INTO ^bidd SELECT * FROM bid", "table 'bidd' not found", "did you mean 'bid'?"),
        (
            "INSERT INTO bid (^prize) SELECT 1",
            "'bid' has no column 'prize'",
            "did you mean 'price'?",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(^price), INTERVAL '1' SECOND))",
            "the time column 'price' of TUMBLE is BIGINT",
            "a window needs a TIMESTAMP",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(^datetime), INTERVAL '1' SECOND))",
            "column 'datetime' not found",
            "did you mean 'dateTime'?",
        ),
        (
            "SELECT * FROM TABLE(^TUMBL(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))",
            "table function 'TUMBL' not found",
            "did you mean 'TUMBLE'?",
        ),
        (
            "SELECT * FROM TABLE(^TUMBLE(TABLE bid, DESCRIPTOR(dateTime)))",
            "TUMBLE needs its size",
            "TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])",
        ),
        (
            "SELECT * FROM TABLE(^CUMULATE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '3' SECOND, \
             INTERVAL '10' SECOND))",
            "the size of CUMULATE must be a multiple of its step",
            "",
        ),
        (
            "SELECT * FROM TABLE(^HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.001' SECOND, \
             INTERVAL '1' DAY))",
            "a row would belong to 86400000 windows",
            "at most",
        ),
        ("SELECT 'abc", "", ""),
        (
            "SELECT ^price + channel FROM bid",
            "cannot coerce arithmetic expression BIGINT + STRING",
            "",
        ),
        (
            "EXECUTE STATEMENT SET BEGIN INSERT INTO bid SELECT * FROM bid;",
            "the statement set has no end",
            "END",
        ),
    ];
    for (marked, message, hint) in cases {
        let text = with_tables(&marked.replace('^', ""));
        let found = error(&text);
        let shown = found.to_string();
        assert!(found.message.starts_with(message), "{marked}\n{shown}");
        assert!(found.hint.clone().unwrap_or_default().contains(hint), "{marked}\n{shown}");
        for wording in ["planning", "not implemented", "Schema error", "backtrace", "sql parser"] {
            assert!(!shown.contains(wording), "{marked}\n{shown}");
        }
        if std::env::var_os("SHOW_ERRORS").is_some() {
            println!("{shown}\n");
        }
        let place = found.location.as_ref().unwrap_or_else(|| panic!("{marked}\n{shown}"));
        if let Some(offset) = marked.find('^') {
            let before = &marked[..offset];
            let line = TABLES.matches('\n').count() + before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            assert_eq!((place.line, place.column), (line, column), "{marked}\n{shown}");
        }
    }
}

#[test]
fn an_error_shows_its_line() {
    let shown = error("SELECT 1;\nSELECT\n\tprize FROM bid").to_string();
    assert_eq!(
        shown,
        "error: table 'bid' not found\n --> test.sql:3:13\n  |\n3 | \tprize FROM bid\n  \
         | \t           ^^^"
    );
}

#[test]
fn settings_are_configuration() {
    assert_eq!(error("SET 'time_resolution' = 'x'").kind, ErrorKind::Config);
    assert_eq!(error("SELECT x").kind, ErrorKind::Sql);
}

#[test]
fn random_is_refused() {
    let found = error(&with_tables("SELECT random() AS r FROM bid"));
    assert!(found.message.contains("random values"), "{found}");
}

#[test]
fn one_query_over_a_catalog() {
    let catalog = super::super::context::Catalog::new();
    assert!(super::super::bind::bind_query(&catalog, "query", "SELECT 1 + 1 AS two").is_ok());
    for text in ["SELECT * FROM nothing", "SET 'a' = 'b'", "SELECT 1; SELECT 2", ""] {
        let found = super::super::bind::bind_query(&catalog, "query", text).unwrap_err();
        assert_eq!(found.kind, ErrorKind::Sql, "{found}");
    }
}
