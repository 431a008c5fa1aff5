//! Flink's meaning of expressions that parse as they are.
//!
//! Rewrites syntax trees in place before planning: functions of the current time become the row's
//! event time, `TIMESTAMPADD(HOUR, ..)` gets its unit as a string, `FLOOR(ts TO HOUR)` becomes a
//! truncation, and so on. Never changes which columns are read. Called by the statement parser.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, Interval, ObjectNamePart, TableFactor, Value,
    VisitMut, VisitorMut,
};

use super::dialect::{call, cast, string};
use super::interval::interval_ms;
use super::proctime;

/// Rewrites every expression and table factor of `tree`.
pub fn rewrite<V: VisitMut>(tree: &mut V) {
    let _ = tree.visit(&mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(new) = rewritten(expr) {
            *expr = new;
        }
        ControlFlow::Continue(())
    }

    /// `CROSS JOIN UNNEST(array) AS t (x)`.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor
        else {
            return ControlFlow::Continue(());
        };
        if name.to_string().eq_ignore_ascii_case("UNNEST") {
            let array_exprs = args.args.iter().filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            });
            *factor = TableFactor::UNNEST {
                alias: alias.take(),
                array_exprs: array_exprs.collect(),
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: *with_ordinality,
            };
        }
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => function_rewritten(function),
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(unit) } => floor(expr, unit),
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(unit) } => ceil(expr, unit),
        Expr::Interval(interval) if interval.last_field.is_some() => {
            let ms = interval_ms(&Expr::Interval(interval.clone()))?;
            Some(milliseconds(ms))
        }
        Expr::Value(value) => match &value.value {
            // A literal with an exponent is approximate: DOUBLE, not DECIMAL.
            Value::Number(text, _) if text.contains(['e', 'E']) => {
                Some(cast(string(text), "DOUBLE"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn milliseconds(ms: i64) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(string(&format!("{ms} milliseconds"))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

fn has_arguments(function: &Function) -> bool {
    match &function.args {
        FunctionArguments::None => false,
        FunctionArguments::Subquery(_) => true,
        FunctionArguments::List(list) => !list.args.is_empty(),
    }
}

fn function_rewritten(function: &mut Function) -> Option<Expr> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice() else { return None };
    if name.quote_style.is_some() {
        return None;
    }
    let lower = name.value.to_ascii_lowercase();
    let now = || call(proctime::NAME, Vec::new());
    match lower.as_str() {
        "row" => {
            name.value = "struct".to_string();
            None
        }
        "mod" => modulo(function),
        "timestampadd" | "timestampdiff" => {
            unit_to_string(function);
            None
        }
        _ if has_arguments(function) && !lower.starts_with("current_t") => None,
        "proctime" | "now" | "current_timestamp" | "localtimestamp" | "current_row_timestamp" => {
            Some(now())
        }
        "current_date" | "today" => Some(cast(now(), "DATE")),
        "current_time" | "localtime" => Some(cast(now(), "TIME")),
        "unix_timestamp" => {
            Some(cast(call("date_part", vec![string("epoch"), now()]), "BIGINT"))
        }
        _ => None,
    }
}

/// `TIMESTAMPADD(HOUR, ..)`: the unit is a word, not a column.
fn unit_to_string(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
        && let Expr::Identifier(Ident { value, quote_style: None, .. }) = first
    {
        let unit = value.to_ascii_uppercase();
        *first = string(unit.trim_start_matches("SQL_TSI_"));
    }
}

fn floor(expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    rounded("flink_floor_ts", expr, unit)
}

fn ceil(expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    rounded("flink_ceil_ts", expr, unit)
}

fn rounded(function: &str, expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    if *unit == DateTimeField::NoDateTime {
        return None;
    }
    Some(call(function, vec![string(&unit.to_string()), expr.clone()]))
}

/// `MOD(a, b)` is `a % b`.
fn modulo(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let nested = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
    Some(Expr::BinaryOp { left: nested(left), op: BinaryOperator::Modulo, right: nested(right) })
}
