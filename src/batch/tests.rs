//! Batches of every type: exchange, wire form, consolidation, order of changes, stable hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::*;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use super::changes::{ChangeKind, change_kinds};
use super::consolidate::{accumulate, consolidate, order_changes};
use super::hash::{hash_bytes, hash_columns, mix};
use super::partition::{partition_by_hash, worker_of};
use super::*;

/// Number of kinds of columns that [`column`] makes.
const KINDS: usize = 24;

type Seeds = [Option<u64>];

fn primitive<T: ArrowPrimitiveType>(
    seeds: &Seeds,
    of: impl Fn(u64) -> T::Native,
) -> PrimitiveArray<T> {
    seeds.iter().map(|seed| seed.map(&of)).collect()
}

/// Of the many NaNs only one, as they look alike.
fn one_nan(bits: u64) -> f64 {
    let value = f64::from_bits(bits);
    if value.is_nan() { f64::NAN } else { value }
}

fn text(seed: u64) -> String {
    // Some are inlined in their views, some are not.
    "a value ".repeat((seed % 4) as usize) + &(seed % 5).to_string()
}

fn texts(seeds: &Seeds) -> StringViewArray {
    seeds.iter().map(|seed| seed.map(text)).collect()
}

/// A column of few values of the kind, so that rows are often equal.
fn column(kind: usize, seeds: &Seeds) -> ArrayRef {
    let small = |seed: u64| (seed % 7) as i64 - 3;
    let utc = |array: TimestampMillisecondArray| array.with_timezone("UTC");
    match kind {
        0 => Arc::new(seeds.iter().map(|s| s.map(|s| s % 2 == 0)).collect::<BooleanArray>()),
        1 => Arc::new(primitive::<Int8Type>(seeds, |s| small(s) as i8)),
        2 => Arc::new(primitive::<Int16Type>(seeds, |s| small(s) as i16)),
        3 => Arc::new(primitive::<Int32Type>(seeds, |s| small(s) as i32)),
        4 => Arc::new(primitive::<Int64Type>(seeds, |s| s as i64)),
        5 => Arc::new(primitive::<Float32Type>(seeds, |s| small(s) as f32 / 4.0)),
        6 => Arc::new(primitive::<Float64Type>(seeds, one_nan)),
        7 => Arc::new(texts(seeds)),
        8 => Arc::new(seeds.iter().map(|s| s.map(u64::to_be_bytes)).collect::<BinaryViewArray>()),
        9 => Arc::new(primitive::<Date32Type>(seeds, |s| small(s) as i32)),
        10 => Arc::new(primitive::<Time32MillisecondType>(seeds, |s| (s % 86_400_000) as i32)),
        11 => Arc::new(primitive::<TimestampSecondType>(seeds, small)),
        12 => Arc::new(primitive::<TimestampMillisecondType>(seeds, small)),
        13 => Arc::new(primitive::<TimestampMicrosecondType>(seeds, |s| s as i64)),
        14 => Arc::new(utc(primitive::<TimestampMillisecondType>(seeds, small))),
        15 | 16 => {
            let (precision, scale) = if kind == 15 { (10, 2) } else { (38, 10) };
            let array = primitive::<Decimal128Type>(seeds, |s| i128::from(small(s)) * 1001);
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        17 => {
            let mut list = ListBuilder::new(StringViewBuilder::new());
            for seed in seeds {
                for item in 0..seed.unwrap_or_default() % 4 {
                    list.values().append_option((item != 2).then(|| text(item)));
                }
                list.append(seed.is_some());
            }
            Arc::new(list.finish())
        }
        18 => {
            let mut lists = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
            for seed in seeds {
                for item in 0..seed.unwrap_or_default() % 3 {
                    lists.values().values().append_value(item as i64);
                    lists.values().append(item != 1);
                }
                lists.append(seed.is_some());
            }
            Arc::new(lists.finish())
        }
        19 => {
            let mut map = MapBuilder::new(None, StringViewBuilder::new(), Int64Builder::new());
            for seed in seeds {
                for item in 0..seed.unwrap_or_default() % 3 {
                    map.keys().append_value(text(item));
                    map.values().append_option((item != 1).then_some(item as i64));
                }
                map.append(seed.is_some()).unwrap();
            }
            Arc::new(map.finish())
        }
        20 => {
            let fields: Vec<FieldRef> = vec![
                Arc::new(Field::new("n", DataType::Int64, true)),
                Arc::new(Field::new("t", DataType::Utf8View, true)),
            ];
            let columns = vec![column(4, seeds), column(7, seeds)];
            let valid: Vec<bool> = seeds.iter().map(|s| s.is_none_or(|s| s % 3 > 0)).collect();
            Arc::new(StructArray::new(fields.into(), columns, Some(valid.into())))
        }
        21 => new_null_array(&DataType::Utf8View, seeds.len()),
        22 => Arc::new(primitive::<TimestampSecondType>(seeds, small).with_timezone("UTC")),
        _ => Arc::new(primitive::<TimestampMicrosecondType>(seeds, small).with_timezone("UTC")),
    }
}

fn batch_of(
    kinds: &[usize],
    rows: &[(Vec<Option<u64>>, i64, i64)],
    with_diffs: bool,
) -> UpdateBatch {
    let seeds = |place: usize| rows.iter().map(|(seeds, ..)| seeds[place]).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> =
        kinds.iter().enumerate().map(|(place, &kind)| column(kind, &seeds(place))).collect();
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(place, c)| Field::new(format!("c{place}"), c.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let times: Vec<i64> = rows.iter().map(|(_, time, _)| *time).collect();
    let diffs: Vec<i64> = rows.iter().map(|(.., diff)| *diff).collect();
    let data = match kinds {
        [] => rows_without_columns(schema, rows.len()).unwrap(),
        _ => RecordBatch::try_new(schema, columns).unwrap(),
    };
    UpdateBatch::new(data, times.into(), with_diffs.then(|| diffs.into()))
}

/// Batches of up to 40 rows and up to `columns` columns of the kinds below `kinds`.
fn batches(kinds: usize, columns: usize) -> impl Strategy<Value = UpdateBatch> {
    let kinds = prop::collection::vec(0..kinds, 0..=columns);
    (kinds, any::<bool>()).prop_flat_map(|(kinds, with_diffs)| {
        let seed = prop_oneof![
            1 => Just(None),
            6 => (0u64..4).prop_map(Some),
            1 => any::<u64>().prop_map(Some),
        ];
        let seeds = prop::collection::vec(seed, kinds.len());
        let rows = prop::collection::vec((seeds, 0i64..4, -2i64..4), 0..40);
        rows.prop_map(move |rows| batch_of(&kinds, &rows, with_diffs))
    })
}

/// The same as a slice of it.
fn sliced(kinds: usize, columns: usize) -> impl Strategy<Value = UpdateBatch> {
    (batches(kinds, columns), 0usize..100, 0usize..100).prop_map(|(batch, from, to)| {
        let from = from * batch.len() / 100;
        let length = (batch.len() - from) * (to + 1) / 100;
        batch.slice(from, length)
    })
}

fn assert_same(a: &UpdateBatch, b: &UpdateBatch) {
    assert_eq!(a.rows(), b.rows());
    assert_eq!(a.times(), b.times());
    assert_eq!(a.diffs(), b.diffs());
}

proptest! {
    #[test]
    fn every_row_goes_to_the_worker_of_its_hash(
        batch in sliced(KINDS, 4), keys in 0usize..5, peers in 1usize..9,
    ) {
        let keys: Vec<usize> = (0..batch.rows().num_columns().min(keys)).rev().collect();
        let columns: Vec<ArrayRef> = keys.iter().map(|&k| batch.column(k).clone()).collect();
        let hashes = hash_columns(&columns, batch.len()).unwrap();
        let parts = partition_by_hash(&batch, &keys, peers).unwrap();
        prop_assert_eq!(parts.len(), peers);
        for (worker, part) in parts.iter().enumerate() {
            let is_mine: BooleanArray =
                hashes.iter().map(|&hash| Some(worker_of(hash, peers) == worker)).collect();
            match part {
                Some(part) => assert_same(part, &batch.filter(&is_mine).unwrap()),
                None => prop_assert_eq!(is_mine.true_count(), 0),
            }
        }
        let rows: usize = parts.iter().flatten().map(UpdateBatch::len).sum();
        prop_assert_eq!(rows, batch.len());
    }

    #[test]
    fn a_hash_is_that_of_its_row(batch in sliced(KINDS, 3), peers in 1usize..300) {
        let columns = batch.rows().columns();
        let hashes = hash_columns(columns, batch.len()).unwrap();
        for (row, hash) in hashes.into_iter().enumerate() {
            // Alone, without the others' NULLs and offsets.
            let one = batch.take(&UInt32Array::from(vec![row as u32])).unwrap();
            prop_assert_eq!(hash_columns(one.rows().columns(), 1).unwrap(), vec![hash]);
            prop_assert!(worker_of(hash, peers) < peers);
        }
    }

    #[test]
    fn shards_are_ranges_of_the_hash(a in any::<u64>(), b in any::<u64>(), peers in 1usize..300) {
        prop_assert!(worker_of(a.min(b), peers) <= worker_of(a.max(b), peers));
        prop_assert_eq!((worker_of(0, peers), worker_of(u64::MAX, peers)), (0, peers - 1));
    }

    #[test]
    fn the_wire_form_holds_everything(batch in sliced(KINDS, 5)) {
        let bytes = ipc::encode(&batch).unwrap();
        assert_same(&ipc::decode(&bytes).unwrap(), &batch);
        // As timely sends it: the length first, then exactly so many bytes.
        let mut sent = Vec::new();
        batch.into_bytes(&mut sent);
        prop_assert_eq!(sent.len(), batch.length_in_bytes());
        let received = UpdateBatch::from_bytes(BytesMut::from(sent).freeze());
        assert_same(&received, &batch);
    }

    #[test]
    fn a_wire_form_that_is_cut_is_refused(batch in batches(KINDS, 2), cut in 0usize..100) {
        let bytes = ipc::encode(&batch).unwrap();
        // The last eight bytes only say that the stream has ended.
        let rest = &bytes[..cut * (bytes.len() - 8) / 100];
        prop_assert!(ipc::decode(rest).is_err());
    }

    #[test]
    fn splitting_keeps_the_order(batch in sliced(KINDS, 2), frontier in -1i64..6) {
        let below: BooleanArray = batch.times().iter().map(|t| Some(*t < frontier)).collect();
        let (old, new) = batch.clone().split_at(frontier).unwrap();
        let schema = batch.schema();
        let whole = |part: Option<UpdateBatch>| {
            part.unwrap_or_else(|| UpdateBatch::empty(schema.clone()))
        };
        let (old, new) = (whole(old), whole(new));
        let expected = batch.filter(&below).unwrap();
        prop_assert_eq!((old.rows(), old.times()), (expected.rows(), expected.times()));
        prop_assert_eq!(old.len() + new.len(), batch.len());
        prop_assert!(new.times().iter().all(|time| *time >= frontier));
    }
}

fn row_text(columns: &[ArrayRef], row: usize) -> String {
    let cell = |column: &ArrayRef| match column.is_null(row) {
        true => "NULL".to_owned(),
        false => format!("'{}'", array_value_to_string(column, row).unwrap()),
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(",")
}

/// Sums by (time, row) or by row; rows as text.
fn sums(batch: &UpdateBatch, by_time: bool) -> BTreeMap<(i64, String), i64> {
    let mut sums = BTreeMap::new();
    for row in 0..batch.len() {
        let time = if by_time { batch.times()[row] } else { 0 };
        let text = row_text(batch.rows().columns(), row);
        *sums.entry((time, text)).or_default() += batch.diff(row);
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn texts_of(batch: &UpdateBatch) -> Vec<(i64, String, i64)> {
    (0..batch.len())
        .map(|row| {
            let text = row_text(batch.rows().columns(), row);
            (batch.times()[row], text, batch.diff(row))
        })
        .collect()
}

/// Rows of two numbers: their order is that of the numbers, NULL first.
type Pair = (Option<i64>, Option<i64>);

fn pairs() -> impl Strategy<Value = Vec<(Pair, i64, i64)>> {
    let number = || prop::option::weighted(0.8, 0i64..3);
    prop::collection::vec(((number(), number()), 0i64..3, -2i64..3), 0..40)
}

fn batch_of_pairs(rows: &[(Pair, i64, i64)]) -> UpdateBatch {
    let column = |of: fn(&Pair) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(pair, ..)| of(pair)).collect::<Int64Array>())
    };
    let columns = [("a", column(|p| p.0), true), ("b", column(|p| p.1), true)];
    let times: Vec<i64> = rows.iter().map(|(_, time, _)| *time).collect();
    let diffs: Vec<i64> = rows.iter().map(|(.., diff)| *diff).collect();
    let data = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    UpdateBatch::new(data, times.into(), Some(diffs.into()))
}

fn pairs_of(batch: &UpdateBatch) -> Vec<(Pair, i64, i64)> {
    let (a, b) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1));
    let b = b.as_primitive::<Int64Type>();
    let value = |c: &Int64Array, i: usize| c.is_valid(i).then(|| c.value(i));
    let row = |i: usize| ((value(a, i), value(b, i)), batch.times()[i], batch.diff(i));
    (0..batch.len()).map(row).collect()
}

proptest! {
    #[test]
    fn consolidation_of_every_type_keeps_the_sums(batch in sliced(KINDS, 3)) {
        let once = consolidate(&batch).unwrap();
        let of = |b: &UpdateBatch| texts_of(b).into_iter().map(|(t, r, d)| ((t, r), d));
        let as_map: BTreeMap<_, _> = of(&once).collect();
        prop_assert_eq!(as_map.len(), once.len(), "a row is there twice");
        prop_assert_eq!(&as_map, &sums(&batch, true));
        let all = accumulate(&batch).unwrap();
        let as_map: BTreeMap<_, _> =
            texts_of(&all).into_iter().map(|(_, row, diff)| ((0, row), diff)).collect();
        prop_assert_eq!(as_map.len(), all.len(), "a row is there twice");
        prop_assert_eq!(&as_map, &sums(&batch, false));
    }

    #[test]
    fn consolidation_sorts_and_sums(rows in pairs()) {
        let batch = batch_of_pairs(&rows);
        let mut by_time: BTreeMap<(i64, Pair), i64> = BTreeMap::new();
        let mut by_row: BTreeMap<Pair, (i64, i64)> = BTreeMap::new();
        for (pair, time, diff) in &rows {
            *by_time.entry((*time, *pair)).or_default() += diff;
            let sum = by_row.entry(*pair).or_insert((0, i64::MIN));
            *sum = (sum.0 + diff, sum.1.max(*time));
        }
        let expected: Vec<_> = by_time
            .iter()
            .filter(|(_, diff)| **diff != 0)
            .map(|((time, pair), diff)| (*pair, *time, *diff))
            .collect();
        let consolidated = consolidate(&batch).unwrap();
        prop_assert_eq!(pairs_of(&consolidated), expected.clone());
        prop_assert_eq!(consolidated.diffs().is_none(), expected.iter().all(|r| r.2 == 1));
        let expected: Vec<_> = by_row
            .iter()
            .filter(|(_, (diff, _))| *diff != 0)
            .map(|(pair, (diff, time))| (*pair, *time, *diff))
            .collect();
        prop_assert_eq!(pairs_of(&accumulate(&batch).unwrap()), expected);
    }

    #[test]
    fn changes_are_ordered_and_named(rows in pairs(), keyed in any::<bool>()) {
        let key: Vec<usize> = if keyed { vec![1] } else { vec![] };
        let ordered = order_changes(&batch_of_pairs(&rows), &key).unwrap();
        let mut expected = Vec::new();
        for (pair, time, diff) in pairs_of(&consolidate(&batch_of_pairs(&rows)).unwrap()) {
            expected.extend((0..diff.abs()).map(|_| (pair, time, diff.signum())));
        }
        if keyed {
            expected.sort_by_key(|(pair, time, sign)| (*time, pair.1, *sign, *pair));
        }
        prop_assert_eq!(pairs_of(&ordered), expected.clone());
        let kinds = change_kinds(&ordered, &key).unwrap();
        prop_assert_eq!(kinds.len(), expected.len());
        for (i, (pair, time, sign)) in expected.iter().enumerate() {
            let same = |j: usize, other: i64| {
                let row = expected.get(j);
                row.is_some_and(|r| keyed && (r.1, r.0.1, r.2) == (*time, pair.1, other))
            };
            let kind = match sign {
                1 if i > 0 && same(i - 1, -1) => ChangeKind::UpdateAfter,
                1 => ChangeKind::Insert,
                _ if same(i + 1, 1) => ChangeKind::UpdateBefore,
                _ => ChangeKind::Delete,
            };
            prop_assert_eq!(kinds[i], kind);
        }
    }
}

/// Changes of one time are shown in one order, whatever other times are in their batch.
#[test]
fn the_order_of_changes_does_not_depend_on_the_cut() {
    let rows = [
        ((Some(0), Some(2)), 1, 1),
        ((Some(1), Some(0)), 1, 1),
        ((Some(1), Some(0)), 2, -1),
        ((Some(2), Some(0)), 2, 1),
    ];
    let whole = pairs_of(&order_changes(&batch_of_pairs(&rows), &[1]).unwrap());
    let parts = rows.chunks(2).map(|part| order_changes(&batch_of_pairs(part), &[1]).unwrap());
    let parts: Vec<_> = parts.flat_map(|part| pairs_of(&part)).collect();
    assert_eq!(whole, parts);
}

#[test]
fn rows_without_columns_are_summed_too() {
    let rows = rows_without_columns(Arc::new(Schema::empty()), 3).unwrap();
    let batch = UpdateBatch::new(rows, vec![1, 1, 2].into(), Some(vec![1, 1, -3].into()));
    let once = consolidate(&batch).unwrap();
    assert_eq!((once.times().to_vec(), once.diff(0), once.diff(1)), (vec![1, 2], 2, -3));
    let all = accumulate(&batch).unwrap();
    assert_eq!((all.len(), all.diff(0)), (1, -1));
    assert_eq!(order_changes(&batch, &[]).unwrap().len(), 5);
}

#[test]
fn a_slice_sends_its_own_bytes_only() {
    let long = "x".repeat(1000);
    let rows = StringViewArray::from_iter_values((0..1000).map(|i| format!("{long}{i}")));
    let rows = RecordBatch::try_from_iter([("t", Arc::new(rows) as ArrayRef)]).unwrap();
    let batch = UpdateBatch::at(rows, 7);
    let one = ipc::encode(&batch.slice(500, 1)).unwrap();
    assert!(one.len() < 3000, "{} bytes for one row", one.len());
}

/// What [`the_stable_hash_never_changes`] hashes, in its order.
#[rustfmt::skip]
const PINNED: [u64; 56] = [
    0xf785_8b38_a849_9be9, 0, 0x6f7f_9021_18a7_7aa5, 0x580f_5dd9_694f_b0f6,
    0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x51a2_64cf_368b_729f, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x51a2_64cf_368b_729f, 0x2018_4bf7_4f8d_e998, 0x61b4_71d0_35a8_13e5, 0x2018_4bf7_4f8d_e998,
    0xe9c0_5a1a_775d_7631, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x51a2_64cf_368b_729f, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998, 0x51a2_64cf_368b_729f, 0x2018_4bf7_4f8d_e998,
    0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998, 0x416f_b580_b274_3991, 0x2018_4bf7_4f8d_e998,
    0x416f_b580_b274_3991, 0x2018_4bf7_4f8d_e998, 0xb611_3051_fdce_cc48, 0xc403_5058_a870_e241,
    0xce22_49ce_b015_9913, 0xc403_5058_a870_e241, 0xce22_49ce_b015_9913, 0xc403_5058_a870_e241,
    0x7889_6581_ec37_eb79, 0x90a9_5891_4ae1_58d7, 0x2018_4bf7_4f8d_e998, 0x2018_4bf7_4f8d_e998,
    0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998, 0x7b4e_dfee_c3ea_bf6e, 0x2018_4bf7_4f8d_e998,
    0x81c7_6830_cd1c_1db1, 0x1fe0_b35c_15ed_0c45, 0x5897_3cd1_64f7_0a2b, 0x5897_3cd1_64f7_0a2b,
];

/// Rows lie where these say, in files too: a change here loses every stored state.
#[test]
fn the_stable_hash_never_changes() {
    let mut pinned = vec![mix(1, 2)];
    pinned.extend([&b""[..], b"floodmark", b"exactly8"].map(hash_bytes));
    let seeds = [Some(3), None];
    let of = |columns: &[ArrayRef]| hash_columns(columns, 2).unwrap();
    pinned.extend((0..KINDS).flat_map(|kind| of(&[column(kind, &seeds)])));
    pinned.extend(of(&[column(4, &seeds), column(7, &seeds)]));
    pinned.extend(of(&[]));
    assert_eq!(pinned, PINNED, "{pinned:#x?}");
}

/// Keys that follow one another, or differ in few bits, go to all workers alike.
#[test]
fn keys_are_spread_over_the_workers() {
    const ROWS: i64 = 4096;
    let of = |value: fn(i64) -> i64| -> ArrayRef {
        Arc::new((0..ROWS).map(value).collect::<Int64Array>())
    };
    let names = StringViewArray::from_iter_values((0..ROWS).map(|i| format!("sensor {i}")));
    let constant = of(|_| 7);
    let keys: [Vec<ArrayRef>; 7] = [
        vec![of(|i| i)],
        vec![of(|i| i * 1000)],
        vec![of(|i| 1_700_000_000_000 + i * 60_000)],
        vec![of(|i| i << 32)],
        vec![Arc::new(names)],
        vec![of(|i| i), constant.clone()],
        vec![constant, of(|i| i)],
    ];
    for (case, columns) in keys.iter().enumerate() {
        let hashes = hash_columns(columns, ROWS as usize).unwrap();
        for peers in [2usize, 3, 4, 8] {
            let mut counts = vec![0i64; peers];
            hashes.iter().for_each(|&hash| counts[worker_of(hash, peers)] += 1);
            let fair = ROWS / peers as i64;
            let even = counts.iter().all(|count| (fair * 4 / 5..=fair * 6 / 5).contains(count));
            assert!(even, "keys {case} over {peers} workers: {counts:?}");
        }
    }
}

#[test]
fn equal_values_of_different_types_and_forms_hash_alike() {
    let hash = |array: ArrayRef| hash_columns(&[array], 1).unwrap()[0];
    let five = hash(Arc::new(Int64Array::from(vec![-5])));
    assert_eq!(hash(Arc::new(Int8Array::from(vec![-5]))), five);
    assert_eq!(hash(Arc::new(Int16Array::from(vec![-5]))), five);
    assert_eq!(hash(Arc::new(Int32Array::from(vec![-5]))), five);
    let float = |value: f64| hash(Arc::new(Float64Array::from(vec![value])));
    assert_eq!(float(-0.0), float(0.0));
    assert_eq!(float(f64::NAN), float(-f64::NAN));
    assert_eq!(float(2.5), hash(Arc::new(Float32Array::from(vec![2.5]))));
    let views = hash(Arc::new(StringViewArray::from(vec!["a longer text than a view holds"])));
    assert_eq!(hash(Arc::new(StringArray::from(vec!["a longer text than a view holds"]))), views);
}

#[test]
fn batches_are_joined_with_their_diffs() {
    let batch = |diffs: Option<Vec<i64>>| {
        let rows = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1, 2])) as _)]);
        let diffs = diffs.map(ScalarBuffer::from);
        UpdateBatch::new(rows.unwrap(), vec![3, 4].into(), diffs)
    };
    let parts = [batch(None), batch(Some(vec![-1, 2]))];
    let joined = UpdateBatch::concat(&parts[0].schema(), &parts).unwrap();
    assert_eq!(joined.times().to_vec(), [3, 4, 3, 4]);
    assert_eq!(joined.diffs().map(|d| d.to_vec()), Some(vec![1, 1, -1, 2]));
    let appended = UpdateBatch::concat(&parts[0].schema(), &[batch(None), batch(None)]).unwrap();
    assert!(appended.diffs().is_none());
}

#[test]
fn what_few_rows_keep_of_many_can_be_let_go() {
    let texts = (0..1000).map(|i| format!("{i:04} is a text of more than a few bytes"));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let rows = RecordBatch::try_from_iter([("s", texts)]).unwrap();
    let whole = UpdateBatch::new(rows, vec![0; 1000].into(), None);
    let held = |batch: &UpdateBatch| -> usize {
        let views = batch.column(0).as_string_view();
        views.data_buffers().iter().map(|buffer| buffer.len()).sum()
    };
    let few = whole.slice(10, 5);
    assert_eq!(held(&few), held(&whole), "a part shares the bytes of the whole");
    let alone = ipc::without_others(few.clone()).unwrap();
    assert_same(&alone, &few);
    assert!(held(&alone) < 5 * 50, "{}", held(&alone));
    // What is in use is not copied.
    let same = ipc::without_others(whole.clone()).unwrap();
    let address = |batch: &UpdateBatch| batch.column(0).as_string_view().data_buffers()[0].as_ptr();
    assert_eq!(address(&same), address(&whole));
}
