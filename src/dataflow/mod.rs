//! Stream plan to timely operators: one exhaustive `match`, one file an operator.

pub mod logic;
