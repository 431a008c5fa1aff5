//! The command line from outside: exit codes, what goes to which stream, the summary, changelogs,
//! explain, generate, Ctrl-C.

mod common;

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{command, finish, floodmark, run_text, signal, tests_dir, write};

const ORDERS: &str = "CREATE TABLE orders (id INT, who STRING, price DECIMAL(10, 2),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'orders.jsonl', 'format' = 'json');\n";

const ORDERS_ROWS: &str = r#"{"id":1,"who":"ann","price":1.50,"ts":"2024-03-01 00:00:01.000"}
{"id":2,"who":"b, \"ob\"","price":null,"ts":"2024-03-01 00:00:02.000"}
{"id":3,"who":"ann","price":2.25,"ts":"2024-03-01 00:00:12.000"}
{"id":4,"who":null,"price":4.00,"ts":"2024-03-01 00:00:03.000"}
"#;

fn orders() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "orders.jsonl", ORDERS_ROWS);
    dir
}

#[test]
fn help_and_version_succeed() {
    let dir = tests_dir();
    for args in [["--help"].as_slice(), &["--version"], &["run", "--help"], &["serve", "--help"]] {
        let out = floodmark(&dir, args).success();
        assert!(!out.is_empty(), "{args:?} says nothing");
    }
    let help = floodmark(&dir, &["--help"]).success();
    for name in ["run", "explain", "generate", "serve"] {
        assert!(help.contains(name), "--help does not name {name}");
    }
}

#[test]
fn wrong_arguments_are_refused_with_the_usage() {
    let dir = tests_dir();
    for (args, said) in [
        (["runn", "x.sql"].as_slice(), "run"),
        (&["run", "--wrokers", "2", "x.sql"], "--workers"),
        (&["run", "--workers", "none", "x.sql"], "none"),
        (&["run", "--format", "xml", "x.sql"], "csv"),
        (&["run"], "FILE"),
        (&["generate", "nothing", "--events", "1", "--out", "x"], "nexmark"),
    ] {
        let ran = floodmark(&dir, args);
        assert!(ran.code() > 0, "{args:?} was accepted");
        assert!(ran.stderr.contains(said), "{args:?}: no '{said}' in {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?} printed results");
    }
}

#[test]
fn results_go_to_standard_output_and_the_summary_to_standard_error() {
    let dir = orders();
    let ran =
        run_text(dir.path(), &format!("{ORDERS} SELECT id, who, price, ts FROM orders;"), &[]);
    let expected = "id,who,price,ts
1,ann,1.50,2024-03-01 00:00:01.000
2,\"b, \"\"ob\"\"\",,2024-03-01 00:00:02.000
3,ann,2.25,2024-03-01 00:00:12.000
4,,4.00,2024-03-01 00:00:03.000
";
    assert_eq!(ran.stdout, expected, "standard error: {}", ran.stderr);
    assert_eq!(ran.summary_count("rows"), Some(4), "summary: {}", ran.stderr);
    assert_eq!(ran.summary_count("late"), Some(0), "summary: {}", ran.stderr);
    assert_eq!(ran.summary_count("dead letter"), Some(0), "summary: {}", ran.stderr);
    assert_eq!(ran.code(), 0);
}

#[test]
fn the_summary_counts_late_rows_and_dead_letters() {
    let dir = orders();
    let rows = format!("{ORDERS_ROWS}no json\n");
    write(dir.path(), "orders.jsonl", rows);
    let sql = format!(
        "{ORDERS} SELECT window_start, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '5' SECOND))
         GROUP BY window_start, window_end;"
    );
    let ran = run_text(dir.path(), &sql, &[]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    // id 4, at 3 s, comes after 12 s with a delay of 1 s.
    assert_eq!(ran.summary_count("late"), Some(1), "summary: {}", ran.stderr);
    assert_eq!(ran.summary_count("dead letter"), Some(1), "summary: {}", ran.stderr);
}

#[test]
fn json_output_has_one_object_a_line() {
    let dir = orders();
    write(dir.path(), "job.sql", format!("{ORDERS} SELECT id, who, price, ts FROM orders;"));
    let out = floodmark(dir.path(), &["run", "--format", "json", "job.sql"]).success();
    let rows: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["id"], 1);
    assert_eq!(rows[1]["who"], "b, \"ob\"");
    assert!(rows[1]["price"].is_null());
    assert_eq!(rows[0]["ts"], "2024-03-01 00:00:01.000");
}

#[test]
fn table_output_shows_names_values_and_null() {
    let dir = orders();
    write(dir.path(), "job.sql", format!("{ORDERS} SELECT id, who AS customer FROM orders;"));
    let out = floodmark(dir.path(), &["run", "--format", "table", "job.sql"]).success();
    for part in ["customer", "ann", "b, \"ob\"", "NULL"] {
        assert!(out.contains(part), "no '{part}' in\n{out}");
    }
}

#[test]
fn changelog_prints_operations_with_their_times() {
    let dir = orders();
    let sql =
        format!("{ORDERS} SELECT who, COUNT(*) AS n FROM orders WHERE who = 'ann' GROUP BY who;");
    let out = run_text(dir.path(), &sql, &["--changelog"]).success();
    let expected = "op,time,who,n
+I,2024-03-01 00:00:01.000,ann,1
-U,2024-03-01 00:00:12.000,ann,1
+U,2024-03-01 00:00:12.000,ann,2
";
    assert_eq!(out, expected);
}

#[test]
fn changelog_as_a_table_has_the_same_times() {
    let dir = orders();
    let sql = format!(
        "{ORDERS} SELECT id, ts, CAST(ts AS TIMESTAMP_LTZ(3)) AS moment FROM orders WHERE id = 1;"
    );
    write(dir.path(), "job.sql", sql);
    let arguments = ["run", "--changelog", "--format", "table", "job.sql"];
    let out = floodmark(dir.path(), &arguments).success();
    let time = "2024-03-01 00:00:01.000";
    assert_eq!(out, format!("op | time | id | ts | moment\n+I | {time} | 1 | {time} | {time}\n"));
}

#[test]
fn hints_without_effect_are_named_on_standard_error() {
    let dir = orders();
    let sql = format!(
        "{ORDERS} SELECT /*+ BROADCAST(orders), STATE_TTL('orders' = '1d') */ COUNT(*) AS n \
         FROM orders;"
    );
    let done = run_text(dir.path(), &sql, &[]);
    for hint in ["BROADCAST", "STATE_TTL"] {
        let line = format!("warning: the hint {hint} at job.sql:");
        assert!(done.stderr.contains(&line), "no '{line}' in\n{}", done.stderr);
    }
    assert_eq!(done.success(), "n\n4\n");
}

#[test]
fn explain_shows_no_exchange_to_where_the_rows_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (id BIGINT, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH \
             ('connector' = 'filesystem', 'path' = '{name}', 'format' = 'csv', \
             'changelog-mode' = 'upsert');\n"
        )
    };
    let query = "SELECT a.id, b.v FROM a JOIN b ON a.id = b.id;";
    write(dir.path(), "job.sql", table("a") + &table("b") + query);
    let plan = floodmark(dir.path(), &["explain", "job.sql"]).success();
    assert_eq!(plan.matches("ChangelogNormalize").count(), 2, "{plan}");
    assert_eq!(plan.matches("Exchange").count(), 2, "one for each input would do:\n{plan}");
}

#[test]
fn explain_shows_the_exchange_of_each_input_and_on_how_many_workers() {
    let dir = orders();
    let tables = ORDERS.replace("'connector'", "'scan.rebalance' = 'true', 'connector'");
    let lookup = "CREATE TABLE names (who STRING, name STRING) WITH ('connector' = 'filesystem', \
                  'path' = 'names.csv', 'format' = 'csv');\n";
    write(dir.path(), "names.csv", "ann,Ann\n");
    let plan = |query: &str| {
        write(dir.path(), "job.sql", format!("{tables}{lookup}{query}"));
        floodmark(dir.path(), &["explain", "job.sql"]).success()
    };
    let counted = |hints: &str| {
        plan(&format!(
            "SELECT {hints} UPPER(who) AS who, COUNT(*) FROM orders GROUP BY UPPER(who);"
        ))
    };
    let plain = counted("");
    assert!(plain.contains("Exchange(hash[upper(orders.who)])"), "{plain}");
    assert!(plain.contains("parallelism=workers exchange=hash"), "{plain}");
    assert!(plain.contains("Exchange(rebalance)"), "{plain}");
    let hinted = counted("/*+ PARALLELISM(2) */");
    assert!(hinted.contains("Exchange(hash[upper(orders.who)], parallelism=2)"), "{hinted}");
    assert!(hinted.contains("parallelism=2 exchange=hash"), "{hinted}");
    let join = |hints: &str| {
        plan(&format!(
            "SELECT {hints} o.who, n.name FROM orders AS o JOIN names AS n ON o.who = n.who;"
        ))
    };
    assert!(join("").contains("exchange=hash,hash"), "{}", join(""));
    let broadcast = join("/*+ BROADCAST(n) */");
    assert!(broadcast.contains("exchange=forward,broadcast"), "{broadcast}");
    assert!(broadcast.contains("Exchange(broadcast)"), "{broadcast}");
}

#[test]
fn several_files_are_one_script() {
    let dir = orders();
    write(dir.path(), "a.sql", ORDERS);
    write(dir.path(), "b.sql", "SELECT COUNT(*) AS n FROM orders;");
    let out = floodmark(dir.path(), &["run", "--format", "csv", "a.sql", "b.sql"]).success();
    assert_eq!(out, "n\n4\n");
    floodmark(dir.path(), &["run", "a.sql", "absent.sql"]).refused_with(&["absent.sql"]);
}

#[test]
fn settings_come_from_arguments_too() {
    let dir = orders();
    let sql = format!("{ORDERS} SELECT COUNT(*) AS n FROM orders;");
    let set = ["--set", "time_resolution=1 s", "--set", "source.split_bytes=64"];
    assert_eq!(run_text(dir.path(), &sql, &set).success(), "n\n4\n");
    run_text(dir.path(), &sql, &["--set", "time_resolutoin=1 s"])
        .refused_with(&["time_resolutoin", "time_resolution"]);
    run_text(dir.path(), &sql, &["--set", "time_resolution=soon"]).refused_with(&["soon"]);
}

#[test]
fn explain_shows_operators_state_and_what_is_unbounded() {
    let dir = orders();
    let windowed = format!(
        "{ORDERS} SELECT window_start, who, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '5' SECOND))
         GROUP BY window_start, window_end, who;"
    );
    write(dir.path(), "windowed.sql", &windowed);
    let plan = floodmark(dir.path(), &["explain", "windowed.sql"]).success().to_lowercase();
    for part in ["orders", "tumble", "hash", "who", "state"] {
        assert!(plan.contains(part), "no '{part}' in\n{plan}");
    }
    assert!(!plan.contains("unbounded: no predicate"), "a window bounds its state:\n{plan}");
    let updating = format!("{ORDERS} SELECT who, COUNT(*) AS n FROM orders GROUP BY who;");
    write(dir.path(), "updating.sql", &updating);
    let plan = floodmark(dir.path(), &["explain", "updating.sql"]).success();
    assert!(plan.contains("unbounded: no predicate"), "not said to be unbounded:\n{plan}");
}

#[test]
fn explain_says_how_long_joins_keep_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    let table = |name: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (id BIGINT, ts TIMESTAMP(3), until TIMESTAMP(3), \
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND{more}) \
             WITH ('connector' = 'datagen');\n"
        )
    };
    let tables = table("a", "") + &table("b", "") + &table("v", ", PRIMARY KEY (id) NOT ENFORCED");
    let cases = [
        (
            "JOIN b ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR",
            vec!["passes ts + 3600000 ms", "right rows are dropped when the watermark passes ts\n"],
        ),
        (
            "JOIN b ON a.id = b.id AND b.ts + INTERVAL '1' SECOND > a.ts AND b.ts < a.until",
            vec!["passes until;", "passes ts + 1000 ms"],
        ),
        (
            "JOIN b ON a.id = b.id AND b.ts >= a.ts",
            vec!["left rows are kept (unbounded", "passes ts"],
        ),
        (
            "LEFT JOIN b ON a.id = b.id AND b.ts >= a.ts",
            vec!["Join(Left", "unbounded: no predicate"],
        ),
        (
            "LEFT JOIN v FOR SYSTEM_TIME AS OF a.ts AS b ON a.id = b.id",
            vec!["TemporalJoin(Left, on=[id = id], asOf=ts)", "versions keyed by [id]"],
        ),
        (
            "JOIN (VALUES (1), (2)) AS b (id) ON a.id = b.id",
            vec!["LookupJoin(Inner", "read to its end"],
        ),
    ];
    for (join, parts) in cases {
        write(dir.path(), "job.sql", format!("{tables}SELECT a.ts, b.id FROM a {join};"));
        let plan = floodmark(dir.path(), &["explain", "job.sql"]).success();
        for part in parts {
            assert!(plan.contains(part), "no '{part}' for {join} in\n{plan}");
        }
    }
}

#[test]
fn explain_shows_which_joins_share_an_index() {
    let dir = orders();
    let columns = "CREATE MATERIALIZED VIEW";
    let sql = format!(
        "{ORDERS} {columns} a AS SELECT x.who, y.ts FROM orders x JOIN orders y ON x.who = y.who;
         {columns} b AS SELECT x.ts AS t, y.ts FROM orders x LEFT JOIN orders y ON x.who = y.who;"
    );
    write(dir.path(), "shared.sql", &sql);
    let plan = floodmark(dir.path(), &["explain", "shared.sql"]).success();
    assert_eq!(plan.matches("Arrange(by=[who])").count(), 1, "held more than once:\n{plan}");
    assert_eq!(plan.matches("shared by").count(), 1, "not said to be shared:\n{plan}");
}

#[test]
fn explain_reads_no_input() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "job.sql", format!("{ORDERS} SELECT id FROM orders;"));
    floodmark(dir.path(), &["explain", "job.sql"]).success();
}

#[test]
fn explain_is_a_statement_too() {
    let dir = orders();
    let out = run_text(dir.path(), &format!("{ORDERS} EXPLAIN SELECT id FROM orders;"), &[]);
    assert!(out.success().contains("orders"));
}

#[test]
fn generated_data_is_the_same_every_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let generate = |out: &str, seed: &str| {
        let args = ["generate", "nexmark", "--events", "5000", "--seed", seed];
        let args = [&args[..], &["--format", "json", "--out", out]].concat();
        floodmark(dir.path(), &args).success();
        ["person", "auction", "bid"].map(|table| {
            fs::read(dir.path().join(out).join(format!("{table}.jsonl"))).expect("a generated file")
        })
    };
    let first = generate("a", "7");
    assert!(first == generate("b", "7"), "two runs with one seed differ");
    assert!(first != generate("c", "8"), "two seeds give the same");
    let lines = first.each_ref().map(|bytes| bytes.iter().filter(|b| **b == b'\n').count());
    assert_eq!(lines, [100, 300, 4600]);
}

#[test]
fn generated_taxi_data_is_that_of_the_training() {
    let dir = tempfile::tempdir().expect("a folder");
    for (dataset, file) in [("taxi-rides", "rides.jsonl"), ("taxi-fares", "fares.jsonl")] {
        let args = ["generate", dataset, "--events", "4320", "--format", "json"];
        floodmark(dir.path(), &[&args[..], &["--force", "--out", "taxi"]].concat()).success();
        let golden = fs::read(tests_dir().join("data/taxi").join(file)).expect("the golden");
        let made = fs::read(dir.path().join("taxi").join(file)).expect("a generated file");
        assert!(golden == made, "{file} differs from the training's");
    }
}

#[test]
fn every_format_of_generated_data_reads_back_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut answers = Vec::new();
    for format in ["json", "csv", "parquet"] {
        let args = ["generate", "nexmark", "--events", "2000", "--format", format, "--out", format];
        floodmark(dir.path(), &args).success();
        let tables = format!("{format}/tables.sql");
        write(dir.path(), "q.sql", "SELECT auction, bidder, price, `dateTime`, extra FROM bid;");
        let args = ["run", "--format", "csv", &tables, "q.sql"];
        answers.push(floodmark(dir.path(), &args).success());
    }
    assert!(answers[0].lines().count() == 1841, "{} lines", answers[0].lines().count());
    assert!(answers[0] == answers[1], "CSV reads back otherwise than JSON");
    assert!(answers[0] == answers[2], "Parquet reads back otherwise than JSON");
}

#[test]
fn an_interrupt_ends_an_unbounded_job_cleanly() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = "CREATE TABLE bid (auction BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
          WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
        WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'rate' = '100000');
        SELECT auction, price FROM bid;";
    write(dir.path(), "job.sql", sql);
    let mut run = command(dir.path(), &["run", "--format", "csv", "job.sql"]);
    let out = fs::File::create(dir.path().join("out")).expect("a file");
    let child = run.stdout(Stdio::from(out)).stderr(Stdio::piped()).spawn().expect("starts");
    // Changes are printed as they close, so some must come before the job is told to stop.
    let printed = || fs::read_to_string(dir.path().join("out")).unwrap_or_default();
    for _ in 0..1000 {
        if printed().lines().count() > 2 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(printed().lines().count() > 2, "an unbounded job prints nothing while it runs");
    signal(&child, "INT");
    let ran = finish(child);
    assert_eq!(ran.code(), 0, "an interrupt is a clean end:\n{}", ran.stderr);
    assert!(ran.summary_count("rows").is_some_and(|n| n > 0), "no summary in {}", ran.stderr);
    assert!(printed().ends_with('\n'), "the last line is cut");
    assert!(printed().starts_with("op,time,auction,price\n+I,"), "no changelog: {}", printed());
}
