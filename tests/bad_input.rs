//! Bad input never stops a job in silence: what cannot be decoded becomes a dead letter and is
//! counted, what cannot be read is an error that names the file.

mod common;

use std::path::Path;

use common::{Ran, run_text, tests_dir, write};

const COLUMNS: &str = "id INT, v TINYINT, s STRING";

fn table(path: &str, format: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', 'path' = '{path}', \
         'format' = '{format}');\n"
    )
}

/// Runs `query` over a file of `bytes`.
fn over(name: &str, bytes: impl AsRef<[u8]>, query: &str) -> Ran {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), name, bytes);
    let format = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or("json");
    run_text(dir.path(), &format!("{}{query}", table(name, format, COLUMNS)), &[])
}

fn assert_dead_letters(ran: Ran, expected: &str, dead_letters: u64) {
    assert_eq!(ran.stdout, expected, "standard error:\n{}", ran.stderr);
    assert_eq!(ran.summary_count("dead letter"), Some(dead_letters), "{}", ran.stderr);
    assert_eq!(ran.code(), 0);
}

#[test]
fn broken_json_in_the_middle() {
    let bytes = "{\"id\":1}\n{\"id\":2,\n{\"id\":3\"}\n{\"id\":4}\n";
    assert_dead_letters(over("t.json", bytes, "SELECT id FROM t;"), "id\n1\n4\n", 2);
}

#[test]
fn the_last_line_needs_no_newline_and_carriage_returns_are_no_data() {
    let bytes = "{\"id\":1,\"s\":\"a\"}\r\n\r\n{\"id\":2,\"s\":\"b\"}";
    assert_dead_letters(over("t.json", bytes, "SELECT id, s FROM t;"), "id,s\n1,a\n2,b\n", 0);
    let bytes = "1,2,a\r\n2,3,b";
    assert_dead_letters(over("t.csv", bytes, "SELECT id, s FROM t;"), "id,s\n1,a\n2,b\n", 0);
}

#[test]
fn a_number_out_of_range() {
    let bytes = "{\"id\":1,\"v\":127}\n{\"id\":2,\"v\":128}\n{\"id\":99999999999,\"v\":1}\n";
    assert_dead_letters(over("t.json", bytes, "SELECT id, v FROM t;"), "id,v\n1,127\n", 2);
    let bytes = "1,-128,x\n2,-129,x\n";
    assert_dead_letters(over("t.csv", bytes, "SELECT id, v FROM t;"), "id,v\n1,-128\n", 1);
}

#[test]
fn invalid_utf8() {
    let bytes =
        b"{\"id\":1,\"s\":\"ok\"}\n{\"id\":2,\"s\":\"\xff\xfe\"}\n{\"id\":3,\"s\":\"\xc3\xa9\"}\n";
    assert_dead_letters(over("t.json", bytes, "SELECT id, s FROM t;"), "id,s\n1,ok\n3,é\n", 1);
    let bytes = b"1,2,ok\n2,2,\xff\xfe\n3,2,\xc3\xa9\n";
    assert_dead_letters(over("t.csv", bytes, "SELECT id, s FROM t;"), "id,s\n1,ok\n3,é\n", 1);
}

#[test]
fn an_empty_file() {
    for name in ["t.json", "t.csv"] {
        assert_dead_letters(over(name, "", "SELECT id FROM t;"), "id\n", 0);
        assert_dead_letters(over(name, "", "SELECT COUNT(*) AS n FROM t;"), "n\n0\n", 0);
    }
    over("t.parquet", "", "SELECT id FROM t;").refused_with(&["t.parquet"]);
}

#[test]
fn a_missing_column() {
    let bytes = "1,2,x\n2,3\n3,4,y,more\n";
    assert_dead_letters(over("t.csv", bytes, "SELECT id FROM t;"), "id\n1\n", 2);
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "t.json", "{\"id\":1}\n{\"v\":2}\n");
    let strict = table("t.json", "json", "id INT NOT NULL, v INT");
    let ran = run_text(dir.path(), &format!("{strict} SELECT id, v FROM t;"), &[]);
    assert_dead_letters(ran, "id,v\n1,\n", 1);
    std::fs::copy(tests_dir().join("sql/data/orders.parquet"), dir.path().join("o.parquet"))
        .expect("a copy");
    let other = table("o.parquet", "parquet", "order_id BIGINT, colour STRING");
    run_text(dir.path(), &format!("{other} SELECT order_id, colour FROM t;"), &[])
        .refused_with(&["o.parquet", "colour"]);
}

#[test]
fn a_truncated_parquet_file() {
    let whole = std::fs::read(tests_dir().join("sql/data/orders.parquet")).expect("the file");
    let cut = whole.get(..whole.len() / 2).expect("half a file");
    over("t.parquet", cut, "SELECT id FROM t;").refused_with(&["t.parquet"]);
    over("t.parquet", "PAR1 but not really PAR1", "SELECT id FROM t;").refused_with(&["t.parquet"]);
}

#[test]
fn a_truncated_gzip_file() {
    let whole = std::fs::read(tests_dir().join("sql/data/orders.jsonl.gz")).expect("the file");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "t.jsonl.gz", whole.get(..whole.len() / 2).expect("half a file"));
    let sql = format!("{} SELECT id FROM t;", table("t.jsonl.gz", "json", COLUMNS));
    run_text(dir.path(), &sql, &[]).refused_with(&["t.jsonl.gz"]);
}

#[test]
fn no_files() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("empty")).expect("a folder");
    for path in ["empty", "empty/*.json", "absent.json"] {
        let sql = format!("{} SELECT id FROM t;", table(path, "json", COLUMNS));
        run_text(dir.path(), &sql, &[]).refused_with(&[path]);
    }
}

#[test]
fn division_by_zero_in_one_row_of_a_million() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = "CREATE TABLE numbers (id BIGINT) WITH ('connector' = 'datagen',
          'rows-per-second' = '1000000000', 'fields.id.kind' = 'sequence',
          'fields.id.start' = '1', 'fields.id.end' = '1000000');
        SELECT COUNT(*) AS n, COUNT(q) AS q, SUM(q) AS total
        FROM (SELECT 1000000000 / (id - 500000) AS q FROM numbers) AS quotients;";
    let total: i64 = (1..=1_000_000i64)
        .filter(|id| *id != 500_000)
        .map(|id| 1_000_000_000 / (id - 500_000))
        .sum();
    let ran = run_text(dir.path(), sql, &["--workers", "2"]);
    assert_dead_letters(ran, &format!("n,q,total\n999999,999999,{total}\n"), 1);
}

#[test]
fn a_timestamp_far_ahead_is_kept_in_a_bounded_file_unless_asked_otherwise() {
    let bytes = r#"{"id":1,"ts":"2024-01-01 00:00:00"}
{"id":2,"ts":"2999-01-01 00:00:00"}
{"id":3,"ts":"2024-01-01 00:00:01"}
"#;
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "t.json", bytes);
    let columns = "id INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND";
    let sql = format!(
        "{} SELECT COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) \
         GROUP BY window_start, window_end;",
        table("t.json", "json", columns)
    );
    // Without a limit the second row makes the third one late.
    let ran = run_text(dir.path(), &sql, &[]);
    assert_eq!(ran.summary_count("late"), Some(1), "{}", ran.stderr);
    assert_dead_letters(ran, "n\n1\n1\n", 0);
    // With one it is set aside, and the third row counts.
    let ran = run_text(dir.path(), &sql, &["--set", "max_future_skew=1 d"]);
    assert_eq!(ran.summary_count("late"), Some(0), "{}", ran.stderr);
    assert_dead_letters(ran, "n\n2\n", 1);
}
