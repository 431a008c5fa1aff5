//! A cluster of real processes: each a supervisor and its engine, connected straight or through
//! proxies that can be told to misbehave.
//!
//! All processes run in one folder, as on machines that share a file system.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::{Mode, Proxy};
use super::service::{Answer, ask};
use super::{Ran, command, finish, floodmark, signal};
use floodmark::telemetry::clock::monotonic;

/// How long a cluster may take to be up, or to do what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a waiting test looks.
const LOOK: Duration = Duration::from_millis(20);

/// Addresses that nothing listens on: the system gives free ports, which are let go together.
pub fn free_addresses(count: usize) -> Vec<String> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect();
    let address = |l: &TcpListener| l.local_addr().expect("a bound socket has one").to_string();
    listeners.iter().map(address).collect()
}

/// How often a run is tried again whose addresses somebody else has taken in the meantime.
const ADDRESS_TRIES: usize = 5;

/// Runs `floodmark` with `args`, which begin with `run`, on several processes to their end.
pub fn on_processes(dir: &Path, args: &[&str], processes: usize) -> Vec<Ran> {
    if processes == 1 {
        return vec![floodmark(dir, args)];
    }
    let mut ran = Vec::new();
    for _ in 0..ADDRESS_TRIES {
        let peers = free_addresses(processes).join(",");
        let start = |process: usize| {
            let process = process.to_string();
            let own = ["run", "--peers", &peers, "--process", &process];
            let mut command = command(dir, &[&own[..], &args[1..]].concat());
            command.env("FLOODMARK_CLUSTER_SECRET", "known to all of them");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the binary starts")
        };
        let children: Vec<Child> = (0..processes).map(start).collect();
        // Each must be read from while the others run.
        let waiting: Vec<_> =
            children.into_iter().map(|child| thread::spawn(move || finish(child))).collect();
        ran = waiting.into_iter().map(|one| one.join().expect("waiting ends")).collect();
        if !ran.iter().any(|ran: &Ran| ran.stderr.contains("in use")) {
            break;
        }
    }
    ran
}

/// How a cluster is started.
#[derive(Clone)]
pub struct Shape {
    pub processes: usize,
    pub workers: usize,
    /// Whether processes reach one another through proxies.
    pub proxied: bool,
    /// The network namespace of each process, and its address there; where there is none, a process
    /// is in that of the test, at 127.0.0.1.
    pub hosts: Vec<Host>,
    /// More arguments of every process.
    pub more: Vec<String>,
}

impl Shape {
    pub fn new(processes: usize, workers: usize) -> Shape {
        Shape { processes, workers, proxied: false, hosts: Vec::new(), more: Vec::new() }
    }
}

/// Where a process is in the network.
#[derive(Clone)]
pub struct Host {
    pub namespace: Option<String>,
    pub ip: String,
}

/// A running cluster; killed when dropped.
pub struct Cluster {
    dir: PathBuf,
    shape: Shape,
    supervisors: Vec<Option<Child>>,
    /// Where each listens to its peers, and for HTTP.
    peers: Vec<String>,
    https: Vec<String>,
    /// By the process that connects and the one that it connects to.
    proxies: Vec<Vec<Option<Proxy>>>,
}

impl Cluster {
    /// Starts a cluster in `dir`, on the data directories that earlier ones have left there, and
    /// waits until it is up.
    pub fn start(dir: &Path, shape: &Shape) -> Cluster {
        let cluster = Cluster::begin(dir, shape);
        cluster.wait_up();
        cluster
    }

    /// The same, without waiting.
    pub fn begin(dir: &Path, shape: &Shape) -> Cluster {
        let count = shape.processes;
        let mut addresses = free_addresses(2 * count);
        for (number, address) in addresses.iter_mut().enumerate() {
            if let Some(host) = shape.hosts.get(number % count) {
                *address = address.replace("127.0.0.1", &host.ip);
            }
        }
        let https = addresses.split_off(count);
        let secret = dir.join("secret");
        if !secret.exists() {
            fs::write(&secret, "a secret of the tests, long enough\n").expect("a file");
        }
        let proxy = |from: usize, to: &String| {
            let is_needed = shape.proxied && addresses[from] != *to;
            is_needed.then(|| Proxy::start(to))
        };
        let row = |from: usize| addresses.iter().map(|to| proxy(from, to)).collect();
        let proxies = (0..count).map(row).collect();
        let mut cluster = Cluster {
            dir: dir.to_owned(),
            shape: shape.clone(),
            supervisors: (0..count).map(|_| None).collect(),
            peers: addresses,
            https,
            proxies,
        };
        for process in 0..count {
            cluster.launch(process, |_| {});
        }
        cluster
    }

    /// Starts process `process`, with what `change` does to the command.
    pub fn launch(&mut self, process: usize, change: impl FnOnce(&mut Command)) {
        let lines = self.proxies[process].iter().zip(&self.peers).zip(&self.https);
        let line = |((proxy, own), http): ((&Option<Proxy>, &String), &String)| {
            let address = proxy.as_ref().map_or(own, |proxy| &proxy.address);
            format!("{address} http={http}\n")
        };
        let hostfile: String = lines.map(line).collect();
        fs::write(self.dir.join(format!("hostfile-{process}")), hostfile).expect("a hostfile");
        let data = self.data_dir(process);
        fs::create_dir_all(&data).expect("a data directory");
        let texts = [
            format!("hostfile-{process}"),
            process.to_string(),
            self.shape.workers.to_string(),
            format!("data-{process}"),
            self.https[process].clone(),
        ];
        let names = ["--hostfile", "--process", "--workers", "--data-dir", "--listen"];
        let mut args = vec!["worker", "--cluster-secret-file", "secret"];
        for (name, text) in names.into_iter().zip(&texts) {
            args.extend([name, text.as_str()]);
        }
        args.extend(self.shape.more.iter().map(String::as_str));
        let mut run = command(&self.dir, &args);
        // What cargo sets for the tests themselves.
        run.env_remove("RUST_MIN_STACK");
        if let Some(name) = self.shape.hosts.get(process).and_then(|h| h.namespace.as_ref()) {
            let inside = run;
            run = Command::new("ip");
            run.args(["netns", "exec", name]).arg(inside.get_program()).args(inside.get_args());
            run.current_dir(&self.dir).stdin(Stdio::null());
        }
        let log = File::options().create(true).append(true).open(self.log_path(process));
        let log = log.expect("a log");
        run.stdout(Stdio::null()).stderr(Stdio::from(log));
        change(&mut run);
        self.supervisors[process] = Some(run.spawn().expect("the binary starts"));
    }

    pub fn processes(&self) -> usize {
        self.shape.processes
    }

    /// The data directory of a process.
    pub fn data_dir(&self, process: usize) -> PathBuf {
        self.dir.join(format!("data-{process}"))
    }

    fn log_path(&self, process: usize) -> PathBuf {
        self.dir.join(format!("log-{process}"))
    }

    /// What the processes have said, for messages.
    pub fn logs(&self) -> String {
        let last = |process: usize| {
            let text = fs::read_to_string(self.log_path(process)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(25);
            format!("-- process {process}\n{}\n", lines[from..].join("\n"))
        };
        (0..self.processes()).map(last).collect()
    }

    // -- requests ---------------------------------------------------------------------------------

    /// Where a process answers HTTP.
    pub fn http(&self, process: usize) -> &str {
        &self.https[process]
    }

    /// Where a process listens to its peers.
    pub fn peer(&self, process: usize) -> &str {
        &self.peers[process]
    }

    /// A request to one process; an error if there is no answer.
    pub fn try_request(
        &self,
        process: usize,
        (method, path): (&str, &str),
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        ask(&self.https[process], (method, path), headers, body)
    }

    pub fn get(&self, process: usize, path: &str) -> Answer {
        let answer = self.try_request(process, ("GET", path), "", "");
        answer.unwrap_or_else(|e| panic!("GET {path} from {process}: {e}\n{}", self.logs()))
    }

    pub fn get_csv(&self, process: usize, path: &str) -> Answer {
        let answer = self.try_request(process, ("GET", path), "Accept: text/csv\r\n", "");
        answer.unwrap_or_else(|e| panic!("GET {path} from {process}: {e}\n{}", self.logs()))
    }

    pub fn send(&self, process: usize, method: &str, path: &str, body: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        let answer = self.try_request(process, (method, path), headers, &body.to_string());
        answer.unwrap_or_else(|e| panic!("{method} {path} to {process}: {e}\n{}", self.logs()))
    }

    /// Submits a job through a process.
    pub fn submit(&self, process: usize, name: &str, sql: &str) {
        self.send(process, "POST", "/v1/jobs", &json!({"name": name, "sql": sql})).ok();
    }

    /// `path` as read from a process, if it gives JSON.
    pub fn peek(&self, process: usize, path: &str) -> Option<Value> {
        let answer = self.try_request(process, ("GET", path), "", "").ok()?;
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok())?
    }

    /// Reads `path` from a process until `found` likes the answer.
    pub fn wait_for(&self, process: usize, path: &str, found: impl Fn(&Value) -> bool) -> Value {
        let (began, mut last) = (monotonic(), Value::Null);
        while began.elapsed() < PATIENCE {
            if let Some(value) = self.peek(process, path) {
                if found(&value) {
                    return value;
                }
                last = value;
            }
            thread::sleep(LOOK);
        }
        panic!("{path} never became what was waited for; last: {last}\n{}", self.logs());
    }

    /// Waits until all processes are up; what `/v1/cluster` then says.
    pub fn wait_up(&self) -> Value {
        self.wait_for(self.processes() - 1, "/v1/cluster", |cluster| {
            let processes = cluster["processes"].as_array().map(Vec::len);
            processes == Some(self.processes()) && cluster["state"] == "running"
        })
    }

    /// The cluster epoch; `None` while nobody tells.
    pub fn epoch(&self) -> Option<u64> {
        (0..self.processes()).find_map(|i| self.peek(i, "/v1/cluster")?["epoch"].as_u64())
    }

    // -- faults -----------------------------------------------------------------------------------

    /// The engine of a process: its supervisor's child.
    pub fn engine(&self, process: usize) -> Option<u32> {
        let supervisor = self.supervisors[process].as_ref()?.id();
        let tasks = fs::read_dir(format!("/proc/{supervisor}/task")).ok()?;
        tasks.flatten().find_map(|task| {
            let children = fs::read_to_string(task.path().join("children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// Sends `name` to the engine of a process, if there is one now.
    pub fn signal_engine(&self, process: usize, name: &str) -> Option<u32> {
        let engine = self.engine(process)?;
        let sent = Command::new("kill")
            .args([format!("-{name}"), engine.to_string()])
            .stderr(Stdio::null())
            .status();
        sent.is_ok_and(|status| status.success()).then_some(engine)
    }

    /// SIGKILL to supervisor and engine: the machine is gone.
    pub fn kill(&mut self, process: usize) {
        let engine = self.engine(process);
        if let Some(mut child) = self.supervisors[process].take() {
            child.kill().ok();
            child.wait().ok();
        }
        if let Some(engine) = engine {
            // It ends by itself too, when it sees that its supervisor is gone.
            Command::new("kill")
                .args(["-KILL", &engine.to_string()])
                .stderr(Stdio::null())
                .status()
                .ok();
        }
    }

    /// Between `one` and `other`, both ways.
    pub fn between(&self, one: usize, other: usize, mode: Mode) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(proxy) = &self.proxies[from][to] {
                proxy.set(mode);
            }
        }
    }

    /// Between `process` and everybody else.
    pub fn around(&self, process: usize, mode: Mode) {
        for other in (0..self.processes()).filter(|other| *other != process) {
            self.between(process, other, mode);
        }
    }

    /// Stops it cleanly, the leader first.
    pub fn stop(mut self) {
        for process in 0..self.processes() {
            let Some(mut child) = self.supervisors[process].take() else { continue };
            signal(&child, "TERM");
            let began = monotonic();
            while child.try_wait().expect("a child can be waited for").is_none() {
                if began.elapsed() > PATIENCE {
                    child.kill().ok();
                    panic!("process {process} does not stop\n{}", self.logs());
                }
                thread::sleep(LOOK);
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in 0..self.processes() {
            self.kill(process);
        }
    }
}
