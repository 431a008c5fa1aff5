//! `INTERSECT [ALL]` and `EXCEPT [ALL]` as a logical node.
//!
//! The library plans them as semi and anti joins, which count no duplicates. Owns the node that
//! stands for them in plans and what the optimiser may do with it (nothing: rows pass whole). Put
//! in by [`super::bind`], taken apart by the lowering.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DFSchemaRef, JoinType, NullEquality, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{
    Distinct, Expr, Extension, Join, LogicalPlan, UserDefinedLogicalNodeCore,
};

/// Which set operation, beside unions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Rows of both inputs.
    Intersect,
    /// Rows of the left input that are not in the right one.
    Except,
}

impl SetKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            SetKind::Intersect => "INTERSECT",
            SetKind::Except => "EXCEPT",
        }
    }
}

/// A set operation: the columns of the left input by name, of both by type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetNode {
    /// Which.
    pub kind: SetKind,
    /// Whether duplicates count.
    pub all: bool,
    /// The left input.
    pub left: LogicalPlan,
    /// The right input, column by column.
    pub right: LogicalPlan,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl SetNode {
    fn try_new(kind: SetKind, all: bool, left: LogicalPlan, right: LogicalPlan) -> Result<Self> {
        let (l, r) = (left.schema(), right.schema());
        if l.fields().len() != r.fields().len() {
            return plan_err!("{} takes queries of the same columns", kind.name());
        }
        let mut fields = Vec::with_capacity(l.fields().len());
        for ((qualifier, field), other) in l.iter().zip(r.fields()) {
            let data_type = common(field.data_type(), other.data_type());
            let Some(data_type) = data_type else {
                return plan_err!(
                    "{}: column {} is of types that do not compare: {} and {}",
                    kind.name(),
                    field.name(),
                    field.data_type(),
                    other.data_type()
                );
            };
            let field = field.as_ref().clone().with_data_type(data_type);
            fields.push((qualifier.cloned(), Arc::new(field)));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, l.metadata().clone())?);
        Ok(SetNode { kind, all, left, right, schema })
    }
}

fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    let decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    match (left, right) {
        (l, r) if l == r => Some(l.clone()),
        (l, r) if (l.is_floating() && decimal(r)) || (decimal(l) && r.is_floating()) => {
            Some(DataType::Float64)
        }
        (l, r) => type_union_coercion(l, r),
    }
}

/// Puts [`SetNode`]s in place of the joins by which the library means set operations: they alone
/// compare NULLs as equal before anything is optimised.
pub fn set_operations(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        let Some(kind) = set_kind(&join) else {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        };
        let left = Arc::unwrap_or_clone(join.left);
        let right = Arc::unwrap_or_clone(join.right);
        let (all, left) = match left {
            LogicalPlan::Distinct(Distinct::All(input)) => (false, Arc::unwrap_or_clone(input)),
            other => (true, other),
        };
        let node = SetNode::try_new(kind, all, left, right)?;
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
    })?;
    Ok(transformed.data)
}

fn set_kind(join: &Join) -> Option<SetKind> {
    let whole = join.on.len() == join.left.schema().fields().len()
        && join.on.len() == join.right.schema().fields().len();
    if join.null_equality != NullEquality::NullEqualsNull || join.filter.is_some() || !whole {
        return None;
    }
    match join.join_type {
        JoinType::LeftSemi => Some(SetKind::Intersect),
        JoinType::LeftAnti => Some(SetKind::Except),
        _ => None,
    }
}

impl PartialOrd for SetNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let this = (&self.kind, &self.all, &self.left, &self.right);
        this.partial_cmp(&(&other.kind, &other.all, &other.left, &other.right))
    }
}

impl UserDefinedLogicalNodeCore for SetNode {
    fn name(&self) -> &str {
        "SetOperation"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// The inputs name their columns differently: no filter passes.
    #[allow(clippy::disallowed_types, reason = "the trait's type; its order is not used")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SetOperation: {}{}", self.kind.name(), if self.all { " ALL" } else { "" })
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 2]>::try_from(inputs) {
            Ok([left, right]) => Self::try_new(self.kind, self.all, left, right),
            Err(_) => plan_err!("a set operation has two inputs"),
        }
    }

    /// Rows are compared whole.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        Some(vec![all.clone(), all])
    }
}
