//! `WITH RECURSIVE`: names defined by one another, as a logical node.
//!
//! Owns the node that stands for such names in plans and the tables that stand for them inside
//! their own definitions. The meaning: all names are empty at first; every iteration computes each
//! definition over what the names held before it; what they hold when nothing changes any more is
//! the answer. `bind` makes the nodes from syntax; the lowering takes them apart.

pub mod bind;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, RecursiveQuery, TableSource,
    UserDefinedLogicalNodeCore,
};

use super::types::type_name;

/// A name that is defined by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// Its columns; any may be NULL.
    pub schema: SchemaRef,
}

/// How many iterations there may be, and what becomes of a recursion that wants more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Hash)]
pub struct RecursionLimit {
    /// The number; absent: that of the settings.
    pub iterations: Option<u64>,
    /// Whether what is there after so many iterations is the answer; otherwise it is an error.
    pub returns: bool,
}

/// One of the names of a recursion, with the definitions of all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecursiveNode {
    /// Which recursion: nodes of one recursion share it.
    pub id: u64,
    /// The names.
    pub variables: Arc<Vec<Variable>>,
    /// The definitions, name by name; they read the names as [`WorkTable`]s.
    pub bodies: Vec<LogicalPlan>,
    /// When to stop.
    pub limit: RecursionLimit,
    /// Which of the names the node stands for.
    pub output: usize,
    /// Its columns.
    pub schema: DFSchemaRef,
}

impl RecursiveNode {
    /// The nodes of all names of a recursion.
    pub fn all(
        id: u64,
        variables: &Arc<Vec<Variable>>,
        bodies: &[LogicalPlan],
        limit: RecursionLimit,
    ) -> Result<Vec<Self>> {
        let node = |(output, variable): (usize, &Variable)| {
            let schema = Arc::new(DFSchema::try_from(variable.schema.as_ref().clone())?);
            let (variables, bodies) = (Arc::clone(variables), bodies.to_vec());
            Ok(RecursiveNode { id, variables, bodies, limit, output, schema })
        };
        variables.iter().enumerate().map(node).collect()
    }
}

impl PartialOrd for RecursiveNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let this = (self.id, self.output, &self.bodies);
        this.partial_cmp(&(other.id, other.output, &other.bodies))
    }
}

impl UserDefinedLogicalNodeCore for RecursiveNode {
    fn name(&self) -> &str {
        "Recursive"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.bodies.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|v| v.name.as_str()).collect();
        write!(f, "Recursive: {}", names.join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if inputs.len() != self.bodies.len() {
            return plan_err!("a recursion has one definition a name");
        }
        Ok(RecursiveNode { bodies: inputs, ..self.clone() })
    }
}

/// What a name holds, inside the definitions of its recursion.
#[derive(Debug)]
pub struct WorkTable {
    /// Which recursion.
    pub id: u64,
    /// Which of its names.
    pub index: usize,
    /// The name.
    pub name: String,
    schema: SchemaRef,
}

impl WorkTable {
    /// The table of name `index` of recursion `id`.
    pub fn new(id: u64, index: usize, variable: &Variable) -> Self {
        let (name, schema) = (variable.name.clone(), Arc::clone(&variable.schema));
        WorkTable { id, index, name, schema }
    }

    /// The table of the only name of a new recursion.
    pub fn alone(name: &str, schema: &Schema) -> Self {
        let schema = nullable(schema);
        WorkTable { id: next_id(), index: 0, name: name.to_string(), schema }
    }
}

impl TableSource for WorkTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A number for a recursion that no other has.
pub(crate) fn next_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(0);
    IDS.fetch_add(1, Memory::Relaxed)
}

/// The columns of a name: those of `schema`, any of which may be NULL in a later iteration.
pub(crate) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let data_type = super::output::normal_type(field.data_type());
        arrow::datatypes::Field::new(field.name(), data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A definition with the columns of its name.
pub(crate) fn as_variable(plan: LogicalPlan, variable: &Variable) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let (has, wants) = (schema.fields().len(), variable.schema.fields().len());
    if has != wants {
        return plan_err!("'{}' has {wants} columns and its query {has}", variable.name);
    }
    let columns = variable.schema.fields().iter().enumerate().map(|(i, field)| {
        let column = Expr::Column(Column::from(schema.qualified_field(i)));
        let given = column.get_type(&schema)?;
        if !arrow::compute::can_cast_types(&given, field.data_type()) {
            return plan_err!(
                "column '{}' of '{}' is {} and not {}",
                field.name(),
                variable.name,
                type_name(&given),
                type_name(field.data_type())
            );
        }
        let cast = match given == *field.data_type() {
            true => column,
            false => column.cast_to(field.data_type(), schema.as_ref())?,
        };
        Ok(cast.alias(field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The library's own recursive queries, which it makes of nested ones, as nodes of ours.
pub fn own_nodes(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::RecursiveQuery(query) => Ok(Transformed::yes(own_node(query)?)),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(transformed.data)
}

fn own_node(query: RecursiveQuery) -> Result<LogicalPlan> {
    let mut table = None;
    query.recursive_term.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(work) = scan.source.downcast_ref::<WorkTable>()
            && work.name == query.name
        {
            table = Some((work.id, Arc::clone(&work.schema)));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some((id, schema)) = table else {
        return plan_err!("'{}' does not read itself", query.name);
    };
    for (own, all) in schema.fields().iter().zip(query.schema.fields()) {
        if own.data_type() != &super::output::normal_type(all.data_type()) {
            return plan_err!(
                "column '{}' of '{}' begins as {} and becomes {}: cast it in the first query",
                own.name(),
                query.name,
                type_name(own.data_type()),
                type_name(all.data_type())
            );
        }
    }
    let variable = Variable { name: query.name, schema };
    let first = LogicalPlanBuilder::from(Arc::unwrap_or_clone(query.static_term));
    let rest = Arc::unwrap_or_clone(query.recursive_term);
    let body = match query.is_distinct {
        true => first.union_distinct(rest)?.build()?,
        false => first.union(rest)?.build()?,
    };
    let bodies = vec![as_variable(body, &variable)?];
    let limit = RecursionLimit::default();
    let schema = query.schema;
    let variables = Arc::new(vec![variable]);
    let node = RecursiveNode { id, variables, bodies, limit, output: 0, schema };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}
