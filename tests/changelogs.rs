//! Changelogs from outside: a job writes one, another reads it, and both hold the same rows,
//! whatever the format; what does not fit is counted and shown.

mod common;

use std::fs;
use std::path::Path;

use common::{difference, run_text, sorted, tests_dir, write};

/// The table `stock` of `tests/sql`, which changes.
fn stock() -> String {
    let path = tests_dir().join("sql/data/stock.debezium.jsonl");
    format!(
        "CREATE TABLE stock (id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '3' SECOND, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'debezium-json');\n",
        path.display()
    )
}

fn table(columns: &str, partitioned: &str, options: &str) -> String {
    format!(
        "CREATE TABLE out ({columns}) {partitioned}
         WITH ('connector' = 'filesystem', 'path' = 'out', {options});\n"
    )
}

const FORMATS: [&str; 4] = ["debezium-json", "canal-json", "maxwell-json", "changelog-json"];

/// Writes `query` to `table` and reads it back: the rows are those of the query.
fn round_trip(table: &str, query: &str, workers: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let expected = run_text(dir.path(), &format!("{} {query};", stock()), &[]).success();
    let insert = format!("{}{table} INSERT INTO out {query};", stock());
    run_text(dir.path(), &insert, &["--workers", workers]).success();
    for readers in ["1", "4"] {
        let read = format!("{table} SELECT * FROM out;");
        let split = ["--workers", readers, "--set", "source.split_bytes=500"];
        let back = run_text(dir.path(), &read, &split);
        assert_eq!(back.summary_count("dead letter"), Some(0), "{}", back.stderr);
        let difference = difference(&sorted(&expected), &sorted(&back.success()));
        assert!(difference.is_none(), "{table}: {}", difference.unwrap_or_default());
    }
}

const GROUPED: &str = "SELECT name, COUNT(*) AS n, SUM(qty) AS total FROM stock \
    WHERE name IS NOT NULL GROUP BY name";
const COLUMNS: &str = "name STRING, n BIGINT, total BIGINT";

#[test]
fn a_view_is_what_its_changelog_adds_up_to() {
    for format in FORMATS {
        let options = format!("'format' = '{format}'");
        for workers in ["1", "4"] {
            let keyed = format!("{COLUMNS}, PRIMARY KEY (name) NOT ENFORCED");
            round_trip(&table(&keyed, "", &options), GROUPED, workers);
            round_trip(&table(COLUMNS, "", &options), GROUPED, workers);
        }
    }
}

#[test]
fn an_upsert_changelog_needs_no_format_of_its_own() {
    for format in ["json", "csv", "parquet"] {
        let keyed = format!("{COLUMNS}, PRIMARY KEY (name) NOT ENFORCED");
        let options = format!("'format' = '{format}', 'changelog-mode' = 'upsert'");
        round_trip(&table(&keyed, "", &options), GROUPED, "2");
        // Rows that go away: nothing but their key is written.
        let less = format!("{GROUPED} HAVING COUNT(*) < 4");
        round_trip(&table(&keyed, "", &options), &less, "2");
    }
}

#[test]
fn many_parts_are_one_changelog() {
    for format in FORMATS {
        let columns = "id INT, name STRING, qty INT, ts TIMESTAMP(3),
            PRIMARY KEY (id) NOT ENFORCED";
        let options = format!(
            "'format' = '{format}', 'sink.rolling-policy.rollover-interval' = '2 s',
             'sink.rolling-policy.file-size' = '300'"
        );
        round_trip(&table(columns, "", &options), "SELECT id, name, qty, ts FROM stock", "2");
        // By event time, too: a part's first change is not before the last part's.
        let timed = format!("{columns}, WATERMARK FOR ts AS ts - INTERVAL '3' SECOND");
        round_trip(&table(&timed, "", &options), "SELECT id, name, qty, ts FROM stock", "2");
    }
}

#[test]
fn a_row_that_changes_its_folder_is_deleted_there() {
    let columns = "id INT, name STRING, qty INT";
    let by = "PARTITIONED BY (name)";
    let options = "'format' = 'changelog-json'";
    let query = "SELECT id, name, qty FROM stock WHERE name IS NOT NULL";
    round_trip(&table(columns, by, options), query, "2");
}

fn part(dir: &Path) -> String {
    fs::read_to_string(dir.join("out/part-00000.changelog-json")).expect("the part")
}

#[test]
fn the_halves_of_an_update_follow_one_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let keyed = format!("{COLUMNS}, PRIMARY KEY (name) NOT ENFORCED");
    let table = table(&keyed, "", "'format' = 'changelog-json'");
    let sql = format!("{}{table} INSERT INTO out {GROUPED};", stock());
    run_text(dir.path(), &sql, &["--workers", "1"]).success();
    let one = part(dir.path());
    let lines: Vec<&str> = one.lines().collect();
    let name = |line: &str| line.split(',').next().map(str::to_owned);
    let mut updates = 0;
    for pair in lines.windows(2) {
        if pair[0].ends_with("\"op\":\"-U\"}") {
            assert!(pair[1].ends_with("\"op\":\"+U\"}"), "{pair:?}");
            assert_eq!(name(pair[0]), name(pair[1]));
            updates += 1;
        }
    }
    assert!(updates > 20, "{one}");
    let other = tempfile::tempdir().expect("a folder");
    run_text(other.path(), &sql, &["--workers", "4", "--set", "source.split_bytes=300"]).success();
    assert_eq!(part(other.path()), one, "the bytes do not depend on the workers");
}

#[test]
fn what_does_not_fit_is_counted_and_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = r#"{"op":"+U","data":{"id":1,"v":"put"}}
{"op":"+I","data":{"id":2,"v":"first"}}
{"op":"+I","data":{"id":2,"v":"second"}}
{"op":"-D","data":{"id":3}}
{"op":"-D","data":{"id":2}}
{"op":"+I","data":{"v":"no key"}}
"#;
    write(dir.path(), "log.jsonl", log);
    let keyed = "CREATE TABLE t (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'filesystem', 'path' = 'log.jsonl', 'format' = 'changelog-json');";
    let ran = run_text(dir.path(), &format!("{keyed} SELECT * FROM t;"), &[]);
    assert_eq!(ran.stdout, "id,v\n1,put\n");
    for line in [
        "1 updates of rows that were not there (put in)",
        "1 deletions of rows that were not there (ignored)",
        "1 insertions of rows that were there (replaced)",
        "dead letter: t log.jsonl at 119: the deletion of a row that is not there",
        "data: field 'id' is missing and NOT NULL",
    ] {
        assert!(ran.stderr.contains(line), "{line}\n{}", ran.stderr);
    }
    assert_eq!(ran.summary_count("dead letter"), Some(2), "{}", ran.stderr);
    // Without a key changes are applied as they are: what was never put in is owed.
    let plain = keyed.replace(", PRIMARY KEY (id) NOT ENFORCED", "");
    let ran = run_text(dir.path(), &format!("{plain} SELECT * FROM t;"), &[]);
    assert_eq!(ran.stdout, "id,v\n,no key\n1,put\n2,first\n2,second\n");
    assert!(ran.stderr.contains("2 deletions of rows that were not there"), "{}", ran.stderr);
}

#[test]
fn without_event_time_files_are_one_sequence_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().expect("a folder");
    for file in 0..9 {
        let line = |n: i64| format!("{{\"op\":\"+U\",\"data\":{{\"id\":{},\"v\":{n}}}}}\n", n % 7);
        let lines: String = (file * 100..(file + 1) * 100).map(line).collect();
        write(dir.path(), &format!("in/{file}.jsonl"), lines);
    }
    write(dir.path(), "in/9.jsonl", "{\"op\":\"-D\",\"data\":{\"id\":3}}\n");
    let sql = "CREATE TABLE t (id INT, v BIGINT, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'changelog-json');
        SELECT * FROM t;";
    for workers in ["1", "2", "4"] {
        for split in ["source.split_bytes=64", "source.split_bytes=100000"] {
            let args = ["--workers", workers, "--set", split, "--set", "source.rows_in_flight=10"];
            let printed = run_text(dir.path(), sql, &args).success();
            assert_eq!(printed, "id,v\n0,896\n1,897\n2,898\n4,893\n5,894\n6,895\n");
        }
    }
}

#[test]
fn a_sink_that_takes_rows_alone_names_what_updates() {
    let dir = tempfile::tempdir().expect("a folder");
    for (format, parts) in [
        ("'json'", ["job.sql:6:", "sink out takes insertions only", "ChangelogNormalize(key=[id]"]),
        ("'json', 'changelog-mode' = 'upsert'", ["job.sql:", "'changelog-mode'", "PRIMARY KEY"]),
        (
            "'canal-json', 'changelog-mode' = 'upsert'",
            ["job.sql:", "'changelog-mode'", "remove it"],
        ),
        ("'json', 'changelog-mode' = 'all'", ["job.sql:", "'changelog-mode'", "'upsert'"]),
        (
            "'debezium-json', 'debezium-json.schema-include' = 'true'",
            ["out", "schema", "remove it"],
        ),
    ] {
        let table = table(COLUMNS, "", &format!("'format' = {format}"));
        let sql = format!("{}{table} INSERT INTO out {GROUPED};", stock());
        run_text(dir.path(), &sql, &[]).refused_with(&parts);
    }
    let append =
        stock().replace("debezium-json", "json").replace(", PRIMARY KEY (id) NOT ENFORCED", "");
    let sql =
        format!("{append}{} INSERT INTO out {GROUPED};", table(COLUMNS, "", "'format' = 'csv'"));
    run_text(dir.path(), &sql, &[]).refused_with(&["job.sql:6:", "GroupAggregate(groupBy=[name]"]);
    let shared = table(
        "name STRING, id INT, PRIMARY KEY (name) NOT ENFORCED",
        "",
        "'format' = 'changelog-json'",
    );
    let sql = format!("{}{shared} INSERT INTO out SELECT name, id FROM stock;", stock());
    let parts = ["job.sql:6:", "primary key (name)", "ChangelogNormalize", "ROW_NUMBER()"];
    run_text(dir.path(), &sql, &[]).refused_with(&parts);
    let keyed = "id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED";
    let table = table(keyed, "PARTITIONED BY (name)", "'format' = 'changelog-json'");
    let sql = format!("{}{table} INSERT INTO out SELECT id, name FROM stock;", stock());
    run_text(dir.path(), &sql, &[])
        .refused_with(&["job.sql:4:1", "'name' is not in the PRIMARY KEY"]);
}
