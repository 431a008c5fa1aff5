//! `floodmark worker`: one process of a cluster.
//!
//! What is started is a supervisor: it starts the *engine*, which does the work, as a child process
//! of the same program, and starts it again when it ends. An engine ends when it fails, and when
//! any of its peers is lost: then all of them begin a new session, and every job goes on from its
//! last snapshot.

mod engine;
mod report;
mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::member::MemberArguments;
use crate::cluster::hostfile::{self, Host};
use crate::cluster::peer::Member;
use crate::error::{Error, Result};

/// HTTP port of process 0 where nothing says another one; the others follow.
const HTTP_PORT: usize = 8080;

/// Run one process of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    printf 'a:7000\\nb:7000\\nc:7000\\n' > hosts\n  \
    head -c 32 /dev/urandom | base64 > cluster.secret\n  \
    floodmark worker --hostfile hosts --process 0 --workers 4 \\\n    \
      --data-dir /var/lib/floodmark --cluster-secret-file cluster.secret\n\n\
    Each line of the hostfile is a process: host:port [http=host:port]. Process 0 leads: its data \
    directory has the jobs and their snapshots. The others need one for what is put aside under a \
    memory budget. scripts/cluster.sh starts a cluster on this machine.")]
pub struct WorkerArguments {
    /// File with the address of each process, a line each
    #[arg(long, value_name = "FILE")]
    hostfile: PathBuf,
    /// Which line of the hostfile this process is, from 0
    #[arg(long, value_name = "I")]
    process: usize,
    /// Worker threads of each process; one a core if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Directory of this process; by default data/process-I
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address for HTTP; by default what the hostfile says, or 127.0.0.1:8080 for process 0, 8081
    /// for process 1, ..
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    member: MemberArguments,
    /// Start a job from a SQL script, unless it is there already; its name is the file's. Of
    /// process 0
    #[arg(long = "job", value_name = "FILE")]
    jobs: Vec<PathBuf>,
    /// Set a job setting before the first statement of every job that is created. Of process 0
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
    /// A process that is silent for so long is lost: all begin anew
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    peer_timeout: Duration,
    /// The longest wait before an engine is started again that keeps failing
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    restart_delay_max: Duration,
    /// Do the work, for a supervisor
    #[arg(long, hide = true)]
    engine: bool,
}

impl WorkerArguments {
    fn hosts(&self) -> Result<Vec<Host>> {
        let hosts = hostfile::read(&self.hostfile)?;
        if self.process < hosts.len() {
            return Ok(hosts);
        }
        let (file, process, last) = (self.hostfile.display(), self.process, hosts.len());
        Err(Error::config(format!("--process {process}: {file} has {last} processes"))
            .with_hint("they are numbered from 0, a line each"))
    }

    fn data_dir(&self) -> PathBuf {
        let usual = || PathBuf::from(format!("data/process-{}", self.process));
        self.data_dir.clone().unwrap_or_else(usual)
    }

    fn workers(&self) -> usize {
        self.workers.map_or_else(super::default_workers, usize::from)
    }

    fn member(&self, hosts: &[Host]) -> Result<Arc<Member>> {
        let addresses = hosts.iter().map(|host| host.address.clone()).collect();
        self.member.member(self.process, addresses, self.workers()).map(Arc::new)
    }

    fn http(&self, hosts: &[Host]) -> String {
        let named = hosts.get(self.process).and_then(|host| host.http.clone());
        let usual = || format!("127.0.0.1:{}", HTTP_PORT + self.process);
        self.listen.clone().or(named).unwrap_or_else(usual)
    }
}

/// Runs the process until it is told to stop.
pub fn run(arguments: &WorkerArguments) -> Result<()> {
    let hosts = arguments.hosts()?;
    // What is wrong with them is said once, not by each engine.
    let member = arguments.member(&hosts)?;
    match arguments.engine {
        true => engine::run(arguments, &hosts, &member),
        false => supervisor::run(arguments),
    }
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let ms = crate::sql::interval::parse_duration(text);
    match ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("a duration is written like 500ms, 5s or 1min".to_owned()),
    }
}
