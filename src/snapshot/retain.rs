//! What goes: old snapshots, chunks that none names any more, whole jobs.
//!
//! First the list of commits stops asking for a snapshot, then its manifest goes, then the chunks:
//! a crash in between leaves garbage for the next time, never a snapshot without its chunks.

use std::collections::BTreeSet;

use rocksdb::WriteBatch;

use super::failpoint;
use super::keys::{self, CHUNK, CHUNK_INDEX, JOURNAL, LATEST, MANIFEST};
use super::model::Listed;
use super::store::{Store, locked, put_latest};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SNAPSHOT_RECLAIM_BYTES;

/// Commits that a chunk without a manifest may see pass before it is garbage: it may be of the next
/// snapshot, whose chunks are written while this one commits, not of the one after.
const COMMITS_WITHOUT_NAME: u32 = 2;

impl Store {
    /// Keeps the newest `keep` snapshots of `job` (at least one) and removes the others, then the
    /// chunks that no snapshot names.
    ///
    /// Chunks that this process has written for the next snapshot stay.
    pub fn retain(&self, job: &str, keep: usize) -> Result<()> {
        let _changing = locked(&self.shared.changing);
        let listed = self.snapshots(job)?;
        let readable: Vec<u64> = listed.iter().flatten().map(|manifest| manifest.id).collect();
        let first_kept = readable.iter().rev().nth(keep.max(1) - 1).copied().unwrap_or(0);
        let older = |id: &u64| *id < first_kept;
        let removed: BTreeSet<u64> = listed.iter().filter_map(number).filter(older).collect();
        self.remove(job, &removed)
    }

    /// Removes one snapshot of `job`, damaged or not.
    pub fn delete(&self, job: &str, id: u64) -> Result<()> {
        let _changing = locked(&self.shared.changing);
        if !self.snapshots(job)?.iter().any(|listed| number(listed) == Some(id)) {
            let message = format!("job '{job}' has no snapshot {id}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        self.remove(job, &BTreeSet::from([id]))
    }

    /// Removes everything of `job`: snapshots, chunks and journals. A job of a service begins anew.
    pub fn delete_job(&self, job: &str) -> Result<()> {
        self.clear(job, false)
    }

    pub(super) fn clear(&self, job: &str, forget: bool) -> Result<()> {
        keys::check_job(job)?;
        self.shared.rocks.check_writable()?;
        let _changing = locked(&self.shared.changing);
        self.change_commits(|commits| {
            commits.jobs.remove(job);
        })?;
        let mut batch = WriteBatch::default();
        self.put_cleared(&mut batch, job, forget)?;
        for tag in [MANIFEST, LATEST, CHUNK_INDEX, CHUNK, JOURNAL] {
            let from = keys::prefix(tag, job);
            let to = keys::after(from.clone());
            batch.delete_range(from, to);
        }
        self.shared.rocks.write_synced(batch, &format!("deleting job '{job}'"))?;
        locked(&self.shared.jobs).remove(job);
        locked(&self.shared.journals).retain(|(of, _), _| of != job);
        let from = keys::prefix(CHUNK, job);
        self.shared.rocks.reclaim(&from, &keys::after(from.clone()))
    }

    /// Forgets the chunks of `job` that no manifest names: the snapshot they were written for has
    /// failed. The next [`Store::retain`] removes them.
    pub fn abandon(&self, job: &str) -> Result<()> {
        self.with_job(job, |state| state.pending.clear())
    }

    /// Removes the chunks `written` of `job`, which no manifest names.
    pub(super) fn give_back(&self, job: &str, written: &[u64]) -> Result<()> {
        let _changing = locked(&self.shared.changing);
        self.with_job(job, |state| state.pending.retain(|id, _| !written.contains(id)))?;
        self.collect(job)
    }

    fn remove(&self, job: &str, removed: &BTreeSet<u64>) -> Result<()> {
        self.shared.rocks.check_writable()?;
        if !removed.is_empty() {
            self.change_commits(|commits| {
                if let Some(of_job) = commits.jobs.get_mut(job) {
                    of_job.snapshots.retain(|id| !removed.contains(id));
                }
            })?;
            failpoint::reach("retain.before_manifests")?;
            let used = self.next_id(job)? - 1;
            let left = self.snapshots(job)?;
            let newest = left.iter().filter_map(number).filter(|id| !removed.contains(id)).max();
            let mut batch = WriteBatch::default();
            for id in removed {
                batch.delete(keys::numbered(MANIFEST, job, *id));
            }
            put_latest(&mut batch, job, newest.unwrap_or(0), used);
            self.shared.rocks.write(batch, &format!("deleting snapshots of job '{job}'"))?;
        }
        self.collect(job)
    }

    /// Removes the chunks of `job` that no snapshot names.
    fn collect(&self, job: &str) -> Result<()> {
        failpoint::reach("retain.before_chunks")?;
        let mut named = BTreeSet::new();
        for listed in self.snapshots(job)? {
            // What a damaged manifest names is not known; it may yet be read by other means.
            let Ok(manifest) = listed else { return Ok(()) };
            named.extend(manifest.chunks().map(|(_, _, chunk)| chunk.id));
        }
        let mut stored = Vec::new();
        let from = keys::prefix(CHUNK_INDEX, job);
        let read = self.shared.rocks.scan(&from, &keys::after(from.clone()), |key, value| {
            let bytes = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            stored.extend(keys::number_of(key).map(|id| (id, bytes)));
            true
        });
        read.map_err(|what| self.unreadable(&format!("the chunks of job '{job}'"), &what))?;
        let garbage = self.with_job(job, |state| {
            state.pending.retain(|_, passed| *passed < COMMITS_WITHOUT_NAME);
            stored.retain(|(id, _)| !named.contains(id) && !state.pending.contains_key(id));
            state.named = named;
            stored
        })?;
        if garbage.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        for (id, _) in &garbage {
            batch.delete(keys::numbered(CHUNK, job, *id));
            batch.delete(keys::numbered(CHUNK_INDEX, job, *id));
        }
        self.shared.rocks.write(batch, &format!("deleting chunks of job '{job}'"))?;
        let bytes: u64 = garbage.iter().map(|(_, bytes)| bytes).sum();
        let is_due = {
            let mut deleted = locked(&self.shared.deleted_bytes);
            *deleted += bytes;
            let is_due = *deleted >= SNAPSHOT_RECLAIM_BYTES;
            if is_due {
                *deleted = 0;
            }
            is_due
        };
        if is_due {
            let from = keys::prefix(CHUNK, job);
            self.shared.rocks.reclaim(&from, &keys::after(from.clone()))?;
        }
        Ok(())
    }
}

fn number(listed: &Listed) -> Option<u64> {
    match listed {
        Ok(manifest) => Some(manifest.id),
        Err(damage) => damage.snapshot,
    }
}
