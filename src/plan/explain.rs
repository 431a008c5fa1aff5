//! The stream plan as text: operators, exchanges, changelog modes, keys, time and state bounds.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use super::aggregate::{AggregateCall, AggregateFunction, QuantileKind};
use super::exchange::{routes, works_on};
use super::node::{
    Node, NodeId, Operator, OutputTarget, Rank, RankKind, SortColumn, StreamPlan, WindowInput,
};
use super::over::OverRegime;
use super::props::{ChangelogMode, Distribution};
use crate::batch::partition::Route;
use crate::sql::blocks::BlockHints;
use crate::sql::parallelism;
use crate::sql::settings::Settings;
use crate::sql::window::WindowSpec;

/// The plan of every output, each operator indented below its consumer.
pub fn explain(plan: &StreamPlan) -> String {
    text(plan, true)
}

/// The same of what is computed, wherever it is: two plans with one text do the same, whatever
/// hints and settings say of the workers that do it. Snapshots name plans by it.
pub fn explain_computed(plan: &StreamPlan) -> String {
    text(&without_hints(plan), false)
}

/// `plan` as it would be if nothing said which workers do the work.
fn without_hints(plan: &StreamPlan) -> StreamPlan {
    let mut plan = plan.clone();
    for node in &mut plan.nodes {
        let settings = node.settings.as_ref().clone();
        let block = BlockHints::default();
        node.settings = Arc::new(Settings { parallelism: None, block, ..settings });
        if let Operator::LookupJoin(join) = &mut node.operator {
            join.broadcast = false;
        }
    }
    plan
}

/// With what is known of where work is done, or without.
fn text(plan: &StreamPlan, places: bool) -> String {
    let mut text = String::new();
    let mut shown = BTreeSet::new();
    for output in &plan.outputs {
        let what = match &output.target {
            OutputTarget::View { name, .. } => format!("MaterializedView({name})"),
            OutputTarget::Sink(table) => {
                let connector = table.options.get("connector").map_or("?", String::as_str);
                let writers = parallelism::writers(table).unwrap_or(1);
                format!("Sink({}, connector={connector}, parallelism={writers})", table.name)
            }
            OutputTarget::Print(order) => {
                let mut what = String::from("Print(parallelism=1");
                if !order.order.is_empty() {
                    let by = order
                        .order
                        .iter()
                        .map(|(e, o)| format!("{e}{}", if o.descending { " DESC" } else { "" }));
                    let _ = write!(what, ", orderBy=[{}]", by.collect::<Vec<_>>().join(", "));
                }
                if let Some(fetch) = order.fetch {
                    let _ = write!(what, ", fetch={fetch}");
                }
                what.push(')');
                what
            }
        };
        let _ = writeln!(text, "{what}");
        write_node((plan, places), output.node, 1, None, &mut shown, &mut text);
    }
    text
}

/// A node as it is called in snapshots and logs: its operator and number.
pub fn operator_name(plan: &StreamPlan, id: NodeId) -> String {
    let described = describe(plan, plan.node(id));
    let kind = described.split(['(', ' ']).next().unwrap_or_default();
    format!("{kind}#{}", id.0)
}

/// An output as it is called in snapshots, logs and the journal.
pub fn output_name(plan: &StreamPlan, output: usize) -> String {
    match plan.outputs.get(output).map(|o| &o.target) {
        Some(OutputTarget::View { name, .. }) => format!("View({name})"),
        Some(OutputTarget::Sink(table)) => format!("Sink({})", table.name),
        Some(OutputTarget::Print(_)) | None => format!("Print#{output}"),
    }
}

/// The nearest operator at or below `node` that makes its collection an updating one.
pub fn updating_operator(plan: &StreamPlan, node: NodeId) -> String {
    let mut at = node;
    loop {
        let here = plan.node(at);
        let below =
            here.inputs.iter().find(|i| plan.node(**i).props.mode == ChangelogMode::Retract);
        match below {
            Some(input) => at = *input,
            None => return format!("{} #{}", describe(plan, here), at.0),
        }
    }
}

fn write_node(
    (plan, places): (&StreamPlan, bool),
    id: NodeId,
    depth: usize,
    route: Option<&Route>,
    shown: &mut BTreeSet<NodeId>,
    text: &mut String,
) {
    let node = plan.node(id);
    let indent = "  ".repeat(depth);
    let mut indent = indent;
    if let Some(route) = route {
        let _ = writeln!(text, "{indent}Exchange({})", exchange(plan, id, route));
        indent.push_str("  ");
    }
    let depth = indent.len() / 2;
    if !shown.insert(id) {
        let _ = writeln!(text, "{indent}Reused(#{})", id.0);
        return;
    }
    let _ =
        writeln!(text, "{indent}{} {}", describe(plan, node), properties((plan, places), id, node));
    if let Some(state) = state(plan, node) {
        let _ = writeln!(text, "{indent}  | {state}");
    }
    if let Operator::Recursive(recursive) = &node.operator {
        super::recursion::write_inner(recursive, &node.inputs, depth + 1, text);
    }
    for (input, route) in node.inputs.iter().zip(routes(plan, node)) {
        let route = route.as_ref().filter(|route| places || **route != Route::Rebalance);
        write_node((plan, places), *input, depth + 1, route, shown, text);
    }
    if let Operator::LateRows { of } = &node.operator {
        for input in of {
            let _ = writeln!(text, "{indent}  late rows of #{}", input.0);
        }
    }
}

fn exchange(plan: &StreamPlan, input: NodeId, route: &Route) -> String {
    match route {
        Route::Hash(keys, among) => {
            let among = among.limit().map(|n| format!(", parallelism={n}")).unwrap_or_default();
            format!("{}[{}]{among}", route.kind(), names(plan.node(input), keys))
        }
        Route::Single | Route::Broadcast | Route::Rebalance => route.kind().to_string(),
        Route::Fold(workers) => format!("{}[{workers}]", route.kind()),
    }
}

fn properties((plan, places): (&StreamPlan, bool), id: NodeId, node: &Node) -> String {
    let mode = match node.props.mode {
        ChangelogMode::Append => "[I]",
        ChangelogMode::Upsert => "[I,UA,D]",
        ChangelogMode::Retract => "[I,UB,UA,D]",
    };
    let mut text = format!("#{} changelog={mode}", id.0);
    if let Some(key) = &node.props.unique_key {
        let _ = write!(text, " key=[{}]", names(node, key));
    }
    let time = match (&node.operator, node.props.window.pair()) {
        (
            Operator::GroupAggregate { .. }
            | Operator::SetOperation { .. }
            | Operator::ChangelogNormalize { .. }
            | Operator::Rank(Rank { first_by_time: false, .. }),
            _,
        ) => {
            format!("tick({} ms)", node.settings.time_resolution.tick_ms())
        }
        (Operator::OverAggregate(over), _) if over.regime == OverRegime::Updating => {
            format!("tick({} ms)", node.settings.time_resolution.tick_ms())
        }
        (Operator::OverAggregate(over), _)
            if matches!(over.regime, OverRegime::Appending { .. }) =>
        {
            "row-time".into()
        }
        (Operator::Join(join), _) if !super::joins::keeps_times(plan, node, join) => {
            format!("tick({} ms)", node.settings.time_resolution.tick_ms())
        }
        (Operator::Join(_), _) => "event time".into(),
        (_, Some(_)) if node.operator.has_state() => match node.props.window_delay {
            0 => "window_end - 1 ms".into(),
            1 => "window_end".into(),
            delay => format!("window_end + {} ms", delay - 1),
        },
        _ => "event time".into(),
    };
    let _ = write!(text, " time={time}");
    let first = if places { works_on(plan, id).limit() } else { None };
    match (&node.props.distribution, first) {
        (Distribution::Single, _) => text.push_str(" parallelism=1"),
        (_, None) => text.push_str(" parallelism=workers"),
        (_, Some(first)) => {
            let _ = write!(text, " parallelism={first}");
        }
    }
    let routes = routes(plan, node);
    let kinds: Vec<&str> = routes.iter().map(|route| Route::kind_of(route.as_ref())).collect();
    if places && !kinds.is_empty() {
        let _ = write!(text, " exchange={}", kinds.join(","));
    }
    text
}

/// What the state is keyed by and what bounds it.
fn state(plan: &StreamPlan, node: &Node) -> Option<String> {
    let input = node.inputs.first().map(|i| plan.node(*i));
    let keyed = |keys: &[usize]| match input {
        Some(input) if !keys.is_empty() => format!("[{}]", names(input, keys)),
        _ => "[] (one group)".to_string(),
    };
    let lateness = node.settings.allowed_lateness;
    let until = match lateness {
        0 => "bounded: a window's state is dropped when the watermark passes its end".to_string(),
        ms => format!(
            "bounded: a window's state is dropped when the watermark passes its end + {ms} ms"
        ),
    };
    Some(match &node.operator {
        Operator::GroupAggregate { keys, calls, final_only } => {
            let unbounded = if keys.is_empty() {
                if calls.iter().any(|c| c.distinct) {
                    "unbounded: no predicate limits the distinct values".to_string()
                } else {
                    "bounded: one group".to_string()
                }
            } else {
                format!(
                    "unbounded: no predicate limits {}; group by a window to bound it",
                    keyed(keys)
                )
            };
            let emits = if *final_only { ", emits once when the input has ended" } else { "" };
            format!("state: keyed by {}, {unbounded}{emits}", keyed(keys))
        }
        Operator::WindowAggregate { keys, .. } => {
            format!("state: keyed by window, {}, {until}", keyed(keys))
        }
        Operator::SessionAggregate { keys, gap, .. }
        | Operator::SessionAssign { keys, gap, .. } => {
            format!(
                "state: keyed by {}, bounded: a session's state is dropped when the watermark \
                 passes its last row + {} ms",
                keyed(keys),
                gap + lateness
            )
        }
        Operator::WindowRank(rank) => {
            format!("state: keyed by window, {}, {until}", keyed(&rank.partition))
        }
        Operator::WindowJoin(join) => {
            format!("state: both inputs keyed by window, {}, {until}", keyed(&join.left_keys))
        }
        Operator::OverAggregate(over) => {
            super::over_text::state(over, &keyed(&over.partition), until)
        }
        Operator::TemporalFilter(filter) => super::over_text::filter_state(filter),
        Operator::IntervalJoin(join) => super::interval::state(plan, node, join),
        Operator::TemporalJoin(join) => super::temporal::state(plan, node, join),
        Operator::LookupJoin(join) => super::temporal::lookup_state(plan, node, join),
        Operator::Arrange { keys } => super::joins::arrange_state(plan, node, keys),
        Operator::Join(join) => super::joins::join_state(plan, node, join)?,
        Operator::SetOperation { .. } => {
            "state: keyed by the whole row, unbounded: no predicate limits the distinct rows; take \
             the rows of one window to bound it"
                .to_string()
        }
        Operator::Recursive(_) => super::recursion::STATE.to_string(),
        Operator::Rank(rank) => rank_state(rank, input, &keyed(&rank.partition)),
        Operator::ChangelogNormalize { keys, .. } => format!(
            "state: the last row of each key, keyed by {}, unbounded: no predicate limits the \
             keys; deletions take rows out",
            keyed(keys)
        ),
        Operator::MatchRecognize(matched) => {
            format!("state: keyed by {}, {}", keyed(&matched.partition), matched.bound())
        }
        _ => return None,
    })
}

/// What a rank keeps: of input that only grows what is shown, of other input all.
fn rank_state(rank: &Rank, input: Option<&Node>, keyed: &str) -> String {
    let append = input.is_some_and(|i| i.props.mode == ChangelogMode::Append);
    let kept = match (rank.first_by_time, append, rank.to) {
        (true, ..) => "no rows, one time a key".to_string(),
        (_, true, 1) => "one row a key".into(),
        (_, true, to) if to < u64::MAX && rank.kind == RankKind::RowNumber => {
            format!("at most {to} rows a key")
        }
        (_, true, to) if to < u64::MAX => format!("the rows of rank 1 to {to} of a key"),
        (_, true, _) => "all rows of its input; limit the rank to bound a key's".into(),
        (_, false, _) => "all rows of its input, as any of them may be taken back".into(),
    };
    let bounded = append && rank.to < u64::MAX;
    let keys = match (rank.partition.is_empty(), bounded) {
        (true, true) => "bounded".to_string(),
        (true, false) => "unbounded: no predicate limits the rows".into(),
        (false, _) => {
            format!("unbounded: no predicate limits {keyed}; partition by a window to bound it")
        }
    };
    let emits = if rank.final_only { ", emits once when the input has ended" } else { "" };
    format!("state: keyed by {keyed}, {kept}, {keys}{emits}")
}

fn describe_rank(rank: &Rank, of: impl Fn(&[usize]) -> String) -> String {
    let order = order_text(&rank.order, &of);
    let keep = match (rank.from, rank.to) {
        (1, u64::MAX) => "all".to_string(),
        (from, u64::MAX) => format!("{from}.."),
        (from, to) => format!("{from}..{to}"),
    };
    if rank.first_by_time {
        return format!(
            "Deduplicate(keep=first, key=[{}], orderBy=[{order}])",
            of(&rank.partition)
        );
    }
    if rank.partition.is_empty() && !rank.number && rank.kind == RankKind::RowNumber {
        return format!("Limit(keep={keep}, orderBy=[{order}])");
    }
    let number = if rank.number { "" } else { ", number=no" };
    format!(
        "Rank({}, keep={keep}, partitionBy=[{}], orderBy=[{order}]{number})",
        kind_text(rank.kind),
        of(&rank.partition)
    )
}

fn kind_text(kind: RankKind) -> &'static str {
    match kind {
        RankKind::RowNumber => "ROW_NUMBER",
        RankKind::Rank => "RANK",
        RankKind::DenseRank => "DENSE_RANK",
    }
}

fn order_text(order: &[SortColumn], of: impl Fn(&[usize]) -> String) -> String {
    let one = |s: &SortColumn| {
        let down = if s.options.descending { " DESC" } else { "" };
        format!("{}{down}", of(&[s.column]))
    };
    order.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(super) fn names(node: &Node, columns: &[usize]) -> String {
    let names: Vec<_> = columns.iter().map(|&c| node.schema.field(c).name().as_str()).collect();
    names.join(", ")
}

pub(super) fn describe(plan: &StreamPlan, node: &Node) -> String {
    let input = node.inputs.first().map(|i| plan.node(*i));
    let of = |columns: &[usize]| input.map_or_else(String::new, |i| names(i, columns));
    match &node.operator {
        Operator::Scan(scan) => {
            let all: Vec<usize> = (0..node.schema.fields().len()).collect();
            let watermark = match &scan.watermark {
                Some((time, watermark)) => {
                    let watermark = match watermark.as_column_minus_millis() {
                        Some((column, delay)) if delay >= 0 => {
                            format!("{} - {delay} ms", names(node, &[column]))
                        }
                        _ => watermark.to_string(),
                    };
                    format!("rowtime={time}, watermark={watermark}")
                }
                None => "ingestion time".into(),
            };
            let ends = if node.props.bounded { "bounded" } else { "unbounded" };
            let table = &scan.table.def;
            let connector = table.options.get("connector").map_or("?", String::as_str);
            format!(
                "Source({}, connector={connector}, {ends}, columns=[{}], {watermark})",
                table.name,
                names(node, &all)
            )
        }
        Operator::Values(rows) => format!("Values(rows={})", rows.num_rows()),
        Operator::LateRows { .. } => "LateRows".into(),
        Operator::DeadLetters => "DeadLetters".into(),
        Operator::Calc(calc) => {
            let columns = calc.columns.iter().zip(node.schema.fields()).map(|(expr, field)| {
                let text = expr.to_string();
                if text == *field.name() { text } else { format!("{text} AS {}", field.name()) }
            });
            let mut text = format!("Calc(select=[{}]", columns.collect::<Vec<_>>().join(", "));
            if let Some(filter) = &calc.filter {
                let _ = write!(text, ", where=[{filter}]");
            }
            text + ")"
        }
        Operator::Union => "Union".into(),
        Operator::Expand { sets, .. } => format!("Expand(groupingSets={})", sets.len()),
        Operator::WindowAssign { time_column, spec } => {
            format!("WindowAssign({}, time={})", shape(spec), of(&[*time_column]))
        }
        Operator::SessionAssign { time_column, gap, keys } => format!(
            "SessionAssign(gap={gap} ms, time={}, partitionBy=[{}])",
            of(&[*time_column]),
            of(keys)
        ),
        Operator::GroupAggregate { keys, calls, .. } => {
            format!("GroupAggregate(groupBy=[{}], select=[{}])", of(keys), calls_text(input, calls))
        }
        Operator::WindowAggregate { window, keys, calls } => {
            let window = match window {
                WindowInput::Assigned { time_column, spec } => {
                    format!("{}, time={}", shape(spec), of(&[*time_column]))
                }
                WindowInput::Attached { start, end } => {
                    format!("attached=[{}]", of(&[*start, *end]))
                }
            };
            let calls = calls_text(input, calls);
            format!("WindowAggregate({window}, groupBy=[{}], select=[{calls}])", of(keys))
        }
        Operator::SessionAggregate { time_column, gap, keys, calls } => format!(
            "SessionAggregate(gap={gap} ms, time={}, groupBy=[{}], select=[{}])",
            of(&[*time_column]),
            of(keys),
            calls_text(input, calls)
        ),
        Operator::WindowRank(rank) => {
            let kind = kind_text(rank.kind);
            let order = order_text(&rank.order, of);
            let to = match rank.to {
                u64::MAX => "all".to_string(),
                to => format!("{}..{to}", rank.from),
            };
            format!(
                "WindowRank({kind}, keep={to}, partitionBy=[{}], orderBy=[{}])",
                of(&rank.partition),
                order
            )
        }
        Operator::Rank(rank) => describe_rank(rank, of),
        Operator::WindowJoin(join) => {
            let right = plan.node(node.inputs[1]);
            let on = join.left_keys.iter().zip(&join.right_keys);
            let on: Vec<_> =
                on.map(|(l, r)| format!("{} = {}", of(&[*l]), names(right, &[*r]))).collect();
            let mut text =
                format!("WindowJoin({:?}, on=[{}]", join.kind, on.join(", ")).to_string();
            if let Some(filter) = &join.filter {
                let _ = write!(text, ", where=[{filter}]");
            }
            text + ")"
        }
        Operator::Recursive(recursive) => {
            let names: Vec<&str> = recursive.variables.iter().map(|(n, _)| n.as_str()).collect();
            let then = if recursive.returns { "return" } else { "error" };
            format!("Recursive([{}], limit={}, then={then})", names.join(", "), recursive.limit)
        }
        Operator::RecursionInput(index) => format!("RecursionInput({index})"),
        Operator::RecursionVariable { name, .. } => format!("RecursionVariable({name})"),
        Operator::OverAggregate(over) => {
            super::over_text::text(over, &order_text(&over.order, of), input, of(&over.partition))
        }
        Operator::TemporalFilter(filter) => format!("TemporalFilter(where=[{}])", filter.text),
        Operator::Clock => "Clock".into(),
        Operator::Unnest(unnest) => {
            let outer = if unnest.outer { ", outer" } else { "" };
            let count = if unnest.ordinality { ", with ordinality" } else { "" };
            format!("Unnest([{}], keep=[{}]{outer}{count})", of(&unnest.lists), of(&unnest.keep))
        }
        Operator::Arrange { keys } => format!("Arrange(by=[{}])", of(keys)),
        Operator::IntervalJoin(join) => super::interval::text(plan, node, join),
        Operator::TemporalJoin(join) => super::temporal::text(plan, node, join),
        Operator::LookupJoin(join) => super::temporal::lookup_text(plan, node, join),
        Operator::Join(join) => super::joins::join_text(plan, node, join),
        Operator::SetOperation { kind, all } => {
            format!("SetOperation({}{})", kind.name(), if *all { " ALL" } else { "" })
        }
        Operator::ChangelogNormalize { keys, .. } => {
            format!("ChangelogNormalize(key=[{}])", of(keys))
        }
        Operator::MatchRecognize(matched) => matched.describe(input),
    }
}

fn shape(spec: &WindowSpec) -> String {
    let shifted = |text: String, offset: i64| match offset {
        0 => text,
        ms => format!("{text}, offset={ms} ms"),
    };
    match spec {
        WindowSpec::Tumble { size, offset } => shifted(format!("TUMBLE size={size} ms"), *offset),
        WindowSpec::Hop { size, slide, offset } => {
            shifted(format!("HOP size={size} ms, slide={slide} ms"), *offset)
        }
        WindowSpec::Cumulate { size, step, offset } => {
            shifted(format!("CUMULATE max={size} ms, step={step} ms"), *offset)
        }
        WindowSpec::Session { gap } => format!("SESSION gap={gap} ms"),
    }
}

pub(super) fn calls_text(input: Option<&Node>, calls: &[AggregateCall]) -> String {
    let text = |call: &AggregateCall| {
        let name = match &call.function {
            AggregateFunction::Count => "COUNT".to_string(),
            AggregateFunction::Sum => "SUM".into(),
            AggregateFunction::Min => "MIN".into(),
            AggregateFunction::Max => "MAX".into(),
            AggregateFunction::Avg => "AVG".into(),
            AggregateFunction::Variance { sample, root } => {
                let kind = if *root { "STDDEV" } else { "VAR" };
                format!("{kind}_{}", if *sample { "SAMP" } else { "POP" })
            }
            AggregateFunction::FirstValue => "FIRST_VALUE".into(),
            AggregateFunction::LastValue => "LAST_VALUE".into(),
            AggregateFunction::ListAgg { .. } => "LISTAGG".into(),
            AggregateFunction::Quantile(quantile) => match quantile.kind {
                QuantileKind::Continuous => format!("PERCENTILE_CONT {}", quantile.fraction()),
                QuantileKind::Discrete => format!("PERCENTILE_DISC {}", quantile.fraction()),
                QuantileKind::Median => "MEDIAN".into(),
            },
            AggregateFunction::Bits(operation) => format!("BIT_{operation:?}").to_uppercase(),
            AggregateFunction::Pair(statistic) => format!("{statistic:?}").to_uppercase(),
            AggregateFunction::Other(udaf) => udaf.name().to_uppercase(),
        };
        let args = match (input, call.args.is_empty()) {
            (Some(input), false) => names(input, &call.args),
            _ => "*".to_string(),
        };
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let filter = match (input, call.filter) {
            (Some(input), Some(f)) => format!(" FILTER {}", names(input, &[f])),
            _ => String::new(),
        };
        format!("{name}({distinct}{args}){filter}")
    };
    calls.iter().map(text).collect::<Vec<_>>().join(", ")
}
