//! Running history again: the run of a journal, computed anew for the digests of its outputs alone.
//!
//! Sources are read again from the start or from a snapshot, with the decisions of the run; nothing
//! is written. The digests, interval by interval, must be those that the run has noted, on any
//! number of workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::definition::{Definition, PlanFor};
use super::inlets::Inlets;
use super::snapshots::journal::decided;
use super::snapshots::{is_fingerprint, load};
use crate::cluster::{Cluster, Topology};
use crate::connectors::SourceSpec;
use crate::dataflow::decisions::Unnoted;
use crate::dataflow::digest::{Digest, Digests};
use crate::dataflow::metrics::JobMetrics;
use crate::dataflow::runtime::JobRuntime;
use crate::dataflow::snapshots::{Digesting, Hand, Handed, RunOf, Snapshots};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{DIGEST_INTERVAL_MS, SNAPSHOT_MESSAGES_MAX};
use crate::plan::explain::output_name;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::StreamPlan;
use crate::serve::time_text::format_time;
use crate::snapshot::{JournalEntry, Manifest, Store};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// At the first record.
    Start,
    /// At a snapshot; `None`: the newest.
    Snapshot(Option<u64>),
    /// At the newest snapshot that is not after a time.
    Time(EventTime),
}

/// What is to be replayed.
pub struct ReplaySpec {
    /// Where from.
    pub store: Arc<Store>,
    /// The job.
    pub job: String,
    /// The run; `None`: the last one.
    pub run: Option<u64>,
    /// Where it begins.
    pub from: ReplayFrom,
    /// Where it ends; `None`: where the run did.
    pub until: Option<EventTime>,
    /// On how many workers.
    pub workers: usize,
}

/// An interval of an output in which a replay gave something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The output.
    pub output: String,
    /// The interval's begin.
    pub from: EventTime,
    /// What the run had noted.
    pub noted: Digest,
    /// What the replay gave.
    pub replayed: Digest,
}

/// What a replay has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run.
    pub run: u64,
    /// The frontier at which it began.
    pub since: EventTime,
    /// The frontier at which it ended.
    pub until: EventTime,
    /// By output the intervals that were compared.
    pub compared: BTreeMap<String, usize>,
    /// Where the two differ, the earliest first.
    pub differences: Vec<Difference>,
}

/// What a journal says of a run.
struct Noted {
    sql: String,
    settings: Vec<(String, String)>,
    plan: String,
    /// By output the pieces in order: since, to, interval, digest.
    pieces: BTreeMap<String, Vec<Piece>>,
    /// The last snapshot that was made for another script, and its frontier.
    upgraded: Option<(u64, EventTime)>,
}

#[derive(Clone, Copy)]
struct Piece {
    since: EventTime,
    to: EventTime,
    interval: EventTime,
    digest: Digest,
}

fn noted(entries: &[JournalEntry]) -> Result<Noted> {
    let mut found: Option<Noted> = None;
    for entry in entries {
        match entry {
            JournalEntry::Started { sql, settings, frontier, plan, .. } => {
                let settings = settings.clone().into_iter().collect();
                let (sql, plan) = (sql.clone(), plan.clone());
                let upgraded = found.as_ref().and_then(|noted: &Noted| noted.upgraded);
                let mut pieces = found.map(|noted| noted.pieces).unwrap_or_default();
                // What lies behind the snapshot that it went on from has been computed again.
                let reached = frontier.unwrap_or(BEGINNING);
                for own in pieces.values_mut() {
                    own.retain(|piece| piece.to <= reached);
                }
                found = Some(Noted { sql, settings, plan, pieces, upgraded });
            }
            // What was given before followed from another script.
            JournalEntry::Upgraded { snapshot, frontier, plan, sql, settings, .. } => {
                let settings = settings.clone().into_iter().collect();
                let (sql, plan, pieces) = (sql.clone(), plan.clone(), BTreeMap::new());
                let upgraded = Some((*snapshot, *frontier));
                found = Some(Noted { sql, settings, plan, pieces, upgraded });
            }
            &JournalEntry::Digest { ref output, from, to, since, updates, digest } => {
                let Some(noted) = &mut found else { continue };
                let own = noted.pieces.entry(output.clone()).or_default();
                // What is computed again from its beginning begins anew.
                if since == BEGINNING {
                    own.retain(|piece| piece.since == BEGINNING && piece.to == to);
                }
                let digest = Digest { updates, sum: digest };
                own.push(Piece { since, to, interval: from, digest });
            }
            _ => {}
        }
    }
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "the run has noted nothing"))
}

impl Noted {
    /// How far every output has come.
    fn reached(&self) -> EventTime {
        let last = |pieces: &Vec<Piece>| pieces.iter().map(|p| p.to).max();
        self.pieces.values().filter_map(last).min().unwrap_or(BEGINNING)
    }
}

/// The plan that the run had.
fn plan_of(noted: &Noted, job: &str) -> Result<Arc<StreamPlan>> {
    let found = planned_as(job, &noted.sql, &noted.settings, &noted.plan)?;
    found.map(|(_, plan)| plan).ok_or_else(|| {
        let message = format!("job {job} is planned differently by this version");
        Error::new(ErrorKind::Conflict, message)
            .with_hint("replay it with the version that has run it")
    })
}

/// The plan of a script whose fingerprint is `word`, and what it was made for; `None` if this
/// version plans it in another way.
pub fn planned_as(
    job: &str,
    sql: &str,
    settings: &[(String, String)],
    word: &str,
) -> Result<Option<(PlanFor, Arc<StreamPlan>)>> {
    let definition = Definition::new(&[(format!("{job}.sql"), sql.to_string())], settings)?;
    for side_views in [false, true] {
        for changelog in [false, true] {
            let what_for = PlanFor { changelog, side_views };
            let plan = definition.plan(what_for)?;
            if is_fingerprint(word, &plan, &Fingerprints::of(&plan)?) {
                return Ok(Some((what_for, plan)));
            }
        }
    }
    Ok(None)
}

fn manifest(spec: &ReplaySpec, run: u64) -> Result<Option<Manifest>> {
    if spec.from == ReplayFrom::Start {
        return Ok(None);
    }
    let listed = spec.store.snapshots(&spec.job)?;
    let mut whole = listed.into_iter().flatten().filter(|m| m.run == run && !m.complete);
    let fits = |m: &Manifest| match spec.from {
        ReplayFrom::Start => false,
        ReplayFrom::Snapshot(id) => id.is_none_or(|id| id == m.id),
        ReplayFrom::Time(time) => m.frontier <= time,
    };
    let found = whole.rfind(fits);
    found.map(Some).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("job {} has no such snapshot", spec.job))
            .with_hint("`floodmark snapshots list` lists them; --from start needs none")
    })
}

/// Runs history again and compares; `watch` is called several times a second.
pub fn replay(
    spec: &ReplaySpec,
    stop: &AtomicBool,
    mut watch: impl FnMut(&JobMetrics),
) -> Result<Report> {
    let runs = spec.store.runs(&spec.job)?;
    let run = spec.run.or(runs.last().copied()).filter(|run| runs.contains(run));
    let run = run.ok_or_else(|| {
        let message = format!("job {} has no such run", spec.job);
        Error::new(ErrorKind::NotFound, message).with_hint("`floodmark runs` lists them")
    })?;
    let journal = spec.store.journal(&spec.job, run)?;
    let entries = journal.read_decisions()?;
    let noted = noted(&entries)?;
    let plan = plan_of(&noted, &spec.job)?;
    let manifest = manifest(spec, run)?;
    if let Some((snapshot, frontier)) = noted.upgraded
        && manifest.as_ref().is_none_or(|manifest| manifest.id <= snapshot)
    {
        let time = format_time(frontier);
        let message = format!(
            "run {run} of job {} goes on with another script since snapshot {snapshot}, as of \
             {time}: what it gave before cannot be computed by this one",
            spec.job
        );
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("replay from a later one: --from snapshot"));
    }
    let read = |m: &Manifest| load::read(&spec.store, m, &plan, spec.workers);
    let restored = manifest.as_ref().map(read).transpose()?;
    let since = manifest.as_ref().map_or(BEGINNING, |m| m.frontier);
    // Digests are of whole intervals.
    let whole = |time: EventTime| time.div_euclid(DIGEST_INTERVAL_MS) * DIGEST_INTERVAL_MS;
    let until = spec.until.map_or(CLOSED, whole).min(noted.reached());
    let has_whole = noted.pieces.values().flatten().any(|piece| {
        let end = piece.interval.saturating_add(DIGEST_INTERVAL_MS);
        piece.since >= since && piece.digest != Digest::default() && end <= until
    });
    if until <= since || (spec.until.is_some() && !has_whole) {
        return Err(Error::new(ErrorKind::Conflict, "there is nothing to replay").with_hint(
            "the run has noted nothing between the beginning and the end of the replay, \
                 which are compared by whole minutes",
        ));
    }
    let digesting = Digesting { until, alone: true, ..Digesting::default() };
    let decided = decided(&plan, &entries);
    // No sink is opened, which alone must know when the run began.
    let of = RunOf { job: spec.job.clone(), run, decided, digesting, ..RunOf::default() };
    let (sender, receiver) = sync_channel(SNAPSHOT_MESSAGES_MAX);
    let hand: Hand = Box::new(move |handed| drop(sender.send(handed)));
    let snapshots = Snapshots::new(of, &plan, hand, restored, Arc::new(Unnoted));
    let topology = Topology::alone(spec.workers);
    let snapshots = Arc::new(snapshots);
    let rows = Inlets::of_run(&spec.store, &spec.job, run);
    let create = |spec: &SourceSpec| rows.create_source(spec);
    let runtime =
        JobRuntime::open(Arc::clone(&plan), topology.place(), None, &create, Some(snapshots))?;
    let runtime = Arc::new(runtime);
    let cluster = Cluster::start(&topology)?;
    cluster.install(0, &runtime, plan.rows_in_flight())?;
    let gathered = gather(&plan, spec.workers, until, &receiver, &runtime, stop, &mut watch);
    runtime.stop();
    cluster.remove(0)?;
    // Whoever still hands over something must not wait for a reader.
    drop(receiver);
    drop(cluster);
    let replayed = gathered?;
    Ok(compare(&noted, &replayed, (run, since, until), &plan))
}

/// The digests of all outputs, once they have come to `until`.
fn gather(
    plan: &StreamPlan,
    workers: usize,
    until: EventTime,
    receiver: &Receiver<Handed>,
    runtime: &JobRuntime,
    stop: &AtomicBool,
    watch: &mut impl FnMut(&JobMetrics),
) -> Result<BTreeMap<usize, Digests>> {
    const LOOK: Duration = Duration::from_millis(100);
    let outputs = 0..plan.outputs.len();
    let mut missing: BTreeSet<(usize, usize)> =
        outputs.flat_map(|output| (0..workers).map(move |worker| (output, worker))).collect();
    let mut found: BTreeMap<usize, Digests> = BTreeMap::new();
    while !missing.is_empty() {
        match receiver.recv_timeout(LOOK) {
            Ok(Handed::Digests { output, worker, to, digests, .. }) => {
                let own = found.entry(output).or_default();
                for (interval, digest) in digests {
                    own.entry(interval).or_default().add(digest);
                }
                if to >= until {
                    missing.remove(&(output, worker));
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(error) = runtime.metrics.failure() {
            return Err(error);
        }
        if stop.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Conflict, "the replay was stopped"));
        }
        watch(&runtime.metrics);
    }
    Ok(found)
}

/// Compares interval by interval what lies between `since` and `until`.
fn compare(
    noted: &Noted,
    replayed: &BTreeMap<usize, Digests>,
    (run, since, until): (u64, EventTime, EventTime),
    plan: &StreamPlan,
) -> Report {
    let mut report = Report { run, since, until, ..Report::default() };
    for output in 0..plan.outputs.len() {
        let name = output_name(plan, output);
        let mut sums: BTreeMap<EventTime, (Digest, Digest)> = BTreeMap::new();
        let pieces = noted.pieces.get(&name).into_iter().flatten();
        let is_before = |p: &&Piece| p.to <= until || p.interval + DIGEST_INTERVAL_MS <= until;
        for piece in pieces.filter(|p| p.since >= since).filter(is_before) {
            sums.entry(piece.interval).or_default().0.add(piece.digest);
        }
        for (interval, digest) in replayed.get(&output).into_iter().flatten() {
            sums.entry(*interval).or_default().1.add(*digest);
        }
        sums.retain(|_, (noted, replayed)| {
            *noted != Digest::default() || *replayed != Digest::default()
        });
        report.compared.insert(name.clone(), sums.len());
        for (from, (noted, replayed)) in sums {
            if noted != replayed {
                let output = name.clone();
                report.differences.push(Difference { output, from, noted, replayed });
            }
        }
    }
    report.differences.sort_by(|a, b| (a.from, &a.output).cmp(&(b.from, &b.output)));
    report
}
