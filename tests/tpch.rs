//! The 22 queries of TPC-H as incremental views: loaded in random order over several ticks, then
//! changed and deleted from at random; after every tick each view equals an independent engine's
//! answer over the same contents.
//!
//! `tests/tpch/data.rs` writes the tables as changelogs; `scripts/tpch.py` has DuckDB answer each
//! query over their contents after each tick, into `tests/tpch/goldens.txt`. An answer of few rows
//! is kept as it is, with numbers compared to six digits (averages and quotients of decimals are
//! rounded, the other engine's are floats); of many rows as their number and hash.
//! `CASE=q05` runs one query.

mod common;
#[path = "tpch/data.rs"]
mod data;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{floodmark, in_parallel, tests_dir};

/// Answers by query and tick: the lines of few rows, or one line that stands for many.
type Answers = BTreeMap<(String, usize), Vec<String>>;

/// More rows than this are compared by their hash.
const ROWS_SHOWN_MAX: usize = 20;

fn goldens() -> Answers {
    let path = tests_dir().join("tpch/goldens.txt");
    let text = fs::read_to_string(&path).expect("tests/tpch/goldens.txt");
    let mut answers = Answers::new();
    let mut at = None;
    for line in text.lines().filter(|line| !line.starts_with("--")) {
        if let Some(place) = line.strip_prefix("# ") {
            let (query, tick) = place.split_once(' ').expect("a query and a tick");
            let key = (query.to_owned(), tick.parse().expect("a tick"));
            answers.insert(key.clone(), Vec::new());
            at = Some(key);
        } else {
            let key = at.as_ref().expect("a heading before the first row");
            answers.get_mut(key).expect("known").push(line.to_owned());
        }
    }
    answers
}

/// A number without trailing zeros; other text as it is.
fn plain(field: &str) -> &str {
    let digits = field.strip_prefix('-').unwrap_or(field);
    let is_number = digits.contains('.') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_number { field.trim_end_matches('0').trim_end_matches('.') } else { field }
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Rows as the goldens have them.
fn shown(rows: &BTreeMap<String, i64>) -> Vec<String> {
    let mut lines = Vec::new();
    for (row, &count) in rows {
        assert!(count >= 0, "a row that is there {count} times: {row}");
        lines.extend((0..count).map(|_| row.clone()));
    }
    if lines.len() <= ROWS_SHOWN_MAX {
        return lines;
    }
    let hash =
        lines.iter().fold(0xcbf2_9ce4_8422_2325, |h, line| fnv(fnv(h, line.as_bytes()), b"\n"));
    vec![format!("{} rows, {hash:016x}", lines.len())]
}

fn same_field(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        _ if a == b => true,
        (Ok(x), Ok(y)) if a.contains('.') || b.contains('.') => {
            (x - y).abs() <= 1e-6 * x.abs().max(1.0)
        }
        _ => false,
    }
}

fn same(found: &[String], golden: &[String]) -> bool {
    let same_row = |(a, b): (&String, &String)| {
        a == b
            || (a.split(',').count() == b.split(',').count()
                && a.split(',').zip(b.split(',')).all(|(a, b)| same_field(a, b)))
    };
    found.len() == golden.len() && found.iter().zip(golden).all(same_row)
}

/// The event time at which tick `tick` begins, as it is printed.
fn begin(tick: usize) -> String {
    let seconds = (tick + 1) * data::TICK_SECONDS;
    format!("2024-01-01 00:{:02}:{:02}.000", seconds / 60, seconds % 60)
}

struct Query<'a> {
    name: String,
    dir: &'a Path,
    workers: &'static str,
    goldens: &'a Answers,
}

impl Query<'_> {
    fn check(&self) -> Result<(), String> {
        let job = format!("{}.sql", self.name);
        let args = ["run", "--changelog", "--format", "csv", "--workers", self.workers];
        let ran = floodmark(self.dir, &[&args[..], &["tables.sql", &job]].concat());
        if ran.code() != 0 {
            return Err(format!("{}: {}", self.name, ran.stderr.trim()));
        }
        let mut changes: Vec<(&str, i64, String)> = Vec::new();
        for line in ran.stdout.lines().skip(1) {
            let mut fields = line.splitn(3, ',');
            let (Some(op), Some(time)) = (fields.next(), fields.next()) else {
                return Err(format!("{}: not a change: {line}", self.name));
            };
            let row: Vec<&str> = fields.next().unwrap_or("").split(',').map(plain).collect();
            let diff = if op.starts_with('+') { 1 } else { -1 };
            changes.push((time, diff, row.join(",")));
        }
        changes.sort();
        let mut changes = changes.into_iter().peekable();
        let mut contents: BTreeMap<String, i64> = BTreeMap::new();
        for tick in 0..data::TICKS {
            let end = begin(tick + 1);
            while let Some((_, diff, row)) =
                changes.next_if(|(time, ..)| *time < end.as_str() || tick + 1 == data::TICKS)
            {
                *contents.entry(row).or_default() += diff;
            }
            contents.retain(|_, count| *count != 0);
            let found = shown(&contents);
            let golden = self.goldens.get(&(self.name.clone(), tick));
            let golden = golden.ok_or_else(|| format!("{}: no golden of {tick}", self.name))?;
            if !same(&found, golden) {
                let (name, workers) = (&self.name, self.workers);
                return Err(format!(
                    "{name}, {workers} workers, after tick {tick}:\nfound {found:#?}\n\
                     golden {golden:#?}"
                ));
            }
        }
        Ok(())
    }
}

/// Writes the tables and the queries as views into a folder of its own.
fn prepare(name: &str) -> PathBuf {
    let dir = match std::env::var_os("TPCH_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
    };
    fs::create_dir_all(&dir).expect("a folder for the tables");
    let changes = data::write(&dir);
    assert!(changes > 80_000, "only {changes} changes");
    let from = tests_dir().join("tpch");
    fs::copy(from.join("tables.sql"), dir.join("tables.sql")).expect("copied");
    for query in queries() {
        let text = fs::read_to_string(from.join(format!("{query}.sql"))).expect("a query");
        let job = format!("CREATE MATERIALIZED VIEW answer AS\n{text}\nSELECT * FROM answer;\n");
        fs::write(dir.join(format!("{query}.sql")), job).expect("written");
    }
    dir
}

fn queries() -> Vec<String> {
    (1..=22).map(|number| format!("q{number:02}")).collect()
}

/// Joins without a key compare every pair on one worker: here, with the one row of a scalar
/// subquery alone.
#[test]
fn no_plan_has_a_cross_product_of_tables() {
    let keyless = |name: &str| usize::from(["q11", "q22"].contains(&name));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tpch_plans");
    fs::create_dir_all(&dir).expect("a folder");
    let from = tests_dir().join("tpch");
    let tables = fs::read_to_string(from.join("tables.sql")).expect("the tables");
    for table in tables.lines().filter_map(|line| line.strip_prefix("CREATE TABLE ")) {
        let name = table.trim_end_matches(" (");
        fs::write(dir.join(format!("{name}.jsonl")), "").expect("written");
    }
    fs::write(dir.join("tables.sql"), tables).expect("written");
    in_parallel(&queries(), |name| {
        let query = from.join(format!("{name}.sql")).display().to_string();
        let plan = floodmark(&dir, &["explain", "tables.sql", &query]).success();
        match plan.matches("on=[]").count() {
            count if count == keyless(name) && plan.contains("Source(") => Ok(()),
            count => Err(format!("{name}: {count} joins without a key:\n{plan}")),
        }
    });
}

#[test]
fn views_equal_batch_answers_after_every_tick() {
    let dir = prepare("tpch");
    if std::env::var_os("TPCH_DIR").is_some() {
        return;
    }
    let goldens = goldens();
    let wanted = std::env::var("CASE").unwrap_or_default();
    let names = queries().into_iter().filter(|name| name.contains(&wanted));
    let cases: Vec<Query> = names
        .enumerate()
        .map(|(at, name)| Query {
            name,
            dir: &dir,
            workers: ["1", "2", "4"][at % 3],
            goldens: &goldens,
        })
        .collect();
    in_parallel(&cases, Query::check);
}
