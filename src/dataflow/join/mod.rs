//! Updating joins over shared arrangements.

use super::logic::StatefulLogic;
use crate::error::{Error, Result};
use crate::plan::node::{Join, NodeId, StreamPlan};

/// The arrangements of one worker's dataflow, by plan node.
#[derive(Default)]
pub struct Shelf {}

/// The logic of the join `id`.
pub fn build(
    _plan: &StreamPlan,
    _id: NodeId,
    _join: &Join,
    _shelf: &mut Shelf,
) -> Result<Box<dyn StatefulLogic>> {
    Err(Error::internal("joins are not there yet"))
}
