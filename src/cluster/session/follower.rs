//! A process that the leader leads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::frames::{self, Kind};
use super::link::{Ending, Link, pulse};
use super::{About, Lost, OnMessage, Sockets, Timing};
use crate::cluster::peer::{Connection, Listener, Member, Peer, Purpose, connect};
use crate::cluster::sockets::is_taken;
use crate::dataflow::metrics::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CLUSTER_CALLS_IDLE_MAX, CLUSTER_MEETING_SECONDS_MAX, PEER_HELLO_SECONDS_MAX};
use crate::telemetry::clock::monotonic;
use crate::telemetry::threads::spawn;

/// How long before a leader that is not there, or not ready, is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a process that waits for others looks whether the leader still does.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is said that it is not there.
const SAY: Duration = Duration::from_secs(10);

/// A follower's side of a session.
pub struct Follower {
    member: Arc<Member>,
    epoch: u64,
    timing: Timing,
    link: Arc<Link>,
    reading: Mutex<Option<Connection>>,
    /// Connections for calls that nobody uses now.
    idle: Mutex<Vec<Connection>>,
    shared: Arc<Shared>,
    /// Closed when the session is dropped.
    _listener: Listener,
}

struct Shared {
    /// The epoch that the leader has told; 0 before.
    epoch: AtomicU64,
    data: Mutex<Sockets>,
    changed: Condvar,
    ending: Ending,
}

impl Shared {
    /// Only the workers of processes behind this one connect here.
    fn decide(&self, peer: &Peer) -> std::result::Result<(), String> {
        let epoch = self.epoch.load(Ordering::Acquire);
        match peer.purpose {
            Purpose::Data if peer.epoch != epoch => {
                Err(format!("this is cluster epoch {epoch}, not {}", peer.epoch))
            }
            Purpose::Data if is_taken(&lock(&self.data), peer.process) => {
                Err(format!("the workers of process {} are connected already", peer.process))
            }
            Purpose::Data => Ok(()),
            Purpose::Control | Purpose::Call | Purpose::Http => {
                Err("process 0 is the leader".to_owned())
            }
        }
    }

    fn take(&self, peer: &Peer, connection: Connection) {
        if let Some(slot) = lock(&self.data).get_mut(peer.process) {
            *slot = Some(connection);
        }
        self.changed.notify_all();
    }
}

impl Follower {
    /// Connects to the leader, as soon as that is there, and the workers of this process to all
    /// others. An error says that this process is none of the leader's cluster.
    pub fn join(
        member: Arc<Member>,
        about: &About,
        timing: Timing,
        lost: Lost,
    ) -> Result<(Self, Sockets)> {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            data: Mutex::new((0..member.processes()).map(|_| None).collect()),
            changed: Condvar::new(),
            ending: Ending::new(lost),
        });
        let (deciding, taking) = (Arc::clone(&shared), Arc::clone(&shared));
        let listener = Listener::bind(
            Arc::clone(&member),
            Box::new(move |peer| deciding.decide(peer)),
            Box::new(move |peer, connection| taking.take(&peer, connection)),
        )?;
        let mut said = monotonic();
        loop {
            let problem = match shared.meet(&member, about, timing) {
                Ok((connection, link)) => {
                    let sockets = std::mem::take(&mut *lock(&shared.data));
                    let follower = Follower {
                        epoch: shared.epoch.load(Ordering::Acquire),
                        member,
                        timing,
                        link: Arc::new(link),
                        reading: Mutex::new(Some(connection)),
                        idle: Mutex::default(),
                        shared,
                        _listener: listener,
                    };
                    return Ok((follower, sockets));
                }
                Err(error) if error.kind == ErrorKind::Config => return Err(error),
                Err(error) => error,
            };
            if said.elapsed() >= SAY {
                said = monotonic();
                tracing::warn!("the leader is not there: {}", problem.message);
            }
            thread::sleep(AGAIN);
        }
    }

    /// Begins to read what the leader sends.
    pub fn start(&self, message: OnMessage) -> Result<()> {
        let Some(mut connection) = lock(&self.reading).take() else {
            return Err(Error::internal("a session was started twice"));
        };
        let (shared, link, timing) =
            (Arc::clone(&self.shared), Arc::clone(&self.link), self.timing);
        spawn("leader", move || {
            let why = link.listen(&mut connection, timing, &message);
            shared.ending.lose(why);
        })?;
        let (shared, link) = (Arc::clone(&self.shared), Arc::clone(&self.link));
        spawn("pulse", move || pulse(vec![link], timing, move |why| shared.ending.lose(why)))
            .map(drop)
    }

    /// Sends a message to the leader.
    pub fn send(&self, body: &[u8]) -> Result<()> {
        self.link.send(Kind::Message, body)
    }

    /// Asks the leader, and waits for the answer.
    pub fn call(&self, request: &[u8]) -> Result<Vec<u8>> {
        let idle = lock(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect(Purpose::Call)?,
        };
        let failed = |error| Error::io("a call to process 0", &error);
        frames::write(&mut connection, Kind::Message, request).map_err(failed)?;
        let (_, answer) = frames::read(&mut connection).map_err(failed)?;
        let mut idle = lock(&self.idle);
        if idle.len() < CLUSTER_CALLS_IDLE_MAX {
            idle.push(connection);
        }
        Ok(answer)
    }

    /// A connection to hand HTTP requests on by.
    pub fn http(&self) -> Result<Connection> {
        self.connect(Purpose::Http)
    }

    fn connect(&self, purpose: Purpose) -> Result<Connection> {
        let patience = Duration::from_secs(PEER_HELLO_SECONDS_MAX);
        connect(&self.member, 0, purpose, self.epoch, patience)
    }

    /// The cluster epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Ends the session for all; nobody here is told that it is lost.
    pub fn leave(&self, why: &str) {
        self.shared.ending.leave([&self.link], why);
    }
}

impl Shared {
    /// Comes to the leader and does as it says until the workers are connected.
    fn meet(&self, member: &Member, about: &About, timing: Timing) -> Result<(Connection, Link)> {
        let failed = |error| Error::io("process 0", &error);
        let patience = Duration::from_secs(PEER_HELLO_SECONDS_MAX);
        let mut leader = connect(member, 0, Purpose::Control, 0, patience)?;
        leader.set_read_timeout(Some(timing.silence)).map_err(failed)?;
        let about = serde_json::to_vec(about).map_err(|e| Error::internal(e.to_string()))?;
        frames::write(&mut leader, Kind::About, &about).map_err(failed)?;
        loop {
            let (kind, body) = frames::read(&mut leader).map_err(failed)?;
            match kind {
                Kind::Life => {}
                Kind::Epoch => {
                    let epoch = body.try_into().map(u64::from_be_bytes).unwrap_or_default();
                    lock(&self.data).iter_mut().for_each(|slot| *slot = None);
                    self.epoch.store(epoch, Ordering::Release);
                    frames::write(&mut leader, Kind::Epoch, &[]).map_err(failed)?;
                }
                Kind::Meet => {
                    self.connect_workers(member, &leader)?;
                    frames::write(&mut leader, Kind::Meet, &[]).map_err(failed)?;
                    let link = Link::new(0, &leader, timing)?;
                    return Ok((leader, link));
                }
                Kind::Bye => {
                    let why = String::from_utf8_lossy(&body);
                    return Err(Error::new(ErrorKind::Io, format!("process 0 has left: {why}")));
                }
                Kind::About | Kind::Message => {
                    return Err(Error::new(ErrorKind::Io, format!("{kind:?} out of turn")));
                }
            }
        }
    }

    /// Connects the workers to those of the processes before this one; those behind it connect
    /// here. Gives up when the `leader` does.
    fn connect_workers(&self, member: &Member, leader: &Connection) -> Result<()> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let patience = Duration::from_secs(PEER_HELLO_SECONDS_MAX);
        for before in 0..member.process {
            let connection = connect(member, before, Purpose::Data, epoch, patience)?;
            if let Some(slot) = lock(&self.data).get_mut(before) {
                *slot = Some(connection);
            }
        }
        let is_missing = |data: &mut Sockets| {
            let others = data.iter().enumerate().filter(|(process, _)| *process != member.process);
            others.into_iter().any(|(_, slot)| slot.is_none())
        };
        let until = monotonic() + Duration::from_secs(CLUSTER_MEETING_SECONDS_MAX);
        loop {
            let waited = self.changed.wait_timeout_while(lock(&self.data), LOOK, is_missing);
            let (mut data, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !is_missing(&mut data) {
                return Ok(());
            }
            drop(data);
            if leader.is_closed() || monotonic() >= until {
                return Err(Error::new(ErrorKind::Io, "some workers are not connected"));
            }
        }
    }
}
