//! The stream plan: operators, what flows between them, and what becomes of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;

use super::aggregate::AggregateCall;
use super::expr::Expression;
use super::match_recognize::MatchRecognize;
use super::props::Props;
use crate::sql::bind::BoundTable;
use crate::sql::catalog::TableDef;
use crate::sql::settings::Settings;
use crate::sql::window::WindowSpec;

/// A node's place in [`StreamPlan::nodes`]; inputs come before their consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Everything a job computes: a graph of operators, shared where two consumers need the same.
#[derive(Clone, Debug, Default)]
pub struct StreamPlan {
    /// The operators, inputs first.
    pub nodes: Vec<Node>,
    /// What becomes of which node.
    pub outputs: Vec<PlanOutput>,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub operator: Operator,
    /// What it reads.
    pub inputs: Vec<NodeId>,
    /// The columns it produces.
    pub schema: SchemaRef,
    /// What is known of its output.
    pub props: Props,
    /// The settings it was planned under.
    pub settings: Arc<Settings>,
}

/// How an operator learns the window of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowInput {
    /// It assigns windows by the time in `time_column`.
    Assigned {
        /// The time column (TIMESTAMP).
        time_column: usize,
        /// The shape.
        spec: WindowSpec,
    },
    /// The rows carry their window already.
    Attached {
        /// Column of the window's start.
        start: usize,
        /// Column of the window's end.
        end: usize,
    },
}

/// A column to order by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortColumn {
    /// The column.
    pub column: usize,
    /// Direction and place of NULLs.
    pub options: SortOptions,
}

/// `ROW_NUMBER`, `RANK` or `DENSE_RANK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankKind {
    /// Consecutive numbers; ties broken by the whole row.
    RowNumber,
    /// Equal rows share a number; gaps follow.
    Rank,
    /// Equal rows share a number; no gaps.
    DenseRank,
}

/// What an operator does.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// Reads a table; one per table and job.
    Scan(Scan),
    /// Constant rows.
    Values(RecordBatch),
    /// The late rows of the operators of a view.
    LateRows {
        /// The nodes whose late rows are gathered; not its inputs, as their output is not read.
        of: Vec<NodeId>,
    },
    /// The dead letters of all nodes before this one.
    DeadLetters,
    /// Filter, then compute columns.
    Calc(Calc),
    /// All rows of all inputs.
    Union,
    /// One copy of each row per grouping set: columns outside the set become NULL, the set's id is
    /// appended.
    Expand {
        /// For each set: which of the leading columns are kept, and its id.
        sets: Vec<(Vec<bool>, i64)>,
        /// How many leading columns are grouping columns.
        keys: usize,
    },
    /// Appends window_start, window_end and window_time, one copy of a row per window.
    WindowAssign {
        /// The time column.
        time_column: usize,
        /// The shape; not a session.
        spec: WindowSpec,
    },
    /// Assigns rows to sessions; a row is emitted when its session has closed.
    SessionAssign {
        /// The time column.
        time_column: usize,
        /// The gap in ms.
        gap: i64,
        /// `PARTITION BY`.
        keys: Vec<usize>,
    },
    /// Updating aggregation: keys, then calls.
    GroupAggregate {
        /// Group columns.
        keys: Vec<usize>,
        /// The calls.
        calls: Vec<AggregateCall>,
        /// Emit each group once, when the input has ended: nobody reads the changes in between.
        final_only: bool,
    },
    /// Aggregation per window: keys, calls, window_start, window_end, window_time.
    WindowAggregate {
        /// How rows get their window.
        window: WindowInput,
        /// Group columns beside the window.
        keys: Vec<usize>,
        /// The calls.
        calls: Vec<AggregateCall>,
    },
    /// Aggregation per session: keys, calls, window_start, window_end, window_time.
    SessionAggregate {
        /// The time column.
        time_column: usize,
        /// The gap in ms.
        gap: i64,
        /// `PARTITION BY`, which are the group columns too.
        keys: Vec<usize>,
        /// The calls.
        calls: Vec<AggregateCall>,
    },
    /// Rows of each window and partition ranked; those with `from <= rank <= to` kept.
    WindowRank(WindowRank),
    /// Rows of two windowed inputs with equal windows and keys.
    WindowJoin(WindowJoin),
    /// Row pattern recognition.
    MatchRecognize(Box<MatchRecognize>),
}

/// Reads a table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<BoundTable>,
    /// The stored columns read.
    pub columns: SchemaRef,
    /// Rowtime and watermark over those columns; ingestion time if absent.
    pub watermark: Option<(Expression, Expression)>,
}

impl PartialEq for Scan {
    fn eq(&self, other: &Self) -> bool {
        self.table.def.name == other.table.def.name && self.columns == other.columns
    }
}

/// Filter, then compute columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Calc {
    /// Rows for which it is true are kept.
    pub filter: Option<Expression>,
    /// One expression an output column, over the input.
    pub columns: Vec<Expression>,
}

/// Window top-N and window deduplication.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRank {
    /// Column of the window's start.
    pub start: usize,
    /// Column of the window's end.
    pub end: usize,
    /// Other partition columns.
    pub partition: Vec<usize>,
    /// The order within a partition.
    pub order: Vec<SortColumn>,
    /// Which numbering.
    pub kind: RankKind,
    /// Least rank kept, from 1.
    pub from: u64,
    /// Greatest rank kept.
    pub to: u64,
}

/// A join of two windowed inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowJoin {
    /// The kind.
    pub kind: JoinType,
    /// (start, end) of the left input.
    pub left_window: (usize, usize),
    /// (start, end) of the right input.
    pub right_window: (usize, usize),
    /// Other key columns of the left input.
    pub left_keys: Vec<usize>,
    /// Other key columns of the right input, pair by pair.
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match (`IS NOT DISTINCT FROM`).
    pub null_equals_null: bool,
    /// A condition over left columns, then right columns.
    pub filter: Option<Expression>,
}

/// What becomes of a node's rows.
#[derive(Clone, Debug)]
pub struct PlanOutput {
    /// The node.
    pub node: NodeId,
    /// What becomes of its rows.
    pub target: OutputTarget,
    /// The statement's text.
    pub text: String,
}

/// What becomes of rows.
#[derive(Clone, Debug)]
pub enum OutputTarget {
    /// Kept as a materialized view.
    View {
        /// Its name.
        name: String,
        /// How far back it can be read, in ms of event time.
        retain_history: i64,
    },
    /// Written to a table.
    Sink(Arc<TableDef>),
    /// Printed.
    Print(PrintOrder),
}

/// In which order, and which part, of the final contents is printed.
#[derive(Clone, Debug, Default)]
pub struct PrintOrder {
    /// `ORDER BY` over the output columns; the whole row breaks ties.
    pub order: Vec<(Expression, SortOptions)>,
    /// Rows skipped.
    pub skip: usize,
    /// Rows printed at most.
    pub fetch: Option<usize>,
    /// The first so many columns are printed; the others serve the order alone.
    pub columns: usize,
}

impl StreamPlan {
    /// Node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Whether every table read comes to an end.
    pub fn scans(&self) -> impl Iterator<Item = &Scan> {
        self.nodes.iter().filter_map(|n| match &n.operator {
            Operator::Scan(scan) => Some(scan),
            _ => None,
        })
    }
}

impl WindowSpec {
    /// The length in ms that every window of this shape has, if it is one.
    pub fn fixed_size(&self) -> Option<i64> {
        match self {
            WindowSpec::Tumble { size, .. } | WindowSpec::Hop { size, .. } => Some(*size),
            WindowSpec::Cumulate { .. } | WindowSpec::Session { .. } => None,
        }
    }
}
