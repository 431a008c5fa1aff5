//! How a scalar function is defined: names, parameters, result type and evaluation as data.
//!
//! Owns argument coercion, the access to arguments (scalar or column) by row, and the one
//! implementation of DataFusion's interface. Knows no particular function. Used by every file
//! of [`super`] that lists functions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// What a parameter takes; other types that convert without loss are cast to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    /// STRING.
    Text,
    /// Any integer, as BIGINT.
    Int,
    /// A string, or any integer as BIGINT.
    TextOrInt,
    /// A string or bytes.
    TextOrBytes,
    /// Any number, as DOUBLE.
    Double,
    /// TIMESTAMP or DATE as it is; a string as TIMESTAMP(3).
    Moment,
    /// TIMESTAMP, DATE or TIME as it is; a string as TIMESTAMP(3).
    MomentOrTime,
    /// A timestamp, date or string as it is.
    MomentOrText,
    /// A string literal that decides the result's type: a cast would hide it from the planner.
    Unit,
    /// Any type, untouched.
    Any,
}

impl Param {
    /// The type that an argument of type `given` is cast to, if it can be one.
    fn coerce(self, given: &DataType) -> Option<DataType> {
        use DataType::{Binary, BinaryView, Boolean, Date32, Date64, Float64, Int64, LargeBinary};
        use DataType::{Null, Time32, Time64, Timestamp, Utf8View};
        let given = match given {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        let textual = is_text(given) || *given == Null;
        let plain = textual
            || given.is_numeric()
            || matches!(given, Boolean | Date32 | Time32(_) | Time64(_) | Timestamp(_, _));
        match self {
            Param::Text => plain.then_some(Utf8View),
            Param::Int => (given.is_integer() || *given == Null).then_some(Int64),
            Param::TextOrInt if given.is_integer() => Some(Int64),
            Param::TextOrInt => textual.then_some(Utf8View),
            Param::TextOrBytes => match given {
                Binary | LargeBinary | BinaryView | DataType::FixedSizeBinary(_) => {
                    Some(BinaryView)
                }
                _ => plain.then_some(Utf8View),
            },
            Param::Double => (given.is_numeric() || *given == Null).then_some(Float64),
            Param::Moment | Param::MomentOrTime | Param::MomentOrText => match given {
                Timestamp(_, _) | Date32 => Some(given.clone()),
                Date64 => Some(Timestamp(TimeUnit::Millisecond, None)),
                Time32(_) | Time64(_) if self == Param::MomentOrTime => {
                    Some(Time32(TimeUnit::Millisecond))
                }
                _ if textual && self == Param::MomentOrText => Some(Utf8View),
                _ if textual => Some(Timestamp(TimeUnit::Millisecond, None)),
                _ => None,
            },
            Param::Unit => textual.then(|| given.clone()),
            Param::Any => Some(given.clone()),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Param::Text => "STRING",
            Param::Int => "an integer",
            Param::TextOrInt => "STRING or an integer",
            Param::TextOrBytes => "STRING or BYTES",
            Param::Double => "a number",
            Param::Moment => "TIMESTAMP or DATE",
            Param::MomentOrTime => "TIMESTAMP, DATE or TIME",
            Param::MomentOrText => "TIMESTAMP, DATE or STRING",
            Param::Unit => "a STRING literal",
            Param::Any => "any type",
        }
    }
}

/// Whether a type is one of the string types.
pub(super) fn is_text(given: &DataType) -> bool {
    matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// TIMESTAMP(3): what times of unknown precision become.
pub(super) const TIMESTAMP_MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// The type of a function's result.
#[derive(Clone)]
pub(super) enum Returns {
    /// Always this type.
    Type(DataType),
    /// From the types of the coerced arguments.
    From(fn(&[DataType]) -> Result<DataType>),
    /// From the arguments' types and their literals where known.
    FromLiterals(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

/// Evaluates a call over its rows.
pub(super) type Evaluate = fn(&Call<'_>) -> Result<ArrayRef>;

/// Refuses literals that can never work (a broken pattern) when the query is planned.
pub(super) type Check = fn(&[Option<&ScalarValue>]) -> Result<()>;

/// A scalar function as data.
#[derive(Clone)]
pub(super) struct Function {
    name: &'static str,
    aliases: Vec<String>,
    params: Vec<Param>,
    required: usize,
    variadic: bool,
    returns: Returns,
    evaluate: Evaluate,
    check: Option<Check>,
    signature: Signature,
}

impl Function {
    /// A function of exactly `params`.
    pub(super) fn new(
        name: &'static str,
        params: &[Param],
        returns: Returns,
        evaluate: Evaluate,
    ) -> Self {
        Function {
            name,
            aliases: Vec::new(),
            params: params.to_vec(),
            required: params.len(),
            variadic: false,
            returns,
            evaluate,
            check: None,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// A function of strings and numbers that returns STRING.
    pub(super) fn text(name: &'static str, params: &[Param], evaluate: Evaluate) -> Self {
        Function::new(name, params, Returns::Type(DataType::Utf8View), evaluate)
    }

    /// The same function where only the first `required` parameters must be given.
    pub(super) fn optional_after(mut self, required: usize) -> Self {
        self.required = required;
        self
    }

    /// The same function whose last parameter may be repeated.
    pub(super) fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// The same function under more names.
    pub(super) fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.to_string());
        self
    }

    /// The same function with a check of its literals.
    pub(super) fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// The function as DataFusion takes it.
    pub(super) fn udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn param(&self, i: usize) -> Option<Param> {
        let last = self.params.last().copied();
        self.params.get(i).copied().or(if self.variadic { last } else { None })
    }

    fn arity(&self) -> String {
        match (self.required, self.params.len(), self.variadic) {
            (least, _, true) => format!("at least {least}"),
            (least, most, false) if least == most => format!("{least}"),
            (least, most, false) => format!("{least} to {most}"),
        }
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names are unique among our functions.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let most = if self.variadic { usize::MAX } else { self.params.len() };
        if given.len() < self.required || given.len() > most {
            return plan_err!(
                "{} takes {} arguments, {} given",
                self.name.to_uppercase(),
                self.arity(),
                given.len()
            );
        }
        let coerce = |(i, given): (usize, &DataType)| {
            let param = self.param(i).unwrap_or(Param::Any);
            param.coerce(given).ok_or_else(|| {
                DataFusionError::Plan(format!(
                    "argument {} of {} must be {}, not {given}",
                    i + 1,
                    self.name.to_uppercase(),
                    param.describe()
                ))
            })
        };
        given.iter().enumerate().map(coerce).collect()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match &self.returns {
            Returns::Type(result) => Ok(result.clone()),
            Returns::From(derive) => derive(given),
            Returns::FromLiterals(derive) => derive(given, &vec![None; given.len()]),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(check) = self.check {
            check(args.scalar_arguments)?;
        }
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let result = match &self.returns {
            Returns::FromLiterals(derive) => derive(&types, args.scalar_arguments)?,
            _ => self.return_type(&types)?,
        };
        Ok(Arc::new(Field::new(self.name, result, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // A call of constants is one row, whatever the batch: it stays a scalar.
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let returns = args.return_field.data_type();
        let call = Call { name: self.name, args: &args.args, rows, returns };
        let result = (self.evaluate)(&call)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// One evaluation of a function: its arguments and the number of rows.
pub(super) struct Call<'a> {
    /// The function's name, for errors.
    pub(super) name: &'static str,
    /// The coerced arguments.
    pub(super) args: &'a [ColumnarValue],
    /// Rows of the result.
    pub(super) rows: usize,
    /// Type of the result.
    pub(super) returns: &'a DataType,
}

impl<'a> Call<'a> {
    /// Argument `i`, or an error that cannot come from a planned query.
    pub(super) fn arg(&self, i: usize) -> Result<&'a ColumnarValue> {
        match self.args.get(i) {
            Some(arg) => Ok(arg),
            None => exec_err!("{} lacks argument {}", self.name.to_uppercase(), i + 1),
        }
    }

    /// Whether optional argument `i` is given.
    pub(super) fn has(&self, i: usize) -> bool {
        i < self.args.len()
    }

    /// Argument `i` as a column of the call's rows; constants are expanded.
    pub(super) fn array(&self, i: usize) -> Result<ArrayRef> {
        match self.arg(i)? {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(value) => value.to_array_of_size(self.rows),
        }
    }

    /// Argument `i` by row, as text.
    pub(super) fn text(&self, i: usize) -> Result<TextArg<'a>> {
        match self.arg(i)? {
            ColumnarValue::Array(array) => match array.as_string_view_opt() {
                Some(array) => Ok(TextArg::Column(array)),
                None => self.mistyped(i, array.data_type()),
            },
            ColumnarValue::Scalar(value) => match value.try_as_str() {
                Some(text) => Ok(TextArg::Constant(text)),
                None if value.is_null() => Ok(TextArg::Constant(None)),
                None => self.mistyped(i, &value.data_type()),
            },
        }
    }

    /// Optional argument `i` by row, as text; `default` if it is not given.
    pub(super) fn text_or(&self, i: usize, default: &'a str) -> Result<TextArg<'a>> {
        if self.has(i) { self.text(i) } else { Ok(TextArg::Constant(Some(default))) }
    }

    /// Argument `i` by row, as BIGINT.
    pub(super) fn int(&self, i: usize) -> Result<IntArg<'a>> {
        match self.arg(i)? {
            ColumnarValue::Array(array) => match array.as_primitive_opt::<Int64Type>() {
                Some(array) => Ok(IntArg::Column(array)),
                None => self.mistyped(i, array.data_type()),
            },
            ColumnarValue::Scalar(ScalarValue::Int64(value)) => Ok(IntArg::Constant(*value)),
            ColumnarValue::Scalar(value) => self.mistyped(i, &value.data_type()),
        }
    }

    /// Optional argument `i` by row, as BIGINT; `default` if it is not given.
    pub(super) fn int_or(&self, i: usize, default: i64) -> Result<IntArg<'a>> {
        if self.has(i) { self.int(i) } else { Ok(IntArg::Constant(Some(default))) }
    }

    /// Argument `i` as a column of doubles.
    pub(super) fn doubles(&self, i: usize) -> Result<arrow::array::Float64Array> {
        let array = self.array(i)?;
        match array.as_primitive_opt::<Float64Type>() {
            Some(array) => Ok(array.clone()),
            None => self.mistyped(i, array.data_type()),
        }
    }

    /// Argument `i` as a constant string; NULL is none.
    pub(super) fn constant_text(&self, i: usize) -> Result<Option<&'a str>> {
        match self.text(i)? {
            TextArg::Constant(text) => Ok(text),
            TextArg::Column(_) => {
                exec_err!("argument {} of {} must be a constant", i + 1, self.name.to_uppercase())
            }
        }
    }

    fn mistyped<T>(&self, i: usize, given: &DataType) -> Result<T> {
        exec_err!("argument {} of {} cannot be {given}", i + 1, self.name.to_uppercase())
    }

    /// A STRING column, one row at a time; `None` is NULL.
    pub(super) fn text_rows<T: AsRef<str>>(
        &self,
        mut row: impl FnMut(usize) -> Result<Option<T>>,
    ) -> Result<ArrayRef> {
        let mut out = StringViewBuilder::with_capacity(self.rows);
        for i in 0..self.rows {
            match row(i)? {
                Some(text) => out.append_value(text.as_ref()),
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    /// A BIGINT column, one row at a time.
    pub(super) fn int_rows(
        &self,
        mut row: impl FnMut(usize) -> Result<Option<i64>>,
    ) -> Result<ArrayRef> {
        let column: Int64Array = (0..self.rows).map(&mut row).collect::<Result<_>>()?;
        Ok(Arc::new(column))
    }

    /// An INT column, one row at a time.
    pub(super) fn int32_rows(
        &self,
        mut row: impl FnMut(usize) -> Result<Option<i32>>,
    ) -> Result<ArrayRef> {
        let column: arrow::array::Int32Array =
            (0..self.rows).map(&mut row).collect::<Result<_>>()?;
        Ok(Arc::new(column))
    }

    /// A BOOLEAN column, one row at a time.
    pub(super) fn bool_rows(
        &self,
        mut row: impl FnMut(usize) -> Result<Option<bool>>,
    ) -> Result<ArrayRef> {
        let column: BooleanArray = (0..self.rows).map(&mut row).collect::<Result<_>>()?;
        Ok(Arc::new(column))
    }
}

/// A text argument, by row.
#[derive(Clone, Copy)]
pub(super) enum TextArg<'a> {
    /// The same for every row.
    Constant(Option<&'a str>),
    /// One value a row.
    Column(&'a StringViewArray),
}

impl<'a> TextArg<'a> {
    /// The value of row `i`; `None` is NULL.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<&'a str> {
        match self {
            TextArg::Constant(text) => *text,
            TextArg::Column(array) if array.is_null(i) => None,
            TextArg::Column(array) => Some(array.value(i)),
        }
    }
}

/// A BIGINT argument, by row.
#[derive(Clone, Copy)]
pub(super) enum IntArg<'a> {
    /// The same for every row.
    Constant(Option<i64>),
    /// One value a row.
    Column(&'a Int64Array),
}

impl IntArg<'_> {
    /// The value of row `i`; `None` is NULL.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<i64> {
        match self {
            IntArg::Constant(value) => *value,
            IntArg::Column(array) if array.is_null(i) => None,
            IntArg::Column(array) => Some(array.value(i)),
        }
    }
}

/// The literal string at argument `i`, where the planner knows it.
pub(super) fn literal_text<'a>(args: &[Option<&'a ScalarValue>], i: usize) -> Option<&'a str> {
    args.get(i).copied().flatten().and_then(|value| value.try_as_str()).flatten()
}
