//! Each data type, from text to Arrow and back to a name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::parser::Parser;

use super::super::dialect::DIALECT;
use super::super::types::{list_of, map_of, parse_type, type_name};

fn parse(text: &str) -> Result<(DataType, bool), String> {
    let mut parser = Parser::new(&DIALECT).try_with_sql(text).map_err(|e| e.to_string())?;
    let declared = parse_type(&mut parser).map_err(|e| e.to_string())?;
    let rest = parser.peek_token().to_string();
    if rest != "EOF" { Err(rest) } else { Ok((declared.data_type, declared.nullable)) }
}

fn row(fields: Vec<(&str, DataType)>) -> DataType {
    let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
    DataType::Struct(Fields::from(fields.collect::<Vec<_>>()))
}

#[test]
fn types() {
    let utc = || Some(Arc::from("UTC"));
    let timestamp = |unit| DataType::Timestamp(unit, None);
    for (text, data_type) in [
        ("BOOLEAN", DataType::Boolean),
        ("tinyint", DataType::Int8),
        ("SMALLINT", DataType::Int16),
        ("INT", DataType::Int32),
        ("INTEGER", DataType::Int32),
        ("BIGINT", DataType::Int64),
        ("FLOAT", DataType::Float32),
        ("DOUBLE", DataType::Float64),
        ("DOUBLE PRECISION", DataType::Float64),
        ("DECIMAL", DataType::Decimal128(10, 0)),
        ("DECIMAL(5)", DataType::Decimal128(5, 0)),
        ("NUMERIC(12, 3)", DataType::Decimal128(12, 3)),
        ("STRING", DataType::Utf8View),
        ("VARCHAR(10)", DataType::Utf8View),
        ("CHAR(3)", DataType::Utf8View),
        ("BYTES", DataType::BinaryView),
        ("VARBINARY(8)", DataType::BinaryView),
        ("DATE", DataType::Date32),
        ("TIME", DataType::Time32(TimeUnit::Millisecond)),
        ("TIME(3) WITHOUT TIME ZONE", DataType::Time32(TimeUnit::Millisecond)),
        ("TIMESTAMP", timestamp(TimeUnit::Microsecond)),
        ("TIMESTAMP(0)", timestamp(TimeUnit::Second)),
        ("TIMESTAMP(3)", timestamp(TimeUnit::Millisecond)),
        ("TIMESTAMP(6) WITHOUT TIME ZONE", timestamp(TimeUnit::Microsecond)),
        ("TIMESTAMP_LTZ(3)", DataType::Timestamp(TimeUnit::Millisecond, utc())),
        ("TIMESTAMP(3) WITH LOCAL TIME ZONE", DataType::Timestamp(TimeUnit::Millisecond, utc())),
        ("INTERVAL DAY TO SECOND(3)", DataType::Interval(IntervalUnit::MonthDayNano)),
        ("ARRAY<INT>", list_of(DataType::Int32, true)),
        ("INT ARRAY", list_of(DataType::Int32, true)),
        ("ARRAY<ARRAY<INT>>", list_of(list_of(DataType::Int32, true), true)),
        ("ARRAY<INT NOT NULL>", list_of(DataType::Int32, false)),
        ("MAP<STRING, BIGINT>", map_of(DataType::Utf8View, DataType::Int64, true)),
        (
            "MAP<STRING, ARRAY<ROW<a INT>>>",
            map_of(DataType::Utf8View, list_of(row(vec![("a", DataType::Int32)]), true), true),
        ),
        (
            "ROW<a INT, `b c` STRING>",
            row(vec![("a", DataType::Int32), ("b c", DataType::Utf8View)]),
        ),
        ("ROW(a INT 'note', b DATE)", row(vec![("a", DataType::Int32), ("b", DataType::Date32)])),
        ("ROW<INT, DATE>", row(vec![("f0", DataType::Int32), ("f1", DataType::Date32)])),
        ("ROW<date DATE>", row(vec![("date", DataType::Date32)])),
    ] {
        assert_eq!(parse(text), Ok((data_type.clone(), true)), "{text}");
        assert_eq!(parse(&format!("{text} NOT NULL")), Ok((data_type.clone(), false)), "{text}");
        // The name of a type is a type again, and the same one.
        if !text.contains("NOT NULL") && !text.contains('`') {
            assert_eq!(parse(&type_name(&data_type)), Ok((data_type, true)), "{text}");
        }
    }
}

#[test]
fn wrong_types() {
    for text in [
        "STRNG",
        "DECIMAL(39, 2)",
        "DECIMAL(3, 4)",
        "TIMESTAMP(9)",
        "TIMESTAMP(3) WITH TIME ZONE",
        "ARRAY INT",
        "ARRAY<INT",
        "ARRAY<INT>>",
        "MAP<STRING>",
        "ROW<a>",
        "'x'",
        "",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}
