//! `floodmark replay`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::progress::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::job::replay::{ReplayFrom, ReplaySpec, Report, replay};
use crate::serve::time_text::{format_time, parse_time};
use crate::snapshot::Store;
use crate::time::{CLOSED, EventTime};

/// Run a historic run again and compare what it gives, interval by interval.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark replay hourly_tips --data-dir data\n  \
    floodmark replay clicks --data-dir data --from snapshot --workers 4\n  \
    floodmark replay clicks --data-dir data --run 2 --until '2026-01-01 12:00:00'\n\n\
    Nothing is written. Ends with 1 if an interval differs.")]
pub struct ReplayArguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// Directory with the job's snapshots and journals
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Which run; the last one if not given
    #[arg(long, value_name = "R")]
    run: Option<u64>,
    /// start, snapshot (the newest), snapshot:ID, or a time: the newest snapshot before it
    #[arg(long, value_name = "PLACE", default_value = "start")]
    from: String,
    /// Event time at which to stop
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Worker threads; one a core if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Compare with what the run has noted; always done
    #[arg(long)]
    verify: bool,
}

/// Runs the command.
pub fn run(arguments: &ReplayArguments) -> Result<()> {
    let spec = ReplaySpec {
        store: Arc::new(Store::open_read_only(&arguments.data_dir)?),
        job: arguments.job.clone(),
        run: arguments.run,
        from: place(&arguments.from)?,
        until: arguments.until.as_deref().map(time).transpose()?,
        workers: arguments.workers.map_or_else(super::default_workers, usize::from),
    };
    let stop = super::interrupt::flag()?;
    let mut progress = Progress::start();
    let report = replay(&spec, &stop, |metrics| progress.show(metrics))?;
    super::print(text(&report).as_bytes())?;
    match report.differences.first() {
        None => Ok(()),
        Some(first) => {
            let message =
                format!("{} gave something else from {} on", first.output, format_time(first.from));
            Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("its input may have changed since it was read"))
        }
    }
}

fn time(text: &str) -> Result<EventTime> {
    parse_time(text)
}

fn place(text: &str) -> Result<ReplayFrom> {
    match text.split_once(':') {
        _ if text == "start" => Ok(ReplayFrom::Start),
        _ if text == "snapshot" => Ok(ReplayFrom::Snapshot(None)),
        Some(("snapshot", id)) => match id.parse() {
            Ok(id) => Ok(ReplayFrom::Snapshot(Some(id))),
            Err(_) => Err(Error::config(format!("'{id}' is no number of a snapshot"))),
        },
        _ => Ok(ReplayFrom::Time(time(text)?)),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let intervals: usize = report.compared.values().sum();
    let until = if report.until == CLOSED {
        "the end of input".to_string()
    } else {
        format_time(report.until)
    };
    // Writing to a string cannot fail.
    let _ = match report.differences.len() {
        0 => writeln!(text, "run {} up to {until}: identical, {intervals} intervals", report.run),
        count => writeln!(
            text,
            "run {} up to {until}: {count} of {intervals} intervals differ",
            report.run
        ),
    };
    for (output, count) in &report.compared {
        let differing = report.differences.iter().filter(|d| d.output == *output).count();
        let _ = writeln!(text, "  {output}: {count} intervals, {differing} differ");
    }
    for difference in report.differences.iter().take(10) {
        let _ = writeln!(
            text,
            "  {} from {}: {} updates then, {} updates now; digest {:032x} then, {:032x} now",
            difference.output,
            format_time(difference.from),
            difference.noted.updates,
            difference.replayed.updates,
            difference.noted.sum,
            difference.replayed.sum
        );
    }
    text
}
