//! The processes of a cluster while they work together: one *session*, numbered by the cluster
//! epoch.
//!
//! Process 0 is the leader. It waits until all others, its followers, have connected, tells them
//! the epoch, and has them connect their workers. From then on commands go from the leader to each
//! follower in order, news the other way, requests and their answers on connections of their own.
//! Both sides say at short intervals that they live; when one is silent for too long, or its
//! connection ends, the session is over for all: the process ends, and begins anew.
//!
//! The epoch grows with each start of the leader and is durable before it is used. Connections
//! of another epoch are refused: what a process does that was presumed dead reaches nobody.

mod follower;
mod frames;
mod leader;
mod link;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use follower::Follower;
pub use leader::Leader;

use super::peer::Connection;

/// What a process says of itself to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its number.
    pub process: usize,
    /// Where it answers HTTP requests.
    pub http: String,
    /// Its number for the system.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Wall time of its start, in ms.
    pub since_ms: i64,
    /// How often it was started again.
    pub restarts: u64,
    /// When, and why, the last times.
    pub reasons: Vec<Restart>,
    /// The job whose operator had panicked, if that was why it was started again.
    #[serde(default)]
    pub crashed: Option<String>,
}

/// Why a process was started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Wall time, in ms.
    pub at_ms: i64,
    /// What had ended it.
    pub reason: String,
}

/// The processes of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its id.
    pub cluster: String,
    /// Its epoch; 0 for a single process.
    pub epoch: u64,
    /// Workers of each process.
    pub workers: usize,
    /// The address of each process, and what it is, if it is there.
    pub processes: Vec<(String, Option<About>)>,
}

impl ClusterInfo {
    /// How many processes are there.
    pub fn present(&self) -> usize {
        self.processes.iter().filter(|(_, about)| about.is_some()).count()
    }

    /// Whether all processes are there.
    pub fn is_complete(&self) -> bool {
        self.present() == self.processes.len()
    }
}

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A process that is silent for so long is lost.
    pub silence: Duration,
}

impl Timing {
    /// How often a process says that it lives.
    fn pulse(self) -> Duration {
        (self.silence / 5).min(Duration::from_secs(1))
    }
}

/// Called when the session is over, with the reason; once, from any thread.
pub type Lost = Box<dyn Fn(String) + Send + Sync>;
/// Called with a message and the process that it comes from, in the order in which it sent them.
pub type OnMessage = Box<dyn Fn(usize, &[u8]) + Send + Sync>;
/// Answers a request of a process.
pub type OnCall = Box<dyn Fn(usize, &[u8]) -> Vec<u8> + Send + Sync>;
/// Called with a connection that a process hands HTTP requests on by.
pub type OnHttp = Box<dyn Fn(Connection) + Send + Sync>;

/// The data connections of a process, by the process on the other side; `None` in its own place.
pub type Sockets = Vec<Option<Connection>>;

#[cfg(test)]
mod tests;
