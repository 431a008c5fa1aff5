//! State larger than the memory budget: the same bytes, within the budget and a quarter.
//!
//! Real processes with state of five times what the budget leaves for state: what is written is
//! compared with a run without a budget, and the peak of the resident set is looked up while they
//! run. What the process takes without state is measured first: of a test build that is much. And
//! scripts of
//! `tests/sql` in this process, with all state put aside at every step (`debug.spill`): a sample of
//! them, or with `FLOODMARK_SPILL=all` all.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use common::{
    Ran, command, difference, finish, floodmark, in_parallel, run_text, sorted, tests_dir, write,
};
use floodmark::cluster::Topology;
use floodmark::formats::csv;
use floodmark::job::batch_run::run;
use floodmark::job::definition::Definition;

/// What the budget leaves for state.
const ROOM_BYTES: u64 = 64 << 20;
/// Of how many scripts one is run.
const SAMPLE: usize = 4;

/// Rows in the order of `n`, a second of event time each thousand. `wide` is a text of some length.
fn source(name: &str, rows: u64) -> String {
    let last = rows - 1;
    format!(
        "CREATE TABLE {name} (n BIGINT, ts AS TO_TIMESTAMP_LTZ(n, 3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}', 'partitions' = '1',
           'rows-per-second' = '100000000',
           'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{last}');\n"
    )
}

fn wide(of: &str) -> String {
    format!("REPEAT(CAST({of} AS STRING) || '-', 150)")
}

fn sink(columns: &str) -> String {
    format!(
        "CREATE TABLE out ({columns}) WITH ('connector' = 'filesystem', 'path' = 'out',
           'format' = 'changelog-json');\n"
    )
}

/// Runs `args` in `dir`; how it ended, and the peak of its memory.
fn measured(dir: &Path, args: &[&str]) -> (Ran, u64) {
    let mut command = command(dir, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    let pid = child.id();
    let watched = thread::spawn(move || finish(child));
    let mut peak = 0;
    while !watched.is_finished() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0_u64) << 10);
        thread::sleep(Duration::from_millis(2));
    }
    (watched.join().expect("waiting ends"), peak)
}

/// What a run of `sql` has written to the sink, its peak and how much it put aside.
fn written(sql: &str, more: &[&str]) -> (Vec<u8>, u64, u64) {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "job.sql", sql);
    let mut args = vec!["run", "--format", "csv"];
    args.extend(more);
    args.push("job.sql");
    let (ran, peak) = measured(dir.path(), &args);
    let spilled = ran.summary_count("bytes put aside").unwrap_or(0);
    assert_eq!(ran.code(), 0, "the run failed:\n{}", ran.stderr);
    let entries = fs::read_dir(dir.path().join("out")).expect("the folder of the sink");
    let mut parts: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    parts.retain(|path| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')));
    parts.sort();
    let bytes = parts.iter().flat_map(|path| fs::read(path).expect("a part")).collect();
    (bytes, peak, spilled)
}

/// What a run takes that holds next to nothing.
fn base_bytes() -> u64 {
    let sql = source("t", 50_000)
        + &sink("k BIGINT, c BIGINT")
        + "INSERT INTO out SELECT n % 7, COUNT(*) FROM t GROUP BY n % 7;";
    written(&sql, &["--workers", "2"]).1
}

/// The same bytes with a budget on `workers` workers, and no more memory than that.
fn check(what: &str, sql: &str, workers: &[&str]) {
    let base = base_bytes();
    let budget = (base + ROOM_BYTES).max(64 << 20);
    let (expected, without, _) = written(sql, &["--workers", "1"]);
    assert!(!expected.is_empty(), "{what}: nothing was written");
    let least = base + 5 * (budget - base);
    assert!(without > least, "{what}: its state fits into {without} bytes, {base} without any");
    let setting = format!("memory.budget={budget}");
    for workers in workers {
        let (got, peak, spilled) = written(sql, &["--workers", workers, "--set", &setting]);
        assert!(got == expected, "{what} on {workers} workers: other bytes under a budget");
        assert!(spilled > 0, "{what} on {workers} workers: nothing was put aside");
        let most = budget + budget / 4;
        assert!(peak <= most, "{what} on {workers} workers: {peak} bytes at its peak, not {most}");
    }
}

#[test]
fn an_aggregation_stays_within_its_budget() {
    // Most keys come back once, long after they were put aside.
    let sql = source("t", 420_000)
        + &sink("k BIGINT, c BIGINT, s BIGINT, w STRING")
        + &format!(
            "INSERT INTO out SELECT k, c, s, SUBSTRING(w, 1, 3) FROM (SELECT n % 250000 AS k,
               COUNT(*) AS c, SUM(n) AS s, MAX({}) AS w FROM t GROUP BY n % 250000);",
            wide("n + 1000000")
        );
    check("an aggregation", &sql, &["1", "2"]);
}

#[test]
fn a_join_stays_within_its_budget() {
    let sql = source("a", 260_000)
        + &source("b", 215_000)
        + &sink("k BIGINT, l STRING, r BIGINT")
        + &format!(
            "INSERT INTO out SELECT x.k, SUBSTRING(x.w, 1, 3), y.n FROM
               (SELECT n AS k, {} AS w FROM a) AS x
               JOIN (SELECT n, n * 7 % 214993 AS k FROM b) AS y ON x.k = y.k;",
            wide("n + 1000000")
        );
    check("a join", &sql, &["2"]);
}

#[test]
fn the_best_rows_of_many_keys_stay_within_the_budget() {
    let sql = source("t", 380_000)
        + &sink("k BIGINT, n BIGINT, w STRING")
        + &format!(
            "INSERT INTO out SELECT k, n, SUBSTRING(w, 1, 3) FROM (SELECT *, ROW_NUMBER() OVER
               (PARTITION BY k ORDER BY n DESC) AS rn FROM
               (SELECT n % 270000 AS k, n, {} AS w FROM t)) WHERE rn <= 2;",
            wide("n + 1000000")
        );
    check("a top-N", &sql, &["1"]);
}

#[test]
fn a_budget_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |value: &str| {
        let sql = format!("SET 'memory.budget' = '{value}';\nSELECT 1;");
        run_text(dir.path(), &sql, &[])
    };
    refused("much").refused_with(&["memory.budget", "hint: write a size such as '256mb'"]);
    refused("1mb").refused_with(&["memory.budget", "hint: the least is 64 mb"]);
    let ran = floodmark(dir.path(), &["run", "--set", "memory.budget=64MiB", "job.sql"]);
    ran.refused_with(&["1mb"]);
}

#[test]
fn state_that_cannot_be_put_aside_ends_the_job() {
    let dir = tempfile::tempdir().expect("a folder");
    let sql = source("t", 20_000)
        + &sink("k BIGINT, c BIGINT")
        + "INSERT INTO out SELECT n % 7, COUNT(*) FROM t GROUP BY n % 7;";
    write(dir.path(), "job.sql", sql);
    let mut command = command(dir.path(), &["run", "--set", "debug.spill=always", "job.sql"]);
    command.env("TMPDIR", dir.path().join("absent"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().expect("the binary starts"));
    ran.refused_with(&["state cannot be put aside in", "absent", "hint: make room there"]);
}

/// The rows of a script, sorted; an error where it has none.
fn rows(path: &Path, workers: usize, settings: &[(String, String)]) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let texts = [(path.display().to_string(), text)];
    let definition = Definition::new(&texts, settings).map_err(|e| e.to_string())?;
    let mut out = String::new();
    let print = |rows: &arrow::array::RecordBatch| {
        let mut printed = Vec::new();
        csv::write_rows(rows, &mut printed)?;
        let printed = String::from_utf8_lossy(&printed);
        out += &sorted(&format!("{}{printed}", csv::header(&rows.schema())));
        Ok(())
    };
    let (topology, stop) = (Topology::alone(workers), AtomicBool::new(false));
    let ran = run(&definition, &topology, None, None, &stop, |_| (), print);
    ran.map(|_| out).map_err(|e| format!("{}: {e}", path.display()))
}

/// One test: paths in scripts are relative to the folder that the process is in.
#[test]
fn scripts_give_the_same_rows_with_all_state_put_aside() {
    let entries = fs::read_dir(tests_dir().join("sql")).expect("the scripts");
    let mut scripts: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    scripts.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".sql") && !name.ends_with(".duckdb.sql")
    });
    scripts.sort();
    let wanted = std::env::var("CASE").unwrap_or_default();
    let step = match std::env::var_os("FLOODMARK_SPILL").is_some() || !wanted.is_empty() {
        true => 1,
        false => SAMPLE,
    };
    let chosen = scripts.into_iter().step_by(step);
    let chosen: Vec<(usize, PathBuf)> =
        chosen.filter(|path| path.to_string_lossy().contains(&wanted)).enumerate().collect();
    std::env::set_current_dir(tests_dir().join("sql")).expect("the folder of the scripts");
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    in_parallel(&chosen, |(number, path)| {
        let plain = [set("source.split_bytes", "100")];
        let spilling = [set("source.split_bytes", "100"), set("debug.spill", "always")];
        let expected = rows(path, 1, &plain)?;
        let workers = [1, 2, 4][number % 3];
        let got = rows(path, workers, &spilling)?;
        difference(&expected, &got)
            .map_or(Ok(()), |text| Err(format!("{} on {workers} workers: {text}", path.display())))
    });
}
