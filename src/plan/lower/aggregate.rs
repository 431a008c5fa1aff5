//! `GROUP BY`: windowed where the keys hold a window, updating otherwise; grouping sets.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan};

use super::calc::all_columns;
use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::aggregate::{
    AggregateCall, AggregateFunction, BitOperation, PairStatistic, Quantile, QuantileKind,
};
use crate::plan::expr::{Expression, time_type};
use crate::plan::node::{NodeId, Operator, WindowInput};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};

/// What an aggregation needs computed before it: group columns first.
struct Arguments {
    columns: Vec<Expression>,
    fields: Vec<Field>,
}

impl Arguments {
    fn add(&mut self, expr: Expression, field: Field) -> usize {
        if let Some(same) = self.columns.iter().position(|c| *c == expr) {
            return same;
        }
        self.push(expr, field)
    }

    fn push(&mut self, expr: Expression, field: Field) -> usize {
        self.columns.push(expr);
        self.fields.push(field);
        self.columns.len() - 1
    }
}

/// How the group's window is found.
enum Grouping {
    /// By the operator itself, from a time column of the node below the window's.
    Assigned(WindowInput),
    /// A session, assigned by the operator itself.
    Session { time_column: usize, gap: i64 },
    /// In two columns of the input.
    Attached(WindowInput),
    /// No window.
    Updating,
}

impl Lowerer<'_> {
    pub(super) fn distinct(&mut self, input: &LogicalPlan) -> Result<NodeId> {
        let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
        self.aggregate(&Aggregate::try_new(Arc::new(input.clone()), columns, vec![])?)
    }

    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<NodeId> {
        let input = self.plan(&aggregate.input)?;
        let (group_exprs, sets) = grouping_sets(&aggregate.group_expr)?;
        let logical = aggregate.input.schema();
        let groups = self.compile_all(&group_exprs, logical, input)?;
        let window = self.nodes[input.0].props.window;
        let is_start = |e: &Expression| e.as_column().is_some() && e.as_column() == window.start;
        let is_end = |e: &Expression| e.as_column().is_some() && e.as_column() == window.end;
        let is_time = |e: &Expression| e.as_column().is_some() && e.as_column() == window.time;
        let has_end = groups.iter().any(is_end) || groups.iter().any(is_time);
        let has_start = groups.iter().any(is_start);
        let windowed = window.pair().is_some() && (has_end || (has_start && window.size.is_some()));
        let role = |e: &Expression| match windowed {
            true if is_start(e) => Some(0),
            true if is_end(e) => Some(1),
            true if is_time(e) => Some(2),
            _ => None,
        };
        let roles: Vec<Option<usize>> = groups.iter().map(role).collect();
        // Keys that are no window columns come first among the arguments.
        let schema = self.schema(input);
        let mut arguments = Arguments { columns: vec![], fields: vec![] };
        let mut key_place = Vec::new();
        for ((group, role), expr) in groups.iter().zip(&roles).zip(&group_exprs) {
            if role.is_none() {
                let field = field_of(group, &schema, &expr.schema_name().to_string())?;
                key_place.push(arguments.push(group.clone(), field));
            }
        }
        let calls = self.calls(aggregate, input, &mut arguments)?;
        let grouping = match windowed {
            true => {
                let keys = key_place.len();
                self.grouping(input, &mut arguments, window, keys, sets.is_some())?
            }
            false => (input, Grouping::Updating),
        };
        let (base, grouping) = grouping;
        let args_schema: SchemaRef = Arc::new(Schema::new(arguments.fields));
        let mut node =
            self.calc(base, self.pass_filter(input, base)?, arguments.columns, args_schema)?;
        let mut keys: Vec<usize> = (0..key_place.len()).collect();
        let mut calls = calls;
        let mut grouping = grouping;
        if let Some(sets) = &sets {
            node = self.expand(node, aggregate, &roles, sets, keys.len())?;
            shift(&mut calls, &mut grouping, keys.len());
            keys.push(keys.len());
        }
        let out = self.add_aggregate(node, keys.clone(), calls, grouping)?;
        self.arrange_output(out, aggregate, &roles, keys.len(), sets.is_some())
    }

    /// Where the aggregation reads: below the window's own node when that can be fused with it.
    fn grouping(
        &mut self,
        input: NodeId,
        arguments: &mut Arguments,
        window: WindowColumns,
        keys: usize,
        with_sets: bool,
    ) -> Result<(NodeId, Grouping)> {
        if let Some(fused) = self.fuse(input, arguments, keys, with_sets)? {
            return Ok(fused);
        }
        let schema = self.schema(input);
        let Some((start, end)) = window.pair() else {
            return Err(Error::internal("a windowed aggregation without its window"));
        };
        let mut add =
            |c: usize| arguments.push(Expression::column(&schema, c), schema.field(c).clone());
        let (start, end) = (add(start), add(end));
        Ok((input, Grouping::Attached(WindowInput::Attached { start, end })))
    }

    /// Rewrites `arguments` over the input of the window assignment below `input`, if nothing
    /// between them and in them looks at the window.
    fn fuse(
        &mut self,
        input: NodeId,
        arguments: &mut Arguments,
        keys: usize,
        with_sets: bool,
    ) -> Result<Option<(NodeId, Grouping)>> {
        let (assign, through) = match &self.nodes[input.0].operator {
            Operator::Calc(calc) => (self.nodes[input.0].inputs[0], Some(calc.clone())),
            _ => (input, None),
        };
        let (time_column, spec, session) = match &self.nodes[assign.0].operator {
            Operator::WindowAssign { time_column, spec } => {
                (*time_column, Some(spec.clone()), None)
            }
            Operator::SessionAssign { time_column, gap, keys } => {
                (*time_column, None, Some((*gap, keys.clone())))
            }
            _ => return Ok(None),
        };
        let base = self.nodes[assign.0].inputs[0];
        let scope = self.schema(base);
        let width = scope.fields().len();
        let columns = match &through {
            Some(calc) => arguments
                .columns
                .iter()
                .map(|e| e.inline(&calc.columns, width))
                .collect::<Result<Vec<_>>>()?,
            None => arguments.columns.clone(),
        };
        let filter = through.and_then(|c| c.filter);
        let sees_window = |e: &Expression| e.columns().iter().any(|&c| c >= width && c < width + 3);
        if columns.iter().chain(&filter).any(sees_window) {
            return Ok(None);
        }
        let grouping = match (spec, session) {
            (_, Some((gap, by))) => {
                let places: Vec<_> = columns[..keys].iter().map(Expression::as_column).collect();
                let same = by.len() == keys && by.iter().all(|k| places.contains(&Some(*k)));
                // A set without a key is no reason to merge the sessions of its values.
                if !same || filter.is_some() || with_sets {
                    return Ok(None);
                }
                Grouping::Session { time_column: 0, gap }
            }
            (Some(spec), None) => {
                Grouping::Assigned(WindowInput::Assigned { time_column: 0, spec })
            }
            (None, None) => return Ok(None),
        };
        arguments.columns = columns;
        let time = arguments
            .push(Expression::column(&scope, time_column), scope.field(time_column).clone());
        let grouping = match grouping {
            Grouping::Session { gap, .. } => Grouping::Session { time_column: time, gap },
            Grouping::Assigned(WindowInput::Assigned { spec, .. }) => {
                Grouping::Assigned(WindowInput::Assigned { time_column: time, spec })
            }
            other => other,
        };
        Ok(Some((base, grouping)))
    }

    /// The filter of the Calc that was skipped when `base` lies below `input`'s window assignment.
    fn pass_filter(&self, input: NodeId, base: NodeId) -> Result<Option<Expression>> {
        if input == base {
            return Ok(None);
        }
        Ok(match &self.nodes[input.0].operator {
            Operator::Calc(calc) => calc.filter.clone(),
            _ => None,
        })
    }

    fn calls(
        &mut self,
        aggregate: &Aggregate,
        input: NodeId,
        arguments: &mut Arguments,
    ) -> Result<Vec<AggregateCall>> {
        let logical = aggregate.input.schema();
        let schema = self.schema(input);
        let outputs = aggregate.schema.fields();
        let first = outputs.len() - aggregate.aggr_expr.len();
        let mut calls = Vec::new();
        for (expr, output) in aggregate.aggr_expr.iter().zip(&outputs[first..]) {
            let Expr::AggregateFunction(call) = expr.clone().unalias_nested().data else {
                return Err(unsupported("this aggregate expression"));
            };
            if !call.params.order_by.is_empty() && !call.func.supports_within_group_clause() {
                return Err(unsupported("ORDER BY inside an aggregate")
                    .with_hint("LISTAGG, FIRST_VALUE and LAST_VALUE go by event time"));
            }
            let (function, args) = function_of(&call)?;
            let mut places = Vec::new();
            for arg in args {
                let compiled = Expression::compile(arg, logical, &schema)?;
                let field = field_of(&compiled, &schema, &arg.schema_name().to_string())?;
                places.push(arguments.add(compiled, field));
            }
            let filter = match &call.params.filter {
                Some(condition) => {
                    let compiled = Expression::compile(condition, logical, &schema)?;
                    let name = condition.schema_name().to_string();
                    let field = field_of(&compiled, &schema, &name)?;
                    Some(arguments.add(compiled, field))
                }
                None => None,
            };
            let distinct = call.params.distinct;
            let output = Arc::clone(output);
            calls.push(AggregateCall { function, distinct, args: places, filter, output });
        }
        Ok(calls)
    }

    fn expand(
        &mut self,
        input: NodeId,
        aggregate: &Aggregate,
        roles: &[Option<usize>],
        sets: &[Vec<bool>],
        keys: usize,
    ) -> Result<NodeId> {
        let schema = self.schema(input);
        let id = aggregate
            .schema
            .field_with_unqualified_name(Aggregate::INTERNAL_GROUPING_ID)?
            .as_ref()
            .clone();
        let mut seen: Vec<(Vec<bool>, i64)> = Vec::new();
        for set in sets {
            let mask = set.iter().fold(0i64, |m, kept| (m << 1) | i64::from(!kept));
            if roles.iter().zip(set).any(|(role, kept)| role.is_some() && !kept) {
                return Err(Error::sql("every grouping set must hold the window columns")
                    .with_hint("write GROUP BY window_start, window_end, GROUPING SETS (..)"));
            }
            let of_keys: Vec<bool> = roles
                .iter()
                .zip(set)
                .filter(|(role, _)| role.is_none())
                .map(|(_, kept)| *kept)
                .collect();
            let before = seen.iter().filter(|(s, _)| *s == of_keys).count() as i64;
            seen.push((of_keys, mask | (before << set.len())));
        }
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        for field in &mut fields[..keys] {
            *field = field.clone().with_nullable(true);
        }
        fields.insert(keys, id);
        let below = &self.nodes[input.0].props;
        let props = Props {
            mode: below.mode,
            window_delay: below.window_delay,
            ..Props::source(below.bounded)
        };
        let operator = Operator::Expand { sets: seen, keys };
        Ok(self.add(operator, vec![input], Arc::new(Schema::new(fields)), props))
    }

    fn add_aggregate(
        &mut self,
        input: NodeId,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        grouping: Grouping,
    ) -> Result<NodeId> {
        let scope = self.schema(input);
        let below = self.nodes[input.0].props.clone();
        let mut fields: Vec<Field> = keys.iter().map(|&k| scope.field(k).clone()).collect();
        fields.extend(calls.iter().map(|c| c.output.as_ref().clone()));
        let width = fields.len();
        let own: Vec<usize> = (0..keys.len()).collect();
        let spread = match (keys.is_empty(), &grouping) {
            (true, Grouping::Attached(_)) => Distribution::Hash(vec![width, width + 1]),
            (true, _) => Distribution::Single,
            (false, _) => Distribution::Hash(own.clone()),
        };
        let mut props = Props { distribution: spread, ..Props::source(below.bounded) };
        let windowed = !matches!(grouping, Grouping::Updating);
        props.window_delay = match &grouping {
            Grouping::Session { .. } => below.window_delay + 1,
            Grouping::Attached(_) | Grouping::Assigned(_) => below.window_delay,
            Grouping::Updating => 0,
        };
        if windowed {
            for name in ["window_start", "window_end", "window_time"] {
                fields.push(Field::new(name, time_type(), false));
            }
            let size = match &grouping {
                Grouping::Assigned(WindowInput::Assigned { spec, .. }) => spec.fixed_size(),
                _ => None,
            };
            props.window = WindowColumns {
                start: Some(width),
                end: Some(width + 1),
                time: Some(width + 2),
                size,
            };
            let corrects = self.settings.allowed_lateness > 0 || below.mode > ChangelogMode::Append;
            props.mode = if corrects { ChangelogMode::Retract } else { ChangelogMode::Append };
            props.unique_key = Some(own.iter().copied().chain([width, width + 1]).collect());
        } else {
            props.mode = ChangelogMode::Retract;
            props.unique_key = Some(own);
        }
        let operator = match grouping {
            Grouping::Assigned(window) | Grouping::Attached(window) => {
                Operator::WindowAggregate { window, keys, calls }
            }
            Grouping::Session { time_column, gap } => {
                Operator::SessionAggregate { time_column, gap, keys, calls }
            }
            Grouping::Updating => Operator::GroupAggregate { keys, calls, final_only: false },
        };
        Ok(self.add(operator, vec![input], Arc::new(Schema::new(fields)), props))
    }

    /// The operator's columns in the order and under the names of the logical node.
    fn arrange_output(
        &mut self,
        node: NodeId,
        aggregate: &Aggregate,
        roles: &[Option<usize>],
        keys: usize,
        with_id: bool,
    ) -> Result<NodeId> {
        let have = self.schema(node);
        let wanted: SchemaRef = Arc::new(aggregate.schema.as_arrow().clone());
        let calls = aggregate.aggr_expr.len();
        let mut next_key = 0;
        let mut order: Vec<usize> = Vec::new();
        for role in roles {
            match role {
                Some(window) => order.push(keys + calls + window),
                None => {
                    order.push(next_key);
                    next_key += 1;
                }
            }
        }
        if with_id {
            order.push(next_key);
        }
        order.extend(keys..keys + calls);
        let columns: Vec<_> = order.iter().map(|&c| Expression::column(&have, c)).collect();
        if columns == all_columns(&have) && have == wanted {
            return Ok(node);
        }
        // The window columns stay behind the wanted ones only if the query keeps them.
        self.calc(node, None, columns, wanted)
    }
}

fn shift(calls: &mut [AggregateCall], grouping: &mut Grouping, from: usize) {
    let move_one = |c: &mut usize| *c += usize::from(*c >= from);
    for call in calls {
        call.args.iter_mut().for_each(move_one);
        call.filter.iter_mut().for_each(move_one);
    }
    match grouping {
        Grouping::Assigned(WindowInput::Assigned { time_column, .. })
        | Grouping::Session { time_column, .. } => move_one(time_column),
        Grouping::Attached(WindowInput::Attached { start, end }) => {
            move_one(start);
            move_one(end);
        }
        _ => {}
    }
}

/// For each grouping set, which of the grouping expressions it keeps.
type Sets = Vec<Vec<bool>>;

fn grouping_sets(exprs: &[Expr]) -> Result<(Vec<Expr>, Option<Sets>)> {
    let [Expr::GroupingSet(set)] = exprs else { return Ok((exprs.to_vec(), None)) };
    let GroupingSet::GroupingSets(lists) = set else {
        return Err(Error::internal("grouping sets were not enumerated"));
    };
    let distinct: Vec<Expr> = set.distinct_expr().into_iter().cloned().collect();
    let sets = lists.iter().map(|l| distinct.iter().map(|e| l.contains(e)).collect()).collect();
    Ok((distinct, Some(sets)))
}

pub(super) fn field_of(expr: &Expression, schema: &SchemaRef, name: &str) -> Result<Field> {
    let wide = crate::plan::expr::with_time_column(schema);
    if let Some(column) = expr.as_column() {
        return Ok(wide.field(column).clone());
    }
    let data_type = expr.physical().data_type(&wide)?;
    Ok(Field::new(name, data_type, expr.physical().nullable(&wide)?))
}

/// The streaming function of a call, and those of its arguments that are evaluated.
pub(super) fn function_of(call: &Call) -> Result<(AggregateFunction, &[Expr])> {
    use AggregateFunction as F;
    let args = call.params.args.as_slice();
    let name = call.func.name().to_ascii_lowercase();
    let variance = |sample, root| F::Variance { sample, root };
    Ok(match (name.as_str(), args) {
        ("count", [Expr::Literal(v, _)]) if !v.is_null() && !call.params.distinct => {
            (F::Count, &[])
        }
        ("count", [] | [_]) => (F::Count, args),
        ("sum", [_]) => (F::Sum, args),
        ("min", [_]) => (F::Min, args),
        ("max", [_]) => (F::Max, args),
        ("avg" | "mean", [_]) => (F::Avg, args),
        ("stddev" | "stddev_samp", [_]) => (variance(true, true), args),
        ("stddev_pop", [_]) => (variance(false, true), args),
        ("var" | "var_samp" | "var_sample" | "variance", [_]) => (variance(true, false), args),
        ("var_pop" | "var_population", [_]) => (variance(false, false), args),
        ("first_value", [_]) => (F::FirstValue, args),
        ("last_value", [_]) => (F::LastValue, args),
        ("listagg" | "string_agg", [value]) => {
            (F::ListAgg { separator: ",".into() }, std::slice::from_ref(value))
        }
        ("listagg" | "string_agg", [_, Expr::Literal(separator, _)]) => {
            let text = match separator.cast_to(&DataType::Utf8)? {
                ScalarValue::Utf8(Some(text)) => text,
                _ => return Err(Error::sql("the separator of LISTAGG cannot be NULL")),
            };
            (F::ListAgg { separator: text }, &args[..1])
        }
        ("listagg" | "string_agg", _) => {
            return Err(Error::sql("the separator of LISTAGG must be a constant"));
        }
        ("median" | "approx_median", [_]) => (quantile(QuantileKind::Median, 0.5, call), args),
        (
            "percentile_cont" | "percentile" | "approx_percentile" | "approx_percentile_cont",
            [_, fraction, ..],
        ) => (quantile(QuantileKind::Continuous, fraction_of(fraction)?, call), &args[..1]),
        ("percentile_disc", [_, fraction]) => {
            (quantile(QuantileKind::Discrete, fraction_of(fraction)?, call), &args[..1])
        }
        ("bit_and" | "bool_and", [_]) => (F::Bits(BitOperation::And), args),
        ("bit_or" | "bool_or", [_]) => (F::Bits(BitOperation::Or), args),
        ("bit_xor", [_]) if !call.params.distinct => (F::Bits(BitOperation::Xor), args),
        (name, [_, _]) if !call.params.distinct && pair_statistic(name).is_some() => {
            (pair_statistic(name).map_or(F::Count, F::Pair), args)
        }
        _ => (F::Other(Arc::clone(&call.func)), args),
    })
}

fn pair_statistic(name: &str) -> Option<PairStatistic> {
    use PairStatistic as S;
    Some(match name {
        "corr" => S::Correlation,
        "covar" | "covar_samp" => S::Covariance { sample: true },
        "covar_pop" => S::Covariance { sample: false },
        "regr_slope" => S::Slope,
        "regr_intercept" => S::Intercept,
        "regr_r2" => S::Determination,
        "regr_count" => S::Count,
        "regr_avgx" => S::AverageX,
        "regr_avgy" => S::AverageY,
        "regr_sxx" => S::Sxx,
        "regr_syy" => S::Syy,
        "regr_sxy" => S::Sxy,
        _ => return None,
    })
}

fn quantile(kind: QuantileKind, fraction: f64, call: &Call) -> AggregateFunction {
    let descending = call.params.order_by.first().is_some_and(|sort| !sort.asc);
    AggregateFunction::Quantile(Quantile { kind, fraction_bits: fraction.to_bits(), descending })
}

fn fraction_of(expr: &Expr) -> Result<f64> {
    let wrong = || Error::sql("a percentile takes a constant fraction from 0 to 1");
    let mut expr = expr;
    while let Expr::Cast(cast) = expr {
        expr = &cast.expr;
    }
    let Expr::Literal(value, _) = expr else { return Err(wrong()) };
    match value.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(fraction)) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err(wrong()),
    }
}
