//! A TLS connection as a stream that two threads can use at once.
//!
//! The session of TLS is one thing for both directions, so a pair of local sockets stands between
//! it and whoever uses the connection: one thread carries what comes, one what goes. Neither holds
//! the session while it waits, so a side that does not read stops only what is sent to it. The end
//! of one direction is passed on as the end of that direction.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::tls::flush;
use crate::dataflow::metrics::lock;
use crate::limits::PEER_LINGER_SECONDS_MAX;

/// Bytes that are carried at a time: about one record of TLS.
const PIECE_BYTES: usize = 16 << 10;

/// What ends with the last handle to a connection.
#[derive(Debug)]
pub struct Pumps {
    socket: TcpStream,
    /// Closed by the thread that sends, when all is sent.
    sent: Mutex<Receiver<()>>,
}

impl Pumps {
    /// Carries a session; gives the end of the local pair that stands for it.
    pub fn start(
        session: rustls::Connection,
        socket: TcpStream,
    ) -> io::Result<(UnixStream, Arc<Pumps>)> {
        let (near, far) = UnixStream::pair()?;
        let (sending, sent) = sync_channel(0);
        let session = Arc::new(Mutex::new(session));
        let outward = Outward {
            session: Arc::clone(&session),
            socket: socket.try_clone()?,
            plain: far.try_clone()?,
            _sending: sending,
        };
        let inward = Inward { session, socket: socket.try_clone()?, plain: far };
        let pumps = Arc::new(Pumps { socket, sent: Mutex::new(sent) });
        let name = |direction: &str| thread::Builder::new().name(format!("peer-tls-{direction}"));
        name("out").spawn(move || outward.run())?;
        name("in").spawn(move || inward.run())?;
        Ok((near, pumps))
    }

    /// Nothing more is read: what waits for the other side to say something need not.
    pub fn stop_reading(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Read)
    }
}

impl Drop for Pumps {
    /// What was written goes out first, as with a socket of the system; a process may end after.
    fn drop(&mut self) {
        // One that is closed already needs no telling.
        let _ = self.stop_reading();
        // A task must not wait; the thread goes on by itself while the process lives.
        if tokio::runtime::Handle::try_current().is_err() {
            let linger = Duration::from_secs(PEER_LINGER_SECONDS_MAX);
            let _ = lock(&self.sent).recv_timeout(linger);
        }
    }
}

/// Carries what this process writes.
struct Outward {
    session: Arc<Mutex<rustls::Connection>>,
    socket: TcpStream,
    plain: UnixStream,
    /// Dropped when all is sent.
    _sending: SyncSender<()>,
}

impl Outward {
    fn run(mut self) {
        if let Err(error) = self.carry() {
            tracing::debug!("a connection to a process is not written to any more: {error}");
            // Whoever writes learns it.
            let _ = self.plain.shutdown(Shutdown::Read);
        }
    }

    fn carry(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut sealed = Vec::new();
        loop {
            let bytes = read(&mut self.plain, &mut piece)?;
            sealed.clear();
            {
                let mut session = lock(&self.session);
                match piece.get(..bytes) {
                    Some([]) | None => session.send_close_notify(),
                    Some(plain) => session.writer().write_all(plain)?,
                }
                flush(&mut session, &mut sealed)?;
            }
            self.socket.write_all(&sealed)?;
            if bytes == 0 {
                return self.socket.shutdown(Shutdown::Write);
            }
        }
    }
}

/// Carries what the other process writes.
struct Inward {
    session: Arc<Mutex<rustls::Connection>>,
    socket: TcpStream,
    plain: UnixStream,
}

impl Inward {
    fn run(mut self) {
        if let Err(error) = self.carry() {
            tracing::debug!("a connection to a process is not read from any more: {error}");
        }
        // Whoever reads comes to an end, however it was reached: a message that is cut short is
        // known by its length.
        let _ = self.plain.shutdown(Shutdown::Write);
    }

    fn carry(&mut self) -> io::Result<()> {
        let mut sealed = vec![0; PIECE_BYTES];
        let mut plain = Vec::new();
        // The handshake may have left something.
        let mut is_over = unseal(&mut lock(&self.session), &mut plain)?;
        self.plain.write_all(&plain)?;
        while !is_over {
            let bytes = read(&mut self.socket, &mut sealed)?;
            let mut rest = sealed.get(..bytes).unwrap_or_default();
            is_over = rest.is_empty();
            while !rest.is_empty() && !is_over {
                plain.clear();
                {
                    let mut session = lock(&self.session);
                    session.read_tls(&mut rest)?;
                    session.process_new_packets().map_err(io::Error::other)?;
                    is_over = unseal(&mut session, &mut plain)?;
                }
                self.plain.write_all(&plain)?;
            }
        }
        Ok(())
    }
}

/// Moves what has come to `plain`; true if the other side has said that nothing more comes.
fn unseal(session: &mut rustls::Connection, plain: &mut Vec<u8>) -> io::Result<bool> {
    match session.reader().read_to_end(plain) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads, however often a signal comes in between.
fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
