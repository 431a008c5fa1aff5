//! A cluster of real processes as a user sees it: jobs through any process, rescaling, jobs that
//! fail, strangers at the door, and how it tells of itself.

mod common;

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::cluster::{Cluster, PATIENCE, Shape};
use common::{command, difference, finish, floodmark, gzip, sorted, write};
use floodmark::telemetry::clock::monotonic;
use serde_json::{Value, json};

/// Bids by auction in a view and by window in a sink, `rate` a second if that is given.
fn bids(events: u64, rate: Option<u64>) -> String {
    let rate = rate.map(|rate| format!(", 'rate' = '{rate}'")).unwrap_or_default();
    format!(
        "SET 'snapshot.interval' = '200 ms';
         CREATE TABLE bid (auction BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
           'events' = '{events}'{rate});
         CREATE TABLE counted (window_end TIMESTAMP(3), auction BIGINT, bids BIGINT)
         WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'csv');
         CREATE MATERIALIZED VIEW per_auction AS
         SELECT auction, COUNT(*) AS bids, MAX(price) AS highest FROM bid GROUP BY auction;
         INSERT INTO counted
         SELECT window_end, auction, COUNT(*) AS bids
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND))
         GROUP BY window_start, window_end, auction;"
    )
}

/// The lines of all finished files of a sink, in the order of the files.
fn written(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("the sink's folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')));
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).expect("a file")).collect()
}

/// View and sink of one process that nobody disturbs.
fn alone(events: u64) -> (String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "job.sql", bids(events, None) + "SELECT * FROM per_auction;");
    let args = ["run", "--workers", "2", "--format", "csv", "job.sql"];
    let view = sorted(&floodmark(dir.path(), &args).success());
    (view, written(&dir.path().join("out")))
}

fn view_of(cluster: &Cluster, process: usize) -> String {
    sorted(&cluster.get_csv(process, "/v1/views/per_auction?limit=1000000").ok().body)
}

fn finished(cluster: &Cluster, process: usize) {
    cluster.wait_for(process, "/v1/jobs/bids", |job| {
        assert_ne!(job["state"], "failed", "{job}\n{}", cluster.logs());
        job["state"] == "finished"
    });
}

#[test]
fn any_process_takes_every_request() {
    let (view, sink) = alone(6_000);
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(3, 1));
    cluster.submit(1, "bids", &bids(6_000, Some(4_000)));
    for process in 0..3 {
        let jobs = cluster.get(process, "/v1/jobs").ok().json();
        assert!(jobs.to_string().contains("\"bids\""), "process {process} lists {jobs}");
        let other = "CREATE MATERIALIZED VIEW one AS SELECT 1 AS x;";
        let again = json!({"name": "bids", "sql": other});
        let refused = cluster.send(process, "POST", "/v1/jobs", &again);
        assert_eq!(refused.status, 409, "process {process}: {}", refused.body);
        let wrong =
            cluster.send(process, "POST", "/v1/jobs", &json!({"name": "x", "sql": "SELEC"}));
        assert_eq!(wrong.status, 400, "process {process}: {}", wrong.body);
        assert_eq!(cluster.get(process, "/v1/jobs/absent").status, 404);
        assert_eq!(cluster.get(process, "/healthz").status, 200);
        let metrics = cluster.get(process, "/metrics");
        assert_eq!(metrics.status, 200, "process {process}: {}", metrics.body);
    }
    let taken = cluster.send(2, "POST", "/v1/jobs/bids/snapshots", &json!({})).ok().json();
    let id = taken["id"].as_u64().unwrap_or_else(|| panic!("no snapshot: {taken}"));
    let snapshots = cluster.get(1, "/v1/jobs/bids/snapshots").ok().body;
    assert!(snapshots.contains(&format!("\"id\":{id}")), "{snapshots}");
    finished(&cluster, 2);
    for process in 0..3 {
        assert_eq!(difference(&view, &view_of(&cluster, process)), None, "process {process}");
        let query = json!({"query": "SELECT COUNT(*) AS n, SUM(bids) AS s FROM per_auction"});
        let answer = cluster.send(process, "POST", "/v1/sql", &query).ok().body;
        assert!(answer.contains(&format!("{}", view.lines().count() - 1)), "{answer}");
    }
    assert_eq!(difference(&sink, &written(&dir.path().join("out"))), None);
    cluster.try_request(1, ("DELETE", "/v1/jobs/bids"), "", "").expect("an answer").ok();
    assert_eq!(cluster.get(2, "/v1/jobs/bids").status, 404);
    cluster.stop();
}

#[test]
fn a_cluster_tells_of_itself_and_of_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 2));
    let told = cluster.get(1, "/v1/cluster").ok().json();
    assert!(told["cluster"].is_string() && told["epoch"].is_u64(), "{told}");
    for process in 0..2 {
        let one = &told["processes"][process];
        assert_eq!(one["process"], process, "{told}");
        assert_eq!(one["address"], cluster.peer(process), "{told}");
        assert_eq!(one["http"], cluster.http(process), "{told}");
        assert_eq!(one["workers"], 2, "{told}");
        assert_eq!(one["version"], env!("CARGO_PKG_VERSION"), "{told}");
        assert_eq!(one["restarts"], 0, "{told}");
        assert_eq!(one["pid"].as_u64(), cluster.engine(process).map(u64::from), "{told}");
        assert!(one["since"].as_str().is_some_and(|s| s.starts_with("20")), "{told}");
        assert!(one["since_ms"].as_i64().is_some_and(|ms| ms > 0), "{told}");
    }
    let epoch = told["epoch"].as_u64();
    cluster.signal_engine(1, "KILL").expect("an engine");
    let told = cluster.wait_for(0, "/v1/cluster", |now| {
        now["epoch"].as_u64() > epoch && now["state"] == "running"
    });
    let killed = &told["processes"][1];
    assert!(killed["restarts"].as_u64() >= Some(1), "{told}");
    let reason = killed["restart_reasons"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains('9') || reason.to_lowercase().contains("kill"), "{told}");
    // The other one ended because of it, and says so.
    let reasons = told["processes"][0]["restart_reasons"].to_string();
    assert!(reasons.contains("process 1"), "{told}");
    cluster.stop();
}

#[test]
fn a_stop_ends_all_and_a_start_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    cluster.submit(0, "bids", &bids(60_000, Some(2_000)));
    cluster.wait_for(1, "/v1/jobs/bids", |job| job["rows_in"].as_u64() > Some(2_000));
    cluster.stop();
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let job = cluster.wait_for(1, "/v1/jobs/bids", |job| job["state"] == "running");
    assert!(job["snapshots"]["from"].as_u64().is_some(), "begun anew: {job}");
    cluster.stop();
}

#[test]
fn other_numbers_of_processes_give_the_same_answer() {
    let events = 24_000;
    let (view, sink) = alone(events);
    let dir = tempfile::tempdir().expect("a folder");
    let shapes = [(1, 1), (2, 1), (3, 1), (2, 2), (1, 4)];
    for (step, (processes, workers)) in shapes.into_iter().enumerate() {
        let cluster = Cluster::start(dir.path(), &Shape::new(processes, workers));
        let last = processes - 1;
        if step == 0 {
            cluster.submit(0, "bids", &bids(events, Some(4_000)));
        }
        let job = cluster.wait_for(last, "/v1/jobs/bids", |job| {
            assert_ne!(job["state"], "failed", "{job}\n{}", cluster.logs());
            job["rows_in"].as_u64() > Some(500) && !job["snapshots"]["last"].is_null()
        });
        assert_eq!(step > 0, !job["snapshots"]["from"].is_null(), "{job}");
        if step == shapes.len() - 1 {
            finished(&cluster, last);
            assert_eq!(difference(&view, &view_of(&cluster, last)), None);
        }
        cluster.stop();
    }
    assert_eq!(difference(&sink, &written(&dir.path().join("out"))), None);
}

/// Where sources wait for each snapshot, the first one after a restart waits until all processes
/// run the job.
#[test]
fn a_snapshot_at_each_tick_goes_on_after_a_restart() {
    let (view, sink) = alone(8_000);
    let dir = tempfile::tempdir().expect("a folder");
    let stepwise = bids(8_000, Some(4_000)).replace("'200 ms'", "'0 s'");
    for starts in 0..3 {
        let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
        if starts == 0 {
            cluster.submit(0, "bids", &stepwise);
        }
        let before = cluster.get(0, "/v1/jobs/bids").ok().json();
        let rows = before["rows_in"].as_u64().expect("a number");
        cluster.wait_for(1, "/v1/jobs/bids", |job| {
            assert_ne!(job["state"], "failed", "{job}\n{}", cluster.logs());
            job["rows_in"].as_u64() > Some(rows + 500)
        });
        if starts == 2 {
            finished(&cluster, 1);
            assert_eq!(difference(&view, &view_of(&cluster, 1)), None);
        }
        cluster.stop();
    }
    assert_eq!(difference(&sink, &written(&dir.path().join("out"))), None);
}

/// The one partition is read by the first process, much faster than its time goes by; the others
/// hang on it alone. Snapshots follow one another, and each is gone back to.
#[test]
fn what_other_processes_hold_is_as_of_the_snapshot() {
    let events = 40_000;
    let (view, sink) = alone(events);
    let dir = tempfile::tempdir().expect("a folder");
    let mut shape = Shape::new(3, 1);
    shape.more = vec!["--restart-delay-max".to_owned(), "200ms".to_owned()];
    let cluster = Cluster::start(dir.path(), &shape);
    cluster.submit(0, "bids", &bids(events, Some(10_000)).replace("'200 ms'", "'10 ms'"));
    for kill in 0..6 {
        let rows = Cell::new(None);
        cluster.wait_for(0, "/v1/jobs/bids", |job| {
            assert_ne!(job["state"], "failed", "{job}\n{}", cluster.logs());
            let read = job["rows_in"].as_u64().expect("a number");
            let first = rows.get().unwrap_or(read);
            rows.set(Some(first));
            job["state"] == "finished" || read > first + 2000
        });
        cluster.signal_engine(kill % 3, "KILL");
        thread::sleep(Duration::from_millis(200));
    }
    finished(&cluster, 2);
    assert_eq!(difference(&view, &view_of(&cluster, 1)), None);
    cluster.stop();
    assert_eq!(difference(&sink, &written(&dir.path().join("out"))), None);
}

/// What sources that have ended say to each snapshot needs no room among what waits for its writer.
#[test]
fn a_snapshot_asks_many_sources_that_have_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let mut sql = "SET 'memory.budget' = '512mb';
        CREATE TABLE bid (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100',
            'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '1000000');"
        .to_owned();
    for table in 0..12 {
        write(dir.path(), &format!("t{table}.csv"), "1\n2\n");
        sql += &format!(
            "CREATE TABLE t{table} (n BIGINT) WITH ('connector' = 'filesystem',
                'path' = 't{table}.csv', 'format' = 'csv');"
        );
    }
    sql += "CREATE MATERIALIZED VIEW counted AS SELECT SUM(n) AS n FROM (SELECT n FROM bid";
    for table in 0..12 {
        sql += &format!(" UNION ALL SELECT n FROM t{table}");
    }
    sql += ") AS everything;";
    cluster.submit(0, "many", &sql);
    cluster.wait_for(0, "/v1/jobs/many", |job| job["rows_in"].as_u64() > Some(24 + 50));
    for _ in 0..3 {
        let taken = cluster.send(1, "POST", "/v1/jobs/many/snapshots", &json!({})).ok();
        assert!(taken.json()["id"].is_u64(), "{}", taken.body);
        thread::sleep(Duration::from_millis(200));
    }
    cluster.stop();
}

/// A job that fails again and again is restarting until it is given up, and `failed` only then;
/// what runs beside it goes on.
#[test]
fn a_job_that_fails_by_itself_is_parked_and_others_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    cluster.submit(1, "bids", &bids(1_000_000, Some(2_000)));
    write(dir.path(), "in.jsonl", "{\"n\": 1}\n");
    let wrong = "SET 'recursion.limit' = '50';
         SET 'restart.delay' = '200 ms';
         CREATE TABLE t (n BIGINT)
         WITH ('connector' = 'filesystem', 'path' = 'in.jsonl', 'format' = 'json');
         CREATE MATERIALIZED VIEW endless AS
         WITH RECURSIVE up (n) AS (SELECT n FROM t UNION ALL SELECT n + 1 FROM up)
         SELECT n FROM up;";
    cluster.submit(1, "wrong", wrong);
    let failures = Cell::new(0);
    let was_restarting = Cell::new(false);
    let job = cluster.wait_for(0, "/v1/jobs/wrong", |job| {
        let restarts = job["restarts"].as_u64().expect("a number");
        assert!(restarts >= failures.replace(restarts), "they are counted: {job}");
        match job["state"].as_str() {
            Some("failed") => return true,
            Some("restarting") => was_restarting.set(true),
            state => assert_eq!(state, Some("running"), "{job}"),
        }
        false
    });
    assert_eq!(job["restarts"], 3, "it was tried again before it was given up: {job}");
    assert!(was_restarting.get(), "it was seen to wait");
    assert!(job["error"]["message"].to_string().contains("has not ended"), "no reason: {job}");
    let before = cluster.wait_for(0, "/v1/jobs/bids", |job| job["state"] == "running");
    let rows = before["rows_in"].as_u64().expect("a number");
    cluster.wait_for(1, "/v1/jobs/bids", |job| job["rows_in"].as_u64() > Some(rows + 1000));
    cluster.stop();
}

/// What a process cannot read is not passed over: neither the sink nor a snapshot has more than
/// what is whole, and all is there once it can be read.
#[test]
fn what_fails_in_another_process_is_missed_nowhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let rows = |from: u32| -> String { (from..from + 5000).map(|n| format!("{n}\n")).collect() };
    let whole = gzip(&rows(5000));
    write(dir.path(), "in/1.csv", rows(0));
    // Process 1 reads the second of the files.
    write(dir.path(), "in/2.csv.gz", &whole[..whole.len() / 2]);
    let sql = "SET 'snapshot.interval' = '20 ms';
        SET 'restart.delay' = '300 ms';
        SET 'restart.attempts' = '20';
        CREATE TABLE t (id INT) WITH ('connector' = 'filesystem', 'path' = 'in',
            'format' = 'csv');
        CREATE TABLE o (id INT) WITH ('connector' = 'filesystem', 'path' = 'out',
            'format' = 'csv');
        CREATE MATERIALIZED VIEW counted AS SELECT COUNT(*) AS n FROM t;
        INSERT INTO o SELECT id FROM t;";
    cluster.submit(0, "files", sql);
    let failed = |job: &Value| job["restarts"].as_u64() >= Some(2);
    cluster.wait_for(0, "/v1/jobs/files", |job| {
        assert_ne!(job["state"], "finished", "without the second file: {job}");
        failed(job)
    });
    write(dir.path(), "in/2.csv.gz", &whole);
    cluster.wait_for(1, "/v1/jobs/files", |job| job["state"] == "finished");
    let out = written(&dir.path().join("out"));
    let mut ids: Vec<u32> = out.lines().filter_map(|line| line.parse().ok()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..10_000), "{} rows are written, not each once", ids.len());
    let view = cluster.get(1, "/v1/views/counted").ok().json();
    assert_eq!(view["rows"][0]["n"], 10_000, "{view}");
    cluster.stop();
}

/// An error of the leader once all have come together ends it: nobody waits for its workers, which
/// others are connected to.
#[test]
fn a_script_that_cannot_be_planned_ends_the_leader_with_its_error() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "bad.sql", "CREATE MATERIALIZED VIEW v AS SELECT a FROM nowhere;\n");
    let addresses = common::cluster::free_addresses(4);
    let lines = addresses.chunks(2).map(|pair| format!("{} http={}\n", pair[0], pair[1]));
    write(dir.path(), "hosts", lines.collect::<String>());
    write(dir.path(), "secret", "a secret of the tests, long enough\n");
    let start = |process: &str, more: &[&str]| {
        let data = format!("data-{process}");
        let args = ["worker", "--hostfile", "hosts", "--process", process, "--workers", "1"];
        let args = [&args[..], &["--data-dir", &data, "--cluster-secret-file", "secret"], more];
        let mut command = command(dir.path(), &args.concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    };
    let follower = start("1", &[]);
    finish(start("0", &["--job", "bad.sql"])).refused_with(&["bad.sql:1:", "nowhere"]);
    common::signal(&follower, "TERM");
    assert_eq!(finish(follower).code(), 0);
}

/// Planning takes a stack as deep as the query, in every process and when a job is started again.
#[test]
fn a_query_that_nests_deeply_is_planned_everywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let sum = "id + ".repeat(700) + "id";
    let sql = format!(
        "SET 'restart.delay' = '100 ms';
         CREATE TABLE t (id INT) WITH ('connector' = 'filesystem', 'path' = 'in',
             'format' = 'csv');
         CREATE MATERIALIZED VIEW deep AS SELECT COUNT(*) AS n, SUM({sum}) AS s FROM t;"
    );
    // What cannot be read makes it fail, and start again.
    let whole = gzip("1\n2\n3\n");
    write(dir.path(), "in/1.csv.gz", &whole[..whole.len() / 2]);
    cluster.submit(0, "deep", &sql);
    cluster.wait_for(0, "/v1/jobs/deep", |job| job["restarts"].as_u64() >= Some(1));
    write(dir.path(), "in/1.csv.gz", &whole);
    let job = cluster.wait_for(1, "/v1/jobs/deep", |job| {
        assert_ne!(job["state"], "failed", "{job}");
        job["state"] == "finished"
    });
    let view = cluster.get(1, "/v1/views/deep").ok().json();
    assert_eq!(view["rows"][0]["n"], 3, "{job} {view}");
    assert_eq!(view["rows"][0]["s"], 6 * 701, "{view}");
    cluster.stop();
}

/// The process as it is started by hand, with other arguments than the cluster's.
fn stranger(dir: &Path, cluster: &Cluster, secret: &str, args: &[&str]) -> String {
    write(dir, "other-secret", secret);
    let own = common::cluster::free_addresses(1).remove(0);
    let lines = [cluster.peer(0), own.as_str()].map(|address| format!("{address}\n")).concat();
    write(dir, "other-hostfile", lines);
    let all = [
        &["worker", "--hostfile", "other-hostfile", "--process", "1", "--data-dir", "other"][..],
        &["--cluster-secret-file", "other-secret", "--listen", "127.0.0.1:0"],
        args,
    ]
    .concat();
    let mut command = command(dir, &all);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    thread::sleep(Duration::from_secs(2));
    common::signal(&child, "TERM");
    finish(child).stderr
}

#[test]
fn strangers_harm_nothing() {
    let (view, _) = alone(20_000);
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let epoch = cluster.epoch();
    cluster.submit(0, "bids", &bids(20_000, Some(4_000)));
    for process in 0..2 {
        let words: [&[u8]; 5] =
            [b"", b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &[0xff; 70_000], b"floodmk1"];
        for word in words {
            let mut socket = TcpStream::connect(cluster.peer(process)).expect("it listens");
            // It may hang up in the middle.
            socket.write_all(word).ok();
        }
        // One that says nothing keeps nobody waiting.
        let mut silent = TcpStream::connect(cluster.peer(process)).expect("it listens");
        silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        assert!(
            matches!(silent.read(&mut [0; 64]), Ok(0) | Err(_)),
            "a stranger is told something"
        );
    }
    let wrong = stranger(dir.path(), &cluster, "a secret that is not that of the cluster", &[]);
    assert!(wrong.contains("secret"), "{wrong}");
    let same = fs::read_to_string(dir.path().join("secret")).expect("the secret");
    // The right secret, but the number of a process that is there.
    let twice = stranger(dir.path(), &cluster, &same, &[]);
    assert!(twice.contains("process 1"), "{twice}");
    let workers = stranger(dir.path(), &cluster, &same, &["--workers", "3"]);
    assert!(workers.contains("worker"), "{workers}");
    finished(&cluster, 1);
    assert_eq!(difference(&view, &view_of(&cluster, 0)), None);
    assert_eq!(cluster.epoch(), epoch, "the cluster was disturbed\n{}", cluster.logs());
    cluster.stop();
}

#[test]
fn what_makes_no_cluster_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "hosts", "# two\n127.0.0.1:1 http=127.0.0.1:2\n\n127.0.0.1:3 # the other\n");
    write(dir.path(), "secret", "a secret of the tests, long enough\n");
    write(dir.path(), "short", "short\n");
    write(dir.path(), "empty", "# nobody\n");
    write(dir.path(), "wrong", "127.0.0.1:1\n127.0.0.1 port=3\n");
    let run = |args: &[&str]| {
        let more = ["--data-dir", "data", "--listen", "127.0.0.1:0"];
        floodmark(dir.path(), &[&["worker"], args, &more].concat())
    };
    let secret = ["--cluster-secret-file", "secret"];
    run(&[&["--hostfile", "hosts", "--process", "2"], &secret[..]].concat()).refused_with(&["2"]);
    run(&[&["--hostfile", "absent", "--process", "0"], &secret[..]].concat())
        .refused_with(&["absent"]);
    run(&[&["--hostfile", "empty", "--process", "0"], &secret[..]].concat())
        .refused_with(&["empty"]);
    run(&[&["--hostfile", "wrong", "--process", "0"], &secret[..]].concat())
        .refused_with(&["wrong", "2"]);
    run(&["--hostfile", "hosts", "--process", "0", "--cluster-secret-file", "short"])
        .refused_with(&["short", "hint"]);
    run(&["--hostfile", "hosts", "--process", "0", "--cluster-secret-file", "none"])
        .refused_with(&["none"]);
}

/// A job upgraded through a process that is not the leader goes on with what it kept.
#[test]
fn a_job_is_upgraded_through_any_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path(), &Shape::new(2, 1));
    let old = bids(1_000_000, Some(3_000));
    cluster.submit(0, "bids", &old);
    cluster.wait_for(1, "/v1/jobs/bids", |job| !job["snapshots"]["last"].is_null());
    let new = old + "CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS n FROM bid;";
    let body = |apply: bool| json!({"sql": new, "apply": apply});
    let shown = cluster.send(1, "POST", "/v1/jobs/bids/upgrade", &body(false)).ok().body;
    assert!(shown.contains("kept"), "{shown}");
    cluster.send(1, "POST", "/v1/jobs/bids/upgrade", &body(true)).ok();
    cluster.wait_for(1, "/v1/views/total", |view| {
        view["rows"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    cluster.signal_engine(1, "KILL");
    let began = monotonic();
    while cluster.peek(0, "/v1/views/total").is_none_or(|v: Value| v["rows"].is_null()) {
        assert!(began.elapsed() < PATIENCE, "the new view is gone\n{}", cluster.logs());
        thread::sleep(Duration::from_millis(50));
    }
    cluster.stop();
}
