//! Copies of snapshots in a bucket, against a local server that speaks the protocol of S3, and at
//! `file://`.
//!
//! The server is `scripts/s3_server.py`: where it cannot be started, these tests fail.

mod common;
#[path = "snapshot_store/rows.rs"]
mod rows;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::service::Service;
use common::{Ran, command, finish, floodmark, root_dir};
use floodmark::snapshot::Store;
use rows::{manifest, numbered_rows, texts};
use serde_json::Value;

/// Nobody checks the signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// A local server; it ends when this is dropped, or this process dies.
struct S3 {
    address: String,
    child: Child,
    _input: ChildStdin,
}

impl S3 {
    fn start() -> S3 {
        let mut child = Command::new("python3")
            .arg(root_dir().join("scripts/s3_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts: scripts/setup installs it");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("http://").map(str::to_owned));
        let address =
            address.expect("the S3 server says where it listens; see scripts/s3_server.py");
        let input = child.stdin.take().expect("a pipe");
        let server = S3 { address, child, _input: input };
        server.ok("PUT", "/bucket", b"");
        server
    }

    /// Status, head in lower case, body.
    fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: {SIGNED}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("a request is sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, head, bytes[end + 4..].to_vec())
    }

    fn ok(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let (status, _, body) = self.request(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status}");
        body
    }

    /// Names of the objects below `prefix/`.
    fn names(&self, prefix: &str) -> Vec<String> {
        let body = self.ok("GET", &format!("/bucket?list-type=2&prefix={prefix}/"), b"");
        let text = String::from_utf8(body).expect("XML");
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.map(|key| key[prefix.len() + 1..].to_owned()).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `floodmark snapshots ..` with an environment that has the key of a bucket, and `address` as the
/// endpoint.
fn snapshots_at(dir: &Path, address: &str, args: &[&str]) -> Ran {
    let mut run = command(dir, &[&["snapshots"], args].concat());
    with_key(&mut run, address);
    finish(run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"))
}

fn with_key(run: &mut Command, address: &str) {
    run.env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env_remove("AWS_SESSION_TOKEN");
}

const CHUNKS: usize = 12;

/// A store in `dir/data` with a snapshot of a dozen small chunks and one of many megabytes.
fn fill(dir: &Path) {
    let store = Store::open(&dir.join("data")).expect("a store");
    let small = (1..CHUNKS).map(|n| numbered_rows(n * 1000, 1000));
    let chunks = small.chain([texts(150_000)]);
    let chunks = chunks.map(|rows| store.write_chunk("tips", &rows).expect("written")).collect();
    let written = manifest("tips", 1, chunks);
    assert!(written.chunks().any(|(_, _, chunk)| chunk.bytes > 9 << 20), "no large chunk");
    store.commit(&written).expect("committed");
    let chunk = store.write_chunk("tips", &numbered_rows(5, 10)).expect("written");
    store.commit(&manifest("tips", 2, vec![chunk])).expect("committed");
}

/// Asserts that `dir/name` has, as its job `tips`, the first snapshot of [`fill`].
fn assert_restored(dir: &Path, name: &str) {
    let store = Store::open_read_only(&dir.join(name)).expect("a store");
    let found = store.latest("tips").expect("a list").manifest.expect("a snapshot");
    let chunks: Vec<_> = found.chunks().map(|(_, _, chunk)| chunk).collect();
    assert_eq!(chunks.len(), CHUNKS);
    for (n, chunk) in (1..).zip(&chunks[..CHUNKS - 1]) {
        assert_eq!(store.read_chunk(chunk).expect("rows"), numbered_rows(n * 1000, 1000));
    }
    assert_eq!(store.read_chunk(chunks[CHUNKS - 1]).expect("rows"), texts(150_000));
}

#[test]
fn a_snapshot_goes_to_a_bucket_and_comes_back_from_there_and_from_a_copy_of_it() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    fill(dir);
    let run = |args: &[&str]| snapshots_at(dir, &s3.address, args);
    let export = [
        "export",
        "tips",
        "1",
        "--to",
        "s3://bucket/a/b",
        "--data-dir",
        "data",
        "--format",
        "json",
    ];
    let ran = run(&export);
    let last = format!("{0} of {0} files", CHUNKS + 2);
    assert!(ran.stderr.contains("exported ") && ran.stderr.contains(&last), "{}", ran.stderr);
    let done: Value = serde_json::from_str(&ran.success()).expect("JSON");
    assert_eq!(done["to"], "s3://bucket/a/b");
    assert_eq!(done["files"], CHUNKS as u64 + 2);
    let names = s3.names("a/b");
    assert_eq!(names.len(), CHUNKS + 2, "{names:?}");
    // What came in parts has their number in its tag.
    let parts = |name: &String| s3.request("HEAD", &format!("/bucket/a/b/{name}"), b"").1;
    let heads: Vec<String> = names.iter().map(parts).collect();
    let is_cut = |head: &&String| head.lines().any(|l| l.starts_with("etag") && l.contains('-'));
    let cut = heads.iter().filter(is_cut).count();
    assert_eq!(cut, 1, "the large chunk alone goes in parts: {heads:#?}");
    run(&export).refused_with(&["already", "s3://bucket/a/b", "prefix"]);

    let ran = run(&["restore", "--from", "s3://bucket/a/b/", "--data-dir", "back"]);
    assert!(ran.stderr.contains("restored "), "{}", ran.stderr);
    ran.success();
    assert_restored(dir, "back");
    // As a tool that copies objects leaves them in a directory.
    fs::create_dir(dir.join("copied")).expect("a folder");
    for name in &names {
        let bytes = s3.ok("GET", &format!("/bucket/a/b/{name}"), b"");
        fs::write(dir.join("copied").join(name), bytes).expect("written");
    }
    let from = format!("file://{}/copied", dir.display());
    floodmark(dir, &["snapshots", "restore", "--from", &from, "--data-dir", "third"]).success();
    assert_restored(dir, "third");

    let restore = ["restore", "--from", "s3://bucket/a/b", "--data-dir", "fourth"];
    let chunk = names.iter().find(|name| name.starts_with("chunk-")).expect("a chunk");
    let path = format!("/bucket/a/b/{chunk}");
    let whole = s3.ok("GET", &path, b"");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    s3.ok("PUT", &path, &flipped);
    run(&restore).refused_with(&["s3://bucket/a/b", chunk, "checksum"]);
    s3.ok("PUT", &path, &[whole.clone(), vec![0]].concat());
    run(&restore).refused_with(&["s3://bucket/a/b", chunk, "bytes"]);
    s3.ok("DELETE", &path, b"");
    run(&restore).refused_with(&["s3://bucket/a/b", chunk, "missing"]);
    s3.ok("PUT", &path, &whole);
    s3.ok("PUT", "/bucket/a/b/notes.txt", b"x");
    run(&restore).refused_with(&["notes.txt", "not part"]);
    s3.ok("DELETE", "/bucket/a/b/notes.txt", b"");
    let store = Store::open(&dir.join("fourth")).expect("a store");
    assert!(store.snapshots("tips").expect("a list").is_empty(), "damage was taken over");
    drop(store);
    run(&restore).success();
    assert_restored(dir, "fourth");
}

#[test]
fn an_export_that_dies_is_not_taken_for_whole_and_is_gone_on_with() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    fill(dir);
    let run = |args: &[&str]| snapshots_at(dir, &s3.address, args);
    let export = |id: &'static str, prefix: &'static str, point: &'static str| {
        let set = format!("debug.failpoint={point}");
        run(&["export", "tips", id, "--to", prefix, "--data-dir", "data", "--set", &set])
    };
    let restore = ["restore", "--from", "s3://bucket/p", "--data-dir", "back"];
    run(&restore).refused_with(&["no export at s3://bucket/p"]);
    for (point, left) in [("export.before_chunk=kill@12", 2), ("export.before_complete=kill", 10)] {
        assert_ne!(export("1", "s3://bucket/p", point).code(), 0, "{point}");
        let names = s3.names("p");
        assert!(names.len() >= left && !names.contains(&"checksums".to_owned()), "{names:?}");
        run(&restore).refused_with(&["s3://bucket/p", "never finished", "export it again"]);
    }
    // What is there is not written again.
    let before = s3.request("HEAD", "/bucket/p/chunk-0000000001.arrow", b"").1;
    thread::sleep(Duration::from_millis(1_100));
    export("1", "s3://bucket/p", "").success();
    let after = s3.request("HEAD", "/bucket/p/chunk-0000000001.arrow", b"").1;
    let modified =
        |head: &str| head.lines().find(|line| line.starts_with("last-modified")).map(str::to_owned);
    assert!(modified(&before).is_some());
    assert_eq!(modified(&before), modified(&after));
    run(&restore).success();
    assert_restored(dir, "back");

    // Another snapshot: nothing of the first stays.
    assert_ne!(export("1", "s3://bucket/q", "export.before_complete=kill").code(), 0);
    export("2", "s3://bucket/q", "").success();
    assert_eq!(s3.names("q").len(), 3);
    run(&["restore", "--from", "s3://bucket/q", "--data-dir", "second"]).success();
    // What is not an export is left alone.
    s3.ok("PUT", "/bucket/r/diary.txt", b"x");
    export("1", "s3://bucket/r", "").refused_with(&["diary.txt", "prefix of its own"]);
    assert_eq!(s3.names("r"), ["diary.txt"]);
}

#[test]
fn a_service_exports_to_a_bucket_by_the_options_of_its_environment() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    fill(dir);
    let service =
        Service::start_with(dir, &["--data-dir", "data"], |run| with_key(run, &s3.address));
    let url = format!("http://{}", service.address);
    let args = ["snapshots", "export", "tips", "1", "--to", "s3://bucket/s", "--url", &url];
    floodmark(dir, &args).success();
    assert_eq!(s3.names("s").len(), CHUNKS + 2);
    let set = "AWS_REGION=eu-west-1";
    floodmark(dir, &[&args[..], &["--set", set]].concat()).refused_with(&["environment"]);
    let more = ["snapshots", "export", "tips", "1", "--to", "s3://nowhere/s", "--url", &url];
    floodmark(dir, &more).refused_with(&["no bucket 'nowhere'"]);
    service.stop();
}

/// A server that refuses every request with `body`.
fn refusing(body: &'static str) -> String {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = BufReader::new(stream.try_clone().expect("a handle"));
            let mut line = String::new();
            while head.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn failures_say_what_is_wrong_and_where() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    fill(dir);
    let to = |address: &str, to: &str| {
        snapshots_at(dir, address, &["export", "tips", "2", "--to", to, "--data-dir", "data"])
    };
    to(&s3.address, "s3://nowhere/p").refused_with(&["no bucket 'nowhere'", "s3://nowhere/p"]);
    to(&s3.address, "s3://bucket/a//p").refused_with(&["s3://bucket/a//p", "empty part"]);
    to(&s3.address, "gs://bucket/p").refused_with(&["gs://", "s3://bucket/prefix"]);
    to("", "s3://bucket/p").refused_with(&["the endpoint 'http://'", "http://host:port"]);
    let from = ["restore", "--from", "s3://nowhere/p", "--data-dir", "x"];
    snapshots_at(dir, &s3.address, &from).refused_with(&["no bucket 'nowhere'"]);
    let denied = refusing(
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>\
         <Message>it is not yours</Message></Error>\n",
    );
    to(&denied, "s3://bucket/p").refused_with(&[
        "s3://bucket/p",
        "access denied",
        "AccessDenied: it is not yours",
        "AWS_ACCESS_KEY_ID",
    ]);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = free.local_addr().expect("an address").to_string();
    drop(free);
    to(&nobody, "s3://bucket/p").refused_with(&[
        "s3://bucket/p",
        &format!("http://{nobody} cannot be reached"),
        "onnection refused",
    ]);
    let set = ["export", "tips", "--to", "s3://b/p", "--data-dir", "data", "--set", "AWS_X=1"];
    snapshots_at(dir, &s3.address, &set).refused_with(&["'AWS_X'", "AWS_ENDPOINT_URL"]);
    let set = [
        "export",
        "tips",
        "2",
        "--to",
        "s3://bucket/p",
        "--data-dir",
        "data",
        "--set",
        &format!("AWS_ENDPOINT_URL=http://{}", s3.address),
    ];
    // What is set wins over the environment.
    snapshots_at(dir, &nobody, &set).success();
    let file = format!("file://{}/out/dir%201", dir.display());
    to(&s3.address, &file).success();
    assert!(dir.join("out/dir 1/checksums").exists());
    to(&s3.address, &file).refused_with(&["already"]);
}
