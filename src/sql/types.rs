//! Flink's data types: from text to Arrow, and back to a name for messages.
//!
//! Owns the mapping; called by the statement parser for columns, by the dialect for `CAST`, and by
//! messages. Never looks at values.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::diagnostics::{hint_for, parser_error};

/// Types may nest this deep.
const NESTING_MAX: usize = 64;

const NAMES: [&str; 30] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "STRING",
    "VARCHAR",
    "CHAR",
    "CHARACTER",
    "TEXT",
    "BYTES",
    "VARBINARY",
    "BINARY",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "INTERVAL",
    "ARRAY",
    "MAP",
    "ROW",
    "BOOL",
    "NULL",
];

/// A column's type as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredType {
    /// The Arrow type.
    pub data_type: DataType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// The length of `CHAR(n)` or `VARCHAR(n)`; `CHAR` pads.
    pub length: Option<(bool, u64)>,
}

type Parsed<T> = Result<T, ParserError>;

/// Parses a data type with its `NOT NULL`.
pub fn parse_type(parser: &mut Parser) -> Parsed<DeclaredType> {
    let mut types = TypeParser { parser, closed: 0 };
    let declared = types.any(0)?;
    if types.closed > 0 {
        return types.parser.expected("a data type", types.parser.peek_token());
    }
    Ok(declared)
}

struct TypeParser<'p, 'd> {
    parser: &'p mut Parser<'d>,
    /// Closing angle brackets already read as the second half of `>>`.
    closed: usize,
}

fn unquoted(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

fn is_type_name(token: &Token) -> bool {
    unquoted(token).is_some_and(|word| NAMES.iter().any(|n| word.value.eq_ignore_ascii_case(n)))
}

impl TypeParser<'_, '_> {
    fn any(&mut self, depth: usize) -> Parsed<DeclaredType> {
        let token = self.parser.next_token();
        if depth > NESTING_MAX {
            return Err(parser_error("the type is nested too deeply", None, token.span.start));
        }
        let Some(word) = unquoted(&token.token) else {
            return self.parser.expected("a data type", token);
        };
        let name = word.value.to_uppercase();
        let mut length = None;
        let data_type = match name.as_str() {
            "CHAR" | "CHARACTER" | "VARCHAR" => {
                let varying = self.word("VARYING") || name == "VARCHAR";
                length = self.numbers(1)?.first().map(|n| (!varying, *n));
                DataType::Utf8View
            }
            "ARRAY" | "MAP" | "ROW" => self.nested(&name, depth)?,
            _ => match self.scalar(&name)? {
                Some(data_type) => data_type,
                None => {
                    let hint = hint_for(&word.value, "known types", &NAMES);
                    let message = format!("unknown data type '{}'", word.value);
                    return Err(parser_error(&message, hint.as_deref(), token.span.start));
                }
            },
        };
        self.suffixes(DeclaredType { data_type, nullable: true, length })
    }

    fn suffixes(&mut self, mut declared: DeclaredType) -> Parsed<DeclaredType> {
        loop {
            if self.closed > 0 {
                return Ok(declared);
            }
            if self.words(&["NOT", "NULL"]) {
                declared.nullable = false;
            } else if self.word("NULL") {
                declared.nullable = true;
            } else if self.word("ARRAY") {
                let data_type = list_of(declared.data_type, declared.nullable);
                declared = DeclaredType { data_type, nullable: true, length: None };
            } else {
                return Ok(declared);
            }
        }
    }

    fn scalar(&mut self, name: &str) -> Parsed<Option<DataType>> {
        let at = self.parser.get_current_token().span.start;
        Ok(Some(match name {
            "BOOLEAN" | "BOOL" => DataType::Boolean,
            "TINYINT" => DataType::Int8,
            "SMALLINT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => {
                let _ = self.word("PRECISION");
                DataType::Float64
            }
            "DECIMAL" | "DEC" | "NUMERIC" => {
                let numbers = self.numbers(2)?;
                let precision = numbers.first().copied().unwrap_or(10);
                let scale = numbers.get(1).copied().unwrap_or(0);
                if precision == 0 || precision > 38 || scale > precision {
                    let message = format!("DECIMAL({precision}, {scale}) does not exist");
                    let hint = "the precision is 1 to 38, the scale 0 to the precision";
                    return Err(parser_error(&message, Some(hint), at));
                }
                DataType::Decimal128(precision as u8, scale as i8)
            }
            "STRING" | "TEXT" => DataType::Utf8View,
            "BYTES" => DataType::BinaryView,
            "VARBINARY" | "BINARY" => {
                self.numbers(1)?;
                DataType::BinaryView
            }
            "DATE" => DataType::Date32,
            "TIME" => {
                self.numbers(1)?;
                let _ = self.words(&["WITHOUT", "TIME", "ZONE"]);
                DataType::Time32(TimeUnit::Millisecond)
            }
            "TIMESTAMP" | "TIMESTAMP_LTZ" => return self.timestamp(name).map(Some),
            "INTERVAL" => {
                let mut months = false;
                for unit in ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"] {
                    if self.word(unit) {
                        months = matches!(unit, "YEAR" | "MONTH");
                        self.numbers(1)?;
                        break;
                    }
                }
                if self.word("TO") {
                    self.parser.next_token();
                    self.numbers(1)?;
                }
                DataType::Interval(match months {
                    true => IntervalUnit::YearMonth,
                    false => IntervalUnit::MonthDayNano,
                })
            }
            "NULL" => DataType::Null,
            _ => return Ok(None),
        }))
    }

    fn timestamp(&mut self, name: &str) -> Parsed<DataType> {
        let at = self.parser.get_current_token().span.start;
        let precision = self.numbers(1)?.first().copied().unwrap_or(6);
        let unit = match precision {
            0 => TimeUnit::Second,
            1..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => {
                let message = format!("{name}({precision}) is not supported");
                return Err(parser_error(&message, Some("the precision is 0 to 6"), at));
            }
        };
        let local = self.words(&["WITH", "LOCAL", "TIME", "ZONE"]);
        if !local && self.words(&["WITH", "TIME", "ZONE"]) {
            let message = "TIMESTAMP WITH TIME ZONE is not supported";
            return Err(parser_error(message, Some("use TIMESTAMP_LTZ"), at));
        }
        let _ = self.words(&["WITHOUT", "TIME", "ZONE"]);
        let zone = (local || name == "TIMESTAMP_LTZ").then(|| Arc::from("UTC"));
        Ok(DataType::Timestamp(unit, zone))
    }

    fn nested(&mut self, name: &str, depth: usize) -> Parsed<DataType> {
        let angled = self.parser.consume_token(&Token::Lt);
        if !angled && name != "ROW" {
            return self.parser.expected("'<'", self.parser.peek_token());
        }
        let data_type = match name {
            "ARRAY" => {
                let item = self.any(depth + 1)?;
                list_of(item.data_type, item.nullable)
            }
            "MAP" => {
                let key = self.any(depth + 1)?;
                self.parser.expect_token(&Token::Comma)?;
                let value = self.any(depth + 1)?;
                map_of(key.data_type, value.data_type, value.nullable)
            }
            _ => {
                if !angled {
                    self.parser.expect_token(&Token::LParen)?;
                }
                self.row_fields(depth)?
            }
        };
        if angled {
            self.close_angle()?;
        } else {
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(data_type)
    }

    fn row_fields(&mut self, depth: usize) -> Parsed<DataType> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let [first, second] = self.parser.peek_tokens_ref();
            let named = !is_type_name(&first.token) || is_type_name(&second.token);
            let name = if named {
                self.parser.parse_identifier()?.value
            } else {
                format!("f{}", fields.len())
            };
            let declared = self.any(depth + 1)?;
            fields.push(Field::new(name, declared.data_type, declared.nullable));
            if self.closed == 0
                && matches!(self.parser.peek_token_ref().token, Token::SingleQuotedString(_))
            {
                self.parser.next_token();
            }
            if self.closed > 0 || !self.parser.consume_token(&Token::Comma) {
                return Ok(DataType::Struct(Fields::from(fields)));
            }
        }
    }

    fn close_angle(&mut self) -> Parsed<()> {
        if self.closed > 0 {
            self.closed -= 1;
            return Ok(());
        }
        let token = self.parser.next_token();
        match token.token {
            Token::Gt => Ok(()),
            Token::ShiftRight => {
                self.closed += 1;
                Ok(())
            }
            _ => self.parser.expected("'>'", token),
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    fn words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(index, expected)| {
            unquoted(&self.parser.peek_nth_token_ref(index).token)
                .is_some_and(|word| word.value.eq_ignore_ascii_case(expected))
        });
        if all {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        all
    }

    /// `(n)` or `(n, m)` if present.
    fn numbers(&mut self, count_max: usize) -> Parsed<Vec<u64>> {
        let mut numbers = Vec::new();
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(numbers);
        }
        while numbers.len() < count_max {
            numbers.push(self.parser.parse_literal_uint()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(numbers)
    }
}

/// `ARRAY<item>`.
pub fn list_of(item: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, nullable)))
}

/// `MAP<key, value>`.
pub fn map_of(key: DataType, value: DataType, value_nullable: bool) -> DataType {
    let entry = Fields::from(vec![
        Field::new("key", key, false),
        Field::new("value", value, value_nullable),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// A type's name as a user would write it.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 | DataType::UInt8 => "SMALLINT".into(),
        DataType::Int32 | DataType::UInt16 => "INT".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "BIGINT".into(),
        DataType::Float16 | DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BYTES".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(unit, zone) => {
            let precision = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let name = if zone.is_some() { "TIMESTAMP_LTZ" } else { "TIMESTAMP" };
            format!("{name}({precision})")
        }
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", type_name(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
                .collect();
            format!("ROW<{}>", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => {
                let parts: Vec<String> =
                    entry.iter().map(|field| type_name(field.data_type())).collect();
                format!("MAP<{}>", parts.join(", "))
            }
            _ => "MAP".into(),
        },
        DataType::Dictionary(_, value) => type_name(value),
        other => other.to_string(),
    }
}
