//! `f(..) OVER (PARTITION BY .. ORDER BY .. ROWS | RANGE ..)`: an operator per partition and order.
//!
//! What the operator must keep is decided here: see [`OverRegime`].

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction as Aggregate, NullTreatment, WindowFunctionParams,
};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, SortExpr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};

use super::aggregate::{field_of, function_of};
use super::calc::all_columns;
use super::rank::rank_bound;
use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::aggregate::AggregateCall;
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, SortColumn};
use crate::plan::over::{OverAggregate, OverCall, OverFrame, OverFunction, OverRegime};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::plan::rowtime::RowTime;
use crate::sql::rewrites::Rewrite;

/// The input's columns and, behind them, those that OVER clauses compute.
struct Computed<'a> {
    logical: &'a DFSchema,
    schema: SchemaRef,
    columns: Vec<Expression>,
    fields: Vec<FieldRef>,
}

impl Computed<'_> {
    /// The column of `expr`, computed if it is none.
    fn column(&mut self, expr: &Expr) -> Result<usize> {
        crate::plan::expr::reject_subqueries(expr)?;
        let compiled = Expression::compile(expr, self.logical, &self.schema)?;
        if let Some(same) = self.columns.iter().position(|c| *c == compiled) {
            return Ok(same);
        }
        let name = format!("$over{}", self.columns.len());
        self.fields.push(Arc::new(field_of(&compiled, &self.schema, &name)?.with_name(name)));
        self.columns.push(compiled);
        Ok(self.columns.len() - 1)
    }

    fn type_of(&self, column: usize) -> &DataType {
        self.fields[column].data_type()
    }
}

/// Calls over one partition and order, and their places among all.
struct Group {
    partition: Vec<usize>,
    order: Vec<SortColumn>,
    calls: Vec<OverCall>,
    places: Vec<usize>,
}

impl Lowerer<'_> {
    /// The node of OVER calls: their results behind the input's columns.
    pub(super) fn over(&mut self, window: &Window) -> Result<NodeId> {
        if self.ranked.take() == Some(std::ptr::from_ref(window) as usize) {
            return self.rank(window);
        }
        let input = self.plan(&window.input)?;
        let schema = self.schema(input);
        let width = schema.fields().len();
        let mut computed = Computed {
            logical: window.input.schema(),
            columns: all_columns(&schema),
            fields: schema.fields().iter().cloned().collect(),
            schema,
        };
        let groups = groups_of(window, &mut computed)?;
        if computed.columns.is_empty() {
            // Rows without columns could not be told apart from none.
            computed.column(&datafusion::logical_expr::lit(0i64))?;
        }
        if self.is_window_rank(window, &groups, input) {
            return self.rank(window);
        }
        let wide: SchemaRef = Arc::new(Schema::new(computed.fields));
        let mut node = self.calc(input, None, computed.columns, wide)?;
        let mut results = vec![0; window.window_expr.len()];
        for group in groups {
            let first = self.nodes[node.0].schema.fields().len();
            group.places.iter().enumerate().for_each(|(i, &place)| results[place] = first + i);
            node = self.add_over(node, group)?;
        }
        let have = self.schema(node);
        let kept = (0..width).chain(results).map(|c| Expression::column(&have, c)).collect();
        let mut fields: Vec<FieldRef> = have.fields().iter().take(width).cloned().collect();
        fields.extend(window.schema.as_arrow().fields().iter().skip(width).cloned());
        self.calc(node, None, kept, Arc::new(Schema::new(fields)))
    }

    fn add_over(&mut self, input: NodeId, group: Group) -> Result<NodeId> {
        let below = self.nodes[input.0].props.clone();
        let regime = self.regime(input, &group);
        let mut fields: Vec<FieldRef> =
            self.nodes[input.0].schema.fields().iter().cloned().collect();
        fields.extend(group.calls.iter().map(|call| Arc::clone(&call.output)));
        let distribution = match group.partition.is_empty() {
            true => Distribution::Single,
            false => Distribution::Hash(group.partition.clone()),
        };
        let mut props = Props { distribution, ..below };
        match regime {
            OverRegime::Appending { lag } => {
                let by = group.order.first().map(|by| by.column);
                // Rows that come early wait for their row-time.
                let exact = |r: &&RowTime| r.column() == by && r.min_lag == r.max_lag;
                if !props.rowtimes.iter().any(|r| exact(&r)) {
                    props.window = WindowColumns::default();
                    props.rowtimes.retain(|r| r.column() == by);
                    props.rowtimes.iter_mut().for_each(|r| r.min_lag = lag);
                }
            }
            OverRegime::Updating => {
                props.mode = ChangelogMode::Retract;
                props.window = WindowColumns::default();
                props.window_delay = 0;
                props.rowtimes = Vec::new();
            }
            OverRegime::Windowed { .. } if self.settings.allowed_lateness > 0 => {
                props.mode = ChangelogMode::Retract;
            }
            OverRegime::Windowed { .. } => {}
        }
        let Group { partition, order, calls, .. } = group;
        let over = OverAggregate { partition, order, calls, regime, final_only: false };
        let schema = Arc::new(Schema::new(fields));
        Ok(self.add(Operator::OverAggregate(over), vec![input], schema, props))
    }

    fn regime(&self, input: NodeId, group: &Group) -> OverRegime {
        let props = &self.nodes[input.0].props;
        if let Some((start, end)) = props.window.pair() {
            let by_start = props.window.size.is_some() && group.partition.contains(&start);
            if group.partition.contains(&end) || by_start {
                return OverRegime::Windowed { end };
            }
        }
        let by_time = group.order.first().filter(|first| !first.options.descending);
        let schema = &self.nodes[input.0].schema;
        let is_timestamp =
            |column: usize| matches!(schema.field(column).data_type(), DataType::Timestamp(..));
        let lag = by_time
            .filter(|first| is_timestamp(first.column))
            .and_then(|first| props.rowtime(first.column))
            .map(|rowtime| rowtime.max_lag);
        match lag {
            Some(lag)
                if props.mode == ChangelogMode::Append
                    && group.calls.iter().all(OverCall::is_past) =>
            {
                OverRegime::Appending { lag }
            }
            _ => OverRegime::Updating,
        }
    }

    /// A lone rank over windows has an operator of its own, filtered or not.
    fn is_window_rank(&self, window: &Window, groups: &[Group], input: NodeId) -> bool {
        use OverFunction as F;
        let [group] = groups else { return false };
        let ranks =
            |call: &OverCall| matches!(call.function, F::RowNumber | F::Rank | F::DenseRank);
        let columns = |n: usize| n < self.nodes[input.0].schema.fields().len();
        window.window_expr.len() == 1
            && group.calls.iter().all(ranks)
            && group
                .partition
                .iter()
                .chain(group.order.iter().map(|s| &s.column))
                .all(|c| columns(*c))
            && matches!(self.regime(input, group), OverRegime::Windowed { .. })
    }

    /// Notes a ranking below `filter` whose number the filter bounds: it is no plain OVER.
    pub(super) fn note_ranking(&mut self, filter: &Filter) {
        let ranking = ranking_below(filter).filter(|_| self.makes(Rewrite::TopN));
        self.ranked = ranking.map(|window| std::ptr::from_ref(window) as usize);
    }
}

/// The ranking whose number a conjunct of `filter` bounds by a constant.
fn ranking_below(filter: &Filter) -> Option<&Window> {
    let bound = |conjunct: &&Expr| rank_bound(conjunct, filter.input.schema()).map(|(c, ..)| c);
    let bounded: Vec<usize> =
        split_conjunction(&filter.predicate).iter().filter_map(bound).collect();
    bounded.into_iter().find_map(|column| ranking_at(&filter.input, column))
}

fn ranking_at(plan: &LogicalPlan, column: usize) -> Option<&Window> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => ranking_at(&alias.input, column),
        LogicalPlan::Projection(projection) => {
            let mut expr = projection.expr.get(column)?;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            let Expr::Column(named) = expr else { return None };
            let below = projection.input.schema().maybe_index_of_column(named)?;
            ranking_at(&projection.input, below)
        }
        LogicalPlan::Window(window) => {
            let [Expr::WindowFunction(call)] = window.window_expr.as_slice() else { return None };
            let ranks = matches!(call.fun, WindowFunctionDefinition::WindowUDF(_))
                && matches!(call.fun.name(), "row_number" | "rank" | "dense_rank");
            (ranks && column + 1 == window.schema.fields().len()).then_some(window)
        }
        _ => None,
    }
}

/// The calls of `window` by partition and order.
fn groups_of(window: &Window, computed: &mut Computed<'_>) -> Result<Vec<Group>> {
    let width = window.input.schema().fields().len();
    let outputs = window.schema.as_arrow().fields().iter().skip(width);
    let mut groups: Vec<Group> = Vec::new();
    for (place, (expr, output)) in window.window_expr.iter().zip(outputs).enumerate() {
        let Expr::WindowFunction(call) = expr.clone().unalias() else {
            return Err(unsupported("this OVER expression"));
        };
        let params = &call.params;
        let by = &params.partition_by;
        let partition = by.iter().map(|e| computed.column(e)).collect::<Result<Vec<_>>>()?;
        let order = order_of(&params.order_by, computed)?;
        let frame = frame_of(&params.window_frame, &order, computed)?;
        let function = function(&call.fun, params, computed, output)?;
        let frame = if function.reads_frame() { frame } else { OverFrame::WHOLE };
        let call = OverCall { function, frame, output: Arc::clone(output) };
        match groups.iter_mut().find(|g| g.partition == partition && g.order == order) {
            Some(group) => {
                group.calls.push(call);
                group.places.push(place);
            }
            None => {
                groups.push(Group { partition, order, calls: vec![call], places: vec![place] });
            }
        }
    }
    Ok(groups)
}

fn order_of(order_by: &[SortExpr], computed: &mut Computed<'_>) -> Result<Vec<SortColumn>> {
    let one = |sort: &SortExpr| {
        let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
        Ok(SortColumn { column: computed.column(&sort.expr)?, options })
    };
    order_by.iter().map(one).collect()
}

fn function(
    fun: &WindowFunctionDefinition,
    params: &WindowFunctionParams,
    computed: &mut Computed<'_>,
    output: &FieldRef,
) -> Result<OverFunction> {
    let udf = match fun {
        WindowFunctionDefinition::AggregateUDF(udf) => udf,
        WindowFunctionDefinition::WindowUDF(udf) => {
            return window_function(udf.name(), params, computed);
        }
    };
    let call = Aggregate::new_udf(
        Arc::clone(udf),
        params.args.clone(),
        params.distinct,
        params.filter.clone(),
        vec![],
        params.null_treatment,
    );
    let (function, args) = function_of(&call)?;
    let args = args.iter().map(|e| computed.column(e)).collect::<Result<Vec<_>>>()?;
    let filter = params.filter.as_deref().map(|e| computed.column(e)).transpose()?;
    let (distinct, output) = (params.distinct, Arc::clone(output));
    Ok(OverFunction::Aggregate(AggregateCall { function, distinct, args, filter, output }))
}

fn window_function(
    name: &str,
    params: &WindowFunctionParams,
    computed: &mut Computed<'_>,
) -> Result<OverFunction> {
    if params.filter.is_some() || params.distinct {
        let upper = name.to_uppercase();
        return Err(Error::sql(format!("{upper} takes neither FILTER nor DISTINCT")));
    }
    let ignores = params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let respects = params.null_treatment == Some(NullTreatment::RespectNulls);
    if ignores && !matches!(name, "first_value" | "last_value") {
        return Err(unsupported(&format!("IGNORE NULLS of {}", name.to_uppercase()))
            .with_hint("FIRST_VALUE and LAST_VALUE can ignore NULLs"));
    }
    let args = params.args.as_slice();
    let whole = |at: usize, without: i64| match args.get(at) {
        None => Ok(without),
        Some(expr) => constant(expr).ok_or_else(|| {
            Error::sql(format!(
                "argument {} of {} must be a whole number",
                at + 1,
                name.to_uppercase()
            ))
        }),
    };
    let positive = |at: usize| {
        let number = whole(at, 0)?;
        u64::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| {
            Error::sql(format!("argument {} of {} must be positive", at + 1, name.to_uppercase()))
        })
    };
    let mut value = |at: usize| match args.get(at) {
        Some(expr) => computed.column(expr),
        None => Err(Error::sql(format!("{} needs an argument", name.to_uppercase()))),
    };
    Ok(match name {
        "row_number" => OverFunction::RowNumber,
        "rank" => OverFunction::Rank,
        "dense_rank" => OverFunction::DenseRank,
        "percent_rank" => OverFunction::PercentRank,
        "cume_dist" => OverFunction::CumeDist,
        "ntile" => OverFunction::Ntile(positive(0)?),
        // As in Flink, and as the aggregates of these names do.
        "first_value" | "last_value" => OverFunction::Edge {
            column: value(0)?,
            last: name == "last_value",
            ignore_nulls: !respects,
        },
        "nth_value" => OverFunction::Nth { column: value(0)?, place: positive(1)? },
        "lag" | "lead" => {
            let distance = whole(1, 1)?;
            let back = if name == "lag" { distance } else { -distance };
            let column = value(0)?;
            let data_type = computed.type_of(column).clone();
            let given = args.get(2).filter(|e| !matches!(e, Expr::Literal(v, _) if v.is_null()));
            let default = match given {
                Some(expr) => {
                    let cast = datafusion::logical_expr::cast(expr.clone(), data_type);
                    Some(computed.column(&cast)?)
                }
                None => None,
            };
            OverFunction::Shift { column, back, default }
        }
        other => return Err(unsupported(&format!("{}() OVER", other.to_uppercase()))),
    })
}

fn constant(expr: &Expr) -> Option<i64> {
    let value = match expr {
        Expr::Literal(value, _) => value,
        Expr::Cast(cast) => return constant(&cast.expr),
        Expr::Negative(inner) => return constant(inner)?.checked_neg(),
        _ => return None,
    };
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(value) => value,
        _ => None,
    }
}

fn frame_of(
    frame: &WindowFrame,
    order: &[SortColumn],
    computed: &Computed<'_>,
) -> Result<OverFrame> {
    let rows = match frame.units {
        WindowFrameUnits::Rows => true,
        WindowFrameUnits::Range => false,
        WindowFrameUnits::Groups => {
            return Err(unsupported("a GROUPS frame").with_hint("use ROWS or RANGE"));
        }
    };
    let by = match order {
        [one] => Some(computed.type_of(one.column)),
        _ => None,
    };
    let offset = |value: &ScalarValue, sign: i64| match value {
        value if value.is_null() => Ok(None),
        value if rows => rows_of(value).map(|n| Some(sign * n)),
        value => units_of(value, by).map(|n| Some(sign * n)),
    };
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Ok(Some(0)),
        WindowFrameBound::Preceding(value) => offset(value, -1),
        WindowFrameBound::Following(value) => offset(value, 1),
    };
    Ok(OverFrame { rows, start: bound(&frame.start_bound)?, end: bound(&frame.end_bound)? })
}

fn rows_of(value: &ScalarValue) -> Result<i64> {
    let wrong = || Error::sql("the rows of a frame must be a whole number that is not negative");
    match value.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(n)) if n >= 0 => Ok(n),
        _ => Err(wrong()),
    }
}

/// An offset of a RANGE frame in units of the order column's type.
fn units_of(value: &ScalarValue, by: Option<&DataType>) -> Result<i64> {
    use DataType as D;
    let day = 86_400_000_000_000i128;
    let unit = match by {
        Some(D::Timestamp(unit, _) | D::Time32(unit) | D::Time64(unit)) => match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1000,
            TimeUnit::Nanosecond => 1,
        },
        Some(D::Date32) => day,
        Some(D::Int8 | D::Int16 | D::Int32 | D::Int64) => {
            return match value.cast_to(&D::Int64)? {
                ScalarValue::Int64(Some(n)) if n >= 0 => Ok(n),
                _ => Err(Error::sql("the offset of a RANGE frame must not be negative")),
            };
        }
        _ => {
            return Err(unsupported("a RANGE frame with an offset over this order").with_hint(
                "order by one column: an integer, a DATE, a TIME or a TIMESTAMP; or use ROWS",
            ));
        }
    };
    let nanos = match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => {
            i128::from(v.days) * day + i128::from(v.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            i128::from(v.days) * day + i128::from(v.milliseconds) * 1_000_000
        }
        ScalarValue::IntervalMonthDayNano(_) | ScalarValue::IntervalYearMonth(_) => {
            return Err(Error::sql("a RANGE frame of months has no fixed length")
                .with_hint("use days: INTERVAL '30' DAY"));
        }
        _ => return Err(Error::sql("the offset of a RANGE frame over a time is an INTERVAL")),
    };
    match i64::try_from(nanos / unit) {
        Ok(units) if nanos >= 0 => Ok(units),
        _ => Err(Error::sql("the offset of a RANGE frame must not be negative")),
    }
}
