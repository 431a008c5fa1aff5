//! What is said of a job while it runs: no output is ever ahead of what it hangs on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::manager::{JobManager, Service, ServiceSpec};
use super::service::{JobFrontier, JobService, JobState};
use crate::dataflow::frontier::graph::{Edge, Point};
use crate::dataflow::frontier::report::FrontierReport;
use crate::time::{CLOSED, EventTime};

/// A join, windows over it, late rows and dead letters, over two files and a generator.
fn script() -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nexmark");
    let tables = std::fs::read_to_string(dir.join("tables.sql")).unwrap();
    let tables = tables.replace("'path' = '", &format!("'path' = '{}/", dir.display()));
    format!(
        "SET 'source.split_bytes' = '20000'; {tables};
         CREATE MATERIALIZED VIEW sold AS
         SELECT a.id, COUNT(*) AS n FROM auction AS a JOIN bid AS b ON a.id = b.auction
         GROUP BY a.id;
         CREATE MATERIALIZED VIEW hot AS
         SELECT window_end, COUNT(*) AS n
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
         GROUP BY window_start, window_end;"
    )
}

fn at(report: &FrontierReport, edge: &Edge) -> EventTime {
    match edge.from {
        Point::Source(source) => report.sources[source].least.frontier,
        Point::Operator(operator) => {
            let point = &report.operators[operator];
            let least = if edge.side { &point.sides } else { &point.rows };
            least.frontier
        }
    }
}

fn check(known: &JobFrontier) {
    let report = &known.report;
    let operators = report.operators.iter();
    let operators =
        operators.flat_map(|o| [(&o.label, &o.reads, &o.rows), (&o.label, &o.reads, &o.sides)]);
    let outputs = report.outputs.iter().map(|o| (&o.label, &o.reads, &o.least));
    for (label, reads, least) in operators.chain(outputs) {
        for edge in reads {
            assert!(least.frontier <= at(report, edge), "{label} is ahead of {edge:?}");
        }
    }
    for held in report.held() {
        assert_eq!(held.holder.is_none(), held.frontier == CLOSED, "{held:?}");
        let Some(holder) = held.holder else { continue };
        let source = report.sources.iter().find(|s| Some(&s.table) == holder.source.as_ref());
        if let Some(source) = source {
            assert_eq!(source.least.frontier, held.frontier, "{holder:?}");
        }
    }
}

#[test]
fn no_output_is_ahead_of_what_it_hangs_on() {
    for workers in [1, 3] {
        let spec = ServiceSpec { workers, ..ServiceSpec::default() };
        let service = Service(JobManager::start(spec).unwrap());
        service.create("nexmark", &script()).unwrap();
        let (mut looked, mut sources, mut moved) = (0, 0, Vec::new());
        loop {
            let known = service.frontier("nexmark").unwrap();
            check(&known);
            looked += 1;
            let held = known.report.held();
            let holders = held.iter().filter_map(|h| h.holder.as_ref());
            sources += holders.filter(|holder| holder.source.is_some()).count();
            moved.push(held[0].frontier);
            match known.state {
                JobState::Finished => break,
                JobState::Failed { error } => panic!("{error}"),
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        assert!(moved.is_sorted(), "a frontier never moves back");
        moved.dedup();
        assert!(looked > 5 && sources > 0 && moved.len() > 2, "{looked} {sources} {moved:?}");
        let last = service.frontier("nexmark").unwrap();
        assert!(last.report.outputs.iter().all(|output| output.least.frontier == CLOSED));
        let service = Arc::clone(&service.0);
        service.stop();
    }
}
