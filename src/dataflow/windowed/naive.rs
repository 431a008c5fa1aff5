//! Whole windows by their definition: each is computed anew whenever its rows change.

use std::collections::{BTreeMap, BTreeSet};

use crate::dataflow::oracle::*;
use crate::state::keyed::row_text;

/// Output rows and how often each is there.
pub type Contents = BTreeMap<String, i64>;

/// The rows of one side, each once, with its multiplicity.
pub fn summed(rows: &[Row]) -> Vec<(Row, i64)> {
    let mut sums: BTreeMap<String, (Row, i64)> = BTreeMap::new();
    for row in rows {
        sums.entry(text(row)).or_insert_with(|| (row.clone(), 0)).1 += row.diff;
    }
    sums.into_values().filter(|(_, diff)| *diff != 0).collect()
}

/// The text of a row.
pub fn text(row: &Row) -> String {
    row_text(batch(std::slice::from_ref(row)).rows().columns(), 0).unwrap()
}

/// Rows of few values in windows that end every 20 ms and are 20 or 40 ms long: many are equal.
pub fn coarse(rows: Vec<Row>) -> Vec<Row> {
    let in_window = |row: Row| {
        let end = row.ts.div_euclid(20) * 20 + 20;
        let start = end - if row.s == "a" { 20 } else { 40 };
        Row { ts: end - 1, start, end, f: None, t: None, p: None, d: None, ..row }
    };
    rows.into_iter().map(in_window).collect()
}

/// What must be seen when `result` is what becomes of one window end's rows.
pub fn expected(
    inputs: &[&[Row]],
    delay: i64,
    lateness: i64,
    result: impl Fn(&[Vec<Row>]) -> Contents,
) -> Seen {
    let mut seen = Seen::default();
    let ends: BTreeSet<i64> = inputs.iter().flat_map(|rows| rows.iter().map(|r| r.end)).collect();
    for end in ends {
        let closing = end + delay;
        let below = |time: i64| -> Contents {
            let of = |r: &&Row| r.end == end && r.time < time;
            let rows = inputs.iter().map(|rows| rows.iter().filter(of).cloned().collect());
            result(&rows.collect::<Vec<_>>())
        };
        let mut out = below(closing);
        out.iter().for_each(|(row, diff)| seen.add(closing - 1, row.clone(), *diff));
        let rows = || inputs.iter().flat_map(|rows| rows.iter()).filter(|r| r.end == end);
        let late = closing + lateness;
        let times: BTreeSet<i64> =
            rows().map(|r| r.time).filter(|t| (closing..late).contains(t)).collect();
        for time in times {
            let after = below(time + 1);
            out.into_iter().for_each(|(row, diff)| seen.add(time, row, -diff));
            after.iter().for_each(|(row, diff)| seen.add(time, row.clone(), *diff));
            out = after;
        }
        for row in rows().filter(|r| r.time >= late) {
            *seen.late.entry((text(row), end)).or_default() += row.diff;
        }
    }
    seen
}
