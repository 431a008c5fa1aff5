//! What is said of updating joins and their arrangements: who shares them, what bounds them.
//!
//! Called by the renderer of `EXPLAIN`, and by the dataflow for what decides how a join runs.

use std::fmt::Write;

use datafusion::common::JoinType;

use super::explain::names;
use super::node::{Join, Node, NodeId, Operator, StreamPlan};
use super::props::ChangelogMode;

/// Whether the rows of a join keep their exact times: nothing of it is ever retracted.
pub fn keeps_times(plan: &StreamPlan, node: &Node, join: &Join) -> bool {
    let append = |id: &NodeId| plan.node(*id).props.mode == ChangelogMode::Append;
    join.kind == JoinType::Inner && node.inputs.iter().all(append)
}

/// Whether a join without a condition asks of the other side only whether there is a match.
pub fn counts_matches(join: &Join) -> bool {
    join.filter.is_none()
        && !matches!(join.kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
}

/// Which sides of a join it reads rows of: (left, right).
pub fn sides_read(join: &Join) -> (bool, bool) {
    let is_left = matches!(join.kind, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark);
    match counts_matches(join) {
        true => (is_left, !is_left),
        false => (true, true),
    }
}

/// The joins that read the rows of the arrangement `id`, and on which side, in order.
pub fn readers(plan: &StreamPlan, id: NodeId) -> Vec<(NodeId, usize)> {
    let mut found = Vec::new();
    for (place, node) in plan.nodes.iter().enumerate() {
        let Operator::Join(join) = &node.operator else { continue };
        let read = sides_read(join);
        for (side, is_read) in [read.0, read.1].into_iter().enumerate() {
            if is_read && node.inputs.get(side) == Some(&id) {
                found.push((NodeId(place), side));
            }
        }
    }
    found
}

/// Whether an arrangement is needed no longer than until the other inputs of its joins have ended,
/// as they do.
fn ends_with_other(plan: &StreamPlan, id: NodeId) -> bool {
    readers(plan, id).into_iter().all(|(reader, side)| {
        let node = plan.node(reader);
        let other = node.inputs.get(1 - side).map(|input| plan.node(*input));
        let Operator::Join(join) = &node.operator else { return false };
        keeps_times(plan, node, join) && other.is_some_and(|other| other.props.bounded)
    })
}

pub(super) fn join_text(plan: &StreamPlan, node: &Node, join: &Join) -> String {
    let (Some(left), Some(right)) = (node.inputs.first(), node.inputs.get(1)) else {
        return format!("Join({:?})", join.kind);
    };
    let (left, right) = (plan.node(*left), plan.node(*right));
    let equals = if join.null_equals_null { "IS NOT DISTINCT FROM" } else { "=" };
    let on = join.left_keys.iter().zip(&join.right_keys);
    let on: Vec<_> = on
        .map(|(&l, &r)| format!("{} {equals} {}", names(left, &[l]), names(right, &[r])))
        .collect();
    let mut text = format!("Join({:?}, on=[{}]", join.kind, on.join(", "));
    if let Some(filter) = &join.filter {
        let _ = write!(text, ", where=[{filter}]");
    }
    text + ")"
}

pub(super) fn arrange_state(plan: &StreamPlan, node: &Node, keys: &[usize]) -> String {
    let id = plan.nodes.iter().position(|n| std::ptr::eq(n, node)).unwrap_or_default();
    let by = match keys.is_empty() {
        true => "[] (all rows on one worker)".to_string(),
        false => format!("[{}]", names(node, keys)),
    };
    let bound = match node.props.bounded {
        true => "bounded by its input, which ends".to_string(),
        false if ends_with_other(plan, NodeId(id)) => {
            "bounded: dropped when the other input of the join has ended".to_string()
        }
        false => format!(
            "unbounded: no predicate limits the rows of {by}; join windows, or add a condition on \
             the time columns of both sides"
        ),
    };
    let mut joins: Vec<String> =
        readers(plan, NodeId(id)).into_iter().map(|(join, _)| format!("#{}", join.0)).collect();
    joins.dedup();
    match joins.len() {
        0 => "state: none, the join counts its keys".to_string(),
        1 => format!("state: rows keyed by {by}, {bound}"),
        _ => format!("state: rows keyed by {by}, shared by {}, {bound}", joins.join(" and ")),
    }
}

pub(super) fn join_state(plan: &StreamPlan, node: &Node, join: &Join) -> Option<String> {
    if counts_matches(join) {
        let (side, keys) = match sides_read(join).0 {
            true => (1, &join.right_keys),
            false => (0, &join.left_keys),
        };
        let counted = plan.node(*node.inputs.get(side)?);
        let bound = match counted.props.bounded {
            true => "bounded by its input, which ends",
            false => "unbounded: no predicate limits its keys",
        };
        return Some(format!("state: rows counted by [{}], {bound}", names(counted, keys)));
    }
    let preserved = join.kind != JoinType::Inner;
    preserved.then(|| "state: matches counted for each row of a side that is preserved".to_string())
}
