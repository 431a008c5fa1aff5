//! Every point of the store at which a test may let the process die or a write fail: after each,
//! the snapshot before is whole, and the next one is taken.
//!
//! Points are armed for a whole process: the tests of this file take turns, and what shall die runs
//! in a process of its own, which is this file again.

#[path = "snapshot_store/rows.rs"]
mod rows;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs};

use floodmark::error::{ErrorKind, Result};
use floodmark::snapshot::{JobDefinition, JournalEntry, Manifest, Store, failpoint};

use rows::{manifest, numbered_rows, texts};

static TURN: Mutex<()> = Mutex::new(());

/// The turn of one test; disarms when it ends.
struct Turn(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

fn turn() -> Turn {
    Turn(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Turn {
    fn drop(&mut self) {
        failpoint::arm("").unwrap();
    }
}

fn entry(n: i64) -> JournalEntry {
    JournalEntry::Ended { at_ms: n, outcome: "an entry".to_owned() }
}

/// A job's life: each round opens the directory, journals, takes a snapshot, keeps the newest,
/// exports it and takes the export over as another job.
fn live(dir: &Path, rounds: u64) -> Result<()> {
    for _ in 0..rounds {
        let store = Store::open(&dir.join("data"))?;
        let id = store.next_id("job")?;
        let journal = store.journal("job", id)?;
        journal.append(&[entry(id as i64), entry(0)])?;
        journal.sync()?;
        let chunk = store.write_chunk("job", &numbered_rows(id as usize, 4000))?;
        store.commit(&manifest("job", id, vec![chunk]))?;
        store.retain("job", 1)?;
        upgrade(&store, id)?;
        let to = dir.join(format!("export-{id}"));
        if !to.exists() {
            store.export("job", id, &to.as_path().into())?;
        }
        store.import(&to.as_path().into(), Some("copy"))?;
    }
    Ok(())
}

/// Another job is given another definition, with a snapshot and an entry of its journal.
fn upgrade(store: &Store, round: u64) -> Result<()> {
    let id = store.next_id("upgraded")?;
    let chunk = store.write_chunk("upgraded", &numbered_rows(id as usize, 4000))?;
    let made = Manifest { run: 1, ..manifest("upgraded", id, vec![chunk]) };
    store.upgrade(&made, &entry(id as i64), Some(&definition(id)))?;
    assert_eq!(store.definition("upgraded")?, Some(definition(id)), "round {round}");
    Ok(())
}

fn definition(id: u64) -> JobDefinition {
    JobDefinition {
        name: "upgraded".to_owned(),
        sql: format!("SELECT {id}"),
        settings: Default::default(),
        created_ms: 5,
    }
}

/// What must hold after any end of [`live`]; the newest snapshot's number.
fn check(dir: &Path) -> Option<u64> {
    let data = dir.join("data");
    let store = Store::open(&data).unwrap();
    assert_eq!(store.found(), []);
    let mut newest = None;
    // Snapshot, journal and definition are of one upgrade.
    let upgraded = store.latest("upgraded").unwrap().manifest.map(|manifest| manifest.id);
    assert_eq!(store.definition("upgraded").unwrap(), upgraded.map(definition));
    let noted = store.journal("upgraded", 1).unwrap().read().unwrap();
    assert_eq!(noted.last(), upgraded.map(|id| entry(id as i64)).as_ref());
    assert_eq!(noted.len() as u64, upgraded.unwrap_or(0));
    for job in ["job", "copy"] {
        let latest = store.latest(job).unwrap();
        assert_eq!(latest.skipped, []);
        for listed in store.snapshots(job).unwrap() {
            let manifest = listed.unwrap();
            assert_eq!(store.verify(&manifest), []);
            let chunk = &manifest.states[0].tables[0].chunks[0];
            // The rows begin with the number of the snapshot that wrote them.
            let written = manifest.states[0].tables[0].snapshot as usize;
            assert_eq!(store.read_chunk(chunk).unwrap(), numbered_rows(written, 4000));
        }
        newest = newest.max(latest.manifest.filter(|_| job == "job").map(|m: Manifest| m.id));
    }
    for run in store.runs("job").unwrap() {
        assert_eq!(store.journal("job", run).unwrap().read().unwrap()[0], entry(run as i64));
    }
    for export in fs::read_dir(dir).unwrap() {
        let name = export.unwrap().file_name().to_string_lossy().into_owned();
        if name.starts_with("export-") && !name.ends_with(".partial") {
            store.import(&dir.join(name).as_path().into(), Some("check")).unwrap();
        }
    }
    store.delete_job("check").unwrap();
    newest
}

/// Points of the store that its ordinary life reaches.
fn points() -> impl Iterator<Item = &'static str> {
    failpoint::NAMES.iter().copied().filter(|name| !is_of_a_rebuild(name) && !is_of_a_sink(name))
}

/// Points that only a damaged store reaches.
fn is_of_a_rebuild(name: &str) -> bool {
    name.starts_with("rebuild.")
}

/// Points of the sinks, which know nothing of the store: `tests/crash.rs` names and reaches them.
fn is_of_a_sink(name: &str) -> bool {
    name.starts_with("sink.")
}

/// Not a test by itself: what the tests below run in a process of its own.
#[test]
fn in_a_process_of_its_own() {
    let Ok(dir) = env::var("FAILPOINT_TEST_DIR") else { return };
    let _turn = turn();
    failpoint::arm(&env::var("FAILPOINT_TEST_SPEC").unwrap()).unwrap();
    let rounds = env::var("FAILPOINT_TEST_ROUNDS").unwrap().parse().unwrap();
    live(Path::new(&dir), rounds).unwrap();
}

/// Whether the process reached its end.
fn live_in_a_process(dir: &Path, spec: &str, rounds: u64) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own"])
        .env("FAILPOINT_TEST_DIR", dir)
        .env("FAILPOINT_TEST_SPEC", spec)
        .env("FAILPOINT_TEST_ROUNDS", rounds.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// The names of the points stand in the list alone: each is armed here.
#[test]
fn a_process_that_dies_at_a_point_leaves_the_snapshot_before() {
    let _turn = turn();
    for name in points() {
        let dir = tempfile::tempdir().unwrap();
        // The first is reached once in a life, the other not before there are two snapshots.
        let is_rare = ["open.before_format", "retain.before_manifests"].contains(&name);
        let nth = if is_rare { 1 } else { 2 };
        assert!(!live_in_a_process(dir.path(), &format!("{name}=kill@{nth}"), 3), "{name}");
        let newest = check(dir.path()).unwrap_or(0);
        assert!(newest <= 2, "{name}: it died in the second round at the latest");
        assert!(live_in_a_process(dir.path(), "", 1), "{name}: it does not go on");
        assert_eq!(check(dir.path()), Some(newest + 1), "{name}");
    }
}

#[test]
fn a_step_that_fails_leaves_the_snapshot_before() {
    let _turn = turn();
    for name in points() {
        let dir = tempfile::tempdir().unwrap();
        failpoint::arm(&format!("{name}=error@1")).unwrap();
        let ended = live(dir.path(), 2);
        if name != "commits.before_rename" {
            let error = ended.expect_err(name);
            assert_eq!(error.kind, ErrorKind::Io);
            assert!(error.message.contains(name), "{error}");
        }
        failpoint::arm("").unwrap();
        check(dir.path());
        live(dir.path(), 1).unwrap();
        check(dir.path());
    }
}

/// A commit that is durable counts, also if the list of commits could not be written.
#[test]
fn a_list_of_commits_that_cannot_be_written_takes_nothing_back() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), 1).unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    failpoint::arm("commits.before_rename=error").unwrap();
    let chunk = store.write_chunk("job", &numbered_rows(2, 4000)).unwrap();
    let written = manifest("job", 2, vec![chunk]);
    store.commit(&written).unwrap();
    drop(store);
    failpoint::arm("").unwrap();
    assert_eq!(check(dir.path()), Some(2));
}

/// Damages the log of a store, so that it is rebuilt: a record of no known type at its end.
fn damage(dir: &Path) {
    let files = fs::read_dir(dir.join("data/store")).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(|f| f.extension().is_some_and(|e| e == "log")).max().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([1, 2, 3, 4, 0, 0, 5]);
    fs::write(&log, bytes).unwrap();
}

#[test]
fn a_rebuild_that_dies_is_finished_or_begun_again() {
    let _turn = turn();
    for name in failpoint::NAMES.iter().filter(|name| is_of_a_rebuild(name)) {
        let dir = tempfile::tempdir().unwrap();
        live(dir.path(), 2).unwrap();
        let defined = JobDefinition {
            name: "service".to_owned(),
            sql: "SELECT 1".to_owned(),
            settings: Default::default(),
            created_ms: 5,
        };
        Store::open(&dir.path().join("data")).unwrap().define(&defined).unwrap();
        damage(dir.path());
        assert!(!live_in_a_process(dir.path(), &format!("{name}=kill@1"), 1), "{name}");
        let store = Store::open(&dir.path().join("data")).unwrap();
        let left: Vec<u64> =
            store.snapshots("job").unwrap().into_iter().flatten().map(|m| m.id).collect();
        assert_eq!(left, [2], "{name}");
        assert_eq!(store.definitions().unwrap(), [Ok(defined), Ok(definition(2))], "{name}");
        assert_eq!(store.journal("job", 1).unwrap().read().unwrap(), [entry(1), entry(0)]);
        drop(store);
        live(dir.path(), 1).unwrap();
    }
}

/// What a process does whose files may not grow beyond a bound: see below.
#[test]
fn in_a_process_without_space() {
    let Ok(dir) = env::var("SPACE_TEST_DIR") else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let journal = store.journal("job", 1).unwrap();
    journal.append(&[entry(1)]).unwrap();
    let small = store.write_chunk("job", &numbered_rows(1, 4000)).unwrap();
    store.commit(&manifest("job", 1, vec![small])).unwrap();
    let chunks: Result<Vec<_>> =
        (0..20).map(|_| store.write_chunk("job", &texts(20_000))).collect();
    let failed = chunks.and_then(|chunks| store.commit(&manifest("job", 2, chunks)));
    let failed = failed.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Io);
    assert!(failed.message.contains("File too large") && failed.message.contains(&dir), "{failed}");
    // It goes on to be read, and says again why it takes nothing.
    let latest = store.latest("job").unwrap();
    assert_eq!(latest.skipped, []);
    let chunk = &latest.manifest.unwrap().states[0].tables[0].chunks[0].clone();
    assert_eq!(store.read_chunk(chunk).unwrap(), numbered_rows(1, 4000));
    assert_eq!(journal.read().unwrap(), [entry(1)]);
    store.abandon("job").unwrap();
    println!("as it must be");
}

#[test]
fn without_space_the_last_snapshot_stays_whole() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    // 4096 blocks are 2 or 4 MB. The signal would end the process before it sees the error.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "in_a_process_without_space", "--nocapture"])
        .env("SPACE_TEST_DIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("as it must be"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.found(), []);
    let latest = store.latest("job").unwrap();
    assert_eq!((latest.manifest.map(|manifest| manifest.id), latest.skipped), (Some(1), vec![]));
    let chunk = store.write_chunk("job", &texts(20_000)).unwrap();
    store.commit(&manifest("job", 2, vec![chunk])).unwrap();
    assert_eq!(store.latest("job").unwrap().manifest.unwrap().id, 2);
}

#[test]
fn every_point_of_the_code_is_in_the_list() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut reached = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let text = fs::read_to_string(&entry).unwrap_or_default();
                let calls = text.split("failpoint::reach(\"").skip(1);
                reached.extend(calls.filter_map(|c| Some(c.split_once('"')?.0.to_owned())));
            }
        }
    }
    reached.sort();
    let is_own = |name: &&str| !is_of_a_sink(name);
    let mut listed: Vec<&str> = failpoint::NAMES.iter().copied().filter(is_own).collect();
    listed.sort_unstable();
    assert_eq!(reached, listed, "each point stands at one place, and in the list");
    let crashes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash.rs");
    let crashes = fs::read_to_string(crashes).unwrap();
    for name in failpoint::NAMES.iter().filter(|name| is_of_a_sink(name)) {
        assert!(crashes.contains(&format!("\"{name}\"")), "no test reaches {name}");
    }
}

#[test]
fn a_spec_that_is_wrong_says_why() {
    let _turn = turn();
    for (spec, said) in [
        ("nowhere=kill", "no point 'nowhere'"),
        ("manifest.before_commit", "no '='"),
        ("manifest.before_commit=explode", "no action 'explode'"),
        ("manifest.before_commit=kill@0", "'0' is not a count"),
        ("manifest.before_commit=delay:x", "'x' is not a number"),
    ] {
        let error = failpoint::arm(spec).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains(said), "{error}");
    }
    failpoint::arm("journal.before_sync=delay:1, journal.before_append=error@2").unwrap();
    failpoint::reach("journal.before_sync").unwrap();
    failpoint::reach("journal.before_append").unwrap();
    failpoint::reach("journal.before_append").unwrap_err();
    failpoint::reach("journal.before_append").unwrap();
}
