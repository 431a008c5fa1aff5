//! Rows come back as they were put in, whatever else came and went.

use super::*;
use arrow::array::*;
use arrow::datatypes::*;
use proptest::prelude::*;

fn schema() -> SchemaRef {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let fields = [
        DataType::Int64,
        DataType::Int32,
        DataType::Boolean,
        DataType::Float64,
        DataType::Float32,
        DataType::Decimal128(10, 2),
        DataType::Utf8View,
        DataType::BinaryView,
        DataType::Timestamp(TimeUnit::Millisecond, None),
        list,
    ];
    let fields = fields.into_iter().enumerate();
    let fields: Vec<_> = fields.map(|(i, t)| Field::new(format!("c{i}"), t, true)).collect();
    Arc::new(Schema::new(fields))
}

/// Rows whose columns are all made of one number each; some are NULL.
fn batch(seeds: &[i64]) -> RecordBatch {
    let ints: ArrayRef =
        Arc::new(seeds.iter().map(|&s| (s % 5 != 0).then_some(s)).collect::<Int64Array>());
    let texts: Vec<Option<String>> = seeds
        .iter()
        .map(|&s| (s % 7 != 0).then(|| "text ".repeat(s.unsigned_abs() as usize % 9)))
        .collect();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        seeds.iter().map(|&s| (s % 3 != 0).then(|| vec![Some(s as i32), None])),
    );
    let columns = schema()
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.data_type() {
                DataType::Utf8View => Arc::new(texts.iter().cloned().collect::<StringViewArray>()),
                DataType::BinaryView => Arc::new(BinaryViewArray::from_iter(
                    texts.iter().map(|t| t.as_ref().map(|t| [t.as_bytes(), &[255]].concat())),
                )),
                DataType::List(_) => Arc::new(lists.clone()),
                other => cast(&ints, other).unwrap(),
            }
        })
        .collect();
    RecordBatch::try_new(schema(), columns).unwrap()
}

proptest! {
    #[test]
    fn rows_come_back_as_they_were(
        steps in prop::collection::vec(
            (prop::collection::vec(-50i64..50, 0..30), prop::collection::vec(0usize..60, 0..20)),
            1..8),
    ) {
        let mut store = RowStore::new(&schema());
        let mut held: Vec<(u32, i64)> = Vec::new();
        for (seeds, removed) in steps {
            let mut slots = Vec::new();
            store.insert(&batch(&seeds), &mut slots).unwrap();
            prop_assert_eq!(slots.len(), seeds.len());
            held.extend(slots.into_iter().zip(seeds));
            for index in removed {
                if index < held.len() {
                    store.remove(held.swap_remove(index).0);
                }
            }
            prop_assert_eq!(store.len(), held.len());
            let (slots, seeds): (Vec<u32>, Vec<i64>) = held.iter().copied().unzip();
            let expected = batch(&seeds);
            let found = RecordBatch::try_new(schema(), store.columns(&slots).unwrap()).unwrap();
            prop_assert_eq!(&found, &expected);
            let columns = RowStore::read(expected.columns()).unwrap();
            for (row, &slot) in slots.iter().enumerate() {
                for (other, seed) in seeds.iter().enumerate() {
                    let equal = expected.slice(row, 1) == expected.slice(other, 1);
                    prop_assert_eq!(store.equals(slot, &columns, other), equal, "{}", seed);
                }
            }
        }
    }
}

#[test]
fn slots_of_removed_rows_are_given_again() {
    let mut store = RowStore::new(&schema());
    let mut slots = Vec::new();
    store.insert(&batch(&[1, 2, 3]), &mut slots).unwrap();
    assert_eq!(slots, [0, 1, 2]);
    store.remove(1);
    let columns = RowStore::read(batch(&[10, 11, 12, 13]).columns()).unwrap();
    store.insert_columns(&columns, Picked::Some(&[3, 1]), &mut slots).unwrap();
    assert_eq!((slots.as_slice(), store.len(), store.bound()), ([1, 3].as_slice(), 4, 4));
    let found = store.column(0, &[1, 0, 3]).unwrap();
    assert_eq!(found.as_primitive::<Int64Type>().values().to_vec(), [13, 1, 11]);
    assert!(store.bytes() > 0);
}

#[test]
fn keys_compare_as_numbers_and_rows_by_their_bits() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN]));
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("f", DataType::Float64, true)]));
    let mut store = RowStore::new(&schema);
    let rows = RecordBatch::try_new(schema, vec![floats.clone()]).unwrap();
    store.insert(&rows, &mut Vec::new()).unwrap();
    let key = Column::read(&floats, Reading::Key).unwrap();
    let plain = RowStore::read([&floats]).unwrap();
    assert!(store.key_is(0, 0, &key, 1) && store.key_is(0, 1, &key, 0));
    assert!(store.same_key((0, 0), &store, (0, 1)) && store.key_is(0, 2, &key, 2));
    assert!(!store.equals(0, &plain, 1) && store.equals(2, &plain, 2));
    assert!(!store.same_key((0, 0), &store, (0, 2)));
}
