//! `scripts/cluster.sh`: a cluster on this machine, from up to down, and what is said when a
//! command makes no sense.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::service::ask;
use common::{Ran, finish, root_dir, write};
use serde_json::Value;

const JOB: &str = "SET 'snapshot.interval' = '200 ms';
    CREATE TABLE bid (auction BIGINT, `dateTime` TIMESTAMP(3),
      WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
    WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
      'rate' = '2000');
    CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS n FROM bid;";

fn script(dir: &Path, args: &[&str]) -> Ran {
    let child = Command::new(root_dir().join("scripts/cluster.sh"))
        .current_dir(dir)
        .args(args)
        .env("FLOODMARK", env!("CARGO_BIN_EXE_floodmark"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    finish(child.expect("the script starts"))
}

/// Ends the cluster also where the test fails.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        script(self.0, &["down"]);
    }
}

/// A port below those of which the script takes some are free.
fn base_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 20_000 + (std::process::id() % 20_000) as u16;
    let bases = (first..60_000).step_by(110);
    let mut bases = bases.filter(|base| [0, 1, 2, 50, 51, 52].iter().all(|i| is_free(base + i)));
    bases.next().expect("free ports")
}

/// How many rows the view has counted; 0 while nobody tells.
fn counted(port: u16) -> u64 {
    let address = format!("127.0.0.1:{}", port + 50);
    let accept = "Accept: application/json\r\n";
    let Ok(answer) = ask(&address, ("GET", "/v1/views/total"), accept, "") else { return 0 };
    let view: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let row = &view["rows"][0];
    row["n"].as_u64().or_else(|| row[0].as_u64()).unwrap_or(0)
}

fn wait_beyond(port: u16, least: u64) -> u64 {
    for _ in 0..600 {
        let found = counted(port);
        if found > least {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the view does not get beyond {least}");
}

#[test]
fn a_cluster_comes_up_heals_is_scaled_and_goes_down() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "live.sql", JOB);
    let port = base_port();
    let base = port.to_string();
    let _down = Down(dir);
    let up = ["up", "--processes", "2", "--workers", "1", "--base-port", &base];
    let ran = script(dir, &[&up[..], &["--job", "live.sql"]].concat());
    assert!(ran.stderr.contains("2 processes of 1 workers are up"), "{}", ran.stderr);
    ran.success();
    let secret = fs::metadata(dir.join("data/cluster/secret")).expect("a secret");
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    // Again: nothing is started twice, and the job is there.
    let ran = script(dir, &["up", "--job", "live.sql"]);
    assert!(ran.stderr.contains("is there already"), "{}", ran.stderr);
    script(dir, &["up", "--processes", "3"]).refused_with(&["2 processes", "hint: ", "scale"]);
    let before = wait_beyond(port, 0);

    script(dir, &["kill", "1"]).success();
    // What was told before the kill had its effect counts for nothing.
    let is_back = |status: &str| {
        status.lines().filter(|line| line.contains(" up ")).count() == 2
            && status.contains("signal 9")
    };
    let mut looks = 0;
    loop {
        let ran = script(dir, &["status"]);
        if is_back(&ran.stdout) {
            break;
        }
        looks += 1;
        assert!(looks < 300, "{}", ran.stdout);
        thread::sleep(Duration::from_millis(100));
    }
    let before = wait_beyond(port, before);
    assert!(!script(dir, &["logs", "1"]).success().is_empty());
    script(dir, &["kill", "2"]).refused_with(&["no process '2'", "hint: "]);

    let ran = script(dir, &["scale", "--processes", "3"]).success();
    assert!(ran.contains("3 processes of 1 workers, 1 jobs running; the pause was"), "{ran}");
    // It goes on: nothing was counted twice or begun anew.
    assert!(wait_beyond(port, before) >= before);
    script(dir, &["down"]).success();
    let stopped = script(dir, &["status"]);
    assert_eq!(stopped.code(), 1, "{}", stopped.stdout);
    script(dir, &["up"]).success();
    assert!(wait_beyond(port, before) > before);
    let status = script(dir, &["status"]).success();
    assert_eq!(status.lines().filter(|line| line.contains(" up ")).count(), 3, "{status}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |args: &[&str], parts: &[&str]| script(dir.path(), args).refused_with(parts);
    refused(&["jump"], &["no command 'jump'", "hint: scripts/cluster.sh --help"]);
    refused(&["status"], &["no cluster in data/cluster", "hint: scripts/cluster.sh up"]);
    refused(&["up", "--processes", "none"], &["--processes takes a number"]);
    refused(&["up", "--processes"], &["--processes takes a value"]);
    refused(&["up", "--job", "absent.sql"], &["no file absent.sql"]);
    refused(&["up", "--sideways"], &["'up' does not take '--sideways'"]);
    refused(&["scale", "--processes", "0"], &["from 1 to"]);
    assert!(script(dir.path(), &["--help"]).success().contains("examples:"));
    assert!(script(dir.path(), &["up", "--help"]).success().contains("examples:"));
    // There is nothing to stop.
    script(dir.path(), &["down"]).success();
}
