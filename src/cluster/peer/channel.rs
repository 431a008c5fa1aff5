//! A socket during its handshake: every read and write ends by one point in time, however slowly
//! the other side sends.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::connection::Connection;
use super::handshake::Binding;
use super::{Member, Purpose};
use crate::limits::{PEER_PROBE_SECONDS, PEER_PROBES_MAX, PEER_SILENCE_SECONDS_MAX};
use crate::telemetry::clock::monotonic;

/// A socket with the time by which its handshake ends.
pub struct Timed {
    socket: TcpStream,
    until: Instant,
}

impl Timed {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.until.saturating_duration_since(monotonic());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(remaining))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.remaining()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.remaining()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What a handshake is held over.
pub enum Channel {
    /// The socket itself.
    Plain(Timed),
}

impl Channel {
    /// The side that connects to `host`.
    pub fn connect(
        _member: &Member,
        _host: &str,
        socket: TcpStream,
        until: Instant,
    ) -> io::Result<Self> {
        prepare(&socket)?;
        Ok(Channel::Plain(Timed { socket, until }))
    }

    /// The side that was connected to.
    pub fn accept(_member: &Member, socket: TcpStream, until: Instant) -> io::Result<Self> {
        prepare(&socket)?;
        Ok(Channel::Plain(Timed { socket, until }))
    }

    /// What a proof is bound to.
    pub fn binding(&self) -> io::Result<Binding> {
        match self {
            Channel::Plain(_) => Ok(Binding::default()),
        }
    }

    /// The connection, once the handshake is over: from here on it may be silent.
    pub fn into_connection(self, purpose: Purpose) -> io::Result<Connection> {
        match self {
            Channel::Plain(Timed { socket, .. }) => {
                release(&socket, purpose)?;
                Ok(Connection::plain(socket))
            }
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(socket) => socket.flush(),
        }
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)
}

/// A machine that is gone says nothing: the system asks, and ends the connection without an answer.
fn release(socket: &TcpStream, purpose: Purpose) -> io::Result<()> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    let every = Duration::from_secs(PEER_PROBE_SECONDS);
    let probes = TcpKeepalive::new().with_time(every).with_interval(every);
    let options = SockRef::from(socket);
    options.set_tcp_keepalive(&probes.with_retries(PEER_PROBES_MAX))?;
    // The time counts as well while the other side is there and does not read, as the client of a
    // handed on request may do for as long as it likes.
    #[cfg(target_os = "linux")]
    if matches!(purpose, Purpose::Control | Purpose::Data) {
        options.set_tcp_user_timeout(Some(Duration::from_secs(PEER_SILENCE_SECONDS_MAX)))?;
    }
    Ok(())
}
