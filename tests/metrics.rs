//! `GET /metrics` of a running service: the format, what the numbers say of jobs whose work is
//! known, and where back pressure shows.

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::prometheus::Page;
use common::service::Service;
use common::{tests_dir, write};
use serde_json::json;

fn scrape(service: &Service) -> Page {
    let answer = service.get("/metrics").ok();
    let form = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(answer.head.contains(form), "{}", answer.head);
    Page::read(&answer.body)
}

/// Scrapes until `found` likes the page.
fn scrape_until(service: &Service, what: &str, found: impl Fn(&Page) -> bool) -> Page {
    for _ in 0..300 {
        let page = scrape(service);
        if found(&page) {
            return page;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} never came:\n{}", service.get("/metrics").body);
}

fn create(service: &Service, name: &str, sql: &str) {
    service.post("/v1/jobs", &json!({"name": name, "sql": sql})).ok();
}

fn wait_for_end(service: &Service, job: &str) {
    service.wait_for(&format!("/v1/jobs/{job}"), |job| job["state"] == "finished");
}

/// 1000 rows, of which all but ten have one key; ten more are broken and one is late.
fn skewed(dir: &Path) -> String {
    let mut lines = String::new();
    for n in 0..1000 {
        let key = if n % 100 == 0 { n } else { -1 };
        let _ =
            writeln!(lines, r#"{{"k":{key},"ts":"2026-01-01 00:{:02}:{:02}"}}"#, n / 60, n % 60);
    }
    lines.push_str(&"broken\n".repeat(10));
    lines.push_str("{\"k\":1,\"ts\":\"2026-01-01 00:00:00\"}\n");
    write(dir, "keys.jsonl", &lines);
    format!(
        "SET 'snapshot.interval' = '100 ms';
         CREATE TABLE keys (k BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE MATERIALIZED VIEW per_key AS SELECT k, COUNT(*) AS n FROM keys GROUP BY k;
         CREATE MATERIALIZED VIEW per_minute AS
         SELECT window_start, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE keys, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
         GROUP BY window_start, window_end;",
        dir.join("keys.jsonl").display()
    )
}

#[test]
fn the_numbers_of_a_job_are_those_of_its_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    create(&service, "skew", &skewed(dir.path()));
    wait_for_end(&service, "skew");
    service.wait_for("/v1/jobs/skew", |job| !job["snapshots"]["last"].is_null());
    let job = ("job", "skew");
    let group = |page: &Page| -> String {
        let named = |name: &&(String, _, f64)| name.0 == "floodmark_operator_records_in_total";
        let mut names = page.samples.iter().filter(named).map(|(_, labels, _)| &labels["operator"]);
        names.find(|name| name.starts_with("GroupAggregate#")).expect("an aggregate").clone()
    };
    let page = scrape(&service);
    let group = group(&page);
    let source = [job, ("table", "keys")];
    assert_eq!(page.sum("floodmark_source_records_total", &source), 1001.0);
    let length = dir.path().join("keys.jsonl").metadata().expect("the file").len();
    assert_eq!(page.sum("floodmark_source_bytes_total", &source), length as f64);
    assert_eq!(page.sum("floodmark_source_watermark_seconds", &source), f64::INFINITY);
    assert_eq!(page.sum("floodmark_dead_letters_total", &[job]), 10.0);
    assert_eq!(page.sum("floodmark_late_records_total", &[job]), 1.0);
    let of_source = [job, ("operator", "Source(keys)")];
    assert_eq!(page.sum("floodmark_operator_records_out_total", &of_source), 1001.0);
    let of_group = [job, ("operator", group.as_str())];
    assert_eq!(page.sum("floodmark_operator_records_in_total", &of_group), 1001.0);
    assert!(page.sum("floodmark_operator_bytes_in_total", &of_group) >= 1001.0 * 16.0);
    assert!(page.sum("floodmark_operator_busy_seconds_total", &of_group) > 0.0);
    // What has ended holds nothing.
    for gone in ["state_rows", "state_bytes", "queued_rows"] {
        assert_eq!(page.sum(&format!("floodmark_operator_{gone}"), &of_group), 0.0, "{gone}");
    }
    // The one key is on one worker, and the exchange shows it.
    let exchange = [job, ("operator", group.as_str()), ("kind", "hash"), ("input", "0")];
    let mut received = page.values("floodmark_exchange_records_total", &exchange);
    received.sort_by(f64::total_cmp);
    assert_eq!(received.len(), 2, "one a worker");
    assert_eq!(received.iter().sum::<f64>(), 1001.0);
    assert!(received[1] >= 990.0, "{received:?}");
    let view = [job, ("view", "per_key")];
    assert_eq!(page.sum("floodmark_view_rows", &view), 12.0);
    assert!(page.sum("floodmark_output_records_total", &[job, ("output", "per_key")]) >= 12.0);
    let state = |name: &str| page.sum("floodmark_job_state", &[job, ("state", name)]);
    assert_eq!([state("finished"), state("running"), state("failed")], [1.0, 0.0, 0.0]);
    assert_eq!(page.sum("floodmark_snapshot_failures_total", &[job]), 0.0);
    // What has ended changes no more: another page has the same series in the same order.
    assert_eq!(page.series(), scrape(&service).series());
    service.request("DELETE", "/v1/jobs/skew", "", "").ok();
    assert!(scrape(&service).samples.iter().all(|(_, labels, _)| !labels.contains_key("job")));
    service.stop();
}

#[test]
fn the_process_and_its_workers_are_told_without_any_job() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &["--workers", "3"]);
    let first = scrape(&service);
    assert_eq!(first.sum("floodmark_workers", &[]), 3.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(first.sum("floodmark_build_info", &version), 1.0);
    assert_eq!(first.sum("floodmark_process_restarts_total", &[]), 0.0);
    assert!(first.sum("floodmark_process_resident_memory_bytes", &[]) > 1e6);
    assert!(first.sum("floodmark_process_open_fds", &[]) > 3.0);
    assert_eq!(first.sum("floodmark_jobs", &[]), 0.0);
    let up = "floodmark_process_uptime_seconds";
    let second = scrape_until(&service, "three seconds", |page| {
        page.sum(up, &[]) >= first.sum(up, &[]) + 3.0
    });
    let passed = second.sum(up, &[]) - first.sum(up, &[]);
    for worker in ["0", "1", "2"] {
        let spent = |page: &Page, state: &str| {
            page.sum(&format!("floodmark_worker_{state}_seconds_total"), &[("worker", worker)])
        };
        let gone = |state: &str| spent(&second, state) - spent(&first, state);
        let all = gone("busy") + gone("idle") + gone("backpressured");
        // A worker that sleeps says so when it wakes, after a second at most.
        assert!((all - passed).abs() < 1.6, "{all} of {passed} s");
        assert!(gone("idle") > 0.9 * all, "an idle service sleeps");
    }
    service.stop();
}

#[test]
fn state_and_snapshots_are_told_while_a_job_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    let sql = "
        SET 'snapshot.interval' = '1 h';
        CREATE TABLE sales (shop STRING, n BIGINT) WITH ('connector' = 'http');
        CREATE MATERIALIZED VIEW per_shop AS
        SELECT shop, SUM(n) AS n FROM sales GROUP BY shop;";
    create(&service, "shops", sql);
    let job = ("job", "shops");
    let state = |page: &Page, of: &str| {
        let values = page.values(&format!("floodmark_operator_state_{of}"), &[job]);
        values.iter().sum::<f64>()
    };
    for (rows, keys) in
        [(json!([{"shop": "a", "n": 1}, {"shop": "b"}]), 2.0), (json!({"shop": "c"}), 3.0)]
    {
        service.post("/v1/tables/sales/rows", &rows).ok();
        // The second comes within the second in which the state is not counted again.
        scrape_until(&service, "the groups", |page| state(page, "rows") == keys);
    }
    assert!(state(&scrape(&service), "bytes") >= 3.0 * 16.0);
    assert_eq!(scrape(&service).sum("floodmark_snapshots_total", &[job]), 0.0);
    service.post("/v1/jobs/shops/snapshots", &json!({})).ok();
    let page = scrape(&service);
    assert_eq!(page.sum("floodmark_snapshots_total", &[job]), 1.0);
    let bucket = "floodmark_snapshot_duration_seconds_bucket";
    assert_eq!(page.sum(bucket, &[job, ("le", "+Inf")]), 1.0);
    assert_eq!(page.sum("floodmark_snapshot_duration_seconds_count", &[job]), 1.0);
    assert!(page.sum("floodmark_snapshot_last_size_bytes", &[job]) > 0.0);
    assert!(page.sum("floodmark_snapshot_age_seconds", &[job]) < 60.0);
    let output = [job, ("output", "per_shop")];
    assert!((0.0..60.0).contains(&page.sum("floodmark_output_lag_seconds", &output)));
    service.stop();
}

#[test]
fn a_source_that_others_hold_back_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let sql = "
        SET 'idle_timeout' = '1 h';
        CREATE TABLE clicks (n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'http');
        CREATE TABLE bid (auction BIGINT, `dateTime` TIMESTAMP(3),
          WATERMARK FOR `dateTime` AS `dateTime`)
        WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid');
        CREATE MATERIALIZED VIEW both_of AS
        SELECT n AS id, COUNT(*) AS n FROM clicks GROUP BY n
        UNION ALL SELECT auction, COUNT(*) FROM bid WHERE auction < 5 GROUP BY auction;";
    create(&service, "waits", sql);
    let reason = [("job", "waits"), ("operator", "Source(bid)"), ("reason", "max_drift")];
    let page = scrape_until(&service, "back pressure", |page| {
        let held = page.values("floodmark_operator_backpressured_seconds_total", &reason);
        held.iter().sum::<f64>() > 1.0
    });
    assert!(page.sum("floodmark_worker_backpressured_seconds_total", &[]) > 0.5);
    let other = [("job", "waits"), ("reason", "rows_in_flight")];
    assert_eq!(page.sum("floodmark_operator_backpressured_seconds_total", &other), 0.0);
    service.stop();
}

#[test]
fn back_pressure_starts_at_the_slow_sink() {
    let dir = tempfile::tempdir().expect("a folder");
    let slow = "debug.failpoint=sink.before_sync=delay:400";
    let more = ["--data-dir", "data", "--set", slow, "--set", "snapshot.interval=50 ms"];
    let service = Service::start(dir.path(), &more);
    let sql = format!(
        "SET 'source.rows_in_flight' = '2000';
         CREATE TABLE bid (auction BIGINT, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime`)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid');
         CREATE TABLE slow (auction BIGINT, at TIMESTAMP(3))
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
         INSERT INTO slow SELECT auction, `dateTime` FROM bid;",
        dir.path().join("out").display()
    );
    create(&service, "slow", &sql);
    let (job, output) = (("job", "slow"), ("output", "slow"));
    let held = |page: &Page, operator: &str, reason: &str| {
        let with = [job, ("operator", operator), ("reason", reason)];
        page.values("floodmark_operator_backpressured_seconds_total", &with).iter().sum::<f64>()
    };
    let page = scrape_until(&service, "a slow sink", |page| {
        held(page, "Sink(slow)", "writer") > 0.5
            && held(page, "Source(bid)", "rows_in_flight") > 0.5
            && page.values("floodmark_sink_queued_rows", &[job, output]) > vec![0.0]
    });
    assert!(page.sum("floodmark_sink_write_seconds_total", &[job, output]) > 0.3);
    let in_flight = page.values("floodmark_operator_in_flight_rows_max", &[job]);
    assert_eq!(in_flight, [2000.0, 2000.0]);
    service.stop();
}

#[test]
fn names_that_must_be_escaped_are_one_label() {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    let sql = format!(
        "CREATE TABLE `a \"b\\c` (user_id STRING) WITH ('connector' = 'filesystem',
           'path' = '{}', 'format' = 'json');
         CREATE MATERIALIZED VIEW v AS SELECT DISTINCT user_id FROM `a \"b\\c`;",
        tests_dir().join("sql/data/clicks.jsonl").display()
    );
    create(&service, "escaped", &sql);
    wait_for_end(&service, "escaped");
    let page = scrape(&service);
    assert_eq!(page.sum("floodmark_source_records_total", &[("table", "a \"b\\c")]), 18.0);
    let sources =
        page.values("floodmark_operator_records_out_total", &[("operator", "Source(a \"b\\c)")]);
    assert_eq!(sources.iter().sum::<f64>(), 18.0);
    service.stop();
}
