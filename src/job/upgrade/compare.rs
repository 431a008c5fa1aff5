//! Which state of the old plan goes to which part of the new one, and what needs history.
//!
//! A part *needs history* if it is given everything from the beginning: a view or sink that is new,
//! an operator without state, and whatever these read, directly or not. An operator that others
//! need the history of is computed anew even if there is state of it: the state says where it
//! stands, not how it came there. That changes nothing for those which go on: they ignore what they
//! have.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fate, Part};
use crate::dataflow::snapshots::{StatePlace, places_of, reads};
use crate::job::snapshots::{operator_name, place_number, place_of, state_fingerprint};
use crate::plan::explain::output_name;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::{NodeId, Operator, OutputTarget, StreamPlan};
use crate::snapshot::{Manifest, SavedState};

/// What becomes of state.
pub struct Comparison {
    /// By place in the new plan the number of the old state that goes there.
    kept: BTreeMap<StatePlace, usize>,
    /// Old state of parts that are computed anew because others need their history.
    unused: BTreeMap<StatePlace, usize>,
    /// By node, whether its history is needed.
    pub needed: Vec<bool>,
    /// Outputs that go on at the frontier.
    pub goes_on: BTreeSet<usize>,
    /// By place, why it is computed anew.
    why: BTreeMap<StatePlace, String>,
    /// Every part with state, in the order of the plan.
    places: Vec<StatePlace>,
}

/// The old states by fingerprint.
struct Found<'a> {
    old: &'a Manifest,
    taken: BTreeSet<usize>,
}

impl Found<'_> {
    /// The state of the fingerprint, if there is one; of those with the same one that of the same
    /// name, or one that is not taken. What a view holds can be given to several.
    fn take(&mut self, fingerprint: &str, name: &str, is_view: bool) -> Option<usize> {
        let is_own = |(index, state): &(usize, &SavedState)| {
            let is_output = matches!(place_of(state.node), StatePlace::Output(_));
            state.fingerprint == fingerprint
                && is_output == is_view
                && (is_view || !self.taken.contains(index))
        };
        let fitting = || self.old.states.iter().enumerate().filter(is_own);
        let of_name = fitting().find(|(_, state)| state.operator == name);
        let free = || fitting().find(|(index, _)| !self.taken.contains(index));
        let found = of_name.or_else(free).or_else(|| fitting().next()).map(|(index, _)| index);
        self.taken.extend(found);
        found
    }
}

/// Compares the state in `old` with what `plan` needs.
pub fn compare(old: &Manifest, plan: &StreamPlan, fingerprints: &Fingerprints) -> Comparison {
    let mut found = Found { old, taken: BTreeSet::new() };
    let mut comparison = Comparison {
        kept: BTreeMap::new(),
        unused: BTreeMap::new(),
        needed: vec![false; plan.nodes.len()],
        goes_on: BTreeSet::new(),
        why: BTreeMap::new(),
        places: Vec::new(),
    };
    let mut reasons: Vec<String> = vec![String::new(); plan.nodes.len()];
    for (index, output) in plan.outputs.iter().enumerate() {
        let place = StatePlace::Output(index);
        let name = output_name(plan, index);
        let goes_on = match &output.target {
            OutputTarget::Sink(table) => old.sinks.iter().any(|sink| {
                let declared = fingerprints.sinks.get(index).cloned().flatten();
                // One that has begun with another upgrade and not come to its frontier has not got
                // all that lies before.
                let has_all = sink.committed >= old.frontier;
                has_all && sink.name == table.name && Some(&sink.declared) == declared.as_ref()
            }),
            OutputTarget::View { .. } | OutputTarget::Print(_) => {
                comparison.places.push(place);
                let fingerprint = state_fingerprint(fingerprints, place);
                let state = found.take(&fingerprint, &name, true);
                comparison.kept.extend(state.map(|state| (place, state)));
                state.is_some()
            }
        };
        let is_live = is_live(old, plan, output.node);
        if goes_on && is_live {
            comparison.goes_on.insert(index);
        } else {
            comparison.need(output.node, &name, &mut reasons);
        }
    }
    for id in (0..plan.nodes.len()).rev().map(NodeId) {
        let places = places_of(plan, id);
        let states: Vec<Option<usize>> = places
            .iter()
            .map(|place| {
                let name = operator_name(plan, *place);
                found.take(&state_fingerprint(fingerprints, *place), &name, false)
            })
            .collect();
        let is_whole = !places.is_empty() && states.iter().all(Option::is_some);
        let is_needed = comparison.needed[id.0];
        for (place, state) in places.iter().zip(&states) {
            match (is_needed, is_whole) {
                (false, true) => comparison.kept.extend(state.map(|state| (*place, state))),
                _ => {
                    comparison.unused.extend(state.map(|state| (*place, state)));
                    let reason = match is_whole {
                        true => format!("{} needs its history", reasons[id.0]),
                        false => String::new(),
                    };
                    comparison.why.insert(*place, reason);
                }
            }
        }
        comparison.places.extend(&places);
        if is_needed || (!places.is_empty() && !is_whole) {
            let reason = match places.first() {
                Some(place) => operator_name(plan, *place),
                None => reasons[id.0].clone(),
            };
            for input in reads(plan, id) {
                comparison.need(*input, &reason, &mut reasons);
            }
        }
    }
    comparison.places.sort_unstable();
    comparison
}

/// Whether the snapshot has a position of some table that reaches `node`: what hangs on others
/// alone is no part of it.
fn is_live(old: &Manifest, plan: &StreamPlan, node: NodeId) -> bool {
    let mut open = vec![node];
    let mut seen = BTreeSet::new();
    let mut tables = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(reads(plan, id));
            tables.extend(plan.tables_of(id));
        }
    }
    // Every table may give dead letters.
    seen.iter().any(|id| is_dead_letters(plan, *id))
        || old.sources.iter().any(|source| tables.contains(source.table.as_str()))
}

fn is_dead_letters(plan: &StreamPlan, id: NodeId) -> bool {
    matches!(plan.node(id).operator, Operator::DeadLetters)
}

impl Comparison {
    fn need(&mut self, node: NodeId, who: &str, reasons: &mut [String]) {
        if let Some(needed) = self.needed.get_mut(node.0).filter(|needed| !**needed) {
            *needed = true;
            if let Some(reason) = reasons.get_mut(node.0) {
                who.clone_into(reason);
            }
        }
    }

    /// The old state under the numbers of the new plan.
    pub fn states(
        &self,
        old: &Manifest,
        plan: &StreamPlan,
        fingerprints: &Fingerprints,
    ) -> Vec<SavedState> {
        let of = |(place, index): (&StatePlace, &usize)| {
            let state = old.states.get(*index)?.clone();
            Some(SavedState {
                operator: operator_name(plan, *place),
                node: place_number(*place),
                fingerprint: state_fingerprint(fingerprints, *place),
                ..state
            })
        };
        self.kept.iter().filter_map(of).collect()
    }

    /// Every part of the state, for users.
    pub fn parts(&self, old: &Manifest, plan: &StreamPlan) -> Vec<Part> {
        let statements = statements(plan);
        let mut parts = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let kept = self.kept.get(place).and_then(|index| old.states.get(*index));
            let (rows, bytes) = kept.map_or((0, 0), size);
            let mut why = self.why.get(place).cloned().unwrap_or_default();
            let operator = operator_name(plan, *place);
            let was = kept.filter(|state| state.operator != operator);
            if let Some(was) = was {
                why = format!("was {}", was.operator);
            }
            if kept.is_none() && why.is_empty() {
                why = match old.states.iter().any(|state| state.operator == operator) {
                    true if matches!(place, StatePlace::Output(_)) => {
                        "its query has changed".into()
                    }
                    _ => "there is no state of it".to_string(),
                };
            }
            let fate = if kept.is_some() { Fate::Kept } else { Fate::Rebuilt };
            let place = statements.get(place).copied();
            parts.push(Part { operator, place, fate, why, rows, bytes });
        }
        let is_used = |index: &usize| self.kept.values().any(|kept| kept == index);
        for (index, state) in old.states.iter().enumerate().filter(|(i, _)| !is_used(i)) {
            let (rows, bytes) = size(state);
            let is_needed = self.unused.values().any(|unused| *unused == index);
            let why = if is_needed { "it is rebuilt" } else { "" };
            parts.push(Part {
                operator: state.operator.clone(),
                place: None,
                fate: Fate::Dropped,
                why: why.to_string(),
                rows,
                bytes,
            });
        }
        parts
    }
}

fn size(state: &SavedState) -> (u64, u64) {
    let chunks = || state.tables.iter().flat_map(|table| &table.chunks);
    (chunks().map(|chunk| chunk.rows).sum(), chunks().map(|chunk| chunk.bytes).sum())
}

/// By place the first statement that it is part of.
fn statements(plan: &StreamPlan) -> BTreeMap<StatePlace, (usize, usize)> {
    let mut found = BTreeMap::new();
    for (index, output) in plan.outputs.iter().enumerate() {
        let Some(place) = &output.place else { continue };
        let place = (place.line, place.column);
        found.insert(StatePlace::Output(index), place);
        let (mut open, mut seen) = (vec![output.node], BTreeSet::new());
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(reads(plan, id));
                for state in places_of(plan, id) {
                    found.entry(state).or_insert(place);
                }
            }
        }
    }
    found
}
