//! The first process: waits for the others, orders what they do.

use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::frames::{self, Kind};
use super::link::{Ending, Link, pulse};
use super::{About, Lost, OnCall, OnHttp, OnMessage, Sockets, Timing};
use crate::cluster::peer::{Connection, Listener, Member, Peer, Purpose};
use crate::cluster::sockets::is_taken;
use crate::dataflow::metrics::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CLUSTER_CALLS_MAX, CLUSTER_MEETING_SECONDS_MAX};
use crate::telemetry::clock::monotonic;
use crate::telemetry::threads::spawn;

/// How often the leader looks whether those who have come are still there.
const LOOK: Duration = Duration::from_millis(50);
/// The same while they connect their workers.
const LOOK_MEETING: Duration = Duration::from_millis(5);
/// How often it says for whom it waits.
const SAY: Duration = Duration::from_secs(10);

/// The leader's side of a session.
pub struct Leader {
    links: Vec<Arc<Link>>,
    others: Vec<About>,
    shared: Arc<Shared>,
    timing: Timing,
    reading: Mutex<Vec<Connection>>,
    /// Closed when the session is dropped.
    _listener: Listener,
}

/// What the listener shares with the leader.
struct Shared {
    epoch: u64,
    arrived: Mutex<Arrived>,
    changed: Condvar,
    calls: AtomicUsize,
    on_call: OnceLock<OnCall>,
    on_http: OnceLock<OnHttp>,
    on_message: OnceLock<OnMessage>,
    ending: Ending,
}

/// By process, what has connected.
struct Arrived {
    control: Vec<Option<Connection>>,
    data: Sockets,
}

impl Shared {
    /// Whether a peer may come in.
    fn decide(&self, peer: &Peer) -> std::result::Result<(), String> {
        let arrived = lock(&self.arrived);
        match peer.purpose {
            Purpose::Control if is_taken(&arrived.control, peer.process) => {
                Err(format!("process {} is connected already", peer.process))
            }
            Purpose::Control => Ok(()),
            _ if peer.epoch != self.epoch => {
                Err(format!("this is cluster epoch {}, not {}", self.epoch, peer.epoch))
            }
            Purpose::Data if is_taken(&arrived.data, peer.process) => {
                Err(format!("the workers of process {} are connected already", peer.process))
            }
            Purpose::Call if self.calls.load(Ordering::Acquire) >= CLUSTER_CALLS_MAX => {
                Err(format!("there are {CLUSTER_CALLS_MAX} calls at a time already"))
            }
            Purpose::Data | Purpose::Call | Purpose::Http => Ok(()),
        }
    }

    fn take(self: &Arc<Self>, peer: &Peer, connection: Connection) {
        match peer.purpose {
            Purpose::Control | Purpose::Data => {
                let mut arrived = lock(&self.arrived);
                let slots = match peer.purpose {
                    Purpose::Control => &mut arrived.control,
                    _ => &mut arrived.data,
                };
                if let Some(slot) = slots.get_mut(peer.process) {
                    *slot = Some(connection);
                }
                drop(arrived);
                self.changed.notify_all();
            }
            Purpose::Http => {
                if let Some(on_http) = self.on_http.get() {
                    on_http(connection);
                }
            }
            Purpose::Call => {
                let (shared, process) = (Arc::clone(self), peer.process);
                shared.calls.fetch_add(1, Ordering::AcqRel);
                let answering = spawn("calls", move || {
                    shared.answer(process, connection);
                    shared.calls.fetch_sub(1, Ordering::AcqRel);
                });
                if let Err(error) = answering {
                    self.calls.fetch_sub(1, Ordering::AcqRel);
                    tracing::error!("a call of process {process} is not answered: {error}");
                }
            }
        }
    }

    /// Answers one request after the other.
    fn answer(&self, process: usize, mut connection: Connection) {
        while let Ok((Kind::Message, request)) = frames::read(&mut connection) {
            let Some(on_call) = self.on_call.get() else { return };
            let answer = on_call(process, &request);
            if frames::write(&mut connection, Kind::Message, &answer).is_err() {
                return;
            }
        }
    }
}

impl Leader {
    /// Waits until all others have come and their workers are connected; then no message has been
    /// read yet: [`Leader::start`]. `lost` is called when one of them is lost after that.
    pub fn gather(
        member: Arc<Member>,
        epoch: u64,
        timing: Timing,
        lost: Lost,
    ) -> Result<(Self, Sockets)> {
        let empty = || (0..member.processes()).map(|_| None).collect::<Vec<_>>();
        let shared = Arc::new(Shared {
            epoch,
            arrived: Mutex::new(Arrived { control: empty(), data: empty() }),
            changed: Condvar::new(),
            calls: AtomicUsize::new(0),
            on_call: OnceLock::new(),
            on_http: OnceLock::new(),
            on_message: OnceLock::new(),
            ending: Ending::new(lost),
        });
        let (deciding, taking) = (Arc::clone(&shared), Arc::clone(&shared));
        let listener = Listener::bind(
            Arc::clone(&member),
            Box::new(move |peer| deciding.decide(peer)),
            Box::new(move |peer, connection| taking.take(&peer, connection)),
        )?;
        let mut waited = Waited::new();
        let (links, others, reading) = loop {
            if !shared.wait_for_all(timing, &mut waited) {
                continue;
            }
            match shared.meet(timing) {
                Ok(met) => break met,
                Err(error) => tracing::warn!("the processes do not come together: {error}"),
            }
        };
        let sockets = std::mem::take(&mut lock(&shared.arrived).data);
        let reading = Mutex::new(reading);
        Ok((Leader { links, others, shared, timing, reading, _listener: listener }, sockets))
    }

    /// Begins to read what the others send.
    pub fn start(&self, message: OnMessage, call: OnCall, http: OnHttp) -> Result<()> {
        let shared = &self.shared;
        let is_new = shared.on_call.set(call).is_ok()
            && shared.on_http.set(http).is_ok()
            && shared.on_message.set(message).is_ok();
        if !is_new {
            return Err(Error::internal("a session was started twice"));
        }
        for (link, mut connection) in self.links.iter().zip(lock(&self.reading).drain(..)) {
            let (shared, link, timing) = (Arc::clone(shared), Arc::clone(link), self.timing);
            spawn("follower", move || {
                if let Some(on) = shared.on_message.get() {
                    let why = link.listen(&mut connection, timing, on);
                    shared.ending.lose(why);
                }
            })?;
        }
        let (links, timing, shared) = (self.links.clone(), self.timing, Arc::clone(shared));
        spawn("pulse", move || pulse(links, timing, move |why| shared.ending.lose(why))).map(drop)
    }

    /// Sends a message to every other process.
    pub fn send_all(&self, body: &[u8]) -> Result<()> {
        self.links.iter().try_for_each(|link| link.send(Kind::Message, body))
    }

    /// The cluster epoch.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// What the others are.
    pub fn others(&self) -> &[About] {
        &self.others
    }

    /// Ends the session for all; nobody is told that it is lost.
    pub fn leave(&self, why: &str) {
        self.shared.ending.leave(&self.links, why);
    }
}

/// How long the leader has waited.
struct Waited {
    said: Instant,
    pulsed: Instant,
}

impl Waited {
    fn new() -> Self {
        Waited { said: monotonic(), pulsed: monotonic() }
    }
}

/// The links, what the processes are, and what to read from.
type Met = (Vec<Arc<Link>>, Vec<About>, Vec<Connection>);

impl Shared {
    /// Waits a little; whether all have come.
    fn wait_for_all(&self, timing: Timing, waited: &mut Waited) -> bool {
        let mut arrived = lock(&self.arrived);
        for slot in arrived.control.iter_mut().skip(1) {
            slot.take_if(|connection| connection.is_closed());
        }
        let missing = |arrived: &Arrived| -> Vec<String> {
            let slots = arrived.control.iter().enumerate().skip(1);
            slots.filter(|(_, slot)| slot.is_none()).map(|(p, _)| p.to_string()).collect()
        };
        if missing(&arrived).is_empty() {
            return true;
        }
        if waited.said.elapsed() >= SAY {
            waited.said = monotonic();
            let missing = missing(&arrived).join(", ");
            tracing::warn!("the cluster waits for process {missing}");
        }
        if waited.pulsed.elapsed() >= timing.pulse() {
            waited.pulsed = monotonic();
            for slot in arrived.control.iter_mut() {
                // One that is gone goes from its slot the next time.
                let dead = |c: &mut Connection| frames::write(c, Kind::Life, &[]).is_err();
                slot.take_if(dead);
            }
        }
        let waited = self.changed.wait_timeout(arrived, LOOK);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        false
    }

    /// Tells all the epoch, and has them connect their workers.
    fn meet(&self, timing: Timing) -> Result<Met> {
        let mut control: Vec<(usize, Connection)> = {
            let mut arrived = lock(&self.arrived);
            arrived.data.iter_mut().for_each(|slot| *slot = None);
            let slots = arrived.control.iter().enumerate();
            let clones = slots.filter_map(|(p, slot)| Some((p, slot.as_ref()?.try_clone().ok()?)));
            clones.collect()
        };
        let result = self.meet_over(timing, &mut control);
        if result.is_err() {
            // All come again.
            lock(&self.arrived).control.iter_mut().for_each(|slot| *slot = None);
        }
        result
    }

    fn meet_over(&self, timing: Timing, control: &mut [(usize, Connection)]) -> Result<Met> {
        let lost = |process: usize, error| Error::io(format!("process {process}"), &error);
        let mut others = Vec::new();
        for (process, connection) in control.iter_mut() {
            connection.set_read_timeout(Some(timing.silence)).map_err(|e| lost(*process, e))?;
            let said = expect(connection, Kind::About).map_err(|e| lost(*process, e))?;
            let about: About = serde_json::from_slice(&said)
                .map_err(|e| Error::new(ErrorKind::Io, format!("process {process}: {e}")))?;
            others.push(About { process: *process, ..about });
        }
        let epoch = self.epoch.to_be_bytes();
        for kind in [Kind::Epoch, Kind::Meet] {
            for (process, connection) in control.iter_mut() {
                frames::write(connection, kind, &epoch).map_err(|e| lost(*process, e))?;
            }
            expect_of_all(control, kind)?;
        }
        // A connection is taken after the other side has been let in, and may have said so.
        let is_missing = |arrived: &mut Arrived| arrived.data.iter().skip(1).any(Option::is_none);
        let waited =
            self.changed.wait_timeout_while(lock(&self.arrived), timing.silence, is_missing);
        let (mut arrived, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_missing(&mut arrived) {
            return Err(Error::new(ErrorKind::Io, "some workers are not connected"));
        }
        drop(arrived);
        let links = control.iter().map(|(p, c)| Ok(Arc::new(Link::new(*p, c, timing)?)));
        let links = links.collect::<Result<Vec<_>>>()?;
        let reading = control.iter().map(|(p, c)| c.try_clone().map_err(|e| lost(*p, e)));
        Ok((links, others, reading.collect::<Result<Vec<_>>>()?))
    }
}

/// Waits until all have answered with a `kind`, or one of them is gone: others may wait for it.
fn expect_of_all(control: &mut [(usize, Connection)], kind: Kind) -> Result<()> {
    let lost = |process: usize, error| Error::io(format!("process {process}"), &error);
    let patience = Duration::from_secs(CLUSTER_MEETING_SECONDS_MAX);
    let mut watched = Vec::new();
    for (process, connection) in control.iter() {
        connection.set_read_timeout(Some(patience)).map_err(|e| lost(*process, e))?;
        watched.push(connection.try_clone().map_err(|e| lost(*process, e))?);
    }
    std::thread::scope(|scope| {
        let waiting: Vec<_> = control
            .iter_mut()
            .map(|(process, connection)| {
                scope.spawn(move || expect(connection, kind).map_err(|e| lost(*process, e)))
            })
            .collect();
        while waiting.iter().any(|thread| !thread.is_finished()) {
            if watched.iter().any(Connection::is_closed) {
                for connection in &watched {
                    // One that is gone is closed.
                    let _ = connection.shutdown(Shutdown::Both);
                }
            }
            std::thread::sleep(LOOK_MEETING);
        }
        let answers = waiting.into_iter().map(|thread| {
            let joined = thread.join();
            joined.map_err(|_| Error::internal("a thread that waited for an answer panicked"))?
        });
        answers.collect::<Result<Vec<_>>>().map(drop)
    })
}

/// The next message, which must be a `kind`.
fn expect(connection: &mut Connection, kind: Kind) -> std::io::Result<Vec<u8>> {
    loop {
        match frames::read(connection)? {
            (Kind::Life, _) => {}
            (found, body) if found == kind => return Ok(body),
            (found, _) => {
                let what = format!("{found:?} in the place of {kind:?}");
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
            }
        }
    }
}
