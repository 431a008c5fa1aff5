//! `PROCTIME()` and `NOW()`: the event time of the row, the only clock that SQL can read.
//!
//! Owns the functions' names and type; they are never evaluated: the lowering replaces their calls
//! by the hidden time column, or makes a filter on `NOW()` a temporal one. Volatile, so that no
//! optimiser rule folds, duplicates or moves them.

use std::sync::LazyLock;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function's name in plans.
pub const NAME: &str = "proctime";

/// The name of `NOW()` and its kin in plans: the same time, which in a filter goes on moving.
pub const NOW: &str = "now";

/// `TIMESTAMP(3)`: the type of event times and window borders.
pub const TIME_TYPE: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

#[derive(Debug, PartialEq, Eq, Hash)]
struct ProcTime {
    signature: Signature,
}

impl ScalarUDFImpl for ProcTime {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(TIME_TYPE)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("PROCTIME() was not replaced by the row's time")
    }
}

/// The function.
pub fn udf() -> ScalarUDF {
    static UDF: LazyLock<ScalarUDF> = LazyLock::new(|| {
        ScalarUDF::from(ProcTime { signature: Signature::nullary(Volatility::Volatile) })
    });
    UDF.clone()
}

/// Whether `expr` is a call of `PROCTIME()` or `NOW()`.
pub fn is_proctime(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == NAME) || is_now(expr)
}

/// Whether `expr` is a call of `NOW()` or one of its other names.
pub fn is_now(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == NOW)
}
