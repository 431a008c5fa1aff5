//! Windowing table-valued functions as a logical node.
//!
//! Owns the node that stands for `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in plans and what the
//! optimiser may do with it. Made by [`super::window_tvf`], taken apart by the lowering.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, DFSchemaRef, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::proctime::TIME_TYPE;

/// Number of columns that a window adds.
pub const WINDOW_COLUMNS: usize = 3;

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
/// `window_start`, `window_end` and `window_time` (`window_end - 1 ms`), all TIMESTAMP(3).
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

impl WindowSpec {
    /// The function's name.
    pub fn name(&self) -> &'static str {
        match self {
            WindowSpec::Tumble { .. } => "TUMBLE",
            WindowSpec::Hop { .. } => "HOP",
            WindowSpec::Cumulate { .. } => "CUMULATE",
            WindowSpec::Session { .. } => "SESSION",
        }
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, offset) = match self {
            WindowSpec::Tumble { size, offset } => (format!("size={size} ms"), *offset),
            WindowSpec::Hop { size, slide, offset } => {
                (format!("size={size} ms, slide={slide} ms"), *offset)
            }
            WindowSpec::Cumulate { size, step, offset } => {
                (format!("size={size} ms, step={step} ms"), *offset)
            }
            WindowSpec::Session { gap } => (format!("gap={gap} ms"), 0),
        };
        write!(f, "{}({shape}", self.name())?;
        if offset != 0 {
            write!(f, ", offset={offset} ms")?;
        }
        f.write_str(")")
    }
}

impl WindowNode {
    /// A node over `input`; window columns whose names are taken get a `0` behind.
    pub fn try_new(
        input: LogicalPlan,
        spec: WindowSpec,
        time_column: Expr,
        partition_by: Vec<Expr>,
    ) -> Result<Self> {
        let names = ["window_start", "window_end", "window_time"].map(|name| {
            let mut name = name.to_string();
            while input.schema().has_column_with_unqualified_name(&name) {
                name.push('0');
            }
            name
        });
        Self::with_names(input, spec, time_column, partition_by, names)
    }

    fn with_names(
        input: LogicalPlan,
        spec: WindowSpec,
        time_column: Expr,
        partition_by: Vec<Expr>,
        names: [String; WINDOW_COLUMNS],
    ) -> Result<Self> {
        let schema = input.schema();
        let mut fields: Vec<_> = schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        let window = names.into_iter().map(|name| Field::new(name, TIME_TYPE, false));
        fields.extend(window.map(|field| (None, Arc::new(field))));
        let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
        Ok(WindowNode { input, spec, time_column, partition_by, schema: Arc::new(schema) })
    }

    /// The names of the three window columns: start, end, time.
    pub fn window_columns(&self) -> [String; WINDOW_COLUMNS] {
        let count = self.schema.fields().len();
        [3, 2, 1].map(|back| match count.checked_sub(back) {
            Some(index) => self.schema.field(index).name().clone(),
            None => String::new(),
        })
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let this = (&self.input, &self.spec, &self.time_column, &self.partition_by);
        this.partial_cmp(&(&other.input, &other.spec, &other.time_column, &other.partition_by))
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut expressions = vec![self.time_column.clone()];
        expressions.extend(self.partition_by.iter().cloned());
        expressions
    }

    /// A filter on the row goes below the window; one on the window's columns cannot. Below a
    /// session it could split or shift sessions, unless it keeps or drops whole keys.
    #[allow(clippy::disallowed_types, reason = "the trait's type; its order is not used")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        if !matches!(self.spec, WindowSpec::Session { .. }) {
            return self.window_columns().into_iter().collect();
        }
        let is_key = |index: usize| {
            let (qualifier, field) = self.schema.qualified_field(index);
            self.partition_by.iter().any(|key| match key {
                Expr::Column(column) => {
                    column.name == *field.name()
                        && (column.relation.is_none() || column.relation.as_ref() == qualifier)
                }
                _ => false,
            })
        };
        let count = self.schema.fields().len();
        (0..count)
            .filter(|index| *index + WINDOW_COLUMNS >= count || !is_key(*index))
            .map(|index| self.schema.field(index).name().clone())
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {} on {}", self.spec, self.time_column)?;
        if !self.partition_by.is_empty() {
            let keys: Vec<String> = self.partition_by.iter().map(ToString::to_string).collect();
            write!(f, " partition by {}", keys.join(", "))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        match (exprs.next(), inputs.into_iter().next()) {
            (Some(time_column), Some(input)) => Self::with_names(
                input,
                self.spec.clone(),
                time_column,
                exprs.collect(),
                self.window_columns(),
            ),
            _ => plan_err!("a window has a time column and an input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let count = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|index| *index < count).collect()])
    }
}
