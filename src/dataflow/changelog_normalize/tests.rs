//! The law: whatever the cuts and frontiers, what is emitted adds up to what the log leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int8Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::super::logic::Irregular;
use super::*;
use crate::plan::changelog::log_schema;
use crate::time::{BEGINNING, CLOSED};

const KINDS: [ChangeKind; 4] =
    [ChangeKind::Insert, ChangeKind::UpdateBefore, ChangeKind::UpdateAfter, ChangeKind::Delete];

/// A change: partition, time, key, value, kind; its place in the partition is that in the list.
type Change = (u8, i64, Option<i64>, i64, usize);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("t", DataType::Utf8View, true),
    ]))
}

fn text(value: i64) -> String {
    format!("a text that is longer than a view: {value}")
}

fn batch(changes: &[(usize, Change)]) -> UpdateBatch {
    let each = || changes.iter().map(|(_, change)| change);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(each().map(|c| c.2))),
        Arc::new(Int64Array::from_iter_values(each().map(|c| c.3))),
        Arc::new(StringViewArray::from_iter_values(each().map(|c| text(c.3)))),
        Arc::new(Int8Array::from_iter_values(each().map(|c| KINDS[c.4].code()))),
        Arc::new(StringViewArray::from_iter_values(each().map(|c| format!("p{}", c.0)))),
        Arc::new(Int64Array::from_iter_values(changes.iter().map(|(i, _)| *i as i64))),
    ];
    let rows = RecordBatch::try_new(log_schema(&schema()), columns).unwrap();
    let times: Vec<i64> = each().map(|c| c.1).collect();
    UpdateBatch::new(rows, times.into(), None)
}

/// A partition's times never go back.
fn in_order(mut changes: Vec<Change>) -> Vec<(usize, Change)> {
    let mut reached = [0; 3];
    for change in &mut changes {
        let reached = &mut reached[change.0 as usize];
        *reached = (*reached).max(change.1);
        change.1 = *reached;
    }
    changes.into_iter().enumerate().collect()
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    updates: BTreeMap<(i64, Option<i64>, i64), i64>,
    dead: Vec<(i64, String)>,
    irregular: Irregular,
}

fn drive(changes: &[(usize, Change)], frontiers: &[i64], size: usize, upsert: bool) -> Seen {
    let resolution = Resolution::new(10);
    let mut logic = ChangelogNormalize::new("t".into(), schema(), vec![0], upsert, resolution);
    let mut seen = Seen::default();
    let mut rest = changes.to_vec();
    let mut from = BEGINNING;
    for &to in frontiers.iter().chain([&CLOSED]) {
        let (step, later): (Vec<_>, _) = rest.into_iter().partition(|(_, c)| c.1 < to);
        rest = later;
        let mut out = Emitted::default();
        let steps = step.chunks(size).map(batch).collect();
        logic.advance(from, to, vec![steps], &mut out).unwrap();
        for updates in &out.updates {
            for row in 0..updates.len() {
                let time = updates.times()[row];
                assert!(from <= time && time < to, "{time} not in [{from}, {to})");
                let k = updates.column(0).as_primitive::<Int64Type>();
                let v = updates.column(1).as_primitive::<Int64Type>().value(row);
                assert_eq!(updates.column(2).as_string_view().value(row), text(v));
                let k = k.is_valid(row).then(|| k.value(row));
                *seen.updates.entry((time, k, v)).or_default() += updates.diff(row);
            }
        }
        seen.updates.retain(|_, diff| *diff != 0);
        seen.dead.extend(out.dead.letters().iter().map(|l| (l.offset, l.record.clone())));
        let sum = &mut seen.irregular;
        for (time, irregular) in &out.irregular {
            assert!(from <= *time && *time < to, "{time} not in [{from}, {to})");
            sum.unknown_updates += irregular.unknown_updates;
            sum.absent_deletes += irregular.absent_deletes;
            sum.duplicate_inserts += irregular.duplicate_inserts;
        }
        from = to;
    }
    seen.dead.sort();
    seen
}

/// The same, change by change.
fn naive(changes: &[(usize, Change)]) -> BTreeMap<(i64, Option<i64>, i64), i64> {
    let mut order: Vec<_> = changes.to_vec();
    order.sort_by_key(|(i, c)| (c.1, c.0, *i));
    let mut held: BTreeMap<Option<i64>, i64> = BTreeMap::new();
    let mut updates: BTreeMap<(i64, Option<i64>, i64), i64> = BTreeMap::new();
    for (_, (_, time, key, value, kind)) in order {
        let tick = time.div_euclid(10) * 10;
        let before = held.get(&key).copied();
        match KINDS[kind] {
            ChangeKind::Insert | ChangeKind::UpdateAfter => held.insert(key, value),
            ChangeKind::UpdateBefore | ChangeKind::Delete => held.remove(&key),
        };
        if let Some(value) = before {
            *updates.entry((tick, key, value)).or_default() -= 1;
        }
        if let Some(value) = held.get(&key) {
            *updates.entry((tick, key, *value)).or_default() += 1;
        }
    }
    updates.retain(|_, diff| *diff != 0);
    updates
}

proptest! {
    #[test]
    fn it_is_what_the_log_adds_up_to(
        changes in prop::collection::vec(
            (0u8..3, 0i64..100, prop::option::of(0i64..4), 0i64..3, 0usize..4),
            0..80,
        ),
        frontiers in prop::collection::btree_set(0i64..10, 0..6),
        size in 1usize..20,
        upsert in any::<bool>(),
    ) {
        let changes = in_order(changes);
        let frontiers: Vec<i64> = frontiers.into_iter().map(|f| f * 10).collect();
        let seen = drive(&changes, &frontiers, size, upsert);
        prop_assert_eq!(&seen.updates, &naive(&changes));
        // At once, and in any order: the same.
        let mut backwards = changes.clone();
        backwards.reverse();
        prop_assert_eq!(&drive(&backwards, &[], 7, upsert), &seen);
        prop_assert_eq!(seen.dead.len() as u64, seen.irregular.absent_deletes);
        if upsert {
            let Irregular { unknown_updates, duplicate_inserts, .. } = seen.irregular;
            prop_assert_eq!((unknown_updates, duplicate_inserts), (0, 0));
        }
    }
}

#[test]
fn what_does_not_fit_is_counted_and_state_goes_down() {
    let changes = [
        // An update of what is not there, then of what is.
        (0, 0, Some(1), 1, 2),
        (0, 1, Some(1), 1, 1),
        (0, 1, Some(1), 2, 2),
        // A second insertion.
        (0, 2, Some(1), 1, 0),
        // A deletion, and another.
        (0, 3, Some(1), 1, 3),
        (0, 4, Some(1), 1, 3),
    ];
    let changes: Vec<_> = changes.into_iter().enumerate().collect();
    let seen = drive(&changes, &[], 10, false);
    let counted = Irregular { unknown_updates: 1, absent_deletes: 1, duplicate_inserts: 1 };
    assert_eq!(seen.irregular, counted);
    assert!(seen.updates.is_empty(), "all within one tick: {:?}", seen.updates);
    let resolution = Resolution::new(1);
    let mut logic = ChangelogNormalize::new("t".into(), schema(), vec![0], false, resolution);
    let mut rows = Vec::new();
    for (step, (place, change)) in changes.iter().enumerate() {
        let (from, to) = (change.1.max(step as i64), change.1.max(step as i64) + 1);
        let mut change = *change;
        change.1 = from;
        let inputs = vec![vec![batch(&[(*place, change)])]];
        logic.advance(from, to, inputs, &mut Emitted::default()).unwrap();
        rows.push(logic.state_rows());
    }
    assert_eq!(rows, [1, 0, 1, 1, 0, 0]);
}
