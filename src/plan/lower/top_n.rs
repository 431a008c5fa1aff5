//! Ranks of whole collections: what is known of their output, `LIMIT`, and numbers nobody reads.

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{FetchType, Limit, LogicalPlan, SkipType, SortExpr};
use std::sync::Arc;

use super::{Lowerer, unsupported};
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, Rank, RankKind};
use crate::plan::props::{ChangelogMode, Distribution, Props};
use crate::sql::rewrites::Rewrite;

impl Lowerer<'_> {
    /// A rank over `input`; `schema` is that of its output.
    pub(super) fn add_rank(&mut self, input: NodeId, rank: Rank, schema: SchemaRef) -> NodeId {
        let below = &self.nodes[input.0].props;
        let only_first = rank.kind == RankKind::RowNumber && (rank.from, rank.to) == (1, 1);
        let first_by_time = only_first
            && self.makes(Rewrite::FirstByTime)
            && below.mode == ChangelogMode::Append
            && rank.order.first().is_some_and(|first| {
                // Rows on time come in the order of the column.
                let rowtime = below.rowtime(first.column);
                !first.options.descending && rowtime.is_some_and(|r| r.min_lag == r.max_lag)
            });
        let by_number = rank.number && rank.kind == RankKind::RowNumber;
        let unique_key = match (only_first, by_number) {
            (true, _) => Some(rank.partition.clone()),
            (false, true) => {
                let number = schema.fields().len() - 1;
                Some(rank.partition.iter().copied().chain([number]).collect())
            }
            (false, false) => below.unique_key.clone(),
        };
        let distribution = match rank.partition.is_empty() {
            true => Distribution::Single,
            false => Distribution::Hash(rank.partition.clone()),
        };
        let mode = if first_by_time { ChangelogMode::Append } else { ChangelogMode::Retract };
        let rowtimes = if first_by_time { below.rowtimes.clone() } else { Vec::new() };
        let bounded = below.bounded;
        let props = Props { mode, unique_key, distribution, rowtimes, ..Props::source(bounded) };
        let rank = Rank { first_by_time, ..rank };
        self.add(Operator::Rank(rank), vec![input], schema, props)
    }

    /// `LIMIT`, with the `ORDER BY` below it.
    pub(super) fn limit(&mut self, limit: &Limit) -> Result<NodeId> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(unsupported("a LIMIT or OFFSET that is no constant"));
        };
        self.limited(&limit.input, (skip, fetch))
    }

    fn limited(&mut self, plan: &LogicalPlan, rows: (usize, Option<usize>)) -> Result<NodeId> {
        match plan {
            LogicalPlan::Projection(p) if is_sorted(&p.input) => {
                let input = self.limited(&p.input, rows)?;
                let columns = self.compile_all(&p.expr, p.input.schema(), input)?;
                self.calc(input, None, columns, Arc::new(p.schema.as_arrow().clone()))
            }
            LogicalPlan::SubqueryAlias(a) if is_sorted(&a.input) => self.limited(&a.input, rows),
            LogicalPlan::Sort(s) if s.fetch.is_none() => {
                self.first_rows(&s.input, &s.expr, s.input.schema(), rows)
            }
            other => self.first_rows(other, &[], other.schema(), rows),
        }
    }

    fn first_rows(
        &mut self,
        plan: &LogicalPlan,
        order: &[SortExpr],
        logical: &DFSchema,
        (skip, fetch): (usize, Option<usize>),
    ) -> Result<NodeId> {
        let input = self.plan(plan)?;
        let schema = self.schema(input);
        let (sorted, _, order) = self.rank_columns(input, logical, &[], order)?;
        let rank = Rank {
            partition: Vec::new(),
            order,
            kind: RankKind::RowNumber,
            from: (skip as u64).saturating_add(1),
            to: fetch.map_or(u64::MAX, |rows| (skip as u64).saturating_add(rows as u64)),
            number: false,
            first_by_time: false,
            final_only: false,
        };
        let wide = self.schema(sorted);
        let node = self.add_rank(sorted, rank, Arc::clone(&wide));
        let columns = (0..schema.fields().len()).map(|c| Expression::column(&wide, c)).collect();
        self.calc(node, None, columns, schema)
    }

    /// Takes the number from the output of ranks whose readers do not look at it: rows whose number
    /// alone changes are no changes then.
    pub(super) fn drop_rank_numbers(&mut self) -> Result<()> {
        for id in 0..self.nodes.len() {
            let Operator::Rank(rank) = &self.nodes[id].operator else { continue };
            let is_made = self.nodes[id].settings.rewrites.has(Rewrite::DropRankNumbers);
            if !is_made || !rank.number || self.outputs.iter().any(|o| o.node.0 == id) {
                continue;
            }
            let last = self.nodes[id].schema.fields().len() - 1;
            let reads = |n: &super::Node| n.inputs.contains(&NodeId(id));
            let passes_over = |n: &super::Node| match &n.operator {
                Operator::Calc(calc) => {
                    let mut exprs = calc.columns.iter().chain(&calc.filter);
                    exprs.all(|e| !e.columns().contains(&last))
                }
                _ => false,
            };
            if !self.nodes.iter().filter(|n| reads(n)).all(passes_over) {
                continue;
            }
            let rank = Rank { number: false, ..rank.clone() };
            let below = &self.nodes[self.nodes[id].inputs[0].0].props;
            let unique_key = match (rank.kind, rank.from, rank.to) {
                (RankKind::RowNumber, 1, 1) => Some(rank.partition.clone()),
                _ => below.unique_key.clone(),
            };
            let kept: Vec<usize> = (0..last).collect();
            let schema: SchemaRef = Arc::new(self.nodes[id].schema.project(&kept)?);
            for reader in self.nodes.iter_mut().filter(|n| reads(n)) {
                let Operator::Calc(calc) = &mut reader.operator else { continue };
                for expr in calc.columns.iter_mut().chain(&mut calc.filter) {
                    *expr = expr.remap(&kept, &schema, last)?;
                }
            }
            let node = &mut self.nodes[id];
            node.operator = Operator::Rank(rank);
            node.schema = schema;
            node.props.unique_key = unique_key;
        }
        Ok(())
    }
}

/// Whether a plan is a sort under projections.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => sort.fetch.is_none(),
        LogicalPlan::Projection(p) => is_sorted(&p.input),
        LogicalPlan::SubqueryAlias(a) => is_sorted(&a.input),
        _ => false,
    }
}
