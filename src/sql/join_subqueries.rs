//! Subqueries in the conditions of outer joins, as columns of the side that they are about.
//!
//! The library evaluates subqueries in filters and, by [`super::subquery`], in projections; the
//! condition of an outer join is neither, for it decides which rows are padded, not which there
//! are. What a subquery says of a row of one side does not depend on the other, so it is computed
//! there before the join. Called by [`super::optimize`] before subqueries are prepared.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Subquery};

use crate::error::Error;

/// Computes the subqueries in the conditions of the outer, semi and anti joins of `plan` before
/// these joins.
pub fn before_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let transformed = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => apart(join, &mut count),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(transformed.data)
}

/// The columns that a join's sides get beside their own.
#[derive(Default)]
struct Sides {
    left: Vec<Expr>,
    right: Vec<Expr>,
}

fn apart(mut join: Join, count: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let Some(filter) = join.filter.take() else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
    let mut sides = Sides::default();
    let filter = filter.transform_down(|expr| {
        let Some(columns) = columns_of(&expr) else { return Ok(Transformed::no(expr)) };
        let all_of = |schema: &DFSchema| columns.iter().all(|column| schema.has_column(column));
        let side = match (all_of(&left), all_of(&right)) {
            (true, _) => &mut sides.left,
            (false, true) => &mut sides.right,
            (false, false) => return Err(of_both()),
        };
        *count += 1;
        let name = format!("__on_{count}");
        side.push(expr.alias(name.clone()));
        Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
    })?;
    join.filter = Some(filter.data);
    if !filter.transformed {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let columns: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
    let widened = Join::try_new(
        with_columns(join.left, sides.left)?,
        with_columns(join.right, sides.right)?,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let plan = LogicalPlanBuilder::from(LogicalPlan::Join(widened)).project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

/// The columns of the joined rows that a subquery compares; `None` for any other expression.
fn columns_of(expr: &Expr) -> Option<Vec<Column>> {
    let outer = |subquery: &Subquery| {
        let columns = subquery.outer_ref_columns.iter().filter_map(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        });
        columns.collect::<Vec<_>>()
    };
    match expr {
        Expr::Exists(of) => Some(outer(&of.subquery)),
        Expr::ScalarSubquery(of) => Some(outer(of)),
        Expr::InSubquery(of) => {
            let mut columns = outer(&of.subquery);
            columns.extend(of.expr.column_refs().into_iter().cloned());
            Some(columns)
        }
        _ => None,
    }
}

fn with_columns(side: Arc<LogicalPlan>, more: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    if more.is_empty() {
        return Ok(side);
    }
    let own = side.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = own.chain(more).collect();
    Ok(Arc::new(LogicalPlanBuilder::from(side).project(columns)?.build()?))
}

fn of_both() -> DataFusionError {
    let message = "a subquery in the ON of an outer join compares columns of both of its sides";
    let hint = "let it compare columns of one side, or join with the subquery's table first";
    DataFusionError::External(Box::new(Error::sql(message).with_hint(hint)))
}
