//! Mutual TLS below the handshake: both sides show a certificate of the cluster's own authority.
//!
//! Only TLS 1.3 is spoken. The certificate of the listening side must name the host that the other
//! one connects to; that of the connecting side must be of the authority.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore};
use rustls::{ServerConfig, ServerConnection};

use super::channel::Timed;
use super::handshake::Binding;
use crate::error::{Error, ErrorKind, Result};

const BINDING_LABEL: &[u8] = b"EXPORTER-floodmark-peer";
/// What TLS says to somebody who must use another version of it: a fatal alert.
pub const ALERT_PROTOCOL_VERSION: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];

/// The certificate of this process and the authority of its cluster.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// Reads PEM files: a certificate (with those between it and the authority behind it), its
    /// private key, and the certificate of the authority.
    pub fn read(cert: &Path, key: &Path, ca: &Path) -> Result<Self> {
        let certs = certificates(cert)?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|e| unread(key, "private key", &e))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(|e| unusable(ca, &e))?;
        }
        let roots = Arc::new(roots);
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let refused = |e: rustls::Error| unusable(cert, &e);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(certs.clone(), private.clone_key())
            .map_err(refused)?;
        // A connection is for long: nothing is gained by remembering it.
        client.resumption = Resumption::disabled();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| unusable(ca, &e))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certs, private)
            .map_err(refused)?;
        server.send_tls13_tickets = 0;
        Ok(Tls { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The side that connects to `host`, whose name the other side's certificate must hold.
    pub(super) fn connect(&self, host: &str, socket: &mut Timed) -> io::Result<Connection> {
        let name = ServerName::try_from(host.to_string()).map_err(invalid)?;
        let session = ClientConnection::new(Arc::clone(&self.client), name).map_err(invalid)?;
        finish(Connection::Client(session), socket)
    }

    /// The side that was connected to.
    pub(super) fn accept(&self, socket: &mut Timed) -> io::Result<Connection> {
        let session = ServerConnection::new(Arc::clone(&self.server)).map_err(invalid)?;
        finish(Connection::Server(session), socket)
    }
}

fn finish(mut session: Connection, socket: &mut Timed) -> io::Result<Connection> {
    while session.is_handshaking() {
        session.complete_io(socket)?;
    }
    Ok(session)
}

/// Reads what the other side says, within the handshake of two processes.
pub(super) fn read(
    session: &mut Connection,
    socket: &mut Timed,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match session.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        if session.read_tls(socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        session.process_new_packets().map_err(invalid)?;
    }
}

/// Sends what was written to the session.
pub(super) fn flush(session: &mut Connection, socket: &mut impl Write) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    socket.flush()
}

/// What both sides of this connection know and of no other one.
pub(super) fn binding(session: &Connection) -> io::Result<Binding> {
    session.export_keying_material(Binding::default(), BINDING_LABEL, None).map_err(invalid)
}

/// Whether `error` is of TLS: trying again would give the same.
pub(super) fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|e| unread(path, "certificate", &e))?;
    match found.is_empty() {
        true => Err(unread(path, "certificate", &pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn unread(path: &Path, what: &str, error: &pem::Error) -> Error {
    let name = path.display();
    match error {
        pem::Error::Io(error) => Error::io(name, error),
        pem::Error::NoItemsFound => Error::config(format!("{name} holds no {what}"))
            .with_hint("a PEM file is expected: '-----BEGIN ...'"),
        other => Error::config(format!("{name} holds no {what}: {other}")),
    }
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{} cannot be used for TLS: {error}", path.display()))
}
