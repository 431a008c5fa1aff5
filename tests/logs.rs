//! What a service writes to standard error: each line one JSON object where that is asked for, with
//! the job, the worker and the operator that an error is about.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::service::Service;
use common::{command, finish, floodmark, signal, write};
use serde_json::{Value, json};

/// Runs a service whose job fails, and gives its standard error.
fn said(args: &[&str], variable: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let failing = "debug.failpoint=sink.before_sync=error";
    let once = "restart.attempts=0";
    let first = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--set", failing];
    let first = [&first, &["--set", once, "--set", "recursion.limit=100"][..]].concat();
    let args = [&first, args].concat();
    let mut run = command(dir.path(), &args);
    run.env("FLOODMARK_LOG_FORMAT", variable).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
    let (mut all, mut line) = (Vec::new(), String::new());
    let address = loop {
        line.clear();
        assert!(
            lines.read_line(&mut line).expect("a line") > 0,
            "it says where it listens: {all:?}"
        );
        all.push(line.trim_end().to_owned());
        if let Some((_, rest)) = line.split_once("http://") {
            break rest.trim_end_matches(['"', '}', '\n']).split('"').next().unwrap().to_owned();
        }
    };
    let service = Service { child: None, address };
    write(dir.path(), "clicks.jsonl", "{\"n\":1}\n");
    let sql = format!(
        "CREATE TABLE clicks (n BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE MATERIALIZED VIEW endless AS
         WITH RECURSIVE up (n) AS
           (SELECT n FROM clicks UNION ALL SELECT n + 1 FROM up)
         SELECT n FROM up;",
        dir.path().join("clicks.jsonl").display()
    );
    service.post("/v1/jobs", &json!({"name": "endless", "sql": sql})).ok();
    service.wait_for("/v1/jobs/endless", |job| job["state"] == "failed");
    let sql = format!(
        "CREATE TABLE clicks (n BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE TABLE copies (n BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         INSERT INTO copies SELECT n FROM clicks;",
        dir.path().join("clicks.jsonl").display(),
        dir.path().join("copies").display()
    );
    service.post("/v1/jobs", &json!({"name": "unlucky", "sql": sql})).ok();
    service.wait_for("/v1/jobs/unlucky", |job| job["state"] == "failed");
    signal(&child, "INT");
    assert_eq!(finish(child).code(), 0);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("the rest");
    all.extend(rest.lines().map(str::to_owned));
    all
}

fn objects(lines: &[String]) -> Vec<Value> {
    let object = |line: &String| -> Value {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: no JSON: {line}"));
        for name in ["time", "level", "message"] {
            assert!(value[name].is_string(), "no {name}: {line}");
        }
        let time = value["time"].as_str().expect("a time");
        assert!(time.len() == 24 && &time[10..11] == "T" && time.ends_with('Z'), "{time}");
        value
    };
    lines.iter().map(object).collect()
}

#[test]
fn each_line_is_an_object_that_names_the_job_and_the_worker() {
    let lines = said(&["--log-format", "json", "--workers", "2"], "");
    let objects = objects(&lines);
    let failed = |line: &&Value| line["job"] == "endless" && line["level"] == "error";
    let line = objects.iter().find(failed).unwrap_or_else(|| panic!("no error: {lines:?}"));
    assert!(line["message"].as_str().expect("a text").contains("has not ended"), "{line}");
    assert!(line["worker"].is_u64(), "{line}");
    let operator = line["operator"].as_str().unwrap_or_default();
    assert!(operator.starts_with("Recursive#"), "{line}");
    let unlucky = objects.iter().find(|line| line["job"] == "unlucky" && line["level"] == "error");
    let unlucky = unlucky.unwrap_or_else(|| panic!("no error of the sink: {lines:?}"));
    assert_eq!(unlucky["operator"], "Sink(copies)", "{unlucky}");
    assert_eq!(objects.iter().filter(failed).count(), 1, "said once: {lines:?}");
    let told = |line: &Value| line["message"].as_str().is_some_and(|m| m.starts_with("listening"));
    assert!(objects.iter().any(told), "{lines:?}");
}

#[test]
fn the_environment_asks_for_it_too_and_the_argument_decides() {
    objects(&said(&["--workers", "1"], "json"));
    let lines = said(&["--workers", "1", "--log-format", "text"], "json");
    assert!(lines.iter().any(|line| line.starts_with("listening on ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("ERROR") && line.contains("endless")));
}

#[test]
fn an_error_of_the_command_is_an_object_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let ran = floodmark(dir.path(), &["--log-format", "json", "serve", "--job", "absent.sql"]);
    assert_eq!(ran.code(), 1);
    let lines: Vec<String> = ran.stderr.lines().map(str::to_owned).collect();
    let objects = objects(&lines);
    let last = objects.last().expect("a line");
    assert_eq!(last["level"], "error");
    assert!(last["message"].as_str().expect("a text").contains("absent.sql"), "{last}");
}

#[test]
fn another_form_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let ran = floodmark(dir.path(), &["--log-format", "xml", "serve"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("text or json"), "{}", ran.stderr);
    let mut run = command(dir.path(), &["explain", "absent.sql"]);
    run.env("FLOODMARK_LOG_FORMAT", "xml").stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(run.spawn().expect("the binary starts"));
    ran.refused_with(&["FLOODMARK_LOG_FORMAT", "text or json"]);
}
