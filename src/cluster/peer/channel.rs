//! A socket during its handshake: every read and write ends by one point in time, however slowly
//! the other side sends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::connection::Connection;
use super::handshake::Binding;
use super::{Member, Purpose, tls};
use crate::limits::{
    PEER_PROBE_SECONDS, PEER_PROBES_MAX, PEER_SILENCE_SECONDS_MAX, PEER_UNREAD_BYTES_MAX,
};
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

impl Timed {
    /// Says that nothing more comes, and waits for the other side to have heard it: what is closed
    /// while there is something to read takes back what it has said.
    fn hang_up(&mut self) {
        let mut unread = [0; 1024];
        let mut bytes = 0;
        let mut is_open = self.socket.shutdown(Shutdown::Write).is_ok();
        while is_open && bytes < PEER_UNREAD_BYTES_MAX {
            match self.read(&mut unread) {
                Ok(more) if more > 0 => bytes += more,
                _ => is_open = false,
            }
        }
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
    /// A session of TLS over the socket.
    Tls(Box<rustls::Connection>, Timed),
}

impl Channel {
    /// The side that connects to `host`.
    pub fn connect(
        member: &Member,
        host: &str,
        socket: TcpStream,
        until: Instant,
    ) -> io::Result<Self> {
        prepare(&socket)?;
        let mut socket = Timed { socket, until };
        match &member.tls {
            None => Ok(Channel::Plain(socket)),
            Some(tls) => Ok(Channel::Tls(Box::new(tls.connect(host, &mut socket)?), socket)),
        }
    }

    /// The side that was connected to.
    pub fn accept(member: &Member, socket: TcpStream, until: Instant) -> io::Result<Self> {
        prepare(&socket)?;
        let mut socket = Timed { socket, until };
        match &member.tls {
            None => Ok(Channel::Plain(socket)),
            Some(tls) => match tls.accept(&mut socket) {
                Ok(session) => Ok(Channel::Tls(Box::new(session), socket)),
                Err(error) => {
                    socket.hang_up();
                    Err(error)
                }
            },
        }
    }

    /// What a proof is bound to.
    pub fn binding(&self) -> io::Result<Binding> {
        match self {
            Channel::Plain(_) => Ok(Binding::default()),
            Channel::Tls(session, _) => tls::binding(session),
        }
    }

    /// The connection, once the handshake is over: from here on it may be silent.
    pub fn into_connection(self, purpose: Purpose) -> io::Result<Connection> {
        match self {
            Channel::Plain(Timed { socket, .. }) => {
                release(&socket, purpose)?;
                Ok(Connection::plain(socket))
            }
            Channel::Tls(session, Timed { socket, .. }) => {
                release(&socket, purpose)?;
                Connection::tls(*session, socket)
            }
        }
    }

    /// Ends a connection that is refused; what was said last still arrives.
    pub fn hang_up(mut self) {
        // Who does not hear the reason has one less.
        let _ = self.flush();
        match self {
            Channel::Plain(mut socket) | Channel::Tls(_, mut socket) => socket.hang_up(),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.read(buffer),
            Channel::Tls(session, socket) => tls::read(session, socket, buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.write(buffer),
            Channel::Tls(session, _) => session.writer().write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(socket) => socket.flush(),
            Channel::Tls(session, socket) => tls::flush(session, socket),
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
