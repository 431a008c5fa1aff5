//! An authenticated connection to another process, whatever carries it.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use timely::communication::allocator::zero_copy::stream::Stream;

/// A stream of bytes to and from one other process, which has proved who it is.
#[derive(Debug)]
pub struct Connection(Carrier);

/// What carries it.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(TcpStream),
}

impl Connection {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Connection(Carrier::Plain(socket))
    }

    /// What carries it.
    pub(super) fn into_carrier(self) -> Carrier {
        self.0
    }

    /// Another handle to the same connection, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        match &self.0 {
            Carrier::Plain(socket) => socket.try_clone().map(Connection::plain),
        }
    }

    /// How long a read may wait; without end if `None`.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait; without end if `None`.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.set_write_timeout(timeout),
        }
    }

    /// Ends one or both directions for all handles; what was written before still arrives.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.0 {
            Carrier::Plain(socket) => socket.shutdown(how),
        }
    }

    /// Whether the other side has ended the connection and nothing of it is left to read.
    pub fn is_closed(&self) -> bool {
        let Carrier::Plain(socket) = &self.0;
        let look = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match SockRef::from(socket).recv_with_flags(&mut [MaybeUninit::uninit()], look) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Carrier::Plain(socket) => socket.flush(),
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
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Connection::shutdown(self, how)
    }
}
