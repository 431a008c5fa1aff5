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
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::channel::Channel;
use super::connection::Connection;
use super::handshake::{self, Binding, Examined, Failed};
use super::wire::Code;
use super::{Member, Peer};
use crate::dataflow::metrics::lock;
use crate::error::{Error, Result};
use crate::limits::{
    PEER_ACCEPT_PAUSE_MS, PEER_HANDSHAKES_MAX, PEER_HELLO_SECONDS_MAX, PEER_REFUSALS_TOLD_MAX,
};
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
    refusals: Mutex<Refusals>,
}

/// Refusals of the minute that began at `since`.
struct Refusals {
    since: Instant,
    told: u32,
    untold: u32,
}

impl Refusals {
    /// Tells of a refusal, unless many are told already: a flood of connections is none of lines.
    fn tell(&mut self, remote: SocketAddr, failed: &Failed) {
        if monotonic().duration_since(self.since) > Duration::from_secs(60) {
            if self.untold > 0 {
                tracing::warn!("{} more connections were refused in a minute", self.untold);
            }
            *self = Refusals { since: monotonic(), told: 0, untold: 0 };
        }
        if self.told == PEER_REFUSALS_TOLD_MAX {
            self.untold += 1;
            return;
        }
        self.told += 1;
        tracing::warn!("the connection from {remote} was refused: {failed}");
    }
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
            refusals: Mutex::new(Refusals { since: monotonic(), told: 0, untold: 0 }),
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
    let refused = |failed: &Failed| lock(&shared.refusals).tell(remote, failed);
    let mut channel = match Channel::accept(&shared.member, socket, until) {
        Ok(channel) => channel,
        Err(error) => return refused(&error.into()),
    };
    let examined = channel.binding().map_err(Failed::from).and_then(|binding| {
        let examined = handshake::examine(&shared.member, &mut channel, &binding)?;
        Ok((examined, binding))
    });
    match examined {
        Ok((examined, binding)) => {
            let admitted = admit(shared, number, &examined, channel, &binding, remote);
            if let Err(failed) = admitted {
                refused(&failed);
            }
        }
        Err(failed) => {
            refused(&failed);
            channel.hang_up();
        }
    }
}

/// Decides on a peer that knows the secret, tells it, and hands its connection on.
fn admit(
    shared: &Shared,
    number: u64,
    examined: &Examined,
    mut channel: Channel,
    binding: &Binding,
    remote: SocketAddr,
) -> std::result::Result<(), Failed> {
    let peer = examined.peer(remote);
    let deciding = lock(&shared.deciding);
    if shared.is_closed.load(Ordering::SeqCst) {
        return Ok(());
    }
    // From here on it gives way to nobody: it is about to belong to somebody else.
    end(shared, number);
    let refusal = examined
        .disagreement(&shared.member)
        .or_else(|| (shared.decide)(&peer).err().map(|reason| (Code::Conflict, reason)));
    examined.answer(&shared.member, &mut channel, binding, refusal.clone())?;
    if let Some((_, reason)) = refusal {
        drop(deciding);
        lock(&shared.refusals).tell(remote, &Failed::Refused(reason));
        channel.hang_up();
        return Ok(());
    }
    let connection = channel.into_connection(peer.purpose)?;
    (shared.take)(peer, connection);
    Ok(())
}
