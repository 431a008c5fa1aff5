//! Places in durable steps where a test makes the process die, a write fail or take long.
//!
//! Unarmed, a point costs one atomic load. A setting arms points by name; the list below is all
//! there are, and a test holds that each is reached by a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Every point, in the order of the steps they stand before.
pub const NAMES: &[&str] = &[
    "open.before_format",
    "rebuild.before_rename",
    "rebuild.between_renames",
    "chunk.before_write",
    "manifest.before_flush",
    "manifest.before_commit",
    "manifest.after_commit",
    "commits.before_rename",
    "retain.before_manifests",
    "retain.before_chunks",
    "journal.before_append",
    "journal.before_sync",
    "export.before_manifest",
    "export.before_chunk",
    "export.before_complete",
    "export.before_rename",
    "export.after_rename",
    "import.before_commit",
    "upgrade.before_commit",
    "sink.before_sync",
    "sink.before_commit",
    "sink.before_commit_rename",
    "sink.after_commit",
    "sink.before_publish",
    "sink.after_publish",
    "sink.before_cleanup",
];

static ARMED: AtomicBool = AtomicBool::new(false);
static POINTS: Mutex<Vec<Point>> = Mutex::new(Vec::new());

struct Point {
    name: &'static str,
    action: Action,
    /// Acts when reached for this time only; `None`: each time.
    at: Option<u64>,
    reached: u64,
}

#[derive(Clone, Copy)]
enum Action {
    Kill,
    Fail,
    Delay(Duration),
}

fn points() -> MutexGuard<'static, Vec<Point>> {
    POINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arms the points of `spec`, instead of those armed before; an empty text disarms all.
///
/// A spec is a list `name=action[@n]`, with commas between: `kill` ends the process at once,
/// `error` fails with an I/O error, `delay:50` waits 50 ms. With `@n` only the `n`th time acts.
pub fn arm(spec: &str) -> Result<()> {
    let specs = spec.split(',').map(str::trim).filter(|one| !one.is_empty());
    let armed: Vec<Point> = specs.map(parse).collect::<Result<_>>()?;
    let is_any = !armed.is_empty();
    *points() = armed;
    ARMED.store(is_any, Ordering::SeqCst);
    Ok(())
}

fn parse(spec: &str) -> Result<Point> {
    let wrong = |what: String| {
        Error::config(format!("failpoint '{spec}': {what}"))
            .with_hint("write name=kill@2, name=error@1 or name=delay:50")
    };
    let (name, rest) = spec.split_once('=').ok_or_else(|| wrong("no '='".to_owned()))?;
    let Some(name) = NAMES.iter().find(|known| **known == name) else {
        return Err(wrong(format!("no point '{name}'; there are {}", NAMES.join(", "))));
    };
    let (action, at) = match rest.split_once('@') {
        None => (rest, None),
        Some((action, at)) => match at.parse() {
            Ok(at) if at > 0 => (action, Some(at)),
            _ => return Err(wrong(format!("'{at}' is not a count"))),
        },
    };
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        None if action == "error" => Action::Fail,
        Some(("delay", ms)) => match ms.parse() {
            Ok(ms) => Action::Delay(Duration::from_millis(ms)),
            Err(_) => return Err(wrong(format!("'{ms}' is not a number of milliseconds"))),
        },
        _ => return Err(wrong(format!("no action '{action}'"))),
    };
    Ok(Point { name, action, at, reached: 0 })
}

/// Acts as armed for the point `name`; nothing otherwise.
pub fn reach(name: &'static str) -> Result<()> {
    if !ARMED.load(Ordering::Relaxed) {
        return Ok(());
    }
    act(name)
}

#[cold]
fn act(name: &'static str) -> Result<()> {
    let mut delay = Duration::ZERO;
    for point in points().iter_mut().filter(|point| point.name == name) {
        point.reached += 1;
        if point.at.is_some_and(|at| at != point.reached) {
            continue;
        }
        match point.action {
            // As a loss of power would, as far as the process is concerned: nothing is tidied up.
            Action::Kill => std::process::abort(),
            Action::Fail => {
                return Err(Error::new(ErrorKind::Io, format!("failpoint {name}: made to fail")));
            }
            Action::Delay(time) => delay += time,
        }
    }
    std::thread::sleep(delay);
    Ok(())
}
