//! Which exchange an operator's inputs need.

use datafusion::common::JoinType;

use super::node::{Node, NodeId, Operator, StreamPlan, WindowInput};
use super::props::Distribution;
use crate::batch::partition::Route;
use crate::sql::match_recognize::node::OutputColumn;

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
        Operator::SessionAssign { .. }
        | Operator::SessionAggregate { .. }
        | Operator::GroupAggregate { .. }
        | Operator::WindowAggregate { .. }
        | Operator::WindowRank(_)
        | Operator::Rank(_)
        | Operator::OverAggregate(_)
        | Operator::MatchRecognize(_) => vec![by_partition(plan, node).0],
        Operator::ChangelogNormalize { keys, .. } => vec![Some(Route::Hash(keys.clone()))],
        Operator::WindowJoin(join) => {
            let side = |window: (usize, usize), keys: &[usize]| {
                let columns =
                    if keys.is_empty() { vec![window.0, window.1] } else { keys.to_vec() };
                Some(Route::Hash(columns))
            };
            vec![side(join.left_window, &join.left_keys), side(join.right_window, &join.right_keys)]
        }
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
            Some(Route::Single | Route::Rebalance | Route::Fold(_)) => None,
            None => placed_by(plan, *input),
        })
        .collect()
}

/// By the hash of the keys; on one worker when there are none.
fn keyed(keys: &[usize]) -> Route {
    if keys.is_empty() { Route::Single } else { Route::Hash(keys.to_vec()) }
}

/// The keys of an operator of one input that works key by key, and the window that takes their
/// place when there are none.
fn partition_of(operator: &Operator) -> (&[usize], Vec<usize>) {
    match operator {
        Operator::SessionAssign { keys, .. }
        | Operator::SessionAggregate { keys, .. }
        | Operator::GroupAggregate { keys, .. }
        | Operator::WindowAggregate { window: WindowInput::Assigned { .. }, keys, .. } => {
            (keys, Vec::new())
        }
        Operator::WindowAggregate {
            window: WindowInput::Attached { start, end }, keys, ..
        } => (keys, vec![*start, *end]),
        Operator::WindowRank(rank) => (&rank.partition, vec![rank.start, rank.end]),
        Operator::Rank(rank) => (&rank.partition, Vec::new()),
        Operator::OverAggregate(over) => (&over.partition, Vec::new()),
        Operator::MatchRecognize(matched) => (&matched.partition, Vec::new()),
        _ => (&[], Vec::new()),
    }
}

/// By the hash of the keys, or of the window when there are none; forward if it is so already. And
/// the columns that place the rows then.
///
/// A distribution by keys and window would do for the operator itself. But its output is said to be
/// spread by the keys alone, and what reads it relies on that. Which columns place the rows must be
/// known: state is brought back to any number of workers by them.
fn by_partition(plan: &StreamPlan, node: &Node) -> (Option<Route>, Option<Vec<usize>>) {
    let input = node.inputs[0];
    let (keys, window) = partition_of(&node.operator);
    let by = if keys.is_empty() { window } else { keys.to_vec() };
    if by.is_empty() {
        let is_single = plan.node(input).props.distribution == Distribution::Single;
        return ((!is_single).then_some(Route::Single), None);
    }
    match placed_by(plan, input) {
        Some(placed) if placed.iter().all(|c| by.contains(c)) => (None, Some(placed)),
        _ => (Some(Route::Hash(by.clone())), Some(by)),
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
    let wide = |input: usize| plan.node(node.inputs[input]).schema.fields().len();
    let placed = match &node.operator {
        Operator::Scan(_)
        | Operator::Values(_)
        | Operator::LateRows { .. }
        | Operator::DeadLetters
        | Operator::RecursionInput(_)
        | Operator::RecursionVariable { .. }
        | Operator::Recursive(_)
        | Operator::Expand { .. }
        | Operator::Clock => None,
        Operator::Union => {
            let mut inputs = node.inputs.iter().map(|input| placed_by(plan, *input));
            let first = inputs.next().flatten()?;
            inputs.all(|placed| placed.as_ref() == Some(&first)).then_some(first)
        }
        Operator::GroupAggregate { keys, .. } | Operator::SessionAggregate { keys, .. } => {
            moved(&by_partition(plan, node).1?, keys)
        }
        Operator::WindowAggregate { window, keys, calls, .. } => {
            let mut passed = keys.clone();
            passed.extend(calls.iter().map(|_| NOWHERE));
            if let WindowInput::Attached { start, end } = window {
                passed.extend([*start, *end]);
            }
            moved(&by_partition(plan, node).1?, &passed)
        }
        Operator::Calc(calc) => {
            let passed: Vec<usize> =
                calc.columns.iter().map(|column| column.as_column().unwrap_or(NOWHERE)).collect();
            moved(&placed_by(plan, *node.inputs.first()?)?, &passed)
        }
        Operator::Unnest(unnest) => moved(&placed_by(plan, *node.inputs.first()?)?, &unnest.keep),
        Operator::MatchRecognize(matched) => {
            let passed: Vec<usize> = matched
                .columns
                .iter()
                .map(|column| match column {
                    OutputColumn::Row(column) => *column,
                    _ => NOWHERE,
                })
                .collect();
            moved(&by_partition(plan, node).1?, &passed)
        }
        // Here the columns of the input come first and are as they were.
        Operator::WindowAssign { .. } | Operator::TemporalFilter(_)
            if !matches!(routes(plan, node).first(), Some(Some(_))) =>
        {
            let width = node.schema.fields().len();
            let placed = placed_by(plan, *node.inputs.first()?)?;
            placed.iter().all(|c| *c < width).then_some(placed)
        }
        Operator::WindowAssign { .. } | Operator::TemporalFilter(_) => None,
        Operator::SessionAssign { .. }
        | Operator::WindowRank(_)
        | Operator::Rank(_)
        | Operator::OverAggregate(_) => by_partition(plan, node).1,
        Operator::ChangelogNormalize { keys, .. } => Some(keys.clone()),
        Operator::SetOperation { .. } => Some((0..node.schema.fields().len()).collect()),
        Operator::Arrange { keys } => Some(keys.clone()),
        Operator::WindowJoin(join) => {
            let mut sides = placements(plan, node).into_iter();
            of_sides(join.kind, [sides.next()??, sides.next()??], wide(0))
        }
        Operator::IntervalJoin(join) => {
            of_sides(join.kind, [join.left_keys.clone(), join.right_keys.clone()], wide(0))
        }
        Operator::TemporalJoin(join) => Some(join.left_keys.clone()),
        Operator::LookupJoin(join) => {
            let shows_table = matches!(join.kind, JoinType::Inner | JoinType::Left);
            let before = if join.table == 0 && shows_table { wide(0) } else { 0 };
            Some(join.stream_keys().iter().map(|key| key + before).collect())
        }
        Operator::Join(join) => {
            let right: Vec<usize> = join.right_keys.iter().map(|k| k + wide(0)).collect();
            let of_left = moved(&join.left_keys, &join.columns);
            let of_right = moved(&right, &join.columns);
            match join.kind {
                JoinType::Inner => of_left.or(of_right),
                JoinType::Full => None,
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => of_right,
                _ => of_left,
            }
        }
    };
    placed.filter(|by| !by.is_empty())
}

/// No column.
const NOWHERE: usize = usize::MAX;

/// The columns that place the rows of a join of `kind` whose inputs are placed by `sides`, the left
/// one of `width` columns: those of a side that are never NULLs in the place of a row.
fn of_sides(kind: JoinType, sides: [Vec<usize>; 2], width: usize) -> Option<Vec<usize>> {
    let [left, right] = sides;
    match kind {
        JoinType::Full => None,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Some(right),
        JoinType::Right => Some(right.into_iter().map(|c| c + width).collect()),
        _ => Some(left),
    }
}

/// Where the columns `by` are among `passed`, which of its input each column is.
fn moved(by: &[usize], passed: &[usize]) -> Option<Vec<usize>> {
    by.iter().map(|c| passed.iter().position(|p| p == c)).collect()
}
