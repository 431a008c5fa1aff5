//! Ranks against recomputation at every tick.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::plan::node::SortColumn;

const TICK: i64 = 10;

fn output(number: bool) -> SchemaRef {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    if number {
        fields.push(Arc::new(Field::new("n", DataType::Int64, false)));
    }
    Arc::new(Schema::new(fields))
}

fn logic(rank: &Rank, append_only: bool) -> RankLogic {
    let (rank, output) = (rank.clone(), output(rank.number));
    RankLogic::new(schema(), rank, output, Resolution::new(TICK), append_only).unwrap()
}

fn compare_column(a: &Row, b: &Row, column: usize, options: SortOptions) -> Ordering {
    fn by<T>(
        a: Option<T>,
        b: Option<T>,
        options: SortOptions,
        of: fn(&T, &T) -> Ordering,
    ) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, _) if options.nulls_first => Ordering::Less,
            (_, None) if !options.nulls_first => Ordering::Less,
            (None, _) | (_, None) => Ordering::Greater,
            (Some(a), Some(b)) if options.descending => of(&b, &a),
            (Some(a), Some(b)) => of(&a, &b),
        }
    }
    match column {
        0 => by(a.k, b.k, options, i64::cmp),
        1 => by(Some(&a.s), Some(&b.s), options, |a, b| a.cmp(b)),
        2 => by(Some(a.ts), Some(b.ts), options, i64::cmp),
        3 => by(a.x, b.x, options, i64::cmp),
        4 => by(a.f, b.f, options, f64::total_cmp),
        5 => by(a.t.as_ref(), b.t.as_ref(), options, |a, b| a.cmp(b)),
        6 => by(a.p, b.p, options, bool::cmp),
        _ => by(a.d, b.d, options, i128::cmp),
    }
}

fn by_order(rank: &Rank, a: &Row, b: &Row) -> Ordering {
    let each = rank.order.iter().map(|s| compare_column(a, b, s.column, s.options));
    each.fold(Ordering::Equal, Ordering::then)
}

fn whole(a: &Row, b: &Row) -> Ordering {
    let plain = SortOptions { descending: false, nulls_first: true };
    (0..8).map(|c| compare_column(a, b, c, plain)).fold(Ordering::Equal, Ordering::then)
}

/// The rows shown of the updates of one key.
fn shown(rank: &Rank, updates: &[&Row]) -> BTreeMap<String, i64> {
    let mut contents: Vec<(Row, i64)> = Vec::new();
    for row in updates {
        match contents.iter_mut().find(|(other, _)| whole(other, row).is_eq()) {
            Some((_, count)) => *count += row.diff,
            None => contents.push(((*row).clone(), row.diff)),
        }
    }
    contents.sort_by(|(a, _), (b, _)| by_order(rank, a, b).then(whole(a, b)));
    let copies = |(row, n): (Row, i64)| std::iter::repeat_n(row, n.max(0) as usize);
    let rows: Vec<Row> = contents.into_iter().flat_map(copies).collect();
    let (mut out, mut number, mut dense) = (BTreeMap::new(), 0, 0);
    for (index, row) in rows.iter().enumerate() {
        let is_tied = index > 0 && by_order(rank, &rows[index - 1], row).is_eq();
        if !is_tied {
            (number, dense) = (index as u64 + 1, dense + 1);
        }
        let n = match rank.kind {
            RankKind::RowNumber => index as u64 + 1,
            RankKind::Rank => number,
            RankKind::DenseRank => dense,
        };
        if (rank.from..=rank.to).contains(&n) {
            let text = key_text(row, &(0..10).collect::<Vec<_>>());
            let text = if rank.number { format!("{text},{n}") } else { text };
            *out.entry(text).or_default() += 1;
        }
    }
    out
}

fn expected(rank: &Rank, updates: &[Row]) -> Seen {
    let mut keys: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in updates {
        keys.entry(key_text(row, &rank.partition)).or_default().push(row);
    }
    let mut seen = Seen::default();
    for rows in keys.into_values() {
        let mut ticks: Vec<i64> = rows.iter().map(|r| r.time.div_euclid(TICK) * TICK).collect();
        ticks.sort_unstable();
        ticks.dedup();
        let mut old = BTreeMap::new();
        for tick in ticks {
            let so_far: Vec<&Row> = rows.iter().copied().filter(|r| r.time < tick + TICK).collect();
            let new = shown(rank, &so_far);
            old.iter().for_each(|(row, n): (&String, &i64)| seen.add(tick, row.clone(), -n));
            new.iter().for_each(|(row, n)| seen.add(tick, row.clone(), *n));
            old = new;
        }
    }
    seen
}

fn ranks() -> impl Strategy<Value = Rank> {
    let kind = prop_oneof![
        Just(RankKind::RowNumber),
        Just(RankKind::RowNumber),
        Just(RankKind::Rank),
        Just(RankKind::DenseRank)
    ];
    let partition = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![1]), Just(vec![0, 1])];
    let column = (0usize..8, any::<bool>(), any::<bool>());
    let order = prop::collection::vec(column, 0..3);
    let to = prop_oneof![1u64..4, Just(1), Just(u64::MAX)];
    (kind, partition, order, 1u64..3, to, any::<bool>()).prop_map(
        |(kind, partition, order, from, to, number)| Rank {
            partition,
            order: order
                .into_iter()
                .map(|(column, descending, nulls_first)| SortColumn {
                    column,
                    options: SortOptions { descending, nulls_first },
                })
                .collect(),
            kind,
            from: if to == 1 { 1 } else { from },
            to,
            number,
            first_by_time: false,
            final_only: false,
        },
    )
}

/// Updates with fewer different rows, so that copies meet.
fn few(updates: Vec<Row>) -> Vec<Row> {
    let flat = |r: Row| Row { f: None, d: None, p: None, ts: 0, ..r };
    updates.into_iter().map(flat).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn appended_rows_are_ranked_tick_by_tick(
        rows in rows(40, 60, 30), rank in ranks(), same in any::<bool>(), cut in cuts(60, TICK),
    ) {
        let rows = if same { few(rows) } else { rows };
        let seen = drive(&mut logic(&rank, true), &rows, &cut, true);
        prop_assert_eq!(seen, expected(&rank, &rows));
    }

    #[test]
    fn restarts_change_nothing(
        rows in updates(40, 60, 30), rank in ranks(), append in any::<bool>(),
        cut in cuts(100, TICK), restarts in restarts(),
    ) {
        let rows: Vec<Row> = few(rows).into_iter().filter(|r| !append || r.diff > 0).collect();
        let by = rank.partition.clone();
        let seen = drive_restarted(|_| logic(&rank, append), &rows, &cut, &by, &restarts);
        prop_assert_eq!(seen, expected(&rank, &rows));
        let last = Rank { final_only: true, ..rank.clone() };
        let seen = drive_restarted(|_| logic(&last, append), &rows, &cut, &by, &restarts);
        prop_assert_eq!(seen.contents(), expected(&rank, &rows).contents());
    }

    #[test]
    fn retractions_let_hidden_rows_come_back(
        rows in updates(40, 60, 30), rank in ranks(), same in any::<bool>(), cut in cuts(100, TICK),
    ) {
        let rows = if same { few(rows) } else { rows };
        let seen = drive(&mut logic(&rank, false), &rows, &cut, true);
        prop_assert_eq!(seen, expected(&rank, &rows));
    }

    #[test]
    fn final_contents_alone_are_those_of_all_changes(
        rows in updates(40, 60, 30), rank in ranks(), append in any::<bool>(),
        cut in cuts(100, TICK),
    ) {
        let rank = Rank { final_only: true, ..rank };
        let rows: Vec<Row> = rows.into_iter().filter(|r| !append || r.diff > 0).collect();
        let seen = drive(&mut logic(&rank, append), &rows, &cut, true);
        prop_assert_eq!(seen.contents(), expected(&rank, &rows).contents());
    }

    #[test]
    fn nothing_is_emitted_where_nothing_changes(
        rows in updates(40, 60, 30), rank in ranks(), cut in cuts(100, TICK),
    ) {
        let mut logic = logic(&rank, false);
        drive(&mut logic, &rows, &cut, true);
        // A row is taken back and comes again within a tick.
        let again = rows.iter().filter(|r| r.diff > 0).flat_map(|r| {
            [-1, 1].map(|diff| Row { time: 200, diff, ..r.clone() })
        });
        let batches = vec![batch(&again.collect::<Vec<_>>())];
        let mut out = Emitted::default();
        let inputs = vec![batches.into_iter().filter(|b| !b.is_empty()).collect()];
        logic.advance(200, 300, inputs, &mut out).unwrap();
        prop_assert_eq!(out.updates.iter().map(UpdateBatch::len).sum::<usize>(), 0);
    }

    #[test]
    fn state_of_retracted_rows_is_given_back(
        rows in rows(40, 60, 30), rank in ranks(), cut in cuts(200, TICK),
    ) {
        let mut all = rows.clone();
        all.extend(rows.iter().map(|r| Row { time: r.time + 100, diff: -1, ..r.clone() }));
        let mut logic = logic(&rank, false);
        let seen = drive(&mut logic, &all, &cut, true);
        prop_assert!(seen.contents().is_empty());
        prop_assert_eq!(logic.state_rows(), 0);
        prop_assert!(rank.partition.is_empty() || logic.keys.is_empty());
    }

    #[test]
    fn append_only_input_leaves_what_is_shown_alone(
        rows in rows(60, 60, 30), to in 1u64..4, rank in ranks(), cut in cuts(60, TICK),
    ) {
        let rank = Rank { from: 1, to, kind: RankKind::RowNumber, ..rank };
        let mut logic = logic(&rank, true);
        let seen = drive(&mut logic, &rows, &cut, true);
        let shown: i64 = seen.contents().values().sum();
        prop_assert!(logic.state_rows() as i64 <= shown);
    }
}

#[test]
fn a_long_run_of_appended_rows_holds_few() {
    let order = vec![SortColumn { column: 2, options: SortOptions::default() }];
    let rank = Rank {
        partition: vec![0],
        order,
        kind: RankKind::RowNumber,
        from: 1,
        to: 3,
        number: true,
        first_by_time: false,
        final_only: false,
    };
    let mut logic = logic(&rank, true);
    let row = |i: i64| Row {
        k: Some(i % 5),
        s: format!("a text of more than twelve bytes: {i}"),
        ts: (i * 7919) % 1000,
        x: None,
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 0,
        time: i,
        diff: 1,
        rank: 0,
    };
    let mut bytes = 0;
    for step in 0..200 {
        let rows: Vec<Row> = (step * 100..step * 100 + 100).map(row).collect();
        let mut out = Emitted::default();
        logic.advance(step * 100, step * 100 + 100, vec![vec![batch(&rows)]], &mut out).unwrap();
        assert_eq!(logic.state_rows(), 15);
        if step == 50 {
            bytes = logic.bytes();
        }
    }
    assert!(logic.bytes() <= 2 * bytes, "{} bytes after {bytes}", logic.bytes());
}
