//! Connections between the processes of a cluster.
//!
//! Every socket between two processes is opened here. Before anybody else gets it, both sides have
//! proved that they know the cluster secret, and agree on who they are and what they run:
//!
//! ```text
//! connecting side                              listening side
//!   hello: claims, purpose, epoch, nonce  ->
//!                                         <-   challenge: nonce
//!   proof: HMAC over all of that          ->
//!                                         <-   verdict: yes or the reason why not, claims, HMAC
//! ```
//!
//! So nothing is said to a stranger but a random number, nothing that a stranger says is believed,
//! and no recording of a connection opens another one. `wire` has the messages, `handshake`
//! what is proved and compared, [`Listener`] and [`connect`] the two sides, `tls` what is below
//! them if certificates are given.

mod asynchronous;
mod channel;
mod connect;
mod connection;
mod handshake;
mod listener;
mod pump;
mod secret;
mod tls;
mod wire;

use std::net::SocketAddr;

pub use asynchronous::AsyncConnection;
pub use connect::{connect, connect_until};
pub use connection::Connection;
pub use listener::{Decide, Listener, Take};
pub use secret::Secret;
pub use tls::Tls;

/// The cluster id where none is given.
pub const CLUSTER_DEFAULT: &str = "floodmark";

/// What a process knows of itself and of its cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of the cluster; processes of another one are refused.
    pub cluster: String,
    /// Index of this process.
    pub process: usize,
    /// `host:port` of every process, in order.
    pub addresses: Vec<String>,
    /// Workers of each process.
    pub workers: usize,
    /// What all processes must run alike from the start; zeros where that comes later.
    pub plan: [u8; 32],
    /// What only processes of this cluster know.
    pub secret: Secret,
    /// Version of this program.
    pub version: String,
    /// How connections are encrypted; all processes must have it, or none.
    pub tls: Option<Tls>,
}

impl Member {
    /// Process `process` of those at `addresses`, with this program's version.
    pub fn new(process: usize, addresses: Vec<String>, workers: usize, secret: Secret) -> Self {
        Member {
            cluster: CLUSTER_DEFAULT.to_string(),
            process,
            addresses,
            workers,
            plan: [0; 32],
            secret,
            version: env!("CARGO_PKG_VERSION").to_string(),
            tls: None,
        }
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.addresses.len()
    }
}

/// What stands for `parts`, in that order and cut, in [`Member::plan`].
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Commands in order, signs of life.
    Control,
    /// timely's own messages.
    Data,
    /// Requests and their answers.
    Call,
    /// HTTP requests that are handed on.
    Http,
}

/// The process on the other side, as it has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index.
    pub process: usize,
    /// Its workers.
    pub workers: usize,
    /// What it wants the connection for.
    pub purpose: Purpose,
    /// The cluster epoch that it is in.
    pub epoch: u64,
    /// Version of its program.
    pub version: String,
    /// Where it connects from.
    pub remote: SocketAddr,
}

#[cfg(test)]
mod tests;
