//! `WHERE ts > NOW() - INTERVAL '5' MINUTE`: comparisons with `NOW()` as intervals of validity.
//!
//! Each comparison is solved for `NOW()`; what stands against it is computed per row by a Calc
//! before the operator. Called by the lowering of filters.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Operator as Op, binary_expr,
};

use super::aggregate::field_of;
use super::calc::all_columns;
use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::plan::temporal_filter::{TemporalFilter, TimeBound};
use crate::sql::proctime::is_now;

/// `NOW()`, rounded down to `unit_ms`, `op` `value`.
struct Solved {
    op: Op,
    value: Expr,
    unit_ms: i64,
}

const DAY_MS: i64 = 86_400_000;

/// Whether `expr` asks for the present.
pub(super) fn asks_now(expr: &Expr) -> bool {
    let mut found = false;
    // The visitor never fails.
    let _ = expr.apply(|e| {
        found |= is_now(e);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

impl Lowerer<'_> {
    /// The rows of `input` for which `conjuncts`, all of them on `NOW()`, hold at present.
    pub(super) fn temporal_filter(
        &mut self,
        input: NodeId,
        conjuncts: &[&Expr],
        logical: &DFSchema,
    ) -> Result<NodeId> {
        let schema = self.schema(input);
        let width = schema.fields().len();
        let mut columns = all_columns(&schema);
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let (mut from, mut until) = (Vec::new(), Vec::new());
        for conjunct in conjuncts {
            for solved in solve_all(conjunct, logical)? {
                let value = Expression::compile(&solved.value, logical, &schema)?;
                let name = format!("$bound{}", columns.len() - width);
                let field = field_of(&value, &schema, &name)?.with_name(name);
                if !matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32) {
                    return Err(unsolved(conjunct));
                }
                fields.push(Arc::new(field));
                columns.push(value);
                let column = columns.len() - 1;
                let bound = |above| TimeBound { column, above, unit_ms: solved.unit_ms };
                match solved.op {
                    Op::Gt => from.push(bound(true)),
                    Op::GtEq => from.push(bound(false)),
                    Op::Lt => until.push(bound(false)),
                    Op::LtEq => until.push(bound(true)),
                    _ => {
                        from.push(bound(false));
                        until.push(bound(true));
                    }
                }
            }
        }
        let text: Vec<_> = conjuncts.iter().map(|c| c.to_string()).collect();
        let input = self.calc(input, None, columns, Arc::new(Schema::new(fields)))?;
        let filter = TemporalFilter { width, from, until, text: text.join(" AND ") };
        let mut inputs = vec![input];
        let below = self.nodes[input.0].props.clone();
        if below.bounded {
            inputs.extend(self.clocks(input));
        }
        let mode = match filter.until.is_empty() {
            true => below.mode,
            false => ChangelogMode::Retract,
        };
        let props = Props {
            mode,
            window: WindowColumns::default(),
            window_delay: 0,
            unique_key: below.unique_key.filter(|key| key.iter().all(|c| *c < width)),
            distribution: match below.bounded {
                true => Distribution::Single,
                false => match below.distribution {
                    Distribution::Hash(by) if by.iter().any(|c| *c >= width) => Distribution::Any,
                    other => other,
                },
            },
            bounded: below.bounded,
            rowtimes: Vec::new(),
        };
        Ok(self.add(Operator::TemporalFilter(filter), inputs, schema, props))
    }

    /// The clocks of the tables that `root` reads: what is present when they have ended.
    fn clocks(&mut self, root: NodeId) -> Vec<NodeId> {
        let mut reached = vec![false; root.0 + 1];
        reached[root.0] = true;
        for id in (0..=root.0).rev() {
            if reached[id] {
                self.nodes[id].inputs.iter().for_each(|i| reached[i.0] = true);
            }
        }
        let is_scan = |id: &usize| matches!(self.nodes[*id].operator, Operator::Scan(_));
        let scans: Vec<usize> =
            (0..reached.len()).filter(|id| reached[*id]).filter(is_scan).collect();
        let empty = Arc::new(Schema::empty());
        let bounded = Props::source(true);
        scans
            .into_iter()
            .map(|s| {
                self.add(Operator::Clock, vec![NodeId(s)], Arc::clone(&empty), bounded.clone())
            })
            .collect()
    }
}

fn unsolved(conjunct: &Expr) -> Error {
    Error::sql(format!("a filter on NOW() cannot be solved for NOW(): {conjunct}")).with_hint(
        "compare a time with NOW() plus or minus an INTERVAL, each comparison joined by AND; \
         PROCTIME() is the time of the row, which does not move",
    )
}

/// The comparisons that `conjunct` consists of.
fn solve_all(conjunct: &Expr, logical: &DFSchema) -> Result<Vec<Solved>> {
    let found = match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compared(left, *op, right, logical)?,
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let low = compared(expr, Op::GtEq, low, logical)?;
            let high = compared(expr, Op::LtEq, high, logical)?;
            low.zip(high).map(|(mut low, high)| {
                low.extend(high);
                low
            })
        }
        _ => None,
    };
    found.ok_or_else(|| unsolved(conjunct))
}

/// The comparison solved for `NOW()`; without `NOW()`, for any constant time: it must hold as well.
fn compared(left: &Expr, op: Op, right: &Expr, logical: &DFSchema) -> Result<Option<Vec<Solved>>> {
    if !matches!(op, Op::Gt | Op::GtEq | Op::Lt | Op::LtEq | Op::Eq) {
        return Ok(None);
    }
    let solved = match (asks_now(left), asks_now(right)) {
        (true, false) => solve(left, op, right.clone(), logical)?,
        (false, true) => match op.swap() {
            Some(op) => solve(right, op, left.clone(), logical)?,
            None => None,
        },
        _ => None,
    };
    Ok(solved.map(|one| vec![one]))
}

/// `side op other` with `NOW()` alone on its side.
fn solve(side: &Expr, op: Op, other: Expr, logical: &DFSchema) -> Result<Option<Solved>> {
    if is_now(side) {
        return Ok(Some(Solved { op, value: other, unit_ms: 1 }));
    }
    let is_time = |expr: &Expr| -> Result<bool> {
        Ok(matches!(expr.get_type(logical)?, DataType::Timestamp(..) | DataType::Date32))
    };
    match side {
        Expr::Alias(alias) => solve(&alias.expr, op, other, logical),
        Expr::Cast(cast) => {
            let unit = match cast.field.data_type() {
                DataType::Date32 => DAY_MS,
                DataType::Timestamp(arrow::datatypes::TimeUnit::Second, _) => 1000,
                DataType::Timestamp(..) => 1,
                // Lengths of time come in several types.
                _ if !is_time(&cast.expr)? => return solve(&cast.expr, op, other, logical),
                _ => return Ok(None),
            };
            let solved = solve(&cast.expr, op, other, logical)?;
            Ok(solved.map(|s| Solved { unit_ms: s.unit_ms.max(unit), ..s }))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: sign, right }) => {
            let (moved, rest, op, back) = match (sign, asks_now(left)) {
                (Op::Plus, true) => (left, right, op, Op::Minus),
                (Op::Plus, false) => (right, left, op, Op::Minus),
                (Op::Minus, true) => (left, right, op, Op::Plus),
                // a - NOW() < b is NOW() > a - b.
                (Op::Minus, false) => {
                    let Some(op) = op.swap() else { return Ok(None) };
                    check_length(&other)?;
                    let value = binary_expr(left.as_ref().clone(), Op::Minus, other);
                    return solve(right, op, value, logical);
                }
                _ => return Ok(None),
            };
            check_length(rest)?;
            // NOW() - ts < length: a time comes first in a sum.
            let value = match is_time(rest)? {
                true => {
                    check_length(&other)?;
                    binary_expr(rest.as_ref().clone(), back, other)
                }
                false => binary_expr(other, back, rest.as_ref().clone()),
            };
            solve(moved, op, value, logical)
        }
        _ => Ok(None),
    }
}

/// Months have no fixed length: moving them to the other side would change the answer.
fn check_length(expr: &Expr) -> Result<()> {
    let mut months = false;
    let _ = expr.apply(|e| {
        months |= match e {
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) => v.months != 0,
            Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => true,
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    if months {
        return Err(unsupported("a filter on NOW() and months")
            .with_hint("months have no fixed length: use days, such as INTERVAL '30' DAY"));
    }
    Ok(())
}
