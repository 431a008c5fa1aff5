//! Several writers of one directory (`sink.parallelism`): rows are dealt to them by a hash.
//!
//! Each writer is a [`FilesystemSink`] with a series of parts of its own, `part-<writer>-<number>`,
//! a commit file of its own, and a thread of its own. Which writer a row goes to follows from its
//! key, or from the whole row where there is none, and from the number of writers alone: so do the
//! bytes of every series, and each is in order. A checkpoint is through when it is through with all
//! writers. After a crash some may be ahead of others; each drops what it has.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::durable::{create_root, lock_root};
use super::sink::{FilesystemSink, Series, root_of};
use crate::batch::UpdateBatch;
use crate::batch::partition::partition_by_hash;
use crate::connectors::{SinkMode, SinkWriter};
use crate::error::{Error, Result};
use crate::limits::IO_CHANNEL_MESSAGES_MAX;
use crate::sql::catalog::TableDef;
use crate::telemetry::threads::spawn;
use crate::time::{BEGINNING, EventTime};

/// A sink with several writers.
pub struct DealtSink {
    writers: Vec<Writer>,
    /// The columns that tell what is an update; none: the whole row.
    key: Vec<usize>,
    /// Held while the writers may write.
    lock: Option<File>,
}

/// What a writer is told.
enum Order {
    Write(UpdateBatch),
    Commit(EventTime),
    /// Answered once it is through.
    Checkpoint(EventTime, SyncSender<()>),
    Finish(bool),
}

struct Writer {
    /// Until its thread begins.
    sink: Option<FilesystemSink>,
    /// Everything below is in its parts already.
    from: EventTime,
    line: Option<(SyncSender<Order>, JoinHandle<Result<()>>)>,
}

impl DealtSink {
    /// `count` writers of `table`, of whose changes the columns `key` tell what is an update.
    pub fn create(table: &TableDef, key: &[usize], mode: &SinkMode, count: usize) -> Result<Self> {
        let root = root_of(table)?;
        create_root(&root)?;
        let lock = lock_root(&root)?;
        let mut writers = Vec::with_capacity(count);
        for number in 0..count {
            let series = Series { number, count };
            let sink = FilesystemSink::of_series(table, key, mode, Some(series))?;
            writers.push(Writer { sink: Some(sink), from: BEGINNING, line: None });
        }
        Ok(DealtSink { writers, key: key.to_vec(), lock: Some(lock) })
    }

    fn each(&mut self, order: impl Fn() -> Order) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.tell(order()))
    }
}

impl Writer {
    /// Hands over an order; waits while the writer is busy.
    fn tell(&mut self, order: Order) -> Result<()> {
        if let Some(sink) = self.sink.take() {
            let (sender, receiver) = sync_channel(IO_CHANNEL_MESSAGES_MAX);
            let thread = spawn("sink-writer", move || run(sink, &receiver))?;
            self.line = Some((sender, thread));
        }
        match &self.line {
            Some((sender, _)) if sender.send(order).is_ok() => Ok(()),
            _ => self.end(),
        }
    }

    /// Waits until the writer has ended: its error, if it has ended by one.
    fn end(&mut self) -> Result<()> {
        let Some((sender, thread)) = self.line.take() else { return Ok(()) };
        drop(sender);
        thread.join().map_err(|_| Error::internal("a writer's thread panicked"))?
    }
}

fn run(mut sink: FilesystemSink, orders: &Receiver<Order>) -> Result<()> {
    for order in orders {
        match order {
            Order::Write(batch) => sink.write(&batch)?,
            Order::Commit(frontier) => sink.commit(frontier)?,
            Order::Checkpoint(frontier, done) => {
                sink.checkpoint(frontier)?;
                // Who asked may have given up.
                let _ = done.send(());
            }
            Order::Finish(complete) => return sink.finish(complete),
        }
    }
    Ok(())
}

impl SinkWriter for DealtSink {
    fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
        let every: Vec<usize>;
        let by = match self.key.is_empty() {
            true => {
                every = (0..batch.schema().fields().len()).collect();
                &every
            }
            false => &self.key,
        };
        let parts = partition_by_hash(batch, by, self.writers.len())?;
        for (writer, part) in self.writers.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            let known = part.times().partition_point(|time| *time < writer.from);
            if known < part.len() {
                writer.tell(Order::Write(part.slice(known, part.len() - known)))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, frontier: EventTime) -> Result<()> {
        let behind = self.writers.iter_mut().filter(|writer| writer.from < frontier);
        behind.into_iter().try_for_each(|writer| writer.tell(Order::Commit(frontier)))
    }

    fn finish(&mut self, complete: bool) -> Result<()> {
        let told = self.each(|| Order::Finish(complete));
        let ended: Vec<Result<()>> = self.writers.iter_mut().map(Writer::end).collect();
        self.lock = None;
        ended.into_iter().fold(told, Result::and)
    }

    fn checkpoint(&mut self, frontier: EventTime) -> Result<()> {
        let (done, through) = sync_channel(self.writers.len());
        let mut asked = 0;
        for writer in self.writers.iter_mut().filter(|writer| writer.from < frontier) {
            writer.tell(Order::Checkpoint(frontier, done.clone()))?;
            asked += 1;
        }
        drop(done);
        if through.iter().take(asked).count() == asked {
            return Ok(());
        }
        // Who did not answer has ended.
        self.writers.iter_mut().map(Writer::end).fold(Ok(()), Result::and)?;
        Err(Error::internal("a writer of a sink has ended"))
    }

    fn recover(&mut self, restored: EventTime) -> Result<EventTime> {
        for writer in &mut self.writers {
            if let Some(sink) = &mut writer.sink {
                writer.from = sink.recover(restored)?;
            }
        }
        Ok(self.writers.iter().map(|writer| writer.from).min().unwrap_or(restored))
    }
}

impl Drop for DealtSink {
    /// The lock outlives the threads.
    fn drop(&mut self) {
        for writer in &mut self.writers {
            // What went wrong has no one to hear it.
            let _ = writer.end();
        }
    }
}
