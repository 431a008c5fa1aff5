//! Which frontiers a frontier hangs on: the plan without the operators that keep nothing.
//!
//! Rows pass through an operator without state as they come, so its frontier is that of its
//! inputs. What is left are sources, operators that apply when the frontier passes, and outputs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::explain::{operator_name, output_name};
use crate::plan::node::{NodeId, Operator, OutputTarget, StreamPlan};
use crate::sql::context::{LATE_SUFFIX, SystemTable};

/// What can hold a frontier back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Point {
    /// A source, by its number.
    Source(usize),
    /// A stateful operator, by its number among those.
    Operator(usize),
}

/// That one frontier hangs on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// On whose.
    pub from: Point,
    /// On that of its late rows and dead letters, not on that of its rows.
    pub side: bool,
    /// Nothing happens until it has ended, and then it counts no more.
    pub whole: bool,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// A materialized view.
    View,
    /// A table that is written.
    Sink,
    /// A bare query.
    Print,
    /// The late rows of a view.
    Late,
    /// The dead letters of the job.
    DeadLetters,
}

impl OutputKind {
    /// As users read it.
    pub fn name(self) -> &'static str {
        match self {
            OutputKind::View => "view",
            OutputKind::Sink => "sink",
            OutputKind::Print => "print",
            OutputKind::Late => "late",
            OutputKind::DeadLetters => "dead_letters",
        }
    }
}

/// An operator or output, and on what its frontier hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// As logs and snapshots call it.
    pub label: String,
    /// On what.
    pub reads: Vec<Edge>,
}

/// The points of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The operators that have a frontier of their own, inputs first.
    pub operators: Vec<(NodeId, Vertex)>,
    /// The outputs in the order of the plan: name, kind, and on what.
    pub outputs: Vec<(String, OutputKind, Vertex)>,
}

impl Graph {
    /// The points of `plan`.
    pub fn new(plan: &StreamPlan) -> Self {
        let mut graph = Graph::default();
        let mut scans = 0;
        // Of each node: what its rows hang on, and what its late rows and dead letters do.
        let mut rows: Vec<BTreeSet<Edge>> = Vec::new();
        let mut sides: Vec<BTreeSet<Edge>> = Vec::new();
        for (id, node) in plan.nodes.iter().enumerate() {
            let of = |known: &[BTreeSet<Edge>], id: &NodeId| {
                known.get(id.0).into_iter().flatten().copied().collect::<BTreeSet<_>>()
            };
            let inputs = || node.inputs.iter().flat_map(|input| of(&rows, input)).collect();
            let edge = |from, side| BTreeSet::from([Edge { from, side, whole: false }]);
            let (own, side): (BTreeSet<Edge>, BTreeSet<Edge>) = match &node.operator {
                Operator::Scan(_) => {
                    scans += 1;
                    let own = edge(Point::Source(scans - 1), false);
                    (own.clone(), own)
                }
                Operator::LateRows { of: nodes } => {
                    (nodes.iter().flat_map(|id| of(&sides, id)).collect(), BTreeSet::new())
                }
                Operator::DeadLetters => {
                    (sides.iter().flatten().copied().collect(), BTreeSet::new())
                }
                Operator::Values(_)
                | Operator::RecursionInput(_)
                | Operator::RecursionVariable { .. } => Default::default(),
                Operator::Calc(_)
                | Operator::Union
                | Operator::Expand { .. }
                | Operator::WindowAssign { .. }
                | Operator::Clock
                | Operator::Arrange { .. }
                | Operator::Unnest(_) => (inputs(), inputs()),
                operator => {
                    let table = match operator {
                        Operator::LookupJoin(join) => Some(join.table),
                        _ => None,
                    };
                    let reads: BTreeSet<Edge> = node
                        .inputs
                        .iter()
                        .enumerate()
                        .flat_map(|(i, input)| {
                            let whole = table == Some(i);
                            let edges = of(&rows, input).into_iter();
                            edges.map(move |edge| Edge { whole: edge.whole || whole, ..edge })
                        })
                        .collect();
                    let label = operator_name(plan, NodeId(id));
                    let vertex = Vertex { label, reads: reads.into_iter().collect() };
                    graph.operators.push((NodeId(id), vertex));
                    let point = Point::Operator(graph.operators.len() - 1);
                    (edge(point, false), edge(point, true))
                }
            };
            rows.push(own);
            sides.push(side);
        }
        for (index, output) in plan.outputs.iter().enumerate() {
            let (name, kind) = named(&output.target, index);
            let reads = rows.get(output.node.0).into_iter().flatten().copied().collect();
            let vertex = Vertex { label: output_name(plan, index), reads };
            graph.outputs.push((name, kind, vertex));
        }
        graph
    }
}

fn named(target: &OutputTarget, index: usize) -> (String, OutputKind) {
    match target {
        OutputTarget::View { name, .. } => {
            let kind = match name.as_str() {
                name if name == SystemTable::dead_letters().name => OutputKind::DeadLetters,
                name if name.ends_with(LATE_SUFFIX) => OutputKind::Late,
                _ => OutputKind::View,
            };
            (name.clone(), kind)
        }
        OutputTarget::Sink(table) => (table.name.clone(), OutputKind::Sink),
        OutputTarget::Print(_) => (format!("query {}", index + 1), OutputKind::Print),
    }
}
