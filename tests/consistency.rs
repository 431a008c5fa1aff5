//! Internal consistency: money moves between accounts, and at no served time is there more or less
//! of it than nothing.
//!
//! A million transfers between ten accounts, out of order by up to ten seconds. The balances are a
//! join of two aggregations of one input; their sum is 0 as of every time, and so is whatever a
//! reader is told while the job runs (after J. Brandon, "Internal consistency in streaming
//! systems", 2021).

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::service::Service;
use common::{floodmark, write};
use serde_json::{Value, json};

const TRANSFERS: u64 = 1_000_000;
const ACCOUNTS: u64 = 10;
const DISORDER_MS: u64 = 10_000;

/// 2024-01-01 in ms.
const START_MS: u64 = 1_704_067_200_000;

/// Transfers as CSV: one a millisecond, each up to ten seconds late.
fn write_transfers(dir: &Path) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut text = String::from("id,from_account,to_account,amount,ms\n");
    for id in 0..TRANSFERS {
        let (from, to, amount) = (random(ACCOUNTS), random(ACCOUNTS), 1 + random(1000));
        let ms = START_MS + id + DISORDER_MS - random(DISORDER_MS);
        writeln!(text, "{id},{from},{to},{amount},{ms}").expect("a string takes text");
    }
    write(dir, "transfers.csv", text);
}

fn script(dir: &Path) -> String {
    format!(
        "SET 'time_resolution' = '1 s';
         CREATE TABLE transfers (id BIGINT, from_account INT, to_account INT, amount BIGINT,
           ms BIGINT, ts AS TO_TIMESTAMP_LTZ(ms, 3),
           WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
         WITH ('connector' = 'filesystem', 'format' = 'csv', 'csv.header' = 'true', 'path' = '{}');
         CREATE VIEW debits AS
         SELECT from_account AS account, SUM(amount) AS debits FROM transfers GROUP BY from_account;
         CREATE VIEW credits AS
         SELECT to_account AS account, SUM(amount) AS credits FROM transfers GROUP BY to_account;
         CREATE MATERIALIZED VIEW balance AS
         SELECT COALESCE(c.account, d.account) AS account,
           COALESCE(credits, 0) - COALESCE(debits, 0) AS balance
         FROM credits c FULL JOIN debits d ON c.account = d.account;
         CREATE MATERIALIZED VIEW total AS SELECT SUM(balance) AS total FROM balance;\n",
        dir.join("transfers.csv").display()
    )
}

/// The one value of an answer with one column, if it has a row.
fn only_value<'a>(answer: &'a Value, column: &str) -> Option<&'a Value> {
    answer["rows"].as_array().and_then(|rows| rows.first()).map(|row| &row[column])
}

#[test]
fn the_total_never_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    write_transfers(dir.path());
    let changes = script(dir.path()) + "SELECT SUM(balance) AS total FROM balance;\n";
    write(dir.path(), "changes.sql", changes);
    for workers in ["1", "2"] {
        let args = ["run", "--format", "csv", "--changelog", "--workers", workers, "changes.sql"];
        let printed = floodmark(dir.path(), &args).success();
        let changes: Vec<&str> = printed.lines().skip(1).collect();
        let [only] = changes.as_slice() else {
            panic!("{} changes of a total that is always 0: {:.500}", changes.len(), printed)
        };
        assert!(only.contains("+I") && only.ends_with(",0"), "{only}");
    }
}

#[test]
fn no_reader_sees_money_made_or_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    write_transfers(dir.path());
    let service = Service::start(dir.path(), &[]);
    let job = json!({"name": "bank", "sql": script(dir.path())});
    service.post("/v1/jobs", &job).ok();
    let query = json!({"query": "SELECT SUM(balance) AS total, COUNT(*) AS n FROM balance"});
    let (mut times, mut is_over) = (std::collections::BTreeSet::new(), false);
    while !is_over {
        // One more look once the job has ended.
        is_over = service.get("/v1/jobs/bank").ok().json()["state"] == "finished";
        let answer = service.post("/v1/sql", &query).ok().json();
        let n = only_value(&answer, "n").and_then(Value::as_u64).unwrap_or_default();
        if n > 0 {
            assert_eq!(only_value(&answer, "total"), Some(&json!(0)), "{answer}");
            times.insert(answer["as_of"].to_string());
        }
        let kept = service.get("/v1/views/total").ok().json();
        if let Some(total) = only_value(&kept, "total") {
            assert_eq!(total, &json!(0), "{kept}");
        }
    }
    assert!(times.len() > 1, "it was read at {times:?} only");
    service.stop();
}
