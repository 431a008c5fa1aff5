//! What EXPLAIN says of OVER and of filters on `NOW()`: calls, frames, and what bounds the state.

use super::explain::{calls_text, names};
use super::node::Node;
use super::over::{OverAggregate, OverCall, OverFunction, OverRegime};
use super::temporal_filter::TemporalFilter;

/// The operator; `order` and `partition` are its columns by name.
pub(super) fn text(
    over: &OverAggregate,
    order: &str,
    input: Option<&Node>,
    partition: String,
) -> String {
    let calls = over_calls(input, &over.calls);
    format!("OverAggregate(partitionBy=[{partition}], orderBy=[{order}], select=[{calls}])")
}

/// The state of an OVER; `until` says how long a window's rows are kept.
pub(super) fn state(over: &OverAggregate, keyed: &str, until: String) -> String {
    let bound = match over.regime {
        OverRegime::Windowed { .. } => until,
        _ => over_bound(over),
    };
    let emits = if over.final_only { ", emits once when the input has ended" } else { "" };
    format!("state: keyed by {keyed}, {bound}{emits}")
}

/// The state of a filter on `NOW()`.
pub(super) fn filter_state(filter: &TemporalFilter) -> String {
    let what = match (filter.from.is_empty(), filter.until.is_empty()) {
        (true, _) => "present rows until NOW() lets them leave",
        (false, true) => "rows until NOW() lets them appear",
        (false, false) => "rows until NOW() lets them appear and leave",
    };
    format!("state: {what}, bounded: a row is dropped when the watermark passes its time")
}

/// What bounds the state of an OVER outside of windows.
fn over_bound(over: &OverAggregate) -> String {
    if over.regime == OverRegime::Updating {
        return "unbounded: rows of any place may come and go; over a table that only grows, order \
                by its row-time and end frames at the current row to bound it"
            .into();
    }
    let framed = |call: &&OverCall| call.function.reads_frame() && call.frame.start.is_some();
    let rows = over.calls.iter().filter_map(|call| match &call.function {
        OverFunction::Shift { back, .. } => Some(back.unsigned_abs()),
        _ => None,
    });
    let of_frames = over.calls.iter().filter(framed).filter(|call| call.frame.rows);
    let of_frames = of_frames.filter_map(|call| Some(call.frame.start?.unsigned_abs() + 1));
    let rows = rows.chain(of_frames).max();
    let ranged = over.calls.iter().filter(framed).any(|call| !call.frame.rows);
    let of_past = |call: &&OverCall| matches!(call.function, OverFunction::Shift { .. });
    let by_keys = over.calls.iter().any(|call| !framed(&call) && !of_past(&call));
    let mut bounds = Vec::new();
    bounds.extend(rows.map(|rows| match rows {
        1 => "1 row a key".to_string(),
        rows => format!("{rows} rows a key"),
    }));
    if ranged {
        bounds.push("rows until the watermark passes them by their RANGE".into());
    }
    if by_keys {
        bounds.push("one result a key".into());
    }
    format!("bounded: {}", bounds.join(", "))
}

/// The calls of an OVER, with their frames.
fn over_calls(input: Option<&Node>, calls: &[OverCall]) -> String {
    let text = |call: &OverCall| {
        let columns = call.columns();
        let args = input.filter(|_| !columns.is_empty()).map(|input| names(input, &columns));
        let name = match &call.function {
            OverFunction::Aggregate(aggregate) => {
                calls_text(input, std::slice::from_ref(aggregate))
            }
            function => format!("{}({})", function.name(), args.unwrap_or_default()),
        };
        match call.function.reads_frame() {
            true => format!("{name} {}", call.frame),
            false => name,
        }
    };
    calls.iter().map(text).collect::<Vec<_>>().join(", ")
}
