//! `floodmark runs`.

use clap::Args;

use super::kept::{Form, Where, json, or_dash, table, wall};
use crate::error::Result;

/// List the runs of jobs: from a beginning to an end, with all interruptions between.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark runs --data-dir data\n  \
    floodmark runs hourly_tips --format json")]
pub struct RunsArguments {
    /// The job; all jobs if not given
    #[arg(value_name = "JOB")]
    job: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// Prints the runs.
pub fn run(arguments: &RunsArguments) -> Result<()> {
    let runs = arguments.place.open()?.runs(arguments.job.as_deref())?;
    if arguments.place.format == Form::Json {
        return super::print(json(&runs)?.as_bytes());
    }
    let row = |run: &crate::api::wire::snapshots::Run| {
        vec![
            run.job.clone(),
            run.run.to_string(),
            run.state.clone(),
            wall(Some(run.started_ms)),
            wall(run.ended_ms),
            run.resumed.to_string(),
            or_dash(run.from),
            run.workers.to_string(),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    let names = ["job", "run", "state", "started", "ended", "resumed", "from", "workers"];
    super::print(table(&names, &rows).as_bytes())
}
