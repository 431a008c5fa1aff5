//! Aggregate functions with Flink's result types, over DataFusion's accumulators.
//!
//! For ad-hoc queries; the streaming operators know the functions by name and keep their own
//! state. SUM of any integer is BIGINT, wider than Flink's, so that it does not overflow.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::var_samp_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use super::average::ExactAverage;
use super::define::is_text;

/// The functions of this file; COUNT, MIN, MAX and the other deviations are DataFusion's.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let wrap = |name, inner, types, ignores_nulls| {
        Arc::new(AggregateUDF::new_from_impl(Wrapped { name, inner, types, ignores_nulls }))
    };
    vec![
        Arc::new(AggregateUDF::new_from_impl(Average::new())),
        Arc::new(AggregateUDF::new_from_impl(ListAgg::new())),
        wrap("sum", sum_udaf(), sum_types as CoerceTypes, false),
        wrap("first_value", first_value_udaf(), as_given, true),
        wrap("last_value", last_value_udaf(), as_given, true),
        Arc::new(var_samp_udaf().as_ref().clone().with_aliases(["variance"])),
        wrap("collect", array_agg_udaf(), as_given, true),
    ]
}

type CoerceTypes = fn(&AggregateUDF, &[DataType]) -> Result<Vec<DataType>>;

fn one<'t>(name: &str, given: &'t [DataType]) -> Result<&'t DataType> {
    match given {
        [one] => Ok(one),
        _ => plan_err!("{} takes one argument, {} given", name.to_uppercase(), given.len()),
    }
}

fn sum_types(_: &AggregateUDF, given: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![match one("sum", given)? {
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
        DataType::UInt64 => DataType::UInt64,
        integer if integer.is_integer() || integer.is_null() => DataType::Int64,
        float if float.is_floating() => DataType::Float64,
        other @ DataType::Duration(_) => other.clone(),
        other => return plan_err!("SUM takes numbers, not {other}"),
    }])
}

fn as_given(inner: &AggregateUDF, given: &[DataType]) -> Result<Vec<DataType>> {
    one(inner.name(), given)?;
    Ok(given.to_vec())
}

/// A function of DataFusion's with other argument types, or one that passes over NULLs.
#[derive(Debug)]
struct Wrapped {
    name: &'static str,
    inner: Arc<AggregateUDF>,
    types: CoerceTypes,
    ignores_nulls: bool,
}

impl PartialEq for Wrapped {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Wrapped {}

impl Hash for Wrapped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Wrapped {
    fn args<'a>(&self, args: AccumulatorArgs<'a>) -> AccumulatorArgs<'a> {
        AccumulatorArgs { ignore_nulls: args.ignore_nulls || self.ignores_nulls, ..args }
    }
}

/// The signature of functions that say their types in `coerce_types`.
fn own_types() -> &'static Signature {
    static OWN: std::sync::LazyLock<Signature> =
        std::sync::LazyLock::new(|| Signature::user_defined(Volatility::Immutable));
    &OWN
}

impl AggregateUDFImpl for Wrapped {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        own_types()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        (self.types)(&self.inner, given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field(&self, given: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(given)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(self.args(args))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(self.args(args))
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(self.args(args))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(self.args(args))
    }
}

/// AVG: integers truncate and keep their type, decimals are exact, the rest is DOUBLE.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    inner: Arc<AggregateUDF>,
}

impl Average {
    fn new() -> Self {
        Average { inner: avg_udaf() }
    }
}

/// Whether the average of a type is computed exactly, by [`ExactAverage`].
fn is_exact(given: &DataType) -> bool {
    matches!(given, DataType::Decimal128(_, _)) || given.is_integer()
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        own_types()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match one("avg", given)? {
            exact if is_exact(exact) => Ok(given.to_vec()),
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Null => {
                Ok(vec![DataType::Float64])
            }
            other @ DataType::Duration(_) => Ok(vec![other.clone()]),
            other => plan_err!("AVG takes numbers, not {other}"),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match one("avg", given)? {
            DataType::Decimal128(_, scale) => Ok(DataType::Decimal128(38, (*scale).max(6))),
            integer if integer.is_integer() => Ok(integer.clone()),
            _ => self.inner.return_type(given),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.expr_fields.first().map(|field| field.data_type()) {
            Some(given) if is_exact(given) => {
                let result = args.return_field.data_type().clone();
                Ok(Box::new(ExactAverage::new(given.clone(), result, args.is_distinct)))
            }
            _ => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match args.input_fields.first().map(|field| field.data_type()) {
            Some(given) if is_exact(given) => {
                Ok(ExactAverage::state_fields(args.name, given, args.is_distinct))
            }
            _ => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        let given = args.expr_fields.first().map(|field| field.data_type());
        !given.is_some_and(is_exact) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }
}

/// LISTAGG(value[, separator]): non-null values in their order, joined; NULL for none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ListAgg {
    signature: Signature,
}

impl ListAgg {
    fn new() -> Self {
        ListAgg { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for ListAgg {
    fn name(&self) -> &str {
        "listagg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [value, separator @ ..] = given else {
            return plan_err!("LISTAGG takes a value and a separator");
        };
        let textual = |given: &DataType| is_text(given) || given.is_null();
        // Other values are cast, as `CAST(.. AS STRING)` would.
        if separator.len() > 1 || value.is_binary() || !separator.iter().all(textual) {
            return plan_err!("LISTAGG takes a value and a separator, which is a STRING");
        }
        Ok(vec![DataType::Utf8View; given.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("LISTAGG(DISTINCT ..) is not supported here; use a subquery");
        }
        let separator = match args.exprs.get(1) {
            None => ",".to_string(),
            Some(separator) => match separator.downcast_ref::<Literal>().map(Literal::value) {
                Some(value) => value.try_as_str().flatten().unwrap_or_default().to_string(),
                None => return plan_err!("the separator of LISTAGG must be a literal"),
            },
        };
        Ok(Box::new(Joined { separator, text: None }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "joined");
        Ok(vec![Arc::new(Field::new(name, DataType::Utf8View, true))])
    }
}

/// The values so far, joined.
#[derive(Debug)]
struct Joined {
    separator: String,
    text: Option<String>,
}

impl Joined {
    fn add(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first().and_then(|v| v.as_string_view_opt()) else {
            return exec_err!("LISTAGG takes strings");
        };
        for value in values.iter().flatten() {
            match &mut self.text {
                Some(text) => {
                    text.push_str(&self.separator);
                    text.push_str(value);
                }
                none => *none = Some(value.to_string()),
            }
        }
        Ok(())
    }
}

impl Accumulator for Joined {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8View(self.text.clone()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.text.as_ref().map_or(0, String::capacity)
    }
}
