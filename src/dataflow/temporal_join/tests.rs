//! Temporal joins against contents summed up anew for each left row, for any cut and frontiers.

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use proptest::prelude::*;

use super::super::oracle::restarts::{drive_all_restarted, restarts};
use super::super::oracle::{Row, Seen, batch, cuts, drive_all, rows, schema, updates};
use super::*;
use crate::batch::consolidate::row_bytes;
use crate::plan::expr::Expression;
use crate::plan::temporal::Versions;
use crate::state::keyed::row_text;

const SPAN: i64 = 300;

fn description(kind: JoinType, lag: i64, is_versioned: bool) -> TemporalJoin {
    TemporalJoin {
        kind,
        left_keys: vec![0],
        right_keys: vec![0],
        null_equals_null: false,
        moment: Some(Expression::column(&schema(), 8)),
        lag,
        versions: is_versioned.then_some(Versions { valid: 6, time: Some(2) }),
        filter: None,
    }
}

fn logic(join: TemporalJoin) -> TemporalJoinLogic {
    let one = schema();
    let both = one.fields().iter().chain(one.fields().iter());
    let both = both.map(|f| Field::clone(f).with_nullable(true)).collect::<Vec<_>>();
    TemporalJoinLogic::new(schema(), schema(), join, Arc::new(Schema::new(both)))
}

fn texts(rows: &[Row]) -> Vec<String> {
    let all = batch(rows);
    (0..rows.len()).map(|row| row_text(all.rows().columns(), row).unwrap()).collect()
}

fn nulls() -> String {
    let one = batch(&[]);
    let nulls = compute::take_record_batch(one.rows(), &UInt32Array::from(vec![None]));
    row_text(nulls.unwrap().columns(), 0).unwrap()
}

/// The right rows of key `k` as of `moment`: by place, how often.
fn as_of(right: &[Row], texts: &[String], k: i64, moment: i64) -> BTreeMap<String, i64> {
    let mut contents = BTreeMap::new();
    for (row, text) in right.iter().zip(texts) {
        if row.k == Some(k) && row.time <= moment {
            *contents.entry(text.clone()).or_default() += row.diff;
        }
    }
    contents.retain(|_, diff| *diff != 0);
    contents
}

/// The version of key `k` that is there as of `moment`.
fn version(right: &[Row], k: i64, moment: i64) -> Option<usize> {
    let bytes = row_bytes(&batch(right)).unwrap()?;
    let come = (0..right.len()).filter(|&i| right[i].k == Some(k) && right[i].time <= moment);
    let last = come.max_by_key(|&i| (right[i].ts, std::cmp::Reverse(bytes.row(i).data().to_vec())));
    last.filter(|&i| right[i].p == Some(true))
}

fn naive(join: &TemporalJoin, left: &[Row], right: &[Row]) -> Seen {
    let (left_texts, right_texts, none) = (texts(left), texts(right), nulls());
    let mut seen = Seen::default();
    for (row, text) in left.iter().zip(&left_texts) {
        let moment = row.start.max(row.time - join.lag);
        let mut met = BTreeMap::new();
        if let Some(k) = row.k {
            match &join.versions {
                None => met = as_of(right, &right_texts, k, moment),
                Some(_) => {
                    met.extend(version(right, k, moment).map(|i| (right_texts[i].clone(), 1)))
                }
            }
        }
        if met.is_empty() && join.kind == JoinType::Left {
            met.insert(none.clone(), 1);
        }
        for (other, diff) in met {
            seen.add(moment + join.lag, format!("{text},{other}"), diff);
        }
    }
    if join.versions.is_some() {
        for (row, text) in right.iter().zip(&right_texts) {
            let earlier = right.iter().filter(|r| r.k == row.k && r.time < row.time);
            let newest = earlier.map(|r| r.ts).max();
            if let (Some(_), Some(newest)) = (row.k, newest.filter(|&n| n > row.ts)) {
                let visible = text.clone();
                *seen.late.entry((visible, newest.min(row.time))).or_default() += 1;
            }
        }
    }
    seen
}

/// Late rows by how many and when: the hidden columns of versions are not shown.
fn without_late_text(mut seen: Seen) -> (Seen, BTreeMap<i64, i64>) {
    let mut late = BTreeMap::new();
    for ((_, end), count) in std::mem::take(&mut seen.late) {
        *late.entry(end).or_default() += count;
    }
    (seen, late)
}

fn with_moments(rows: Vec<Row>, ahead: i64) -> Vec<Row> {
    rows.into_iter().map(|r| Row { start: r.ts + ahead, ..r }).collect()
}

proptest! {
    #[test]
    fn a_row_meets_the_collection_as_of_its_moment(
        left in rows(25, SPAN, 30),
        right in updates(20, SPAN, 1),
        is_left in any::<bool>(),
        lag in prop::sample::select(vec![0, 20, 50]),
        ahead in -10i64..40,
        cut in cuts(SPAN, 10),
        restarts in restarts(),
    ) {
        let kind = if is_left { JoinType::Left } else { JoinType::Inner };
        let join = description(kind, lag, false);
        let left = with_moments(left, ahead);
        let (make, by) = (|_| logic(join.clone()), vec![vec![0]; 2]);
        let again = drive_all_restarted(make, &[&left, &right], &cut, &by, &restarts);
        prop_assert_eq!(again, naive(&join, &left, &right));
        let mut logic = logic(join.clone());
        let seen = drive_all(&mut logic, &[&left, &right], &cut, true);
        prop_assert_eq!(seen, naive(&join, &left, &right));
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert!(logic.keys.is_empty());
    }

    #[test]
    fn a_row_meets_the_version_as_of_its_moment(
        left in rows(25, SPAN, 30),
        right in rows(25, SPAN, 40),
        is_left in any::<bool>(),
        lag in prop::sample::select(vec![0, 20]),
        ahead in -10i64..40,
        cut in cuts(SPAN, 10),
        restarts in restarts(),
    ) {
        let kind = if is_left { JoinType::Left } else { JoinType::Inner };
        let join = description(kind, lag, true);
        let left = with_moments(left, ahead);
        let (make, by) = (|_| logic(join.clone()), vec![vec![0]; 2]);
        let again = drive_all_restarted(make, &[&left, &right], &cut, &by, &restarts);
        let mut logic = logic(join.clone());
        let seen = drive_all(&mut logic, &[&left, &right], &cut, true);
        prop_assert_eq!(without_late_text(again), without_late_text(seen.clone()));
        let expected = naive(&join, &left, &right);
        prop_assert_eq!(without_late_text(seen), without_late_text(expected));
        prop_assert_eq!(logic.state_rows(), 0);
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
        p: Some(true),
        d: None,
        start: time,
        end: time,
        time,
        diff: 1,
        rank: 0,
    }
}

#[test]
fn one_version_of_each_key_is_kept() {
    let mut logic = logic(description(JoinType::Left, 0, true));
    let mut met = 0;
    for step in 0..1_000i64 {
        let (from, to) = (step * 10, step * 10 + 10);
        let rows: Vec<Row> = (from..to).map(|time| row(time % 7, time)).collect();
        let input = || vec![batch(&rows)];
        let mut out = Emitted::default();
        logic.advance(from, to, vec![input(), input()], &mut out).unwrap();
        met += out.updates.iter().map(UpdateBatch::len).sum::<usize>();
        assert_eq!(logic.state_rows(), 7);
    }
    assert_eq!(met, 10_000);
    assert!(logic.rows.bound() <= 64);
    logic.advance(10_000, CLOSED, vec![vec![], vec![]], &mut Emitted::default()).unwrap();
    assert_eq!(logic.state_rows(), 0);
}

#[test]
fn a_row_with_a_moment_to_come_waits() {
    let mut logic = logic(description(JoinType::Left, 0, true));
    let mut out = Emitted::default();
    let left = Row { start: 50, ..row(1, 5) };
    logic.advance(0, 10, vec![vec![batch(&[left])], vec![batch(&[row(1, 3)])]], &mut out).unwrap();
    assert_eq!((out.updates.len(), logic.state_rows()), (0, 2));
    assert!(!logic.is_due(50, 0) && logic.is_due(51, 0));
    logic.advance(10, 51, vec![vec![], vec![batch(&[row(1, 50)])]], &mut out).unwrap();
    assert_eq!((out.updates[0].times()[0], logic.state_rows()), (50, 1));
    let met = out.updates[0].column(12).as_primitive::<TimestampMillisecondType>();
    assert_eq!(met.value(0), 50);
}
