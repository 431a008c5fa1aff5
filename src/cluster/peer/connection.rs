//! An authenticated connection to another process, whatever carries it.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use timely::communication::allocator::zero_copy::stream::Stream;

use super::pump::Pumps;

/// A stream of bytes to and from one other process, which has proved who it is.
#[derive(Debug)]
pub struct Connection(Carrier);

/// What carries it.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(TcpStream),
    /// The local end of a TLS connection, and what is dropped after the last of its handles.
    Tls(UnixStream, Arc<Pumps>),
}

impl Connection {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Connection(Carrier::Plain(socket))
    }

    /// What carries it.
    pub(super) fn into_carrier(self) -> Carrier {
        self.0
    }

    pub(super) fn tls(session: rustls::Connection, socket: TcpStream) -> io::Result<Self> {
        let (local, pumps) = Pumps::start(session, socket)?;
        Ok(Connection(Carrier::Tls(local, pumps)))
    }

    /// Another handle to the same connection, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Connection(match &self.0 {
            Carrier::Plain(socket) => Carrier::Plain(socket.try_clone()?),
            Carrier::Tls(local, pumps) => Carrier::Tls(local.try_clone()?, Arc::clone(pumps)),
        }))
    }

    /// How long a read may wait; without end if `None`.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.set_read_timeout(timeout),
            Carrier::Tls(local, _) => local.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait; without end if `None`.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.set_write_timeout(timeout),
            Carrier::Tls(local, _) => local.set_write_timeout(timeout),
        }
    }

    /// Ends one or both directions for all handles; what was written before still arrives.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.shutdown(how),
            Carrier::Tls(local, pumps) => {
                local.shutdown(how)?;
                if how != Shutdown::Write { pumps.stop_reading() } else { Ok(()) }
            }
        }
    }

    /// Whether the other side has ended the connection and nothing of it is left to read.
    pub fn is_closed(&self) -> bool {
        let look = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let mut byte = [MaybeUninit::uninit()];
        let seen = match &self.0 {
            Carrier::Plain(socket) => SockRef::from(socket).recv_with_flags(&mut byte, look),
            Carrier::Tls(local, _) => SockRef::from(local).recv_with_flags(&mut byte, look),
        };
        match seen {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.read(buffer),
            Carrier::Tls(local, _) => local.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.write(buffer),
            Carrier::Tls(local, _) => local.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.flush(),
            Carrier::Tls(local, _) => local.flush(),
        }
    }
}

impl Stream for Connection {
    fn try_clone(&self) -> io::Result<Self> {
        Connection::try_clone(self)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.set_nonblocking(nonblocking),
            Carrier::Tls(local, _) => local.set_nonblocking(nonblocking),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Connection::shutdown(self, how)
    }
}
