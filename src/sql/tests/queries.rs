//! Queries beyond the benchmark's: window functions, expressions, optimisation.

use arrow::datatypes::DataType;

use super::super::types::type_name;
use super::{job, last, plan, with_tables};

#[test]
fn window_functions() {
    for (call, window) in [
        (
            "TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' MINUTE, INTERVAL '-10' SECOND)",
            "TUMBLE(size=60000 ms, offset=50000 ms)",
        ),
        (
            "HOP(DATA => TABLE bid, TIMECOL => DESCRIPTOR(dateTime), SLIDE => INTERVAL '3' SECOND, \
             SIZE => INTERVAL '10' SECONDS)",
            "HOP(size=10000 ms, slide=3000 ms)",
        ),
        (
            "CUMULATE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' MINUTES, \
             INTERVAL '10' MINUTES)",
            "CUMULATE(size=600000 ms, step=120000 ms)",
        ),
        (
            "SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(dateTime), INTERVAL '5' MINUTE)",
            "SESSION(gap=300000 ms)",
        ),
        (
            "SESSION(TABLE bid PARTITION BY (bidder, auction), DESCRIPTOR(dateTime), \
             INTERVAL '1:30' MINUTE TO SECOND)",
            "SESSION(gap=90000 ms)",
        ),
        (
            "TUMBLE((SELECT auction, dateTime AS t FROM bid), DESCRIPTOR(t), INTERVAL '1' DAY)",
            "TUMBLE(size=86400000 ms)",
        ),
        (
            "TUMBLE(TABLE (SELECT auction, dateTime FROM bid), DESCRIPTOR(dateTime), \
             INTERVAL '1' DAY)",
            "TUMBLE(size=86400000 ms)",
        ),
        ("TUMBLE(TABLE cheap, DESCRIPTOR(dateTime), INTERVAL '1' HOUR)", "TUMBLE(size=3600000 ms)"),
    ] {
        for from in [format!("TABLE({call})"), call.to_string()] {
            let plan = plan(&with_tables(&format!(
                "CREATE VIEW cheap AS SELECT * FROM bid WHERE price < 10;
                 SELECT window_start, window_end, window_time, COUNT(*) AS n FROM {from} AS w
                 GROUP BY window_start, window_end, window_time"
            )));
            assert!(plan.contains(&format!("Window: {window} on")), "{plan}");
        }
    }
}

#[test]
fn session_keys_are_known() {
    let plan = plan(&with_tables(
        "SELECT bidder, auction, window_start FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, \
         auction, DESCRIPTOR(dateTime), INTERVAL '5' MINUTE))",
    ));
    assert!(plan.contains("partition by bid.bidder, bid.auction"), "{plan}");
    assert!(!plan.contains("Repartition"), "{plan}");
}

#[test]
fn filters_go_below_windows() {
    let below = |plan: &str, filter: &str| {
        let (above, below) = plan.split_once("Window:").unwrap();
        match (above.contains(filter), below.contains(filter)) {
            (false, true) => true,
            (true, false) => false,
            _ => panic!("{plan}"),
        }
    };
    let tumble = |filter: &str| {
        plan(&with_tables(&format!(
            "SELECT auction FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), \
             INTERVAL '1' MINUTE)) WHERE {filter}"
        )))
    };
    let session = |filter: &str| {
        plan(&with_tables(&format!(
            "SELECT auction FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, \
             DESCRIPTOR(dateTime), INTERVAL '1' MINUTE)) WHERE {filter}"
        )))
    };
    assert!(below(&tumble("price > 7"), "bid.price >"));
    assert!(!below(&tumble("window_start > TIMESTAMP '2020-01-01 00:00:00'"), "window_start >"));
    assert!(!below(&session("price > 7"), "bid.price >"));
    assert!(below(&session("bidder > 7"), "bid.bidder >"));
}

#[test]
fn nested_windows_get_other_names() {
    let output = last(&with_tables(
        "CREATE VIEW w AS SELECT auction, window_start, window_time AS rowtime, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' MINUTE))
         GROUP BY auction, window_start, window_end, window_time;
         SELECT * FROM TABLE(TUMBLE(TABLE w, DESCRIPTOR(rowtime), INTERVAL '1' HOUR))",
    ));
    let schema = output.plan.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names[4..], ["window_start0", "window_end", "window_time"]);
}

/// Expressions and the type that each has.
#[test]
fn expressions() {
    for (expr, data_type) in [
        ("CAST(id AS STRING)", "STRING"),
        ("CAST(name AS VARCHAR(3))", "STRING"),
        ("CAST(name AS CHAR(3))", "STRING"),
        ("TRY_CAST(name AS INT)", "INT"),
        ("CAST(name AS TIMESTAMP(3))", "TIMESTAMP(3)"),
        ("CAST(ts AS TIMESTAMP(0))", "TIMESTAMP(0)"),
        ("CAST(name AS BYTES)", "BYTES"),
        ("CAST(id AS DECIMAL(12, 2))", "DECIMAL(12, 2)"),
        ("CAST(NULL AS ROW<a INT, b STRING>)", "ROW<a INT, b STRING>"),
        ("TIMESTAMP '2020-01-01 00:00:00'", "TIMESTAMP(3)"),
        ("TIMESTAMP '2020-01-01 00:00:00.123456'", "TIMESTAMP(6)"),
        ("DATE '2020-01-01'", "DATE"),
        ("ts + INTERVAL '5' MINUTE", "TIMESTAMP(6)"),
        ("ts + INTERVAL '1 02:03' DAY TO MINUTE", "TIMESTAMP(6)"),
        ("name IS NOT DISTINCT FROM 'x'", "BOOLEAN"),
        ("name LIKE 'a%' AND name NOT LIKE '%b'", "BOOLEAN"),
        ("name SIMILAR TO 'a|b'", "BOOLEAN"),
        ("EXTRACT(HOUR FROM ts) > 5", "BOOLEAN"),
        ("PROCTIME()", "TIMESTAMP(3)"),
        ("NOW()", "TIMESTAMP(3)"),
        ("CURRENT_TIMESTAMP", "TIMESTAMP(3)"),
        ("LOCALTIMESTAMP", "TIMESTAMP(3)"),
        ("CURRENT_DATE", "DATE"),
        ("place.city", "STRING"),
        ("typed.place.city", "STRING"),
        ("place.at.x", "INT"),
        ("tags[1]", "STRING"),
        ("attributes['k']", "INT"),
        ("ARRAY[1, 2, 3]", "ARRAY<BIGINT>"),
        ("MAP['a', 1, 'b', 2]", "MAP<STRING, BIGINT>"),
        ("ROW(id, name)", "ROW<c0 INT, c1 STRING>"),
        ("MOD(id, 7)", "BIGINT"),
        ("CASE WHEN flag THEN 'yes' ELSE 'no' END", "STRING"),
        ("1.5 * amount", "DECIMAL(13, 3)"),
        ("1e3", "DOUBLE"),
        ("POSITION('a' IN name)", "INT"),
        ("SUBSTRING(name FROM 2 FOR 3)", "STRING"),
        ("TRIM(BOTH 'x' FROM name)", "STRING"),
        ("name || '!'", "STRING"),
        ("FLOOR(d)", "DOUBLE"),
    ] {
        let output = last(&with_tables(&format!("SELECT {expr} AS x FROM typed")));
        let found = output.plan.schema().field(0).data_type().clone();
        assert_eq!(type_name(&found), data_type, "{expr}");
        assert!(!matches!(found, DataType::Utf8 | DataType::LargeUtf8), "{expr}: {found}");
    }
}

#[test]
fn time_functions_are_not_folded() {
    let plan =
        plan(&with_tables("SELECT CURRENT_DATE AS d, price FROM bid WHERE NOW() > dateTime"));
    assert_eq!(plan.matches("now()").count(), 2, "{plan}");
}

#[test]
fn queries_bind() {
    for query in [
        "SELECT channel, COUNT(DISTINCT bidder) FILTER (WHERE price > 5) AS n FROM bid \
         GROUP BY channel",
        "SELECT channel, auction, SUM(price) AS s FROM bid \
         GROUP BY GROUPING SETS ((channel), (auction), ())",
        "SELECT channel, auction, SUM(price) AS s FROM bid GROUP BY ROLLUP (channel, auction)",
        "SELECT channel, auction, SUM(price) AS s FROM bid GROUP BY CUBE (channel, auction)",
        "SELECT DISTINCT channel FROM bid",
        "SELECT channel FROM bid UNION ALL SELECT name FROM typed",
        "SELECT price FROM bid WHERE auction IN (SELECT id FROM typed)",
        "SELECT price FROM bid b WHERE NOT EXISTS (SELECT 1 FROM typed t WHERE t.id = b.auction)",
        "SELECT a.price FROM bid a LEFT JOIN typed t ON a.auction = t.id",
        "SELECT a.price FROM bid a, typed t WHERE a.auction = t.id",
        "SELECT COUNT(*) AS n FROM bid",
        "SELECT bidder, STDDEV(price) AS s, VAR_POP(price) AS v FROM bid GROUP BY bidder \
         HAVING COUNT(*) > 1",
        "SELECT `bidder`, \"price\" FROM bid WHERE channel <> 'x' AND price BETWEEN 1 AND 2",
        "SELECT tag FROM typed CROSS JOIN UNNEST(tags) AS t (tag)",
    ] {
        job(&with_tables(query));
    }
}

#[test]
fn distinct_aggregates_stay() {
    let plan = plan(&with_tables("SELECT COUNT(DISTINCT bidder) AS n FROM bid"));
    assert!(plan.contains("count(DISTINCT bid.bidder)"), "{plan}");
    assert_eq!(plan.matches("Aggregate").count(), 1, "{plan}");
}

#[test]
fn computed_columns_are_computed_above_the_scan() {
    let tables = "CREATE TABLE t (a INT, b AS a * 2, c AS b + 1, d STRING) WITH ('k' = 'v');";
    let plan = plan(&format!("{tables} SELECT c FROM t"));
    assert!(plan.contains("TableScan: t projection=[a]"), "{plan}");
}

#[test]
fn unnamed_columns_get_flinks_names() {
    let output = last(&with_tables(
        "SELECT id, id + 1, place.city, typed.place.at.x, id, COUNT(*) OVER (), NULL, NULL \
         FROM typed",
    ));
    let fields = output.plan.schema().fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "EXPR$1", "city", "x", "id0", "EXPR$5", "EXPR$6", "EXPR$7"]);
    job(&with_tables("SELECT city, EXPR$1 FROM (SELECT place.city, id + 1 FROM typed) AS q"));
    job(&with_tables(
        "CREATE VIEW v AS SELECT a.id, b.id FROM typed a JOIN typed b ON a.id = b.id",
    ));
}

#[test]
fn lone_rollups_and_cubes_are_listed() {
    for (keys, sets) in [
        ("ROLLUP (bidder, auction)", "((bid.bidder, bid.auction), (bid.bidder))"),
        ("CUBE (bidder, auction)", "((bid.bidder, bid.auction), (bid.auction), (bid.bidder))"),
    ] {
        let plan = plan(&with_tables(&format!(
            "SELECT bidder, GROUPING_ID(bidder, auction) AS g FROM bid GROUP BY {keys}"
        )));
        assert!(plan.contains(&format!("groupBy=[[GROUPING SETS {sets}]]")), "{plan}");
        // The total has a row over nothing too, and here nothing in it depends on rows.
        assert!(plan.contains("EmptyRelation: rows=1"), "{plan}");
    }
}

#[test]
fn outputs_know_their_place() {
    let output = last(&with_tables("SELECT 1 AS one;\n  SELECT bidder FROM bid"));
    assert_eq!(output.place.map(|place| place.column), Some(3));
}

#[test]
fn not_null_columns_are_checked_where_the_query_may_have_null() {
    let sink = "CREATE TABLE out (id INT NOT NULL, name STRING NOT NULL)
                WITH ('connector' = 'blackhole');";
    let plan = plan(&with_tables(&format!("{sink} INSERT INTO out SELECT id, name FROM typed")));
    assert!(plan.contains("not_null(typed.name, Utf8View(\"name\"))"), "{plan}");
    assert!(!plan.contains("not_null(typed.id"), "{plan}");
}
