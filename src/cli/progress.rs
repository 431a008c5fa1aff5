//! Progress on standard error: a live line on a terminal, a summary at the end.

use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::dataflow::metrics::JobMetrics;
use crate::dataflow::restored::Amount;
use crate::job::batch_run::Sign;
use crate::job::snapshots::{Beginning, SnapshotProgress};
use crate::serve::time_text::format_time;
use crate::spill::memory::Spilled;
use crate::telemetry::clock::monotonic;
use crate::time::{BEGINNING, CLOSED};

/// Shows the progress of one run.
pub struct Progress {
    started: Instant,
    is_live: bool,
    shown: bool,
    kept: Option<SnapshotProgress>,
}

/// Says from where a run goes on.
fn begins(beginning: &Beginning) {
    let mut err = std::io::stderr().lock();
    for damage in &beginning.skipped {
        let _ = writeln!(err, "damaged and passed over: {damage}");
    }
    let _ = match beginning.from {
        Some(_) if beginning.was_planned_otherwise => writeln!(
            err,
            "the run has ended, and this version plans it otherwise: it is computed again, and its \
             sinks stay as they are"
        ),
        Some(_) if beginning.was_complete => {
            writeln!(err, "the run has ended: it is computed again, and its sinks stay as they are")
        }
        Some(id) => {
            let frontier = format_time(beginning.frontier);
            writeln!(err, "goes on from snapshot {id}, as of {frontier}")
        }
        None if beginning.was_complete => {
            writeln!(err, "the run before has ended: begins a new one")
        }
        None => writeln!(err, "no snapshot yet: begins at the start"),
    };
}

/// Says what has become of the snapshots.
fn told_of(kept: &SnapshotProgress, err: &mut impl Write) {
    if let Some((amount, took)) = kept.restored {
        let Amount { rows, stored_bytes, bytes } = amount;
        let millis = took.as_millis();
        let _ = writeln!(
            err,
            "  took back {rows} rows, {stored_bytes} bytes stored, {bytes} bytes in memory, in \
             {millis} ms"
        );
    }
    let last = kept.last.map_or_else(String::new, |last| {
        let (id, frontier, bytes) = (last.id, format_time(last.frontier), last.bytes);
        format!(", the last one is {id} as of {frontier}, {bytes} bytes")
    });
    let _ = writeln!(err, "  {} snapshots taken{last}", kept.taken);
    if kept.taken > 0 {
        let (written, changed) = (kept.written_bytes, kept.changed_bytes);
        let pause = kept.pause_us_max as f64 / 1e3;
        let _ = writeln!(
            err,
            "  they kept a worker from its work for {pause:.1} ms at most, and wrote {written} \
             bytes for {changed} that had changed"
        );
    }
    if let Some(error) = &kept.stopped {
        let _ = writeln!(err, "  NO MORE SNAPSHOTS since one failed: {error}");
    }
}

impl Progress {
    /// From now.
    pub fn start() -> Self {
        let is_live = std::io::stderr().is_terminal();
        Progress { started: monotonic(), is_live, shown: false, kept: None }
    }

    /// What a run tells of itself.
    pub fn told(&mut self, sign: &Sign<'_>) {
        match sign {
            Sign::Begins(beginning) => begins(beginning),
            Sign::GoesOn(metrics) => self.show(metrics),
            Sign::Kept(progress) => self.kept = Some(progress.clone()),
        }
    }

    /// The live line, on a terminal.
    pub fn show(&mut self, metrics: &JobMetrics) {
        if !self.is_live {
            return;
        }
        self.shown = true;
        let line = format!("\r\x1b[2K{}", self.line(metrics));
        // Progress that cannot be shown is no reason to stop.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    /// The summary.
    pub fn finish(&mut self, metrics: &JobMetrics, how: &str) {
        let mut err = std::io::stderr().lock();
        if self.shown {
            let _ = write!(err, "\r\x1b[2K");
        }
        let _ = writeln!(err, "{how} in {:.1} s: {}", self.seconds(), self.line(metrics));
        for source in &metrics.sources {
            let rows = source.rows.load(Ordering::Relaxed);
            let bytes = source.bytes.load(Ordering::Relaxed);
            let table = &source.table;
            let _ = writeln!(err, "  source {table}: {rows} rows, {bytes} bytes");
        }
        for output in metrics.outputs.iter().filter(|o| !o.name.is_empty()) {
            let updates = output.updates.load(Ordering::Relaxed);
            let _ = writeln!(err, "  output {}: {updates} updates", output.name);
        }
        for (counter, what) in [
            (&metrics.unknown_updates, "updates of rows that were not there (put in)"),
            (&metrics.absent_deletes, "deletions of rows that were not there (ignored)"),
            (&metrics.duplicate_inserts, "insertions of rows that were there (replaced)"),
        ] {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let _ = writeln!(err, "  {count} {what}");
            }
        }
        const SHOWN: usize = 5;
        let letters = metrics.dead_letters_kept();
        for letter in letters.iter().take(SHOWN) {
            let place = match (letter.partition.as_str(), letter.offset) {
                ("", _) => String::new(),
                (partition, -1) => format!(" {partition}"),
                (partition, offset) => format!(" {partition} at {offset}"),
            };
            let _ = writeln!(err, "  dead letter: {}{place}: {}", letter.source, letter.reason);
        }
        if letters.len() > SHOWN {
            let more = metrics.dead_letters.load(Ordering::Relaxed) - SHOWN as u64;
            let _ = writeln!(err, "  and {more} more: query floodmark.dead_letters");
        }
        if let Some(Spilled { budget, spilled, restored, .. }) = metrics.spilled() {
            let _ = writeln!(
                err,
                "  memory budget {budget}: {spilled} bytes put aside, {restored} bytes brought back"
            );
        }
        if let Some(kept) = &self.kept {
            told_of(kept, &mut err);
        }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn line(&self, metrics: &JobMetrics) -> String {
        let rows: u64 = metrics.sources.iter().map(|s| s.rows.load(Ordering::Relaxed)).sum();
        let rate = rows as f64 / self.seconds().max(0.001);
        let least = metrics.sources.iter().map(|s| s.frontier.load(Ordering::Relaxed)).min();
        let watermark = match least {
            None | Some(BEGINNING) => "none".to_string(),
            Some(CLOSED) => "end of input".to_string(),
            Some(frontier) => format_time(frontier - 1),
        };
        let late = metrics.late_rows.load(Ordering::Relaxed);
        let dead = metrics.dead_letters.load(Ordering::Relaxed);
        format!(
            "{rows} rows read, {rate:.0} rows/s, watermark {watermark}, {late} late, \
             {dead} dead letters"
        )
    }
}
