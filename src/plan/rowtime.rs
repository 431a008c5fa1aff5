//! Which columns tell a row's event time, and how far behind it they are.
//!
//! A table's `WATERMARK` column is its row-time: a row that is on time has exactly that event time,
//! one that is behind the watermark of its partition has a later one. The planner follows such
//! columns through projections with constant offsets, unions, windows and joins, and proves with
//! them what a frontier says about the rows still to come. Never looks at data. Called by the
//! lowering.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::Operator as BinaryOperator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};

use super::expr::{Expression, TIME_COLUMN, interval_millis};
use super::node::{Node, Operator, Scan};
use super::over::{OverAggregate, OverRegime};
use super::props::{ChangelogMode, Props};
use crate::sql::functions::NOT_NULL;

/// A value of a row that tells its event time.
///
/// A row is *on time* by it if `value + min_lag <= time <= value + max_lag`. No row is earlier than
/// `value + min_lag`; one that is later than `value + max_lag` is late. So as of a frontier `f`
/// every row still to come that is not late has `value >= f - max_lag`.
///
/// The row-time column of a table has lags 0 and 0: rows on time have `time = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowTime {
    /// The value, over the columns of the node that has it; a column wherever it can be read.
    pub value: Expression,
    /// Least time behind the value, in ms; negative for values in the future.
    pub min_lag: i64,
    /// Greatest time behind the value of rows on time, in ms.
    pub max_lag: i64,
}

impl RowTime {
    fn exact(value: Expression) -> Self {
        RowTime { value, min_lag: 0, max_lag: 0 }
    }

    /// The column it is, if it is one.
    pub fn column(&self) -> Option<usize> {
        self.value.as_column()
    }

    /// The same of a value that is `ms` greater.
    fn ahead_by(&self, value: Expression, ms: i64) -> Self {
        RowTime {
            value,
            min_lag: self.min_lag.saturating_sub(ms),
            max_lag: self.max_lag.saturating_sub(ms),
        }
    }
}

impl Props {
    /// What column `column` tells of the event time; NULLs in it tell nothing.
    pub fn rowtime(&self, column: usize) -> Option<&RowTime> {
        self.rowtimes.iter().find(|r| r.column() == Some(column))
    }

    /// What the value of `expr`, over this node's columns, tells of the event time.
    ///
    /// Finds row-times behind casts that keep milliseconds and constant offsets.
    pub fn rowtime_of(&self, expr: &Expression) -> Option<RowTime> {
        let (physical, ahead) = self.find(expr.physical())?;
        match physical {
            None => Some(RowTime::exact(expr.clone()).ahead_by(expr.clone(), ahead)),
            Some(found) => Some(found.ahead_by(expr.clone(), ahead)),
        }
    }

    /// The row-time below `expr` (`None`: the event time itself) and how far `expr` is ahead.
    fn find(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<(Option<&RowTime>, i64)> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return match self.rowtime(column.index()) {
                None if column.name() != TIME_COLUMN => None,
                found => Some((found, 0)),
            };
        }
        let is = |r: &&RowTime| r.value.physical().as_ref() == expr.as_ref();
        if let Some(found) = self.rowtimes.iter().find(is) {
            return Some((Some(found), 0));
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return keeps_millis(cast.target_field().data_type())
                .then(|| self.find(cast.expr()))?;
        }
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            let value = (call.name() == NOT_NULL).then(|| call.args().first())??;
            return self.find(value);
        }
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        let span = |e: &Arc<dyn PhysicalExpr>| {
            e.downcast_ref::<Literal>().and_then(|l| interval_millis(l.value()))
        };
        let (value, by) = match (binary.op(), span(binary.left()), span(binary.right())) {
            (BinaryOperator::Plus, None, Some(ms)) => (binary.left(), ms),
            (BinaryOperator::Plus, Some(ms), None) => (binary.right(), ms),
            (BinaryOperator::Minus, None, Some(ms)) => (binary.left(), ms.checked_neg()?),
            _ => return None,
        };
        let (found, ahead) = self.find(value)?;
        Some((found, ahead.checked_add(by)?))
    }
}

fn keeps_millis(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _))
}

/// Of the rows of a table.
pub fn of_scan(scan: &Scan, width: usize) -> Vec<RowTime> {
    let Some((time, _)) = &scan.watermark else { return Vec::new() };
    // What takes a row back comes at any time after it.
    if scan.changes.is_some() {
        return Vec::new();
    }
    let is_readable = time.columns().iter().all(|&c| c < width);
    is_readable.then(|| RowTime::exact(time.clone())).into_iter().collect()
}

/// Behind a projection to `columns`.
pub fn project(props: &Props, columns: &[Expression]) -> Vec<RowTime> {
    let moved = columns.iter().enumerate().filter_map(|(place, expr)| {
        let found = props.rowtime_of(expr)?;
        let value = Expression::at(place);
        Some(RowTime { value, ..found })
    });
    moved.collect()
}

/// Of all rows of several nodes.
pub fn union(inputs: &[&Props]) -> Vec<RowTime> {
    let Some((first, others)) = inputs.split_first() else { return Vec::new() };
    let all = first.rowtimes.iter().filter_map(|rowtime| {
        let column = rowtime.column()?;
        let mut merged = rowtime.clone();
        for other in others {
            let same = other.rowtime(column)?;
            merged.min_lag = merged.min_lag.min(same.min_lag);
            merged.max_lag = merged.max_lag.max(same.max_lag);
        }
        Some(merged)
    });
    all.collect()
}

/// Of the results of closed windows: `window_time` is the time of a result, the borders are at
/// fixed distances of it. A result that is corrected later tells nothing.
fn of_closed_windows(props: &Props) -> Vec<RowTime> {
    if props.mode != ChangelogMode::Append {
        return Vec::new();
    }
    let delay = props.window_delay;
    let window = &props.window;
    let start = window.start.zip(window.size.and_then(|size| size.checked_sub(1)));
    [start, window.end.map(|c| (c, -1)), window.time.map(|c| (c, 0))]
        .into_iter()
        .flatten()
        .map(|(column, lag)| {
            let lag = delay.saturating_add(lag);
            RowTime { value: Expression::at(column), min_lag: lag, max_lag: lag }
        })
        .collect()
}

/// What is known of the output of a node about to be added; `inputs` are its inputs.
///
/// Operators that are not named here keep what their planner has put into the props.
pub fn derive(operator: &Operator, props: &Props, inputs: &[&Node], width: usize) -> Vec<RowTime> {
    let below = || inputs.first().map(|n| n.props.rowtimes.clone()).unwrap_or_default();
    match operator {
        Operator::Scan(scan) => of_scan(scan, width),
        Operator::Union => union(&inputs.iter().map(|n| &n.props).collect::<Vec<_>>()),
        Operator::WindowAssign { .. } => {
            let mut found = below();
            // A row comes before its window ends.
            found.extend(props.window.time.zip(props.window.size).map(|(column, size)| RowTime {
                value: Expression::at(column),
                min_lag: 1i64.saturating_sub(size),
                max_lag: 0,
            }));
            found
        }
        Operator::WindowAggregate { .. }
        | Operator::SessionAggregate { .. }
        | Operator::SessionAssign { .. }
        | Operator::WindowRank(_)
        | Operator::WindowJoin(_)
        | Operator::OverAggregate(OverAggregate { regime: OverRegime::Windowed { .. }, .. }) => {
            of_closed_windows(props)
        }
        _ => props.rowtimes.clone(),
    }
}
