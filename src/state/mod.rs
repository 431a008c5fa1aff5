//! Keyed columnar state: group keys, aggregate states, and the log of their changes.
//!
//! State lives in columns indexed by group number. Nothing here knows of windows, frontiers or
//! timely, and nothing is written to disk: what changed since a snapshot is what the operators
//! above know as touched groups. Called by the stateful operators.

pub mod aggregate;
pub mod arena;
pub mod arrangement;
pub mod chains;
pub mod change_log;
pub mod column;
pub mod encode;
pub mod exact;
pub mod keyed;
pub mod keys;
pub mod ordered_rows;
pub mod pages;
pub mod row_pool;
pub mod rows;
pub mod saved;
pub mod table;
pub mod touched;
