//! The stream plan: operators, what flows between them, and what becomes of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;

use super::aggregate::AggregateCall;
use super::changelog::ScanChanges;
use super::expr::Expression;
use super::interval::IntervalJoin;
use super::match_recognize::MatchRecognize;
use super::over::OverAggregate;
use super::props::Props;
use super::temporal::{LookupJoin, TemporalJoin};
use super::temporal_filter::TemporalFilter;
use crate::batch::partition::Parallelism;
use crate::error::Location;
use crate::limits::ROWS_IN_FLIGHT_MAX;
use crate::sql::bind::BoundTable;
use crate::sql::catalog::TableDef;
use crate::sql::parallelism::TableParallelism;
use crate::sql::set_operation::SetKind;
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

impl Node {
    /// On how many workers it works, if its input is brought to workers for it.
    pub fn parallelism(&self) -> Parallelism {
        let Settings { parallelism, block, .. } = self.settings.as_ref();
        Parallelism::at_most(block.parallelism.or(*parallelism))
    }

    /// Whether it is a source whose rows are dealt out to all workers.
    pub fn is_rebalanced(&self) -> bool {
        matches!(&self.operator, Operator::Scan(scan) if scan.table_parallelism().rebalance)
    }
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
    /// Functions over frames of ordered partitions.
    OverAggregate(OverAggregate),
    /// Rows while a comparison of theirs with `NOW()` holds. The inputs behind the first are
    /// clocks.
    TemporalFilter(TemporalFilter),
    /// The latest event time of each batch, as a row without columns.
    Clock,
    /// Row pattern recognition.
    MatchRecognize(Box<MatchRecognize>),
    /// Rows of two append-only inputs whose times bound one another.
    IntervalJoin(IntervalJoin),
    /// Rows of an append-only input with another as of each row's time.
    TemporalJoin(TemporalJoin),
    /// Rows of an input with a table that is read to its end before.
    LookupJoin(LookupJoin),
    /// One row an element of arrays and maps, beside columns of the row that they are of.
    Unnest(Unnest),
    /// Names defined by one another, to their fixed point.
    Recursive(Box<Recursive>),
    /// Inside of a recursion: the recursion's own input of this number.
    RecursionInput(usize),
    /// Inside of a recursion: what one of its names holds.
    RecursionVariable {
        /// Which recursion.
        recursion: u64,
        /// Which of its names.
        index: usize,
        /// The name.
        name: String,
    },
    /// Its input, brought to the workers by its keys and indexed by them; every join that reads the
    /// node shares the one index. Schema and changelog mode are those of the input.
    Arrange {
        /// The key columns; none brings all rows to one worker.
        keys: Vec<usize>,
    },
    /// A join of two collections that may change at any time; both inputs are
    /// [`Operator::Arrange`] nodes by the join's keys.
    Join(Join),
    /// `INTERSECT` or `EXCEPT` of two inputs with the same columns.
    SetOperation {
        /// Which.
        kind: SetKind,
        /// Whether duplicates count (`ALL`).
        all: bool,
    },
    /// Rows of each partition ranked; those with `from <= rank <= to` kept.
    Rank(Rank),
    /// The collection that a log of changes adds up to: at most one row a key.
    ChangelogNormalize {
        /// The primary key.
        keys: Vec<usize>,
        /// Whether the log says what a key's row is now, so that nothing is out of place in it.
        upsert: bool,
    },
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
    /// For a table whose records are changes: how.
    pub changes: Option<ScanChanges>,
}

impl Scan {
    /// On how many workers its table is read; the options have been checked before.
    pub fn table_parallelism(&self) -> TableParallelism {
        TableParallelism::of(&self.table.def).unwrap_or_default()
    }

    /// On how many workers it reads.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism::at_most(self.table_parallelism().scan)
    }
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

/// Top-N, deduplication, and `ORDER BY .. LIMIT`, which is a rank of all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Rank {
    /// Partition columns.
    pub partition: Vec<usize>,
    /// The order within a partition; the whole row breaks ties.
    pub order: Vec<SortColumn>,
    /// Which numbering.
    pub kind: RankKind,
    /// Least rank kept, from 1.
    pub from: u64,
    /// Greatest rank kept; `u64::MAX` for all.
    pub to: u64,
    /// Whether the rank is the last column of the output.
    pub number: bool,
    /// The first row of each partition by event time, of input that only grows: once a tick is
    /// closed its first rows are final.
    pub first_by_time: bool,
    /// Emit once, when the input has ended: nobody reads the changes in between.
    pub final_only: bool,
}

impl Rank {
    /// What the operator is called.
    pub fn name(&self) -> &'static str {
        match (self.first_by_time, self.partition.is_empty() && !self.number) {
            (true, _) => "Deduplicate",
            (false, true) if self.kind == RankKind::RowNumber => "Limit",
            (false, _) => "Rank",
        }
    }
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

/// One row an element of arrays and maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnest {
    /// The columns passed on, first.
    pub keep: Vec<usize>,
    /// The columns unnested: first elements together, then second ones, and so on.
    pub lists: Vec<usize>,
    /// Whether a row without elements is kept, with NULLs.
    pub outer: bool,
    /// Whether the last column counts the elements of each row from 1.
    pub ordinality: bool,
    /// Whether elements that are rows become columns.
    pub flatten: bool,
}

/// Names defined by one another, to their fixed point.
///
/// Of one name the output has the columns; of several it has a column that says which name a row
/// is of, and then the columns of all names, of which those of the others are NULL.
#[derive(Clone, Debug)]
pub struct Recursive {
    /// The definitions: a plan over [`Operator::RecursionInput`] and
    /// [`Operator::RecursionVariable`] leaves, without outputs.
    pub inner: StreamPlan,
    /// The names, and the node of each one's definition.
    pub variables: Vec<(String, NodeId)>,
    /// After how many iterations to stop.
    pub limit: u64,
    /// Whether what is there then is the answer; otherwise it is an error.
    pub returns: bool,
    /// Emit once, when the inputs have ended: nobody reads the changes in between.
    pub final_only: bool,
}

impl PartialEq for Recursive {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Node, &Node)| {
            a.operator == b.operator && a.inputs == b.inputs && a.schema == b.schema
        };
        self.variables == other.variables
            && (self.limit, self.returns) == (other.limit, other.returns)
            && self.inner.nodes.len() == other.inner.nodes.len()
            && self.inner.nodes.iter().zip(&other.inner.nodes).all(same)
    }
}

/// An updating join.
///
/// Two rows match if their keys are equal and the condition is true. SQL's `NOT IN` with NULLs is
/// not a kind of its own: it is a union of anti joins.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// The kind: all are supported.
    pub kind: JoinType,
    /// Key columns of the left input, which is arranged by them; none: every pair of rows.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pair by pair of the same type.
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match (`IS NOT DISTINCT FROM`).
    pub null_equals_null: bool,
    /// A condition over left columns, then right columns.
    pub filter: Option<Expression>,
    /// Which columns are produced, by their place in left columns, then right columns, then (for
    /// the mark kinds) the mark: BOOLEAN, whether the row has a match, never NULL.
    pub columns: Vec<usize>,
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
    /// Where the statement begins.
    pub place: Option<Location>,
}

impl PlanOutput {
    /// The columns that tell which rows are the same row before and after a change: those of the
    /// sink's primary key, else a key of the rows; empty if there is none.
    pub fn key(&self, node: &Node) -> Vec<usize> {
        if let OutputTarget::Sink(table) = &self.target {
            let place = |name: &String| node.schema.index_of(name).ok();
            let key: Option<Vec<usize>> = table.primary_key.iter().map(place).collect();
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                return key;
            }
        }
        node.props.unique_key.clone().unwrap_or_default()
    }
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

    /// The memory budget in bytes: the least of its statements.
    pub fn memory_budget(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|node| node.settings.memory_budget).min()
    }

    /// Whether it has a memory budget.
    pub fn has_budget(&self) -> bool {
        self.memory_budget().is_some()
    }

    /// The tables whose rows reach node `id`, each once.
    pub fn tables_of(&self, id: NodeId) -> Vec<&str> {
        let mut reaches = vec![false; self.nodes.len()];
        reaches[id.0] = true;
        for at in (0..=id.0).rev() {
            if reaches[at] {
                self.nodes[at].inputs.iter().for_each(|input| reaches[input.0] = true);
            }
        }
        let mut tables: Vec<&str> = Vec::new();
        for (node, _) in self.nodes.iter().zip(reaches).filter(|(_, reaches)| *reaches) {
            if let Operator::Scan(scan) = &node.operator {
                let table = scan.table.def.name.as_str();
                if !tables.contains(&table) {
                    tables.push(table);
                }
            }
        }
        tables
    }

    /// What is read: sources are numbered in this order.
    pub fn scans(&self) -> impl Iterator<Item = &Scan> {
        self.nodes.iter().filter_map(|n| match &n.operator {
            Operator::Scan(scan) => Some(scan),
            _ => None,
        })
    }

    /// The nodes of [`StreamPlan::scans`].
    pub fn scan_ids(&self) -> Vec<NodeId> {
        let nodes = self.nodes.iter().enumerate();
        let scans = nodes.filter(|(_, node)| matches!(node.operator, Operator::Scan(_)));
        scans.map(|(id, _)| NodeId(id)).collect()
    }

    /// How many rows of a source a worker may have on their way: the least that a statement says.
    pub fn rows_in_flight(&self) -> usize {
        let rows = self.nodes.iter().map(|node| node.settings.rows_in_flight);
        rows.min().unwrap_or(ROWS_IN_FLIGHT_MAX)
    }
}

impl Operator {
    /// Whether rows may be brought to workers for it: the others take them where they are.
    pub fn is_brought_rows(&self) -> bool {
        self.has_state() || matches!(self, Operator::Arrange { .. })
    }

    /// Whether it holds rows, or what they add up to, from one time to the next. Rows that wait for
    /// the frontier are not meant; what [`Operator::Arrange`] holds is counted with the joins that
    /// read it, and what [`Operator::Recursive`] does with its inputs.
    pub fn has_state(&self) -> bool {
        match self {
            Operator::Scan(_)
            | Operator::Values(_)
            | Operator::LateRows { .. }
            | Operator::DeadLetters
            | Operator::Calc(_)
            | Operator::Union
            | Operator::Expand { .. }
            | Operator::WindowAssign { .. }
            | Operator::Clock
            | Operator::Unnest(_)
            | Operator::Recursive(_)
            | Operator::RecursionInput(_)
            | Operator::RecursionVariable { .. }
            | Operator::Arrange { .. } => false,
            Operator::SessionAssign { .. }
            | Operator::GroupAggregate { .. }
            | Operator::WindowAggregate { .. }
            | Operator::SessionAggregate { .. }
            | Operator::WindowRank(_)
            | Operator::WindowJoin(_)
            | Operator::OverAggregate(_)
            | Operator::TemporalFilter(_)
            | Operator::IntervalJoin(_)
            | Operator::TemporalJoin(_)
            | Operator::LookupJoin(_)
            | Operator::Join(_)
            | Operator::SetOperation { .. }
            | Operator::Rank(_)
            | Operator::ChangelogNormalize { .. }
            | Operator::MatchRecognize(_) => true,
        }
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
