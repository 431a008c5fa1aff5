//! Sinks and watched sources from outside: what is written reads back as what was computed, part
//! files appear whole, and a job over a watched directory sees new files.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{command, difference, finish, floodmark, run_text, signal, sorted, tests_dir, write};

/// The table `orders` of `tests/sql`, by its full path.
fn orders() -> String {
    let path = tests_dir().join("sql/data/orders.jsonl");
    format!(
        "CREATE TABLE orders (order_id BIGINT, customer STRING, product STRING, qty INT,
           price DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n",
        path.display()
    )
}

fn sink(name: &str, format: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE {name} ({columns})
         WITH ('connector' = 'filesystem', 'path' = '{name}', 'format' = '{format}');\n"
    )
}

const COLUMNS: &str =
    "order_id BIGINT, customer STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3)";
const PICKED: &str = "SELECT order_id, customer, qty, price, ts FROM orders";

/// The files below `dir` that a reader would read.
fn visible(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the folder of a sink");
    let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|n| !n.starts_with(['.', '_'])).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_reads_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let expected = run_text(dir.path(), &format!("{} {PICKED};", orders()), &[]).success();
    for format in ["json", "csv", "parquet"] {
        for workers in ["1", "4"] {
            let name = format!("out_{format}_{workers}");
            let table = sink(&name, format, COLUMNS);
            let sql = format!("{}{table} INSERT INTO {name} {PICKED};", orders());
            let printed = run_text(dir.path(), &sql, &["--workers", workers]).success();
            assert_eq!(printed, "", "an INSERT prints no results");
            assert!(!visible(&dir.path().join(&name)).is_empty(), "{name} has no part files");
            let back = format!("{table} SELECT * FROM {name};");
            let back = run_text(dir.path(), &back, &[]).success();
            let difference = difference(&sorted(&expected), &sorted(&back));
            assert!(difference.is_none(), "{name}: {}", difference.unwrap_or_default());
        }
    }
}

#[test]
fn the_bytes_of_a_sink_do_not_depend_on_the_workers() {
    let bytes = |workers: &str, split: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        let table = sink("out", "json", COLUMNS);
        let sql = format!("{}{table} INSERT INTO out {PICKED};", orders());
        run_text(dir.path(), &sql, &["--workers", workers, "--set", split]).success();
        let folder = dir.path().join("out");
        let parts = visible(&folder);
        let read = |name: &String| fs::read(folder.join(name)).expect("a part file");
        let contents: Vec<u8> = parts.iter().flat_map(read).collect();
        String::from_utf8(contents).expect("JSON is UTF-8")
    };
    let one = bytes("1", "source.split_bytes=1000000");
    assert_eq!(one.lines().count(), 40);
    assert_eq!(one, bytes("2", "source.split_bytes=100"));
    assert_eq!(one, bytes("4", "source.split_bytes=999"));
}

#[test]
fn several_writers_write_the_same_parts_on_any_number_of_workers() {
    let files = |workers: &str, split: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        let table = sink("out", "json", COLUMNS);
        let table = table.replace("'format'", "'sink.parallelism' = '3', 'format'");
        let sql = format!("{}{table} INSERT INTO out {PICKED};", orders());
        run_text(dir.path(), &sql, &["--workers", workers, "--set", split]).success();
        let folder = dir.path().join("out");
        let read = |name: String| {
            let text = fs::read_to_string(folder.join(&name)).expect("a part file");
            (name, text)
        };
        visible(&folder).into_iter().map(read).collect::<Vec<_>>()
    };
    let one = files("1", "source.split_bytes=1000000");
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() >= 3, "{names:?}");
    for writer in 0..3 {
        let series = format!("part-{writer}-00000.json");
        assert!(names.contains(&series.as_str()), "no {series} among {names:?}");
    }
    assert_eq!(one.iter().map(|(_, text)| text.lines().count()).sum::<usize>(), 40);
    assert_eq!(one, files("2", "source.split_bytes=100"));
    assert_eq!(one, files("4", "source.split_bytes=999"));
}

#[test]
fn a_statement_set_fills_several_sinks_from_one_reading() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = format!(
        "{}{}{}
         EXECUTE STATEMENT SET BEGIN
           INSERT INTO cheap SELECT order_id, price FROM orders WHERE price < 30;
           INSERT INTO counted SELECT window_start, COUNT(*)
             FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
             GROUP BY window_start, window_end;
         END;",
        orders(),
        sink("cheap", "csv", "order_id BIGINT, price DECIMAL(10, 2)"),
        sink("counted", "json", "window_start TIMESTAMP(3), n BIGINT"),
    );
    let ran = run_text(dir.path(), &sql, &[]);
    assert_eq!(ran.summary_count("rows"), Some(40), "the input is read once: {}", ran.stderr);
    ran.success();
    let cheap = sink("cheap", "csv", "order_id BIGINT, price DECIMAL(10, 2)");
    let back = format!("{cheap} SELECT COUNT(*) AS n FROM cheap;");
    assert_eq!(run_text(dir.path(), &back, &[]).success(), "n\n14\n");
    let table = sink("counted", "json", "window_start TIMESTAMP(3), n BIGINT");
    let back = run_text(dir.path(), &format!("{table} SELECT * FROM counted;"), &[]).success();
    let golden = fs::read_to_string(tests_dir().join("sql/window_tumble.csv")).expect("a golden");
    let expected: Vec<String> = golden
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|fields| format!("{},{}", fields[0], fields[2]))
        .collect();
    let got: Vec<&str> = back.lines().collect();
    assert_eq!(got, expected);
}

#[test]
fn partition_columns_become_folders() {
    let dir = tempfile::tempdir().expect("a folder");
    let table = "CREATE TABLE by_product (order_id BIGINT, product STRING) PARTITIONED BY (product)
        WITH ('connector' = 'filesystem', 'path' = 'by_product', 'format' = 'csv');\n";
    let insert = "INSERT INTO by_product SELECT order_id, product FROM orders;";
    run_text(dir.path(), &format!("{}{table}{insert}", orders()), &[]).success();
    let folders = visible(&dir.path().join("by_product"));
    assert_eq!(folders, ["product=milk", "product=rice", "product=salt", "product=tea"]);
    let back = format!("{table} SELECT order_id, product FROM by_product;");
    let direct = format!("{} SELECT order_id, product FROM orders;", orders());
    let direct = run_text(dir.path(), &direct, &[]).success();
    assert_eq!(sorted(&run_text(dir.path(), &back, &[]).success()), sorted(&direct));
}

#[test]
fn print_shows_changes_as_lines() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = format!(
        "{} CREATE TABLE out (product STRING, n BIGINT) WITH ('connector' = 'print');
         INSERT INTO out SELECT product, COUNT(*) FROM orders WHERE order_id < 3 GROUP BY product;",
        orders()
    );
    assert_eq!(run_text(dir.path(), &sql, &[]).success(), "+I[tea, 1]\n+I[milk, 1]\n");
}

#[test]
fn a_sink_of_files_takes_no_updates() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = format!(
        "{}{} INSERT INTO out SELECT product, COUNT(*) FROM orders GROUP BY product;",
        orders(),
        sink("out", "csv", "product STRING, n BIGINT")
    );
    run_text(dir.path(), &sql, &[]).refused_with(&["out"]);
}

#[test]
fn a_watched_directory_is_read_as_it_grows() {
    let dir = tempfile::tempdir().expect("a folder");
    let row = |id: u32, ts: &str| format!("{{\"id\":{id},\"ts\":\"2024-03-01 00:{ts}.000\"}}\n");
    write(dir.path(), "in/a.jsonl", row(1, "00:01") + &row(2, "00:02"));
    let sql = "CREATE TABLE t (id INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'json',
              'source.monitor-interval' = '20 ms');
        SET 'idle_timeout' = '100 ms';
        SELECT id FROM t;";
    write(dir.path(), "job.sql", sql);
    let mut run = command(dir.path(), &["run", "--format", "csv", "job.sql"]);
    let out = fs::File::create(dir.path().join("out")).expect("a file");
    let child = run.stdout(Stdio::from(out)).stderr(Stdio::piped()).spawn().expect("starts");
    let printed = || fs::read_to_string(dir.path().join("out")).unwrap_or_default();
    let wait_for = |end: &str| {
        for _ in 0..1000 {
            if printed().contains(end) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    };
    // The last row of all stays open until the frontier has passed its tick.
    let first = wait_for(",1\n");
    write(dir.path(), "in/.b.jsonl", row(3, "01:00") + &row(4, "02:00"));
    fs::rename(dir.path().join("in/.b.jsonl"), dir.path().join("in/b.jsonl")).expect("a rename");
    let second = wait_for(",2\n") && wait_for(",3\n");
    signal(&child, "INT");
    let ran = finish(child);
    assert!(first, "the first file was not read: {}\n{}", printed(), ran.stderr);
    assert!(second, "the new file was not read: {}\n{}", printed(), ran.stderr);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
}

#[test]
fn a_directory_for_state_is_made_when_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "job.sql", "SELECT 1 AS one;");
    let args = ["run", "--format", "csv", "--data-dir", "kept/here", "job.sql"];
    assert_eq!(floodmark(dir.path(), &args).success(), "one\n1\n");
    assert!(dir.path().join("kept/here").is_dir());
}

#[test]
fn another_data_directory_is_another_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let table = sink("out", "json", COLUMNS);
    write(dir.path(), "job.sql", format!("{}{table} INSERT INTO out {PICKED};", orders()));
    let parts_after = |kept: &str| {
        floodmark(dir.path(), &["run", "--data-dir", kept, "job.sql"]).success();
        visible(&dir.path().join("out")).len()
    };
    let parts = parts_after("a");
    assert!(parts > 0);
    assert_eq!(parts_after("a"), parts, "a run that has ended is not written again");
    assert_eq!((parts_after("b"), parts_after("c")), (2 * parts, 3 * parts));
}

#[test]
fn two_queries_do_not_write_to_one_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = format!(
        "{}{} EXECUTE STATEMENT SET BEGIN INSERT INTO out {PICKED}; INSERT INTO out {PICKED}; END;",
        orders(),
        sink("out", "json", COLUMNS)
    );
    let ran = run_text(dir.path(), &sql, &[]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("another sink is writing to 'out'"), "{}", ran.stderr);
    assert!(ran.stderr.contains("UNION ALL"), "{}", ran.stderr);
    assert!(visible(&dir.path().join("out")).is_empty());
}
