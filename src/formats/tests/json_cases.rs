//! JSON, case by case.

use super::*;

/// What one record gives in a table with a column `x`, and the first dead letter.
fn one(data_type: DataType, given: &[(&str, &str)], value: &str) -> (String, Option<String>) {
    let stored = schema(&[("x", data_type)]);
    let text = format!("{{\"x\":{value}}}\n");
    let (rows, letters) = decode(spec("json", given, &stored, &["x"]), text.as_bytes());
    let rows = rows.trim_end();
    let value = rows.strip_prefix("{\"x\":").and_then(|r| r.strip_suffix('}')).unwrap_or(rows);
    (value.to_owned(), letters.into_iter().next())
}

#[test]
fn values_by_type() {
    use DataType::*;
    let decimal = Decimal128(6, 2);
    let zoned = Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let cases: &[(DataType, &str, &str)] = &[
        (Int64, "12", "12"),
        (Int64, "-0", "0"),
        (Int64, "12.0", "12"),
        (Int64, "1e3", "1000"),
        (Int64, "\" 7 \"", "7"),
        (Int64, "null", "null"),
        (Int64, "-9223372036854775808", "-9223372036854775808"),
        (Int8, "-128", "-128"),
        (Int16, "32767", "32767"),
        (Int32, "\"5\"", "5"),
        (Float64, "76", "76.0"),
        (Float64, "-0.0", "-0.0"),
        (Float64, "0.1", "0.1"),
        (Float64, "1e-7", "1e-7"),
        (Float64, "\"NaN\"", "\"NaN\""),
        (Float32, "-73.85884", "-73.85884"),
        (Float32, "40.903137", "40.903137"),
        (decimal.clone(), "1.005", "1.01"),
        (decimal.clone(), "\"-3\"", "-3.00"),
        (decimal, "-0.05", "-0.05"),
        (Boolean, "true", "true"),
        (Boolean, "\"FALSE\"", "false"),
        (Utf8View, "\"a\\u00e9\\ud83d\\ude00\\n\"", "\"aé😀\\n\""),
        (Utf8View, "12.50", "\"12.50\""),
        (Utf8View, "true", "\"true\""),
        (Utf8View, "{\"a\": [1, \"b c\"]}", "\"{\\\"a\\\":[1,\\\"b c\\\"]}\""),
        (BinaryView, "\"AAEC\"", "\"AAEC\""),
        (Date32, "\"2020-02-29\"", "\"2020-02-29\""),
        (Time32(TimeUnit::Millisecond), "\"12:30:00.5\"", "\"12:30:00.500\""),
        (millis(), "\"2020-01-01 12:00:00\"", "\"2020-01-01 12:00:00.000\""),
        (millis(), "\"2020-01-01\\u002012:00:00\"", "\"2020-01-01 12:00:00.000\""),
        (zoned, "\"2020-01-01 12:00:00.25Z\"", "\"2020-01-01 12:00:00.250Z\""),
        (array(Int64), "[1, null, 3]", "[1,null,3]"),
        (array(array(Utf8View)), "[[\"a\"],[],null]", "[[\"a\"],[],null]"),
        (map(Int64), "{\"b\":1,\"a\":null,\"b\":2}", "{\"a\":null,\"b\":2}"),
        (
            row(&[("a", Int64), ("b", Utf8View)]),
            "{\"b\":\"y\",\"z\":{}}",
            "{\"a\":null,\"b\":\"y\"}",
        ),
    ];
    for (data_type, given, expected) in cases {
        let (value, letter) = one(data_type.clone(), &[], given);
        assert_eq!((value.as_str(), letter), (*expected, None), "{data_type} {given}");
    }
}

#[test]
fn values_that_do_not_fit_are_dead_letters() {
    use DataType::*;
    let cases: &[(DataType, &str, &str)] = &[
        (Int64, "12.5", "x: 12.5 is out of range for BIGINT"),
        (Int64, "9223372036854775808", "x: 9223372036854775808 is out of range for BIGINT"),
        (Int32, "3000000000", "x: 3000000000 is out of range for INT"),
        (Int8, "128", "x: 128 is out of range for TINYINT"),
        (Int64, "\"abc\"", "x: 'abc' is not a BIGINT"),
        (Int64, "true", "x: 'true' is not a BIGINT"),
        (Int64, "{}", "x: an object is not a BIGINT"),
        (Float64, "1e999", "x: '1e999' is not a DOUBLE"),
        (Decimal128(4, 2), "100", "x: 100 is out of range for DECIMAL(4, 2)"),
        (Boolean, "1", "x: '1' is not a BOOLEAN"),
        (Date32, "\"2021-02-29\"", "x: '2021-02-29' is not a DATE"),
        (millis(), "1600000000000", "x: '1600000000000' is not a TIMESTAMP(3)"),
        (
            millis(),
            "\"2020-01-01T12:00:00\"",
            "x: '2020-01-01T12:00:00' is not a TIMESTAMP(3) of the standard that \
             'json.timestamp-format.standard' names",
        ),
        (BinaryView, "\"A\"", "x: 'A' is not a BYTES"),
        (array(Int64), "{}", "x: an object is not a ARRAY<BIGINT>"),
        (row(&[("a", Int64)]), "{\"a\":\"q\"}", "x: a: 'q' is not a BIGINT"),
        (Int64, "007", "broken JSON: a number with a leading zero at byte 5 of the record"),
        (Int64, "1 2", "broken JSON: expected ',' or '}' at byte 7 of the record"),
        (
            Utf8View,
            "\"\\ud800\"",
            "broken JSON: half a surrogate pair in a string at byte 8 of the record",
        ),
        (
            Utf8View,
            "\"\t\"",
            "broken JSON: a control character in a string at byte 6 of the record",
        ),
        (Utf8View, "\"", "broken JSON: the string does not end at byte 7 of the record"),
    ];
    for (data_type, given, expected) in cases {
        let (rows, letter) = one(data_type.clone(), &[], given);
        assert_eq!((rows.as_str(), letter), ("", Some(format!("0: {expected}"))), "{given}");
        let ignoring = [("json.ignore-parse-errors", "true")];
        let (rows, letter) = one(data_type.clone(), &ignoring, given);
        let broken = expected.starts_with("broken");
        assert_eq!(rows, if broken { "" } else { "null" }, "{given}");
        assert!(letter.unwrap().ends_with("; read as NULL") != broken, "{given}");
    }
}

#[test]
fn the_timestamp_standard_is_an_option() {
    let iso = [("json.timestamp-format.standard", "ISO-8601")];
    let (value, letter) = one(millis(), &iso, "\"2020-01-01T12:00:00.5\"");
    assert_eq!((value.as_str(), letter), ("\"2020-01-01 12:00:00.500\"", None));
    assert!(one(millis(), &iso, "\"2020-01-01 12:00:00.5\"").1.is_some());
}

#[test]
fn broken_records_leave_their_neighbours() {
    let stored =
        schema(&[("!a", DataType::Int64), ("b", DataType::Utf8View), ("c", map(DataType::Int64))]);
    let mut text =
        b"\xEF\xBB\xBF{\"a\":1,\"b\":\"long enough to be a view\",\"c\":{\"k\":1}}\r\n".to_vec();
    let lines: [&[u8]; 12] = [
        b"",
        b"{\"a\":2,\"b\":\"y\",\"c\":{\"k\":1,\"l\":}}",
        b"  ",
        b"{\"a\":3,\"b\":\"long enough to be \xFF view\",\"c\":{}}",
        b"{\"a\":null,\"b\":\"z\"}",
        b"{\"b\":\"z\"}",
        b"[1]",
        b"{\"a\":4}{\"a\":5}",
        b"{\"a\":6,\"b\":\"\\\"\", \"unknown\": [{\"x\": [1, 2.5e3, \"]\"]}, null]}",
        b"{\"c\":{\"m\":2},\"b\":\"r\",\"a\":7}",
        b"{\"a\":8,\"b\":\"long enough to be a view\",\"c\":{\"k\":1}",
        b"{\"a\":9,\"b\":\"no line feed at the end\",\"c\":{\"k\":1}}",
    ];
    text.extend(lines.join(b"\n".as_slice()));
    let (rows, letters) = decode(spec("json", &[], &stored, &["b", "a"]), &text);
    let expected = "\
{\"b\":\"long enough to be a view\",\"a\":1}
{\"b\":\"\\\"\",\"a\":6}
{\"b\":\"r\",\"a\":7}
{\"b\":\"no line feed at the end\",\"a\":9}
";
    assert_eq!(rows, expected);
    let reasons: Vec<_> = letters.iter().map(|l| l.split_once(": ").unwrap().1).collect();
    assert_eq!(
        reasons,
        [
            "broken JSON: expected a value at byte 30 of the record",
            "invalid UTF-8",
            "a: NULL in a NOT NULL column",
            "field 'a' is missing and NOT NULL",
            "broken JSON: expected an object at byte 0 of the record",
            "broken JSON: more text after the object at byte 7 of the record",
            "broken JSON: expected ',' or '}' at byte 49 of the record",
        ]
    );
    let offset: usize = letters[0].split_once(':').unwrap().0.parse().unwrap();
    assert!(text[offset..].starts_with(b"{\"a\":2"));
}

#[test]
fn missing_fields_can_be_refused() {
    let stored = schema(&[("a", DataType::Int64)]);
    let strict = [("json.fail-on-missing-field", "true")];
    let text = b"{\"a\":1}\n{}\n{\"b\":1}\n";
    let (rows, letters) = decode(spec("json", &strict, &stored, &["a"]), text);
    assert_eq!((rows.as_str(), letters.len()), ("{\"a\":1}\n", 2));
    let (rows, letters) = decode(spec("json", &[], &stored, &["a"]), text);
    assert_eq!((rows.as_str(), letters.len()), ("{\"a\":1}\n{\"a\":null}\n{\"a\":null}\n", 0));
}

#[test]
fn rows_without_columns_are_counted() {
    let stored = schema(&[("a", DataType::Int64)]);
    let decoder = text_decoder(spec("json", &[], &stored, &[])).unwrap();
    let text = b"{\"a\":1}\n{\"a\":x}\n{\"a\":2}\n".to_vec();
    let decoded = decoder.decode(text.into(), "p", 100, false).unwrap();
    assert_eq!(decoded.rows.num_rows(), 2);
    assert_eq!(decoded.starts, [0, 16]);
    let (before, letter) = &decoded.dead_letters[0];
    assert_eq!(*before, 1);
    assert_eq!((letter.offset, letter.record.as_str()), (108, "{\"a\":x}"));
    assert_eq!((letter.source.as_str(), letter.partition.as_str()), ("t", "p"));
}

#[test]
fn a_dead_letter_keeps_a_bounded_part_of_its_record() {
    let stored = schema(&[("a", DataType::Int64)]);
    let decoder = text_decoder(spec("json", &[], &stored, &["a"])).unwrap();
    let mut text = b"{\"a\":\"".to_vec();
    text.extend("é".repeat(limits::DEAD_LETTER_RECORD_BYTES_MAX).bytes());
    text.extend(b"\xFF\xFF\"}");
    let decoded = decoder.decode(text.into(), "p", 0, true).unwrap();
    let kept = decoded.dead_letters[0].1.record.len();
    assert!((1000..=limits::DEAD_LETTER_RECORD_BYTES_MAX).contains(&kept), "{kept}");
}

#[test]
fn depth_is_bounded() {
    let (open, close) = ("[".repeat(200), "]".repeat(200));
    let stored = schema(&[("a", DataType::Utf8View), ("b", DataType::Int64)]);
    let text = format!("{{\"a\":{open}{close}}}\n{{\"z\":{open}{close}}}\n{{\"b\":1}}\n");
    let (rows, letters) = decode(spec("json", &[], &stored, &["b"]), text.as_bytes());
    assert_eq!((rows.as_str(), letters.len()), ("{\"b\":1}\n", 2));
}

#[test]
fn encoding_follows_its_options() {
    let given = schema(&[("a", DataType::Int64), ("t", millis())]);
    let decoder = text_decoder(spec("json", &[], &given, &all(&given))).unwrap();
    let text = b"{\"t\":\"2020-01-01 00:00:00\"}".to_vec();
    let rows = decoder.decode(text.into(), "p", 0, true).unwrap().rows;
    let set = options(&[
        ("json.timestamp-format.standard", "ISO-8601"),
        ("json.encode.ignore-null-fields", "true"),
    ]);
    let mut out = Vec::new();
    text_encoder("json", &set, given).unwrap().encode(&rows, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"t\":\"2020-01-01T00:00:00.000\"}\n");
    let values = json::rows_to_values(&rows).unwrap();
    assert_eq!(values[0]["a"], serde_json::Value::Null);
}
