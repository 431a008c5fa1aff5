//! A damaged RocksDB made usable again: what is whole is copied to a new one.
//!
//! RocksDB refuses a store with a missing file, or stops taking writes when it meets a damaged
//! one, though most snapshots may be whole: the checksums of the values say which. The old files
//! stay beside the new ones under another name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rocksdb::WriteBatch;

use super::directory::{self, Commits, STORE, STORE_DAMAGED, STORE_NEW};
use super::keys::{self, CHUNK, CHUNK_INDEX, DEFINITION, JOURNAL, MANIFEST};
use super::model::{Damage, Manifest};
use super::rocks::{Mode, Rocks};
use super::store::{Store, locked, put_latest};
use super::{failpoint, logs};
use crate::error::{Error, Result};

/// Opens the store of `dir` for writing. One that is damaged is rebuilt; the damage is returned.
pub(super) fn open(dir: &Path) -> Result<(Rocks, Vec<Damage>)> {
    let reason = match Rocks::open(dir, Mode::Write) {
        Ok(rocks) => match directory::suspicion(dir) {
            None => return Ok((rocks, Vec::new())),
            Some(reason) => reason,
        },
        Err(refused) if !refused.is_damage => return Err(refused.error),
        Err(refused) => refused.error.message,
    };
    tracing::warn!("{reason}; what is whole is copied to a new store");
    let mut damages = vec![store_damage(reason)];
    rebuild(dir, &mut damages)?;
    for damage in &damages {
        tracing::warn!("the data directory {}: {damage}", dir.display());
    }
    Ok((Rocks::open(dir, Mode::Write).map_err(|refused| refused.error)?, damages))
}

/// Opens the store of `dir` for reading, as far as it can be read.
pub(super) fn open_read_only(dir: &Path) -> Result<(Rocks, Vec<Damage>)> {
    match Rocks::open(dir, Mode::Read) {
        Ok(rocks) => Ok((rocks, Vec::new())),
        Err(refused) if !refused.is_damage => Err(refused.error),
        Err(refused) => match Rocks::open(dir, Mode::Salvage) {
            Ok(rocks) => Ok((rocks, vec![store_damage(refused.error.message)])),
            Err(_) => Err(beyond_repair(refused.error)),
        },
    }
}

fn store_damage(what: String) -> Damage {
    Damage { job: String::new(), snapshot: None, chunk: None, what }
}

fn beyond_repair(error: Error) -> Error {
    error.with_hint("restore from an export into an empty data directory")
}

fn rebuild(dir: &Path, damages: &mut Vec<Damage>) -> Result<()> {
    logs::cut(&directory::store_path(dir))?;
    let old = Rocks::open(dir, Mode::Salvage).map_err(|refused| beyond_repair(refused.error))?;
    let old = Store::of(old, Vec::new(), None);
    let new = Rocks::create_new(dir)?;
    let mut commits = locked(&old.shared.commits).clone();
    for job in old.jobs()? {
        let whole = copy_snapshots(&old, &new, &job, damages)?;
        let (from, to) = (keys::prefix(JOURNAL, &job), keys::after(keys::prefix(JOURNAL, &job)));
        if let Err(what) = copy_entries(&old, &new, &from, &to)? {
            let what = format!("its journals: {what}");
            damages.push(Damage { job: job.clone(), snapshot: None, chunk: None, what });
        }
        if let (false, Some(of_job)) = (whole.is_empty(), commits.jobs.get_mut(&job)) {
            // Where none is left the list goes on to say that there were some.
            of_job.snapshots = whole;
        }
    }
    if let Err(what) = copy_entries(&old, &new, &[DEFINITION], &[DEFINITION + 1])? {
        damages.push(store_damage(format!("the jobs of the service: {what}")));
    }
    new.flush("rebuilding it")?;
    drop((old, new));
    failpoint::reach("rebuild.before_rename")?;
    let (store, damaged) = (dir.join(STORE), dir.join(STORE_DAMAGED));
    if damaged.exists() {
        fs::remove_dir_all(&damaged).map_err(|error| Error::io(damaged.display(), &error))?;
    }
    fs::rename(&store, &damaged).map_err(|error| Error::io(store.display(), &error))?;
    failpoint::reach("rebuild.between_renames")?;
    finish(dir)?;
    if commits != Commits::default() {
        commits.write(dir)?;
    }
    directory::clear_suspicion(dir)
}

/// The second of the two renames, alone if the process ended between them.
pub(super) fn finish(dir: &Path) -> Result<()> {
    let store = dir.join(STORE);
    let renamed = fs::rename(dir.join(STORE_NEW), &store);
    renamed.map_err(|error| Error::io(store.display(), &error))?;
    directory::sync_directory(dir)
}

/// Copies the whole snapshots of `job`; their numbers.
fn copy_snapshots(
    old: &Store,
    new: &Rocks,
    job: &str,
    damages: &mut Vec<Damage>,
) -> Result<BTreeSet<u64>> {
    let mut whole = BTreeSet::new();
    let mut copied = BTreeSet::new();
    for listed in old.snapshots(job)? {
        match listed {
            Err(damage) => damages.push(damage),
            Ok(manifest) => {
                let found = copy_snapshot(old, new, &manifest, &mut copied)?;
                if found.is_empty() {
                    whole.insert(manifest.id);
                }
                damages.extend(found);
            }
        }
    }
    let used = old.next_id(job)? - 1;
    if used > 0 {
        let mut batch = WriteBatch::default();
        put_latest(&mut batch, job, whole.last().copied().unwrap_or(0), used);
        new.write_unlogged(batch, "rebuilding it")?;
    }
    Ok(whole)
}

/// Copies a snapshot if it is whole; what is wrong with it otherwise.
fn copy_snapshot(
    old: &Store,
    new: &Rocks,
    manifest: &Manifest,
    copied: &mut BTreeSet<u64>,
) -> Result<Vec<Damage>> {
    let job = &manifest.job;
    let mut damages = Vec::new();
    for (_, _, chunk) in manifest.chunks().filter(|(_, _, chunk)| !copied.contains(&chunk.id)) {
        let mut batch = WriteBatch::default();
        let read = old.with_chunk(chunk, |bytes| {
            batch.put(keys::numbered(CHUNK, job, chunk.id), bytes);
            batch.put(keys::numbered(CHUNK_INDEX, job, chunk.id), chunk.bytes.to_le_bytes());
        });
        match read {
            Ok(()) => new.write_unlogged(batch, "rebuilding it")?,
            Err(what) => damages.push(manifest.damage(Some(chunk.id), what)),
        }
    }
    if damages.is_empty() {
        copied.extend(manifest.chunks().map(|(_, _, chunk)| chunk.id));
        let key = keys::numbered(MANIFEST, job, manifest.id);
        let json = serde_json::to_vec(manifest)
            .map_err(|error| Error::internal(format!("a manifest: {error}")))?;
        let mut batch = WriteBatch::default();
        batch.put(&key, keys::seal(&key, &json));
        new.write_unlogged(batch, "rebuilding it")?;
    }
    Ok(damages)
}

/// Copies the entries between two keys as they are: a reader finds what is wrong with them. What
/// cannot be read ends it, and is returned.
fn copy_entries(old: &Store, new: &Rocks, from: &[u8], to: &[u8]) -> Result<Result<(), String>> {
    let mut written = Ok(());
    let read = old.shared.rocks.scan(from, to, |key, value| {
        let mut batch = WriteBatch::default();
        batch.put(key, value);
        written = new.write_unlogged(batch, "rebuilding it");
        written.is_ok()
    });
    written.map(|()| read)
}
