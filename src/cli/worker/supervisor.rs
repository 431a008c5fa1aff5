//! Starts the engine, and starts it again.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::super::allocator;
use super::WorkerArguments;
use super::report::{EXIT_CONFIG, EXIT_LOST, History, STOP, Sign};
use crate::cluster::session::Restart;
use crate::error::{Error, Result};
use crate::limits::RESTART_REASONS_MAX;
use crate::telemetry::clock::{monotonic, wall_ms};
use crate::telemetry::threads::spawn;

/// The wait before an engine is started again that has not failed itself, or not before.
const DELAY: Duration = Duration::from_millis(100);
/// An engine that has worked for so long has not failed at its start.
const STABLE: Duration = Duration::from_secs(5);
/// How often the supervisor looks whether it is told to stop.
const LOOK: Duration = Duration::from_millis(250);
/// How long an engine may take to end that has said that it does.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long an engine may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// Keeps an engine running until it is told to stop.
pub fn run(arguments: &WorkerArguments) -> Result<()> {
    let stop = super::super::interrupt::flag()?;
    let texts = super::super::read_scripts(&arguments.jobs)?;
    let mut supervisor = Supervisor {
        has_budget: allocator::is_wanted(&arguments.settings, &texts),
        process: arguments.process,
        silence: arguments.peer_timeout.max(Duration::from_secs(1)) * 2,
        delay: DELAY,
        delay_max: arguments.restart_delay_max,
        restarts: 0,
        reasons: VecDeque::new(),
        has_worked: false,
        crashed: None,
    };
    loop {
        let ended = match supervisor.watch(&stop) {
            Ok(Some(ended)) => ended,
            Ok(None) => return Ok(()),
            // It may be for want of memory: there may be some later.
            Err(error) if supervisor.has_worked => Ended::unseen(&error),
            Err(error) => return Err(error),
        };
        if ended.is_final && !supervisor.has_worked {
            return Err(Error::config("the engine cannot work like this; its message is above"));
        }
        let delay = supervisor.note(&ended);
        tracing::warn!(
            "process {}: the engine has ended: {}; it is started again in {} ms",
            supervisor.process,
            ended.reason,
            delay.as_millis()
        );
        let until = monotonic() + delay;
        while monotonic() < until {
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            std::thread::sleep(LOOK.min(until.saturating_duration_since(monotonic())));
        }
    }
}

struct Supervisor {
    /// Whether a memory budget is known of.
    has_budget: bool,
    process: usize,
    /// An engine that says nothing for so long is killed.
    silence: Duration,
    /// The next one, of an engine that fails itself.
    delay: Duration,
    delay_max: Duration,
    restarts: u64,
    reasons: VecDeque<Restart>,
    has_worked: bool,
    /// The job whose operator has panicked in the last engine.
    crashed: Option<String>,
}

/// The end of an engine.
struct Ended {
    reason: String,
    /// Whether a peer was lost, and nothing else.
    is_lost: bool,
    /// Whether it will end like that each time.
    is_final: bool,
    /// How long it had worked.
    worked: Duration,
}

impl Ended {
    /// Of one that could not be started, or waited for.
    fn unseen(error: &Error) -> Self {
        let (is_lost, is_final) = (false, false);
        Ended { reason: error.message.clone(), is_lost, is_final, worked: Duration::ZERO }
    }
}

impl Supervisor {
    /// Runs an engine to its end; `None` if it was told to stop.
    fn watch(&mut self, stop: &AtomicBool) -> Result<Option<Ended>> {
        let mut engine = self.start()?;
        let signs = signs_of(engine.stdout.take())?;
        let (mut heard, mut stopping) = (monotonic(), None::<Instant>);
        let mut working = None::<Instant>;
        let (mut reason, mut ending) = (None, None::<Instant>);
        self.crashed = None;
        loop {
            match signs.recv_timeout(LOOK) {
                Ok(Sign::Lives) => heard = monotonic(),
                Ok(Sign::Works) => {
                    self.has_worked = true;
                    working = Some(monotonic());
                }
                Ok(Sign::Crashed(job)) => self.crashed = Some(job),
                Ok(Sign::Ends(why)) => {
                    reason = Some(why);
                    ending = Some(monotonic());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if stop.load(Ordering::Acquire) && stopping.is_none() {
                stopping = Some(monotonic());
                tell(&mut engine, STOP);
            }
            let has_stopped = stopping.is_some_and(|since| since.elapsed() > STOP_PATIENCE);
            let has_ended = ending.is_some_and(|since| since.elapsed() > END_PATIENCE);
            if has_stopped || has_ended || (stopping.is_none() && heard.elapsed() > self.silence) {
                let silence = self.silence.as_millis();
                reason.get_or_insert(format!("it was silent for {silence} ms and was killed"));
                // One that is gone needs no killing.
                let _ = engine.kill();
                break;
            }
        }
        // While it is waited for, its standard input must stay open: without, it ends at once.
        let input = engine.stdin.take();
        let status = engine.wait().map_err(|e| Error::io("waiting for the engine", &e))?;
        drop(input);
        if stopping.is_some() {
            return Ok(None);
        }
        let is = |code: u8| status.code() == Some(i32::from(code));
        Ok(Some(Ended {
            reason: reason.unwrap_or_else(|| reason_of(status)),
            is_lost: is(EXIT_LOST),
            is_final: is(EXIT_CONFIG),
            worked: working.map(|since| since.elapsed()).unwrap_or_default(),
        }))
    }

    fn start(&self) -> Result<Child> {
        let failed = |error| Error::io("the engine cannot be started", &error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).arg("--engine");
        if self.has_budget {
            allocator::of_child(&mut command);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut engine = piped.spawn().map_err(failed)?;
        let reasons = self.reasons.iter().cloned().collect();
        let crashed = self.crashed.clone();
        let history = History { restarts: self.restarts, reasons, crashed };
        let mut line = serde_json::to_vec(&history).map_err(|e| Error::internal(e.to_string()))?;
        line.push(b'\n');
        // The pipe stays open as long as the child is held: it ends when this process does.
        tell(&mut engine, &line);
        Ok(engine)
    }

    /// Notes an end; how long to wait before the next start.
    fn note(&mut self, ended: &Ended) -> Duration {
        self.restarts += 1;
        if self.reasons.len() == RESTART_REASONS_MAX {
            self.reasons.pop_front();
        }
        self.reasons.push_back(Restart { at_ms: wall_ms(), reason: ended.reason.clone() });
        if ended.worked >= STABLE {
            self.delay = DELAY;
        }
        if ended.is_lost {
            return DELAY;
        }
        let delay = self.delay.min(self.delay_max);
        self.delay = delay * 2;
        delay
    }
}

/// What the engine says, until its end.
fn signs_of(output: Option<ChildStdout>) -> Result<Receiver<Sign>> {
    let output = output.ok_or_else(|| Error::internal("an engine without standard output"))?;
    let (sender, signs) = sync_channel(16);
    let reading = move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if let Ok(sign) = serde_json::from_str(&line)
                && sender.send(sign).is_err()
            {
                return;
            }
        }
    };
    spawn("engine", reading)?;
    Ok(signs)
}

fn tell(engine: &mut Child, line: &[u8]) {
    if let Some(input) = engine.stdin.as_mut() {
        // An engine that is gone says why.
        let _ = input.write_all(line).and_then(|()| input.flush());
    }
}

fn reason_of(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it was killed by signal {signal}"),
        (None, Some(code)) => format!("it ended with code {code}; its message is in the log"),
        (None, None) => "it ended".to_owned(),
    }
}
