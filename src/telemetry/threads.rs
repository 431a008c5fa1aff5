//! Threads of the program's own: each has a name, by which logs and debuggers know it.

use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};
use crate::limits::SQL_STACK_BYTES;

/// Runs `body` on a thread called `name`.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    start(name, Builder::new(), body)
}

/// The same on a stack that is deep enough to plan any query: planning recurses as deeply as a
/// query nests.
pub fn spawn_deep<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    start(name, Builder::new().stack_size(SQL_STACK_BYTES), body)
}

fn start<T: Send + 'static>(
    name: &str,
    builder: Builder,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let spawned = builder.name(name.to_owned()).spawn(body);
    spawned.map_err(|e| Error::io(format!("cannot start the thread {name}"), &e))
}
