//! Sessions of a few processes, each a thread here.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{About, Follower, Leader, Lost, Sockets, Timing};
use crate::cluster::peer::{Member, Purpose, Secret, connect};
use crate::dataflow::metrics::lock;

const PATIENCE: Duration = Duration::from_secs(20);
const TIMING: Timing = Timing { silence: Duration::from_secs(2) };

fn members(processes: usize) -> Vec<Arc<Member>> {
    let listeners: Vec<_> =
        (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<String> =
        listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    let member = |process| {
        let secret = Secret::new("the test", b"a secret of the tests").unwrap();
        Arc::new(Member::new(process, addresses.clone(), 1, secret))
    };
    (0..processes).map(member).collect()
}

fn telling(lost: &SyncSender<String>) -> Lost {
    let lost = Mutex::new(lost.clone());
    Box::new(move |why| lock(&lost).send(why).unwrap_or_default())
}

/// A session of `members`, and why each of its processes has lost it.
struct Session {
    leader: Leader,
    followers: Vec<Follower>,
    sockets: Vec<Sockets>,
    lost: Vec<Receiver<String>>,
}

fn session(members: &[Arc<Member>], epoch: u64) -> Session {
    let (senders, lost): (Vec<_>, Vec<_>) = members.iter().map(|_| sync_channel(8)).unzip();
    thread::scope(|scope| {
        let joining = |(member, lost): (&Arc<Member>, &SyncSender<String>)| {
            let (member, lost) = (Arc::clone(member), telling(lost));
            let http = format!("process {}", member.process);
            let about = About { http, ..About::default() };
            scope.spawn(move || Follower::join(member, &about, TIMING, lost).unwrap())
        };
        // The last one first: the leader is not there yet.
        let all = members.iter().zip(&senders).skip(1).rev();
        let handles: Vec<_> = all.map(joining).collect();
        thread::sleep(Duration::from_millis(50));
        let (first, lost_first) = (Arc::clone(&members[0]), telling(&senders[0]));
        let (leader, own) = Leader::gather(first, epoch, TIMING, lost_first).unwrap();
        let joined = handles.into_iter().rev().map(|handle| handle.join().unwrap());
        let (followers, mut sockets): (Vec<_>, Vec<_>) = joined.unzip();
        sockets.insert(0, own);
        Session { leader, followers, sockets, lost }
    })
}

#[test]
fn processes_come_together_and_orders_arrive_in_order() {
    let members = members(3);
    let Session { leader, followers, sockets, .. } = session(&members, 7);
    assert_eq!(leader.epoch(), 7);
    assert!(followers.iter().all(|follower| follower.epoch() == 7));
    let told: Vec<_> = leader.others().iter().map(|a| (a.process, a.http.as_str())).collect();
    assert_eq!(told, [(1, "process 1"), (2, "process 2")]);
    for (from, row) in sockets.iter().enumerate() {
        let missing: Vec<_> = (0..3).filter(|to| row[*to].is_none()).collect();
        assert_eq!(missing, [from], "every process is connected to every other");
    }

    let (news, heard) = sync_channel(200);
    let news = Mutex::new(news);
    let hear = move |process: usize, body: &[u8]| {
        lock(&news).send((process, body.to_vec())).unwrap_or_default();
    };
    let reply = |process: usize, body: &[u8]| format!("{process}:{}", body.len()).into_bytes();
    leader.start(Box::new(hear), Box::new(reply), Box::new(drop)).unwrap();
    let mut orders = Vec::new();
    for follower in &followers {
        let (order, ordered) = sync_channel(200);
        let order = Mutex::new(order);
        let obey =
            move |_: usize, body: &[u8]| lock(&order).send(body.to_vec()).unwrap_or_default();
        follower.start(Box::new(obey)).unwrap();
        orders.push(ordered);
    }
    for number in 0..100_u8 {
        leader.send_all(&[number]).unwrap();
    }
    for ordered in &orders {
        let got: Vec<_> = (0..100).map(|_| ordered.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(got, (0..100).map(|n| vec![n]).collect::<Vec<_>>());
    }
    followers[1].send(b"news").unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (2, b"news".to_vec()));
    thread::scope(|scope| {
        for (process, follower) in followers.iter().enumerate() {
            for size in 0..4 {
                scope.spawn(move || {
                    let answer = follower.call(&vec![0; size]).unwrap();
                    assert_eq!(answer, format!("{}:{size}", process + 1).into_bytes());
                });
            }
        }
    });
}

#[test]
fn who_leaves_or_falls_silent_is_lost_to_the_leader() {
    let members = members(3);
    let Session { leader, followers, lost, .. } = session(&members, 1);
    leader.start(Box::new(|_, _| {}), Box::new(|_, _| Vec::new()), Box::new(drop)).unwrap();
    followers[0].start(Box::new(|_, _| {})).unwrap();
    // The second one never says that it lives.
    let why = lost[0].recv_timeout(PATIENCE).unwrap();
    assert_eq!(why, "process 2 has been silent for 2000 ms");
    // Their addresses are taken again.
    drop((leader, followers));

    let Session { leader, followers, lost, .. } = session(&members, 2);
    leader.start(Box::new(|_, _| {}), Box::new(|_, _| Vec::new()), Box::new(drop)).unwrap();
    followers.iter().for_each(|follower| follower.start(Box::new(|_, _| {})).unwrap());
    followers[1].leave("it has better things to do");
    let why = lost[0].recv_timeout(PATIENCE).unwrap();
    assert_eq!(why, "process 2 has left: it has better things to do");
    leader.leave("process 2 has left");
    let why = lost[1].recv_timeout(PATIENCE).unwrap();
    assert_eq!(why, "process 0 has left: process 2 has left");
    assert!(lost[2].try_recv().is_err(), "who leaves is not told");
}

#[test]
fn connections_of_another_epoch_and_doubles_are_refused() {
    let members = members(2);
    let Session { leader, followers, .. } = session(&members, 5);
    let refused = |purpose, epoch| {
        connect(&members[1], 0, purpose, epoch, PATIENCE).map(drop).unwrap_err().message
    };
    for purpose in [Purpose::Call, Purpose::Http, Purpose::Data] {
        let why = refused(purpose, 4);
        assert!(why.contains("this is cluster epoch 5, not 4"), "{why}");
    }
    let why = refused(Purpose::Control, 0);
    assert!(why.contains("process 1 is connected already"), "{why}");
    drop((leader, followers));
}
