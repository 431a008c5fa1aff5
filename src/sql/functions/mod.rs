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
mod codec;
mod collections;
mod conditional;
mod date_arith;
mod date_fields;
mod date_format;
mod date_parse;
mod define;
mod digest;
mod json;
mod math;
mod pattern;
mod pattern_parse;
mod planner;
mod quantile;
mod ranks;
mod refused;
mod regex;
mod regex_field;
mod regex_java;
mod split;
#[cfg(test)]
mod tests;
mod text;
mod to_text;

pub use clock::is_event_time_function;
pub use conditional::{NOT_NULL, not_null};
pub use to_text::text_cast;

/// Adds the functions to a builder that has DataFusion's defaults; same names are replaced.
///
/// To be called after `with_default_features`, which would otherwise put its own on top.
pub fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let functions = scalar_functions();
    let forms = Arc::new(planner::FormPlanner::new(functions.clone()));
    // The first planner that knows a form wins.
    builder.expr_planners().get_or_insert_default().insert(0, forms);
    builder.scalar_functions().get_or_insert_default().extend(functions);
    builder.aggregate_functions().get_or_insert_default().extend(aggregate_functions());
    builder.window_functions().get_or_insert_default().extend(ranks::functions());
    builder
}

/// The scalar functions that are not, or not so, in DataFusion.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let groups = [
        clock::functions(),
        codec::functions(),
        collections::functions(),
        conditional::functions(),
        date_arith::functions(),
        date_fields::functions(),
        date_format::functions(),
        date_parse::functions(),
        digest::functions(),
        json::functions(),
        math::functions(),
        refused::functions(),
        regex::functions(),
        split::functions(),
        text::functions(),
    ];
    groups.into_iter().flatten().collect()
}

/// The aggregate functions that are not, or not so, in DataFusion.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    [aggregates::functions(), quantile::functions()].concat()
}
