//! Tests of the formats together: what is refused, what cutting may not change, round trips.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;

mod changelog_cases;
mod csv_cases;
mod json_cases;
mod parquet_cases;
mod properties;

/// A nullable column; a type written with `!` before the name is NOT NULL.
fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| {
        let nullable = !name.starts_with('!');
        Field::new(name.trim_start_matches('!'), data_type.clone(), nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn options(given: &[(&str, &str)]) -> IndexMap<String, String> {
    given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn spec(format: &str, given: &[(&str, &str)], stored: &SchemaRef, wanted: &[&str]) -> FormatSpec {
    let fields: Vec<_> =
        wanted.iter().map(|name| stored.field_with_name(name).unwrap().clone()).collect();
    FormatSpec {
        format: format.into(),
        options: options(given),
        stored: Arc::clone(stored),
        wanted: Arc::new(Schema::new(fields)),
        metadata: IndexMap::new(),
        keyed: false,
        table: "t".into(),
    }
}

fn all(schema: &SchemaRef) -> Vec<&str> {
    schema.fields().iter().map(|f| f.name().as_str()).collect()
}

fn millis() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

fn row(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect())
}

fn array(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn map(value: DataType) -> DataType {
    let entries: Fields =
        vec![Field::new("key", DataType::Utf8View, false), Field::new("value", value, true)].into();
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Rows as JSON lines: the readable form in which tests compare them.
fn shown(rows: &RecordBatch) -> String {
    let mut out = Vec::new();
    json::write_rows(rows, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Decodes `text` in one piece; rows as JSON lines, dead letters as `offset: reason`.
fn decode(spec: FormatSpec, text: &[u8]) -> (String, Vec<String>) {
    let decoded = text_decoder(spec).unwrap().decode(text.to_vec().into(), "p", 0, true).unwrap();
    let letters = decoded.dead_letters.iter().map(|(_, l)| format!("{}: {}", l.offset, l.reason));
    (shown(&decoded.rows), letters.collect())
}

/// Decodes `text` cut into chunks of about `step` bytes, as a reader does.
fn decode_in_pieces(spec: FormatSpec, text: &[u8], step: usize) -> DecodedRecords {
    let schema = Arc::clone(&spec.wanted);
    let decoder = text_decoder(spec).unwrap();
    let mut cutter = decoder.cutter();
    let (mut batches, mut starts, mut dead_letters) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = 0;
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        to = (to + step).min(text.len());
        let end = match cutter.cut(&text[from..to]) {
            Some(end) => from + end,
            None if to == text.len() => to,
            None => continue,
        };
        let chunk = text[from..end].to_vec();
        let decoded = decoder.decode(chunk.into(), "p", from as i64, from == 0).unwrap();
        assert_eq!(decoded.starts.len(), decoded.rows.num_rows());
        starts.extend(decoded.starts.iter().map(|at| from as u32 + at));
        dead_letters.extend(decoded.dead_letters.into_iter().map(|(n, l)| (before + n, l)));
        before += decoded.rows.num_rows();
        batches.push(decoded.rows);
        from = end;
        if to == text.len() && from < to {
            to = from;
        }
    }
    let rows = concat_batches(&schema, &batches).unwrap();
    DecodedRecords { rows, starts, dead_letters, kinds: None }
}

#[test]
fn options_are_checked_by_name_and_value() {
    let check = |format, given: &[_]| validate_options(format, &options(given));
    let error = check("json", &[("json.ignore-parse-error", "true")]).unwrap_err();
    assert!(error.hint.unwrap().contains("'json.ignore-parse-errors'"));
    assert!(check("avro", &[]).is_err());
    for (format, key, value) in [
        ("json", "json.ignore-parse-errors", "yes"),
        ("json", "json.timestamp-format.standard", "RFC"),
        ("csv", "csv.field-delimiter", "ab"),
        ("csv", "csv.field-delimiter", "\""),
        ("csv", "csv.header", "maybe"),
        ("parquet", "parquet.compression", "rar"),
    ] {
        let error = check(format, &[(key, value)]).unwrap_err();
        assert!(error.message.contains(key) || error.message.contains("must differ"), "{error}");
    }
    assert!(check("csv", &[("csv.field-delimiter", "\\t")]).is_ok());
    assert!(check("json", &[("json.timestamp-format.standard", "iso-8601")]).is_ok());
    assert!(known_options("csv").is_some() && known_options("xml").is_none());
}

#[test]
fn compressed_files_are_read_by_extension() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let text = "a\n".repeat(100_000);
    let zst = folder.path().join("x.json.zst");
    std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let gz = folder.path().join("x.json.gz");
    let mut members = Vec::new();
    for half in [&text[..50_000], &text[50_000..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(half.as_bytes()).unwrap();
        members.extend(encoder.finish().unwrap());
    }
    std::fs::write(&gz, members).unwrap();
    for path in [zst, gz] {
        let compression = Compression::from_path(&path);
        assert_ne!(compression, Compression::None);
        let mut back = String::new();
        open_reader(&path, compression).unwrap().read_to_string(&mut back).unwrap();
        assert!(back == text, "{}", path.display());
    }
    let error = open_reader(&folder.path().join("absent"), Compression::None).err().unwrap();
    assert!(error.message.contains("absent"));
}

#[test]
fn a_table_lines_up() {
    let given = schema(&[("id", DataType::Int64), ("name", DataType::Utf8View)]);
    let decoder = text_decoder(spec("json", &[], &given, &all(&given))).unwrap();
    let text = b"{\"id\":1,\"name\":\"x\\ty\"}\n{\"id\":100}\n".to_vec();
    let rows = decoder.decode(text.into(), "p", 0, true).unwrap().rows;
    let table = table::format(&given, &[rows]).unwrap();
    let expected = "\
+-----+------+
| id  | name |
+-----+------+
|   1 | x\\ty |
| 100 | NULL |
+-----+------+
";
    assert_eq!(table, expected);
    assert_eq!(table::format(&given, &[]).unwrap().lines().count(), 3);
}
