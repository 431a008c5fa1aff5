//! Sockets between the processes of one run, opened before timely gets them.
//!
//! Every process listens at its own address, connects to those before it and is connected to by
//! those behind it. The listener is closed when all are there.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::peer::{Connection, Listener, Member, Peer, Purpose, connect_until};
use super::session::Sockets;
use crate::dataflow::metrics::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::PEERS_WAIT_SECONDS_MAX;
use crate::telemetry::clock::monotonic;

/// A run is one epoch: when one of its processes is lost, it is over.
const EPOCH: u64 = 0;

/// Whether the place of `process` is that of one that is still there: one that has gone leaves it
/// to the one that is started for it.
pub fn is_taken(places: &[Option<Connection>], process: usize) -> bool {
    let place = places.get(process).and_then(Option::as_ref);
    place.is_some_and(|connection| !connection.is_closed())
}

/// Connects this process with all others.
pub fn connect(member: &Arc<Member>) -> Result<Sockets> {
    let until = monotonic() + Duration::from_secs(PEERS_WAIT_SECONDS_MAX);
    let processes = member.processes();
    let mut places: Sockets = Vec::new();
    places.resize_with(processes, || None);
    let places = Arc::new(Mutex::new(places));
    let (arrived, arrivals) = sync_channel(processes);
    let listener = listen(member, &places, move || {
        // Who has given up waiting needs no telling.
        let _ = arrived.try_send(());
    })?;
    loop {
        call_those_before(member, &places, until)?;
        wait_for_those_behind(member, &places, &arrivals, until)?;
        // A process that has gone while others were waited for may be started again.
        let mut held = lock(&places);
        if !lose_closed(&mut held) {
            let connections = std::mem::take(&mut *held);
            // The listener may be deciding on somebody, and then waits for the places.
            drop(held);
            drop(listener);
            return Ok(connections);
        }
    }
}

/// Connects to the processes before this one that it is not connected to.
fn call_those_before(member: &Member, places: &Mutex<Sockets>, until: Instant) -> Result<()> {
    for process in 0..member.process {
        if lock(places).get(process).is_some_and(Option::is_some) {
            continue;
        }
        let patience = until.saturating_duration_since(monotonic());
        let connection = connect_until(member, process, Purpose::Data, EPOCH, patience)?;
        if let Some(place) = lock(places).get_mut(process) {
            *place = Some(connection);
        }
    }
    Ok(())
}

/// Frees the places of processes that have gone; says whether there are any.
fn lose_closed(places: &mut Sockets) -> bool {
    let mut is_any = false;
    for place in places {
        if place.as_ref().is_some_and(Connection::is_closed) {
            *place = None;
            is_any = true;
        }
    }
    is_any
}

/// Takes the connections of the processes behind this one into their places.
fn listen(
    member: &Arc<Member>,
    places: &Arc<Mutex<Sockets>>,
    arrived: impl Fn() + Send + Sync + 'static,
) -> Result<Listener> {
    let (own, taken) = (member.process, Arc::clone(places));
    let decide = move |peer: &Peer| {
        let process = peer.process;
        if (peer.purpose, peer.epoch) != (Purpose::Data, EPOCH) || process < own {
            return Err(format!("process {process} has nothing to ask of a run"));
        }
        let places = lock(&taken);
        match process < places.len() {
            true if is_taken(&places, process) => {
                Err(format!("process {process} is connected already"))
            }
            true => Ok(()),
            false => Err(format!("process {process} is none of this run")),
        }
    };
    let places = Arc::clone(places);
    let take = move |peer: Peer, connection| {
        tracing::info!("process {} is connected from {}", peer.process, peer.remote);
        if let Some(place) = lock(&places).get_mut(peer.process) {
            *place = Some(connection);
        }
        arrived();
    };
    Listener::bind(Arc::clone(member), Box::new(decide), Box::new(take))
}

/// Waits until the processes behind this one have connected.
fn wait_for_those_behind(
    member: &Member,
    places: &Mutex<Sockets>,
    arrivals: &Receiver<()>,
    until: Instant,
) -> Result<()> {
    loop {
        let absent: Vec<String> = {
            let places = lock(places);
            let behind = places.iter().enumerate().skip(member.process + 1);
            behind.filter(|(_, place)| place.is_none()).map(|(p, _)| p.to_string()).collect()
        };
        if absent.is_empty() {
            return Ok(());
        }
        let remaining = until.saturating_duration_since(monotonic());
        if arrivals.recv_timeout(remaining).is_err() {
            let seconds = PEERS_WAIT_SECONDS_MAX;
            let absent = absent.join(", ");
            let message = format!("process {absent} did not connect within {seconds} s");
            return Err(Error::new(ErrorKind::Io, message).with_hint(
                "start every process; a warning above says which were refused and why",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::super::peer::Secret;
    use super::*;

    fn members(processes: usize) -> Vec<Arc<Member>> {
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<TcpListener> = (0..processes).map(bind).collect();
        let addresses: Vec<String> =
            listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        let secret = Secret::new("a test", b"sixteen bytes or more").unwrap();
        let member = |process| Member::new(process, addresses.clone(), 2, secret.clone());
        (0..processes).map(|process| Arc::new(member(process))).collect()
    }

    #[test]
    fn every_process_is_connected_to_every_other() {
        let members = members(3);
        let mut connections: Vec<Sockets> = thread::scope(|scope| {
            // The last first: the others are not there yet.
            let start = |member| {
                thread::sleep(Duration::from_millis(20));
                scope.spawn(move || connect(member).unwrap())
            };
            let handles: Vec<_> = members.iter().rev().map(start).collect();
            handles.into_iter().rev().map(|handle| handle.join().unwrap()).collect()
        });
        for (from, row) in connections.iter_mut().enumerate() {
            assert_eq!(row.len(), 3);
            for (to, connection) in row.iter_mut().enumerate() {
                assert_eq!(connection.is_none(), from == to);
                if let Some(connection) = connection {
                    connection.write_all(&[from as u8, to as u8]).unwrap();
                }
            }
        }
        for (to, row) in connections.iter_mut().enumerate() {
            for (from, connection) in row.iter_mut().enumerate() {
                let Some(connection) = connection else { continue };
                let mut said = [0; 2];
                connection.read_exact(&mut said).unwrap();
                assert_eq!(said, [from as u8, to as u8]);
            }
        }
    }
}
