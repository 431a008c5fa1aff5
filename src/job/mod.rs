//! Job definitions and lifecycle.
//!
//! * [`definition`]: texts to a stream plan
//! * [`batch_run`]: one job in one process, to its end (`floodmark run`)
//! * [`results`]: the final contents of bare queries

pub mod batch_run;
pub mod definition;
pub mod results;
