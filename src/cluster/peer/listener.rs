//! The listening side.
//!
//! One thread accepts; each handshake has a thread of its own, of which there is a bounded number.
//! When all are taken, the handshake that has lasted longest gives way: one between processes takes
//! milliseconds, so that is a stranger's, and no number of them keeps a process out.

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::channel::Channel;
use super::connection::Connection;
use super::handshake::{self, Failed};
use super::wire::Code;
use super::{Member, Peer};
use crate::dataflow::metrics::lock;
use crate::error::{Error, Result};
use crate::limits::{PEER_ACCEPT_PAUSE_MS, PEER_HANDSHAKES_MAX, PEER_HELLO_SECONDS_MAX};
use crate::telemetry::clock::monotonic;

/// Asked about a peer that is authenticated and agrees; refuses with a reason that it is told.
pub type Decide = Box<dyn Fn(&Peer) -> std::result::Result<(), String> + Send + Sync>;
/// Gets the connection of a peer that [`Decide`] has let in. The two are called one after the other
/// for one connection at a time, so what the one looks up the other finds.
pub type Take = Box<dyn Fn(Peer, Connection) + Send + Sync>;

/// Accepts connections at the address of a process until it is dropped.
///
/// It must not be dropped by its own closures. After that neither is called any more.
pub struct Listener {
    shared: Arc<Shared>,
    socket: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
    address: SocketAddr,
}

struct Shared {
    member: Arc<Member>,
    decide: Decide,
    take: Take,
    /// Held while a connection is decided on and taken.
    deciding: Mutex<()>,
    /// Set under `deciding`, so that nothing is taken afterwards.
    is_closed: AtomicBool,
    handshakes: Mutex<Handshakes>,
    /// Told when a handshake ends.
    ended: Condvar,
}

/// Handshakes that go on, the oldest first.
#[derive(Default)]
struct Handshakes {
    next: u64,
    open: VecDeque<(u64, TcpStream)>,
}

impl Listener {
    /// Listens at the address of `member`'s own process.
    pub fn bind(member: Arc<Member>, decide: Decide, take: Take) -> Result<Self> {
        let own = member
            .addresses
            .get(member.process)
            .ok_or_else(|| Error::internal(format!("process {} has no address", member.process)))?;
        let failed = |error| {
            Error::io(format!("process {} cannot listen at {own}", member.process), &error)
                .with_hint("the address must be one of this machine, and nobody else's")
        };
        let socket = TcpListener::bind(own.as_str()).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let socket = Arc::new(socket);
        let shared = Arc::new(Shared {
            member: Arc::clone(&member),
            decide,
            take,
            deciding: Mutex::default(),
            is_closed: AtomicBool::new(false),
            handshakes: Mutex::default(),
            ended: Condvar::new(),
        });
        let (accepting, listening) = (Arc::clone(&shared), Arc::clone(&socket));
        let acceptor = thread::Builder::new()
            .name("peer-accept".to_string())
            .spawn(move || accept(&accepting, &listening))
            .map_err(failed)?;
        Ok(Listener { shared, socket, acceptor: Some(acceptor), address })
    }

    /// Where it listens; the port is that of the system if the address names port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        {
            let _deciding = lock(&self.shared.deciding);
            self.shared.is_closed.store(true, Ordering::SeqCst);
        }
        // Linux ends a waiting accept so; elsewhere a connection to itself does.
        if SockRef::from(&*self.socket).shutdown(Shutdown::Both).is_err() {
            let pause = Duration::from_millis(PEER_ACCEPT_PAUSE_MS);
            let _ = TcpStream::connect_timeout(&self.address, pause);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (_, socket) in &lock(&self.shared.handshakes).open {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.is_closed.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((socket, remote)) => greet(shared, socket, remote),
            Err(error) => {
                // Out of file descriptors, say: the connection waits until there are some.
                tracing::warn!("a connection between processes cannot be accepted: {error}");
                thread::sleep(Duration::from_millis(PEER_ACCEPT_PAUSE_MS));
            }
        }
    }
}

/// Begins the handshake with what has connected from `remote`.
fn greet(shared: &Arc<Shared>, socket: TcpStream, remote: SocketAddr) {
    let begun = begin(shared, &socket).and_then(|number| {
        let of_thread = Arc::clone(shared);
        let thread = thread::Builder::new().name("peer-handshake".to_string());
        let started = thread.spawn(move || {
            handshake(&of_thread, number, socket, remote);
            end(&of_thread, number);
        });
        started.map(|_| ()).inspect_err(|_| end(shared, number))
    });
    if let Err(error) = begun {
        tracing::warn!("the connection from {remote} cannot be served: {error}");
    }
}

/// Waits for a place among the handshakes; the oldest one gives way.
fn begin(shared: &Shared, socket: &TcpStream) -> std::io::Result<u64> {
    let socket = socket.try_clone()?;
    let mut handshakes = lock(&shared.handshakes);
    while handshakes.open.len() >= PEER_HANDSHAKES_MAX {
        if let Some((_, oldest)) = handshakes.open.front() {
            // One that is closed already is about to end.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let waited = shared.ended.wait(handshakes);
        handshakes = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    let number = handshakes.next;
    handshakes.next += 1;
    handshakes.open.push_back((number, socket));
    Ok(number)
}

fn end(shared: &Shared, number: u64) {
    lock(&shared.handshakes).open.retain(|(other, _)| *other != number);
    shared.ended.notify_one();
}

fn handshake(shared: &Shared, number: u64, socket: TcpStream, remote: SocketAddr) {
    let until = monotonic() + Duration::from_secs(PEER_HELLO_SECONDS_MAX);
    let done = Channel::accept(&shared.member, socket, until)
        .map_err(Failed::from)
        .and_then(|channel| admit(shared, number, channel, remote));
    let reason = match done {
        Ok(()) => return,
        Err(Failed::Unread(unread)) => unread.to_string(),
        Err(Failed::Refused(reason)) => reason,
    };
    tracing::warn!("the connection from {remote} was refused: {reason}");
}

fn admit(
    shared: &Shared,
    number: u64,
    mut channel: Channel,
    remote: SocketAddr,
) -> std::result::Result<(), Failed> {
    let member = &shared.member;
    let binding = channel.binding()?;
    let examined = handshake::examine(member, &mut channel, &binding)?;
    let hello = &examined.hello;
    let peer = Peer {
        process: hello.claims.process as usize,
        workers: hello.claims.workers as usize,
        purpose: hello.purpose,
        epoch: hello.epoch,
        version: hello.claims.version.clone(),
        remote,
    };
    let _deciding = lock(&shared.deciding);
    if shared.is_closed.load(Ordering::SeqCst) {
        return Ok(());
    }
    // From here on it gives way to nobody: it is about to belong to somebody else.
    end(shared, number);
    let refusal = examined
        .disagreement(member)
        .or_else(|| (shared.decide)(&peer).err().map(|reason| (Code::Conflict, reason)));
    examined.answer(member, &mut channel, &binding, refusal.clone())?;
    if let Some((_, reason)) = refusal {
        return Err(Failed::Refused(reason));
    }
    let connection = channel.into_connection(peer.purpose)?;
    (shared.take)(peer, connection);
    Ok(())
}
