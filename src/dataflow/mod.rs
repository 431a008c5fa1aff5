//! Stream plan to timely operators: one exhaustive `match`, one file an operator.
//!
//! * [`runtime`]: what all workers of a process share of one job
//! * [`render`]: the match
//! * [`logic`]: what a stateful operator is; [`driver`]: its plumbing
//! * [`source`], [`split`], [`clock`]: reading splits and assigning event time; [`flow`]: how fast
//! * [`calc`], [`expand`], [`window_assign`]: operators without state
//! * [`windowed`]: whole windows at once; [`sessions`]: windows that merge
//! * [`match_recognize`]: patterns of rows
//! * [`sink`], [`collect`]: where rows leave the dataflow

pub mod calc;
pub mod clock;
pub mod collect;
pub mod driver;
pub mod expand;
pub mod flow;
pub mod group_aggregate;
pub mod logic;
pub mod match_recognize;
pub mod metrics;
#[cfg(test)]
mod oracle;
pub mod outputs;
pub mod render;
pub mod runtime;
pub mod session_aggregate;
pub mod session_assign;
pub mod sessions;
pub mod side;
pub mod sink;
pub mod source;
pub mod split;
pub mod window_aggregate;
pub mod window_assign;
pub mod window_join;
pub mod window_math;
pub mod window_rank;
pub mod windowed;
