//! Arguments, one file a command; no logic.

mod allocator;
mod copies;
mod explain;
mod frontier;
pub mod generate;
mod interrupt;
mod kept;
mod member;
mod progress;
mod replay;
mod run;
mod runs;
mod serve;
mod snapshots;
mod upgrade;
mod worker;

use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::job::definition::Definition;
use crate::limits::SQL_STACK_BYTES;
use crate::telemetry::logs::{self, Form};
use crate::telemetry::process;

/// The setting that makes durable steps fail, for tests.
const FAILPOINT: &str = "debug.failpoint";
/// The variable that says in which form logs are written.
const LOG_FORMAT: &str = "FLOODMARK_LOG_FORMAT";

/// Incremental analytics: streaming SQL with exact, reproducible answers.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// Form of what is written to standard error: text, or one JSON object a line; the variable
    /// FLOODMARK_LOG_FORMAT says it too. FLOODMARK_LOG says what is logged: warn by default
    #[arg(long, value_name = "text|json", global = true, value_parser = Form::from_str)]
    log_format: Option<Form>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a SQL script as one job until its bounded inputs have ended
    Run(run::RunArguments),
    /// Print the stream plan of a SQL script
    Explain(explain::ExplainArguments),
    /// Say how far the outputs of running jobs are, and what holds them back
    Frontier(frontier::FrontierArguments),
    /// Generate test data: Nexmark, taxi rides, taxi fares
    Generate(generate::GenerateArgs),
    /// Run a historic run again and compare what it gives, interval by interval
    Replay(replay::ReplayArguments),
    /// Run the service: jobs over HTTP, views that can be queried
    Serve(serve::ServeArguments),
    /// Look at snapshots, take, check, copy and remove them
    Snapshots(snapshots::SnapshotsArguments),
    /// List the runs of jobs
    Runs(runs::RunsArguments),
    /// Give a job another script, with the state that it can go on with
    Upgrade(upgrade::UpgradeArguments),
    /// Run one process of a cluster
    Worker(worker::WorkerArguments),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FLOODMARK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let form = match log_form(arguments.log_format) {
        Ok(form) => form,
        Err(error) => {
            logs::tell_error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    logs::start(form, filter);
    process::begun();
    // Planning recurses as deeply as a query nests: deeper than a default stack allows.
    let run = std::thread::Builder::new()
        .name("main".to_string())
        .stack_size(SQL_STACK_BYTES)
        .spawn(move || dispatch(arguments.command));
    let done = match run.map(std::thread::JoinHandle::join) {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Error::internal("the command panicked; its message is above")),
        Err(error) => Err(Error::io("the main thread", &error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs::tell_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The form of logs that the arguments ask for, or else the environment.
fn log_form(asked: Option<Form>) -> Result<Form> {
    let named = || std::env::var(LOG_FORMAT).ok().filter(|text| !text.is_empty());
    match (asked, named) {
        (Some(form), _) => Ok(form),
        (None, named) => named().map_or(Ok(Form::default()), |text| {
            text.parse().map_err(|what| Error::config(format!("{LOG_FORMAT}: {what}")))
        }),
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Frontier(arguments) => frontier::run(&arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Snapshots(arguments) => snapshots::run(&arguments),
        Command::Runs(arguments) => runs::run(&arguments),
        Command::Upgrade(arguments) => upgrade::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
    }
}

/// Reads the named scripts.
fn read_scripts(files: &[std::path::PathBuf]) -> Result<Vec<(String, String)>> {
    files
        .iter()
        .map(|file| {
            let name = file.display().to_string();
            let bytes = std::fs::read(file).map_err(|e| Error::io(&name, &e))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Error::config(format!("{name} is not UTF-8 text")))?;
            Ok((name, text))
        })
        .collect()
}

/// Says on standard error what a job's texts ask for in vain.
fn warn(definition: &Definition) {
    for warning in definition.warnings() {
        logs::tell(&format!("warning: {warning}"), &[]);
    }
}

/// `key=value`.
fn parse_setting(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_string(), value.trim().to_string())),
        None => Err("a setting is written key=value".to_string()),
    }
}

/// The settings for jobs among `given`; one that is for tests acts at once.
fn settings(given: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let is_failpoint = |(key, _): &&(String, String)| key == FAILPOINT;
    if let Some((_, spec)) = given.iter().rfind(is_failpoint) {
        crate::snapshot::failpoint::arm(spec)?;
    }
    Ok(given.iter().filter(|setting| !is_failpoint(setting)).cloned().collect())
}

/// The number of workers when the arguments name none: one a core.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Writes to standard output; a reader that has gone away is no error.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", &error))
        }
        _ => Ok(()),
    }
}
