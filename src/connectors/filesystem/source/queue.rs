//! The files of a source as partitions: which is read by whom, and what of it is ready.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::reader::{Encoding, FileInfo, FileReader, NextPiece};
use crate::connectors::{NextSplit, PartitionPosition, Split};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

#[derive(Default)]
pub struct State {
    pub partitions: Vec<Partition>,
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
    pub is_complete: bool,
    pub is_stopped: bool,
    pub failure: Option<Error>,
    /// Bytes of the first split of a file.
    pub first_bytes: usize,
}

pub struct Partition {
    pub file: Arc<FileInfo>,
    /// See [`Source::follows`].
    pub follows: Option<(usize, i64)>,
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
pub enum Place {
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
pub enum Queued {
    No,
    Ahead,
    Wanted,
}

/// Whom a change of the state concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    None,
    Readers,
    Workers,
}

impl State {
    pub fn add(&mut self, files: Vec<Arc<FileInfo>>) {
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
    pub fn resume(&mut self, table: &str, positions: &[PartitionPosition]) -> Result<()> {
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
    pub fn take(&mut self, index: usize) -> (NextSplit, Signal) {
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
    pub fn is_over(&self) -> bool {
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
    pub fn next_job(&mut self) -> Option<usize> {
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
    pub fn check_out(&mut self, index: usize, encoding: &Encoding) -> Option<Box<FileReader>> {
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
    pub fn check_out_cached(
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
    pub fn check_in(&mut self, index: usize, reader: Box<FileReader>, next: NextPiece) -> bool {
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
