//! DATE_FORMAT and FROM_UNIXTIME: moments as text.
//!
//! Rows of one span of the pattern (a day for `yyyy-MM-dd`, a minute for `HH:mm`) share one text,
//! so a batch of near times formats a handful of texts and gathers them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{Moments, SECOND_NANOS};
use super::define::{Call, Function, Param, TextArg, literal_text};
use super::pattern::{Pattern, compiled};
use super::pattern_parse::parse_default;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        Function::text("date_format", &[Param::MomentOrText, Param::Text], date_format)
            .check(check_pattern_second)
            .udf(),
        Function::text("from_unixtime", &[Param::Int, Param::Text], from_unixtime)
            .optional_after(1)
            .check(check_pattern_second)
            .udf(),
    ]
}

/// Refuses a literal second argument that is no pattern.
pub(super) fn check_pattern_second(args: &[Option<&ScalarValue>]) -> Result<()> {
    literal_text(args, 1).map_or(Ok(()), |text| compiled(text).map(|_| ()))
}

fn date_format(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let moments = match array.data_type() {
        DataType::Utf8View => {
            let parse = |text: Option<&str>| text.and_then(parse_default).map(|p| p.millis());
            let values: arrow::array::TimestampMillisecondArray =
                array.as_string_view().iter().map(parse).collect();
            Moments::new(&(Arc::new(values) as ArrayRef))?
        }
        _ => Moments::new(&array)?,
    };
    format_rows(call, &moments, call.text(1)?)
}

fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(seconds) = array.as_primitive_opt::<Int64Type>() else {
        return exec_err!("FROM_UNIXTIME takes seconds, not {}", array.data_type());
    };
    let moments =
        Moments { values: seconds.values().clone(), nulls: seconds.nulls().cloned(), ticks: 1 };
    format_rows(call, &moments, call.text_or(1, "yyyy-MM-dd HH:mm:ss")?)
}

fn format_rows(call: &Call<'_>, moments: &Moments, pattern: TextArg<'_>) -> Result<ArrayRef> {
    if let TextArg::Constant(Some(pattern)) = pattern {
        return format_column(moments, &*compiled(pattern)?);
    }
    let mut text = String::new();
    call.text_rows(|i| {
        let (Some(ticks), Some(pattern)) = (moments.get(i), pattern.get(i)) else {
            return Ok(None);
        };
        text.clear();
        compiled(pattern)?.format(ticks, moments.ticks, &mut text);
        Ok(Some(text.clone()))
    })
}

/// Spans that a batch remembers besides the current one; a power of two.
const SPANS: usize = 64;

fn format_column(moments: &Moments, pattern: &Pattern) -> Result<ArrayRef> {
    let span = (pattern.span_nanos / (SECOND_NANOS / moments.ticks)).max(1);
    let mut texts = StringViewBuilder::new();
    let mut texts_len = 0_u32;
    let mut keys: Vec<u32> = Vec::with_capacity(moments.values.len());
    // Direct-mapped by the span's number: times that hop between few spans format each once.
    let mut known: [Option<(i64, u32)>; SPANS] = [None; SPANS];
    let (mut first, mut last, mut key) = (1_i64, 0_i64, 0_u32);
    let mut text = String::new();
    for &ticks in moments.values.iter() {
        if ticks < first || ticks > last {
            let number = ticks.div_euclid(span);
            first = number.saturating_mul(span);
            last = first.saturating_add(span - 1);
            let slot = known.get_mut(number.rem_euclid(SPANS as i64) as usize);
            key = match &slot {
                Some(Some((same, key))) if *same == number => *key,
                _ => {
                    text.clear();
                    pattern.format(ticks, moments.ticks, &mut text);
                    texts.append_value(&text);
                    texts_len += 1;
                    texts_len - 1
                }
            };
            if let Some(slot) = slot {
                *slot = Some((number, key));
            }
        }
        keys.push(key);
    }
    let keys = UInt32Array::new(ScalarBuffer::from(keys), moments.nulls.clone());
    Ok(take(&texts.finish(), &keys, None)?)
}
