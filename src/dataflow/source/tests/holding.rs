//! What a source says of the partition that holds it.

use std::time::Duration;

use super::fake::{Record, Running, table};
use super::*;
use crate::dataflow::frontier::report::{SourcePoint, SourceState};

/// What is said of source number `source` once `found` likes it.
fn said(run: &Running, source: usize, found: impl Fn(&SourcePoint) -> bool) -> SourcePoint {
    for _ in 0..3000 {
        let point = run.runtime.frontier_report().sources.swap_remove(source);
        if found(&point) {
            return point;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never so: {:?}", run.runtime.frontier_report());
}

fn is_at(point: &SourcePoint, name: &str, offset: i64) -> bool {
    point.partition.as_ref().is_some_and(|p| p.name == name && p.offset == offset)
}

#[test]
fn the_partition_that_is_least_far_is_named_with_its_offset() {
    for workers in [1, 2] {
        let sql = table("u", DELAYED) + &view("u");
        let run = Running::start(&sql, workers, 3, false, |_| {});
        run.fakes[0].push(0, vec![row(1, 1000), row(2, 5000)], false);
        run.fakes[0].push(1, vec![row(3, 2000), Record::Broken, row(4, 3000)], false);
        let begun = said(&run, 0, |p| is_at(p, "p2", 0) && p.state == SourceState::WaitsForData);
        assert_eq!((begun.least.frontier, begun.partitions), (BEGINNING, 3));
        run.fakes[0].push(2, vec![row(5, 9000)], false);
        let held = said(&run, 0, |p| {
            is_at(p, "p1", 3) && p.state == SourceState::WaitsForData && p.least.frontier == 2900
        });
        assert_eq!(held.partition.map(|p| p.frontier), Some(2996));
        assert_eq!(held.furthest, 8996);
        // Of one that has ended nothing is to be waited for.
        run.fakes[0].push(1, vec![row(6, 3100)], true);
        let next = said(&run, 0, |p| is_at(p, "p0", 2) && p.least.frontier == 4900);
        assert!(next.since_ms <= held.since_ms, "it has stood since before");
        run.stop();
    }
}

#[test]
fn a_source_says_why_it_does_not_read() {
    // Ahead of another by more than it may be.
    let sql = "SET 'max_drift' = '1 s';\n".to_owned()
        + &table("u1", DELAYED)
        + &table("u2", DELAYED)
        + &both("u1", "u2");
    let run = Running::start(&sql, 1, 1, false, |_| {});
    run.fakes[1].push(0, vec![row(1, 1000)], false);
    for second in 1..=20 {
        run.fakes[0].push(0, vec![row(second, second * 1000)], false);
    }
    let ahead = said(&run, 0, |p| matches!(p.state, SourceState::Drift { .. }));
    let SourceState::Drift { of, ahead_ms, max_ms } = ahead.state else { panic!("{ahead:?}") };
    assert_eq!((of.as_str(), ahead_ms, max_ms), ("u2", Some(2000), 1000));
    run.stop();

    // More rows on their way than may be: what listens is closed.
    let sql = "SET 'source.rows_in_flight' = '3';\n".to_owned() + &table("u", DELAYED) + &view("u");
    let run = Running::start(&sql, 1, 1, true, |_| {});
    for second in 1..=20 {
        run.fakes[0].push(0, vec![row(second, second * 1000)], false);
    }
    let held = said(&run, 0, |p| p.state == SourceState::BackPressure);
    assert!(held.partition.is_some_and(|p| p.offset >= 3 && p.offset < 20));
    run.open();
    said(&run, 0, |p| is_at(p, "p0", 20) && p.state == SourceState::WaitsForData);
    run.stop();

    // Before it was started, and when it has ended.
    let sql = table("t", DELAYED) + &view("t");
    let (idle, _) = fakes(&plan(&sql), 1, 1);
    let report = idle.frontier_report();
    assert_eq!(report.sources[0].state, SourceState::Starting);
    let run = Running::start(&sql, 2, 2, false, |_| {});
    run.fakes[0].push(0, vec![row(1, 1000)], true);
    run.fakes[0].push(1, vec![row(2, 9000)], true);
    let ended = said(&run, 0, |p| p.state == SourceState::Ended);
    assert_eq!((ended.least.frontier, ended.partition), (crate::time::CLOSED, None));
    run.stop();
}
