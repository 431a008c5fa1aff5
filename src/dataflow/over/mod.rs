//! OVER: functions over frames of ordered partitions, in three regimes.
//!
//! * `append::Appending`: by row-time over input that only grows; exact and append-only.
//! * `update::Updating`: any order, any input; net changes tick by tick.
//! * `windowed::WindowedOver`: within windows; results when a window closes.
//!
//! The three share `program` (calls to frames and aggregates), `moves` (aggregates over sliding
//! frames, many partitions at a time) and, but for the first, `lines` (rows of a partition).

mod append;
mod held;
mod lines;
mod moves;
mod program;
mod slices;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod values;
mod windowed;

use std::sync::Arc;

use super::logic::StatefulLogic;
use crate::error::{Error, Result};
use crate::plan::node::{Node, Operator, StreamPlan};
use crate::plan::over::OverRegime;
use crate::plan::props::ChangelogMode;

/// The logic of an OVER node and its name.
pub fn build(plan: &StreamPlan, node: &Node) -> Result<(&'static str, Box<dyn StatefulLogic>)> {
    let (Operator::OverAggregate(over), Some(input)) = (&node.operator, node.inputs.first()) else {
        return Err(Error::internal("an OVER without its input"));
    };
    let below = plan.node(*input);
    let (input, output) = (Arc::clone(&below.schema), Arc::clone(&node.schema));
    let logic: Box<dyn StatefulLogic> = match over.regime {
        OverRegime::Appending { lag } => {
            Box::new(append::Appending::new(input, over.clone(), output, lag)?)
        }
        OverRegime::Updating => {
            let resolution = node.settings.time_resolution;
            Box::new(update::Updating::new(input, over.clone(), output, resolution)?)
        }
        OverRegime::Windowed { end } => {
            let lateness = node.settings.allowed_lateness;
            let append_only = below.props.mode == ChangelogMode::Append;
            let logic = windowed::WindowedOver::over(
                input,
                over.clone(),
                end,
                output,
                lateness,
                append_only,
            )?;
            Box::new(logic.with_input_delay(below.props.window_delay))
        }
    };
    Ok(("OverAggregate", logic))
}
