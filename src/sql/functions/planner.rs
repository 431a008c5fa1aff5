//! SQL forms that are function calls: `SUBSTRING(s FROM 2)`, `EXTRACT(HOUR FROM ts)`.
//!
//! DataFusion's own planners would take its functions for them, past the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans the special forms onto our functions, by name.
#[derive(Debug)]
pub(super) struct FormPlanner {
    functions: BTreeMap<String, Arc<ScalarUDF>>,
}

impl FormPlanner {
    /// A planner onto these functions.
    pub(super) fn new(functions: Vec<Arc<ScalarUDF>>) -> Self {
        let functions = functions.into_iter().map(|f| (f.name().to_string(), f)).collect();
        FormPlanner { functions }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> PlannerResult<Vec<Expr>> {
        match self.functions.get(name) {
            Some(function) => PlannerResult::Planned(function.call(args)),
            None => PlannerResult::Original(args),
        }
    }
}

impl ExprPlanner for FormPlanner {
    /// `map[key]`; DataFusion compares a literal key only with keys of the literal's own type.
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let (DataType::Map(_, _), Some(function)) =
            (access.expr.get_type(schema)?, self.functions.get("map_value"))
        else {
            return Ok(PlannerResult::Original(access));
        };
        let key = match access.field_access {
            GetFieldAccess::NamedStructField { name } => Expr::Literal(name, None),
            GetFieldAccess::ListIndex { key } => *key,
            GetFieldAccess::ListRange { .. } => return plan_err!("a MAP has no ranges"),
        };
        Ok(PlannerResult::Planned(function.call(vec![access.expr, key])))
    }

    /// `json -> key` and `json ->> key`.
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let name = match expr.op {
            BinaryOperator::Arrow => "json_get",
            BinaryOperator::LongArrow => "json_get_text",
            _ => return Ok(PlannerResult::Original(expr)),
        };
        match self.functions.get(name) {
            Some(function) => {
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(self.call("substr", args))
    }

    fn plan_extract(&self, mut args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let field = match args.first() {
            Some(Expr::Literal(ScalarValue::Utf8(Some(field)), _)) => field.to_ascii_lowercase(),
            _ => return Ok(PlannerResult::Original(args)),
        };
        let name = match field.as_str() {
            "day" => "dayofmonth",
            "doy" => "dayofyear",
            "dow" => "dayofweek",
            same @ ("hour" | "minute" | "second" | "year" | "quarter" | "month" | "week") => same,
            _ => return Ok(PlannerResult::Original(args)),
        };
        args.remove(0);
        Ok(self.call(name, args))
    }
}
