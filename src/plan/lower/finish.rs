//! The last steps: side views, one scan per table, and what nobody reads in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::TableSource;

use super::{Lowerer, scan_of, without_hints};
use crate::error::Result;
use crate::plan::aggregate::AggregateFunction;
use crate::plan::changelog::log_schema;
use crate::plan::expr::Expression;
use crate::plan::node::{
    Calc, Node, NodeId, Operator, OutputTarget, PlanOutput, Rank, Scan, StreamPlan,
};
use crate::plan::over::{OverAggregate, OverRegime};
use crate::plan::props::{ChangelogMode, Distribution, Props};
use crate::sql::context::SystemTable;
use crate::sql::rewrites::Rewrite;

/// The operators that can find rows late, among those that `root` is computed from.
pub(super) fn late_nodes(nodes: &[Node], root: NodeId) -> Vec<NodeId> {
    let mut reached = vec![false; nodes.len()];
    reached[root.0] = true;
    for id in (0..nodes.len()).rev().filter(|id| *id <= root.0) {
        if reached[id] {
            nodes[id].inputs.iter().for_each(|i| reached[i.0] = true);
        }
    }
    let can_be_late = |id: &NodeId| {
        reached[id.0]
            && matches!(
                nodes[id.0].operator,
                Operator::WindowAggregate { .. }
                    | Operator::SessionAggregate { .. }
                    | Operator::SessionAssign { .. }
                    | Operator::WindowRank(_)
                    | Operator::WindowJoin(_)
                    | Operator::OverAggregate(OverAggregate {
                        regime: OverRegime::Appending { .. } | OverRegime::Windowed { .. },
                        ..
                    })
                    | Operator::IntervalJoin(_)
                    | Operator::TemporalJoin(_)
                    | Operator::Rank(Rank { first_by_time: true, .. })
                    | Operator::MatchRecognize(_)
            )
    };
    (0..nodes.len()).map(NodeId).filter(can_be_late).collect()
}

/// The nodes of a table that is read once: its scan and, if that hands over a log, what makes a
/// collection of it.
fn source_nodes(
    scan: Scan,
    stored: &SchemaRef,
    mode: ChangelogMode,
    template: &Node,
    nodes: &mut Vec<Node>,
) -> Result<()> {
    // A table is read for all, whatever a query block says of its own operators.
    let settings = &without_hints(&template.settings);
    let rowtimes = crate::plan::rowtime::of_scan(&scan, scan.columns.fields().len());
    let mut props = Props { unique_key: None, rowtimes, ..template.props.clone() };
    props.distribution = Distribution::Any;
    props.rowtimes = crate::plan::rowtime::of_scan(&scan, scan.columns.fields().len());
    let columns = Arc::clone(&scan.columns);
    let keys = scan.changes.as_ref().map(|c| c.keys.clone()).unwrap_or_default();
    let upsert = scan.changes.as_ref().is_some_and(|c| c.upserts.is_some());
    let add = |operator, inputs, schema, props: &Props, nodes: &mut Vec<Node>| {
        let (props, settings) = (props.clone(), Arc::clone(settings));
        nodes.push(Node { operator, inputs, schema, props, settings });
    };
    if keys.is_empty() {
        props.mode = mode;
        add(Operator::Scan(scan), vec![], columns, &props, nodes);
        return Ok(());
    }
    props.mode = ChangelogMode::Upsert;
    add(Operator::Scan(scan), vec![], log_schema(&columns), &props, nodes);
    let log = NodeId(nodes.len() - 1);
    // As declared: what may be missing in the log is not in the collection.
    let places = columns.fields().iter().map(|f| Ok(stored.index_of(f.name())?));
    let declared = Arc::new(stored.project(&places.collect::<Result<Vec<_>>>()?)?);
    props.mode = ChangelogMode::Retract;
    props.unique_key = Some(keys.clone());
    props.distribution = Distribution::Hash(keys.clone());
    let operator = Operator::ChangelogNormalize { keys, upsert };
    add(operator, vec![log], declared, &props, nodes);
    Ok(())
}

impl Lowerer<'_> {
    /// `<view>$late` for each view, and `floodmark.dead_letters`.
    pub(super) fn side_views(&mut self) {
        let views: Vec<_> = self
            .outputs
            .iter()
            .filter_map(|o| match &o.target {
                OutputTarget::View { name, retain_history } => {
                    Some((name.clone(), o.node, *retain_history))
                }
                _ => None,
            })
            .collect();
        let retain = self.settings.retain_history;
        for (view, node, retain_history) in views {
            let of = late_nodes(&self.nodes, node);
            let schema = SystemTable::late(&view).schema();
            let node = self.add(Operator::LateRows { of }, vec![], schema, Props::source(true));
            self.view(format!("{view}$late"), node, retain_history);
        }
        let schema = SystemTable::dead_letters().schema();
        let node = self.add(Operator::DeadLetters, vec![], schema, Props::source(true));
        self.view("floodmark.dead_letters".into(), node, retain);
    }

    fn view(&mut self, name: String, node: NodeId, retain_history: i64) {
        let target = OutputTarget::View { name, retain_history };
        self.outputs.push(PlanOutput { node, target, text: String::new(), place: None });
    }

    pub(super) fn finish(mut self) -> Result<StreamPlan> {
        self.prune();
        self.drop_rank_numbers()?;
        self.merge_scans()?;
        self.share_arrangements()?;
        if !self.options.changelog {
            self.mark_final_only();
        }
        Ok(StreamPlan { nodes: self.nodes, outputs: self.outputs })
    }

    /// Drops the nodes that fusing left without a reader.
    pub(super) fn prune(&mut self) {
        let mut read = vec![false; self.nodes.len()];
        self.outputs.iter().for_each(|o| read[o.node.0] = true);
        for id in (0..self.nodes.len()).rev() {
            if read[id] {
                self.nodes[id].inputs.iter().for_each(|i| read[i.0] = true);
            }
        }
        let mut places = Vec::with_capacity(self.nodes.len());
        let mut kept = Vec::new();
        for (mut node, read) in std::mem::take(&mut self.nodes).into_iter().zip(read) {
            places.push(NodeId(kept.len()));
            if read {
                node.inputs.iter_mut().for_each(|i| *i = places[i.0]);
                if let Operator::LateRows { of } = &mut node.operator {
                    of.iter_mut().for_each(|i| *i = places[i.0]);
                }
                kept.push(node);
            }
        }
        self.outputs.iter_mut().for_each(|o| o.node = places[o.node.0]);
        self.nodes = kept;
    }

    /// One scan per table, of all columns that anyone reads; each reader projects.
    fn merge_scans(&mut self) -> Result<()> {
        let mut by_table: BTreeMap<(String, Option<usize>), Vec<usize>> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Operator::Scan(scan) = &node.operator {
                let alone = !node.settings.rewrites.has(Rewrite::MergeScans);
                let key = (scan.table.def.name.clone(), alone.then_some(id));
                by_table.entry(key).or_default().push(id);
            }
        }
        let mut nodes = Vec::new();
        let mut merged: BTreeMap<usize, NodeId> = BTreeMap::new();
        for ids in by_table.values() {
            let Some(Operator::Scan(first)) = ids.first().map(|&i| &self.nodes[i].operator) else {
                continue;
            };
            let stored = first.table.def.stored_schema();
            let mut wanted = std::collections::BTreeSet::new();
            for &id in ids {
                let columns = match &self.nodes[id].operator {
                    Operator::Scan(scan) => Arc::clone(&scan.columns),
                    _ => continue,
                };
                wanted
                    .extend(columns.fields().iter().filter_map(|f| stored.index_of(f.name()).ok()));
            }
            let wanted: Vec<usize> = wanted.into_iter().collect();
            let union: SchemaRef = Arc::new(stored.project(&wanted)?);
            let mode = (self.options.source_mode)(&first.table.def);
            let scan = scan_of(&first.table, &union, mode)?;
            let template = &self.nodes[ids[0]];
            source_nodes(scan, &stored, mode, template, &mut nodes)?;
            ids.iter().for_each(|&id| {
                merged.insert(id, NodeId(nodes.len() - 1));
            });
        }
        self.rebuild(nodes, &merged)
    }

    fn rebuild(&mut self, mut nodes: Vec<Node>, merged: &BTreeMap<usize, NodeId>) -> Result<()> {
        let mut places: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        for (id, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if let Some(&scan) = merged.get(&id) {
                let have = Arc::clone(&nodes[scan.0].schema);
                if have.fields() == node.schema.fields() {
                    places.push(scan);
                    continue;
                }
                let columns = node
                    .schema
                    .fields()
                    .iter()
                    .map(|f| Ok(Expression::column(&have, have.index_of(f.name())?)))
                    .collect::<Result<Vec<_>>>()?;
                node.operator = Operator::Calc(Calc { filter: None, columns });
                node.inputs = vec![scan];
            } else {
                node.inputs.iter_mut().for_each(|i| *i = places[i.0]);
                if let Operator::LateRows { of } = &mut node.operator {
                    of.iter_mut().for_each(|i| *i = places[i.0]);
                }
            }
            nodes.push(node);
            places.push(NodeId(nodes.len() - 1));
        }
        self.outputs.iter_mut().for_each(|o| o.node = places[o.node.0]);
        self.nodes = nodes;
        Ok(())
    }

    /// Marks updating aggregations of which only the final contents are ever seen.
    fn mark_final_only(&mut self) {
        let mut seen_between = vec![false; self.nodes.len()];
        // Whether the times of rows can reach what is seen, as in FIRST_VALUE.
        let mut timed = vec![false; self.nodes.len()];
        // Whether they do reach what reads them; joins and sums of later rows only pass them on.
        let mut asked = vec![false; self.nodes.len()];
        for output in &self.outputs {
            if !matches!(output.target, OutputTarget::Print(_)) {
                seen_between[output.node.0] = true;
            }
        }
        for id in (0..self.nodes.len()).rev() {
            let passes = matches!(
                self.nodes[id].operator,
                Operator::Calc(_)
                    | Operator::Union
                    | Operator::Expand { .. }
                    | Operator::Unnest(_)
                    | Operator::Recursive(_)
                    | Operator::GroupAggregate { .. }
                    | Operator::LookupJoin(_)
                    | Operator::OverAggregate(OverAggregate { regime: OverRegime::Updating, .. })
                    | Operator::Arrange { .. }
                    | Operator::Join(_)
                    | Operator::SetOperation { .. }
                    | Operator::Rank(Rank { first_by_time: false, .. })
            );
            let keeps_times = matches!(
                self.nodes[id].operator,
                Operator::Calc(_)
                    | Operator::Union
                    | Operator::Expand { .. }
                    | Operator::Unnest(_)
                    | Operator::Rank(_)
                    | Operator::OverAggregate(OverAggregate { regime: OverRegime::Updating, .. })
            );
            let asks = asks_times(&self.nodes, id);
            if timed[id] || !keeps_times || asks {
                self.nodes[id].inputs.iter().for_each(|input| timed[input.0] = true);
            }
            if asked[id] || asks {
                self.nodes[id].inputs.iter().for_each(|input| asked[input.0] = true);
            }
            if seen_between[id] || !passes {
                for input in self.nodes[id].inputs.clone() {
                    seen_between[input.0] = true;
                }
            }
            let is_made = self.nodes[id].settings.rewrites.has(Rewrite::FinalOnly);
            let bounded = is_made && self.nodes[id].props.bounded;
            if let Operator::GroupAggregate { final_only, .. } = &mut self.nodes[id].operator {
                *final_only = bounded && !seen_between[id] && !asked[id];
            }
            if let Operator::Recursive(recursive) = &mut self.nodes[id].operator {
                recursive.final_only = bounded && !seen_between[id] && !timed[id] && !asks;
            }
            if let Operator::OverAggregate(over) = &mut self.nodes[id].operator {
                let updating = over.regime == OverRegime::Updating;
                over.final_only = updating && bounded && !seen_between[id] && !timed[id];
            }
            if let Operator::Rank(rank) = &mut self.nodes[id].operator {
                rank.final_only = bounded && !seen_between[id] && !timed[id] && !rank.first_by_time;
            }
        }
    }
}

/// Whether the contents of a node's output depend on the times of its input.
fn asks_times(nodes: &[Node], id: usize) -> bool {
    match &nodes[id].operator {
        Operator::Calc(calc) => {
            let below = nodes[id].inputs.first().map(|input| &nodes[input.0].schema);
            let width = below.map_or(0, |schema| schema.fields().len());
            let mut read = calc.columns.iter().chain(&calc.filter).flat_map(Expression::columns);
            read.any(|column| column >= width)
        }
        Operator::GroupAggregate { calls, .. } => calls.iter().any(|call| {
            use AggregateFunction::{FirstValue, LastValue, ListAgg, Other};
            matches!(call.function, FirstValue | LastValue | ListAgg { .. } | Other(_))
        }),
        Operator::Recursive(recursive) => {
            let inner = &recursive.inner.nodes;
            (0..inner.len()).any(|id| asks_times(inner, id))
        }
        _ => false,
    }
}
