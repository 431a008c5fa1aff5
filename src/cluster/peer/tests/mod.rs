//! Two sides of a connection, with strangers between them.

mod agreement;
mod encrypted;
mod strangers;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use super::*;
use crate::error::{ErrorKind, Result};

const PATIENCE: Duration = Duration::from_secs(20);

fn secret(text: &str) -> Secret {
    Secret::new("a test", text.as_bytes()).unwrap()
}

/// Process `process` of two; the first listens at `address`.
fn member(process: usize, address: &str) -> Member {
    let addresses = vec![address.to_string(), "127.0.0.1:1".to_string()];
    Member::new(process, addresses, 2, secret("known to both of them"))
}

type Taken = Receiver<(Peer, Connection)>;

fn serve(member: Member) -> (Listener, Taken) {
    serve_if(member, |_| Ok(()))
}

fn serve_if(
    member: Member,
    decide: impl Fn(&Peer) -> std::result::Result<(), String> + Send + Sync + 'static,
) -> (Listener, Taken) {
    let (taker, taken) = sync_channel(64);
    let take = move |peer, connection| taker.send((peer, connection)).unwrap();
    let listener = Listener::bind(Arc::new(member), Box::new(decide), Box::new(take)).unwrap();
    (listener, taken)
}

/// A listener of the first process, and the second one as it would connect.
fn pair() -> (Listener, Taken, Member) {
    let (listener, taken) = serve(member(0, "127.0.0.1:0"));
    let second = member(1, &listener.address().to_string());
    (listener, taken, second)
}

fn connect_to(address: SocketAddr, member: &Member) -> Result<Connection> {
    let addresses = [&[address.to_string()], &member.addresses[1..]].concat();
    let member = Member { addresses, ..member.clone() };
    connect(&member, 0, Purpose::Control, 7, PATIENCE)
}

fn say(connection: &mut Connection, text: &str) {
    connection.write_all(text.as_bytes()).unwrap();
}

fn hear(connection: &mut Connection, bytes: usize) -> String {
    let mut text = vec![0; bytes];
    connection.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Both ends of one connection.
fn connected() -> (Listener, Connection, Connection) {
    let (listener, taken, second) = pair();
    let near = connect_to(listener.address(), &second).unwrap();
    let (_, far) = taken.recv_timeout(PATIENCE).unwrap();
    (listener, near, far)
}

#[test]
fn both_sides_know_each_other_and_talk() {
    let (listener, taken, second) = pair();
    let mut near = connect_to(listener.address(), &second).unwrap();
    let (peer, mut far) = taken.recv_timeout(PATIENCE).unwrap();
    let expected = Peer {
        process: 1,
        workers: 2,
        purpose: Purpose::Control,
        epoch: 7,
        version: env!("CARGO_PKG_VERSION").to_string(),
        remote: peer.remote,
    };
    assert_eq!(peer, expected);
    say(&mut near, "up");
    say(&mut far, "down");
    assert_eq!(hear(&mut far, 2), "up");
    assert_eq!(hear(&mut near, 4), "down");
    for purpose in [Purpose::Data, Purpose::Call, Purpose::Http] {
        connect(&second, 0, purpose, 8, PATIENCE).unwrap();
        let (peer, _) = taken.recv_timeout(PATIENCE).unwrap();
        assert_eq!((peer.purpose, peer.epoch), (purpose, 8));
    }
}

#[test]
fn a_connection_ends_one_direction_at_a_time() {
    let (_listener, mut near, mut far) = connected();
    let mut clone = near.try_clone().unwrap();
    say(&mut clone, "the last");
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut far, 8), "the last");
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    assert!(far.is_closed());
    say(&mut far, "answer");
    assert!(!near.is_closed(), "there is something to read");
    assert_eq!(hear(&mut near, 6), "answer");
    assert!(!near.is_closed(), "nothing to read, and not at its end");
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
    assert!(near.is_closed());
}

#[test]
fn a_read_waits_no_longer_than_it_may() {
    let (_listener, mut near, _far) = connected();
    near.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let error = near.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    near.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
    let full = (0..10_000).find_map(|_| near.write_all(&[0; 1 << 16]).err());
    assert_eq!(full.unwrap().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_is_taken_outlives_the_listener() {
    let (listener, mut near, mut far) = connected();
    let address = listener.address();
    drop(listener);
    say(&mut near, "still here");
    assert_eq!(hear(&mut far, 10), "still here");
    let error = connect_to(address, &member(1, "127.0.0.1:1")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
    // The address is free at once.
    let (listener, taken) = serve(member(0, &address.to_string()));
    connect_to(listener.address(), &member(1, "127.0.0.1:1")).unwrap();
    taken.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_process_that_comes_later_is_waited_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = member(1, &free.to_string());
    thread::scope(|scope| {
        let connecting = scope.spawn(|| connect_until(&second, 0, Purpose::Data, 0, PATIENCE));
        thread::sleep(Duration::from_millis(50));
        let (_listener, taken) = serve(member(0, &free.to_string()));
        connecting.join().unwrap().unwrap();
        taken.recv_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn a_process_that_does_not_come_is_not_waited_for_without_end() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = member(1, &free.to_string());
    let patience = Duration::from_millis(50);
    let error = connect_until(&second, 0, Purpose::Data, 0, patience).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.contains(&format!("process 0 cannot be reached at {free}")), "{error}");
    // One that is there and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = member(1, &silent.local_addr().unwrap().to_string());
    let error = connect_until(&second, 0, Purpose::Data, 0, patience).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.contains("timed out"), "{error}");
}

#[test]
fn an_address_is_listened_at_once() {
    let (listener, _taken) = serve(member(0, "127.0.0.1:0"));
    let again = Arc::new(member(0, &listener.address().to_string()));
    let Err(error) = Listener::bind(again, Box::new(|_| Ok(())), Box::new(|_, _| ())) else {
        panic!("two listen at one address");
    };
    assert!(error.message.contains("process 0 cannot listen at"), "{error}");
}
