//! Counters, logs, the clock and what is known of the process.
//!
//! * [`clock`]: the wall clock; [`memory`], [`process`]: what the system says of the process
//! * [`prometheus`]: the text format of metrics
//! * [`logs`]: what is written to standard error, as text or as JSON
//! * [`threads`]: threads of the program's own

pub mod clock;
pub mod logs;
pub mod memory;
pub mod process;
pub mod prometheus;
pub mod threads;
