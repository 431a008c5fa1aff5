//! `floodmark serve`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::runtime::Runtime;

use crate::cluster::session::About;
use crate::error::{Error, ErrorKind, Result};
use crate::job::manager::{JobManager, Service, ServiceSpec};
use crate::job::service::{JobService, JobState};
use crate::job::snapshots::open_store;
use crate::limits::SQL_STACK_BYTES;
use crate::serve::time_text::format_time;
use crate::telemetry::clock::wall_ms;
use crate::telemetry::logs;

/// Run the service: jobs over HTTP, views that can be queried.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark serve --job dataflows/hourly_tips.sql\n  \
    floodmark serve --data-dir /var/lib/floodmark --listen 0.0.0.0:8080\n  \
    floodmark serve --data-dir data --set memory.budget=4gb\n  \
    curl -s localhost:8080/v1/sql -d '{\"query\":\"SELECT count(*) FROM v\"}'")]
pub struct ServeArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Worker threads; one a core if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Directory for jobs and their snapshots: they come back when the service starts again
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Start a job from a SQL script, unless it is there already; its name is the file's
    #[arg(long = "job", value_name = "FILE")]
    jobs: Vec<PathBuf>,
    /// Set a job setting before the first statement of every job that is created
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
}

/// Runs the service until Ctrl-C.
pub fn run(arguments: &ServeArguments) -> Result<()> {
    let texts = super::read_scripts(&arguments.jobs)?;
    if super::allocator::is_wanted(&arguments.settings, &texts) {
        super::allocator::give_back_at_once(&arguments.jobs);
    }
    let store = arguments.data_dir.as_deref().map(open_store).transpose()?;
    let workers = arguments.workers.map_or_else(super::default_workers, usize::from);
    let runtime = http_runtime()?;
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(&arguments.listen))
        .map_err(|e| Error::io(&arguments.listen, &e))?;
    let settings = super::settings(&arguments.settings)?.into_iter().collect();
    let objects = super::copies::options_of_environment();
    let manager = JobManager::start(ServiceSpec {
        workers,
        store,
        settings,
        objects,
        ..ServiceSpec::default()
    })?;
    let service: Arc<dyn JobService> = Arc::new(Service(Arc::clone(&manager)));
    for job in service.list() {
        // Failed ones are in the log, with their reasons.
        let last = job.snapshots.as_ref().and_then(|s| s.from.zip(s.progress.last));
        let from = last.map(|(id, last)| (id, format_time(last.frontier)));
        let is_otherwise = job.snapshots.as_ref().is_some_and(|s| s.was_planned_otherwise);
        let said = match (job.state, from) {
            (JobState::Failed { .. }, _) => continue,
            _ if is_otherwise => format!(
                "job {} has ended, and this version plans it otherwise: it is computed again, and \
                 its sinks stay as they are",
                job.name
            ),
            (_, Some((id, time))) => {
                format!("job {} goes on from snapshot {id}, as of {time}", job.name)
            }
            (_, None) => format!("job {} has no snapshot yet: begins", job.name),
        };
        logs::tell(&said, &[("job", &job.name)]);
    }
    for file in &arguments.jobs {
        start(service.as_ref(), file)?;
    }
    let address = listener.local_addr().map_err(|e| Error::io(&arguments.listen, &e))?;
    let about = About {
        http: address.to_string(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since_ms: wall_ms(),
        ..About::default()
    };
    logs::tell(&format!("listening on http://{address}"), &[]);
    let served = runtime.block_on(crate::api::serve(listener, service, about, interrupted()));
    manager.stop();
    served
}

/// What requests are answered on.
pub(super) fn http_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(SQL_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|e| Error::io("the HTTP runtime", &e))
}

/// Starts the job of `file`, unless it is there.
pub(super) fn start(service: &dyn JobService, file: &PathBuf) -> Result<()> {
    let texts = super::read_scripts(std::slice::from_ref(file))?;
    let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    for (path, text) in texts {
        if let Ok(job) = service.get(name) {
            if job.sql == text {
                continue;
            }
            let message = format!("there is a job {name} already, and {path} is another one");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("delete the job first, or give the file another name"));
        }
        service.create(name, &text).map_err(|mut error| {
            if let Some(at) = &mut error.location {
                at.file.clone_from(&path);
            }
            error
        })?;
    }
    Ok(())
}

/// Ends when the process is told to stop.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("{:?}: signals cannot be handled", ErrorKind::Io);
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
