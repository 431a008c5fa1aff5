//! Functions that no replay could repeat: known by name, refused with a reason.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::define::{Function, Param, Returns};
use crate::error::Error;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    ["rand", "random", "rand_integer", "uuid", "uuid_v7"]
        .map(|name| {
            let returns = Returns::Type(DataType::Float64);
            Function::new(name, &[Param::Any], returns, |call| {
                exec_err!("{} is not supported", call.name.to_uppercase())
            })
            .optional_after(0)
            .variadic()
            .check(refuse)
            .udf()
        })
        .into()
}

fn refuse(_: &[Option<&ScalarValue>]) -> Result<()> {
    let message = "random values (RAND, RANDOM, RAND_INTEGER, UUID, UUID_V7) are not supported, \
                   because a replay must give the same answer";
    let error = Error::sql(message)
        .with_hint("derive one from the row, as in MD5(CONCAT(id, 'salt')) or MOD(id, 100)");
    Err(DataFusionError::External(Box::new(error)))
}
