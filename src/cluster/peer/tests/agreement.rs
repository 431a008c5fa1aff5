//! Processes that know the secret and still do not belong together.

use super::*;

/// How the second process must be refused by the first: the same words on both sides.
#[track_caller]
fn refused(second: Member, part: &str) {
    let (listener, taken, _) = pair();
    let error = connect_to(listener.address(), &second).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.message.contains(part), "no '{part}' in: {error}");
    assert!(error.message.contains("refuses the connection"), "{error}");
    drop(listener);
    assert!(taken.try_recv().is_err(), "a process that was refused is let in");
}

#[test]
fn differences_are_named() {
    let second = || member(1, "127.0.0.1:1");
    let other = |version: &str| Member { version: version.to_string(), ..second() };
    let own = env!("CARGO_PKG_VERSION");
    refused(other("9.9"), &format!("process 0 has version {own}, process 1 has 9.9"));
    let cluster = "staging".to_string();
    refused(
        Member { cluster, ..second() },
        "process 0 has the cluster id floodmark, process 1 has staging",
    );
    refused(Member { workers: 3, ..second() }, "number of workers of 2, process 1 has 3");
    let addresses = vec!["127.0.0.1:1".to_string(); 3];
    refused(Member { addresses, ..second() }, "number of processes of 2, process 1 has 3");
    refused(Member { process: 0, ..second() }, "process 0 is here already");
    refused(Member { process: 2, ..second() }, "process 2 is none that is expected");
    refused(Member { plan: [1; 32], ..second() }, "processes 0 and 1 were given different scripts");
}

#[test]
fn the_address_of_another_process_is_noticed() {
    let (listener, _taken, second) = pair();
    let address = listener.address().to_string();
    let addresses = vec!["127.0.0.1:1".to_string(), "127.0.0.1:2".to_string(), address];
    let third = Member { addresses, ..second };
    let error = connect(&third, 2, Purpose::Call, 0, PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("process 0 is here, not process 2"), "{error}");
}

#[test]
fn a_refusal_of_the_moment_is_of_another_kind() {
    let decide = |peer: &Peer| match peer.epoch {
        8 => Ok(()),
        epoch => Err(format!("epoch {epoch} is over,\nthis is 8")),
    };
    let (listener, taken) = serve_if(member(0, "127.0.0.1:0"), decide);
    let second = member(1, &listener.address().to_string());
    let error = connect_until(&second, 0, Purpose::Control, 7, PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    // A reason of several lines is one.
    assert!(error.message.ends_with("epoch 7 is over, this is 8"), "{error}");
    connect(&second, 0, Purpose::Control, 8, PATIENCE).unwrap();
    assert_eq!(taken.recv_timeout(PATIENCE).unwrap().0.epoch, 8);
}

#[test]
fn of_two_that_come_at_once_one_is_let_in() {
    let holder = Arc::new(std::sync::Mutex::new(None));
    let (seen, taking) = (Arc::clone(&holder), Arc::clone(&holder));
    let decide = move |peer: &Peer| match &*seen.lock().unwrap() {
        Some(_) => Err(format!("process {} is connected already", peer.process)),
        None => Ok(()),
    };
    let take = move |_, connection: Connection| *taking.lock().unwrap() = Some(connection);
    let first = Arc::new(member(0, "127.0.0.1:0"));
    let listener = Listener::bind(first, Box::new(decide), Box::new(take)).unwrap();
    let second = member(1, &listener.address().to_string());
    let results: Vec<Result<Connection>> = thread::scope(|scope| {
        let attempt = || connect(&second, 0, Purpose::Control, 0, PATIENCE);
        let handles: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(refused.len(), 7);
    for error in refused {
        assert!(error.message.ends_with("process 1 is connected already"), "{error}");
    }
}

#[test]
fn a_long_reason_is_cut() {
    let decide = |_: &Peer| Err("é".repeat(5000));
    let (listener, _taken) = serve_if(member(0, "127.0.0.1:0"), decide);
    let error = connect_to(listener.address(), &member(1, "127.0.0.1:1")).unwrap_err();
    assert!(error.message.contains("éééé") && error.message.len() < 2000, "{error}");
}

#[test]
fn a_secret_has_a_length_and_is_not_shown() {
    let message = |text: &[u8]| Secret::new("a file", text).unwrap_err().to_string();
    assert!(message(b"fifteen letters").contains("a file has 15 bytes"));
    assert!(message(b"fifteen letters\n").contains("a file has 15 bytes"));
    assert!(message(b"").contains("a file has 0 bytes"));
    assert!(message(&[b'x'; 4097]).contains("longer than the 4096 bytes"));
    let plain = secret("sixteen letters!");
    for other in ["sixteen letters!\n", "sixteen letters!\r\n"] {
        assert!(secret(other).holds(&[b"said"], &plain.prove(&[b"said"])));
    }
    assert!(!plain.holds(&[b"sa", b"id"], &plain.prove(&[b"said"])));
    assert!(!secret("sixteen letters?").holds(&[b"said"], &plain.prove(&[b"said"])));
    let shown = format!("{:?}", member(0, "127.0.0.1:1"));
    assert!(shown.contains("Secret(..)") && !shown.contains("known"), "{shown}");
}

#[test]
fn a_secret_is_read_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "sixteen letters!\n").unwrap();
    let read = Secret::read(&path).unwrap();
    assert!(read.holds(&[b"said"], &secret("sixteen letters!").prove(&[b"said"])));
    std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    assert!(Secret::read(&path).unwrap_err().message.contains("longer than"));
    assert!(Secret::read(&dir.path().join("none")).is_err());
}

#[test]
fn what_is_to_be_run_has_a_fingerprint() {
    assert_eq!(fingerprint(["a", "b"]), fingerprint(["a", "b"]));
    assert_ne!(fingerprint(["a", "b"]), fingerprint(["ab"]));
    assert_ne!(fingerprint(["a"]), fingerprint(["a", ""]));
}
