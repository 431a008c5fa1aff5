//! A TCP proxy that can be told to misbehave: what stands between two processes of a cluster.
//!
//! Each connection has two threads, one a direction. What was read before the mode changed may
//! still be sent as the old mode has it; after that the new one holds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes that are handed on at a time.
const PIECE: usize = 32 << 10;
/// How often a thread with nothing to do looks at the mode.
const LOOK: Duration = Duration::from_millis(5);

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hands everything on.
    Pass,
    /// Ends every connection, and each new one.
    Cut,
    /// Keeps connections open and hands nothing on; what has arrived is handed on later.
    Blackhole,
    /// Hands on each piece so much later, and no more than so many bytes a second.
    Slow { latency: Duration, bytes_per_second: u64 },
}

/// A proxy; it ends with its listener when dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mutex<Mode>,
    open: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Shared {
    fn mode(&self) -> Mode {
        match self.is_over.load(Ordering::Acquire) {
            true => Mode::Cut,
            false => *self.mode.lock().expect("no holder panics"),
        }
    }

    fn close_all(&self) {
        for socket in self.open.lock().expect("no holder panics").drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Proxy {
    /// To `target`, which need not be there yet.
    pub fn start(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has one").to_string();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            open: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let (own, target) = (Arc::clone(&shared), target.to_owned());
        thread::spawn(move || {
            for socket in listener.incoming() {
                if own.is_over.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(socket) = socket {
                    serve(&own, &target, socket);
                }
            }
        });
        Proxy { address, shared }
    }

    /// Changes what it does, for open connections too.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("no holder panics") = mode;
        if mode == Mode::Cut {
            self.shared.close_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.close_all();
        // So that the thread that waits for connections sees it.
        TcpStream::connect(&self.address).ok();
    }
}

/// Connects one side with the other. Where nobody listens there is no connection either.
fn serve(shared: &Arc<Shared>, target: &str, near: TcpStream) {
    if shared.mode() == Mode::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target) else { return };
    let clone = |socket: &TcpStream| socket.try_clone().ok();
    let Some((near_too, far_too)) = clone(&near).zip(clone(&far)) else { return };
    for socket in [&near, &far] {
        socket.set_nodelay(true).ok();
        socket.set_read_timeout(Some(LOOK)).ok();
    }
    let mut open = shared.open.lock().expect("no holder panics");
    open.extend(clone(&near));
    open.extend(clone(&far));
    drop(open);
    for (from, to) in [(near, far), (far_too, near_too)] {
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(&shared, from, to));
    }
}

fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; PIECE];
    loop {
        let count = match shared.mode() {
            Mode::Cut => break,
            Mode::Blackhole => {
                thread::sleep(LOOK);
                continue;
            }
            Mode::Pass | Mode::Slow { .. } => match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if is_idle(error.kind()) => continue,
                Err(_) => break,
            },
        };
        if let Mode::Slow { latency, bytes_per_second } = shared.mode() {
            let sending = count as u64 * 1_000_000 / bytes_per_second.max(1);
            thread::sleep(latency + Duration::from_micros(sending));
        }
        while shared.mode() == Mode::Blackhole {
            thread::sleep(LOOK);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

fn is_idle(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
