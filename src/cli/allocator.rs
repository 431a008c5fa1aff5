//! The allocator gives memory back at once where there is a memory budget.
//!
//! It keeps what is freed for a second, in which a job that puts state aside and takes it back has
//! freed as much again. How long it waits it reads from the environment when the process starts: so
//! the process starts anew, in its own place, before it has done anything.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Milliseconds that the allocator waits.
const DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// The setting of the memory budget.
const MEMORY_BUDGET: &str = "memory.budget";

/// Whether one of the `settings` or of the scripts `texts` sets a memory budget.
pub fn is_wanted(settings: &[(String, String)], texts: &[(String, String)]) -> bool {
    let sets_budget = |text: &str| text.contains(MEMORY_BUDGET);
    settings.iter().any(|(key, _)| sets_budget(key)) || texts.iter().any(|(_, t)| sets_budget(t))
}

/// The same for a process that is going to be started.
pub fn of_child(child: &mut Command) {
    child.env(DELAY, "0");
}

/// Starts the process anew, unless it has been told how long to wait. `files` have been read: what
/// can be read only once keeps it from that.
pub fn give_back_at_once(files: &[PathBuf]) {
    let is_told = std::env::var_os(DELAY).is_some();
    let is_file = |file: &PathBuf| file.metadata().is_ok_and(|file| file.is_file());
    if is_told || !files.iter().all(is_file) {
        return;
    }
    let (Ok(program), Some(name)) = (std::env::current_exe(), std::env::args_os().next()) else {
        return;
    };
    let mut again = Command::new(program);
    let error = again.arg0(name).args(std::env::args_os().skip(1)).env(DELAY, "0").exec();
    tracing::warn!("memory that is freed is given back late: {error}");
}
