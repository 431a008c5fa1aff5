//! Stream plan to timely operators: one exhaustive `match`, one file an operator.
//!
//! * [`runtime`]: what all workers of a process share of one job
//! * [`render`]: the match
//! * [`metrics`]: counters of a job; [`activity`]: of its operators, by worker
//! * [`logic`]: what a stateful operator is; [`driver`]: its plumbing
//! * [`spilling`]: state larger than memory
//! * [`snapshots`]: which frontier, who hands over what; [`keeper`]: an operator's part of it,
//!   [`marks`]: a partition's; [`restored`]: what a job starts from; [`decisions`]: what is no
//!   function of the records
//! * [`source`], [`split`], [`clock`]: reading splits and assigning event time; [`flow`]: how fast
//! * [`frontier`]: how far each operator is, and what holds an output back
//! * [`changelog_normalize`]: the collection that a log of changes adds up to
//! * [`calc`], [`expand`], [`unnest`], [`window_assign`]: operators without state
//! * [`windowed`]: whole windows at once; [`sessions`]: windows that merge
//! * [`group_aggregate`]: `GROUP BY` without a window
//! * [`join`]: updating joins over shared arrangements
//! * [`interval_join`]: joins whose times bound one another; [`temporal_join`]: with a collection
//!   as of each row's time; [`lookup_join`]: with a table that never changes
//! * [`set_operation`]: INTERSECT and EXCEPT
//! * [`rank`], [`first_row`]: rows in order; [`ticks`]: rows of one tick
//! * [`over`]: functions over frames; [`temporal_filter`]: filters on `NOW()`
//! * [`match_recognize`]: patterns of rows
//! * [`recursive`]: names defined by one another, to their fixed point
//! * [`digest`]: what an output has given, in a few bytes
//! * [`sink`], [`collect`]: where rows leave the dataflow; [`failed`]: where they no longer do

pub mod activity;
pub mod calc;
pub mod changelog_normalize;
pub mod clock;
pub mod collect;
pub mod decisions;
pub mod digest;
pub mod driver;
pub mod expand;
pub mod failed;
pub mod first_row;
pub mod flow;
pub mod frontier;
pub mod group_aggregate;
pub mod interval_join;
pub mod join;
pub mod keeper;
pub mod logic;
pub mod lookup_join;
pub mod marks;
pub mod match_recognize;
pub mod metrics;
#[cfg(test)]
mod oracle;
pub mod outputs;
pub mod over;
pub mod rank;
pub mod recursive;
pub mod render;
pub mod restored;
pub mod runtime;
pub mod session_aggregate;
pub mod session_assign;
pub mod sessions;
pub mod set_operation;
pub mod side;
pub mod sink;
pub mod snapshots;
pub mod source;
pub mod spilling;
pub mod split;
pub mod temporal_filter;
pub mod temporal_join;
pub mod ticks;
pub mod unnest;
mod unsaved;
pub mod window_aggregate;
pub mod window_assign;
pub mod window_join;
pub mod window_math;
pub mod window_rank;
pub mod windowed;
