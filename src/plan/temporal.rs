//! Joins with another collection as of each row's time: what they are and how they are explained.
//!
//! Never looks at data. Built by the lowering, run by the dataflow.

use datafusion::common::JoinType;

use super::explain::names;
use super::expr::Expression;
use super::node::{Node, StreamPlan};

/// A join of append-only left rows with the right input as of each left row's moment.
///
/// The moment of a row is its `moment` value, or `time - lag` if that is later: a row that is not
/// late has the moment it says. Its result comes `lag` ms after the moment, when nothing as of the
/// moment can change any more.
#[derive(Clone, Debug, PartialEq)]
pub struct TemporalJoin {
    /// [`JoinType::Inner`] or [`JoinType::Left`].
    pub kind: JoinType,
    /// Key columns of the left input.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pair by pair.
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match (`IS NOT DISTINCT FROM`).
    pub null_equals_null: bool,
    /// A timestamp over left columns; `None`: the event time.
    pub moment: Option<Expression>,
    /// The greatest lag of the moment behind the time of rows on time, in ms.
    pub lag: i64,
    /// The right rows are versions of their keys; else they are a collection.
    pub versions: Option<Versions>,
    /// What else must hold, over left columns, then right columns.
    pub filter: Option<Expression>,
}

/// How an append-only input is read as versions: of the rows of a key that have come the one with
/// the greatest time is valid, of those with equal times the least row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// A Boolean column: whether the version is one that can match.
    pub valid: usize,
    /// The column of the version's time; `None`: the event time.
    pub time: Option<usize>,
}

/// A join with a bounded input that is read to its end before anything else.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupJoin {
    /// Which rows come out, as if the streamed input were the left one: inner, left, semi, anti.
    pub kind: JoinType,
    /// Which input is read first: 0 or 1. The other one is streamed through.
    pub table: usize,
    /// Key columns of input 0.
    pub left_keys: Vec<usize>,
    /// Key columns of input 1, pair by pair.
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match (`IS NOT DISTINCT FROM`).
    pub null_equals_null: bool,
    /// What else must hold, over the columns of input 0, then of input 1.
    pub filter: Option<Expression>,
    /// Whether every worker has the whole table, and streamed rows stay where they are.
    pub broadcast: bool,
}

impl LookupJoin {
    /// The key columns of the table.
    pub fn table_keys(&self) -> &[usize] {
        if self.table == 0 { &self.left_keys } else { &self.right_keys }
    }

    /// The key columns of the streamed input.
    pub fn stream_keys(&self) -> &[usize] {
        if self.table == 0 { &self.right_keys } else { &self.left_keys }
    }
}

fn keys_text(plan: &StreamPlan, node: &Node, left_keys: &[usize], right_keys: &[usize]) -> String {
    let [left, right] = node.inputs.as_slice() else { return String::new() };
    let (left, right) = (plan.node(*left), plan.node(*right));
    let pairs = left_keys.iter().zip(right_keys);
    let pairs: Vec<String> =
        pairs.map(|(&l, &r)| format!("{} = {}", names(left, &[l]), names(right, &[r]))).collect();
    pairs.join(", ")
}

/// A temporal join as `EXPLAIN` shows it.
pub(super) fn text(plan: &StreamPlan, node: &Node, join: &TemporalJoin) -> String {
    let on = keys_text(plan, node, &join.left_keys, &join.right_keys);
    let moment = match &join.moment {
        Some(moment) => moment.to_string(),
        None => "event time".to_string(),
    };
    let mut text = format!("TemporalJoin({:?}, on=[{on}], asOf={moment}", join.kind);
    if let Some(filter) = &join.filter {
        text.push_str(&format!(", where=[{filter}]"));
    }
    text + ")"
}

/// What the state of a temporal join is keyed by and what bounds it.
pub(super) fn state(plan: &StreamPlan, node: &Node, join: &TemporalJoin) -> String {
    let right = node.inputs.get(1).map(|i| names(plan.node(*i), &join.right_keys));
    let keys = right.unwrap_or_default();
    match &join.versions {
        Some(_) => format!(
            "state: versions keyed by [{keys}]; a version is dropped when the watermark passes the \
             next one; the last version of each key is kept (unbounded: no predicate limits the \
             keys); left rows wait until the watermark passes their time"
        ),
        None => format!(
            "state: the right side as of the watermark, keyed by [{keys}], as large as it is; left \
             rows wait until the watermark passes their time"
        ),
    }
}

/// A lookup join as `EXPLAIN` shows it.
pub(super) fn lookup_text(plan: &StreamPlan, node: &Node, join: &LookupJoin) -> String {
    let on = keys_text(plan, node, &join.left_keys, &join.right_keys);
    let side = if join.table == 0 { "left" } else { "right" };
    let mut text = format!("LookupJoin({:?}, on=[{on}], table={side}", join.kind);
    if let Some(filter) = &join.filter {
        text.push_str(&format!(", where=[{filter}]"));
    }
    text + ")"
}

/// What the state of a lookup join is keyed by and what bounds it.
pub(super) fn lookup_state(plan: &StreamPlan, node: &Node, join: &LookupJoin) -> String {
    let keys = if join.table == 0 { &join.left_keys } else { &join.right_keys };
    let table = node.inputs.get(join.table).map(|i| names(plan.node(*i), keys));
    format!(
        "state: the table keyed by [{}], bounded: it is read to its end before anything else",
        table.unwrap_or_default()
    )
}
