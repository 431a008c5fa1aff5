//! The service from outside, over HTTP: jobs come and go, views are read at a stated event time.
//!
//! The client is written by hand: what is under test is what goes over the wire.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use common::{command, finish, root_dir, signal, tests_dir, write};
use serde_json::{Value, json};

/// A running service; stopped when dropped.
struct Service {
    child: Option<Child>,
    address: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn ok(self) -> Answer {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self
    }
}

impl Service {
    /// Starts the service in `dir` and waits until it says where it listens.
    fn start(dir: &Path, more: &[&str]) -> Service {
        let args = [&["serve", "--listen", "127.0.0.1:0", "--workers", "2"], more].concat();
        let mut run = command(dir, &args);
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            line.split_once("listening on http://").map(|(_, address)| address.trim().to_owned())
        });
        // What else it says must not fill the pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = address.unwrap_or_else(|| panic!("it does not say where it listens: {said}"));
        Service { child: Some(child), address }
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("a request is sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        parse(&bytes)
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", "")
    }

    fn get_as(&self, path: &str, kind: &str) -> Answer {
        self.request("GET", path, &format!("Accept: {kind}\r\n"), "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Reads `path` until `found` likes the answer.
    fn wait_for(&self, path: &str, found: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        for _ in 0..600 {
            let answer = self.get(path);
            if answer.status == 200 && found(&answer.json()) {
                return answer.json();
            }
            last = format!("{} {}", answer.status, answer.body);
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{path} never became what was waited for; last: {last}");
    }

    /// Stops it by a signal and asserts a clean end.
    fn stop(mut self) {
        let child = self.child.take().expect("it runs");
        signal(&child, "INT");
        let ran = finish(child);
        assert_eq!(ran.code(), 0, "an interrupt is a clean end");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).expect("an answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_ascii_lowercase(), body }
}

fn dechunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("the size of a chunk");
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}

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
