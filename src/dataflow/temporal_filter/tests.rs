//! Temporal filters against their definition: the rows for which the comparison holds at `F - 1`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_all_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::state::keyed::row_text;

const WIDTH: usize = 8;
const SPAN: i64 = 60;

fn bound(column: usize, above: bool) -> TimeBound {
    TimeBound { column, above, unit_ms: 1 }
}

fn logic(filter: &TemporalFilter) -> Temporal {
    let fields = schema().fields().iter().take(WIDTH).cloned().collect::<Vec<_>>();
    Temporal::new(filter.clone(), Arc::new(Schema::new(fields)))
}

fn filters() -> impl Strategy<Value = TemporalFilter> {
    let some = || prop::option::of((8usize..10, any::<bool>()));
    (some(), some(), some()).prop_map(|(a, b, c)| {
        let bounds = |of: &[Option<(usize, bool)>]| {
            of.iter().flatten().map(|&(column, above)| bound(column, above)).collect::<Vec<_>>()
        };
        let (from, until) = (bounds(&[a]), bounds(&[b, c]));
        TemporalFilter { width: WIDTH, from, until, text: String::new() }
    })
}

fn holds(filter: &TemporalFilter, row: &Row, now: i64) -> bool {
    let passed = |bound: &TimeBound| {
        let value = if bound.column == 8 { row.start } else { row.end };
        now > value || (now == value && !bound.above)
    };
    filter.from.iter().all(passed) && !filter.until.iter().any(passed)
}

fn text(row: &Row) -> String {
    let rows = batch(std::slice::from_ref(row));
    row_text(&rows.rows().columns()[..WIDTH], 0).unwrap()
}

/// What is there as of `frontier`: rows of before it that pass at 1 ms before it.
fn as_of(filter: &TemporalFilter, rows: &[Row], frontier: i64) -> BTreeMap<String, i64> {
    let mut contents = BTreeMap::new();
    for row in rows.iter().filter(|r| r.time < frontier && holds(filter, r, frontier - 1)) {
        *contents.entry(text(row)).or_default() += row.diff;
    }
    contents.retain(|_, count| *count != 0);
    contents
}

fn sum_below(seen: &Seen, frontier: i64) -> BTreeMap<String, i64> {
    let mut contents = BTreeMap::new();
    for ((_, row), diff) in seen.updates.iter().filter(|((time, _), _)| *time < frontier) {
        *contents.entry(row.clone()).or_default() += diff;
    }
    contents.retain(|_, count| *count != 0);
    contents
}

fn spans(rows: Vec<Row>, more: &[(i64, i64)]) -> Vec<Row> {
    let place = |row: Row, (a, b): (i64, i64)| {
        // What is taken back is the row that came.
        Row { start: row.ts + a, end: row.ts + b, ..row }
    };
    let of = |row: &Row| more[(row.ts.unsigned_abs() as usize + row.s.len()) % more.len()];
    rows.into_iter()
        .map(|row| {
            let by = of(&row);
            place(row, by)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_are_there_while_their_comparison_holds(
        rows in updates(25, SPAN, 10), filter in filters(), cut in cuts(110, 1),
        more in prop::collection::vec((-10i64..40, -10i64..90), 1..6),
        clock in prop::option::of(0i64..150), restarts in restarts(),
    ) {
        let rows = spans(rows, &more);
        // A table whose rows were filtered out before, or none.
        let ticks: Vec<Row> = clock.iter().zip(&rows).map(|(&time, row)| {
            Row { time, diff: 1, ..row.clone() }
        }).collect();
        let last = rows.iter().chain(&ticks).map(|row| row.time).max().unwrap_or(0);
        // A table's frontier is at most 1 ms ahead of its latest row.
        let mut cut = cut;
        cut.frontiers.retain(|frontier| *frontier <= last + 1);
        let seen = drive_all(&mut logic(&filter), &[&rows, &ticks], &cut, true);
        for frontier in -20..=last + 1 {
            prop_assert_eq!(sum_below(&seen, frontier), as_of(&filter, &rows, frontier));
        }
        prop_assert_eq!(seen.contents(), as_of(&filter, &rows, last + 1));
        let (make, by) = (|_| logic(&filter), vec![vec![]; 2]);
        let again = drive_all_restarted(make, &[&rows, &ticks], &cut, &by, &restarts);
        prop_assert_eq!(again, seen);
    }
}

#[test]
fn the_state_is_what_is_to_come() {
    // There for 250 ms each.
    let until = vec![bound(9, false)];
    let filter = TemporalFilter { width: WIDTH, from: vec![], until, text: String::new() };
    let mut logic = logic(&filter);
    let row = |time: i64| Row {
        k: Some(time),
        s: String::new(),
        ts: time,
        x: None,
        f: None,
        t: None,
        p: None,
        d: None,
        start: time,
        end: time + 250,
        time,
        diff: 1,
        rank: 0,
    };
    let (mut came, mut left) = (0, 0);
    for step in 0..100i64 {
        let rows: Vec<Row> = (step * 100..step * 100 + 100).map(row).collect();
        let mut out = Emitted::default();
        logic.advance(step * 100, step * 100 + 100, vec![vec![batch(&rows)]], &mut out).unwrap();
        for batch in &out.updates {
            for row in 0..batch.len() {
                *(if batch.diff(row) > 0 { &mut came } else { &mut left }) += 1;
            }
        }
        assert!(logic.state_rows() <= 250, "{}", logic.state_rows());
        assert_eq!(came - left, logic.state_rows());
    }
    assert!(logic.is_due(20_000, 0));
    logic.advance(10_000, 20_000, vec![vec![]], &mut Emitted::default()).unwrap();
    assert_eq!(logic.state_rows(), 0);
    assert!(!logic.is_due(30_000, 0), "nothing is to come");
}
