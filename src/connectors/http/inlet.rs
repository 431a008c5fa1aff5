//! [`Inlet`]: where the rows of one table come in.
//!
//! Rows are checked as a whole, noted in the log, and handed to the readers of the table; they are
//! there whole or not at all. What is not read yet waits in a queue with a bound; beyond it no more
//! are taken. After a restart each reader is given from the log what it had not read.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;

use super::{HttpSource, RowsFormat, text};
use crate::batch::hash::hash_bytes;
use crate::connectors::options::Options;
use crate::connectors::{Source, SourceSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::{Chunk, DecodedRecords, FormatSpec, TextDecoder, text_decoder};
use crate::limits::{
    HTTP_KEY_BYTES_MAX, HTTP_TABLE_KEYS_MAX, HTTP_TABLE_LOG_BYTES, HTTP_TABLE_QUEUE_BYTES_MAX,
    HTTP_TABLE_WAIT_SECONDS_MAX,
};
use crate::sql::catalog::TableDef;
use crate::telemetry::threads::spawn;
use crate::time::EventTime;

/// Rows that came in one request.
#[derive(Clone, Debug)]
pub struct Block {
    /// Number of the first row.
    pub first: i64,
    /// The rows, all stored columns.
    pub rows: RecordBatch,
    /// Bytes that they came as, or are logged as.
    pub bytes: usize,
    /// By which a request that is repeated is known, if the sender gave one.
    pub key: Option<RequestKey>,
}

impl Block {
    /// The number of the row behind the last one.
    pub fn end(&self) -> i64 {
        self.first.saturating_add(i64::try_from(self.rows.num_rows()).unwrap_or(i64::MAX))
    }
}

/// A key of the sender's choice, and what it was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The key.
    pub key: String,
    /// A hash of the request's body.
    pub body: u64,
}

/// What the log of a table already holds.
#[derive(Debug, Default)]
pub struct Logged {
    /// The number of the row behind the last one.
    pub end: i64,
    /// Requests with a key: the rows that they brought, the oldest first.
    pub keys: Vec<(RequestKey, i64, i64)>,
}

/// Where the rows of a table are noted before anybody is told that they are taken.
pub trait RowLog: fmt::Debug + Send + Sync {
    /// Notes a block; it survives the process.
    fn append(&self, block: &Block) -> Result<()>;

    /// All that was noted survives a loss of power.
    fn sync(&self) -> Result<()>;

    /// Whether there is a log at all.
    fn is_durable(&self) -> bool;

    /// Blocks from place `from` of the log on, of about so many bytes, and the place behind them.
    fn read(&self, from: u64, bytes: usize) -> Result<(Vec<Block>, u64)>;

    /// What it holds.
    fn logged(&self) -> Result<Logged>;
}

/// Of a service that keeps nothing.
#[derive(Debug)]
pub struct Unlogged;

impl RowLog for Unlogged {
    fn append(&self, _: &Block) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn read(&self, from: u64, _: usize) -> Result<(Vec<Block>, u64)> {
        Ok((Vec::new(), from))
    }

    fn logged(&self) -> Result<Logged> {
        Ok(Logged::default())
    }
}

/// A row of a request that cannot become one of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// Its number in the request, from 0.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// Why no row of a request was taken.
#[derive(Debug)]
pub enum Refusal {
    /// Some cannot become rows of the table.
    Rows(Vec<RowFault>),
    /// Something else.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Error(error)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Number of the first row.
    pub first: i64,
    /// The number behind the last row.
    pub end: i64,
    /// Whether an earlier request with the same key had brought them.
    pub is_repeated: bool,
}

/// The rows of one table on their way in.
pub struct Inlet {
    table: Arc<TableDef>,
    log: Box<dyn RowLog>,
    json: Arc<dyn TextDecoder>,
    csv: Arc<dyn TextDecoder>,
    /// Held from the number that a block is given until it is in the queues: they have one order.
    intake: Mutex<Intake>,
    feeds: Mutex<Vec<Feed>>,
    changed: Condvar,
}

#[derive(Default)]
struct Intake {
    next: i64,
    keys: BTreeMap<String, (u64, i64, i64)>,
    /// The same, the oldest first.
    order: VecDeque<String>,
}

impl Intake {
    fn remember(&mut self, key: RequestKey, first: i64, end: i64) {
        if self.keys.insert(key.key.clone(), (key.body, first, end)).is_none() {
            self.order.push_back(key.key);
        }
        while self.order.len() > HTTP_TABLE_KEYS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }
}

/// What one reader of the table has before it.
#[derive(Default)]
struct Feed {
    queue: VecDeque<Block>,
    bytes: usize,
    /// It has been given all that is in the log: what comes now goes straight to it.
    is_live: bool,
    /// Rows before this one have been given to it, or need not be.
    from: i64,
    /// Ends of blocks whose times somebody wants to know, and the times.
    asked: BTreeMap<i64, Option<EventTime>>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    failure: Option<Error>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inlet {
    /// The inlet of `table`, with what its log holds.
    pub fn new(table: Arc<TableDef>, log: Box<dyn RowLog>) -> Result<Arc<Inlet>> {
        let decoder = |format: &str| {
            let stored = table.stored_schema();
            text_decoder(FormatSpec {
                format: format.to_owned(),
                options: Options::of(&table).with_prefix(&format!("{format}.")),
                wanted: Arc::clone(&stored),
                stored,
                metadata: Default::default(),
                keyed: false,
                table: table.name.clone(),
            })
        };
        let (json, csv) = (decoder("json")?, decoder("csv")?);
        let logged = log.logged()?;
        let mut intake = Intake { next: logged.end, ..Intake::default() };
        for (key, first, end) in logged.keys {
            intake.remember(key, first, end);
        }
        Ok(Arc::new(Inlet {
            table,
            log,
            json,
            csv,
            intake: Mutex::new(intake),
            feeds: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The table.
    pub fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// Whether what it takes survives the process.
    pub fn is_durable(&self) -> bool {
        self.log.is_durable()
    }

    /// A reader of the table, which is given every row once.
    pub fn source(self: &Arc<Self>, spec: &SourceSpec) -> Result<Arc<dyn Source>> {
        let mut feeds = locked(&self.feeds);
        feeds.push(Feed::default());
        Ok(Arc::new(HttpSource::new(Arc::clone(self), feeds.len() - 1, spec)?))
    }

    /// Takes the rows of `body`, all or none. They survive the end of the process when this
    /// returns, a loss of power after [`Inlet::sync`].
    pub fn take(
        &self,
        format: RowsFormat,
        body: Vec<u8>,
        key: Option<String>,
    ) -> Result<Taken, Refusal> {
        let key = key.map(|key| request_key(key, &body)).transpose()?;
        let bytes = body.len();
        let rows = self.decode(format, body)?;
        self.wait_for_readers()?;
        let mut intake = locked(&self.intake);
        if let Some(key) = &key
            && let Some((hash, first, end)) = intake.keys.get(&key.key).copied()
        {
            if hash == key.body {
                return Ok(Taken { first, end, is_repeated: true });
            }
            let message = format!("the key '{}' was used for other rows", key.key);
            let error = Error::new(ErrorKind::Conflict, message);
            return Err(error.with_hint("give each request a key of its own").into());
        }
        let block = Block { first: intake.next, rows, bytes, key };
        let taken = Taken { first: block.first, end: block.end(), is_repeated: false };
        if taken.first == taken.end {
            return Ok(taken);
        }
        self.check_room(bytes)?;
        self.log.append(&block)?;
        intake.next = taken.end;
        if let Some(key) = &block.key {
            intake.remember(key.clone(), taken.first, taken.end);
        }
        let mut wakes = Vec::new();
        for feed in locked(&self.feeds).iter_mut().filter(|feed| feed.is_live) {
            feed.asked.insert(taken.end, None);
            feed.bytes += block.bytes;
            feed.queue.push_back(block.clone());
            wakes.extend(feed.wake.clone());
        }
        drop(intake);
        wakes.iter().for_each(|wake| wake());
        Ok(taken)
    }

    fn decode(&self, format: RowsFormat, body: Vec<u8>) -> Result<RecordBatch, Refusal> {
        let decoder = if format == RowsFormat::Csv { &self.csv } else { &self.json };
        let mut lines = match format {
            RowsFormat::Json => text::json_lines(&body)?,
            RowsFormat::JsonLines | RowsFormat::Csv => body,
        };
        if lines.last().is_some_and(|last| *last != b'\n') {
            lines.push(b'\n');
        }
        let DecodedRecords { rows, dead_letters, .. } =
            decoder.decode(Chunk::from(lines), "http", 0, true)?;
        if dead_letters.is_empty() {
            return Ok(rows);
        }
        let fault = |(before, (rows, letter)): (usize, (usize, crate::error::DeadLetter))| {
            RowFault { row: rows + before, reason: letter.reason }
        };
        Err(Refusal::Rows(dead_letters.into_iter().enumerate().map(fault).collect()))
    }

    /// Waits until every reader has been given what is in the log.
    fn wait_for_readers(&self) -> Result<()> {
        let patience = Duration::from_secs(HTTP_TABLE_WAIT_SECONDS_MAX);
        let is_behind = |feeds: &mut Vec<Feed>| feeds.iter().any(|feed| !feed.is_live);
        let waited = self.changed.wait_timeout_while(locked(&self.feeds), patience, is_behind);
        let (mut feeds, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match is_behind(&mut feeds) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Limit,
                format!("table '{}' still reads what it was sent before", self.table.name),
            )
            .with_hint("send it again later")),
        }
    }

    fn check_room(&self, bytes: usize) -> Result<()> {
        let is_full =
            |feed: &Feed| !feed.queue.is_empty() && feed.bytes + bytes > HTTP_TABLE_QUEUE_BYTES_MAX;
        if !locked(&self.feeds).iter().any(is_full) {
            return Ok(());
        }
        let message = format!("table '{}' is sent more than its job reads", self.table.name);
        Err(Error::new(ErrorKind::Limit, message).with_hint("send it again later"))
    }

    /// What was taken survives a loss of power.
    pub fn sync(&self) -> Result<()> {
        self.log.sync()
    }

    /// The latest event time among the rows of a request, once all readers have given them one.
    pub fn time_of(&self, taken: &Taken) -> Option<EventTime> {
        let feeds = locked(&self.feeds);
        let times = feeds.iter().map(|feed| feed.asked.get(&taken.end).copied().flatten());
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Nobody asks for the times of a request any more.
    pub fn forget(&self, taken: &Taken) {
        for feed in locked(&self.feeds).iter_mut() {
            feed.asked.remove(&taken.end);
        }
    }

    /// The next block of reader `index`.
    pub(super) fn next(&self, index: usize) -> Option<Block> {
        let mut feeds = locked(&self.feeds);
        let feed = feeds.get_mut(index)?;
        let block = feed.queue.pop_front()?;
        feed.bytes = feed.bytes.saturating_sub(block.bytes);
        if !feed.is_live {
            self.changed.notify_all();
        }
        Some(block)
    }

    /// Reader `index` has given the rows before `end` their times.
    pub(super) fn timed(&self, index: usize, end: i64, latest: EventTime) {
        if let Some(feed) = locked(&self.feeds).get_mut(index)
            && let Some(asked) = feed.asked.get_mut(&end)
        {
            *asked = Some(latest);
        }
    }

    pub(super) fn failure(&self, index: usize) -> Option<Error> {
        locked(&self.feeds).get(index)?.failure.clone()
    }

    /// Reader `index` needs no row before `from`.
    pub(super) fn resume(&self, index: usize, from: i64) {
        if let Some(feed) = locked(&self.feeds).get_mut(index) {
            feed.from = from;
        }
        let mut intake = locked(&self.intake);
        intake.next = intake.next.max(from);
    }

    /// Begins to give rows to reader `index`: those of the log first, by a thread of its own.
    pub(super) fn start(
        self: &Arc<Self>,
        index: usize,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<()> {
        let next = locked(&self.intake).next;
        let mut feeds = locked(&self.feeds);
        let Some(feed) = feeds.get_mut(index) else { return Ok(()) };
        feed.wake = Some(wake);
        feed.is_live = feed.from >= next;
        if feed.is_live {
            self.changed.notify_all();
            return Ok(());
        }
        drop(feeds);
        let weak = Arc::downgrade(self);
        let feed_from_log = move || {
            let mut place = 0;
            while let Some(inlet) = weak.upgrade() {
                match inlet.feed(index, place) {
                    Ok(Some(next)) => place = next,
                    Ok(None) => return,
                    Err(error) => return inlet.fail(index, error),
                }
            }
        };
        spawn("rows", feed_from_log).map(drop)
    }

    /// Gives reader `index` some of the log from `place` on, when there is room; the place behind
    /// it, or `None` once there is no more.
    fn feed(&self, index: usize, place: u64) -> Result<Option<u64>> {
        const LOOK: Duration = Duration::from_millis(100);
        {
            let feeds = locked(&self.feeds);
            let is_full = |feeds: &mut Vec<Feed>| {
                feeds.get(index).is_some_and(|f| f.bytes >= HTTP_TABLE_LOG_BYTES)
            };
            let waited = self.changed.wait_timeout_while(feeds, LOOK, is_full);
            let (mut feeds, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if is_full(&mut feeds) {
                return Ok(Some(place));
            }
        }
        let (blocks, next) = self.log.read(place, HTTP_TABLE_LOG_BYTES)?;
        // Nothing comes in while the last of the log is looked for.
        let _intake = locked(&self.intake);
        let (blocks, next) = match blocks.is_empty() {
            true => self.log.read(next, HTTP_TABLE_LOG_BYTES)?,
            false => (blocks, next),
        };
        let mut feeds = locked(&self.feeds);
        let Some(feed) = feeds.get_mut(index) else { return Ok(None) };
        feed.is_live = blocks.is_empty();
        for block in blocks.into_iter().filter_map(|block| behind(block, feed.from)) {
            feed.bytes += block.bytes;
            feed.queue.push_back(block);
        }
        let (is_live, wake) = (feed.is_live, feed.wake.clone());
        self.changed.notify_all();
        drop(feeds);
        wake.iter().for_each(|wake| wake());
        Ok((!is_live).then_some(next))
    }

    fn fail(&self, index: usize, error: Error) {
        let mut feeds = locked(&self.feeds);
        let Some(feed) = feeds.get_mut(index) else { return };
        feed.failure = Some(error);
        let wake = feed.wake.clone();
        drop(feeds);
        wake.iter().for_each(|wake| wake());
    }
}

fn request_key(key: String, body: &[u8]) -> Result<RequestKey> {
    if key.is_empty() || key.len() > HTTP_KEY_BYTES_MAX {
        let message = format!("a key of {} bytes is no key of a request", key.len());
        return Err(
            Error::config(message).with_hint(format!("use 1 to {HTTP_KEY_BYTES_MAX} characters"))
        );
    }
    Ok(RequestKey { key, body: hash_bytes(body) })
}

/// The part of `block` from row `from` on.
fn behind(block: Block, from: i64) -> Option<Block> {
    let skipped = usize::try_from(from.saturating_sub(block.first)).unwrap_or(0);
    let rows = block.rows.num_rows();
    if skipped >= rows {
        return None;
    }
    let first = block.first.max(from);
    Some(Block { first, rows: block.rows.slice(skipped, rows - skipped), ..block })
}
