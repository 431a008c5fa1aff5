//! Text and numbers as moments: TO_TIMESTAMP, TO_TIMESTAMP_LTZ, TO_DATE, UNIX_TIMESTAMP,
//! CONVERT_TZ. Text that does not fit its pattern gives NULL, as in Flink.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, Date32Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{Date, days_of, month_length};
use super::date_format::check_pattern_second;
use super::define::{Call, Function, Param, Returns, TIMESTAMP_MS, literal_text};
use super::pattern::compiled;
use super::pattern_parse::{Mode, Parsed, parse, parse_default};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let ltz = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let two = &[Param::Text, Param::Text];
    vec![
        Function::new("to_timestamp", two, Returns::Type(TIMESTAMP_MS), to_timestamp)
            .optional_after(1)
            .check(check_pattern_second)
            .udf(),
        Function::new(
            "to_timestamp_ltz",
            &[Param::TextOrInt, Param::TextOrInt, Param::Text],
            Returns::Type(ltz),
            to_timestamp_ltz,
        )
        .optional_after(1)
        .check(check_pattern_second)
        .udf(),
        Function::new("to_date", two, Returns::Type(DataType::Date32), to_date)
            .optional_after(1)
            .check(check_pattern_second)
            .udf(),
        Function::new("unix_timestamp", two, Returns::Type(DataType::Int64), unix_timestamp)
            .optional_after(1)
            .check(check_pattern_second)
            .udf(),
        Function::text("convert_tz", &[Param::Text, Param::Text, Param::Text], convert_tz)
            .check(check_zones)
            .udf(),
    ]
}

/// Row `i` of the call's text, read by the pattern of argument 1 or in the default form.
fn parsed(call: &Call<'_>, i: usize, mode: Mode) -> Result<Option<Option<Parsed>>> {
    let Some(text) = call.text(0)?.get(i) else {
        return Ok(None);
    };
    if !call.has(1) {
        return Ok(Some(parse_default(text)));
    }
    let Some(pattern) = call.text(1)?.get(i) else {
        return Ok(None);
    };
    Ok(Some(parse(&*compiled(pattern)?, text, mode)))
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let row = |i| Ok(parsed(call, i, Mode::Exact)?.flatten().map(Parsed::millis));
    let millis: TimestampMillisecondArray = (0..call.rows).map(row).collect::<Result<_>>()?;
    Ok(Arc::new(millis))
}

fn to_timestamp_ltz(call: &Call<'_>) -> Result<ArrayRef> {
    let millis = if call.text(0).is_ok() {
        let zone = call.text_or(2, "UTC")?;
        let row = |i| {
            let (Some(Some(local)), Some(zone)) = (parsed(call, i, Mode::Exact)?, zone.get(i))
            else {
                return Ok(None);
            };
            let from = zone_of(zone)?;
            Ok(instant_of(local, from).map(|seconds| seconds * 1_000 + local.nanos / 1_000_000))
        };
        (0..call.rows).map(row).collect::<Result<TimestampMillisecondArray>>()?
    } else {
        let (value, precision) = (call.int(0)?, call.int_or(1, 3)?);
        let row = |i| match (value.get(i), precision.get(i)) {
            (Some(seconds), Some(0)) => match seconds.checked_mul(1_000) {
                Some(millis) => Ok(Some(millis)),
                None => exec_err!("TO_TIMESTAMP_LTZ({seconds}, 0) is out of range"),
            },
            (Some(millis), Some(3)) => Ok(Some(millis)),
            (_, Some(other)) if other != 0 && other != 3 => {
                exec_err!("the precision of TO_TIMESTAMP_LTZ is 0 (seconds) or 3, not {other}")
            }
            _ => Ok(None),
        };
        (0..call.rows).map(row).collect::<Result<TimestampMillisecondArray>>()?
    };
    Ok(Arc::new(millis.with_timezone("UTC")))
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let row = |i| {
        let days = if call.has(1) {
            parsed(call, i, Mode::Lenient)?.flatten().map(Parsed::days)
        } else {
            call.text(0)?.get(i).and_then(parse_date)
        };
        Ok(days.and_then(|days| i32::try_from(days).ok()))
    };
    let days: Date32Array = (0..call.rows).map(row).collect::<Result<_>>()?;
    Ok(Arc::new(days))
}

/// Reads `yyyy[-MM[-dd]]`; a time behind a blank is ignored.
fn parse_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = text.split_once(' ').map_or(text, |(date, _)| date);
    let mut parts = date.split('-');
    let mut number = |default: Option<i64>| match parts.next() {
        Some(part) if part.len() <= 6 && part.bytes().all(|b| b.is_ascii_digit()) => {
            part.parse::<i64>().ok()
        }
        Some(_) => None,
        None => default,
    };
    let (year, month, day) = (number(None)?, number(Some(1))?, number(Some(1))?);
    let real = parts.next().is_none()
        && (1..=12).contains(&month)
        && (1..=month_length(year, month)).contains(&day);
    real.then(|| days_of(Date { year, month, day }))
}

fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    call.int_rows(|i| {
        // Flink's answer to text that does not fit is the least BIGINT, not NULL.
        let seconds = |parsed: Option<Parsed>| parsed.map_or(i64::MIN, |p| p.seconds);
        Ok(parsed(call, i, Mode::Lenient)?.map(seconds))
    })
}

fn check_zones(args: &[Option<&ScalarValue>]) -> Result<()> {
    [1, 2].into_iter().filter_map(|i| literal_text(args, i)).try_for_each(|z| zone_of(z).map(drop))
}

fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let pattern = compiled("yyyy-MM-dd HH:mm:ss")?;
    let mut out = String::new();
    call.text_rows(|i| {
        let (Some(text), Some(from), Some(to)) = (text.get(i), from.get(i), to.get(i)) else {
            return Ok(None);
        };
        let (from, to) = (zone_of(from)?, zone_of(to)?);
        let instant =
            parse(&pattern, text, Mode::Lenient).and_then(|local| instant_of(local, from));
        let Some(utc) = instant.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) else {
            return Ok(None);
        };
        let offset = to.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc();
        out.clear();
        pattern.format(utc.timestamp() + i64::from(offset), 1, &mut out);
        Ok(Some(out.clone()))
    })
}

/// A time zone by name (`Europe/Berlin`) or offset (`+08:00`, `GMT+8`).
fn zone_of(name: &str) -> Result<Tz> {
    let offset = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC")).unwrap_or(name);
    let padded = match offset.split_at_checked(1) {
        None => "+00:00".to_string(),
        Some((sign @ ("+" | "-"), hours)) if !hours.contains(':') && hours.len() <= 2 => {
            format!("{sign}{hours:0>2}:00")
        }
        Some((sign @ ("+" | "-"), time)) => format!("{sign}{time:0>5}"),
        Some(_) => name.to_string(),
    };
    Tz::from_str(&padded).map_err(|_| {
        DataFusionError::Execution(format!(
            "unknown time zone '{name}'; use a name such as 'Europe/Berlin' or an offset '+08:00'"
        ))
    })
}

/// Seconds since the epoch of a local time. Like Java: of two such times the later offset (standard
/// time) counts; a time that the clock skipped is moved forward by the gap.
fn instant_of(local: Parsed, zone: Tz) -> Option<i64> {
    let naive: NaiveDateTime = DateTime::from_timestamp(local.seconds, 0)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&naive) {
        MappedLocalTime::Single(offset) => offset,
        MappedLocalTime::Ambiguous(_, later) => later,
        MappedLocalTime::None => {
            zone.offset_from_utc_datetime(&naive.checked_sub_signed(TimeDelta::days(1))?)
        }
    };
    Some(local.seconds - i64::from(offset.fix().local_minus_utc()))
}
