//! Table functions in `FROM`: arrays and maps as rows, one beside each row that they are of.
//!
//! Owns the node that stands for `UNNEST(..)` and `LATERAL TABLE(f(..))` in plans, its planning
//! from syntax, and the rewriting of lateral joins with it into a node over the left side. A table
//! function is any function that returns an ARRAY or a MAP. Called by the planner and the binder;
//! taken apart by the lowering.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, TableReference, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, LogicalPlanBuilder,
    UserDefinedLogicalNodeCore, when,
};
use datafusion::sql::sqlparser::ast::{
    Expr as AstExpr, FunctionArg, FunctionArgExpr, ObjectName, Spanned, TableAlias,
};

use super::types::type_name;
use super::window_tvf::fail;
use crate::error::Error;

/// The columns of the input, then those of the elements of lists, one row an element.
///
/// Of several lists the first elements come together, then the second ones, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnnestNode {
    /// What the lists are of.
    pub input: LogicalPlan,
    /// ARRAYs and MAPs, over the input.
    pub lists: Vec<Expr>,
    /// Whether a row without elements is kept, with NULLs.
    pub outer: bool,
    /// Whether the last column counts the elements of each row from 1.
    pub ordinality: bool,
    /// Whether elements that are rows become columns.
    pub flatten: bool,
    /// What the new columns belong to.
    qualifier: TableReference,
    /// The input's columns and the new ones.
    pub schema: DFSchemaRef,
}

impl PartialOrd for UnnestNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let this = (&self.input, &self.lists, self.outer, self.ordinality);
        this.partial_cmp(&(&other.input, &other.lists, other.outer, other.ordinality))
    }
}

/// The columns that the elements of a list of this type become; `None` if it is no list.
pub fn element_fields(list: &DataType, flatten: bool, name: &str) -> Option<Vec<FieldRef>> {
    let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
    match list {
        DataType::List(item) => Some(match item.data_type() {
            DataType::Struct(fields) if flatten => fields.iter().map(nullable).collect(),
            other => vec![Arc::new(Field::new(name, other.clone(), true))],
        }),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => Some(pair.iter().map(nullable).collect()),
            _ => None,
        },
        _ => None,
    }
}

impl UnnestNode {
    fn try_new(
        input: LogicalPlan,
        lists: Vec<Expr>,
        (outer, ordinality, flatten): (bool, bool, bool),
        qualifier: TableReference,
    ) -> Result<Self> {
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let before = fields.len();
        for list in &lists {
            let data_type = list.get_type(input.schema())?;
            let name = format!("EXPR${}", fields.len() - before);
            let Some(columns) = element_fields(&data_type, flatten, &name) else {
                return plan_err!("UNNEST takes an ARRAY or a MAP, not {}", type_name(&data_type));
            };
            for field in columns {
                // Elements of two lists may have fields of one name.
                let taken = |name: &str| fields[before..].iter().any(|(_, f)| f.name() == name);
                let mut name = field.name().clone();
                while taken(&name) {
                    name.push('0');
                }
                let field = Arc::new(field.as_ref().clone().with_name(name));
                fields.push((Some(qualifier.clone()), field));
            }
        }
        if ordinality {
            let field = Field::new("ORDINALITY", DataType::Int32, outer);
            fields.push((Some(qualifier.clone()), Arc::new(field)));
        }
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        let schema = Arc::new(schema);
        Ok(UnnestNode { input, lists, outer, ordinality, flatten, qualifier, schema })
    }

    fn flags(&self) -> (bool, bool, bool) {
        (self.outer, self.ordinality, self.flatten)
    }
}

impl UserDefinedLogicalNodeCore for UnnestNode {
    fn name(&self) -> &str {
        "Unnest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.lists.clone()
    }

    /// A filter on the row goes below; one on the elements cannot.
    #[allow(clippy::disallowed_types, reason = "the trait's type; its order is not used")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        let count = self.input.schema().fields().len();
        self.schema.fields().iter().skip(count).map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let lists: Vec<String> = self.lists.iter().map(ToString::to_string).collect();
        write!(f, "Unnest: {}{}", lists.join(", "), if self.outer { " outer" } else { "" })
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.into_iter().next() {
            Some(input) => Self::try_new(input, exprs, self.flags(), self.qualifier.clone()),
            None => plan_err!("an unnest has an input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let count = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|index| *index < count).collect()])
    }
}

/// A call of a table function in `FROM`.
pub(super) struct TableCall {
    /// The function.
    pub(super) name: ObjectName,
    /// Its arguments.
    pub(super) args: Vec<FunctionArg>,
    /// `WITH ORDINALITY`.
    pub(super) ordinality: bool,
    /// What it is called in the query.
    pub(super) alias: Option<TableAlias>,
}

/// Plans `UNNEST(..)` or a function that returns an ARRAY or a MAP; columns of tables to the left
/// become outer references.
pub(super) fn plan_call(
    call: TableCall,
    context: &mut dyn RelationPlannerContext,
) -> Result<PlannedRelation> {
    let span = call.name.span();
    let function = call.name.to_string();
    let unwraps = ["UNNEST", "EXPLODE"].iter().any(|name| function.eq_ignore_ascii_case(name));
    let mut args = Vec::with_capacity(call.args.len());
    for arg in call.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => args.push(expr),
            other => {
                let message = format!("{function} does not take the argument '{other}'");
                return Err(fail(Error::sql(message), span));
            }
        }
    }
    let lists: Vec<AstExpr> = if unwraps { args } else { vec![function_call(call.name, args)] };
    if lists.is_empty() {
        let message = format!("{} takes an ARRAY or a MAP", function.to_uppercase());
        return Err(fail(Error::sql(message), span));
    }
    let nothing = DFSchema::empty();
    let lists = lists
        .into_iter()
        .map(|list| context.sql_expr_to_logical_expr(list, &nothing))
        .collect::<Result<Vec<_>>>()?;
    for list in &lists {
        let data_type = list.get_type(&nothing)?;
        if element_fields(&data_type, true, "").is_none() {
            let name = function.to_uppercase();
            let given = type_name(&data_type);
            let error = match unwraps {
                true => Error::sql(format!("{name} takes an ARRAY or a MAP, not {given}")),
                false => Error::sql(format!("{name} returns {given} and is no table function"))
                    .with_hint("a table function returns an ARRAY or a MAP"),
            };
            return Err(fail(error, span));
        }
    }
    let one_row = LogicalPlanBuilder::empty(true).build()?;
    let qualifier = TableReference::bare(function.to_lowercase());
    let node = UnnestNode::try_new(one_row, lists, (false, call.ordinality, true), qualifier)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    Ok(PlannedRelation::new(plan, call.alias))
}

fn function_call(name: ObjectName, args: Vec<AstExpr>) -> AstExpr {
    match super::dialect::call("", args) {
        AstExpr::Function(function) => {
            AstExpr::Function(datafusion::sql::sqlparser::ast::Function { name, ..function })
        }
        other => other,
    }
}

/// Joins with a table function, and lateral subqueries over one, as nodes over the left side.
pub fn inline_laterals(plan: LogicalPlan) -> Result<LogicalPlan> {
    let transformed = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) => match inlined(&join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(transformed.data)
}

fn inlined(join: &Join) -> Result<Option<LogicalPlan>> {
    let always = |filter: &Expr| matches!(filter, Expr::Literal(value, _) if *value == true.into());
    let outer = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        _ => return Ok(None),
    };
    if !join.on.is_empty() || !unnests(&join.right) {
        return Ok(None);
    }
    let filter = join.filter.as_ref().filter(|filter| !always(filter));
    if outer && filter.is_some() {
        return plan_err!("LEFT JOIN of a table function takes ON TRUE alone");
    }
    let chain = Chain { left: &join.left, outer };
    let Some(plan) = chain.over(&join.right)? else { return Ok(None) };
    let plan = match filter {
        Some(filter) => LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?),
        None => plan,
    };
    // The join's own columns: a chain may end with a count of elements that nobody asked for.
    let columns = join.schema.columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    Ok(Some(LogicalPlanBuilder::from(plan).project(columns)?.build()?))
}

/// Whether the leaf of a chain of nodes of one input is a table function over nothing.
fn unnests(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(s) => unnests(&s.subquery),
        LogicalPlan::SubqueryAlias(s) => unnests(&s.input),
        LogicalPlan::Projection(p) => unnests(&p.input),
        LogicalPlan::Filter(f) => unnests(&f.input),
        LogicalPlan::Extension(e) => match e.node.as_any().downcast_ref::<UnnestNode>() {
            Some(node) => {
                matches!(node.input, LogicalPlan::EmptyRelation(_)) || unnests(&node.input)
            }
            None => false,
        },
        _ => false,
    }
}

/// The right side of a join put on top of its left side.
struct Chain<'a> {
    left: &'a LogicalPlan,
    outer: bool,
}

/// The count of elements by which an outer chain knows rows without any.
const MATCHED: &str = "$matched";

impl Chain<'_> {
    fn over(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        match plan {
            LogicalPlan::EmptyRelation(e) if e.produce_one_row => Ok(Some(self.left.clone())),
            LogicalPlan::Subquery(s) => self.over(&s.subquery),
            LogicalPlan::SubqueryAlias(s) => {
                let Some(input) = self.over(&s.input)? else { return Ok(None) };
                let below = s.input.schema().columns();
                let columns = below.into_iter().map(|column| {
                    let name = column.name.clone();
                    Expr::Column(column).alias_qualified(Some(s.alias.clone()), name)
                });
                self.with_left(input, columns.collect()).map(Some)
            }
            LogicalPlan::Projection(p) => {
                let Some(input) = self.over(&p.input)? else { return Ok(None) };
                let columns = p.expr.iter().map(|expr| self.shown(self.resolved(expr)?));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                self.with_left(input, columns).map(Some)
            }
            LogicalPlan::Filter(f) if self.outer => {
                plan_err!(
                    "LEFT JOIN LATERAL with the condition {} is not supported; filter the array, \
                     or use CROSS JOIN LATERAL",
                    f.predicate
                )
            }
            LogicalPlan::Filter(f) => {
                let Some(input) = self.over(&f.input)? else { return Ok(None) };
                let predicate = self.resolved(&f.predicate)?;
                Ok(Some(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)))
            }
            LogicalPlan::Extension(e) => {
                let Some(node) = e.node.as_any().downcast_ref::<UnnestNode>() else {
                    return Ok(None);
                };
                if self.outer && unnests(&node.input) {
                    return plan_err!(
                        "LEFT JOIN LATERAL takes one table function; join the second one beside it"
                    );
                }
                let Some(input) = self.over(&node.input)? else { return Ok(None) };
                let lists = node.lists.iter().map(|e| self.resolved(e)).collect::<Result<_>>()?;
                let mut flags = node.flags();
                flags.0 |= self.outer;
                let ordinality = flags.1;
                flags.1 |= self.outer;
                let qualifier = node.qualifier.clone();
                let unnested = UnnestNode::try_new(input, lists, flags, qualifier.clone())?;
                let plan = LogicalPlan::Extension(Extension { node: Arc::new(unnested) });
                if !self.outer {
                    return Ok(Some(plan));
                }
                // The count under its hidden name, and under its own where it was asked for.
                let count = Expr::Column(Column::new(Some(qualifier), "ORDINALITY"));
                let columns = plan.schema().columns().into_iter().map(Expr::Column);
                let mut columns: Vec<Expr> =
                    columns.filter(|c| ordinality || *c != count).collect();
                columns.push(count.alias_qualified(Some("$"), MATCHED));
                Ok(Some(LogicalPlanBuilder::from(plan).project(columns)?.build()?))
            }
            _ => Ok(None),
        }
    }

    /// A projection to the left side's columns, `columns`, and the count of an outer chain.
    fn with_left(&self, input: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan> {
        let mut all: Vec<Expr> =
            self.left.schema().columns().into_iter().map(Expr::Column).collect();
        all.extend(columns);
        if self.outer {
            all.push(matched());
        }
        LogicalPlanBuilder::from(input).project(all)?.build()
    }

    /// An expression of a row without elements is NULL.
    fn shown(&self, expr: Expr) -> Result<Expr> {
        let (inner, name) = match &expr {
            Expr::Alias(alias) => {
                (alias.expr.as_ref().clone(), Some((alias.relation.clone(), alias.name.clone())))
            }
            other => (other.clone(), None),
        };
        if !self.outer || matches!(inner, Expr::Column(_)) {
            return Ok(expr);
        }
        let (relation, name) = name.unwrap_or_else(|| expr.qualified_name());
        let shown = when(matched().is_not_null(), inner).end()?;
        Ok(shown.alias_qualified(relation, name))
    }

    /// An expression with the outer references to the left side as its columns.
    fn resolved(&self, expr: &Expr) -> Result<Expr> {
        let left = self.left.schema();
        let resolved = expr.clone().transform(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) if left.has_column(column) => {
                Ok(Transformed::yes(Expr::Column(column.clone())))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(resolved.data)
    }
}

fn matched() -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare("$")), MATCHED))
}
