//! A connection for tasks of an asynchronous runtime.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use timely::communication::allocator::zero_copy::stream::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Connection;
use super::connection::Carrier;

/// A [`Connection`] that is read and written by tasks.
#[derive(Debug)]
pub struct AsyncConnection(TcpStream);

impl Connection {
    /// The same for tasks; called within a runtime.
    pub fn into_async(self) -> io::Result<AsyncConnection> {
        self.set_nonblocking(true)?;
        match self.into_carrier() {
            Carrier::Plain(socket) => Ok(AsyncConnection(TcpStream::from_std(socket)?)),
        }
    }
}

impl AsyncRead for AsyncConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for AsyncConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
