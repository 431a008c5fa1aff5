//! What is said of recursions: their definitions, their state.
//!
//! Called by the renderer of `EXPLAIN`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::explain::describe;
use super::node::{NodeId, Operator, Recursive, StreamPlan};

/// What the state of a recursion is keyed by and what bounds it.
pub(super) const STATE: &str = "state: rows of every definition keyed by its joins and groups, \
     with the iterations in which they changed, unbounded: no predicate limits what is derived; \
     join windows, or filter by time before the recursion";

/// The definitions of a recursion, indented below it.
pub(super) fn write_inner(
    recursive: &Recursive,
    inputs: &[NodeId],
    depth: usize,
    text: &mut String,
) {
    let mut shown = BTreeSet::new();
    for (name, body) in &recursive.variables {
        let _ = writeln!(text, "{}{name} :=", "  ".repeat(depth));
        write_node(&recursive.inner, *body, inputs, depth + 1, &mut shown, text);
    }
}

fn write_node(
    plan: &StreamPlan,
    id: NodeId,
    inputs: &[NodeId],
    depth: usize,
    shown: &mut BTreeSet<NodeId>,
    text: &mut String,
) {
    let node = plan.node(id);
    let indent = "  ".repeat(depth);
    match &node.operator {
        Operator::RecursionInput(index) => {
            let place = inputs.get(*index).map_or(*index, |input| input.0);
            let _ = writeln!(text, "{indent}Input(#{place})");
        }
        Operator::RecursionVariable { name, .. } => {
            let _ = writeln!(text, "{indent}Variable({name})");
        }
        _ if !shown.insert(id) => {
            let _ = writeln!(text, "{indent}{} again", describe(plan, node));
        }
        _ => {
            let _ = writeln!(text, "{indent}{}", describe(plan, node));
            for input in &node.inputs {
                write_node(plan, *input, inputs, depth + 1, shown, text);
            }
        }
    }
}
