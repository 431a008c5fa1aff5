//! A job is given another script half way: what is kept goes on as if nothing had happened, what is
//! new is as if it had been there from the beginning, and nothing is lost or doubled at the sinks;
//! over kills at any time, on other numbers of workers.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::service::Service;
use common::{Ran, command, difference, finish, floodmark, run_text, sorted, write};
use floodmark::snapshot::{Manifest, Store};
use serde_json::{Value, json};

const TABLES: &str = "
SET 'snapshot.interval' = '0 s';
SET 'source.split_bytes' = '20000';
CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING,
  `dateTime` TIMESTAMP(3), WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/bid.jsonl', 'format' = 'json');
CREATE TABLE auction (id BIGINT, category BIGINT, `dateTime` TIMESTAMP(3),
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/auction.jsonl', 'format' = 'json');
CREATE TABLE windows (auction BIGINT, n BIGINT, ends TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'windows', 'format' = 'csv',
  'sink.rolling-policy.rollover-interval' = '5 s');
CREATE TABLE dear (auction BIGINT, price BIGINT, ts TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'dear', 'format' = 'csv');
CREATE TABLE cheap (auction BIGINT, price BIGINT, ts TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'cheap', 'format' = 'csv');
CREATE TABLE bidders (bidder BIGINT, n BIGINT, PRIMARY KEY (bidder) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'bidders', 'format' = 'debezium-json');
CREATE TABLE channels (channel STRING, n BIGINT, PRIMARY KEY (channel) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'channels', 'format' = 'debezium-json');
INSERT INTO windows SELECT auction, COUNT(*) AS n, window_end
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY auction, window_start, window_end;
INSERT INTO bidders SELECT bidder, COUNT(*) FROM bid WHERE bidder % 9 = 0 GROUP BY bidder;
SELECT category, COUNT(*) AS n, MAX(b.price) AS top
FROM auction a JOIN bid b ON b.auction = a.id GROUP BY category;
";

/// Kept: windows, bidders, the join; then each script's own.
fn old() -> String {
    format!(
        "{TABLES}
         INSERT INTO dear SELECT auction, price, `dateTime` FROM bid WHERE price > 5000000;
         INSERT INTO cheap SELECT auction, price, `dateTime` FROM bid WHERE price < 1000;
         SELECT bidder, SUM(price) AS paid FROM bid WHERE bidder % 5 = 0 GROUP BY bidder;"
    )
}

/// Another filter before `dear`, no `cheap`, `channels` is new, the sums are of other bidders.
fn new() -> String {
    format!(
        "CREATE VIEW nothing AS SELECT 1 AS one;
         {TABLES}
         INSERT INTO dear SELECT auction, price, `dateTime` FROM bid WHERE price > 2000000;
         INSERT INTO channels SELECT channel, COUNT(*) FROM bid GROUP BY channel;
         SELECT bidder, SUM(price) AS paid FROM bid WHERE bidder % 6 = 0 GROUP BY bidder;"
    )
}

fn generate(dir: &Path) {
    let args = ["generate", "nexmark", "--events", "40000", "--format", "json", "--out", "data"];
    floodmark(dir, &args).success();
}

/// Runs `job.sql` with snapshots; `more` may make it die.
fn run(dir: &Path, sql: &str, workers: &str, more: &[&str]) -> Ran {
    let args = [&["--data-dir", "state", "--workers", workers], more].concat();
    run_text(dir, sql, &args)
}

fn upgrade(dir: &Path, sql: &str, more: &[&str]) -> Ran {
    write(dir, "new.sql", sql);
    floodmark(dir, &[&["upgrade", "job", "new.sql", "--data-dir", "state"], more].concat())
}

fn killed(ran: Ran) {
    assert_eq!(ran.code(), -1, "it should have died:\n{}", ran.stderr);
}

/// The visible files of a sink, by name.
fn files(dir: &Path, sink: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir.join(sink)) else { return found };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with(['.', '_']) {
            found.insert(name, fs::read_to_string(&path).expect("a sink file"));
        }
    }
    found
}

fn lines(dir: &Path, sink: &str) -> Vec<String> {
    let text: String = files(dir, sink).into_values().collect();
    text.lines().map(str::to_owned).collect()
}

/// Sinks and printed rows of a script that nobody interrupts.
struct Whole {
    dir: tempfile::TempDir,
    printed: String,
}

fn whole(sql: &str) -> Whole {
    let dir = tempfile::tempdir().expect("a folder");
    generate(dir.path());
    let printed = run_text(dir.path(), sql, &["--data-dir", "state"]).success();
    Whole { dir, printed }
}

/// The state of `parts` in an upgrade.
fn state_of(upgrade: &Value, operator: &str) -> Vec<String> {
    let states = upgrade["states"].as_array().expect("a list").iter();
    let own = states.filter(|s| s["operator"].as_str().is_some_and(|o| o.starts_with(operator)));
    own.map(|state| state["state"].as_str().expect("a state").to_owned()).collect()
}

fn sink_of<'a>(upgrade: &'a Value, name: &str) -> &'a str {
    let sinks = upgrade["sinks"].as_array().expect("a list");
    let own = sinks.iter().find(|sink| sink["name"] == name);
    own.and_then(|sink| sink["state"].as_str()).unwrap_or("none")
}

#[test]
fn what_is_kept_goes_on_and_what_is_new_is_whole_over_kills() {
    let (before, after) = (whole(&old()), whole(&new()));
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    generate(dir);
    killed(run(dir, &old(), "1", &["--set", "debug.failpoint=manifest.before_commit=kill@25"]));
    // The plan touches nothing, and is the same each time.
    let planned = upgrade(dir, &new(), &["--format", "json"]).success();
    assert_eq!(planned, upgrade(dir, &new(), &["--plan", "--format", "json"]).success());
    let planned: Value = serde_json::from_str(&planned).expect("JSON");
    assert_eq!(planned["applied"], Value::Null);
    assert_eq!(state_of(&planned, "WindowAggregate"), ["kept"], "{planned}");
    assert_eq!(state_of(&planned, "Join"), ["kept"], "{planned}");
    // Of bidders and categories; of channels and the other sums; the old sums.
    let mut groups = state_of(&planned, "GroupAggregate");
    groups.sort();
    assert_eq!(groups, ["dropped", "kept", "kept", "rebuilt", "rebuilt"], "{planned}");
    for (sink, state) in [
        ("windows", "continues"),
        ("bidders", "continues"),
        ("dear", "changes"),
        ("channels", "begins"),
        ("cheap", "ends"),
    ] {
        assert_eq!(sink_of(&planned, sink), state, "{planned}");
    }
    let table = |name: &str| {
        let tables = planned["tables"].as_array().expect("a list");
        tables.iter().find(|table| table["table"] == name).expect("a table").clone()
    };
    assert_eq!(table("bid")["reading"], "read again");
    let bytes = fs::metadata(dir.join("data/bid.jsonl")).expect("a file").len();
    assert_eq!(table("bid")["bytes"], bytes);
    assert_eq!(table("auction")["reading"], "goes on");
    // The sink had got a little further than the snapshot when the job died.
    let commit = fs::read_to_string(dir.join("dear/.floodmark-job-dear.json")).expect("a commit");
    let commit: Value = serde_json::from_str(&commit).expect("JSON");
    let frontier = commit["commit"]["frontier"].as_i64().expect("a time");
    assert!(frontier >= planned["frontier_ms"].as_i64().expect("a time"));
    // It dies before it is committed: the old script is still the job's.
    let kill = |point: &str| format!("debug.failpoint={point}=kill");
    killed(upgrade(dir, &new(), &["--apply", "--set", &kill("upgrade.before_commit")]));
    killed(upgrade(dir, &new(), &["--apply", "--set", &kill("manifest.before_commit")]));
    run(dir, &new(), "2", &[]).refused_with(&["has changed", "floodmark upgrade job"]);
    // It dies as soon as it is: the new one is.
    killed(upgrade(dir, &new(), &["--apply", "--set", &kill("manifest.after_commit")]));
    run(dir, &old(), "2", &[]).refused_with(&["has changed"]);
    // Dead while history is read again, and with all of it, before the first snapshot after it.
    let mut again = command(dir, &["run", "--data-dir", "state", "--workers", "2", "job.sql"]);
    write(dir, "job.sql", new());
    let mut again = again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    thread::sleep(Duration::from_millis(150));
    again.kill().expect("it is killed");
    again.wait().expect("it ends");
    killed(run(dir, &new(), "2", &["--set", "debug.failpoint=manifest.before_commit=kill@1"]));
    killed(run(dir, &new(), "1", &["--set", "debug.failpoint=sink.after_commit=kill@4"]));
    killed(run(dir, &new(), "2", &["--set", "debug.failpoint=manifest.after_commit=kill@2"]));
    let printed = run(dir, &new(), "2", &[]).success();
    assert!(printed == after.printed, "{:?}", difference(&after.printed, &printed));
    for (sink, whole) in [("windows", &before), ("bidders", &before), ("channels", &after)] {
        assert!(!files(dir, sink).is_empty());
        assert!(files(dir, sink) == files(whole.dir.path(), sink), "{sink} differs");
    }
    // Rows before that are those of the old filter, the others those of the new one.
    let is_before = |line: &String| {
        let time = line.rsplit(',').next().expect("a time").trim_matches('"');
        milliseconds(time) < frontier
    };
    let (old_rows, new_rows) = (lines(before.dir.path(), "dear"), lines(after.dir.path(), "dear"));
    let first = old_rows.iter().filter(|line| is_before(line));
    let then = new_rows.iter().filter(|line| !is_before(line));
    let expected: Vec<String> = first.chain(then).cloned().collect();
    assert!(lines(dir, "dear") == expected, "dear differs");
    let (old, new, both) = (old_rows.len(), new_rows.len(), expected.len());
    assert!(both > old && both < new, "{both} rows, {old} of the old filter, {new} of the new one");
    // What ended is what it had been given, and is whole.
    let (ended, all) = (lines(dir, "cheap"), lines(before.dir.path(), "cheap"));
    assert!(!ended.is_empty() && ended.len() < all.len(), "{} of {}", ended.len(), all.len());
    assert_eq!(ended, all[..ended.len()]);
}

/// `2021-01-01 00:00:01.234` as milliseconds since the epoch.
fn milliseconds(text: &str) -> i64 {
    let (day, time) = text.split_at(10);
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let (hour, minute) = (number(&time[1..3]), number(&time[4..6]));
    let seconds: f64 = time[7..].parse().expect("seconds");
    // Days since the epoch, by the civil calendar.
    let (year, month, date) = (number(&day[..4]), number(&day[5..7]), number(&day[8..10]));
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_year = (153 * month + 2) / 5 + date - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60_000 + (seconds * 1000.0).round() as i64
}

const COUNTS: &str = "
SET 'snapshot.interval' = '0 s';
SET 'source.split_bytes' = '2000';
CREATE TABLE t (k BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'csv');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'counts', 'format' = 'debezium-json');
INSERT INTO counts SELECT k, COUNT(*) FROM t WHERE k > 1 GROUP BY k;
SELECT k, COUNT(*) AS n FROM t GROUP BY k;
";

/// A second a row.
fn rows(from: usize, to: usize) -> String {
    let row =
        |n: usize| format!("{},2021-01-01 0{}:{:02}:{:02}\n", n % 7, n / 3600, n / 60 % 60, n % 60);
    (from..to).map(row).collect()
}

/// A job that was killed after some snapshots.
fn interrupted(dir: &Path) {
    write(dir, "in/a.csv", rows(0, 1000));
    write(dir, "in/b.csv", rows(500, 1500));
    killed(run(dir, COUNTS, "2", &["--set", "debug.failpoint=manifest.before_commit=kill@4"]));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_happens() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    floodmark(dir, &["upgrade", "job", "new.sql", "--data-dir", "state"])
        .refused_with(&["new.sql"]);
    interrupted(dir);
    write(dir, "new.sql", COUNTS);
    floodmark(dir, &["upgrade", "jib", "new.sql", "--data-dir", "state"])
        .refused_with(&["jib", "there are job"]);
    upgrade(dir, "SELECT nothing FROM nowhere;", &[]).refused_with(&["nowhere", "new.sql:1"]);
    // Another query before a sink of changes.
    let other = COUNTS.replace("k > 1", "k > 2");
    let planned = upgrade(dir, &other, &[]);
    assert!(planned.stdout.contains("it cannot be applied"), "{}", planned.stdout);
    planned.refused_with(&["sink counts", "--from-now"]);
    upgrade(dir, &other, &["--apply"]).refused_with(&["sink counts", "--from-now"]);
    // The same directory in another form.
    let form = COUNTS.replace("debezium-json", "changelog-json");
    upgrade(dir, &form, &["--apply"]).refused_with(&["counts", "a path of its own"]);
    let renamed = COUNTS.replace("counts (", "renamed (").replace("INTO counts", "INTO renamed");
    upgrade(dir, &renamed, &["--apply"]).refused_with(&[
        "renamed",
        "'counts'",
        "a path of its own",
    ]);
    // History that is gone.
    fs::rename(dir.join("in/a.csv"), dir.join("a.csv")).expect("renamed");
    let rebuilt = COUNTS.replace("COUNT(*) AS n FROM t", "COUNT(*) AS n FROM t WHERE k < 5");
    upgrade(dir, &rebuilt, &[]).refused_with(&["table t", "a.csv' of it is gone"]);
    upgrade(dir, &rebuilt, &["--apply"]).refused_with(&["a.csv' of it is gone"]);
    fs::rename(dir.join("a.csv"), dir.join("in/a.csv")).expect("renamed");
    // Nothing of all that has changed anything.
    let printed = run(dir, COUNTS, "1", &[]).success();
    let whole = tempfile::tempdir().expect("a folder");
    write(whole.path(), "in/a.csv", rows(0, 1000));
    write(whole.path(), "in/b.csv", rows(500, 1500));
    assert_eq!(printed, run(whole.path(), COUNTS, "2", &[]).success());
    assert!(files(dir, "counts") == files(whole.path(), "counts"));
    upgrade(dir, &rebuilt, &["--apply"]).refused_with(&["has come to its end"]);
}

#[test]
fn another_parallelism_keeps_all_state_and_goes_on() {
    let hints = |first: &str, second: &str| {
        COUNTS
            .replace("SELECT k, COUNT(*) FROM t", &format!("SELECT {first} k, COUNT(*) FROM t"))
            .replace("SELECT k, COUNT(*) AS n", &format!("SELECT {second} k, COUNT(*) AS n"))
    };
    let scripts = [
        hints("/*+ PARALLELISM(2) */", "/*+ PARALLELISM(1) */"),
        hints("/*+ PARALLELISM(1) */", "").replace(
            "'path' = 'in'",
            "'path' = 'in', 'scan.parallelism' = '1', 'scan.rebalance' = 'true'",
        ),
        format!("SET 'parallelism' = '3'; {COUNTS}"),
        COUNTS.to_owned(),
    ];
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    for (script, workers) in scripts.iter().zip(["4", "2", "4", "1"]) {
        let planned = upgrade(dir, script, &["--format", "json"]).success();
        let planned: Value = serde_json::from_str(&planned).expect("JSON");
        assert_eq!(state_of(&planned, "GroupAggregate"), ["kept", "kept"], "{planned}");
        assert_eq!(sink_of(&planned, "counts"), "continues", "{planned}");
        if workers != "1" {
            let kill = ["--set", "debug.failpoint=manifest.before_commit=kill@3"];
            killed(run(dir, script, workers, &kill));
        }
    }
    let printed = run(dir, COUNTS, "1", &[]).success();
    let whole = tempfile::tempdir().expect("a folder");
    write(whole.path(), "in/a.csv", rows(0, 1000));
    write(whole.path(), "in/b.csv", rows(500, 1500));
    assert_eq!(printed, run(whole.path(), COUNTS, "2", &[]).success());
    assert!(files(dir, "counts") == files(whole.path(), "counts"));
}

#[test]
fn from_now_on_a_sink_of_changes_is_given_those_of_the_new_query() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    let other = COUNTS.replace("k > 1", "k > 2");
    let done = upgrade(dir, &other, &["--apply", "--from-now"]).success();
    assert!(done.contains("applied: the job goes on with the new script"), "{done}");
    run(dir, &other, "2", &[]).success();
    let rows = lines(dir, "counts");
    // The last of each key is right; of the one that is filtered out nothing more has come.
    let last = |key: u64| {
        let after = |line: &String| {
            let change: Value = serde_json::from_str(line).expect("JSON");
            Some(change["after"].clone()).filter(|after| after["k"] == key)
        };
        rows.iter().filter_map(after).next_back().map(|row| row["n"].as_u64().expect("a count"))
    };
    assert!(last(3).is_some_and(|n| n == 286), "{:?}", last(3));
    assert!(last(2).is_some_and(|n| n < 286), "{:?}", last(2));
}

#[test]
fn an_upgrade_of_an_upgrade_that_has_not_caught_up_is_whole_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    let more = "CREATE TABLE more (k BIGINT, ts TIMESTAMP(3)) WITH ('connector' = 'filesystem',
        'path' = 'more', 'format' = 'csv');
        INSERT INTO more SELECT k, ts FROM t WHERE k = 3;";
    let first = format!("{COUNTS}{more}");
    upgrade(dir, &first, &["--apply"]).success();
    // It has not run: the new sink has nothing yet, and still gets everything.
    let second = format!("{first} SELECT MAX(ts) AS latest FROM t;");
    let planned = upgrade(dir, &second, &["--apply"]).success();
    assert!(planned.contains("read again"), "{planned}");
    let printed = run(dir, &second, "1", &[]).success();
    let whole = tempfile::tempdir().expect("a folder");
    write(whole.path(), "in/a.csv", rows(0, 1000));
    write(whole.path(), "in/b.csv", rows(500, 1500));
    assert_eq!(printed, run(whole.path(), &second, "2", &[]).success());
    for sink in ["counts", "more"] {
        assert!(files(dir, sink) == files(whole.path(), sink), "{sink} differs");
    }
    // History before the upgrade followed from another script.
    let refused = floodmark(dir, &["replay", "job", "--data-dir", "state"]);
    refused.refused_with(&["goes on with another script", "--from snapshot"]);
}

#[test]
fn a_change_without_state_rebuilds_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    interrupted(dir);
    let same = format!(
        "-- a comment\n{}",
        COUNTS.replace("SELECT k, COUNT(*) AS n", "SELECT k,  COUNT(*) AS many")
    );
    let planned: Value =
        serde_json::from_str(&upgrade(dir, &same, &["--format", "json"]).success()).expect("JSON");
    let states = planned["states"].as_array().expect("a list");
    assert!(states.iter().all(|state| state["state"] == "kept"), "{planned}");
    assert!(
        planned["tables"].as_array().expect("a list").iter().all(|t| t["reading"] == "goes on")
    );
    let shown = upgrade(dir, &same, &[]).success();
    assert!(shown.contains("nothing is read again"), "{shown}");
    // A table in another place is read from its start, and all that is made of it is rebuilt.
    write(dir, "moved/a.csv", rows(0, 1000));
    let moved = COUNTS.replace("'path' = 'in'", "'path' = 'moved'");
    run(dir, &moved, "1", &[]).refused_with(&["has changed"]);
    let planned = upgrade(dir, &moved, &["--from-now"]).success();
    assert!(planned.contains("it is declared otherwise"), "{planned}");
    assert!(!planned.contains(" kept "), "{planned}");
}

/// A finished job that another version planned in another way.
#[test]
fn what_has_ended_stays_so_however_it_is_planned() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", rows(0, 1000));
    let printed = run(dir, COUNTS, "1", &[]).success();
    let written = files(dir, "counts");
    let forget = |dir: &Path, state: &str, job: &str| {
        let store = Store::open(&dir.join(state)).expect("a store");
        let last = store.latest(job).expect("a snapshot").manifest.expect("a snapshot");
        assert!(last.complete);
        let id = store.next_id(job).expect("a number");
        store.commit(&Manifest { id, plan: "other".to_owned(), ..last }).expect("committed");
    };
    forget(dir, "state", "job");
    let again = run(dir, COUNTS, "2", &[]);
    assert!(again.stderr.contains("this version plans it otherwise"), "{}", again.stderr);
    assert_eq!(again.success(), printed);
    assert!(files(dir, "counts") == written, "its sink was written again");
    // So in a service.
    let sql = format!("{TABLE_T} INSERT INTO ks SELECT k, ts FROM t;");
    let service = Service::start(dir, &["--data-dir", "served"]);
    service.post("/v1/jobs", &json!({"name": "ks", "sql": sql})).ok();
    service.wait_for("/v1/jobs/ks", |job| job["snapshots"]["last"]["frontier"] == "end");
    service.stop();
    let written = files(dir, "ks");
    assert!(!written.is_empty());
    forget(dir, "served", "ks");
    let service = Service::start(dir, &["--data-dir", "served"]);
    service.wait_for("/v1/jobs/ks", |job| job["state"] == "finished");
    service.stop();
    assert!(files(dir, "ks") == written, "its sink was written again");
}

const TABLE_T: &str = "
CREATE TABLE t (k BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'csv');
CREATE TABLE ks (k BIGINT, ts TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'ks', 'format' = 'csv');
";

/// Bids of a service, at a rate.
fn served(rate: &str, more: &str) -> String {
    format!(
        "SET 'snapshot.interval' = '100 ms';
         CREATE TABLE bid (auction BIGINT, price BIGINT, channel STRING, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
           'events' = '40000'{rate});
         CREATE TABLE counted (window_end TIMESTAMP(3), auction BIGINT, bids BIGINT)
         WITH ('connector' = 'filesystem', 'path' = 'counted', 'format' = 'csv');
         CREATE MATERIALIZED VIEW per_auction AS
         SELECT auction, COUNT(*) AS bids, MAX(price) AS highest FROM bid GROUP BY auction;
         INSERT INTO counted
         SELECT window_end, auction, COUNT(*) AS bids
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND))
         GROUP BY window_start, window_end, auction;{more}"
    )
}

const PER_CHANNEL: &str = "
CREATE MATERIALIZED VIEW per_channel AS SELECT channel, COUNT(*) AS bids FROM bid GROUP BY channel;
";

#[test]
fn a_service_upgrades_a_job_while_it_runs() {
    let csv = |service: &Service, view: &str| {
        let body = service.get_as(&format!("/v1/views/{view}?limit=1000000"), "text/csv").ok().body;
        sorted(&body)
    };
    let finished = |service: &Service| {
        service.wait_for("/v1/jobs/bids", |job| {
            assert_ne!(job["state"], "failed", "{job}");
            job["state"] == "finished"
        })
    };
    let whole = tempfile::tempdir().expect("a folder");
    let undisturbed = Service::start(whole.path(), &[]);
    let sql = served("", PER_CHANNEL);
    undisturbed.post("/v1/jobs", &json!({"name": "bids", "sql": sql})).ok();
    finished(&undisturbed);

    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let start = || Service::start(dir, &["--data-dir", "data"]);
    let mut service = start();
    let rate = ", 'rate' = '8000'";
    service.post("/v1/jobs", &json!({"name": "bids", "sql": served(rate, "")})).ok();
    service.wait_for("/v1/jobs/bids", |job| {
        job["rows_in"].as_u64().is_some_and(|n| n >= 5_000) && !job["snapshots"]["last"].is_null()
    });
    let path = "/v1/jobs/bids/upgrade";
    // What cannot be planned or begun leaves the job as it is.
    let bad = service.post(path, &json!({"sql": "SELECT 1", "apply": true}));
    assert_eq!(bad.status, 400, "{}", bad.body);
    let gone = "CREATE TABLE g (x INT) WITH ('connector' = 'filesystem', 'path' = 'gone',
        'format' = 'csv'); CREATE MATERIALIZED VIEW g_view AS SELECT x FROM g;";
    let sql = served(rate, gone);
    let answer = service.post(path, &json!({"sql": sql, "apply": true}));
    assert!((400..410).contains(&answer.status), "{} {}", answer.status, answer.body);
    assert_eq!(service.post("/v1/jobs/none/upgrade", &json!({"sql": sql})).status, 404);
    // A sink that only fails when it is built: the old job goes on.
    write(dir, "file", "no directory");
    let blocked = "CREATE TABLE b (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'file/b',
        'format' = 'csv'); INSERT INTO b SELECT auction FROM bid;";
    let answer = service.post(path, &json!({"sql": served(rate, blocked), "apply": true}));
    assert!((400..410).contains(&answer.status), "{} {}", answer.status, answer.body);
    let job = service.get("/v1/jobs/bids").ok().json();
    assert_eq!((&job["state"], &job["sql"]), (&json!("running"), &json!(served(rate, ""))));

    let sql = served(rate, PER_CHANNEL);
    let planned = service.post(path, &json!({"sql": sql})).ok().json();
    assert_eq!(planned["applied"], Value::Null);
    assert_eq!(state_of(&planned, "View(per_auction)"), ["kept"], "{planned}");
    assert_eq!(state_of(&planned, "View(per_channel)"), ["rebuilt"], "{planned}");
    assert_eq!(sink_of(&planned, "counted"), "continues");
    let done = service.post(path, &json!({"sql": sql, "apply": true})).ok().json();
    assert!(done["applied"].as_u64().is_some(), "{done}");
    assert_eq!(service.get("/v1/jobs/bids").ok().json()["sql"], json!(sql));
    // Killed while it catches up: it comes back with the new script.
    thread::sleep(Duration::from_millis(100));
    let mut child = service.child.take().expect("it runs");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let service = start();
    let job = finished(&service);
    assert_eq!(job["sql"], json!(sql));
    for view in ["per_auction", "per_channel"] {
        let (expected, got) = (csv(&undisturbed, view), csv(&service, view));
        assert!(expected == got, "{view}: {:?}", difference(&expected, &got));
    }
    assert!(files(dir, "counted") == files(whole.path(), "counted"), "the sink differs");
    service.stop();
}

#[test]
fn help_has_examples() {
    let dir = tempfile::tempdir().expect("a folder");
    let help = floodmark(dir.path(), &["upgrade", "--help"]).success();
    assert!(help.contains("Examples:") && help.contains("--from-now"), "{help}");
    let child = command(dir.path(), &["upgrade", "job"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    assert_ne!(finish(child).code(), 0);
}
