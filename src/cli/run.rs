//! `floodmark run`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clap::{Args, ValueEnum};

use super::member::MemberArguments;
use super::progress::Progress;
use crate::cluster::peer::{Member, fingerprint};
use crate::cluster::{Topology, hostfile, on_lost_data};
use crate::connectors::SinkWriter;
use crate::connectors::changes::{ChangeFormat, ChangePrinter};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::{csv, json, table};
use crate::job::batch_run::{self, Outcome};
use crate::job::definition::Definition;
use crate::job::snapshots::{self, SnapshotSpec};
use crate::telemetry::logs;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// Run a SQL script as one job until its bounded inputs have ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark run dataflows/hourly_tips.sql\n  \
    floodmark run --workers 2 --format csv job.sql > result.csv\n  \
    floodmark run --data-dir data job.sql\n  \
    floodmark run --set memory.budget=1gb job.sql\n  \
    floodmark run --changelog --set time_resolution='1 s' job.sql\n  \
    floodmark run --peers a:7100,b:7100 --process 0 --cluster-secret-file cluster.secret job.sql")]
pub struct RunArguments {
    /// SQL scripts, read in order as one job
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Worker threads; one a core if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// How bare queries are printed; a table on a terminal, CSV elsewhere if not given
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print changes as they close instead of final contents
    #[arg(long)]
    changelog: bool,
    /// Directory for snapshots: a run that was interrupted goes on from the last one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Name of the job among its snapshots; that of the first file if not given
    #[arg(long, value_name = "NAME", requires = "data_dir")]
    name: Option<String>,
    /// Run a job that has come to its end anew: its sinks are written again
    #[arg(long, requires = "data_dir")]
    anew: bool,
    /// Set a job setting before the first statement
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
    /// host:port of every process of a job that runs on several, in order
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', requires = "process")]
    peers: Vec<String>,
    /// Which of the peers this process is, from 0
    #[arg(long, value_name = "INDEX", requires = "peers")]
    process: Option<usize>,
    #[command(flatten)]
    member: MemberArguments,
}

/// Runs the job.
pub fn run(arguments: &RunArguments) -> Result<()> {
    let texts = super::read_scripts(&arguments.files)?;
    let settings = super::settings(&arguments.settings)?;
    let definition = Definition::new(&texts, &settings)?;
    if definition.has_budget() {
        super::allocator::give_back_at_once(&arguments.files);
    }
    super::warn(&definition);
    for text in definition.explains()? {
        super::print(text.as_bytes())?;
    }
    if !definition.has_outputs() {
        return Ok(());
    }
    let topology = topology(arguments, &texts, &settings)?;
    if topology.member.is_some() {
        on_lost_data(say_lost);
    }
    let keep = keep(arguments, &texts, &topology, settings)?;
    let format = arguments.format.unwrap_or_else(default_format);
    let stop = super::interrupt::flag()?;
    let mut progress = Progress::start();
    let changes = arguments.changelog || (definition.prints() && !definition.is_bounded());
    let printer = move |schema: &SchemaRef, key: Option<&[usize]>| -> Box<dyn SinkWriter> {
        let format = match format {
            Format::Table => ChangeFormat::Table,
            Format::Csv => ChangeFormat::Csv,
            Format::Json => ChangeFormat::Json,
        };
        Box::new(ChangePrinter::new(schema, key, format))
    };
    let mut first = true;
    let (outcome, metrics) = batch_run::run(
        &definition,
        &topology,
        changes.then_some(&printer),
        keep,
        &stop,
        |sign| progress.told(&sign),
        |rows| {
            let separate = !std::mem::take(&mut first);
            print_rows(rows, format, separate)
        },
    )?;
    let how = match outcome {
        Outcome::Complete => "complete",
        Outcome::Stopped => "stopped",
    };
    progress.finish(&metrics, how);
    Ok(())
}

/// What is kept of the job's snapshots, if they are asked for.
fn keep(
    arguments: &RunArguments,
    texts: &[(String, String)],
    topology: &Topology,
    settings: Vec<(String, String)>,
) -> Result<Option<SnapshotSpec>> {
    let Some(dir) = &arguments.data_dir else { return Ok(None) };
    if arguments.peers.len() > 1 {
        return Err(Error::config(
            "--data-dir with --peers: a job on several processes takes no snapshots",
        )
        .with_hint("leave one of them out, or run it in a cluster: floodmark worker"));
    }
    let first = arguments.files.first().and_then(|file| file.file_stem());
    let stem = first.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let sql: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    Ok(Some(SnapshotSpec {
        store: snapshots::open_store(dir)?,
        job: arguments.name.clone().unwrap_or(stem),
        sql: sql.join("\n"),
        settings: settings.into_iter().collect(),
        place: topology.place(),
        others: None,
        anew: arguments.anew,
    }))
}

/// Says why this process ends; the code that it ends with.
fn say_lost(why: &str) -> i32 {
    let hint = "start all processes again; in a cluster (floodmark worker) a job goes on by itself";
    logs::tell_error(&Error::new(ErrorKind::Io, why).with_hint(hint).to_string());
    1
}

fn topology(
    arguments: &RunArguments,
    texts: &[(String, String)],
    settings: &[(String, String)],
) -> Result<Topology> {
    let workers = arguments.workers.map_or_else(super::default_workers, usize::from);
    let process = arguments.process.unwrap_or(0);
    if process >= arguments.peers.len().max(1) {
        return Err(Error::config(format!("--process {process} is none of the --peers")));
    }
    hostfile::check(&arguments.peers)?;
    let member = match arguments.peers.len() {
        0 | 1 => None,
        _ => {
            let member = arguments.member.member(process, arguments.peers.clone(), workers)?;
            let plan = plan_of(arguments, texts, settings);
            Some(Arc::new(Member { plan, ..member }))
        }
    };
    Ok(Topology { workers, member, always_serialise: false })
}

/// What decides which dataflow a process builds: all processes must build the same.
fn plan_of(
    arguments: &RunArguments,
    texts: &[(String, String)],
    settings: &[(String, String)],
) -> [u8; 32] {
    let texts = texts.iter().map(|(_, text)| text.as_str());
    // How much memory there is may differ from machine to machine.
    let settings = settings.iter().filter(|(key, _)| !key.starts_with("memory."));
    let settings = settings.flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    let changes = if arguments.changelog { "changes" } else { "contents" };
    fingerprint(texts.chain(settings).chain([changes]))
}

fn default_format() -> Format {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() { Format::Table } else { Format::Csv }
}

fn print_rows(rows: &RecordBatch, format: Format, separate: bool) -> Result<()> {
    let mut out = Vec::new();
    if separate {
        out.push(b'\n');
    }
    match format {
        Format::Table => out.extend_from_slice(
            table::format(&rows.schema(), std::slice::from_ref(rows))?.as_bytes(),
        ),
        Format::Csv => {
            out.extend_from_slice(csv::header(&rows.schema()).as_bytes());
            csv::write_rows(rows, &mut out)?;
        }
        Format::Json => json::write_rows(rows, &mut out)?,
    }
    super::print(&out)
}
