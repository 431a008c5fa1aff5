//! The law of the operator, against a naive matcher: recursive backtracking over the sorted rows of
//! each partition, with conditions and measures of its own.

mod naive;
mod random;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::partition::Limits;
use super::{MatchLogic, build};
use crate::batch::UpdateBatch;
use crate::dataflow::calc::CalcLogic;
use crate::dataflow::logic::{Emitted, StatefulLogic};
use crate::dataflow::side::DeadLetters;
use crate::error::Result;
use crate::plan::explain::explain;
use crate::plan::lower::{LowerOptions, lower};
use crate::plan::node::{Operator, StreamPlan};
use crate::sql::bind::bind;
use crate::sql::script::parse_script;
use crate::state::keyed::row_text;
use crate::time::{BEGINNING, CLOSED, EventTime, LATEST};

/// A row of the table `t (k BIGINT, ts TIMESTAMP(3), x BIGINT, id BIGINT)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub k: i64,
    pub ts: i64,
    pub x: i64,
    pub id: i64,
    pub time: EventTime,
    pub diff: i64,
}

pub fn row(k: i64, ts: i64, x: i64) -> Row {
    Row { k, ts, x, id: 0, time: ts, diff: 1 }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let types = [DataType::Int64, time, DataType::Int64, DataType::Int64];
    let fields = ["k", "ts", "x", "id"].into_iter().zip(types);
    Arc::new(Schema::new(fields.map(|(n, t)| Field::new(n, t, true)).collect::<Vec<_>>()))
}

fn batch(rows: &[Row]) -> UpdateBatch {
    let ints = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Int64Array>())
    };
    let ts = TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.ts));
    let columns: Vec<ArrayRef> =
        vec![ints(&|r| r.k), Arc::new(ts), ints(&|r| r.x), ints(&|r| r.id)];
    let times: Vec<i64> = rows.iter().map(|r| r.time).collect();
    let diffs: Vec<i64> = rows.iter().map(|r| r.diff).collect();
    let diffs = diffs.iter().any(|d| *d != 1).then(|| diffs.into());
    UpdateBatch::new(RecordBatch::try_new(schema(), columns).unwrap(), times.into(), diffs)
}

/// The operator of a clause over `t`, and what computes its input.
pub struct Job {
    pub logic: MatchLogic,
    columns: Vec<usize>,
    calc: Option<CalcLogic>,
}

pub fn plan(query: &str) -> Result<StreamPlan> {
    let table = "CREATE TABLE t (k BIGINT, ts TIMESTAMP(3), x BIGINT, id BIGINT, \
        WATERMARK FOR ts AS ts) WITH ('connector' = 'blackhole');";
    let job = bind(&[parse_script("test", &format!("{table}\n{query};"))?], &[])?;
    let options = LowerOptions {
        is_bounded: &|_| true,
        changelog: true,
        side_views: false,
        source_mode: &|_| crate::plan::props::ChangelogMode::Append,
    };
    lower(&job, &options)
}

impl Job {
    pub fn new(clause: &str) -> Result<Job> {
        let plan = plan(&format!("SELECT * FROM t MATCH_RECOGNIZE ({clause})"))?;
        let found = plan.nodes.iter().find_map(|node| match &node.operator {
            Operator::MatchRecognize(matched) => Some((node, matched)),
            _ => None,
        });
        let (node, matched) = found.unwrap();
        let below = plan.node(node.inputs[0]);
        let (scan, calc) = match &below.operator {
            Operator::Calc(calc) => (plan.node(below.inputs[0]), Some(calc.clone())),
            _ => (below, None),
        };
        let names = scan.schema.fields().iter().map(|f| schema().index_of(f.name()).unwrap());
        let output = Arc::clone(&below.schema);
        let calc = calc.map(|calc| CalcLogic::new("t", calc, &scan.schema, output));
        let logic = build(below.schema.clone(), matched, node.schema.clone())?;
        Ok(Job { logic, columns: names.collect(), calc })
    }

    pub fn limit(mut self, limits: Limits) -> Self {
        if let Some(setup) = Rc::get_mut(&mut self.logic.setup) {
            setup.limits = limits;
        }
        self
    }

    fn input(&self, rows: &[Row]) -> Vec<UpdateBatch> {
        let all = batch(rows);
        let narrow = all.with_rows(all.rows().project(&self.columns).unwrap());
        match &self.calc {
            Some(calc) => calc.apply(&narrow, &mut DeadLetters::default()).unwrap(),
            None => vec![narrow],
        }
    }

    /// One step of the driver.
    pub fn step(&mut self, from: EventTime, to: EventTime, rows: &[Row]) -> Emitted {
        let mut out = Emitted::default();
        let inputs = if rows.is_empty() { Vec::new() } else { self.input(rows) };
        self.logic.advance(from, to, vec![inputs], &mut out).unwrap();
        for time in out.updates.iter().flat_map(|updates| updates.times().to_vec()) {
            assert!(from <= time && time < to, "{time} not in [{from}, {to})");
        }
        out
    }
}

/// What came out: rows by time, late rows, dead letters by time.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    pub rows: BTreeMap<(EventTime, String), i64>,
    pub late: Vec<(i64, i64)>,
    pub dead: Vec<(EventTime, String)>,
}

impl Seen {
    pub fn add(&mut self, time: EventTime, row: String) {
        *self.rows.entry((time, row)).or_default() += 1;
    }

    fn take(&mut self, out: &Emitted) {
        for updates in &out.updates {
            for index in 0..updates.len() {
                let text = row_text(updates.rows().columns(), index).unwrap();
                self.add(updates.times()[index], text);
            }
        }
        for late in &out.late {
            let times = late.rows.times().iter().zip(&late.window_end);
            self.late.extend(times.map(|(time, ts)| (*time, *ts)));
        }
        let dead = out.dead.iter();
        self.dead.extend(dead.map(|(l, time)| (time, format!("{}: {}", l.record, l.reason))));
        self.late.sort_unstable();
        self.dead.sort_unstable();
    }

    /// The rows alone, in order of time.
    pub fn texts(&self) -> Vec<String> {
        self.rows.iter().flat_map(|((_, row), n)| vec![row.clone(); *n as usize]).collect()
    }
}

/// Gives `rows` to `job` at `frontiers`, in batches of `size`.
pub fn drive(job: &mut Job, rows: &[Row], frontiers: &[EventTime], size: usize) -> Seen {
    drive_with(job, rows, frontiers, size, |_, _| ())
}

/// The same with `each` called at each frontier.
pub fn drive_with(
    job: &mut Job,
    rows: &[Row],
    frontiers: &[EventTime],
    size: usize,
    mut each: impl FnMut(&mut Job, EventTime),
) -> Seen {
    let mut seen = Seen::default();
    let mut from = BEGINNING;
    for &to in frontiers.iter().chain([&CLOSED]) {
        let below: Vec<Row> =
            rows.iter().filter(|r| from <= r.time && r.time < to).cloned().collect();
        let mut out = Emitted::default();
        let inputs = below.chunks(size).flat_map(|part| job.input(part)).collect();
        job.logic.advance(from, to, vec![inputs], &mut out).unwrap();
        let emitted = out.updates.iter().flat_map(|updates| updates.times().to_vec());
        for time in emitted.chain(out.dead.iter().map(|(_, time)| time)) {
            assert!(from <= time && time < to, "{time} not in [{from}, {to})");
        }
        seen.take(&out);
        from = to;
        if to != CLOSED {
            each(job, to);
        }
    }
    seen
}

fn run(clause: &str, rows: &[Row]) -> Seen {
    drive(&mut Job::new(clause).unwrap(), rows, &[], 100)
}

#[test]
fn explain_says_what_bounds_the_state() {
    let bound = |clause: &str| {
        let clause = format!("SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k {clause})");
        let text = explain(&plan(&clause).unwrap());
        let line = text.lines().find(|line| line.contains("state: ")).unwrap();
        line.split_once("state: ").unwrap().1.to_owned()
    };
    let plain = "ORDER BY ts MEASURES A.x AS x PATTERN (A B)";
    assert_eq!(
        bound(&format!("{plain} WITHIN INTERVAL '2' SECOND DEFINE A AS TRUE")),
        "keyed by [k], bounded: an open match is dropped when the watermark passes its first row \
         + 2000 ms"
    );
    assert_eq!(
        bound(&format!("{plain} DEFINE A AS TRUE")),
        "keyed by [k], unbounded: nothing limits how long a match stays open; add WITHIN INTERVAL \
         .. behind PATTERN (..)"
    );
    let before = format!("{plain} WITHIN INTERVAL '2' SECOND DEFINE A AS A.x > PREV(A.x, 3)");
    assert!(bound(&before).ends_with("; keeps of each partition its last 3 rows (PREV)"));
}

#[test]
fn a_filter_on_the_partition_goes_below_and_no_other() {
    let clause = "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.x AS x \
                  PATTERN (A B) DEFINE A AS TRUE) WHERE k = 1 AND x = 2";
    let text = explain(&plan(clause).unwrap());
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
    assert!(place("x = 2") < place("MatchRecognize("), "{text}");
    assert!(place("MatchRecognize(") < place("k = 1"), "{text}");
}

#[test]
fn a_match_comes_when_it_is_certain() {
    let clause = |pattern: &str| {
        format!(
            "ORDER BY ts MEASURES COUNT(*) AS n, FIRST(x) AS f AFTER MATCH SKIP PAST LAST ROW \
             PATTERN {pattern} DEFINE A AS A.x > 0, B AS B.x > 10"
        )
    };
    let rows = [row(0, 1000, 1), row(0, 2000, 11), row(0, 3000, 12), row(0, 9000, 0)];
    let at = |pattern: &str| {
        let seen = run(&clause(pattern), &rows);
        seen.rows.into_keys().collect::<Vec<_>>()
    };
    // Reluctant: with its last row.
    assert_eq!(at("(A B+?)"), [(2000, "2,1".to_owned())]);
    // Greedy: with the row that does not belong.
    assert_eq!(at("(A B+)"), [(9000, "3,1".to_owned())]);
    // Or when no row in time can come.
    let within = "(A B+) WITHIN INTERVAL '5' SECOND";
    assert_eq!(at(within), [(5999, "3,1".to_owned())]);
    // Or at the end of the input.
    let seen = run(&clause("(A B+)"), &rows[..3]);
    assert_eq!(seen.rows.into_keys().collect::<Vec<_>>(), [(LATEST, "3,1".to_owned())]);
}

#[test]
fn within_counts_less_than_its_length() {
    let clause = "ORDER BY ts MEASURES COUNT(*) AS n PATTERN (A B) WITHIN INTERVAL '1' SECOND \
                  DEFINE A AS A.x = 1, B AS B.x = 2";
    assert_eq!(run(clause, &[row(0, 0, 1), row(0, 999, 2)]).texts(), ["2"]);
    assert!(run(clause, &[row(0, 0, 1), row(0, 1000, 2)]).rows.is_empty());
}

#[test]
fn rows_behind_their_time_are_late() {
    let clause = "ORDER BY ts MEASURES A.x AS x PATTERN (A) DEFINE A AS TRUE";
    let late = Row { time: 5000, ..row(0, 4999, 2) };
    let seen = run(clause, &[row(0, 5000, 1), late]);
    assert_eq!((seen.texts(), seen.late), (vec!["1".to_owned()], vec![(5000, 4999)]));
}

#[test]
fn with_within_the_state_stays_flat() {
    for skip in ["TO NEXT ROW", "PAST LAST ROW"] {
        let clause = format!(
            "PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS n AFTER MATCH SKIP {skip} \
             PATTERN (A B* C) WITHIN INTERVAL '1' SECOND DEFINE A AS A.x >= 0, C AS C.x < 0"
        );
        let mut job = Job::new(&clause).unwrap();
        let mut most = 0;
        let mut from = BEGINNING;
        for step in 0..200i64 {
            let rows: Vec<Row> =
                (0..10).map(|i| row(step * 7 + i % 3, step * 100 + i * 10, i)).collect();
            let to = (step + 1) * 100;
            job.step(from, to, &rows);
            from = to;
            most = most.max(job.logic.state_rows());
            assert!(job.logic.timers.len() <= 2 * job.logic.keys.len() + 1025);
        }
        assert!(most <= 110, "{skip}: {most} rows");
        job.step(from, from + 1000, &[]);
        assert_eq!((job.logic.state_rows(), job.logic.keys.len()), (0, 0), "{skip}");
    }
}

#[test]
fn what_is_decided_leaves_no_row() {
    let clause = "PARTITION BY k ORDER BY ts MEASURES A.x AS x PATTERN (A B) WITHIN INTERVAL '2' \
                  HOUR DEFINE A AS A.x = 0, B AS B.x = 1";
    let mut job = Job::new(clause).unwrap();
    let rows: Vec<Row> = (0..1000).map(|k| row(k, k, 0)).collect();
    job.step(BEGINNING, 1000, &rows);
    assert_eq!((job.logic.state_rows(), job.logic.keys.len()), (1000, 1000));
    let rows: Vec<Row> = (0..1000).map(|k| row(k, 1000 + k, 1)).collect();
    let out = job.step(1000, 2000, &rows);
    assert_eq!(out.updates.iter().map(UpdateBatch::len).sum::<usize>(), 1000);
    assert_eq!((job.logic.state_rows(), job.logic.keys.len()), (0, 0));
}

#[test]
fn searches_that_try_too_much_are_given_up() {
    // Every way of cutting the rows into groups is tried: 2 to the power of their number.
    let clause = "ORDER BY ts MEASURES COUNT(*) AS n AFTER MATCH SKIP PAST LAST ROW \
                  PATTERN ((A+)+ B) DEFINE A AS A.x >= 0 AND COUNT(*) > 0, B AS B.x < 0";
    let rows: Vec<Row> = (0..40).map(|i| row(0, i, i)).chain([row(0, 50, -1)]).collect();
    let limits = Limits { steps: 1000, ..Limits::default() };
    let mut last = None;
    for (frontiers, size) in [(vec![], 100), (vec![10, 20, 30, 45], 3)] {
        let mut job = Job::new(clause).unwrap().limit(limits);
        let seen = drive(&mut job, &rows, &frontiers, size);
        let one = seen.dead.iter().filter(|d| d.1.contains("more than 1000 steps")).count();
        assert!(one >= 1 || !seen.rows.is_empty(), "{seen:?}");
        assert!(last.replace(seen).is_none_or(|l: Seen| Some(&l) == last.as_ref()));
    }
    // Where a condition does not depend on the match so far, a failure is remembered.
    let clause = clause.replace("AND COUNT(*) > 0", "");
    let rows: Vec<Row> = (0..200).map(|i| row(0, i, i)).collect();
    let limits = Limits { steps: 100_000, ..Limits::default() };
    let seen = drive(&mut Job::new(&clause).unwrap().limit(limits), &rows, &[], 100);
    assert_eq!(seen, Seen::default());
}

#[test]
fn too_many_open_matches_give_up_the_oldest() {
    let clause = "ORDER BY ts MEASURES A.x AS x PATTERN (A B* C) \
                  DEFINE A AS A.x > 0, B AS B.x >= 0, C AS C.x < 0";
    let rows: Vec<Row> = (1..=20).map(|i| row(0, i, i)).chain([row(0, 50, -1)]).collect();
    let limits = Limits { open: 5, ..Limits::default() };
    for (frontiers, size) in [(vec![], 100), (vec![3, 4, 9, 30], 2)] {
        let mut job = Job::new(clause).unwrap().limit(limits);
        let seen = drive(&mut job, &rows, &frontiers, size);
        assert_eq!(seen.texts(), ["16", "17", "18", "19", "20"]);
        assert_eq!(seen.dead.len(), 15);
        assert!(seen.dead[0].1.contains("more than 5 matches"), "{:?}", seen.dead);
    }
}

#[test]
fn a_match_that_reads_too_many_rows_is_given_up() {
    let clause = "ORDER BY ts MEASURES COUNT(*) AS n AFTER MATCH SKIP PAST LAST ROW \
                  PATTERN (A+ C) DEFINE A AS A.x >= 0, C AS C.x < 0";
    let rows: Vec<Row> = (0..25).map(|i| row(0, i, i)).chain([row(0, 50, -1)]).collect();
    let limits = Limits { rows: 10, ..Limits::default() };
    for (frontiers, size) in [(vec![], 100), (vec![3, 4, 9, 30], 2)] {
        let mut job = Job::new(clause).unwrap().limit(limits);
        let seen = drive(&mut job, &rows, &frontiers, size);
        assert_eq!((seen.texts(), seen.dead.len()), (vec!["6".to_owned()], 2), "{:?}", seen.dead);
    }
}

#[test]
fn a_condition_that_fails_is_a_dead_letter_where_it_is_asked() {
    let clause = "ORDER BY ts MEASURES B.x AS x PATTERN (A B) \
                  DEFINE A AS A.x = 1, B AS 10 / B.x > 0";
    // The first 0 is no candidate for B.
    let seen = run(clause, &[row(0, 1, 0), row(0, 2, 1), row(0, 3, 0), row(0, 4, 1), row(0, 5, 2)]);
    assert_eq!(seen.texts(), ["2"]);
    assert_eq!(seen.dead.len(), 1);
    assert!(seen.dead[0].1.contains("the condition of B"), "{:?}", seen.dead);
}

/// Conditions that fail, and searches that are given up, whatever the cut: as often, and when.
#[test]
fn dead_letters_do_not_depend_on_cuts() {
    let alone = "ORDER BY ts MEASURES COUNT(*) AS n PATTERN (A B* C) WITHIN INTERVAL '8' SECOND \
                 DEFINE A AS A.x > 0, B AS 10 / B.x > 0, C AS 10 / C.x < 5";
    let sides = alone.replace("MEASURES", "MEASURES A.x AS x,").replace(" B* ", " (B | D)+? ");
    let sides = format!("{sides}, D AS 10 / (D.x - 1) > PREV(D.x)");
    let clauses = [
        alone.to_owned(),
        sides,
        alone.replace("PATTERN", "AFTER MATCH SKIP PAST LAST ROW PATTERN"),
        alone.replace("10 / B.x > 0", "10 / (B.x - COUNT(B.x)) > 0"),
        alone.replace("PATTERN", "AFTER MATCH SKIP TO LAST B PATTERN"),
        alone.replace(" WITHIN INTERVAL '8' SECOND", ""),
    ];
    let limits = Limits { steps: 25, open: 3, rows: 6 };
    let mut state = 7u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((state >> 33) % below) as i64
    };
    for round in 0..60 {
        let mut ts = 0;
        let rows: Vec<Row> = (0..25)
            .map(|_| {
                ts += random(3) * 1000;
                row(0, ts, random(5))
            })
            .collect();
        let clause = &clauses[round % clauses.len()];
        let job = || Job::new(clause).unwrap().limit(limits);
        let whole = drive(&mut job(), &rows, &[], 100);
        let frontiers: Vec<EventTime> = (1..=ts / 500).map(|i| i * 500 + 1).collect();
        let some = frontiers.iter().copied().filter(|_| random(3) == 0).collect::<Vec<_>>();
        for cut in [frontiers, some] {
            assert_eq!(drive(&mut job(), &rows, &cut, 2), whole, "{clause} {rows:?}");
        }
    }
}
