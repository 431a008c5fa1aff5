//! Filters and projections: [`Calc`] nodes, merged where that repeats no work.

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter};

use super::Lowerer;
use super::temporal_filter::asks_now;
use crate::error::{Error, Result};
use crate::plan::explain::updating_operator;
use crate::plan::expr::{Expression, reject_subqueries};
use crate::plan::node::{Calc, NodeId, Operator, StreamPlan};
use crate::plan::props::ChangelogMode;
use crate::sql::rewrites::Rewrite;

impl Lowerer<'_> {
    pub(super) fn filter(&mut self, filter: &Filter) -> Result<NodeId> {
        self.note_ranking(filter);
        let mut input = self.plan(&filter.input)?;
        let schema = self.schema(input);
        reject_subqueries(&filter.predicate)?;
        let conjuncts = datafusion::logical_expr::utils::split_conjunction(&filter.predicate);
        let (bounded, rest) = self.bound_ranks(input, &conjuncts, filter.input.schema())?;
        input = bounded;
        let (temporal, rest): (Vec<&Expr>, Vec<&Expr>) =
            rest.into_iter().partition(|e| asks_now(e));
        if let Some(predicate) = conjunction(rest.into_iter().cloned().collect::<Vec<Expr>>()) {
            let predicate = Expression::compile(&predicate, filter.input.schema(), &schema)?;
            let columns = all_columns(&schema);
            input = self.calc(input, Some(predicate), columns, schema)?;
        }
        match temporal.is_empty() {
            true => Ok(input),
            false => self.temporal_filter(input, &temporal, filter.input.schema()),
        }
    }

    /// A Calc over `input`; merged with a Calc below, or left out if it changes nothing.
    pub(super) fn calc(
        &mut self,
        input: NodeId,
        mut filter: Option<Expression>,
        mut columns: Vec<Expression>,
        schema: SchemaRef,
    ) -> Result<NodeId> {
        let input = self.narrowed_join(input, &mut filter, &mut columns)?;
        let below = &self.nodes[input.0];
        let unchanged = filter.is_none() && columns == all_columns(&below.schema);
        if unchanged && below.schema == schema {
            return Ok(input);
        }
        if !self.makes(Rewrite::MergeCalcs) {
            return self.add_calc(input, Calc { filter, columns }, schema);
        }
        if let Operator::Calc(lower) = &below.operator {
            let above = Calc { filter: filter.clone(), columns: columns.clone() };
            let width = self.nodes[below.inputs[0].0].schema.fields().len();
            if let Some(merged) = merge(lower, &above, width)? {
                let source = below.inputs[0];
                return self.add_calc(source, merged, schema);
            }
        }
        self.add_calc(input, Calc { filter, columns }, schema)
    }

    fn add_calc(&mut self, input: NodeId, calc: Calc, schema: SchemaRef) -> Result<NodeId> {
        self.check_time_stays(input, &calc)?;
        let below = &self.nodes[input.0];
        let mut props = below.props.project(&calc.columns);
        if props.unique_key.is_none() && below.props.unique_key.is_some() {
            // A number in another integer type is as unique as it was.
            let plain: Vec<_> = calc.columns.iter().map(|e| e.uncast(&below.schema)).collect();
            props.unique_key = below.props.project(&plain).unique_key;
        }
        Ok(self.add(Operator::Calc(calc), vec![input], schema, props))
    }

    /// What takes a row back comes at a later time than the row did: computed from its own time it
    /// would take back another one.
    fn check_time_stays(&self, input: NodeId, calc: &Calc) -> Result<()> {
        let below = &self.nodes[input.0];
        let width = below.schema.fields().len();
        let mut read = calc.columns.iter().chain(&calc.filter).flat_map(Expression::columns);
        if below.props.mode == ChangelogMode::Append || !read.any(|column| column >= width) {
            return Ok(());
        }
        let plan = StreamPlan { nodes: self.nodes.clone(), outputs: Vec::new() };
        let by = updating_operator(&plan, input);
        Err(Error::sql(format!("PROCTIME() needs rows that stay, and {by} takes rows back"))
            .with_hint(
                "compute it before the rows are updated, or compare a column with NOW() in WHERE",
            ))
    }
}

/// All columns of a schema as they are.
pub(super) fn all_columns(schema: &SchemaRef) -> Vec<Expression> {
    (0..schema.fields().len()).map(|c| Expression::column(schema, c)).collect()
}

/// `above` over `below` as one; `None` where that would compute something twice, or evaluate a
/// filter on rows that the lower filter keeps from it.
fn merge(below: &Calc, above: &Calc, width: usize) -> Result<Option<Calc>> {
    if below.filter.is_some() && above.filter.is_some() {
        return Ok(None);
    }
    let mut uses = vec![0usize; below.columns.len()];
    for expr in above.columns.iter().chain(&above.filter) {
        for column in expr.columns() {
            if let Some(count) = uses.get_mut(column) {
                *count += 1;
            }
        }
    }
    let repeats = |(expr, &count): (&Expression, &usize)| expr.is_computed() && count > 1;
    if below.columns.iter().zip(&uses).any(repeats) {
        return Ok(None);
    }
    let inline = |e: &Expression| e.inline(&below.columns, width);
    Ok(Some(Calc {
        filter: match (&below.filter, &above.filter) {
            (Some(lower), _) => Some(lower.clone()),
            (None, upper) => upper.as_ref().map(inline).transpose()?,
        },
        columns: above.columns.iter().map(inline).collect::<Result<Vec<_>>>()?,
    }))
}
