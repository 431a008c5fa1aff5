//! Rows and manifests for the tests of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use floodmark::snapshot::{
    ChunkRef, Manifest, SavedPartition, SavedSink, SavedSource, SavedState, SavedTableRef, Store,
};

/// Two columns: `from..` and a text of it that no other number has.
pub fn numbered_rows(from: usize, rows: usize) -> RecordBatch {
    let numbers = (from as i64)..((from + rows) as i64);
    let texts = numbers.clone().map(|n| format!("the text of row number {n}"));
    RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef),
        ("t", Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef),
    ])
    .unwrap()
}

/// Long texts that hardly compress, in views and in lists of views.
#[allow(dead_code, reason = "each test crate uses its part")]
pub fn texts(rows: usize) -> RecordBatch {
    let mut state = 1_u64;
    let texts: Vec<String> = (0..rows)
        .map(|_| {
            let mut text = String::new();
            for _ in 0..6 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(&format!("{:x}", state >> 16));
            }
            text
        })
        .collect();
    let views = StringViewArray::from_iter_values(&texts);
    let field = Arc::new(Field::new("item", DataType::Utf8View, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
    let lists = ListArray::new(field, offsets, Arc::new(views.clone()), None);
    RecordBatch::try_from_iter([
        ("t", Arc::new(views) as ArrayRef),
        ("l", Arc::new(lists) as ArrayRef),
    ])
    .unwrap()
}

/// A column of each type that a stream has, with NULLs, and with metadata at field and schema.
#[allow(dead_code, reason = "each test crate uses its part")]
pub fn every_type(rows: usize) -> RecordBatch {
    let n = rows as i64;
    let some = |i: i64| (i % 7 != 3).then_some(i);
    let text = |i: i64| (i % 5 != 2).then(|| "x".repeat((i % 40) as usize) + &i.to_string());
    let times = |unit: TimeUnit, zone: Option<&str>| -> ArrayRef {
        let plain: Int64Array = (0..n).map(some).collect();
        let of = DataType::Timestamp(unit, zone.map(Into::into));
        arrow::compute::cast(&plain, &of).unwrap()
    };
    let ints: Int64Array = (0..n).map(some).collect();
    let cast = |to: DataType| arrow::compute::cast(&ints, &to).unwrap();
    let views = || Arc::new((0..n).map(text).collect::<StringViewArray>()) as ArrayRef;
    let bytes: BinaryViewArray = (0..n).map(|i| text(i).map(String::into_bytes)).collect();
    let nulls = NullBuffer::from((0..n).map(|i| i % 3 != 0).collect::<Vec<_>>());
    let parts: Fields =
        vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8View, true)]
            .into();
    let structs =
        StructArray::new(parts, vec![Arc::new(ints.clone()), views()], Some(nulls.clone()));
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let lengths = || OffsetBuffer::from_lengths((0..rows).map(|i| usize::from(i % 2 == 0)));
    let half = structs.slice(0, rows.div_ceil(2));
    let lists = ListArray::new(item, lengths(), Arc::new(half), Some(nulls.clone()));
    let keys: ArrayRef =
        Arc::new(StringViewArray::from_iter_values((0..rows.div_ceil(2)).map(|i| i.to_string())));
    let entries: Fields = vec![
        Field::new("key", DataType::Utf8View, false),
        Field::new("value", DataType::Utf8View, true),
    ]
    .into();
    let values = views().slice(0, rows.div_ceil(2));
    let entries = StructArray::new(entries, vec![keys, values], None);
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let maps = MapArray::new(entry, lengths(), entries, Some(nulls), false);
    let floats: Float64Array =
        (0..n).map(|i| Some([f64::NAN, -0.0, f64::INFINITY, 1.5][i as usize % 4])).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tiny", cast_of(&(0..n).map(|i| some(i % 100)).collect(), DataType::Int8)),
        ("small", cast(DataType::Int16)),
        ("int", cast(DataType::Int32)),
        ("big", Arc::new(ints.clone())),
        ("unsigned", cast(DataType::UInt64)),
        ("float", cast(DataType::Float32)),
        ("double", Arc::new(floats)),
        ("bool", Arc::new((0..n).map(|i| some(i).map(|i| i % 2 == 0)).collect::<BooleanArray>())),
        ("decimal", cast(DataType::Decimal128(38, 6))),
        (
            "date",
            cast(DataType::Int32)
                .as_primitive::<Int32Type>()
                .reinterpret_cast::<Date32Type>()
                .into_ref(),
        ),
        (
            "time",
            cast(DataType::Int32)
                .as_primitive::<Int32Type>()
                .reinterpret_cast::<Time32MillisecondType>()
                .into_ref(),
        ),
        ("s", times(TimeUnit::Second, None)),
        ("ms", times(TimeUnit::Millisecond, None)),
        ("us", times(TimeUnit::Microsecond, None)),
        ("ltz", times(TimeUnit::Millisecond, Some("UTC"))),
        ("text", views()),
        ("bytes", Arc::new(bytes)),
        ("nothing", new_null_array(&DataType::Null, rows)),
        ("row", Arc::new(structs)),
        ("array", Arc::new(lists)),
        ("map", Arc::new(maps)),
    ];
    let note = |text: &str| [("note".to_owned(), text.to_owned())].into();
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| {
            Field::new(*name, array.data_type().clone(), true).with_metadata(note(name))
        })
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, note("schema")));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn cast_of(array: &Int64Array, to: DataType) -> ArrayRef {
    arrow::compute::cast(array, &to).unwrap()
}

trait IntoRef {
    fn into_ref(self) -> ArrayRef;
}

impl<T: Array + 'static> IntoRef for T {
    fn into_ref(self) -> ArrayRef {
        Arc::new(self)
    }
}

/// A manifest with something in every field.
pub fn manifest(job: &str, id: u64, chunks: Vec<ChunkRef>) -> Manifest {
    Manifest {
        format: floodmark::snapshot::FORMAT,
        job: job.to_owned(),
        run: 4,
        begun_ms: 1_799_999_999_999,
        id,
        frontier: 1_700_000_000_000 + id as i64,
        complete: false,
        created_ms: 1_800_000_000_000,
        duration_ms: 12,
        sql: "SELECT \"ä\" FROM t;\n".to_owned(),
        settings: BTreeMap::from([("time_resolution".to_owned(), "100 ms".to_owned())]),
        plan: "00ff".to_owned(),
        workers: 2,
        states: vec![SavedState {
            operator: "GroupAggregate#3".to_owned(),
            node: 3,
            fingerprint: "a1".to_owned(),
            recovery: "tables".to_owned(),
            since: None,
            tables: vec![SavedTableRef {
                name: "groups".to_owned(),
                worker: 1,
                snapshot: id,
                whole: true,
                shard: Some(vec![0]),
                chunks,
            }],
        }],
        sources: vec![SavedSource {
            table: "t".to_owned(),
            fingerprint: String::new(),
            again: false,
            partitions: vec![SavedPartition {
                name: "a.csv".to_owned(),
                offset: 17,
                floor: i64::MIN,
                ended: false,
            }],
        }],
        sinks: vec![SavedSink {
            name: "out".to_owned(),
            committed: i64::MAX,
            fingerprint: String::new(),
            declared: String::new(),
            updates: false,
        }],
        outputs: None,
        counters: BTreeMap::from([("late".to_owned(), u64::MAX)]),
        new_bytes: 5,
        changed_bytes: 5,
        pause_us: 0,
    }
}

/// Commits the next snapshot of `job`, a chunk for each of `rows`.
#[allow(dead_code, reason = "each test crate uses its part")]
pub fn snapshot(store: &Store, job: &str, rows: &[RecordBatch]) -> Manifest {
    let chunks = rows.iter().map(|rows| store.write_chunk(job, rows).unwrap()).collect();
    let manifest = manifest(job, store.next_id(job).unwrap(), chunks);
    store.commit(&manifest).unwrap();
    manifest
}
