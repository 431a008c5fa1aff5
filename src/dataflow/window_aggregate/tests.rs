//! Windowed aggregation against the definition: every row, every window, one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::plan::node::WindowInput;
use crate::sql::window::WindowSpec;

const SPAN: i64 = 90;
const MORE: [&str; 3] = ["window_start", "window_end", "window_time"];

fn specs() -> impl Strategy<Value = WindowSpec> {
    let (size, step, offset) = (1i64..40, 1i64..15, -20i64..20);
    prop_oneof![
        (size.clone(), offset.clone())
            .prop_map(|(size, offset)| WindowSpec::Tumble { size, offset }),
        (size, step.clone(), offset.clone()).prop_map(|(size, slide, offset)| WindowSpec::Hop {
            size,
            slide,
            offset
        }),
        // A prime size and a small slide: too many panes.
        Just(WindowSpec::Hop { size: 67, slide: 5, offset: 0 }),
        (1i64..6, step, offset).prop_map(|(times, step, offset)| WindowSpec::Cumulate {
            size: times * step,
            step,
            offset
        }),
    ]
}

/// The windows of a row as pairs of end and start, ascending.
fn windows(source: &WindowInput, row: &Row) -> Vec<(i64, i64)> {
    match source {
        WindowInput::Attached { .. } => vec![(row.end, row.start)],
        WindowInput::Assigned { spec, .. } => {
            let shape = WindowShape::new(spec).unwrap();
            shape.windows(row.ts).map(|w| (w.end, w.start)).collect()
        }
    }
}

fn expected(
    calls: &[AggregateCall],
    rows: &[Row],
    source: &WindowInput,
    keys: &[usize],
    delay: i64,
    lateness: i64,
) -> Seen {
    let mut seen = Seen::default();
    let mut groups: BTreeMap<((i64, i64), String), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let all = windows(source, row);
        let open = |(end, _): &(i64, i64)| row.time < end + delay + lateness;
        for window in all.iter().filter(|w| open(w)) {
            groups.entry((*window, key_text(row, keys))).or_default().push(row.clone());
        }
        if let Some((end, _)) = all.last().filter(|w| !open(w)) {
            let text = row_text(batch(std::slice::from_ref(row)).rows().columns(), 0).unwrap();
            *seen.late.entry((text, *end)).or_default() += row.diff;
        }
    }
    for (((end, start), key), rows) in groups {
        let mut times: BTreeSet<i64> =
            rows.iter().map(|r| r.time).filter(|&t| t >= end + delay).collect();
        times.insert(end + delay - 1);
        let mut old: Option<String> = None;
        for time in times {
            let so_far: Vec<Row> = rows.iter().filter(|r| r.time <= time).cloned().collect();
            let exists = so_far.iter().map(|r| r.diff).sum::<i64>() > 0;
            let more = [start, end, end - 1];
            let new = exists.then(|| naive_row(&key, calls, &so_far, &more));
            if old != new {
                old.into_iter().for_each(|row| seen.add(time, row, -1));
                new.clone().into_iter().for_each(|row| seen.add(time, row, 1));
            }
            old = new;
        }
    }
    seen
}

fn logic_of(
    calls: Vec<AggregateCall>,
    source: &WindowInput,
    keys: &[usize],
    lateness: i64,
    append_only: bool,
) -> WindowAggregate {
    let output = output(keys, &calls, &MORE);
    let (source, keys) = (source.clone(), keys.to_vec());
    WindowAggregate::new(schema(), source, keys, calls, output, lateness, append_only).unwrap()
}

fn logic(source: &WindowInput, keys: &[usize], lateness: i64) -> WindowAggregate {
    logic_of(calls(), source, keys, lateness, true)
}

/// A retraction takes back the oldest equal value *of its pane*, which the oracle does not know.
fn calls_without_order() -> Vec<AggregateCall> {
    use crate::plan::aggregate::AggregateFunction as F;
    let mut calls = calls();
    calls.retain(|call| !matches!(call.function, F::FirstValue | F::LastValue | F::ListAgg { .. }));
    calls
}

fn keys() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_hold_the_rows_that_are_in_time(
        rows in rows(30, SPAN, 40), spec in specs(), keys in keys(), cut in cuts(SPAN + 40, 5),
        delay in 0i64..3,
    ) {
        let source = WindowInput::Assigned { time_column: 2, spec };
        let mut logic = logic(&source, &keys, 0).with_input_delay(delay);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert_eq!(seen, expected(&calls(), &rows, &source, &keys, delay, 0));
    }

    #[test]
    fn windows_follow_retractions(
        rows in updates(20, SPAN, 10), spec in specs(), keys in keys(), cut in cuts(SPAN + 40, 5),
    ) {
        let source = WindowInput::Assigned { time_column: 2, spec };
        let calls = calls_without_order();
        let mut logic = logic_of(calls.clone(), &source, &keys, 0, false);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(seen, expected(&calls, &rows, &source, &keys, 0, 0));
    }

    #[test]
    fn saved_windows_go_on_on_any_number_of_workers(
        rows in updates(30, SPAN, 60), spec in specs(), keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in prop_oneof![Just(0i64), 1i64..30], delay in 0i64..2, plan in restarts(),
        is_append in any::<bool>(), is_attached in any::<bool>(),
    ) {
        let mut rows: Vec<Row> = rows.into_iter().filter(|r| !is_append || r.diff > 0).collect();
        for row in &mut rows {
            row.end = row.ts.div_euclid(20) * 20 + 20;
            row.start = row.end - 20 - row.x.unwrap_or(0).abs();
        }
        let mut placement = keys.clone();
        let source = if is_attached {
            if keys.is_empty() {
                placement = vec![8, 9];
            }
            WindowInput::Attached { start: 8, end: 9 }
        } else {
            WindowInput::Assigned { time_column: 2, spec }
        };
        let calls = if is_append { calls() } else { calls_without_order() };
        let make = |_: usize| {
            let logic = logic_of(calls.clone(), &source, &keys, lateness, is_append);
            logic.with_input_delay(delay)
        };
        let seen = drive_restarted(make, &rows, &cut, &placement, &plan);
        prop_assert_eq!(seen, drive(&mut make(0), &rows, &cut, false));
    }

    #[test]
    fn late_rows_correct_results(
        rows in rows(25, SPAN, 60), spec in specs(), keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in 1i64..30,
    ) {
        let source = WindowInput::Assigned { time_column: 2, spec };
        let mut logic = logic(&source, &keys, lateness);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert_eq!(seen, expected(&calls(), &rows, &source, &keys, 0, lateness));
    }

    #[test]
    fn attached_windows_close_at_their_end(
        mut rows in rows(25, SPAN, 40), keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in 0i64..10, delay in 0i64..2,
    ) {
        for row in &mut rows {
            row.end = row.ts.div_euclid(20) * 20 + 20;
            row.start = row.end - 20 - row.x.unwrap_or(0).abs();
        }
        let source = WindowInput::Attached { start: 8, end: 9 };
        let mut logic = logic(&source, &keys, lateness).with_input_delay(delay);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(seen, expected(&calls(), &rows, &source, &keys, delay, lateness));
    }

    #[test]
    fn extreme_times_are_dead_letters_or_windows(
        stamps in prop::collection::vec(
            prop_oneof![i64::MIN..i64::MIN + 50, i64::MAX - 50..i64::MAX, 0i64..50], 0..10),
        spec in specs(), lateness in 0i64..2,
    ) {
        let rows: Vec<Row> = stamps.iter().map(|&ts| Row {
            k: None, s: String::new(), ts, x: None, f: None, t: None, p: None, d: None,
            start: 0, end: 0, time: 10, diff: 1, rank: 0,
        }).collect();
        let source = WindowInput::Assigned { time_column: 2, spec };
        let mut logic = logic(&source, &[], lateness);
        let cut = Cut { frontiers: vec![20], batch_rows: 3, by_rank: false };
        let seen = drive(&mut logic, &rows, &cut, false);
        prop_assert!(seen.dead <= rows.len());
        prop_assert_eq!(logic.state_rows(), 0);
    }
}

#[test]
fn nothing_is_due_while_no_window_ends() {
    let spec = WindowSpec::Tumble { size: 100, offset: 0 };
    let source = WindowInput::Assigned { time_column: 2, spec };
    let mut logic = logic(&source, &[0], 0);
    logic.advance(BEGINNING, 10, Vec::new(), &mut Emitted::default()).unwrap();
    assert!(!logic.is_due(90, 5));
    assert!(logic.is_due(90, WINDOW_ROWS_UNREAD_MAX + 1));
    assert!(logic.is_due(100, 5));
    assert!(!logic.is_due(100, 0));
    assert!(logic.is_due(CLOSED, 0));
}
