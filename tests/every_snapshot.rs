//! A small job with sessions, timers, patterns, frames and changelogs has a snapshot taken at
//! every tick, or as often as its workers read. Each of them is restored by itself and gone on
//! from, on each number of workers that it was taken and may go on with: the answer is always that
//! of a run without snapshots.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use common::{difference, in_parallel, sorted};
use floodmark::cluster::Topology;
use floodmark::dataflow::runtime::Place;
use floodmark::formats::csv;
use floodmark::job::batch_run::{Outcome, run};
use floodmark::job::definition::Definition;
use floodmark::job::snapshots::{SnapshotSpec, open_store};
use floodmark::snapshot::{CopyPlace, ObjectOptions, Store};

const WORKERS: [usize; 5] = [1, 2, 3, 4, 8];

/// Rows, one a second but for pauses; late ones and keys that come back after long are among them.
const ROWS: usize = 44;

const SQL: &str = "
CREATE TABLE events (k BIGINT, v BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'EVENTS', 'format' = 'csv');
-- Sessions and windows that are open over snapshots.
SELECT k, COUNT(*) AS n, SUM(v) AS s, window_end
FROM TABLE(SESSION(TABLE events PARTITION BY k, DESCRIPTOR(ts), INTERVAL '6' SECOND))
GROUP BY k, window_start, window_end;
SELECT COUNT(DISTINCT k) AS ks, MAX(v) AS top, window_end
FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
-- Groups, and rows of them that leave by themselves.
SELECT k, COUNT(*) AS n, MIN(v) AS low FROM events GROUP BY k HAVING COUNT(*) > 2;
SELECT k, COUNT(*) AS recent FROM events WHERE ts > NOW() - INTERVAL '9' SECOND GROUP BY k;
-- Rows before and after, within a time and without.
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s,
  LAG(v) OVER (PARTITION BY k ORDER BY ts) AS before FROM events;
SELECT a.k, a.v, b.v AS w FROM events AS a JOIN events AS b
ON a.k = b.k AND b.v > a.v AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5' SECOND;
SELECT * FROM (SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, ts) AS n FROM events)
WHERE n <= 2;
-- A pattern with a limit in time.
SELECT k, lows, high FROM events MATCH_RECOGNIZE (
  PARTITION BY k ORDER BY ts
  MEASURES COUNT(low.v) AS lows, LAST(high.v) AS high
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (low+ high) WITHIN INTERVAL '20' SECOND
  DEFINE low AS low.v < 50, high AS high.v >= 50
) AS m;
";

fn events() -> String {
    let (mut state, mut second, mut text) = (7_u64, 0_u64, String::new());
    let mut next = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    for _ in 0..ROWS {
        second += 1 + 7 * u64::from(next(9) == 0);
        let at = second.saturating_sub(8 * u64::from(next(8) == 0));
        let (k, v) = (next(4), next(100));
        let (minute, second) = (at / 60, at % 60);
        writeln!(text, "{k},{v},2024-01-01 00:{minute:02}:{second:02}.000").expect("text");
    }
    text
}

/// One run of the job, from the snapshot in `store` if there is one; its rows.
fn rows(sql: &str, workers: usize, store: Option<Arc<Store>>) -> Result<String, String> {
    let texts = [("job.sql".to_owned(), sql.to_owned())];
    let settings = [("snapshot.interval", "0 s"), ("snapshot.keep", "1000")];
    let mut settings: Vec<_> =
        settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    settings.push(("source.split_bytes".to_owned(), "30".to_owned()));
    let definition = Definition::new(&texts, &settings).map_err(|e| e.to_string())?;
    let keep = store.map(|store| SnapshotSpec {
        store,
        job: "job".to_owned(),
        sql: String::new(),
        settings: Default::default(),
        place: Place::alone(workers),
        others: None,
        anew: false,
    });
    let mut out = String::new();
    let printed = |rows: &_| {
        let mut text = Vec::new();
        csv::write_rows(rows, &mut text)?;
        out.push_str(&sorted(&String::from_utf8_lossy(&text)));
        out.push_str("--\n");
        Ok(())
    };
    let never = AtomicBool::new(false);
    let topology = Topology::alone(workers);
    match run(&definition, &topology, None, keep, &never, |_| (), printed) {
        Ok((Outcome::Complete, _)) => Ok(out),
        Ok((Outcome::Stopped, _)) => Err("it stopped".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn place(dir: &Path) -> Result<CopyPlace, String> {
    CopyPlace::parse(&dir.display().to_string(), &ObjectOptions::default())
        .map_err(|e| e.to_string())
}

/// Takes snapshots on `taken` workers, and goes on from each; the numbers of workers that it was
/// gone on with, and how many snapshots there were.
fn check(sql: &str, expected: &str, taken: usize) -> Result<(BTreeSet<usize>, usize), String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let store = open_store(&dir.path().join("all")).map_err(|e| e.to_string())?;
    let same = |what: &str, found: &str| {
        difference(expected, found).map_or(Ok(()), |text| Err(format!("{what}: {text}")))
    };
    same("with snapshots", &rows(sql, taken, Some(Arc::clone(&store)))?)?;
    let listed = store.snapshots("job").map_err(|e| e.to_string())?;
    let going: Vec<u64> =
        listed.into_iter().flatten().filter(|m| !m.complete).map(|m| m.id).collect();
    let mut with = BTreeSet::new();
    // Each at least once, and with each number of workers.
    let rounds = going.len().max(WORKERS.len());
    for (number, id) in going.iter().cycle().take(rounds).enumerate() {
        let workers = WORKERS[number % WORKERS.len()];
        let copy = place(&dir.path().join(format!("copy-{number}")))?;
        store.export("job", *id, &copy).map_err(|e| e.to_string())?;
        let own =
            open_store(&dir.path().join(format!("own-{number}"))).map_err(|e| e.to_string())?;
        own.import(&copy, None).map_err(|e| e.to_string())?;
        let what = format!("from snapshot {id} of {taken} workers on {workers}");
        same(&what, &rows(sql, workers, Some(own)).map_err(|e| format!("{what}: {e}"))?)?;
        with.insert(workers);
    }
    Ok((with, going.len()))
}

#[test]
fn each_snapshot_of_a_job_leads_to_the_same_answer_on_any_number_of_workers() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.csv");
    fs::write(&path, events()).expect("a file can be written");
    let sql = SQL.replace("EVENTS", &path.display().to_string());
    let expected = rows(&sql, 1, None).expect("it runs");
    assert!(expected.matches("--\n").count() >= 8 && expected.len() > 1000, "{expected}");
    let taken = Mutex::new(Vec::new());
    in_parallel(&WORKERS, |workers| {
        let (with, snapshots) = check(&sql, &expected, *workers)?;
        assert_eq!(with, BTreeSet::from(WORKERS), "{snapshots} snapshots on {workers} workers");
        taken.lock().expect("no holder panics").push(snapshots);
        Ok(())
    });
    let taken = taken.into_inner().expect("no holder panics");
    // Many workers read several ticks at once.
    assert!(taken.iter().sum::<usize>() >= 2 * ROWS, "snapshots were taken too rarely: {taken:?}");
}
