//! CSV, case by case.

use super::*;

fn abc() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("b", DataType::Utf8View), ("c", millis())])
}

fn check(given: &[(&str, &str)], text: &str, rows: &str, reasons: &[&str]) {
    let stored = abc();
    let (found, letters) = decode(spec("csv", given, &stored, &["a", "b"]), text.as_bytes());
    let found: Vec<_> = found.lines().map(|l| l.trim_start_matches("{\"a\":")).collect();
    let found: Vec<_> = found.iter().map(|l| l.replace(",\"b\":", " ")).collect();
    let found: String = found.iter().map(|l| l.trim_end_matches('}').to_owned() + ";").collect();
    assert_eq!(found, rows, "{text:?}");
    assert_eq!(letters, reasons, "{text:?}");
}

#[test]
fn fields() {
    let none: &[&str] = &[];
    check(&[], "1,x,\n2,y,\n", "1 \"x\";2 \"y\";", none);
    check(&[], "1,x,\r\n2,y,\r\n", "1 \"x\";2 \"y\";", none);
    check(&[], "1,x,", "1 \"x\";", none);
    check(&[], "\n1,x,\n\n\r\n", "1 \"x\";", none);
    check(&[], ",,\n,\"\",\n", "null null;null \"\";", none);
    check(&[], "\"1\",\"x,\"\"y\"\"\nz\",\n2,,\n", "1 \"x,\\\"y\\\"\\nz\";2 null;", none);
    check(&[], "1,5\" pipe,\n2,\"\"\"\",\n", "1 \"5\\\" pipe\";2 \"\\\"\";", none);
    check(&[("csv.field-delimiter", ";")], "1;x,y;\n", "1 \"x,y\";", none);
    check(&[("csv.field-delimiter", "\\t")], "1\tx\t\n", "1 \"x\";", none);
    check(&[("csv.quote-character", "'")], "1,'x,\"',\n", "1 \"x,\\\"\";", none);
    check(&[("csv.disable-quote-character", "true")], "1,\"x\",\n", "1 \"\\\"x\\\"\";", none);
    check(
        &[("csv.escape-character", "\\")],
        "1,\"x\\\"y\",\n2,a\\,b,\n",
        "1 \"x\\\"y\";2 \"a,b\";",
        none,
    );
    check(&[("csv.null-literal", "n/a")], "n/a,n/a,\n1,\"n/a\",\n", "null null;1 \"n/a\";", none);
    check(&[("csv.allow-comments", "true")], "# \"x\n1,x,\n#", "1 \"x\";", none);
}

#[test]
fn headers() {
    let none: &[&str] = &[];
    check(&[], "a,b,c\n1,x,\n", "1 \"x\";", none);
    check(&[], "\u{feff}\"a\", b ,c\r\n1,x,\n", "1 \"x\";", none);
    check(&[("csv.header", "true")], "p,q,r\n1,x,\n", "1 \"x\";", none);
    check(&[("csv.header", "false")], "a,b,c\n", "", &["0: a: 'a' is not a BIGINT"]);
    check(&[], "p,q,r\n1,x,\n", "1 \"x\";", &["0: a: 'p' is not a BIGINT"]);
}

#[test]
fn broken_records_leave_their_neighbours() {
    check(
        &[],
        "1,x,\n2,y\n3,z,\n",
        "1 \"x\";3 \"z\";",
        &["5: 2 fields, but the table has 3 columns"],
    );
    check(&[], "1,x,,\n3,z,\n", "3 \"z\";", &["0: 4 fields, but the table has 3 columns"]);
    check(&[], "1,x\n", "", &["0: 2 fields, but the table has 3 columns"]);
    check(&[], "1,\"x\"y,\n3,z,\n", "3 \"z\";", &["0: text after the closing quote of field 2"]);
    check(&[], "1,\"x,\n3,z,\n", "3 \"z\";", &["0: the quote of field 2 is not closed"]);
    check(&[], "q,\"x\ny\",\n3,z,\n", "3 \"z\";", &["0: a: 'q' is not a BIGINT"]);
    let ignoring = [("csv.ignore-parse-errors", "true")];
    let reason = "0: a: 'q' is not a BIGINT; read as NULL";
    check(&ignoring, "q,x,\n3,z,\n", "null \"x\";3 \"z\";", &[reason]);
    let stored = abc();
    let (rows, letters) = decode(spec("csv", &[], &stored, &["a"]), b"1,\xFF,\n2,y,\n");
    assert_eq!((rows.as_str(), letters.len()), ("{\"a\":2}\n", 1));
}

#[test]
fn values_by_type() {
    use DataType::*;
    for (data_type, field, expected) in [
        (millis(), "2020-01-01 12:00:00.5", "\"2020-01-01 12:00:00.500\""),
        (millis(), "2020-01-01T12:00:00", "\"2020-01-01 12:00:00.000\""),
        (Float64, "1.5", "1.5"),
        (Boolean, "TRUE", "true"),
        (Decimal128(5, 2), "1.239", "1.24"),
        (Date32, "2020-01-31", "\"2020-01-31\""),
        (BinaryView, "AAEC", "\"AAEC\""),
        (array(Int64), "1;2;;3", "[1,2,null,3]"),
        (array(Utf8View), "\"[\"\"a\"\", null, \"\"b\\n\"\"]\"", "[\"a\",null,\"b\\n\"]"),
        (
            array(Utf8View),
            "a string that is not inline;b",
            "[\"a string that is not inline\",\"b\"]",
        ),
        (row(&[("p", Int64), ("q", Utf8View)]), "1;x", "{\"p\":1,\"q\":\"x\"}"),
        (map(Int64), "\"{\"\"k\"\": 1}\"", "{\"k\":1}"),
    ] {
        let stored = schema(&[("x", data_type)]);
        let (rows, letters) = decode(spec("csv", &[], &stored, &["x"]), field.as_bytes());
        assert_eq!(letters, Vec::<String>::new(), "{field}");
        assert_eq!(rows, format!("{{\"x\":{expected}}}\n"), "{field}");
    }
    for (data_type, field) in
        [(Int64, "1.5"), (Int8, "300"), (map(Int64), "k"), (array(Int64), "[1,}")]
    {
        let stored = schema(&[("x", data_type)]);
        let (rows, letters) = decode(spec("csv", &[], &stored, &["x"]), field.as_bytes());
        assert_eq!((rows.as_str(), letters.len()), ("", 1), "{field}");
    }
}

#[test]
fn cuts_lie_between_records() {
    let decoder = |given: &[(&str, &str)]| {
        let stored = abc();
        text_decoder(spec("csv", given, &stored, &["a"])).unwrap()
    };
    let cut = |given: &[(&str, &str)], text: &str| decoder(given).cutter().cut(text.as_bytes());
    assert_eq!(cut(&[], "1,x,\n2"), Some(5));
    assert_eq!(cut(&[], "1,\"x\n"), None);
    assert_eq!(cut(&[], "1,x,\n2,\"y\n"), Some(5));
    assert_eq!(cut(&[], "1,\"x\ny\",\n2,"), Some(9));
    assert_eq!(cut(&[], "1,\"x\"\"\ny\",\n2,"), Some(11));
    assert_eq!(cut(&[], "1,5\" pipe,\n2,y,\n3"), Some(16));
    assert_eq!(cut(&[("csv.allow-comments", "true")], "# \"\n1,x,\n2"), Some(9));
    assert_eq!(cut(&[("csv.escape-character", "\\")], "1,\"\\\"\n\",\n2"), Some(9));
    assert_eq!(cut(&[("csv.escape-character", "\\")], "1,x\\\ny,\n2"), Some(8));
    assert_eq!(cut(&[("csv.escape-character", "\\")], "1,x\\\n"), None);
}

#[test]
fn results_have_one_form() {
    use DataType::*;
    let given = schema(&[
        ("id", Int64),
        ("na,me", Utf8View),
        ("t0", Timestamp(TimeUnit::Second, None)),
        ("t3", millis()),
        ("t6", Timestamp(TimeUnit::Microsecond, None)),
        ("tz", Timestamp(TimeUnit::Millisecond, Some("UTC".into()))),
        ("d", Float64),
        ("m", Decimal128(8, 3)),
        ("l", array(Int64)),
        ("b", BinaryView),
    ]);
    let text = "{\"id\":1,\"na,me\":\"say \\\"hi\\\"\",\"t0\":\"2020-01-01 12:00:00\",\
                \"t3\":\"2020-01-01 12:00:00\",\"t6\":\"2020-01-01 12:00:00.000001\",\
                \"tz\":\"2020-01-01 12:00:00Z\",\"d\":76,\
                \"m\":-0.05,\"l\":[1,2],\"b\":\"AAE=\"}\n{\"na,me\":\"\"}";
    let decoder = text_decoder(spec("json", &[], &given, &all(&given))).unwrap();
    let rows = decoder.decode(text.as_bytes().to_vec().into(), "p", 0, true).unwrap().rows;
    let mut out = csv::header(&given).into_bytes();
    csv::write_rows(&rows, &mut out).unwrap();
    let expected = "id,\"na,me\",t0,t3,t6,tz,d,m,l,b\n\
        1,\"say \"\"hi\"\"\",2020-01-01 12:00:00,2020-01-01 12:00:00.000,\
        2020-01-01 12:00:00.000001,2020-01-01 12:00:00.000,76.0,-0.050,\"[1,2]\",AAE=\n\
        ,\"\",,,,,,,,\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
