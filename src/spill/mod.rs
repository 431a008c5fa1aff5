//! State put aside: rows of operators on disk, found again by the hash of their keys.
//!
//! * [`memory`]: the budget of a job, what it uses of it, and who must give memory back
//! * [`cold`]: what one operator has put aside: rows that are in one place each, in memory or here
//! * `run`: rows in the order of their hashes, in blocks under checksums
//! * `file`: a file without a name
//! * `filter`: which hashes a run may have, in a few bits each
//! * `chunk`: rows as bytes
//!
//! Nothing here outlives the process: a file loses its name as soon as it is open. Called by the
//! stateful operators' drivers. Knows neither what the rows mean nor when they are needed.

mod chunk;
pub mod cold;
mod file;
mod filter;
pub mod memory;
mod run;

pub use cold::ColdRows;
pub use memory::{Memory, Share};
