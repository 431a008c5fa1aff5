//! Who holds what, over plans and frontiers at random; several processes as one.

use proptest::prelude::*;

use super::graph::{Edge, OutputKind, Point};
use super::held::{Effective, Found};
use super::report::{
    FrontierReport, Least, OperatorPoint, OutputPoint, PartitionPoint, SourcePoint, SourceState,
    behind,
};
use crate::time::{BEGINNING, CLOSED, EventTime};

fn least(frontier: EventTime, process: usize) -> Least {
    Least { frontier, process, worker: process * 2, since_ms: frontier, ..Least::default() }
}

fn source(table: &str, frontier: EventTime, process: usize) -> SourcePoint {
    let name = format!("{table}-{process}");
    SourcePoint {
        table: table.to_owned(),
        least: least(frontier, process),
        gives_way: false,
        furthest: frontier,
        partitions: 1,
        partition: Some(PartitionPoint { name, offset: frontier, frontier }),
        state: SourceState::Reading,
        since_ms: frontier,
    }
}

fn edge(from: Point) -> Edge {
    Edge { from, side: false, whole: false }
}

fn operator(label: &str, reads: &[Edge], frontier: EventTime) -> OperatorPoint {
    OperatorPoint {
        label: label.to_owned(),
        reads: reads.to_vec(),
        rows: least(frontier, 0),
        sides: least(frontier, 0),
    }
}

fn output(name: &str, reads: &[Edge], frontier: EventTime) -> OutputPoint {
    OutputPoint {
        name: name.to_owned(),
        kind: OutputKind::Sink,
        label: format!("Sink({name})"),
        reads: reads.to_vec(),
        least: least(frontier, 0),
    }
}

/// Sources `a` and `b`, their join, and a sink of it; another sink of `a` alone.
fn joined(a: EventTime, b: EventTime, join: EventTime, sink: EventTime) -> FrontierReport {
    let (a_edge, b_edge) = (edge(Point::Source(0)), edge(Point::Source(1)));
    FrontierReport {
        at_ms: 1000,
        sources: vec![source("a", a, 0), source("b", b, 0)],
        operators: vec![operator("Join#2", &[a_edge, b_edge], join)],
        outputs: vec![
            output("joined", &[edge(Point::Operator(0))], sink),
            output("alone", &[a_edge], a),
        ],
    }
}

fn holders(report: &FrontierReport) -> Vec<Option<String>> {
    report.held().into_iter().map(|held| held.holder.map(|holder| holder.label)).collect()
}

fn labels(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

#[test]
fn the_holder_is_where_the_least_frontier_begins() {
    let cases = [
        (joined(90, 50, 50, 50), ["Source(b)", "Source(a)"]),
        (joined(90, 90, 50, 50), ["Join#2", "Source(a)"]),
        (joined(90, 90, 80, 50), ["Sink(joined)", "Source(a)"]),
        (joined(BEGINNING, 90, BEGINNING, BEGINNING), ["Source(a)", "Source(a)"]),
        (joined(CLOSED, 90, 90, 90), ["Source(b)", ""]),
        // Of a restored view, which is ahead of what is read again for it.
        (joined(90, 30, 40, 60), ["Source(b)", "Source(a)"]),
        (joined(CLOSED, CLOSED, 40, 40), ["Join#2", ""]),
    ];
    for (report, expected) in cases {
        let found: Vec<String> =
            holders(&report).into_iter().map(Option::unwrap_or_default).collect();
        assert_eq!(found, expected, "{report:?}");
    }
}

#[test]
fn of_two_as_far_the_one_that_gives_way_does_not_hold() {
    let mut report = joined(50, 50, 50, 50);
    assert_eq!(holders(&report)[0], labels(&["Source(a)"])[0]);
    report.sources[0].gives_way = true;
    assert_eq!(holders(&report)[0], labels(&["Source(b)"])[0]);
    report.sources[1].gives_way = true;
    assert_eq!(holders(&report)[0], labels(&["Source(a)"])[0]);
    // So it is of two processes, whatever a third one says.
    let mut follower = joined(50, 50, 50, 50);
    (follower.sources[0].gives_way, follower.sources[0].state) = (true, SourceState::AllRead);
    let mut reports = vec![follower, joined(90, 50, 50, 50), joined(50, 50, 50, 50)];
    for (process, report) in reports.iter_mut().enumerate() {
        report.sources[0] = SourcePoint {
            state: report.sources[0].state.clone(),
            gives_way: process == 0,
            ..source("a", report.sources[0].least.frontier, process)
        };
    }
    assert_eq!(FrontierReport::merge(reports).sources[0].least.process, 2);
}

#[test]
fn a_table_that_is_read_whole_holds_until_its_end() {
    let mut report = joined(90, 70, BEGINNING, BEGINNING);
    report.operators[0].reads[1].whole = true;
    let held = report.held().remove(0).holder.unwrap();
    assert_eq!(held.label, "Source(b)");
    assert!(held.state.contains("Join#2 reads it to its end"), "{}", held.state);
    report.sources[1] = source("b", CLOSED, 0);
    assert_eq!(holders(&report)[0], labels(&["Join#2"])[0], "now it has work to do");
}

#[test]
fn what_has_the_worker_is_named() {
    let mut report = joined(90, 90, 50, 50);
    assert_eq!(report.held().remove(0).holder.unwrap().code, "queued");
    report.operators[0].rows.waits_for = Some("Rank#7".to_owned());
    let held = report.held().remove(0).holder.unwrap();
    assert_eq!((held.label.as_str(), held.code.as_str()), ("Rank#7", "applying"));
    assert_eq!(held.state, "applies what it was given; Join#2 waits for the same worker");
    report.operators[0].rows.is_busy = true;
    assert_eq!(report.held().remove(0).holder.unwrap().label, "Join#2");
    let mut report = joined(90, 90, 90, 50);
    report.outputs[0].least.is_busy = true;
    assert_eq!(report.held().remove(0).holder.unwrap().code, "writing");
}

#[test]
fn late_rows_have_a_frontier_of_their_own() {
    let mut report = joined(90, 90, 90, 90);
    report.operators[0].sides = least(20, 0);
    let side = Edge { side: true, ..edge(Point::Operator(0)) };
    report.outputs.push(output("late", &[side], 20));
    assert_eq!(holders(&report), labels(&["Source(a)", "Source(a)", "Join#2"]));
}

#[test]
fn back_pressure_names_what_is_slow() {
    let mut report = joined(90, 90, 90, 40);
    report.sources[0].state = SourceState::BackPressure;
    let alone = report.held().remove(1).holder.unwrap();
    assert_eq!(alone.state, "back pressure: Sink(joined) is behind with its rows");
    let mut report = joined(90, 40, 40, 40);
    report.sources[0].state = SourceState::BackPressure;
    let alone = report.held().remove(1).holder.unwrap();
    assert_eq!(alone.state, "back pressure: Source(b) is behind with its rows");
}

#[test]
fn two_processes_are_one_job() {
    let first = joined(90, 80, 30, 30);
    let mut second = joined(40, CLOSED, 70, 70);
    second.sources = vec![source("a", 40, 1), source("b", CLOSED, 1)];
    second.sources[1].partitions = 0;
    second.operators[0].rows = least(35, 1);
    let merged = FrontierReport::merge(vec![first.clone(), second.clone()]);
    assert_eq!(merged.at_ms, first.at_ms);
    let a = &merged.sources[0];
    assert_eq!((a.least.process, a.least.frontier, a.partitions, a.furthest), (1, 40, 2, 90));
    assert_eq!(a.partition.as_ref().map(|p| p.name.as_str()), Some("a-1"));
    assert_eq!(merged.sources[1].least.process, 0, "the other has no partition of it");
    assert_eq!(merged.operators[0].rows.frontier, 30);
    assert_eq!(holders(&merged), labels(&["Join#2", "Source(a)"]));
    assert_eq!(
        merged,
        FrontierReport::merge(vec![merged.clone(), second.clone()]).with_counts(&merged)
    );
    // What is sent over a connection arrives as it was.
    let bytes = serde_json::to_vec(&merged).unwrap();
    assert_eq!(serde_json::from_slice::<FrontierReport>(&bytes).unwrap(), merged);
    // One of another plan, and none.
    second.outputs.pop();
    assert_eq!(FrontierReport::merge(vec![first.clone(), second]), first);
    assert_eq!(FrontierReport::merge(Vec::new()), FrontierReport::default());
}

impl FrontierReport {
    /// The same with the numbers of partitions of `other`.
    fn with_counts(mut self, other: &FrontierReport) -> Self {
        for (own, other) in self.sources.iter_mut().zip(&other.sources) {
            own.partitions = other.partitions;
        }
        self
    }
}

#[test]
fn how_far_behind() {
    assert_eq!(behind(10, 25), Some(15));
    assert_eq!(behind(25, 10), Some(0));
    assert_eq!(behind(BEGINNING, 10), None);
    assert_eq!(behind(10, BEGINNING), None);
    assert_eq!(behind(CLOSED, BEGINNING), Some(0));
}

/// A plan of some sources, operators over what comes before them, and outputs of anything.
fn reports() -> impl Strategy<Value = FrontierReport> {
    let time = || prop_oneof![1 => Just(BEGINNING), 8 => 0i64..20, 1 => Just(CLOSED)];
    let reads = || prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..4);
    let sources = prop::collection::vec(time(), 1..4);
    let operators = prop::collection::vec((time(), time(), reads()), 0..5);
    let outputs = prop::collection::vec((time(), reads()), 1..4);
    (sources, operators, outputs).prop_map(|(sources, operators, outputs)| {
        let count = sources.len();
        let edges = |picks: &[(prop::sample::Index, bool)], known: usize| -> Vec<Edge> {
            let one = |(index, side): &(prop::sample::Index, bool)| match index.index(known) {
                source if source < count => edge(Point::Source(source)),
                other => Edge { side: *side, ..edge(Point::Operator(other - count)) },
            };
            picks.iter().map(one).collect()
        };
        let mut report = FrontierReport { at_ms: 100, ..FrontierReport::default() };
        for (index, frontier) in sources.into_iter().enumerate() {
            report.sources.push(source(&format!("t{index}"), frontier, 0));
        }
        for (index, (rows, sides, reads)) in operators.into_iter().enumerate() {
            let reads = edges(&reads, count + index);
            let mut point = operator(&format!("O#{index}"), &reads, rows);
            point.sides = least(sides, 0);
            report.operators.push(point);
        }
        let known = count + report.operators.len();
        for (index, (frontier, reads)) in outputs.into_iter().enumerate() {
            report.outputs.push(output(&format!("v{index}"), &edges(&reads, known), frontier));
        }
        report
    })
}

/// The least frontier of `reads` and all that they hang on, by trying everything.
fn least_of_all(report: &FrontierReport, reads: &[Edge]) -> EventTime {
    let of = |edge: &Edge| match edge.from {
        Point::Source(source) => report.sources[source].least.frontier,
        Point::Operator(operator) => {
            let point = &report.operators[operator];
            let own = if edge.side { &point.sides } else { &point.rows };
            own.frontier.min(least_of_all(report, &point.reads))
        }
    };
    reads.iter().map(of).min().unwrap_or(CLOSED)
}

proptest! {
    /// The holder stands at the least frontier of all that the output hangs on, and nothing that it
    /// hangs on itself is as far back.
    #[test]
    fn the_holder_is_at_the_least_frontier(report in reports()) {
        let known = Effective::new(&report);
        for output in &report.outputs {
            let own = output.least.frontier;
            let all = own.min(least_of_all(&report, &output.reads));
            let (frontier, before) = match known.holder(own, &output.reads) {
                Found::Itself => (own, least_of_all(&report, &output.reads)),
                Found::Source(source, reader) => {
                    prop_assert_eq!(reader, None);
                    (report.sources[source].least.frontier, CLOSED)
                }
                Found::Operator(operator, side) => {
                    let point = &report.operators[operator];
                    let own = if side { &point.sides } else { &point.rows };
                    (own.frontier, least_of_all(&report, &point.reads))
                }
            };
            prop_assert_eq!(frontier, all);
            prop_assert!(before > frontier || all == CLOSED);
        }
    }

    /// Nobody is further than the least of what several processes say, whichever comes first.
    #[test]
    fn merging_takes_the_least_of_each(
        report in reports(),
        times in prop::collection::vec(0i64..20, 12),
    ) {
        let mut other = report.clone();
        let mut times = times.into_iter();
        let mut next = || least(times.next().unwrap_or(7), 1);
        for source in &mut other.sources {
            source.least = next();
        }
        for operator in &mut other.operators {
            operator.rows = next();
        }
        let there = FrontierReport::merge(vec![report.clone(), other.clone()]);
        let back = FrontierReport::merge(vec![other.clone(), report.clone()]);
        prop_assert_eq!(there.held(), back.held());
        for (index, source) in there.sources.iter().enumerate() {
            let frontier = |report: &FrontierReport| report.sources[index].least.frontier;
            prop_assert_eq!(source.least.frontier, frontier(&report).min(frontier(&other)));
        }
    }
}
