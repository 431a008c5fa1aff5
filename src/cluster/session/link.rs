//! The control connection to one other process, while a session goes on.

use std::io::ErrorKind as IoErrorKind;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::frames::{self, Kind};
use super::{Lost, OnMessage, Timing};
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
                Ok((Kind::Message, body)) => {
                    // A thread that ended here would leave a process that lives and obeys nobody.
                    let done = catch_unwind(AssertUnwindSafe(|| on(process, &body)));
                    if done.is_err() {
                        return format!("a message of process {process} could not be handled");
                    }
                }
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

/// The end of a session, for one process.
pub struct Ending {
    is_over: AtomicBool,
    lost: Lost,
}

impl Ending {
    /// Has `lost` told when the session is lost.
    pub fn new(lost: Lost) -> Self {
        Ending { is_over: AtomicBool::new(false), lost }
    }

    /// The session is lost; told once, and not to who has left it.
    pub fn lose(&self, why: String) {
        if !self.is_over.swap(true, Ordering::AcqRel) {
            (self.lost)(why);
        }
    }

    /// Leaves the session and tells those at the other ends of `links` why.
    pub fn leave<'a>(&self, links: impl IntoIterator<Item = &'a Arc<Link>>, why: &str) {
        self.is_over.store(true, Ordering::Release);
        for link in links {
            // One that is gone needs no telling.
            let _ = link.send(Kind::Bye, why.as_bytes());
            link.close();
        }
    }
}

/// Says on all `links` that this process lives, until one is gone; then calls `lost`.
pub fn pulse(links: Vec<Arc<Link>>, timing: Timing, lost: impl FnOnce(String)) {
    loop {
        thread::sleep(timing.pulse());
        for link in &links {
            if let Err(error) = link.send(Kind::Life, &[]) {
                return lost(error.message);
            }
        }
    }
}
