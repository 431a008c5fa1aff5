//! What an engine and its supervisor say to each other: a line of JSON each, over the engine's
//! standard input and output.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::cluster::session::Restart;

/// How the engine that has lost a peer ends: it has not failed itself.
pub const EXIT_LOST: u8 = 75;
/// How an engine ends that cannot work as it was started, ever.
pub const EXIT_CONFIG: u8 = 78;

/// The line that tells the engine to stop.
pub const STOP: &[u8] = b"stop\n";

/// What the supervisor tells the engine when it starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// How often the engine was started again.
    pub restarts: u64,
    /// The last times.
    pub reasons: Vec<Restart>,
    /// The job whose operator had panicked, if that was the last reason.
    #[serde(default)]
    pub crashed: Option<String>,
}

/// What the engine tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    /// It lives.
    Lives,
    /// Its session has begun.
    Works,
    /// An operator of a job has panicked.
    Crashed(String),
    /// It ends; why.
    Ends(String),
}

/// Tells the supervisor.
pub fn tell(sign: &Sign) {
    let mut line = serde_json::to_vec(sign).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // Without a supervisor the engine ends: its standard input does too.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
