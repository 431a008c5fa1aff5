//! Floodmark: incremental analytics on timely dataflow.
//!
//! A job is a SQL script. The way of the data, and of this crate:
//!
//! ```text
//! text -> sql (parse, bind, optimise) -> plan (logical plan to stream plan) -> dataflow (timely
//! operators)
//! files, generators -> connectors/formats -> UpdateBatch -> operators -> sinks, views -> serve ->
//! cli, api
//! ```
//!
//! A module imports only from modules below its own (`tests/tidy.rs` holds the table):
//!
//! * [`cli`]: arguments, one file a command; no logic
//! * [`api`]: the HTTP edge: routes, limits, wire types
//! * [`job`]: job definitions and lifecycle
//! * [`cluster`]: processes and workers; the only owner of timely workers and their threads
//! * [`dataflow`]: stream plan to timely operators, one file an operator
//! * [`connectors`], [`formats`]: sources and sinks; encodings of rows
//! * [`serve`]: reading collections at a time
//! * [`state`]: keyed columnar state
//! * [`plan`]: logical plan to stream plan; changelog mode, keys, exchanges, bounds, explain
//! * [`sql`]: text to bound logical plan: dialect, catalog, functions, diagnostics
//! * [`batch`]: `UpdateBatch`: columns, times, diffs; hashing, partitioning, IPC
//! * [`time`], [`error`], [`limits`]: event time arithmetic, error kinds, every bound
//! * [`telemetry`]: the clock
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod batch;
pub mod cli;
pub mod cluster;
pub mod connectors;
pub mod dataflow;
pub mod error;
pub mod formats;
pub mod job;
pub mod limits;
pub mod plan;
pub mod serve;
pub mod sql;
pub mod state;
pub mod telemetry;
pub mod time;
