//! An arrangement is the multiset that its updates add up to, whoever reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

fn spec(keys: Vec<usize>, append_only: bool, readers: usize) -> ArrangementSpec {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", DataType::Utf8View, true),
    ]));
    ArrangementSpec { schema, keys, append_only, keeps_nulls: true, by_time: true, readers }
}

/// Key, text, time, count.
type Update = (Option<i64>, i64, EventTime, i64);

fn batch(spec: &ArrangementSpec, updates: &[Update]) -> UpdateBatch {
    let text = |n: i64| (n % 4 != 0).then(|| format!("a text of some length {n}"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(updates.iter().map(|u| u.0).collect::<Int64Array>()),
        Arc::new(updates.iter().map(|u| text(u.1)).collect::<StringViewArray>()),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&spec.schema), columns).unwrap();
    let times: Vec<i64> = updates.iter().map(|u| u.2).collect();
    let diffs: Vec<i64> = updates.iter().map(|u| u.3).collect();
    UpdateBatch::new(rows, times.into(), Some(diffs.into()))
}

/// What each key holds: the texts with their counts.
fn held(arrangement: &Arrangement, probe: &UpdateBatch) -> Vec<BTreeMap<String, i64>> {
    let arrays: Vec<&ArrayRef> = arrangement.spec().keys.iter().map(|&k| probe.column(k)).collect();
    let keys = KeyColumns::read(arrays, probe.len()).unwrap();
    let of_row = |row: usize| {
        let mut found = BTreeMap::new();
        let Some(chain) = arrangement.find(&keys, row) else { return found };
        let (mut slot, mut len) = (chain.head, 0);
        while slot != NONE {
            let columns = arrangement.rows().columns(&[slot]).unwrap();
            let text = arrow::util::display::array_value_to_string(&columns[1], 0).unwrap();
            *found.entry(text).or_insert(0) += arrangement.count(slot);
            (slot, len) = (arrangement.next(slot), len + 1);
        }
        assert_eq!(len, chain.len);
        found.retain(|_, count| *count != 0);
        found
    };
    (0..probe.len()).map(of_row).collect()
}

fn naive(updates: &[Update], keys: &[usize]) -> Vec<BTreeMap<String, i64>> {
    let text =
        |n: i64| if n % 4 == 0 { String::new() } else { format!("a text of some length {n}") };
    let key = |u: &Update| (u.0, keys.contains(&1).then(|| text(u.1)));
    let of_row = |row: &Update| {
        let mut found = BTreeMap::new();
        for update in updates.iter().filter(|u| key(u) == key(row)) {
            *found.entry(text(update.1)).or_insert(0) += update.3;
        }
        found.retain(|_, count| *count != 0);
        found
    };
    updates.iter().map(of_row).collect()
}

fn updates(append: bool) -> impl Strategy<Value = Vec<Update>> {
    let least = if append { 1 } else { -2 };
    let diff = (least..3i64).prop_map(|d| if d == 0 { 1 } else { d });
    let update = (prop::option::weighted(0.9, 0i64..5), 0i64..6, 0i64..50, diff);
    prop::collection::vec(update, 1..60)
}

proptest! {
    #[test]
    fn it_holds_what_the_updates_add_up_to(
        append in any::<bool>(), both in any::<bool>(), step in 1usize..20,
        (grown, changed) in (updates(true), updates(false)),
    ) {
        let keys = if both { vec![0, 1] } else { vec![0] };
        let spec = spec(keys.clone(), append, 1);
        let all = if append { grown } else { changed };
        let mut arrangement = Arrangement::new(spec.clone());
        for (i, part) in all.chunks(step).enumerate() {
            // Each step is as of one more, whatever the times.
            let part: Vec<Update> = part.iter().map(|u| (u.0, u.1, i as i64, u.3)).collect();
            arrangement.extend(&batch(&spec, &part), i as i64 + 1).unwrap();
            arrangement.reach(i as i64 + 1);
            arrangement.passed(0, i as i64 + 1);
            prop_assert!(arrangement.logged().is_empty());
        }
        prop_assert_eq!(held(&arrangement, &batch(&spec, &all)), naive(&all, &keys));
        if !append {
            let mut rows: BTreeMap<(Option<i64>, i64), i64> = BTreeMap::new();
            // Texts of multiples of four are NULL.
            let key = |u: &Update| (u.0, if u.1 % 4 == 0 { 0 } else { u.1 });
            all.iter().for_each(|u| *rows.entry(key(u)).or_default() += u.3);
            prop_assert_eq!(arrangement.len(), rows.values().filter(|&&n| n != 0).count());
        }
    }

    #[test]
    fn what_another_reader_put_in_is_not_put_in_again(
        all in updates(false), ends in prop::collection::btree_set(0i64..55, 1..6),
    ) {
        let spec = spec(vec![0], false, 2);
        let mut sorted = all.clone();
        sorted.sort_by_key(|u| u.2);
        let mut arrangement = Arrangement::new(spec.clone());
        // The first goes ahead in one step, the second follows in many.
        arrangement.extend(&batch(&spec, &sorted), 60).unwrap();
        arrangement.reach(60);
        arrangement.passed(0, 60);
        prop_assert_eq!(arrangement.logged().count(), all.len());
        let mut from = 0;
        for end in ends.into_iter().chain([60]) {
            let part: Vec<Update> =
                sorted.iter().copied().filter(|u| from <= u.2 && u.2 < end).collect();
            arrangement.extend(&batch(&spec, &part), end).unwrap();
            arrangement.passed(1, end);
            from = end;
            let left = sorted.iter().filter(|u| u.2 >= end).count();
            prop_assert_eq!(arrangement.logged().count(), left);
        }
        prop_assert_eq!(held(&arrangement, &batch(&spec, &all)), naive(&all, &[0]));
        let contents = naive(&all, &[0, 1]);
        if contents.iter().all(BTreeMap::is_empty) {
            prop_assert_eq!(arrangement.len(), 0);
        }
    }
}

#[test]
fn matches_come_in_chunks_and_newest_first() {
    let spec = spec(vec![0], true, 1);
    let mut arrangement = Arrangement::new(spec.clone());
    let rows: Vec<Update> = (0..10).map(|i| (Some(i % 2), i, i, 1)).collect();
    arrangement.extend(&batch(&spec, &rows), 10).unwrap();
    let probe = batch(&spec, &[(Some(1), 0, 0, 1), (None, 0, 0, 1), (Some(0), 0, 0, 1)]);
    let keys = KeyColumns::read([probe.column(0)], 3).unwrap();
    let mut walk = Walk::start();
    let mut all = Matches::default();
    let mut chunks = 0;
    loop {
        let mut found = Matches::default();
        let more = arrangement.matches(&keys, &mut walk, 10, true, 4, &mut found);
        assert!(found.rows.len() <= 4);
        all.rows.extend(found.rows);
        all.slots.extend(found.slots);
        chunks += 1;
        if !more {
            break;
        }
    }
    assert_eq!(all.rows, [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]);
    assert_eq!(all.slots, [9, 7, 5, 3, 1, 8, 6, 4, 2, 0]);
    assert!(chunks >= 3);
    let numbers = arrangement.rows().column(0, &all.slots).unwrap();
    assert_eq!(numbers.as_primitive::<Int64Type>().values()[..2], [1, 1]);
}

#[test]
fn without_readers_nothing_is_held() {
    let spec = spec(vec![0], true, 2);
    let mut arrangement = Arrangement::new(spec.clone());
    let rows: Vec<Update> = (0..10).map(|i| (Some(i), i, i, 1)).collect();
    arrangement.extend(&batch(&spec, &rows), 10).unwrap();
    arrangement.reach(10);
    arrangement.release(1);
    assert_eq!((arrangement.len(), arrangement.logged().count()), (10, 10));
    arrangement.passed(0, 10);
    assert!(arrangement.logged().is_empty());
    arrangement.release(0);
    arrangement.extend(&batch(&spec, &rows), 20).unwrap();
    assert!(arrangement.is_empty());
}
