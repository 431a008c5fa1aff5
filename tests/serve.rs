//! The service from outside, over HTTP: jobs come and go, views are read at a stated event time.
//!
//! The client is written by hand: what is under test is what goes over the wire.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::service::Service;
use common::{root_dir, tests_dir, write};
use serde_json::{Value, json};

/// Two views over the clicks of `tests/sql`: one row a user, one row a window.
fn clicks() -> String {
    format!(
        "CREATE TABLE clicks (user_id STRING, page STRING, ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE MATERIALIZED VIEW per_user AS
         SELECT user_id, COUNT(*) AS n FROM clicks GROUP BY user_id;
         CREATE MATERIALIZED VIEW names AS SELECT DISTINCT user_id FROM clicks;",
        tests_dir().join("sql/data/clicks.jsonl").display()
    )
}

fn users(answer: &Value) -> Vec<(String, i64)> {
    let rows = answer["rows"].as_array().expect("rows");
    let pair = |row: &Value| {
        let user = row["user_id"].as_str().expect("a user").to_owned();
        (user, row["n"].as_i64().expect("a count"))
    };
    rows.iter().map(pair).collect()
}

fn started(dir: &Path) -> Service {
    let service = Service::start(dir, &[]);
    service.post("/v1/jobs", &json!({"name": "clicks", "sql": clicks()})).ok();
    let all = |answer: &Value| users(answer).iter().map(|(_, n)| n).sum::<i64>() == 18;
    service.wait_for("/v1/views/per_user", all);
    service
}

#[test]
fn a_job_comes_is_read_and_goes() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = started(dir.path());
    assert!(service.get("/healthz").ok().status == 200);
    let view = service.get("/v1/views/per_user").ok().json();
    let expected = [("u1", 8), ("u2", 6), ("u3", 4)].map(|(u, n)| (u.to_owned(), n));
    assert_eq!(users(&view), expected);
    assert!(!view["as_of"].is_null(), "an answer carries its event time: {view}");
    let jobs = service.get("/v1/jobs").ok().body;
    assert!(jobs.contains("\"clicks\""), "{jobs}");
    let job = service.get("/v1/jobs/clicks").ok().body;
    assert!(job.contains("per_user"), "{job}");
    let plan = service.get("/v1/jobs/clicks/plan").ok().body;
    assert!(plan.contains("user_id"), "{plan}");
    service.request("DELETE", "/v1/jobs/clicks", "", "").ok();
    assert_eq!(service.get("/v1/jobs/clicks").status, 404);
    assert_eq!(service.get("/v1/views/per_user").status, 404);
    // The name is free again.
    service.post("/v1/jobs", &json!({"name": "clicks", "sql": clicks()})).ok();
    service.stop();
}

#[test]
fn a_job_counts_the_changes_that_do_not_fit() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = r#"{"op":"+U","data":{"id":1,"v":"put"}}
{"op":"+I","data":{"id":2,"v":"first"}}
{"op":"+I","data":{"id":2,"v":"second"}}
{"op":"+I","data":{"id":2,"v":"third"}}
{"op":"-D","data":{"id":3}}
{"op":"-D","data":{"id":4}}
{"op":"-D","data":{"id":5}}
"#;
    write(dir.path(), "log.jsonl", log);
    let sql = "CREATE TABLE t (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = 'log.jsonl', 'format' = 'changelog-json');
         CREATE MATERIALIZED VIEW held AS SELECT id, v FROM t;";
    let service = Service::start(dir.path(), &[]);
    service.post("/v1/jobs", &json!({"name": "log", "sql": sql})).ok();
    let job = service.wait_for("/v1/jobs/log", |job| job["state"] == "finished");
    let counts = ["unknown_updates", "duplicate_inserts", "absent_deletes", "dead_letters"];
    assert_eq!(counts.map(|name| job[name].as_u64()), [1, 2, 3, 3].map(Some), "{job}");
}

#[test]
fn a_view_is_read_by_key_with_a_limit_and_in_other_forms() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = started(dir.path());
    let one = service.get("/v1/views/per_user?key=u2").ok().json();
    assert_eq!(users(&one), [("u2".to_owned(), 6)]);
    let two = service.get("/v1/views/per_user?limit=2").ok().json();
    assert_eq!(users(&two).len(), 2);
    let csv = service.get_as("/v1/views/per_user", "text/csv").ok();
    assert_eq!(csv.body.replace('\r', ""), "user_id,n\nu1,8\nu2,6\nu3,4\n");
    assert!(csv.head.contains("text/csv"), "{}", csv.head);
    assert!(csv.head.contains("as-of"), "CSV carries its event time in a header: {}", csv.head);
    let lines = service.get_as("/v1/views/per_user", "application/x-ndjson").ok();
    let rows: Vec<Value> =
        lines.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["user_id"], "u1");
}

#[test]
fn a_view_is_read_as_of_an_earlier_event_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let sql = format!("SET 'retain_history' = '1 h';\n{}", clicks());
    service.post("/v1/jobs", &json!({"name": "clicks", "sql": sql})).ok();
    service.wait_for("/v1/views/per_user", |a| users(a).iter().map(|(_, n)| n).sum::<i64>() == 18);
    // As of 00:00:20: the clicks before it (20.003 and 21 are not).
    let path = "/v1/views/per_user?as_of=2024-03-01T00:00:20Z";
    let view = service.get(path).ok().json();
    let expected = [("u1", 3), ("u2", 2)].map(|(u, n)| (u.to_owned(), n));
    assert_eq!(users(&view), expected);
    let millis = service.get("/v1/views/per_user?as_of=1709251220000").ok().json();
    assert_eq!(users(&millis), expected);
}

#[test]
fn any_select_over_views_is_answered_at_one_event_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = started(dir.path());
    let query = "SELECT u.user_id, u.n FROM per_user AS u JOIN names AS m ON u.user_id = m.user_id
        WHERE u.n > 4 ORDER BY u.n";
    let answer = service.post("/v1/sql", &json!({"query": query})).ok().json();
    assert_eq!(users(&answer), [("u2".to_owned(), 6), ("u1".to_owned(), 8)]);
    assert!(!answer["as_of"].is_null());
    let count = service.post("/v1/sql", &json!({"query": "SELECT COUNT(*) AS c FROM names"})).ok();
    assert_eq!(count.json()["rows"][0]["c"], 3);
    let late = service.get("/v1/views/floodmark.dead_letters").ok().json();
    assert_eq!(late["rows"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_is_wrong_is_said_in_the_form_of_all_errors() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = started(dir.path());
    let cases = [
        (service.get("/v1/views/per_usr"), 404, "per_usr"),
        (service.get("/v1/jobs/none"), 404, "none"),
        (service.get("/v1/nothing"), 404, "nothing"),
        (service.get("/v1/views/per_user?limit=many"), 400, "limit"),
        (service.get("/v1/views/per_user?as_of=soon"), 400, "as_of"),
        (service.post("/v1/jobs", &json!({"name": "clicks", "sql": clicks()})), 409, "clicks"),
        (service.post("/v1/jobs", &json!({"name": "x", "sql": "SELEC 1"})), 400, "SELEC"),
        (service.post("/v1/jobs", &json!({"name": "x"})), 400, "sql"),
        (service.post("/v1/sql", &json!({"query": "SELECT nn FROM per_user"})), 400, "nn"),
        (service.post("/v1/sql", &json!({"query": "DROP TABLE per_user"})), 400, "SELECT"),
        (service.request("POST", "/v1/sql", "", "{"), 400, "JSON"),
        (service.request("PUT", "/v1/jobs", "", ""), 405, ""),
    ];
    for (answer, status, part) in cases {
        assert_eq!(answer.status, status, "{part}: {}", answer.body);
        assert!(answer.body.contains(part), "no '{part}' in {}", answer.body);
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.body);
    }
    let wrong = json!({"name": "x", "sql": "SELECT 1 AS a,\n  nothing;"});
    let error = service.post("/v1/jobs", &wrong).json();
    assert_eq!(error["error"]["location"]["line"], 2, "{error}");
    assert_eq!(error["error"]["location"]["column"], 3, "{error}");
}

#[test]
fn a_body_beyond_the_bound_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let sql = " ".repeat(5 << 20);
    // The service may close the connection before all of it was sent; then there is no answer.
    let mut stream = TcpStream::connect(&service.address).expect("a connection");
    let length = sql.len();
    let head = format!("POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the head is sent");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer before the body");
    assert_eq!(&start, b"HTTP/1.1 413");
    assert!(service.get("/healthz").ok().status == 200);
}

#[test]
fn jobs_given_at_the_start_run_and_live_views_move() {
    let dir = tempfile::tempdir().expect("a folder");
    let job = root_dir().join("dataflows/live_bids.sql");
    write(dir.path(), "unused", "");
    let service = Service::start(dir.path(), &["--job", &job.display().to_string()]);
    let first = service.wait_for("/v1/views/channels", |a| {
        a["rows"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    let later = service.wait_for("/v1/views/channels", |a| a["as_of"] != first["as_of"]);
    let bids = |answer: &Value| -> i64 {
        let rows = answer["rows"].as_array().expect("rows");
        rows.iter().map(|row| row["bids"].as_i64().unwrap_or(0)).sum()
    };
    assert!(bids(&later) > bids(&first), "{first}\n{later}");
    let jobs = service.get("/v1/jobs").ok().body;
    assert!(jobs.contains("live_bids"), "{jobs}");
    service.request("DELETE", "/v1/jobs/live_bids", "", "").ok();
    assert_eq!(service.get("/v1/views/channels").status, 404);
    service.stop();
}
