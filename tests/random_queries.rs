//! Random queries over random tables with random histories: at the end of every tick each query
//! has the answer that a plain evaluation gives over the contents then; the bytes of its changes
//! are the same on 1, 2 and 4 workers and for every cut of the input; and each rewrite of plans
//! that can be switched off is, without a change of the answer.
//!
//! Everything is made from tapes of choices (`random_queries/value.rs`), which proptest draws and
//! shrinks; `random_queries/oracle.rs` evaluates the queries' trees and shares nothing with the
//! engine. The seed is fixed. `FLOODMARK_RANDOM_QUERIES=5000` runs so many cases,
//! `FLOODMARK_RANDOM_SEED=7` others, `CASE=12` one of them. What has been found is kept as scripts
//! in `tests/sql` (their names begin with `random_`).

mod common;
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

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use common::in_parallel;
use engine::{Changes, Job, Timing};
use floodmark::sql::rewrites::Rewrite;
use generate::Generator;
use oracle::{Begun, Oracle, TooLarge};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use query::{Node, Printer};
use schema::{TICK, TICKS, Table};
use value::{BASE, Row, Tape, Type};

/// Cases where nothing else is asked for.
const CASES: u32 = 24;
/// How often a failing case is tried to be made smaller.
const SHRINK_STEPS: u32 = 300;
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

    /// The answers of the queries over the contents at `time`, each sorted; none where the engine
    /// may show something else.
    fn answers(&self, time: i64, begun: &RefCell<Begun>) -> Result<Vec<Answer>, TooLarge> {
        let tables = self.tables.iter().map(|table| table.contents(time)).collect();
        let mut oracle = Oracle::new(tables, begun);
        for definition in &self.definitions {
            oracle.define(&definition.node)?;
        }
        let sorted = |node: &Node| {
            let (rows, unbegun) = oracle.answer(node)?;
            let mut rows = rows.to_vec();
            rows.sort();
            // In the end every aggregate has a row.
            Ok((!unbegun || time == i64::MAX).then_some(rows))
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

type Answer = Option<Vec<Row>>;

struct Expected {
    /// At each border the rows of each query.
    answers: Vec<(i64, Vec<Answer>)>,
}

impl Expected {
    fn new(case: &Case) -> Result<Self, TooLarge> {
        // The last one is the largest most often.
        case.answers(i64::MAX, &RefCell::default())?;
        let begun = RefCell::default();
        let answer = |time| Ok((time, case.answers(time, &begun)?));
        Ok(Expected { answers: borders().into_iter().map(answer).collect::<Result<_, _>>()? })
    }

    fn check(&self, found: &[Changes], timings: &[Timing]) -> Result<(), String> {
        for (time, answers) in &self.answers {
            for (query, (changes, answer)) in found.iter().zip(answers).enumerate() {
                if timings[query] != Timing::Exact && *time != i64::MAX {
                    continue;
                }
                let contents = changes.contents(*time)?;
                if answer.as_ref().is_some_and(|answer| contents != *answer) {
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
            if answer.as_ref() != Some(contents) {
                return Err(format!("q{query} in the end: {contents:?}, not {answer:?}"));
            }
        }
        Ok(())
    }
}

/// What went wrong, and in which way of running the queries.
struct Failure {
    way: String,
    text: String,
}

/// Whether the case was run: it is not if it makes too many rows. With `only` in that way alone.
fn check(choices: &Choices, dir: &Path, only: Option<&str>) -> Result<bool, Failure> {
    let case = Case::new(choices, dir);
    let Ok(expected) = Expected::new(&case) else { return Ok(false) };
    case.tables.iter().for_each(|table| table.write(dir));
    let script = case.script();
    let run = Run { script: &script, expected: &expected, only };
    run.check().map_err(|Failure { way, text }| {
        let text = format!("{way}: {text}\n{}", case.text());
        Failure { way, text }
    })?;
    Ok(true)
}

struct Run<'a> {
    script: &'a str,
    expected: &'a Expected,
    only: Option<&'a str>,
}

impl Run<'_> {
    /// `work`, unless the queries are to be run in another way alone.
    fn way(&self, way: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), Failure> {
        if self.only.is_some_and(|only| only != way) {
            return Ok(());
        }
        work().map_err(|text| Failure { way: way.to_owned(), text })
    }

    fn job(&self, rewrites: &str, split_bytes: usize) -> Result<Job, String> {
        Job::new(self.script, rewrites, split_bytes)
    }

    fn check(&self) -> Result<(), Failure> {
        self.way("1 worker", || {
            let job = self.job("all", WHOLE)?;
            self.expected.check(&job.changes(1)?, &job.timings()?)
        })?;
        for (workers, split_bytes) in [(2, 64), (4, 300)] {
            let way = format!("{workers} workers, splits of {split_bytes} bytes");
            self.way(&way, || self.check_workers(workers, split_bytes))?;
        }
        self.way("final contents", || {
            self.expected.check_finals(&self.job("all", WHOLE)?.finals(2)?)
        })?;
        let mut tried: Vec<[String; 2]> = Vec::new();
        if self.only.is_none() {
            self.way("the plan", || {
                tried.push(self.job("all", WHOLE)?.plans()?);
                Ok(())
            })?;
        }
        let without = Rewrite::ALL.iter().map(|rewrite| format!("all, -{}", rewrite.name()));
        for rewrites in without.chain(["none".to_owned()]) {
            self.way(&rewrites, || self.check_rewrites(&rewrites, &mut tried))?;
        }
        Ok(())
    }

    fn check_workers(&self, workers: usize, split_bytes: usize) -> Result<(), String> {
        let one = self.job("all", WHOLE)?;
        let (changes, timings) = (one.changes(1)?, one.timings()?);
        let others = self.job("all", split_bytes)?.changes(workers)?;
        self.expected.check(&others, &timings)?;
        for (query, (one, other)) in changes.iter().zip(&others).enumerate() {
            if timings[query] != Timing::Clock && one.bytes != other.bytes {
                let (one, other) = (one.text(), other.text());
                return Err(format!("q{query} changes:\n{other}not, as on one:\n{one}"));
            }
        }
        Ok(())
    }

    /// Another plan gives the same answer; a plan that was run before need not run again.
    fn check_rewrites(&self, rewrites: &str, tried: &mut Vec<[String; 2]>) -> Result<(), String> {
        let job = self.job(rewrites, WHOLE)?;
        let plans = job.plans()?;
        let is_new = [0, 1].map(|kind| tried.iter().all(|tried| tried[kind] != plans[kind]));
        if is_new[0] {
            self.expected.check(&job.changes(2)?, &job.timings()?)?;
        }
        if is_new[1] && (!is_new[0] || rewrites == "none") {
            self.expected.check_finals(&job.finals(2)?)?;
        }
        tried.push(plans);
        Ok(())
    }
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A case and, if it fails, the least one like it that fails too.
fn check_case(seed: u32, index: u32, ran: &AtomicU32) -> Result<(), String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random_{seed}_{index}"));
    std::fs::create_dir_all(&dir).expect("a folder for the tables");
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    bytes[4..8].copy_from_slice(&index.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut tree = choices().new_tree(&mut runner).expect("choices");
    let mut failure = match check(&tree.current(), &dir, None) {
        Ok(was_run) => {
            ran.fetch_add(u32::from(was_run), Ordering::Relaxed);
            std::fs::remove_dir_all(&dir).expect("the tables can be removed");
            return Ok(());
        }
        Err(failure) => failure,
    };
    let steps = number("FLOODMARK_RANDOM_SHRINK").unwrap_or(SHRINK_STEPS);
    let mut is_shrinking = tree.simplify();
    for _ in 0..steps {
        if !is_shrinking {
            break;
        }
        is_shrinking = match check(&tree.current(), &dir, Some(&failure.way)) {
            Err(less) => {
                failure = less;
                tree.simplify()
            }
            Ok(_) => tree.complicate(),
        };
    }
    Err(format!("case {index} of seed {seed}: {}", failure.text))
}

#[test]
fn random_queries_have_the_answers_of_a_plain_evaluation() {
    let cases = number("FLOODMARK_RANDOM_QUERIES").unwrap_or(CASES);
    let seed = number("FLOODMARK_RANDOM_SEED").unwrap_or(1);
    let ran = AtomicU32::new(0);
    let indexes: Vec<u32> = match number("CASE") {
        Some(case) => vec![case],
        None => (0..cases).collect(),
    };
    in_parallel(&indexes, |&index| {
        let checked = check_case(seed, index, &ran);
        if let (Err(failure), true) = (&checked, cases > CASES) {
            // A long run says at once what it finds.
            eprintln!("{failure}");
        }
        checked
    });
    let ran = ran.into_inner() as usize;
    assert!(ran * 2 > indexes.len(), "only {ran} of {} cases ran", indexes.len());
}
