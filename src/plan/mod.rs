//! Logical plan to stream plan: changelog mode, keys, exchanges, state bounds, explain.
//!
//! Pure: no I/O, no clock. [`lower::lower`] turns a [`crate::sql::bind::BoundJob`] into a
//! [`node::StreamPlan`], which [`crate::dataflow`] builds on every worker.

pub mod aggregate;
pub mod changelog;
pub mod exchange;
pub mod explain;
pub mod expr;
pub mod fingerprint;
pub mod interval;
pub mod joins;
pub mod lower;
pub mod match_program;
pub mod match_recognize;
pub mod node;
pub mod over;
mod over_text;
pub mod props;
mod recursion;
pub mod rowtime;
pub mod temporal;
pub mod temporal_filter;
