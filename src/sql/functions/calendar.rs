//! The proleptic Gregorian calendar in integer arithmetic, and columns of moments.
//!
//! Pure; total over all of `i64`, as a stray timestamp must not stop a batch.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, exec_err};

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;
/// Nanoseconds of a second.
pub(super) const SECOND_NANOS: i64 = 1_000_000_000;

/// A calendar date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// Astronomical year: 0 is 1 BC.
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
}

/// The date `days` after 1970-01-01.
#[inline]
pub(super) fn date_of(days: i64) -> Date {
    // Years start in March here, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// Days from 1970-01-01 to a date.
#[inline]
pub(super) fn days_of(date: Date) -> i64 {
    let year = date.year - i64::from(date.month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = (date.month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + date.day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whether a year has 366 days.
pub(super) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days of a month.
pub(super) fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of the year, from 1.
pub(super) fn day_of_year(days: i64) -> i64 {
    days - days_of(Date { year: date_of(days).year, month: 1, day: 1 }) + 1
}

/// The day of the week: Monday is 1, Sunday is 7.
pub(super) fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// The ISO 8601 week: the week of a year's first Thursday is its first.
pub(super) fn iso_week(days: i64) -> i64 {
    let thursday = days - iso_weekday(days) + 4;
    (day_of_year(thursday) - 1) / 7 + 1
}

/// The date `months` later; a day past the month's end becomes its last.
pub(super) fn add_months(days: i64, months: i64) -> i64 {
    let date = date_of(days);
    let total = (date.year * 12 + date.month - 1).saturating_add(months);
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    days_of(Date { year, month, day: date.day.min(month_length(year, month)) })
}

/// A column of moments as integers: ticks since the epoch (or since midnight).
pub(super) struct Moments {
    /// Ticks; arbitrary where null.
    pub(super) values: ScalarBuffer<i64>,
    /// Which rows are null.
    pub(super) nulls: Option<NullBuffer>,
    /// Ticks of a second: 1, 1,000, 1,000,000 or 1,000,000,000.
    pub(super) ticks: i64,
}

impl Moments {
    /// The ticks of a TIMESTAMP, DATE or TIME column.
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        let (values, ticks) = match array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                (array.as_primitive::<TimestampSecondType>().values().clone(), 1)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                (array.as_primitive::<TimestampMillisecondType>().values().clone(), 1_000)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                (array.as_primitive::<TimestampMicrosecondType>().values().clone(), 1_000_000)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                (array.as_primitive::<TimestampNanosecondType>().values().clone(), SECOND_NANOS)
            }
            DataType::Date32 => {
                let seconds = cast(array, &DataType::Timestamp(TimeUnit::Second, None))?;
                (seconds.as_primitive::<TimestampSecondType>().values().clone(), 1)
            }
            DataType::Time32(TimeUnit::Millisecond) => {
                let millis = cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?;
                (millis.as_primitive::<Int64Type>().values().clone(), 1_000)
            }
            other => return exec_err!("expected a TIMESTAMP, DATE or TIME, not {other}"),
        };
        Ok(Moments { values, nulls: array.nulls().cloned(), ticks })
    }

    /// The ticks of row `i`; `None` is NULL.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<i64> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
            return None;
        }
        self.values.get(i).copied()
    }
}
