//! What connects and is no process of the cluster: it is refused, and harms nobody.

use std::net::{TcpListener, TcpStream};

use proptest::prelude::*;

use super::super::wire::{self, Claims, Code, Hello, Unread, Verdict};
use super::*;
use crate::limits::{PEER_HANDSHAKES_MAX, PEER_MESSAGE_BYTES_MAX};

/// A stranger that has said `bytes`.
fn stranger(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    socket
}

/// All that a stranger hears until the connection ends.
fn heard(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The end may be a rude one.
    socket.read_to_end(&mut bytes).ok();
    bytes
}

fn hello(member: &Member) -> Vec<u8> {
    let claims = Claims {
        process: member.process as u32,
        processes: member.processes() as u32,
        workers: member.workers as u32,
        plan: member.plan,
        version: member.version.clone(),
        cluster: member.cluster.clone(),
    };
    Hello { nonce: [7; 32], purpose: Purpose::Data, epoch: 0, to: 0, claims }.encode()
}

#[test]
fn strangers_are_told_nothing_and_processes_are_let_in() {
    let (listener, taken, second) = pair();
    let address = listener.address();
    let mut noise = vec![0u8; 200_000];
    noise.iter_mut().enumerate().for_each(|(n, byte)| *byte = ((n * 7919) >> 3) as u8);
    let whole = hello(&second);
    let mut long = whole[..8].to_vec();
    long.extend_from_slice(&[0xff; 2]);
    let silent: Vec<TcpStream> = (0..4).map(|_| stranger(address, b"")).collect();
    let half: Vec<TcpStream> =
        [1, 8, 9, 40, whole.len() - 1].map(|bytes| stranger(address, &whole[..bytes])).into();
    for bytes in
        [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &noise[1..], &long, b"\0\0\0\0\0\0\0\0"]
    {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed before it has said everything.
        socket.write_all(bytes).ok();
        socket.shutdown(Shutdown::Write).ok();
        assert_eq!(heard(socket), b"", "a stranger hears something");
    }
    drop(stranger(address, &whole));
    connect_to(address, &second).unwrap();
    assert_eq!(taken.recv_timeout(PATIENCE).unwrap().0.process, 1);
    drop((silent, half));
    assert!(taken.try_recv().is_err());
}

#[test]
fn silent_strangers_keep_nobody_out() {
    let (listener, taken, second) = pair();
    let many: Vec<TcpStream> =
        (0..3 * PEER_HANDSHAKES_MAX).map(|_| stranger(listener.address(), b"f")).collect();
    for _ in 0..3 {
        connect_to(listener.address(), &second).unwrap();
        taken.recv_timeout(PATIENCE).unwrap();
    }
    // The oldest had to give way.
    assert_eq!(heard(many.into_iter().next().unwrap()), b"");
}

#[test]
fn a_slow_stranger_has_no_more_time_than_a_silent_one() {
    let (listener, _taken, second) = pair();
    let mut socket = stranger(listener.address(), b"");
    let whole = hello(&second);
    let slowly = whole.iter().cycle().take(600).position(|byte| {
        thread::sleep(Duration::from_millis(50));
        socket.write_all(&[*byte]).is_err()
    });
    assert!(slowly.is_some_and(|byte| byte < 200), "{slowly:?}");
}

#[test]
fn another_secret_is_refused_on_both_sides() {
    let (listener, taken, second) = pair();
    let second = Member { secret: secret("known to nobody else"), ..second };
    let error = connect_to(listener.address(), &second).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("does not know its cluster secret"), "{error}");
    assert!(error.hint.is_some());
    // All that somebody hears who proves nothing: a number, and that.
    let mut socket = stranger(listener.address(), &hello(&second));
    socket.write_all(&[0; 32]).unwrap();
    let heard = heard(socket);
    assert_eq!((heard.len(), heard.last()), (8 + 32 + 1, Some(&2)));
    drop(listener);
    assert!(taken.try_recv().is_err());
}

/// Hands on what the two sides say, and writes down what the connecting one did.
fn listen_in(address: SocketAddr, second: &Member) -> Vec<u8> {
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = between.local_addr().unwrap();
    thread::scope(|scope| {
        let recorder = scope.spawn(move || {
            let (mut near, _) = between.accept().unwrap();
            let mut far = TcpStream::connect(address).unwrap();
            let (mut back_from, mut back_to) =
                (far.try_clone().unwrap(), near.try_clone().unwrap());
            let back = thread::spawn(move || std::io::copy(&mut back_from, &mut back_to).ok());
            let mut said = Vec::new();
            let mut piece = [0; 1024];
            while let Ok(bytes @ 1..) = near.read(&mut piece) {
                said.extend_from_slice(&piece[..bytes]);
                far.write_all(&piece[..bytes]).unwrap();
            }
            far.shutdown(Shutdown::Both).ok();
            back.join().unwrap();
            said
        });
        drop(connect_to(through, second).unwrap());
        recorder.join().unwrap()
    })
}

#[test]
fn a_recording_opens_nothing() {
    let (listener, taken, second) = pair();
    let said = listen_in(listener.address(), &second);
    taken.recv_timeout(PATIENCE).unwrap();
    assert!(said.len() > 32);
    let heard = heard(stranger(listener.address(), &said));
    assert_eq!(heard.last(), Some(&2), "refused as one that proves nothing");
    drop(listener);
    assert!(taken.try_recv().is_err());
}

/// Connects the second process to something that `answer`s, and gives the error.
fn answered(answer: impl FnOnce(TcpStream) + Send) -> crate::error::Error {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || answer(socket.accept().unwrap().0));
        connect_to(address, &member(1, "127.0.0.1:1")).unwrap_err()
    })
}

#[test]
fn own_words_prove_nothing() {
    // A mirror.
    let error = answered(|mut socket| {
        let mut back = socket.try_clone().unwrap();
        std::io::copy(&mut socket, &mut back).ok();
    });
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("is no process of a cluster"), "{error}");
    // One that gives back the proof as its own.
    let error = answered(|mut socket| {
        let (hello, _) = Hello::read(&mut socket).unwrap();
        socket.write_all(&wire::encode_challenge(&hello.nonce)).unwrap();
        let proof = wire::read_proof(&mut socket).unwrap();
        let claims = Claims { process: 0, ..hello.claims };
        let verdict = Verdict { code: Code::Welcome, claims, reason: String::new() };
        socket.write_all(&verdict.encode()).unwrap();
        socket.write_all(&proof).unwrap();
    });
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("does not know the cluster secret"), "{error}");
}

#[test]
fn a_proof_for_one_process_is_none_for_another() {
    // The listener is process 0 and is made to prove to the stranger, which it takes for process 1,
    // what the stranger then carries to the listener.
    let (listener, taken, second) = pair();
    let first = member(0, "127.0.0.1:1");
    let stranger_socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = stranger_socket.local_addr().unwrap().to_string();
    let addresses = vec![second.addresses[0].clone(), through];
    let first = Member { addresses, ..first };
    thread::scope(|scope| {
        let carried = scope.spawn(|| {
            let (mut from, _) = stranger_socket.accept().unwrap();
            let (_, said) = Hello::read(&mut from).unwrap();
            let mut to = stranger(listener.address(), &said);
            let challenge = wire::read_challenge(&mut to).unwrap();
            from.write_all(&wire::encode_challenge(&challenge)).unwrap();
            to.write_all(&wire::read_proof(&mut from).unwrap()).unwrap();
            Verdict::read(&mut to).unwrap().unwrap().0
        });
        let error = connect(&first, 1, Purpose::Data, 0, PATIENCE).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Io, "{error}");
        let verdict = carried.join().unwrap();
        assert_eq!(verdict.code, Code::Disagreement);
        assert_eq!(verdict.reason, "process 0 is here, not process 1");
    });
    drop(listener);
    assert!(taken.try_recv().is_err());
}

#[test]
fn what_answers_otherwise_is_named() {
    let error = answered(|mut socket| socket.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap());
    assert!(error.message.contains("is no process of a cluster"), "{error}");
    assert_eq!(error.kind, ErrorKind::Config);
    // One that goes away may come back.
    let error = answered(drop);
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let framed = [&b"floodmH2"[..], &(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat();
        prop_assert!(Hello::read(&mut &framed[..]).is_err());
        for code in 0..6 {
            let framed = [&[code][..], &(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat();
            prop_assert!(!matches!(Verdict::read(&mut &framed[..]), Ok(Some(_))));
        }
        Hello::read(&mut &bytes[..]).ok();
        wire::read_challenge(&mut &bytes[..]).ok();
    }

    #[test]
    fn what_is_written_is_read(
        (process, epoch, nonce) in any::<(u32, u64, [u8; 32])>(),
        version in "[0-9a-z.]{0,40}",
        cluster in "[a-zé-]{0,60}",
        reason in "[ -~]{0,800}",
    ) {
        let claims = Claims { process, processes: 3, workers: 4, plan: nonce, version, cluster };
        let purpose = Purpose::Call;
        let hello = Hello { nonce, purpose, epoch, to: 1, claims: claims.clone() };
        let bytes = hello.encode();
        let (read, again) = Hello::read(&mut &bytes[..]).unwrap();
        prop_assert_eq!((&read, &again), (&hello, &bytes));
        let length = (bytes.len() as u16 - 9).to_be_bytes();
        let longer = [&bytes[..8], &length, &bytes[10..], &[0]].concat();
        prop_assert!(matches!(Hello::read(&mut &longer[..]), Err(Unread::Foreign)));
        let verdict = Verdict { code: Code::Conflict, claims, reason };
        let bytes = verdict.encode();
        prop_assert!(bytes.len() <= PEER_MESSAGE_BYTES_MAX + 3);
        let (read, again) = Verdict::read(&mut &bytes[..]).unwrap().unwrap();
        prop_assert_eq!((&read, &again), (&verdict, &bytes));
    }
}
