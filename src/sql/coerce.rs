//! Flink's implicit and textual casts, where the library's own differ.
//!
//! Two rules around the library's type coercion. Before it, a DECIMAL that meets a FLOAT or DOUBLE
//! becomes a DOUBLE: the library would cast the other way, and a great number would not fit.
//! After it, what is cast to a string gets Flink's text. Never changes the names of columns. Called
//! by the binder, and as rules of the session's analyzer.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Union, lit, when,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::functions::text_cast;
use super::output::adapted;

/// The analyzer's rules, in order.
pub fn rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(FloatsFirst),
        Arc::new(TypeCoercion::new()),
        Arc::new(TextCasts { function: text_cast() }),
    ]
}

/// Functions whose arguments share one type, which is the result's.
const UNIFYING: [&str; 6] = ["coalesce", "greatest", "least", "nvl2", "if", "make_array"];

/// Numbers that meet a FLOAT or DOUBLE are computed as DOUBLE.
#[derive(Debug)]
struct FloatsFirst;

impl AnalyzerRule for FloatsFirst {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        floats_first(plan)
    }

    fn name(&self) -> &str {
        "floats_first"
    }
}

/// `plan`, where a DECIMAL that meets a FLOAT or DOUBLE is cast to DOUBLE.
pub fn floats_first(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = map_plan(plan, &|expr, schema| floats_first_in(expr, schema))?;
    let mapped = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Union(union) => unified_union(union),
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                let types =
                    [left.get_type(join.left.schema())?, right.get_type(join.right.schema())?];
                if meets(&types) {
                    *left = cast_double(left, join.left.schema())?;
                    *right = cast_double(right, join.right.schema())?;
                    changed = true;
                }
            }
            let plan = LogicalPlan::Join(join);
            Ok(if changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        }
        // Types of inputs may have changed.
        other => Ok(Transformed::no(other.recompute_schema()?)),
    })?;
    Ok(mapped.data)
}

/// The union of inputs where a column that is DECIMAL here and FLOAT there is DOUBLE.
fn unified_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let types = |index: usize| -> Vec<DataType> {
        let inputs = union.inputs.iter().filter(|input| input.schema().fields().len() == width);
        inputs.map(|input| input.schema().field(index).data_type().clone()).collect()
    };
    let mixed: Vec<bool> = (0..width).map(|index| meets(&types(index))).collect();
    if !mixed.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let schema = Arc::clone(input.schema());
        let mut columns = Vec::with_capacity(width);
        for ((qualifier, field), mixed) in schema.iter().zip(&mixed) {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            columns.push(match mixed {
                true => {
                    cast_double(&column, &schema)?.alias_qualified(qualifier.cloned(), field.name())
                }
                false => column,
            });
        }
        let builder = LogicalPlanBuilder::from(input.as_ref().clone());
        inputs.push(Arc::new(builder.project(columns)?.build()?));
    }
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// Whether both a DECIMAL and a FLOAT or DOUBLE are among `types`.
fn meets(types: &[DataType]) -> bool {
    types.iter().any(DataType::is_decimal) && types.iter().any(DataType::is_floating)
}

fn cast_double(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    expr.clone().cast_to(&DataType::Float64, schema)
}

/// The same in one expression over `schema`.
pub fn floats_first_in(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let mut sides = [*left, *right];
            let changed = unify(&mut sides.iter_mut().collect::<Vec<_>>(), schema)?;
            let [left, right] = sides.map(Box::new);
            Ok(transformed(Expr::BinaryExpr(BinaryExpr { left, op, right }), changed))
        }
        Expr::Between(mut b) => {
            let Between { expr, low, high, .. } = &mut b;
            let changed = unify(&mut [expr, low, high], schema)?;
            Ok(transformed(Expr::Between(b), changed))
        }
        Expr::InList(mut list) => {
            let InList { expr, list: items, .. } = &mut list;
            let mut parts: Vec<&mut Expr> = vec![expr.as_mut()];
            parts.extend(items.iter_mut());
            let changed = unify(&mut parts, schema)?;
            Ok(transformed(Expr::InList(list), changed))
        }
        Expr::Case(mut case) => {
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            let mut parts: Vec<&mut Expr> = results.collect();
            parts.extend(case.else_expr.as_deref_mut());
            let mut changed = unify(&mut parts, schema)?;
            if let Some(subject) = case.expr.as_deref_mut() {
                let mut parts = vec![subject];
                parts.extend(case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut()));
                changed |= unify(&mut parts, schema)?;
                changed |= search(&mut case, schema)?;
            }
            Ok(transformed(Expr::Case(case), changed))
        }
        // The library makes a decimal and an integer a float in NVL, not so in COALESCE.
        Expr::ScalarFunction(mut call) if call.func.name() == "nvl" => {
            unify(&mut call.args.iter_mut().collect::<Vec<_>>(), schema)?;
            Ok(Transformed::yes(datafusion::functions::core::coalesce().call(call.args)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => null_if(call, schema),
        Expr::ScalarFunction(mut call) if UNIFYING.contains(&call.func.name()) => {
            // The condition of IF is no number.
            let changed = unify(&mut call.args.iter_mut().collect::<Vec<_>>(), schema)?;
            Ok(transformed(Expr::ScalarFunction(call), changed))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// `CASE x WHEN y ..` of floats as `CASE WHEN x = y ..`: the library looks for the same bits, so
/// that `-0.0` would not be `0.0`. Whether it did.
fn search(case: &mut Case, schema: &DFSchema) -> Result<bool> {
    let Some(subject) = &case.expr else { return Ok(false) };
    if !subject.get_type(schema)?.is_floating() || subject.is_volatile() {
        return Ok(false);
    }
    for (when, _) in &mut case.when_then_expr {
        **when = subject.as_ref().clone().eq(when.as_ref().clone());
    }
    case.expr = None;
    Ok(true)
}

/// `NULLIF` of two types has that of its first argument; the library has one common to both.
fn null_if(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let [first, second] = call.args.as_slice() else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let (kind, other) = (first.get_type(schema)?, second.get_type(schema)?);
    if kind == other || kind.is_null() || other.is_null() {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let (mut left, mut right) = (first.clone(), second.clone());
    unify(&mut [&mut left, &mut right], schema)?;
    let null = lit(ScalarValue::try_from(&kind)?);
    Ok(Transformed::yes(when(left.eq(right), null).otherwise(first.clone())?))
}

fn transformed(expr: Expr, changed: bool) -> Transformed<Expr> {
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Makes numbers DOUBLE if there are both a decimal and a float among them; whether it did.
fn unify(parts: &mut [&mut Expr], schema: &DFSchema) -> Result<bool> {
    let mut types = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        types.push(part.get_type(schema)?);
    }
    if !meets(&types) {
        return Ok(false);
    }
    for (part, data_type) in parts.iter_mut().zip(types) {
        if data_type.is_numeric() && data_type != DataType::Float64 {
            **part = cast_double(part, schema)?;
        }
    }
    Ok(true)
}

/// Casts to a string give Flink's text.
#[derive(Debug)]
struct TextCasts {
    function: Arc<ScalarUDF>,
}

impl AnalyzerRule for TextCasts {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        map_plan(plan, &|expr, schema| text_casts_in(expr, schema, &self.function))
    }

    fn name(&self) -> &str {
        "text_casts"
    }
}

/// `expr`, already coerced, with Flink's texts; for expressions outside of plans.
pub fn text_casts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(text_casts_in(expr, schema, &text_cast())?.data)
}

fn text_casts_in(
    expr: Expr,
    schema: &DFSchema,
    function: &Arc<ScalarUDF>,
) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let (Expr::Cast(Cast { expr: inner, field })
        | Expr::TryCast(TryCast { expr: inner, field })) = &expr
        else {
            return Ok(Transformed::no(expr));
        };
        let (from, to) = (inner.get_type(schema)?, field.data_type());
        if let (DataType::Struct(a), DataType::Struct(b)) = (&from, to)
            && a.len() == b.len()
            && a.iter().zip(b).any(|(a, b)| a.name() != b.name())
        {
            // The library looks for the names; Flink casts rows by position.
            let row = adapted(inner.as_ref().clone(), &from, to)?;
            return Ok(Transformed::yes(text_casts_in(row, schema, function)?.data));
        }
        if !matches!(to, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            || !has_own_text(&from)
        {
            return Ok(Transformed::no(expr));
        }
        let args = vec![inner.as_ref().clone()];
        let text = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args));
        Ok(Transformed::yes(match to {
            DataType::Utf8View => text,
            other => Expr::Cast(Cast::new(Box::new(text), other.clone())),
        }))
    })
}

/// Whether Flink writes values of this type differently than the library.
fn has_own_text(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Boolean | T::Date32 | T::Time32(_) | T::Time64(_) | T::Timestamp(..) => true,
        T::Interval(_) | T::List(_) | T::Map(..) | T::Struct(_) => true,
        other => other.is_floating(),
    }
}

/// Applies `change` to every expression of `plan` and of its subqueries; names stay.
fn map_plan(
    plan: LogicalPlan,
    change: &dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let mapped = plan.transform_up_with_subqueries(|plan| {
        let schema = inputs_schema(&plan)?;
        let names = NamePreserver::new(&plan);
        let keep_names = !matches!(plan, LogicalPlan::Values(_));
        let mapped = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let mapped = change(expr, &schema)?;
            Ok(match (mapped.transformed, keep_names) {
                (true, true) => mapped.update_data(|expr| name.restore(expr)),
                _ => mapped,
            })
        })?;
        // Types of inputs may have changed even where no expression has.
        mapped.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(mapped.data)
}

/// Every column that an expression of `plan` may name.
fn inputs_schema(plan: &LogicalPlan) -> Result<DFSchemaRef> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = plan {
        let source = scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &source)?);
    }
    Ok(Arc::new(schema))
}
