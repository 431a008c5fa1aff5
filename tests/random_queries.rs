//! Random queries over random tables with random histories: at the end of every tick each query
//! has the answer that a plain evaluation gives over the contents then; the bytes of its changes
//! are the same on 1, 2 and 4 workers and for every cut of the input; and each rewrite of plans
//! that can be switched off is, without a change of the answer.
//!
//! Everything is made from tapes of choices (`random_queries/value.rs`), which proptest draws and
//! shrinks; `random_queries/oracle.rs` evaluates the queries' trees and shares nothing with the
//! engine. The seed is fixed. `FLOODMARK_RANDOM_QUERIES=5000` runs so many cases,
//! `FLOODMARK_RANDOM_SEED=7` others. What has been found is kept as scripts in `tests/sql` (their
//! names begin with `random_`).

#[path = "random_queries/engine.rs"]
mod engine;
#[path = "random_queries/generate.rs"]
mod generate;
#[path = "random_queries/oracle.rs"]
mod oracle;
#[path = "random_queries/query.rs"]
mod query;
#[path = "random_queries/schema.rs"]
mod schema;
#[path = "random_queries/value.rs"]
mod value;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use engine::{Changes, Job};
use floodmark::sql::rewrites::Rewrite;
use generate::Generator;
use oracle::{Oracle, TooLarge};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use query::{Node, Printer};
use schema::{TICK, TICKS, Table};
use value::{BASE, Row, Tape, Type};

/// Cases where nothing else is asked for.
const CASES: u32 = 24;
/// How deep queries are nested.
const DEPTH: usize = 4;
const WHOLE: usize = 1_000_000;

/// Choices for the tables, for their histories, and for each query.
#[derive(Clone, Debug)]
struct Choices {
    tables: Vec<u8>,
    histories: Vec<Vec<u8>>,
    queries: Vec<Vec<u8>>,
}

fn choices() -> impl Strategy<Value = Choices> {
    let tables = vec(any::<u8>(), 0..40);
    let histories = vec(vec(any::<u8>(), 0..120), 3);
    let queries = vec(vec(any::<u8>(), 10..160), 1..4);
    (tables, histories, queries).prop_map(|(tables, histories, queries)| Choices {
        tables,
        histories,
        queries,
    })
}

/// A query that others may read by its name.
struct Definition {
    name: String,
    node: Node,
    /// Whether it stands in WITH rather than in CREATE VIEW.
    inline: bool,
}

struct Case {
    dir: PathBuf,
    tables: Vec<Table>,
    definitions: Vec<Definition>,
    queries: Vec<Node>,
}

impl Case {
    fn new(choices: &Choices, dir: &Path) -> Self {
        let tape = &mut Tape::new(&choices.tables);
        let count = 2 + tape.pick(2);
        let tables: Vec<Table> = (0..count)
            .zip(&choices.histories)
            .map(|(at, history)| Table::random(format!("t{at}"), tape, &mut Tape::new(history)))
            .collect();
        let mut sources: Vec<Vec<Type>> = tables.iter().map(Table::types).collect();
        let (mut definitions, mut queries) = (Vec::new(), Vec::new());
        for (at, choices) in choices.queries.iter().enumerate() {
            let tape = &mut Tape::new(choices);
            let is_query = at > 0 || tape.pick(2) == 0;
            let inline = tape.pick(2) == 0;
            let node = Generator { tape, sources: &sources }.node(DEPTH);
            if is_query {
                queries.push(node);
            } else {
                sources.push(node.types.clone());
                definitions.push(Definition { name: format!("d{at}"), node, inline });
            }
        }
        Case { dir: dir.to_path_buf(), tables, definitions, queries }
    }

    fn sources(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|table| table.name.clone());
        tables.chain(self.definitions.iter().map(|d| d.name.clone())).collect()
    }

    /// The text of a query, behind the definitions that it reads.
    fn query(&self, node: &Node) -> String {
        let sources = self.sources();
        let mut text = Printer { sources: &sources, names: 0 }.query(node);
        for definition in self.definitions.iter().filter(|definition| definition.inline) {
            let name = &definition.name;
            if text.contains(&format!("{name} AS")) {
                text = format!("WITH {name} AS ({}) {text}", self.query(&definition.node));
            }
        }
        text
    }

    fn script(&self) -> String {
        let mut script: String = self.tables.iter().map(|table| table.sql(&self.dir)).collect();
        for definition in self.definitions.iter().filter(|definition| !definition.inline) {
            let query = self.query(&definition.node);
            let _ = writeln!(script, "CREATE VIEW {} AS {query};", definition.name);
        }
        for (at, query) in self.queries.iter().enumerate() {
            let _ = writeln!(script, "CREATE VIEW q{at} AS {};", self.query(query));
            let _ = writeln!(script, "SELECT * FROM q{at};");
        }
        script
    }

    /// The answers of the queries over the contents at `time`, each sorted.
    fn answers(&self, time: i64) -> Result<Vec<Vec<Row>>, TooLarge> {
        let tables = self.tables.iter().map(|table| table.contents(time)).collect();
        let mut oracle = Oracle::new(tables);
        for definition in &self.definitions {
            oracle.define(&definition.node)?;
        }
        let sorted = |node: &Node| {
            let mut rows = oracle.rows(node)?.to_vec();
            rows.sort();
            Ok(rows)
        };
        self.queries.iter().map(sorted).collect()
    }

    /// Everything, for a report.
    fn text(&self) -> String {
        let mut text = self.script();
        for table in &self.tables {
            let _ = write!(text, "-- {}.jsonl\n{}", table.name, table.file());
        }
        text
    }
}

/// The times at which contents are looked at: the borders of ticks, and the end.
fn borders() -> Vec<i64> {
    (1..=TICKS).map(|tick| BASE + tick * TICK).chain([i64::MAX]).collect()
}

struct Expected {
    /// At each border the rows of each query.
    answers: Vec<(i64, Vec<Vec<Row>>)>,
}

impl Expected {
    fn new(case: &Case) -> Result<Self, TooLarge> {
        // The last one is the largest most often.
        case.answers(i64::MAX)?;
        let answer = |time| Ok((time, case.answers(time)?));
        Ok(Expected { answers: borders().into_iter().map(answer).collect::<Result<_, _>>()? })
    }

    fn check(&self, found: &[Changes], waits: bool) -> Result<(), String> {
        for (time, answers) in &self.answers {
            if waits && *time != i64::MAX {
                continue;
            }
            for (query, (changes, answer)) in found.iter().zip(answers).enumerate() {
                let contents = changes.contents(*time)?;
                if contents != *answer {
                    let second = time.saturating_sub(BASE) / 1000;
                    return Err(format!(
                        "q{query} before second {second}: {contents:?}, not {answer:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_finals(&self, found: &[Vec<Row>]) -> Result<(), String> {
        let Some((_, answers)) = self.answers.last() else { return Ok(()) };
        for (query, (contents, answer)) in found.iter().zip(answers).enumerate() {
            if contents != answer {
                return Err(format!("q{query} in the end: {contents:?}, not {answer:?}"));
            }
        }
        Ok(())
    }
}

/// Whether the case was run: it is not if it makes too many rows.
fn check(choices: &Choices, dir: &Path) -> Result<bool, String> {
    let case = Case::new(choices, dir);
    let Ok(expected) = Expected::new(&case) else { return Ok(false) };
    case.tables.iter().for_each(|table| table.write(dir));
    let script = case.script();
    let failed = |what: String, problem: String| format!("{what}: {problem}\n{}", case.text());
    checked(&script, &expected).map_err(|(what, problem)| failed(what, problem))?;
    Ok(true)
}

fn checked(script: &str, expected: &Expected) -> Result<(), (String, String)> {
    let at = |what: &str| {
        let what = what.to_owned();
        move |problem: String| (what, problem)
    };
    let job = |rewrites: &str, split_bytes: usize| {
        Job::new(script, rewrites, split_bytes)
            .map_err(|error| (format!("rewrites {rewrites}"), error.to_string()))
    };
    let all = job("all", WHOLE)?;
    let engine = |error: floodmark::error::Error| error.to_string();
    let changes = all.changes(1).map_err(engine).map_err(at("1 worker"))?;
    let waits = all.waits().map_err(engine).map_err(at("the plan"))?;
    expected.check(&changes, waits).map_err(at("1 worker"))?;
    for (workers, split_bytes) in [(2, 64), (4, 300)] {
        let what = format!("{workers} workers, splits of {split_bytes} bytes");
        let others =
            job("all", split_bytes)?.changes(workers).map_err(engine).map_err(at(&what))?;
        if changes.iter().zip(&others).any(|(one, other)| one.bytes != other.bytes) {
            return Err((what, format!("{others:?}, not the bytes of {changes:?}")));
        }
    }
    let finals = all.finals(2).map_err(engine).map_err(at("final contents"))?;
    expected.check_finals(&finals).map_err(at("final contents"))?;
    let mut tried: Vec<[String; 2]> = vec![plans(&all).map_err(at("the plan"))?];
    let without = Rewrite::ALL.iter().map(|rewrite| format!("all, -{}", rewrite.name()));
    for rewrites in without.chain(["none".to_owned()]) {
        let other = job(&rewrites, WHOLE)?;
        let plans = plans(&other).map_err(at(&rewrites))?;
        if !tried.iter().any(|tried| tried[0] == plans[0]) {
            let changes = other.changes(2).map_err(engine).map_err(at(&rewrites))?;
            let waits = other.waits().map_err(engine).map_err(at(&rewrites))?;
            expected.check(&changes, waits).map_err(at(&rewrites))?;
        }
        if !tried.iter().any(|tried| tried[1] == plans[1]) && tried[0][0] == plans[0] {
            let finals = other.finals(2).map_err(engine).map_err(at(&rewrites))?;
            expected.check_finals(&finals).map_err(at(&rewrites))?;
        }
        tried.push(plans);
    }
    Ok(())
}

/// The plans for changes and for final contents.
fn plans(job: &Job) -> Result<[String; 2], String> {
    let plan = |changelog| job.plan(changelog).map_err(|error| error.to_string());
    Ok([plan(true)?, plan(false)?])
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn random_queries_have_the_answers_of_a_plain_evaluation() {
    let cases = number("FLOODMARK_RANDOM_QUERIES").unwrap_or(CASES);
    let seed = number("FLOODMARK_RANDOM_SEED").unwrap_or(1);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random_queries_{seed}"));
    std::fs::create_dir_all(&dir).expect("a folder for the tables");
    let config =
        Config { cases, max_shrink_iters: 600, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let run = std::cell::Cell::new(0u32);
    let outcome = TestRunner::new_with_rng(config, rng).run(&choices(), |choices| {
        match check(&choices, &dir) {
            Ok(ran) => run.set(run.get() + u32::from(ran)),
            Err(problem) => return Err(TestCaseError::fail(problem)),
        }
        Ok(())
    });
    match outcome {
        Ok(()) => assert!(run.get() * 2 > cases, "only {} of {cases} cases ran", run.get()),
        Err(TestError::Fail(reason, _)) => panic!("{}", reason.message()),
        Err(TestError::Abort(reason)) => panic!("{}", reason.message()),
    }
}
