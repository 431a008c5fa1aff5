//! Real processes killed with SIGKILL, at random moments and at every named step: what the run that
//! goes on prints and writes is, byte for byte, what the run without crashes does.
//!
//! `FLOODMARK_KILLS=200 cargo test --test crash` kills that often; the default is 20 in all.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{command, difference, finish, floodmark, root_dir};
use floodmark::telemetry::clock::monotonic;

/// A job that ends, and its data.
struct Job {
    name: &'static str,
    sql: String,
}

const SINKS: &str = "
CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/nexmark/bid.jsonl', 'format' = 'json');
CREATE TABLE auction (id BIGINT, seller BIGINT, category BIGINT, `dateTime` TIMESTAMP(3),
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/nexmark/auction.jsonl', 'format' = 'json');
CREATE TABLE windows (auction BIGINT, n BIGINT, ws TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'out/windows', 'format' = 'json',
  'sink.rolling-policy.rollover-interval' = '3 s');
CREATE TABLE bidders (bidder BIGINT, n BIGINT, s BIGINT, PRIMARY KEY (bidder) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'out/bidders', 'format' = 'debezium-json');
CREATE TABLE joined (auction BIGINT, price BIGINT, category BIGINT
) WITH ('connector' = 'filesystem', 'path' = 'out/joined', 'format' = 'csv');
CREATE TABLE columns (bidder BIGINT, price BIGINT, part STRING
) PARTITIONED BY (part)
WITH ('connector' = 'filesystem', 'path' = 'out/columns', 'format' = 'parquet');
INSERT INTO windows SELECT auction, COUNT(*), window_start
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY auction, window_start, window_end;
INSERT INTO bidders SELECT bidder, COUNT(*), SUM(price) FROM bid WHERE bidder % 7 = 0
GROUP BY bidder;
INSERT INTO joined SELECT b.auction, b.price, a.category
FROM bid AS b JOIN auction AS a ON b.auction = a.id WHERE b.bidder % 5 = 1;
INSERT INTO columns SELECT bidder, price, CAST(bidder % 3 AS STRING) FROM bid
WHERE price % 10 = 0;
SELECT COUNT(*) AS n, SUM(price) AS s FROM bid;
";

/// Every shipped job that ends, and one with sinks of all kinds.
fn jobs() -> Vec<Job> {
    let shipped = [
        "hourly_tips",
        "long_ride_alerts",
        "long_ride_patterns",
        "nexmark_hot_items",
        "nexmark_sessions",
        "ride_cleansing",
        "rides_and_fares",
    ];
    let read = |name: &'static str| {
        let path = root_dir().join(format!("dataflows/{name}.sql"));
        Job { name, sql: fs::read_to_string(path).expect("a shipped job") }
    };
    let mut jobs: Vec<Job> = shipped.into_iter().map(read).collect();
    jobs.insert(0, Job { name: "sinks", sql: SINKS.to_string() });
    jobs
}

/// Numbers that look random and are the same in each run (an LCG).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// A folder with the data that the shipped jobs read.
fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (kind, events, out) in [
        ("nexmark", "60000", "data/nexmark"),
        ("taxi-rides", "12000", "data/rides"),
        ("taxi-fares", "12000", "data/fares"),
    ] {
        let args = ["generate", kind, "--events", events, "--format", "json", "--out", out];
        floodmark(dir.path(), &args).success();
    }
    fs::create_dir(dir.path().join("data/taxi")).expect("a folder");
    for name in ["rides", "fares"] {
        let from = dir.path().join(format!("data/{name}/{name}.jsonl"));
        fs::rename(from, dir.path().join(format!("data/taxi/{name}.jsonl"))).expect("moved");
    }
    dir
}

/// The arguments of a run of `job` that takes snapshots all the time.
fn arguments<'a>(job: &'a str, workers: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["run", "--workers", workers, "--format", "csv", "--data-dir", "snapshots"];
    args.extend(["--set", "snapshot.interval=15 ms", "--set", "source.split_bytes=16384"]);
    args.extend(["--set", "snapshot.keep=1"]);
    args.extend(more);
    args.push(job);
    args
}

/// All files that a job has written, without those that are not its output.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let is_hidden =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() {
                open.push(path);
            } else if !is_hidden {
                let bytes = fs::read(&path).expect("a file can be read");
                found.insert(path.strip_prefix(dir).expect("inside").to_path_buf(), bytes);
            }
        }
    }
    found
}

fn clear(dir: &Path) {
    for name in ["out", "snapshots"] {
        if let Err(error) = fs::remove_dir_all(dir.join(name)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// What a run gives: its results and its files.
type Given = (String, BTreeMap<PathBuf, Vec<u8>>);

struct Undisturbed {
    given: Given,
    took: Duration,
}

fn undisturbed(dir: &Path, file: &str) -> Undisturbed {
    clear(dir);
    let start = monotonic();
    let args = ["run", "--workers", "2", "--format", "csv", "--set", "source.split_bytes=16384"];
    let printed = floodmark(dir, &[&args[..], &[file]].concat()).success();
    Undisturbed { given: (printed, files(&dir.join("out"))), took: start.elapsed() }
}

fn compare(what: &str, expected: &Given, found: &Given) {
    assert_eq!(found.0, expected.0, "{what}: other results");
    let names = |given: &Given| given.1.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: other files");
    for (path, bytes) in &expected.1 {
        let texts = [bytes, &found.1[path]].map(|bytes| String::from_utf8_lossy(bytes));
        let [expected, found] = &texts;
        let path = path.display();
        let differs = difference(expected, found);
        assert!(differs.is_none(), "{what}: {path} differs: {differs:?}");
    }
}

#[test]
fn runs_killed_at_any_moment_give_what_an_undisturbed_run_gives() {
    let kills: u64 = match std::env::var("FLOODMARK_KILLS") {
        Ok(text) => text.parse().expect("FLOODMARK_KILLS is a number"),
        Err(_) => 20,
    };
    let data = data();
    let dir = data.path();
    let mut dice = Dice(0x5eed);
    let jobs = jobs();
    let of_job = kills.div_ceil(jobs.len() as u64);
    for job in jobs {
        let file = format!("{}.sql", job.name);
        fs::write(dir.join(&file), &job.sql).expect("a file can be written");
        let expected = undisturbed(dir, &file);
        let mut killed = 0;
        let mut rounds = 0;
        while killed < of_job {
            clear(dir);
            rounds += 1;
            assert!(rounds < 20 * of_job, "{}: runs end before they are killed", job.name);
            let mut moments = Vec::new();
            let found = loop {
                let workers = (1 + dice.below(4)).to_string();
                let mut command = command(dir, &arguments(&file, &workers, &[]));
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().expect("the binary starts");
                let is_last = killed >= of_job || moments.len() >= 6;
                let moment = 20 + dice.below(expected.took.as_millis() as u64 + 100);
                let deadline = monotonic() + Duration::from_millis(moment);
                while !is_last && monotonic() < deadline {
                    if child.try_wait().expect("a child can be waited for").is_some() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                if !is_last && child.try_wait().expect("a child").is_none() {
                    child.kill().expect("a child can be killed");
                    finish(child);
                    moments.push((workers, moment));
                    killed += 1;
                    continue;
                }
                break finish(child).success();
            };
            let what = format!("{} killed {moments:?}", job.name);
            compare(&what, &expected.given, &(found, files(&dir.join("out"))));
        }
    }
}

#[test]
fn runs_killed_at_every_step_give_what_an_undisturbed_run_gives() {
    let data = data();
    let dir = data.path();
    fs::write(dir.join("sinks.sql"), SINKS).expect("a file can be written");
    let expected = undisturbed(dir, "sinks.sql");
    // `open`, `export` and `import` are no steps of a run that goes on; tests/snapshot_store.rs and
    // the tests of the store stop there.
    let steps = [
        "chunk.before_write",
        "manifest.before_flush",
        "manifest.before_commit",
        "manifest.after_commit",
        "commits.before_rename",
        "retain.before_manifests",
        "retain.before_chunks",
        "journal.before_append",
        "journal.before_sync",
        "sink.before_sync",
        "sink.before_commit",
        "sink.before_commit_rename",
        "sink.after_commit",
        "sink.before_publish",
        "sink.after_publish",
        "sink.before_cleanup",
    ];
    for step in steps {
        clear(dir);
        let mut was_killed = false;
        if step == "sink.before_cleanup" {
            // It is a step of going on.
            let set = "debug.failpoint=sink.after_commit=kill@2";
            let ran = floodmark(dir, &arguments("sinks.sql", "2", &["--set", set]));
            assert_eq!(ran.code(), -1, "{step}: {}", ran.stderr);
        }
        for time in [1, 2, 3] {
            let setting = format!("debug.failpoint={step}=kill@{time}");
            let args = arguments("sinks.sql", "2", &["--set", &setting]);
            let ran = floodmark(dir, &args);
            // A step may come less often than that in what is left of the run.
            if ran.code() == 0 {
                break;
            }
            assert_eq!(ran.code(), -1, "{step}: {}", ran.stderr);
            was_killed = true;
        }
        assert!(was_killed, "{step} was not reached");
        let ran = floodmark(dir, &arguments("sinks.sql", "3", &[]));
        let printed = ran.success();
        compare(step, &expected.given, &(printed, files(&dir.join("out"))));
    }
}

#[test]
fn a_job_that_prints_its_changes_takes_snapshots_too() {
    let data = data();
    let dir = data.path();
    fs::write(dir.join("sinks.sql"), SINKS).expect("a file can be written");
    let ran = floodmark(dir, &arguments("sinks.sql", "2", &["--changelog"]));
    let taken = ran.summary_count("snapshots taken").expect("a summary");
    // The last one says that the job has ended.
    assert!(taken > 1, "{}", ran.stderr);
    assert!(ran.success().contains("+I"));
}
