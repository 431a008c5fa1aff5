//! PROCTIME, NOW and their kin: names that the planner replaces by the row's event time.
//!
//! Never reads a clock: event time is assigned at the source, so that a replay sees the same.
//! Evaluating one of these functions is a defect of the planner.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::define::TIMESTAMP_MS;

/// A function of no arguments whose value is the row's event time, or a part of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct EventTimeFunction {
    name: &'static str,
    aliases: Vec<String>,
    returns: DataType,
    signature: Signature,
}

impl EventTimeFunction {
    fn new(name: &'static str, returns: DataType) -> Self {
        let signature = Signature::new(TypeSignature::Nullary, Volatility::Volatile);
        EventTimeFunction { name, aliases: Vec::new(), returns, signature }
    }
}

impl ScalarUDFImpl for EventTimeFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} is replaced by the planner", self.name)
    }
}

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let moments =
        ["proctime", "now", "current_timestamp", "localtimestamp", "current_row_timestamp"];
    let time = DataType::Time32(TimeUnit::Millisecond);
    let mut all: Vec<EventTimeFunction> =
        moments.map(|name| EventTimeFunction::new(name, TIMESTAMP_MS)).into();
    let mut today = EventTimeFunction::new("current_date", DataType::Date32);
    // DataFusion's name for the same thing; it would read the wall clock.
    today.aliases.push("today".to_string());
    all.push(today);
    all.push(EventTimeFunction::new("localtime", time.clone()));
    all.push(EventTimeFunction::new("current_time", time));
    all.into_iter().map(|f| Arc::new(ScalarUDF::new_from_impl(f))).collect()
}

/// Whether a call of `udf` stands for the row's event time: its value is that time cast to the
/// function's return type.
pub fn is_event_time_function(udf: &ScalarUDF) -> bool {
    udf.inner().is::<EventTimeFunction>()
}
