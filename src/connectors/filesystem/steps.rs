//! The steps of a durable sink between which a crash leaves different things on the disk, by name.
//!
//! Whoever makes a sink may be told of each, to stop there: tests, and the points at which a
//! process can be made to fail. Nothing here is called by a sink of a job without snapshots.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// What has been written since the last commit is about to be made safe.
pub const BEFORE_SYNC: &str = "sink.before_sync";
/// All that a commit is to name is safe.
pub const BEFORE_COMMIT: &str = "sink.before_commit";
/// The commit is written under another name.
pub const BEFORE_COMMIT_RENAME: &str = "sink.before_commit_rename";
/// The commit holds.
pub const AFTER_COMMIT: &str = "sink.after_commit";
/// A part that has ended is about to get its final name.
pub const BEFORE_PUBLISH: &str = "sink.before_publish";
/// All parts that the commit names as ended have their final names.
pub const AFTER_PUBLISH: &str = "sink.after_publish";
/// A recovery has cut parts to their committed length and removes what no commit names.
pub const BEFORE_CLEANUP: &str = "sink.before_cleanup";

/// All of them.
pub const POINTS: &[&str] = &[
    BEFORE_SYNC,
    BEFORE_COMMIT,
    BEFORE_COMMIT_RENAME,
    AFTER_COMMIT,
    BEFORE_PUBLISH,
    AFTER_PUBLISH,
    BEFORE_CLEANUP,
];

type Hook = dyn Fn(&'static str) -> Result<()> + Send + Sync;

/// Who is told of steps; nobody by default.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Hook>>);

impl Steps {
    /// Tells `hook`, whose error ends the sink at that step.
    pub fn new(hook: impl Fn(&'static str) -> Result<()> + Send + Sync + 'static) -> Self {
        Steps(Some(Arc::new(hook)))
    }

    /// The step `point` has been reached.
    pub fn reach(&self, point: &'static str) -> Result<()> {
        match &self.0 {
            Some(hook) => hook(point),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Steps(hook)" } else { "Steps" })
    }
}
