//! Expressions of a stream plan: DataFusion physical expressions over columns by position.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, Operator as BinaryOperator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::error::{Error, Result};
use crate::sql::functions::NOT_NULL;
use crate::sql::proctime::is_proctime;

/// The hidden column that holds a row's event time, appended behind an operator's input columns.
pub const TIME_COLUMN: &str = "$time";

/// An expression over the columns of a node's input, comparable and printable.
#[derive(Clone, Debug)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.physical.as_ref() == other.physical.as_ref()
    }
}

impl Eq for Expression {}

/// The type of the hidden time column and of window columns: TIMESTAMP(3).
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// `schema` with the hidden time column behind its own.
pub fn with_time_column(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(TIME_COLUMN, time_type(), false)));
    Arc::new(Schema::new(fields))
}

impl Expression {
    /// Column `index` of `schema`.
    pub fn column(schema: &Schema, index: usize) -> Self {
        let name = schema.field(index).name();
        Expression { physical: Arc::new(Column::new(name, index)) }
    }

    /// The column at `index`, whatever its name.
    pub fn at(index: usize) -> Self {
        Expression { physical: Arc::new(Column::new("", index)) }
    }

    /// The hidden time column of an input of `width` columns.
    pub fn event_time(width: usize) -> Self {
        Expression { physical: Arc::new(Column::new(TIME_COLUMN, width)) }
    }

    /// A physical expression over columns by position.
    pub fn of(physical: Arc<dyn PhysicalExpr>) -> Self {
        Expression { physical }
    }

    /// A constant.
    pub fn literal(value: ScalarValue) -> Self {
        Expression { physical: Arc::new(Literal::new(value)) }
    }

    /// Compiles `expr` over the columns of a logical schema; `schema` is the same by position.
    ///
    /// Functions of the row's event time (`PROCTIME()`, `NOW()`) become the hidden time column.
    pub fn compile(expr: &Expr, logical: &DFSchema, schema: &SchemaRef) -> Result<Self> {
        if expr.exists(|part| Ok(matches!(part, Expr::WindowFunction(_))))? {
            return Err(Error::sql("a function OVER rows cannot stand here")
                .with_hint("compute it in a subquery, and filter around it"));
        }
        let (expr, logical) = replace_event_time(expr, logical)?;
        let props = ExecutionProps::new();
        let physical = datafusion::physical_expr::create_physical_expr(
            &expr,
            &logical,
            &props,
            &Default::default(),
        )?;
        let width = schema.fields().len();
        let renamed = physical.transform_up(|e| {
            Ok(match e.downcast_ref::<Column>() {
                Some(c) if c.index() < width && c.name() != schema.field(c.index()).name() => {
                    let name = schema.field(c.index()).name();
                    Transformed::yes(Arc::new(Column::new(name, c.index())) as _)
                }
                _ => Transformed::no(e),
            })
        })?;
        Ok(Expression { physical: renamed.data })
    }

    /// An expression that is compiled already.
    pub fn new(physical: Arc<dyn PhysicalExpr>) -> Self {
        Expression { physical }
    }

    /// The compiled expression.
    pub fn physical(&self) -> &Arc<dyn PhysicalExpr> {
        &self.physical
    }

    /// The column this expression is, if it is one.
    pub fn as_column(&self) -> Option<usize> {
        self.physical.downcast_ref::<Column>().map(Column::index)
    }

    /// Whether it is the event time of the row.
    pub fn is_event_time(&self) -> bool {
        self.physical.downcast_ref::<Column>().is_some_and(|c| c.name() == TIME_COLUMN)
    }

    /// The column whose values it passes on: the column it is, or checks for NULL.
    pub fn passed_column(&self) -> Option<usize> {
        let call = self.physical.downcast_ref::<ScalarFunctionExpr>();
        match call.filter(|call| call.name() == NOT_NULL).and_then(|call| call.args().first()) {
            Some(value) => value.downcast_ref::<Column>().map(Column::index),
            None => self.as_column(),
        }
    }

    /// The integer column that is cast to another integer type, if that is all this expression
    /// does; else itself.
    pub fn uncast(&self, schema: &Schema) -> Self {
        let cast = self.physical.downcast_ref::<CastExpr>();
        let integer = cast.filter(|c| c.target_field().data_type().is_integer());
        let column = integer.and_then(|c| c.expr().downcast_ref::<Column>()).map(Column::index);
        match column.filter(|&c| c < schema.fields().len()) {
            Some(c) if schema.field(c).data_type().is_integer() => Expression::column(schema, c),
            _ => self.clone(),
        }
    }

    /// The constant this expression is, if it is one.
    pub fn as_literal(&self) -> Option<&ScalarValue> {
        self.physical.downcast_ref::<Literal>().map(Literal::value)
    }

    /// The columns it reads.
    pub fn columns(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        // The visitor never fails.
        let _ = self.physical.apply(|e| {
            if let Some(column) = e.downcast_ref::<Column>() {
                found.insert(column.index());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        found
    }

    /// Whether it does more than name a column or a constant.
    pub fn is_computed(&self) -> bool {
        self.as_column().is_none() && self.as_literal().is_none()
    }

    /// This expression with column `i` replaced by `definitions[i]`; columns beyond stay.
    ///
    /// `time` is the hidden time column's place in the new input.
    pub fn inline(&self, definitions: &[Expression], time: usize) -> Result<Self> {
        let replaced = Arc::clone(&self.physical).transform_up(|e| {
            Ok(match e.downcast_ref::<Column>() {
                Some(c) => match definitions.get(c.index()) {
                    Some(definition) => Transformed::yes(Arc::clone(&definition.physical)),
                    None => Transformed::yes(Arc::new(Column::new(c.name(), time)) as _),
                },
                None => Transformed::no(e),
            })
        })?;
        Ok(Expression { physical: replaced.data })
    }

    /// This expression with column `i` moved to `places[i]`.
    pub fn remap(&self, places: &[usize], schema: &Schema, time: usize) -> Result<Self> {
        let definitions: Vec<_> = places.iter().map(|&p| Expression::column(schema, p)).collect();
        self.inline(&definitions, time)
    }

    /// `column - constant` as (column, milliseconds): the common form of a watermark.
    pub fn as_column_minus_millis(&self) -> Option<(usize, i64)> {
        let mut expr = &self.physical;
        while let Some(cast) = expr.downcast_ref::<CastExpr>() {
            expr = cast.expr();
        }
        if let Some(column) = expr.downcast_ref::<Column>() {
            return Some((column.index(), 0));
        }
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        let column = binary.left().downcast_ref::<Column>()?.index();
        let literal = binary.right().downcast_ref::<Literal>()?;
        let millis = interval_millis(literal.value())?;
        match binary.op() {
            BinaryOperator::Minus => Some((column, millis)),
            BinaryOperator::Plus => Some((column, -millis)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // DataFusion prints `name@3`; the position is noise to a reader of a plan.
        let text = self.physical.to_string();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('@') {
            let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
            f.write_str(&rest[..at])?;
            if digits == 0 {
                f.write_str("@")?;
            }
            rest = &rest[at + 1 + digits..];
        }
        f.write_str(rest)
    }
}

/// A constant span in milliseconds, if it is one of whole milliseconds without months.
pub fn interval_millis(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => (v.nanoseconds % 1_000_000
            == 0)
            .then(|| i64::from(v.days) * 86_400_000 + v.nanoseconds / 1_000_000),
        ScalarValue::IntervalDayTime(Some(v)) => {
            Some(i64::from(v.days) * 86_400_000 + i64::from(v.milliseconds))
        }
        ScalarValue::DurationMillisecond(Some(v)) => Some(*v),
        ScalarValue::DurationSecond(Some(v)) => v.checked_mul(1000),
        _ => None,
    }
}

fn replace_event_time(expr: &Expr, logical: &DFSchema) -> Result<(Expr, DFSchema)> {
    let mut used = false;
    let replaced = expr.clone().transform_up(|e| {
        Ok(match &e {
            call if is_proctime(call) => {
                used = true;
                let column = datafusion::common::Column::new_unqualified(TIME_COLUMN);
                Transformed::yes(Expr::Column(column))
            }
            _ => Transformed::no(e),
        })
    })?;
    if !used {
        return Ok((replaced.data, logical.clone()));
    }
    let time = Schema::new(vec![Field::new(TIME_COLUMN, time_type(), false)]);
    let with_time = logical.join(&DFSchema::try_from(time)?)?;
    Ok((replaced.data, with_time))
}

/// Fails for expressions that must have been planned away (subqueries).
pub fn reject_subqueries(expr: &Expr) -> Result<()> {
    let mut found = false;
    let _ = expr.apply(|e| {
        found |= matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_));
        Ok(TreeNodeRecursion::Continue)
    });
    if found {
        return Err(Error::sql("this subquery cannot be maintained incrementally yet")
            .with_hint("correlate it by equal columns, or write it as a join"));
    }
    Ok(())
}
