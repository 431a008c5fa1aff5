//! Logical plan to stream plan: changelog mode, keys, exchanges, state bounds, explain.

pub mod aggregate;
