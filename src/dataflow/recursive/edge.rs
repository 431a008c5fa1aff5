//! The borders of a recursion: what goes in and comes out is net per tick.
//!
//! Both are operators of the outer dataflow. The way in waits for the frontier, so that rows that
//! come and go within a tick start nothing; the way out waits until every iteration of a tick is
//! done.

use arrow::datatypes::SchemaRef;

use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::dataflow::logic::{Emitted, StatefulLogic};
use crate::error::Result;
use crate::limits::{CHANGES_PER_BATCH_MAX, WINDOW_ROWS_UNREAD_MAX};
use crate::state::saved::Recovery;
use crate::time::{CLOSED, EventTime, Resolution};

/// The way in.
pub struct Enter {
    schema: SchemaRef,
    resolution: Resolution,
    /// Everything goes in at once, when the input has ended.
    final_only: bool,
    held: Vec<UpdateBatch>,
}

/// The time of everything that goes in at once: one that all workers know.
pub(super) const AT_END: EventTime = CLOSED - 1;

impl Enter {
    /// For rows of `schema`; ticks are those of `resolution`.
    pub fn new(schema: SchemaRef, resolution: Resolution, final_only: bool) -> Self {
        Enter { schema, resolution, final_only, held: Vec::new() }
    }
}

fn at(batch: UpdateBatch, time: impl Fn(EventTime) -> EventTime) -> UpdateBatch {
    let (rows, times, diffs) = batch.into_parts();
    let times: Vec<i64> = times.iter().map(|&t| time(t)).collect();
    UpdateBatch::new(rows, times.into(), diffs)
}

impl StatefulLogic for Enter {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        !self.final_only || frontier == CLOSED || buffered > WINDOW_ROWS_UNREAD_MAX
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        let batch = UpdateBatch::concat(&self.schema, &batches)?;
        let resolution = self.resolution;
        if !self.final_only {
            if !batch.is_empty() {
                let batch = at(batch, |time| resolution.tick_start(time).max(from));
                out.push(consolidate(&batch)?);
            }
            return Ok(());
        }
        if !batch.is_empty() {
            self.held.push(consolidate(&at(batch, |_| AT_END))?);
        }
        if to == CLOSED {
            let held = std::mem::take(&mut self.held);
            let all = consolidate(&UpdateBatch::concat(&self.schema, &held)?)?;
            out.push(all);
        }
        Ok(())
    }

    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    fn replays(&self) -> bool {
        true
    }

    fn state_rows(&self) -> usize {
        self.held.iter().map(UpdateBatch::len).sum()
    }
}

/// The way out.
pub struct Leave {
    schema: SchemaRef,
    rows: i64,
}

impl Leave {
    /// For rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        Leave { schema, rows: 0 }
    }
}

impl StatefulLogic for Leave {
    fn advance(
        &mut self,
        from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        if batches.is_empty() {
            return Ok(());
        }
        let net = consolidate(&UpdateBatch::concat(&self.schema, &batches)?)?;
        for start in (0..net.len()).step_by(CHANGES_PER_BATCH_MAX) {
            let part = net.slice(start, CHANGES_PER_BATCH_MAX.min(net.len() - start));
            self.rows += (0..part.len()).map(|row| part.diff(row)).sum::<i64>();
            // The last moment is no event time: nobody asks for that of final contents.
            out.push(at(part, |time| if time == AT_END { from.max(0) } else { time }));
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        usize::try_from(self.rows).unwrap_or(0)
    }
}
