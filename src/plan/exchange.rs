//! Which exchange an operator's inputs need.

use datafusion::common::JoinType;

use super::node::{Node, NodeId, Operator, StreamPlan, WindowInput};
use super::props::Distribution;
use crate::batch::partition::Route;

/// The exchange before each input of `node`; `None` is forward.
pub fn routes(plan: &StreamPlan, node: &Node) -> Vec<Option<Route>> {
    match &node.operator {
        Operator::Scan(_)
        | Operator::Values(_)
        | Operator::LateRows { .. }
        | Operator::RecursionInput(_)
        | Operator::RecursionVariable { .. }
        | Operator::DeadLetters => Vec::new(),
        Operator::Calc(_)
        | Operator::Expand { .. }
        | Operator::WindowAssign { .. }
        | Operator::Unnest(_)
        | Operator::Recursive(_)
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
        Operator::Rank(rank) => vec![by_keys(plan, node, &rank.partition, &[])],
        Operator::ChangelogNormalize { keys, .. } => vec![Some(Route::Hash(keys.clone()))],
        Operator::WindowJoin(join) => {
            let side = |window: (usize, usize), keys: &[usize]| {
                let columns =
                    if keys.is_empty() { vec![window.0, window.1] } else { keys.to_vec() };
                Some(Route::Hash(columns))
            };
            vec![side(join.left_window, &join.left_keys), side(join.right_window, &join.right_keys)]
        }
        Operator::OverAggregate(over) => vec![by_keys(plan, node, &over.partition, &[])],
        // When bounded input has ended one worker must know the latest time of all rows.
        Operator::TemporalFilter(_) if node.props.bounded => {
            node.inputs.iter().map(|_| Some(Route::Single)).collect()
        }
        Operator::TemporalFilter(_) | Operator::Clock => node.inputs.iter().map(|_| None).collect(),
        Operator::TemporalJoin(join) => {
            vec![Some(keyed(&join.left_keys)), Some(keyed(&join.right_keys))]
        }
        Operator::LookupJoin(join) => {
            vec![Some(keyed(&join.left_keys)), Some(keyed(&join.right_keys))]
        }
        Operator::MatchRecognize(matched) => vec![by_keys(plan, node, &matched.partition, &[])],
        Operator::IntervalJoin(join) => {
            vec![Some(keyed(&join.left_keys)), Some(keyed(&join.right_keys))]
        }
        Operator::Arrange { keys } => vec![to_index(plan, node.inputs[0], keys)],
        Operator::Join(_) => vec![None, None],
        Operator::SetOperation { .. } => {
            let all: Vec<usize> = (0..node.schema.fields().len()).collect();
            vec![Some(Route::Hash(all.clone())), Some(Route::Hash(all))]
        }
    }
}

/// For each input of `node` the columns whose hash says on which worker a row is; `None` where all
/// rows are on one worker or it does not matter on which they are.
pub fn placements(plan: &StreamPlan, node: &Node) -> Vec<Option<Vec<usize>>> {
    let routes = routes(plan, node).into_iter().zip(&node.inputs);
    routes
        .map(|(route, input)| match route {
            Some(Route::Hash(keys)) => Some(keys),
            Some(Route::Single | Route::Rebalance) => None,
            None => placed_by(plan, *input),
        })
        .collect()
}

/// By the hash of the keys; on one worker when there are none.
fn keyed(keys: &[usize]) -> Route {
    if keys.is_empty() { Route::Single } else { Route::Hash(keys.to_vec()) }
}

/// By the hash of the keys, or of the window when there are none; forward if it is so already.
///
/// A distribution by keys and window would do for the operator itself. But its output is said to be
/// spread by the keys alone, and what reads it relies on that.
fn by_keys(plan: &StreamPlan, node: &Node, keys: &[usize], window: &[usize]) -> Option<Route> {
    let below = &plan.node(node.inputs[0]).props;
    let by = if keys.is_empty() { window } else { keys };
    if below.is_distributed_by(by) && below.distribution != Distribution::Single {
        return None;
    }
    match (keys.is_empty(), window.is_empty()) {
        (false, _) => Some(Route::Hash(keys.to_vec())),
        (true, false) => Some(Route::Hash(window.to_vec())),
        (true, true) if below.distribution == Distribution::Single => None,
        (true, true) => Some(Route::Single),
    }
}

/// To the worker of the keys' hash: two inputs of a join meet there, so that a distribution by
/// fewer columns, or by these in another order, will not do.
fn to_index(plan: &StreamPlan, input: NodeId, keys: &[usize]) -> Option<Route> {
    if keys.is_empty() {
        let below = &plan.node(input).props.distribution;
        return (*below != Distribution::Single).then_some(Route::Single);
    }
    let is_there = placed_by(plan, input).is_some_and(|by| by == keys);
    (!is_there).then(|| Route::Hash(keys.to_vec()))
}

/// The columns whose hash says on which worker a row of `id` is, if an exchange below has seen to
/// it and every operator since has left the rows where they were.
fn placed_by(plan: &StreamPlan, id: NodeId) -> Option<Vec<usize>> {
    let node = plan.node(id);
    match &node.operator {
        Operator::GroupAggregate { keys, .. } => match routes(plan, node).pop()? {
            Some(Route::Hash(_)) => Some((0..keys.len()).collect()),
            Some(_) => None,
            None => moved(&placed_by(plan, *node.inputs.first()?)?, keys),
        },
        Operator::Calc(calc) => {
            let passed: Vec<usize> = calc
                .columns
                .iter()
                .map(|column| column.as_column().unwrap_or(usize::MAX))
                .collect();
            moved(&placed_by(plan, *node.inputs.first()?)?, &passed)
        }
        Operator::Arrange { keys } => (!keys.is_empty()).then(|| keys.clone()),
        Operator::Join(join) => {
            let width = plan.node(*node.inputs.first()?).schema.fields().len();
            let of_left = moved(&join.left_keys, &join.columns);
            let right: Vec<usize> = join.right_keys.iter().map(|k| k + width).collect();
            let of_right = moved(&right, &join.columns);
            let placed = match join.kind {
                JoinType::Inner => of_left.or(of_right),
                JoinType::Full => None,
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => of_right,
                _ => of_left,
            };
            placed.filter(|by| !by.is_empty())
        }
        _ => None,
    }
}

/// Where the columns `by` are among `passed`, which of its input each column is.
fn moved(by: &[usize], passed: &[usize]) -> Option<Vec<usize>> {
    by.iter().map(|c| passed.iter().position(|p| p == c)).collect()
}
