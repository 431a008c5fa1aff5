//! Sessions against their definition, row by row.

use std::collections::BTreeMap;

use arrow::array::Array;
use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::*;
use crate::state::keyed::row_text;

const SPAN: i64 = 90;
const MORE: [&str; 3] = ["window_start", "window_end", "window_time"];

struct Naive {
    start: i64,
    end: i64,
    rows: Vec<Row>,
    out: Option<String>,
    changed: bool,
}

impl Naive {
    fn text(&self, key: &str) -> String {
        naive_row(key, &calls(), &self.rows, &[self.start, self.end, self.end - 1])
    }
}

/// One key's rows at a time, all rows of a millisecond together.
fn expected(rows: &[Row], gap: i64, keys: &[usize], delay: i64, lateness: i64) -> Seen {
    let mut seen = Seen::default();
    let mut of_key: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        of_key.entry(key_text(row, keys)).or_default().push(row.clone());
    }
    for (key, mut rows) in of_key {
        rows.sort_by_key(|row| (row.time, row.ts));
        let mut sessions: Vec<Naive> = Vec::new();
        for run in rows.chunk_by(|a, b| a.time == b.time) {
            let time = run[0].time;
            for session in &mut sessions {
                if session.out.is_none() && session.end + delay < time {
                    let text = session.text(&key);
                    seen.add(session.end + delay, text.clone(), 1);
                    session.out = Some(text);
                }
            }
            sessions.retain(|session| time <= session.end + delay + lateness);
            for row in run {
                let (start, end) = (row.ts, row.ts + gap);
                let mut mine =
                    Naive { start, end, rows: vec![row.clone()], out: None, changed: true };
                let joins = |s: &Naive| row.ts <= s.end && end >= s.start;
                if time > end + delay + lateness && !sessions.iter().any(joins) {
                    let one = batch(std::slice::from_ref(row));
                    let text = row_text(one.rows().columns(), 0).unwrap();
                    *seen.late.entry((text, end)).or_default() += 1;
                    continue;
                }
                let (joined, others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(joins);
                sessions = others;
                for session in joined {
                    mine.start = mine.start.min(session.start);
                    mine.end = mine.end.max(session.end);
                    mine.rows.extend(session.rows);
                    session.out.into_iter().for_each(|row| seen.add(time, row, -1));
                }
                sessions.push(mine);
            }
            for session in sessions.iter_mut() {
                if std::mem::take(&mut session.changed) && session.end + delay < time {
                    let text = session.text(&key);
                    seen.add(time, text.clone(), 1);
                    session.out = Some(text);
                }
            }
        }
        for session in sessions.iter().filter(|s| s.out.is_none()) {
            seen.add(session.end + delay, session.text(&key), 1);
        }
    }
    seen
}

fn logic(gap: i64, keys: &[usize], lateness: i64) -> SessionAggregate {
    let output = output(keys, &calls(), &MORE);
    SessionAggregate::new(schema(), 2, gap, keys.to_vec(), calls(), output, lateness).unwrap()
}

fn keys() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sessions_are_those_of_the_definition(
        rows in rows(40, SPAN, 20), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        delay in 0i64..3,
    ) {
        let mut logic = logic(gap, &keys, 0).with_input_delay(delay);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert_eq!(logic.groups.len(), 0);
        prop_assert_eq!(seen, expected(&rows, gap, &keys, delay, 0));
    }

    #[test]
    fn late_rows_join_and_correct_sessions(
        rows in rows(40, SPAN, 50), gap in 1i64..12, keys in keys(), cut in cuts(SPAN + 40, 5),
        lateness in 1i64..30,
    ) {
        let mut logic = logic(gap, &keys, lateness);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert_eq!(seen, expected(&rows, gap, &keys, 0, lateness));
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
    let mut logic =
        SessionAggregate::new(schema(), 2, 5, vec![0], calls.clone(), output, 0).unwrap();
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
