//! Aggregate calls as the operators see them: functions over input columns.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::logical_expr::AggregateUDF;

/// The functions with incremental state of our own; every other one is recomputed from its
/// arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `COUNT(*)` without arguments, `COUNT(x)` of non-null values with one.
    Count,
    /// Sum; NULL for no values.
    Sum,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// Mean; integers truncate towards zero as in Flink (the output field says the type).
    Avg,
    /// Variance: population or sample; standard deviation is its root.
    Variance {
        /// Divide by `n - 1`.
        sample: bool,
        /// Take the square root.
        root: bool,
    },
    /// The value of the first row by event time, then by whole argument row; ignores NULLs as
    /// Flink does.
    FirstValue,
    /// The value of the last row by event time, then by whole argument row; ignores NULLs as Flink
    /// does.
    LastValue,
    /// Non-null values joined by the separator, in order of event time, then value.
    ListAgg {
        /// Between two values.
        separator: String,
    },
    /// A percentile or median of non-null values.
    Quantile(Quantile),
    /// Bit by bit; `BOOL_AND` and `BOOL_OR` of one bit.
    Bits(BitOperation),
    /// A statistic of pairs of numbers: of y, then x.
    Pair(PairStatistic),
    /// Any other aggregate function of the library.
    Other(Arc<AggregateUDF>),
}

/// Which value of an ordered set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantile {
    /// How it is found.
    pub kind: QuantileKind,
    /// The bits of the fraction, from 0 to 1.
    pub fraction_bits: u64,
    /// Whether the greatest value comes first.
    pub descending: bool,
}

/// How a quantile is found between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantileKind {
    /// On the line between them, as DOUBLE.
    Continuous,
    /// The first value of which at least the fraction is at or before it.
    Discrete,
    /// Their mean, in their own type.
    Median,
}

impl Quantile {
    /// The fraction, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction_bits)
    }
}

/// How two sets of bits become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitOperation {
    /// Set in all values.
    And,
    /// Set in one value.
    Or,
    /// Set in an odd number of values.
    Xor,
}

/// What is said of pairs (y, x), none of them with a NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairStatistic {
    /// `CORR`
    Correlation,
    /// `COVAR_POP`, `COVAR_SAMP`
    Covariance {
        /// Divide by `n - 1`.
        sample: bool,
    },
    /// `REGR_SLOPE`
    Slope,
    /// `REGR_INTERCEPT`
    Intercept,
    /// `REGR_R2`
    Determination,
    /// `REGR_COUNT`
    Count,
    /// `REGR_AVGX`
    AverageX,
    /// `REGR_AVGY`
    AverageY,
    /// `REGR_SXX`
    Sxx,
    /// `REGR_SYY`
    Syy,
    /// `REGR_SXY`
    Sxy,
}

/// One aggregate call over columns of the operator's input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// `DISTINCT`.
    pub distinct: bool,
    /// Input columns of the arguments.
    pub args: Vec<usize>,
    /// Input column of the `FILTER` condition (BOOLEAN; NULL counts as false).
    pub filter: Option<usize>,
    /// Name and type of the result.
    pub output: FieldRef,
}
