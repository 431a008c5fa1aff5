//! New files of a source that watches its path.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The body of the watching thread: new files become partitions, in the order of their paths.
pub fn watch(shared: &Shared, interval: Duration) {
    let mut known: BTreeSet<PathBuf> =
        shared.lock().partitions.iter().map(|p| p.file.path.clone()).collect();
    loop {
        let state = shared.lock();
        let (state, _) = shared
            .pause
            .wait_timeout_while(state, interval, |state| !state.is_stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return;
        }
        drop(state);
        if let Err(error) = look_again(shared, &mut known) {
            return shared.fail(error);
        }
    }
}

fn look_again(shared: &Shared, known: &mut BTreeSet<PathBuf>) -> Result<()> {
    let found = shared.listing.list()?;
    let new: BTreeSet<PathBuf> = found.difference(known).cloned().collect();
    if new.is_empty() {
        return Ok(());
    }
    let files = shared.own_files(&new, true)?;
    known.extend(new);
    if known.len() > limits::SOURCE_FILES_MAX {
        let message = format!("a source has seen more than {} files", limits::SOURCE_FILES_MAX);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    if !files.is_empty() {
        shared.lock().add(files);
        shared.wake_workers();
    }
    Ok(())
}
