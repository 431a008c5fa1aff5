//! OVER calls as the operators see them: functions over frames of an ordered partition.

use std::fmt;

use arrow::datatypes::FieldRef;

use super::aggregate::AggregateCall;
use super::node::SortColumn;

/// Functions over frames of partitions, appended to each row as columns.
#[derive(Clone, Debug, PartialEq)]
pub struct OverAggregate {
    /// `PARTITION BY`.
    pub partition: Vec<usize>,
    /// `ORDER BY`; the whole row breaks ties.
    pub order: Vec<SortColumn>,
    /// The calls, one output column each.
    pub calls: Vec<OverCall>,
    /// When a row's result is known.
    pub regime: OverRegime,
    /// Emit net changes once, when the input has ended: nobody reads those in between.
    pub final_only: bool,
}

/// When a row's result is known, and so what must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRegime {
    /// The input only grows and is ordered by row-time, the first order column: a row is final
    /// when the frontier passes it, at its row-time and `lag` ms; rows that come later are late.
    Appending {
        /// How many ms behind its row-time a row may come.
        lag: i64,
    },
    /// Any order, any input: results change as rows come and go.
    Updating,
    /// Partitions lie within windows: results come when their window closes.
    Windowed {
        /// Column of the window's end.
        end: usize,
    },
}

/// One function over a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct OverCall {
    /// The function.
    pub function: OverFunction,
    /// The rows it sees; of the whole partition for functions of the row's place.
    pub frame: OverFrame,
    /// Name and type of the result.
    pub output: FieldRef,
}

/// What is computed of a frame or of the row's place in its partition.
#[derive(Clone, Debug, PartialEq)]
pub enum OverFunction {
    /// An aggregate of the frame's rows.
    Aggregate(AggregateCall),
    /// The value of the first or last row of the frame.
    Edge {
        /// The value's column.
        column: usize,
        /// The last row's, not the first's.
        last: bool,
        /// Rows whose value is NULL do not count.
        ignore_nulls: bool,
    },
    /// The value of the `place`-th row of the frame, from 1.
    Nth {
        /// The value's column.
        column: usize,
        /// Which row.
        place: u64,
    },
    /// The value of the row `back` rows before (after, if negative) in the partition.
    Shift {
        /// The value's column.
        column: usize,
        /// How many rows back.
        back: i64,
        /// The column with the value for want of such a row; NULL if absent.
        default: Option<usize>,
    },
    /// Place in the partition, from 1.
    RowNumber,
    /// The place of the first of equal rows.
    Rank,
    /// Number of distinct order values up to the row's.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`.
    PercentRank,
    /// Share of rows up to the row and its equals.
    CumeDist,
    /// Which of so many nearly equal parts.
    Ntile(u64),
}

/// `ROWS` or `RANGE BETWEEN start AND end`.
///
/// Bounds are rows, or units of the order column, behind (negative) or ahead; absent is UNBOUNDED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OverFrame {
    /// Counted in rows, not in values of the order column.
    pub rows: bool,
    /// The first row; absent: UNBOUNDED PRECEDING.
    pub start: Option<i64>,
    /// The last row; absent: UNBOUNDED FOLLOWING.
    pub end: Option<i64>,
}

impl OverFrame {
    /// All rows of the partition.
    pub const WHOLE: OverFrame = OverFrame { rows: true, start: None, end: None };

    /// Whether an offset in units of the order column is part of it.
    pub fn has_range_offset(&self) -> bool {
        !self.rows && [self.start, self.end].iter().any(|b| b.is_some_and(|v| v != 0))
    }

    /// Whether it ends at or before the current row and its equals.
    pub fn is_past(&self) -> bool {
        self.end.is_some_and(|end| end <= 0)
    }
}

impl OverFunction {
    /// The name to show.
    pub fn name(&self) -> String {
        match self {
            OverFunction::Aggregate(_) => "AGGREGATE".into(),
            OverFunction::Edge { last: false, .. } => "FIRST_VALUE".into(),
            OverFunction::Edge { last: true, .. } => "LAST_VALUE".into(),
            OverFunction::Nth { .. } => "NTH_VALUE".into(),
            OverFunction::Shift { back, .. } if *back < 0 => "LEAD".into(),
            OverFunction::Shift { .. } => "LAG".into(),
            OverFunction::RowNumber => "ROW_NUMBER".into(),
            OverFunction::Rank => "RANK".into(),
            OverFunction::DenseRank => "DENSE_RANK".into(),
            OverFunction::PercentRank => "PERCENT_RANK".into(),
            OverFunction::CumeDist => "CUME_DIST".into(),
            OverFunction::Ntile(parts) => format!("NTILE({parts})"),
        }
    }

    /// Whether the frame matters to it.
    pub fn reads_frame(&self) -> bool {
        matches!(
            self,
            OverFunction::Aggregate(_) | OverFunction::Edge { .. } | OverFunction::Nth { .. }
        )
    }

    /// Whether it needs the number of rows of the partition.
    pub fn needs_total(&self) -> bool {
        use OverFunction as F;
        matches!(self, F::PercentRank | F::CumeDist | F::Ntile(_))
    }
}

impl OverCall {
    /// Whether no later row of the partition can change its result.
    pub fn is_past(&self) -> bool {
        match &self.function {
            OverFunction::Shift { back, .. } => *back >= 0,
            function if function.needs_total() => false,
            function if function.reads_frame() => self.frame.is_past(),
            _ => true,
        }
    }

    /// The input columns that it reads.
    pub fn columns(&self) -> Vec<usize> {
        match &self.function {
            OverFunction::Aggregate(call) => {
                call.args.iter().chain(&call.filter).copied().collect()
            }
            OverFunction::Edge { column, .. } | OverFunction::Nth { column, .. } => vec![*column],
            OverFunction::Shift { column, default, .. } => {
                std::iter::once(*column).chain(*default).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for OverFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: Option<i64>, open: &str| match bound {
            None => format!("UNBOUNDED {open}"),
            Some(0) => "CURRENT ROW".into(),
            Some(n) if n < 0 => format!("{} PRECEDING", n.unsigned_abs()),
            Some(n) => format!("{n} FOLLOWING"),
        };
        let unit = if self.rows { "ROWS" } else { "RANGE" };
        let (start, end) = (bound(self.start, "PRECEDING"), bound(self.end, "FOLLOWING"));
        write!(f, "{unit} BETWEEN {start} AND {end}")
    }
}
