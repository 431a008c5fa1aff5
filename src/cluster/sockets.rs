//! Connections between the processes of a cluster, opened before timely gets them.
//!
//! Every process listens at its own address, connects to those before it and is connected to by
//! those behind it. Both sides say who they are first, so that a stranger or a process started with
//! other arguments is refused by name and not found out by a dataflow that goes wrong.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::Topology;
use crate::error::{Error, Result};
use crate::limits::{PEER_HELLO_SECONDS_MAX, PEERS_WAIT_SECONDS_MAX};

/// How often a process looks for its peers.
const POLL: Duration = Duration::from_millis(20);
/// How often it looks before it gives up.
const POLLS_MAX: u64 = PEERS_WAIT_SECONDS_MAX * 1000 / 20;
/// The first word between two processes; another version has another.
const MAGIC: u64 = u64::from_be_bytes(*b"floodmk1");
const HELLO_BYTES: usize = 32;

/// What a process says of itself and its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hello {
    processes: u64,
    workers: u64,
    process: u64,
}

impl Hello {
    fn of(topology: &Topology) -> Self {
        Hello {
            processes: topology.addresses.len() as u64,
            workers: topology.workers as u64,
            process: topology.process as u64,
        }
    }

    fn write(self, socket: &mut TcpStream) -> std::io::Result<()> {
        let words = [MAGIC, self.processes, self.workers, self.process];
        let mut bytes = [0; HELLO_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        socket.write_all(&bytes)
    }

    /// `None` if the other side does not speak as a process of a cluster.
    fn read(socket: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut bytes = [0; HELLO_BYTES];
        socket.read_exact(&mut bytes)?;
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| word.iter().fold(0u64, |value, &byte| (value << 8) | u64::from(byte)));
        let mut next = || words.next().unwrap_or_default();
        let magic = next();
        let hello = Hello { processes: next(), workers: next(), process: next() };
        Ok((magic == MAGIC).then_some(hello))
    }

    /// Whether `self` and `other` were started with the same `--peers` and `--workers`.
    fn check(self, other: Hello) -> Result<()> {
        if (self.processes, self.workers) == (other.processes, other.workers) {
            return Ok(());
        }
        Err(Error::config(format!(
            "process {} has {} workers and {} peers, process {} has {} and {}",
            self.process,
            self.workers,
            self.processes,
            other.process,
            other.workers,
            other.processes
        ))
        .with_hint("start every process with the same --peers and --workers"))
    }
}

/// One connection to each other process, in order; `None` in this process's own place.
pub fn connect(topology: &Topology) -> Result<Vec<Option<TcpStream>>> {
    let own = topology
        .addresses
        .get(topology.process)
        .ok_or_else(|| Error::internal(format!("process {} has no address", topology.process)))?;
    let listener = TcpListener::bind(own.as_str()).map_err(|e| Error::io(own, &e))?;
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    for (peer, address) in topology.addresses.iter().enumerate().take(topology.process) {
        sockets.push(Some(connect_to(topology, peer, address)?));
    }
    sockets.resize_with(topology.addresses.len(), || None);
    accept(topology, &listener, &mut sockets)?;
    Ok(sockets)
}

fn connect_to(topology: &Topology, peer: usize, address: &str) -> Result<TcpStream> {
    let mut polls = 0;
    let mut socket = loop {
        match TcpStream::connect(address) {
            Ok(socket) => break socket,
            Err(error) if polls >= POLLS_MAX => {
                let what = format!("process {peer} cannot be reached at {address}");
                return Err(Error::io(what, &error));
            }
            Err(_) => thread::sleep(POLL),
        }
        polls += 1;
    };
    let failed = |error| Error::io(format!("process {peer} at {address}"), &error);
    // The peer answers once it has connected to those before it.
    prepare(&socket, PEERS_WAIT_SECONDS_MAX).map_err(failed)?;
    let own = Hello::of(topology);
    own.write(&mut socket).map_err(failed)?;
    let Some(other) = Hello::read(&mut socket).map_err(failed)? else {
        return Err(Error::config(format!("{address} is no process of this cluster")));
    };
    own.check(other)?;
    if other.process != peer as u64 {
        let found = other.process;
        return Err(Error::config(format!("{address} is process {found}, not process {peer}"))
            .with_hint("start every process with the same --peers, each with its own --process"));
    }
    release(&socket).map_err(failed)?;
    Ok(socket)
}

fn accept(
    topology: &Topology,
    listener: &TcpListener,
    sockets: &mut [Option<TcpStream>],
) -> Result<()> {
    let failed = |error| Error::io("waiting for other processes", &error);
    listener.set_nonblocking(true).map_err(failed)?;
    let mut polls = 0;
    let mut missing = topology.addresses.len() - topology.process - 1;
    while missing > 0 {
        match listener.accept() {
            Ok((socket, _)) => {
                if let Some((peer, socket)) = greet(topology, socket)?
                    && let Some(place @ None) = sockets.get_mut(peer)
                {
                    *place = Some(socket);
                    missing -= 1;
                }
                continue;
            }
            Err(error) if error.kind() == IoErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error)),
        }
        if polls >= POLLS_MAX {
            return Err(Error::new(
                crate::error::ErrorKind::Io,
                format!("{missing} of the other processes did not connect"),
            ));
        }
        polls += 1;
        thread::sleep(POLL);
    }
    Ok(())
}

/// The process behind `socket`, if it is one; strangers are let go.
fn greet(topology: &Topology, mut socket: TcpStream) -> Result<Option<(usize, TcpStream)>> {
    let own = Hello::of(topology);
    let exchanged = prepare(&socket, PEER_HELLO_SECONDS_MAX)
        .and_then(|()| Hello::read(&mut socket))
        .and_then(|hello| match hello {
            Some(hello) => own.write(&mut socket).map(|()| Some(hello)),
            None => Ok(None),
        });
    let Ok(Some(other)) = exchanged else {
        tracing::warn!("a connection that is no process of this cluster was closed");
        return Ok(None);
    };
    own.check(other)?;
    let is_behind = (own.process + 1..own.processes).contains(&other.process);
    match (is_behind, release(&socket)) {
        (true, Ok(())) => Ok(Some((other.process as usize, socket))),
        _ => Ok(None),
    }
}

fn prepare(socket: &TcpStream, seconds: u64) -> std::io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(seconds)))
}

/// From here on a peer may be silent for as long as it has nothing to say.
fn release(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_read_timeout(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topologies(processes: usize) -> Vec<Topology> {
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<TcpListener> = (0..processes).map(bind).collect();
        let addresses: Vec<String> =
            listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        (0..processes)
            .map(|process| Topology { process, addresses: addresses.clone(), ..Topology::alone(2) })
            .collect()
    }

    fn connect_all(topologies: &[Topology]) -> Vec<Result<Vec<Option<TcpStream>>>> {
        thread::scope(|scope| {
            // The last first: the others are not there yet.
            let start = |topology| {
                thread::sleep(POLL);
                scope.spawn(move || connect(topology))
            };
            let handles: Vec<_> = topologies.iter().rev().map(start).collect();
            handles.into_iter().rev().map(|handle| handle.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_process_is_connected_to_every_other() {
        let topologies = topologies(3);
        let mut sockets: Vec<_> =
            connect_all(&topologies).into_iter().map(|sockets| sockets.unwrap()).collect();
        for (from, row) in sockets.iter_mut().enumerate() {
            assert_eq!(row.len(), 3);
            for (to, socket) in row.iter_mut().enumerate() {
                assert_eq!(socket.is_none(), from == to);
                if let Some(socket) = socket {
                    socket.write_all(&[from as u8, to as u8]).unwrap();
                }
            }
        }
        for (to, row) in sockets.iter_mut().enumerate() {
            for (from, socket) in row.iter_mut().enumerate() {
                let Some(socket) = socket else { continue };
                let mut said = [0; 2];
                socket.read_exact(&mut said).unwrap();
                assert_eq!(said, [from as u8, to as u8]);
            }
        }
    }

    #[test]
    fn other_arguments_are_refused_on_both_sides() {
        let mut topologies = topologies(2);
        topologies[1].workers = 1;
        for refused in connect_all(&topologies) {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("has 2 workers") || message.contains("has 1 workers"));
            assert!(message.contains("--workers"), "{message}");
        }
    }

    #[test]
    fn strangers_are_let_go() {
        let topologies = topologies(2);
        thread::scope(|scope| {
            let first = scope.spawn(|| connect(&topologies[0]));
            let address = &topologies[0].addresses[0];
            let mut stranger = loop {
                match TcpStream::connect(address) {
                    Ok(socket) => break socket,
                    Err(_) => thread::sleep(POLL),
                }
            };
            stranger.write_all(b"GET / HTTP/1.1\r\nhost: floodmark\r\n\r\n").unwrap();
            let second = scope.spawn(|| connect(&topologies[1]));
            assert!(first.join().unwrap().is_ok());
            assert!(second.join().unwrap().is_ok());
        });
    }
}
