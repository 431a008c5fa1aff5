//! Aggregate functions, through one and through several partial states.

use super::{query, session};

/// Rows of `t`: group, small integer, decimal, double, text.
const TABLE: &str =
    "(VALUES (1, 1, 1.50, 0.5, 'a'), (1, 2, 2.55, 1.5, NULL), (2, -3, NULL, 4.0, 'c'),
    (1, NULL, NULL, NULL, 'b'), (2, -4, 0.01, 0.0, 'd'), (3, NULL, NULL, NULL, NULL))";

fn check(table: &str) {
    let session = session();
    let cast = "SELECT g, CAST(i AS INT) i, CAST(d AS DECIMAL(10, 2)) d, CAST(f AS DOUBLE) f, s";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (aggregate, expected) = line.split_once(" => ").expect("'aggregate => groups'");
        let sql = format!(
            "SELECT {aggregate} FROM ({cast} FROM {TABLE} AS v(g, i, d, f, s)) \
             GROUP BY g ORDER BY g"
        );
        let rows = query(&session, &sql).map(|rows| rows.join(" | "));
        assert_eq!(rows, Ok(expected.trim().to_string()), "{aggregate}");
    }
}

#[test]
fn aggregates_have_flinks_types_and_values() {
    check(
        "
        AVG(i) => 1 | -3 | NULL
        arrow_typeof(AVG(i)) => Int32 | Int32 | Int32
        AVG(d) => 2.025000 | 0.010000 | NULL
        arrow_typeof(AVG(d)) => Decimal128(38, 6) | Decimal128(38, 6) | Decimal128(38, 6)
        AVG(f) => 1.0 | 2.0 | NULL
        AVG(DISTINCT i) => 1 | -3 | NULL
        AVG(DISTINCT i) + AVG(i) + COUNT(DISTINCT s) => 4 | -4 | NULL
        SUM(i) => 3 | -7 | NULL
        arrow_typeof(SUM(i)) => Int64 | Int64 | Int64
        SUM(d) => 4.05 | 0.01 | NULL
        arrow_typeof(SUM(d)) => Decimal128(38, 2) | Decimal128(38, 2) | Decimal128(38, 2)
        LISTAGG(s) => a,b | c,d | NULL
        LISTAGG(s, '--') => a--b | c--d | NULL
        LISTAGG(i) => 1,2 | -3,-4 | NULL
        LISTAGG(f, ';') => 0.5;1.5 | 4.0;0.0 | NULL
        PERCENTILE(i, 0.5) => 1.5 | -3.5 | NULL
        PERCENTILE(f, 0.25) => 0.75 | 1.0 | NULL
        APPROX_PERCENTILE(d, 1) => 2.55 | 0.01 | NULL
        PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY i) => 1.5 | -3.5 | NULL
        PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY s) => a | c | NULL
        PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY i DESC) => 2 | -3 | NULL
        FIRST_VALUE(s) => a | c | NULL
        LAST_VALUE(s) => b | d | NULL
        LAST_VALUE(i) => 2 | -4 | NULL
        VARIANCE(i) => 0.5 | 0.5 | NULL
        VAR_POP(i) => 0.25 | 0.25 | NULL
        VAR_SAMP(i) => 0.5 | 0.5 | NULL
        STDDEV_POP(i) => 0.5 | 0.5 | NULL
        STDDEV(f) = STDDEV_SAMP(f) => true | true | NULL
        COLLECT(i) => [1, 2] | [-3, -4] | NULL
        ",
    );
}

#[test]
fn aggregates_of_nothing() {
    let session = session();
    let sql = "SELECT CONCAT_WS('/', LISTAGG(s), AVG(i), SUM(i), COUNT(i)) FROM \
        (SELECT CAST('a' AS VARCHAR) s, CAST(1 AS INT) i) WHERE i > 1";
    assert_eq!(query(&session, sql), Ok(vec!["0".to_string()]));
}
