//! `FOR SYSTEM_TIME AS OF`: a table's contents as of each left row's time.
//!
//! The planner has no such join. The syntax becomes two parts that every optimiser rule leaves in
//! place: the right side is wrapped in a [`VersionedNode`], below which no filter goes, and the
//! time
//! travels in the join's condition, in a call that reads columns of both sides. The lowering takes
//! both apart again. Owns the two parts; called by the rewriting of statements and by the planner
//! of relations.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::{DFSchemaRef, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Extension, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, UserDefinedLogicalNodeCore, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as AstExpr, Join, JoinConstraint, JoinOperator, Select, Spanned,
    TableFactor, TableVersion, TableWithJoins, Visit, Visitor,
};

use super::context::stream_table;
use super::dialect::call;
use super::window_tvf::fail;
use crate::error::Error;

/// The function that carries the time in a join's condition; nobody can write this name.
pub const NAME: &str = "$system_time_as_of";

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    signature: Signature,
}

impl ScalarUDFImpl for AsOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("FOR SYSTEM_TIME AS OF was not planned")
    }
}

/// The function.
pub fn udf() -> ScalarUDF {
    static UDF: LazyLock<ScalarUDF> = LazyLock::new(|| {
        let signature = Signature::variadic_any(Volatility::Stable);
        ScalarUDF::from(AsOf { signature })
    });
    UDF.clone()
}

/// The time in a conjunct of a join's condition, if it carries one.
pub fn as_of(conjunct: &Expr) -> Option<&Expr> {
    match conjunct {
        Expr::ScalarFunction(call) if call.func.name() == NAME => call.args.first(),
        _ => None,
    }
}

/// Puts the time of each `JOIN t FOR SYSTEM_TIME AS OF time` of `select` into its condition.
pub(crate) fn rewrite(select: &mut Select) {
    select.from.iter_mut().for_each(rewrite_joins);
}

fn rewrite_joins(table: &mut TableWithJoins) {
    rewrite_nested(&mut table.relation);
    for join in &mut table.joins {
        rewrite_nested(&mut join.relation);
        rewrite_join(join);
    }
}

fn rewrite_nested(relation: &mut TableFactor) {
    if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
        rewrite_joins(table_with_joins);
    }
}

fn rewrite_join(join: &mut Join) {
    let TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } =
        &join.relation
    else {
        return;
    };
    use JoinOperator::{Inner, Join as Plain, Left, LeftOuter};
    // Other kinds keep the versioned table without a time, which the lowering refuses.
    let (Plain(constraint) | Inner(constraint) | Left(constraint) | LeftOuter(constraint)) =
        &mut join.join_operator
    else {
        return;
    };
    let JoinConstraint::On(condition) = constraint else { return };
    let mut args = vec![time.clone()];
    columns_of(condition, &mut args);
    // With columns of both sides the call stays a condition of the join.
    let time = call(NAME, args);
    let condition = std::mem::replace(condition, time.clone());
    *constraint = JoinConstraint::On(AstExpr::BinaryOp {
        left: Box::new(AstExpr::Nested(Box::new(condition))),
        op: BinaryOperator::And,
        right: Box::new(time),
    });
}

/// The columns that an expression names, without those of subqueries.
fn columns_of(expr: &AstExpr, found: &mut Vec<AstExpr>) {
    struct Columns<'a>(&'a mut Vec<AstExpr>);
    impl Visitor for Columns<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &AstExpr) -> ControlFlow<()> {
            if matches!(expr, AstExpr::Identifier(_) | AstExpr::CompoundIdentifier(_))
                && !self.0.contains(expr)
            {
                self.0.push(expr.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Columns(found));
}

/// A relation of which other versions than the last are read: `FOR SYSTEM_TIME AS OF`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionedNode {
    /// The relation.
    pub input: LogicalPlan,
    /// Columns that tell versions apart, read by nobody else.
    needed: Vec<usize>,
}

impl PartialOrd for VersionedNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for VersionedNode {
    fn name(&self) -> &str {
        "Versioned"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Versioned")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.into_iter().next() {
            Some(input) => Ok(Self::new(input)),
            None => plan_err!("a versioned relation has an input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut all: Vec<usize> = output_columns.iter().chain(&self.needed).copied().collect();
        all.sort_unstable();
        all.dedup();
        Some(vec![all])
    }
}

impl VersionedNode {
    /// Versions of `input`.
    pub fn new(input: LogicalPlan) -> Self {
        let needed = needed_columns(&input).unwrap_or_else(|| {
            // Of a view any column may tell its versions apart.
            (0..input.schema().fields().len()).collect()
        });
        VersionedNode { input, needed }
    }
}

/// The key and time columns of a table.
fn needed_columns(plan: &LogicalPlan) -> Option<Vec<usize>> {
    let mut at = plan;
    let table = loop {
        match at {
            LogicalPlan::SubqueryAlias(alias) => at = &alias.input,
            LogicalPlan::Projection(projection) => at = &projection.input,
            LogicalPlan::TableScan(scan) => break stream_table(scan.source.as_ref())?,
            _ => return None,
        }
    };
    let time = table.def.watermark.as_ref().map(|w| &w.column);
    let names = table.def.primary_key.iter().chain(time);
    let schema = plan.schema();
    Some(names.filter_map(|n| schema.index_of_column_by_name(None, n)).collect())
}

/// Plans `t FOR SYSTEM_TIME AS OF ..` on its own: the time is in the join's condition.
pub(crate) fn plan_versioned(
    mut relation: TableFactor,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let span = relation.span();
    let mut is_system_time = false;
    if let TableFactor::Table { version, .. } = &mut relation {
        let taken = version.take();
        is_system_time = matches!(taken, Some(TableVersion::ForSystemTimeAsOf(_)));
    }
    if !is_system_time {
        let error = Error::sql("this version of a table cannot be read")
            .with_hint("write JOIN t FOR SYSTEM_TIME AS OF o.ts AS t ON ..");
        return Err(fail(error, span));
    }
    let input = context.plan(relation)?;
    let node = Arc::new(VersionedNode::new(input));
    let plan = LogicalPlan::Extension(Extension { node });
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
}
