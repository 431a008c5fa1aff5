//! TIMESTAMPADD, TIMESTAMPDIFF, and rounding moments to a unit.
//!
//! The unit is a string literal: the statement parser turns `TIMESTAMPADD(HOUR, ..)` and
//! `FLOOR(ts TO HOUR)` into it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{DAY_SECONDS, Date, Moments, SECOND_NANOS};
use super::calendar::{add_months, date_of, days_of, iso_weekday};
use super::define::{Call, Function, Param, Returns, TIMESTAMP_MS, literal_text};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let round = |name, evaluate| {
        let params = &[Param::Unit, Param::Moment];
        Function::new(name, params, Returns::From(second_type), evaluate).check(check_unit).udf()
    };
    vec![
        Function::new(
            "timestampdiff",
            &[Param::Unit, Param::Moment, Param::Moment],
            Returns::Type(DataType::Int32),
            timestampdiff,
        )
        .check(check_unit)
        .udf(),
        Function::new(
            "timestampadd",
            &[Param::Unit, Param::Int, Param::Moment],
            Returns::FromLiterals(added_type),
            timestampadd,
        )
        .check(check_unit)
        .udf(),
        round("flink_floor_ts", |call| round_rows(call, false)),
        round("flink_ceil_ts", |call| round_rows(call, true)),
    ]
}

fn second_type(given: &[DataType]) -> Result<DataType> {
    Ok(given.get(1).cloned().unwrap_or(TIMESTAMP_MS))
}

/// A time unit: of fixed length or of months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Nanos(i64),
    Months(i64),
}

const WEEK_NANOS: i64 = 7 * DAY_SECONDS * SECOND_NANOS;

impl Unit {
    fn parse(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        Ok(match name.strip_suffix('S').unwrap_or(name) {
            "MICROSECOND" => Unit::Nanos(1_000),
            "MILLISECOND" => Unit::Nanos(1_000_000),
            "SECOND" => Unit::Nanos(SECOND_NANOS),
            "MINUTE" => Unit::Nanos(60 * SECOND_NANOS),
            "HOUR" => Unit::Nanos(3_600 * SECOND_NANOS),
            "DAY" => Unit::Nanos(DAY_SECONDS * SECOND_NANOS),
            "WEEK" => Unit::Nanos(WEEK_NANOS),
            "MONTH" => Unit::Months(1),
            "QUARTER" => Unit::Months(3),
            "YEAR" => Unit::Months(12),
            _ => {
                return plan_err!(
                    "unknown time unit '{text}'; use SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, \
                     QUARTER or YEAR"
                );
            }
        })
    }

    /// The unit in ticks, of which a second has `ticks`; an error if it is finer than one.
    fn ticks(nanos: i64, ticks: i64) -> Result<i64> {
        match nanos / (SECOND_NANOS / ticks) {
            0 => exec_err!("the unit is finer than the timestamp's precision; cast it first"),
            length => Ok(length),
        }
    }

    /// Whether a DATE has no such part.
    fn within_day(self) -> bool {
        matches!(self, Unit::Nanos(nanos) if nanos < DAY_SECONDS * SECOND_NANOS)
    }
}

fn check_unit(args: &[Option<&ScalarValue>]) -> Result<()> {
    literal_text(args, 0).map_or(Ok(()), |text| Unit::parse(text).map(|_| ()))
}

fn unit_of(call: &Call<'_>) -> Result<Option<Unit>> {
    call.constant_text(0)?.map(Unit::parse).transpose()
}

fn out_of_range(name: &str) -> DataFusionError {
    DataFusionError::Execution(format!("the result of {} is out of range", name.to_uppercase()))
}

fn timestampdiff(call: &Call<'_>) -> Result<ArrayRef> {
    let (from, to) = (Moments::new(&call.array(1)?)?, Moments::new(&call.array(2)?)?);
    let unit = unit_of(call)?;
    let ticks = from.ticks.max(to.ticks).max(1_000);
    let scale = |value: i64, of: &Moments| value.checked_mul(ticks / of.ticks);
    call.int32_rows(|i| {
        let (Some(a), Some(b), Some(unit)) = (from.get(i), to.get(i), unit) else {
            return Ok(None);
        };
        let difference = || {
            let (a, b) = (scale(a, &from)?, scale(b, &to)?);
            match unit {
                Unit::Nanos(nanos) => {
                    // A microsecond of a coarser timestamp is a multiple of its ticks.
                    let tick_nanos = SECOND_NANOS / ticks;
                    let ticks = b.checked_sub(a)?;
                    match nanos / tick_nanos {
                        0 => ticks.checked_mul(tick_nanos / nanos),
                        length => Some(ticks / length),
                    }
                }
                Unit::Months(months) => Some(months_between(a, b, ticks * DAY_SECONDS) / months),
            }
        };
        let difference = difference().and_then(|d| i32::try_from(d).ok());
        difference.map(Some).ok_or_else(|| out_of_range(call.name))
    })
}

/// Full months from `a` to `b`.
fn months_between(a: i64, b: i64, day: i64) -> i64 {
    let (a_day, b_day) = (a.div_euclid(day), b.div_euclid(day));
    let months = months_between_days(a_day, b_day);
    let reached = add_months(a_day, months);
    let short = reached == b_day && b.rem_euclid(day) < a.rem_euclid(day);
    months - i64::from(short)
}

/// The greatest number of months that, added to day `a`, does not pass day `b`.
fn months_between_days(a: i64, b: i64) -> i64 {
    if b < a {
        return -months_between_days(b, a);
    }
    let (from, to) = (date_of(a), date_of(b));
    let months = (to.year - from.year) * 12 + to.month - from.month;
    months - i64::from(add_months(a, months) > b)
}

/// A DATE stays one unless a part of a day is added.
fn added_type(given: &[DataType], literals: &[Option<&ScalarValue>]) -> Result<DataType> {
    let moment = given.get(2).cloned().unwrap_or(TIMESTAMP_MS);
    let unit = literal_text(literals, 0).map(Unit::parse).transpose()?;
    let splits = unit.is_some_and(Unit::within_day);
    Ok(if moment == DataType::Date32 && splits { TIMESTAMP_MS } else { moment })
}

fn timestampadd(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = Moments::new(&cast_date(call.array(2)?, call.returns)?)?;
    let (count, unit) = (call.int(1)?, unit_of(call)?);
    let day = DAY_SECONDS * moments.ticks;
    let length = match unit {
        Some(Unit::Nanos(nanos)) => Unit::ticks(nanos, moments.ticks)?,
        _ => 0,
    };
    let row = |i| {
        let (Some(ticks), Some(count), Some(unit)) = (moments.get(i), count.get(i), unit) else {
            return Ok(None);
        };
        let sum = match unit {
            Unit::Nanos(_) => count.checked_mul(length).and_then(|by| ticks.checked_add(by)),
            Unit::Months(months) => count
                .checked_mul(months)
                .filter(|months| months.abs() < 1 << 40)
                .map(|months| add_months(ticks.div_euclid(day), months))
                .and_then(|days| days.checked_mul(day))
                .and_then(|start| start.checked_add(ticks.rem_euclid(day))),
        };
        sum.map(Some).ok_or_else(|| out_of_range(call.name))
    };
    let sums: Int64Array = (0..call.rows).map(row).collect::<Result<_>>()?;
    to_moments(&sums, moments.ticks, call.returns)
}

fn cast_date(array: ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if *array.data_type() == DataType::Date32 && *wanted != DataType::Date32 {
        return Ok(cast(&array, wanted)?);
    }
    Ok(array)
}

/// A column of ticks as the type they came from.
fn to_moments(ticks: &Int64Array, ticks_second: i64, wanted: &DataType) -> Result<ArrayRef> {
    let unit = match ticks_second {
        1 => TimeUnit::Second,
        1_000 => TimeUnit::Millisecond,
        1_000_000 => TimeUnit::Microsecond,
        _ => {
            let nanos: PrimitiveArray<TimestampNanosecondType> = ticks.reinterpret_cast();
            return Ok(cast(&nanos, wanted)?);
        }
    };
    let zone = match wanted {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let stamped = cast(ticks, &DataType::Timestamp(unit, zone))?;
    Ok(if stamped.data_type() == wanted { stamped } else { cast(&stamped, wanted)? })
}

fn round_rows(call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    let moments = Moments::new(&call.array(1)?)?;
    let unit = unit_of(call)?;
    let day = DAY_SECONDS * moments.ticks;
    let length = match unit {
        // What is finer than the precision rounds to itself.
        Some(Unit::Nanos(nanos)) => (nanos / (SECOND_NANOS / moments.ticks)).max(1),
        _ => 1,
    };
    let row = |i| {
        let (Some(ticks), Some(unit)) = (moments.get(i), unit) else {
            return Ok(None);
        };
        let rounded = match unit {
            Unit::Nanos(WEEK_NANOS) => week_bounds(ticks, day),
            Unit::Nanos(_) => {
                let start = ticks.div_euclid(length).checked_mul(length);
                start.map(|start| (start, start.saturating_add(length)))
            }
            Unit::Months(months) => month_bounds(ticks, day, months),
        };
        let rounded = rounded.map(|(start, end)| if up && start < ticks { end } else { start });
        rounded.map(Some).ok_or_else(|| out_of_range(call.name))
    };
    let rounded: Int64Array = (0..call.rows).map(row).collect::<Result<_>>()?;
    to_moments(&rounded, moments.ticks, call.returns)
}

/// The week, from Sunday on, that holds `ticks`.
fn week_bounds(ticks: i64, day: i64) -> Option<(i64, i64)> {
    let days = ticks.div_euclid(day);
    let sunday = days - iso_weekday(days) % 7;
    Some((sunday.checked_mul(day)?, (sunday + 7).checked_mul(day)?))
}

/// The month, quarter or year that holds `ticks`.
fn month_bounds(ticks: i64, day: i64, months: i64) -> Option<(i64, i64)> {
    let date = date_of(ticks.div_euclid(day));
    let month = (date.month - 1) / months * months + 1;
    let start = days_of(Date { year: date.year, month, day: 1 });
    Some((start.checked_mul(day)?, add_months(start, months).checked_mul(day)?))
}
