//! Set operations against recomputation at every tick.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_all_restarted, restarts};
use crate::dataflow::oracle::{self, Cut, Row, Seen, cuts, drive_all, updates};
use crate::state::keyed::row_text;

const TICK: i64 = 10;

fn narrow(rows: Vec<Row>) -> Vec<Row> {
    // Few distinct rows, some of them with NULLs, so that copies are many.
    let plain = |row: Row| Row {
        s: String::new(),
        ts: 0,
        x: None,
        f: None,
        t: row.t.filter(|t| t.len() == 1),
        p: None,
        d: None,
        ..row
    };
    rows.into_iter().map(plain).collect()
}

fn text(row: &Row) -> String {
    row_text(oracle::batch(std::slice::from_ref(row)).rows().columns(), 0).unwrap()
}

fn copies(kind: SetKind, all: bool, left: i64, right: i64) -> i64 {
    match (kind, all) {
        (SetKind::Intersect, true) => left.min(right),
        (SetKind::Intersect, false) => i64::from(left > 0 && right > 0),
        (SetKind::Except, true) => (left - right).max(0),
        (SetKind::Except, false) => i64::from(left > 0 && right <= 0),
    }
}

fn expected(kind: SetKind, all: bool, left: &[Row], right: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let mut rows: BTreeMap<String, [Vec<Row>; 2]> = BTreeMap::new();
    for (side, updates) in [left, right].into_iter().enumerate() {
        for row in updates {
            rows.entry(text(row)).or_default()[side].push(row.clone());
        }
    }
    for (row, sides) in rows {
        let mut ticks: Vec<i64> =
            sides.iter().flatten().map(|r| r.time.div_euclid(TICK) * TICK).collect();
        ticks.sort_unstable();
        ticks.dedup();
        let mut old = 0;
        for tick in ticks {
            let [l, r] = [0, 1].map(|side: usize| {
                let so_far = sides[side].iter().filter(|r| r.time < tick + TICK);
                so_far.map(|r| r.diff).sum::<i64>()
            });
            let new = copies(kind, all, l, r);
            if new != old {
                seen.add(tick, row.clone(), new - old);
            }
            old = new;
        }
    }
    seen
}

fn logic(kind: SetKind, all: bool) -> SetOperation {
    SetOperation::new(kind, all, oracle::schema(), Resolution::new(TICK))
}

fn kinds() -> impl Strategy<Value = (SetKind, bool)> {
    (prop_oneof![Just(SetKind::Intersect), Just(SetKind::Except)], any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn copies_change_tick_by_tick(
        left in updates(25, 60, 30), right in updates(25, 60, 30),
        (kind, all) in kinds(), cut in cuts(100, TICK),
    ) {
        let (left, right) = (narrow(left), narrow(right));
        let seen = drive_all(&mut logic(kind, all), &[&left, &right], &cut, true);
        prop_assert_eq!(seen, expected(kind, all, &left, &right));
    }

    #[test]
    fn restarts_change_nothing(
        left in updates(25, 60, 30), right in updates(25, 60, 30),
        (kind, all) in kinds(), cut in cuts(100, TICK), restarts in restarts(),
    ) {
        let (left, right) = (narrow(left), narrow(right));
        let by = vec![(0..10).collect::<Vec<_>>(); 2];
        let make = |_| logic(kind, all);
        let seen = drive_all_restarted(make, &[&left, &right], &cut, &by, &restarts);
        prop_assert_eq!(seen, expected(kind, all, &left, &right));
    }

    #[test]
    fn rows_that_left_both_inputs_are_forgotten(
        left in updates(25, 60, 30), right in updates(25, 60, 30), (kind, all) in kinds(),
    ) {
        let taken_back = |rows: Vec<Row>| {
            let back = rows.iter().map(|r| Row { time: 200, diff: -r.diff, ..r.clone() });
            narrow(rows.iter().cloned().chain(back).collect())
        };
        let mut logic = logic(kind, all);
        let cut = Cut { frontiers: vec![40, 90], batch_rows: 7, by_rank: true };
        let sides = [taken_back(left), taken_back(right)];
        let seen = drive_all(&mut logic, &[&sides[0], &sides[1]], &cut, true);
        prop_assert!(seen.contents().is_empty());
        prop_assert_eq!(logic.state_rows(), 0);
    }
}
