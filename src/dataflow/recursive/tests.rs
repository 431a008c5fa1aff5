//! Recursive queries over edges that come and go, on several workers and for any cut, against the
//! same definitions computed from nothing after every tick.

mod cases;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use proptest::prelude::*;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use self::cases::*;
use super::*;
use crate::dataflow::calc::CalcLogic;
use crate::dataflow::runtime::Place as ProcessPlace;
use crate::dataflow::side::DeadLetters;
use crate::plan::lower::{LowerOptions, lower};
use crate::plan::props::ChangelogMode;
use crate::sql::bind::bind;
use crate::sql::script::parse_script;
use crate::state::keyed::row_text;
use crate::time::{BEGINNING, Resolution};

/// An edge that appears, or goes, at a time.
#[derive(Clone, Debug)]
struct Edge {
    src: i64,
    dst: i64,
    w: i64,
    time: EventTime,
    diff: i64,
}

/// How the updates reach the operator.
#[derive(Clone, Debug)]
struct Cut {
    frontiers: Vec<EventTime>,
    batch_rows: usize,
}

type Values = Vec<Option<i64>>;
/// Rows and how often each occurs.
type Bag = BTreeMap<Values, i64>;
/// Emitted updates by time and row.
type Changes = BTreeMap<(EventTime, String), i64>;

fn plan_of(query: &str) -> StreamPlan {
    let table = "CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT) \
                 WITH ('connector' = 'datagen');";
    let script = parse_script("t.sql", &format!("{table}\n{query};")).unwrap();
    let job = bind(&[script], &[]).unwrap();
    let options = LowerOptions {
        is_bounded: &|_| true,
        changelog: true,
        side_views: false,
        source_mode: &|_| ChangelogMode::Append,
    };
    lower(&job, &options).unwrap()
}

fn recursion_of(plan: &StreamPlan) -> NodeId {
    let is_one = |node: &Node| matches!(node.operator, Operator::Recursive(_));
    NodeId(plan.nodes.iter().position(is_one).unwrap())
}

/// The rows of a stateless node of `plan` over the edges.
fn computed(plan: &StreamPlan, id: NodeId, edges: &[Edge]) -> Vec<UpdateBatch> {
    let node = plan.node(id);
    match &node.operator {
        Operator::Scan(_) => {
            let column = |name: &str| -> ArrayRef {
                let of = |e: &Edge| match name {
                    "src" => e.src,
                    "dst" => e.dst,
                    _ => e.w,
                };
                Arc::new(edges.iter().map(of).collect::<Int64Array>())
            };
            let columns = node.schema.fields().iter().map(|f| column(f.name())).collect();
            let rows = RecordBatch::try_new(Arc::clone(&node.schema), columns).unwrap();
            let times: Vec<i64> = edges.iter().map(|e| e.time).collect();
            let diffs: Vec<i64> = edges.iter().map(|e| e.diff).collect();
            vec![UpdateBatch::new(rows, times.into(), Some(diffs.into()))]
        }
        Operator::Calc(calc) => {
            let below = node.inputs[0];
            let input = &plan.node(below).schema;
            let logic = CalcLogic::new("t", calc.clone(), input, Arc::clone(&node.schema));
            let mut dead = DeadLetters::default();
            let batches = computed(plan, below, edges);
            batches.iter().flat_map(|batch| logic.apply(batch, &mut dead).unwrap()).collect()
        }
        Operator::Union => {
            node.inputs.iter().flat_map(|input| computed(plan, *input, edges)).collect()
        }
        other => panic!("the test does not compute {other:?}"),
    }
}

/// A stream of this worker's share of the rows, step by step.
fn feed<'s>(
    scope: Scope<'s, EventTime>,
    batches: Vec<UpdateBatch>,
    cut: &Cut,
) -> Stream<'s, EventTime, UpdateBatch> {
    let mut builder = OperatorBuilder::new("Feed".to_string(), scope);
    let (output, stream) = builder.new_output::<UpdateBatch>();
    let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
    let (me, workers) = (scope.index(), scope.peers());
    let activator = scope.activator_for(builder.operator_info().address);
    let mut frontiers = cut.frontiers.clone().into_iter();
    let batch_rows = cut.batch_rows;
    builder.build(move |capabilities| {
        let mut capability = capabilities.into_iter().next();
        let mut from = BEGINNING;
        move |_| {
            let Some(cap) = &mut capability else { return };
            let to = frontiers.next();
            let mut port = output.activate();
            for batch in &batches {
                let due = |row: &usize| {
                    let time = batch.times()[*row];
                    row % workers == me && time >= from && to.is_none_or(|to| time < to)
                };
                let rows: Vec<u32> = (0..batch.len()).filter(due).map(|row| row as u32).collect();
                for part in rows.chunks(batch_rows) {
                    let mut part = batch.take(&part.to_vec().into()).unwrap();
                    port.session_with_builder(&*cap).give_container(&mut part);
                }
            }
            match to {
                Some(to) => {
                    cap.downgrade(&to);
                    from = to;
                    activator.activate();
                }
                None => capability = None,
            }
        }
    });
    stream
}

/// What the recursion of `query` emits, dead letters too; or why it failed.
fn changes(query: &str, edges: &[Edge], cut: &Cut, workers: usize) -> Result<Changes> {
    let plan = Arc::new(plan_of(query));
    let empty = Arc::new(StreamPlan::default());
    let runtime = JobRuntime::new(empty, ProcessPlace::alone(workers), None).unwrap();
    let runtime = Arc::new(runtime);
    let seen: Arc<Mutex<Changes>> = Arc::default();
    let config = timely::Config {
        communication: timely::CommunicationConfig::Process(workers),
        worker: timely::WorkerConfig::default(),
    };
    let (cut, edges) = (cut.clone(), edges.to_vec());
    let (shared, all) = (Arc::clone(&runtime), Arc::clone(&seen));
    let guards = timely::execute(config, move |worker| {
        let (plan, seen) = (Arc::clone(&plan), Arc::clone(&all));
        let (runtime, edges, cut) = (Arc::clone(&shared), edges.clone(), cut.clone());
        worker.dataflow::<EventTime, _, _>(move |scope| {
            let id = recursion_of(&plan);
            let inputs = plan.node(id).inputs.iter();
            let inputs = inputs.map(|input| feed(scope, computed(&plan, *input, &edges), &cut));
            let wants = SideWants { late: false, dead: true };
            let built = render(scope, &plan, id, inputs.collect(), wants, &runtime);
            let (stream, sides) = built.unwrap();
            let letters = Arc::clone(&seen);
            sides.dead.unwrap().sink(Pipeline, "Dead", move |(input, _)| {
                input.for_each(|_, batch| {
                    let mut seen = letters.lock().unwrap();
                    for row in 0..batch.len() {
                        let text = row_text(&batch.rows().columns()[1..], row).unwrap();
                        *seen.entry((batch.times()[row], format!("dead {text}"))).or_default() += 1;
                    }
                });
            });
            stream.sink(Pipeline, "Seen", move |(input, _)| {
                input.for_each(|_, batch| {
                    let mut seen = seen.lock().unwrap();
                    for row in 0..batch.len() {
                        let text = row_text(batch.rows().columns(), row).unwrap();
                        let time = batch.times()[row];
                        let known = seen.insert((time, text), batch.diff(row));
                        assert!(known.is_none(), "not net within its tick");
                    }
                });
            });
        });
    });
    for guard in guards.unwrap().join() {
        guard.unwrap();
    }
    if let Some(error) = runtime.metrics.failure() {
        return Err(error);
    }
    let seen = seen.lock().unwrap().clone();
    Ok(seen)
}

fn edges() -> impl Strategy<Value = Vec<Edge>> {
    let edge = (0i64..6, 0i64..6, 1i64..4, 0i64..1500, prop::option::of(0i64..900));
    prop::collection::vec(edge, 0..24).prop_map(|edges| {
        let mut updates = Vec::new();
        for (src, dst, w, time, gone) in edges {
            let edge = Edge { src, dst, w, time, diff: 1 };
            updates.push(edge.clone());
            updates.extend(gone.map(|after| Edge { time: time + after, diff: -1, ..edge }));
        }
        updates
    })
}

fn cut() -> impl Strategy<Value = Cut> {
    let frontiers = prop::collection::btree_set(0i64..25, 0..8);
    (frontiers, 1usize..9).prop_map(|(frontiers, batch_rows)| Cut {
        frontiers: frontiers.into_iter().map(|tick| tick * 100).collect(),
        batch_rows,
    })
}

/// The edges that are there as of the end of a tick.
fn contents(updates: &[Edge], tick: EventTime) -> Vec<Edge> {
    let resolution = Resolution::default();
    let mut counts: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
    for e in updates.iter().filter(|e| resolution.tick_start(e.time) <= tick) {
        *counts.entry((e.src, e.dst, e.w)).or_default() += e.diff;
    }
    let copies = counts.into_iter().flat_map(|(edge, count)| (0..count).map(move |_| edge));
    copies.map(|(src, dst, w)| Edge { src, dst, w, time: 0, diff: 1 }).collect()
}

fn text(row: &Values) -> String {
    let cell = |v: &Option<i64>| v.map_or("NULL".to_string(), |v| v.to_string());
    row.iter().map(cell).collect::<Vec<_>>().join(",")
}

fn check_case(case: &Case, updates: &[Edge], cut: &Cut, workers: usize) {
    let seen = changes(case.query, updates, cut, workers).unwrap();
    let resolution = Resolution::default();
    let mut ticks: Vec<EventTime> = updates.iter().map(|e| resolution.tick_start(e.time)).collect();
    ticks.extend(seen.keys().map(|(time, _)| *time));
    ticks.sort_unstable();
    ticks.dedup();
    for tick in ticks {
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        for ((_, row), diff) in seen.iter().filter(|((time, _), _)| *time <= tick) {
            *held.entry(row.clone()).or_default() += diff;
        }
        held.retain(|_, count| *count != 0);
        let expected = (case.naive)(&contents(updates, tick));
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(row, count)| (text(row), *count)).collect();
        assert_eq!(held, expected, "as of {tick} on {workers} workers: {}", case.query);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Law: as of every tick the answer is the definitions computed from nothing.
    #[test]
    fn recursions_equal_recomputation(
        updates in edges(),
        cut in cut(),
        workers in prop::sample::select(vec![1, 2, 4]),
    ) {
        let cases = [
            REACHABLE, SHORTEST, COMPONENTS, PARTS, EVEN_AND_ODD, WON, COUNTED, EXCEPT, SUMS,
            NEAREST,
        ];
        for case in &cases {
            check_case(case, &updates, &cut, workers);
        }
    }
}

/// A cycle that supports itself goes with the edge that led into it.
#[test]
fn a_cycle_cut_off_is_retracted() {
    let edge = |src, dst, time, diff| Edge { src, dst, w: 1, time, diff };
    let updates = [
        edge(0, 1, 0, 1),
        edge(1, 2, 0, 1),
        edge(2, 3, 0, 1),
        edge(3, 1, 0, 1),
        edge(0, 1, 500, -1),
        edge(0, 2, 700, 1),
        edge(2, 3, 900, -1),
    ];
    let cut = Cut { frontiers: vec![100, 600, 800], batch_rows: 3 };
    for workers in [1, 2] {
        check_case(&REACHABLE, &updates, &cut, workers);
        check_case(&SHORTEST, &updates, &cut, workers);
        check_case(&COMPONENTS, &updates, &cut, workers);
    }
}

/// Rows that come and go within a tick start nothing.
#[test]
fn nothing_comes_of_nothing() {
    let edge = |time, diff| Edge { src: 0, dst: 1, w: 1, time, diff };
    let cut = Cut { frontiers: vec![], batch_rows: 1 };
    let seen = changes(REACHABLE.query, &[edge(10, 1), edge(20, -1)], &cut, 2).unwrap();
    assert!(seen.is_empty());
    let seen = changes(COUNTED.query, &[], &cut, 2).unwrap();
    assert_eq!(seen, Changes::from([((0, "1,NULL,NULL,0".to_string()), 1)]));
}

fn failure(query: &str) -> Error {
    let edge = |src, dst| Edge { src, dst, w: 1, time: 0, diff: 1 };
    let cut = Cut { frontiers: vec![100], batch_rows: 1 };
    changes(query, &[edge(0, 1), edge(1, 0), edge(0, 0)], &cut, 2).unwrap_err()
}

#[test]
fn what_does_not_end_is_an_error() {
    let numbers = "SET 'recursion.limit' = '50';
        WITH RECURSIVE n (x) AS (SELECT src FROM edges UNION SELECT x + 1 FROM n) SELECT x FROM n";
    let error = failure(numbers);
    assert_eq!(error.message, "the recursion of n has not ended after 50 iterations");
    let own = "WITH MUTUALLY RECURSIVE (ERROR AT RECURSION LIMIT 7) n (x BIGINT) AS (
        SELECT src FROM edges UNION SELECT x + 1 FROM n) SELECT x FROM n";
    assert!(failure(own).message.ends_with("after 7 iterations"));
    // Paths in a cycle double with every step.
    let paths = "WITH RECURSIVE p (a, b) AS (SELECT src, dst FROM edges
        UNION ALL SELECT p.a, e.dst FROM p JOIN edges AS e ON p.b = e.src) SELECT a FROM p";
    assert!(failure(paths).message.contains("a row occurs more than"), "{:?}", failure(paths));
    // What ends in time is no error: the limit counts the rounds that change something.
    let short = "WITH MUTUALLY RECURSIVE (ERROR AT RECURSION LIMIT 2) r (a BIGINT, b BIGINT) AS (
        SELECT src, dst FROM edges UNION SELECT r.a, e.dst FROM r JOIN edges AS e ON r.b = e.src)
        SELECT a FROM r";
    let edges = [Edge { src: 0, dst: 1, w: 1, time: 0, diff: 1 }];
    let cut = Cut { frontiers: vec![], batch_rows: 1 };
    assert_eq!(changes(short, &edges, &cut, 1).unwrap().len(), 1);
}

/// Expressions that fail take their row to the dead letters and leave the others.
#[test]
fn rows_that_fail_are_dead_letters() {
    let query = "WITH RECURSIVE n (x) AS (
        SELECT src FROM edges UNION SELECT x + 12 / (x - 3) FROM n WHERE x < 5)
        SELECT x FROM n";
    let edge = |src| Edge { src, dst: 0, w: 1, time: 0, diff: 1 };
    let cut = Cut { frontiers: vec![], batch_rows: 1 };
    let seen = changes(query, &[edge(3), edge(4)], &cut, 1).unwrap();
    let rows: Vec<&str> = seen.keys().map(|(_, row)| row.as_str()).collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(rows[..3], ["16", "3", "4"]);
    assert!(rows[3].contains("Divide by zero"), "{rows:?}");
}

/// Of rows, of pairs and of groups; rows that come and go within a tick are none, and neither are
/// those that changes of several workers cancel out.
const FAILING: [&str; 4] = [
    "WITH RECURSIVE n (x) AS (
       SELECT src FROM edges UNION SELECT x + 12 / (x - 3) FROM n WHERE x < 5) SELECT x FROM n",
    "WITH RECURSIVE r (a, b) AS (
       SELECT src, dst FROM edges
       UNION SELECT r.a, e.dst FROM r JOIN edges AS e ON r.b = e.src AND 6 / (r.a - e.dst) > 0)
     SELECT * FROM r",
    "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 5) s (node BIGINT, total BIGINT) AS (
       SELECT e.dst AS node, SUM(e.w * 3000000000000000000) + SUM(s.total) AS total
       FROM edges AS e LEFT JOIN s ON e.src = s.node GROUP BY e.dst)
     SELECT node FROM s",
    "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 6) n (x BIGINT) AS (
       SELECT src FROM edges
       UNION SELECT 8 / m.x FROM (SELECT x - 1 AS x FROM n WHERE NOT EXISTS (
         SELECT 1 FROM edges AS e WHERE e.src = n.x AND e.dst > 3)) AS m)
     SELECT * FROM n",
];

#[test]
fn each_of_the_failing_recursions_fails() {
    let edge = |(src, dst, w)| Edge { src, dst, w, time: 0, diff: 1 };
    let edges = [(3, 0, 1), (0, 1, 1), (1, 0, 3), (2, 0, 3)].map(edge);
    for query in FAILING {
        let seen = changes(query, &edges, &Cut { frontiers: vec![], batch_rows: 1 }, 2).unwrap();
        assert!(seen.keys().any(|(_, text)| text.starts_with("dead ")), "{query} {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn dead_letters_do_not_depend_on_cuts_and_workers(edges in edges(), cut in cut()) {
        for query in FAILING {
            let dead = |cut: &Cut, workers| {
                let mut seen = changes(query, &edges, cut, workers).unwrap();
                seen.retain(|(_, text), _| text.starts_with("dead "));
                seen
            };
            let whole = dead(&Cut { frontiers: vec![], batch_rows: 100 }, 1);
            for workers in [1, 2, 3] {
                prop_assert_eq!(&dead(&cut, workers), &whole, "{} workers: {}", workers, query);
            }
        }
    }
}
