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
//! * [`job`]: job definitions and lifecycle, upgrades, historic replay
//! * [`cluster`]: processes and workers; the only owner of timely workers and their threads
//! * [`dataflow`]: stream plan to timely operators, one file or folder an operator; differential
//!   dataflow inside of recursions only
//! * [`connectors`], [`formats`]: sources and sinks; encodings of rows and of changes
//! * [`serve`]: reading collections at a time
//! * [`snapshot`]: the durable store of snapshots and journals, and copies of snapshots; alone in
//!   knowing RocksDB and object stores
//! * [`spill`]: state that does not fit into the memory budget, on disk while it is not needed
//! * [`state`]: keyed columnar state: groups, aggregates, rows by slot, shared arrangements
//! * [`plan`]: logical plan to stream plan; changelog modes, unique keys, row-times and what they
//!   prove of state, exchanges, explain
//! * [`sql`]: text to bound logical plan: dialect, catalog, functions, diagnostics
//! * [`batch`]: `UpdateBatch`: columns, times, diffs; hashing, partitioning, IPC
//! * [`time`], [`error`], [`limits`]: event time arithmetic, error kinds, every bound
//! * [`telemetry`]: the clock, logs, the text format of metrics, what is known of the process
//!
//! Where to look for a thing of SQL: its syntax and logical node are in [`sql`], the description
//! of its operator and the lowering to it in [`plan`], the operator in [`dataflow`], all under one
//! name: `sql::match_recognize`, `plan::match_recognize`, `plan::lower::match_recognize`,
//! `dataflow::match_recognize`. `docs/recipes.md` lists the files that a new operator touches.
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
pub mod snapshot;
pub mod spill;
pub mod sql;
pub mod state;
pub mod telemetry;
pub mod time;
