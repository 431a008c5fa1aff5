//! IF, GREATEST and LEAST, and predicates on text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{nullif, prep_null_mask_filter};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions::core::{greatest, least};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::define::{Call, Function, Param, Returns, is_text};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let predicate = |name, evaluate| {
        let returns = Returns::Type(DataType::Boolean);
        Function::new(name, &[Param::Text], returns, evaluate).udf()
    };
    vec![
        Arc::new(ScalarUDF::new_from_impl(If::new())),
        Arc::new(ScalarUDF::new_from_impl(Extreme::new("greatest", greatest()))),
        Arc::new(ScalarUDF::new_from_impl(Extreme::new("least", least()))),
        predicate("is_alpha", |c| every(c, |s| s.chars().all(char::is_alphabetic))),
        predicate("is_digit", |c| every(c, |s| s.chars().all(char::is_numeric))),
        predicate("is_decimal", |c| every(c, is_decimal_text)),
    ]
}

/// The name of [`not_null`].
pub const NOT_NULL: &str = "not_null";

/// `not_null(value, 'column')`: the value, or an error that makes the row a dead letter.
pub fn not_null() -> Arc<ScalarUDF> {
    let same = Returns::From(|given| match given {
        [value, _] => Ok(value.clone()),
        _ => plan_err!("NOT_NULL takes a value and a name"),
    });
    Function::new(NOT_NULL, &[Param::Any, Param::Unit], same, |call| {
        let value = call.array(0)?;
        if value.null_count() > 0 {
            let column = call.arg(1)?.cast_to(&DataType::Utf8View, None)?.into_array(1)?;
            return exec_err!("column '{}' is NOT NULL", column.as_string_view().value(0));
        }
        Ok(value)
    })
    .udf()
}

/// NULL and the empty string are not of any kind.
fn every(call: &Call<'_>, test: impl Fn(&str) -> bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.bool_rows(|i| Ok(Some(text.get(i).is_some_and(|text| !text.is_empty() && test(text)))))
}

fn is_decimal_text(text: &str) -> bool {
    let text = text.trim();
    // Rust reads words such as `nan` too.
    text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.parse::<f64>().is_ok()
}

/// The type that two branches share.
fn common(a: &DataType, b: &DataType) -> Result<DataType> {
    if a == b && !is_text(a) {
        return Ok(a.clone());
    }
    match (a, b) {
        (a, b) if is_text(a) && (is_text(b) || b.is_null()) => Ok(DataType::Utf8View),
        (a, b) if a.is_null() && is_text(b) => Ok(DataType::Utf8View),
        _ => match comparison_coercion(a, b) {
            Some(common) => Ok(common),
            None => plan_err!("{a} and {b} have no common type"),
        },
    }
}

/// `IF(condition, a, b)`: a CASE, so that only the chosen branch is evaluated.
#[derive(Debug, PartialEq, Eq, Hash)]
struct If {
    signature: Signature,
}

impl If {
    fn new() -> Self {
        If { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for If {
    fn name(&self) -> &str {
        "if"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [condition, then, otherwise] = given else {
            return plan_err!(
                "IF takes a condition and two values, {} arguments given",
                given.len()
            );
        };
        if !matches!(condition, DataType::Boolean | DataType::Null) {
            return plan_err!("the condition of IF must be BOOLEAN, not {condition}");
        }
        let common = common(then, otherwise)?;
        Ok(vec![DataType::Boolean, common.clone(), common])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [_, then, _] => Ok(then.clone()),
            _ => plan_err!("IF takes a condition and two values"),
        }
    }

    fn short_circuits(&self) -> bool {
        true
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Ok([condition, then, otherwise]) = <[Expr; 3]>::try_from(args.clone()) else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let branches = vec![(Box::new(condition), Box::new(then))];
        let case = Case::new(None, branches, Some(Box::new(otherwise)));
        Ok(ExprSimplifyResult::Simplified(Expr::Case(case)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args.args.iter().map(|arg| arg.to_array(args.number_rows));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let [condition, then, otherwise] = arrays.as_slice() else {
            return exec_err!("IF takes a condition and two values");
        };
        let Some(condition) = condition.as_boolean_opt() else {
            return exec_err!("the condition of IF must be BOOLEAN");
        };
        let mask = match condition.null_count() {
            0 => condition.clone(),
            _ => prep_null_mask_filter(condition),
        };
        Ok(ColumnarValue::Array(zip(&mask, then, otherwise)?))
    }
}

/// GREATEST and LEAST: DataFusion's, but NULL as soon as one argument is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    name: &'static str,
    inner: Arc<ScalarUDF>,
}

impl Extreme {
    fn new(name: &'static str, inner: Arc<ScalarUDF>) -> Self {
        Extreme { name, inner }
    }
}

impl ScalarUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.iter().all(is_text) {
            return Ok(vec![DataType::Utf8View; given.len()]);
        }
        self.inner.coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut nulls: Option<NullBuffer> = None;
        for arg in &args.args {
            match arg {
                ColumnarValue::Array(array) => {
                    nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
                }
                ColumnarValue::Scalar(value) if value.is_null() => {
                    nulls = Some(NullBuffer::new_null(rows));
                }
                ColumnarValue::Scalar(_) => {}
            }
        }
        let result = self.inner.invoke_with_args(args)?;
        match nulls {
            Some(nulls) if nulls.null_count() > 0 => {
                let mask = BooleanArray::new(!nulls.inner(), None);
                Ok(ColumnarValue::Array(nullif(&result.to_array(rows)?, &mask)?))
            }
            _ => Ok(result),
        }
    }
}
