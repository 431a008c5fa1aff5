//! Numbers where Flink's answer differs from DataFusion's: types that are kept, natural logarithms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::compute::cast;
use arrow::compute::kernels::arity::{binary, unary};
use arrow::compute::kernels::numeric::rem;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;

use super::define::{Call, Function, Param, Returns};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let double = || Returns::Type(DataType::Float64);
    let two = &[Param::Double, Param::Double];
    let number = &[Param::Any];
    vec![
        Function::new("log", two, double(), log).optional_after(1).udf(),
        Function::new("power", two, double(), power).alias("pow").udf(),
        Function::new("e", &[], double(), |c| {
            Ok(Arc::new(Float64Array::from(vec![std::f64::consts::E; c.rows])))
        })
        .udf(),
        Function::new("mod", &[Param::Any, Param::Any], Returns::From(common_number), modulo).udf(),
        Function::new("sign", number, Returns::From(same_number), sign).udf(),
        Function::new("truncate", &[Param::Any, Param::Int], Returns::From(same_number), truncate)
            .optional_after(1)
            .udf(),
        Function::new("ceil", number, Returns::From(whole_number), |c| whole(c, true))
            .alias("ceiling")
            .udf(),
        Function::new("floor", number, Returns::From(whole_number), |c| whole(c, false)).udf(),
    ]
}

/// One argument: ln; two: the logarithm of the second to the base of the first.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    let first = call.doubles(0)?;
    if !call.has(1) {
        return Ok(Arc::new(unary::<_, _, Float64Type>(&first, f64::ln)));
    }
    let log = |base: f64, value: f64| value.ln() / base.ln();
    Ok(Arc::new(binary::<_, _, _, Float64Type>(&first, &call.doubles(1)?, log)?))
}

fn power(call: &Call<'_>) -> Result<ArrayRef> {
    let (base, exponent) = (call.doubles(0)?, call.doubles(1)?);
    Ok(Arc::new(binary::<_, _, _, Float64Type>(&base, &exponent, f64::powf)?))
}

fn first_number(given: &[DataType]) -> Result<&DataType> {
    match given.first() {
        Some(number) if number.is_numeric() || number.is_null() => Ok(number),
        Some(other) => plan_err!("expected a number, not {other}"),
        None => plan_err!("expected a number"),
    }
}

/// The type of the argument.
fn same_number(given: &[DataType]) -> Result<DataType> {
    Ok(match first_number(given)? {
        DataType::Null => DataType::Float64,
        number => number.clone(),
    })
}

/// The type of the argument without its digits behind the point.
fn whole_number(given: &[DataType]) -> Result<DataType> {
    Ok(match same_number(given)? {
        DataType::Decimal128(precision, _) => DataType::Decimal128(precision, 0),
        number => number,
    })
}

fn common_number(given: &[DataType]) -> Result<DataType> {
    let (Some(a), Some(b)) = (given.first(), given.get(1)) else {
        return plan_err!("MOD takes two numbers");
    };
    let numeric = |given: &DataType| given.is_numeric() || given.is_null();
    match comparison_coercion(a, b) {
        Some(common) if numeric(a) && numeric(b) => Ok(common),
        _ => plan_err!("MOD takes two numbers, not {a} and {b}"),
    }
}

fn modulo(call: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (cast(&call.array(0)?, call.returns)?, cast(&call.array(1)?, call.returns)?);
    Ok(cast(&rem(&a, &b)?, call.returns)?)
}

fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let array = cast(&call.array(0)?, call.returns)?;
    let signs: ArrayRef = match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let one = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
            let signs: Decimal128Array =
                unary(array.as_primitive::<Decimal128Type>(), |v| v.signum() * one);
            Arc::new(signs.with_data_type(array.data_type().clone()))
        }
        integer if integer.is_integer() => {
            let values = cast(&array, &DataType::Int64)?;
            Arc::new(unary::<_, _, Int64Type>(values.as_primitive::<Int64Type>(), i64::signum))
        }
        _ => {
            let values = cast(&array, &DataType::Float64)?;
            let sign = |v: f64| if v == 0.0 { v } else { v.signum() };
            Arc::new(unary::<_, _, Float64Type>(values.as_primitive::<Float64Type>(), sign))
        }
    };
    Ok(cast(&signs, call.returns)?)
}

/// Rounds towards zero to so many digits behind the point (before it if negative).
fn truncate(call: &Call<'_>) -> Result<ArrayRef> {
    let array = cast(&call.array(0)?, call.returns)?;
    let digits = call.int_or(1, 0)?;
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            let row = |i| {
                let (true, Some(digits)) = (values.is_valid(i), digits.get(i)) else {
                    return None;
                };
                Some(cut_integer(values.value(i), i64::from(*scale) - digits))
            };
            let rows: Decimal128Array = (0..call.rows).map(row).collect();
            Ok(Arc::new(rows.with_data_type(array.data_type().clone())))
        }
        integer if integer.is_integer() => {
            let values = cast(&array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            let rows = call.int_rows(|i| {
                let (true, Some(digits)) = (values.is_valid(i), digits.get(i)) else {
                    return Ok(None);
                };
                let cut = cut_integer(i128::from(values.value(i)), -digits);
                Ok(i64::try_from(cut).ok())
            })?;
            Ok(cast(&rows, call.returns)?)
        }
        _ => {
            let values = cast(&array, &DataType::Float64)?;
            let values = values.as_primitive::<Float64Type>();
            let row = |i| {
                let (true, Some(digits)) = (values.is_valid(i), digits.get(i)) else {
                    return None;
                };
                Some(cut_double(values.value(i), digits))
            };
            let rows: Float64Array = (0..call.rows).map(row).collect();
            Ok(cast(&rows, call.returns)?)
        }
    }
}

/// Sets the last `digits` decimal digits to zero.
fn cut_integer(value: i128, digits: i64) -> i128 {
    match u32::try_from(digits).map(|digits| 10_i128.checked_pow(digits)) {
        Ok(Some(unit)) => value - value % unit,
        Ok(None) => 0,
        Err(_) => {
            if digits < 0 {
                value
            } else {
                0
            }
        }
    }
}

/// Cuts the shortest decimal text of a double, as Java's `BigDecimal.valueOf` does.
fn cut_double(value: f64, digits: i64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let Ok(digits) = usize::try_from(digits) else {
        let unit = 10_f64.powi(i32::try_from(-digits).unwrap_or(i32::MAX));
        return if unit.is_finite() { (value / unit).trunc() * unit } else { 0.0 };
    };
    let text = value.to_string();
    let kept = match text.find('.') {
        Some(point) => text.get(..point.saturating_add(1).saturating_add(digits)).unwrap_or(&text),
        None => &text,
    };
    kept.parse().unwrap_or(value)
}

fn whole(call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    let array = call.array(0)?;
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let Some(unit) = u32::try_from(*scale).ok().and_then(|s| 10_i128.checked_pow(s)) else {
                return exec_err!("{} takes decimals of scale 0 to 38", call.name);
            };
            let round = |v: i128| v.div_euclid(unit) + i128::from(up && v.rem_euclid(unit) != 0);
            let rows: Decimal128Array = unary(array.as_primitive::<Decimal128Type>(), round);
            Ok(Arc::new(rows.with_data_type(call.returns.clone())))
        }
        DataType::Float64 | DataType::Float32 | DataType::Null => {
            let values = cast(&array, &DataType::Float64)?;
            let round = if up { f64::ceil } else { f64::floor };
            let rows = unary::<_, _, Float64Type>(values.as_primitive::<Float64Type>(), round);
            Ok(cast(&rows, call.returns)?)
        }
        integer if integer.is_integer() => Ok(array),
        other => exec_err!("{} takes numbers, not {other}", call.name.to_uppercase()),
    }
}
