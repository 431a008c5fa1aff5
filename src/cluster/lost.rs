//! A connection between the workers of two processes that breaks while they work.

use std::panic::{set_hook, take_hook};
use std::process::exit;
use std::sync::Once;

/// Threads of the system that carry data between processes begin like this.
const DATA_THREADS: [&str; 2] = ["timely:send-", "timely:recv-"];

/// Ends this process when a connection to the workers of another one breaks, with the code that
/// `tell` gives once it has told why. timely's thread that carries the data panics then, and a
/// dataflow whose peers are lost cannot be taken apart. To be called once, and after logging has
/// been started.
pub fn on_lost_data(tell: impl Fn(&str) -> i32 + Send + Sync + 'static) {
    let (usual, once) = (take_hook(), Once::new());
    set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        if DATA_THREADS.iter().any(|prefix| name.starts_with(prefix)) {
            let process = name.rsplit('-').next().unwrap_or_default();
            // Both threads of a connection, and those of others, may see it.
            once.call_once(|| {
                exit(tell(&format!("the connection to the workers of process {process} is lost")));
            });
        }
        usual(panic);
    }));
}
