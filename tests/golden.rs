//! Each shipped job, each file of `tests/sql` and the Nexmark queries against one golden: on 1, 2
//! and 4 workers, whole and in small chunks; the jobs and the queries also on 2 processes of 1 and
//! of 2 workers, and on 4 of one.
//!
//! The goldens come from an independent batch engine (`scripts/goldens.py`) wherever it can express
//! the query. `UPDATE_GOLDENS=1` rewrites the others from what the engine says; read the diff.
//! `CASE=text` runs the cases whose names contain the text.
//!
//! Two things are shown of a case: the rows are those of the golden, and the bytes printed are the
//! same for every number of workers and every cut of the input.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::cluster::on_processes;
use common::{difference, in_parallel, root_dir, sorted, tests_dir};

/// How a case is run.
struct Shape {
    processes: usize,
    workers: &'static str,
    split_bytes: Option<&'static str>,
}

const fn shape(
    processes: usize,
    workers: &'static str,
    split_bytes: Option<&'static str>,
) -> Shape {
    Shape { processes, workers, split_bytes }
}

const SMALL: [Shape; 3] =
    [shape(1, "1", None), shape(1, "2", Some("100")), shape(1, "4", Some("700"))];
const LARGE: [Shape; 6] = [
    shape(1, "1", None),
    shape(1, "2", Some("50000")),
    shape(1, "4", Some("300000")),
    shape(2, "1", Some("100000")),
    shape(2, "2", Some("50000")),
    shape(4, "1", Some("70000")),
];

impl Shape {
    fn text(&self) -> String {
        let (processes, workers) = (self.processes, self.workers);
        let bytes = self.split_bytes.unwrap_or("all");
        format!("{processes} processes of {workers} workers over chunks of {bytes} bytes")
    }
}

/// The queries of `tests/data/nexmark/queries`.
const NEXMARK: [&str; 23] = [
    "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13", "q14",
    "q15", "q16", "q17", "q18", "q19", "q20", "q21", "q22",
];

struct Case {
    name: String,
    /// Where the job runs: paths in it are relative to this folder.
    dir: PathBuf,
    files: Vec<PathBuf>,
    golden: PathBuf,
    changelog: bool,
    shapes: &'static [Shape],
}

impl Case {
    fn run(&self, shape: &Shape) -> Result<String, String> {
        let split = shape.split_bytes.map(|bytes| format!("source.split_bytes={bytes}"));
        let mut args = vec!["run", "--format", "csv", "--workers", shape.workers];
        if self.changelog {
            args.push("--changelog");
        }
        if let Some(split) = &split {
            args.extend(["--set", split]);
        }
        let files: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        args.extend(files.iter().map(String::as_str));
        let mut printed = String::new();
        for (process, ran) in
            on_processes(&self.dir, &args, shape.processes).into_iter().enumerate()
        {
            if ran.code() != 0 {
                let (name, code, shape) = (&self.name, ran.code(), shape.text());
                let stderr = ran.stderr.trim();
                return Err(format!("{name}: process {process} exits {code} on {shape}: {stderr}"));
            }
            printed += &ran.stdout;
        }
        Ok(printed)
    }

    fn check(&self) -> Result<(), String> {
        let mut first: Option<String> = None;
        for shape in self.shapes {
            let printed = self.run(shape)?;
            let Some(first) = &first else {
                self.check_golden(&printed)?;
                first = Some(printed);
                continue;
            };
            if let Some(difference) = difference(first, &printed) {
                let (name, shape) = (&self.name, shape.text());
                return Err(format!(
                    "{name}: {shape} print otherwise than one worker over the whole: {difference}"
                ));
            }
        }
        Ok(())
    }

    fn check_golden(&self, printed: &str) -> Result<(), String> {
        let by_hand = !self.golden.with_extension("duckdb.sql").exists();
        if std::env::var_os("UPDATE_GOLDENS").is_some() && by_hand && self.is_of_tests_sql() {
            let text = if self.is_ordered() { printed.to_owned() } else { sorted(printed) };
            return fs::write(&self.golden, text).map_err(|e| e.to_string());
        }
        let golden = fs::read_to_string(&self.golden)
            .map_err(|error| format!("{}: {}: {error}", self.name, self.golden.display()))?;
        let difference = if self.is_ordered() {
            difference(&golden, printed)
        } else {
            difference(&sorted(&golden), &sorted(printed))
        };
        difference.map_or(Ok(()), |text| Err(format!("{}: {text}", self.name)))
    }

    fn is_of_tests_sql(&self) -> bool {
        self.golden.parent().is_some_and(|parent| parent.ends_with("sql"))
    }

    /// Whether the script itself orders its rows: it says so in a comment.
    fn is_ordered(&self) -> bool {
        let text = |path: &PathBuf| fs::read_to_string(self.dir.join(path)).unwrap_or_default();
        !self.changelog && self.files.iter().any(|path| text(path).contains("-- ordered\n"))
    }
}

fn check(cases: Vec<Case>) {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let cases: Vec<Case> = cases.into_iter().filter(|c| c.name.contains(&wanted)).collect();
    in_parallel(&cases, Case::check);
}

/// The names of the scripts in `dir`, without their endings, sorted.
fn scripts(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the folder of cases");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names
        .map(|name| name.expect("names are UTF-8"))
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .filter(|name| !name.ends_with(".duckdb"))
        .collect();
    names.sort();
    names
}

/// The cases of `tests/sql`: final contents, and changelogs where a golden of one exists.
fn sql_cases() -> Vec<Case> {
    let dir = tests_dir().join("sql");
    let mut cases = Vec::new();
    for name in scripts(&dir) {
        for (ending, changelog) in [("csv", false), ("changelog.csv", true)] {
            let golden = dir.join(format!("{name}.{ending}"));
            if changelog && !golden.exists() {
                continue;
            }
            cases.push(Case {
                name: format!("{name}.{ending}"),
                dir: dir.clone(),
                files: vec![PathBuf::from(format!("{name}.sql"))],
                golden,
                changelog,
                shapes: &SMALL,
            });
        }
    }
    cases
}

#[test]
fn files_of_sql_give_their_goldens() {
    let cases = sql_cases();
    assert!(cases.len() >= 60, "only {} cases found", cases.len());
    check(cases);
}

#[test]
fn shipped_jobs_give_their_goldens() {
    // Jobs read data/..., which is what `tests/data` is from here.
    let dir = tests_dir();
    let goldens = [
        ("hourly_tips", "data/taxi/hourly_tips.csv"),
        ("ride_cleansing", "data/taxi/ride_cleansing.csv"),
        ("rides_and_fares", "data/taxi/rides_and_fares.csv"),
        ("long_ride_alerts", "data/taxi/long_ride_alerts_on_file.csv"),
        ("long_ride_patterns", "data/taxi/long_ride_alerts_on_file.csv"),
        ("nexmark_hot_items", "data/nexmark/goldens/q5.csv"),
        ("nexmark_sessions", "data/nexmark/goldens/q11.csv"),
    ];
    // The live job never ends by itself; tests/serve.rs runs it.
    let live = ["live_bids"];
    for name in scripts(&root_dir().join("dataflows")) {
        let known = goldens.iter().any(|(known, _)| *known == name);
        assert!(known || live.contains(&name.as_str()), "dataflows/{name}.sql has no golden here");
    }
    check(Vec::from(goldens.map(|(name, golden)| Case {
        name: name.to_owned(),
        dir: dir.clone(),
        files: vec![root_dir().join(format!("dataflows/{name}.sql"))],
        golden: dir.join(golden),
        changelog: false,
        shapes: &LARGE,
    })));
}

#[test]
fn nexmark_queries_give_their_goldens() {
    let dir = tests_dir().join("data/nexmark");
    let mut cases = Vec::new();
    for name in NEXMARK.map(str::to_owned) {
        let mut files = vec![PathBuf::from("tables.sql")];
        match name.as_str() {
            "q12" => files.push(PathBuf::from("bid_proc.sql")),
            "q13" => files.push(PathBuf::from("side_input.sql")),
            _ => {}
        }
        files.push(PathBuf::from(format!("queries/{name}.sql")));
        cases.push(Case {
            golden: dir.join(format!("goldens/{name}.csv")),
            name,
            dir: dir.clone(),
            files,
            changelog: false,
            shapes: &LARGE,
        });
    }
    check(cases);
}

/// Every script has a golden, every golden a script: a forgotten one would test nothing.
#[test]
fn goldens_and_scripts_are_paired() {
    let dir = tests_dir().join("sql");
    let names = scripts(&dir);
    for entry in fs::read_dir(&dir).expect("the folder of cases") {
        let file = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let known = ["csv", "changelog.csv", "sql", "duckdb.sql", "changelog.duckdb.sql"];
        let (name, ending) = file.split_once('.').unwrap_or((&file, ""));
        if file != "data" {
            assert!(known.contains(&ending), "tests/sql/{file}: not a kind of file known here");
            assert!(names.iter().any(|n| n == name), "tests/sql/{file} has no script");
        }
    }
    for name in names {
        assert!(dir.join(format!("{name}.csv")).exists(), "tests/sql/{name}.sql has no golden");
    }
}
