//! Windowing table-valued functions as a logical node.

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The shape of a window, all spans in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum WindowSpec {
    /// `[offset + k*size, offset + (k+1)*size)`.
    Tumble {
        /// Length.
        size: i64,
        /// Shift of the window starts from the epoch.
        offset: i64,
    },
    /// Starts every `slide`, lasts `size`; `size` need not be a multiple of `slide`.
    Hop {
        /// Length.
        size: i64,
        /// Distance between starts.
        slide: i64,
        /// Shift of the window starts from the epoch.
        offset: i64,
    },
    /// Starts every `size`, ends at each multiple of `step` up to `size`.
    Cumulate {
        /// Greatest length.
        size: i64,
        /// Distance between ends.
        step: i64,
        /// Shift of the window starts from the epoch.
        offset: i64,
    },
    /// Rows of one key at most `gap` apart: two rows exactly one gap apart belong to one session.
    Session {
        /// The gap.
        gap: i64,
    },
}

/// `TABLE(TUMBLE(TABLE input, DESCRIPTOR(time_column), ..))`: the input's columns followed by
/// `window_start`, `window_end` (TIMESTAMP(3)) and `window_time` (TIMESTAMP(3), `window_end - 1 ms`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// The windowed relation.
    pub input: LogicalPlan,
    /// The shape.
    pub spec: WindowSpec,
    /// The DESCRIPTOR column, an expression over the input.
    pub time_column: Expr,
    /// `PARTITION BY` of a session; empty otherwise.
    pub partition_by: Vec<Expr>,
    /// The input's columns and the three window columns.
    pub schema: DFSchemaRef,
}
