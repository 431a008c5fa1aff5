//! Implicit and textual casts: what the binder makes of constants, and how columns are coerced.

use super::{error, last, plan, with_tables};

/// Asserts the constant that each line `expression => plan's literal` is folded to.
fn folds(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (expression, expected) = line.split_once(" => ").unwrap();
        let plan = plan(&format!("SELECT {expression} AS x"));
        let literal = plan.lines().next().unwrap().trim().strip_prefix("Projection: ");
        let expected = format!("{} AS x", expected.trim());
        assert_eq!(literal, Some(expected.as_str()), "{expression}");
    }
}

#[test]
fn casts_to_text_are_flinks() {
    folds(
        r#"
        CAST(TIMESTAMP '1969-12-31 20:31:00.999' AS STRING) => Utf8View("1969-12-31 20:31:00.999")
        CAST(TIMESTAMP '2020-01-01 00:00:00' AS STRING) => Utf8View("2020-01-01 00:00:00.000")
        CAST(CAST('2020-01-01' AS TIMESTAMP(0)) AS STRING) => Utf8View("2020-01-01 00:00:00")
        CAST(CAST('2020-01-01' AS TIMESTAMP(6)) AS STRING) => Utf8View("2020-01-01 00:00:00.000000")
        CAST(TO_TIMESTAMP_LTZ(0, 3) AS STRING) => Utf8View("1970-01-01 00:00:00.000")
        CAST(DATE '2024-02-29' AS STRING) => Utf8View("2024-02-29")
        CAST(DATE '0001-01-01' AS STRING) => Utf8View("0001-01-01")
        CAST(TIME '23:59:59' AS STRING) => Utf8View("23:59:59")
        CAST(TIME '23:59:59.5' AS STRING) => Utf8View("23:59:59.500")
        CAST(TRUE AS STRING) => Utf8View("TRUE")
        CAST(1 = 2 AS VARCHAR(3)) => Utf8View("FAL")
        CAST('ab' AS CHAR(4)) || '|' => Utf8View("ab  |")
        CAST(1.50 AS STRING) => Utf8View("1.50")
        CAST(0e0 AS STRING) => Utf8View("0.0")
        CAST(1.5e0 AS STRING) => Utf8View("1.5")
        CAST(-1234567.5e0 AS STRING) => Utf8View("-1234567.5")
        CAST(1e7 AS STRING) => Utf8View("1.0E7")
        CAST(1.25e-3 AS STRING) => Utf8View("0.00125")
        CAST(1e-4 AS STRING) => Utf8View("1.0E-4")
        CAST(INTERVAL '1 02:03:04.5' DAY TO SECOND AS STRING) => Utf8View("+1 02:03:04.500")
        CAST(INTERVAL '-1-02' YEAR TO MONTH AS STRING) => Utf8View("-1-02")
        CAST(ARRAY[1, NULL] AS STRING) => Utf8View("[1, NULL]")
        CAST(MAP['a', TRUE] AS STRING) => Utf8View("{a=TRUE}")
        CAST(ROW(1, 'x', DATE '2020-01-01') AS STRING) => Utf8View("(1, x, 2020-01-01)")
        TRY_CAST(TRUE AS STRING) => Utf8View("TRUE")
        CAST(CAST(ROW(1, TRUE) AS ROW<a TINYINT, b STRING>) AS STRING) => Utf8View("(1, TRUE)")
        CAST(ROW(1, 'x') AS ROW<a TINYINT, b STRING>).b => Utf8View("x")
        'at ' || TIMESTAMP '2020-01-01 00:00:00' => Utf8View("at 2020-01-01 00:00:00.000")
        CONCAT('is ', TRUE, 1e0, TIME '00:00:01') => Utf8View("is TRUE1.000:00:01")
        ENCODE(X'68E9', 'hex') => Utf8View("68e9")
        U&'\00e9' => Utf8View("é")
        "#,
    );
}

#[test]
fn decimals_meet_floats_as_doubles() {
    for (expression, expected) in [
        ("f = 1.5", "CAST(typed.f AS Float64) = Float64(1.5)"),
        ("f > amount", "CAST(typed.f AS Float64) > CAST(typed.amount AS Float64)"),
        ("f + 1.5 > d", "CAST(typed.f AS Float64) + Float64(1.5) > typed.d"),
        ("d / amount < 2.5", "typed.d / CAST(typed.amount AS Float64) < Float64(2.5)"),
        (
            "f BETWEEN 1.5 AND 2",
            "__common_expr_3 >= Float64(1.5) AND __common_expr_3 <= Float64(2)",
        ),
        ("d IN (1.5, amount, 7, 8)", "CAST(typed.amount AS Float64)"),
        ("CASE WHEN flag THEN f ELSE 1.5 END > d", "ELSE Float64(1.5) END > typed.d"),
        ("COALESCE(d, 1.5) > d", "Float64(1.5) END > typed.d"),
        ("GREATEST(f, amount) > d", "CAST(typed.amount AS Float64)"),
        ("amount > 1.5", "typed.amount > Decimal128(1.50,10,2)"),
    ] {
        let plan = plan(&with_tables(&format!("SELECT id FROM typed WHERE {expression}")));
        assert!(plan.contains(expected), "{expression}: {plan}");
    }
}

#[test]
fn types_of_results_follow() {
    use arrow::datatypes::DataType;
    let columns = last(&with_tables(
        "SELECT f + 1.5 AS a, IF(flag, f, 1.5) AS b, f AS c FROM typed
         UNION ALL SELECT 1, 2, amount FROM typed",
    ));
    for field in columns.plan.schema().fields() {
        assert_eq!(*field.data_type(), DataType::Float64, "{}", field.name());
    }
    let fits = "CREATE TABLE floats (f FLOAT) WITH ('connector' = 'blackhole');";
    let job = last(&with_tables(&format!("{fits} INSERT INTO floats SELECT f * 2 FROM typed")));
    assert_eq!(*job.plan.schema().field(0).data_type(), DataType::Float32);
}

#[test]
fn fields_of_elements() {
    for query in [
        "SELECT items[2].n AS n FROM nested",
        "SELECT r.b.d[2] AS n FROM nested",
        "SELECT r.rows[1].n AS n FROM nested",
        "SELECT t.items[1].`n` AS n FROM nested AS t",
        "SELECT by_name['a'].n AS n FROM nested",
    ] {
        last(&format!(
            "CREATE TABLE nested (items ARRAY<ROW<n INT>>, by_name MAP<STRING, ROW<n INT>>,
             r ROW<b ROW<d ARRAY<INT>>, `rows` ARRAY<ROW<n INT>>>)
             WITH ('connector' = 'filesystem'); {query}"
        ));
    }
}

#[test]
fn errors_name_their_function() {
    for (query, message, column) in [
        ("SELECT LPAD('a', 2)", "LPAD takes 3 arguments, 2 given", 8),
        ("SELECT 1, UPPER(1, 2)", "function 'upper' expects 1 arguments but received 2", 11),
        ("SELECT 1 AS y, RAND()", "random values", 16),
        ("SELECT 1 AS x, 2 AS x", "two columns are named 'x'", 13),
        (
            "SELECT y, SUM(x) FROM (VALUES (1, 2)) AS t (x, y)",
            "column 't.y' is neither in GROUP BY",
            8,
        ),
        ("SELECT ENCODE('a', 'EBCDIC')", "unknown character set 'EBCDIC'", 21),
    ] {
        let error = error(query);
        assert!(error.message.starts_with(message), "{}", error.message);
        assert_eq!(error.location.as_ref().map(|place| place.column), Some(column), "{query}");
    }
}
