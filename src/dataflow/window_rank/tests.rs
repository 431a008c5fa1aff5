//! Window ranks against counting, for each row, the rows before it.

use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::logic::StatefulLogic;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::dataflow::windowed::naive::{self, Contents};
use crate::plan::node::SortColumn;

const SPAN: i64 = 90;

fn logic(rank: &WindowRank, lateness: i64, append_only: bool) -> WindowRankLogic {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("rank", DataType::Int64, false)));
    let output = Arc::new(Schema::new(fields));
    WindowRankLogic::ranked(schema(), rank.clone(), output, lateness, append_only)
}

/// Partition by some of k and s, order by some of x and k.
fn ranks() -> impl Strategy<Value = WindowRank> {
    let kind =
        prop_oneof![Just(RankKind::RowNumber), Just(RankKind::Rank), Just(RankKind::DenseRank)];
    let partition = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])];
    let order = prop_oneof![Just(vec![]), Just(vec![3]), Just(vec![3, 0]), Just(vec![0])];
    let options = (any::<bool>(), any::<bool>());
    (kind, partition, order, options, 1u64..4, 0u64..4).prop_map(
        |(kind, partition, order, (descending, nulls_first), from, more)| {
            let options = SortOptions { descending, nulls_first };
            let order = order.into_iter().map(|column| SortColumn { column, options }).collect();
            WindowRank { start: 8, end: 9, partition, order, kind, from, to: from + more }
        },
    )
}

fn ranked(rank: &WindowRank, rows: &[Row]) -> Contents {
    let mut copies: Vec<Row> = Vec::new();
    for (row, count) in naive::summed(rows) {
        copies.extend(std::iter::repeat_n(row, usize::try_from(count).unwrap()));
    }
    let group = |row: &Row| (row.start, row.end, key_text(row, &rank.partition));
    let whole = |row: &Row| (row.k, row.s.clone(), row.ts, row.x, row.start, row.end);
    let mut contents = Contents::new();
    for (at, row) in copies.iter().enumerate() {
        let others = || copies.iter().enumerate().filter(|(_, other)| group(other) == group(row));
        let before: Vec<&Row> = others()
            .filter(|(_, other)| compare_by(other, row, &rank.order).is_lt())
            .map(|(_, other)| other)
            .collect();
        let number = match rank.kind {
            RankKind::Rank => before.len() + 1,
            RankKind::DenseRank => {
                let mut distinct = before.clone();
                distinct.sort_by(|a, b| compare_by(a, b, &rank.order));
                distinct.dedup_by(|a, b| compare_by(a, b, &rank.order).is_eq());
                distinct.len() + 1
            }
            RankKind::RowNumber => {
                let place = |i: usize, row: &Row| (whole(row), i);
                let tied = others().filter(|(_, o)| compare_by(o, row, &rank.order).is_eq());
                let tied = tied.filter(|(i, other)| place(*i, other) < place(at, row));
                before.len() + tied.count() + 1
            }
        };
        if (rank.from..=rank.to).contains(&(number as u64)) {
            let text = format!("{},{number}", naive::text(row));
            *contents.entry(text).or_default() += 1;
        }
    }
    contents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn ranks_of_appended_rows(
        rows in rows(40, SPAN, 25).prop_map(naive::coarse), rank in ranks(),
        cut in cuts(SPAN + 60, 5), delay in 0i64..3, lateness in prop_oneof![Just(0i64), 1i64..30],
    ) {
        let mut logic = logic(&rank, lateness, true).with_input_delay(delay);
        let expected =
            naive::expected(&[&rows], delay, lateness, |inputs| ranked(&rank, &inputs[0]));
        check_law(&mut logic, &rows, &cut, expected);
    }

    #[test]
    fn restarts_change_nothing(
        rows in updates(25, SPAN, 25).prop_map(naive::coarse), rank in ranks(),
        cut in cuts(SPAN + 60, 5), delay in 0i64..3, lateness in prop_oneof![Just(0i64), 1i64..30],
        restarts in restarts(),
    ) {
        let make = |_| logic(&rank, lateness, false).with_input_delay(delay);
        let by = if rank.partition.is_empty() { vec![8, 9] } else { rank.partition.clone() };
        let seen = drive_restarted(make, &rows, &cut, &by, &restarts);
        let all = naive::expected(&[&rows], delay, lateness, |inputs| ranked(&rank, &inputs[0]));
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn ranks_of_rows_that_are_taken_back(
        rows in updates(25, SPAN, 25).prop_map(naive::coarse), rank in ranks(),
        cut in cuts(SPAN + 60, 5), lateness in prop_oneof![Just(0i64), 1i64..30],
    ) {
        let mut logic = logic(&rank, lateness, false);
        let expected = naive::expected(&[&rows], 0, lateness, |inputs| ranked(&rank, &inputs[0]));
        check_law(&mut logic, &rows, &cut, expected);
    }
}

#[test]
fn the_state_is_that_of_open_windows() {
    let partition = vec![0];
    let options = SortOptions::default();
    let order = vec![SortColumn { column: 3, options }];
    let kind = RankKind::RowNumber;
    let rank = WindowRank { start: 8, end: 9, partition, order, kind, from: 1, to: 1 };
    let mut logic = logic(&rank, 0, true);
    let row = |time: i64| Row {
        k: Some(1),
        s: "a".into(),
        ts: time,
        x: Some(time),
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 0,
        time,
        diff: 1,
        rank: 0,
    };
    let mut out = crate::dataflow::logic::Emitted::default();
    for step in 0..100i64 {
        let rows = naive::coarse((step * 10..step * 10 + 10).map(row).collect());
        let to = step * 10 + 10;
        assert!(logic.is_due(to, 10));
        logic.advance(step * 10, to, vec![vec![batch(&rows)]], &mut out).unwrap();
        assert_eq!(logic.state_rows(), if step % 2 == 0 { 10 } else { 0 });
        assert!(!logic.is_due(to + 9, 0), "nothing closes before the window does");
    }
    assert_eq!(out.updates.len(), 50);
}
