//! Which exchange an operator's inputs need.

use super::node::{Node, Operator, StreamPlan, WindowInput};
use super::props::Distribution;
use crate::batch::partition::Route;

/// The exchange before each input of `node`; `None` is forward.
pub fn routes(plan: &StreamPlan, node: &Node) -> Vec<Option<Route>> {
    match &node.operator {
        Operator::Scan(_)
        | Operator::Values(_)
        | Operator::LateRows { .. }
        | Operator::DeadLetters => Vec::new(),
        Operator::Calc(_)
        | Operator::Expand { .. }
        | Operator::WindowAssign { .. }
        | Operator::Union => node.inputs.iter().map(|_| None).collect(),
        Operator::SessionAssign { keys, .. }
        | Operator::SessionAggregate { keys, .. }
        | Operator::GroupAggregate { keys, .. }
        | Operator::WindowAggregate { window: WindowInput::Assigned { .. }, keys, .. } => {
            vec![by_keys(plan, node, keys, &[])]
        }
        Operator::WindowAggregate {
            window: WindowInput::Attached { start, end }, keys, ..
        } => {
            vec![by_keys(plan, node, keys, &[*start, *end])]
        }
        Operator::WindowRank(rank) => {
            vec![by_keys(plan, node, &rank.partition, &[rank.start, rank.end])]
        }
        Operator::WindowJoin(join) => {
            let side = |window: (usize, usize), keys: &[usize]| {
                let columns =
                    if keys.is_empty() { vec![window.0, window.1] } else { keys.to_vec() };
                Some(Route::Hash(columns))
            };
            vec![side(join.left_window, &join.left_keys), side(join.right_window, &join.right_keys)]
        }
        Operator::MatchRecognize(matched) => vec![by_keys(plan, node, &matched.partition, &[])],
    }
}

/// By the hash of the keys, or of the window when there are none; forward if it is so already.
fn by_keys(plan: &StreamPlan, node: &Node, keys: &[usize], window: &[usize]) -> Option<Route> {
    let below = &plan.node(node.inputs[0]).props;
    let all: Vec<usize> = keys.iter().chain(window).copied().collect();
    if below.is_distributed_by(&all) && below.distribution != Distribution::Single {
        return None;
    }
    match (keys.is_empty(), window.is_empty()) {
        (false, _) => Some(Route::Hash(keys.to_vec())),
        (true, false) => Some(Route::Hash(window.to_vec())),
        (true, true) if below.distribution == Distribution::Single => None,
        (true, true) => Some(Route::Single),
    }
}
