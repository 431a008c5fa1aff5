//! Stream plan to timely operators: one exhaustive `match`, one file an operator.

pub mod group_aggregate;
pub mod logic;
#[cfg(test)]
mod oracle;
pub mod session_aggregate;
pub mod window_aggregate;
pub mod window_math;
