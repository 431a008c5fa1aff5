//! Which exchange an operator's inputs need.

use datafusion::common::JoinType;

use super::node::{Node, NodeId, Operator, StreamPlan, WindowInput};
use super::props::Distribution;
use crate::batch::partition::{Parallelism, Route};
use crate::sql::match_recognize::node::OutputColumn;

/// How the rows of a node are placed on workers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    /// The columns whose hash says on which worker a row is.
    by: Vec<usize>,
    /// Among how many workers; `None`: rows of one hash are not all on the same one, as they have
    /// come from operators that work on different numbers of workers.
    among: Option<Parallelism>,
}

/// The exchange before each input of `node`; `None` is forward.
///
/// On how many workers an operator works decides whether there is an exchange and among how many
/// workers, and never by which columns: these say where the state of a row is, which outlives the
/// number.
pub fn routes(plan: &StreamPlan, node: &Node) -> Vec<Option<Route>> {
    let hash = |by: &[usize]| Some(Route::Hash(by.to_vec(), node.parallelism()));
    let keyed = |keys: &[usize]| if keys.is_empty() { Some(Route::Single) } else { hash(keys) };
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
        | Operator::Unnest(_) => {
            let dealt = |input: &NodeId| plan.node(*input).is_rebalanced();
            node.inputs.iter().map(|input| dealt(input).then_some(Route::Rebalance)).collect()
        }
        Operator::Recursive(_) | Operator::Union => node.inputs.iter().map(|_| None).collect(),
        Operator::SessionAssign { .. }
        | Operator::SessionAggregate { .. }
        | Operator::GroupAggregate { .. }
        | Operator::WindowAggregate { .. }
        | Operator::WindowRank(_)
        | Operator::Rank(_)
        | Operator::OverAggregate(_)
        | Operator::MatchRecognize(_) => vec![by_partition(plan, node).0],
        Operator::ChangelogNormalize { keys, .. } => vec![hash(keys)],
        Operator::WindowJoin(join) => {
            let side = |window: (usize, usize), keys: &[usize]| {
                let columns =
                    if keys.is_empty() { vec![window.0, window.1] } else { keys.to_vec() };
                hash(&columns)
            };
            vec![side(join.left_window, &join.left_keys), side(join.right_window, &join.right_keys)]
        }
        // When bounded input has ended one worker must know the latest time of all rows.
        Operator::TemporalFilter(_) if node.props.bounded => {
            node.inputs.iter().map(|_| Some(Route::Single)).collect()
        }
        // It keeps rows where they are, and must find them there again.
        Operator::TemporalFilter(_) => {
            let routes = node.inputs.iter().map(|input| match placed_by(plan, *input) {
                Some(Placed { by, among: None }) => hash(&by),
                _ => None,
            });
            routes.collect()
        }
        Operator::Clock => node.inputs.iter().map(|_| None).collect(),
        Operator::TemporalJoin(join) => vec![keyed(&join.left_keys), keyed(&join.right_keys)],
        Operator::LookupJoin(join) if join.broadcast => {
            let side = |side: usize| (side == join.table).then_some(Route::Broadcast);
            vec![side(0), side(1)]
        }
        Operator::LookupJoin(join) => vec![keyed(&join.left_keys), keyed(&join.right_keys)],
        Operator::IntervalJoin(join) => vec![keyed(&join.left_keys), keyed(&join.right_keys)],
        Operator::Arrange { keys } => vec![to_index(plan, node, keys)],
        Operator::Join(_) => vec![None, None],
        Operator::SetOperation { .. } => {
            let all: Vec<usize> = (0..node.schema.fields().len()).collect();
            vec![hash(&all), hash(&all)]
        }
    }
}

/// The workers that rows of `id` are on: all, or the first so many.
pub fn works_on(plan: &StreamPlan, id: NodeId) -> Parallelism {
    let node = plan.node(id);
    if let Operator::Scan(scan) = &node.operator {
        return scan.parallelism();
    }
    let inputs = routes(plan, node).into_iter().zip(&node.inputs);
    let each = inputs.filter_map(|(route, input)| match route {
        Some(Route::Hash(_, parallelism)) => Some(parallelism),
        Some(Route::Single) => Some(Parallelism::at_most(Some(1))),
        Some(Route::Rebalance) => Some(Parallelism::ALL),
        Some(Route::Fold(first)) => Some(Parallelism::at_most(Some(first))),
        // The rows stay with those of the other input.
        Some(Route::Broadcast) => None,
        None => Some(works_on(plan, *input)),
    });
    let most = each.max_by_key(|parallelism| parallelism.limit().unwrap_or(usize::MAX));
    most.unwrap_or_default()
}

/// For each input of `node` the columns whose hash says on which worker a row is; `None` where all
/// rows are on one worker or it does not matter on which they are.
pub fn placements(plan: &StreamPlan, node: &Node) -> Vec<Option<Vec<usize>>> {
    if let Operator::LookupJoin(join) = &node.operator {
        // Whether the table is on all workers says nothing of what it holds by key.
        let of = |keys: &[usize]| (!keys.is_empty()).then(|| keys.to_vec());
        return vec![of(&join.left_keys), of(&join.right_keys)];
    }
    let routes = routes(plan, node).into_iter().zip(&node.inputs);
    routes
        .map(|(route, input)| match route {
            Some(Route::Hash(keys, _)) => Some(keys),
            Some(Route::Single | Route::Broadcast | Route::Rebalance | Route::Fold(_)) => None,
            None => placed_by(plan, *input).map(|placed| placed.by),
        })
        .collect()
}

/// Among how many workers the state of `node` is spread by its [`placements`].
pub fn parallelism(plan: &StreamPlan, node: &Node) -> Parallelism {
    let mut inputs = routes(plan, node).into_iter().zip(&node.inputs);
    let first = inputs.find_map(|(route, input)| match route {
        Some(Route::Hash(_, parallelism)) => Some(parallelism),
        Some(Route::Single | Route::Broadcast | Route::Rebalance | Route::Fold(_)) => None,
        None => placed_by(plan, *input)?.among,
    });
    first.unwrap_or_default()
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
/// how the rows are placed then.
///
/// A distribution by keys and window would do for the operator itself. But its output is said to be
/// spread by the keys alone, and what reads it relies on that. Which columns place the rows must be
/// known: state is brought back to any number of workers by them.
fn by_partition(plan: &StreamPlan, node: &Node) -> (Option<Route>, Option<Placed>) {
    let input = node.inputs[0];
    let (keys, window) = partition_of(&node.operator);
    let by = if keys.is_empty() { window } else { keys.to_vec() };
    if by.is_empty() {
        let is_single = plan.node(input).props.distribution == Distribution::Single;
        return ((!is_single).then_some(Route::Single), None);
    }
    let own = node.parallelism();
    let before = placed_by(plan, input).filter(|placed| placed.by.iter().all(|c| by.contains(c)));
    let is_there = before.as_ref().is_some_and(|placed| placed.among == Some(own));
    let by = before.map_or(by, |placed| placed.by);
    let route = (!is_there).then(|| Route::Hash(by.clone(), own));
    (route, Some(Placed { by, among: Some(own) }))
}

/// To the worker of the keys' hash: two inputs of a join meet there, so that a distribution by
/// fewer columns, or by these in another order, will not do.
fn to_index(plan: &StreamPlan, node: &Node, keys: &[usize]) -> Option<Route> {
    let (input, own) = (node.inputs[0], node.parallelism());
    if keys.is_empty() {
        let below = &plan.node(input).props.distribution;
        return (*below != Distribution::Single).then_some(Route::Single);
    }
    let wanted = Placed { by: keys.to_vec(), among: Some(own) };
    let is_there = placed_by(plan, input).is_some_and(|placed| placed == wanted);
    (!is_there).then(|| Route::Hash(keys.to_vec(), own))
}

/// How the rows of `id` are placed, if an exchange below has seen to it and every operator since
/// has left the rows where they were.
fn placed_by(plan: &StreamPlan, id: NodeId) -> Option<Placed> {
    let node = plan.node(id);
    let own = |by: Vec<usize>| Some(Placed { by, among: Some(node.parallelism()) });
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
            let placed = node.inputs.iter().map(|input| placed_by(plan, *input));
            let mut placed = placed.collect::<Option<Vec<_>>>()?.into_iter();
            let first = placed.next()?;
            placed.try_fold(first, |all, next| {
                let among = all.among.filter(|among| next.among == Some(*among));
                (all.by == next.by).then_some(Placed { among, ..all })
            })
        }
        Operator::GroupAggregate { keys, .. } | Operator::SessionAggregate { keys, .. } => {
            moved(by_partition(plan, node).1?, keys)
        }
        Operator::WindowAggregate { window, keys, calls, .. } => {
            let mut passed = keys.clone();
            passed.extend(calls.iter().map(|_| NOWHERE));
            if let WindowInput::Attached { start, end } = window {
                passed.extend([*start, *end]);
            }
            moved(by_partition(plan, node).1?, &passed)
        }
        Operator::Calc(calc) => {
            let passed: Vec<usize> =
                calc.columns.iter().map(|column| column.as_column().unwrap_or(NOWHERE)).collect();
            moved(placed_by(plan, *node.inputs.first()?)?, &passed)
        }
        Operator::Unnest(unnest) => moved(placed_by(plan, *node.inputs.first()?)?, &unnest.keep),
        Operator::MatchRecognize(matched) => {
            let passed: Vec<usize> = matched
                .columns
                .iter()
                .map(|column| match column {
                    OutputColumn::Row(column) => *column,
                    _ => NOWHERE,
                })
                .collect();
            moved(by_partition(plan, node).1?, &passed)
        }
        // Here the columns of the input come first and are as they were.
        Operator::WindowAssign { .. } | Operator::TemporalFilter(_)
            if !matches!(routes(plan, node).first(), Some(Some(_))) =>
        {
            let width = node.schema.fields().len();
            let placed = placed_by(plan, *node.inputs.first()?)?;
            placed.by.iter().all(|c| *c < width).then_some(placed)
        }
        Operator::TemporalFilter(_) if !node.props.bounded => {
            let width = node.schema.fields().len();
            let by = placements(plan, node).into_iter().next()??;
            by.iter().all(|c| *c < width).then(|| own(by))?
        }
        Operator::WindowAssign { .. } | Operator::TemporalFilter(_) => None,
        Operator::SessionAssign { .. }
        | Operator::WindowRank(_)
        | Operator::Rank(_)
        | Operator::OverAggregate(_) => by_partition(plan, node).1,
        Operator::ChangelogNormalize { keys, .. } => own(keys.clone()),
        Operator::SetOperation { .. } => own((0..node.schema.fields().len()).collect()),
        Operator::Arrange { keys } => own(keys.clone()),
        Operator::WindowJoin(join) => {
            let mut sides = placements(plan, node).into_iter();
            own(of_sides(join.kind, [sides.next()??, sides.next()??], wide(0))?)
        }
        Operator::IntervalJoin(join) => {
            let keys = [join.left_keys.clone(), join.right_keys.clone()];
            own(of_sides(join.kind, keys, wide(0))?)
        }
        Operator::TemporalJoin(join) => own(join.left_keys.clone()),
        Operator::LookupJoin(join) => {
            let shows_table = matches!(join.kind, JoinType::Inner | JoinType::Left);
            let before = if join.table == 0 && shows_table { wide(0) } else { 0 };
            let by = join.stream_keys().iter().map(|key| key + before).collect();
            Some(Placed { by, among: (!join.broadcast).then(|| node.parallelism()) })
        }
        Operator::Join(join) => {
            let right: Vec<usize> = join.right_keys.iter().map(|k| k + wide(0)).collect();
            let of_left = places_of(&join.left_keys, &join.columns);
            let of_right = places_of(&right, &join.columns);
            own(match join.kind {
                JoinType::Inner => of_left.or(of_right),
                JoinType::Full => None,
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => of_right,
                _ => of_left,
            }?)
        }
    };
    placed.filter(|placed| !placed.by.is_empty())
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

/// The same by where its columns are among `passed`, which of its input each column is.
fn moved(placed: Placed, passed: &[usize]) -> Option<Placed> {
    Some(Placed { by: places_of(&placed.by, passed)?, ..placed })
}

/// Where the columns `by` are among `passed`.
fn places_of(by: &[usize], passed: &[usize]) -> Option<Vec<usize>> {
    by.iter().map(|c| passed.iter().position(|p| p == c)).collect()
}
