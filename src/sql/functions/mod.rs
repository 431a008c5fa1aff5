//! Flink's names and semantics beside DataFusion's library.
//!
//! Owns every function that DataFusion lacks or answers differently; where DataFusion's answer is
//! Flink's, DataFusion's function stays. One file a group; adding a function is one line in its
//! file's `functions()`. Never reads a clock or a random source: PROCTIME and NOW are names that
//! the planner replaces by event time. Called by the binder when it makes a session.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

mod aggregates;
mod average;
mod cache;
mod calendar;
mod clock;
mod conditional;
mod date_arith;
mod date_fields;
mod date_format;
mod date_parse;
mod define;
mod pattern;
mod pattern_parse;
mod regex;
mod regex_java;
mod split;
#[cfg(test)]
mod tests;

pub use clock::is_event_time_function;

/// Adds the functions to a builder that has DataFusion's defaults; same names are replaced.
///
/// To be called after `with_default_features`, which would otherwise put its own on top.
pub fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.scalar_functions().get_or_insert_default().extend(scalar_functions());
    builder.aggregate_functions().get_or_insert_default().extend(aggregate_functions());
    builder
}

/// The scalar functions that are not, or not so, in DataFusion.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let groups = [
        clock::functions(),
        conditional::functions(),
        date_arith::functions(),
        date_fields::functions(),
        date_format::functions(),
        date_parse::functions(),
        regex::functions(),
        split::functions(),
    ];
    groups.into_iter().flatten().collect()
}

/// The aggregate functions that are not, or not so, in DataFusion.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    aggregates::functions()
}
