//! Windowing table functions in `FROM`: from syntax to [`WindowNode`].
//!
//! Owns the reading and checking of the functions' arguments, and the refusal of table factors
//! that the planner would otherwise ignore or fail on obscurely. Called by the planner.

use datafusion::common::{DataFusionError, Diagnostic, Span};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as AstExpr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Spanned, TableFactor,
};

use super::diagnostics::hint_for;
use super::dialect::table_argument;
use super::interval::interval_ms;
use super::types::type_name;
use super::unnest::{TableCall, plan_call};
use super::window::{WindowNode, WindowSpec};
use crate::error::Error;
use crate::limits::WINDOWS_PER_ROW_MAX;

const NAMES: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// Plans `TABLE(TUMBLE(..))` and its kin.
#[derive(Debug)]
pub struct WindowFunctions;

/// An error of ours inside the planner, with its place.
pub(crate) fn fail(
    error: Error,
    span: datafusion::sql::sqlparser::tokenizer::Span,
) -> DataFusionError {
    let message = error.message.clone();
    DataFusionError::External(Box::new(error))
        .with_diagnostic(Diagnostic::new_error(message, Span::try_from_sqlparser_span(span)))
}

pub(super) fn window_name(name: &ObjectName) -> Option<&'static str> {
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
    NAMES.into_iter().find(|known| ident.value.eq_ignore_ascii_case(known))
}

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let span = relation.span();
        if matches!(&relation, TableFactor::Table { version: Some(_), .. }) {
            return super::temporal::plan_versioned(relation, context);
        }
        match relation {
            TableFactor::Table { sample: Some(_), .. }
            | TableFactor::Derived { sample: Some(_), .. } => {
                let error = Error::sql("TABLESAMPLE is not supported")
                    .with_hint("take rows by their key, such as WHERE MOD(id, 10) = 0");
                Err(fail(error, span))
            }
            TableFactor::TableFunction { expr, alias } => {
                let AstExpr::Function(function) = expr else {
                    let message = "TABLE(..) takes a call of a table function";
                    return Err(fail(Error::sql(message), span));
                };
                let args = match function.args {
                    FunctionArguments::List(list) => list.args,
                    _ => Vec::new(),
                };
                let plan = plan_window(&function.name, args, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::Table { name, alias, args: Some(args), .. }
                if window_name(&name).is_some() =>
            {
                let plan = plan_window(&name, args.args, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::UNNEST {
                alias, array_exprs, with_ordinality, with_offset: false, ..
            } => {
                let name = ObjectName::from(vec![Ident::with_span(span, "UNNEST")]);
                let unnamed = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
                let args = array_exprs.into_iter().map(unnamed).collect();
                let call = TableCall { name, args, ordinality: with_ordinality, alias };
                Ok(RelationPlanning::Planned(Box::new(plan_call(call, context)?)))
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                let call = TableCall { name, args, ordinality: with_ordinality, alias };
                Ok(RelationPlanning::Planned(Box::new(plan_call(call, context)?)))
            }
            relation @ TableFactor::MatchRecognize { .. } => {
                let planned = super::match_recognize::plan::plan(relation, context)?;
                Ok(RelationPlanning::Planned(Box::new(planned)))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

/// The arguments of one call, positional and named.
struct Arguments {
    function: &'static str,
    span: datafusion::sql::sqlparser::tokenizer::Span,
    positional: std::vec::IntoIter<AstExpr>,
    named: Vec<(Ident, AstExpr)>,
}

impl Arguments {
    fn new(name: &ObjectName, args: Vec<FunctionArg>) -> Result<Self> {
        let span = name.span();
        let Some(function) = window_name(name) else {
            let shown = name.to_string();
            let mut error = Error::sql(format!("table function '{shown}' not found"));
            error.hint = hint_for(&shown, "known table functions", &NAMES);
            return Err(fail(error, span));
        };
        let mut positional = Vec::new();
        let mut named = Vec::new();
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if named.is_empty() => {
                    positional.push(expr);
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    named.push((name, expr));
                }
                other => {
                    let message = format!("{function} does not take the argument '{other}'");
                    return Err(fail(Error::sql(message), span));
                }
            }
        }
        Ok(Arguments { function, span, positional: positional.into_iter(), named })
    }

    /// The next positional argument, or the one of this name.
    fn take(&mut self, name: &str) -> Option<AstExpr> {
        if let Some(expr) = self.positional.next() {
            return Some(expr);
        }
        let index = self.named.iter().position(|(n, _)| n.value.eq_ignore_ascii_case(name))?;
        Some(self.named.remove(index).1)
    }

    fn required(&mut self, name: &str, what: &str) -> Result<AstExpr> {
        let function = self.function;
        self.take(name).ok_or_else(|| {
            let message = format!("{function} needs {what}");
            fail(Error::sql(message).with_hint(usage(function)), self.span)
        })
    }

    /// A positive span of time.
    fn span_ms(&mut self, name: &str) -> Result<i64> {
        let what = format!("its {} as an interval", name.to_lowercase());
        let expr = self.required(name, &what)?;
        let ms = self.interval(name, &expr)?;
        if ms <= 0 {
            let message =
                format!("the {} of {} must be positive", name.to_lowercase(), self.function);
            return Err(fail(Error::sql(message), expr.span()));
        }
        Ok(ms)
    }

    fn offset_ms(&mut self, modulus: i64) -> Result<i64> {
        match self.take("OFFSET") {
            Some(expr) => Ok(self.interval("OFFSET", &expr)?.rem_euclid(modulus)),
            None => Ok(0),
        }
    }

    fn interval(&self, name: &str, expr: &AstExpr) -> Result<i64> {
        interval_ms(expr).ok_or_else(|| {
            let name = name.to_lowercase();
            let message = format!("the {name} of {} is no interval of fixed length", self.function);
            let error = Error::sql(message).with_hint("write for example INTERVAL '10' SECOND");
            fail(error, self.place(expr))
        })
    }

    /// An expression's place, or the call's.
    fn place(&self, expr: &AstExpr) -> datafusion::sql::sqlparser::tokenizer::Span {
        let span = expr.span();
        if span.start.line == 0 { self.span } else { span }
    }

    fn finish(mut self) -> Result<()> {
        let function = self.function;
        let left = match (self.positional.next(), self.named.first()) {
            (Some(expr), _) => expr.to_string(),
            (None, Some((name, _))) => name.to_string(),
            (None, None) => return Ok(()),
        };
        let message = format!("{function} does not take the argument '{left}'");
        Err(fail(Error::sql(message).with_hint(usage(function)), self.span))
    }
}

fn usage(function: &str) -> String {
    let rest = match function {
        "TUMBLE" => "TABLE t, DESCRIPTOR(ts), size [, offset]",
        "HOP" => "TABLE t, DESCRIPTOR(ts), slide, size [, offset]",
        "CUMULATE" => "TABLE t, DESCRIPTOR(ts), step, size [, offset]",
        _ => "TABLE t [PARTITION BY key], DESCRIPTOR(ts), gap",
    };
    format!("{function}({rest})")
}

fn plan_window(
    name: &ObjectName,
    args: Vec<FunctionArg>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let mut args = Arguments::new(name, args)?;
    let data = args.required("DATA", "a table as its first argument")?;
    let (relation, keys) = relation_of(data, &args)?;
    let input = context.plan(relation)?;
    let schema = input.schema().clone();
    let partition_by = keys
        .into_iter()
        .map(|key| context.sql_to_expr(key, &schema))
        .collect::<Result<Vec<_>>>()?;
    let descriptor = args.required("TIMECOL", "DESCRIPTOR(time column)")?;
    let time_column = time_column(descriptor, &args, context, &input)?;
    if args.function != "SESSION" && !partition_by.is_empty() {
        let message = format!("{} does not take PARTITION BY", args.function);
        return Err(fail(Error::sql(message), args.span));
    }
    let spec = window_spec(&mut args)?;
    args.finish()?;
    let node = WindowNode::try_new(input, spec, time_column, partition_by)?;
    Ok(LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node) }))
}

fn window_spec(args: &mut Arguments) -> Result<WindowSpec> {
    let span = args.span;
    let bounded = |size: i64, step: i64| {
        if size / step >= WINDOWS_PER_ROW_MAX {
            let message = format!("a row would belong to {} windows", size / step);
            let hint = format!("at most {WINDOWS_PER_ROW_MAX} are allowed");
            return Err(fail(Error::sql(message).with_hint(hint), span));
        }
        Ok(())
    };
    Ok(match args.function {
        "TUMBLE" => {
            let size = args.span_ms("SIZE")?;
            WindowSpec::Tumble { size, offset: args.offset_ms(size)? }
        }
        "HOP" => {
            let slide = args.span_ms("SLIDE")?;
            let size = args.span_ms("SIZE")?;
            bounded(size, slide)?;
            WindowSpec::Hop { size, slide, offset: args.offset_ms(slide)? }
        }
        "CUMULATE" => {
            let step = args.span_ms("STEP")?;
            let size = args.span_ms("SIZE")?;
            if size % step != 0 {
                let message = "the size of CUMULATE must be a multiple of its step";
                return Err(fail(Error::sql(message), span));
            }
            bounded(size, step)?;
            WindowSpec::Cumulate { size, step, offset: args.offset_ms(size)? }
        }
        _ => WindowSpec::Session { gap: args.span_ms("GAP")? },
    })
}

/// The relation of the first argument and its partition columns.
fn relation_of(data: AstExpr, args: &Arguments) -> Result<(TableFactor, Vec<AstExpr>)> {
    let bare = |parts: Vec<Ident>| {
        (
            TableFactor::Table {
                name: ObjectName::from(parts),
                alias: None,
                args: None,
                with_hints: Vec::new(),
                version: None,
                with_ordinality: false,
                partitions: Vec::new(),
                json_path: None,
                sample: None,
                index_hints: Vec::new(),
            },
            Vec::new(),
        )
    };
    let subquery = |query: Box<Query>| Ok(table_argument(query));
    match data {
        AstExpr::Subquery(query) => subquery(query),
        AstExpr::Nested(inner) => relation_of(*inner, args),
        AstExpr::Identifier(ident) => Ok(bare(vec![ident])),
        AstExpr::CompoundIdentifier(parts) => Ok(bare(parts)),
        other => {
            let message = format!("the first argument of {} is no table", args.function);
            Err(fail(Error::sql(message).with_hint("write TABLE name"), args.place(&other)))
        }
    }
}

/// The column of `DESCRIPTOR(column)`, checked to be a timestamp.
fn time_column(
    descriptor: AstExpr,
    args: &Arguments,
    context: &mut dyn RelationPlannerContext,
    input: &LogicalPlan,
) -> Result<Expr> {
    let place = args.place(&descriptor);
    let wrong = || {
        let message = format!("the second argument of {} is DESCRIPTOR(column)", args.function);
        fail(Error::sql(message).with_hint(usage(args.function)), place)
    };
    let AstExpr::Function(function) = descriptor else { return Err(wrong()) };
    if !function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") {
        return Err(wrong());
    }
    let FunctionArguments::List(list) = function.args else { return Err(wrong()) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] = list.args.as_slice() else {
        return Err(wrong());
    };
    if !matches!(column, AstExpr::Identifier(_) | AstExpr::CompoundIdentifier(_)) {
        return Err(wrong());
    }
    let expr = context.sql_to_expr(column.clone(), input.schema())?;
    let data_type = expr.get_type(input.schema())?;
    if !matches!(data_type, arrow::datatypes::DataType::Timestamp(..)) {
        let message =
            format!("the time column '{column}' of {} is {}", args.function, type_name(&data_type));
        let hint = "a window needs a TIMESTAMP or TIMESTAMP_LTZ column";
        return Err(fail(Error::sql(message).with_hint(hint), column.span()));
    }
    Ok(expr)
}
