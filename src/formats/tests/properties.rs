//! Laws that hold for any input: plans never change what is read, cuts never change rows, what is
//! written is read back, no bytes can make a decoder panic.

use super::*;
use serde_json::{Value, json};

fn every_type() -> SchemaRef {
    use DataType::*;
    schema(&[
        ("i64", Int64),
        ("text", Utf8View),
        ("time", millis()),
        ("i8", Int8),
        ("i16", Int16),
        ("i32", Int32),
        ("f32", Float32),
        ("f64", Float64),
        ("bool", Boolean),
        ("decimal", Decimal128(12, 4)),
        ("date", Date32),
        ("clock", Time32(TimeUnit::Millisecond)),
        ("seconds", Timestamp(TimeUnit::Second, None)),
        ("micros", Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("bytes", BinaryView),
        ("list", array(Utf8View)),
        ("map", map(Float64)),
        ("row", row(&[("p", Int64), ("q", array(Utf8View))])),
    ])
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,40}",
        "[ -~]{0,20}",
        proptest::collection::vec(any::<char>(), 0..12)
            .prop_map(|chars| chars.into_iter().collect()),
        proptest::collection::vec(
            proptest::sample::select(vec![",", "\"", "\n", "\r\n", ";", "\\", "#", "[", "{", "a"]),
            0..6
        )
        .prop_map(|parts| parts.concat()),
    ]
}

/// A value of each column's type, as JSON.
fn record() -> impl Strategy<Value = Value> {
    let instant = || {
        (-62_135_596_800_000_000_i64..253_402_300_800_000_000).prop_map(|micros| {
            let mut text = Vec::new();
            temporal::write_timestamp(&mut text, micros, TimeUnit::Microsecond, b' ');
            String::from_utf8(text).unwrap()
        })
    };
    let numbers = (
        any::<i64>(),
        any::<i8>(),
        any::<i16>(),
        any::<i32>(),
        any::<f32>().prop_filter("finite", |f| f.is_finite()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()),
        any::<bool>(),
        -99_999_999_i64..99_999_999,
    );
    let others = (
        texts(),
        instant(),
        proptest::collection::vec(texts(), 0..4),
        proptest::collection::btree_map(texts(), -1000_i32..1000, 0..3),
        any::<[u8; 5]>(),
        proptest::option::of(any::<i64>()),
    );
    (numbers, others, any::<u32>()).prop_map(|(numbers, others, absent)| {
        let (i64_, i8_, i16_, i32_, f32_, f64_, bool_, decimal) = numbers;
        let (text, instant, list, map, bytes, p) = others;
        let mut base64 = Vec::new();
        scalar::base64_encode(&bytes, &mut base64);
        let map: serde_json::Map<_, _> =
            map.into_iter().map(|(k, v)| (k, json!(f64::from(v) / 8.0))).collect();
        let mut value = json!({
            "i64": i64_, "text": text, "time": &instant[..23], "i8": i8_, "i16": i16_,
            "i32": i32_, "f32": f32_, "f64": f64_, "bool": bool_,
            "decimal": decimal as f64 / 16.0, "date": &instant[..10], "clock": &instant[11..23],
            "seconds": &instant[..19], "micros": format!("{instant}Z"),
            "bytes": String::from_utf8(base64).unwrap(), "list": list, "map": map,
            "row": {"p": p, "q": list},
        });
        for (index, field) in every_type().fields().iter().enumerate() {
            if absent >> index & 3 == 3 {
                value[field.name().as_str()] = Value::Null;
            }
        }
        value
    })
}

/// Writes a record: its members in the order of `order`, with or without spaces.
fn line(record: &Value, order: u64, spaced: bool) -> String {
    let mut members: Vec<_> = record.as_object().unwrap().iter().collect();
    if order.is_multiple_of(3) {
        let count = members.len();
        members.rotate_left(order as usize % count);
    }
    if order.is_multiple_of(7) {
        members.pop();
    }
    let (comma, colon) = if spaced { (", ", " : ") } else { (",", ":") };
    let members: Vec<_> = members.iter().map(|(k, v)| format!("{}{colon}{v}", json!(k))).collect();
    format!("{{{}}}", members.join(comma))
}

/// Rows as text, then each letter's offset and reason; its place is checked against the rows'.
fn compared(decoded: &DecodedRecords, offset: i64) -> (String, Vec<(i64, String)>) {
    assert_eq!(decoded.starts.len(), decoded.rows.num_rows());
    for (before, letter) in &decoded.dead_letters {
        let at = (letter.offset - offset) as u32;
        assert_eq!(*before, decoded.starts.iter().filter(|start| **start < at).count());
    }
    let letters = decoded.dead_letters.iter().map(|(_, l)| (l.offset, l.reason.clone()));
    (shown(&decoded.rows), letters.collect())
}

/// The rows of each line decoded on its own: no plan can be known then.
fn decode_line_by_line(spec: &FormatSpec, text: &[u8]) -> (String, Vec<(i64, String)>) {
    let (mut rows, mut letters, mut offset) = (String::new(), Vec::new(), 0);
    for line in text.split_inclusive(|b| *b == b'\n') {
        let decoder = text_decoder(spec.clone()).unwrap();
        let decoded = decoder.decode(line.to_vec().into(), "p", offset, offset == 0).unwrap();
        let (more, others) = compared(&decoded, offset);
        rows.push_str(&more);
        letters.extend(others);
        offset += line.len() as i64;
    }
    (rows, letters)
}

/// The lines of `records`, with other bytes in a few places.
fn damaged(records: &[(Value, u64, bool)], places: &[(proptest::sample::Index, u8)]) -> Vec<u8> {
    let lines = records.iter().map(|(record, order, spaced)| line(record, *order, *spaced));
    let mut text = lines.collect::<Vec<_>>().join("\n").into_bytes();
    for (place, byte) in places {
        if !text.is_empty() {
            let at = place.index(text.len());
            text[at] = *byte;
        }
    }
    text
}

fn damages() -> impl Strategy<Value = Vec<(proptest::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\{}[],:0-.e \n\r".to_vec()),];
    proptest::collection::vec((any::<proptest::sample::Index>(), byte), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn json_plans_and_cuts_change_nothing(
        records in proptest::collection::vec((record(), any::<u64>(), any::<bool>()), 1..12),
        places in damages(),
        step in 1_usize..4000,
        some in any::<bool>(),
    ) {
        let text = damaged(&records, &places);
        let stored = every_type();
        let wanted = if some { vec!["text", "i64", "time", "row"] } else { all(&stored) };
        let spec = spec("json", &[], &stored, &wanted);
        let (rows, letters) = decode_line_by_line(&spec, &text);
        let pieces = decode_in_pieces(spec.clone(), &text, step);
        prop_assert_eq!(&compared(&pieces, 0).0, &rows);
        prop_assert_eq!(&compared(&pieces, 0).1, &letters);
        // A second pass follows the plans of the first.
        let decoder = text_decoder(spec).unwrap();
        for _ in 0..2 {
            let decoded = decoder.decode(text.clone().into(), "p", 0, true).unwrap();
            prop_assert_eq!(&compared(&decoded, 0).0, &rows);
            prop_assert_eq!(&compared(&decoded, 0).1, &letters);
        }
    }

    #[test]
    fn json_says_what_serde_json_says(
        records in proptest::collection::vec((record(), any::<u64>(), any::<bool>()), 1..6),
        places in damages(),
    ) {
        let text = damaged(&records, &places);
        let stored = schema(&[("text", DataType::Utf8View), ("row", DataType::Utf8View)]);
        let decoder = text_decoder(spec("json", &[], &stored, &["row", "text"])).unwrap();
        for line in text.split(|b| *b == b'\n') {
            let decoded = decoder.decode(line.to_vec().into(), "p", 0, false).unwrap();
            // Numbers beyond a double are no error of syntax.
            let peer = match serde_json::from_slice::<Value>(line) {
                Err(e) if e.to_string().contains("number out of range") => continue,
                peer => peer.ok().filter(Value::is_object),
            };
            let blank = line.iter().all(|b| b" \t\r".contains(b));
            let letters = &decoded.dead_letters;
            prop_assert_eq!(decoded.rows.num_rows(), usize::from(peer.is_some()), "{:?}", letters);
            prop_assert_eq!(letters.len(), usize::from(peer.is_none() && !blank));
            if let Some(peer) = peer {
                let ours: Value = serde_json::from_str(&shown(&decoded.rows)).unwrap();
                match &peer["text"] {
                    Value::Null => prop_assert_eq!(&ours["text"], &Value::Null),
                    text @ Value::String(_) => prop_assert_eq!(&ours["text"], text),
                    _ => {}
                }
                if let (Value::Object(theirs), Some(text)) = (&peer["row"], ours["row"].as_str()) {
                    let ours: Value = serde_json::from_str(text).unwrap();
                    prop_assert_eq!(&ours, &Value::Object(theirs.clone()));
                }
            }
        }
    }

    #[test]
    fn what_json_and_csv_write_they_read_back(
        records in proptest::collection::vec(record(), 1..8),
        delimiter in proptest::sample::select(vec![",", ";", "|", "1"]),
    ) {
        let lines: String = records.iter().map(|r| line(r, 1, false) + "\n").collect();
        let stored = every_type();
        let decoder = text_decoder(spec("json", &[], &stored, &all(&stored))).unwrap();
        let decoded = decoder.decode(lines.into_bytes().into(), "p", 0, true).unwrap();
        prop_assert_eq!(&decoded.dead_letters, &vec![]);
        let rows = decoded.rows;
        prop_assert_eq!(rows.num_rows(), records.len());
        let cases: [(&str, Vec<(&str, &str)>); 4] = [
            ("json", vec![]),
            ("csv", vec![("csv.field-delimiter", delimiter)]),
            ("csv", vec![("csv.escape-character", "\\"), ("csv.header", "true")]),
            ("csv", vec![
                ("csv.null-literal", "a"),
                ("csv.quote-character", "'"),
                ("csv.allow-comments", "true"),
            ]),
        ];
        for (format, given) in cases {
            let mut out = Vec::new();
            let mut encoder = text_encoder(format, &options(&given), Arc::clone(&stored)).unwrap();
            encoder.begin(&mut out).unwrap();
            encoder.encode(&rows, &mut out).unwrap();
            let decoder = text_decoder(spec(format, &given, &stored, &all(&stored))).unwrap();
            let back = decoder.decode(out.clone().into(), "p", 0, true).unwrap();
            prop_assert_eq!(&back.dead_letters, &vec![], "{}", String::from_utf8_lossy(&out));
            prop_assert_eq!(shown(&back.rows), shown(&rows));
            let pieces = decode_in_pieces(spec(format, &given, &stored, &all(&stored)), &out, 50);
            prop_assert_eq!(shown(&pieces.rows), shown(&rows));
        }
        prop_assert_eq!(&shown(&through_parquet(&rows)), &shown(&rows));
    }

    #[test]
    fn csv_cuts_change_nothing(
        text in proptest::collection::vec(
            proptest::sample::select(b"\"\"\",,;\n\n\r#\\ab1".to_vec()), 0..200),
        step in 1_usize..50,
        given in proptest::sample::select(vec![
            vec![],
            vec![("csv.escape-character", "\\")],
            vec![("csv.allow-comments", "true")],
            vec![("csv.disable-quote-character", "true")],
        ]),
    ) {
        let stored = schema(&[("a", DataType::Utf8View), ("b", DataType::Int64)]);
        let spec = spec("csv", &given, &stored, &["b", "a"]);
        // A quote that is never closed is given up at its line's end: where that is, is known only
        // once the whole file has been seen. All else must not depend on cuts.
        let decoder = text_decoder(spec.clone()).unwrap();
        let whole = decoder.decode(text.clone().into(), "p", 0, true).unwrap();
        let unclosed = |l: &DeadLetter| l.reason.contains("not closed");
        if !whole.dead_letters.iter().map(|(_, l)| l).any(unclosed) {
            let pieces = decode_in_pieces(spec, &text, step);
            prop_assert_eq!(compared(&pieces, 0), compared(&whole, 0));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        likely in proptest::collection::vec(
            proptest::sample::select(b"{}[]\",:\\\n0123456789-+.eEtrufalsn \xC3\xA9ab".to_vec()),
            0..400,
        ),
        first in any::<bool>(),
    ) {
        let stored = every_type();
        for format in ["json", "csv"] {
            let decoder = text_decoder(spec(format, &[], &stored, &all(&stored))).unwrap();
            for text in [&bytes, &likely] {
                decoder.cutter().cut(text);
                let decoded = decoder.decode(text.clone().into(), "p", 0, first).unwrap();
                shown(&decoded.rows);
            }
        }
    }
}

fn through_parquet(rows: &RecordBatch) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ParquetFileWriter::new(file, rows.schema(), &options(&[])).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    let stored = rows.schema();
    let spec = spec("parquet", &[], &stored, &all(&stored));
    let mut reader = ParquetReader::open(&path, &spec).unwrap();
    let batches: Vec<_> = std::iter::from_fn(|| reader.next()).map(|b| b.unwrap().0).collect();
    concat_batches(&stored, &batches).unwrap()
}
