//! Says of each unit what it goes on from, and what its content is decided by. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::Facts;
use super::inputs::Sources;
use super::options::PlanOptions;
use super::previous::{Previous, PreviousKind, PreviousLookup};
use super::reason::Reason;
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{Entry, Inputs, State};

/// A unit, what it goes on from, and its content.
pub(super) struct Identity<'s> {
    pub(super) previous: Option<Previous<'s>>,
    pub(super) inputs: Inputs,
    pub(super) fingerprint: Fingerprint,
    /// Why it has to be made again though nothing changed.
    pub(super) must: Option<Reason>,
}

/// Identifies units, bases first.
pub(super) struct Identifier<'a> {
    pub(super) facts: &'a Facts,
    pub(super) state: &'a State,
    pub(super) options: &'a PlanOptions,
    pub(super) lookup: PreviousLookup<'a>,
    /// Of all units so far.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// The names of those whose tag holds the fingerprint of their content.
    pub(super) settled: HashMap<UnitId, ImageRef>,
}

impl<'a> Identifier<'a> {
    pub(super) fn new(
        workspace: &Workspace,
        facts: &'a Facts,
        state: &'a State,
        options: &'a PlanOptions,
    ) -> Self {
        let lookup = PreviousLookup::new(workspace, state);
        let fingerprints = Vec::with_capacity(workspace.units.len());
        Self { facts, state, options, lookup, fingerprints, settled: HashMap::new() }
    }

    /// The next unit.
    pub(super) fn next(&mut self, workspace: &Workspace, id: UnitId) -> Identity<'a> {
        let unit = workspace.unit(id);
        let previous = self.lookup.of(workspace, unit);
        let origin = match &unit.content_tag {
            Some(_) => {
                let content = self.inputs(workspace, id, 0);
                self.lookup.of_content(workspace, unit, &content)
            }
            None => previous,
        };
        let must = self.must(unit, origin);
        let inputs = self.inputs(workspace, id, again(origin, self.facts, must.is_some()));
        let fingerprint = inputs.fingerprint();
        if let Some(template) = &unit.content_tag {
            // What was taken for made from its first pins keeps the tag that it was given without.
            let kept = origin.filter(|origin| {
                origin.key.name == unit.key.name && holds(origin.entry, fingerprint)
            });
            let tag = match kept {
                Some(kept) => kept.key.tag.clone(),
                None => template.with_fingerprint(&fingerprint),
            };
            self.settled.insert(id, ImageRef { name: unit.key.name.clone(), tag });
        }
        self.fingerprints.push(fingerprint);
        Identity { previous, inputs, fingerprint, must }
    }

    fn inputs(&self, workspace: &Workspace, id: UnitId, again: u32) -> Inputs {
        let (facts, state, settled) = (self.facts, self.state, &self.settled);
        let sources = Sources { workspace, facts, state, settled };
        sources.inputs(id, &self.fingerprints, again)
    }

    /// Why a unit has to be made again though nothing changed.
    fn must(&self, unit: &Unit, previous: Option<Previous<'_>>) -> Option<Reason> {
        let Previous { key, entry, .. } = previous?;
        let built = entry.built.as_ref()?;
        if self.options.replace.iter().any(|pattern| pattern.matches(unit)) {
            return Some(Reason::Requested);
        }
        let listed = || self.facts.remote(&built.owner, key).flatten()?.changed;
        let completed = built.completed.or_else(listed)?;
        let (now, max) = (self.facts.now?, unit.max_age?);
        let age = Duration::try_from(now.duration_since(completed)).ok()?;
        expired(&unit.shown(), completed, now, max)
            .then_some(Reason::Expired { age_seconds: age.as_secs() })
    }
}

/// What decides the content of each unit, and the fingerprint of all of it.
pub fn identities(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> Vec<(Inputs, Fingerprint)> {
    let mut identifier = Identifier::new(workspace, facts, state, options);
    let identity = |index| {
        let Identity { inputs, fingerprint, .. } = identifier.next(workspace, UnitId(index));
        (inputs, fingerprint)
    };
    (0..workspace.units.len()).map(identity).collect()
}

/// Settles the tags that hold the fingerprint of the content, which is known once the contexts are.
pub(super) fn settle(
    mut workspace: Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> Workspace {
    if workspace.units.iter().all(|unit| unit.content_tag.is_none()) {
        return workspace;
    }
    let mut identifier = Identifier::new(&workspace, facts, state, options);
    for index in 0..workspace.units.len() {
        identifier.next(&workspace, UnitId(index));
    }
    for (UnitId(index), key) in identifier.settled {
        workspace.units[index].key = key;
    }
    workspace
}

/// Whether an entry is of just this content, there or under way.
fn holds(entry: &Entry, fingerprint: Fingerprint) -> bool {
    let built = entry.built.as_ref().map(|built| built.fingerprint);
    let submitted = entry.submitted.as_ref().map(|submitted| submitted.fingerprint);
    let pending = entry.pending.as_ref().map(|pending| pending.fingerprint);
    [built, submitted, pending].contains(&Some(fingerprint))
}

/// How often a unit was made though nothing had changed. Where it `must` be made again, once more,
/// if that is not under way already. It enters the fingerprint, so that what stands on the unit
/// is made again after it, however often a run dies between the two.
fn again(previous: Option<Previous<'_>>, facts: &Facts, must: bool) -> u32 {
    let Some(entry) = previous.map(|previous| previous.entry) else { return 0 };
    let of = |inputs: &Inputs| inputs.get("again").and_then(|n| n.parse().ok()).unwrap_or(0);
    let built = entry.built.as_ref().map_or(0, |built| of(&built.inputs));
    let submitted = entry.submitted.as_ref().map(|submitted| of(&submitted.inputs));
    let pending = facts.running(entry).map(|pending| of(&pending.inputs));
    let begun = submitted.into_iter().chain(pending).fold(built, u32::max);
    if must && begun == built { built.saturating_add(1) } else { begun }
}

/// Whether an image is too old. Each has a moment of its own, by its name, that comes round once in
/// every `max`: what was all made in one night is not all made again in one night. The name is that
/// of the manifest, so that an image which is renamed is not too old for that.
fn expired(name: &str, completed: Timestamp, now: Timestamp, max: Duration) -> bool {
    let max = i128::from(u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1));
    let digest = Digest::of(name.as_bytes());
    let (bytes, _) = digest.as_bytes().split_at(8);
    let hash = bytes.iter().fold(0u64, |hash, &byte| hash << 8 | u64::from(byte));
    let phase = i128::from(hash) % max;
    let turn = |at: Timestamp| (i128::from(at.as_millisecond()) + phase).div_euclid(max);
    turn(now) > turn(completed)
}

impl Identity<'_> {
    /// Whether it goes on from an entry of another name.
    pub(super) fn link(&self) -> Option<PreviousKind> {
        self.previous.map(|previous| previous.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_in_one_night_grows_old_in_seven() {
        const DAY: u64 = 86_400;
        let week = Duration::from_secs(7 * DAY);
        let made: Timestamp = "2026-11-01T03:00:00Z".parse().unwrap();
        let night = |days: u64| made + Duration::from_secs(days * DAY);
        let keys: Vec<String> = (0..700).map(|n| format!("image-{n}:v1")).collect();
        let mut before = 0;
        for day in 1..=7 {
            let old = keys.iter().filter(|key| expired(key, made, night(day), week)).count();
            assert!((70..130).contains(&(old - before)), "{} on night {day}", old - before);
            before = old;
        }
        assert_eq!(before, keys.len(), "none is older than a week");
        assert!(!keys.iter().any(|key| expired(key, made, made, week)));
    }
}
