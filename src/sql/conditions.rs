//! Conditions are BOOLEAN.
//!
//! The library takes a number for a condition in `CASE WHEN n THEN` and `FILTER (WHERE n)`, which
//! Flink refuses. Called by the binder on what the planner has made of a query; where rows are
//! filtered or joined the planner refuses numbers itself.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Diagnostic};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use super::types::type_name;
use crate::error::Error;

/// Refuses conditions of another type in `plan`.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Case(case) if case.expr.is_none() => {
                        for (when, _) in &case.when_then_expr {
                            check_one(when, &schema, "CASE WHEN")?;
                        }
                    }
                    Expr::AggregateFunction(call) => {
                        if let Some(filter) = &call.params.filter {
                            check_one(filter, &schema, "FILTER (WHERE ..)")?;
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check_one(condition: &Expr, schema: &DFSchema, what: &str) -> Result<()> {
    // What cannot be typed yet is an error of its own, later.
    let Ok(data_type) = condition.get_type(schema) else { return Ok(()) };
    if data_type.is_null() || data_type == arrow::datatypes::DataType::Boolean {
        return Ok(());
    }
    let message = format!("the condition of {what} must be BOOLEAN, not {}", type_name(&data_type));
    let error = Error::sql(message).with_hint("compare it, as in n <> 0, or CAST it AS BOOLEAN");
    let columns = condition.column_refs();
    let spans = columns.iter().filter_map(|column| column.spans().first());
    let first = spans.min_by_key(|span| (span.start.line, span.start.column));
    let placed = Diagnostic::new_error(error.message.clone(), first);
    Err(DataFusionError::External(Box::new(error)).with_diagnostic(placed))
}
