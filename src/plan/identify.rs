//! Identifies units: computes their inputs, fingerprints and tags, and finds the lockfile entries
//! that they continue. Pure.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::Facts;
use super::inputs::inputs;
use super::members::Members;
use super::options::PlanOptions;
use super::previous::{Previous, PreviousLookup};
use super::reason::Reason;
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{Entry, Inputs, State};

/// Inputs of a unit, and the lockfile entry that it continues.
#[derive(Debug)]
pub(crate) struct Identity<'s> {
    /// Key of the unit, with its fingerprint in the tag if the manifest wants that.
    pub key: ImageRef,
    /// Everything that decides the content.
    pub inputs: Cow<'s, Inputs>,
    /// Digest of the inputs.
    pub fingerprint: Fingerprint,
    /// Lockfile entry that the unit continues.
    pub(super) previous: Option<Previous<'s>>,
    /// Reason to rebuild although no input changed.
    pub(super) forced: Option<Reason>,
}

/// Identifies all units, in the order of the workspace: bases first.
pub(crate) fn identify<'s>(
    workspace: &Workspace,
    facts: &Facts,
    state: &'s State,
    options: &PlanOptions,
) -> Vec<Identity<'s>> {
    let lookup = PreviousLookup::new(workspace, state);
    let replaced = replaced(workspace, options);
    let mut identities: Vec<Identity<'s>> = Vec::with_capacity(workspace.units.len());
    for (index, unit) in workspace.units.iter().enumerate() {
        let inputs = |replace_count| {
            let bases = unit.needs.iter().filter_map(|base| identities.get(base.0));
            let bases = bases.map(|base| (&base.key, base.fingerprint));
            inputs(UnitId(index), unit, bases, replace_count, facts, state)
        };
        // The entry that counts how often the unit was replaced. With the fingerprint in the tag,
        // that count decides the tag, so the entry is found by its content.
        let replace_source = match &unit.content_tag {
            Some(_) => lookup.of_content(workspace, unit, &inputs(0)),
            None => lookup.of(workspace, unit),
        };
        let is_replaced = replaced.contains(&UnitId(index));
        let forced = forced(unit, replace_source, facts, is_replaced);
        let inputs = inputs(replace_count(replace_source, facts, forced.is_some()));
        let fingerprint = inputs.fingerprint();
        let key = resolved_key(unit, replace_source, fingerprint);
        let previous = match &unit.content_tag {
            Some(_) => lookup.of_key(workspace, unit, &key),
            None => replace_source,
        };
        // Most inputs are those of the last build, of which there need not be a copy.
        let built = previous.and_then(|previous| Some(&previous.entry.built.as_ref()?.inputs));
        let inputs = match built.filter(|built| **built == inputs) {
            Some(built) => Cow::Borrowed(built),
            None => Cow::Owned(inputs),
        };
        identities.push(Identity { key, inputs, fingerprint, previous, forced });
    }
    identities
}

/// Puts the fingerprints into the tags of the units that want that.
pub(crate) fn resolve_tags(mut workspace: Workspace, identities: &[Identity<'_>]) -> Workspace {
    for (unit, identity) in workspace.units.iter_mut().zip(identities) {
        if unit.content_tag.is_some() {
            unit.key = identity.key.clone();
        }
    }
    workspace
}

fn resolved_key(
    unit: &Unit,
    replace_source: Option<Previous<'_>>,
    fingerprint: Fingerprint,
) -> ImageRef {
    let Some(template) = &unit.content_tag else { return unit.key.clone() };
    // An entry whose fingerprint changed with its first pins keeps the tag that it was built with.
    let current = replace_source.filter(|previous| {
        previous.key.name == unit.key.name && has_fingerprint(previous.entry, fingerprint)
    });
    let tag = match current {
        Some(previous) => previous.key.tag.clone(),
        None => template.with_fingerprint(&fingerprint),
    };
    ImageRef { name: unit.key.name.clone(), tag }
}

/// Returns the units to rebuild on request. A partition rebuilds only its own: the run of another part
/// rebuilds the others.
fn replaced(workspace: &Workspace, options: &PlanOptions) -> HashSet<UnitId> {
    if options.replace.is_empty() {
        return HashSet::new();
    }
    let matches =
        |id: &UnitId| options.replace.iter().any(|pattern| pattern.matches(workspace.unit(*id)));
    let members = options.selection.partition.map(|_| Members::new(workspace, &options.selection));
    let is_member = |id: &UnitId| members.as_ref().is_none_or(|members| members.units.contains(id));
    (0..workspace.units.len()).map(UnitId).filter(matches).filter(is_member).collect()
}

/// Returns the reason to rebuild a unit although no input changed.
fn forced(
    unit: &Unit,
    previous: Option<Previous<'_>>,
    facts: &Facts,
    is_replaced: bool,
) -> Option<Reason> {
    let Previous { key, entry, .. } = previous?;
    let built = entry.built.as_ref()?;
    if is_replaced {
        return Some(Reason::Requested);
    }
    let listed = || facts.recorded(key, built).flatten()?.changed;
    let completed = built.completed.or_else(listed)?;
    let (now, max) = (facts.now?, unit.max_age?);
    let age = Duration::try_from(now.duration_since(completed)).ok()?;
    is_expired(&unit.shown(), completed, now, max)
        .then_some(Reason::Expired { age_seconds: age.as_secs() })
}

/// True if a built or pending image has this fingerprint.
fn has_fingerprint(entry: &Entry, fingerprint: Fingerprint) -> bool {
    let built = entry.built.as_ref().map(|built| built.fingerprint);
    let submitted = entry.submitted.as_ref().map(|submitted| submitted.fingerprint);
    let pending = entry.pending.as_ref().map(|pending| pending.fingerprint);
    [built, submitted, pending].contains(&Some(fingerprint))
}

/// Returns the number of rebuilds of a unit without a changed input. A forced unit gets one more,
/// unless that rebuild is running already. The number is part of the fingerprint, so that
/// dependents are rebuilt afterwards, however often a run dies between the two.
fn replace_count(previous: Option<Previous<'_>>, facts: &Facts, forced: bool) -> u32 {
    let Some(entry) = previous.map(|previous| previous.entry) else { return 0 };
    let count = |inputs: &Inputs| inputs.get("again").and_then(|n| n.parse().ok()).unwrap_or(0);
    let built = entry.built.as_ref().map_or(0, |built| count(&built.inputs));
    let submitted = entry.submitted.as_ref().map(|submitted| count(&submitted.inputs));
    let pending = facts.running(entry).map(|pending| count(&pending.inputs));
    let started = submitted.into_iter().chain(pending).fold(built, u32::max);
    if forced && started == built { built.saturating_add(1) } else { started }
}

/// True if an image is older than `max`. Every image expires at its own moment in each period of
/// `max`, derived from its name, so that images built in one night do not all expire in one night.
/// The name is that of the manifest: a renamed image does not expire because of its new name.
fn is_expired(name: &str, completed: Timestamp, now: Timestamp, max: Duration) -> bool {
    let max = i128::from(u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1));
    let digest = Digest::of(name.as_bytes());
    let (bytes, _) = digest.as_bytes().split_at(8);
    let hash = bytes.iter().fold(0u64, |hash, &byte| hash << 8 | u64::from(byte));
    let phase = i128::from(hash) % max;
    let period = |at: Timestamp| (i128::from(at.as_millisecond()) + phase).div_euclid(max);
    period(now) > period(completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_night_expire_over_seven_nights() {
        const SECONDS_PER_DAY: u64 = 86_400;
        let week = Duration::from_secs(7 * SECONDS_PER_DAY);
        let built: Timestamp = "2026-11-01T03:00:00Z".parse().unwrap();
        let night = |days: u64| built + Duration::from_secs(days * SECONDS_PER_DAY);
        let keys: Vec<String> = (0..700).map(|n| format!("image-{n}:v1")).collect();
        let mut before = 0;
        for day in 1..=7 {
            let expired =
                keys.iter().filter(|key| is_expired(key, built, night(day), week)).count();
            let tonight = expired - before;
            assert!((70..130).contains(&tonight), "{tonight} on night {day}");
            before = expired;
        }
        assert_eq!(before, keys.len(), "all images expire within a week");
        assert!(!keys.iter().any(|key| is_expired(key, built, built, week)));
    }
}
