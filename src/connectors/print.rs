//! The sink `print`: each change as a line such as `+I[1, abc, null]`.
//!
//! Lines and values look as in Flink's print connector. A row that is taken back and one with the
//! same key that is put in its place at the same time are `-U` and `+U`; without a known key they
//! are `-D` and `+I`. Never formats rows for queries: that is done in [`crate::formats`].

use std::fmt::Write as _;
use std::io::{self, Write};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::row::{RowConverter, SortField};
use arrow::temporal_conversions as temporal;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{NaiveDateTime, NaiveTime, Timelike};
use hashbrown::HashMap;

use crate::batch::UpdateBatch;
use crate::batch::changes::ChangeKind;
use crate::connectors::SinkWriter;
use crate::connectors::options::Options;
use crate::error::{Error, Result};
use crate::sql::catalog::TableDef;
use crate::time::{CLOSED, EventTime};

/// The options besides `connector`.
pub const OPTIONS: &[&str] = &["print-identifier", "standard-error"];

/// Bytes of lines that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// A sink that prints lines to `W`.
pub struct PrintSink<W> {
    output: W,
    prefix: String,
    key: Vec<usize>,
    lines: String,
    /// The last changes if there is a key: more at the same time may follow.
    pending: Vec<UpdateBatch>,
}

/// The sink of `table`, whose rows are unique by the columns `key` (empty if not known).
pub fn create(table: &TableDef, key: &[usize]) -> Result<Box<dyn SinkWriter>> {
    let options = Options::of(table);
    let identifier = options.get("print-identifier").unwrap_or_default();
    Ok(if options.boolean("standard-error", false)? {
        Box::new(PrintSink::new(io::stderr(), identifier, key))
    } else {
        Box::new(PrintSink::new(io::stdout(), identifier, key))
    })
}

/// Checks the values of the options of `table`.
pub fn validate(table: &TableDef) -> Result<()> {
    Options::of(table).boolean("standard-error", false).map(drop)
}

impl<W: Write + Send> PrintSink<W> {
    /// A sink to `output`; `identifier` stands before each line unless it is empty.
    pub fn new(output: W, identifier: &str, key: &[usize]) -> Self {
        let prefix = if identifier.is_empty() { String::new() } else { format!("{identifier}> ") };
        let key = key.to_vec();
        PrintSink { output, prefix, key, lines: String::new(), pending: Vec::new() }
    }

    /// Prints the pending changes with times below `frontier`.
    fn print_below(&mut self, frontier: EventTime) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let Some(schema) = pending.first().map(UpdateBatch::schema) else { return Ok(()) };
        let batch = UpdateBatch::concat(&schema, &pending)?;
        let count = batch.times().partition_point(|&time| time < frontier);
        if count < batch.len() {
            self.pending.push(batch.slice(count, batch.len() - count));
        }
        let batch = batch.slice(0, count);
        for (change, row) in keyed_changes(&batch, &self.key)? {
            self.print(change, &batch, row)?;
        }
        Ok(())
    }

    fn print(&mut self, change: ChangeKind, batch: &UpdateBatch, row: usize) -> Result<()> {
        self.lines.push_str(&self.prefix);
        self.lines.push_str(change.sign());
        self.lines.push('[');
        for (index, column) in batch.rows().columns().iter().enumerate() {
            if index > 0 {
                self.lines.push_str(", ");
            }
            push_value(&mut self.lines, column, row)?;
        }
        self.lines.push_str("]\n");
        if self.lines.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.output.write_all(self.lines.as_bytes());
        self.lines.clear();
        written.and_then(|()| self.output.flush()).map_err(|e| Error::io("cannot print", &e))
    }
}

impl<W: Write + Send> SinkWriter for PrintSink<W> {
    fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
        if !self.key.is_empty() {
            let Some(&last) = batch.times().last() else { return Ok(()) };
            let is_later = self.pending.last().and_then(|p| p.times().last()) != Some(&last);
            self.pending.push(batch.clone());
            return if is_later { self.print_below(last) } else { Ok(()) };
        }
        for row in 0..batch.len() {
            let diff = batch.diff(row);
            let change = if diff < 0 { ChangeKind::Delete } else { ChangeKind::Insert };
            for _ in 0..diff.unsigned_abs() {
                self.print(change, batch, row)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, frontier: EventTime) -> Result<()> {
        self.print_below(frontier)?;
        self.flush()
    }

    // Lines cannot be taken back: those after the last snapshot come again after a crash.
    fn checkpoint(&mut self, frontier: EventTime) -> Result<()> {
        self.commit(frontier)
    }

    fn finish(&mut self, _complete: bool) -> Result<()> {
        self.print_below(CLOSED)?;
        self.flush()
    }
}

/// The changes of `batch`, whose times are whole, with updates told from deletes and inserts.
fn keyed_changes(batch: &UpdateBatch, key: &[usize]) -> Result<Vec<(ChangeKind, usize)>> {
    let mut changes = Vec::with_capacity(batch.len());
    let schema = batch.schema();
    let fields = key.iter().map(|&c| SortField::new(schema.field(c).data_type().clone()));
    let columns: Vec<_> = key.iter().map(|&c| batch.column(c).clone()).collect();
    let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    let mut from = 0;
    while let Some(&time) = batch.times().get(from) {
        let to = batch.times().partition_point(|&t| t <= time);
        if (from..to).all(|row| batch.diff(row) == 1) {
            changes.extend((from..to).map(|row| (ChangeKind::Insert, row)));
            from = to;
            continue;
        }
        // For each key the rows taken back and put in, and how many changes there are.
        let mut pairs: HashMap<&[u8], (usize, usize, u64)> = HashMap::new();
        for row in from..to {
            let pair = pairs.entry(keys.row(row).data()).or_insert((row, row, 0));
            if batch.diff(row) < 0 {
                pair.0 = row
            } else {
                pair.1 = row
            }
            pair.2 += batch.diff(row).unsigned_abs();
        }
        for row in from..to {
            let diff = batch.diff(row);
            let is_update = |&&(before, after, count): &&(usize, usize, u64)| {
                count == 2 && batch.diff(before) < 0 && batch.diff(after) > 0
            };
            let pair = pairs.get(keys.row(row).data());
            if let Some(&(before, after, _)) = pair.filter(is_update) {
                // Both are printed where the first of them is.
                if row == before.min(after) {
                    changes.push((ChangeKind::UpdateBefore, before));
                    changes.push((ChangeKind::UpdateAfter, after));
                }
                continue;
            }
            let change = if diff < 0 { ChangeKind::Delete } else { ChangeKind::Insert };
            changes.extend((0..diff.unsigned_abs()).map(|_| (change, row)));
        }
        from = to;
    }
    Ok(changes)
}

/// Appends a value as Java prints it.
fn push_value(out: &mut String, array: &dyn Array, row: usize) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    macro_rules! number {
        ($type:ty) => {{
            let _ = write!(out, "{}", array.as_primitive::<$type>().value(row));
        }};
    }
    match array.data_type() {
        DataType::Boolean => {
            out.push_str(if array.as_boolean().value(row) { "true" } else { "false" });
        }
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            push_float(out, f64::from(value), &format!("{value:?}"), &format!("{value:e}"));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            push_float(out, value, &format!("{value:?}"), &format!("{value:e}"));
        }
        DataType::Decimal128(precision, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            out.push_str(&Decimal128Type::format_decimal(value, *precision, *scale));
        }
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::BinaryView => {
            // Java's bytes are signed.
            let bytes = array.as_binary_view().value(row).iter().map(|b| b.cast_signed());
            push_list(out, bytes, |out, byte| {
                let _ = write!(out, "{byte}");
                Ok(())
            })?;
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            push_list(out, 0..values.len(), |out, i| push_value(out, &values, i))?;
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            out.push('{');
            for i in 0..entries.len() {
                if i > 0 {
                    out.push_str(", ");
                }
                push_value(out, entries.column(0), i)?;
                out.push('=');
                push_value(out, entries.column(1), i)?;
            }
            out.push('}');
        }
        DataType::Struct(_) => {
            out.push_str("+I");
            push_list(out, array.as_struct().columns(), |out, c| push_value(out, c, row))?;
        }
        _ => push_temporal(out, array, row)?,
    }
    Ok(())
}

fn push_list<T>(
    out: &mut String,
    values: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T) -> Result<()>,
) -> Result<()> {
    out.push('[');
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push(out, value)?;
    }
    out.push(']');
    Ok(())
}

/// Java's notation: plain from a thousandth up to ten million, else `1.5E10`.
fn push_float(out: &mut String, value: f64, plain: &str, scientific: &str) {
    let size = value.abs();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if size == 0.0 || (1e-3..1e7).contains(&size) {
        out.push_str(plain);
    } else {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        let _ = write!(out, "{digits}{point}E{exponent}");
    }
}

/// Dates and times in ISO 8601 as `java.time` prints them; other types as Arrow does.
fn push_temporal(out: &mut String, array: &dyn Array, row: usize) -> Result<()> {
    let (moment, is_instant) = match array.data_type() {
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value(row);
            if let Some(date) = temporal::date32_to_datetime(day) {
                let _ = write!(out, "{}", date.date());
                return Ok(());
            }
            (None, false)
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let value = array.as_primitive::<Time32MillisecondType>().value(row);
            if let Some(time) = temporal::time32ms_to_time(value) {
                push_time(out, time, false);
                return Ok(());
            }
            (None, false)
        }
        DataType::Timestamp(unit, zone) => {
            let moment = match unit {
                TimeUnit::Second => temporal::timestamp_s_to_datetime(
                    array.as_primitive::<TimestampSecondType>().value(row),
                ),
                TimeUnit::Millisecond => temporal::timestamp_ms_to_datetime(
                    array.as_primitive::<TimestampMillisecondType>().value(row),
                ),
                TimeUnit::Microsecond => temporal::timestamp_us_to_datetime(
                    array.as_primitive::<TimestampMicrosecondType>().value(row),
                ),
                TimeUnit::Nanosecond => temporal::timestamp_ns_to_datetime(
                    array.as_primitive::<TimestampNanosecondType>().value(row),
                ),
            };
            (moment, zone.is_some())
        }
        _ => (None, false),
    };
    match moment {
        Some(moment) => push_moment(out, moment, is_instant),
        None => {
            let options = FormatOptions::default();
            out.push_str(&ArrayFormatter::try_new(array, &options)?.value(row).try_to_string()?);
        }
    }
    Ok(())
}

fn push_moment(out: &mut String, moment: NaiveDateTime, is_instant: bool) {
    let _ = write!(out, "{}T", moment.date());
    push_time(out, moment.time(), is_instant);
    if is_instant {
        out.push('Z');
    }
}

/// Seconds are left out when zero, unless `with_seconds`; fractions have 3, 6 or 9 digits.
fn push_time(out: &mut String, time: NaiveTime, with_seconds: bool) {
    let _ = write!(out, "{:02}:{:02}", time.hour(), time.minute());
    let (second, nano) = (time.second(), time.nanosecond());
    if second == 0 && nano == 0 && !with_seconds {
        return;
    }
    let _ = write!(out, ":{second:02}");
    let _ = match nano {
        0 => Ok(()),
        _ if nano % 1_000_000 == 0 => write!(out, ".{:03}", nano / 1_000_000),
        _ if nano % 1_000 == 0 => write!(out, ".{:06}", nano / 1_000),
        _ => write!(out, ".{nano:09}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
        Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batch(updates: &[(i64, &str, i64, i64)]) -> UpdateBatch {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(updates.iter().map(|u| u.0)));
        let names: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(updates.iter().map(|u| u.1)));
        let rows = RecordBatch::try_from_iter([("k", keys), ("v", names)]).unwrap();
        let times: Vec<i64> = updates.iter().map(|u| u.2).collect();
        let diffs: Vec<i64> = updates.iter().map(|u| u.3).collect();
        UpdateBatch::new(rows, times.into(), Some(diffs.into()))
    }

    /// What is printed when `batch` comes in pieces that end at `cuts`.
    fn printed(batch: &UpdateBatch, key: &[usize], cuts: &[usize]) -> String {
        let mut out = Vec::new();
        let mut sink = PrintSink::new(&mut out, "", key);
        let mut from = 0;
        for &to in cuts.iter().chain([&batch.len()]) {
            sink.write(&batch.slice(from, to - from)).unwrap();
            from = to;
            sink.commit(batch.times().get(to).copied().unwrap_or(CLOSED)).unwrap();
        }
        sink.finish(true).unwrap();
        drop(sink);
        String::from_utf8(out).unwrap()
    }

    const UPDATES: &[(i64, &str, i64, i64)] =
        &[(1, "a", 1, 1), (1, "a", 2, -1), (1, "b", 2, 1), (2, "x", 2, 1), (2, "x", 3, -1)];

    #[test]
    fn changes_of_a_known_key_are_updates() {
        let text = "+I[1, a]\n-U[1, a]\n+U[1, b]\n+I[2, x]\n-D[2, x]\n";
        assert_eq!(printed(&batch(UPDATES), &[0], &[]), text);
        let text = "+I[1, a]\n-D[1, a]\n+I[1, b]\n+I[2, x]\n-D[2, x]\n";
        assert_eq!(printed(&batch(UPDATES), &[], &[]), text);
    }

    #[test]
    fn multiplicities_are_lines() {
        assert_eq!(
            printed(&batch(&[(1, "a", 1, 2), (2, "b", 1, -2)]), &[], &[]),
            "+I[1, a]\n+I[1, a]\n-D[2, b]\n-D[2, b]\n"
        );
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_batches(cut in 0..=UPDATES.len(), more in 0..=UPDATES.len()) {
            let batch = batch(UPDATES);
            let cuts = [cut.min(more), cut.max(more)];
            prop_assert_eq!(printed(&batch, &[0], &cuts), printed(&batch, &[0], &[]));
        }
    }

    #[test]
    fn values_look_as_in_java() {
        let moments = |ms| -> ArrayRef { Arc::new(TimestampMillisecondArray::from(vec![ms])) };
        let instant = TimestampMillisecondArray::from(vec![0]).with_timezone("UTC");
        let decimal = Decimal128Array::from(vec![-1250]).with_precision_and_scale(10, 3).unwrap();
        let float = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
        let values: [(ArrayRef, &str); 15] = [
            (Arc::new(BooleanArray::from(vec![true])), "true"),
            (Arc::new(Int64Array::from(vec![None])), "null"),
            (float(1.0), "1.0"),
            (float(1.5e10), "1.5E10"),
            (float(1e7), "1.0E7"),
            (float(1e-4), "1.0E-4"),
            (float(9_999_999.5), "9999999.5"),
            (float(f64::NEG_INFINITY), "-Infinity"),
            (Arc::new(decimal), "-1.250"),
            (moments(0), "1970-01-01T00:00"),
            (moments(1_500), "1970-01-01T00:00:01.500"),
            (moments(-1_000), "1969-12-31T23:59:59"),
            (Arc::new(instant), "1970-01-01T00:00:00Z"),
            (Arc::new(Date32Array::from(vec![1])), "1970-01-02"),
            (Arc::new(BinaryViewArray::from_iter_values([[1_u8, 255]])), "[1, -1]"),
        ];
        for (array, text) in values {
            let mut out = String::new();
            push_value(&mut out, &array, 0).unwrap();
            assert_eq!(out, text);
        }
    }
}
