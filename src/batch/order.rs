//! Columns as an `ORDER BY` compares them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

/// `column` with equal numbers as the same bits: `-0.0` as `0.0`, and one NaN. Row-format bytes
/// tell them apart, an `ORDER BY` or `PARTITION BY` does not.
pub fn comparable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let plain = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float64Type>(plain)) as ArrayRef
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            let plain = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float32Type>(plain)) as ArrayRef
        }
        _ => Arc::clone(column),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array};

    use super::*;

    #[test]
    fn equal_numbers_have_the_same_bits() {
        let values = vec![Some(-0.0), None, Some(-f64::NAN), Some(-1.5)];
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        let bits = |column: &ArrayRef| {
            let column = column.as_primitive::<Float64Type>().iter();
            column.map(|value| value.map(f64::to_bits)).collect::<Vec<_>>()
        };
        let expected = vec![Some(0.0), None, Some(f64::NAN), Some(-1.5)];
        let expected: ArrayRef = Arc::new(Float64Array::from(expected));
        assert_eq!(bits(&comparable(&column)), bits(&expected));
        let column: ArrayRef = Arc::new(Float32Array::from(vec![-0.0, 2.0]));
        let found = comparable(&column);
        assert_eq!(found.as_primitive::<Float32Type>().value(0).to_bits(), 0);
    }
}
