//! What is known of the process itself: since when it runs, what it uses, how often it was started
//! again. The only place that asks the system for its descriptors and its time on a core.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::clock::{monotonic, wall_ms};

/// Ticks of `/proc/self/stat` in a second; that of every system this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

struct Begun {
    wall_ms: i64,
    at: Instant,
}

static BEGUN: OnceLock<Begun> = OnceLock::new();

static RESTARTS: AtomicU64 = AtomicU64::new(0);

/// The process has begun; only the first call counts. Without one it begins when it is first asked.
pub fn begun() {
    known();
}

fn known() -> &'static Begun {
    BEGUN.get_or_init(|| Begun { wall_ms: wall_ms(), at: monotonic() })
}

/// The process was started again `times` times before, by whoever watches over it.
pub fn was_restarted(times: u64) {
    RESTARTS.store(times, Ordering::Relaxed);
}

/// Wall time at which the process began, in milliseconds since the Unix epoch.
pub fn began_ms() -> i64 {
    known().wall_ms
}

/// Seconds since the process began.
pub fn uptime_seconds() -> f64 {
    monotonic().duration_since(known().at).as_secs_f64()
}

/// How often it was started again before.
pub fn restarts() -> u64 {
    RESTARTS.load(Ordering::Relaxed)
}

/// Files and sockets that the process has open; `None` where the system does not tell.
pub fn open_descriptors() -> Option<u64> {
    // One of them is the directory that is read.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

/// Seconds that all threads of the process have run on a core; `None` where the system does not
/// tell.
pub fn cpu_seconds() -> Option<f64> {
    seconds_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of a line of `/proc/self/stat`. The name of the program, in parentheses,
/// may hold anything.
fn seconds_of(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_core_is_read_whatever_the_program_is_called() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 99 1 1";
        assert_eq!(seconds_of(stat), Some(3.0));
        assert_eq!(seconds_of("12 (a"), None);
        assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
    }

    #[test]
    fn descriptors_that_are_opened_are_counted() {
        let open: Vec<_> = (0..64).map(|_| tempfile::tempfile().unwrap()).collect();
        assert!(open_descriptors().is_some_and(|count| count >= open.len() as u64));
    }
}
