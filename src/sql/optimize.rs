//! The rules by which a bound plan is made small before it is lowered.
//!
//! Owns the choice of rules: those that keep a plan's meaning as a stream. Left out are rules for
//! batch engines alone (limits pushed into scans, distinct aggregates as two group-bys) and those
//! that lean on keys to turn joins into semi-joins. Called by [`super::bind`].

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::eliminate_limit::EliminateLimit;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{
    ApplyOrder, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule,
};

use super::recursion::own_nodes;
use super::rewrites::{Rewrite, Rewrites};
use super::unnest::inline_laterals;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Subqueries become joins before anything else: a rule that repeats an expression would repeat
/// the join.
fn decorrelation() -> Vec<Rule> {
    vec![Arc::new(DecorrelatePredicateSubquery::new()), Arc::new(ScalarSubqueryToJoin::new())]
}

/// The rules of the second round; those without a name are needed to make a stream of a plan.
fn rules(rewrites: Rewrites) -> Vec<Rule> {
    let all: [(Option<Rewrite>, Rule); 17] = [
        (Some(Rewrite::OptimizeUnions), Arc::new(OptimizeUnions::new())),
        // Some functions are evaluated in their simplified form alone.
        (None, Arc::new(SimplifyExpressions::new())),
        (Some(Rewrite::DistinctAsGroups), Arc::new(ReplaceDistinctWithAggregate::new())),
        (None, Arc::new(DecorrelatePredicateSubquery::new())),
        (None, Arc::new(ScalarSubqueryToJoin::new())),
        (None, Arc::new(DecorrelateLateralJoin::new())),
        (None, Arc::new(ExtractEquijoinPredicate::new())),
        // The columns of a grouping are those of its distinct keys.
        (None, Arc::new(EliminateDuplicatedExpr::new())),
        (Some(Rewrite::ConstantFilters), Arc::new(EliminateFilter::new())),
        (Some(Rewrite::CrossJoins), Arc::new(EliminateCrossJoin::new())),
        (Some(Rewrite::TrivialLimits), Arc::new(EliminateLimit::new())),
        (Some(Rewrite::EmptyRelations), Arc::new(PropagateEmptyRelation::new())),
        (Some(Rewrite::OuterJoins), Arc::new(EliminateOuterJoin::new())),
        (Some(Rewrite::PushDownFilters), Arc::new(FiltersDown(PushDownFilter::new()))),
        (Some(Rewrite::ConstantKeys), Arc::new(EliminateGroupByConstant::new())),
        (Some(Rewrite::CommonExpressions), Arc::new(CommonSubexprEliminate::new())),
        (Some(Rewrite::PruneColumns), Arc::new(OptimizeProjections::new())),
    ];
    let is_made = |rewrite: &Option<Rewrite>| rewrite.is_none_or(|r| rewrites.has(r));
    all.into_iter().filter(|(rewrite, _)| is_made(rewrite)).map(|(_, rule)| rule).collect()
}

/// Filters go down, but for those above an aggregate without keys: of no rows it makes one, so that
/// a condition of constants alone is no condition of its input.
#[derive(Debug)]
struct FiltersDown(PushDownFilter);

impl OptimizerRule for FiltersDown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && let LogicalPlan::Aggregate(aggregate) = filter.input.as_ref()
            && aggregate.group_expr.is_empty()
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

/// Coerces types, then rewrites until nothing changes.
pub fn optimize(
    state: &SessionState,
    plan: LogicalPlan,
    rewrites: Rewrites,
) -> Result<LogicalPlan> {
    let plan = own_nodes(inline_laterals(drop_sorts(plan)?)?)?;
    let plan = view_literals(super::grouping::enumerated_sets(plan)?)?;
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()))
        .without_query_execution_start_time();
    // `> ALL (..)` is a matter of EXISTS, which is prepared in turn.
    let plan = super::subquery::named_comparisons(plan)?;
    let plan = RewriteSetComparison::new().rewrite(plan, &context)?.data;
    let plan = super::join_subqueries::before_joins(plan)?;
    let plan = super::subquery::prepare(plan)?;
    let mut options = state.config_options().as_ref().clone();
    // A scalar subquery is a collection like any other: it is joined, never evaluated once.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let options = &Arc::new(options);
    let plan = state.analyzer().execute_and_check(plan, options, |_, _| {})?;
    let plan = super::grouping::totals_apart(plan)?;
    let context = OptimizerContext::new_with_config_options(Arc::clone(options))
        .without_query_execution_start_time();
    let plan = Optimizer::with_rules(decorrelation()).optimize(plan, &context, |_, _| {})?;
    Optimizer::with_rules(rules(rewrites)).optimize(plan, &context, |_, _| {})
}

/// A collection has no order: `ORDER BY` matters below a `LIMIT` alone.
fn drop_sorts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_down(|plan| match plan {
        LogicalPlan::Limit(mut limit) => {
            limit.input = Arc::new(below_limit(Arc::unwrap_or_clone(limit.input))?);
            // The limit's own sort is kept; what is below it has been done.
            Ok(Transformed::new(LogicalPlan::Limit(limit), true, JUMP))
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            let input = drop_sorts(Arc::unwrap_or_clone(sort.input))?;
            Ok(Transformed::new(input, true, JUMP))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(transformed.data)
}

const JUMP: TreeNodeRecursion = TreeNodeRecursion::Jump;

fn below_limit(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            sort.input = Arc::new(drop_sorts(Arc::unwrap_or_clone(sort.input))?);
            Ok(LogicalPlan::Sort(sort))
        }
        LogicalPlan::Projection(mut projection) => {
            projection.input = Arc::new(below_limit(Arc::unwrap_or_clone(projection.input))?);
            Ok(LogicalPlan::Projection(projection))
        }
        other => drop_sorts(other),
    }
}

/// Strings are views everywhere: a literal of another string type would make `CASE` and its kin
/// build strings only to have them cast.
fn view_literals(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| {
        let keep_names = !matches!(plan, LogicalPlan::Values(_));
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform(|expr| match expr {
                Expr::Literal(ScalarValue::Utf8(text), metadata) => {
                    Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8View(text), metadata)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(match (changed.transformed, keep_names) {
                (true, true) => changed.update_data(|expr| name.restore(expr)),
                _ => changed,
            })
        })?;
        if !changed.transformed {
            return Ok(changed);
        }
        changed.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(transformed.data)
}
