//! Why an output waits: what a running service says of the table, file and offset, or the operator,
//! that holds it back.

mod common;

use std::path::Path;
use std::thread;
use std::time::Duration;

use common::service::Service;
use common::{floodmark, write};
use serde_json::{Value, json};

/// Puts a whole file there at once: who watches the folder never sees a part of it.
fn put(dir: &Path, name: &str, text: &str) {
    write(dir, "new", text);
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::rename(dir.join("new"), path).expect("a file is moved");
}

/// Lines of JSON with an id and a time of the first of March.
fn lines(times: &[&str]) -> String {
    let line =
        |(id, time): (usize, &&str)| format!("{{\"id\":{id},\"ts\":\"2024-03-01 {time}\"}}\n");
    times.iter().enumerate().map(line).collect()
}

/// A table over the files of a folder, which is watched.
fn watched(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'filesystem', 'path' = '{name}/*.jsonl', 'format' = 'json',
               'source.monitor-interval' = '20 ms');\n"
    )
}

fn created(service: &Service, name: &str, sql: &str) {
    service.post("/v1/jobs", &json!({"name": name, "sql": sql})).ok();
}

/// What is said of `output` once `found` likes it.
fn said(service: &Service, job: &str, output: &str, found: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/jobs/{job}/frontier");
    let of = |answer: &Value| -> Option<Value> {
        answer["outputs"].as_array()?.iter().find(|o| o["output"] == output).cloned()
    };
    let answer = service.wait_for(&path, |answer| of(answer).is_some_and(|own| found(&own)));
    of(&answer).expect("the output is there")
}

fn is_held(own: &Value, source: &str, reason: &str) -> bool {
    own["held_by"]["source"] == source && own["held_by"]["reason"] == reason
}

/// Whether a source that is read to its end holds an output, and time has come to `frontier`.
fn rests(own: &Value, source: &str, frontier: &str) -> bool {
    is_held(own, source, "all_read") && own["frontier"] == frontier && !own["behind_ms"].is_null()
}

/// Orders are ahead, and payments come no more.
fn shop(service: &Service, dir: &Path) -> (String, String) {
    let orders = lines(&["09:00:00", "09:10:00"]);
    let payments = lines(&["09:00:00", "09:01:00"]);
    put(dir, "orders/1.jsonl", &orders);
    put(dir, "payments/1.jsonl", &payments);
    let sql = [
        "SET 'max_drift' = '1 d';\n".to_owned(),
        watched("orders"),
        watched("payments"),
        "CREATE MATERIALIZED VIEW paid AS
         SELECT orders.id, COUNT(*) AS n FROM orders JOIN payments ON orders.id = payments.id
         GROUP BY orders.id;
         CREATE MATERIALIZED VIEW ordered AS SELECT COUNT(*) AS n FROM orders;"
            .to_owned(),
    ];
    created(service, "shop", &sql.concat());
    (orders, payments)
}

#[test]
fn the_table_file_and_offset_that_hold_a_view_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let (orders, payments) = shop(&service, dir.path());
    // To a tick of 100 ms.
    let own = said(&service, "shop", "paid", |own| {
        rests(own, "payments", "2024-03-01 09:01:00.000") && own["behind_ms"] != 1
    });
    let held = &own["held_by"];
    assert_eq!(held["partition_frontier"], "2024-03-01 09:01:00.001", "{own}");
    assert_eq!(own["behind_ms"], 9 * 60_000 + 1, "behind the orders: {own}");
    assert_eq!(held["partition"], "payments/1.jsonl", "{own}");
    assert_eq!(held["offset"], payments.len(), "{own}");
    assert_eq!(held["holder"], "Source(payments)", "{own}");
    let state = own["state"].as_str().expect("words");
    assert!(state.contains("waits for new ones"), "{state}");
    // The other view waits for nobody but its own table.
    let ordered =
        said(&service, "shop", "ordered", |own| rests(own, "orders", "2024-03-01 09:10:00.000"));
    assert_eq!(ordered["held_by"]["offset"], orders.len(), "{ordered}");
    assert_eq!(ordered["behind_ms"], 1, "{ordered}");
    // It has waited longer when it is asked again, and since the same moment.
    let waited = held["waits_ms"].as_i64().expect("a time");
    thread::sleep(Duration::from_millis(30));
    let again = said(&service, "shop", "paid", |_| true);
    assert_eq!(again["held_by"]["since_ms"], held["since_ms"], "{again}");
    assert!(again["held_by"]["waits_ms"].as_i64() >= Some(waited + 30), "{own} {again}");
    // More payments move it on: now the orders are behind.
    put(dir.path(), "payments/2.jsonl", &lines(&["09:20:00"]));
    let moved =
        said(&service, "shop", "paid", |own| rests(own, "orders", "2024-03-01 09:10:00.000"));
    assert_eq!(moved["held_by"]["partition"], "orders/1.jsonl", "{moved}");
    assert_eq!(moved["behind_ms"], 10 * 60_000 + 1, "behind the payments: {moved}");
    service.stop();
}

#[test]
fn sql_text_and_the_command_line_say_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let (_, payments) = shop(&service, dir.path());
    said(&service, "shop", "paid", |own| rests(own, "payments", "2024-03-01 09:01:00.000"));
    let asked = |query: &str| service.post("/v1/sql", &json!({ "query": query }));
    let answer = asked("EXPLAIN FRONTIER FOR paid;").ok().json();
    let names: Vec<&str> = answer["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| column["name"].as_str().expect("a name"))
        .collect();
    let expected = [
        "output",
        "kind",
        "frontier",
        "behind_ms",
        "holder",
        "source",
        "partition",
        "offset",
        "state",
        "since",
        "job",
    ];
    assert_eq!(names, expected);
    let row = &answer["rows"][0];
    assert_eq!(answer["rows"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(row["output"], "paid");
    assert_eq!(
        (&row["holder"], &row["partition"], &row["offset"]),
        (&json!("Source(payments)"), &json!("payments/1.jsonl"), &json!(payments.len()))
    );
    let all = asked("EXPLAIN FRONTIER shop").ok().json();
    let outputs: Vec<&str> = all["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["output"].as_str().expect("a name"))
        .collect();
    assert!(outputs.starts_with(&["paid", "ordered"]), "{outputs:?}");
    assert!(outputs.contains(&"floodmark.dead_letters"), "{outputs:?}");
    assert_eq!(asked("explain frontier").ok().json()["rows"], all["rows"], "all jobs");
    for (query, part) in [
        ("EXPLAIN FRONTIER FOR paidd", "did you mean 'paid'?"),
        ("EXPLAIN FRONTIER FOR", "expected the name of a job"),
        ("EXPLAIN SELECT 1", "EXPLAIN FRONTIER FOR job"),
    ] {
        let refused = asked(query);
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.contains(part), "no {part} in {}", refused.body);
    }
    let timed = json!({"query": "EXPLAIN FRONTIER", "as_of": 0});
    assert_eq!(service.post("/v1/sql", &timed).status, 400);
    let script = json!({"name": "x", "sql": "EXPLAIN FRONTIER FOR shop;"});
    let refused = service.post("/v1/jobs", &script);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("floodmark frontier JOB"), "{}", refused.body);

    let text = service.get_as("/v1/jobs/shop/frontier", "text/plain").ok().body;
    for part in [
        "view paid: 2024-03-01 09:01:00.000, 9 min behind what has been read",
        "held by Source(payments), partition payments/1.jsonl at offset",
        "its one partition is read to the end; waits for new ones",
    ] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    let url = format!("http://{}", service.address);
    let printed = floodmark(dir.path(), &["frontier", "shop", "--url", &url]).success();
    assert!(printed.contains("held by Source(payments)"), "{printed}");
    let printed = floodmark(dir.path(), &["frontier", "--url", &url]).success();
    assert!(printed.contains("shop  paid "), "{printed}");
    let form = floodmark(dir.path(), &["frontier", "shop", "--url", &url, "--format", "json"]);
    let form: Value = serde_json::from_str(&form.success()).expect("JSON");
    assert_eq!(form["outputs"][0]["held_by"]["source"], "payments", "{form}");
    floodmark(dir.path(), &["frontier", "none", "--url", &url]).refused_with(&["no job none"]);
    service.stop();
}

/// Bids as fast as they can be made, without end.
const BIDS: &str = "
    CREATE TABLE bid (auction BIGINT, channel STRING, `dateTime` TIMESTAMP(3),
                      WATERMARK FOR `dateTime` AS `dateTime`)
    WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000');\n";

#[test]
fn a_source_that_is_too_far_ahead_of_another_says_of_which() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    put(dir.path(), "slow/1.jsonl", "{\"id\":1,\"ts\":\"2021-01-01 00:00:05\"}\n");
    let sql = [
        BIDS.to_owned(),
        watched("slow"),
        "CREATE MATERIALIZED VIEW both AS
         SELECT COUNT(*) AS n FROM (SELECT auction FROM bid UNION ALL SELECT id FROM slow);
         CREATE MATERIALIZED VIEW bids AS SELECT COUNT(*) AS n FROM bid;"
            .to_owned(),
    ];
    created(&service, "drift", &sql.concat());
    said(&service, "drift", "both", |own| rests(own, "slow", "2021-01-01 00:00:05.000"));
    let bids = said(&service, "drift", "bids", |own| is_held(own, "bid", "max_drift"));
    assert_eq!(bids["held_by"]["partition"], "bid[0]", "{bids}");
    assert!(bids["held_by"]["offset"].as_i64() > Some(0), "{bids}");
    let state = bids["state"].as_str().expect("words");
    assert!(state.contains("waits for table slow") && state.contains("10000 ms"), "{state}");
    service.stop();
}

#[test]
fn a_writer_that_is_busy_holds_its_sink_and_what_is_read_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    // Nobody reads the standard output of the service: a pipe of 64 kB.
    let sql = format!(
        "SET 'source.rows_in_flight' = '20000';
         {BIDS}
         CREATE TABLE out (auction BIGINT, channel STRING) WITH ('connector' = 'print');
         INSERT INTO out SELECT auction, channel FROM bid;
         CREATE MATERIALIZED VIEW bids AS SELECT COUNT(*) AS n FROM bid;"
    );
    created(&service, "slow", &sql);
    let out = said(&service, "slow", "out", |own| own["held_by"]["reason"] == "writing");
    assert_eq!(out["kind"], "sink");
    assert_eq!(out["held_by"]["holder"], "Sink(out)", "{out}");
    assert_eq!(out["state"], "its writer is busy with what it was given before", "{out}");
    let bids = said(&service, "slow", "bids", |own| is_held(own, "bid", "back_pressure"));
    assert_eq!(bids["state"], "back pressure: Sink(out) is behind with its rows", "{bids}");
}

#[test]
fn a_silent_table_says_when_it_will_be_idle_and_that_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    put(dir.path(), "other/1.jsonl", &lines(&["09:00:00"]));
    let sql = |timeout: &str| {
        format!(
            "SET 'idle_timeout' = '{timeout}'; {}
             CREATE TABLE sent (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
             WITH ('connector' = 'http');
             CREATE MATERIALIZED VIEW v AS
             SELECT COUNT(*) AS n FROM (SELECT id FROM sent UNION ALL SELECT id FROM other);",
            watched("other")
        )
    };
    created(&service, "patient", &sql("1 h"));
    let own = said(&service, "patient", "v", |own| is_held(own, "sent", "idle_pending"));
    assert_eq!((&own["frontier"], &own["behind_ms"]), (&Value::Null, &Value::Null), "{own}");
    assert_eq!(
        (&own["held_by"]["partition"], &own["held_by"]["offset"]),
        (&json!("http"), &json!(0))
    );
    let rows =
        "[{\"id\":1,\"ts\":\"2024-03-01 08:00:00\"},{\"id\":2,\"ts\":\"2024-03-01 08:00:00\"}]";
    service.request("POST", "/v1/tables/patient.sent/rows", "", rows).ok();
    let own = said(&service, "patient", "v", |own| {
        own["held_by"]["offset"] == 2 && own["behind_ms"] == 3_600_001
    });
    let ms = own["state"]
        .as_str()
        .and_then(|state| state.split_once("; in ")?.1.split_once(" ms")?.0.parse::<i64>().ok());
    assert!(ms.is_none_or(|ms| ms > 3_500_000 && ms <= 3_600_000), "{own}");
    created(&service, "hasty", &sql("50 ms"));
    let own = said(&service, "hasty", "v", |own| own["frontier"] == "2024-03-01 09:00:00.000");
    assert_eq!(own["held_by"]["source"], "other", "the silent table holds nothing: {own}");
    said(&service, "hasty", "v", |own| is_held(own, "other", "idle"));
    service.stop();
}

#[test]
fn what_has_not_begun_has_ended_or_has_failed_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    std::fs::create_dir(dir.path().join("none")).expect("a folder");
    let view = "CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS n FROM none;";
    created(&service, "early", &format!("{}{view}", watched("none")));
    let own = said(&service, "early", "v", |own| is_held(own, "none", "no_partition"));
    assert_eq!(own["state"], "no file matches 'none/*.jsonl' yet", "{own}");
    assert_eq!(own["held_by"]["partition"], Value::Null, "{own}");
    assert!(own["held_by"]["waits_ms"].as_i64() >= Some(0), "{own}");
    // A recursion without end fails while it runs.
    let endless = "SET 'recursion.limit' = '5';
        CREATE MATERIALIZED VIEW endless AS
        WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r;";
    created(&service, "failing", endless);
    let answer = service.wait_for("/v1/jobs/failing/frontier", |a| a["state"] == "failed");
    let own = &answer["outputs"][0];
    assert!(answer["error"].as_str().is_some_and(|e| e.contains("iterations")), "{answer}");
    assert_eq!(own["held_by"], Value::Null, "{answer}");
    assert_ne!(own["frontier"], "end", "nothing of it is final: {answer}");
    assert!(own["state"].as_str().is_some_and(|s| s.contains("has failed")), "{answer}");
    let values = "CREATE MATERIALIZED VIEW two AS SELECT * FROM (VALUES (1), (2)) AS t (n);";
    created(&service, "over", values);
    let own = said(&service, "over", "two", |own| own["frontier"] == "end");
    assert_eq!((&own["held_by"], &own["behind_ms"]), (&Value::Null, &json!(0)), "{own}");
    assert!(own["state"].as_str().is_some_and(|s| s.starts_with("final")), "{own}");
    assert_eq!(service.get("/v1/jobs/nobody/frontier").status, 404);
    service.stop();
}

#[test]
fn an_operator_at_work_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let rows: String = (0..5000).map(|id| format!("{{\"id\":{id},\"k\":1}}\n")).collect();
    put(dir.path(), "a.jsonl", &rows);
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(0, 3),
                                  WATERMARK FOR ts AS ts)
             WITH ('connector' = 'filesystem', 'path' = 'a.jsonl', 'format' = 'json');\n"
        )
    };
    // Every pair is looked at, and none is kept.
    let view = "CREATE MATERIALIZED VIEW pairs AS
        SELECT COUNT(*) AS n FROM a JOIN b ON a.k = b.k AND a.id + b.id < 0;";
    created(&service, "pairs", &[table("a"), table("b"), view.to_owned()].concat());
    let is_joining = |own: &Value| {
        let holder = own["held_by"]["holder"].as_str();
        own["held_by"]["reason"] == "applying" && holder.is_some_and(|h| h.starts_with("Join#"))
    };
    let own = said(&service, "pairs", "pairs", is_joining);
    assert!(own["held_by"]["worker"].is_u64(), "{own}");
    assert_eq!(own["held_by"]["source"], Value::Null, "{own}");
}

#[test]
fn sources_that_wait_for_a_snapshot_say_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let slow = ["--data-dir", "data", "--set", "debug.failpoint=manifest.before_commit=delay:3000"];
    let service = Service::start(dir.path(), &slow);
    put(dir.path(), "orders/1.jsonl", &lines(&["09:00:00", "09:10:00"]));
    let sql = format!(
        "SET 'snapshot.interval' = '0 ms'; {}
         CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS n FROM orders;",
        watched("orders")
    );
    created(&service, "steps", &sql);
    put(dir.path(), "orders/2.jsonl", &lines(&["09:20:00"]));
    let own = said(&service, "steps", "v", |own| is_held(own, "orders", "snapshot"));
    assert!(own["state"].as_str().is_some_and(|s| s.contains("waits for a snapshot")), "{own}");
}
