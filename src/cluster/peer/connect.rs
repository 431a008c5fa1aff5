//! The connecting side.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::connection::Connection;
use super::tls::is_of_tls;
use super::{Member, Purpose, handshake};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{PEER_BACK_OFF_MS_MAX, PEER_BACK_OFF_MS_MIN, PEER_HELLO_SECONDS_MAX};
use crate::telemetry::clock::monotonic;

/// Connects to process `to`, once, within `patience`.
///
/// An error of kind [`ErrorKind::Io`] says that the process was not reached and may be later;
/// [`ErrorKind::Config`] that the two do not belong together; [`ErrorKind::Conflict`] that the peer
/// does not want this process now.
pub fn connect(
    member: &Member,
    to: usize,
    purpose: Purpose,
    epoch: u64,
    patience: Duration,
) -> Result<Connection> {
    let until = monotonic() + patience;
    let Some(address) = member.addresses.get(to) else {
        return Err(Error::internal(format!("process {to} has no address")));
    };
    let failed = |error| lost(to, address, &error);
    let socket = open(address, until).map_err(failed)?;
    // Without its port: a name in a certificate has none, nor has an IPv6 address there brackets.
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut channel = Channel::connect(member, host, socket, until).map_err(failed)?;
    let binding = channel.binding().map_err(failed)?;
    handshake::introduce(member, to, purpose, epoch, &mut channel, &binding)?;
    channel.into_connection(purpose).map_err(failed)
}

/// What came in between, when process `to` was asked for a connection.
pub(super) fn lost(to: usize, address: &str, error: &io::Error) -> Error {
    let what = format!("process {to} cannot be reached at {address}");
    if is_of_tls(error) {
        return Error::config(format!("{what} over TLS: {error}")).with_hint(
            "give every process a certificate of the same authority, which names the host of the \
             process; or give none of them one",
        );
    }
    if error.kind() == io::ErrorKind::WouldBlock {
        // What a socket says whose time is over.
        return Error::io(what, &io::ErrorKind::TimedOut.into());
    }
    Error::io(what, error)
}

/// Connects to process `to` as soon as it is there, for `patience` at most. A refusal by the peer
/// is final.
pub fn connect_until(
    member: &Member,
    to: usize,
    purpose: Purpose,
    epoch: u64,
    patience: Duration,
) -> Result<Connection> {
    let until = monotonic() + patience;
    let mut back_off = Duration::from_millis(PEER_BACK_OFF_MS_MIN);
    loop {
        let remaining = until.saturating_duration_since(monotonic());
        let attempt = remaining.min(Duration::from_secs(PEER_HELLO_SECONDS_MAX));
        match connect(member, to, purpose, epoch, attempt) {
            Err(error) if error.kind == ErrorKind::Io && monotonic() + back_off < until => {
                tracing::debug!("{}", error.message);
                thread::sleep(back_off);
                back_off = (back_off * 2).min(Duration::from_millis(PEER_BACK_OFF_MS_MAX));
            }
            done => return done,
        }
    }
}

/// Opens a socket to the first of the places that `address` names and that answers.
fn open(address: &str, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for place in address.to_socket_addrs()? {
        let remaining = until.saturating_duration_since(monotonic());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&place, remaining) {
            // The system may choose the port asked for as the one to ask from: nobody is there.
            Ok(socket) if socket.local_addr().ok() == Some(place) => {
                last = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
