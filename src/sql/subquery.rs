//! Subqueries in forms that the library's decorrelation plans exactly.
//!
//! The library's rules serve batch queries: they give wrong answers for `NOT IN` with NULLs beside
//! other conditions, for `IN` below a `NOT`, and for subqueries that aggregate to one row; and they
//! join scalar subqueries of many rows as if they had one. Owns the rewriting that leaves nothing
//! of the kind: `IN` and `EXISTS` become each other where the meaning of NULL asks for it, and a
//! scalar subquery that is not provably a single row is refused. Called by [`super::optimize`]
//! before any rule runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Diagnostic, JoinType, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, FetchType, LogicalPlan, LogicalPlanBuilder,
    Operator, Subquery, lit, not,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::context::stream_table;
use crate::error::Error;

/// Gives the rows that `ANY` and `ALL` compare with a name of their own: columns of both sides that
/// are called alike would be taken for one.
pub fn named_comparisons(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut aliases = 0;
    let transformed = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| {
                let Expr::SetComparison(mut of) = expr else { return Ok(Transformed::no(expr)) };
                // Correlation tells the sides apart already, and would be lost below a name.
                if !of.subquery.outer_ref_columns.is_empty() {
                    return Ok(Transformed::no(Expr::SetComparison(of)));
                }
                aliases += 1;
                let rows = of.subquery.subquery.as_ref().clone();
                let rows = LogicalPlanBuilder::from(rows).alias(format!("__any_{aliases}"))?;
                of.subquery.subquery = Arc::new(rows.build()?);
                Ok(Transformed::yes(Expr::SetComparison(of)))
            })?;
            Ok(if changed.transformed { changed.update_data(|e| name.restore(e)) } else { changed })
        })
    })?;
    Ok(transformed.data)
}

/// Rewrites the subqueries of `plan`; see the module's text.
pub fn prepare(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut aliases = 0;
    let transformed = plan.transform_up_with_subqueries(|plan| {
        if !plan.expressions().iter().any(has_subquery) {
            return Ok(Transformed::no(plan));
        }
        let plan = single_rows(plan)?;
        match plan {
            LogicalPlan::Filter(mut filter) => {
                let schema = Arc::clone(filter.input.schema());
                let mut rewriter = Rewriter { schema: &schema, aliases: &mut aliases };
                filter.predicate = rewriter.condition(filter.predicate, true)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Projection(projection) => {
                let input = Arc::unwrap_or_clone(projection.input);
                projected(input, projection.expr, &mut aliases).map(Transformed::yes)
            }
            LogicalPlan::Aggregate(aggregate) => {
                aggregated(aggregate, &mut aliases).map(Transformed::yes)
            }
            other => Ok(Transformed::yes(other)),
        }
    })?;
    Ok(transformed.data)
}

/// A projection with its `EXISTS` and `IN` as marks of joins: the library does so in filters alone.
fn projected(
    mut input: LogicalPlan,
    columns: Vec<Expr>,
    aliases: &mut usize,
) -> Result<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let names = NamePreserver::new_for_projection();
    let mut marked = Vec::with_capacity(columns.len());
    for expr in columns {
        let name = names.save(&expr);
        let expr = Rewriter { schema: &schema, aliases }.value(expr)?;
        let expr = expr.transform_up(|expr| {
            let Expr::Exists(of) = &expr else { return Ok(Transformed::no(expr)) };
            *aliases += 1;
            Ok(match mark(&input, &of.subquery.subquery, &format!("__exists_{aliases}"))? {
                Some((joined, found)) => {
                    input = joined;
                    Transformed::yes(if of.negated { not(found) } else { found })
                }
                None => Transformed::no(expr),
            })
        })?;
        marked.push(name.restore(expr.data));
    }
    LogicalPlanBuilder::from(input).project(marked)?.build()
}

/// `outer` with a column that says whether `subquery` has rows for it; `None` if the correlation
/// cannot be pulled out of the subquery.
fn mark(
    outer: &LogicalPlan,
    subquery: &LogicalPlan,
    alias: &str,
) -> Result<Option<(LogicalPlan, Expr)>> {
    let mut pull_up = PullUpCorrelatedExpr::new().with_exists_sub_query(true);
    let inner = subquery.clone().rewrite(&mut pull_up)?.data;
    if !pull_up.can_pull_up {
        return Ok(None);
    }
    let inner = LogicalPlanBuilder::from(inner).alias(alias)?.build()?;
    let own: BTreeSet<&Column> = pull_up.correlated_subquery_cols_map.values().flatten().collect();
    let condition = conjunction(pull_up.join_filters.clone()).unwrap_or_else(|| lit(true));
    let condition = condition.transform_up(|expr| match expr {
        Expr::Column(column) if own.contains(&column) => {
            Ok(Transformed::yes(Expr::Column(Column::new(Some(alias), column.name))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let joined = LogicalPlanBuilder::from(outer.clone())
        .join_on(inner, JoinType::LeftMark, [condition.data])?
        .build()?;
    Ok(Some((joined, Expr::Column(Column::new(Some(alias), "mark")))))
}

/// Subqueries in the arguments of an aggregate become columns of its input.
fn aggregated(aggregate: Aggregate, aliases: &mut usize) -> Result<LogicalPlan> {
    let input = Arc::unwrap_or_clone(aggregate.input);
    let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let names = NamePreserver::new_for_projection();
    let mut lifted = |expr: Expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| {
            if !is_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            *aliases += 1;
            let column = format!("__subquery_{aliases}");
            columns.push(expr.alias(&column));
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column))))
        })?;
        Ok(name.restore(expr.data))
    };
    let groups = aggregate.group_expr.into_iter().map(&mut lifted).collect::<Result<Vec<_>>>()?;
    let calls = aggregate.aggr_expr.into_iter().map(&mut lifted).collect::<Result<Vec<_>>>()?;
    let input = projected(input, columns, aliases)?;
    LogicalPlanBuilder::from(input).aggregate(groups, calls)?.build()
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_))
}

fn has_subquery(expr: &Expr) -> bool {
    let is =
        |e: &Expr| Ok(matches!(e, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_)));
    expr.exists(is).unwrap_or(true)
}

fn refused(text: &str, hint: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Error::sql(text).with_hint(hint)))
}

/// How many rows a plan gives at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rows {
    /// Exactly one.
    One,
    /// One or none.
    AtMostOne,
    /// One or none, by a primary key.
    ByKey,
    Many,
}

fn rows_of(plan: &LogicalPlan) -> Rows {
    match plan {
        LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => Rows::One,
        LogicalPlan::Projection(p) => rows_of(&p.input),
        LogicalPlan::SubqueryAlias(a) => rows_of(&a.input),
        LogicalPlan::Sort(s) => rows_of(&s.input),
        LogicalPlan::Distinct(d) => rows_of(d.input()),
        LogicalPlan::Filter(f) => match rows_of(&f.input) {
            Rows::Many if is_by_key(&f.predicate, &f.input) => Rows::ByKey,
            Rows::One => Rows::AtMostOne,
            other => other,
        },
        LogicalPlan::Limit(l) => match l.get_fetch_type() {
            Ok(FetchType::Literal(Some(0 | 1))) => Rows::AtMostOne,
            _ => rows_of(&l.input).max(Rows::AtMostOne),
        },
        LogicalPlan::EmptyRelation(e) if e.produce_one_row => Rows::One,
        LogicalPlan::EmptyRelation(_) => Rows::AtMostOne,
        LogicalPlan::Values(v) if v.values.len() == 1 => Rows::One,
        _ => Rows::Many,
    }
}

/// Whether `predicate` fixes every column of the primary key of the table that `input` is.
fn is_by_key(predicate: &Expr, input: &LogicalPlan) -> bool {
    let Some(key) = primary_key(input) else { return false };
    let fixed = |name: &String| {
        split_conjunction(predicate).into_iter().any(|conjunct| {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else {
                return false;
            };
            let fixes = |column: &Expr, value: &Expr| {
                matches!(column, Expr::Column(c) if c.name == *name)
                    && value.column_refs().is_empty()
                    && !has_subquery(value)
            };
            fixes(left, right) || fixes(right, left)
        })
    };
    !key.is_empty() && key.iter().all(fixed)
}

fn primary_key(plan: &LogicalPlan) -> Option<Vec<String>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            stream_table(scan.source.as_ref()).map(|table| table.def.primary_key.clone())
        }
        LogicalPlan::SubqueryAlias(alias) => primary_key(&alias.input),
        LogicalPlan::Projection(p) => {
            let key = primary_key(&p.input)?;
            let passed = |name: &String| {
                p.expr.iter().any(|e| {
                    let named = e.schema_name().to_string();
                    let is_it = |c: &Column| c.name == *name && named.ends_with(name.as_str());
                    matches!(e.clone().unalias(), Expr::Column(c) if is_it(&c))
                })
            };
            key.iter().all(passed).then_some(key)
        }
        _ => None,
    }
}

/// Refuses scalar subqueries of many rows; those that a key makes single become aggregates, which
/// is what the library takes for single.
fn single_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let names = NamePreserver::new(&plan);
    let transformed = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| {
            let Expr::ScalarSubquery(subquery) = expr else { return Ok(Transformed::no(expr)) };
            check_correlation(&subquery.subquery)?;
            match rows_of(&subquery.subquery) {
                Rows::One if subquery.outer_ref_columns.is_empty() => {
                    let nothing = value_of_nothing(&subquery.subquery)?;
                    let value = Expr::ScalarSubquery(subquery);
                    Ok(match nothing {
                        Some(nothing) => Transformed::yes(coalesce(vec![value, lit(nothing)])),
                        None => Transformed::no(value),
                    })
                }
                Rows::One | Rows::AtMostOne => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
                Rows::ByKey => {
                    let plan = Arc::unwrap_or_clone(subquery.subquery);
                    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
                    let none: [Expr; 0] = [];
                    let plan =
                        LogicalPlanBuilder::from(plan).aggregate(none, [max(value)])?.build()?;
                    Ok(Transformed::yes(Expr::ScalarSubquery(subquery_of(plan))))
                }
                Rows::Many => Err(refused(
                    "a scalar subquery may give more than one row",
                    "aggregate it, as in (SELECT MAX(x) ..), or compare with IN; a single row by \
                     PRIMARY KEY is also taken",
                )),
            }
        })?;
        Ok(if changed.transformed { changed.update_data(|e| name.restore(e)) } else { changed })
    })?;
    Ok(transformed.data)
}

/// Refuses a scalar subquery that is correlated otherwise than by equality: what it aggregates has
/// no key to be joined by.
fn check_correlation(plan: &LogicalPlan) -> Result<()> {
    if !matches!(rows_of(plan), Rows::One | Rows::AtMostOne) {
        return Ok(());
    }
    plan.apply(|plan| {
        let LogicalPlan::Filter(filter) = plan else { return Ok(TreeNodeRecursion::Continue) };
        let other = split_conjunction(&filter.predicate).into_iter().find(|conjunct| {
            let is_apart =
                |one: &Expr, other: &Expr| one.column_refs().is_empty() && !other.contains_outer();
            let is_equal = match conjunct {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                    is_apart(left, right) || is_apart(right, left)
                }
                _ => false,
            };
            conjunct.contains_outer() && !is_equal
        });
        let Some(conjunct) = other else { return Ok(TreeNodeRecursion::Continue) };
        let error = Error::sql("a scalar subquery can be correlated by equal columns alone")
            .with_hint(
                "join instead: SELECT a.id, MAX(b.x) FROM a LEFT JOIN b ON b.k > a.k GROUP BY a.id",
            );
        let spans = conjunct.column_refs().into_iter().filter_map(|c| c.spans().first());
        let first = spans.min_by_key(|span| (span.start.line, span.start.column));
        let placed = Diagnostic::new_error(error.message.clone(), first);
        Err(DataFusionError::External(Box::new(error)).with_diagnostic(placed))
    })?;
    Ok(())
}

/// What an aggregate without keys comes to over nothing, if that is no NULL: a maintained one has
/// no row before the first of its input.
fn value_of_nothing(plan: &LogicalPlan) -> Result<Option<ScalarValue>> {
    let field = plan.schema().field(0);
    if field.is_nullable() {
        return Ok(None);
    }
    let Some(value) = over_nothing(plan, 0)? else { return Ok(None) };
    let schema = Arc::new(DFSchema::empty());
    let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
    let simplifier = ExprSimplifier::new(context);
    match simplifier.simplify(simplifier.coerce(value, &schema)?)? {
        Expr::Literal(value, _) if !value.is_null() => Ok(Some(value.cast_to(field.data_type())?)),
        _ => Ok(None),
    }
}

/// Column `index` of the one row of `plan` if nothing is aggregated.
fn over_nothing(plan: &LogicalPlan, index: usize) -> Result<Option<Expr>> {
    Ok(match plan {
        LogicalPlan::SubqueryAlias(alias) => over_nothing(&alias.input, index)?,
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.aggr_expr.get(index).map(|call| match call.clone().unalias() {
                Expr::AggregateFunction(call) if call.func.name() == "count" => lit(0_i64),
                _ => Expr::Literal(ScalarValue::Null, None),
            })
        }
        LogicalPlan::Projection(projection) => {
            let Some(expr) = projection.expr.get(index) else { return Ok(None) };
            let mut known = true;
            let expr = expr.clone().unalias().transform_up(|expr| {
                let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
                let place = projection.input.schema().index_of_column(column)?;
                let value = over_nothing(&projection.input, place)?;
                known &= value.is_some();
                Ok(value.map_or_else(|| Transformed::no(expr), Transformed::yes))
            })?;
            known.then_some(expr.data)
        }
        _ => None,
    })
}

fn subquery_of(plan: LogicalPlan) -> Subquery {
    Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: Default::default(),
    }
}

fn exists(plan: LogicalPlan) -> Expr {
    Expr::Exists(Exists { subquery: subquery_of(plan), negated: false })
}

struct Rewriter<'a> {
    /// The columns of the query around the subqueries.
    schema: &'a DFSchema,
    aliases: &'a mut usize,
}

impl Rewriter<'_> {
    /// A condition of which NULL means the same as FALSE; `top`: it is a conjunct.
    fn condition(&mut self, expr: Expr, top: bool) -> Result<Expr> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::And | Operator::Or) =>
            {
                let top = top && op == Operator::And;
                let left = Box::new(self.condition(*left, top)?);
                let right = Box::new(self.condition(*right, top)?);
                Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(mut of) => {
                    of.negated = !of.negated;
                    self.condition(Expr::InSubquery(of), top)
                }
                Expr::Exists(mut of) => {
                    of.negated = !of.negated;
                    self.condition(Expr::Exists(of), top)
                }
                Expr::Not(twice) => self.condition(*twice, top),
                other => Ok(not(self.value(other)?)),
            },
            Expr::InSubquery(of) if of.negated => self.not_in(of, top),
            Expr::InSubquery(of) => {
                self.compared(of)?.map_or_else(Ok, |of| Ok(Expr::InSubquery(of)))
            }
            Expr::Exists(of) => one_row_exists(of),
            other => self.value(other),
        }
    }

    /// `IN` over a correlated subquery of exactly one row is a comparison. `Err` is what stays.
    fn compared(&mut self, of: InSubquery) -> Result<std::result::Result<InSubquery, Expr>> {
        let plan = &of.subquery.subquery;
        if of.subquery.outer_ref_columns.is_empty() {
            return Ok(Ok(of));
        }
        match rows_of(plan) {
            Rows::One => {
                let value = Expr::ScalarSubquery(of.subquery);
                let expr = *of.expr;
                Ok(Err(if of.negated { expr.not_eq(value) } else { Expr::eq(expr, value) }))
            }
            _ if aggregates_to_one(plan) => Err(refused(
                "IN over a correlated subquery with HAVING but without GROUP BY cannot be \
                 maintained incrementally",
                "compare with the aggregate itself, and put the condition beside it",
            )),
            _ => Ok(Ok(of)),
        }
    }

    /// `x NOT IN (s)`, NULL as FALSE.
    fn not_in(&mut self, of: InSubquery, top: bool) -> Result<Expr> {
        let of = match self.compared(of)? {
            Ok(of) => of,
            Err(compared) => return Ok(compared),
        };
        let Some(parts) = self.parts(&of)? else { return Ok(Expr::InSubquery(of)) };
        let is_correlated = !of.subquery.outer_ref_columns.is_empty();
        let matches = parts.value.clone().eq(parts.outer.clone());
        if !parts.nullable {
            return Ok(not(exists(filtered(&parts.plan, matches)?)));
        }
        if top && !is_correlated && !of.expr.column_refs().is_empty() {
            return Ok(Expr::InSubquery(of));
        }
        if is_correlated || of.expr.column_refs().is_empty() {
            let unknown = parts.value.clone().is_null().or(parts.outer.is_null());
            return Ok(not(exists(filtered(&parts.plan, matches.or(unknown))?)));
        }
        let no_match = not(exists(filtered(&parts.plan, matches)?));
        let no_null = not(exists(filtered(&parts.plan, parts.value.is_null())?));
        let known = of.expr.is_not_null().or(not(exists(parts.plan)));
        Ok(no_match.and(no_null).and(known))
    }

    /// An expression whose NULL is not its FALSE.
    fn value(&mut self, expr: Expr) -> Result<Expr> {
        let transformed = expr.transform_up(|expr| match expr {
            Expr::InSubquery(of) => Ok(Transformed::yes(self.in_value(of)?)),
            Expr::Exists(of) => Ok(Transformed::yes(one_row_exists(of)?)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(transformed.data)
    }

    /// `x [NOT] IN (s)` in three values.
    fn in_value(&mut self, of: InSubquery) -> Result<Expr> {
        let of = match self.compared(of)? {
            Ok(of) => of,
            Err(compared) => return Ok(compared),
        };
        let Some(parts) = self.parts(&of)? else { return Ok(Expr::InSubquery(of)) };
        let matches = parts.value.clone().eq(parts.outer);
        let found = exists(filtered(&parts.plan, matches)?);
        let found = match parts.nullable {
            false => found,
            true => {
                let null = exists(filtered(&parts.plan, parts.value.is_null())?);
                let unknown = null.or(of.expr.is_null().and(exists(parts.plan)));
                // Each subquery once: every mention becomes a join.
                let nothing = Expr::Literal(ScalarValue::Boolean(None), None);
                found.or(unknown.and(nothing))
            }
        };
        Ok(if of.negated { not(found) } else { found })
    }

    /// The rows below the last projection of a correlated subquery, and what is projected: what
    /// they are compared with is pulled up from there, as the correlation is. Names of columns that
    /// the outer query has as well would be taken for its own.
    fn under_projection(&self, of: &InSubquery) -> Option<(LogicalPlan, Expr)> {
        if of.subquery.outer_ref_columns.is_empty() {
            return None;
        }
        let mut plan = of.subquery.subquery.as_ref();
        while let LogicalPlan::Distinct(distinct) = plan {
            plan = distinct.input();
        }
        let LogicalPlan::Projection(projection) = plan else { return None };
        let taken = |c: &&Column| projection.input.schema().has_column(c);
        if of.expr.column_refs().iter().any(taken) {
            return None;
        }
        let value = projection.expr.first()?.clone().unalias();
        Some((projection.input.as_ref().clone(), value))
    }

    /// What an `IN` compares; `None` if the left side is itself of an outer query.
    fn parts(&mut self, of: &InSubquery) -> Result<Option<Parts>> {
        if of.expr.contains_outer() || has_subquery(&of.expr) {
            return Ok(None);
        }
        let plan = of.subquery.subquery.as_ref();
        let (plan, value) = match self.under_projection(of) {
            Some(found) => found,
            None => {
                *self.aliases += 1;
                let plan = LogicalPlanBuilder::from(plan.clone())
                    .alias(format!("__in_{}", self.aliases))?
                    .build()?;
                let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
                (plan, value)
            }
        };
        let outer = of.expr.as_ref().clone().transform_up(|expr| match expr {
            Expr::Column(column) => {
                let field = Arc::clone(self.schema.qualified_field_from_column(&column)?.1);
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let nullable = of.expr.nullable(self.schema)? || value.nullable(plan.schema())?;
        Ok(Some(Parts { plan, value, outer: outer.data, nullable }))
    }
}

struct Parts {
    /// The rows of the subquery.
    plan: LogicalPlan,
    /// Its value.
    value: Expr,
    /// The left side, seen from the subquery.
    outer: Expr,
    /// Whether either can be NULL.
    nullable: bool,
}

/// One filter, not one above another: the library loses the correlation of the lower one.
fn filtered(plan: &LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    if let LogicalPlan::Filter(below) = plan {
        let both = below.predicate.clone().and(predicate);
        let input = below.input.as_ref().clone();
        return LogicalPlanBuilder::from(input).filter(both)?.build();
    }
    LogicalPlanBuilder::from(plan.clone()).filter(predicate)?.build()
}

/// `EXISTS` over an aggregate without keys is true whatever it reads.
fn one_row_exists(of: Exists) -> Result<Expr> {
    let plan = &of.subquery.subquery;
    match rows_of(plan) {
        Rows::One => Ok(lit(!of.negated)),
        _ if !of.subquery.outer_ref_columns.is_empty() && aggregates_to_one(plan) => Err(refused(
            "EXISTS over a correlated subquery with HAVING but without GROUP BY cannot be \
             maintained incrementally",
            "compare with the aggregate itself: (SELECT COUNT(*) ..) > 1",
        )),
        _ => Ok(Expr::Exists(of)),
    }
}

/// Whether the rows go through an aggregate without keys over what is correlated: it has a row for
/// those too that nothing matches.
fn aggregates_to_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(a) => {
            a.group_expr.is_empty() && !a.input.all_out_ref_exprs().is_empty()
        }
        LogicalPlan::Projection(p) => aggregates_to_one(&p.input),
        LogicalPlan::SubqueryAlias(a) => aggregates_to_one(&a.input),
        LogicalPlan::Sort(s) => aggregates_to_one(&s.input),
        LogicalPlan::Filter(f) => aggregates_to_one(&f.input),
        LogicalPlan::Distinct(d) => aggregates_to_one(d.input()),
        LogicalPlan::Limit(l) => aggregates_to_one(&l.input),
        _ => false,
    }
}
