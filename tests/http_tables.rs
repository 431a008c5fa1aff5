//! Tables whose rows are sent to a service: what is taken, what a read sees and when, what a crash
//! leaves.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::floodmark;
use common::service::{Answer, Service};
use serde_json::{Value, json};

/// Ingestion time: a row is seen as soon as the wall clock has passed it.
const SALES: &str = "
    SET 'snapshot.interval' = '200 ms';
    CREATE TABLE sales (shop STRING NOT NULL, amount DECIMAL(10, 2), n BIGINT)
    WITH ('connector' = 'http');
    CREATE MATERIALIZED VIEW per_shop AS
    SELECT shop, COUNT(*) AS sales, SUM(amount) AS total FROM sales GROUP BY shop;";

fn create(service: &Service, name: &str, sql: &str) {
    service.post("/v1/jobs", &json!({"name": name, "sql": sql})).ok();
}

fn send(service: &Service, table: &str, kind: &str, body: &str) -> Answer {
    let headers = format!("Content-Type: {kind}\r\n");
    service.request("POST", &format!("/v1/tables/{table}/rows"), &headers, body)
}

/// The rows of `view` as CSV, once it is complete behind what `answer` says.
fn seen(service: &Service, view: &str, answer: &Value) -> String {
    let time = answer["min_time_ms"].as_i64().unwrap_or_else(|| panic!("no time: {answer}"));
    service.get_as(&format!("/v1/views/{view}?limit=1000000&min_time={time}"), "text/csv").ok().body
}

#[test]
fn rows_in_each_form_are_seen_by_a_read_that_waits_for_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    create(&service, "shops", SALES);
    let json_kind = "application/json";
    let array = "[{\"shop\":\"a\",\"amount\":1.5,\"n\":1},\n {\"n\":2,\"shop\":\"b, [c]\"}]";
    let answer = send(&service, "sales", json_kind, array).ok().json();
    assert_eq!((&answer["first"], &answer["rows"]), (&json!(0), &json!(2)), "{answer}");
    assert_eq!((&answer["durable"], &answer["repeated"]), (&json!(true), &json!(false)));
    assert_eq!((&answer["job"], &answer["table"]), (&json!("shops"), &json!("sales")));
    assert_eq!(seen(&service, "per_shop", &answer), "shop,sales,total\na,1,1.50\n\"b, [c]\",1,\n");
    let lines = "{\"shop\":\"a\",\"amount\":2}\n\n{\"shop\":\"a\",\"amount\":3}";
    let answer = send(&service, "shops.sales", "application/x-ndjson", lines).ok().json();
    assert_eq!((&answer["first"], &answer["rows"]), (&json!(2), &json!(2)), "{answer}");
    let answer = send(&service, "sales", "text/csv", "shop,amount,n\na,4,\nd,5,6\n").ok().json();
    assert_eq!(answer["rows"], 2, "{answer}");
    // What tools send that are told no type; one object.
    let form = "application/x-www-form-urlencoded";
    let answer = send(&service, "sales", form, "{\"shop\":\n\"d\"}").ok().json();
    assert_eq!(answer["rows"], 1, "{answer}");
    let all = "shop,sales,total\na,4,10.50\n\"b, [c]\",1,\nd,2,5.00\n";
    assert_eq!(seen(&service, "per_shop", &answer), all);
    let query = json!({
        "query": "SELECT SUM(sales) AS n FROM per_shop",
        "min_time": answer["min_time"], "wait_ms": 9000,
    });
    assert_eq!(service.post("/v1/sql", &query).ok().json()["rows"][0]["n"], 7);
    let answer = send(&service, "sales", json_kind, "[]").ok().json();
    assert_eq!((&answer["rows"], &answer["min_time"]), (&json!(0), &Value::Null), "{answer}");
    // A stop and a start: nothing is lost, and numbers go on.
    service.stop();
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    let answer = send(&service, "sales", json_kind, "{\"shop\":\"d\"}").ok().json();
    assert_eq!(answer["first"], 7, "{answer}");
    assert_eq!(seen(&service, "per_shop", &answer), all.replace("d,2", "d,3"));
    service.stop();
}

#[test]
fn what_is_wrong_is_refused_as_a_whole_and_named_by_row() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    create(&service, "shops", SALES);
    let refused = |table: &str, kind: &str, body: &str, status: u16, parts: &[&str]| {
        let answer = send(&service, table, kind, body);
        assert_eq!(answer.status, status, "{}", answer.body);
        for part in parts {
            assert!(answer.body.contains(part), "no '{part}' in {}", answer.body);
        }
        answer.json()
    };
    let json_kind = "application/json";
    let rows =
        "[{\"shop\":\"a\"},{\"shop\":null},{\"shop\":\"b\",\"amount\":\"x\"},7,{\"shop\":\"c\"}]";
    let answer = refused("sales", json_kind, rows, 400, &["none of the rows was taken"]);
    let named = answer["error"]["rows"].as_array().expect("rows");
    let numbers: Vec<_> = named.iter().map(|row| row["row"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)], "{answer}");
    assert!(named[0]["reason"].as_str().is_some_and(|r| r.contains("shop")), "{answer}");
    refused("sales", json_kind, "[{\"shop\":\"a\"}", 400, &["the array has no end", "hint"]);
    refused("sales", json_kind, "{\"shop\":\"a\"", 400, &["row 0"]);
    refused("sales", "text/csv", "a,1,2\nb,1\n", 400, &["row 1"]);
    refused("sales", "application/xml", "<a/>", 415, &["application/x-ndjson"]);
    refused("nothing", json_kind, "[]", 404, &["nothing", "'connector' = 'http'"]);
    let view = service.get_as("/v1/views/per_shop", "text/csv").ok().body;
    assert_eq!(view, "shop,sales,total\n", "a row of a refused request was taken");
    // Another job with a table of that name.
    create(&service, "others", &SALES.replace("per_shop", "others"));
    refused("sales", json_kind, "[]", 409, &["shops.sales", "others.sales"]);
    let answer = send(&service, "others.sales", json_kind, "{\"shop\":\"a\"}").ok().json();
    assert_eq!((&answer["job"], &answer["durable"]), (&json!("others"), &json!(false)));
    // In a process where nobody listens.
    common::write(
        dir.path(),
        "sales.sql",
        SALES.replace("CREATE MATERIALIZED VIEW per_shop AS", ""),
    );
    floodmark(dir.path(), &["run", "sales.sql"]).refused_with(&["'sales'", "floodmark serve"]);
    service.stop();
}

#[test]
fn a_request_that_is_repeated_is_taken_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut service = Service::start(dir.path(), &["--data-dir", "data"]);
    create(&service, "shops", SALES);
    let post = |service: &Service, key: &str, body: &str| {
        let headers = format!("Idempotency-Key: {key}\r\nContent-Type: application/json\r\n");
        service.request("POST", "/v1/tables/sales/rows", &headers, body)
    };
    let body = "[{\"shop\":\"a\"},{\"shop\":\"b\"}]";
    let first = post(&service, "one", body).ok().json();
    let again = post(&service, "one", body).ok().json();
    assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)));
    assert_eq!((&first["first"], &first["rows"]), (&again["first"], &again["rows"]));
    let other = post(&service, "one", "{\"shop\":\"c\"}");
    assert_eq!(other.status, 409, "{}", other.body);
    post(&service, "two", body).ok();
    // Also by a service that has been killed meanwhile.
    let mut child = service.child.take().expect("it runs");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    assert_eq!(post(&service, "one", body).ok().json()["repeated"], true);
    let third = post(&service, "three", body).ok().json();
    assert_eq!(third["first"], 4, "{third}");
    assert_eq!(seen(&service, "per_shop", &third), "shop,sales,total\na,3,\nb,3,\n");
    assert_eq!(post(&service, &"k".repeat(256), body).status, 400);
    service.stop();
}

#[test]
fn with_a_watermark_rows_are_seen_when_it_passes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    create(
        &service,
        "clicks",
        "CREATE TABLE clicks (page STRING, ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH ('connector' = 'http');
         CREATE MATERIALIZED VIEW pages AS SELECT page, COUNT(*) AS n FROM clicks GROUP BY page;
         CREATE MATERIALIZED VIEW windows AS
         SELECT window_end, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY window_start, window_end;",
    );
    let click = |page: &str, second: u32| {
        let row = json!({"page": page, "ts": format!("2024-01-01 00:00:{second:02}.000")});
        send(&service, "clicks", "application/json", &row.to_string()).ok().json()
    };
    let first = click("a", 5);
    assert_eq!(first["min_time"], "2024-01-01 00:00:05.000", "{first}");
    let wait = |wait_ms: u64| {
        let path = format!("/v1/views/pages?min_time={}&wait_ms={wait_ms}", first["min_time_ms"]);
        service.get_as(&path, "text/csv")
    };
    let early = wait(100);
    assert_eq!(early.status, 504, "{}", early.body);
    for part in ["pages", "2024-01-01 00:00:05.000", "after 100 ms", "wait_ms"] {
        assert!(early.body.contains(part), "no '{part}' in {}", early.body);
    }
    // A read that waits already is woken by the row that lets the watermark pass.
    thread::scope(|scope| {
        let reader = scope.spawn(|| wait(20_000).ok().body);
        thread::sleep(Duration::from_millis(50));
        click("b", 8);
        assert_eq!(reader.join().expect("a reader"), "page,n\na,1\n");
    });
    click("c", 31);
    // Behind its window: counted, and readable as late.
    let late = click("late", 1);
    assert_eq!(late["min_time"], "2024-01-01 00:00:29.001", "{late}");
    click("d", 40);
    let found = seen(&service, "windows", &json!({"min_time_ms": 1_704_067_225_000_i64}));
    assert!(found.contains("2024-01-01 00:00:10.000,2"), "{found}");
    let found = seen(&service, "windows$late", &late);
    assert!(found.contains("late"), "{found}");
    for (path, part) in [
        ("/v1/views/pages?min_time=soon", "min_time"),
        ("/v1/views/pages?wait_ms=5", "without min_time"),
        ("/v1/views/pages?min_time=1&wait_ms=99999999", "too long"),
    ] {
        let answer = service.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(part), "no '{part}' in {}", answer.body);
    }
    service.stop();
}

#[test]
fn an_idle_table_does_not_hold_back_the_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    create(
        &service,
        "both",
        "CREATE TABLE busy (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'http');
         CREATE TABLE idle (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'http', 'scan.watermark.idle-timeout' = '100 ms');
         CREATE MATERIALIZED VIEW all_keys AS
         SELECT k, COUNT(*) AS n
         FROM (SELECT k FROM busy UNION ALL SELECT k FROM idle) GROUP BY k;",
    );
    let row = |k: &str, second: u32| {
        json!({"k": k, "ts": format!("2024-01-01 00:00:{second:02}.000")}).to_string()
    };
    let answer = send(&service, "busy", "application/json", &row("x", 1)).ok().json();
    send(&service, "busy", "application/json", &row("y", 2)).ok();
    assert_eq!(seen(&service, "all_keys", &answer), "k,n\nx,1\n");
    // What it says then comes at the time that it has let pass.
    let answer = send(&service, "idle", "application/json", &row("z", 1)).ok().json();
    send(&service, "busy", "application/json", &row("y", 9)).ok();
    assert_eq!(seen(&service, "all_keys", &answer), "k,n\nx,1\ny,1\nz,1\n");
    service.stop();
}

/// Requests of five rows each, numbered; those acknowledged go to `acknowledged`.
fn send_until(
    service: &Service,
    stop: &AtomicBool,
    next: &AtomicU64,
    acknowledged: &Mutex<Vec<u64>>,
) {
    while !stop.load(Ordering::Acquire) {
        let n = next.fetch_add(1, Ordering::AcqRel);
        let row = json!({"shop": format!("request {n}"), "amount": 1, "n": n});
        let body = Value::Array(vec![row; 5]).to_string();
        let Some(status) = try_send(&service.address, &body) else { return };
        if status == 200 {
            acknowledged.lock().expect("a list").push(n);
        }
    }
}

/// The status, unless the connection breaks.
fn try_send(address: &str, body: &str) -> Option<u16> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let head = format!(
        "POST /v1/tables/sales/rows HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Kills a service in the middle of requests, again and again; the requests acknowledged, and the
/// service at last.
fn killed_again_and_again(dir: &Path, sql: &str, kills: u64) -> (Vec<u64>, Service) {
    let next = AtomicU64::new(0);
    let acknowledged = Mutex::new(Vec::new());
    let start = || Service::start(dir, &["--data-dir", "data"]);
    let mut service = start();
    create(&service, "shops", sql);
    for round in 0..kills {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| send_until(&service, &stop, &next, &acknowledged));
            }
            thread::sleep(Duration::from_millis(150 + 130 * round));
            let killed = std::process::Command::new("kill")
                .args(["-9", &service.child.as_ref().expect("it runs").id().to_string()])
                .status();
            assert!(killed.expect("kill").success());
            stop.store(true, Ordering::Release);
        });
        drop(service);
        service = start();
    }
    (acknowledged.into_inner().expect("a list"), service)
}

#[test]
fn what_was_acknowledged_survives_kills_exactly_once_and_is_replayed() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = SALES.to_owned()
        + "CREATE MATERIALIZED VIEW requests AS SELECT n, COUNT(*) AS times FROM sales GROUP BY n;";
    let (acknowledged, service) = killed_again_and_again(dir.path(), &sql, 4);
    assert!(acknowledged.len() > 20, "only {} were acknowledged", acknowledged.len());
    let last = send(&service, "sales", "application/json", "{\"shop\":\"last\",\"n\":-1}");
    let last = last.ok().json();
    let rows = seen(&service, "requests", &last);
    let times: BTreeMap<i64, u64> = rows
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .map(|(n, times)| (n.parse().expect("a number"), times.parse().expect("a count")))
        .collect();
    for n in &acknowledged {
        assert_eq!(times.get(&(*n as i64)), Some(&5), "request {n}");
    }
    for (n, times) in times.iter().filter(|(n, _)| **n >= 0) {
        assert_eq!(*times, 5, "request {n} is there in parts");
    }
    // Digests are noted up to the last snapshot, and compared by whole minutes.
    service.stop();
    for workers in ["1", "4"] {
        let args = ["replay", "shops", "--data-dir", "data", "--workers", workers];
        let said = floodmark(dir.path(), &args).success();
        assert!(said.contains("identical"), "{said}");
    }
}
