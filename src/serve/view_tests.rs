//! The contents of a view against a naive multiset.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

type Row = (Option<String>, i64);
type Update = (Row, EventTime, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, false),
    ]))
}

fn batch(updates: &[Update]) -> UpdateBatch {
    let keys: StringViewArray = updates.iter().map(|((k, _), ..)| k.as_deref()).collect();
    let numbers: Int64Array = updates.iter().map(|((_, n), ..)| Some(*n)).collect();
    let rows = RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(numbers)]).unwrap();
    let times: Vec<i64> = updates.iter().map(|u| u.1).collect();
    let diffs: Vec<i64> = updates.iter().map(|u| u.2).collect();
    let diffs = diffs.iter().any(|&d| d != 1).then(|| diffs.into());
    UpdateBatch::new(rows, times.into(), diffs)
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let keys = batch.column(0).as_string_view();
    let numbers = batch.column(1).as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|i| (keys.is_valid(i).then(|| keys.value(i).to_owned()), numbers.value(i)))
        .collect()
}

fn sum_below(updates: &[Update], as_of: EventTime) -> Vec<Row> {
    let mut sums: BTreeMap<&Row, i64> = BTreeMap::new();
    for (row, time, diff) in updates {
        if *time < as_of {
            *sums.entry(row).or_default() += diff;
        }
    }
    let repeat = |(row, n): (&Row, i64)| std::iter::repeat_n(row.clone(), n.max(0) as usize);
    sums.into_iter().flat_map(repeat).collect()
}

fn naive_changes(updates: &[Update], from: EventTime, to: EventTime) -> Vec<Update> {
    let mut sums: BTreeMap<(EventTime, &Row), i64> = BTreeMap::new();
    for (row, time, diff) in updates {
        if (from..to).contains(time) {
            *sums.entry((*time, row)).or_default() += diff;
        }
    }
    sums.retain(|_, n| *n != 0);
    sums.into_iter().map(|((t, r), n)| (r.clone(), t, n)).collect()
}

/// Steps of one writer: by how much its upper moves, and the updates in that span.
#[derive(Clone, Debug)]
struct Step {
    writer: usize,
    span: i64,
    updates: Vec<(u8, u8, i64, u8)>,
    merge: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let update = (0u8..4, 0u8..4, 0i64..20, 0u8..6);
    let step = (0usize..3, 1i64..20, prop::collection::vec(update, 0..12), any::<bool>());
    let step =
        step.prop_map(|(writer, span, updates, merge)| Step { writer, span, updates, merge });
    prop::collection::vec(step, 1..30)
}

/// Plays `steps`; a writer retracts only rows that it inserted before, so that sums stay positive.
fn play(steps: &[Step], view: &ViewContents, check: impl Fn(&[Update])) -> Vec<Update> {
    let mut all: Vec<Update> = Vec::new();
    let mut uppers = [0i64; 3];
    let mut held: [Vec<Row>; 3] = Default::default();
    for step in steps {
        let upper = &mut uppers[step.writer];
        let mut new: Vec<Update> = Vec::new();
        let mut offsets = step.updates.clone();
        offsets.sort_by_key(|u| u.2 % step.span);
        for (key, number, offset, action) in offsets {
            let time = *upper + offset % step.span;
            let held = &mut held[step.writer];
            if action < 2 && !held.is_empty() {
                let row = held.remove(usize::from(number) % held.len());
                new.push((row, time, -1));
            } else {
                // Long enough not to be stored inside its view.
                let key = (key > 0).then(|| format!("a key that is longer than a view {key}"));
                let count = if action == 5 { 2 } else { 1 };
                held.extend(std::iter::repeat_n((key.clone(), i64::from(number)), count));
                new.push(((key, i64::from(number)), time, count as i64));
            }
        }
        new.reverse();
        *upper += step.span;
        let batches = new.chunks(3).map(batch).collect();
        view.append(step.writer, batches, *upper).unwrap();
        all.extend(new);
        if step.merge {
            let guard = view.merging.lock().unwrap();
            view.merge(&guard).unwrap();
        }
        check(&all);
    }
    all
}

fn check_all(view: &ViewContents, all: &[Update]) {
    let upper = view.newest_time();
    let since = view.since();
    for as_of in since.max(-2)..=upper.min(1000) {
        let rows = view.read(as_of).unwrap();
        let expected = sum_below(all, as_of);
        assert_eq!(rows_of(&rows), expected, "as of {as_of} in [{since}, {upper}]");
        let key = ScalarValue::Utf8View(Some("a key that is longer than a view 1".into()));
        for key in [key, ScalarValue::Utf8View(None)] {
            let found = view.read_key(as_of, &[0], std::slice::from_ref(&key)).unwrap();
            let ScalarValue::Utf8View(key) = key else { unreachable!() };
            let expected: Vec<Row> = expected.iter().filter(|r| r.0 == key).cloned().collect();
            assert_eq!(rows_of(&found), expected);
        }
    }
    for (from, to) in [(since, upper), ((since.max(0) + upper) / 2, upper)] {
        if from < since || from > to {
            continue;
        }
        let changes = view.changes(from, to).unwrap();
        let rows = rows_of(changes.rows());
        let found: Vec<Update> = rows
            .into_iter()
            .enumerate()
            .map(|(i, row)| (row, changes.times()[i], changes.diff(i)))
            .collect();
        // Updates before since are one sum and carry no time of their own.
        if from >= since && from > BEGINNING {
            assert_eq!(found, naive_changes(all, from, to));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_read_is_the_sum_of_the_updates_below(steps in steps(), retain in 0i64..60) {
        let view = ViewContents::new(schema(), 3, retain);
        let all = play(&steps, &view, |_| {});
        check_all(&view, &all);
        for writer in 0..3 {
            view.append(writer, Vec::new(), CLOSED).unwrap();
        }
        prop_assert_eq!(view.upper(), CLOSED);
        check_all(&view, &all);
        prop_assert_eq!(rows_of(&view.read(CLOSED).unwrap()), sum_below(&all, CLOSED));
        prop_assert_eq!(view.last_time(), all.iter().map(|u| u.1).max());
        prop_assert_eq!(view.stats().update_count, all.len() as u64);
        prop_assert_eq!(view.stats().rows, all.iter().map(|u| u.2).sum::<i64>());
    }

    #[test]
    fn reads_between_appends_are_right(steps in steps()) {
        let view = ViewContents::new(schema(), 3, 15);
        play(&steps, &view, |all| {
            let upper = view.upper();
            let rows = view.read(upper).unwrap();
            assert_eq!(rows_of(&rows), sum_below(all, upper));
        });
    }

    #[test]
    fn a_hold_keeps_history(steps in steps(), hold in -10i64..60) {
        let view = ViewContents::new(schema(), 3, 0);
        view.allow_compaction(hold);
        let all = play(&steps, &view, |_| {});
        prop_assert!(view.since() <= hold);
        check_all(&view, &all);
    }
}

#[test]
fn times_out_of_range_are_refused() {
    let view = ViewContents::new(schema(), 1, 10);
    let early = view.read(5).unwrap_err();
    assert_eq!(early.kind, ErrorKind::Conflict);
    assert!(early.message.contains("no event time has closed"), "{early}");
    view.append(0, vec![batch(&[((None, 1), 100, 1)])], 200).unwrap();
    let guard = view.merging.lock().unwrap();
    view.merge(&guard).unwrap();
    drop(guard);
    assert_eq!((view.since(), view.upper()), (190, 200));
    assert!(view.read(201).unwrap_err().message.contains("complete up to"));
    let past = view.read(189).unwrap_err();
    assert!(past.message.contains("history begins at 1970-01-01 00:00:00.190"), "{past}");
    assert!(past.hint.unwrap().contains("retain_history"));
    assert_eq!(view.read(190).unwrap().num_rows(), 1);
}

#[test]
fn many_updates_that_collapse_take_little_memory() {
    let view = ViewContents::new(schema(), 2, 0);
    for tick in 0..400i64 {
        let writer = (tick % 2) as usize;
        let row = |i: i64, t: i64| ((Some(format!("a rather long key for {writer} {i}")), t), tick);
        let mut updates: Vec<Update> = Vec::new();
        for i in 0..1000 {
            if tick >= 2 {
                let (old, time) = row(i, tick - 2);
                updates.push((old, time, -1));
            }
            let (new, time) = row(i, tick);
            updates.push((new, time, 1));
        }
        view.append(writer, vec![batch(&updates)], tick + 1).unwrap();
    }
    let stats = view.stats();
    assert_eq!(stats.rows, 2000);
    assert_eq!(stats.update_count, 798_000);
    assert!(stats.stored <= 3 * VIEW_PENDING_ROWS_MIN, "{stats:?}");
    view.append(0, Vec::new(), CLOSED).unwrap();
    view.append(1, Vec::new(), CLOSED).unwrap();
    let stats = view.stats();
    assert_eq!(stats.stored, 2000);
    assert!(stats.bytes < 400_000, "{stats:?}");
    assert_eq!(view.read(CLOSED).unwrap().num_rows(), 2000);
    assert_eq!(view.newest_time(), 400);
}

#[test]
fn kept_rows_do_not_pin_the_input() {
    let view = ViewContents::new(schema(), 1, 0);
    let updates: Vec<Update> =
        (0..10_000).map(|i| ((Some(format!("a rather long key number {i}")), i), 5, 1)).collect();
    let large = batch(&updates);
    view.append(0, vec![large.slice(5000, 3)], 10).unwrap();
    assert!(view.stats().bytes < 2_000, "{:?}", view.stats());
}

#[test]
fn waiting_ends_when_the_upper_moves_or_time_is_up() {
    let view = Arc::new(ViewContents::new(schema(), 2, 0));
    assert!(!view.wait_upper(1, Duration::from_millis(1)));
    let reader = Arc::clone(&view);
    let waiting = std::thread::spawn(move || reader.wait_upper(5, Duration::from_secs(60)));
    view.append(0, Vec::new(), 7).unwrap();
    view.append(1, Vec::new(), 6).unwrap();
    assert!(waiting.join().unwrap());
    assert_eq!(view.upper(), 6);
}

#[test]
fn a_defect_is_kept_and_told_to_readers() {
    let view = ViewContents::new(schema(), 1, 0);
    view.append(0, Vec::new(), 10).unwrap();
    assert!(view.append(0, vec![batch(&[((None, 1), 3, 1)])], 20).is_err());
    assert_eq!(view.read(10).unwrap_err().kind, ErrorKind::Internal);
}

#[test]
fn rows_without_columns_are_counted() {
    let schema: SchemaRef = Arc::new(Schema::empty());
    let view = ViewContents::new(Arc::clone(&schema), 1, 0);
    let rows = run::with_columns(Arc::clone(&schema), Vec::new(), 3).unwrap();
    view.append(0, vec![UpdateBatch::at(rows.clone(), 1)], 5).unwrap();
    view.append(0, vec![UpdateBatch::at(rows, 6)], 8).unwrap();
    assert_eq!(view.read(5).unwrap().num_rows(), 3);
    assert_eq!(view.read(8).unwrap().num_rows(), 6);
    view.append(0, Vec::new(), CLOSED).unwrap();
    assert_eq!(view.read(CLOSED).unwrap().num_rows(), 6);
}
