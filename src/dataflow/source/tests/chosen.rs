//! Which snapshot is chosen where several processes read, and when their sources go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::fake::{plan, table};
use super::{DELAYED, view};
use crate::dataflow::decisions::Unnoted;
use crate::dataflow::metrics::lock;
use crate::dataflow::snapshots::{Others, Requested, RunOf, Snapshots, Wanted};
use crate::error::{Error, Result};
use crate::time::EventTime;

/// Another process, whose source has ended there or has let `released` pass. Notes what it is told,
/// and whether a source of the first process could go on at that moment.
#[derive(Debug, Default)]
struct Other {
    released: EventTime,
    is_deaf: bool,
    first: OnceLock<Weak<Snapshots>>,
    told: Mutex<Vec<(String, bool)>>,
}

impl Other {
    fn note(&self, what: impl Into<String>) {
        let first = self.first.get().and_then(Weak::upgrade).expect("it is told of by the first");
        lock(&self.told).push((what.into(), first.paced(0, 1_000_000) == 1_000_000));
    }
}

impl Others for Other {
    fn are_ready(&self) -> bool {
        true
    }

    fn hold(&self) -> Result<Vec<Vec<EventTime>>> {
        self.note("hold");
        Ok(vec![vec![self.released]])
    }

    fn choose(&self, wanted: &Wanted) -> Result<()> {
        self.note(format!("choose {}", wanted.frontier));
        if self.is_deaf { Err(Error::internal("it does not answer")) } else { Ok(()) }
    }

    fn go_on(&self) {
        self.note("go on");
    }

    fn done(&self) {
        self.note("done");
    }

    fn counters(&self, _: EventTime) -> Result<Vec<BTreeMap<String, u64>>> {
        Ok(Vec::new())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn end(&self) {}
}

fn with(other: Other) -> (Arc<Snapshots>, Arc<Other>) {
    let plan = plan(&(table("u", DELAYED) + &view("u")));
    let other = Arc::new(other);
    let others: Arc<dyn Others> = Arc::clone(&other) as _;
    let of = RunOf { others: Some(others), processes: 2, ..RunOf::default() };
    let snapshots = Snapshots::new(of, &plan, Box::new(drop), None, Arc::new(Unnoted));
    let snapshots = Arc::new(snapshots);
    other.first.set(Arc::downgrade(&snapshots)).expect("it is set once");
    (snapshots, other)
}

fn told(other: &Other) -> Vec<(String, bool)> {
    std::mem::take(&mut *lock(&other.told))
}

/// An operator of the other process may read this one's sources alone: they go beyond what was
/// chosen only once it knows.
#[test]
fn sources_go_on_when_all_processes_know_what_was_chosen() {
    let (first, other) = with(Other { released: 250, ..Other::default() });
    assert!(first.release(0, 900));
    let (requested, _) = first.request();
    let Requested::Wanted(wanted) = requested else { panic!("{requested:?}") };
    assert_eq!(wanted.frontier, 900);
    let expected = [("hold", true), ("choose 900", false), ("go on", false)];
    assert_eq!(told(&other), expected.map(|(what, goes)| (what.to_owned(), goes)));
    assert!(first.release(0, 2000), "then they go on");
    // The other is further.
    assert_eq!(first.wanted(0), Some(900));
    first.done();
    let (first, other) = with(Other { released: 1250, ..Other::default() });
    assert!(first.release(0, 900));
    assert!(matches!(first.request().0, Requested::Wanted(w) if w.frontier == 1300));
    assert_eq!(told(&other)[1], ("choose 1300".to_owned(), false));
}

#[test]
fn where_a_process_does_not_answer_none_is_chosen_and_all_go_on() {
    let (first, other) = with(Other { released: 250, is_deaf: true, ..Other::default() });
    assert!(first.release(0, 900));
    assert!(matches!(first.request().0, Requested::NothingNew));
    let expected = ["hold", "choose 900", "done", "go on"];
    assert_eq!(told(&other).into_iter().map(|(what, _)| what).collect::<Vec<_>>(), expected);
    assert_eq!(first.wanted(0), None);
    assert!(first.release(0, 2000), "then they go on");
}

/// One that follows holds its sources from the question until all know.
#[test]
fn a_process_that_follows_waits_until_it_may_go_on() {
    let plan = plan(&(table("u", DELAYED) + &view("u")));
    let of = RunOf { process: 1, processes: 2, ..RunOf::default() };
    let follows = Snapshots::new(of, &plan, Box::new(drop), None, Arc::new(Unnoted));
    assert!(follows.release(0, 100));
    assert_eq!(follows.hold(), [100]);
    assert!(!follows.release(0, 200));
    assert!(follows.follow(300).is_empty());
    assert_eq!(follows.wanted(100), Some(300));
    assert!(!follows.release(0, 200), "others may not know yet");
    follows.go_on();
    assert!(follows.release(0, 400));
}
