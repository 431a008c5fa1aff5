//! Which columns of a node are row-times: what bounds the state of operators ordered by time.
//!
//! A column `c` is a row-time with lag `l` if rows in good time come at `time <= c + l`: once the
//! frontier has passed `c + l`, no further row in good time has that value or a lesser one. Asked
//! by the lowering of OVER; a node that is not listed has none.

use super::node::{Node, NodeId, Operator};
use super::over::OverRegime;
use super::props::ChangelogMode;

/// The row-time columns of node `id` and their lags in ms.
pub fn row_times(nodes: &[Node], id: NodeId) -> Vec<(usize, i64)> {
    let node = &nodes[id.0];
    let below = || node.inputs.first().map_or_else(Vec::new, |input| row_times(nodes, *input));
    match &node.operator {
        Operator::Scan(scan) => {
            let time = scan.watermark.as_ref().and_then(|(time, _)| time.as_column());
            time.map(|column| (column, 0)).into_iter().collect()
        }
        Operator::Calc(calc) => {
            let known = below();
            let width = node.inputs.first().map_or(0, |i| nodes[i.0].schema.fields().len());
            let lag = |column: usize| match column {
                hidden if hidden >= width => Some(0),
                column => known.iter().find(|(c, _)| *c == column).map(|(_, lag)| *lag),
            };
            let columns = calc.columns.iter().enumerate();
            columns.filter_map(|(at, e)| Some((at, lag(e.passed_column()?)?))).collect()
        }
        Operator::Union => {
            let mut inputs = node.inputs.iter().map(|input| row_times(nodes, *input));
            let mut common = inputs.next().unwrap_or_default();
            for other in inputs {
                common.retain_mut(|(column, lag)| {
                    let same = other.iter().find(|(c, _)| c == column);
                    same.is_some_and(|(_, theirs)| {
                        *lag = (*lag).max(*theirs);
                        true
                    })
                });
            }
            common
        }
        Operator::OverAggregate(over) => match over.regime {
            OverRegime::Appending { .. } => below(),
            OverRegime::Windowed { .. } => of_window(node),
            OverRegime::Updating => Vec::new(),
        },
        Operator::WindowAssign { .. } => {
            let mut known = below();
            known.extend(of_window(node));
            known
        }
        Operator::SessionAssign { .. }
        | Operator::WindowAggregate { .. }
        | Operator::SessionAggregate { .. }
        | Operator::WindowRank(_)
        | Operator::WindowJoin(_) => of_window(node),
        _ => Vec::new(),
    }
}

/// The window columns of rows that come no later than their window's result.
fn of_window(node: &Node) -> Vec<(usize, i64)> {
    if node.props.mode != ChangelogMode::Append {
        return Vec::new();
    }
    let (window, delay) = (node.props.window, node.props.window_delay);
    let mut found = Vec::new();
    found.extend(window.time.map(|column| (column, delay)));
    found.extend(window.end.map(|column| (column, (delay - 1).max(0))));
    if let (Some(column), Some(size)) = (window.start, window.size) {
        found.push((column, size + delay - 1));
    }
    found
}
