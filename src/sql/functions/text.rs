//! Strings where Flink's answer differs from DataFusion's: positions, padding, NULLs.
//!
//! Positions count characters from 1.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::define::{Call, Function, Param, Returns};
use crate::limits::TEXT_BYTES_MAX;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let padded = &[Param::Text, Param::Int, Param::Text];
    let cut = &[Param::Text, Param::Int];
    let flag = || Returns::Type(DataType::Boolean);
    let found = &[Param::Text, Param::Text, Param::Int];
    let two = &[Param::Text, Param::Text];
    vec![
        Function::text("concat", &[Param::Text], concat).variadic().udf(),
        Function::text("substr", &[Param::Text, Param::Int, Param::Int], substring)
            .optional_after(2)
            .alias("substring")
            .udf(),
        Function::text("left", cut, |c| cut_rows(c, |text, n| before(text, n))).udf(),
        Function::text("right", cut, |c| cut_rows(c, last)).udf(),
        Function::text("lpad", padded, |c| pad(c, true)).udf(),
        Function::text("rpad", padded, |c| pad(c, false)).udf(),
        Function::new("locate", found, Returns::Type(DataType::Int32), locate)
            .optional_after(2)
            .udf(),
        Function::text("chr", &[Param::Int], chr).udf(),
        Function::new("startswith", two, flag(), |c| holds(c, |s, t| s.starts_with(t))).udf(),
        Function::new("endswith", two, flag(), |c| holds(c, |s, t| s.ends_with(t))).udf(),
    ]
}

fn holds(call: &Call<'_>, test: impl Fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    call.bool_rows(|i| Ok(text.get(i).zip(part.get(i)).map(|(text, part)| test(text, part))))
}

/// NULL as soon as one argument is.
fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = (0..call.args.len()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    let mut out = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for i in 0..call.rows {
        text.clear();
        let whole = parts.iter().try_for_each(|part| part.get(i).map(|part| text.push_str(part)));
        match whole {
            Some(()) => out.append_value(&text),
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// The byte at which character number `n` (from 0) starts; the length if there are fewer.
fn byte_of(text: &str, n: usize) -> usize {
    if text.is_ascii() {
        return n.min(text.len());
    }
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

/// The first `n` characters.
fn before(text: &str, n: i64) -> &str {
    let n = usize::try_from(n).unwrap_or(0);
    text.get(..byte_of(text, n)).unwrap_or_default()
}

/// The last `n` characters.
fn last(text: &str, n: i64) -> &str {
    let n = usize::try_from(n).unwrap_or(0);
    let skipped = text.chars().count().saturating_sub(n);
    text.get(byte_of(text, skipped)..).unwrap_or_default()
}

fn cut_rows(call: &Call<'_>, cut: impl Fn(&str, i64) -> &str) -> Result<ArrayRef> {
    let (text, n) = (call.text(0)?, call.int(1)?);
    call.text_rows(|i| Ok(text.get(i).zip(n.get(i)).map(|(text, n)| cut(text, n))))
}

/// SUBSTRING(text, start[, length]): a negative start counts from the end, 0 means 1; a negative
/// length gives NULL.
fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, start, length) = (call.text(0)?, call.int(1)?, call.int_or(2, i64::MAX)?);
    call.text_rows(|i| {
        let (Some(text), Some(start), Some(length)) = (text.get(i), start.get(i), length.get(i))
        else {
            return Ok(None);
        };
        if length < 0 {
            return Ok(None);
        }
        let skipped = match start {
            1.. => start - 1,
            0 => 0,
            _ => match (text.chars().count() as i64).saturating_add(start) {
                ..0 => return Ok(Some("")),
                skipped => skipped,
            },
        };
        let from = byte_of(text, usize::try_from(skipped).unwrap_or(usize::MAX));
        Ok(Some(before(text.get(from..).unwrap_or_default(), length)))
    })
}

/// A negative length or an empty filling gives NULL.
fn pad(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    let (text, length, fill) = (call.text(0)?, call.int(1)?, call.text(2)?);
    let mut out = String::new();
    call.text_rows(|i| {
        let (Some(text), Some(length), Some(fill)) = (text.get(i), length.get(i), fill.get(i))
        else {
            return Ok(None);
        };
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        if fill.is_empty() {
            return Ok(None);
        }
        if length > TEXT_BYTES_MAX {
            return exec_err!(
                "{} to {length} characters; at most {TEXT_BYTES_MAX} are allowed",
                call.name.to_uppercase()
            );
        }
        let missing = length.saturating_sub(text.chars().count());
        let filling = fill.chars().cycle().take(missing);
        out.clear();
        if left {
            out.extend(filling);
            out.push_str(before(text, length as i64));
        } else {
            out.push_str(before(text, length as i64));
            out.extend(filling);
        }
        Ok(Some(out.clone()))
    })
}

/// LOCATE(part, text[, start]): the position of `part` at or after `start`; 0 for none.
fn locate(call: &Call<'_>) -> Result<ArrayRef> {
    let (part, text, start) = (call.text(0)?, call.text(1)?, call.int_or(2, 1)?);
    call.int32_rows(|i| {
        let (Some(part), Some(text), Some(start)) = (part.get(i), text.get(i), start.get(i)) else {
            return Ok(None);
        };
        let Some(skipped) = start.checked_sub(1).and_then(|n| usize::try_from(n).ok()) else {
            return Ok(Some(0));
        };
        if skipped > text.chars().count() {
            return Ok(Some(0));
        }
        let from = byte_of(text, skipped);
        let rest = text.get(from..).unwrap_or_default();
        let position = rest
            .find(part)
            .and_then(|at| rest.get(..at))
            .map_or(0, |passed| skipped + passed.chars().count() + 1);
        Ok(i32::try_from(position).ok())
    })
}

/// The character of a code's lowest byte; a negative code gives the empty string.
fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let code = call.int(0)?;
    call.text_rows(|i| {
        Ok(code.get(i).map(|code| match code {
            ..0 => String::new(),
            code => char::from((code & 0xFF) as u8).to_string(),
        }))
    })
}
