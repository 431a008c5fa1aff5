//! `ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..)` and its kin: top-N and deduplication, of
//! windows where the partition holds one.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator as Op, Window, WindowFunctionDefinition,
};

use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, Rank, RankKind, SortColumn, WindowRank};
use crate::plan::props::{Distribution, Props};

impl Lowerer<'_> {
    /// An OVER clause as a rank per partition, appended as a column.
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
        let width = self.schema(input).fields().len();
        let logical = window.input.schema();
        let (input, partition, order) =
            self.rank_columns(input, logical, &call.params.partition_by, &call.params.order_by)?;
        let mut fields: Vec<_> = self.schema(input).fields().iter().cloned().collect();
        let rank_field = window.schema.as_arrow().fields().last().cloned();
        fields.push(rank_field.ok_or_else(|| Error::internal("a window node without columns"))?);
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let below = &self.nodes[input.0].props;
        let window_columns = below.window.pair();
        let windowed =
            window_columns.filter(|(s, e)| partition.contains(s) || partition.contains(e));
        let node = match windowed {
            Some((start, end)) => {
                let partition: Vec<usize> =
                    partition.into_iter().filter(|c| *c != start && *c != end).collect();
                let by = if partition.is_empty() { vec![start, end] } else { partition.clone() };
                let distribution = Distribution::Hash(by);
                let props = Props { unique_key: None, distribution, ..below.clone() };
                let rank = WindowRank { start, end, partition, order, kind, from: 1, to: u64::MAX };
                self.add(Operator::WindowRank(rank), vec![input], schema, props)
            }
            None => {
                let rank = Rank {
                    partition,
                    order,
                    kind,
                    from: 1,
                    to: u64::MAX,
                    number: true,
                    first_by_time: false,
                    final_only: false,
                };
                self.add_rank(input, rank, schema)
            }
        };
        self.without_columns(node, width)
    }

    /// A rank's output without the columns that were computed for it, behind the first `width`.
    fn without_columns(&mut self, node: NodeId, width: usize) -> Result<NodeId> {
        let have = self.schema(node);
        let last = have.fields().len() - 1;
        if last == width {
            return Ok(node);
        }
        let kept: Vec<usize> = (0..width).chain([last]).collect();
        let columns = kept.iter().map(|&c| Expression::column(&have, c)).collect();
        self.calc(node, None, columns, Arc::new(have.project(&kept)?))
    }

    /// Partition and order as columns; computed ones are appended to the input.
    pub(super) fn rank_columns(
        &mut self,
        input: NodeId,
        logical: &DFSchema,
        partition_by: &[Expr],
        order_by: &[datafusion::logical_expr::SortExpr],
    ) -> Result<(NodeId, Vec<usize>, Vec<SortColumn>)> {
        let by = partition_by.iter().chain(order_by.iter().map(|s| &s.expr));
        let by: Vec<Expr> = by.cloned().collect();
        let compiled = self.compile_all(&by, logical, input)?;
        let schema = self.schema(input);
        let width = schema.fields().len();
        let mut columns = super::calc::all_columns(&schema);
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let mut places = Vec::with_capacity(compiled.len());
        for (expr, by) in compiled.into_iter().zip(&by) {
            places.push(match columns.iter().position(|known| *known == expr) {
                Some(known) => known,
                None => {
                    let name = by.schema_name().to_string();
                    fields.push(Arc::new(super::aggregate::field_of(&expr, &schema, &name)?));
                    columns.push(expr);
                    columns.len() - 1
                }
            });
        }
        let input = match columns.len() > width {
            true => {
                let wide = Arc::new(arrow::datatypes::Schema::new(fields));
                self.calc(input, None, columns, wide)?
            }
            false => input,
        };
        let ordered = places.split_off(partition_by.len());
        let order = ordered.into_iter().zip(order_by).map(|(column, s)| SortColumn {
            column,
            options: arrow::compute::SortOptions { descending: !s.asc, nulls_first: s.nulls_first },
        });
        Ok((input, places, order.collect()))
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
        let (mut from, mut to) = match &self.nodes[source.0].operator {
            Operator::WindowRank(WindowRank { from, to, .. })
            | Operator::Rank(Rank { from, to, .. }) => (*from, *to),
            _ => return Ok((input, everything)),
        };
        let rank_column = self.nodes[source.0].schema.fields().len() - 1;
        let mut rest = Vec::new();
        for conjunct in everything {
            let bound = rank_bound(conjunct, logical).filter(|(column, _, _)| match &calc {
                Some(calc) => calc.columns[*column].as_column() == Some(rank_column),
                None => *column == rank_column,
            });
            match bound {
                Some((_, least, greatest)) => {
                    from = from.max(least);
                    to = to.min(greatest);
                }
                None => rest.push(conjunct),
            }
        }
        let below = self.nodes[source.0].clone();
        let bounded = match below.operator {
            Operator::WindowRank(rank) => {
                let operator = Operator::WindowRank(WindowRank { from, to, ..rank });
                self.add(operator, below.inputs, below.schema, below.props)
            }
            Operator::Rank(rank) => {
                self.add_rank(below.inputs[0], Rank { from, to, ..rank }, below.schema)
            }
            _ => source,
        };
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
    // Of a fraction or a text the nearest integer would be another bound.
    let value = match value.data_type().is_integer() {
        true => value.cast_to(&DataType::UInt64),
        false => return None,
    };
    let Ok(ScalarValue::UInt64(Some(value))) = value else { return None };
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
        Expr::Cast(c) if c.field.data_type().is_integer() => column_of(&c.expr),
        _ => None,
    }
}
