//! The exact mean of integers and decimals: sum and count, divided once at the end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use hashbrown::HashSet;

/// Sum and count of the values so far; with DISTINCT the values themselves.
#[derive(Debug)]
pub(super) struct ExactAverage {
    /// Type of the result; an integer type truncates, a decimal rounds half up.
    result: DataType,
    /// Scale of the sum.
    scale: i8,
    sum: i128,
    count: i64,
    /// Membership only: its order never reaches a result.
    distinct: Option<HashSet<i128>>,
}

/// The scale of the values, which the sum keeps.
fn scale_of(given: &DataType) -> i8 {
    match given {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

impl ExactAverage {
    /// An average of values of type `given`.
    pub(super) fn new(given: DataType, result: DataType, distinct: bool) -> Self {
        let distinct = distinct.then(HashSet::new);
        ExactAverage { result, scale: scale_of(&given), sum: 0, count: 0, distinct }
    }

    /// The fields of the partial state.
    pub(super) fn state_fields(name: &str, given: &DataType, distinct: bool) -> Vec<FieldRef> {
        let decimal = DataType::Decimal128(38, scale_of(given));
        if distinct {
            let item = Arc::new(Field::new_list_field(decimal, true));
            let name = format_state_name(name, "distinct");
            return vec![Arc::new(Field::new(name, DataType::List(item), true))];
        }
        vec![
            Arc::new(Field::new(format_state_name(name, "sum"), decimal, true)),
            Arc::new(Field::new(format_state_name(name, "count"), DataType::Int64, true)),
        ]
    }

    fn add(&mut self, value: i128) -> Result<()> {
        if self.distinct.as_mut().is_some_and(|seen| !seen.insert(value)) {
            return Ok(());
        }
        self.add_sum(value, 1)
    }

    fn add_sum(&mut self, sum: i128, count: i64) -> Result<()> {
        match self.sum.checked_add(sum) {
            Some(total) => self.sum = total,
            None => return exec_err!("the sum of AVG is out of range"),
        }
        self.count += count;
        Ok(())
    }

    fn add_values(&mut self, values: &ArrayRef) -> Result<()> {
        let values = cast(values, &DataType::Decimal128(38, self.scale))?;
        let values = values.as_primitive::<Decimal128Type>();
        if self.distinct.is_none() && values.null_count() == 0 {
            let sum = values.values().iter().try_fold(0_i128, |sum, v| sum.checked_add(*v));
            return match sum {
                Some(sum) => self.add_sum(sum, values.len() as i64),
                None => exec_err!("the sum of AVG is out of range"),
            };
        }
        values.iter().flatten().try_for_each(|value| self.add(value))
    }

    fn mean(&self) -> Option<ScalarValue> {
        let count = i128::from(self.count);
        if count == 0 {
            return ScalarValue::try_from(&self.result).ok();
        }
        match self.result {
            DataType::Decimal128(precision, scale) => {
                let shift = 10_i128.checked_pow(u32::try_from(scale - self.scale).ok()?)?;
                let sum = self.sum.checked_mul(shift)?;
                let (quotient, rest) = (sum / count, sum % count);
                let up = i128::from(rest.abs() * 2 >= count) * sum.signum();
                Some(ScalarValue::Decimal128(Some(quotient + up), precision, scale))
            }
            _ => {
                let mean = i64::try_from(self.sum / count).ok()?;
                ScalarValue::Int64(Some(mean)).cast_to(&self.result).ok()
            }
        }
    }
}

impl Accumulator for ExactAverage {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.add_values(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.distinct.is_some() {
            let lists = states.first().and_then(|states| states.as_list_opt::<i32>());
            let Some(lists) = lists else {
                return exec_err!("the state of AVG(DISTINCT) is a list");
            };
            return lists.iter().flatten().try_for_each(|values| self.add_values(&values));
        }
        let [sums, counts] = states else {
            return exec_err!("the state of AVG is a sum and a count");
        };
        let (Some(sums), Some(counts)) =
            (sums.as_primitive_opt::<Decimal128Type>(), counts.as_primitive_opt::<Int64Type>())
        else {
            return exec_err!("the state of AVG is a sum and a count");
        };
        let pairs = sums.iter().flatten().zip(counts.iter().flatten());
        for (sum, count) in pairs {
            self.add_sum(sum, count)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.mean() {
            Some(mean) => Ok(mean),
            None => exec_err!("the result of AVG is out of range"),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let decimal = |value| ScalarValue::Decimal128(Some(value), 38, self.scale);
        if let Some(seen) = &self.distinct {
            let mut values: Vec<i128> = seen.iter().copied().collect();
            values.sort_unstable();
            let values: Vec<ScalarValue> = values.into_iter().map(decimal).collect();
            let item = DataType::Decimal128(38, self.scale);
            return Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &item))]);
        }
        Ok(vec![decimal(self.sum), ScalarValue::Int64(Some(self.count))])
    }

    fn size(&self) -> usize {
        let distinct = self.distinct.as_ref().map_or(0, |seen| seen.capacity() * 17);
        size_of::<Self>() + distinct
    }
}
