//! `INTERSECT [ALL]` and `EXCEPT [ALL]`: one operator over whole rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, cast};

use super::Lowerer;
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::sql::set_operation::{SetKind, SetNode};

impl Lowerer<'_> {
    pub(super) fn set_operation(&mut self, set: &SetNode) -> Result<NodeId> {
        let schema: SchemaRef = Arc::new(set.schema.as_arrow().clone());
        let left = self.as_columns(&set.left, &schema)?;
        let right = self.as_columns(&set.right, &schema)?;
        let (l, r) = (&self.nodes[left.0].props, &self.nodes[right.0].props);
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let props = Props {
            mode: match set.kind {
                SetKind::Intersect => l.mode.max(r.mode),
                SetKind::Except => ChangelogMode::Retract,
            },
            unique_key: match (&l.unique_key, set.all) {
                (Some(key), _) => Some(key.clone()),
                (None, true) => None,
                (None, false) => Some(all.clone()),
            },
            window: WindowColumns::default(),
            distribution: Distribution::Hash(all),
            bounded: l.bounded && r.bounded,
            window_delay: l.window_delay.max(r.window_delay),
            rowtimes: Vec::new(),
        };
        let operator = Operator::SetOperation { kind: set.kind, all: set.all };
        Ok(self.add(operator, vec![left, right], schema, props))
    }

    /// The rows of `plan` in the types of `schema`.
    fn as_columns(&mut self, plan: &LogicalPlan, schema: &SchemaRef) -> Result<NodeId> {
        let input = self.plan(plan)?;
        let below = self.schema(input);
        let logical = plan.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        let mut fields = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let own = below.field(index);
            if own.data_type() == field.data_type() {
                columns.push(Expression::column(&below, index));
            } else {
                let column = Expr::Column(Column::from(logical.qualified_field(index)));
                let expr = cast(column, field.data_type().clone());
                columns.push(Expression::compile(&expr, logical, &below)?);
            }
            fields.push(field.as_ref().clone().with_nullable(own.is_nullable()));
        }
        self.calc(input, None, columns, Arc::new(arrow::datatypes::Schema::new(fields)))
    }
}
