//! Interval joins against a naive one over all rows, for any cut and any frontiers; and that state
//! goes when its time has passed.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::super::oracle::restarts::{drive_all_restarted, restarts};
use super::super::oracle::{Row, Seen, batch, cuts, drive_all, rows, schema};
use super::*;
use crate::plan::expr::Expression;
use crate::plan::interval::{TimeComparison, lifetimes};
use crate::plan::props::Props;
use crate::plan::rowtime::RowTime;
use crate::state::keyed::row_text;
use datafusion::common::JoinType;

const SPAN: i64 = 300;
const KINDS: [JoinType; 8] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::LeftAnti,
    JoinType::RightSemi,
    JoinType::RightAnti,
];

/// `left.ts BETWEEN right.start AND right.end` for equal `k`, where `start = ts + lo` and
/// `end = ts + hi`.
fn description(kind: JoinType, lo: i64, hi: i64) -> IntervalJoin {
    let (ts, start, end) = (2, 8, 9);
    let rowtime = |column: usize, lag: i64| RowTime {
        value: Expression::at(column),
        min_lag: lag,
        max_lag: lag,
    };
    let left = Props { rowtimes: vec![rowtime(ts, 0)], ..Props::default() };
    let right = Props { rowtimes: vec![rowtime(start, -lo), rowtime(end, -hi)], ..left.clone() };
    let column = |c: usize| Expression::column(&schema(), c);
    let times = vec![
        TimeComparison { left: column(ts), relation: Relation::NotBefore, right: column(start) },
        TimeComparison { left: column(ts), relation: Relation::NotAfter, right: column(end) },
    ];
    let (of_left, of_right) = lifetimes(&times, &left, &right);
    assert_eq!((of_left.hold, of_right.hold), (Some((-lo).max(0)), Some(hi.max(0))));
    IntervalJoin {
        kind,
        left_keys: vec![0],
        right_keys: vec![0],
        null_equals_null: false,
        times,
        left: of_left,
        right: of_right,
        filter: None,
    }
}

fn output(kind: JoinType) -> SchemaRef {
    let one = schema();
    match kind {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti => one,
        _ => {
            let both = one.fields().iter().chain(one.fields().iter());
            let both = both.map(|f| Field::clone(f).with_nullable(true));
            Arc::new(Schema::new(both.collect::<Vec<_>>()))
        }
    }
}

fn logic(kind: JoinType, lo: i64, hi: i64) -> IntervalJoinLogic {
    IntervalJoinLogic::new(schema(), schema(), description(kind, lo, hi), output(kind))
}

fn with_borders(rows: Vec<Row>, lo: i64, hi: i64) -> Vec<Row> {
    rows.into_iter().map(|r| Row { start: r.ts + lo, end: r.ts + hi, ..r }).collect()
}

fn texts(rows: &[Row]) -> Vec<String> {
    let all = batch(rows);
    (0..rows.len()).map(|row| row_text(all.rows().columns(), row).unwrap()).collect()
}

fn nulls() -> String {
    let one = batch(&with_borders(vec![], 0, 0));
    let nulls = arrow::compute::take_record_batch(one.rows(), &UInt32Array::from(vec![None]));
    row_text(nulls.unwrap().columns(), 0).unwrap()
}

/// The definition, row by row.
fn naive(kind: JoinType, lo: i64, hi: i64, left: &[Row], right: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let until = |row: &Row, last: i64| match row.k {
        Some(_) => row.time.max(last),
        None => row.time,
    };
    let last_left = |a: &Row| a.ts - lo;
    let last_right = |b: &Row| b.ts + hi;
    let (left_texts, right_texts, none) = (texts(left), texts(right), nulls());
    let mut first = [vec![None; left.len()], vec![None; right.len()]];
    for (i, a) in left.iter().enumerate() {
        for (j, b) in right.iter().enumerate() {
            let time = a.time.max(b.time);
            let there = time <= until(a, last_left(a)) && time <= until(b, last_right(b));
            let bounds = a.ts >= b.ts + lo && a.ts <= b.ts + hi;
            if !there || !bounds || a.k.is_none() || a.k != b.k {
                continue;
            }
            let earliest = |known: Option<i64>| Some(known.map_or(time, |k: i64| k.min(time)));
            first[0][i] = earliest(first[0][i]);
            first[1][j] = earliest(first[1][j]);
            if matches!(kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
                seen.add(time, format!("{},{}", left_texts[i], right_texts[j]), 1);
            }
        }
    }
    let sides = [(left, &left_texts, 0), (right, &right_texts, 1)];
    for (rows, texts, side) in sides {
        let is_kept = match side {
            0 => matches!(kind, JoinType::Left | JoinType::Full | JoinType::LeftAnti),
            _ => matches!(kind, JoinType::Right | JoinType::Full | JoinType::RightAnti),
        };
        let is_semi = kind == if side == 0 { JoinType::LeftSemi } else { JoinType::RightSemi };
        let pads = matches!(kind, JoinType::Left | JoinType::Right | JoinType::Full);
        for (i, row) in rows.iter().enumerate() {
            let last = if side == 0 { last_left(row) } else { last_right(row) };
            let is_asked = match kind {
                JoinType::LeftSemi | JoinType::LeftAnti => side == 1,
                JoinType::RightSemi | JoinType::RightAnti => side == 0,
                _ => false,
            };
            match first[side][i].filter(|_| !is_asked) {
                Some(time) if is_semi => seen.add(time, texts[i].clone(), 1),
                Some(_) => {}
                None if is_kept && pads && side == 0 => {
                    seen.add(until(row, last), format!("{},{none}", texts[i]), 1);
                }
                None if is_kept && pads => {
                    seen.add(until(row, last), format!("{none},{}", texts[i]), 1);
                }
                None if is_kept => seen.add(until(row, last), texts[i].clone(), 1),
                None if row.k.is_some() && last < row.time && row.ts < row.time => {
                    *seen.late.entry((texts[i].clone(), last + 1)).or_default() += 1;
                }
                None => {}
            }
        }
    }
    seen
}

fn inputs() -> impl Strategy<Value = (Vec<Row>, Vec<Row>)> {
    // Half of the rows are on time.
    let on_time = |row: Row| match row.rank % 2 {
        0 => Row { ts: row.time, ..row },
        _ => row,
    };
    let side = move || {
        rows(25, SPAN, 40).prop_map(move |rows| rows.into_iter().map(on_time).collect::<Vec<_>>())
    };
    (side(), side())
}

proptest! {
    #[test]
    fn any_cut_gives_the_pairs_of_the_definition(
        (left, right) in inputs(),
        kind in prop::sample::select(KINDS.to_vec()),
        lo in -60i64..40,
        width in 0i64..80,
        cut in cuts(SPAN, 10),
    ) {
        let hi = lo + width;
        let (left, right) = (with_borders(left, lo, hi), with_borders(right, lo, hi));
        let mut logic = logic(kind, lo, hi);
        let seen = drive_all(&mut logic, &[&left, &right], &cut, true);
        prop_assert_eq!(seen, naive(kind, lo, hi, &left, &right));
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert!(logic.keys.is_empty());
    }

    #[test]
    fn restarts_change_nothing(
        (left, right) in inputs(),
        kind in prop::sample::select(KINDS.to_vec()),
        lo in -60i64..40,
        width in 0i64..80,
        cut in cuts(SPAN, 10),
        restarts in restarts(),
    ) {
        let hi = lo + width;
        let (left, right) = (with_borders(left, lo, hi), with_borders(right, lo, hi));
        let (make, by) = (|_| logic(kind, lo, hi), vec![vec![0]; 2]);
        let seen = drive_all_restarted(make, &[&left, &right], &cut, &by, &restarts);
        prop_assert_eq!(seen, naive(kind, lo, hi, &left, &right));
    }
}

fn row(k: i64, time: i64) -> Row {
    Row {
        k: Some(k),
        s: String::new(),
        ts: time,
        x: None,
        f: None,
        t: None,
        p: None,
        d: None,
        start: time - 10,
        end: time + 10,
        time,
        diff: 1,
        rank: 0,
    }
}

#[test]
fn state_stays_as_wide_as_the_interval() {
    let mut logic = logic(JoinType::Full, -10, 10);
    let mut most = 0;
    let mut pairs = 0;
    for step in 0..2_000i64 {
        let (from, to) = (step * 5, step * 5 + 5);
        let rows: Vec<Row> = (from..to).map(|time| row(time % 7, time)).collect();
        let input = || vec![batch(&rows)];
        let mut out = Emitted::default();
        assert!(logic.is_due(to, rows.len()));
        logic.advance(from, to, vec![input(), input()], &mut out).unwrap();
        most = most.max(logic.state_rows());
        pairs += out.updates.iter().map(UpdateBatch::len).sum::<usize>();
    }
    // Each side keeps the rows of the last 10 ms.
    assert_eq!(most, 20);
    assert!(pairs > 20_000, "{pairs}");
    assert!(logic.sides[0].rows.bound() <= 64);
    logic.advance(10_000, CLOSED, vec![vec![], vec![]], &mut Emitted::default()).unwrap();
    assert_eq!(logic.state_rows(), 0);
}

#[test]
fn without_input_rows_go_when_their_time_has_passed() {
    let mut logic = logic(JoinType::Left, -10, 10);
    let mut out = Emitted::default();
    logic.advance(0, 6, vec![vec![batch(&[row(1, 5)])], vec![]], &mut out).unwrap();
    assert_eq!((logic.state_rows(), out.updates.len()), (1, 0));
    assert!(logic.is_due(200, 0));
    logic.advance(6, 15, vec![vec![], vec![]], &mut out).unwrap();
    assert_eq!((logic.state_rows(), out.updates.len()), (1, 0));
    logic.advance(15, 16, vec![vec![], vec![]], &mut out).unwrap();
    assert_eq!((logic.state_rows(), out.updates[0].times()[0]), (0, 15));
}

#[test]
fn steps_of_a_long_slice_give_what_one_gives() {
    let rows: Vec<Row> = (0..20_000i64).map(|i| row(i % 50, (i * 7919) % 20_000)).collect();
    // Pairs, and the sum of their times.
    let run = |frontiers: &[i64]| {
        let mut logic = logic(JoinType::Inner, -10, 10);
        let (mut from, mut out) = (0, Emitted::default());
        for &to in frontiers.iter().chain([&CLOSED]) {
            let below = rows.iter().filter(|r| from <= r.time && r.time < to).cloned();
            let step = vec![batch(&below.collect::<Vec<_>>())];
            logic.advance(from, to, vec![step.clone(), step], &mut out).unwrap();
            from = to;
        }
        let times = out.updates.iter().flat_map(|u| u.times().iter().copied());
        times.fold((0, 0), |(pairs, sum), time| (pairs + 1, sum + time))
    };
    let parts: Vec<i64> = (1..40).map(|i| i * 500).collect();
    let whole = run(&[]);
    assert_eq!(whole, run(&parts));
    assert_eq!(whole.0, 20_000);
}

#[test]
fn rows_of_semi_and_anti_joins_go_with_their_first_partner() {
    for kind in [JoinType::LeftSemi, JoinType::LeftAnti] {
        let mut logic = logic(kind, -1_000, 0);
        let ends = |rows: &[Row]| vec![batch(&with_borders(rows.to_vec(), -1_000, 0))];
        let mut out = Emitted::default();
        let starts: Vec<Row> = (0..50).map(|k| row(k, 5)).collect();
        logic.advance(0, 10, vec![ends(&starts), vec![]], &mut out).unwrap();
        assert_eq!(logic.state_rows(), 50);
        let late: Vec<Row> = (0..49).map(|k| row(k, 20)).collect();
        logic.advance(10, 30, vec![vec![], ends(&late)], &mut out).unwrap();
        // The other side's rows have no partner to come, either.
        assert_eq!(logic.state_rows(), 1);
        logic.advance(30, 40, vec![ends(&starts[..10]), vec![]], &mut out).unwrap();
        logic.advance(40, CLOSED, vec![vec![], vec![]], &mut out).unwrap();
        let count: usize = out.updates.iter().map(UpdateBatch::len).sum();
        assert_eq!(count, if kind == JoinType::LeftSemi { 49 } else { 11 });
    }
}
