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

pub use followers::{Followers, Led, Prepared};
pub use following::Following;
pub use messages::{Counts, KeptRun, SourceCounts};
