//! `floodmark snapshots` and `floodmark runs` from outside, and what `floodmark run` says of the
//! snapshots it takes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::service::Service;
use common::{Ran, command, finish, floodmark, signal, tests_dir, write};
use serde_json::{Value, json};

/// Bids, at a rate, and their number by auction.
fn script(events: u64, rate: u64) -> String {
    format!(
        "SET 'snapshot.interval' = '50 ms';
         CREATE TABLE bid (auction BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
           'events' = '{events}', 'rate' = '{rate}');
         CREATE TABLE counts (auction BIGINT, bids BIGINT)
         WITH ('connector' = 'blackhole');
         INSERT INTO counts SELECT auction, COUNT(*) AS bids FROM bid GROUP BY auction;
         SELECT COUNT(*) AS n FROM bid;"
    )
}

/// Starts the job in `dir` and interrupts it when it has taken a snapshot.
fn interrupted(dir: &Path) -> Ran {
    write(dir, "bids.sql", script(40_000, 10_000));
    let args = ["run", "--format", "csv", "--data-dir", "data", "bids.sql"];
    let mut run = command(dir, &args);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    thread::sleep(Duration::from_millis(1_800));
    signal(&child, "INT");
    let ran = finish(child);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("stopped in"), "it had ended before: {}", ran.stderr);
    ran
}

fn snapshots(dir: &Path, args: &[&str]) -> Ran {
    floodmark(dir, &[&["snapshots"], args, &["--data-dir", "data"]].concat())
}

fn listed(dir: &Path, args: &[&str]) -> Vec<Value> {
    let out = snapshots(dir, &[args, &["--format", "json"]].concat()).success();
    serde_json::from_str(&out).expect("a JSON list")
}

#[test]
fn help_has_examples() {
    for command in ["list", "show", "create", "verify", "export", "restore", "delete"] {
        let help = floodmark(&tests_dir(), &["snapshots", command, "--help"]).success();
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
    let help = floodmark(&tests_dir(), &["runs", "--help"]).success();
    assert!(help.contains("Examples:"), "{help}");
}

#[test]
fn a_run_says_from_where_it_goes_on_and_its_snapshots_are_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let first = interrupted(dir);
    assert!(first.stderr.contains("no snapshot yet"), "{}", first.stderr);
    assert!(first.summary_count("snapshots taken").is_some_and(|n| n > 0), "{}", first.stderr);
    let all = listed(dir, &["list"]);
    let last = all.last().expect("a snapshot")["id"].as_u64().expect("a number");
    assert!(all.len() <= 3, "more than snapshot.keep: {all:?}");
    assert!(all.iter().all(|s| s["state"] == "complete" && s["job"] == "bids"), "{all:?}");
    let table = snapshots(dir, &["list", "bids"]).success();
    assert!(table.starts_with("job   id  taken"), "{table}");
    let shown = snapshots(dir, &["show", "bids"]).success();
    for part in ["GroupAggregate", "state of", "comes back from", "source  partition", "bid"] {
        assert!(shown.contains(part), "no '{part}' in\n{shown}");
    }
    let out = snapshots(dir, &["show", "bids", "--format", "json"]).success();
    let detail: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(detail["id"], last);
    assert!(detail["sources"][0]["offset"].as_i64().is_some_and(|o| o > 0), "{detail}");
    let runs = floodmark(dir, &["runs", "--data-dir", "data"]).success();
    assert!(runs.contains("stopped"), "{runs}");
    let second = floodmark(dir, &["run", "--format", "csv", "--data-dir", "data", "bids.sql"]);
    let said = format!("goes on from snapshot {last}, as of ");
    assert!(second.stderr.contains(&said), "no '{said}' in {}", second.stderr);
    assert_eq!(second.success(), "n\n36800\n");
    let out = floodmark(dir, &["runs", "bids", "--data-dir", "data", "--format", "json"]).success();
    let runs: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(runs[0]["state"], "complete", "{runs}");
    assert_eq!((&runs[0]["resumed"], &runs[0]["from"]), (&json!(1), &json!(last)), "{runs}");
    let third = floodmark(dir, &["run", "--format", "csv", "--data-dir", "data", "bids.sql"]);
    assert!(third.stderr.contains("computed again"), "{}", third.stderr);
    assert_eq!(third.success(), "n\n36800\n");
    let args = ["run", "--format", "csv", "--data-dir", "data", "--anew", "bids.sql"];
    let fourth = floodmark(dir, &args);
    assert!(fourth.stderr.contains("begins a new one"), "{}", fourth.stderr);
    assert_eq!(fourth.success(), "n\n36800\n");
}

#[test]
fn a_snapshot_is_checked_copied_restored_and_deleted() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    let whole = snapshots(dir, &["verify"]).success();
    assert!(whole.contains("whole") && !whole.contains("damaged"), "{whole}");
    snapshots(dir, &["export", "bids", "--to", "backup"]).success();
    snapshots(dir, &["export", "bids", "--to", "backup"]).refused_with(&["backup", "already"]);
    let args = ["snapshots", "restore", "--from", "backup", "--data-dir", "other"];
    let out = floodmark(dir, &[&args[..], &["--name", "again"]].concat()).success();
    assert!(out.contains("again"), "{out}");
    let args = ["run", "--format", "csv", "--data-dir", "other", "--name", "again", "bids.sql"];
    let ran = floodmark(dir, &args);
    assert!(ran.stderr.contains("goes on from snapshot"), "{}", ran.stderr);
    assert_eq!(ran.success(), "n\n36800\n");
    // A byte of the copy.
    let chunk = fs::read_dir(dir.join("backup"))
        .expect("the export")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|e| e == "arrow"))
        .expect("a chunk");
    flip(&chunk);
    let args = ["snapshots", "restore", "--from", "backup", "--data-dir", "third"];
    floodmark(dir, &args).refused_with(&["chunk-", "checksum"]);
    let id = listed(dir, &["list"])[0]["id"].as_u64().expect("a number");
    let first = id.to_string();
    snapshots(dir, &["delete", "bids", &first]).success();
    assert!(listed(dir, &["list"]).iter().all(|s| s["id"].as_u64() != Some(id)));
    snapshots(dir, &["delete", "bids", &first]).refused_with(&["no snapshot"]);
    snapshots(dir, &["delete", "bids"]).status.code().filter(|code| *code > 0).expect("refused");
    snapshots(dir, &["delete", "bids", "--all"]).success();
    snapshots(dir, &["list", "bids"]).refused_with(&["nothing is stored"]);
    snapshots(dir, &["create", "bids"]).refused_with(&["running service", "--url"]);
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(path, bytes).expect("written");
}

#[test]
fn damage_is_named_and_the_exit_code_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    let blobs: Vec<PathBuf> = fs::read_dir(dir.join("data/store"))
        .expect("the store")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "blob"))
        .collect();
    assert!(!blobs.is_empty(), "no file of chunks");
    blobs.iter().for_each(|path| flip(path));
    let ran = snapshots(dir, &["verify", "bids"]);
    assert_eq!(ran.code(), 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("damaged: "), "{}", ran.stdout);
    ran.refused_with(&["snapshots are damaged"]);
}

#[test]
fn a_job_goes_on_without_snapshots_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "bids.sql", script(10_000, 10_000));
    let args = ["run", "--format", "csv", "--data-dir", "data", "bids.sql", "--set"];
    let failing = [&args[..], &["debug.failpoint=manifest.before_commit=error@2"]].concat();
    let ran = floodmark(dir.path(), &failing);
    assert!(ran.stderr.contains("NO MORE SNAPSHOTS"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 snapshots taken"), "{}", ran.stderr);
    assert_eq!(ran.success(), "n\n9200\n");
    let unknown = [&args[..], &["debug.failpoint=nowhere=kill"]].concat();
    floodmark(dir.path(), &unknown).refused_with(&["nowhere", "manifest.before_commit"]);
}

#[test]
fn a_service_is_asked_over_http() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let service = Service::start(dir, &["--data-dir", "data"]);
    let sql = script(1_000_000, 2_000).replace(
        "SELECT COUNT(*) AS n FROM bid;",
        "CREATE MATERIALIZED VIEW n AS SELECT COUNT(*) AS n FROM bid;",
    );
    service.post("/v1/jobs", &json!({"name": "bids", "sql": sql})).ok();
    service.wait_for("/v1/jobs/bids", |job| !job["snapshots"]["last"].is_null());
    let url = format!("http://{}", service.address);
    let ask = |args: &[&str]| floodmark(dir, &[args, &["--url", &url]].concat());
    let out = ask(&["snapshots", "create", "bids", "--format", "json"]).success();
    let taken: Value = serde_json::from_str(&out).expect("JSON");
    let id = taken[0]["id"].as_u64().expect("a number").to_string();
    assert!(ask(&["snapshots", "list"]).success().contains("complete"));
    assert!(ask(&["snapshots", "show", "bids"]).success().contains("View(n)"));
    assert!(ask(&["snapshots", "verify", "bids"]).code() <= 1);
    ask(&["snapshots", "export", "bids", "--to", "copy"]).success();
    assert!(dir.join("copy/manifest.json").is_file());
    let out = ask(&["runs"]).success();
    assert!(out.contains("running"), "{out}");
    ask(&["snapshots", "list", "none"]).refused_with(&["none"]);
    ask(&["snapshots", "delete", "bids", "--all"]).refused_with(&["last snapshot"]);
    let last = service.get("/v1/jobs/bids").ok().json()["snapshots"]["last"]["id"].to_string();
    assert!(last.parse::<u64>().expect("a number") >= id.parse().expect("a number"));
    // Read past the service: it is told where to ask.
    snapshots(dir, &["list"]).refused_with(&["in use", "--url"]);
    service.stop();
    assert!(!listed(dir, &["list"]).is_empty());
}
