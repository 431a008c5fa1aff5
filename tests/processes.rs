//! One job on two processes of the binary: both read, both compute, the first prints.

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use common::{command, difference, finish, sorted, summary_count, tests_dir};

/// Nexmark's bids, line by line in two files of one folder, and the job that reads it.
fn job(dir: &Path, query: &str) -> usize {
    let data = tests_dir().join("data/nexmark");
    let text = |name: &str| fs::read_to_string(data.join(name)).expect("a file of the tests");
    let bids = text("bid.jsonl");
    fs::create_dir(dir.join("bid")).expect("a folder");
    for part in 0..2 {
        let lines: Vec<&str> = bids.lines().skip(part).step_by(2).collect();
        let name = format!("bid/part-{part}.jsonl");
        fs::write(dir.join(name), lines.join("\n") + "\n").expect("a file can be written");
    }
    for table in ["auction", "person"] {
        let name = format!("{table}.jsonl");
        fs::write(dir.join(&name), text(&name)).expect("a file can be written");
    }
    let tables = text("tables.sql").replace("'bid.jsonl'", "'bid'");
    fs::write(dir.join("tables.sql"), tables).expect("a file can be written");
    fs::write(dir.join("query.sql"), text(&format!("queries/{query}.sql"))).expect("written");
    bids.lines().count()
}

/// Addresses that nothing listens on: the system gives free ports, which are let go together.
fn free_addresses() -> String {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = |l: &TcpListener| l.local_addr().expect("a bound socket has one").to_string();
    listeners.each_ref().map(address).join(",")
}

/// Runs `query` on two processes; gives what each printed and how many rows each read.
fn run_on_two(query: &str, workers: &str) -> [(String, u64); 2] {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = job(dir.path(), query);
    let peers = free_addresses();
    let children = ["0", "1"].map(|process| {
        let args = ["run", "--peers", &peers, "--process", process, "--workers", workers];
        let args = [&args[..], &["--format", "csv", "--set", "source.split_bytes=100000"]].concat();
        let args = [&args[..], &["tables.sql", "query.sql"]].concat();
        let mut command = command(dir.path(), &args);
        command.env("FLOODMARK_CLUSTER_SECRET", "known to the two of them");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    });
    let ran = children.map(finish);
    let stderr = ran.each_ref().map(|ran| ran.stderr.clone()).join("\n");
    let printed = ran.map(|ran| {
        assert_eq!(ran.code(), 0, "a process failed:\n{stderr}");
        let read = summary_count(&ran.stderr, "rows read").expect("a summary");
        (ran.stdout, read)
    });
    assert_eq!(printed[0].1 + printed[1].1, rows as u64, "each row is read once:\n{stderr}");
    printed
}

fn check(query: &str, workers: &str) {
    let [(first, read_first), (second, read_second)] = run_on_two(query, workers);
    let golden = tests_dir().join(format!("data/nexmark/goldens/{query}.csv"));
    let golden = fs::read_to_string(golden).expect("the golden");
    if let Some(text) = difference(&sorted(&golden), &sorted(&first)) {
        panic!("{query} on two processes of {workers} workers: {text}");
    }
    assert_eq!(second, "", "the second process prints results");
    assert!(read_first > 0 && read_second > 0, "{read_first} and {read_second} rows were read");
}

#[test]
fn hot_items_on_two_processes_of_one_worker() {
    check("q5", "1");
}

#[test]
fn hot_items_on_two_processes_of_two_workers() {
    check("q5", "2");
}

#[test]
fn an_updating_query_on_two_processes() {
    check("q17", "2");
}
