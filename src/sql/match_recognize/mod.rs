//! MATCH_RECOGNIZE from text to a logical node.
//!
//! * `lift`: the clause's tokens, before the parser library sees them
//! * [`pattern`]: the pattern's syntax tree and grammar
//! * [`node`]: the logical node and what it holds
//! * `plan`: from syntax to the node; `scope`: what its expressions may name
//!
//! Called by the script parser and by the relation planner; the lowering takes the node apart.

pub(crate) mod lift;
pub mod node;
pub mod pattern;
pub(crate) mod plan;
mod scope;
