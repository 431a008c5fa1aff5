//! A running service and a client of it, written by hand: what is under test is what goes over the
//! wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{command, finish, signal};

/// A running service; stopped when dropped.
pub struct Service {
    pub child: Option<Child>,
    pub address: String,
}

/// An answer: head in lower case.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn ok(self) -> Answer {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self
    }
}

impl Service {
    /// Starts the service in `dir`, on 2 workers unless `more` says otherwise, and waits until it
    /// says where it listens.
    pub fn start(dir: &Path, more: &[&str]) -> Service {
        Service::start_with(dir, more, |_| {})
    }

    /// The same, with what `change` does to the command.
    pub fn start_with(dir: &Path, more: &[&str], change: impl FnOnce(&mut Command)) -> Service {
        let workers: &[&str] = if more.contains(&"--workers") { &[] } else { &["--workers", "2"] };
        let args = [&["serve", "--listen", "127.0.0.1:0"], workers, more].concat();
        let mut run = command(dir, &args);
        change(&mut run);
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            line.split_once("listening on http://").map(|(_, address)| address.trim().to_owned())
        });
        // What else it says must not fill the pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = address.unwrap_or_else(|| panic!("it does not say where it listens: {said}"));
        Service { child: Some(child), address }
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        ask(&self.address, (method, path), headers, body).expect("an answer")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", "")
    }

    pub fn get_as(&self, path: &str, kind: &str) -> Answer {
        self.request("GET", path, &format!("Accept: {kind}\r\n"), "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Reads `path` until `found` likes the answer.
    pub fn wait_for(&self, path: &str, found: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        for _ in 0..600 {
            let answer = self.get(path);
            if answer.status == 200 && found(&answer.json()) {
                return answer.json();
            }
            last = format!("{} {}", answer.status, answer.body);
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{path} never became what was waited for; last: {last}");
    }

    /// Stops it by a signal and asserts a clean end.
    pub fn stop(mut self) {
        let child = self.child.take().expect("it runs");
        signal(&child, "INT");
        let ran = finish(child);
        assert_eq!(ran.code(), 0, "an interrupt is a clean end");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Sends a request to `address` and reads the whole answer; an error where there is none, or only
/// a part.
pub fn ask(
    address: &str,
    (method, path): (&str, &str),
    headers: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}",
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(std::io::Error::other)?;
    parse(&text).ok_or_else(|| std::io::Error::other(format!("not a whole answer: {text}")))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    if length.is_some_and(|length| length.trim().parse() != Ok(body.len())) {
        return None;
    }
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(body)? } else { body.to_owned() };
    Some(Answer { status, head, body })
}

/// `None` if the last chunk is not there.
fn dechunk(mut text: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}
