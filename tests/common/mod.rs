//! What the tests from outside share: running the real binary, within a bound of time, and
//! comparing what it printed. Of the engine it knows the clock alone: the command line is the
//! interface under test.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod cluster;
pub mod prometheus;
pub mod proxy;
pub mod service;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// How long one run may take before it counts as hung.
const RUN_SECONDS_MAX: u64 = 60;
/// How often a waiting test looks.
const POLL: Duration = Duration::from_millis(5);

/// A finished run.
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output: results only.
    pub stdout: String,
    /// Standard error: progress, summary, errors.
    pub stderr: String,
}

impl Ran {
    /// The exit code; -1 if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Asserts that the run ended well, and gives its standard output.
    pub fn success(self) -> String {
        assert_eq!(self.code(), 0, "the run failed:\n{}", self.stderr);
        self.stdout
    }

    /// Asserts that the run was refused, with every one of `parts` in the error.
    pub fn refused_with(self, parts: &[&str]) {
        assert_ne!(
            self.code(),
            0,
            "the run should have been refused; it printed:\n{}",
            self.stdout
        );
        assert!(self.code() > 0, "ended by a signal:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "a panic is no error message:\n{}", self.stderr);
        assert!(self.stderr.contains("error: "), "no error form in:\n{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no '{part}' in:\n{}", self.stderr);
        }
    }

    /// The number that the summary gives for `what`, as `12 what` or `what: 12` or `what=12`.
    pub fn summary_count(&self, what: &str) -> Option<u64> {
        summary_count(&self.stderr, what)
    }
}

/// See [`Ran::summary_count`]; the first mention counts.
pub fn summary_count(text: &str, what: &str) -> Option<u64> {
    let at = text.find(what)?;
    let number = |s: &str| s.replace([',', '_'], "").parse::<u64>().ok();
    let after = text.get(at + what.len()..)?.trim_start_matches([':', '=', ' ']);
    let after = after.split(|c: char| !c.is_ascii_digit() && c != ',').next();
    let before = text.get(..at)?.trim_end().rsplit(|c: char| c.is_whitespace() || c == '(').next();
    before.and_then(number).or_else(|| after.map(|s| s.trim_end_matches(',')).and_then(number))
}

/// The folder of these tests.
pub fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The root of the checkout.
pub fn root_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The binary in `dir`, with `args`.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodmark"));
    command
        .current_dir(dir)
        .args(args)
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

/// Runs the binary in `dir` to its end.
pub fn floodmark(dir: &Path, args: &[&str]) -> Ran {
    let mut command = command(dir, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().expect("the binary starts"))
}

/// Waits for `child` within the bound; kills it beyond.
pub fn finish(mut child: Child) -> Ran {
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let mut status = None;
    for _ in 0..RUN_SECONDS_MAX * 200 {
        status = child.try_wait().expect("a child can be waited for");
        if status.is_some() {
            break;
        }
        thread::sleep(POLL);
    }
    let hung = status.is_none();
    let status = status.unwrap_or_else(|| {
        child.kill().ok();
        child.wait().expect("a killed child ends")
    });
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8(reader.join().expect("reading ends")).expect("output is UTF-8")
    };
    let (stdout, mut stderr) = (text(stdout), text(stderr));
    if hung {
        stderr = format!("no end within {RUN_SECONDS_MAX} s, killed; standard error:\n{stderr}");
    }
    Ran { status, stdout, stderr }
}

fn collect<R: Read + Send + 'static>(reader: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut reader) = reader {
            reader.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}

/// Sends `signal` (`INT`, `TERM`) to `child`.
pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(sent.expect("kill runs").success());
}

/// Writes `text` as the file `name` of `dir`; gives `name` back.
pub fn write<'a>(dir: &Path, name: &'a str, text: impl AsRef<[u8]>) -> &'a str {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
    std::fs::write(path, text).expect("a test file can be written");
    name
}

/// `text` as gzip.
pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Runs a script given as text in `dir`, in CSV.
pub fn run_text(dir: &Path, sql: &str, more: &[&str]) -> Ran {
    write(dir, "job.sql", sql);
    let mut args = vec!["run", "--format", "csv"];
    args.extend(more);
    args.push("job.sql");
    floodmark(dir, &args)
}

/// The first difference between two outputs, line by line, for a message.
pub fn difference(expected: &str, got: &str) -> Option<String> {
    if expected == got {
        return None;
    }
    let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    let missing = a.iter().filter(|line| !b.contains(line)).take(5);
    let added = b.iter().filter(|line| !a.contains(line)).take(5);
    let mut text = format!("{} lines expected, {} got", a.len(), b.len());
    missing.for_each(|line| text.push_str(&format!("\n    - {line}")));
    added.for_each(|line| text.push_str(&format!("\n    + {line}")));
    Some(text)
}

/// The lines after the header, sorted bytewise, below the header.
pub fn sorted(csv: &str) -> String {
    let (header, rows) = csv.split_once('\n').unwrap_or((csv, ""));
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    let mut text = String::from(header);
    text.push('\n');
    rows.iter().for_each(|row| {
        text.push_str(row);
        text.push('\n');
    });
    text
}

/// Runs `check` for every item on as many threads as there are cores; gives the failures in order.
pub fn in_parallel<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let next = Mutex::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("no holder panics");
                        *next += 1;
                        *next - 1
                    };
                    let Some(item) = items.get(index) else { break };
                    if let Err(failure) = check(item) {
                        failures.lock().expect("no holder panics").push((index, failure));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no holder panics");
    failures.sort();
    let text: Vec<String> = failures.into_iter().map(|(_, failure)| failure).collect();
    let (failed, all) = (text.len(), items.len());
    assert!(text.is_empty(), "{failed} of {all} failed:\n{}", text.join("\n"));
}
