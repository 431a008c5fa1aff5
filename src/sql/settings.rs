//! Job settings: `SET 'key' = 'value'`, `--set key=value`.

use super::blocks::BlockHints;
use super::diagnostics::nearest;
use super::interval::parse_duration;
use super::parallelism;
use super::rewrites::Rewrites;
use crate::error::{Error, Result};
use crate::time::Resolution;

/// The settings in force for a statement; plain data, validated when set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `time_resolution`: the length of a tick. Default 100 ms.
    pub time_resolution: Resolution,
    /// `allowed_lateness` in ms: how long after its end a window still takes late rows. Default 0.
    pub allowed_lateness: i64,
    /// `idle_timeout` in ms of wall time: a partition silent for so long stops holding the
    /// frontier; `None`: never.
    pub idle_timeout: Option<i64>,
    /// `max_future_skew` in ms: beyond it a record goes to the dead letters; `None`: by boundedness
    /// (1 day for unbounded sources, off for bounded ones); negative: off.
    pub max_future_skew: Option<i64>,
    /// `max_drift` in ms: how far a source may run ahead of the slowest one. Default 10 s.
    pub max_drift: i64,
    /// `retain_history` in ms of event time: how far back views can be read. Default 60 s.
    pub retain_history: i64,
    /// `memory.budget` in bytes: near it operators put state aside, on disk; `None`: never.
    pub memory_budget: Option<u64>,
    /// `source.rows_in_flight`: the flow-control budget per worker.
    pub rows_in_flight: usize,
    /// `source.split_bytes`: bytes decoded at once; small values cut inputs into small chunks.
    pub split_bytes: usize,
    /// `recursion.limit`: iterations of a recursive query that states no limit.
    pub recursion_limit: u64,
    /// `plan.rewrites`: which rewrites of plans are made.
    pub rewrites: Rewrites,
    /// `snapshot.interval` in ms of wall time between two snapshots; 0: one after the other, and
    /// sources wait for each. Default 10 s.
    pub snapshot_interval: i64,
    /// `snapshot.keep`: how many snapshots are kept. Default 3.
    pub snapshot_keep: usize,
    /// `snapshot.on_failure`: what becomes of a job whose snapshots cannot be written.
    pub on_snapshot_failure: OnSnapshotFailure,
    /// `restart.attempts`: how often a job that fails is started again from its last snapshot
    /// before it stays failed. Default 3.
    pub restart_attempts: usize,
    /// `restart.delay` in ms of wall time before the first of them; it doubles with each. Default
    /// 1 s.
    pub restart_delay: i64,
    /// `parallelism`: operators work on the first so many workers; `None`: on all.
    pub parallelism: Option<usize>,
    /// The hints of the query block.
    pub block: BlockHints,
}

/// What becomes of a job whose snapshots cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSnapshotFailure {
    /// It goes on without them.
    #[default]
    Continue,
    /// It fails.
    Stop,
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
            memory_budget: None,
            rows_in_flight: crate::limits::ROWS_IN_FLIGHT_MAX,
            split_bytes: crate::limits::SPLIT_BYTES,
            recursion_limit: crate::limits::RECURSION_ITERATIONS_MAX,
            rewrites: Rewrites::default(),
            snapshot_interval: 10_000,
            snapshot_keep: 3,
            on_snapshot_failure: OnSnapshotFailure::default(),
            restart_attempts: 3,
            restart_delay: 1_000,
            parallelism: None,
            block: BlockHints::default(),
        }
    }
}

/// What a key sets.
#[derive(Clone, Copy, Debug)]
enum Target {
    TimeResolution,
    AllowedLateness,
    IdleTimeout,
    MaxFutureSkew,
    MaxDrift,
    RetainHistory,
    MemoryBudget,
    /// For tests: puts state aside whenever it can be.
    Spill,
    RowsInFlight,
    SplitBytes,
    RecursionLimit,
    Rewrites,
    SnapshotInterval,
    SnapshotKeep,
    OnSnapshotFailure,
    RestartAttempts,
    RestartDelay,
    RestartStrategy,
    Parallelism,
    /// Must be UTC.
    TimeZone,
    /// Accepted for scripts written for Flink; has no meaning here.
    Ignored,
}

/// The keys, Flink's names beside ours.
const KEYS: [(&str, Target); 41] = [
    ("time_resolution", Target::TimeResolution),
    ("allowed_lateness", Target::AllowedLateness),
    ("idle_timeout", Target::IdleTimeout),
    ("max_future_skew", Target::MaxFutureSkew),
    ("max_drift", Target::MaxDrift),
    ("retain_history", Target::RetainHistory),
    ("memory.budget", Target::MemoryBudget),
    ("debug.spill", Target::Spill),
    ("source.rows_in_flight", Target::RowsInFlight),
    ("source.split_bytes", Target::SplitBytes),
    ("recursion.limit", Target::RecursionLimit),
    ("plan.rewrites", Target::Rewrites),
    ("snapshot.interval", Target::SnapshotInterval),
    ("snapshot.keep", Target::SnapshotKeep),
    ("snapshot.on_failure", Target::OnSnapshotFailure),
    ("restart.attempts", Target::RestartAttempts),
    ("restart.delay", Target::RestartDelay),
    ("restart-strategy.type", Target::RestartStrategy),
    ("restart-strategy.fixed-delay.attempts", Target::RestartAttempts),
    ("restart-strategy.fixed-delay.delay", Target::RestartDelay),
    ("restart-strategy.exponential-delay.initial-backoff", Target::RestartDelay),
    ("parallelism", Target::Parallelism),
    ("table.exec.source.idle-timeout", Target::IdleTimeout),
    ("table.exec.state.ttl", Target::Ignored),
    ("table.exec.emit.allow-lateness", Target::AllowedLateness),
    ("table.local-time-zone", Target::TimeZone),
    ("table.exec.mini-batch.enabled", Target::Ignored),
    ("table.exec.mini-batch.allow-latency", Target::Ignored),
    ("table.exec.mini-batch.size", Target::Ignored),
    ("table.optimizer.agg-phase-strategy", Target::Ignored),
    ("table.optimizer.distinct-agg.split.enabled", Target::Ignored),
    ("table.exec.resource.default-parallelism", Target::Parallelism),
    ("parallelism.default", Target::Parallelism),
    ("execution.runtime-mode", Target::Ignored),
    ("pipeline.name", Target::Ignored),
    ("sql-client.execution.result-mode", Target::Ignored),
    ("execution.checkpointing.interval", Target::SnapshotInterval),
    ("execution.checkpointing.mode", Target::Ignored),
    ("execution.checkpointing.timeout", Target::Ignored),
    ("execution.checkpointing.min-pause", Target::Ignored),
    ("execution.checkpointing.max-concurrent-checkpoints", Target::Ignored),
];

impl Settings {
    /// Sets `key`; an unknown key or a value out of range is an error that lists what is known.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some((_, target)) = KEYS.iter().find(|(known, _)| *known == key) else {
            let known: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
            let near = nearest(key, &known);
            let near = near.map(|near| format!("did you mean '{near}'? ")).unwrap_or_default();
            return Err(Error::config(format!("unknown setting '{key}'"))
                .with_hint(format!("{near}known settings: {}", known.join(", "))));
        };
        let value = value.trim();
        match target {
            Target::TimeResolution => {
                let ms = duration(key, value)?;
                if ms < 1 {
                    return Err(refused(key, value).with_hint("the least is 1 ms"));
                }
                self.time_resolution = Resolution::new(ms);
            }
            Target::AllowedLateness => self.allowed_lateness = duration(key, value)?,
            Target::IdleTimeout => self.idle_timeout = positive(duration(key, value)?),
            Target::MaxFutureSkew if value.eq_ignore_ascii_case("off") => {
                self.max_future_skew = Some(-1);
            }
            Target::MaxFutureSkew => self.max_future_skew = Some(duration(key, value)?),
            Target::MaxDrift => self.max_drift = duration(key, value)?,
            Target::RetainHistory => self.retain_history = duration(key, value)?,
            Target::MemoryBudget => self.memory_budget = Some(budget(key, value)?),
            Target::Spill => match value {
                "always" => self.memory_budget = Some(0),
                _ => return Err(refused(key, value).with_hint("write always, in tests alone")),
            },
            Target::RowsInFlight => self.rows_in_flight = count(key, value)?,
            Target::SplitBytes => self.split_bytes = count(key, value)?,
            Target::RecursionLimit => self.recursion_limit = count(key, value)? as u64,
            Target::SnapshotInterval => {
                let ms = duration(key, value)?;
                if ms < 0 {
                    return Err(refused(key, value).with_hint("the least is 0: all the time"));
                }
                self.snapshot_interval = ms;
            }
            Target::SnapshotKeep => self.snapshot_keep = count(key, value)?,
            Target::OnSnapshotFailure => {
                self.on_snapshot_failure = match value {
                    "continue" => OnSnapshotFailure::Continue,
                    "stop" => OnSnapshotFailure::Stop,
                    _ => return Err(refused(key, value).with_hint("write continue or stop")),
                }
            }
            Target::RestartAttempts => {
                let attempts = value.parse();
                self.restart_attempts = attempts.map_err(|_| {
                    refused(key, value).with_hint("write how often, 0 for not at all")
                })?;
            }
            Target::RestartDelay => {
                self.restart_delay = positive(duration(key, value)?)
                    .ok_or_else(|| refused(key, value).with_hint("the least is 1 ms"))?;
            }
            Target::RestartStrategy => match value {
                "none" | "off" | "disable" => self.restart_attempts = 0,
                // Delays double whatever it is called; how often is a setting of its own.
                "fixed-delay" | "fixeddelay" | "exponential-delay" | "exponentialdelay"
                | "failure-rate" | "failurerate" => {}
                _ => {
                    let hint = "write none, fixed-delay or exponential-delay";
                    return Err(refused(key, value).with_hint(hint));
                }
            },
            // Flink's way to say that there is none.
            Target::Parallelism if value == "-1" => self.parallelism = None,
            Target::Parallelism => match parallelism::parse(value) {
                Some(number) => self.parallelism = Some(number),
                None => return Err(refused(key, value).with_hint(parallelism::number_hint())),
            },
            Target::Rewrites => self.rewrites = Rewrites::parse(value)?,
            Target::TimeZone => {
                if !["UTC", "Etc/UTC", "GMT", "Z", "+00:00"].contains(&value) {
                    return Err(refused(key, value).with_hint("the only time zone is UTC"));
                }
            }
            Target::Ignored => {}
        }
        Ok(())
    }
}

/// Zero switches off, as in Flink.
fn positive(ms: i64) -> Option<i64> {
    (ms > 0).then_some(ms)
}

fn refused(key: &str, value: &str) -> Error {
    Error::config(format!("setting '{key}' does not take '{value}'"))
}

fn duration(key: &str, value: &str) -> Result<i64> {
    parse_duration(value).ok_or_else(|| {
        refused(key, value).with_hint("write a duration such as '100 ms', '5 s', '1 min' or '2 h'")
    })
}

/// A size in bytes: `256mb`, `1 GB`, `512 MiB`, or a plain number of bytes. Units are powers of
/// 1024, as in Flink.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kib" | "kibibytes" => 10,
        "m" | "mb" | "mib" | "mebibytes" => 20,
        "g" | "gb" | "gib" | "gibibytes" => 30,
        "t" | "tb" | "tib" | "tebibytes" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn budget(key: &str, value: &str) -> Result<u64> {
    let least = crate::limits::MEMORY_BUDGET_BYTES_MIN;
    match size(value) {
        None => Err(refused(key, value).with_hint("write a size such as '256mb' or '2 gb'")),
        Some(bytes) if bytes < least => {
            let hint = format!("the least is {} mb: the process itself takes that", least >> 20);
            Err(refused(key, value).with_hint(hint))
        }
        Some(bytes) => Ok(bytes),
    }
}

fn count(key: &str, value: &str) -> Result<usize> {
    match value.parse::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(refused(key, value).with_hint("write a whole number greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_size() {
        let mut settings = Settings::default();
        for (text, bytes) in [
            ("256mb", 256 << 20),
            ("1gb", 1 << 30),
            (" 512 MiB ", 512 << 20),
            ("131072 k", 128 << 20),
            ("268435456", 256 << 20),
        ] {
            settings.set("memory.budget", text).unwrap();
            assert_eq!(settings.memory_budget, Some(bytes), "{text}");
        }
        for text in ["", "much", "-1gb", "1.5gb", "1 gibi", "99999999999 tb", "0", "1mb"] {
            let error = settings.set("memory.budget", text).unwrap_err();
            assert!(error.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn sets_and_refuses() {
        let mut settings = Settings::default();
        settings.set("time_resolution", "1 s").unwrap();
        settings.set("table.exec.source.idle-timeout", "5 s").unwrap();
        settings.set("allowed_lateness", "INTERVAL '2' MINUTE").unwrap();
        settings.set("execution.runtime-mode", "streaming").unwrap();
        settings.set("table.local-time-zone", "UTC").unwrap();
        settings.set("source.split_bytes", "100").unwrap();
        assert_eq!(settings.time_resolution.tick_ms(), 1000);
        assert_eq!(settings.idle_timeout, Some(5000));
        assert_eq!(settings.allowed_lateness, 120_000);
        assert_eq!(settings.split_bytes, 100);
        for (key, value) in [
            ("time_resolution", "0"),
            ("time_resolution", "soon"),
            ("source.split_bytes", "-1"),
            ("table.local-time-zone", "Europe/Vienna"),
        ] {
            assert!(settings.set(key, value).is_err(), "{key}={value}");
        }
        let error = settings.set("time_resolutoin", "1 s").unwrap_err();
        assert!(error.hint.unwrap().starts_with("did you mean 'time_resolution'?"));
    }
}
