//! HOUR, YEAR and their kin: a field of a moment as BIGINT, by integer arithmetic on the values.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{DAY_SECONDS, Moments, SECOND_NANOS};
use super::calendar::{date_of, day_of_year, iso_week, iso_weekday};
use super::define::{Call, Evaluate, Function, Param, Returns};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let of_moment = |name, evaluate: Evaluate| {
        Function::new(name, &[Param::Moment], Returns::Type(DataType::Int64), evaluate).udf()
    };
    let of_time = |name, evaluate: Evaluate| {
        Function::new(name, &[Param::MomentOrTime], Returns::Type(DataType::Int64), evaluate).udf()
    };
    vec![
        of_time("hour", |c| by_second(c, |s| s.div_euclid(3_600).rem_euclid(24))),
        of_time("minute", |c| by_second(c, |s| s.div_euclid(60).rem_euclid(60))),
        of_time("second", |c| by_second(c, |s| s.rem_euclid(60))),
        of_moment("year", |c| by_day(c, |d| date_of(d).year)),
        of_moment("quarter", |c| by_day(c, |d| (date_of(d).month + 2) / 3)),
        of_moment("month", |c| by_day(c, |d| date_of(d).month)),
        of_moment("week", |c| by_day(c, iso_week)),
        of_moment("dayofyear", |c| by_day(c, day_of_year)),
        of_moment("dayofmonth", |c| by_day(c, |d| date_of(d).day)),
        // Sunday is 1.
        of_moment("dayofweek", |c| by_day(c, |d| iso_weekday(d) % 7 + 1)),
    ]
}

fn by_day(call: &Call<'_>, field: impl Fn(i64) -> i64) -> Result<ArrayRef> {
    by_second(call, |seconds| field(seconds.div_euclid(DAY_SECONDS)))
}

/// Applies `field` to each row's seconds since the epoch; divisors are constants per precision.
fn by_second(call: &Call<'_>, field: impl Fn(i64) -> i64) -> Result<ArrayRef> {
    let moments = Moments::new(&call.array(0)?)?;
    let values: Vec<i64> = match moments.ticks {
        1 => moments.values.iter().map(|v| field(*v)).collect(),
        1_000 => moments.values.iter().map(|v| field(v.div_euclid(1_000))).collect(),
        1_000_000 => moments.values.iter().map(|v| field(v.div_euclid(1_000_000))).collect(),
        _ => moments.values.iter().map(|v| field(v.div_euclid(SECOND_NANOS))).collect(),
    };
    Ok(Arc::new(Int64Array::new(ScalarBuffer::from(values), moments.nulls)))
}
