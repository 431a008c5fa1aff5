//! The wall clock: the only place that reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the module that owns the clock")]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A point on the monotonic clock, for durations.
#[expect(clippy::disallowed_methods, reason = "the module that owns the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}
