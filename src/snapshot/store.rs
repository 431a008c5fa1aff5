//! [`Store`]: one data directory: chunks, manifests, and which of them are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use rocksdb::WriteBatch;

use super::definitions::JobDefinition;
use super::directory::{self, Commits, Found};
use super::journal::JournalEntry;
use super::keys::{self, CHUNK, CHUNK_INDEX, JOURNAL, LATEST, MANIFEST};
use super::model::{ChunkRef, Damage, Latest, Listed, Manifest};
use super::rocks::Rocks;
use super::{FORMAT, chunk, failpoint, rebuild};
use crate::error::{Error, ErrorKind, Result};

/// The snapshots and journals of one data directory.
///
/// Open by one process at a time for writing; every method may be called from any thread.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

/// What the handles of one open store share. The lock is released after RocksDB is closed.
pub(super) struct Shared {
    pub(super) rocks: Rocks,
    pub(super) commits: Mutex<Commits>,
    /// Held while snapshots come or go, so that no chunk goes that is just being named.
    pub(super) changing: Mutex<()>,
    pub(super) jobs: Mutex<BTreeMap<String, JobState>>,
    /// Bytes of deleted chunks whose space has not been asked back.
    pub(super) deleted_bytes: Mutex<u64>,
    /// Number of the next entry of each journal that is open.
    pub(super) journals: Mutex<Journals>,
    /// What was found damaged when the store was opened.
    found: Vec<Damage>,
    _lock: Option<File>,
}

/// By job and run.
type Journals = BTreeMap<(String, u64), Arc<Mutex<u64>>>;

/// What is known of a job's chunks in this process.
#[derive(Default)]
pub(super) struct JobState {
    next_chunk: u64,
    /// Written and not yet named by a manifest, with the commits that have passed since.
    pub(super) pending: BTreeMap<u64, u32>,
    /// Named by a manifest.
    pub(super) named: BTreeSet<u64>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the data directory `dir` for writing; makes it if it is absent or empty.
    ///
    /// Refused: a directory that another process has open, that a newer version wrote, or that
    /// holds something else.
    pub fn open(dir: &Path) -> Result<Store> {
        directory::create(dir)?;
        // Before the lock, so that nothing is written into a directory that is not ours.
        directory::inspect(dir)?;
        let lock = directory::lock(dir, false)?;
        match directory::inspect(dir)? {
            Found::Empty => {
                if Commits::read(dir).is_ok_and(|commits| commits != Commits::default()) {
                    let message = format!("{}: its store is missing", dir.display());
                    return Err(Error::new(ErrorKind::Io, message)
                        .with_hint("restore from an export, or use an empty directory"));
                }
                Commits::default().write(dir)?;
                Rocks::create(dir)?;
            }
            Found::Rebuilt => rebuild::finish(dir)?,
            Found::Ours => {}
        }
        let (rocks, found) = rebuild::open(dir)?;
        directory::write_format(dir)?;
        Ok(Self::of(rocks, found, lock))
    }

    /// Opens the data directory `dir` for reading, while no process writes.
    pub fn open_read_only(dir: &Path) -> Result<Store> {
        let none = || {
            let message = format!("{} holds no snapshots", dir.display());
            Err(Error::new(ErrorKind::NotFound, message))
        };
        if !dir.is_dir() {
            return none();
        }
        match directory::inspect(dir)? {
            Found::Empty => return none(),
            Found::Rebuilt => {
                let message = format!("a rebuild of {} has not finished", dir.display());
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint("open it for writing once: start a job with it"));
            }
            Found::Ours => {}
        }
        let lock = directory::lock(dir, true)?;
        let (rocks, found) = rebuild::open_read_only(dir)?;
        Ok(Self::of(rocks, found, lock))
    }

    pub(super) fn of(rocks: Rocks, mut found: Vec<Damage>, lock: Option<File>) -> Store {
        let commits = Commits::read(rocks.dir()).unwrap_or_else(|what| {
            found.push(Damage { job: String::new(), snapshot: None, chunk: None, what });
            Commits::default()
        });
        Store {
            shared: Arc::new(Shared {
                rocks,
                commits: Mutex::new(commits),
                changing: Mutex::default(),
                jobs: Mutex::default(),
                deleted_bytes: Mutex::default(),
                journals: Mutex::default(),
                found,
                _lock: lock,
            }),
        }
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.shared.rocks.dir()
    }

    /// What was found damaged when the store was opened, beside what [`Store::latest`] tells.
    pub fn found(&self) -> &[Damage] {
        &self.shared.found
    }

    /// Runs `change` on what is known of `job`, which is read first if it is not known yet.
    pub(super) fn with_job<R>(
        &self,
        job: &str,
        change: impl FnOnce(&mut JobState) -> R,
    ) -> Result<R> {
        keys::check_job(job)?;
        let mut jobs = locked(&self.shared.jobs);
        if !jobs.contains_key(job) {
            jobs.insert(job.to_owned(), self.job_state(job)?);
        }
        Ok(change(jobs.entry(job.to_owned()).or_default()))
    }

    fn job_state(&self, job: &str) -> Result<JobState> {
        let (chunks, read) = self.shared.rocks.numbers(keys::prefix(CHUNK_INDEX, job));
        read.map_err(|what| self.unreadable(&format!("the chunks of job '{job}'"), &what))?;
        let manifests = self.snapshots(job)?.into_iter().flatten();
        let named: BTreeSet<u64> =
            manifests.flat_map(|m| m.chunks().map(|(_, _, c)| c.id).collect::<Vec<_>>()).collect();
        let last = chunks.last().max(named.last()).copied();
        Ok(JobState {
            next_chunk: last.map_or(1, |last| last + 1),
            pending: BTreeMap::new(),
            named,
        })
    }

    pub(super) fn unreadable(&self, thing: &str, what: &str) -> Error {
        let dir = self.dir().display();
        Error::new(ErrorKind::Io, format!("the snapshot store in {dir}: reading {thing}: {what}"))
    }

    /// Writes `rows` (at most a chunk's worth, see [`super::cut`]) as one chunk of `job`.
    ///
    /// Nothing is durable or visible before a manifest that names the chunk is committed.
    pub fn write_chunk(&self, job: &str, rows: &RecordBatch) -> Result<ChunkRef> {
        let bytes = chunk::encode(rows)?;
        self.write_chunk_bytes(job, &bytes, rows.num_rows() as u64)
    }

    pub(super) fn write_chunk_bytes(&self, job: &str, bytes: &[u8], rows: u64) -> Result<ChunkRef> {
        self.shared.rocks.check_writable()?;
        let id = self.with_job(job, |state| {
            let id = state.next_chunk;
            state.next_chunk += 1;
            state.pending.insert(id, 0);
            id
        })?;
        failpoint::reach("chunk.before_write")?;
        let key = keys::numbered(CHUNK, job, id);
        let checksum = keys::checksum(&key, bytes);
        let mut batch = WriteBatch::default();
        batch.put(&key, bytes);
        let size = bytes.len() as u64;
        batch.put(keys::numbered(CHUNK_INDEX, job, id), size.to_le_bytes());
        self.shared.rocks.write_unlogged(batch, &format!("writing chunk {id} of job '{job}'"))?;
        Ok(ChunkRef {
            job: job.to_owned(),
            id,
            rows,
            bytes: size,
            checksum,
            min_time: i64::MIN,
            max_time: i64::MAX,
        })
    }

    /// The rows of a chunk, exactly as written.
    pub fn read_chunk(&self, chunk: &ChunkRef) -> Result<RecordBatch> {
        self.chunk_rows(chunk).map_err(|what| damaged(chunk, what))
    }

    /// The bytes of a chunk, exactly as written: rows for [`super::decode_rows`].
    pub fn chunk_bytes(&self, chunk: &ChunkRef) -> Result<Vec<u8>> {
        self.with_chunk(chunk, <[u8]>::to_vec).map_err(|what| damaged(chunk, what))
    }

    /// The same, or what is wrong with it.
    pub(super) fn chunk_rows(&self, chunk: &ChunkRef) -> Result<RecordBatch, String> {
        let rows = self.with_chunk(chunk, super::chunk::decode).and_then(|rows| rows)?;
        if rows.num_rows() as u64 != chunk.rows {
            return Err(format!("{} rows, {} were written", rows.num_rows(), chunk.rows));
        }
        Ok(rows)
    }

    /// Shows `read` the bytes of a chunk, once they are known to be what was written.
    pub(super) fn with_chunk<R>(
        &self,
        chunk: &ChunkRef,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, String> {
        let key = keys::numbered(CHUNK, &chunk.job, chunk.id);
        let Some(bytes) = self.shared.rocks.get(&key)? else {
            return Err("it is missing".to_owned());
        };
        check_bytes(chunk, &bytes)?;
        Ok(read(&bytes))
    }

    /// Makes `manifest` and all that it names durable, as the newest snapshot of its job.
    ///
    /// Before it returns nothing of it is visible; a failure leaves the snapshot before.
    pub fn commit(&self, manifest: &Manifest) -> Result<()> {
        let _changing = locked(&self.shared.changing);
        self.commit_with(manifest, |_| Ok(()))
    }

    /// As [`Store::commit`], of a job that does not run: together with an entry in the journal of
    /// its run and, if given, the definition that takes the place of that of the job. All of it is
    /// there or nothing.
    pub fn upgrade(
        &self,
        manifest: &Manifest,
        entry: &JournalEntry,
        definition: Option<&JobDefinition>,
    ) -> Result<()> {
        let _changing = locked(&self.shared.changing);
        failpoint::reach("upgrade.before_commit")?;
        let journal = self.journal(&manifest.job, manifest.run)?;
        let mut next = 0;
        let committed = self.commit_with(manifest, |batch| {
            next = journal.put(batch, entry)?;
            definition.map_or(Ok(()), |definition| self.put_definition(batch, definition))
        });
        match &committed {
            Ok(()) => journal.put_was_written(next),
            // It may be there or not: its length is looked up again.
            Err(_) => {
                locked(&self.shared.journals).remove(&(manifest.job.clone(), manifest.run));
            }
        }
        committed
    }

    /// Commits `manifest` and what `also` puts into the batch.
    fn commit_with(
        &self,
        manifest: &Manifest,
        also: impl FnOnce(&mut WriteBatch) -> Result<()>,
    ) -> Result<()> {
        let job = &manifest.job;
        let used = self.used(job)?;
        self.check_manifest(manifest, used)?;
        failpoint::reach("manifest.before_flush")?;
        let doing = format!("committing snapshot {} of job '{job}'", manifest.id);
        // The chunks are not in the log: they are written once, to where they stay.
        self.shared.rocks.flush(&doing)?;
        failpoint::reach("manifest.before_commit")?;
        let key = keys::numbered(MANIFEST, job, manifest.id);
        let json = serde_json::to_vec(manifest)
            .map_err(|error| Error::internal(format!("{doing}: {error}")))?;
        let mut batch = WriteBatch::default();
        batch.put(&key, keys::seal(&key, &json));
        put_latest(&mut batch, job, manifest.id, manifest.id);
        also(&mut batch)?;
        let journals = self.journal_lengths(job);
        self.shared.rocks.write_synced(batch, &doing)?;
        failpoint::reach("manifest.after_commit")?;
        self.with_job(job, |state| {
            for passed in state.pending.values_mut() {
                *passed += 1;
            }
            for (_, _, chunk) in manifest.chunks() {
                state.pending.remove(&chunk.id);
                state.named.insert(chunk.id);
            }
        })?;
        let listed = self.change_commits(|commits| {
            let of_job = commits.jobs.entry(job.clone()).or_default();
            of_job.snapshots.insert(manifest.id);
            of_job.used = manifest.id;
            of_job.journals.extend(journals);
        });
        if let Err(error) = listed {
            // The snapshot is durable. Without its line a later loss of it may go unnoticed.
            tracing::warn!("{doing}: it is committed, but not in the list of commits: {error}");
        }
        Ok(())
    }

    fn check_manifest(&self, manifest: &Manifest, used: u64) -> Result<()> {
        let (job, id) = (&manifest.job, manifest.id);
        let refuse = |what: String| {
            Err(Error::new(ErrorKind::Conflict, format!("snapshot {id} of job '{job}': {what}")))
        };
        if manifest.format != FORMAT {
            return refuse(format!("format {} is not written, only {FORMAT}", manifest.format));
        }
        if id <= used {
            return refuse(format!("number {used} has been given already"));
        }
        let absent = self.with_job(job, |state| {
            let mut chunks = manifest.chunks().map(|(_, _, chunk)| chunk);
            chunks.find(|chunk| {
                let is_known =
                    state.pending.contains_key(&chunk.id) || state.named.contains(&chunk.id);
                chunk.job != *job || !is_known
            })
        })?;
        match absent {
            None => Ok(()),
            Some(chunk) => {
                refuse(format!("it names chunk {} of job '{}', not its own", chunk.id, chunk.job))
            }
        }
    }

    /// Changes the list of what must be there, in memory and on disk.
    pub(super) fn change_commits(&self, change: impl FnOnce(&mut Commits)) -> Result<()> {
        let mut commits = locked(&self.shared.commits);
        change(&mut commits);
        commits.write(self.dir())
    }

    /// The newest and the highest number of `job` by the store's own entry.
    pub(super) fn latest_entry(&self, job: &str) -> Result<Option<(u64, u64)>, Damage> {
        let key = keys::numbered(LATEST, job, 0);
        let damage = |what: String| Damage {
            job: job.to_owned(),
            snapshot: None,
            chunk: None,
            what: format!("the entry of its newest snapshot: {what}"),
        };
        let Some(value) = self.shared.rocks.get(&key).map_err(damage)? else { return Ok(None) };
        let body = keys::unseal(&key, &value).map_err(damage)?;
        let numbers = body.split_first_chunk::<8>().and_then(|(newest, rest)| {
            Some((u64::from_le_bytes(*newest), u64::from_le_bytes(*rest.first_chunk::<8>()?)))
        });
        numbers.map(Some).ok_or_else(|| damage("too short".to_owned()))
    }

    /// The highest number that was ever given to a snapshot of `job`.
    fn used(&self, job: &str) -> Result<u64> {
        keys::check_job(job)?;
        let by_entry = self.latest_entry(job).unwrap_or(None).map_or(0, |(_, used)| used);
        let by_list = locked(&self.shared.commits).jobs.get(job).map_or(0, |job| job.used);
        let (numbers, _) = self.shared.rocks.numbers(keys::prefix(MANIFEST, job));
        Ok(by_entry.max(by_list).max(numbers.last().copied().unwrap_or(0)))
    }

    /// The number of the next snapshot of `job`.
    pub fn next_id(&self, job: &str) -> Result<u64> {
        Ok(self.used(job)? + 1)
    }

    /// Every snapshot of `job` that there is or must be, by ascending number.
    pub fn snapshots(&self, job: &str) -> Result<Vec<Listed>> {
        keys::check_job(job)?;
        let (numbers, read) = self.shared.rocks.numbers(keys::prefix(MANIFEST, job));
        let mut numbers: BTreeSet<u64> = numbers.into_iter().collect();
        if let Some(of_job) = locked(&self.shared.commits).jobs.get(job) {
            numbers.extend(&of_job.snapshots);
        }
        let mut damages = Vec::new();
        match self.latest_entry(job) {
            Ok(Some((newest, _))) => numbers.extend((newest > 0).then_some(newest)),
            Ok(None) => {}
            Err(damage) => damages.push(damage),
        }
        if let Err(what) = read {
            let what = format!("its list of snapshots: {what}");
            damages.push(Damage { job: job.to_owned(), snapshot: None, chunk: None, what });
        }
        let listed = damages.into_iter().map(Err);
        Ok(listed.chain(numbers.into_iter().map(|id| self.manifest(job, id))).collect())
    }

    /// One manifest, or what is wrong with it.
    pub fn manifest(&self, job: &str, id: u64) -> Listed {
        let damage = |what| Damage { job: job.to_owned(), snapshot: Some(id), chunk: None, what };
        let key = keys::numbered(MANIFEST, job, id);
        let value = self.shared.rocks.get(&key).map_err(|what| damage(format!("manifest: {what}")));
        let Some(value) = value? else {
            return Err(damage("it was committed and is missing".to_owned()));
        };
        let body = keys::unseal(&key, &value);
        let body = body.map_err(|what| damage(format!("manifest: {what}")))?;
        parse_manifest(body).map_err(|what| damage(format!("manifest: {what}")))
    }

    /// The jobs that have snapshots or journals.
    pub fn jobs(&self) -> Result<Vec<String>> {
        let mut jobs: BTreeSet<String> =
            locked(&self.shared.commits).jobs.keys().cloned().collect();
        for tag in [LATEST, MANIFEST, JOURNAL] {
            let mut from = vec![tag];
            while let Some(key) = self
                .shared
                .rocks
                .first_key(&from, &[tag + 1])
                .map_err(|what| self.unreadable("the list of jobs", &what))?
            {
                let Some(job) = keys::job_of(&key) else { break };
                jobs.insert(job.to_owned());
                from = keys::after(keys::prefix(tag, job));
            }
        }
        Ok(jobs.into_iter().collect())
    }

    /// The newest snapshot of `job` that is whole, manifest and all chunks.
    ///
    /// Fails if there were snapshots and none is whole: to start empty would be to lose them.
    pub fn latest(&self, job: &str) -> Result<Latest> {
        let check = |manifest: &Manifest| match self.verify(manifest) {
            damages if damages.is_empty() => Ok(()),
            damages => Err(damages),
        };
        Ok(self.latest_with(job, check)?.0)
    }

    /// The same, and what `read` makes of it, which says what is wrong with its chunks.
    pub fn latest_with<T>(
        &self,
        job: &str,
        mut read: impl FnMut(&Manifest) -> Result<T, Vec<Damage>>,
    ) -> Result<(Latest, Option<T>)> {
        let mut skipped: Vec<Damage> = Vec::new();
        let concerned = self.shared.found.iter().filter(|d| d.job.is_empty() || d.job == job);
        let found: Vec<Damage> = concerned.cloned().collect();
        for listed in self.snapshots(job)?.into_iter().rev() {
            let damages = match listed {
                Err(damage) => vec![damage],
                Ok(manifest) => match read(&manifest) {
                    Ok(made) => {
                        skipped.extend(found);
                        return Ok((Latest { manifest: Some(manifest), skipped }, Some(made)));
                    }
                    Err(damages) => damages,
                },
            };
            skipped.extend(damages);
        }
        let of_job = found.iter().any(|damage| damage.job == job);
        if skipped.is_empty() && !of_job {
            return Ok((Latest { manifest: None, skipped: found }, None));
        }
        skipped.extend(found);
        let what: Vec<String> = skipped.iter().take(5).map(ToString::to_string).collect();
        let message = format!(
            "no snapshot of job '{job}' is whole, of those there were: {}",
            what.join("; ")
        );
        Err(Error::new(ErrorKind::Io, message)
            .with_hint("restore an export, or delete the job's snapshots to start it empty"))
    }

    /// What is wrong with the chunks that `manifest` names.
    pub fn verify(&self, manifest: &Manifest) -> Vec<Damage> {
        let mut damages = Vec::new();
        for named in manifest.chunks() {
            if let Err(what) = self.with_chunk(named.2, |_| ()) {
                damages.push(manifest.damage_in(named, &what));
            }
        }
        damages
    }
}

fn damaged(chunk: &ChunkRef, what: String) -> Error {
    let damage = Damage { job: chunk.job.clone(), snapshot: None, chunk: Some(chunk.id), what };
    Error::new(ErrorKind::Io, format!("the snapshot store: {damage}"))
}

/// Whether `bytes` are those of `chunk`.
pub(super) fn check_bytes(chunk: &ChunkRef, bytes: &[u8]) -> Result<(), String> {
    if bytes.len() as u64 != chunk.bytes {
        return Err(format!("{} bytes, {} were written", bytes.len(), chunk.bytes));
    }
    let found = keys::checksum(&keys::numbered(CHUNK, &chunk.job, chunk.id), bytes);
    if found != chunk.checksum {
        return Err(format!("checksum {found:016x}, {:016x} was written", chunk.checksum));
    }
    Ok(())
}

/// The manifest in `json`; a newer format is named before anything else is looked at.
pub(super) fn parse_manifest(json: &[u8]) -> Result<Manifest, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if version.format == 0 || version.format > FORMAT {
        return Err(format!(
            "it is of format {}; this version knows formats up to {FORMAT}",
            version.format
        ));
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Puts the newest and the highest number of `job`.
pub(super) fn put_latest(batch: &mut WriteBatch, job: &str, newest: u64, used: u64) {
    let key = keys::numbered(LATEST, job, 0);
    let mut body = newest.to_le_bytes().to_vec();
    body.extend_from_slice(&used.to_le_bytes());
    let value = keys::seal(&key, &body);
    batch.put(key, value);
}
