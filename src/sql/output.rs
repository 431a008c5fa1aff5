//! What a query's rows become: the columns of a view, of a sink table, or of a printed result.
//!
//! Owns the projection on top of each bound query and its checks; called by [`super::bind`].

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::logical_expr::{
    Expr, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType, SortExpr, Volatility, cast, lit,
    when,
};

use super::bind::BoundTarget;
use super::catalog::TableDef;
use super::diagnostics::hint_for;
use super::functions::not_null;
use super::proctime;
use super::script::Name;
use super::types::type_name;
use super::window_tvf::fail;
use crate::error::Error;

fn column_at(schema: &DFSchema, index: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(index)))
}

/// The plan with bare column names, those of `names` if there are any.
pub fn unqualified(plan: LogicalPlan, names: &[Name], view: &Name) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let count = schema.fields().len();
    if !names.is_empty() && names.len() != count {
        let message = format!(
            "view '{}' lists {} columns but its query has {count}",
            view.value,
            names.len()
        );
        return Err(fail(Error::sql(message), view.span));
    }
    let names: Vec<String> = if names.is_empty() {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    } else {
        names.iter().map(|name| name.value.clone()).collect()
    };
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|before| before == name) {
            let error = Error::sql(format!("view '{}' has two columns '{name}'", view.value))
                .with_hint("give one of them another name with AS");
            return Err(fail(error, view.span));
        }
    }
    let columns = names.into_iter().enumerate().map(|(i, name)| column_at(&schema, i).alias(name));
    LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()
}

/// The type in which a column of this type leaves a query.
pub fn normal_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Dictionary(_, value) => normal_type(value),
        DataType::Duration(_) | DataType::Interval(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::List(item) | DataType::LargeList(item) => {
            DataType::List(Arc::new(Field::new("item", normal_type(item.data_type()), true)))
        }
        other => other.clone(),
    }
}

/// The plan with each column in its normal type.
pub fn normalised(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let normal = |field: &Field| normal_type(field.data_type());
    if schema.fields().iter().all(|field| normal(field) == *field.data_type()) {
        return Ok(plan);
    }
    let columns = schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let column = column_at(&schema, index);
        let to = normal(field);
        if to == *field.data_type() {
            return column;
        }
        cast(column, to).alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()
}

/// A printed query.
#[derive(Debug)]
pub struct Printed {
    /// [`BoundTarget::Print`].
    pub target: BoundTarget,
    /// The plan without its outermost order and limit.
    pub plan: LogicalPlan,
}

/// Takes the outermost `ORDER BY` and `LIMIT` off a plan.
pub fn for_print(mut plan: LogicalPlan) -> Result<Printed> {
    let (mut skip, mut fetch) = (0, None);
    if let LogicalPlan::Limit(limit) = &plan
        && let (SkipType::Literal(rows), FetchType::Literal(most)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
    {
        (skip, fetch) = (rows, most);
        plan = limit.input.as_ref().clone();
    }
    let (input, sort, columns) = match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            let columns = sort.input.schema().fields().len();
            (Arc::unwrap_or_clone(sort.input), sort.expr, columns)
        }
        LogicalPlan::Projection(projection)
            if matches!(projection.input.as_ref(), LogicalPlan::Sort(_))
                && projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            let LogicalPlan::Sort(sort) = projection.input.as_ref() else {
                return datafusion::common::internal_err!("a sort is a sort");
            };
            let (plan, hidden) = with_hidden(sort.input.as_ref(), &projection.expr)?;
            debug_assert_eq!(plan.schema().fields().len(), projection.expr.len() + hidden);
            (plan, sort.expr.clone(), projection.expr.len())
        }
        other => {
            let columns = other.schema().fields().len();
            (other, Vec::new(), columns)
        }
    };
    let (plan, order_by) = computed_keys(normalised(input)?, sort)?;
    Ok(Printed { target: BoundTarget::Print { order_by, skip, fetch, columns }, plan })
}

/// `visible` columns of `plan`, then its others.
fn with_hidden(plan: &LogicalPlan, visible: &[Expr]) -> Result<(LogicalPlan, usize)> {
    let schema = plan.schema();
    let hidden: Vec<Expr> = (0..schema.fields().len())
        .map(|index| column_at(schema, index))
        .filter(|column| !visible.contains(column))
        .collect();
    let count = hidden.len();
    let columns: Vec<Expr> = visible.iter().cloned().chain(hidden).collect();
    Ok((LogicalPlanBuilder::from(plan.clone()).project(columns)?.build()?, count))
}

/// Sort keys that are no columns become hidden columns, so that they are computed like any other.
fn computed_keys(plan: LogicalPlan, sort: Vec<SortExpr>) -> Result<(LogicalPlan, Vec<SortExpr>)> {
    let schema = Arc::clone(plan.schema());
    let mut columns: Vec<Expr> =
        (0..schema.fields().len()).map(|i| column_at(&schema, i)).collect();
    let count = columns.len();
    let mut keys = Vec::with_capacity(sort.len());
    for (index, key) in sort.into_iter().enumerate() {
        if matches!(key.expr, Expr::Column(_)) {
            keys.push(key);
            continue;
        }
        let name = format!("order by {index}");
        columns.push(key.expr.alias(&name));
        keys.push(SortExpr { expr: Expr::Column(Column::new_unqualified(name)), ..key });
    }
    if columns.len() == count {
        return Ok((plan, keys));
    }
    Ok((LogicalPlanBuilder::from(plan).project(columns)?.build()?, keys))
}

/// The plan with the columns of a sink table, by position or by the list of `INSERT`.
pub fn for_sink(
    plan: LogicalPlan,
    table: &TableDef,
    listed: &[Name],
    place: &Name,
) -> Result<LogicalPlan> {
    let sink = table.sink_schema();
    let targets = target_columns(&sink, table, listed)?;
    let schema = Arc::clone(plan.schema());
    if targets.len() != schema.fields().len() {
        return Err(fail(count_error(table, &targets, &schema), place.span));
    }
    let mut columns = Vec::with_capacity(sink.fields().len());
    for target in sink.fields() {
        let Some(index) = targets.iter().position(|name| name == target.name()) else {
            if !target.is_nullable() {
                let message =
                    format!("column '{}' of '{}' is NOT NULL: list it", target.name(), table.name);
                return Err(fail(Error::sql(message), place.span));
            }
            columns.push(lit(ScalarValue::try_from(target.data_type())?).alias(target.name()));
            continue;
        };
        let source = schema.field(index);
        let adaptable = implicit(source.data_type(), target.data_type())
            || (narrowing(source.data_type(), target.data_type()) && of_literals(&plan, index));
        if !adaptable {
            let error = type_error(table, index, source, target);
            return Err(fail(error, place.span));
        }
        let column = column_at(&schema, index);
        let mut value = adapted(column, source.data_type(), target.data_type())?;
        if source.is_nullable() && !target.is_nullable() {
            // A row without it is a dead letter.
            value = not_null().call(vec![value, lit(target.name().as_str())]);
        }
        columns.push(value.alias(target.name()));
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn target_columns(sink: &SchemaRef, table: &TableDef, listed: &[Name]) -> Result<Vec<String>> {
    if listed.is_empty() {
        return Ok(sink.fields().iter().map(|field| field.name().clone()).collect());
    }
    let known: Vec<&String> = sink.fields().iter().map(|field| field.name()).collect();
    let mut targets: Vec<String> = Vec::with_capacity(listed.len());
    for name in listed {
        if !known.contains(&&name.value) {
            let message = format!("'{}' has no column '{}' to write", table.name, name.value);
            let mut error = Error::sql(message);
            error.hint = hint_for(&name.value, "its columns", &known);
            return Err(fail(error, name.span));
        }
        if targets.contains(&name.value) {
            let message = format!("column '{}' is listed twice", name.value);
            return Err(fail(Error::sql(message), name.span));
        }
        targets.push(name.value.clone());
    }
    Ok(targets)
}

fn count_error(table: &TableDef, targets: &[String], schema: &DFSchema) -> Error {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Error::sql(format!(
        "'{}' takes {} columns but the query has {}",
        table.name,
        targets.len(),
        names.len()
    ))
    .with_hint(format!("table: {}; query: {}", targets.join(", "), names.join(", ")))
}

fn type_error(table: &TableDef, index: usize, source: &Field, target: &Field) -> Error {
    Error::sql(format!(
        "column {} of the query ('{}', {}) does not fit column '{}' of '{}' ({})",
        index + 1,
        source.name(),
        type_name(source.data_type()),
        target.name(),
        table.name,
        type_name(target.data_type()),
    ))
    .with_hint(format!("CAST({} AS {})", source.name(), type_name(target.data_type())))
}

/// Digits before the point that an integer type needs, and its rank.
fn integer_rank(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Int8 => 1,
        DataType::UInt8 | DataType::Int16 => 2,
        DataType::UInt16 | DataType::Int32 => 3,
        DataType::UInt32 | DataType::UInt64 | DataType::Int64 => 4,
        _ => return None,
    })
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

fn is_numeric(data_type: &DataType) -> bool {
    integer_rank(data_type).is_some() || is_decimal(data_type) || is_float(data_type)
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// Whether Flink casts `from` to `to` without being asked.
pub fn implicit(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let (from, to) = (&normal_type(from), &normal_type(to));
    if from == to || *from == T::Null {
        return true;
    }
    match (from, to) {
        (_, T::Float64) | (_, T::Decimal128(..)) if is_numeric(from) => true,
        (_, T::Float32) if is_numeric(from) && *from != T::Float64 => true,
        (T::Timestamp(..), T::Timestamp(..)) => true,
        (T::Timestamp(_, None), T::Date32) => true,
        (T::List(from), T::List(to)) => implicit(from.data_type(), to.data_type()),
        (T::Map(from, _), T::Map(to, _)) => implicit(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(f, t)| implicit(f.data_type(), t.data_type()))
        }
        _ => match (integer_rank(from), integer_rank(to)) {
            (Some(from), Some(to)) => from <= to,
            _ => false,
        },
    }
}

/// Whether both are numbers, or made of such: allowed for results of literals, whose types are the
/// widest.
fn narrowing(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::List(from), T::List(to)) => narrowing(from.data_type(), to.data_type()),
        (T::Map(from, _), T::Map(to, _)) => narrowing(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(f, t)| narrowing(f.data_type(), t.data_type()))
        }
        _ => {
            implicit(from, to)
                || (is_numeric(from) && is_numeric(to) && (!is_float(from) || is_float(to)))
        }
    }
}

/// Whether an output column is computed with literals (which are BIGINT and DECIMAL in plans where
/// Flink has INT).
fn of_literals(plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::Values(_) => true,
        LogicalPlan::Projection(projection) => match projection.expr.get(index) {
            Some(expr) => match expr.clone().unalias() {
                Expr::Column(column) => {
                    let schema = projection.input.schema();
                    let index = schema.maybe_index_of_column(&column);
                    index.is_some_and(|index| of_literals(&projection.input, index))
                }
                expr => expr.exists(|part| Ok(matches!(part, Expr::Literal(..)))).unwrap_or(false),
            },
            None => false,
        },
        LogicalPlan::SubqueryAlias(alias) => of_literals(&alias.input, index),
        LogicalPlan::Filter(filter) => of_literals(&filter.input, index),
        LogicalPlan::Sort(sort) => of_literals(&sort.input, index),
        LogicalPlan::Limit(limit) => of_literals(&limit.input, index),
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| of_literals(input, index)),
        _ => false,
    }
}

/// `expr` as the type of a sink's column; rows by position.
pub(super) fn adapted(expr: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
    if from == to {
        return Ok(expr);
    }
    let (DataType::Struct(source), DataType::Struct(target)) = (from, to) else {
        return Ok(cast(expr, to.clone()));
    };
    let mut parts = Vec::with_capacity(target.len() * 2);
    for (source, target) in source.iter().zip(target) {
        let field = get_field(expr.clone(), source.name().as_str());
        parts.push(lit(target.name().as_str()));
        parts.push(adapted(field, source.data_type(), target.data_type())?);
    }
    let row = cast(named_struct(parts), to.clone());
    when(expr.is_null(), lit(ScalarValue::try_from(to)?)).otherwise(row)
}

/// Refuses functions whose answer is not a function of the inputs.
pub fn check_deterministic(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| match part {
                Expr::ScalarFunction(call)
                    if call.func.signature().volatility == Volatility::Volatile
                        && !proctime::is_proctime(part) =>
                {
                    let name = call.func.name().to_uppercase();
                    let message = format!("{name} is not deterministic: a replay would differ");
                    Err(DataFusionError::External(Box::new(Error::sql(message))))
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    Ok(())
}
