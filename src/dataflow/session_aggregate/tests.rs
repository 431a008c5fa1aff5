//! Sessions against their definition, row by row.

use arrow::array::Array;
use proptest::prelude::*;

use super::*;
use crate::dataflow::logic::StatefulLogic;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::dataflow::sessions::naive;

const SPAN: i64 = 90;
const MORE: [&str; 3] = ["window_start", "window_end", "window_time"];

/// One key's rows at a time, all rows of a millisecond together.
fn expected(rows: &[Row], gap: i64, keys: &[usize], delay: i64, lateness: i64) -> Seen {
    naive::expected(rows, gap, keys, delay, lateness, |key, session| {
        let window = [session.start, session.end, session.end - 1];
        vec![naive_row(key, &calls(), &session.rows, &window)]
    })
}

fn spec(gap: i64, keys: &[usize], allowed_lateness: i64) -> SessionSpec {
    SessionSpec { input: schema(), time_column: 2, gap, keys: keys.to_vec(), allowed_lateness }
}

fn logic(gap: i64, keys: &[usize], lateness: i64) -> SessionAggregate {
    let output = output(keys, &calls(), &MORE);
    SessionAggregate::new(spec(gap, keys, lateness), &calls(), output).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sessions_are_those_of_the_definition(
        rows in rows(40, SPAN, 20), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        delay in 0i64..3,
    ) {
        let mut logic = logic(gap, &keys, 0).with_input_delay(delay);
        check_law(&mut logic, &rows, &cut, expected(&rows, gap, &keys, delay, 0));
        prop_assert_eq!(logic.groups.len(), 0);
    }

    #[test]
    fn saved_sessions_go_on_on_any_number_of_workers(
        rows in rows(40, SPAN, 50), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in prop_oneof![Just(0i64), 1i64..30], delay in 0i64..3, plan in restarts(),
    ) {
        let make = |_: usize| logic(gap, &keys, lateness).with_input_delay(delay);
        let seen = drive_restarted(make, &rows, &cut, &keys, &plan);
        prop_assert_eq!(seen, drive(&mut make(0), &rows, &cut, true));
    }

    #[test]
    fn late_rows_join_and_correct_sessions(
        rows in rows(40, SPAN, 50), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in 1i64..30,
    ) {
        let mut logic = logic(gap, &keys, lateness);
        check_law(&mut logic, &rows, &cut, expected(&rows, gap, &keys, 0, lateness));
    }
}

fn at(ts: i64, time: i64) -> Row {
    Row {
        k: Some(1),
        s: String::new(),
        ts,
        x: Some(1),
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

#[test]
fn rows_exactly_one_gap_apart_are_one_session() {
    let cut = Cut { frontiers: vec![10, 20, 30], batch_rows: 1, by_rank: false };
    let rows = [at(0, 0), at(10, 10), at(20, 20), at(31, 31)];
    let seen = drive(&mut logic(10, &[0], 0), &rows, &cut, true);
    let times: Vec<i64> = seen.updates.keys().map(|(time, _)| *time).collect();
    assert_eq!(times, [30, 41]);
}

#[test]
fn retractions_are_refused() {
    let mut logic = logic(10, &[0], 0);
    let taken = batch(&[Row { diff: -1, ..at(0, 0) }]);
    assert_eq!(taken.rows().column(0).len(), 1);
    assert!(logic.advance(-1, 5, vec![vec![taken]], &mut Emitted::default()).is_err());
}

#[test]
fn distinct_values_of_past_sessions_are_forgotten() {
    use crate::plan::aggregate::AggregateFunction;
    let mut calls = calls();
    calls.retain(|call| call.distinct && call.function == AggregateFunction::Count);
    let output = output(&[0], &calls, &MORE);
    let mut logic = SessionAggregate::new(spec(5, &[0], 0), &calls, output).unwrap();
    let row = |i: i64| Row {
        x: Some(i),
        f: Some(0.5),
        t: Some(format!("a string of some length, the {i}th")),
        p: Some(i % 2 == 0),
        ..at(i / 2 * 20 + i % 2, i / 2 * 20 + i % 2)
    };
    let rows: Vec<Row> = (0..6000).map(row).collect();
    let frontiers = (0..600).map(|i| i * 100).collect();
    let cut = Cut { frontiers, batch_rows: 100, by_rank: false };
    let seen = drive(&mut logic, &rows, &cut, true);
    assert_eq!(seen.updates.len(), 3000);
    // x, x of even rows, t of even rows, x with t, f.
    assert!(seen.updates.keys().all(|(_, row)| row.starts_with("1,2,1,1,2,1,")));
}
