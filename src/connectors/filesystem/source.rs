//! The source `filesystem`: files as partitions, read by threads of the source's own.
//!
//! A partition is a file, in the order of their paths. A file is read on demand: when a worker
//! asks for a split of it, and then a little ahead. A worker that asks for what lies in the page
//! cache copies it itself: the bytes are then in the cache of the core that decodes them, and no
//! thread competes with the workers. It never waits for a disk; that is for the reader threads.
//! A watching source lists its path at every interval; new files become new partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;

use super::columns::{FileFacts, RowLayout};
use super::listing::Listing;
use super::reader::{Content, Encoding, FileInfo, FileReader, NextPiece, Piece};
use crate::connectors::options::Options;
use crate::connectors::{
    Decoded, NextSplit, PartitionInfo, PartitionPosition, RowOffsets, Source, SourceSpec, Split,
};
use crate::error::{DeadLetter, Error, ErrorKind, Result};
use crate::formats::{self, Chunk, ChunkPool, FormatSpec};
use crate::limits;
use crate::plan::props::ChangelogMode;

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
    /// Memory of the text that workers read themselves.
    chunks: Arc<ChunkPool>,
    state: Mutex<State>,
    /// A reader waits here for work.
    work: Condvar,
    /// The monitor waits here for its next interval, or the end.
    pause: Condvar,
    wake: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    partitions: Vec<Partition>,
    /// The last file of each directory: what a changelog goes on from.
    last_files: BTreeMap<PathBuf, usize>,
    /// Partitions that a worker waits for, in the order they were asked for.
    wanted: VecDeque<usize>,
    /// Partitions to read ahead when nobody waits.
    ahead: VecDeque<usize>,
    /// Ready splits other than first ones.
    ready_count: usize,
    /// Partitions whose last split has not been handed out.
    open_count: usize,
    /// Parked readers with an open handle, the longest parked first.
    handles: BTreeMap<u64, usize>,
    park_count: u64,
    /// Whether a worker has been told `Pending` since the last wake.
    is_awaited: bool,
    is_complete: bool,
    is_stopped: bool,
    failure: Option<Error>,
    /// Bytes of the first split of a file.
    first_bytes: usize,
}

struct Partition {
    file: Arc<FileInfo>,
    /// See [`Source::follows`].
    follows: Option<(usize, i64)>,
    ready: VecDeque<Split>,
    /// Where reading begins.
    origin: i64,
    place: Place,
    queued: Queued,
    /// Whether a worker waits for a split.
    is_wanted: bool,
    /// Whether a split has been handed out.
    has_begun: bool,
    /// Whether a split after the first has been asked for: only then is it read ahead.
    is_hot: bool,
    /// Whether the last split was in the page cache: then nothing is read ahead.
    is_cached: bool,
}

/// Where the reader of a partition is.
enum Place {
    /// Not begun.
    Start,
    /// With a reader thread.
    Busy,
    /// Parked; the number is its key in [`State::handles`] (gone from there once closed).
    Parked(Box<FileReader>, u64),
    /// Read to the end.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queued {
    No,
    Ahead,
    Wanted,
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
        let shared = Shared {
            table: spec.table.name.clone(),
            encoding,
            layout,
            listing,
            split_bytes: spec.split_bytes.max(1),
            process: spec.process,
            processes: spec.processes.max(1),
            is_changelog: super::changelog_mode(&spec.table) != ChangelogMode::Append,
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
            spawn("read", move || read_on_demand(&shared))?;
        }
        if let Some(interval) = self.monitor_interval {
            let shared = Arc::clone(&self.shared);
            spawn("watch", move || watch(&shared, interval))?;
        }
        Ok(())
    }

    fn resume(&self, positions: &[PartitionPosition]) -> Result<()> {
        self.shared.lock().resume(&self.shared.table, positions)
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

/// Whom a change of the state concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    None,
    Readers,
    Workers,
}

impl State {
    fn add(&mut self, files: Vec<Arc<FileInfo>>) {
        self.open_count += files.len();
        for file in files {
            let directory = file.path.parent().unwrap_or(&file.path).to_path_buf();
            let last = self.last_files.insert(directory, self.partitions.len());
            // What is of one time goes by the names: a file that is found later has to be later.
            let gap = |last: usize| i64::from(self.partitions[last].file.name >= file.name);
            self.partitions.push(Partition {
                follows: last.map(|last| (last, gap(last))),
                file,
                ready: VecDeque::new(),
                origin: 0,
                place: Place::Start,
                queued: Queued::No,
                is_wanted: false,
                has_begun: false,
                is_hot: false,
                is_cached: false,
            });
        }
    }

    /// The partitions of `positions` first, in their order, each where it says.
    fn resume(&mut self, table: &str, positions: &[PartitionPosition]) -> Result<()> {
        let mut files: Vec<_> = self.partitions.drain(..).map(|p| p.file).collect();
        let mut ordered = Vec::with_capacity(files.len());
        for position in positions {
            let name = &position.name;
            match files.iter().position(|file| file.name == *name) {
                Some(at) => ordered.push(files.remove(at)),
                // What was read to its end may be gone.
                None if position.ended => {
                    let (path, name) = (PathBuf::from(name), name.clone());
                    ordered.push(Arc::new(FileInfo { path, name, values: Vec::new() }));
                }
                None => {
                    let at = position.offset;
                    let message = format!(
                        "table {table}: '{name}' is gone, and it was read to offset {at} only"
                    );
                    return Err(Error::new(ErrorKind::Conflict, message)
                        .with_hint("put it back, or start the job anew"));
                }
            }
        }
        ordered.append(&mut files);
        self.last_files.clear();
        self.open_count = 0;
        self.add(ordered);
        for (partition, position) in self.partitions.iter_mut().zip(positions) {
            partition.origin = position.offset;
            if position.ended {
                partition.place = Place::End;
                partition.has_begun = true;
                self.open_count -= 1;
            }
        }
        Ok(())
    }

    /// The next split of partition `index` for a worker.
    fn take(&mut self, index: usize) -> (NextSplit, Signal) {
        if self.failure.is_some() {
            return (NextSplit::Pending, Signal::None);
        }
        let is_over = self.is_over();
        let Some(partition) = self.partitions.get_mut(index) else {
            let next = if is_over { NextSplit::Ended } else { NextSplit::Pending };
            return (next, Signal::None);
        };
        if let Some(split) = partition.ready.pop_front() {
            partition.has_begun = true;
            if split.sequence > 0 {
                self.ready_count -= 1;
                partition.is_hot = true;
            }
            if split.last {
                self.open_count -= 1;
                let signal = if self.is_over() { Signal::Workers } else { Signal::None };
                return (NextSplit::Split(split), signal);
            }
            return (NextSplit::Split(split), self.read_ahead(index));
        }
        match partition.place {
            Place::End if is_over => return (NextSplit::Ended, Signal::None),
            Place::End => return (NextSplit::Pending, Signal::None),
            Place::Start => {}
            Place::Busy | Place::Parked(..) => partition.is_hot = partition.has_begun,
        }
        partition.is_wanted = true;
        self.is_awaited = true;
        if matches!(partition.place, Place::Busy) || partition.queued == Queued::Wanted {
            return (NextSplit::Pending, Signal::None);
        }
        partition.queued = Queued::Wanted;
        self.wanted.push_back(index);
        (NextSplit::Pending, Signal::Readers)
    }

    /// Whether everything has been handed out.
    fn is_over(&self) -> bool {
        self.is_complete && self.open_count == 0
    }

    /// Queues partition `index` for reading ahead if that is allowed now.
    fn read_ahead(&mut self, index: usize) -> Signal {
        let has_room = self.ready_count < limits::SPLITS_READY_MAX;
        let Some(partition) = self.partitions.get_mut(index) else { return Signal::None };
        let is_due = partition.is_hot
            && has_room
            && !partition.is_cached
            && partition.ready.len() < limits::SPLITS_READY_PER_PARTITION_MAX
            && partition.queued == Queued::No
            && matches!(partition.place, Place::Parked(..));
        if !is_due {
            return Signal::None;
        }
        partition.queued = Queued::Ahead;
        self.ahead.push_back(index);
        Signal::Readers
    }

    /// The partition to read now, for a reader thread.
    fn next_job(&mut self) -> Option<usize> {
        if let Some(index) = self.wanted.pop_front() {
            return Some(index);
        }
        while let Some(index) = self.ahead.pop_front() {
            let has_room = self.ready_count < limits::SPLITS_READY_MAX;
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            if partition.queued != Queued::Ahead {
                continue;
            }
            if has_room {
                return Some(index);
            }
            // A worker that needs it will ask.
            partition.queued = Queued::No;
        }
        None
    }

    /// Takes the reader of partition `index` for a reader thread.
    fn check_out(&mut self, index: usize, encoding: &Encoding) -> Option<Box<FileReader>> {
        let partition = self.partitions.get_mut(index)?;
        partition.queued = Queued::No;
        match std::mem::replace(&mut partition.place, Place::Busy) {
            Place::Start => Some(Box::new(FileReader::new(
                Arc::clone(&partition.file),
                encoding,
                partition.origin,
            ))),
            Place::Parked(reader, key) => {
                self.handles.remove(&key);
                Some(reader)
            }
            place @ (Place::Busy | Place::End) => {
                partition.place = place;
                None
            }
        }
    }

    /// Takes the reader of partition `index` for a worker that is about to ask for a split, if
    /// there is none ready and the next piece is in the page cache.
    fn check_out_cached(
        &mut self,
        index: usize,
        encoding: &Encoding,
        bytes: usize,
    ) -> Option<Box<FileReader>> {
        if self.failure.is_some() {
            return None;
        }
        let partition = self.partitions.get_mut(index)?;
        if !partition.ready.is_empty() {
            return None;
        }
        let Place::Parked(reader, _) = &partition.place else { return None };
        partition.is_cached = reader.is_cached(bytes);
        if !partition.is_cached {
            return None;
        }
        self.check_out(index, encoding)
    }

    /// Takes a piece back from whoever read it; whether the workers must be woken.
    fn check_in(&mut self, index: usize, reader: Box<FileReader>, next: NextPiece) -> bool {
        let handles_max = if reader.is_seekable() {
            limits::SOURCE_FILES_OPEN_MAX
        } else {
            limits::SOURCE_STREAMS_OPEN_MAX
        };
        self.park_count += 1;
        let key = self.park_count;
        let Some(partition) = self.partitions.get_mut(index) else { return false };
        let NextPiece { piece, sequence, is_last } = next;
        let payload = Box::new(piece);
        partition.ready.push_back(Split { partition: index, sequence, last: is_last, payload });
        self.ready_count += usize::from(sequence > 0);
        if is_last {
            partition.place = Place::End;
        } else {
            partition.place = Place::Parked(reader, key);
            self.handles.insert(key, index);
        }
        let is_wanted = std::mem::take(&mut partition.is_wanted);
        while self.handles.len() > handles_max {
            let Some((_, oldest)) = self.handles.pop_first() else { break };
            if let Some(Place::Parked(reader, _)) =
                self.partitions.get_mut(oldest).map(|p| &mut p.place)
            {
                reader.close();
            }
        }
        self.read_ahead(index);
        is_wanted && std::mem::take(&mut self.is_awaited)
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
        let processes = self.processes as u64;
        let is_own = |index: usize, path: &PathBuf| {
            let number = match is_watching {
                _ if self.is_changelog => path_hash(path.parent().unwrap_or(path)),
                true => path_hash(path),
                false => index as u64,
            };
            number % processes == self.process as u64
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

fn spawn(role: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(format!("files-{role}"));
    thread.spawn(body).map_err(|e| Error::io("cannot start a thread", &e))?;
    Ok(())
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

/// The body of the watching thread: new files become partitions, in the order of their paths.
fn watch(shared: &Shared, interval: Duration) {
    let mut known: BTreeSet<PathBuf> =
        shared.lock().partitions.iter().map(|p| p.file.path.clone()).collect();
    loop {
        let state = shared.lock();
        let (state, _) = shared
            .pause
            .wait_timeout_while(state, interval, |state| !state.is_stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return;
        }
        drop(state);
        if let Err(error) = look_again(shared, &mut known) {
            return shared.fail(error);
        }
    }
}

fn look_again(shared: &Shared, known: &mut BTreeSet<PathBuf>) -> Result<()> {
    let found = shared.listing.list()?;
    let new: BTreeSet<PathBuf> = found.difference(known).cloned().collect();
    if new.is_empty() {
        return Ok(());
    }
    let files = shared.own_files(&new, true)?;
    known.extend(new);
    if known.len() > limits::SOURCE_FILES_MAX {
        let message = format!("a source has seen more than {} files", limits::SOURCE_FILES_MAX);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    if !files.is_empty() {
        shared.lock().add(files);
        shared.wake_workers();
    }
    Ok(())
}
