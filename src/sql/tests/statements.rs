//! Each kind of statement.

use super::super::bind::BoundTarget;
use super::super::catalog::ColumnKind;
use super::super::script::{StatementKind, parse_script};
use super::{TABLES, bound, job, last, plan, with_tables};
use crate::sql::bind::bind;

#[test]
fn create_table_with_everything() {
    let job = job("
        /* a table */ CREATE TEMPORARY TABLE IF NOT EXISTS t (
          id BIGINT NOT NULL COMMENT 'the id', -- physical
          `file name` STRING METADATA FROM 'file.path' VIRTUAL,
          offset_ BIGINT METADATA,
          raw STRING,
          ts AS TO_TIMESTAMP(raw),
          later AS ts + INTERVAL '1' HOUR,
          WATERMARK FOR ts AS ts - INTERVAL '0.5' SECOND,
          CONSTRAINT pk PRIMARY KEY (id) NOT ENFORCED
        ) COMMENT 'all of it' PARTITIONED BY (id) WITH ('connector' = 'filesystem', 'a.b' = 'c''d');
    ");
    let table = &job.tables["t"];
    let def = &table.def;
    assert_eq!(def.primary_key, ["id"]);
    assert_eq!(def.partitioned_by, ["id"]);
    assert_eq!(def.options["a.b"], "c'd");
    assert_eq!(def.columns.len(), 6);
    assert!(!def.columns[0].nullable);
    assert!(matches!(&def.columns[1].kind,
        ColumnKind::Metadata { key, is_virtual: true } if key == "file.path"));
    assert!(matches!(&def.columns[2].kind,
        ColumnKind::Metadata { key, is_virtual: false } if key == "offset_"));
    assert_eq!(def.stored_schema().fields().len(), 4);
    assert_eq!(def.sink_schema().fields().len(), 3);
    let watermark = table.watermark.as_ref().unwrap();
    assert_eq!(watermark.column, "ts");
    assert!(watermark.time.to_string().contains("to_timestamp(raw"), "{}", watermark.time);
    let later = &table.computed[1];
    assert!(later.1.to_string().contains("to_timestamp(raw"), "{}", later.1);
}

#[test]
fn primary_key_inline() {
    let job = job("CREATE TABLE t (id BIGINT PRIMARY KEY NOT ENFORCED, x INT) WITH ('a' = 'b')");
    assert_eq!(job.tables["t"].def.primary_key, ["id"]);
}

#[test]
fn statements_in_order() {
    let text = with_tables(
        ";; SET 'time_resolution' = '1 s';
        SET allowed_lateness = 5 s;
        CREATE VIEW cheap (a, p) COMMENT 'x' AS SELECT auction, price FROM bid WHERE price < 10;
        CREATE TABLE out (a BIGINT, p BIGINT) WITH ('connector' = 'blackhole');
        CREATE MATERIALIZED VIEW per_auction AS SELECT a, COUNT(*) AS n FROM cheap GROUP BY a;
        EXECUTE STATEMENT SET BEGIN
          INSERT INTO out SELECT * FROM cheap;
          INSERT INTO out (p, a) SELECT p, a FROM cheap;
        END;
        BEGIN STATEMENT SET; INSERT INTO out SELECT a, n FROM per_auction; END;
        EXPLAIN PLAN FOR SELECT * FROM per_auction;
        EXPLAIN INSERT INTO out SELECT * FROM cheap;
        SELECT * FROM per_auction$late;
        SELECT * FROM floodmark.dead_letters;
        VALUES (1, 'a'), (2, 'b');
        WITH w AS (SELECT a FROM cheap) SELECT * FROM w",
    );
    let job = job(&text);
    assert_eq!(job.explains.len(), 2);
    let targets: Vec<&str> = job
        .outputs
        .iter()
        .map(|output| match &output.target {
            BoundTarget::View(_) => "view",
            BoundTarget::Sink(_) => "sink",
            BoundTarget::Print { .. } => "print",
        })
        .collect();
    let expected = ["view", "sink", "sink", "sink", "print", "print", "print", "print"];
    assert_eq!(targets, expected);
    let settings = &job.outputs[0].settings;
    assert_eq!((settings.time_resolution.tick_ms(), settings.allowed_lateness), (1000, 5000));
    assert!(job.outputs[1].text.starts_with("INSERT INTO out SELECT"), "{}", job.outputs[1].text);
}

#[test]
fn overrides_win() {
    let script = parse_script("f", "SET 'max_drift' = '1 s'; SELECT 1 AS one").unwrap();
    let overrides = [("max_drift".to_string(), "7 s".to_string())];
    let job = bind(&[script], &overrides).unwrap();
    assert_eq!(job.outputs[0].settings.max_drift, 7000);
    assert!(bind(&[], &[("max_drift".to_string(), "x".to_string())]).is_err());
}

#[test]
fn scripts_share_names() {
    let first = parse_script("a.sql", TABLES).unwrap();
    let second = parse_script("b.sql", "SELECT auction FROM bid").unwrap();
    assert_eq!(bind(&[first, second], &[]).unwrap().outputs.len(), 1);
}

#[test]
fn order_and_limit_of_a_printed_query() {
    let output = last(&with_tables(
        "SELECT auction FROM bid ORDER BY price DESC, auction + 1 LIMIT 10 OFFSET 2",
    ));
    let BoundTarget::Print { order_by, skip, fetch, columns } = &output.target else {
        panic!("not printed");
    };
    assert_eq!((order_by.len(), *skip, *fetch, *columns), (2, 2, Some(10), 1));
    assert!(output.plan.schema().fields().len() >= 2);
    for key in order_by {
        let datafusion::logical_expr::Expr::Column(column) = &key.expr else {
            panic!("{key} is no column")
        };
        assert!(output.plan.schema().maybe_index_of_column(column).is_some(), "{column}");
    }
    let text = output.plan.display_indent().to_string();
    assert!(!text.contains("Sort") && !text.contains("Limit"), "{text}");
}

#[test]
fn order_elsewhere_needs_a_limit() {
    let view = |query: &str| plan(&with_tables(&format!("CREATE MATERIALIZED VIEW v AS {query}")));
    assert!(!view("SELECT price FROM bid ORDER BY price").contains("Sort"));
    assert!(view("SELECT price FROM bid ORDER BY price LIMIT 3").contains("Sort"));
}

#[test]
fn fetch_first_is_a_limit() {
    let output = last(&with_tables("SELECT price FROM bid FETCH FIRST 3 ROWS ONLY"));
    assert!(matches!(output.target, BoundTarget::Print { fetch: Some(3), .. }));
}

#[test]
fn inserts_adapt_types() {
    let tables = with_tables(
        "CREATE TABLE s (a INT, b DOUBLE, c STRING, d ROW<p INT, q STRING>, e TIMESTAMP(3)) \
         WITH ('connector' = 'print');",
    );
    for (query, fits) in [
        ("SELECT id, f, name, ROW(1, 'x'), ts FROM typed", true),
        ("VALUES (1, 2.5, 'c', ROW(1, 'x'), TIMESTAMP '2020-01-01 00:00:00')", true),
        ("SELECT id + 1, 1, NULL, NULL, ltz FROM typed", true),
        ("SELECT small, amount, name, NULL, ts FROM typed", true),
        ("SELECT auction, 1, 'x', NULL, NULL FROM bid", false),
        ("SELECT name, 1, 'x', NULL, NULL FROM typed", false),
        ("SELECT id, 1, 2, NULL, NULL FROM typed", false),
        ("SELECT id FROM typed", false),
    ] {
        let text = format!("{tables} INSERT INTO s {query}");
        let result = bound(&text);
        assert_eq!(result.is_ok(), fits, "{query}: {:?}", result.err());
        if let Ok(job) = result {
            let BoundTarget::Sink(def) = &job.outputs[0].target else { panic!("no sink") };
            let schema = job.outputs[0].plan.schema().inner().clone();
            for (field, wanted) in schema.fields().iter().zip(def.sink_schema().fields()) {
                assert_eq!(field.name(), wanted.name(), "{query}");
                assert_eq!(field.data_type(), wanted.data_type(), "{query}");
            }
        }
    }
}

#[test]
fn unlisted_columns_are_null() {
    let text = with_tables("INSERT INTO bid (price, auction) SELECT price, auction FROM bid");
    let plan = plan(&text);
    assert!(plan.contains("NULL"), "{plan}");
}

#[test]
fn statement_texts_are_exact() {
    let script = parse_script("f", "SELECT 1;\n -- x\n SELECT 'ü', 2 ;SET 'a'='b'").unwrap();
    let texts: Vec<&str> = script.statements.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 1", "SELECT 'ü', 2", "SET 'a'='b'"]);
    assert!(matches!(script.statements[2].kind, StatementKind::Set { .. }));
}
