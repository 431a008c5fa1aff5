//! The source `filesystem`: files as partitions, read by threads of the source's own.
//!
//! A partition is a file, in the order of their paths. A file is read on demand: when a worker
//! asks for a split of it, and then a little ahead. A worker that asks for what lies in the page
//! cache copies it itself: the bytes are then in the cache of the core that decodes them, and no
//! thread competes with the workers. It never waits for a disk; that is for the reader threads.
//! A watching source lists its path at every interval; new files become new partitions.

mod queue;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;

use super::columns::{FileFacts, RowLayout};
use super::listing::Listing;
use super::reader::{Content, Encoding, FileInfo, Piece};
use crate::connectors::options::Options;
use crate::connectors::{
    Decoded, NextSplit, PartitionInfo, PartitionPosition, RowOffsets, Source, SourceSpec, Split,
};
use crate::error::{DeadLetter, Error, Result};
use crate::formats::{self, Chunk, ChunkPool, FormatSpec};
use crate::limits;
use crate::plan::props::ChangelogMode;
use crate::telemetry::threads::spawn;
use queue::{Signal, State};
use watch::watch;

/// A source over files.
pub struct FilesystemSource {
    shared: Arc<Shared>,
    monitor_interval: Option<Duration>,
    is_started: AtomicBool,
}

/// What workers, readers and the monitor share.
struct Shared {
    table: String,
    encoding: Encoding,
    layout: RowLayout,
    listing: Listing,
    split_bytes: usize,
    process: usize,
    processes: usize,
    is_changelog: bool,
    /// Files of the first listing that other processes read.
    others: BTreeSet<PathBuf>,
    /// Memory of the text that workers read themselves.
    chunks: Arc<ChunkPool>,
    state: Mutex<State>,
    /// A reader waits here for work.
    work: Condvar,
    /// The monitor waits here for its next interval, or the end.
    pause: Condvar,
    wake: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

impl FilesystemSource {
    /// The source of `spec`: lists its path, reads nothing yet.
    pub fn create(spec: &SourceSpec) -> Result<Self> {
        let options = Options::of(&spec.table);
        let format = options.required("format")?;
        let layout = RowLayout::new(&spec.table, &spec.schema)?;
        let format_spec = FormatSpec {
            format: format.to_string(),
            options: options.with_prefix(&format!("{format}.")),
            stored: Arc::clone(&layout.stored),
            wanted: Arc::clone(&layout.wanted),
            metadata: layout.metadata.clone(),
            keyed: !spec.table.primary_key.is_empty(),
            table: spec.table.name.clone(),
        };
        let encoding = if format == "parquet" {
            Encoding::Parquet(Arc::new(format_spec))
        } else {
            Encoding::Text(formats::text_decoder(format_spec)?)
        };
        let path = options.required("path")?;
        let listing = Listing::new(path, options.get("source.path.regex-pattern"))?;
        let interval = options.positive_duration_ms("source.monitor-interval")?;
        let mut shared = Shared {
            table: spec.table.name.clone(),
            encoding,
            layout,
            listing,
            split_bytes: spec.split_bytes.max(1),
            process: spec.process,
            processes: spec.processes.max(1),
            is_changelog: super::changelog_mode(&spec.table) != ChangelogMode::Append,
            others: BTreeSet::new(),
            chunks: Arc::default(),
            state: Mutex::default(),
            work: Condvar::new(),
            pause: Condvar::new(),
            wake: OnceLock::new(),
        };
        let found = shared.listing.list()?;
        if found.is_empty() && interval.is_none() {
            return Err(shared.listing.nothing_found());
        }
        let files = shared.own_files(&found, interval.is_some())?;
        let own: BTreeSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        if interval.is_none() {
            shared.others = found.iter().filter(|path| !own.contains(path)).cloned().collect();
        }
        let mut state = shared.lock();
        state.is_complete = interval.is_none();
        state.first_bytes = (limits::FIRST_SPLITS_BYTES_MAX / files.len().max(1))
            .clamp(limits::FIRST_SPLIT_BYTES_MIN, limits::SPLIT_BYTES_FIRST)
            .min(shared.split_bytes);
        state.add(files);
        drop(state);
        Ok(FilesystemSource {
            shared: Arc::new(shared),
            monitor_interval: interval.map(|ms| Duration::from_millis(ms.unsigned_abs())),
            is_started: AtomicBool::new(false),
        })
    }
}

impl Source for FilesystemSource {
    fn is_bounded(&self) -> bool {
        self.monitor_interval.is_none()
    }

    fn start(&self, wake: Arc<dyn Fn() + Send + Sync>) -> Result<()> {
        if self.is_started.swap(true, Ordering::AcqRel) || self.shared.wake.set(wake).is_err() {
            return Err(Error::internal("a source was started twice"));
        }
        let readers = match self.monitor_interval {
            None => self.partition_count().min(limits::SOURCE_READERS_MAX),
            Some(_) => limits::SOURCE_READERS_MAX,
        };
        for _ in 0..readers {
            let shared = Arc::clone(&self.shared);
            spawn("files-read", move || read_on_demand(&shared))?;
        }
        if let Some(interval) = self.monitor_interval {
            let shared = Arc::clone(&self.shared);
            spawn("files-watch", move || watch(&shared, interval))?;
        }
        Ok(())
    }

    fn resume(&self, positions: &[PartitionPosition]) -> Result<()> {
        self.shared.lock().resume(&self.shared.table, positions)
    }

    fn owns(&self, name: &str) -> bool {
        let shared = &self.shared;
        let path = Path::new(name);
        if shared.lock().partitions.iter().any(|partition| partition.file.path == path) {
            return true;
        }
        // One that is gone has no place in the listing.
        !shared.others.contains(path) && shared.is_own(shared.number_of(path))
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        let state = self.shared.lock();
        let named = state.partitions.iter().map(|p| PartitionInfo { name: p.file.name.clone() });
        named.collect()
    }

    fn partition_count(&self) -> usize {
        self.shared.lock().partitions.len()
    }

    fn partition_name(&self, partition: usize) -> String {
        let state = self.shared.lock();
        state.partitions.get(partition).map(|p| p.file.name.clone()).unwrap_or_default()
    }

    fn partition_bytes(&self, partition: usize) -> Option<u64> {
        let path = self.shared.lock().partitions.get(partition)?.file.path.clone();
        std::fs::metadata(path).ok().map(|meta| meta.len())
    }

    fn follows(&self, partition: usize) -> Option<(usize, i64)> {
        self.shared.lock().partitions.get(partition)?.follows
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        let mut state = self.shared.lock();
        let mut is_awaited = false;
        if let Some(mut reader) =
            state.check_out_cached(partition, &self.shared.encoding, self.shared.split_bytes)
        {
            drop(state);
            let bytes = self.shared.split_bytes;
            let next = match reader.next_cached(bytes) {
                Some(next) => Ok(next),
                None => reader.next(bytes),
            };
            match next {
                Ok(next) => {
                    state = self.shared.lock();
                    is_awaited = state.check_in(partition, reader, next);
                }
                Err(error) => {
                    self.shared.fail(error);
                    return NextSplit::Pending;
                }
            }
        }
        let (next, signal) = state.take(partition);
        drop(state);
        if is_awaited {
            self.shared.wake_workers();
        }
        match signal {
            Signal::None => {}
            Signal::Readers => self.shared.work.notify_one(),
            Signal::Workers => {
                self.shared.work.notify_all();
                self.shared.wake_workers();
            }
        }
        next
    }

    fn partitions_complete(&self) -> bool {
        self.shared.lock().is_complete
    }

    fn decode(&self, split: Split) -> Result<Decoded> {
        let piece = split.payload.downcast::<Piece>().map_err(|_| {
            Error::internal("a split came to a filesystem source that it is not from")
        })?;
        self.shared.decode(*piece)
    }

    fn failure(&self) -> Option<Error> {
        self.shared.lock().failure.clone()
    }
}

impl Drop for FilesystemSource {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.work.notify_all();
        self.shared.pause.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_workers(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        state.is_stopped = true;
        drop(state);
        self.work.notify_all();
        self.pause.notify_all();
        self.wake_workers();
    }

    /// The files among `found` that this process reads.
    ///
    /// The first listing of a bounded source is the same in all processes: files are dealt out in
    /// turn. Those of a watching source may see different files: the path alone decides. The files
    /// of a directory are one changelog: one process reads them all.
    fn own_files(
        &self,
        found: &BTreeSet<PathBuf>,
        is_watching: bool,
    ) -> Result<Vec<Arc<FileInfo>>> {
        let is_own = |index: usize, path: &PathBuf| match is_watching || self.is_changelog {
            true => self.is_own(self.number_of(path)),
            false => self.is_own(index as u64),
        };
        let mut files = Vec::new();
        for (_, path) in found.iter().enumerate().filter(|(index, path)| is_own(*index, path)) {
            match self.file_info(path) {
                Ok(file) => files.push(Arc::new(file)),
                // Gone since it was listed: for a watching source it never was there.
                Err(error) if !is_watching || path.exists() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(files)
    }

    /// A number by which a file that has no place in a listing is dealt out.
    fn number_of(&self, path: &Path) -> u64 {
        path_hash(if self.is_changelog { path.parent().unwrap_or(path) } else { path })
    }

    fn is_own(&self, number: u64) -> bool {
        number % self.processes as u64 == self.process as u64
    }

    fn file_info(&self, path: &PathBuf) -> Result<FileInfo> {
        let failed = |error| Error::io(format!("cannot read '{}'", path.display()), &error);
        let meta = std::fs::metadata(path).map_err(failed)?;
        let modified = meta.modified().map_err(failed)?;
        let modified_ms = match modified.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        let values = self.layout.values(path, FileFacts { size: meta.len(), modified_ms })?;
        Ok(FileInfo { path: path.clone(), name: path.to_string_lossy().into_owned(), values })
    }

    fn decode_text(
        &self,
        text: Chunk,
        partition: &str,
        decoded: &mut Decoded,
    ) -> Result<RecordBatch> {
        let Encoding::Text(decoder) = &self.encoding else {
            return Err(Error::internal("text came to a source of columns"));
        };
        decoded.bytes = text.len();
        let records = decoder.decode(text, partition, decoded.offset, decoded.offset == 0)?;
        decoded.dead_letters = records.dead_letters;
        decoded.row_offsets = RowOffsets::Behind(records.starts);
        decoded.kinds = records.kinds;
        Ok(records.rows)
    }

    fn decode(&self, piece: Piece) -> Result<Decoded> {
        let Piece { file, offset, content } = piece;
        let end_behind = |length: usize| i64::try_from(length).ok()?.checked_add(offset);
        let mut decoded = Decoded { offset, end: Some(offset), ..Decoded::default() };
        let rows = match content {
            Content::Text(text) if text.is_empty() => return Ok(decoded),
            Content::Text(text) => {
                decoded.end = end_behind(text.len());
                self.decode_text(text.into(), &file.name, &mut decoded)?
            }
            Content::Range(range) => {
                let text = range.read(&file, &self.chunks)?;
                decoded.end = end_behind(text.len());
                self.decode_text(text, &file.name, &mut decoded)?
            }
            Content::Rows(rows) => {
                decoded.bytes = rows.get_array_memory_size();
                decoded.row_offsets = RowOffsets::Consecutive;
                decoded.end = end_behind(rows.num_rows());
                rows
            }
            Content::Oversized(head) => {
                // It goes on behind what was kept of it: who reads again begins with it.
                decoded.end = None;
                decoded.bytes = head.len();
                let mut record = String::from_utf8_lossy(&head).into_owned();
                record.truncate(record.floor_char_boundary(limits::DEAD_LETTER_RECORD_BYTES_MAX));
                let letter = DeadLetter {
                    source: self.table.clone(),
                    partition: file.name.clone(),
                    offset,
                    reason: format!("the record is longer than {} bytes", limits::RECORD_BYTES_MAX),
                    record,
                };
                decoded.dead_letters.push((0, letter));
                return Ok(decoded);
            }
        };
        if rows.num_rows() > 0 {
            decoded.rows = Some(self.layout.complete(rows, &file.values)?);
        }
        Ok(decoded)
    }
}

/// A hash of a path that is the same in every process and build (FNV-1a).
fn path_hash(path: &std::path::Path) -> u64 {
    path.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The body of a reader thread: reads what is asked for until the source is dropped.
fn read_on_demand(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.is_stopped || state.is_over() {
            return;
        }
        let Some(index) = state.next_job() else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let Some(mut reader) = state.check_out(index, &shared.encoding) else { continue };
        let bytes = if reader.sequence() == 0 { state.first_bytes } else { shared.split_bytes };
        drop(state);
        let next = match reader.next(bytes) {
            Ok(next) => next,
            Err(error) => return shared.fail(error),
        };
        state = shared.lock();
        if state.check_in(index, reader, next) {
            // Outside the lock: the woken worker asks at once.
            drop(state);
            shared.wake_workers();
            state = shared.lock();
        }
    }
}
