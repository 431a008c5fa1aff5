//! Grouping sets in the one form that is lowered.
//!
//! `ROLLUP` and `CUBE` become lists of sets; the empty set, whose total has a row even over
//! nothing, becomes an aggregate without keys beside the others. Called by [`super::optimize`].

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::powerset;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, GroupingSet, LogicalPlan, LogicalPlanBuilder, Union, lit,
};

use crate::limits::CUBE_KEYS_MAX;

/// `ROLLUP` and `CUBE` as lists of grouping sets, where they stand alone; beside other keys the
/// library has listed them.
pub(super) fn enumerated_sets(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let sets: Vec<Vec<Expr>> = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(GroupingSet::Rollup(keys))] => (0..=keys.len())
                .rev()
                .map(|count| keys.iter().take(count).cloned().collect())
                .collect(),
            [Expr::GroupingSet(GroupingSet::Cube(keys))] => {
                if keys.len() > CUBE_KEYS_MAX {
                    return plan_err!("CUBE takes {CUBE_KEYS_MAX} keys at most");
                }
                let sets = powerset(keys)?.into_iter().rev();
                sets.map(|set| set.into_iter().cloned().collect()).collect()
            }
            _ => return Ok(Transformed::no(plan)),
        };
        let sets = vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))];
        let (input, calls) = (Arc::clone(&aggregate.input), aggregate.aggr_expr.clone());
        Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input, sets, calls)?)))
    })?;
    Ok(transformed.data)
}

/// The empty sets of grouping sets as aggregates without keys, which have a row over nothing too.
pub(super) fn totals_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] = aggregate.group_expr.as_slice()
        else {
            return Ok(Transformed::no(plan));
        };
        let (empty, others): (Vec<_>, Vec<_>) = sets.iter().cloned().partition(Vec::is_empty);
        if empty.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let mut parts = Vec::with_capacity(empty.len() + 1);
        if !others.is_empty() {
            let sets = vec![Expr::GroupingSet(GroupingSet::GroupingSets(others))];
            let (input, calls) = (Arc::clone(&aggregate.input), aggregate.aggr_expr.clone());
            let others = Aggregate::try_new(input, sets, calls)?;
            parts.push(numbered(LogicalPlan::Aggregate(others), aggregate)?);
        }
        for before in 0..empty.len() {
            parts.push(total(aggregate, before)?);
        }
        let plan = match parts.len() {
            1 => parts.remove(0),
            _ => LogicalPlan::Union(Union::try_new(parts.into_iter().map(Arc::new).collect())?),
        };
        let plan = named(plan, aggregate)?;
        Ok(Transformed::yes(plan))
    })?;
    Ok(transformed.data)
}

/// The total of all rows, the empty set number `before`: its keys are NULL.
fn total(aggregate: &Aggregate, before: usize) -> Result<LogicalPlan> {
    let none: [Expr; 0] = [];
    let input = aggregate.input.as_ref().clone();
    let mut calls = aggregate.aggr_expr.clone();
    if calls.is_empty() {
        // One that nobody reads: an aggregate without keys must have some.
        calls.push(count(lit(1)));
    }
    let plan = LogicalPlanBuilder::from(input).aggregate(none, calls)?;
    let plan = plan.build()?;
    let keys = aggregate.schema.fields().len() - 1 - aggregate.aggr_expr.len();
    let calls = plan.schema().columns();
    let columns = aggregate.schema.fields().iter().enumerate().map(|(at, field)| {
        let value = match at.checked_sub(keys + 1) {
            Some(call) => match calls.get(call) {
                Some(column) => Expr::Column(column.clone()),
                None => return plan_err!("an aggregate without its column"),
            },
            None if at < keys => lit(ScalarValue::try_from(field.data_type())?),
            // Every key is left out; which of several such sets it is stands above those bits.
            None => {
                let id = (((before as u64) + 1) << keys) - 1;
                lit(ScalarValue::UInt64(Some(id)).cast_to(field.data_type())?)
            }
        };
        Ok(value.alias(number(at)))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The name of a column below the union, which would lose its qualifier.
fn number(at: usize) -> String {
    format!("__set_{at}")
}

/// `plan` with the types of `aggregate` and numbers for names.
fn numbered(plan: LogicalPlan, aggregate: &Aggregate) -> Result<LogicalPlan> {
    let types = aggregate.schema.fields().iter().map(|field| field.data_type());
    let columns = plan.schema().columns().into_iter().zip(types).enumerate();
    let columns = columns.map(|(at, (column, data_type))| {
        Ok(Expr::Column(column).cast_to(data_type, plan.schema())?.alias(number(at)))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// `plan` under the names of `aggregate`.
fn named(plan: LogicalPlan, aggregate: &Aggregate) -> Result<LogicalPlan> {
    let columns = aggregate.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        let column = Expr::Column(Column::new_unqualified(number(at)));
        column.alias_qualified(qualifier.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
