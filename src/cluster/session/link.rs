//! The control connection to one other process, while a session goes on.

use std::io::ErrorKind as IoErrorKind;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread;

use super::frames::{self, Kind};
use super::{OnMessage, Timing};
use crate::cluster::peer::Connection;
use crate::dataflow::metrics::lock;
use crate::error::{Error, Result};

/// A connection that many may write to; one thread reads.
pub struct Link {
    /// The process on the other side.
    pub process: usize,
    writer: Mutex<Connection>,
}

impl Link {
    /// Over `connection`, which is given up when a write takes as long as a silence may last.
    pub fn new(process: usize, connection: &Connection, timing: Timing) -> Result<Self> {
        let failed = |error| Error::io(format!("the connection to process {process}"), &error);
        connection.set_read_timeout(Some(timing.silence)).map_err(failed)?;
        connection.set_write_timeout(Some(timing.silence)).map_err(failed)?;
        let writer = connection.try_clone().map_err(failed)?;
        Ok(Link { process, writer: Mutex::new(writer) })
    }

    /// Sends a message.
    pub fn send(&self, kind: Kind, body: &[u8]) -> Result<()> {
        frames::write(&mut *lock(&self.writer), kind, body).map_err(|error| {
            Error::io(format!("the connection to process {}", self.process), &error)
        })
    }

    /// Ends the connection.
    pub fn close(&self) {
        // One that is gone is closed.
        let _ = lock(&self.writer).shutdown(Shutdown::Both);
    }

    /// Reads until the session is over; the reason.
    pub fn listen(&self, connection: &mut Connection, timing: Timing, on: &OnMessage) -> String {
        let process = self.process;
        loop {
            match frames::read(connection) {
                Ok((Kind::Life, _)) => {}
                Ok((Kind::Message, body)) => on(process, &body),
                Ok((Kind::Bye, body)) => {
                    let why = String::from_utf8_lossy(&body).into_owned();
                    return format!("process {process} has left: {why}");
                }
                Ok((kind, _)) => return format!("process {process} sent {kind:?} out of turn"),
                Err(error) => {
                    return match error.kind() {
                        IoErrorKind::WouldBlock | IoErrorKind::TimedOut => format!(
                            "process {process} has been silent for {} ms",
                            timing.silence.as_millis()
                        ),
                        _ => format!("the connection to process {process} is lost: {error}"),
                    };
                }
            }
        }
    }
}

/// Says on all `links` that this process lives, until one is gone; then calls `lost`.
pub fn pulse(links: Vec<Arc<Link>>, timing: Timing, lost: Arc<dyn Fn(String) + Send + Sync>) {
    loop {
        thread::sleep(timing.pulse());
        for link in &links {
            if let Err(error) = link.send(Kind::Life, &[]) {
                return lost(error.message);
            }
        }
    }
}

/// Runs `body` on a thread called `name`.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|e| Error::io("a thread", &e))
}
