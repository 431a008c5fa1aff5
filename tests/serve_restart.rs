//! The service is killed or stopped and started again on its data directory: jobs, views and sink
//! files are those of a service that nobody disturbed.

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::service::Service;
use common::{finish, signal, sorted, write};
use serde_json::{Value, json};

const EVENTS: u64 = 60_000;

/// Bids at `rate` a second, if given; what is computed does not depend on it.
fn bids(view: &str, sink: &str, rate: Option<u64>) -> String {
    let rate = rate.map(|rate| format!(", 'rate' = '{rate}'")).unwrap_or_default();
    format!(
        "SET 'snapshot.interval' = '100 ms';
         SET 'retain_history' = '1 h';
         CREATE TABLE bid (auction BIGINT, price BIGINT, channel STRING, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
           'events' = '{EVENTS}'{rate});
         CREATE TABLE counted (window_end TIMESTAMP(3), auction BIGINT, bids BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{sink}', 'format' = 'csv');
         CREATE MATERIALIZED VIEW {view} AS
         SELECT auction, COUNT(*) AS bids, MAX(price) AS highest FROM bid GROUP BY auction;
         INSERT INTO counted
         SELECT window_end, auction, COUNT(*) AS bids
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND))
         GROUP BY window_start, window_end, auction;"
    )
}

fn create(service: &Service, name: &str, sql: &str) {
    service.post("/v1/jobs", &json!({"name": name, "sql": sql})).ok();
}

fn finished(service: &Service, name: &str) -> Value {
    service.wait_for(&format!("/v1/jobs/{name}"), |job| {
        assert_ne!(job["state"], "failed", "{job}");
        job["state"] == "finished"
    })
}

fn contents(service: &Service, view: &str) -> String {
    service.get_as(&format!("/v1/views/{view}?limit=1000000"), "text/csv").ok().body
}

/// All rows of the sink's finished files, sorted.
fn rows_of(dir: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the sink's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            !name.starts_with(['.', '_'])
        })
        .collect();
    files.sort();
    let text: String =
        files.iter().map(|path| fs::read_to_string(path).expect("a sink file")).collect();
    sorted(&format!("rows\n{text}"))
}

/// View and sink of a service that nobody disturbs.
fn undisturbed() -> (String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let service = Service::start(dir.path(), &[]);
    create(&service, "bids", &bids("per_auction", "out", None));
    finished(&service, "bids");
    (contents(&service, "per_auction"), rows_of(&dir.path().join("out")))
}

/// Waits until the job is beyond a part of its input, and has a snapshot.
fn wait_for_part(service: &Service, name: &str, rows: u64) -> Value {
    service.wait_for(&format!("/v1/jobs/{name}"), |job| {
        job["rows_in"].as_u64().is_some_and(|n| n >= rows) && !job["snapshots"]["last"].is_null()
    })
}

fn kill(mut service: Service) {
    let mut child = service.child.take().expect("it runs");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
}

#[test]
fn what_a_kill_interrupts_goes_on_to_the_same_end() {
    let (view, sink) = undisturbed();
    let dir = tempfile::tempdir().expect("a folder");
    let start = || Service::start(dir.path(), &["--data-dir", "data"]);
    let service = start();
    create(&service, "bids", &bids("per_auction", "out", Some(15_000)));
    wait_for_part(&service, "bids", 10_000);
    kill(service);
    // The second time by a stop, which takes a last snapshot.
    let mut service = start();
    let job = wait_for_part(&service, "bids", 1);
    assert!(job["snapshots"]["from"].as_u64().is_some(), "begun anew: {job}");
    thread::sleep(Duration::from_millis(300));
    let child = service.child.take().expect("it runs");
    signal(&child, "TERM");
    assert_eq!(finish(child).code(), 0, "SIGTERM is a clean end");
    let service = start();
    let job = finished(&service, "bids");
    assert!(job["snapshots"]["from"].as_u64().is_some_and(|id| id > 1), "{job}");
    assert!(contents(&service, "per_auction") == view, "the view differs");
    assert!(rows_of(&dir.path().join("out")) == sink, "the sink's rows differ");
    service.stop();
}

#[test]
fn a_job_that_has_ended_comes_back_with_its_view_and_writes_nothing() {
    let (view, sink) = undisturbed();
    let dir = tempfile::tempdir().expect("a folder");
    let start = || Service::start(dir.path(), &["--data-dir", "data"]);
    let service = start();
    create(&service, "bids", &bids("per_auction", "out", None));
    finished(&service, "bids");
    // Its end is durable a moment after it is seen.
    service.wait_for("/v1/jobs/bids", |job| job["snapshots"]["last"]["frontier"] == "end");
    kill(service);
    for _ in 0..2 {
        let service = start();
        finished(&service, "bids");
        assert!(contents(&service, "per_auction") == view, "the view differs");
        assert!(rows_of(&dir.path().join("out")) == sink, "rows were written again");
        service.stop();
    }
}

#[test]
fn several_jobs_come_back_and_a_deleted_one_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = || Service::start(dir.path(), &["--data-dir", "data"]);
    let service = start();
    create(&service, "kept", &bids("a", "out_a", Some(5_000)));
    create(&service, "gone", &bids("b", "out_b", Some(5_000)));
    create(&service, "other", &bids("c", "out_c", Some(5_000)));
    wait_for_part(&service, "gone", 1);
    service.request("DELETE", "/v1/jobs/gone", "", "").ok();
    service.request("DELETE", "/v1/jobs/other?keep_snapshots=true", "", "").ok();
    kill(service);
    let service = start();
    assert_eq!(service.get("/v1/jobs/kept").ok().json()["state"], "running");
    for name in ["gone", "other"] {
        assert_eq!(service.get(&format!("/v1/jobs/{name}")).status, 404, "{name} came back");
    }
    assert_eq!(service.get("/v1/views/b").status, 404);
    // The name is free; what was kept is gone on with, what was deleted is not there.
    create(&service, "other", &bids("c", "out_c", Some(5_000)));
    assert!(!service.get("/v1/jobs/other").ok().json()["snapshots"]["from"].is_null());
    create(&service, "gone", &bids("b", "out_new", None));
    assert!(service.get("/v1/jobs/gone").ok().json()["snapshots"]["from"].is_null());
    service.stop();
}

#[test]
fn history_is_read_exactly_after_a_restart_and_refused_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = || Service::start(dir.path(), &["--data-dir", "data"]);
    let service = start();
    let sql = bids("per_auction", "out", Some(5_000)).replace("'1 h'", "'8 s'");
    create(&service, "bids", &sql);
    wait_for_part(&service, "bids", 20_000);
    let view = service.get("/v1/views/per_auction?limit=1").ok().json();
    let time = view["as_of_ms"].as_i64().expect("a time") - 1_000;
    let path = format!("/v1/views/per_auction?limit=1000000&as_of={time}");
    let before = service.get_as(&path, "text/csv").ok().body;
    assert!(before.lines().count() > 10, "{before}");
    kill(service);
    let service = start();
    service.wait_for("/v1/views/per_auction?limit=1", |view| {
        view["as_of_ms"].as_i64().is_some_and(|now| now >= time)
    });
    let after = service.get_as(&path, "text/csv");
    assert!(after.ok().body == before, "the past has changed");
    let early = format!("/v1/views/per_auction?as_of={}", time - 3_600_000);
    let refused = service.get(&early);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("readable from"), "{}", refused.body);
}

#[test]
fn a_job_that_cannot_go_on_is_there_as_failed() {
    let dir = tempfile::tempdir().expect("a folder");
    let start =
        |more: &[&str]| Service::start(dir.path(), &[&["--data-dir", "data"], more].concat());
    write(dir.path(), "in.csv", "1\n2\n");
    let sql = "SET 'restart.delay' = '50 ms';
        CREATE TABLE t (id INT) WITH ('connector' = 'filesystem', 'path' = 'in.csv',
          'format' = 'csv');
        CREATE MATERIALIZED VIEW ids AS SELECT id FROM t;";
    write(dir.path(), "other.sql", sql.replace("ids", "others"));
    let service = start(&["--job", "other.sql"]);
    create(&service, "lost", sql);
    finished(&service, "lost");
    finished(&service, "other");
    service.stop();
    fs::rename(dir.path().join("in.csv"), dir.path().join("gone.csv")).expect("renamed");
    write(dir.path(), "fine.sql", sql.replace("in.csv", "gone.csv").replace("ids", "fine"));
    let service = start(&["--job", "fine.sql", "--job", "other.sql"]);
    finished(&service, "fine");
    let lost = service.wait_for("/v1/jobs/lost", |job| job["state"] == "failed");
    assert!(lost["error"]["message"].as_str().is_some_and(|m| m.contains("in.csv")), "{lost}");
    service.request("DELETE", "/v1/jobs/lost", "", "").ok();
    service.stop();
    // Another script under the name of a job is refused.
    write(dir.path(), "fine.sql", sql.replace("ids", "finer"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--job", "fine.sql"];
    common::floodmark(dir.path(), &args).refused_with(&["fine", "delete the job first"]);
}

/// A file that is not there when the service starts may come later.
#[test]
fn what_a_job_lacks_at_a_start_is_looked_for_again() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "in.csv", "1\n2\n");
    let sql = "SET 'restart.delay' = '100 ms';
        SET 'restart.attempts' = '50';
        CREATE TABLE t (id INT) WITH ('connector' = 'filesystem', 'path' = 'in.csv',
          'format' = 'csv');
        CREATE MATERIALIZED VIEW ids AS SELECT id FROM t;";
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    create(&service, "late", sql);
    finished(&service, "late");
    service.stop();
    let (here, gone) = (dir.path().join("in.csv"), dir.path().join("gone.csv"));
    fs::rename(&here, &gone).expect("renamed");
    let service = Service::start(dir.path(), &["--data-dir", "data"]);
    let job = service.get("/v1/jobs/late").ok().json();
    assert_eq!(job["state"], "restarting", "{job}");
    assert!(job["error"]["message"].as_str().is_some_and(|m| m.contains("in.csv")), "{job}");
    fs::rename(&gone, &here).expect("renamed");
    finished(&service, "late");
    assert!(service.get("/v1/jobs/late").ok().json()["restarts"].as_u64() >= Some(1));
    assert_eq!(contents(&service, "ids"), "id\n1\n2\n");
    service.stop();
}

/// Late rows, dead letters and their counters, of a job whose rows are sent to it.
#[test]
fn counters_and_side_tables_go_on_after_a_kill() {
    let sql = "
        SET 'snapshot.interval' = '1 h';
        SET 'retain_history' = '1 h';
        CREATE TABLE clicks (n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'http');
        CREATE MATERIALIZED VIEW windows AS
        SELECT window_end, SUM(100 / n) AS total
        FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))
        GROUP BY window_start, window_end;";
    let send = |service: &Service, rows: &[(i64, u32)]| {
        let row = |(n, second): &(i64, u32)| {
            let ts = format!("2024-01-01 00:00:{second:02}.500");
            json!({"n": n, "ts": ts})
        };
        let rows: Vec<Value> = rows.iter().map(row).collect();
        service.post("/v1/tables/clicks/rows", &Value::Array(rows)).ok();
    };
    // Late rows, failing ones and good ones, before the snapshot, after it, and after the kill.
    let parts: [&[(i64, u32)]; 3] = [
        &[(1, 1), (0, 2), (2, 5), (3, 1), (4, 2), (5, 8)],
        &[(6, 3), (0, 9), (7, 12), (0, 13), (8, 15)],
        &[(9, 2), (0, 16), (10, 20), (11, 25), (12, 30)],
    ];
    // Complete behind all but the last row.
    let read = |service: &Service| {
        let of = |view: &str| {
            let path = format!("/v1/views/{view}?min_time=2024-01-01%2000:00:29");
            service.get_as(&path, "text/csv").ok().body
        };
        let (windows, late, dead) =
            (of("windows"), of("windows$late"), of("floodmark.dead_letters"));
        let job = service.get("/v1/jobs/clicks").ok().json();
        let counted = [&job["late_rows"], &job["dead_letters"]].map(|n| n.as_u64());
        (windows, late, dead, counted)
    };
    let undisturbed = {
        let dir = tempfile::tempdir().expect("a folder");
        let service = Service::start(dir.path(), &[]);
        create(&service, "clicks", sql);
        parts.iter().for_each(|rows| send(&service, rows));
        read(&service)
    };
    assert_eq!(undisturbed.3, [Some(4), Some(4)], "{undisturbed:?}");
    for workers in ["1", "4"] {
        let dir = tempfile::tempdir().expect("a folder");
        let args = ["--data-dir", "data", "--workers", workers];
        let service = Service::start(dir.path(), &args[..2]);
        create(&service, "clicks", sql);
        send(&service, parts[0]);
        service.post("/v1/jobs/clicks/snapshots", &json!({})).ok();
        send(&service, parts[1]);
        kill(service);
        let service = Service::start(dir.path(), &args);
        let job = service.wait_for("/v1/jobs/clicks", |job| job["state"] == "running");
        assert!(job["snapshots"]["from"].as_u64().is_some(), "begun anew: {job}");
        send(&service, parts[2]);
        assert_eq!(read(&service), undisturbed);
        service.stop();
    }
}
