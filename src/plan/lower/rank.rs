//! `ROW_NUMBER() OVER (PARTITION BY window .. ORDER BY ..)`: window top-N and deduplication.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator as Op, Window, WindowFunctionDefinition,
};

use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, RankKind, SortColumn, WindowRank};
use crate::plan::props::{Distribution, Props};

impl Lowerer<'_> {
    /// An OVER clause as a rank per window and partition, appended as a column.
    pub(super) fn rank(&mut self, window: &Window) -> Result<NodeId> {
        let input = self.plan(&window.input)?;
        let [expr] = window.window_expr.as_slice() else {
            return Err(unsupported("more than one OVER function over different windows"));
        };
        let Expr::WindowFunction(call) = expr.clone().unalias() else {
            return Err(unsupported("this OVER expression"));
        };
        let kind = match (&call.fun, call.fun.name()) {
            (WindowFunctionDefinition::WindowUDF(_), "row_number") => RankKind::RowNumber,
            (WindowFunctionDefinition::WindowUDF(_), "rank") => RankKind::Rank,
            (WindowFunctionDefinition::WindowUDF(_), "dense_rank") => RankKind::DenseRank,
            (_, name) => return Err(unsupported(&format!("{name}() OVER"))),
        };
        let logical = window.input.schema();
        let (input, partition, order) =
            self.rank_columns(input, logical, &call.params.partition_by, &call.params.order_by)?;
        let below = &self.nodes[input.0];
        let Some((start, end)) = below.props.window.pair() else {
            return Err(unsupported("ROW_NUMBER outside of a window")
                .with_hint("rank the rows of a TUMBLE, HOP, CUMULATE or SESSION window"));
        };
        if !partition.contains(&end) && !partition.contains(&start) {
            return Err(Error::sql("a window top-N partitions by window_start and window_end")
                .with_hint("add window_start, window_end to PARTITION BY"));
        }
        let partition: Vec<usize> =
            partition.into_iter().filter(|c| *c != start && *c != end).collect();
        let mut by = partition.clone();
        if by.is_empty() {
            by = vec![start, end];
        }
        let mut fields: Vec<_> = below.schema.fields().iter().cloned().collect();
        let rank_field = window.schema.as_arrow().fields().last().cloned();
        fields.push(rank_field.ok_or_else(|| Error::internal("a window node without columns"))?);
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let props =
            Props { unique_key: None, distribution: Distribution::Hash(by), ..below.props.clone() };
        let rank = WindowRank { start, end, partition, order, kind, from: 1, to: u64::MAX };
        Ok(self.add(Operator::WindowRank(rank), vec![input], schema, props))
    }

    /// Partition and order as columns; expressions are computed by a Calc behind the input's
    /// columns.
    fn rank_columns(
        &mut self,
        input: NodeId,
        logical: &DFSchema,
        partition_by: &[Expr],
        order_by: &[datafusion::logical_expr::SortExpr],
    ) -> Result<(NodeId, Vec<usize>, Vec<SortColumn>)> {
        let partition = self.compile_all(partition_by, logical, input)?;
        let by: Vec<Expr> = order_by.iter().map(|s| s.expr.clone()).collect();
        let order = self.compile_all(&by, logical, input)?;
        let place = |e: &Expression| {
            e.as_column().ok_or_else(|| {
                unsupported("an expression in PARTITION BY or ORDER BY of OVER")
                    .with_hint("compute it as a column in a subquery first")
            })
        };
        let partition = partition.iter().map(place).collect::<Result<Vec<_>>>()?;
        let order = order
            .iter()
            .zip(order_by)
            .map(|(e, s)| {
                let options =
                    arrow::compute::SortOptions { descending: !s.asc, nulls_first: s.nulls_first };
                Ok(SortColumn { column: place(e)?, options })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((input, partition, order))
    }

    /// Turns conjuncts such as `rn <= 3` over a rank into bounds of the rank's operator.
    ///
    /// Returns the node to filter and the conjuncts that remain.
    pub(super) fn bound_ranks<'e>(
        &mut self,
        input: NodeId,
        conjuncts: &[&'e Expr],
        logical: &DFSchema,
    ) -> Result<(NodeId, Vec<&'e Expr>)> {
        let everything = conjuncts.to_vec();
        let (calc, source) = match &self.nodes[input.0].operator {
            Operator::Calc(calc) if calc.filter.is_none() => {
                (Some(calc.clone()), self.nodes[input.0].inputs[0])
            }
            _ => (None, input),
        };
        let Operator::WindowRank(rank) = &self.nodes[source.0].operator else {
            return Ok((input, everything));
        };
        let mut rank = rank.clone();
        let rank_column = self.nodes[source.0].schema.fields().len() - 1;
        let mut rest = Vec::new();
        for conjunct in everything {
            let bound = rank_bound(conjunct, logical).filter(|(column, _, _)| match &calc {
                Some(calc) => calc.columns[*column].as_column() == Some(rank_column),
                None => *column == rank_column,
            });
            match bound {
                Some((_, from, to)) => {
                    rank.from = rank.from.max(from);
                    rank.to = rank.to.min(to);
                }
                None => rest.push(conjunct),
            }
        }
        let below = &self.nodes[source.0];
        let (inputs, schema, props) =
            (below.inputs.clone(), below.schema.clone(), below.props.clone());
        let bounded = self.add(Operator::WindowRank(rank), inputs, schema, props);
        let node = match calc {
            Some(calc) => {
                let schema = self.schema(input);
                self.calc(bounded, None, calc.columns, schema)?
            }
            None => bounded,
        };
        Ok((node, rest))
    }
}

/// `column op constant` as (column, least, greatest).
pub(super) fn rank_bound(conjunct: &Expr, logical: &DFSchema) -> Option<(usize, u64, u64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else { return None };
    let (column, op, value) = match (column_of(left), right.as_ref()) {
        (Some(c), Expr::Literal(v, _)) => (c, *op, v),
        _ => match (left.as_ref(), column_of(right)) {
            (Expr::Literal(v, _), Some(c)) => (c, op.swap()?, v),
            _ => return None,
        },
    };
    let column = logical.maybe_index_of_column(column)?;
    let value = match value.cast_to(&arrow::datatypes::DataType::UInt64) {
        Ok(ScalarValue::UInt64(Some(v))) => v,
        _ => return None,
    };
    Some(match op {
        Op::Eq => (column, value, value),
        Op::LtEq => (column, 1, value),
        Op::Lt => (column, 1, value.checked_sub(1)?),
        Op::GtEq => (column, value, u64::MAX),
        Op::Gt => (column, value.checked_add(1)?, u64::MAX),
        _ => return None,
    })
}

fn column_of(expr: &Expr) -> Option<&datafusion::common::Column> {
    match expr {
        Expr::Column(c) => Some(c),
        Expr::Cast(c) => column_of(&c.expr),
        _ => None,
    }
}
