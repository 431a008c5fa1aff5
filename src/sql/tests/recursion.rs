//! WITH RECURSIVE and table functions: what binds, and what is refused where.

use super::{error, last, plan, with_tables};

/// The place is where `^` stands in the text (taken out before parsing).
fn refused(marked: &str, message: &str, hint: &str) {
    let text = marked.replacen('^', "", 1);
    let before = marked.split('^').next().unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let error = error(&with_tables(&text));
    assert!(error.message.contains(message), "{marked}: {error}");
    let given = error.hint.clone().unwrap_or_default();
    assert!(given.contains(hint), "{marked}: hint {given:?}");
    let lines_before = with_tables("").matches('\n').count();
    let place = error.location.unwrap_or_else(|| panic!("no place: {marked}"));
    assert_eq!((place.line, place.column), (lines_before + line, column));
}

#[test]
fn errors_have_places() {
    refused(
        "WITH RECURSIVE ^r AS (SELECT x + 1 AS x FROM r) SELECT x FROM r",
        "the columns of 'r' are unknown",
        "WITH MUTUALLY RECURSIVE r (column BIGINT, ..)",
    );
    refused(
        "WITH RECURSIVE ^r (a, b) AS (SELECT price FROM bid UNION SELECT a FROM r) SELECT a FROM r",
        "'r' lists 2 columns but its query has 1",
        "",
    );
    refused(
        "WITH MUTUALLY RECURSIVE ^r (a BIGINT, b) AS (SELECT a, b FROM r) SELECT a FROM r",
        "'r' declares the types of some columns only",
        "",
    );
    refused(
        "WITH RECURSIVE r AS (SELECT 1 AS x), ^r AS (SELECT 2 AS x) SELECT x FROM r",
        "WITH defines 'r' twice",
        "",
    );
    refused(
        "WITH MUTUALLY RECURSIVE (^STOP AT RECURSION LIMIT 3) r (x BIGINT) AS (SELECT x FROM r) \
         SELECT x FROM r",
        "this is no option of WITH MUTUALLY RECURSIVE",
        "RETURN AT RECURSION LIMIT 100",
    );
    refused(
        "WITH MUTUALLY ^r (x BIGINT) AS (SELECT x FROM r) SELECT x FROM r",
        "expected RECURSIVE behind MUTUALLY",
        "",
    );
    refused(
        "SELECT t.x FROM bid CROSS JOIN UNNEST(^price) AS t (x)",
        "UNNEST takes an ARRAY or a MAP, not BIGINT",
        "",
    );
    refused(
        "SELECT t.x FROM bid, LATERAL TABLE(^UPPER(channel)) AS t (x)",
        "UPPER returns STRING and is no table function",
        "returns an ARRAY or a MAP",
    );
}

#[test]
fn columns_are_inferred_and_widen() {
    let columns = |text: &str| -> Vec<String> {
        let plan = last(&with_tables(text)).plan;
        let fields = plan.schema().fields().iter();
        fields.map(|f| format!("{} {}", f.name(), f.data_type())).collect()
    };
    // The first query begins with an INT; the others make it wider.
    let text =
        "WITH RECURSIVE n (x) AS (SELECT CAST(1 AS INT) UNION ALL SELECT x + price FROM n, bid)
        SELECT x FROM n";
    assert_eq!(columns(text), ["x Int64"]);
    // A name without a part of its own has the columns of another's.
    let text = "WITH RECURSIVE
        odd AS (SELECT x + 1 AS y FROM even),
        even (x) AS (SELECT price FROM bid UNION SELECT y + 1 FROM odd)
        SELECT y, x FROM odd, even";
    assert_eq!(columns(text), ["y Int64", "x Int64"]);
    // Declared types are kept.
    let text = "WITH MUTUALLY RECURSIVE r (x INT, s STRING) AS (SELECT price, 'a' FROM bid
        UNION SELECT x + 1, s FROM r) SELECT x, s FROM r";
    assert_eq!(columns(text), ["x Int32", "s Utf8View"]);
}

#[test]
fn names_that_do_not_recur_are_plain() {
    let text = "WITH RECURSIVE a AS (SELECT price AS x FROM b), b AS (SELECT price FROM bid)
        SELECT x FROM a";
    assert!(!plan(&with_tables(text)).contains("Recursive"));
}

#[test]
fn lateral_calls_need_no_join() {
    for text in [
        "SELECT id, tag FROM typed CROSS JOIN UNNEST(tags) AS t (tag)",
        "SELECT id, k FROM typed LEFT JOIN UNNEST(attributes) AS t (k, v) ON TRUE",
        "SELECT id, x FROM typed, LATERAL TABLE(GENERATE_SERIES(1, id)) AS t (x)",
        "SELECT id, x FROM typed, LATERAL (SELECT tag AS x FROM UNNEST(tags) AS t (tag)) AS l",
    ] {
        let plan = plan(&with_tables(text));
        assert!(plan.contains("Unnest") && !plan.contains("Join"), "{plan}");
    }
}
