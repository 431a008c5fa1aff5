//! Event time: milliseconds since the Unix epoch, frontiers and ticks.
//!
//! Everything here is pure arithmetic; the wall clock is read in [`crate::telemetry::clock`] alone.

use timely::progress::frontier::AntichainRef;

/// Event time in milliseconds since the Unix epoch; timely's timestamp.
pub type EventTime = i64;

/// The frontier of a collection that will not change any more: every time is below it.
///
/// No record may carry this time; [`frontier_of`] maps the empty antichain to it.
pub const CLOSED: EventTime = i64::MAX;

/// The least time: where every frontier starts.
pub const BEGINNING: EventTime = i64::MIN;

/// The earliest event time of a record: the first that can be printed as a date.
pub const EARLIEST: EventTime = -8_334_601_228_800_000;

/// The latest event time of a record: the last that can be printed as a date.
pub const LATEST: EventTime = 8_210_266_876_799_999;

/// The frontier as one number: no update with a time below it will still appear.
pub fn frontier_of(frontier: AntichainRef<'_, EventTime>) -> EventTime {
    frontier.first().copied().unwrap_or(CLOSED)
}

/// The length of a tick: a deterministic mini-batch (`time_resolution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resolution {
    tick_ms: i64,
}

impl Resolution {
    /// A resolution of `tick_ms` milliseconds; at least one.
    pub fn new(tick_ms: i64) -> Self {
        Resolution { tick_ms: tick_ms.max(1) }
    }

    /// The length of a tick in milliseconds.
    pub fn tick_ms(self) -> i64 {
        self.tick_ms
    }

    /// The start of the tick that holds `time`; the extreme times map to themselves.
    pub fn tick_start(self, time: EventTime) -> EventTime {
        if time == BEGINNING || time == CLOSED {
            return time;
        }
        time.div_euclid(self.tick_ms).checked_mul(self.tick_ms).unwrap_or(BEGINNING)
    }
}

impl Default for Resolution {
    fn default() -> Self {
        Resolution::new(100)
    }
}
