//! PERCENTILE, APPROX_PERCENTILE and PERCENTILE_DISC, all of them exact.
//!
//! The accumulator serves ad-hoc queries; the streaming operators know the functions by name and
//! keep their own state.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

/// The functions of this file; PERCENTILE_CONT and MEDIAN are DataFusion's.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let function = |name: &'static str, aliases: &[&str], discrete| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let aliases = aliases.iter().map(|alias| (*alias).to_string()).collect();
        Arc::new(AggregateUDF::new_from_impl(Percentile { name, aliases, discrete, signature }))
    };
    vec![
        function("percentile", &[], false),
        function("approx_percentile", &["approx_quantile"], false),
        function("percentile_disc", &["quantile_disc"], true),
    ]
}

/// A percentile of the non-null values of a group.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    aliases: Vec<String>,
    /// One of the values, of any type; else on the line between two numbers.
    discrete: bool,
    signature: Signature,
}

impl Percentile {
    fn value_type(&self, given: &DataType) -> DataType {
        if self.discrete { given.clone() } else { DataType::Float64 }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name.to_uppercase();
        let [value, fraction] = given else {
            return plan_err!("{name} takes a value and a fraction from 0 to 1");
        };
        if !fraction.is_numeric() || !(self.discrete || value.is_numeric() || value.is_null()) {
            return plan_err!("{name} takes a number and a fraction, not {value} and {fraction}");
        }
        Ok(vec![self.value_type(value), DataType::Float64])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [value, _] => Ok(self.value_type(value)),
            _ => plan_err!("{} takes a value and a fraction", self.name.to_uppercase()),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let fraction = args.exprs.get(1).and_then(|e| e.downcast_ref::<Literal>());
        let fraction = match fraction.map(Literal::value) {
            Some(ScalarValue::Float64(Some(f))) if (0.0..=1.0).contains(f) => *f,
            _ => return plan_err!("a percentile takes a constant fraction from 0 to 1"),
        };
        let descending = args.order_bys.first().is_some_and(|sort| sort.options.descending);
        let result = args.return_field.data_type().clone();
        let discrete = self.discrete;
        Ok(Box::new(Values { fraction, descending, discrete, result, values: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let item = Arc::new(Field::new_list_field(args.return_field.data_type().clone(), true));
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(item), true))])
    }
}

/// All values so far.
#[derive(Debug)]
struct Values {
    fraction: f64,
    descending: bool,
    discrete: bool,
    result: DataType,
    values: Vec<ScalarValue>,
}

impl Values {
    fn add(&mut self, values: &dyn Array) -> Result<()> {
        for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
            self.values.push(ScalarValue::try_from_array(values, row)?);
        }
        Ok(())
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.add(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        use arrow::array::AsArray;
        let Some(lists) = states.first().and_then(|states| states.as_list_opt::<i32>()) else {
            return exec_err!("the state of a percentile is a list");
        };
        lists.iter().flatten().try_for_each(|values| self.add(&values))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(last) = self.values.len().checked_sub(1) else {
            return ScalarValue::try_from(&self.result);
        };
        self.values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        if self.descending {
            self.values.reverse();
        }
        if self.discrete {
            let index = (self.fraction * (last + 1) as f64).ceil() as usize;
            return Ok(self.values[index.saturating_sub(1).min(last)].clone());
        }
        let position = self.fraction * last as f64;
        match (&self.values[position.floor() as usize], &self.values[position.ceil() as usize]) {
            (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => {
                let between = if a == b { *a } else { a + (b - a) * position.fract() };
                Ok(ScalarValue::Float64(Some(between)))
            }
            _ => exec_err!("a percentile of something else than numbers"),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = ScalarValue::new_list_nullable(&self.values, &self.result);
        Ok(vec![ScalarValue::List(list)])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<ScalarValue>()
    }
}
