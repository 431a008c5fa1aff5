//! Counters, logs and the clock.

pub mod clock;
