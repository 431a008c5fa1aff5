//! Where rows leave the dataflow for a writer: closed, sorted, on a thread of the writer's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::metrics::{JobMetrics, lock};
use crate::batch::UpdateBatch;
use crate::connectors::SinkWriter;
use crate::error::{Error, Result};
use crate::limits::IO_CHANNEL_MESSAGES_MAX;
use crate::time::EventTime;

/// What a worker tells a writer's thread.
pub enum SinkMessage {
    /// Closed updates, sorted by time and row.
    Write(UpdateBatch),
    /// Everything below this time has been written.
    Commit(EventTime),
    /// Everything below this time has to survive a crash.
    Checkpoint(EventTime),
    /// The end; whether everything was written.
    Finish(bool),
}

/// A writer on its thread.
pub struct SinkHandle {
    sender: SyncSender<SinkMessage>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: Arc<JobMetrics>,
    is_finished: AtomicBool,
}

impl SinkHandle {
    /// Starts the thread of `writer`, which writes output `index`.
    pub fn start(
        name: &str,
        writer: Box<dyn SinkWriter>,
        metrics: Arc<JobMetrics>,
        index: usize,
    ) -> Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(IO_CHANNEL_MESSAGES_MAX);
        let (label, counters) = (name.to_string(), Arc::clone(&metrics));
        let thread = std::thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                if let Err(error) = run(writer, &receiver, &counters, index) {
                    let message = format!("sink {label}: {}", error.message);
                    counters.fail(Error { message, ..error });
                }
            })
            .map_err(|e| Error::io("a thread for a sink", &e))?;
        let thread = Mutex::new(Some(thread));
        Ok(Arc::new(SinkHandle { sender, thread, metrics, is_finished: AtomicBool::new(false) }))
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

fn run(
    mut writer: Box<dyn SinkWriter>,
    receiver: &Receiver<SinkMessage>,
    metrics: &JobMetrics,
    index: usize,
) -> Result<()> {
    for message in receiver {
        match message {
            SinkMessage::Write(batch) => {
                metrics.outputs[index].updates.fetch_add(batch.len() as u64, Ordering::Relaxed);
                writer.write(&batch)?;
            }
            SinkMessage::Commit(frontier) => writer.commit(frontier)?,
            SinkMessage::Checkpoint(frontier) => writer.checkpoint(frontier)?,
            SinkMessage::Finish(complete) => return writer.finish(complete),
        }
    }
    writer.finish(false)
}
