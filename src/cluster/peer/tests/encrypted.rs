//! Connections over mutual TLS.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

/// An authority, and the folder where it writes certificates.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { dir, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_string()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = ["cert", "key"].map(|kind| self.dir.path().join(format!("{name}.{kind}.pem")));
        std::fs::write(&paths[0], certificate.pem()).unwrap();
        std::fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths
    }

    fn tls(&self, name: &str) -> Tls {
        self.tls_with(name, &self.ca())
    }

    fn tls_with(&self, name: &str, ca: &Path) -> Tls {
        let [cert, key] = self.issue(name);
        Tls::read(&cert, &key, ca).unwrap()
    }
}

fn serve_over(tls: Tls) -> (Listener, Taken) {
    serve(Member { tls: Some(tls), ..member(0, "127.0.0.1:0") })
}

fn second_over(tls: Option<Tls>) -> Member {
    Member { tls, ..member(1, "127.0.0.1:1") }
}

/// Both ends of one connection over TLS.
fn connected() -> (Listener, Connection, Connection) {
    let authority = Authority::new();
    let (listener, taken) = serve_over(authority.tls("127.0.0.1"));
    let second = second_over(Some(authority.tls("127.0.0.1")));
    let near = connect_to(listener.address(), &second).unwrap();
    let (_, far) = taken.recv_timeout(PATIENCE).unwrap();
    (listener, near, far)
}

#[test]
fn both_directions_carry_much_at_once() {
    let (_listener, near, far) = connected();
    let pattern = |seed: usize| (0..3 << 20).map(move |n: usize| ((n * seed) >> 5) as u8);
    let send = |mut to: Connection, seed: usize| {
        thread::spawn(move || {
            let bytes: Vec<u8> = pattern(seed).collect();
            for piece in bytes.chunks(70_001) {
                to.write_all(piece).unwrap();
            }
            to.shutdown(Shutdown::Write).unwrap();
        })
    };
    let sending = [(&near, 3), (&far, 5)].map(|(end, seed)| send(end.try_clone().unwrap(), seed));
    for (mut end, seed) in [(near, 5), (far, 3)] {
        let mut bytes = Vec::new();
        end.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        assert!(bytes.into_iter().eq(pattern(seed)), "other bytes than were sent");
    }
    for thread in sending {
        thread.join().unwrap();
    }
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    let (_listener, mut near, mut far) = connected();
    say(&mut near, "the last");
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut far, 8), "the last");
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    assert!(far.is_closed());
    say(&mut far, "answer");
    assert_eq!(hear(&mut near, 6), "answer");
    assert!(!near.is_closed());
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_was_written_arrives_though_its_writer_is_gone() {
    let (_listener, mut near, far) = connected();
    near.write_all(&vec![9; 200_000]).unwrap();
    // The last handle waits until all is on its way.
    let reading = thread::spawn(move || {
        let mut far = far;
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    drop(near);
    assert_eq!(reading.join().unwrap(), 200_000);
}

#[test]
fn a_side_that_does_not_read_stops_only_what_is_sent_to_it() {
    let (_listener, mut near, mut far) = connected();
    near.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let full = (0..10_000).find_map(|_| near.write_all(&[0; 1 << 16]).err());
    assert_eq!(full.unwrap().kind(), std::io::ErrorKind::WouldBlock);
    say(&mut far, "still heard");
    assert_eq!(hear(&mut near, 11), "still heard");
    // Whoever waits for something of such a side can be called back.
    let mut waiting = near.try_clone().unwrap();
    let waiter = thread::spawn(move || waiting.read(&mut [0; 1]).unwrap());
    near.shutdown(Shutdown::Both).unwrap();
    assert_eq!(waiter.join().unwrap(), 0);
}

#[test]
fn a_peer_that_is_lost_is_noticed_by_reader_and_writer() {
    let (_listener, mut near, far) = connected();
    far.shutdown(Shutdown::Both).unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
    let error = (0..1000).find_map(|_| {
        thread::sleep(Duration::from_millis(1));
        near.write_all(&[0; 1 << 16]).err()
    });
    assert!(error.is_some(), "writing goes on though nobody reads");
}

#[test]
fn strangers_and_other_certificates_are_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (listener, taken) = serve_over(authority.tls("127.0.0.1"));
    let address = listener.address();
    let refused = |second: Member, parts: &[&str]| {
        let error = connect_to(address, &second).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        for part in parts {
            assert!(error.message.contains(part), "no '{part}' in: {error}");
        }
    };
    // The listener's certificate is of another authority than this side believes.
    refused(second_over(Some(other.tls("127.0.0.1"))), &["over TLS: invalid peer"]);
    // This side's certificate is of another one than the listener believes.
    let foreign = other.tls_with("127.0.0.1", &authority.ca());
    refused(second_over(Some(foreign)), &["over TLS", "alert"]);
    refused(second_over(None), &["speaks TLS"]);
    let silent = TcpStream::connect(address).unwrap();
    let mut loud = TcpStream::connect(address).unwrap();
    loud.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // A certificate does not stand for the secret.
    let second = second_over(Some(authority.tls("127.0.0.1")));
    let unknown = Member { secret: secret("known to nobody else"), ..second.clone() };
    refused(unknown, &["does not know its cluster secret"]);
    connect_to(address, &second).unwrap();
    taken.recv_timeout(PATIENCE).unwrap();
    drop((silent, listener));
    assert!(taken.try_recv().is_err());
}

#[test]
fn a_side_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let (listener, taken) = serve_over(authority.tls("127.0.0.1"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(listener.address()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    drop(listener);
    assert!(taken.try_recv().is_err());
}

#[test]
fn the_certificate_names_the_host() {
    let authority = Authority::new();
    let (listener, _taken) = serve_over(authority.tls("node-0.example"));
    let second = second_over(Some(authority.tls("127.0.0.1")));
    let error = connect_to(listener.address(), &second).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("not valid for name"), "{error}");
}

#[test]
fn tls_on_one_side_only_is_named() {
    let authority = Authority::new();
    let (listener, _taken, _) = pair();
    let second = second_over(Some(authority.tls("127.0.0.1")));
    let error = connect_to(listener.address(), &second).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("ProtocolVersion"), "{error}");
    assert!(error.to_string().contains("or give none of them one"), "{error}");
}

#[test]
fn files_that_hold_no_certificate_are_named() {
    let authority = Authority::new();
    let [cert, key] = authority.issue("127.0.0.1");
    let [_, other_key] = authority.issue("127.0.0.2");
    let empty = authority.dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let none = authority.dir.path().join("none.pem");
    let ca = authority.ca();
    for (cert, key, ca, part) in [
        (&empty, &key, &ca, "empty.pem holds no certificate"),
        (&cert, &empty, &ca, "empty.pem holds no private key"),
        (&cert, &key, &empty, "empty.pem holds no certificate"),
        (&none, &key, &ca, "none.pem: "),
        (&cert, &none, &ca, "none.pem: "),
        (&cert, &other_key, &ca, "cert.pem cannot be used for TLS"),
    ] {
        let error = Tls::read(cert, key, ca).unwrap_err();
        assert!(error.message.contains(part), "no '{part}' in: {error}");
    }
}
