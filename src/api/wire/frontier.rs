//! The JSON of what holds outputs back. The command line reads the same form from a service, and
//! prints it as the service does.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{AsOf, ErrorForm};
use crate::job::service::held::{Holder, OutputHeld};
use crate::job::service::{JobFrontier as Known, JobState};
use crate::serve::time_text::format_time;
use crate::time::{CLOSED, EventTime};

/// `GET /v1/jobs/{name}/frontier`.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobFrontier {
    /// The job.
    pub job: String,
    /// As in `GET /v1/jobs/{name}`.
    pub state: String,
    /// Why it failed, as it is shown on a terminal.
    pub error: Option<String>,
    /// Wall time of the answer.
    pub at: String,
    /// The same in milliseconds since the epoch.
    pub at_ms: i64,
    /// Its outputs, in the order of the script.
    pub outputs: Vec<OutputFrontier>,
}

/// An output, how far it is, and what holds it back.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutputFrontier {
    /// The view or table.
    pub output: String,
    /// `view`, `sink`, `late`, `dead_letters` or `print`.
    pub kind: String,
    /// Its frontier; `end` once it is final, null while nothing has closed.
    pub frontier: Option<String>,
    /// The same in milliseconds since the epoch.
    pub frontier_ms: Option<i64>,
    /// How far it is behind the furthest that a partition of the job has been read to, in
    /// milliseconds of event time; null while nothing has closed.
    pub behind_ms: Option<i64>,
    /// How far it is behind the wall clock.
    pub behind_wall_ms: Option<i64>,
    /// Wall time at which it last moved.
    pub since: String,
    /// The same in milliseconds since the epoch.
    pub since_ms: i64,
    /// What holds it back; null once it is final, and of a failed job.
    pub held_by: Option<HeldBy>,
    /// Why it is where it is, in words.
    pub state: String,
}

/// What holds an output back.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeldBy {
    /// `Source(t)`, `GroupAggregate#3`, `Sink(t)`.
    pub holder: String,
    /// In which process.
    pub process: usize,
    /// On which worker; null for a source.
    pub worker: Option<usize>,
    /// The table, if it is a source.
    pub source: Option<String>,
    /// The partition of the source: a file, a range of a generator.
    pub partition: Option<String>,
    /// Up to where that has been read.
    pub offset: Option<i64>,
    /// The frontier of that partition; `end`, or null while nothing has been read.
    pub partition_frontier: Option<String>,
    /// The same in milliseconds since the epoch.
    pub partition_frontier_ms: Option<i64>,
    /// What it is doing, as one word.
    pub reason: String,
    /// Wall time at which it last moved on.
    pub since: String,
    /// The same in milliseconds since the epoch.
    pub since_ms: i64,
    /// How long ago that was, in milliseconds.
    pub waits_ms: i64,
}

impl From<Known> for JobFrontier {
    fn from(known: Known) -> Self {
        let failure = match &known.state {
            JobState::Failed { error } => Some(error),
            _ => None,
        };
        let at_ms = known.report.at_ms;
        let outputs = known.report.held().into_iter();
        let outputs = outputs.map(|held| {
            let ended = failure.map(|error| format!("the job has failed: {}", error.message));
            OutputFrontier::of(held, ended, at_ms)
        });
        JobFrontier {
            outputs: outputs.collect(),
            state: known.state.name().to_owned(),
            error: failure.map(|error| ErrorForm::from(error).text),
            at: format_time(at_ms),
            at_ms,
            job: known.job,
        }
    }
}

impl OutputFrontier {
    /// `ended`: why nothing goes on.
    fn of(held: OutputHeld, ended: Option<String>, at_ms: i64) -> Self {
        let frontier = AsOf::from(held.frontier);
        let holder = held.holder.filter(|_| ended.is_none());
        let state = match (&holder, held.frontier) {
            (_, CLOSED) => "final: all that it is computed from has ended".to_owned(),
            (Some(holder), _) => holder.state.clone(),
            (None, _) => ended.unwrap_or_default(),
        };
        OutputFrontier {
            output: held.name,
            kind: held.kind.name().to_owned(),
            frontier: frontier.as_of,
            frontier_ms: frontier.as_of_ms,
            behind_ms: held.behind_ms,
            behind_wall_ms: held.behind_wall_ms,
            since: format_time(held.since_ms),
            since_ms: held.since_ms,
            held_by: holder.map(|holder| HeldBy::of(holder, at_ms)),
            state,
        }
    }
}

impl HeldBy {
    fn of(holder: Holder, at_ms: i64) -> Self {
        let reached = holder.partition.as_ref().map(|partition| AsOf::from(partition.frontier));
        let (partition_frontier, partition_frontier_ms) =
            reached.map_or((None, None), |reached| (reached.as_of, reached.as_of_ms));
        let (partition, offset) =
            holder.partition.map(|partition| (partition.name, partition.offset)).unzip();
        HeldBy {
            holder: holder.label,
            process: holder.process,
            worker: holder.worker,
            source: holder.source,
            partition,
            offset,
            partition_frontier,
            partition_frontier_ms,
            reason: holder.code,
            since: format_time(holder.since_ms),
            since_ms: holder.since_ms,
            waits_ms: at_ms.saturating_sub(holder.since_ms).max(0),
        }
    }
}

impl JobFrontier {
    /// The event time of the answer: the least frontier of an output that is not final.
    pub fn time(known: &Known) -> EventTime {
        let outputs = known.report.outputs.iter().map(|output| output.least.frontier);
        outputs.min().unwrap_or(crate::time::BEGINNING)
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let mut text = format!("job {}: {}\n", self.job, self.state);
        if let Some(error) = &self.error {
            let _ = writeln!(text, "  {}", error.replace('\n', "\n  "));
        }
        for output in &self.outputs {
            let frontier = output.frontier.as_deref().unwrap_or("nothing closed yet");
            let _ = write!(text, "\n{} {}: {frontier}", output.kind, output.output);
            let behind = output.behind_ms.filter(|_| output.frontier_ms.is_some());
            if let Some(behind) = behind {
                let _ = write!(text, ", {} behind what has been read", duration(behind));
            }
            text.push('\n');
            match &output.held_by {
                None => {
                    let _ = writeln!(text, "  {}", output.state);
                }
                Some(held) => held.write(&output.state, &mut text),
            }
        }
        text
    }
}

impl HeldBy {
    fn write(&self, state: &str, text: &mut String) {
        let _ = write!(text, "  held by {}", self.holder);
        if let (Some(partition), Some(offset)) = (&self.partition, self.offset) {
            let _ = write!(text, ", partition {partition} at offset {offset}");
        }
        if let Some(worker) = self.worker {
            let _ = write!(text, ", worker {worker}");
        }
        if self.process > 0 {
            let _ = write!(text, ", process {}", self.process);
        }
        let since: String = self.since.chars().take(19).collect();
        let waits = duration(self.waits_ms);
        let _ = writeln!(text, "\n  since {since} ({waits}): {state}");
    }
}

/// A time span as people read it.
fn duration(ms: i64) -> String {
    let seconds = ms as f64 / 1000.0;
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{seconds:.1} s"),
        120_000..7_200_000 => format!("{:.0} min", seconds / 60.0),
        7_200_000..172_800_000 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1500, "1.5 s"),
            (180_000, "3 min"),
            (7_200_000, "2 h"),
            (864_000_000, "10 days"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
    }
}
