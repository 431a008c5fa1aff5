//! `NOW()` and its relatives in ad-hoc queries: the event time that the answer is as of.
//!
//! The wall clock is never read: the same query at the same event time has the same answer.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::error::Result;
use crate::time::EventTime;

const DAY_MS: i64 = 86_400_000;

/// A function without arguments (or with a precision, which is ignored) of constant value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: String,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// Makes every function that names the present time return `as_of`.
pub(super) fn register(state: &mut SessionState, as_of: EventTime) -> Result<()> {
    let zoned = ScalarValue::TimestampMillisecond(Some(as_of), Some(Arc::from("UTC")));
    let local = ScalarValue::TimestampMillisecond(Some(as_of), None);
    let day = i32::try_from(as_of.div_euclid(DAY_MS)).ok();
    let time = i32::try_from(as_of.rem_euclid(DAY_MS)).ok();
    let date = ScalarValue::Date32(day);
    let time = ScalarValue::Time32Millisecond(time);
    let functions = [
        ("now", &zoned),
        ("proctime", &zoned),
        ("current_timestamp", &zoned),
        ("current_row_timestamp", &zoned),
        ("localtimestamp", &local),
        ("current_date", &date),
        ("today", &date),
        ("current_time", &time),
        ("localtime", &time),
    ];
    for (name, value) in functions {
        let either = vec![TypeSignature::Nullary, TypeSignature::Any(1)];
        let function = Constant {
            name: name.to_owned(),
            value: value.clone(),
            signature: Signature::one_of(either, Volatility::Immutable),
        };
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
    }
    Ok(())
}
