//! Jobs over several processes: who does what, and what they say to each other.
//!
//! Process 0 leads. It alone holds the store, the journal, the sinks and the views, chooses the
//! snapshots and answers for the jobs; what a job does outside of its dataflow happens there. The
//! others follow: they plan the same script, build the same dataflow, read their partitions, and
//! hand their parts of each snapshot over.
//!
//! * `messages`: orders, news, requests, as bytes
//! * `parts`: what operators hand to a snapshot, as bytes
//! * [`Followers`]: the others as the leader sees them
//! * [`Following`]: the jobs of a process that follows
//! * `standing`: where the sources stand that several processes read

mod followers;
mod following;
mod messages;
mod parts;
mod standing;

use std::sync::Weak;
use std::time::Duration;

use crate::error::Result;
use crate::telemetry::threads::spawn;

pub use followers::{Followers, Led, Prepared};
pub use following::Following;
pub use messages::{Counts, KeptRun, SourceCounts};

/// How often it is looked whether there is something to tell, while there is.
const LOOK: Duration = Duration::from_millis(50);
/// The same when nothing has changed for long.
const LOOK_IDLE: Duration = Duration::from_millis(400);

/// Calls `look` on a thread called `name` as long as there is an `owner`: often while it says that
/// there was something to tell.
fn look_often<T: Send + Sync + 'static>(
    name: &str,
    owner: Weak<T>,
    look: impl Fn(&T) -> bool + Send + 'static,
) -> Result<()> {
    let looking = move || {
        let mut pause = LOOK;
        while let Some(owner) = owner.upgrade() {
            pause = if look(&owner) { LOOK } else { (pause * 2).min(LOOK_IDLE) };
            drop(owner);
            std::thread::sleep(pause);
        }
    };
    spawn(name, looking).map(drop)
}
