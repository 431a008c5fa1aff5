//! What an operator does that cannot go on.

use timely::dataflow::operators::Capability;

use crate::time::EventTime;

/// Keeps `capabilities` for good, so that no frontier passes what a failed job lacks: whoever
/// learns of the failure later, in another process, has not seen a wrong answer until then. They
/// go with the dataflow, which a failed job loses as a whole.
pub fn hold(capabilities: impl IntoIterator<Item = Capability<EventTime>>) {
    capabilities.into_iter().for_each(std::mem::forget);
}
