//! A sink killed at any step and gone on with: the directory of the run that nothing disturbed.
//!
//! A *script* cuts the ticks of a fixed input into sessions. Each session recovers, is given again
//! what is at or after the frontier that it says, and is dropped at a step or between two writes;
//! the last one finishes. Before a recovery, files that are open have more bytes than were
//! committed, as after a kill in the midst of a write.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use proptest::prelude::*;

use super::commit::{Commit, hidden_name};
use super::steps::{self, Steps};
use super::tests::{hidden_count, table, updates, visible};
use super::*;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::order_changes;
use crate::connectors::registry;
use crate::error::ErrorKind;
use crate::limits;
use crate::sql::catalog::{ColumnDef, ColumnKind};
use crate::time::{BEGINNING, CLOSED, EventTime};

const TICK_MS: i64 = 100;
const CRASH: &str = "crash";

fn mode(run: &str, steps: Steps) -> SinkMode {
    SinkMode { durable: true, job: "job/1".into(), run: run.into(), steps }
}

fn durable(table: &TableDef) -> Box<dyn SinkWriter> {
    registry::create_sink(table, &[0], &mode("r", Steps::default())).unwrap()
}

/// Rows of `ticks` ticks in order, with as many keys; negative numbers of a changelog too.
fn input(ticks: i64, per_tick: i64, keys: i64, with_changes: bool) -> UpdateBatch {
    let mut rows = Vec::new();
    for i in 0..ticks * per_tick {
        let noise = (i * 2_654_435_761).rem_euclid(1 << 31);
        let time = i / per_tick * TICK_MS + noise % TICK_MS - 1000;
        let text = "x".repeat(usize::try_from(noise % 37).unwrap());
        rows.push((time, noise / 64 % keys, format!("{i} {text}")));
    }
    rows.sort();
    let batch = updates(&rows);
    if !with_changes {
        return batch;
    }
    let diffs: Vec<i64> = (0..batch.len()).map(|i| if i % 3 == 1 { -1 } else { 1 }).collect();
    let (rows, times, _) = batch.into_parts();
    order_changes(&UpdateBatch::new(rows, times, Some(diffs.into())), &[0]).unwrap()
}

fn from(batch: &UpdateBatch, frontier: EventTime) -> UpdateBatch {
    let known = batch.times().partition_point(|time| *time < frontier);
    batch.slice(known, batch.len() - known)
}

fn undisturbed(table: &TableDef, batch: &UpdateBatch) {
    let mut sink = registry::create_sink(table, &[0], &SinkMode::default()).unwrap();
    sink.write(batch).unwrap();
    sink.finish(true).unwrap();
}

/// One life of a sink.
#[derive(Clone, Debug)]
struct Session {
    /// Ticks at which it is given rows, each with what follows: nothing, a commit, a checkpoint.
    chunks: Vec<(i64, u8)>,
    /// How many steps it reaches before it crashes, if it comes to that.
    steps: usize,
    /// Which of the snapshots so far the job is restored to.
    snapshot: prop::sample::Index,
}

/// The writer of a session.
struct Life<'a> {
    table: &'a TableDef,
    batch: &'a UpdateBatch,
    snapshots: &'a mut Vec<EventTime>,
}

impl Life<'_> {
    fn run(&mut self, session: &Session, steps: Steps) -> Result<()> {
        let mut sink = registry::create_sink(self.table, &[0], &mode("r", steps))?;
        let restored = *session.snapshot.get(self.snapshots);
        let recovered = sink.recover(restored)?;
        assert!(recovered >= *self.snapshots.iter().max().unwrap());
        let mut rest = from(self.batch, recovered);
        let mut reached = recovered;
        for (ticks, then) in &session.chunks {
            let start = rest.times().first().copied().unwrap_or(CLOSED - (1 << 40));
            let upto = start.div_euclid(TICK_MS) * TICK_MS + ticks * TICK_MS;
            let later = from(&rest, upto);
            sink.write(&rest.slice(0, rest.len() - later.len()))?;
            rest = later;
            reached = reached.max(upto);
            match then {
                0 => {}
                1 => sink.commit(reached)?,
                _ => {
                    sink.checkpoint(reached)?;
                    self.snapshots.push(reached);
                }
            }
        }
        // The half of a tick.
        sink.write(&rest.slice(0, rest.len().min(7)))
    }

    fn finish(&mut self) {
        let mut sink = durable(self.table);
        let recovered = sink.recover(*self.snapshots.last().unwrap()).unwrap();
        sink.write(&from(self.batch, recovered)).unwrap();
        sink.finish(true).unwrap();
        assert_eq!(durable(self.table).recover(BEGINNING).unwrap(), CLOSED);
    }
}

/// Told of steps: an error at the one after so many; which it was.
fn crash_after(steps: usize) -> (Steps, Arc<Mutex<Vec<&'static str>>>) {
    let reached = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&reached);
    let hook = move |point| {
        let mut reached = own.lock().unwrap();
        reached.push(point);
        if reached.len() > steps { Err(Error::internal(CRASH)) } else { Ok(()) }
    };
    (Steps::new(hook), reached)
}

fn open_files(root: &Path, table: &TableDef) -> Vec<PathBuf> {
    let commits = Commit::all(root).unwrap();
    let writer_of = |path: &Path| -> Option<usize> {
        path.file_name()?.to_str()?.strip_suffix(".json")?.rsplit_once('.')?.1.parse().ok()
    };
    let open = commits
        .iter()
        .flat_map(|(path, commit)| commit.open.iter().map(move |slot| (writer_of(path), slot)));
    let files = open.filter_map(|(writer, slot)| {
        let format = &table.options["format"];
        let extension = if format == "parquet" { "rows" } else { format };
        let series = writer.map(|writer| format!("{writer}-")).unwrap_or_default();
        let name = format!("part-{series}{:05}.{extension}", slot.part.as_ref()?.number);
        Some(hidden_name(&root.join(&slot.directory).join(name)))
    });
    files.collect()
}

/// More bytes than were committed.
fn tear(root: &Path, table: &TableDef) {
    for path in open_files(root, table) {
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"half a row").unwrap();
    }
    let series = if table.options.contains_key("sink.parallelism") { "1-" } else { "" };
    let litter = root.join(format!(".part-{series}00077.json.inprogress"));
    std::fs::write(litter, "litter").unwrap();
}

/// Runs `sessions` and then to the end; the directory is that of the run without them. The steps
/// that were crashed at.
fn check(
    dir: &Path,
    table: &TableDef,
    batch: &UpdateBatch,
    sessions: &[Session],
) -> Vec<&'static str> {
    let mut snapshots = vec![BEGINNING];
    let mut crashed_at = Vec::new();
    for session in sessions {
        let (steps, reached) = crash_after(session.steps);
        let mut life = Life { table, batch, snapshots: &mut snapshots };
        if let Err(error) = life.run(session, steps) {
            assert_eq!(error.message, CRASH);
            let last = reached.lock().unwrap().last().copied();
            assert!(last.is_some_and(|point| steps::POINTS.contains(&point)), "{last:?}");
            crashed_at.extend(last);
        }
        tear(dir, table);
    }
    Life { table, batch, snapshots: &mut snapshots }.finish();
    let writers = table.options.get("sink.parallelism").map_or(1, |n| n.parse().unwrap());
    assert_eq!(all_hidden(dir), writers, "only the commit files are left");
    let plain = tempfile::tempdir().unwrap();
    let mut other = table.clone();
    other.options.insert("path".into(), plain.path().to_string_lossy().into_owned());
    undisturbed(&other, batch);
    let (expected, found) = (visible(plain.path()), visible(dir));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    assert!(expected == found, "the same parts with other bytes");
    crashed_at
}

fn all_hidden(dir: &Path) -> usize {
    let below = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    hidden_count(dir) + below.filter(|p| p.is_dir()).map(|p| all_hidden(&p)).sum::<usize>()
}

fn sink_table(dir: &Path, format: &str, is_partitioned: bool) -> TableDef {
    let options = [
        ("sink.rolling-policy.file-size", "60 kb"),
        ("sink.rolling-policy.rollover-interval", "2 s"),
    ];
    let mut table = table(dir, format, &options);
    if is_partitioned {
        table.partitioned_by.push("n".into());
    }
    table
}

fn sessions() -> impl Strategy<Value = Vec<Session>> {
    let chunks = prop::collection::vec((1i64..12, 0u8..4), 0..8);
    let session = (chunks, 0usize..30, any::<prop::sample::Index>());
    let session = session.prop_map(|(chunks, steps, snapshot)| Session { chunks, steps, snapshot });
    prop::collection::vec(session, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn crashes_leave_no_trace(
        format in prop::sample::select(vec!["json", "csv", "parquet", "changelog-json"]),
        keys in prop::sample::select(vec![0i64, 1, 4]),
        per_tick in 1i64..500,
        sessions in sessions(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let table = sink_table(dir.path(), format, keys > 0);
        let batch = input(50, per_tick, keys.max(1), format == "changelog-json");
        check(dir.path(), &table, &batch, &sessions);
    }

    #[test]
    fn crashes_of_several_writers_leave_no_trace(
        format in prop::sample::select(vec!["json", "parquet", "changelog-json"]),
        partitioned in any::<bool>(),
        writers in 2usize..5,
        per_tick in 1i64..300,
        sessions in sessions(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut table = sink_table(dir.path(), format, partitioned);
        table.options.insert("sink.parallelism".into(), writers.to_string());
        let batch = input(50, per_tick, 4, format == "changelog-json");
        check(dir.path(), &table, &batch, &sessions);
    }
}

#[test]
fn the_number_of_writers_is_that_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let table = |writers: &str| {
        let mut table = sink_table(dir.path(), "json", false);
        table.options.insert("sink.parallelism".into(), writers.into());
        table
    };
    let mut sink = durable(&table("2"));
    sink.recover(BEGINNING).unwrap();
    sink.write(&input(20, 20, 4, false)).unwrap();
    sink.checkpoint(20 * TICK_MS - 1000).unwrap();
    drop(sink);
    for writers in ["1", "3"] {
        let error = durable(&table(writers)).recover(20 * TICK_MS - 1000).unwrap_err();
        assert!(error.message.contains("'sink.parallelism' 2"), "{}", error.message);
        assert!(error.hint.unwrap().contains("'sink.parallelism' = '2'"));
    }
    durable(&table("2")).recover(20 * TICK_MS - 1000).unwrap();
}

/// A session that reaches `steps` steps, with a checkpoint every few ticks.
fn steady(steps: usize) -> Session {
    let snapshot = prop::test_runner::TestRunner::deterministic();
    let snapshot = any::<prop::sample::Index>().new_tree(&mut { snapshot }).unwrap();
    let snapshot = prop::strategy::ValueTree::current(&snapshot);
    Session { chunks: vec![(6, 2); 10], steps, snapshot }
}

#[test]
fn each_step_is_crashed_at_and_gone_on_from() {
    let batch = input(50, 20, 2, false);
    let mut all = steps::POINTS.to_vec();
    all.sort_unstable();
    for (format, steps) in [("csv", 0..16), ("parquet", 4..13)] {
        let mut hit = BTreeSet::new();
        for steps in steps {
            // The second crash comes in the recovery from the first.
            for again in [0, 1] {
                let dir = tempfile::tempdir().unwrap();
                let table = sink_table(dir.path(), format, true);
                hit.extend(check(dir.path(), &table, &batch, &[steady(steps), steady(again)]));
            }
        }
        assert_eq!(hit.into_iter().collect::<Vec<_>>(), all);
    }
}

#[test]
fn nested_values_and_nulls_come_back_from_a_spool() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = sink_table(dir.path(), "parquet", false);
    table.options.insert("sink.rolling-policy.rollover-interval".into(), "1 h".into());
    table.options.insert("sink.rolling-policy.file-size".into(), "500 kb".into());
    let plain = input(20, 1500, 3, false);
    let (n, texts) = (plain.rows().column(0), plain.rows().column(1));
    let rows = u32::try_from(plain.len()).unwrap();
    let nulls = NullBuffer::from_iter((0..rows).map(|row| row % 5 != 0));
    let item = Arc::new(Field::new("item", DataType::Utf8View, true));
    // Slices of 0 to 3 texts that overlap those of NULL lists.
    let lengths = (0..rows as usize).map(|row| row % 4);
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let count = offsets.last().copied().unwrap_or(0).unsigned_abs();
    let indices = UInt32Array::from_iter((0..count).map(|i| (i % 7 != 0).then_some(i % rows)));
    let items = arrow::compute::take(texts, &indices, None).unwrap();
    let list = ListArray::new(item, offsets, items, Some(nulls.clone()));
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", list.data_type().clone(), true),
    ]);
    let inner: Vec<ArrayRef> = vec![Arc::clone(n), Arc::new(list.clone())];
    let nested = StructArray::new(fields, inner, Some(nulls));
    let columns: [(&str, ArrayRef); 2] = [("l", Arc::new(list)), ("r", Arc::new(nested))];
    for (name, column) in &columns {
        table.columns.push(ColumnDef {
            name: (*name).into(),
            data_type: column.data_type().clone(),
            nullable: true,
            kind: ColumnKind::Physical,
        });
    }
    let all = plain.rows().columns().iter().cloned().chain(columns.map(|(_, column)| column));
    let rows = RecordBatch::try_new(table.sink_schema(), all.collect()).unwrap();
    let batch = UpdateBatch::new(rows, plain.times().clone(), None);
    let chunks = vec![(2, 2), (3, 2), (1, 2), (1, 0)];
    let sessions = [Session { chunks, ..steady(100) }, steady(7)];
    check(dir.path(), &table, &batch, &sessions);
    assert!(visible(dir.path()).len() > 2);
}

#[test]
fn directories_that_gave_way_are_numbered_on() {
    let keys = limits::SINK_DIRECTORIES_OPEN_MAX as i64 + 30;
    let dir = tempfile::tempdir().unwrap();
    let table = sink_table(dir.path(), "json", true);
    let batch = input(12, 60, keys, false);
    let sessions = [Session { chunks: vec![(4, 2), (3, 0)], ..steady(100) }, {
        Session { chunks: vec![(2, 2), (2, 1)], ..steady(100) }
    }];
    check(dir.path(), &table, &batch, &sessions);
}

#[test]
fn parts_become_visible_with_the_commit_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let table = sink_table(dir.path(), "json", false);
    let row = |time: i64| updates(&[(time, time, "x".into())]);
    let mut sink = durable(&table);
    assert_eq!(sink.recover(BEGINNING).unwrap(), BEGINNING);
    sink.write(&row(100)).unwrap();
    sink.write(&row(2_100)).unwrap();
    sink.commit(2_200).unwrap();
    assert!(visible(dir.path()).is_empty());
    sink.checkpoint(2_200).unwrap();
    assert_eq!(visible(dir.path()).len(), 1);
    // What was read and taken away meanwhile is not missed.
    std::fs::remove_file(dir.path().join("part-00000.json")).unwrap();
    // The job stops: what is open stays for the next start.
    sink.finish(false).unwrap();
    let mut sink = durable(&table);
    assert_eq!(sink.recover(2_000).unwrap(), 2_200);
    sink.write(&row(2_300)).unwrap();
    sink.finish(true).unwrap();
    let [(name, text)] = &visible(dir.path())[..] else { panic!("one part") };
    assert_eq!(
        (name.as_str(), text.iter().filter(|b| **b == b'\n').count()),
        ("part-00001.json", 2)
    );
}

#[test]
fn a_new_run_numbers_on_after_a_finished_one() {
    let dir = tempfile::tempdir().unwrap();
    let table = sink_table(dir.path(), "json", false);
    for run in ["r1", "r2", "r3"] {
        let mut sink = registry::create_sink(&table, &[], &mode(run, Steps::default())).unwrap();
        assert_eq!(sink.recover(BEGINNING).unwrap(), BEGINNING);
        sink.write(&updates(&[(5, 5, run.into())])).unwrap();
        sink.finish(true).unwrap();
    }
    undisturbed(&table, &updates(&[(5, 5, "plain".into())]));
    let files = visible(dir.path());
    let names: Vec<_> = files.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(names, ["part-00000.json", "part-00001.json", "part-00002.json", "part-00003.json"]);
    assert!(String::from_utf8_lossy(&files[2].1).contains("r3"));
}

#[test]
fn parts_that_a_finished_run_had_no_time_to_name_get_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let table = sink_table(dir.path(), "parquet", false);
    let (steps, reached) = crash_after(4);
    let mut sink = registry::create_sink(&table, &[], &mode("r1", steps)).unwrap();
    sink.recover(BEGINNING).unwrap();
    sink.write(&updates(&[(5, 5, "x".into())])).unwrap();
    assert_eq!(sink.finish(true).unwrap_err().message, CRASH);
    assert_eq!(reached.lock().unwrap().last(), Some(&steps::BEFORE_PUBLISH));
    drop(sink);
    assert!(visible(dir.path()).is_empty());
    let next = || registry::create_sink(&table, &[], &SinkMode::default());
    next().unwrap();
    assert_eq!((visible(dir.path()).len(), hidden_count(dir.path())), (1, 1));
    // It is not missed when it has been read and taken away.
    std::fs::remove_file(dir.path().join("part-00000.parquet")).unwrap();
    next().unwrap();
}

/// A directory with a part open, after a crash.
fn crashed(format: &str) -> (tempfile::TempDir, TableDef) {
    let dir = tempfile::tempdir().unwrap();
    let table = sink_table(dir.path(), format, false);
    let mut sink = durable(&table);
    sink.recover(BEGINNING).unwrap();
    sink.write(&input(5, 10, 2, false)).unwrap();
    sink.checkpoint(-400).unwrap();
    (dir, table)
}

#[test]
fn damage_is_named_and_nothing_is_touched() {
    let refused = |format: &str, part: &str, restored, damage: &dyn Fn(&Path, &TableDef)| {
        let (dir, table) = crashed(format);
        damage(dir.path(), &table);
        let before = hidden_count(dir.path());
        let error = durable(&table).recover(restored).unwrap_err();
        assert!(error.message.contains(part), "{error}");
        assert!(error.hint.is_some(), "{error}");
        assert_eq!(hidden_count(dir.path()), before);
    };
    let commit = |dir: &Path| Commit::path(dir, "job/1", "t", None);
    for format in ["json", "parquet"] {
        let open = |dir: &Path, table: &TableDef| open_files(dir, table).remove(0);
        refused(format, ".part-00000.", BEGINNING, &|dir, table| {
            let file = std::fs::OpenOptions::new().write(true).open(open(dir, table)).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        });
        refused(format, "is missing", BEGINNING, &|dir, table| {
            std::fs::remove_file(open(dir, table)).unwrap();
        });
    }
    refused("json", "is damaged", BEGINNING, &|dir, _| {
        let text = std::fs::read_to_string(commit(dir)).unwrap();
        std::fs::write(commit(dir), &text[..text.len() / 2]).unwrap();
    });
    refused("json", "is damaged", BEGINNING, &|dir, _| {
        let text = std::fs::read_to_string(commit(dir)).unwrap();
        std::fs::write(commit(dir), text.replace("\"frontier\":-400", "\"frontier\":-300"))
            .unwrap();
    });
    refused("json", "has form 9", BEGINNING, &|dir, _| {
        let text = std::fs::read_to_string(commit(dir)).unwrap();
        std::fs::write(commit(dir), text.replace("\"version\":1", "\"version\":9")).unwrap();
    });
    refused("json", "job 'job/1' has not finished", BEGINNING, &|dir, _| {
        std::fs::rename(commit(dir), Commit::path(dir, "other", "t", None)).unwrap();
    });
    refused("json", "not as this run left it", 0, &|_, _| {});
    refused("json", "not as this run left it", 0, &|dir, _| {
        std::fs::remove_file(commit(dir)).unwrap();
    });
}

#[test]
fn parts_that_others_have_open_are_no_litter() {
    let (dir, table) = crashed("json");
    let plain = registry::create_sink(&table, &[], &SinkMode::default()).err().unwrap();
    assert_eq!(plain.kind, ErrorKind::Conflict);
    assert!(plain.message.contains(".floodmark-job%2F1-t.json"), "{plain}");
    let mut other = registry::create_sink(&table, &[], &mode("new", Steps::default())).unwrap();
    assert_eq!(other.recover(BEGINNING).unwrap_err().kind, ErrorKind::Conflict);
    drop(other);
    assert_eq!(hidden_count(dir.path()), 2);
    // Nor can they go on in another form.
    let mut csv = table.clone();
    csv.options.insert("format".into(), "csv".into());
    let error = durable(&csv).recover(BEGINNING).unwrap_err();
    assert!(error.message.contains("other columns or options"), "{error}");
    assert_eq!(durable(&table).recover(BEGINNING).unwrap(), -400);
}

#[test]
fn a_damaged_spool_is_not_read_as_rows() {
    let (dir, table) = crashed("parquet");
    let path = open_files(dir.path(), &table).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut sink = durable(&table);
    assert_eq!(sink.recover(BEGINNING).unwrap(), -400);
    let error = sink.finish(true).unwrap_err();
    assert!(error.message.contains("part-00000.rows"), "{error}");
    assert!(visible(dir.path()).is_empty());
}
