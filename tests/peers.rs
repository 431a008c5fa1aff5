//! Processes of one run find each other, whoever else knocks: strangers, processes of another
//! cluster or with other arguments, the same process twice.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use common::{Ran, command, finish, floodmark, gzip, sorted, write};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const SECRET: &str = "FLOODMARK_CLUSTER_SECRET";
const POLL: Duration = Duration::from_millis(10);
const POLLS_MAX: u32 = 3000;

const JOB: &str = "CREATE TABLE sales (shop STRING, amount INT) WITH ('connector' = 'filesystem',
  'path' = 'sales', 'format' = 'csv');
SELECT shop, SUM(amount) AS total FROM sales GROUP BY shop;\n";
const TOTALS: &str = "shop,total\nnorth,400\nsouth,600\n";

/// A folder with a job over two files, and a secret that only its owner can read.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "sales/1.csv", "north,100\nsouth,200\n".repeat(2));
    write(dir.path(), "sales/2.csv", "north,200\nsouth,200\n");
    write(dir.path(), "job.sql", JOB);
    write(dir.path(), "secret", "known to all processes\n");
    allow(&dir.path().join("secret"), 0o600);
    dir
}

fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("an own file");
}

/// Addresses that nothing listens on: the system gives free ports, which are let go together.
fn free_addresses(count: usize) -> Vec<String> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect();
    let address = |l: &TcpListener| l.local_addr().expect("a bound socket has one").to_string();
    listeners.iter().map(address).collect()
}

/// Process `process` of those at `peers`.
fn start(dir: &Path, peers: &[String], process: usize, more: &[&str]) -> Child {
    start_job(dir, peers, process, more, "job.sql")
}

fn start_job(dir: &Path, peers: &[String], process: usize, more: &[&str], job: &str) -> Child {
    let (peers, process) = (peers.join(","), process.to_string());
    let args = ["run", "--format", "csv", "--workers", "1", "--peers", &peers];
    let args = [&args[..], &["--process", &process], more, &[job]].concat();
    let mut command = command(dir, &args);
    command
        .env_remove(SECRET)
        .env("FLOODMARK_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

const KNOWN: &[&str] = &["--cluster-secret-file", "secret"];

/// A connection to a process, as soon as it listens.
fn knock(address: &str) -> TcpStream {
    for _ in 0..POLLS_MAX {
        if let Ok(socket) = TcpStream::connect(address) {
            return socket;
        }
        thread::sleep(POLL);
    }
    panic!("nobody listens at {address}");
}

/// Reads standard error of `child` until a line holds `part`; the rest is left.
fn wait_for_line(child: &mut Child, part: &str) -> String {
    let stderr = child.stderr.as_mut().expect("standard error is piped");
    let mut seen = String::new();
    // Byte by byte: what is behind the line is for others.
    let mut reader = BufReader::with_capacity(1, stderr);
    while reader.read_line(&mut seen).expect("standard error can be read") > 0 {
        if seen.contains(part) {
            return seen;
        }
    }
    panic!("no '{part}' in:\n{seen}");
}

fn assert_right(runs: Vec<Ran>) {
    for (process, ran) in runs.into_iter().enumerate() {
        let stdout = ran.success();
        match process {
            0 => assert_eq!(sorted(&stdout), TOTALS),
            _ => assert_eq!(stdout, "", "only the first process prints results"),
        }
    }
}

#[test]
fn processes_need_a_secret() {
    let dir = folder();
    let run = |more: &[&str]| {
        finish(start(dir.path(), &["127.0.0.1:1".to_string(), "b:1".to_string()], 0, more))
    };
    run(&[]).refused_with(&["need a cluster secret", "--cluster-secret-file", SECRET]);
    write(dir.path(), "short", "fifteen letters\n");
    run(&["--cluster-secret-file", "short"]).refused_with(&["short has 15 bytes", "at least 16"]);
    run(&["--cluster-secret-file", "none"]).refused_with(&["none: "]);
    run(&["--cluster-secret-file", "secret", "--cluster-id", "a b"]).refused_with(&["cluster id"]);
    run(&["--cluster-secret-file", "secret", "--tls-cert", "a"]).refused_with(&["--tls-key"]);
    let peers = |peers: &str| {
        let args = ["run", "--peers", peers, "--process", "0", "job.sql"];
        floodmark(dir.path(), &args)
    };
    peers("127.0.0.1:7100,127.0.0.1").refused_with(&["'127.0.0.1' is no address", "no port"]);
    peers("a:1,a:1").refused_with(&["processes 0 and 1 both have the address a:1"]);
}

#[test]
fn strangers_and_other_processes_are_refused_and_the_run_goes_on() {
    let dir = folder();
    let peers = free_addresses(2);
    let mut first = start(dir.path(), &peers, 0, KNOWN);
    let silent = knock(&peers[0]);
    for noise in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[0xa5; 5000]] {
        let mut socket = knock(&peers[0]);
        // It may be closed before it has said everything.
        socket.write_all(noise).ok();
        socket.shutdown(std::net::Shutdown::Write).ok();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).ok();
        assert_eq!(heard, b"", "a stranger hears something");
        wait_for_line(&mut first, "it does not speak as a process of a cluster");
    }
    write(dir.path(), "other-secret", "known to somebody else\n");
    allow(&dir.path().join("other-secret"), 0o600);
    write(dir.path(), "other.sql", JOB.replace("SUM", "MIN"));
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["--cluster-secret-file", "other-secret"],
            "does not know its cluster secret",
            "does not know the cluster secret",
        ),
        (&["--cluster-id", "staging"], "process 1 has staging", "process 1 has staging"),
        (&["--set", "plan.rewrites=none"], "different scripts or settings", "different scripts"),
        (&["--changelog"], "different scripts or settings", "different scripts"),
    ];
    for (more, told, logged) in cases {
        let known = if more[0].contains("secret") { &[] } else { KNOWN };
        let other = finish(start(dir.path(), &peers, 1, &[known, more].concat()));
        other.refused_with(&[told]);
        let line = wait_for_line(&mut first, logged);
        assert!(line.contains("the connection from 127.0.0.1:"), "{line}");
        assert!(!line.contains("known to"), "the secret is logged:\n{line}");
    }
    finish(start_job(dir.path(), &peers, 1, KNOWN, "other.sql"))
        .refused_with(&["different scripts or settings"]);
    let second = start(dir.path(), &peers, 1, KNOWN);
    assert_right(vec![finish(first), finish(second)]);
    drop(silent);
}

#[test]
fn a_process_is_there_once_and_may_be_started_again() {
    let dir = folder();
    let peers = free_addresses(4);
    let (spare, peers) = (peers[3].clone(), &peers[..3]);
    let mut first = start(dir.path(), peers, 0, KNOWN);
    let mut second = start(dir.path(), peers, 1, KNOWN);
    wait_for_line(&mut first, "process 1 is connected");
    let elsewhere = [peers[0].clone(), spare, peers[2].clone()];
    let twin = finish(start(dir.path(), peers, 1, KNOWN));
    twin.refused_with(&["process 1 cannot listen at", "nobody else's"]);
    let again = finish(start(dir.path(), &elsewhere, 1, KNOWN));
    again.refused_with(&["process 0 at", "process 1 is connected already"]);
    wait_for_line(&mut first, "process 1 is connected already");
    second.kill().expect("a child can be killed");
    second.wait().expect("a killed child ends");
    let second = start(dir.path(), peers, 1, KNOWN);
    let third = start(dir.path(), peers, 2, KNOWN);
    assert_right(vec![finish(first), finish(second), finish(third)]);
}

#[test]
fn a_process_that_is_lost_ends_the_others_with_an_error() {
    let dir = folder();
    write(
        dir.path(),
        "endless.sql",
        "CREATE TABLE bid (auction BIGINT) WITH ('connector' = 'nexmark',
           'nexmark.table' = 'bid', 'rate' = '1000');
         SELECT auction, COUNT(*) AS bids FROM bid GROUP BY auction;\n",
    );
    let peers = free_addresses(3);
    let run = |process| start_job(dir.path(), &peers, process, KNOWN, "endless.sql");
    let mut children = [0, 1, 2].map(run);
    // Once there are rows, all are at work.
    let stdout = BufReader::new(children[0].stdout.as_mut().expect("standard output is piped"));
    stdout.lines().take(2).for_each(|line| drop(line.expect("a line")));
    let [first, mut second, third] = children;
    second.kill().expect("a child can be killed");
    second.wait().expect("a killed child ends");
    for child in [first, third] {
        let ran = finish(child);
        assert_eq!(ran.code(), 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("error: the connection to the workers of"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: start all processes again"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn what_fails_in_one_process_fails_in_all() {
    let dir = folder();
    // Process 1 reads the second of the files.
    let whole = gzip(&"north,200\nsouth,200\n".repeat(1000));
    write(dir.path(), "sales/1b.csv.gz", &whole[..whole.len() / 2]);
    let peers = free_addresses(2);
    let runs = [0, 1].map(|process| start(dir.path(), &peers, process, KNOWN)).map(finish);
    for ran in &runs {
        assert_eq!(ran.code(), 1, "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "a result without what could not be read");
    }
    let errors = ["cannot read 'sales/1b.csv.gz'", "the workers of process 1 is lost"];
    for (ran, error) in runs.iter().rev().zip(errors) {
        assert!(ran.stderr.contains(error), "{}", ran.stderr);
    }
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    let dir = folder();
    let run = |more: &[&str]| {
        let peers = free_addresses(2);
        let children = [0, 1].map(|process| start(dir.path(), &peers, process, more));
        let runs = children.map(finish);
        let stderr = runs[0].stderr.clone();
        assert_right(runs.into());
        stderr
    };
    assert!(!run(KNOWN).contains("can be read by"), "a warning without a reason");
    allow(&dir.path().join("secret"), 0o644);
    assert!(run(KNOWN).contains("secret can be read by every user of this machine"));
}

/// Writes a certificate for this machine and its key, and the authority's, as `NAME.*.pem`.
fn certify(dir: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let issuer = issuer.expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_string()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    write(dir, &format!("{name}.ca.pem"), issuer.pem());
    write(dir, &format!("{name}.cert.pem"), certificate.pem());
    write(dir, &format!("{name}.key.pem"), key.serialize_pem());
}

#[test]
fn a_run_over_tls_is_the_same() {
    let dir = folder();
    certify(dir.path(), "own");
    certify(dir.path(), "other");
    let peers = free_addresses(3);
    let files = |name: &str| {
        ["cert", "key", "ca"]
            .map(|kind| [format!("--tls-{kind}"), format!("{name}.{kind}.pem")])
            .concat()
    };
    let begin = |process: usize, name: &str| {
        let files = files(name);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        start(dir.path(), &peers, process, &[KNOWN, &files].concat())
    };
    let mut first = begin(0, "own");
    drop(knock(&peers[0]));
    finish(start(dir.path(), &peers, 1, KNOWN)).refused_with(&["speaks TLS", "or none"]);
    finish(begin(1, "other")).refused_with(&["over TLS: invalid peer certificate"]);
    wait_for_line(&mut first, "TLS: ");
    let others = [1, 2].map(|process| begin(process, "own"));
    let mut runs = vec![finish(first)];
    runs.extend(others.map(finish));
    assert_right(runs);
}
