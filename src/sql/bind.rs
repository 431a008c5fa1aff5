//! A script to bound, optimised logical plans.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan};

use super::catalog::TableDef;
use super::settings::Settings;

/// What becomes of a bound query's rows.
#[derive(Clone, Debug)]
pub enum BoundTarget {
    /// A materialized view of this name.
    View(String),
    /// A sink table; the plan's columns are those of [`TableDef::sink_schema`], cast.
    Sink(Arc<TableDef>),
    /// A bare `SELECT`: printed. `order_by` is its outermost ORDER BY (over the plan's columns,
    /// already removed from the plan), `limit` its LIMIT/OFFSET when ORDER BY is absent or final.
    Print {
        /// Outermost `ORDER BY`: expressions over output columns.
        order_by: Vec<datafusion::logical_expr::SortExpr>,
        /// Rows to skip.
        skip: usize,
        /// Rows to print at most.
        fetch: Option<usize>,
    },
}

/// One query of a job and what becomes of its rows.
#[derive(Clone, Debug)]
pub struct BoundOutput {
    /// What becomes of the rows.
    pub target: BoundTarget,
    /// The optimised logical plan.
    pub plan: LogicalPlan,
    /// Settings in force at the statement.
    pub settings: Settings,
    /// The statement's text.
    pub text: String,
}

/// The watermark of a table, bound over its columns (computed ones included).
#[derive(Clone, Debug)]
pub struct BoundWatermark {
    /// The rowtime column's name.
    pub column: String,
    /// Its value, over the stored columns (computed columns substituted).
    pub time: Expr,
    /// The watermark expression, over the stored columns.
    pub watermark: Expr,
}

/// A table with its expressions bound.
#[derive(Clone, Debug)]
pub struct BoundTable {
    /// The declaration.
    pub def: Arc<TableDef>,
    /// The watermark, if any.
    pub watermark: Option<BoundWatermark>,
}

/// Everything that a script asks for, as one dataflow.
#[derive(Clone, Debug)]
pub struct BoundJob {
    /// The tables declared, by name.
    pub tables: indexmap::IndexMap<String, BoundTable>,
    /// The queries in statement order.
    pub outputs: Vec<BoundOutput>,
    /// `EXPLAIN` statements: the plans to show, in order.
    pub explains: Vec<BoundOutput>,
}
