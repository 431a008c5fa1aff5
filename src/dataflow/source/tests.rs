//! Event times, frontiers and flow control of the source operator, against their definitions.

mod chosen;
mod fake;
mod holding;

use proptest::prelude::*;

use super::*;
use crate::dataflow::render::render;
use crate::dataflow::runtime::OutputRuntime;
use crate::time::{BEGINNING, LATEST};
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use fake::{Log, Record, Running, Seen, fakes, plan, table};

const DAY: i64 = 86_400_000;
const DELAYED: &str = ", WATERMARK FOR ts AS ts - INTERVAL '0.005' SECOND";
const BY_COLUMN: &str = ", WATERMARK FOR ts AS wm";

fn row(id: i64, ts: i64) -> Record {
    Record::Row(id, Some(ts), None)
}

fn view(of: &str) -> String {
    format!("CREATE MATERIALIZED VIEW v AS SELECT id, ts, wm FROM {of};\n")
}

fn both(a: &str, b: &str) -> String {
    format!(
        "CREATE MATERIALIZED VIEW v AS \
         SELECT id, ts, wm FROM {a} UNION ALL SELECT id, ts, wm FROM {b};\n"
    )
}

/// Time, offset and reason of a dead letter.
type Dead = (i64, i64, String);

/// The definition: rows and dead letters of one partition.
fn expected(records: &[Record], delayed: bool, skew: Option<i64>) -> (Vec<(i64, i64)>, Vec<Dead>) {
    let (mut rows, mut dead) = (Vec::new(), Vec::new());
    let mut f = BEGINNING;
    for (offset, record) in records.iter().enumerate() {
        let mut refuse = |reason: &str| dead.push((f, offset as i64, reason.to_string()));
        match record {
            Record::Broken => refuse("broken"),
            Record::Row(_, None, _) => refuse("the rowtime column is NULL"),
            Record::Row(_, Some(ts), _)
                if f != BEGINNING && skew.is_some_and(|skew| *ts > f + skew) =>
            {
                refuse("the rowtime is further in the future than max_future_skew allows");
            }
            Record::Row(id, Some(ts), wm) => {
                rows.push((*id, (*ts).max(f)));
                let watermark = if delayed { Some(ts - 5) } else { *wm };
                f = watermark.map_or(f, |w| f.max(w + 1));
            }
        }
    }
    (rows, dead)
}

/// Ids and times.
fn sorted(log: &Log) -> Vec<(i64, i64)> {
    let mut times: Vec<_> = log.rows.iter().map(|r| (r.id, r.time)).collect();
    times.sort();
    times
}

/// Cuts partitions into splits, with pauses.
fn script(fake: &fake::Fake, partitions: &[Vec<Record>], cuts: &[usize]) {
    for (p, records) in partitions.iter().enumerate() {
        let mut cut = cuts.iter().cycle().skip(p);
        let mut rest = &records[..];
        loop {
            let n = (*cut.next().unwrap()).min(rest.len());
            if n % 3 == 0 {
                fake.pause(p);
            }
            let (head, tail) = rest.split_at(n);
            rest = tail;
            fake.push(p, head.to_vec(), rest.is_empty());
            if rest.is_empty() {
                break;
            }
        }
    }
}

fn record() -> impl Strategy<Value = Record> {
    let ts = prop::option::weighted(0.9, 0i64..300);
    prop_oneof![
        1 => Just(Record::Broken),
        9 => (0i64..1000, ts, prop::option::weighted(0.8, 0i64..300))
            .prop_map(|(id, ts, wm)| Record::Row(id, ts, wm)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Laws of section "time": exact times, nothing behind the frontier, no worker count, cut or
    /// pause that can be seen in rows or dead letters.
    #[test]
    fn times_and_dead_letters_are_those_of_the_definition(
        partitions in prop::collection::vec(prop::collection::vec(record(), 0..40), 1..5),
        cuts in prop::collection::vec(0usize..9, 1..6),
        delayed in any::<bool>(),
        skew in prop::option::of(0i64..200),
        tick in prop::sample::select(vec![1, 10, 100]),
    ) {
        let mut cuts = cuts;
        cuts.push(3);
        let (mut rows, mut dead) = (Vec::new(), Vec::new());
        for (p, records) in partitions.iter().enumerate() {
            let (own, letters) = expected(records, delayed, skew);
            rows.extend(own.into_iter().map(|(id, time)| Seen { source: 0, id, time }));
            dead.extend(letters.into_iter().map(|(f, offset, reason)| {
                let shown = if f == BEGINNING { 0 } else { f };
                (f, shown, "t".to_string(), format!("p{p}"), offset, reason)
            }));
        }
        rows.sort();
        dead.sort();
        let skew = skew.map_or("off".to_string(), |ms| format!("{ms} ms"));
        let sql = format!(
            "SET 'max_future_skew' = '{skew}';\nSET 'time_resolution' = '{tick} ms';\n{}{}",
            table("t", if delayed { DELAYED } else { BY_COLUMN }),
            view("t"),
        );
        for workers in [1, 2, 4] {
            let prepare = |fakes: &[Arc<fake::Fake>]| script(&fakes[0], &partitions, &cuts);
            let mut log = Running::start(&sql, workers, partitions.len(), false, prepare).finish();
            log.rows.sort();
            log.dead.sort();
            prop_assert_eq!(&log.rows, &rows, "{} workers", workers);
            prop_assert_eq!(&log.dead, &dead, "{} workers", workers);
            prop_assert_eq!(log.frontier(0), CLOSED);
        }
    }
}

#[test]
fn a_rowtime_that_fails_or_cannot_be_is_a_dead_letter() {
    let clause = ", x AS 10 / id, rt AS TO_TIMESTAMP_LTZ(1000 / id, 3), \
                  WATERMARK FOR rt AS rt";
    let sql = table("t", clause) + "CREATE MATERIALIZED VIEW v AS SELECT id, rt FROM t;\n";
    let log = Running::start(&sql, 2, 1, false, |fakes| {
        fakes[0].push(0, vec![row(2, 0), row(0, 0), row(1, 0)], false);
        fakes[0].push(0, vec![row(0, 0)], true);
    })
    .finish();
    assert_eq!(sorted(&log), [(1, 1000), (2, 500)]);
    let mut dead: Vec<_> = log.dead.iter().map(|d| (d.0, d.4)).collect();
    dead.sort();
    assert_eq!(dead, [(501, 1), (1001, 3)]);
    assert!(log.dead[0].5.to_lowercase().contains("divide by zero"), "{:?}", log.dead);

    let sql = table("t", DELAYED) + &view("t");
    let log = Running::start(&sql, 1, 1, false, |fakes| {
        let rows = vec![row(1, 7), row(2, i64::MAX), row(3, i64::MIN), row(4, LATEST), row(5, 8)];
        fakes[0].push(0, rows, false);
        fakes[0].push(0, vec![row(6, LATEST)], true);
    })
    .finish();
    assert_eq!(sorted(&log), [(1, 7), (4, LATEST), (5, LATEST - 4), (6, LATEST)]);
    let dead: Vec<_> = log.dead.iter().map(|d| (d.0, d.4)).collect();
    assert_eq!(dead, [(3, 1), (3, 2)]);
}

#[test]
fn a_silent_partition_stops_holding_the_frontier() {
    for workers in [1, 2] {
        let sql = "SET 'idle_timeout' = '30 ms';\n".to_string() + &table("u", DELAYED) + &view("u");
        let run = Running::start(&sql, workers, 2, false, |_| {});
        run.fakes[0].push(0, vec![row(1, 1000), row(2, 5000)], false);
        run.fakes[0].push(1, vec![row(3, 100)], false);
        run.wait("the silent partition to be passed", |log| log.frontier(0) >= 4900);
        run.fakes[0].push(1, vec![row(4, 200), row(5, 9000)], false);
        run.wait("the late row", |log| log.rows.len() == 5);
        // A new partition begins at the frontier as well.
        run.fakes[0].add_partition();
        run.fakes[0].push(2, vec![row(6, 300)], false);
        run.wait("the new partition", |log| log.rows.len() == 6);
        let log = run.stop();
        let time = |id| log.rows.iter().find(|r| r.id == id).unwrap().time;
        assert_eq!((time(1), time(2), time(3)), (1000, 5000, 100));
        assert_eq!((time(4), time(5)), (4996, 9000));
        assert!(time(6) >= 4900, "{}", time(6));
    }
}

#[test]
fn a_silent_source_lets_pass_what_its_peers_have_reached() {
    let sql = "SET 'idle_timeout' = '30 ms';\nSET 'max_drift' = '1 s';\n".to_string()
        + &table("u1", DELAYED)
        + &table("u2", DELAYED)
        + &both("u1", "u2");
    let run = Running::start(&sql, 2, 1, false, |_| {});
    run.fakes[1].push(0, vec![row(1, 50)], false);
    for second in 1..=20 {
        run.fakes[0].push(0, vec![row(second, second * 1000)], false);
    }
    // All of the first is read although the second is far behind, and both reach its end.
    run.wait("both", |log| log.frontier(0) >= 19_900 && log.frontier(1) >= 19_900);
    run.fakes[1].push(0, vec![row(2, 60)], false);
    run.wait("the late row", |log| log.rows.len() == 22);
    let log = run.stop();
    let late = log.rows.iter().find(|r| r.source == 1 && r.id == 2).unwrap();
    assert!(late.time >= 19_900);
}

#[test]
fn without_a_timeout_a_silent_partition_holds_the_frontier() {
    let sql = table("u", DELAYED) + &view("u");
    let run = Running::start(&sql, 2, 2, false, |_| {});
    run.fakes[0].push(0, vec![row(1, 5000)], false);
    run.fakes[0].push(1, vec![row(2, 100)], false);
    run.wait("both", |log| log.rows.len() == 2 && log.frontier(0) == 0);
    run.fakes[0].push(1, vec![row(3, 200)], false);
    run.wait("the next", |log| log.rows.len() == 3 && log.frontier(0) == 100);
    run.stop();
}

#[test]
fn a_far_future_record_does_not_move_time() {
    for (name, refused) in [("u", true), ("t", false)] {
        let sql = table(name, DELAYED) + &view(name);
        let run = Running::start(&sql, 2, 1, false, |_| {});
        let rows = vec![row(1, 1000), row(2, 1001 + 2 * DAY), row(3, 1500), row(4, 996 + DAY)];
        run.fakes[0].push(0, rows, false);
        run.fakes[0].push(0, vec![row(5, 2000)], true);
        run.wait("all", |log| log.rows.len() + log.dead.len() == 5);
        let log = run.stop();
        let late = if refused { DAY + 992 } else { 2 * DAY + 997 };
        let times = sorted(&log);
        if refused {
            assert_eq!(times, [(1, 1000), (3, 1500), (4, DAY + 996), (5, late)]);
            assert_eq!((log.dead[0].0, log.dead[0].4), (996, 1));
        } else {
            let f = late;
            assert_eq!(times, [(1, 1000), (2, f + 4), (3, f), (4, f), (5, f)]);
        }
    }
}

/// Adds rows of consecutive seconds, one a split.
fn seconds(fake: &fake::Fake, partition: usize, range: std::ops::Range<i64>, ends: bool) {
    let last = range.end - 1;
    for second in range {
        fake.push(partition, vec![row(second, second * 1000)], ends && second == last);
    }
}

/// The latest row of a source, in seconds.
fn latest(log: &Log, source: usize) -> i64 {
    let times = log.rows.iter().filter(|r| r.source == source).map(|r| r.time / 1000);
    times.max().unwrap_or(-1)
}

#[test]
fn a_source_ahead_waits_for_the_others() {
    for workers in [1, 4] {
        let sql = "SET 'max_drift' = '10 s';\n".to_string()
            + &table("a", DELAYED)
            + &table("b", DELAYED)
            + &both("a", "b");
        let run = Running::start(&sql, workers, 1, false, |fakes| {
            seconds(&fakes[0], 0, 0..200, true);
        });
        // Splits may be on their way when the bound is reached: two for each worker.
        let slack = 2 * workers as i64 + 2;
        run.wait("a's start", |log| latest(log, 0) >= 0);
        assert!(run.with_log(|log| latest(log, 0)) <= slack);
        seconds(&run.fakes[1], 0, 0..51, false);
        run.wait("a's middle", |log| latest(log, 0) >= 60 && latest(log, 1) == 50);
        assert!(run.with_log(|log| latest(log, 0)) <= 60 + slack);
        seconds(&run.fakes[1], 0, 51..52, true);
        let log = run.finish();
        assert_eq!(log.rows.len(), 252);
    }
}

#[test]
fn sources_that_wait_for_one_another_come_to_an_end() {
    for workers in [1, 2, 4] {
        let sql = "SET 'max_drift' = '1 s';\n".to_string()
            + &table("a", DELAYED)
            + &table("b", DELAYED)
            + &both("a", "b");
        let log = Running::start(&sql, workers, 2, false, |fakes| {
            seconds(&fakes[0], 0, 0..50, true);
            seconds(&fakes[0], 1, 100..150, true);
            seconds(&fakes[1], 0, 90..140, true);
            seconds(&fakes[1], 1, 30..80, true);
        })
        .finish();
        assert_eq!(log.rows.len(), 200);
    }
}

#[test]
fn sources_that_do_not_meet_do_not_wait() {
    let sql = "SET 'max_drift' = '1 s';\n".to_string()
        + &table("a", DELAYED)
        + &table("u", DELAYED)
        + &view("a")
        + "CREATE MATERIALIZED VIEW w AS SELECT id, ts FROM u;\n";
    let run = Running::start(&sql, 2, 1, false, |fakes| seconds(&fakes[0], 0, 0..100, true));
    run.wait("all of a", |log| log.frontier(0) == CLOSED);
    assert_eq!(run.stop().rows.len(), 100);
}

#[test]
fn a_source_that_no_worker_has_looked_at_has_not_ended() {
    for name in ["t", "u"] {
        let plan = plan(&(table(name, DELAYED) + &view(name)));
        let (runtime, fakes) = fakes(&plan, 1, 1);
        seconds(&fakes[0], 0, 0..1, true);
        let source = runtime.sources().next().unwrap();
        for _ in 0..2 {
            let standing = source.standing();
            let found = (standing.frontier, standing.holds, standing.partitions);
            assert_eq!(found, (BEGINNING, true, 1), "{name}");
        }
    }
}

#[test]
fn rows_in_flight_are_bounded_while_the_outputs_stand_still() {
    for workers in [1, 2, 4] {
        let sql =
            "SET 'source.rows_in_flight' = '20';\n".to_string() + &table("t", DELAYED) + &view("t");
        let run = Running::start(&sql, workers, 2, true, |fakes| {
            for partition in 0..2 {
                for second in 0..200 {
                    let rows = (0..5).map(|i| row(i, second * 1000 + i)).collect();
                    fakes[0].push(partition, rows, second == 199);
                }
            }
        });
        run.wait("the budget", |log| log.rows.len() >= 20);
        for _ in 0..20 {
            assert!(run.with_log(|log| log.rows.len()) <= workers * 25);
            std::thread::sleep(Duration::from_millis(1));
        }
        run.open();
        assert_eq!(run.finish().rows.len(), 2000);
    }
}

#[test]
fn a_budget_of_rows_of_one_time_is_no_deadlock() {
    for workers in [1, 2] {
        let sql =
            "SET 'source.rows_in_flight' = '20';\n".to_string() + &table("t", DELAYED) + &view("t");
        let log = Running::start(&sql, workers, 1, false, |fakes| {
            for split in 0..100 {
                fakes[0].push(0, (0..10).map(|i| row(i, 77)).collect(), split == 99);
            }
        })
        .finish();
        assert_eq!(log.rows.len(), 1000);
    }
}

#[test]
fn partitions_ahead_of_a_silent_one_stay_under_the_budget() {
    let workers = 2;
    let sql =
        "SET 'source.rows_in_flight' = '20';\n".to_string() + &table("u", DELAYED) + &view("u");
    let run = Running::start(&sql, workers, 2, false, |fakes| {
        fakes[0].push(0, vec![row(1, 10)], false);
        for second in 1..=200 {
            fakes[0].push(1, (0..5).map(|i| row(i, second * 1000)).collect(), false);
        }
    });
    run.wait("the budget", |log| log.rows.len() >= 20);
    for _ in 0..20 {
        assert!(run.with_log(|log| log.rows.len()) <= workers * 25 + 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    run.fakes[0].push(0, vec![row(2, 1_000_000)], false);
    run.wait("all", |log| log.rows.len() == 1002);
    run.stop();
}

#[test]
fn ingestion_time_moves_on_by_itself() {
    let sql = table("u", "") + &view("u");
    let run = Running::start(&sql, 2, 2, false, |_| {});
    for id in 0..20 {
        run.fakes[0].push(0, vec![row(id, 0), row(id, 0)], false);
    }
    run.wait("the rows", |log| log.rows.len() == 40);
    let last = run.with_log(|log| log.rows.iter().map(|r| r.time).max().unwrap());
    run.wait("their end", |log| log.frontier(0) > last);
    run.fakes[0].push(0, vec![Record::Broken, row(20, 0)], false);
    run.fakes[0].push(1, vec![row(21, 0)], false);
    run.wait("more rows", |log| log.rows.len() == 42 && log.dead.len() == 1);
    let log = run.stop();
    let times = sorted(&log);
    assert!(times.windows(2).all(|pair| pair[1].0 == 21 || pair[0].1 <= pair[1].1));
    assert!(times[40].1 > last && times[41].1 > last && log.dead[0].0 == times[40].1);
}

/// Runs the whole job of `sql` over bounded fakes.
fn run_job(sql: &str, workers: usize, prepare: impl FnOnce(&[Arc<fake::Fake>])) -> Arc<JobRuntime> {
    let (runtime, fakes) = fakes(&plan(sql), workers, 1);
    prepare(&fakes);
    let run = Arc::clone(&runtime);
    let config = timely::Config {
        communication: timely::CommunicationConfig::Process(workers),
        worker: timely::WorkerConfig::default(),
    };
    let guards = timely::execute(config, move |worker| {
        let probe = worker.dataflow::<EventTime, _, _>(|scope| render(scope, &run, 1000)).unwrap();
        run.built();
        while !probe.done() {
            worker.step_or_park(Some(Duration::from_millis(2)));
        }
    });
    guards.unwrap().join().into_iter().for_each(|ended| ended.unwrap());
    runtime
}

/// The updates of output `index`.
fn updates(runtime: &JobRuntime, index: usize) -> UpdateBatch {
    let OutputRuntime::View(view) = &runtime.outputs[index] else { panic!("no view") };
    view.changes(view.since(), CLOSED).unwrap()
}

#[test]
fn proctime_is_the_time_of_the_row() {
    for clause in ["", DELAYED] {
        let sql = "SET 'retain_history' = '1000 d';\n".to_string()
            + &table("t", clause)
            + "CREATE MATERIALIZED VIEW v AS SELECT id, PROCTIME() AS p FROM t;\n";
        let runtime = run_job(&sql, 2, |fakes| {
            for id in 0..9 {
                fakes[0].push(0, vec![row(2 * id, 1000 - id * 10), row(2 * id + 1, 500)], id == 8);
            }
        });
        let seen = updates(&runtime, 0);
        assert_eq!(seen.len(), 18);
        let shown = seen.rows().column(1).as_primitive::<TimestampMillisecondType>();
        assert_eq!(shown.values(), seen.times());
    }
}

#[test]
fn a_row_that_fails_in_a_query_is_a_dead_letter_at_its_own_time() {
    for workers in [1, 3] {
        let sql = "SET 'retain_history' = '1000 d';\n".to_string()
            + &table("t", DELAYED)
            + "CREATE MATERIALIZED VIEW v AS SELECT 100 / id AS x, ts FROM t;\n";
        let runtime = run_job(&sql, workers, |fakes| {
            fakes[0].push(0, vec![row(1, 1000), row(0, 20), row(2, 30), row(0, 2000)], false);
            fakes[0].push(0, vec![row(0, 7), row(4, 8)], true);
        });
        let index = runtime.outputs.len() - 1;
        let dead = updates(&runtime, index);
        let rows = dead.rows();
        let mut times: Vec<_> = dead.times().to_vec();
        times.sort();
        assert_eq!(times, [996, 1996, 2000]);
        let shown = rows.column(0).as_primitive::<TimestampMillisecondType>();
        assert_eq!(shown.values(), dead.times());
        assert!(rows.column(1).as_string_view().iter().all(|s| s == Some("t")));
        assert!(rows.column(3).as_primitive::<Int64Type>().iter().all(|o| o == Some(-1)));
        assert_eq!(updates(&runtime, 0).len(), 3);
    }
}
