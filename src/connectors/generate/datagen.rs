//! Flink's `datagen` connector: random or sequential values for any declared columns.
//!
//! Other than Flink's, it is deterministic: a value is a pure function of the seed, the column's
//! name and the row number. Times therefore do not follow the wall clock but advance with the row
//! number at `rows-per-second`, from `fields.#.start` (2020-01-01 00:00:00 UTC if absent).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, BooleanArray, Date32Array, Decimal128Array, PrimitiveArray,
    RecordBatch, StringViewBuilder, Time32MillisecondArray, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;

use super::options::Options;
use super::source::{GeneratorSource, Pace};
use super::{EventGenerator, Layout, assemble, below, no_such_column, unit};
use crate::batch::hash::{hash_bytes, mix};
use crate::connectors::{Source, SourceSpec};
use crate::error::Result;
use crate::limits::GENERATED_STRING_BYTES_MAX;
use crate::sql::catalog::{ColumnDef, ColumnKind};

/// The options of the connector `datagen`; `#` stands for a column's name.
pub const OPTIONS: &[&str] = &[
    "rows-per-second",
    "number-of-rows",
    "seed",
    "partitions",
    "fields.#.kind",
    "fields.#.min",
    "fields.#.max",
    "fields.#.start",
    "fields.#.end",
    "fields.#.length",
    "fields.#.var-len",
    "fields.#.null-rate",
    "fields.#.max-past",
];

const ROWS_PER_SECOND_DEFAULT: f64 = 10_000.0;
const STRING_BYTES_DEFAULT: usize = 100;
/// 2020-01-01 00:00:00 UTC.
const BEGINNING_US: i64 = 1_577_836_800_000_000;
const DAY_MS: i64 = 86_400_000;

/// The source of a table `WITH ('connector' = 'datagen')`.
pub fn create(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    let options = Options::new("datagen", spec, OPTIONS)?;
    let rate = options.positive_number("rows-per-second")?.unwrap_or(ROWS_PER_SECOND_DEFAULT);
    let seed = options.integer("seed")?.unwrap_or(0);
    let mut columns = vec![];
    for column in &spec.table.columns {
        match column.kind {
            ColumnKind::Computed(_) => {}
            ColumnKind::Metadata { .. } => return Err(options.no_metadata(&column.name)),
            ColumnKind::Physical => columns.push(Column::new(&options, column, seed)?),
        }
    }
    let sequences = columns.iter().filter_map(|column| column.values.len());
    let rows = sequences.chain(options.integer("number-of-rows")?).min();
    let generator = Datagen { columns, rows, rows_per_second: rate };
    let layout = Layout::new(rows, options.partitions()?);
    let pace = Pace::new(Some(rate));
    Ok(Arc::new(GeneratorSource::new(Arc::new(generator), spec, layout, pace)?))
}

/// The rows of a `datagen` table.
#[derive(Debug)]
pub struct Datagen {
    columns: Vec<Column>,
    rows: Option<u64>,
    rows_per_second: f64,
}

#[derive(Debug)]
struct Column {
    field: Field,
    key: u64,
    /// Of 2^64 rows, so many have NULL.
    null_rate: f64,
    values: Values,
}

/// How a column's values come about.
#[derive(Clone, Debug, PartialEq)]
enum Values {
    Boolean,
    /// Integers and decimals (in units of their last digit) from `min` to `max`.
    Integer {
        min: i128,
        max: i128,
    },
    Float {
        min: f64,
        max: f64,
    },
    /// Texts and byte strings of `length` bytes, or of 1 to `length` of them.
    Text {
        length: usize,
        varies: bool,
    },
    /// Times that advance with the row number, moved back by up to `max_past_us`.
    Time {
        start_us: i64,
        max_past_us: u64,
    },
    /// `start`, `start + step`, ... up to `end`.
    Sequence {
        start: i128,
        end: i128,
        step: i128,
    },
}

impl Values {
    /// Number of rows for which there are values; `None` if unbounded.
    fn len(&self) -> Option<u64> {
        match self {
            Values::Sequence { start, end, step } => u64::try_from((end - start) / step + 1).ok(),
            _ => None,
        }
    }
}

impl Column {
    fn new(options: &Options<'_>, column: &ColumnDef, seed: u64) -> Result<Self> {
        let reader = FieldReader { options, name: &column.name, data_type: &column.data_type };
        let null_rate: f64 = reader.parse("null-rate")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) || (null_rate > 0.0 && !column.nullable) {
            return Err(reader.error("null-rate", "from 0 to 1, and 0 for a NOT NULL column"));
        }
        let values = match options.text(&reader.key("kind")).unwrap_or("random") {
            "sequence" => reader.sequence()?,
            "random" => reader.random()?,
            _ => return Err(reader.error("kind", "'random' or 'sequence'")),
        };
        let key = mix(mix(seed, 0x6461_7461_6765_6e31), hash_bytes(column.name.as_bytes()));
        Ok(Column { field: column.field(), key, null_rate, values })
    }

    fn draw(&self, row: u64) -> u64 {
        mix(mix(row, self.key), 0x9e37_79b9_7f4a_7c15)
    }

    fn is_null(&self, row: u64) -> bool {
        unit(mix(mix(row, self.key), 0xd1b5_4a32_d192_ed03)) < self.null_rate
    }

    fn integer(&self, row: u64) -> i128 {
        match self.values {
            Values::Integer { min, max } => {
                let span = (max - min) as u128 + 1;
                let word = u128::from(self.draw(row));
                // Spans beyond 64 bits (wide decimals, all of BIGINT) take two words.
                let offset = match u64::try_from(span) {
                    Ok(span) => u128::from(below(word as u64, span)),
                    Err(_) => ((word << 64) | u128::from(mix(word as u64, self.key))) % span,
                };
                min + offset as i128
            }
            Values::Sequence { start, step, .. } => start + i128::from(row) * step,
            _ => 0,
        }
    }

    fn float(&self, row: u64) -> f64 {
        match self.values {
            Values::Float { min, max } => {
                let share = unit(self.draw(row));
                min * (1.0 - share) + max * share
            }
            _ => self.integer(row) as f64,
        }
    }

    /// Microseconds since the epoch.
    fn time_us(&self, row: u64, rows_per_second: f64) -> i64 {
        match self.values {
            Values::Time { start_us, max_past_us } => {
                let since = (row as f64 * (1_000_000.0 / rows_per_second)) as i64;
                let back = below(self.draw(row), max_past_us.saturating_add(1));
                start_us.saturating_add(since).saturating_sub(back as i64)
            }
            _ => 0,
        }
    }

    fn text(&self, row: u64, out: &mut Vec<u8>) {
        use std::io::Write;
        out.clear();
        let Values::Text { length, varies } = self.values else {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{}", self.integer(row));
            return;
        };
        let mut word = self.draw(row);
        let length = if varies { 1 + below(word, length.max(1) as u64) as usize } else { length };
        while out.len() < length {
            word = mix(word, self.key);
            for nibble in 0..(length - out.len()).min(16) {
                out.push(b"0123456789abcdef"[(word >> (4 * nibble)) as usize & 15]);
            }
        }
    }

    fn array(&self, rows: &Range<u64>, rate: f64) -> Result<ArrayRef> {
        use DataType as D;
        let rows = rows.clone();
        let count = rows.end.saturating_sub(rows.start) as usize;
        let time =
            |unit_us: i64| rows.clone().map(move |row| self.time_us(row, rate).div_euclid(unit_us));
        let array: ArrayRef = match self.field.data_type() {
            D::Boolean => Arc::new(
                rows.clone().map(|row| Some(self.draw(row) >> 63 == 1)).collect::<BooleanArray>(),
            ),
            D::Int8 => self.integers::<Int8Type>(rows.clone(), |v| v as i8),
            D::Int16 => self.integers::<Int16Type>(rows.clone(), |v| v as i16),
            D::Int32 => self.integers::<Int32Type>(rows.clone(), |v| v as i32),
            D::Int64 => self.integers::<Int64Type>(rows.clone(), |v| v as i64),
            D::Decimal128(precision, scale) => {
                let values = rows.clone().map(|row| self.integer(row));
                let array = Decimal128Array::from_iter_values(values);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            D::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(
                rows.clone().map(|row| self.float(row) as f32),
            )),
            D::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(
                rows.clone().map(|row| self.float(row)),
            )),
            D::Utf8View => {
                let mut builder = StringViewBuilder::with_capacity(count);
                let mut text = vec![];
                for row in rows.clone() {
                    self.text(row, &mut text);
                    builder.append_value(std::str::from_utf8(&text).unwrap_or_default());
                }
                Arc::new(builder.finish())
            }
            D::BinaryView => {
                let mut builder = BinaryViewBuilder::with_capacity(count);
                let mut bytes = vec![];
                for row in rows.clone() {
                    self.text(row, &mut bytes);
                    builder.append_value(&bytes);
                }
                Arc::new(builder.finish())
            }
            D::Date32 => {
                Arc::new(Date32Array::from_iter_values(time(DAY_MS * 1000).map(|day| day as i32)))
            }
            D::Time32(TimeUnit::Millisecond) => Arc::new(Time32MillisecondArray::from_iter_values(
                time(1000).map(|ms| ms.rem_euclid(DAY_MS) as i32),
            )),
            D::Timestamp(unit, zone) => {
                let zone = zone.clone();
                match unit {
                    TimeUnit::Second => timestamps::<TimestampSecondType>(time(1_000_000), zone),
                    TimeUnit::Millisecond => {
                        timestamps::<TimestampMillisecondType>(time(1000), zone)
                    }
                    TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(time(1), zone),
                    TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(
                        time(1).map(|us| us.saturating_mul(1000)),
                        zone,
                    ),
                }
            }
            _ => return Err(no_such_column(self.field.name())),
        };
        self.with_nulls(array, rows)
    }

    fn integers<T: ArrowPrimitiveType>(
        &self,
        rows: Range<u64>,
        narrow: impl Fn(i128) -> T::Native,
    ) -> ArrayRef {
        let values = rows.map(|row| narrow(self.integer(row)));
        Arc::new(PrimitiveArray::<T>::from_iter_values(values))
    }

    fn with_nulls(&self, array: ArrayRef, rows: Range<u64>) -> Result<ArrayRef> {
        if self.null_rate == 0.0 {
            return Ok(array);
        }
        let nulls: NullBuffer = rows.map(|row| !self.is_null(row)).collect();
        Ok(make_array(array.to_data().into_builder().nulls(Some(nulls)).build()?))
    }
}

fn timestamps<T: ArrowTimestampType>(
    values: impl Iterator<Item = i64>,
    zone: Option<Arc<str>>,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(values).with_timezone_opt(zone))
}

impl EventGenerator for Datagen {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| c.field.clone()).collect::<Vec<_>>()))
    }

    fn len(&self) -> Option<u64> {
        self.rows
    }

    fn batch(&self, range: Range<u64>, wanted: &SchemaRef) -> Result<RecordBatch> {
        let rows = range.end.saturating_sub(range.start) as usize;
        assemble(rows, wanted, |name| {
            let column = self.columns.iter().find(|c| c.field.name() == name);
            column.ok_or_else(|| no_such_column(name))?.array(&range, self.rows_per_second)
        })
    }
}

/// Reads the `fields.<name>.*` options of one column.
struct FieldReader<'a> {
    options: &'a Options<'a>,
    name: &'a str,
    data_type: &'a DataType,
}

impl FieldReader<'_> {
    fn key(&self, attribute: &str) -> String {
        format!("fields.{}.{attribute}", self.name)
    }

    fn error(&self, attribute: &str, expected: &str) -> crate::error::Error {
        let key = self.key(attribute);
        let found = match self.options.text(&key) {
            Some(text) => format!("found '{text}'"),
            None => "but it is absent".to_string(),
        };
        self.options.error(format!("option '{key}' must be {expected}, {found}"))
    }

    fn unsupported(&self, what: &str) -> crate::error::Error {
        self.options.error(format!(
            "column '{}': connector 'datagen' has no {what} for type {}",
            self.name, self.data_type
        ))
    }

    fn parse<T: std::str::FromStr>(&self, attribute: &str) -> Result<Option<T>> {
        let Some(text) = self.options.text(&self.key(attribute)) else { return Ok(None) };
        let value = text.trim().parse();
        value.map(Some).map_err(|_| self.error(attribute, "a value of the column's type"))
    }

    /// The least and greatest value of an integer or decimal type, and its scale.
    fn limits(&self) -> Option<(i128, i128, u32)> {
        let limits = match self.data_type {
            DataType::Int8 => (i8::MIN.into(), i8::MAX.into(), 0),
            DataType::Int16 => (i16::MIN.into(), i16::MAX.into(), 0),
            DataType::Int32 => (i32::MIN.into(), i32::MAX.into(), 0),
            DataType::Int64 => (i64::MIN.into(), i64::MAX.into(), 0),
            DataType::Decimal128(precision, scale) => {
                let max = 10_i128.checked_pow(u32::from(*precision))? - 1;
                (-max, max, u32::try_from(*scale).ok()?)
            }
            _ => return None,
        };
        Some(limits)
    }

    /// A whole or decimal number in units of the last digit.
    fn scaled(
        &self,
        attribute: &str,
        (low, high, scale): (i128, i128, u32),
    ) -> Result<Option<i128>> {
        let Some(text) = self.options.text(&self.key(attribute)) else { return Ok(None) };
        let value = parse_scaled(text.trim(), scale).filter(|v| (low..=high).contains(v));
        value.map(Some).ok_or_else(|| self.error(attribute, "a value of the column's type"))
    }

    fn sequence(&self) -> Result<Values> {
        let limits = match self.data_type {
            DataType::Float32 | DataType::Float64 | DataType::Utf8View => {
                (i64::MIN.into(), i64::MAX.into(), 0)
            }
            _ => self.limits().ok_or_else(|| self.unsupported("sequence"))?,
        };
        let whole = "a whole number of the column's type";
        let start = self.scaled("start", limits)?.ok_or_else(|| self.error("start", whole))?;
        let end = self.scaled("end", limits)?.ok_or_else(|| self.error("end", whole))?;
        if end < start {
            return Err(self.error("end", "at least the start"));
        }
        Ok(Values::Sequence { start, end, step: 10_i128.pow(limits.2) })
    }

    fn random(&self) -> Result<Values> {
        use DataType as D;
        match self.data_type {
            D::Boolean => Ok(Values::Boolean),
            D::Float32 => self.floats(f64::from(f32::MAX)),
            D::Float64 => self.floats(f64::MAX),
            D::Utf8View | D::BinaryView => {
                let length = self.parse("length")?.unwrap_or(STRING_BYTES_DEFAULT);
                if length > GENERATED_STRING_BYTES_MAX {
                    let expected = format!("at most {GENERATED_STRING_BYTES_MAX}");
                    return Err(self.error("length", &expected));
                }
                Ok(Values::Text { length, varies: self.parse("var-len")?.unwrap_or(false) })
            }
            D::Date32 | D::Time32(TimeUnit::Millisecond) | D::Timestamp(..) => {
                let start = match self.options.text(&self.key("start")) {
                    None => Some(BEGINNING_US),
                    Some(text) => parse_time_us(text.trim()),
                };
                let past = match self.options.text(&self.key("max-past")) {
                    None => Some(0),
                    Some(text) => parse_duration_us(text.trim()),
                };
                Ok(Values::Time {
                    start_us: start.ok_or_else(|| {
                        self.error("start", "a time such as '2020-01-01 12:00:00'")
                    })?,
                    max_past_us: past
                        .ok_or_else(|| self.error("max-past", "a duration such as '10 s'"))?,
                })
            }
            _ => {
                let limits = self.limits().ok_or_else(|| {
                    self.unsupported("values").with_hint(
                        "it has BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL, \
                         STRING, BYTES, DATE, TIME, TIMESTAMP and TIMESTAMP_LTZ",
                    )
                })?;
                let min = self.scaled("min", limits)?.unwrap_or(limits.0);
                let max = self.scaled("max", limits)?.unwrap_or(limits.1);
                if max < min {
                    return Err(self.error("max", "at least the minimum"));
                }
                Ok(Values::Integer { min, max })
            }
        }
    }

    fn floats(&self, limit: f64) -> Result<Values> {
        let min: f64 = self.parse("min")?.unwrap_or(-limit);
        let max: f64 = self.parse("max")?.unwrap_or(limit);
        if !(min >= -limit && max <= limit && min <= max) {
            return Err(self.error("max", "at least the minimum, both of the column's type"));
        }
        Ok(Values::Float { min, max })
    }
}

/// A decimal number in units of `10^-scale`; `None` if it is none or has more digits.
fn parse_scaled(text: &str, scale: u32) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.trim_end_matches('0');
    let missing = scale.checked_sub(u32::try_from(digits.len()).ok()?)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{digits}").parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(missing)?)
}

/// A time stamp, or a date, in microseconds since the epoch.
fn parse_time_us(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text).replace('T', " ");
    let time = match chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f") {
        Ok(time) => time,
        Err(_) => {
            chrono::NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?
        }
    };
    Some(time.and_utc().timestamp_micros())
}

/// A duration as Flink writes it (`10 s`, `5min`); a bare number counts milliseconds.
fn parse_duration_us(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let unit_us = match name.trim().to_lowercase().as_str() {
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1,
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_us).filter(|us| i64::try_from(*us).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_decimals_and_durations() {
        assert_eq!(parse_scaled("1.5", 2), Some(150));
        assert_eq!(parse_scaled("-0.05", 2), Some(-5));
        assert_eq!(parse_scaled("7", 0), Some(7));
        assert_eq!(parse_scaled("1.005", 2), None);
        assert_eq!(parse_scaled("x", 2), None);
        assert_eq!(parse_duration_us("10 s"), Some(10_000_000));
        assert_eq!(parse_duration_us("250"), Some(250_000));
        assert_eq!(parse_duration_us("5 parsecs"), None);
        assert_eq!(parse_time_us("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(parse_time_us("1970-01-02"), Some(86_400_000_000));
    }
}
