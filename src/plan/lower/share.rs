//! One arrangement for joins that index the same rows by the same key, whichever columns each of
//! them reads.
//!
//! The optimiser lets every join see no more columns than it needs, so that two views over one
//! table index different columns of it. Here such indexes become one of all their columns; rows
//! that are held twice cost more than columns that one of the joins does not read. Called at the
//! end of the lowering.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::Lowerer;
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{Calc, Join, Node, NodeId, Operator};
use crate::plan::props::{Distribution, Props};

/// An arrangement as one of columns of another node.
struct View {
    /// The node whose rows it holds, all of them.
    base: NodeId,
    /// Which of its columns each column is.
    columns: Vec<usize>,
}

/// The rows of an arrangement, the columns that they are found by, and on which workers.
type Index = (NodeId, Vec<usize>, Option<usize>);

/// Which node takes the place of another, and where its columns are then.
type Moved = BTreeMap<usize, (NodeId, Vec<usize>)>;

impl Lowerer<'_> {
    /// Makes one arrangement of those that hold the same rows by the same key.
    pub(super) fn share_arrangements(&mut self) -> Result<()> {
        let mut groups: BTreeMap<Index, Vec<(usize, View)>> = BTreeMap::new();
        for id in 0..self.nodes.len() {
            let Operator::Arrange { keys } = &self.nodes[id].operator else { continue };
            if let Some(view) = self.view_of(id) {
                let by = keys.iter().map(|&key| view.columns[key]).collect();
                let spread = self.nodes[id].settings.block.parallelism;
                groups.entry((view.base, by, spread)).or_default().push((id, view));
            }
        }
        groups.retain(|_, views| {
            let first = &self.nodes[views[0].0].settings;
            views.len() > 1 && views.iter().all(|v| self.nodes[v.0].settings == *first)
        });
        if groups.is_empty() {
            return Ok(());
        }
        let widths: Vec<usize> = self.nodes.iter().map(|n| n.schema.fields().len()).collect();
        let mut places: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        let (mut made, mut moved) = (Vec::new(), Moved::new());
        for (id, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            let inputs = node.inputs.clone();
            node.inputs.iter_mut().for_each(|i| *i = places[i.0]);
            if let Operator::LateRows { of } = &mut node.operator {
                of.iter_mut().for_each(|i| *i = places[i.0]);
            }
            let group = groups.iter().find(|(_, views)| views.iter().any(|v| v.0 == id));
            if let Some(((base, keys, _), views)) = group {
                let shared = match moved.get(&views[0].0) {
                    Some((shared, _)) => *shared,
                    None => arrange_all(places[base.0], keys, views, &node, &mut made)?,
                };
                let all = all_columns(views);
                let own = views.iter().filter(|v| v.0 == id).flat_map(|v| &v.1.columns);
                let at = own.filter_map(|c| all.binary_search(c).ok()).collect();
                moved.insert(id, (shared, at));
                places.push(shared);
                continue;
            }
            if let (Operator::Join(join), [left, right]) = (&mut node.operator, inputs.as_slice()) {
                let at = [left, right].map(|i| moved.get(&i.0).map(|(_, at)| at));
                if at.iter().any(Option::is_some) {
                    let before = [widths[left.0], widths[right.0]];
                    let after = [left, right].map(|i| &made[places[i.0].0].schema);
                    move_join(join, before, at, after)?;
                }
            }
            made.push(node);
            places.push(NodeId(made.len() - 1));
        }
        self.outputs.iter_mut().for_each(|o| o.node = places[o.node.0]);
        self.nodes = made;
        self.prune();
        Ok(())
    }

    /// What an arrangement holds, if joins alone read it.
    fn view_of(&self, id: usize) -> Option<View> {
        let reads = |n: &&Node| n.inputs.contains(&NodeId(id));
        let is_join = |n: &Node| matches!(n.operator, Operator::Join(_));
        if !self.nodes.iter().filter(reads).all(is_join) {
            return None;
        }
        let mut base = *self.nodes[id].inputs.first()?;
        let width = self.nodes[base.0].schema.fields().len();
        let mut columns: Vec<usize> = (0..width).collect();
        while let Operator::Calc(Calc { filter: None, columns: passed }) =
            &self.nodes[base.0].operator
        {
            let below = *self.nodes[base.0].inputs.first()?;
            let width = self.nodes[below.0].schema.fields().len();
            let place = |&c: &usize| passed[c].as_column().filter(|&at| at < width);
            let Some(all) = columns.iter().map(place).collect::<Option<Vec<_>>>() else { break };
            columns = all;
            base = below;
        }
        Some(View { base, columns })
    }
}

fn all_columns(views: &[(usize, View)]) -> Vec<usize> {
    let mut all: Vec<usize> = views.iter().flat_map(|v| v.1.columns.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Adds the arrangement by `keys` of all columns of `base` that `views` hold.
fn arrange_all(
    base: NodeId,
    keys: &[usize],
    views: &[(usize, View)],
    like: &Node,
    made: &mut Vec<Node>,
) -> Result<NodeId> {
    let all = all_columns(views);
    let below = &made[base.0];
    let schema: SchemaRef = Arc::new(below.schema.project(&all)?);
    let columns: Vec<_> = all.iter().map(|&c| Expression::column(&below.schema, c)).collect();
    let props = below.props.project(&columns);
    let settings = Arc::clone(&like.settings);
    let mut input = base;
    if all.len() < below.schema.fields().len() {
        made.push(Node {
            operator: Operator::Calc(Calc { filter: None, columns }),
            inputs: vec![base],
            schema: Arc::clone(&schema),
            props: props.clone(),
            settings: Arc::clone(&settings),
        });
        input = NodeId(made.len() - 1);
    }
    let keys: Vec<usize> = keys.iter().filter_map(|k| all.binary_search(k).ok()).collect();
    let distribution = match keys.is_empty() {
        true => Distribution::Single,
        false => Distribution::Hash(keys.clone()),
    };
    let props = Props { distribution, ..props };
    made.push(Node {
        operator: Operator::Arrange { keys },
        inputs: vec![input],
        schema,
        props,
        settings,
    });
    Ok(NodeId(made.len() - 1))
}

/// A join of inputs whose columns have moved: from so many columns a side, to these.
fn move_join(
    join: &mut Join,
    widths: [usize; 2],
    moved: [Option<&Vec<usize>>; 2],
    schemas: [&SchemaRef; 2],
) -> Result<()> {
    let places_of = |side: usize| match moved[side] {
        Some(places) => places.clone(),
        None => (0..widths[side]).collect(),
    };
    let (left, right) = (places_of(0), places_of(1));
    let fields = |side: usize| schemas[side].fields().iter().cloned();
    let wide = Schema::new(fields(0).chain(fields(1)).collect::<Vec<_>>());
    let (offset, width) = (schemas[0].fields().len(), wide.fields().len());
    join.left_keys.iter_mut().for_each(|key| *key = left[*key]);
    join.right_keys.iter_mut().for_each(|key| *key = right[*key]);
    let mut places: Vec<usize> = left;
    places.extend(right.iter().map(|at| offset + at));
    if let Some(filter) = &mut join.filter {
        *filter = filter.remap(&places, &wide, width)?;
    }
    // The mark is behind both sides.
    places.push(width);
    join.columns.iter_mut().for_each(|column| *column = places[*column]);
    Ok(())
}
