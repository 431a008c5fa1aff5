//! Where rows leave the dataflow for a writer: closed, sorted, on a thread of the writer's own.
//!
//! In a job with snapshots a writer goes on from what it made durable: what is below that is
//! dropped here, so that the dataflow may give it again.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::metrics::{JobMetrics, lock};
use crate::batch::UpdateBatch;
use crate::connectors::SinkWriter;
use crate::error::{Error, Result};
use crate::limits::IO_CHANNEL_MESSAGES_MAX;
use crate::telemetry::clock::monotonic;
use crate::telemetry::threads::spawn;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// What a worker tells a writer's thread.
pub enum SinkMessage {
    /// Closed updates, sorted by time and row.
    Write(UpdateBatch),
    /// Everything below this time has been written.
    Commit(EventTime),
    /// As `Commit`, and nothing at or after this time has been written: make it durable.
    Checkpoint(EventTime),
    /// The end; whether everything was written.
    Finish(bool),
}

/// Where a writer goes on, and who hears of what it makes durable.
pub struct Resume {
    /// Whether the job has snapshots.
    pub is_durable: bool,
    /// Everything below is in the sink already ([`SinkWriter::recover`]).
    pub from: EventTime,
    /// Called on the writer's thread before anything becomes durable: returns once the job's
    /// metrics tell of any failure in another process.
    pub settle: Box<dyn Fn() -> Result<()> + Send>,
    /// Called on the writer's thread with each frontier that it was asked to make durable, once all
    /// below is; also when it was before.
    pub notify: Box<dyn Fn(EventTime) + Send>,
}

impl Default for Resume {
    /// From the beginning; nobody hears.
    fn default() -> Self {
        let settle = Box::new(|| Ok(()));
        Resume { is_durable: false, from: BEGINNING, settle, notify: Box::new(|_| {}) }
    }
}

/// A writer on its thread.
pub struct SinkHandle {
    sender: SyncSender<SinkMessage>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: Arc<JobMetrics>,
    is_finished: AtomicBool,
    committed: Arc<AtomicI64>,
}

impl SinkHandle {
    /// Starts the thread of `writer`, which writes output `index`.
    pub fn start(
        name: &str,
        writer: Box<dyn SinkWriter>,
        metrics: Arc<JobMetrics>,
        index: usize,
        resume: Resume,
    ) -> Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(IO_CHANNEL_MESSAGES_MAX);
        let committed = Arc::new(AtomicI64::new(resume.from));
        let thread = WriterThread {
            writer,
            metrics: Arc::clone(&metrics),
            index,
            resume,
            committed: Arc::clone(&committed),
        };
        let (label, counters) = (name.to_string(), Arc::clone(&metrics));
        let thread = spawn(&format!("sink-{name}"), move || {
            if let Err(error) = thread.run(&receiver) {
                let message = format!("sink {label}: {}", error.message);
                counters.fail_in(&format!("Sink({label})"), Error { message, ..error });
            }
        })?;
        let thread = Mutex::new(Some(thread));
        let is_finished = AtomicBool::new(false);
        Ok(Arc::new(SinkHandle { sender, thread, metrics, is_finished, committed }))
    }

    /// Everything below has been made durable.
    pub fn committed(&self) -> EventTime {
        self.committed.load(Ordering::Acquire)
    }

    /// Hands over a message; given back if the writer is busy. A writer that is gone takes all.
    pub fn offer(&self, message: SinkMessage) -> Option<SinkMessage> {
        match self.sender.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            Err(TrySendError::Full(message)) => Some(message),
        }
    }

    /// Ends the writer and waits for it; later calls do nothing.
    pub fn finish(&self, complete: bool) -> Result<()> {
        if !self.is_finished.swap(true, Ordering::AcqRel) {
            // A writer that failed is gone already.
            let _ = self.sender.send(SinkMessage::Finish(complete));
        }
        if let Some(thread) = lock(&self.thread).take() {
            thread.join().map_err(|_| Error::internal("a sink's thread panicked"))?;
        }
        match self.metrics.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

struct WriterThread {
    writer: Box<dyn SinkWriter>,
    metrics: Arc<JobMetrics>,
    index: usize,
    resume: Resume,
    committed: Arc<AtomicI64>,
}

impl WriterThread {
    fn run(mut self, receiver: &Receiver<SinkMessage>) -> Result<()> {
        for message in receiver {
            if matches!(message, SinkMessage::Checkpoint(_) | SinkMessage::Finish(true)) {
                (self.resume.settle)()?;
            }
            // A job that failed lets frontiers pass without their rows.
            let is_sound = !self.resume.is_durable || !self.metrics.is_failed();
            match message {
                SinkMessage::Finish(complete) => {
                    self.writer.finish(complete && is_sound)?;
                    if complete && is_sound {
                        self.note_committed(CLOSED);
                    }
                    return Ok(());
                }
                message if is_sound => self.take(message)?,
                _ => {}
            }
        }
        self.writer.finish(false)
    }

    fn take(&mut self, message: SinkMessage) -> Result<()> {
        let begun = monotonic();
        let rows = match &message {
            SinkMessage::Write(batch) => batch.len() as u64,
            _ => 0,
        };
        let done = self.do_as_told(message);
        if let Some(output) = self.metrics.outputs.get(self.index) {
            output.queued.take(rows);
            output.writing.add_time(monotonic().duration_since(begun));
        }
        done
    }

    fn do_as_told(&mut self, message: SinkMessage) -> Result<()> {
        let is_new = |frontier: EventTime| frontier > self.resume.from;
        match message {
            SinkMessage::Write(batch) => self.write(&batch)?,
            SinkMessage::Commit(frontier) if is_new(frontier) => self.writer.commit(frontier)?,
            SinkMessage::Checkpoint(frontier) => {
                if is_new(frontier) {
                    self.writer.checkpoint(frontier)?;
                }
                self.note_committed(frontier);
            }
            SinkMessage::Commit(_) | SinkMessage::Finish(_) => {}
        }
        Ok(())
    }

    /// Writes what of `batch`, which is sorted by time, is not in the sink yet.
    fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
        let known = batch.times().partition_point(|time| *time < self.resume.from);
        let count = batch.len() - known;
        if count == 0 {
            return Ok(());
        }
        self.metrics.outputs[self.index].updates.fetch_add(count as u64, Ordering::Relaxed);
        if known == 0 {
            self.writer.write(batch)
        } else {
            self.writer.write(&batch.slice(known, count))
        }
    }

    fn note_committed(&self, frontier: EventTime) {
        self.committed.fetch_max(frontier, Ordering::AcqRel);
        (self.resume.notify)(frontier);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    type Heard = Arc<Mutex<Vec<EventTime>>>;

    /// Notes what it is called with.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, what: String) -> Result<()> {
            lock(&self.0).push(what);
            Ok(())
        }
    }

    impl SinkWriter for Notes {
        fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
            self.note(format!("write {:?}", batch.times().to_vec()))
        }
        fn commit(&mut self, frontier: EventTime) -> Result<()> {
            self.note(format!("commit {frontier}"))
        }
        fn checkpoint(&mut self, frontier: EventTime) -> Result<()> {
            self.note(format!("checkpoint {frontier}"))
        }
        fn finish(&mut self, complete: bool) -> Result<()> {
            self.note(format!("finish {complete}"))
        }
    }

    fn at(times: &[EventTime]) -> SinkMessage {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(times.to_vec()))]);
        SinkMessage::Write(UpdateBatch::new(rows.unwrap(), times.to_vec().into(), None))
    }

    /// A writer that goes on from 20, and the frontiers that it says are durable.
    fn resumed(notes: &Notes, metrics: &Arc<JobMetrics>) -> (Arc<SinkHandle>, Heard) {
        let heard = Heard::default();
        let hears = Arc::clone(&heard);
        let notify = Box::new(move |frontier| lock(&hears).push(frontier));
        let settle = Box::new(|| Ok(()));
        let resume = Resume { is_durable: true, from: 20, settle, notify };
        let writer = Box::new(notes.clone());
        (SinkHandle::start("o", writer, Arc::clone(metrics), 0, resume).unwrap(), heard)
    }

    fn metrics() -> Arc<JobMetrics> {
        Arc::new(JobMetrics::new(Vec::new(), vec!["o".into()], 1))
    }

    #[test]
    fn nothing_of_a_failed_job_becomes_durable() {
        let (notes, metrics) = (Notes::default(), metrics());
        let (sink, heard) = resumed(&notes, &metrics);
        metrics.fail(Error::internal("an operator failed and let its frontier go"));
        for message in [at(&[25]), SinkMessage::Commit(30), SinkMessage::Checkpoint(30)] {
            assert!(sink.offer(message).is_none());
        }
        assert!(sink.finish(true).is_err());
        assert_eq!(*lock(&notes.0), ["finish false"]);
        assert!(lock(&heard).is_empty());
        assert_eq!(sink.committed(), 20);
    }

    /// Another process has failed and let its frontier go, which is known here only once it is
    /// asked.
    #[test]
    fn a_failure_elsewhere_is_asked_for_before_anything_becomes_durable() {
        for last in [SinkMessage::Checkpoint(30), SinkMessage::Finish(true)] {
            let (notes, metrics, heard) = (Notes::default(), metrics(), Heard::default());
            let (hears, failing) = (Arc::clone(&heard), Arc::clone(&metrics));
            let settle = Box::new(move || {
                failing.fail(Error::internal("process 1: a file is gone"));
                Ok(())
            });
            let notify = Box::new(move |frontier| lock(&hears).push(frontier));
            let resume = Resume { is_durable: true, from: 20, settle, notify };
            let writer = Box::new(notes.clone());
            let sink = SinkHandle::start("o", writer, Arc::clone(&metrics), 0, resume).unwrap();
            for message in [at(&[25]), last] {
                assert!(sink.offer(message).is_none());
            }
            assert!(sink.finish(false).is_err());
            assert_eq!(*lock(&notes.0), ["write [25]", "finish false"]);
            assert!(lock(&heard).is_empty());
            assert_eq!(sink.committed(), 20);
        }
    }

    #[test]
    fn a_writer_goes_on_from_what_it_made_durable() {
        let (notes, metrics) = (Notes::default(), metrics());
        let (sink, heard) = resumed(&notes, &metrics);
        assert_eq!(sink.committed(), 20);
        let messages = [
            at(&[5, 10]),
            SinkMessage::Commit(15),
            SinkMessage::Checkpoint(15),
            at(&[15, 19, 20, 25]),
            SinkMessage::Commit(30),
            SinkMessage::Checkpoint(30),
            at(&[31]),
        ];
        for message in messages {
            assert!(sink.offer(message).is_none());
        }
        sink.finish(true).unwrap();
        let expected =
            ["write [20, 25]", "commit 30", "checkpoint 30", "write [31]", "finish true"];
        assert_eq!(*lock(&notes.0), expected);
        assert_eq!(*lock(&heard), [15, 30, CLOSED]);
        assert_eq!(sink.committed(), CLOSED);
        assert_eq!(metrics.outputs[0].updates.load(Ordering::Relaxed), 3);
    }
}
