//! The updating `GROUP BY` against recomputation at every tick.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::plan::aggregate::AggregateFunction;

const TICK: i64 = 10;

fn logic(keys: &[usize], append_only: bool) -> GroupAggregate {
    let output = output(keys, &calls(), &[]);
    let resolution = Resolution::new(TICK);
    GroupAggregate::new(schema(), keys.to_vec(), calls(), output, resolution, append_only).unwrap()
}

fn expected(updates: &[Row], keys: &[usize]) -> Seen {
    let mut seen = Seen::default();
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in updates {
        groups.entry(key_text(row, keys)).or_default().push(row.clone());
    }
    for (key, rows) in groups {
        let mut ticks: Vec<i64> = rows.iter().map(|r| r.time.div_euclid(TICK) * TICK).collect();
        ticks.sort_unstable();
        ticks.dedup();
        let mut old: Option<String> = None;
        for tick in ticks {
            let so_far: Vec<Row> = rows.iter().filter(|r| r.time < tick + TICK).cloned().collect();
            let exists = keys.is_empty() || so_far.iter().map(|r| r.diff).sum::<i64>() > 0;
            let new = exists.then(|| naive_row(&key, &calls(), &so_far, &[]));
            if old != new {
                old.into_iter().for_each(|row| seen.add(tick, row, -1));
                new.clone().into_iter().for_each(|row| seen.add(tick, row, 1));
            }
            old = new;
        }
    }
    if keys.is_empty() && updates.is_empty() {
        seen.add(0, naive_row("", &calls(), &[], &[]), 1);
    }
    seen
}

fn keys() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![1]), Just(vec![0, 1])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appended_rows_change_groups_tick_by_tick(
        rows in rows(25, 60, 30), keys in keys(), cut in cuts(60, TICK),
    ) {
        let seen = drive(&mut logic(&keys, true), &rows, &cut, true);
        if rows.is_empty() {
            // The row of an empty input comes at the frontier.
            prop_assert_eq!(seen.contents(), expected(&rows, &keys).contents());
        } else {
            prop_assert_eq!(seen, expected(&rows, &keys));
        }
    }

    #[test]
    fn retractions_take_back_what_was_added(
        rows in updates(25, 60, 30), keys in keys(), cut in cuts(100, TICK),
    ) {
        let seen = drive(&mut logic(&keys, false), &rows, &cut, true);
        if rows.is_empty() {
            // The row of an empty input comes at the frontier.
            prop_assert_eq!(seen.contents(), expected(&rows, &keys).contents());
        } else {
            prop_assert_eq!(seen, expected(&rows, &keys));
        }
    }

    #[test]
    fn final_contents_alone_are_those_of_all_changes(
        rows in updates(25, 60, 30), keys in keys(), cut in cuts(100, TICK),
    ) {
        let mut logic = logic(&keys, false).with_final_only(true);
        let seen = drive(&mut logic, &rows, &cut, true);
        prop_assert_eq!(seen.contents(), expected(&rows, &keys).contents());
    }

    #[test]
    fn saved_groups_go_on_on_any_number_of_workers(
        rows in updates(40, 100, 30), keys in keys(), cut in cuts(140, TICK), plan in restarts(),
        is_append in any::<bool>(), final_only in any::<bool>(),
    ) {
        let rows: Vec<Row> = rows.into_iter().filter(|r| !is_append || r.diff > 0).collect();
        let make = |worker: usize| {
            logic(&keys, is_append).with_final_only(final_only).with_initial_row(worker == 0)
        };
        let seen = drive_restarted(make, &rows, &cut, &keys, &plan);
        let through = drive(&mut make(0), &rows, &cut, true);
        if rows.is_empty() || final_only {
            // Times then follow the frontiers that were seen.
            prop_assert_eq!(seen.contents(), through.contents());
        } else {
            prop_assert_eq!(seen, through);
        }
    }

    #[test]
    fn state_of_retracted_groups_is_given_back(
        rows in rows(25, 60, 30), cut in cuts(200, TICK),
    ) {
        let mut all = rows.clone();
        all.extend(rows.iter().map(|r| Row { time: r.time + 100, diff: -1, ..r.clone() }));
        let mut logic = logic(&[0, 1], false);
        let seen = drive(&mut logic, &all, &cut, true);
        prop_assert!(seen.contents().is_empty());
        prop_assert_eq!(logic.state_rows(), 0);
    }

    #[test]
    fn sums_of_any_floats_do_not_depend_on_the_cut(
        floats in prop::collection::vec(any::<f64>(), 1..40),
        ranks in prop::collection::vec(any::<u8>(), 40),
        one in cuts(40, TICK), other in cuts(40, TICK),
    ) {
        let rows: Vec<Row> = floats.iter().enumerate().map(|(i, &f)| Row {
            k: None, s: String::new(), ts: 0, x: None, f: Some(f), t: None, p: None, d: None,
            start: 0, end: 0, time: i as i64, diff: 1, rank: ranks[i],
        }).collect();
        let of_float = |call: &AggregateCall| call.args == [4];
        let calls: Vec<AggregateCall> = calls().into_iter().filter(of_float).collect();
        let run = |cut: &Cut| {
            let output = output(&[], &calls, &[]);
            let resolution = Resolution::new(TICK);
            let logic =
                GroupAggregate::new(schema(), vec![], calls.clone(), output, resolution, true);
            drive(&mut logic.unwrap(), &rows, cut, true)
        };
        prop_assert_eq!(run(&one), run(&other));
    }
}

#[test]
fn a_sum_out_of_range_is_null_and_a_dead_letter() {
    let mut calls = calls();
    calls.retain(|call| call.function == AggregateFunction::Sum && call.args == [3]);
    calls.truncate(1);
    let row = |x: i64, time: i64| Row {
        k: Some(1),
        s: String::new(),
        ts: 0,
        x: Some(x),
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
    let output = output(&[0], &calls, &[]);
    let mut logic =
        GroupAggregate::new(schema(), vec![0], calls, output, Resolution::new(TICK), true).unwrap();
    let cut = Cut { frontiers: vec![10, 20], batch_rows: 9, by_rank: false };
    let rows = [row(i64::MAX, 1), row(1, 11), row(-5, 21)];
    let seen = drive(&mut logic, &rows, &cut, true);
    assert_eq!(seen.dead, 1);
    let expected = format!("1,{}", i64::MAX - 4);
    assert_eq!(seen.contents(), BTreeMap::from([(expected, 1)]));
    assert!(seen.updates.contains_key(&(10, "1,NULL".to_owned())));
}

#[test]
fn one_worker_of_many_shows_the_row_of_an_empty_input() {
    let cut = Cut { frontiers: vec![100], batch_rows: 1, by_rank: false };
    let mut other = logic(&[], true).with_initial_row(false);
    assert_eq!(drive(&mut other, &[], &cut, true), Seen::default());
    let mut first = logic(&[], true);
    assert_eq!(drive(&mut first, &[], &cut, true).contents().len(), 1);
}

#[test]
fn a_save_costs_what_has_changed() {
    let row = |k: i64, time: i64, diff: i64| Row {
        k: Some(k),
        s: String::new(),
        ts: 0,
        x: Some(k),
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 0,
        time,
        diff,
        rank: 0,
    };
    let mut calls = calls();
    calls.truncate(4);
    let output = output(&[0], &calls, &[]);
    let mut logic =
        GroupAggregate::new(schema(), vec![0], calls, output, Resolution::new(TICK), false)
            .unwrap();
    let step = |logic: &mut GroupAggregate, from: i64, rows: &[Row]| {
        let inputs = vec![vec![batch(rows)]];
        logic.advance(from, from + TICK, inputs, &mut Emitted::default()).unwrap();
        let (whole, mut tables) = logic.save(false, Some(&[0])).unwrap();
        while let Some(table) = logic.save_more(usize::MAX).unwrap() {
            tables.push(table);
        }
        let rows = |t: SavedTable| (t.name, t.rows.num_rows(), t.shard);
        (whole, tables.into_iter().map(rows).collect::<Vec<_>>())
    };
    let all: Vec<Row> = (0..100_000).map(|k| row(k, 5, 1)).collect();
    let table = |name: &str, rows: usize| (name.to_owned(), rows, Some(vec![0]));
    assert_eq!(step(&mut logic, 0, &all), (true, vec![table("groups", 100_000)]));
    let some: Vec<Row> = (0..10).map(|k| row(k * 7, 15, 1)).collect();
    assert_eq!(step(&mut logic, 10, &some), (false, vec![table("groups", 10)]));
    let gone = [row(1, 25, -1), row(2, 25, 1), row(-1, 25, 1), row(-1, 26, -1)];
    let expected = vec![table("gone", 2), table("groups", 1)];
    assert_eq!(step(&mut logic, 20, &gone), (false, expected));
    let most = &all[..99_999];
    let (whole, _) = step(
        &mut logic,
        30,
        &most.iter().map(|r| Row { time: 35, ..r.clone() }).collect::<Vec<_>>(),
    );
    assert!(whole, "increments have outgrown the state");
}
