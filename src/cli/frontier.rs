//! `floodmark frontier`.

use clap::Args;

use super::kept::{Form, json, path_of, table};
use crate::api::client::Client;
use crate::api::wire::frontier::{JobFrontier, OutputFrontier};
use crate::error::Result;

/// Say how far the outputs of running jobs are, and what holds each of them back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark frontier\n  \
    floodmark frontier hourly_tips\n  \
    floodmark frontier hourly_tips --url http://10.0.0.5:8080 --format json")]
pub struct FrontierArguments {
    /// The job; a line for each output of all jobs if not given
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// A running service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table")]
    format: Form,
}

/// Prints what the service says.
pub fn run(arguments: &FrontierArguments) -> Result<()> {
    let client = Client::new(&arguments.url)?;
    let of = |job: &str| -> Result<JobFrontier> {
        client.request("GET", &path_of(job, "/frontier")?, None)
    };
    let text = match (&arguments.job, arguments.format) {
        (Some(job), Form::Json) => json(&of(job)?)?,
        (Some(job), Form::Table) => of(job)?.text(),
        (None, form) => {
            let names = super::kept::Place::Service(client.clone()).jobs()?;
            let jobs = names.iter().map(|job| of(job)).collect::<Result<Vec<_>>>()?;
            match form {
                Form::Json => json(&jobs)?,
                Form::Table => lines(&jobs),
            }
        }
    };
    super::print(text.as_bytes())
}

/// A line for each output.
fn lines(jobs: &[JobFrontier]) -> String {
    let line = |job: &JobFrontier, output: &OutputFrontier| {
        let held = output.held_by.as_ref();
        vec![
            job.job.clone(),
            output.output.clone(),
            output.frontier.clone().unwrap_or_else(|| "-".to_owned()),
            held.map_or_else(|| "-".to_owned(), |held| held.holder.clone()),
            held.map_or_else(|| "-".to_owned(), |held| held.since.chars().take(19).collect()),
            output.state.clone(),
        ]
    };
    let rows = jobs.iter().flat_map(|job| job.outputs.iter().map(move |o| line(job, o)));
    let rows: Vec<_> = rows.collect();
    table(&["job", "output", "frontier", "held by", "since", "state"], &rows)
}
