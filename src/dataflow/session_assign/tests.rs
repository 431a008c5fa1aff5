//! Rows of sessions against the definition, and what the state holds of them.

use std::sync::Arc;

use arrow::array::TimestampMillisecondArray;
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::logic::StatefulLogic;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::dataflow::sessions::naive;
use crate::plan::expr::time_type;
use crate::state::keyed::row_text;

const SPAN: i64 = 90;

fn logic(gap: i64, keys: &[usize], lateness: i64) -> SessionAssign {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    for name in ["window_start", "window_end", "window_time"] {
        fields.push(Arc::new(Field::new(name, time_type(), false)));
    }
    let output = Arc::new(Schema::new(fields));
    SessionAssign::new(schema(), 2, gap, keys.to_vec(), output, lateness).unwrap()
}

fn expected(rows: &[Row], gap: i64, keys: &[usize], delay: i64, lateness: i64) -> Seen {
    naive::expected(rows, gap, keys, delay, lateness, |_, session| {
        let window = [session.start, session.end, session.end - 1]
            .map(|at| Arc::new(TimestampMillisecondArray::from(vec![at])) as ArrayRef);
        let text = |row: &Row| {
            let mut columns = batch(std::slice::from_ref(row)).rows().columns().to_vec();
            columns.extend(window.iter().cloned());
            row_text(&columns, 0).unwrap()
        };
        session.rows.iter().map(text).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rows_get_the_session_of_the_definition(
        rows in rows(40, SPAN, 20), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        delay in 0i64..3,
    ) {
        let mut logic = logic(gap, &keys, 0).with_input_delay(delay);
        check_law(&mut logic, &rows, &cut, expected(&rows, gap, &keys, delay, 0));
        prop_assert_eq!(logic.groups.len(), 0);
    }

    #[test]
    fn saved_rows_go_on_on_any_number_of_workers(
        rows in rows(40, SPAN, 50), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in prop_oneof![Just(0i64), 1i64..30], delay in 0i64..3, plan in restarts(),
    ) {
        let make = |_: usize| logic(gap, &keys, lateness).with_input_delay(delay);
        let seen = drive_restarted(make, &rows, &cut, &keys, &plan);
        prop_assert_eq!(seen, drive(&mut make(0), &rows, &cut, true));
    }

    #[test]
    fn late_rows_move_the_rows_of_their_session(
        rows in rows(40, SPAN, 50), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in 1i64..30, delay in 0i64..3,
    ) {
        let mut logic = logic(gap, &keys, lateness).with_input_delay(delay);
        check_law(&mut logic, &rows, &cut, expected(&rows, gap, &keys, delay, lateness));
    }
}

fn row(k: i64, time: i64) -> Row {
    let t = Some(format!("a string of some length, the {time}th"));
    let (x, f, p, d) = (Some(1), None, None, None);
    let s = String::new();
    Row { k: Some(k), s, ts: time, x, f, t, p, d, start: 0, end: 0, time, diff: 1, rank: 0 }
}

/// One session lasts as long as the input, the others a moment: what those leave is given back.
#[test]
fn rows_of_closed_sessions_are_given_back_beside_an_open_one() {
    let mut logic = logic(100, &[0], 0);
    let mut from = -1;
    let mut rows = 0;
    for step in 0..200i64 {
        let time = step * 50;
        let mut held: Vec<Row> = vec![row(0, time)];
        held.extend((1..1000).map(|k| row(k + 1000 * (step / 10), time)));
        let mut out = Emitted::default();
        logic.advance(from, time + 1, vec![vec![batch(&held)]], &mut out).unwrap();
        rows += out.updates.iter().map(UpdateBatch::len).sum::<usize>();
        from = time + 1;
        // The open session, and two generations of ten steps.
        let open = step as usize + 1 + 2 * 10 * 999;
        assert!(logic.state_rows() <= 2 * open + BATCH_ROWS + 1000, "{}", logic.state_rows());
    }
    let mut out = Emitted::default();
    logic.advance(from, crate::time::CLOSED, vec![vec![]], &mut out).unwrap();
    rows += out.updates.iter().map(UpdateBatch::len).sum::<usize>();
    assert_eq!(rows, 200_000);
    assert_eq!(logic.state_rows(), 0);
}

#[test]
fn multiplicities_are_kept() {
    let twice =
        UpdateBatch::new(batch(&[row(1, 5)]).rows().clone(), vec![5].into(), Some(vec![2].into()));
    let mut out = Emitted::default();
    let mut logic = logic(10, &[0], 0);
    logic.advance(-1, 16, vec![vec![twice]], &mut out).unwrap();
    assert_eq!(out.updates.len(), 1);
    assert_eq!((out.updates[0].diff(0), out.updates[0].times()[0]), (2, 15));
}
