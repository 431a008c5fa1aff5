//! Generated rows as JSON lines or CSV, written column type by column type into one buffer.
//!
//! Only for the fixed schemas of this folder, whose texts need no escaping; the encodings of user
//! data are in [`crate::formats`]. Called by [`super::files`].

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::*;

use crate::error::{Error, Result};

/// How a row becomes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// One object a line.
    Json,
    /// Values separated by commas, without a header, as Flink writes and reads CSV.
    Csv,
}

/// Writes rows of one schema.
pub(super) struct TextEncoder {
    encoding: Encoding,
    /// What stands before each column's value.
    before: Vec<Vec<u8>>,
    after: &'static [u8],
}

/// A column's values, its type settled.
enum Cells<'a> {
    Int64(&'a [i64]),
    Int16(&'a [i16]),
    Float32(&'a [f32]),
    Boolean(&'a BooleanArray),
    Text(&'a StringViewArray),
    Time(&'a [i64], TimeText),
}

impl TextEncoder {
    /// An encoder of rows of `schema`; an error if a column's type is none of the generators'.
    pub fn new(encoding: Encoding, schema: &SchemaRef) -> Result<Self> {
        for field in schema.fields() {
            let supported = matches!(
                field.data_type(),
                DataType::Int64
                    | DataType::Int16
                    | DataType::Float32
                    | DataType::Boolean
                    | DataType::Utf8View
                    | DataType::Timestamp(TimeUnit::Millisecond, None)
            );
            if !supported || field.is_nullable() {
                let message = format!("no text for generated column '{}'", field.name());
                return Err(Error::internal(message));
            }
        }
        let before = schema.fields().iter().enumerate().map(|(i, field)| match encoding {
            Encoding::Json => {
                format!("{}\"{}\":", if i == 0 { "{" } else { "," }, field.name()).into_bytes()
            }
            Encoding::Csv => if i == 0 { "" } else { "," }.as_bytes().to_vec(),
        });
        let after: &[u8] = if encoding == Encoding::Json { b"}\n" } else { b"\n" };
        Ok(TextEncoder { encoding, before: before.collect(), after })
    }

    /// Appends the rows of `batch` to `out`.
    pub fn encode(&self, batch: &RecordBatch, out: &mut Vec<u8>) {
        let quote: &[u8] = if self.encoding == Encoding::Json { b"\"" } else { b"" };
        let mut cells: Vec<Cells<'_>> = batch.columns().iter().filter_map(cells).collect();
        let mut integer = itoa::Buffer::new();
        let mut float = ryu::Buffer::new();
        for row in 0..batch.num_rows() {
            for (before, cells) in self.before.iter().zip(&mut cells) {
                out.extend_from_slice(before);
                match cells {
                    Cells::Int64(values) => {
                        out.extend_from_slice(integer.format(values[row]).as_bytes());
                    }
                    Cells::Int16(values) => {
                        out.extend_from_slice(integer.format(values[row]).as_bytes());
                    }
                    // Within 0.001 and 10^7 this is what Java prints.
                    Cells::Float32(values) => {
                        out.extend_from_slice(float.format(values[row]).as_bytes());
                    }
                    Cells::Boolean(values) => {
                        out.extend_from_slice(if values.value(row) { b"true" } else { b"false" });
                    }
                    Cells::Text(values) => {
                        out.extend_from_slice(quote);
                        out.extend_from_slice(values.value(row).as_bytes());
                        out.extend_from_slice(quote);
                    }
                    Cells::Time(values, text) => {
                        out.extend_from_slice(quote);
                        out.extend_from_slice(text.of(values[row]));
                        out.extend_from_slice(quote);
                    }
                }
            }
            out.extend_from_slice(self.after);
        }
    }
}

fn cells(array: &arrow::array::ArrayRef) -> Option<Cells<'_>> {
    Some(match array.data_type() {
        DataType::Int64 => Cells::Int64(array.as_primitive::<Int64Type>().values()),
        DataType::Int16 => Cells::Int16(array.as_primitive::<Int16Type>().values()),
        DataType::Float32 => Cells::Float32(array.as_primitive::<Float32Type>().values()),
        DataType::Boolean => Cells::Boolean(array.as_boolean()),
        DataType::Utf8View => Cells::Text(array.as_string_view()),
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            let values = array.as_primitive::<TimestampMillisecondType>().values();
            Cells::Time(values, TimeText::new())
        }
        _ => return None,
    })
}

/// Writes times as `2020-01-01 12:00:00.000`, the date and time of a second only once.
struct TimeText {
    second: i64,
    text: [u8; 23],
}

impl TimeText {
    fn new() -> Self {
        TimeText { second: i64::MIN, text: *b"1970-01-01 00:00:00.000" }
    }

    fn of(&mut self, time_ms: i64) -> &[u8] {
        let second = time_ms.div_euclid(1000);
        if second != self.second {
            self.second = second;
            let (year, month, day) = civil_from_days(second.div_euclid(86_400));
            let of_day = second.rem_euclid(86_400);
            self.put(0, 4, year);
            self.put(5, 2, month);
            self.put(8, 2, day);
            self.put(11, 2, of_day / 3600);
            self.put(14, 2, of_day / 60 % 60);
            self.put(17, 2, of_day % 60);
        }
        self.put(20, 3, time_ms.rem_euclid(1000));
        &self.text
    }

    fn put(&mut self, at: usize, digits: usize, mut value: i64) {
        for digit in self.text[at..at + digits].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

/// The proleptic Gregorian date of a day since 1970-01-01 (Howard Hinnant's algorithm).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_read_as_the_calendar_says(
            times in prop::collection::vec(0_i64..253_402_300_800_000, 1..20),
        ) {
            let mut text = TimeText::new();
            for time in times {
                let expected = chrono::DateTime::from_timestamp_millis(time).unwrap();
                let expected = expected.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
                prop_assert_eq!(text.of(time), expected.as_bytes());
            }
        }
    }
}
