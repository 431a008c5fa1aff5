//! Random patterns over random rows, cut anyhow, against the naive matcher.

use proptest::prelude::*;

use super::naive::{After, Clause, Cond, Pat, Shape};
use super::{Job, Row, Seen, drive, drive_with};
use crate::dataflow::logic::StatefulLogic;

fn pattern() -> impl Strategy<Value = Pat> {
    let leaf = (0usize..4).prop_map(Pat::Var);
    leaf.prop_recursive(3, 10, 3, |inner| {
        let bounds = prop_oneof![
            Just((0, None)),
            Just((1, None)),
            Just((0, Some(1))),
            (0u32..3, 1u32..3).prop_map(|(min, more)| (min, Some(min + more))),
            (1u32..3).prop_map(|n| (n, None)),
        ];
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(Pat::Seq),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Pat::Or),
            3 => (inner.clone(), bounds, any::<bool>())
                .prop_map(|(p, (min, max), greedy)| Pat::Rep(Box::new(p), min, max, greedy)),
            1 => inner.prop_map(|p| Pat::Out(Box::new(p))),
        ]
    })
}

fn condition() -> impl Strategy<Value = Cond> {
    prop_oneof![
        2 => Just(Cond::Always),
        3 => (0i64..6).prop_map(Cond::Less),
        3 => (0i64..6).prop_map(Cond::More),
        1 => Just(Cond::Rises),
        1 => Just(Cond::NoLessThanLast),
        1 => (0usize..4).prop_map(Cond::NoLessThanFirst),
        1 => (0i64..20).prop_map(Cond::SumBelow),
        1 => (1i64..6).prop_map(Cond::RowsUpTo),
    ]
}

fn clause() -> impl Strategy<Value = Clause> {
    let after =
        prop_oneof![Just(After::Past), Just(After::Next), (0usize..4).prop_map(After::Last)];
    let shape = prop_oneof![Just(Shape::One), Just(Shape::All), Just(Shape::Unmatched)];
    let conds = prop::collection::vec(condition(), 4);
    let within = prop::option::of(1i64..30);
    (pattern(), conds, after, within, shape, any::<bool>()).prop_map(
        |(pat, conds, after, within, shape, by_k)| Clause {
            pat,
            conds,
            after,
            within,
            shape,
            by_k,
        },
    )
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let one = (0i64..2, 0i64..40, 0i64..6, prop::option::weighted(0.1, 0i64..15), 1i64..8);
    prop::collection::vec(one, 0..16).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(id, (k, ts, x, late, diff))| {
            let diff = if diff == 1 { 2 } else { 1 };
            Row { k, ts, x, id: id as i64, time: ts + late.unwrap_or(0), diff }
        })
        .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn equals_the_naive_matcher_however_it_is_cut(
        clause in clause(),
        rows in rows(),
        frontiers in prop::collection::btree_set(0i64..60, 0..8),
        size in 1usize..8,
        every in 1usize..4,
    ) {
        if !clause.is_valid() {
            return Ok(());
        }
        let mut expected = clause.naive(&rows);
        let frontiers: Vec<i64> = frontiers.into_iter().collect();
        let mut job = Job::new(&clause.sql()).map_err(|e| {
            TestCaseError::fail(format!("{}: {e}", clause.sql()))
        })?;
        let mut seen = drive(&mut job, &rows, &frontiers, size);
        let mut other = Job::new(&clause.sql()).unwrap();
        // Saved at each frontier, what has changed on top of what was there before, and loaded
        // anew at every `every`-th.
        let (mut stored, mut saves) = (Vec::new(), 0);
        let restarted = drive_with(&mut other, &rows, &frontiers, size, |job, at| {
            let (whole, tables) = job.logic.save(saves % every == 0, None).unwrap();
            if whole {
                stored.clear();
            }
            stored.extend(tables);
            saves += 1;
            if saves % every == 0 {
                job.logic = Job::new(&clause.sql()).unwrap().logic;
                job.logic.load(stored.clone(), at).unwrap();
            }
        });
        prop_assert_eq!(&restarted, &seen, "restarted: {}", clause.sql());
        let times = |seen: &Seen| {
            let mut times: Vec<i64> = seen.dead.iter().map(|(time, _)| *time).collect();
            times.sort_unstable();
            times
        };
        prop_assert_eq!(times(&seen), times(&expected), "dead letters {:?}", &seen.dead);
        seen.dead.clear();
        expected.dead.clear();
        prop_assert_eq!(seen, expected, "{}", clause.sql());
        if job.logic.setup.rows_before == 0 {
            prop_assert_eq!(job.logic.state_rows(), 0);
        }
    }
}
