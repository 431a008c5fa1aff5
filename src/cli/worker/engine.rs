//! The process that does the work: a session of the cluster, from its beginning to its end.

use std::io::BufRead;
use std::process::exit;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;

use super::WorkerArguments;
use super::report::{EXIT_CONFIG, EXIT_LOST, History, STOP, Sign, tell};
use crate::api::Gate;
use crate::cluster::hostfile::Host;
use crate::cluster::peer::Member;
use crate::cluster::session::{About, ClusterInfo, Follower, Leader, Lost, Timing};
use crate::cluster::{Cluster, OnPanic, Topology, epoch, on_lost_data};
use crate::dataflow::metrics::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::job::manager::{JobManager, Service, ServiceSpec};
use crate::job::processes::{Followers, Following};
use crate::job::service::JobService;
use crate::job::snapshots::open_store;
use crate::telemetry::clock::wall_ms;
use crate::telemetry::threads::spawn;
use crate::telemetry::{logs, process};

/// Works until it is told to stop, or the session is over.
pub fn run(arguments: &WorkerArguments, hosts: &[Host], member: &Arc<Member>) -> Result<()> {
    let (history, stop) = supervised(arguments.peer_timeout)?;
    on_lost_data(|why| lost(why));
    match work(arguments, hosts, member, history, stop) {
        Ok(()) => exit(0),
        Err(error) => {
            tell(&Sign::Ends(error.message.clone()));
            tracing::error!("process {}: {error}", arguments.process);
            let is_final = matches!(error.kind, ErrorKind::Config | ErrorKind::Sql);
            exit(if is_final { EXIT_CONFIG.into() } else { 1 })
        }
    }
}

/// Reads what the supervisor says, tells it that this process lives, and ends with it. Told once
/// when this process is to stop.
fn supervised(timeout: Duration) -> Result<(History, Arc<Notify>)> {
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line).map_err(|e| Error::io("the supervisor", &e))?;
    let history = serde_json::from_str(&line).unwrap_or_default();
    drop(input);
    let stop = Arc::new(Notify::new());
    let stopping = Arc::clone(&stop);
    let ending = move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|line| line.as_bytes() == STOP.trim_ascii()) {
                stopping.notify_one();
            }
        }
        tracing::warn!("the supervisor is gone");
        exit(1);
    };
    let living = move || {
        loop {
            tell(&Sign::Lives);
            std::thread::sleep((timeout / 4).min(Duration::from_secs(1)));
        }
    };
    spawn("supervisor", ending)?;
    spawn("life", living)?;
    Ok((history, stop))
}

/// A worker that panics has lost what its operators hold: the process ends, and says whose they
/// were.
fn end_with_workers() -> OnPanic {
    Arc::new(|job| {
        if let Some(job) = job {
            tell(&Sign::Crashed(job.to_owned()));
        }
        let of = job.map(|job| format!(" in job {job}")).unwrap_or_default();
        tell(&Sign::Ends(format!("a worker panicked{of}; its message is in the log")));
        exit(101)
    })
}

fn lost(why: &str) -> ! {
    tracing::warn!("the session is over: {why}");
    tell(&Sign::Ends(why.to_owned()));
    exit(EXIT_LOST.into())
}

/// What both kinds of processes work with.
struct Engine<'a> {
    arguments: &'a WorkerArguments,
    member: &'a Arc<Member>,
    about: About,
    timing: Timing,
    runtime: Runtime,
    topology: Topology,
    /// Notified when this process is to stop.
    stop: Arc<Notify>,
}

fn work(
    arguments: &WorkerArguments,
    hosts: &[Host],
    member: &Arc<Member>,
    history: History,
    stop: Arc<Notify>,
) -> Result<()> {
    let runtime = super::super::serve::http_runtime()?;
    let wanted = arguments.http(hosts);
    let listener = runtime.block_on(TcpListener::bind(&wanted));
    let listener = listener.map_err(|e| Error::io(&wanted, &e))?;
    let http = listener.local_addr().map_err(|e| Error::io(&wanted, &e))?.to_string();
    let dir = arguments.data_dir();
    std::fs::create_dir_all(&dir).map_err(|e| Error::io(dir.display(), &e))?;
    logs::is_process(member.process);
    process::was_restarted(history.restarts);
    let about = About {
        process: member.process,
        http: http.clone(),
        pid: std::process::id(),
        version: member.version.clone(),
        since_ms: wall_ms(),
        restarts: history.restarts,
        reasons: history.reasons,
        crashed: history.crashed,
    };
    let topology = Topology { member: Some(Arc::clone(member)), ..Topology::alone(member.workers) };
    let timing = Timing { silence: arguments.peer_timeout };
    let engine = Engine { arguments, member, about, timing, runtime, topology, stop };
    logs::tell(&format!("process {} listens on http://{http}", member.process), &[]);
    match member.process {
        0 => engine.lead(listener),
        _ => engine.follow(listener),
    }
}

impl Engine<'_> {
    fn lost(&self) -> Lost {
        Box::new(|why| lost(&why))
    }

    fn lead(self, listener: TcpListener) -> Result<()> {
        let store = open_store(&self.arguments.data_dir())?;
        let epoch = epoch::next(&self.arguments.data_dir())?;
        let present = Arc::new(Mutex::new(vec![self.about.clone()]));
        let gate = Arc::new(Gate::closed(info(self.member, epoch, &present)));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            // One that is gone is told to stop.
            let _ = stopped.await;
        };
        let serving =
            self.runtime.spawn(crate::api::serve_gate(listener, Arc::clone(&gate), shutdown));
        let early = self.runtime.spawn(end_early(Arc::clone(&self.stop)));
        let (leader, sockets) =
            Leader::gather(Arc::clone(self.member), epoch, self.timing, self.lost())?;
        let leader = Arc::new(leader);
        lock(&present).extend(leader.others().iter().cloned());
        let crashed: Vec<_> = lock(&present).iter().filter_map(|a| a.crashed.clone()).collect();
        let crashes = epoch::crashed(&self.arguments.data_dir(), &crashed, wall_ms())?;
        let cluster = Cluster::of_session(&self.topology, sockets, end_with_workers())?;
        let followers = Followers::start(
            Arc::clone(&leader),
            Arc::clone(&store),
            on_http(self.runtime.handle().clone(), Arc::clone(&gate)),
        )?;
        let alone = followers.count() == 0;
        let manager = JobManager::start_on(
            cluster,
            ServiceSpec {
                workers: self.member.workers,
                store: Some(store),
                settings: super::super::settings(&self.arguments.settings)?.into_iter().collect(),
                objects: super::super::copies::options_of_environment(),
                followers: (!alone).then_some(followers),
                crashes,
            },
        )?;
        let service: Arc<dyn JobService> = Arc::new(Service(Arc::clone(&manager)));
        for file in &self.arguments.jobs {
            super::super::serve::start(service.as_ref(), file)?;
        }
        gate.open(service);
        tell(&Sign::Works);
        logs::tell(&format!("the cluster works, in epoch {epoch}"), &[]);
        early.abort();
        self.runtime.block_on(told_to_stop(&self.stop));
        // Those who wait for an answer get it, or are told to go.
        let _ = stop.send(());
        manager.stop();
        leader.leave("process 0 was stopped");
        // A server that ended badly has said so.
        let _ = self.runtime.block_on(serving);
        Ok(())
    }

    fn follow(self, listener: TcpListener) -> Result<()> {
        let way: Arc<OnceLock<Arc<Following>>> = Arc::default();
        let forwarding = crate::api::forward(listener, Arc::clone(&way), std::future::pending());
        self.runtime.spawn(forwarding);
        let early = self.runtime.spawn(end_early(Arc::clone(&self.stop)));
        let (follower, sockets) =
            Follower::join(Arc::clone(self.member), &self.about, self.timing, self.lost())?;
        let follower = Arc::new(follower);
        let cluster = Cluster::of_session(&self.topology, sockets, end_with_workers())?;
        let dir = Some(self.arguments.data_dir());
        let following = Following::start(Arc::clone(&follower), cluster, dir)?;
        // Once: it was empty.
        let _ = way.set(Arc::clone(&following));
        tell(&Sign::Works);
        let (process, epoch) = (self.member.process, follower.epoch());
        logs::tell(&format!("process {process} works, in epoch {epoch}"), &[]);
        early.abort();
        self.runtime.block_on(told_to_stop(&self.stop));
        following.stop();
        follower.leave(&format!("process {} was stopped", self.member.process));
        Ok(())
    }
}

/// Ends when the supervisor, or the system, tells this process to stop.
async fn told_to_stop(stop: &Notify) {
    tokio::select! {
        () = stop.notified() => {}
        () = super::super::serve::interrupted() => {}
    }
}

/// Before the session has begun there is nothing to stop in order.
async fn end_early(stop: Arc<Notify>) {
    told_to_stop(&stop).await;
    exit(0);
}

/// What is known of the cluster whose processes `present` are there.
fn info(
    member: &Arc<Member>,
    epoch: u64,
    present: &Arc<Mutex<Vec<About>>>,
) -> impl Fn() -> ClusterInfo + Send + Sync + 'static {
    let (member, present) = (Arc::clone(member), Arc::clone(present));
    move || {
        let present = lock(&present);
        let about = |process: usize| present.iter().find(|about| about.process == process).cloned();
        let addresses = member.addresses.iter().enumerate();
        ClusterInfo {
            cluster: member.cluster.clone(),
            epoch,
            workers: member.workers,
            processes: addresses.map(|(process, a)| (a.clone(), about(process))).collect(),
        }
    }
}

/// Serves what came to another process.
fn on_http(runtime: Handle, gate: Arc<Gate>) -> crate::cluster::session::OnHttp {
    Box::new(move |connection| {
        let gate = Arc::clone(&gate);
        runtime.spawn(async move {
            match connection.into_async() {
                Ok(stream) => crate::api::serve_connection(stream, gate).await,
                Err(error) => tracing::warn!("a connection of another process: {error}"),
            }
        });
    })
}
