//! From text to bound, optimised logical plans. No I/O, no clock, no threads.
//!
//! * [`script`]: statements of a script, with their places in the text; [`dialect`], [`types`],
//!   [`interval`], [`rewrite`], `row_in`, `json_forms` and `create_table` are its parts
//! * [`catalog`]: tables and views that a script declares
//! * [`settings`]: `SET 'key' = 'value'`; [`rewrites`]: those of plans that can be switched off
//! * [`functions`]: Flink's names beside DataFusion's library; [`proctime`]: the row's time
//! * [`match_recognize`]: MATCH_RECOGNIZE, from tokens to its logical node
//! * [`hints`]: those behind tables; [`blocks`]: those of query blocks; [`parallelism`]: of tables
//! * [`window`]: TUMBLE, HOP, CUMULATE and SESSION as logical nodes; [`window_tvf`] plans them
//! * [`temporal`]: `FOR SYSTEM_TIME AS OF`
//! * `using`: the columns of RIGHT and FULL JOIN .. USING
//! * [`unnest`]: UNNEST and table functions as logical nodes
//! * [`set_operation`]: INTERSECT and EXCEPT as logical nodes
//! * [`recursion`]: WITH RECURSIVE as logical nodes
//! * [`context`]: the surroundings under which everything is planned
//! * [`bind`]: a script to a [`bind::BoundJob`]; [`output`], `coerce`, `conditions`, `subquery`,
//!   `grouping` and [`optimize`] are its parts
//! * [`frontier`]: `EXPLAIN FRONTIER`, which a running service answers
//! * [`diagnostics`]: every error with its place and a hint

pub mod bind;
pub mod blocks;
pub mod catalog;
mod coerce;
mod conditions;
pub mod context;
mod create_table;
pub mod diagnostics;
pub mod dialect;
mod frames;
pub mod frontier;
pub mod functions;
mod grouping;
pub mod hints;
pub mod interval;
mod join_subqueries;
mod json_forms;
mod keywords;
pub mod match_recognize;
pub mod named_windows;
pub mod optimize;
pub mod output;
pub mod parallelism;
pub mod proctime;
pub mod recursion;
pub mod rewrite;
pub mod rewrites;
mod row_in;
pub mod script;
pub mod set_operation;
pub mod settings;
mod subquery;
pub mod temporal;
#[cfg(test)]
mod tests;
pub mod types;
pub mod unnest;
mod using;
pub mod window;
pub mod window_tvf;
