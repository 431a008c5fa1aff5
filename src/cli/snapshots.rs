//! `floodmark snapshots`.

use clap::{Args, Subcommand};

use super::copies::{CopyLine, CopyOptions};
use super::kept::{Form, Place, Where, json, or_dash, size, table, wall};
use crate::api::wire::snapshots::{Snapshot, SnapshotDetail, Verified};
use crate::error::{Error, ErrorKind, Result};

/// Look at snapshots, take, check, copy and remove them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark snapshots list --data-dir data\n  \
    floodmark snapshots show hourly_tips --data-dir data\n  \
    floodmark snapshots create hourly_tips --url http://127.0.0.1:8080\n  \
    floodmark snapshots verify --data-dir data\n  \
    floodmark snapshots export hourly_tips --to backup --data-dir data\n  \
    floodmark snapshots restore --from backup --data-dir other")]
pub struct SnapshotsArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List snapshots: time, frontier, size, what is new, whether they can be read
    #[command(after_help = "Examples:\n  \
        floodmark snapshots list --data-dir data\n  \
        floodmark snapshots list hourly_tips --format json")]
    List {
        /// The job; all jobs if not given
        #[arg(value_name = "JOB")]
        job: Option<String>,
    },
    /// Show one snapshot: state of each operator, source positions, sinks
    #[command(after_help = "Examples:\n  \
        floodmark snapshots show hourly_tips --data-dir data\n  \
        floodmark snapshots show hourly_tips 12 --format json")]
    Show {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
        /// The snapshot; the newest one if not given
        #[arg(value_name = "ID")]
        id: Option<u64>,
    },
    /// Have a running service take a snapshot now, and wait for it
    #[command(after_help = "Examples:\n  \
        floodmark snapshots create hourly_tips\n  \
        floodmark snapshots create hourly_tips --url http://10.0.0.5:8080")]
    Create {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Read every byte of snapshots; exits with 1 if something is damaged
    #[command(after_help = "Examples:\n  \
        floodmark snapshots verify --data-dir data\n  \
        floodmark snapshots verify hourly_tips 12 --data-dir data")]
    Verify {
        /// The job; all jobs if not given
        #[arg(value_name = "JOB")]
        job: Option<String>,
        /// The snapshot; all of the job if not given
        #[arg(value_name = "ID")]
        id: Option<u64>,
    },
    /// Copy a snapshot to a directory of its own, or to a bucket
    #[command(after_help = "Examples:\n  \
        floodmark snapshots export hourly_tips --to backup --data-dir data\n  \
        floodmark snapshots export hourly_tips 12 --to backup-12\n  \
        floodmark snapshots export hourly_tips --to file:///mnt/backup/tips --data-dir data\n  \
        AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. \\\n    \
          floodmark snapshots export hourly_tips --to s3://bucket/tips/12 --data-dir data\n  \
        floodmark snapshots export hourly_tips --to s3://bucket/tips/12 --data-dir data \\\n    \
          --set AWS_ENDPOINT_URL=http://127.0.0.1:9000")]
    Export {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
        /// The snapshot; the newest one if not given
        #[arg(value_name = "ID")]
        id: Option<u64>,
        /// A directory, file:///DIR or s3://BUCKET/PREFIX, where there is nothing yet
        #[arg(long, value_name = "PLACE")]
        to: String,
        #[command(flatten)]
        options: CopyOptions,
    },
    /// Take over an exported snapshot, as the newest one of its job
    #[command(after_help = "Examples:\n  \
        floodmark snapshots restore --from backup --data-dir data\n  \
        floodmark snapshots restore --from backup --name hourly_tips_2 --data-dir data\n  \
        floodmark snapshots restore --from s3://bucket/tips/12 --data-dir data")]
    Restore {
        /// Where the export is: a directory, file:///DIR or s3://BUCKET/PREFIX
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// The job to take it over for; its own if not given
        #[arg(long, value_name = "JOB")]
        name: Option<String>,
        #[command(flatten)]
        options: CopyOptions,
    },
    /// Remove a snapshot, or all that is stored of a job
    #[command(after_help = "Examples:\n  \
        floodmark snapshots delete hourly_tips 12 --data-dir data\n  \
        floodmark snapshots delete hourly_tips --all --data-dir data")]
    Delete {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
        /// The snapshot
        #[arg(value_name = "ID", required_unless_present = "all")]
        id: Option<u64>,
        /// All snapshots and runs of the job, which then begins anew
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Carries out the command.
pub fn run(arguments: &SnapshotsArguments) -> Result<()> {
    let place = &arguments.place;
    let form = place.format;
    match &arguments.command {
        Command::List { job } => list(&place.open()?.snapshots(job.as_deref())?, form),
        Command::Show { job, id } => {
            let place = place.open()?;
            show(&place.show(job, place.number(job, *id)?)?, form)
        }
        Command::Create { job } => list(&[place.open()?.create(job)?], form),
        Command::Verify { job, id } => verify(&place.open()?, job.as_deref(), *id, form),
        Command::Export { job, id, to, options } => {
            let to = options.place(to)?;
            let place = place.open()?;
            if let Place::Service(_) = place {
                options.refuse()?;
            }
            let id = place.number(job, *id)?;
            let done = place.export(job, id, &to)?;
            if form == Form::Json {
                return super::print(json(&done)?.as_bytes());
            }
            let (files, bytes) = (done.files, size(Some(done.bytes)));
            say(&format!("snapshot {id} of {job} is in {}: {files} files, {bytes}", done.to))
        }
        Command::Restore { from, name, options } => {
            let from = options.place(from)?;
            let mut progress = CopyLine::begin("restored");
            let told = &mut |at| progress.show(at);
            let store = place.store_to_fill()?;
            let manifest = store.import_telling(&from, name.as_deref(), told)?;
            list(&[Snapshot::from(&manifest)], form)
        }
        Command::Delete { job, id: Some(id), .. } => {
            place.open_to_change()?.delete(job, *id)?;
            say(&format!("snapshot {id} of {job} is deleted"))
        }
        Command::Delete { job, .. } => match place.open_to_change()? {
            Place::Store(store) => {
                crate::job::archive::check_known(&store, job)?;
                store.delete_job(job)?;
                say(&format!("nothing is stored of {job} any more"))
            }
            Place::Service(_) => Err(Error::config("a running job keeps its last snapshot")
                .with_hint(format!(
                    "delete the job: curl -X DELETE http://host:port/v1/jobs/{job}; or stop the \
                     service and use --data-dir"
                ))),
        },
    }
}

fn say(text: &str) -> Result<()> {
    super::print(format!("{text}\n").as_bytes())
}

fn list(snapshots: &[Snapshot], form: Form) -> Result<()> {
    if form == Form::Json {
        return super::print(json(&snapshots)?.as_bytes());
    }
    let row = |s: &Snapshot| {
        let state = match s.damage.as_slice() {
            [] => s.state.clone(),
            damage => format!("{}: {}", s.state, damage.join("; ")),
        };
        vec![
            s.job.clone(),
            or_dash(s.id),
            wall(s.created_ms),
            or_dash(s.frontier.as_ref()),
            size(s.bytes),
            size(s.new_bytes),
            s.duration_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            or_dash(s.workers),
            state,
        ]
    };
    let rows: Vec<_> = snapshots.iter().map(row).collect();
    let names = ["job", "id", "taken", "frontier", "size", "new", "took", "workers", "state"];
    super::print(table(&names, &rows).as_bytes())
}

fn show(detail: &SnapshotDetail, form: Form) -> Result<()> {
    if form == Form::Json {
        return super::print(json(detail)?.as_bytes());
    }
    list(std::slice::from_ref(&detail.snapshot), form)?;
    let states: Vec<_> = detail
        .states
        .iter()
        .map(|s| {
            let bytes = size(Some(s.bytes));
            vec![s.operator.clone(), s.recovery.clone(), s.rows.to_string(), bytes]
        })
        .collect();
    let sources: Vec<_> = detail
        .sources
        .iter()
        .map(|p| {
            let ended = if p.ended { "yes" } else { "no" }.to_owned();
            let (offset, watermark) = (p.offset.to_string(), or_dash(p.watermark.as_ref()));
            vec![p.table.clone(), p.partition.clone(), offset, watermark, ended]
        })
        .collect();
    let sinks: Vec<_> = detail
        .sinks
        .iter()
        .map(|sink| vec![sink.name.clone(), or_dash(sink.committed.as_ref())])
        .collect();
    let parts = [
        table(&["state of", "comes back from", "rows", "size"], &states),
        table(&["source", "partition", "offset", "watermark", "ended"], &sources),
        table(&["sink", "has everything before"], &sinks),
    ];
    for (part, is_empty) in
        parts.iter().zip([states.is_empty(), sources.is_empty(), sinks.is_empty()])
    {
        if !is_empty {
            super::print(format!("\n{part}").as_bytes())?;
        }
    }
    Ok(())
}

fn verify(place: &Place, job: Option<&str>, id: Option<u64>, form: Form) -> Result<()> {
    let mut found: Vec<Verified> = Vec::new();
    let wanted = |s: &&Snapshot| id.is_none() || s.id == id;
    let listed = place.snapshots(job)?;
    for snapshot in listed.iter().filter(wanted) {
        found.push(match snapshot.id {
            Some(id) => place.verify(&snapshot.job, id)?,
            None => Verified {
                job: snapshot.job.clone(),
                id: None,
                whole: false,
                damage: snapshot.damage.clone(),
                bytes: 0,
            },
        });
    }
    if let (true, Some(job), Some(id)) = (found.is_empty(), job, id) {
        let message = format!("job {job} has no snapshot {id}");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if form == Form::Json {
        super::print(json(&found)?.as_bytes())?;
    } else {
        let row = |v: &Verified| {
            let state = match v.whole {
                true => "whole".to_owned(),
                false => format!("damaged: {}", v.damage.join("; ")),
            };
            vec![v.job.clone(), or_dash(v.id), size(Some(v.bytes)), state]
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        super::print(table(&["job", "id", "read", "state"], &rows).as_bytes())?;
    }
    match found.iter().filter(|v| !v.whole).count() {
        0 => Ok(()),
        damaged => {
            let message = format!("{damaged} of {} snapshots are damaged", found.len());
            Err(Error::new(ErrorKind::Io, message)
                .with_hint("a job starts from the newest whole one; delete those that are not"))
        }
    }
}
