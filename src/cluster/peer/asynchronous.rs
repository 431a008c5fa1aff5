//! A connection for tasks of an asynchronous runtime.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use timely::communication::allocator::zero_copy::stream::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Connection;
use super::connection::Carrier;
use super::pump::Pumps;

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A [`Connection`] that is read and written by tasks.
pub struct AsyncConnection {
    stream: Box<dyn Stream>,
    /// Ends with it.
    _pumps: Option<Arc<Pumps>>,
}

impl fmt::Debug for AsyncConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncConnection")
    }
}

impl Connection {
    /// The same for tasks; called within a runtime.
    pub fn into_async(self) -> io::Result<AsyncConnection> {
        self.set_nonblocking(true)?;
        let (stream, pumps): (Box<dyn Stream>, _) = match self.into_carrier() {
            Carrier::Plain(socket) => (Box::new(TcpStream::from_std(socket)?), None),
            Carrier::Tls(local, pumps) => (Box::new(UnixStream::from_std(local)?), Some(pumps)),
        };
        Ok(AsyncConnection { stream, _pumps: pumps })
    }
}

impl AsyncRead for AsyncConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AsyncConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}
