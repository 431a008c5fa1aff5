//! A job that is stopped and started again, on any number of workers, gives what it would have
//! given: each file of `tests/sql`, the Nexmark queries and the shipped jobs.
//!
//! `snapshot.interval` 0 takes a snapshot whenever the sources have moved on; tiny splits make that
//! often. A run is stopped after a few snapshots, chosen by a fixed seed, and the next one goes on
//! from the last of them. At the end the rows, and the counters of late rows, dead letters and
//! changes that do not fit, are compared with those of a run without any.
//!
//! Half of the jobs put all of their state aside at every step (`debug.spill`). Half of them work
//! on another part of the workers in each run (`parallelism`).
//!
//! A sample of the cases is run; `FLOODMARK_RESTORE=all` runs all, `CASE=text` those whose names
//! contain the text.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{difference, in_parallel, root_dir, sorted, tests_dir};
use floodmark::cluster::Topology;
use floodmark::dataflow::metrics::JobMetrics;
use floodmark::dataflow::runtime::Place;
use floodmark::formats::csv;
use floodmark::job::batch_run::{Outcome, run};
use floodmark::job::definition::Definition;
use floodmark::job::snapshots::{SnapshotSpec, open_store};
use floodmark::snapshot::Store;

/// Times a run is stopped at most.
const STOPS_MAX: usize = 6;
/// Snapshots of a run before it is stopped at most.
const SNAPSHOTS_MAX: u64 = 4;
/// Of how many cases of a folder one is run.
const SAMPLE: u64 = 12;
/// Workers of the runs.
const WORKERS: [usize; 5] = [1, 2, 3, 4, 8];
/// Of half of the jobs: on how many of the workers operators work, run by run.
const PARALLELISMS: [&str; 4] = ["1", "2", "3", ALL];
/// On all of them.
const ALL: &str = "-1";
/// How often snapshots are counted.
const POLL: Duration = Duration::from_millis(2);

/// What is no function of the input alone.
const LIVE: [&str; 1] = ["live_bids"];

struct Case {
    name: String,
    texts: Vec<(String, String)>,
    split_bytes: &'static str,
}

/// A sequence of numbers that is the same each time.
struct Random(u64);

impl Random {
    fn of(text: &str) -> Self {
        Random(text.bytes().fold(7, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte)))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

impl Case {
    fn of(name: &str, files: &[PathBuf], split_bytes: &'static str) -> Case {
        let text = |path: &PathBuf| fs::read_to_string(path).expect("a script");
        let texts = files.iter().map(|path| (path.display().to_string(), text(path))).collect();
        Case { name: name.to_owned(), texts, split_bytes }
    }

    /// With `spills` all state is on disk between two steps; operators work on the first
    /// `parallelism` workers.
    fn definition(&self, spills: bool, parallelism: &str) -> Result<Definition, String> {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut settings = vec![
            set("source.split_bytes", self.split_bytes),
            set("snapshot.interval", "0 s"),
            set("snapshot.keep", "2"),
            set("parallelism", parallelism),
        ];
        settings.extend(spills.then(|| set("debug.spill", "always")));
        Definition::new(&self.texts, &settings).map_err(|e| format!("{}: {e}", self.name))
    }

    /// One run; its rows and counters if it came to its end.
    fn run(
        &self,
        (workers, parallelism): (usize, &str),
        keep: Option<SnapshotSpec>,
        stop: &AtomicBool,
    ) -> Result<Option<String>, String> {
        let mut out = Vec::new();
        // Of half of the cases, chosen by their names, and never of what they are compared with.
        let spills = keep.is_some() && Random::of(&format!("spill {}", self.name)).below(2) == 0;
        let outcome = run(
            &self.definition(spills, parallelism)?,
            &Topology::alone(workers),
            None,
            keep,
            stop,
            |_| (),
            |rows| {
                let mut printed = Vec::new();
                csv::write_rows(rows, &mut printed)?;
                let printed = String::from_utf8_lossy(&printed).into_owned();
                out.extend(sorted(&format!("{}{printed}", csv::header(&rows.schema()))).bytes());
                Ok(())
            },
        );
        match outcome {
            Err(error) => {
                let (name, first) = (&self.name, parallelism);
                Err(format!("{name}: on {workers} workers, parallelism {first}: {error}"))
            }
            Ok((Outcome::Stopped, _)) => Ok(None),
            Ok((Outcome::Complete, metrics)) => {
                Ok(Some(String::from_utf8_lossy(&out).into_owned() + &counters(&metrics)))
            }
        }
    }

    /// A run that is stopped after `snapshots` more of them.
    fn run_some(
        &self,
        (workers, parallelism): (usize, &str),
        store: &Arc<Store>,
        snapshots: u64,
    ) -> Result<Option<String>, String> {
        let first = store.next_id(&self.name).map_err(|e| e.to_string())?;
        let (stop, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let keep = SnapshotSpec {
            store: Arc::clone(store),
            job: self.name.clone(),
            sql: String::new(),
            settings: Default::default(),
            place: Place::alone(workers),
            others: None,
            anew: true,
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    if store.next_id(&self.name).is_ok_and(|next| next >= first + snapshots) {
                        stop.store(true, Ordering::Release);
                    }
                    thread::sleep(POLL);
                }
            });
            let result = self.run((workers, parallelism), Some(keep), &stop);
            over.store(true, Ordering::Release);
            result
        })
    }

    /// The rows and counters after stops, how often it was stopped, and on how many workers each
    /// time.
    fn check(&self, stops: &Mutex<usize>) -> Result<(), String> {
        let expected = self.run((1, ALL), None, &AtomicBool::new(false))?.unwrap_or_default();
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let store = open_store(dir.path()).map_err(|e| e.to_string())?;
        let mut random = Random::of(&self.name);
        let mut history = Vec::new();
        for round in 0..=STOPS_MAX {
            let workers = WORKERS[random.below(WORKERS.len() as u64) as usize];
            let snapshots = match round {
                STOPS_MAX => u64::MAX / 2,
                _ => 1 + random.below(SNAPSHOTS_MAX),
            };
            // Where an operator works is no part of what it keeps.
            let parallelism = match Random::of(&format!("spread {}", self.name)).below(2) {
                0 => PARALLELISMS[random.below(PARALLELISMS.len() as u64) as usize],
                _ => ALL,
            };
            history.push((workers, parallelism));
            let on = (workers, parallelism);
            let Some(printed) = self.run_some(on, &store, snapshots)? else { continue };
            *stops.lock().expect("no holder panics") += round;
            return difference(&expected, &printed).map_or(Ok(()), |text| {
                Err(format!("{}: runs on {history:?} workers: {text}", self.name))
            });
        }
        Err(format!("{}: it does not end", self.name))
    }
}

/// What a run has counted, the times before its stops included.
fn counters(metrics: &JobMetrics) -> String {
    let all = [
        ("late rows", &metrics.late_rows),
        ("dead letters", &metrics.dead_letters),
        ("unknown updates", &metrics.unknown_updates),
        ("absent deletes", &metrics.absent_deletes),
        ("duplicate inserts", &metrics.duplicate_inserts),
    ];
    let line =
        |(what, count): (&str, &AtomicU64)| format!("{what}: {}\n", count.load(Ordering::Acquire));
    all.into_iter().map(line).collect()
}

/// The names of the scripts in `dir`, without their endings, sorted.
fn scripts(dir: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(root_dir().join(dir)).expect("the folder of cases");
    let mut all: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .filter(|(name, _)| !name.ends_with(".duckdb") && !name.ends_with(".changelog"))
        .collect();
    all.sort();
    all
}

/// Runs cases whose paths are relative to `dir`; how often they were stopped.
fn check(dir: &str, cases: Vec<Case>) -> usize {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let all = std::env::var_os("FLOODMARK_RESTORE").is_some() || !wanted.is_empty();
    let is_chosen = |case: &Case| {
        all || case.name.starts_with("hint_") || Random::of(&case.name).below(SAMPLE) == 0
    };
    let cases: Vec<Case> =
        cases.into_iter().filter(|c| c.name.contains(&wanted) && is_chosen(c)).collect();
    std::env::set_current_dir(tests_dir().join(dir)).expect("the folder of a job");
    let stops = Mutex::new(0);
    in_parallel(&cases, |case| {
        // At once: a run of all cases takes minutes.
        case.check(&stops).inspect_err(|failure| eprintln!("{failure}"))
    });
    stops.into_inner().expect("no holder panics")
}

/// One test: paths in scripts are relative to the folder that the process is in.
#[test]
fn jobs_go_on_from_their_snapshots_on_any_number_of_workers() {
    let sql = scripts("tests/sql");
    let cases = sql.iter().map(|(name, path)| Case::of(name, std::slice::from_ref(path), "100"));
    let mut stops = check("sql", cases.collect());

    let nexmark = tests_dir().join("data/nexmark");
    let mut cases = Vec::new();
    for (name, path) in scripts("tests/data/nexmark/queries") {
        let mut files = vec![nexmark.join("tables.sql")];
        match name.as_str() {
            "q12" => files.push(nexmark.join("bid_proc.sql")),
            "q13" => files.push(nexmark.join("side_input.sql")),
            _ => {}
        }
        files.push(path);
        cases.push(Case::of(&name, &files, "50000"));
    }
    stops += check("data/nexmark", cases);

    let shipped = scripts("dataflows").into_iter();
    let shipped = shipped.filter(|(name, _)| !LIVE.contains(&name.as_str()));
    let cases = shipped.map(|(name, path)| Case::of(&name, &[path], "20000"));
    stops += check("", cases.collect());
    assert!(stops > 20 || std::env::var_os("CASE").is_some(), "stopped only {stops} times");
}
