//! Counters, logs, the clock and the process's memory.

pub mod clock;
pub mod memory;
