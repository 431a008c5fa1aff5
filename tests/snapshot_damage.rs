//! Damage: whatever happens to the files of a data directory or of an export, what is read is
//! exactly what was written, or the damage is named; never another row.
//!
//! Each case is a seed: a fresh copy of a small data directory, one mutation of it, and everything
//! read again. `SNAPSHOT_MUTATIONS` sets another number of cases.

#[path = "snapshot_store/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::RecordBatch;
use floodmark::snapshot::{JournalEntry, Manifest, Store};

use rows::{manifest, numbered_rows, snapshot};

const JOB: &str = "job";

/// Numbers that depend on the seed alone (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn cases(default: u64) -> u64 {
    std::env::var("SNAPSHOT_MUTATIONS").map_or(default, |text| text.parse().unwrap())
}

/// What was written, and where.
struct Original {
    dir: tempfile::TempDir,
    manifests: BTreeMap<u64, Manifest>,
    chunks: BTreeMap<u64, RecordBatch>,
    entries: Vec<JournalEntry>,
}

impl Original {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn export(&self) -> PathBuf {
        self.dir.path().join("export")
    }
}

fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        let entries: Vec<JournalEntry> = (0..5)
            .map(|i| JournalEntry::Rows {
                table: "t".to_owned(),
                offset: i,
                time: i,
                rows: 0,
                key: None,
                body: 0,
                ipc: vec![i as u8; 300],
            })
            .collect();
        let mut named = Vec::new();
        for id in 1..=4 {
            // Opened anew for each, so that there are files of several kinds and ages.
            let store = Store::open(&dir.path().join("data")).unwrap();
            let journal = store.journal(JOB, 1).unwrap();
            journal.append(&entries[id as usize - 1..id as usize]).unwrap();
            // Some in files of their own, some among the small entries; some shared, some not.
            for (i, rows) in [20, 3000].into_iter().enumerate() {
                let rows = numbered_rows(10_000 * id as usize + 5000 * i, rows);
                let chunk = store.write_chunk(JOB, &rows).unwrap();
                chunks.insert(chunk.id, rows);
                named.push(chunk);
            }
            let written = manifest(JOB, id, named.clone());
            store.commit(&written).unwrap();
            manifests.insert(id, written);
            named.remove(0);
            if id == 4 {
                snapshot(&store, "neighbour", &[numbered_rows(0, 3000)]);
                // The last one stays in the log alone, as after a crash.
                journal.append(&entries[4..]).unwrap();
                let written = manifest(JOB, 5, named.clone());
                store.commit(&written).unwrap();
                manifests.insert(5, written);
                store.export(JOB, 5, &dir.path().join("export").as_path().into()).unwrap();
                copy(&dir.path().join("data"), &dir.path().join("crashed"));
            }
        }
        fs::remove_dir_all(dir.path().join("data")).unwrap();
        fs::rename(dir.path().join("crashed"), dir.path().join("data")).unwrap();
        Original { dir, manifests, chunks, entries }
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(all_files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// Changes one thing about the files below `dir`; says what.
fn mutate_files(random: &mut Random, dir: &Path) -> String {
    let files = all_files(dir);
    let file = random.of(&files).clone();
    let name = file.strip_prefix(dir).unwrap().display().to_string();
    let mut bytes = fs::read(&file).unwrap();
    let at = random.below(bytes.len());
    match random.below(8) {
        0 | 1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << random.below(8);
            fs::write(&file, bytes).unwrap();
            format!("a bit of byte {at} of {name} flipped")
        }
        2 => {
            bytes.truncate(at);
            fs::write(&file, bytes).unwrap();
            format!("{name} cut off at {at}")
        }
        3 => {
            fs::remove_file(&file).unwrap();
            format!("{name} deleted")
        }
        4 => {
            let other = random.of(&files);
            let theirs = fs::read(other).unwrap();
            fs::write(&file, theirs).unwrap();
            fs::write(other, bytes).unwrap();
            format!("{name} and {} swapped", other.display())
        }
        5 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            fs::write(&file, bytes).unwrap();
            format!("{name} zero from {at} to {end}")
        }
        6 => {
            bytes.extend((0..random.below(600)).map(|i| i as u8));
            fs::write(&file, bytes).unwrap();
            format!("{name} longer")
        }
        _ => {
            let folder = file.parent().unwrap();
            let names = ["000003.sst", "000999.blob", "000999.log", "MANIFEST-000999", "core"];
            let foreign = folder.join(random.of(&names));
            fs::write(&foreign, bytes).unwrap();
            format!("a foreign file {}", foreign.display())
        }
    }
}

/// Changes values of the store behind the back of RocksDB's own checksums; says what.
fn mutate_values(random: &mut Random, dir: &Path) -> String {
    let mut options = rocksdb::Options::default();
    options.set_enable_blob_files(true);
    options.set_min_blob_size(4096);
    let db = rocksdb::DB::open(&options, dir.join("store")).unwrap();
    type Entry = (Box<[u8]>, Box<[u8]>);
    let entries: Vec<Entry> =
        db.iterator(rocksdb::IteratorMode::Start).map(Result::unwrap).collect();
    let (key, value) = random.of(&entries).clone();
    let shown = String::from_utf8_lossy(&key).into_owned();
    let mut value = value.into_vec();
    match random.below(4) {
        0 if !value.is_empty() => {
            let at = random.below(value.len());
            value[at] ^= 1 << random.below(8);
            db.put(&key, value).unwrap();
            format!("a bit of byte {at} of the value of {shown:?} flipped")
        }
        1 => {
            db.delete(&key).unwrap();
            format!("the value of {shown:?} deleted")
        }
        2 => {
            value.truncate(random.below(value.len()));
            db.put(&key, &value).unwrap();
            format!("the value of {shown:?} cut off at {}", value.len())
        }
        _ => {
            // Preferably one of the same kind.
            let same: Vec<_> = entries.iter().filter(|(other, _)| other[0] == key[0]).collect();
            let (other, theirs) = random.of(&same);
            db.put(&key, theirs).unwrap();
            db.put(other, value).unwrap();
            format!("the values of {shown:?} and {:?} swapped", String::from_utf8_lossy(other))
        }
    }
}

/// Reads everything; what is read must be what was written. Says whether anything was named.
fn check(store: &Store, original: &Original) -> bool {
    let mut is_named = !store.found().is_empty();
    for listed in store.snapshots(JOB).unwrap_or_default() {
        match listed {
            Ok(manifest) => {
                assert_eq!(Some(&manifest), original.manifests.get(&manifest.id));
                for (_, _, chunk) in manifest.chunks() {
                    match store.read_chunk(chunk) {
                        Ok(rows) => assert_eq!(rows, original.chunks[&chunk.id]),
                        Err(error) => {
                            is_named = true;
                            assert!(error.message.contains("chunk"), "{error}");
                        }
                    }
                }
            }
            Err(damage) => {
                is_named = true;
                assert!(!damage.what.is_empty());
            }
        }
    }
    match store.latest(JOB) {
        Ok(latest) => {
            let manifest = latest.manifest.expect("to start empty would be to lose all");
            assert!(store.verify(&manifest).is_empty());
            let is_newest = Some(&manifest.id) == original.manifests.keys().last();
            assert!(is_newest || !latest.skipped.is_empty(), "passed over in silence");
            is_named |= !latest.skipped.is_empty();
        }
        Err(_) => is_named = true,
    }
    match store.journal(JOB, 1).and_then(|journal| journal.read()) {
        Ok(entries) => assert_eq!(entries, original.entries),
        Err(_) => is_named = true,
    }
    is_named
}

/// Opens and checks a mutated data directory; it must take snapshots again, or say why not.
fn check_directory(dir: &Path, original: &Original) -> bool {
    let mut is_named = false;
    match Store::open_read_only(dir) {
        Ok(store) => is_named |= check(&store, original),
        Err(error) => {
            is_named = true;
            assert!(error.message.len() > 20, "{error}");
        }
    }
    let next = match Store::open(dir) {
        Err(_) => return true,
        Ok(store) => {
            is_named |= check(&store, original);
            let id = store.next_id(JOB).unwrap();
            assert!(id > 5, "number {id} given twice");
            let chunk = store.write_chunk(JOB, &numbered_rows(77_000, 3000));
            let next = chunk.map(|chunk| manifest(JOB, id, vec![chunk]));
            match next.and_then(|next| store.commit(&next).map(|()| next)) {
                Err(_) => return true,
                Ok(next) => next,
            }
        }
    };
    let Ok(store) = Store::open(dir) else { return true };
    let latest = store.latest(JOB);
    let latest = latest.unwrap_or_else(|error| panic!("{error}\nfound: {:?}", store.found()));
    let latest = latest.manifest.unwrap();
    assert_eq!(latest, next, "what was committed after the damage is whole");
    let rows = store.read_chunk(&next.states[0].tables[0].chunks[0]).unwrap();
    assert_eq!(rows, numbered_rows(77_000, 3000));
    store.retain(JOB, 1).unwrap();
    assert_eq!(store.latest(JOB).unwrap().manifest, Some(next));
    is_named
}

/// Runs each seed on its own copy and reports the seed of what fails; how many were named.
fn run(cases: u64, from: &Path, one: impl Fn(&mut Random, &Path) -> (String, bool)) -> u64 {
    let mut named = 0;
    for seed in 0..cases {
        let dir = tempfile::tempdir().unwrap();
        let copied = dir.path().join("copy");
        copy(from, &copied);
        let mut random = Random(seed);
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(&mut random, &copied)));
        match outcome {
            Ok((what, is_named)) => {
                if std::env::var("SNAPSHOT_MUTATIONS").is_ok() {
                    println!(
                        "seed {seed}: {what}: {}",
                        if is_named { "named" } else { "harmless" }
                    );
                }
                named += u64::from(is_named);
            }
            Err(panic) => {
                println!("seed {seed} fails");
                std::panic::resume_unwind(panic);
            }
        }
    }
    named
}

#[test]
fn mutated_files_are_named_or_harmless() {
    let original = original();
    let named = run(cases(250), &original.data(), |random, dir| {
        let what = mutate_files(random, dir);
        println!("{what}");
        (what, check_directory(dir, original))
    });
    assert!(named > 80, "only {named} were named");
}

#[test]
fn mutated_values_are_named_or_harmless() {
    let original = original();
    let named = run(cases(125), &original.data(), |random, dir| {
        let what = mutate_values(random, dir);
        println!("{what}");
        (what, check_directory(dir, original))
    });
    assert!(named > 60, "only {named} were named");
}

#[test]
fn a_mutated_export_is_refused() {
    let original = original();
    let manifest = &original.manifests[&5];
    let dir = tempfile::tempdir().unwrap();
    let target = Store::open(&dir.path().join("target")).unwrap();
    let named = run(cases(125), &original.export(), |random, dir| {
        let what = mutate_files(random, dir);
        println!("{what}");
        match target.import(&dir.into(), Some("copy")) {
            // The change was none: a file swapped with itself, nothing appended.
            Ok(imported) => {
                let pairs = imported.chunks().zip(manifest.chunks());
                for ((_, _, new), (_, _, old)) in pairs {
                    assert_eq!(target.read_chunk(new).unwrap(), original.chunks[&old.id]);
                }
                target.delete_job("copy").unwrap();
                (what, false)
            }
            Err(_) => {
                assert!(target.snapshots("copy").unwrap().is_empty());
                (what, true)
            }
        }
    });
    assert!(named * 10 > cases(125) * 9, "only {named} were refused");
    target.import(&original.export().as_path().into(), Some("copy")).unwrap();
}
