//! Stream plan to timely operators: one exhaustive `match`, one file an operator.

pub mod group_aggregate;
pub mod logic;
pub mod session_aggregate;
pub mod window_aggregate;
pub mod window_math;
