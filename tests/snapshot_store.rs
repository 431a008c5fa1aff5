//! The store of snapshots as a user of the module sees it: what is written is read back, what is
//! not committed does not exist, what goes gives its space back, and whose directory it is.

#[path = "snapshot_store/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use floodmark::error::ErrorKind;
use floodmark::limits::SNAPSHOT_CHUNK_ROWS;
use floodmark::snapshot::{JobDefinition, JournalEntry, Manifest, Store, cut};

use rows::{every_type, manifest, numbered_rows, snapshot, texts};

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            false => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

/// The rows of a snapshot, chunk by chunk.
fn read(store: &Store, manifest: &Manifest) -> Vec<RecordBatch> {
    manifest.chunks().map(|(_, _, chunk)| store.read_chunk(chunk).unwrap()).collect()
}

#[test]
fn every_type_is_read_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let whole = every_type(1000);
    let without_columns = RecordBatch::try_new_with_options(
        std::sync::Arc::new(arrow::datatypes::Schema::empty()),
        vec![],
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(7)),
    );
    for rows in [whole.clone(), whole.slice(0, 0), whole.slice(3, 500), without_columns.unwrap()] {
        let chunk = store.write_chunk("all", &rows).unwrap();
        assert_eq!(store.read_chunk(&chunk).unwrap(), rows);
        assert_eq!(chunk.rows, rows.num_rows() as u64);
    }
}

#[test]
fn a_slice_is_stored_without_the_rows_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let whole = texts(20_000);
    let all = store.write_chunk("job", &whole).unwrap().bytes;
    let slices = (0..20).map(|i| whole.slice(i * 1000, 1000));
    let chunks: Vec<_> = slices.map(|rows| store.write_chunk("job", &rows).unwrap()).collect();
    let together: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
    assert!(together < all + all / 2, "{together} bytes for slices of {all}");
    for (i, chunk) in chunks.iter().enumerate() {
        assert_eq!(store.read_chunk(chunk).unwrap(), whole.slice(i * 1000, 1000));
    }
}

#[test]
fn cut_makes_pieces_of_a_chunk() {
    let rows = numbered_rows(0, 2 * SNAPSHOT_CHUNK_ROWS + 5);
    let pieces: Vec<usize> = cut(&rows).iter().map(RecordBatch::num_rows).collect();
    assert_eq!(pieces, [SNAPSHOT_CHUNK_ROWS, SNAPSHOT_CHUNK_ROWS, 5]);
    assert!(cut(&rows.slice(0, 0)).is_empty());
}

#[test]
fn a_snapshot_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let rows = numbered_rows(0, 5000);
    let written = {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.latest("job").unwrap().manifest, None);
        assert_eq!(store.next_id("job").unwrap(), 1);
        snapshot(&store, "job", std::slice::from_ref(&rows))
    };
    let check = |store: &Store| {
        let latest = store.latest("job").unwrap();
        assert_eq!(latest.manifest.as_ref(), Some(&written));
        assert_eq!(latest.skipped, []);
        assert_eq!(read(store, &written), std::slice::from_ref(&rows));
        assert_eq!(store.snapshots("job").unwrap(), [Ok(written.clone())]);
        assert_eq!(store.jobs().unwrap(), ["job"]);
        assert_eq!(store.next_id("job").unwrap(), 2);
        assert_eq!(store.verify(&written), []);
    };
    // Twice: what one opening leaves in files of another kind, the next one reads from them.
    for _ in 0..2 {
        check(&Store::open_read_only(dir.path()).unwrap());
        check(&Store::open(dir.path()).unwrap());
    }
}

#[test]
fn what_is_not_committed_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let store = Store::open(dir.path()).unwrap();
        let first = snapshot(&store, "job", &[numbered_rows(0, 3000)]);
        store.write_chunk("job", &numbered_rows(3000, 3000)).unwrap();
        assert_eq!(store.snapshots("job").unwrap().len(), 1);
        first
    };
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.latest("job").unwrap().manifest, Some(first.clone()));
    // Numbers of chunks go on, and what the end of the process left is removed.
    let next = store.write_chunk("job", &numbered_rows(0, 10)).unwrap();
    assert!(next.id > first.states[0].tables[0].chunks[0].id);
    store.retain("job", 1).unwrap();
    assert_eq!(read(&store, &first), [numbered_rows(0, 3000)]);
    assert_eq!(store.read_chunk(&next).unwrap(), numbered_rows(0, 10));
}

#[test]
fn a_manifest_names_its_own_chunks_and_a_new_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = snapshot(&store, "job", &[numbered_rows(0, 10)]);
    let refused = |changed: Manifest| {
        let error = store.commit(&changed).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        error.message
    };
    assert!(refused(first.clone()).contains("number 1 has been given already"));
    let mut other = Manifest { id: 2, ..first.clone() };
    other.states[0].tables[0].chunks[0].id = 77;
    assert!(refused(other).contains("chunk 77"));
    assert!(
        refused(Manifest { id: 2, job: "other".to_owned(), ..first.clone() }).contains("'job'")
    );
    assert!(refused(Manifest { id: 2, format: 2, ..first }).contains("format 2"));
    assert_eq!(store.snapshots("job").unwrap().len(), 1);
}

#[test]
fn retention_removes_old_snapshots_and_their_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = store.write_chunk("job", &numbered_rows(0, 2000)).unwrap();
    let mut all = Vec::new();
    for id in 1..=5 {
        let own = store.write_chunk("job", &numbered_rows(id * 1000, 1000)).unwrap();
        let manifest = manifest("job", id as u64, vec![base.clone(), own]);
        store.commit(&manifest).unwrap();
        all.push(manifest);
    }
    let next = store.write_chunk("job", &numbered_rows(0, 50)).unwrap();
    snapshot(&store, "other", &[numbered_rows(0, 10)]);
    store.retain("job", 2).unwrap();
    let left: Vec<_> = store.snapshots("job").unwrap().into_iter().flatten().collect();
    assert_eq!(left, all[3..]);
    for manifest in &all[..3] {
        let damages = store.verify(manifest);
        assert_eq!(damages.len(), 1, "the chunk that all share stays: {damages:?}");
        assert!(damages[0].to_string().contains("missing"), "{}", damages[0]);
    }
    assert_eq!(store.read_chunk(&next).unwrap().num_rows(), 50, "it is of the next snapshot");
    store.delete("job", 5).unwrap();
    assert_eq!(store.latest("job").unwrap().manifest.as_ref(), Some(&all[3]));
    assert_eq!(store.next_id("job").unwrap(), 6, "numbers are not given twice");
    assert_eq!(store.delete("job", 5).unwrap_err().kind, ErrorKind::NotFound);
    store.delete_job("job").unwrap();
    assert_eq!(store.jobs().unwrap(), ["other"]);
    assert_eq!(store.latest("job").unwrap().manifest, None);
    assert_eq!(store.snapshots("other").unwrap().len(), 1);
}

#[test]
fn chunks_of_a_failed_snapshot_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    snapshot(&store, "job", &[numbered_rows(0, 10)]);
    let failed = store.write_chunk("job", &numbered_rows(0, 10)).unwrap();
    store.retain("job", 1).unwrap();
    store.read_chunk(&failed).unwrap();
    store.abandon("job").unwrap();
    store.retain("job", 1).unwrap();
    assert!(store.read_chunk(&failed).unwrap_err().message.contains("missing"));
    // One that nobody has abandoned goes when snapshots after the next one have passed it over.
    let forgotten = store.write_chunk("job", &numbered_rows(0, 10)).unwrap();
    snapshot(&store, "job", &[numbered_rows(0, 10)]);
    store.retain("job", 1).unwrap();
    store.read_chunk(&forgotten).unwrap();
    snapshot(&store, "job", &[numbered_rows(0, 10)]);
    store.retain("job", 1).unwrap();
    store.read_chunk(&forgotten).unwrap_err();
}

#[test]
fn the_space_of_what_goes_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let rows = texts(20_000);
    let mut largest = 0;
    let kept = store.write_chunk("job", &rows).unwrap();
    let mut bytes = 0;
    for id in 1..=40 {
        let own: Vec<_> = (0..3).map(|_| store.write_chunk("job", &rows).unwrap()).collect();
        bytes = kept.bytes + own.iter().map(|chunk| chunk.bytes).sum::<u64>();
        let chunks = [vec![kept.clone()], own].concat();
        store.commit(&manifest("job", id, chunks)).unwrap();
        store.retain("job", 1).unwrap();
        largest = largest.max(size(dir.path()));
    }
    // What is live, what may wait to be asked back, and the log and buffers of the store.
    let bound = 2 * bytes + 3 * floodmark::limits::SNAPSHOT_RECLAIM_BYTES;
    assert!(largest < bound, "{largest} bytes at most for {bytes} live, bound {bound}");
    assert!(40 * bytes > 2 * bound, "the test writes too little to tell");
    assert_eq!(store.read_chunk(&kept).unwrap(), rows);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for other in [Store::open(dir.path()), Store::open_read_only(dir.path())] {
        let error = other.err().expect("it is in use");
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
    }
    drop(store);
    let readers = [Store::open_read_only(dir.path()), Store::open_read_only(dir.path())];
    assert!(readers.iter().all(Result::is_ok));
    let refused = readers[0].as_ref().unwrap().write_chunk("job", &numbered_rows(0, 1));
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(Store::open(dir.path()).err().unwrap().kind, ErrorKind::Conflict);
}

#[test]
fn another_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "text").unwrap();
    for opened in [Store::open(dir.path()), Store::open_read_only(dir.path())] {
        assert!(opened.err().unwrap().message.contains("thesis.tex"));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let absent = dir.path().join("absent");
    assert_eq!(Store::open_read_only(&absent).err().unwrap().kind, ErrorKind::NotFound);
    let file = dir.path().join("thesis.tex");
    assert_eq!(Store::open(&file).err().unwrap().kind, ErrorKind::Io);
}

#[test]
fn another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let format = dir.path().join("format");
    let text = fs::read_to_string(&format).unwrap();
    for (written, said) in [("2", "format 2; this version knows"), ("x", "damaged or not ours")] {
        fs::write(&format, text.replace('1', written)).unwrap();
        for opened in [Store::open(dir.path()), Store::open_read_only(dir.path())] {
            let error = opened.err().unwrap();
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(error.message.contains(said), "{error}");
        }
    }
    // Without its marker it is known by the version in the store.
    fs::remove_file(&format).unwrap();
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(fs::read_to_string(&format).unwrap(), text);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    assert!(Store::open(dir.path()).err().unwrap().message.contains("'store' is missing"));
}

fn entries() -> Vec<JournalEntry> {
    let (table, partition) = ("t".to_owned(), "p".to_owned());
    vec![
        JournalEntry::Started {
            run: 3,
            at_ms: 5,
            sql: "SELECT 'ü'".to_owned(),
            settings: BTreeMap::from([("workers".to_owned(), "2".to_owned())]),
            workers: 2,
            from: Some(7),
            frontier: Some(9),
            plan: "00ff".to_owned(),
        },
        JournalEntry::Ingested {
            table: table.clone(),
            partition: partition.clone(),
            offset: 0,
            end: 10,
            time: -1,
        },
        JournalEntry::Idle { table: table.clone(), partition, offset: 10, floor: i64::MIN },
        JournalEntry::Rows {
            table,
            offset: 0,
            time: 6,
            rows: 1,
            key: Some("k".to_owned()),
            body: 2,
            ipc: (0..=255).collect(),
        },
        JournalEntry::Digest {
            output: "v".to_owned(),
            from: 0,
            to: i64::MAX,
            since: -5,
            updates: 9,
            digest: u128::MAX - 1,
        },
        JournalEntry::Ended { at_ms: 9, outcome: "finished".to_owned() },
        JournalEntry::Upgraded {
            at_ms: 10,
            snapshot: 8,
            frontier: 12,
            before: "00ff".to_owned(),
            plan: "ff00".to_owned(),
            sql: "SELECT 2".to_owned(),
            settings: BTreeMap::new(),
        },
    ]
}

#[test]
fn a_journal_is_read_back_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries();
    {
        let store = Store::open(dir.path()).unwrap();
        let journal = store.journal("job", 3).unwrap();
        assert_eq!(journal.read().unwrap(), []);
        journal.append(&entries[..4]).unwrap();
        journal.sync().unwrap();
        store.journal("job", 3).unwrap().append(&entries[4..5]).unwrap();
        store.journal("job", u64::MAX).unwrap().append(&entries[..1]).unwrap();
        store.journal("other", 4).unwrap().append(&entries[..1]).unwrap();
        assert_eq!(store.runs("job").unwrap(), [3, u64::MAX]);
    }
    let store = Store::open(dir.path()).unwrap();
    let journal = store.journal("job", 3).unwrap();
    assert_eq!(journal.read().unwrap(), entries[..5]);
    journal.append(&entries[5..]).unwrap();
    assert_eq!(journal.read().unwrap(), entries);
    assert_eq!(store.runs("job").unwrap(), [3, u64::MAX]);
    assert_eq!(store.runs("nothing").unwrap(), Vec::<u64>::new());
    assert_eq!(store.jobs().unwrap(), ["job", "other"]);
    store.delete_job("job").unwrap();
    assert_eq!(store.runs("job").unwrap(), Vec::<u64>::new());
    assert_eq!(store.journal("other", 4).unwrap().read().unwrap(), entries[..1]);
}

#[test]
fn a_name_that_is_no_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let long = "x".repeat(256);
    for name in ["", "a\0b", &long] {
        assert_eq!(store.next_id(name).unwrap_err().kind, ErrorKind::Config);
        assert_eq!(store.journal(name, 1).err().unwrap().kind, ErrorKind::Config);
        let written = store.write_chunk(name, &numbered_rows(0, 1));
        assert_eq!(written.unwrap_err().kind, ErrorKind::Config);
    }
    // One name that begins another shares nothing with it.
    for name in ["a", "ab", "a b", "ä"] {
        snapshot(&store, name, &[numbered_rows(0, 1)]);
    }
    store.delete_job("a").unwrap();
    assert_eq!(store.jobs().unwrap(), ["a b", "ab", "ä"]);
    assert!(store.latest("ab").unwrap().manifest.is_some());
}

/// The rows of the fixture, chunk by chunk.
fn fixture_rows() -> [RecordBatch; 2] {
    [every_type(40), numbered_rows(0, 100)]
}

/// An export that the first version wrote is restored by this one, whatever has been added since.
///
/// With `SNAPSHOT_FIXTURE` set to a new directory it writes such an export there: once for each
/// version of the format, never over an old one.
#[test]
fn a_snapshot_of_version_1_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    if let Ok(to) = std::env::var("SNAPSHOT_FIXTURE") {
        snapshot(&store, "fixture", &fixture_rows());
        store.export("fixture", 1, &Path::new(&to).into()).unwrap();
        store.delete_job("fixture").unwrap();
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/snapshot-v1");
    let restored = store.import(&fixture.as_path().into(), None).unwrap();
    assert_eq!(store.latest("fixture").unwrap().manifest.as_ref(), Some(&restored));
    assert_eq!(read(&store, &restored), fixture_rows());
    let chunks = restored.states[0].tables[0].chunks.clone();
    // Written before manifests said when their run had begun.
    let added = Manifest { begun_ms: 0, changed_bytes: 0, ..manifest("fixture", 1, chunks) };
    assert_eq!(restored, added);
}

#[test]
fn an_export_is_restored_under_another_name_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    let rows = [numbered_rows(0, 5000), every_type(100)];
    let (to, partial) = (dir.path().join("out/export"), dir.path().join("out/export.partial"));
    snapshot(&store, "job", &[numbered_rows(1, 1)]);
    let written = snapshot(&store, "job", &rows);
    let exported = store.export("job", 2, &to.as_path().into()).unwrap();
    assert_eq!(exported.files, 4);
    assert_eq!(exported.bytes, size(&to));
    assert!(!partial.exists());
    assert_eq!(store.export("job", 2, &to.as_path().into()).unwrap_err().kind, ErrorKind::Conflict);
    assert!(store.export("job", 9, &Path::new("x").into()).unwrap_err().message.contains("9"));
    // Its own job: the next number. Another job: not below the snapshots that wrote its tables.
    assert_eq!(store.import(&to.as_path().into(), None).unwrap().id, 3);
    let copy = store.import(&to.as_path().into(), Some("copy")).unwrap();
    assert_eq!((copy.job.as_str(), copy.id), ("copy", 2));
    assert_eq!(read(&store, &copy), rows);
    assert_eq!(read(&store, &written), rows);
    let error = store.import(&dir.path().join("data").as_path().into(), None).unwrap_err();
    assert!(error.to_string().contains("name the directory of an export"), "{error}");
}

#[test]
fn a_job_of_a_service_is_there_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let job = |name: &str| JobDefinition {
        name: name.to_owned(),
        sql: "SELECT 1".to_owned(),
        settings: BTreeMap::from([("time_resolution".to_owned(), "1 s".to_owned())]),
        created_ms: 7,
    };
    let started = JournalEntry::Ended { at_ms: 1, outcome: "stopped".to_owned() };
    let store = Store::open(dir.path()).unwrap();
    for name in ["b", "a", "c"] {
        store.define(&job(name)).unwrap();
        store.journal(name, 4).unwrap().append(std::slice::from_ref(&started)).unwrap();
    }
    assert_eq!(store.define(&job("a")).unwrap_err().kind, ErrorKind::Conflict);
    store.forget_job("b", false).unwrap();
    store.forget_job("c", true).unwrap();
    store.delete_job("a").unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.definitions().unwrap(), [Ok(job("a"))]);
    assert_eq!(store.runs("c").unwrap(), [4]);
    // A run number is given once, also when nothing else is left of its job.
    assert_eq!(["a", "b", "new"].map(|name| store.first_run(name).unwrap()), [5, 5, 0]);
    assert!(store.runs("b").unwrap().is_empty());
    store.define(&job("b")).unwrap();
    assert_eq!(store.definitions().unwrap().len(), 2);
}
