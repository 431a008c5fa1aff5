//! Threads of the program's own: each has a name, by which logs and debuggers know it.

use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

/// Runs `body` on a thread called `name`.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let spawned = Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|e| Error::io(format!("cannot start the thread {name}"), &e))
}
