//! OVER against its definition: every row's frame looked up among the sorted rows of its partition.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;

use super::append::Appending;
use super::update::Updating;
use super::windowed::WindowedOver;
use crate::dataflow::logic::{Emitted, StatefulLogic};
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::dataflow::windowed::naive::{self as windows, Contents};
use crate::plan::aggregate::AggregateFunction as A;
use crate::plan::node::SortColumn;
use crate::plan::over::{OverAggregate, OverCall, OverFrame, OverFunction as F, OverRegime};
use crate::state::keyed::row_text;
use crate::time::Resolution;

const TICK: i64 = 10;
fn compare_rows(a: &Row, b: &Row) -> Ordering {
    let float = |row: &Row| row.f.map(crate::state::column::ordered_bits);
    let key = |row: &Row| {
        let texts = (row.k, row.s.clone(), row.ts, row.x, float(row), row.t.clone());
        (texts, row.p, row.d, row.start, row.end)
    };
    key(a).cmp(&key(b))
}

/// Whether row `other` is in the frame of row `at` of a sorted partition.
fn in_frame(
    rows: &[Row],
    order: &[SortColumn],
    frame: &OverFrame,
    at: usize,
    other: usize,
) -> bool {
    let inside = |distance: i128| {
        frame.start.is_none_or(|start| distance >= i128::from(start))
            && frame.end.is_none_or(|end| distance <= i128::from(end))
    };
    if frame.rows {
        return inside(other as i128 - at as i128);
    }
    let side = |ordering: Ordering| match ordering {
        Ordering::Less => -1i128,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    };
    let direction = side(compare_by(&rows[other], &rows[at], order));
    let value = |row: &Row| number(row, order[0].column);
    let bound = |offset: i64| match offset {
        0 => direction,
        offset => match (value(&rows[at]), value(&rows[other])) {
            (Some(mine), Some(theirs)) => {
                let sign = if order[0].options.descending { -1 } else { 1 };
                i128::from(theirs - mine) * sign - i128::from(offset)
            }
            _ => direction,
        },
    };
    frame.start.is_none_or(|start| bound(start) >= 0) && frame.end.is_none_or(|end| bound(end) <= 0)
}

fn text_of(row: Option<&Row>, column: usize) -> String {
    row.map_or("NULL".into(), |row| {
        let rows = batch(std::slice::from_ref(row));
        row_text(std::slice::from_ref(rows.column(column)), 0).unwrap()
    })
}

fn share(numerator: usize, denominator: usize) -> String {
    let value = numerator as f64 / denominator as f64;
    row_text(&[Arc::new(Float64Array::from(vec![value])) as ArrayRef], 0).unwrap()
}

/// The result of `call` for row `at` of a sorted partition.
fn result(call: &OverCall, rows: &[Row], order: &[SortColumn], at: usize) -> String {
    let framed: Vec<Row> = (0..rows.len())
        .filter(|&other| in_frame(rows, order, &call.frame, at, other))
        .map(|other| Row { time: other as i64, diff: 1, ..rows[other].clone() })
        .collect();
    let before = |other: &&Row| compare_by(other, &rows[at], order).is_lt();
    let upto = |other: &&Row| compare_by(other, &rows[at], order).is_le();
    let rank = rows.iter().filter(before).count() + 1;
    let total = rows.len();
    match &call.function {
        F::Aggregate(aggregate) => naive(aggregate, &framed),
        F::Edge { column, last, ignore_nulls } => {
            let counts = |row: &&Row| !ignore_nulls || text_of(Some(row), *column) != "NULL";
            let found = match last {
                true => framed.iter().rfind(counts),
                false => framed.iter().find(counts),
            };
            text_of(found, *column)
        }
        F::Nth { column, place } => text_of(framed.get(*place as usize - 1), *column),
        F::Shift { column, back, default } => {
            let other = usize::try_from(at as i64 - back).ok().and_then(|other| rows.get(other));
            match (other, default) {
                (None, Some(default)) => text_of(Some(&rows[at]), *default),
                (other, _) => text_of(other, *column),
            }
        }
        F::RowNumber => (at + 1).to_string(),
        F::Rank => rank.to_string(),
        F::DenseRank => {
            let mut distinct: Vec<&Row> = rows.iter().filter(before).collect();
            distinct.dedup_by(|a, b| compare_by(a, b, order).is_eq());
            (distinct.len() + 1).to_string()
        }
        F::PercentRank if total == 1 => share(0, 1),
        F::PercentRank => share(rank - 1, total - 1),
        F::CumeDist => share(rows.iter().filter(upto).count(), total),
        F::Ntile(parts) => {
            let parts = *parts as usize;
            let mut sizes = (0..parts).map(|p| total / parts + usize::from(p < total % parts));
            let mut end = 0;
            let found = sizes.position(|size| {
                end += size;
                at < end
            });
            (found.unwrap() + 1).to_string()
        }
    }
}

/// The rows of `updates`, a multiset, with their results.
fn results(over: &OverAggregate, updates: &[Row]) -> Contents {
    let mut partitions: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (row, count) in windows::summed(updates) {
        let key = key_text(&row, &over.partition);
        let copies = usize::try_from(count).unwrap();
        partitions.entry(key).or_default().extend(std::iter::repeat_n(row, copies));
    }
    let mut contents = Contents::new();
    for mut rows in partitions.into_values() {
        rows.sort_by(|a, b| compare_by(a, b, &over.order).then_with(|| compare_rows(a, b)));
        for at in 0..rows.len() {
            let mut text = vec![windows::text(&rows[at])];
            text.extend(over.calls.iter().map(|call| result(call, &rows, &over.order, at)));
            *contents.entry(text.join(",")).or_default() += 1;
        }
    }
    contents
}

fn output_of(over: &OverAggregate) -> SchemaRef {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.extend(over.calls.iter().map(|call| Arc::clone(&call.output)));
    Arc::new(Schema::new(fields))
}

/// Aggregates over `frame`, and the functions that `chosen` has a bit for.
fn calls_over(frame: OverFrame, other: OverFrame, chosen: u16, back: i64) -> Vec<OverCall> {
    let aggregates = calls()
        .into_iter()
        .filter(|call| !matches!(call.function, A::FirstValue | A::LastValue | A::Variance { .. }));
    let mut list: Vec<(F, OverFrame, DataType)> = aggregates
        .map(|call| {
            let of = call.output.data_type().clone();
            (F::Aggregate(call), frame, of)
        })
        .collect();
    let ordered = |call: &(F, OverFrame, DataType)| match &call.0 {
        F::Aggregate(call) => matches!(call.function, A::ListAgg { .. } | A::Other(_)),
        _ => false,
    };
    if chosen & 1 == 0 {
        list.retain(|call| !ordered(call));
    }
    let edge = |column, last, ignore_nulls| F::Edge { column, last, ignore_nulls };
    let (int, text, double) = (DataType::Int64, DataType::Utf8View, DataType::Float64);
    let mut more = vec![
        (edge(X, false, true), frame, int.clone()),
        (edge(5, true, false), frame, text.clone()),
        (edge(5, false, false), other, text),
        (F::Nth { column: X, place: 2 }, frame, int.clone()),
        (F::Shift { column: X, back, default: Some(0) }, frame, int.clone()),
        (F::Shift { column: 0, back: back.abs(), default: None }, frame, int.clone()),
        (F::RowNumber, frame, DataType::Int64),
        (F::Rank, frame, DataType::Int64),
        (F::DenseRank, frame, DataType::Int64),
        (F::PercentRank, frame, double.clone()),
        (F::CumeDist, frame, double),
        (F::Ntile(3), frame, DataType::Int64),
    ];
    let sum = list.iter().find(|call| matches!(&call.0, F::Aggregate(c) if c.function == A::Sum));
    more.extend(sum.map(|sum| (sum.0.clone(), other, int)));
    list.extend(
        more.into_iter()
            .enumerate()
            .filter_map(|(bit, call)| (chosen >> (bit + 1) & 1 == 1).then_some(call)),
    );
    list.into_iter()
        .enumerate()
        .map(|(i, (function, frame, of))| {
            let frame = if function.reads_frame() { frame } else { OverFrame::WHOLE };
            let output = Arc::new(Field::new(format!("c{i}"), of, true));
            let function = match function {
                F::Aggregate(call) => F::Aggregate(crate::plan::aggregate::AggregateCall {
                    output: Arc::clone(&output),
                    ..call
                }),
                other => other,
            };
            OverCall { function, frame, output }
        })
        .collect()
}

fn frames(past: bool) -> impl Strategy<Value = OverFrame> {
    let most = if past { 0i64 } else { 3 };
    let bounds = (prop::option::weighted(0.7, -4..=most), prop::option::weighted(0.7, -4..=most));
    (any::<bool>(), bounds).prop_map(move |(rows, (start, end))| {
        let end = if past { Some(end.unwrap_or(0)) } else { end };
        let (start, end) = match (start, end) {
            (Some(start), Some(end)) => (Some(start.min(end)), Some(start.max(end))),
            either => either,
        };
        OverFrame { rows, start, end }
    })
}

/// OVER by ts over past frames.
fn by_time() -> impl Strategy<Value = OverAggregate> {
    let partition = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])];
    // No bits of shares, which need the whole partition.
    let chosen = any::<u16>().prop_map(|bits| bits & 0b10_0011_1111_1111);
    (partition, frames(true), frames(true), chosen, 0i64..3, any::<bool>(), 0i64..4).prop_map(
        |(partition, frame, other, chosen, back, more, lag)| {
            let options = SortOptions { descending: false, nulls_first: true };
            let mut order = vec![SortColumn { column: TS, options }];
            let offset = frame.has_range_offset() || other.has_range_offset();
            if more && !offset {
                order.push(SortColumn { column: X, options });
            }
            let calls = calls_over(frame, other, chosen, back);
            let regime = OverRegime::Appending { lag };
            OverAggregate { partition, order, calls, regime, final_only: false }
        },
    )
}

/// OVER by anything over any frames.
fn by_any(regime: OverRegime) -> impl Strategy<Value = OverAggregate> {
    let partition = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])];
    let order = prop_oneof![Just(vec![]), Just(vec![X]), Just(vec![TS]), Just(vec![X, 0])];
    let options = (any::<bool>(), any::<bool>());
    // Mostly without what needs the whole partition, so that neighbourhoods are tested.
    let chosen = (any::<u16>(), any::<bool>())
        .prop_map(|(bits, whole)| if whole { bits } else { bits & 0b10_0011_1111_1110 });
    (partition, order, options, frames(false), frames(false), chosen, -2i64..3).prop_map(
        move |(partition, order, (descending, nulls_first), mut frame, mut other, chosen, back)| {
            let options = SortOptions { descending, nulls_first };
            let order: Vec<_> =
                order.into_iter().map(|column| SortColumn { column, options }).collect();
            if order.len() != 1 {
                frame.rows |= frame.has_range_offset();
                other.rows |= other.has_range_offset();
            }
            let calls = calls_over(frame, other, chosen, back);
            OverAggregate { partition, order, calls, regime, final_only: false }
        },
    )
}

fn updating(over: &OverAggregate) -> Updating {
    Updating::new(schema(), over.clone(), output_of(over), Resolution::new(TICK)).unwrap()
}

fn expected_updates(over: &OverAggregate, updates: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let ticks: BTreeSet<i64> = updates.iter().map(|r| r.time.div_euclid(TICK) * TICK).collect();
    let mut old = Contents::new();
    for tick in ticks {
        let so_far: Vec<Row> = updates.iter().filter(|r| r.time < tick + TICK).cloned().collect();
        let new = results(over, &so_far);
        old.into_iter().for_each(|(row, count)| seen.add(tick, row, -count));
        new.iter().for_each(|(row, count)| seen.add(tick, row.clone(), *count));
        old = new;
    }
    seen
}

/// Rows with few values, so that many are equal.
fn coarse(rows: Vec<Row>) -> Vec<Row> {
    let one = |row: Row| {
        let ts = row.ts.div_euclid(3) * 3;
        Row { ts, d: None, p: row.p.filter(|p| *p), ..row }
    };
    rows.into_iter().map(one).collect()
}

fn expected_appends(over: &OverAggregate, rows: &[Row]) -> Seen {
    let OverRegime::Appending { lag } = over.regime else { panic!("not by row-time") };
    let mut seen = Seen::default();
    let (timely, late): (Vec<Row>, Vec<Row>) =
        rows.iter().cloned().partition(|row| row.time <= row.ts + lag);
    for row in late {
        *seen.late.entry((windows::text(&row), row.ts + lag)).or_default() += row.diff;
    }
    for (text, count) in results(over, &timely) {
        let time = timely.iter().find(|row| text.starts_with(&windows::text(row))).unwrap().ts;
        seen.add(time + lag, text, count);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn by_row_time_each_row_comes_once(
        rows in rows(30, 60, 5), over in by_time(), cut in cuts(70, 1),
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|r| Row { d: None, ..r }).collect();
        let OverRegime::Appending { lag } = over.regime else { panic!("not by row-time") };
        let mut logic = Appending::new(schema(), over.clone(), output_of(&over), lag).unwrap();
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(seen, expected_appends(&over, &rows));
    }

    #[test]
    fn restarts_change_nothing_by_row_time(
        rows in rows(30, 60, 5), over in by_time(), cut in cuts(70, 1), restarts in restarts(),
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|r| Row { d: None, ..r }).collect();
        let OverRegime::Appending { lag } = over.regime else { panic!("not by row-time") };
        let make = |_| Appending::new(schema(), over.clone(), output_of(&over), lag).unwrap();
        let seen = drive_restarted(make, &rows, &cut, &over.partition, &restarts);
        prop_assert_eq!(seen, expected_appends(&over, &rows));
    }

    #[test]
    fn restarts_change_no_results(
        rows in updates(20, 60, 30).prop_map(coarse), over in by_any(OverRegime::Updating),
        cut in cuts(100, TICK), restarts in restarts(),
    ) {
        let seen = drive_restarted(|_| updating(&over), &rows, &cut, &over.partition, &restarts);
        prop_assert_eq!(seen, expected_updates(&over, &rows));
    }

    #[test]
    fn changes_are_those_of_results(
        rows in updates(20, 60, 30).prop_map(coarse), over in by_any(OverRegime::Updating),
        cut in cuts(100, TICK),
    ) {
        let seen = drive(&mut updating(&over), &rows, &cut, true);
        prop_assert_eq!(seen, expected_updates(&over, &rows));
    }

    #[test]
    fn final_contents_are_those_of_all_changes(
        rows in updates(20, 60, 30).prop_map(coarse), over in by_any(OverRegime::Updating),
        cut in cuts(100, TICK),
    ) {
        let mut last = over.clone();
        last.final_only = true;
        let seen = drive(&mut updating(&last), &rows, &cut, true);
        prop_assert_eq!(seen.contents(), expected_updates(&over, &rows).contents());
    }

    #[test]
    fn state_of_rows_taken_back_is_given_back(
        rows in rows(20, 60, 30), over in by_any(OverRegime::Updating), cut in cuts(200, TICK),
    ) {
        let mut all = rows.clone();
        all.extend(rows.iter().map(|r| Row { time: r.time + 100, diff: -1, ..r.clone() }));
        let mut logic = updating(&over);
        let seen = drive(&mut logic, &all, &cut, true);
        prop_assert!(seen.contents().is_empty());
        prop_assert_eq!(logic.state_rows(), 0);
    }

    #[test]
    fn within_windows_results_come_when_they_close(
        rows in updates(25, 90, 25).prop_map(windows::coarse),
        over in by_any(OverRegime::Windowed { end: 9 }),
        cut in cuts(150, 5), lateness in prop_oneof![Just(0i64), 1i64..30],
    ) {
        let mut over = over;
        over.partition.extend([8, 9]);
        let output = output_of(&over);
        let logic = WindowedOver::over(schema(), over.clone(), 9, output, lateness, false);
        let mut logic = logic.unwrap();
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        let by_window = |rows: &[Row]| {
            let mut contents = Contents::new();
            for start in rows.iter().map(|r| r.start).collect::<BTreeSet<_>>() {
                let rows: Vec<Row> = rows.iter().filter(|r| r.start == start).cloned().collect();
                let over = OverAggregate {
                    partition: over.partition.iter().copied().filter(|c| *c < 2).collect(),
                    ..over.clone()
                };
                contents.extend(results(&over, &rows));
            }
            contents
        };
        let expected = windows::expected(&[&rows], 0, lateness, |inputs| by_window(&inputs[0]));
        prop_assert_eq!(seen, expected);
    }
}

fn row(k: i64, time: i64) -> Row {
    Row {
        k: Some(k),
        s: "a".into(),
        ts: time,
        x: Some(time % 7),
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 0,
        time,
        diff: 1,
        rank: 0,
    }
}

/// The greatest state over a long run of a thousand rows a second for 10 keys, and that at its end.
fn state_over_time(frame: OverFrame, back: Option<i64>) -> (usize, usize) {
    let int = DataType::Int64;
    let sum = calls().into_iter().find(|call| call.function == A::Sum).unwrap();
    let output = |name: &str| Arc::new(Field::new(name, int.clone(), true));
    let mut calls = vec![OverCall { function: F::Aggregate(sum), frame, output: output("sum") }];
    calls.extend(back.map(|back| OverCall {
        function: F::Shift { column: X, back, default: None },
        frame: OverFrame::WHOLE,
        output: output("lag"),
    }));
    let order = vec![SortColumn { column: TS, options: SortOptions::default() }];
    let regime = OverRegime::Appending { lag: 0 };
    let over = OverAggregate { partition: vec![0], order, calls, regime, final_only: false };
    let mut logic = Appending::new(schema(), over.clone(), output_of(&over), 0).unwrap();
    let mut greatest = 0;
    for step in 0..200i64 {
        let from = step * 100;
        let rows: Vec<Row> = (from..from + 100).map(|time| row(time % 10, time)).collect();
        let mut out = Emitted::default();
        logic.advance(from, from + 100, vec![vec![batch(&rows)]], &mut out).unwrap();
        assert_eq!(out.updates.iter().map(|b| b.len()).sum::<usize>(), 100);
        greatest = greatest.max(logic.state_rows());
    }
    if logic.is_due(30_000, 0) {
        logic.advance(20_000, 30_000, vec![vec![]], &mut Emitted::default()).unwrap();
    }
    (greatest, logic.state_rows())
}

#[test]
fn the_state_is_that_of_the_frames() {
    let frame = |rows, start| OverFrame { rows, start, end: Some(0) };
    // Ten keys, and what the frames hold: nothing else.
    assert_eq!(state_over_time(frame(true, None), None), (10, 10));
    assert_eq!(state_over_time(frame(true, Some(-4)), None), (10 + 50, 10 + 50));
    assert_eq!(state_over_time(frame(true, None), Some(2)), (10 + 20, 10 + 20));
    // Of 250 ms before the frontier, in steps of 100 ms, and once it has gone on, none.
    let (greatest, last) = state_over_time(frame(false, Some(-250)), None);
    assert!(greatest <= 10 + 250 + 100 && last == 0, "{greatest} {last}");
    assert_eq!(state_over_time(frame(false, Some(0)), None), (0, 0));
}
