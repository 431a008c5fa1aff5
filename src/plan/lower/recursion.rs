//! Recursions: what does not depend on their names is computed outside, once; the rest becomes the
//! plan inside of one operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::logical_expr::Operator as BinaryOperator;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};

use super::calc::all_columns;
use super::{Lowerer, unsupported};
use crate::error::Result;
use crate::plan::aggregate::AggregateFunction;
use crate::plan::explain;
use crate::plan::expr::Expression;
use crate::plan::node::{Join, Node, NodeId, Operator, Rank, Recursive, StreamPlan};
use crate::plan::props::{ChangelogMode, Props};
use crate::plan::temporal::LookupJoin;
use crate::sql::recursion::{RecursiveNode, Variable, WorkTable};

/// The column that says which name a row of a recursion of several names is of.
const NAME_COLUMN: &str = "$name";

impl Lowerer<'_> {
    /// What a name holds, inside of its recursion.
    pub(super) fn recursion_variable(
        &mut self,
        work: &WorkTable,
        projection: Option<&[usize]>,
        schema: SchemaRef,
    ) -> Result<NodeId> {
        use datafusion::logical_expr::TableSource;
        let full = work.schema();
        let operator = Operator::RecursionVariable {
            recursion: work.id,
            index: work.index,
            name: work.name.clone(),
        };
        let props = Props { mode: ChangelogMode::Retract, ..Props::source(true) };
        let node = self.add(operator, vec![], Arc::clone(&full), props);
        let Some(picked) = projection else { return Ok(node) };
        let columns = picked.iter().map(|&c| Expression::column(&full, c)).collect();
        self.calc(node, None, columns, schema)
    }

    /// The node of one name of a recursion.
    pub(super) fn recursive(&mut self, node: &RecursiveNode) -> Result<NodeId> {
        let mut bodies = Vec::with_capacity(node.bodies.len());
        for (body, variable) in node.bodies.iter().zip(node.variables.iter()) {
            let body = self.plan(body)?;
            let columns = all_columns(&self.schema(body));
            bodies.push(self.calc(body, None, columns, Arc::clone(&variable.schema))?);
        }
        let (inner, bodies, inputs) = self.cut_out(node.id, &bodies)?;
        let props = self.recursive_props(&inner, &inputs);
        let names = node.variables.iter().map(|v| v.name.clone());
        let operator = Operator::Recursive(Box::new(Recursive {
            inner,
            variables: names.zip(bodies).collect(),
            limit: node.limit.iterations.unwrap_or(self.settings.recursion_limit),
            returns: node.limit.returns,
            final_only: false,
        }));
        let out: SchemaRef = Arc::new(node.schema.as_arrow().clone());
        if let [variable] = node.variables.as_slice() {
            let id = self.add(operator, inputs, Arc::clone(&variable.schema), props);
            let columns = all_columns(&variable.schema);
            return self.calc(id, None, columns, out);
        }
        let wide = wide_schema(&node.variables);
        let id = self.add(operator, inputs, Arc::clone(&wide), props);
        let before: usize =
            node.variables.iter().take(node.output).map(|v| v.schema.fields().len()).sum();
        let columns =
            (0..out.fields().len()).map(|c| Expression::column(&wide, 1 + before + c)).collect();
        let is_output = Expression::new(Arc::new(BinaryExpr::new(
            Arc::clone(Expression::column(&wide, 0).physical()),
            BinaryOperator::Eq,
            Arc::new(Literal::new((node.output as i32).into())),
        )));
        self.calc(id, Some(is_output), columns, out)
    }

    /// The nodes that depend on the names of recursion `id`, as a plan of their own; where the
    /// bodies are in it; and the nodes that it reads.
    fn cut_out(
        &self,
        id: u64,
        bodies: &[NodeId],
    ) -> Result<(StreamPlan, Vec<NodeId>, Vec<NodeId>)> {
        let mut depends = vec![false; self.nodes.len()];
        let mut needed = vec![false; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            depends[place] = match &node.operator {
                Operator::RecursionVariable { recursion, .. } => *recursion == id,
                _ => node.inputs.iter().any(|input| depends[input.0]),
            };
        }
        bodies.iter().for_each(|body| needed[body.0] = true);
        for (place, node) in self.nodes.iter().enumerate().rev() {
            if needed[place] && depends[place] {
                node.inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        let mut cut = Cut { lowerer: self, plan: StreamPlan::default(), inputs: Vec::new() };
        let mut places: BTreeMap<usize, NodeId> = BTreeMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if !needed[place] || !depends[place] {
                continue;
            }
            check(node, self)?;
            let inputs = node.inputs.iter().map(|input| match places.get(&input.0) {
                Some(inner) => *inner,
                None => cut.outer(*input),
            });
            let inputs: Vec<NodeId> = inputs.collect();
            let operator = match &node.operator {
                Operator::LookupJoin(lookup) => Operator::Join(cut.as_join(lookup, &inputs)),
                other => other.clone(),
            };
            places.insert(place, cut.push(Node { operator, inputs, ..node.clone() }));
        }
        let bodies = bodies.iter().map(|body| match places.get(&body.0) {
            Some(inner) => *inner,
            None => cut.outer(*body),
        });
        let bodies = bodies.collect();
        Ok((cut.plan, bodies, cut.inputs))
    }

    fn recursive_props(&self, inner: &StreamPlan, inputs: &[NodeId]) -> Props {
        let of = |id: &NodeId| &self.nodes[id.0].props;
        let only_grows = inputs.iter().all(|id| of(id).mode == ChangelogMode::Append)
            && inner.nodes.iter().all(is_monotone);
        Props {
            mode: if only_grows { ChangelogMode::Append } else { ChangelogMode::Retract },
            bounded: inputs.iter().all(|id| of(id).bounded),
            ..Props::source(true)
        }
    }
}

/// The inner plan while it is put together.
struct Cut<'a, 'b> {
    lowerer: &'a Lowerer<'b>,
    plan: StreamPlan,
    inputs: Vec<NodeId>,
}

impl Cut<'_, '_> {
    fn push(&mut self, node: Node) -> NodeId {
        self.plan.nodes.push(node);
        NodeId(self.plan.nodes.len() - 1)
    }

    /// A join with a table that never changes is a join like any other: names do change.
    fn as_join(&self, lookup: &LookupJoin, inputs: &[NodeId]) -> Join {
        let width = |i: usize| {
            inputs.get(i).map_or(0, |input| self.plan.node(*input).schema.fields().len())
        };
        let kind = match (lookup.kind, lookup.table) {
            (JoinType::Left, 0) => JoinType::Right,
            (JoinType::LeftSemi, 0) => JoinType::RightSemi,
            (JoinType::LeftAnti, 0) => JoinType::RightAnti,
            (kind, _) => kind,
        };
        let (left, all) = (width(0), width(0) + width(1));
        let columns = match kind {
            JoinType::LeftSemi | JoinType::LeftAnti => (0..left).collect(),
            JoinType::RightSemi | JoinType::RightAnti => (left..all).collect(),
            _ => (0..all).collect(),
        };
        Join {
            kind,
            left_keys: lookup.left_keys.clone(),
            right_keys: lookup.right_keys.clone(),
            null_equals_null: lookup.null_equals_null,
            filter: lookup.filter.clone(),
            columns,
        }
    }

    /// The leaf that stands for a node outside; an index of it is not needed inside.
    fn outer(&mut self, id: NodeId) -> NodeId {
        let node = self.lowerer.nodes.get(id.0);
        if let Some(Operator::Arrange { .. }) = node.map(|n| &n.operator)
            && let Some(input) = node.and_then(|n| n.inputs.first())
        {
            return self.outer(*input);
        }
        let index = match self.inputs.iter().position(|known| *known == id) {
            Some(index) => index,
            None => {
                self.inputs.push(id);
                self.inputs.len() - 1
            }
        };
        let operator = Operator::RecursionInput(index);
        if let Some(known) = self.plan.nodes.iter().position(|n| n.operator == operator) {
            return NodeId(known);
        }
        let outside = &self.lowerer.nodes[id.0];
        let leaf = Node { operator, inputs: Vec::new(), ..outside.clone() };
        self.push(leaf)
    }
}

/// The name of a row, then the columns of all names.
fn wide_schema(variables: &[Variable]) -> SchemaRef {
    let mut fields = vec![Field::new(NAME_COLUMN, DataType::Int32, false)];
    for variable in variables {
        let columns = variable.schema.fields().iter();
        fields.extend(columns.map(|f| f.as_ref().clone().with_nullable(true)));
    }
    Arc::new(Schema::new(fields))
}

/// Whether an operator may stand inside of a recursion.
fn check(node: &Node, lowerer: &Lowerer<'_>) -> Result<()> {
    let refused = |what: &str| {
        Err(unsupported(&format!("{what} over a name of WITH RECURSIVE inside its definition"))
            .with_hint("put it into the query behind the WITH, or into a view that the WITH reads"))
    };
    match &node.operator {
        Operator::RecursionVariable { .. }
        | Operator::RecursionInput(_)
        | Operator::Calc(_)
        | Operator::Union
        | Operator::Expand { .. }
        | Operator::Unnest(_)
        | Operator::Arrange { .. }
        | Operator::Join(_)
        | Operator::LookupJoin(_)
        | Operator::Rank(Rank { first_by_time: false, .. })
        | Operator::SetOperation { .. } => Ok(()),
        Operator::GroupAggregate { calls, .. } => {
            let by_time = |f: &AggregateFunction| {
                matches!(f, AggregateFunction::FirstValue | AggregateFunction::LastValue)
            };
            match calls.iter().any(|call| by_time(&call.function)) {
                true => refused("FIRST_VALUE or LAST_VALUE"),
                false => Ok(()),
            }
        }
        Operator::Recursive(_) => refused("another WITH RECURSIVE"),
        _ => {
            let plan = StreamPlan { nodes: lowerer.nodes.clone(), outputs: Vec::new() };
            let text = explain::describe(&plan, node);
            refused(text.split('(').next().unwrap_or("this operation"))
        }
    }
}

/// Whether more input can only mean more output.
fn is_monotone(node: &Node) -> bool {
    match &node.operator {
        Operator::RecursionVariable { .. }
        | Operator::RecursionInput(_)
        | Operator::Calc(_)
        | Operator::Union
        | Operator::Expand { .. }
        | Operator::Unnest(_)
        | Operator::Arrange { .. } => true,
        Operator::GroupAggregate { keys, calls, .. } => calls.is_empty() && !keys.is_empty(),
        Operator::Join(join) => {
            matches!(join.kind, JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi)
        }
        _ => false,
    }
}
