//! What becomes of the sinks: what they hold stays, and what they are given from the frontier on
//! must fit to it.
//!
//! Where a sink is given the rows of another query, rows before the frontier are those of the old
//! one and the others those of the new one. That is plain where rows are only added. Where rows are
//! taken back, or where times of a table have changed, it holds what follows from neither script:
//! then nothing is done unless the user says that it is to go on so.

use std::collections::BTreeSet;

use super::compare::Comparison;
use super::sources::changed_tables;
use super::{Before, SinkChange, SinkFate};
use crate::connectors::filesystem::steps::{BEFORE_SYNC, Steps};
use crate::connectors::registry;
use crate::dataflow::snapshots::RunOf;
use crate::error::{Error, ErrorKind, Result};
use crate::job::definition::{Definition, PlanFor};
use crate::job::replay::planned_as;
use crate::job::snapshots::sinks_of;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::{NodeId, OutputTarget, StreamPlan};
use crate::snapshot::{JournalEntry, Manifest, SavedSink, Store, failpoint};
use crate::sql::catalog::TableDef;
use crate::time::BEGINNING;

/// What becomes of the sinks of both plans, and why it cannot be so.
pub fn changes(
    before: &Before,
    plan: &StreamPlan,
    fingerprints: &Fingerprints,
    from_now: bool,
) -> (Vec<SinkChange>, Option<Error>) {
    let old = &before.manifest.sinks;
    let changed = changed_tables(before, plan, fingerprints);
    let (mut sinks, mut refusal) = (Vec::new(), None);
    let new = sinks_of(plan, fingerprints);
    for (index, sink) in &new {
        let node = plan.outputs.get(*index).map(|output| output.node);
        let table = node.and_then(|_| table_of(plan, *index));
        let decided = match old.iter().find(|own| own.name == sink.name) {
            None => begins(before, table).map(|()| (SinkFate::Begins, String::new())),
            Some(own) if own.declared.is_empty() => Err(unknown(sink)),
            Some(own) if own.declared != sink.declared => {
                let why = "it is declared otherwise".to_string();
                begins(before, table).map(|()| (SinkFate::Begins, why))
            }
            Some(own) if own.fingerprint == sink.fingerprint => {
                Ok((SinkFate::Continues, String::new()))
            }
            Some(own) => {
                let read = node.map(|node| tables_below(plan, node)).unwrap_or_default();
                let changed: Vec<&String> = changed.intersection(&read).collect();
                let why = mixture(own, sink, &changed);
                match why {
                    Some(why) if !from_now => Err(mixed(sink, &why)),
                    why => Ok((SinkFate::Changes, why.unwrap_or_default())),
                }
            }
        };
        let (fate, why) = decided.unwrap_or_else(|error| {
            let why = error.message.clone();
            refusal.get_or_insert(error);
            (SinkFate::Changes, why)
        });
        sinks.push(SinkChange { name: sink.name.clone(), fate, why });
    }
    let is_gone = |own: &&SavedSink| {
        let same = |sink: &SavedSink| sink.name == own.name && sink.declared == own.declared;
        !new.iter().any(|(_, sink)| same(sink))
    };
    sinks.extend(old.iter().filter(is_gone).map(|own| SinkChange {
        name: own.name.clone(),
        fate: SinkFate::Ends,
        why: String::new(),
    }));
    (sinks, refusal)
}

/// Why the rows of the old and of the new query do not fit together, if they do not.
fn mixture(old: &SavedSink, new: &SavedSink, changed: &[&String]) -> Option<String> {
    if old.updates || new.updates {
        return Some("rows are taken back that the other query has given".to_string());
    }
    let table = changed.first()?;
    Some(format!("the times of table {table} may have changed"))
}

fn mixed(sink: &SavedSink, why: &str) -> Error {
    let message = format!("sink {} is given the rows of another query, and {why}", sink.name);
    Error::new(ErrorKind::Conflict, message).with_hint(
        "write to another table, which begins with all rows; or say --from-now: what the sink \
         holds stays, and the changes of the new query are added to it",
    )
}

fn unknown(sink: &SavedSink) -> Error {
    let message = format!(
        "the snapshot does not say what sink {} was given, and this version plans the old script \
         otherwise",
        sink.name
    );
    Error::new(ErrorKind::Conflict, message).with_hint("write to another table")
}

/// Refuses a sink that begins where one of the old script has written.
fn begins(before: &Before, table: Option<&TableDef>) -> Result<()> {
    let Some((table, place)) = table.and_then(|table| Some((table, place(table)?))) else {
        return Ok(());
    };
    let mut there = before.written.iter().filter(|(_, path)| path == place);
    let Some((name, _)) = there.next() else { return Ok(()) };
    let message =
        format!("sink {} begins in '{place}', where {name} of this run has written", table.name);
    Err(Error::new(ErrorKind::Conflict, message)
        .with_hint("give it a path of its own, or declare it as it was"))
}

/// Where the sinks of all scripts of a run write, by its journal.
pub fn written(journal: &[JournalEntry], job: &str) -> Vec<(String, String)> {
    let mut scripts = BTreeSet::new();
    for entry in journal {
        if let JournalEntry::Started { sql, settings, .. }
        | JournalEntry::Upgraded { sql, settings, .. } = entry
        {
            scripts.insert((sql, settings));
        }
    }
    let mut written = BTreeSet::new();
    for (sql, settings) in scripts {
        let settings: Vec<_> = settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let script = Definition::new(&[(format!("{job}.sql"), sql.clone())], &settings);
        // What this version does not understand was written by another one.
        let Ok(plan) = script.and_then(|script| script.plan(PlanFor::default())) else { continue };
        let tables = (0..plan.outputs.len()).filter_map(|index| table_of(&plan, index));
        let paths =
            tables.filter_map(|table| Some((table.name.clone(), place(table)?.to_string())));
        written.extend(paths);
    }
    written.into_iter().collect()
}

fn place(table: &TableDef) -> Option<&str> {
    table.options.get("path").map(String::as_str)
}

fn table_of(plan: &StreamPlan, output: usize) -> Option<&TableDef> {
    match &plan.outputs.get(output)?.target {
        OutputTarget::Sink(table) => Some(table),
        OutputTarget::View { .. } | OutputTarget::Print(_) => None,
    }
}

fn tables_below(plan: &StreamPlan, node: NodeId) -> BTreeSet<String> {
    plan.tables_of(node).into_iter().map(str::to_string).collect()
}

/// The sinks of the new snapshot: those that begin have committed nothing.
pub fn saved(
    old: &Manifest,
    plan: &StreamPlan,
    fingerprints: &Fingerprints,
    found: &Comparison,
) -> Vec<SavedSink> {
    let sinks = sinks_of(plan, fingerprints).into_iter();
    let of = |(index, sink): (usize, SavedSink)| {
        let committed = if found.goes_on.contains(&index) { old.frontier } else { BEGINNING };
        SavedSink { committed, ..sink }
    };
    sinks.map(of).collect()
}

/// Closes the sinks that the script before `manifest` had and that of `manifest` has not: their
/// open parts become visible. Done again at each start from `manifest`, as nothing else remembers
/// them; that changes nothing.
pub fn end_dropped(store: &Store, job: &str, manifest: &Manifest) {
    if let Err(error) = close_dropped(store, job, manifest) {
        tracing::warn!(
            job,
            "job {job}: a sink that ended with the old script is not closed: {error}"
        );
    }
}

fn close_dropped(store: &Store, job: &str, manifest: &Manifest) -> Result<()> {
    let journal = store.journal(job, manifest.run)?;
    let mut script = None;
    let mut old = None;
    for entry in journal.read_decisions()? {
        match entry {
            JournalEntry::Started { sql, settings, .. } => script = Some((sql, settings)),
            JournalEntry::Upgraded { snapshot, before, sql, settings, .. } => {
                let earlier = script.replace((sql, settings));
                if snapshot == manifest.id {
                    old = earlier.map(|(sql, settings)| (sql, settings, before));
                }
            }
            _ => {}
        }
    }
    let Some((sql, settings, word)) = old else { return Ok(()) };
    let settings: Vec<_> = settings.into_iter().collect();
    let Some((_, plan)) = planned_as(job, &sql, &settings, &word)? else { return Ok(()) };
    let steps = Steps::new(move |step| {
        if step == BEFORE_SYNC {
            journal.sync()?;
        }
        failpoint::reach(step)
    });
    let (job, begun_ms) = (job.to_string(), manifest.begun_ms);
    let mode = RunOf { job, run: manifest.run, begun_ms, steps, ..RunOf::default() }.sink_mode();
    for (index, sink) in sinks_of(&plan, &Fingerprints::of(&plan)?) {
        let stays = |s: &SavedSink| s.name == sink.name && s.declared == sink.declared;
        if manifest.sinks.iter().any(stays) {
            continue;
        }
        let Some(output) = plan.outputs.get(index) else { continue };
        let Some(table) = table_of(&plan, index) else { continue };
        let key = output.key(plan.node(output.node));
        let mut writer = registry::create_sink(table, &key, &mode)?;
        writer.recover(BEGINNING)?;
        writer.finish(true)?;
    }
    Ok(())
}
