//! Historic runs computed again: the digests of all outputs are those that the run has noted, on
//! any number of workers, from the start and from a snapshot; and not so once the input differs.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{command, finish, floodmark};

const JOB: &str = "
SET 'snapshot.interval' = '20 ms';
SET 'source.split_bytes' = '16384';
CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/bid.jsonl', 'format' = 'json');
CREATE TABLE auction (id BIGINT, category BIGINT
) WITH ('connector' = 'filesystem', 'path' = 'data/auction.jsonl', 'format' = 'json');
CREATE TABLE out (bidder BIGINT, n BIGINT, PRIMARY KEY (bidder) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'debezium-json');
INSERT INTO out SELECT bidder, COUNT(*) FROM bid WHERE bidder % 9 = 0 GROUP BY bidder;
CREATE MATERIALIZED VIEW windows AS SELECT auction, COUNT(*) AS n, window_end
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY auction, window_start, window_end;
CREATE MATERIALIZED VIEW categories AS
SELECT category, COUNT(*) AS n FROM auction GROUP BY category;
";

fn run(dir: &Path, kill_after: Option<Duration>) {
    let args = ["run", "--workers", "2", "--data-dir", "state", "job.sql"];
    let mut command = command(dir, &args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    if let Some(after) = kill_after {
        std::thread::sleep(after);
        child.kill().expect("a child can be killed");
        finish(child);
        return;
    }
    finish(child).success();
}

fn replay(dir: &Path, more: &[&str]) -> (i32, String, String) {
    let args = [&["replay", "job", "--data-dir", "state"], more].concat();
    let ran = floodmark(dir, &args);
    (ran.code(), ran.stdout, ran.stderr)
}

#[test]
fn a_run_with_crashes_replays_identically_on_any_number_of_workers() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let args = ["generate", "nexmark", "--events", "60000", "--format", "json", "--out", "data"];
    floodmark(dir, &args).success();
    fs::write(dir.join("job.sql"), JOB).expect("written");
    for kill_after in [Some(400), Some(500), Some(450), None] {
        run(dir, kill_after.map(Duration::from_millis));
    }
    let mut texts = Vec::new();
    for workers in ["1", "2", "4"] {
        let (code, text, error) = replay(dir, &["--workers", workers, "--verify"]);
        assert_eq!(code, 0, "{workers} workers: {text}{error}");
        assert!(text.contains("identical"), "{text}");
        assert!(text.contains("Sink(out)") && text.contains("View(windows)"), "{text}");
        texts.push(text);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    // Digests are of whole minutes, and all of this lies in one.
    let (code, _, error) = replay(dir, &["--until", "2021-01-01 00:00:03"]);
    assert_eq!(code, 1);
    assert!(error.contains("whole minutes"), "{error}");
    // One row of the past is another one now.
    let path = dir.join("data/bid.jsonl");
    let bids = fs::read_to_string(&path).expect("bids");
    let changed = bids.replacen("\"auction\":", "\"auction\":1", 1);
    assert_ne!(bids, changed);
    fs::write(&path, changed).expect("written");
    let (code, text, error) = replay(dir, &[]);
    assert_eq!(code, 1, "{text}{error}");
    assert!(text.contains("differ") && text.contains("View(windows) from"), "{text}{error}");
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    fs::create_dir(dir.join("data")).expect("a folder");
    let bid = "{\"auction\":1,\"bidder\":9,\"price\":1,\"dateTime\":\"2021-01-01 00:00:00\"}\n";
    fs::write(dir.join("data/bid.jsonl"), bid).expect("written");
    fs::write(dir.join("data/auction.jsonl"), "{\"id\":1,\"category\":2}\n").expect("written");
    fs::write(dir.join("job.sql"), JOB).expect("written");
    run(dir, None);
    let (code, text, error) = replay(dir, &["--workers", "3"]);
    assert_eq!(code, 0, "{text}{error}");
    let (code, _, error) = replay(dir, &["--run", "7"]);
    assert_eq!(code, 1);
    assert!(error.contains("no such run"), "{error}");
    let ran = floodmark(dir, &["replay", "other", "--data-dir", "state"]);
    ran.refused_with(&["other", "no such run"]);
    let ran = floodmark(dir, &["replay", "job", "--data-dir", "state", "--from", "snapshot:99"]);
    ran.refused_with(&["no such snapshot"]);
}
