//! Another script for a job: which of its state is kept, rebuilt or dropped, and the snapshot that
//! the new script goes on from.
//!
//! * [`plan`]: compares a script with the last snapshot; touches nothing
//! * [`apply`]: commits the snapshot that `plan` has made
//! * `compare`: which state goes to which operator of the new plan, and what needs history
//! * `sources`: what is read again, and whether it is still there
//! * `sinks`: what becomes of the sinks
//!
//! State belongs to a sub-plan, by its fingerprint ([`crate::plan::fingerprint`]). What the new
//! plan has no state for is computed from the history of its tables, which are read again from
//! where their partitions begin; everything else begins as of the frontier of the snapshot and
//! ignores what lies before. So the new snapshot is the old one with the state that is kept, under
//! the numbers of the new plan, and with positions that say what is read again: the files of the
//! state are not touched, and a commit makes it the one to start from.

mod compare;
mod sinks;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::archive;
use super::definition::{Definition, PlanFor};
use super::replay::planned_as;
use super::snapshots::{fingerprint, is_fingerprint, place_of, sinks_of, state_fingerprint};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::StreamPlan;
use crate::snapshot::{FORMAT, JobDefinition, JournalEntry, Manifest, Store};
use crate::telemetry::clock::wall_ms;
use crate::time::{CLOSED, EventTime};

pub use sinks::end_dropped;

/// What a job is to become.
pub struct UpgradeSpec {
    /// Where it is kept.
    pub store: Arc<Store>,
    /// Its name.
    pub job: String,
    /// The texts of the new script, with the names of their files.
    pub texts: Vec<(String, String)>,
    /// Settings from outside of the script; `None`: those that a job of a service has, else none.
    pub settings: Option<BTreeMap<String, String>>,
    /// Sinks whose contents would not follow from the new script alone go on with it all the same.
    pub from_now: bool,
}

/// What becomes of a part of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The new plan goes on with it.
    Kept,
    /// There is none that the new plan could go on with: it is computed from history.
    Rebuilt,
    /// Nothing of the new plan has the state.
    Dropped,
}

/// An operator or view with state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As `EXPLAIN` names it; of what is dropped, in the old plan.
    pub operator: String,
    /// The line and column of the first statement of the new script that it is part of.
    pub place: Option<(usize, usize)>,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, where that is not plain.
    pub why: String,
    /// Rows of state that are kept or dropped.
    pub rows: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

/// How a table is read from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From where the snapshot says.
    GoesOn,
    /// From its start, for rebuilt parts; the others ignore what they have.
    Again,
    /// From its start: the snapshot knows nothing of it.
    New,
    /// Not any more.
    Dropped,
}

/// A table that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReading {
    /// The table.
    pub table: String,
    /// How.
    pub reading: Reading,
    /// Why, where that is not plain.
    pub why: String,
    /// Partitions that are read from their start.
    pub partitions: usize,
    /// Their bytes now, where they are known.
    pub bytes: Option<u64>,
}

/// What becomes of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFate {
    /// It is given the same rows.
    Continues,
    /// It is given the rows of another query from the frontier on.
    Changes,
    /// It is given all that there is.
    Begins,
    /// It is given nothing any more, and is closed.
    Ends,
}

/// A sink of the old or the new script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkChange {
    /// The table.
    pub name: String,
    /// What becomes of it.
    pub fate: SinkFate,
    /// Why, where that is not plain.
    pub why: String,
}

/// What an upgrade does, for users.
#[derive(Clone, Debug)]
pub struct Report {
    /// The job.
    pub job: String,
    /// The snapshot that it starts from.
    pub snapshot: u64,
    /// The frontier of that: where the new script takes over.
    pub frontier: EventTime,
    /// State, in the order of the new plan, then what is dropped.
    pub parts: Vec<Part>,
    /// Tables by name.
    pub tables: Vec<TableReading>,
    /// Sinks by name.
    pub sinks: Vec<SinkChange>,
    /// Whether the new script computes what the old one does, of the same tables.
    pub is_same: bool,
    /// Why it cannot be applied.
    pub refusal: Option<Error>,
    /// The snapshot that was made of it, if it was applied.
    pub applied: Option<u64>,
}

/// An upgrade that can be applied.
pub struct Upgrade {
    /// What it does.
    pub report: Report,
    /// What [`apply`] commits.
    manifest: Manifest,
    /// The snapshot that it starts from.
    before: Manifest,
    /// For a job of a service, what it is from here on.
    pub definition: Option<JobDefinition>,
    store: Arc<Store>,
}

/// The old script of a job as its snapshot tells of it.
struct Before {
    /// With fingerprints, if they are known.
    manifest: Manifest,
    /// Its plan, if this version makes the same one, and what it was made for.
    plan: Option<(PlanFor, Arc<StreamPlan>)>,
    /// Where the sinks of this and of earlier scripts of the run write: their tables and paths.
    written: Vec<(String, String)>,
}

impl Before {
    fn of(store: &Store, manifest: Manifest, job: &str) -> Result<Self> {
        let settings: Vec<_> =
            manifest.settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        // A script that this version does not understand any more is as good as another one.
        let plan = planned_as(job, &manifest.sql, &settings, &manifest.plan).unwrap_or(None);
        let written = sinks::written(&store.journal(job, manifest.run)?.read_decisions()?, job);
        let mut before = Before { manifest, plan, written };
        before.fill_in()?;
        Ok(before)
    }

    /// The fingerprints that snapshots of earlier versions do not have, by the plan.
    fn fill_in(&mut self) -> Result<()> {
        let Some((_, plan)) = &self.plan else { return Ok(()) };
        let known = Fingerprints::of(plan)?;
        let set = |to: &mut String, from: String| {
            if to.is_empty() {
                *to = from;
            }
        };
        for state in &mut self.manifest.states {
            set(&mut state.fingerprint, state_fingerprint(&known, place_of(state.node)));
        }
        for source in &mut self.manifest.sources {
            let index = plan.scans().position(|scan| scan.table.def.name == source.table);
            let found = index.and_then(|index| known.sources.get(index)).cloned();
            set(&mut source.fingerprint, found.unwrap_or_default());
        }
        for (_, sink) in sinks_of(plan, &known) {
            for own in self.manifest.sinks.iter_mut().filter(|own| own.name == sink.name) {
                if own.declared.is_empty() {
                    own.updates = sink.updates;
                }
                set(&mut own.fingerprint, sink.fingerprint.clone());
                set(&mut own.declared, sink.declared.clone());
            }
        }
        Ok(())
    }
}

/// What the script of `spec` would do to its job; touches nothing.
pub fn plan(spec: &UpgradeSpec) -> Result<Upgrade> {
    let (store, job) = (&spec.store, &spec.job);
    archive::check_known(store, job)?;
    let definition = store.definition(job)?;
    let settings = match (&spec.settings, &definition) {
        (Some(settings), _) => settings.clone(),
        (None, Some(definition)) => definition.settings.clone(),
        (None, None) => BTreeMap::new(),
    };
    let given: Vec<_> = settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let script = Definition::new(&spec.texts, &given)?;
    if !script.has_outputs() {
        script.check_for_service()?;
    }
    let before = Before::of(store, last_snapshot(store, job)?, job)?;
    let what_for = match (&definition, &before.plan) {
        (Some(_), _) => {
            script.check_for_service()?;
            PlanFor::SERVICE
        }
        (None, before) => {
            let is_changelog = before.as_ref().is_some_and(|(what_for, _)| what_for.changelog);
            let changelog = is_changelog || (script.prints() && !script.is_bounded());
            PlanFor { changelog, side_views: false }
        }
    };
    let plan = script.plan(what_for)?;
    let sql: Vec<&str> = spec.texts.iter().map(|(_, text)| text.as_str()).collect();
    let definition = definition.map(|definition| JobDefinition {
        sql: sql.join("\n"),
        settings: settings.clone(),
        ..definition
    });
    upgrade(spec, before, &plan, (sql.join("\n"), settings), definition)
}

/// The snapshot that an upgrade starts from.
fn last_snapshot(store: &Store, job: &str) -> Result<Manifest> {
    let none = |what: &str, hint: &str| {
        Error::new(ErrorKind::Conflict, format!("job {job} {what}")).with_hint(hint)
    };
    let latest = store.latest(job)?.manifest.ok_or_else(|| {
        none(
            "has no snapshot yet",
            "there is no state to keep: take a snapshot first, or delete it",
        )
    })?;
    if latest.complete || latest.frontier == CLOSED {
        return Err(none(
            "has come to its end: there is no state to keep",
            "run the new script with --anew, or delete the job and create it again",
        ));
    }
    Ok(latest)
}

fn upgrade(
    spec: &UpgradeSpec,
    before: Before,
    plan: &Arc<StreamPlan>,
    (sql, settings): (String, BTreeMap<String, String>),
    definition: Option<JobDefinition>,
) -> Result<Upgrade> {
    let fingerprints = Fingerprints::of(plan)?;
    let found = compare::compare(&before.manifest, plan, &fingerprints);
    let (sinks, refusal) = sinks::changes(&before, plan, &fingerprints, spec.from_now);
    let readings = sources::readings(&before, plan, &fingerprints, &found);
    let (old, store) = (&before.manifest, &spec.store);
    let manifest = Manifest {
        format: FORMAT,
        id: store.next_id(&spec.job)?,
        created_ms: wall_ms(),
        duration_ms: 0,
        sql,
        settings,
        plan: fingerprint(plan, &fingerprints),
        states: found.states(old, plan, &fingerprints),
        sources: readings.saved,
        sinks: sinks::saved(old, plan, &fingerprints, &found),
        outputs: Some(found.goes_on.iter().map(|index| *index as u64).collect()),
        new_bytes: 0,
        changed_bytes: 0,
        pause_us: 0,
        ..old.clone()
    };
    let report = Report {
        job: spec.job.clone(),
        snapshot: old.id,
        frontier: old.frontier,
        parts: found.parts(old, plan),
        tables: readings.tables,
        sinks,
        is_same: is_fingerprint(&old.plan, plan, &fingerprints),
        refusal: readings.refusal.or(refusal),
        applied: None,
    };
    let store = Arc::clone(store);
    Ok(Upgrade { report, manifest, before: before.manifest, definition, store })
}

/// Makes the new script the job's own: durably, as a whole or not at all. The job must not run.
pub fn apply(upgrade: Upgrade) -> Result<Report> {
    if let Some(refusal) = upgrade.report.refusal {
        return Err(refusal);
    }
    let Upgrade { report, store, manifest, definition, before } = upgrade;
    replace(&store, &before, &manifest, definition.as_ref())?;
    Ok(Report { applied: Some(manifest.id), ..report })
}

/// Takes back an upgrade with which a job could not be started: what was the last snapshot is the
/// newest one again, and `definition` that of the job.
pub fn take_back(store: &Store, before: Manifest, definition: &JobDefinition) -> Result<()> {
    let latest = last_snapshot(store, &before.job)?;
    let again = Manifest { id: store.next_id(&before.job)?, created_ms: wall_ms(), ..before };
    replace(store, &latest, &again, Some(definition))
}

/// Whether the store has `definition` as that of its job.
pub fn is_of(store: &Store, definition: &JobDefinition) -> bool {
    let stored = store.definition(&definition.name);
    stored.is_ok_and(|stored| stored.as_ref() == Some(definition))
}

impl Upgrade {
    /// The snapshot that it starts from, as it was written.
    pub fn starts_from(&self) -> Result<Manifest> {
        let found = self.store.manifest(&self.report.job, self.report.snapshot);
        found.map_err(|damage| Error::new(ErrorKind::Io, damage.to_string()))
    }
}

/// Commits `manifest`, of another script than `before`, with what the journal says of that.
fn replace(
    store: &Store,
    before: &Manifest,
    manifest: &Manifest,
    definition: Option<&JobDefinition>,
) -> Result<()> {
    let entry = JournalEntry::Upgraded {
        at_ms: manifest.created_ms,
        snapshot: manifest.id,
        frontier: manifest.frontier,
        before: before.plan.clone(),
        plan: manifest.plan.clone(),
        sql: manifest.sql.clone(),
        settings: manifest.settings.clone(),
    };
    store.upgrade(manifest, &entry, definition)
}
