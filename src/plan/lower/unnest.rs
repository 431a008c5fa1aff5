//! UNNEST and table functions: the lists as columns, then one row an element.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::NullHandling;
use datafusion::logical_expr::{Extension, LogicalPlan, Projection, Unnest as LogicalUnnest};

use super::aggregate::field_of;
use super::calc::all_columns;
use super::{Lowerer, unsupported};
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, Unnest};
use crate::plan::props::Props;
use crate::sql::unnest::{UnnestNode, element_fields};

impl Lowerer<'_> {
    /// The node of an unnest, with the input's columns `keep` alone, in order, if not all.
    pub(super) fn unnest(&mut self, node: &UnnestNode, keep: Option<&[usize]>) -> Result<NodeId> {
        let input = self.plan(&node.input)?;
        let width = self.schema(input).fields().len();
        let keep: Vec<usize> = keep.map_or_else(|| (0..width).collect(), <[usize]>::to_vec);
        let (input, lists) = self.list_columns(input, node)?;
        let mut fields: Vec<FieldRef> =
            keep.iter().map(|&c| Arc::clone(&self.schema(input).fields()[c])).collect();
        fields.extend(node.schema.fields().iter().skip(width).cloned());
        let unnest = Unnest {
            keep,
            lists,
            outer: node.outer,
            ordinality: node.ordinality,
            flatten: node.flatten,
        };
        Ok(self.add_unnest(input, unnest, fields))
    }

    fn add_unnest(&mut self, input: NodeId, unnest: Unnest, fields: Vec<FieldRef>) -> NodeId {
        let schema = self.schema(input);
        let kept: Vec<_> = unnest.keep.iter().map(|&c| Expression::column(&schema, c)).collect();
        let props = Props { unique_key: None, ..self.nodes[input.0].props.project(&kept) };
        let schema = Arc::new(Schema::new(fields));
        self.add(Operator::Unnest(unnest), vec![input], schema, props)
    }

    /// The lists as columns; computed ones are appended to the input.
    fn list_columns(&mut self, input: NodeId, node: &UnnestNode) -> Result<(NodeId, Vec<usize>)> {
        let schema = self.schema(input);
        let lists = self.compile_all(&node.lists, node.input.schema(), input)?;
        let mut columns = all_columns(&schema);
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut places = Vec::with_capacity(lists.len());
        for (list, expr) in lists.into_iter().zip(&node.lists) {
            match list.as_column() {
                Some(column) => places.push(column),
                None => {
                    places.push(columns.len());
                    fields.push(field_of(&list, &schema, &expr.schema_name().to_string())?);
                    columns.push(list);
                }
            }
        }
        let input = self.calc(input, None, columns, Arc::new(Schema::new(fields)))?;
        Ok((input, places))
    }

    /// A projection of an unnest, which then need not copy the columns that nobody reads.
    pub(super) fn projected_unnest(&mut self, p: &Projection) -> Result<Option<NodeId>> {
        let LogicalPlan::Extension(Extension { node }) = p.input.as_ref() else { return Ok(None) };
        let Some(unnest) = node.as_any().downcast_ref::<UnnestNode>() else { return Ok(None) };
        let width = unnest.input.schema().fields().len();
        let total = unnest.schema.fields().len();
        let logical = p.input.schema();
        let schema = Arc::new(logical.as_arrow().clone());
        let mut columns = Vec::with_capacity(p.expr.len());
        for expr in &p.expr {
            crate::plan::expr::reject_subqueries(expr)?;
            columns.push(Expression::compile(expr, logical, &schema)?);
        }
        let read = |c: usize| columns.iter().any(|e| e.columns().contains(&c));
        let keep: Vec<usize> = (0..width).filter(|&c| read(c)).collect();
        // A column of the unnest by its new place; those that nobody reads have none.
        let place = |c: usize| match keep.binary_search(&c) {
            Ok(at) => at,
            Err(_) => keep.len() + c.saturating_sub(width),
        };
        let places: Vec<usize> = (0..total).map(place).collect();
        let node = self.unnest(unnest, Some(&keep))?;
        let narrow = self.schema(node);
        let time = narrow.fields().len();
        let columns = columns.iter().map(|e| e.remap(&places, &narrow, time));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.calc(node, None, columns, Arc::new(p.schema.as_arrow().clone())).map(Some)
    }

    /// `SELECT UNNEST(list)`: the lists' places are taken by their elements.
    pub(super) fn listed_unnest(&mut self, u: &LogicalUnnest) -> Result<NodeId> {
        let input = self.plan(&u.input)?;
        let schema = self.schema(input);
        let lists: Vec<usize> = u.list_type_columns.iter().map(|(c, _)| *c).collect();
        if !u.struct_type_columns.is_empty()
            || u.list_type_columns.iter().any(|(_, list)| list.depth != 1)
        {
            return Err(unsupported("UNNEST of rows or of arrays in arrays in a SELECT list")
                .with_hint("write FROM t CROSS JOIN UNNEST(t.array) AS u (..)"));
        }
        let keep: Vec<usize> = (0..schema.fields().len()).filter(|c| !lists.contains(c)).collect();
        let mut fields: Vec<FieldRef> =
            keep.iter().map(|&c| Arc::clone(&schema.fields()[c])).collect();
        for &list in &lists {
            let field = schema.field(list);
            let elements = element_fields(field.data_type(), false, field.name());
            match elements.as_deref() {
                Some([one]) if matches!(field.data_type(), DataType::List(_)) => {
                    fields.push(Arc::clone(one));
                }
                _ => return Err(unsupported("UNNEST of a MAP in a SELECT list")),
            }
        }
        // Each output column stems from one input column; a list's place is behind the kept ones.
        let place = |c: &usize| match keep.binary_search(c) {
            Ok(at) => at,
            Err(_) => keep.len() + lists.iter().position(|list| list == c).unwrap_or(0),
        };
        let places: Vec<usize> = u.dependency_indices.iter().map(place).collect();
        let outer = u.options.null_handling == NullHandling::PreserveAndExpandEmpty;
        let unnest = Unnest { keep, lists, outer, ordinality: false, flatten: false };
        let node = self.add_unnest(input, unnest, fields);
        let narrow = self.schema(node);
        let columns = places.iter().map(|&c| Expression::column(&narrow, c)).collect();
        self.calc(node, None, columns, Arc::new(u.schema.as_arrow().clone()))
    }
}
