//! Which public references a workspace stands on, and what the lockfile has of them. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::Facts;
use super::previous::{Lookup, Previous};
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::{ImageRef, Platform};
use crate::base::reference::RegistryRef;
use crate::base::upstream::SourceRef;
use crate::manifest::workspace::{BuildOrigin, ExternalBase, Origin, Unit, UnitId, Workspace};
use crate::state::{Built, Inputs, Record, State};

/// The full form of a reference, by which it is pinned. One that has a digest needs no pin.
pub fn pin_key(reference: &str) -> Option<String> {
    Some(to_pin(reference)?.to_string())
}

fn to_pin(reference: &str) -> Option<RegistryRef> {
    let reference: RegistryRef = reference.parse().ok()?;
    reference.digest().is_none().then_some(reference)
}

/// What the digest of a base outside of the manifest is called among the inputs of a unit: `from`
/// and the reference, and `on` where it is taken for another platform than the unit's. One
/// reference may stand for several images.
pub(super) fn from_key(base: &ExternalBase, unit: Platform) -> String {
    match base.platform {
        Some(platform) if platform == unit => format!("from {}", base.image),
        Some(platform) => format!("from {} on {platform}", base.image),
        None => format!("from {} on any", base.image),
    }
}

/// The reference of a base outside of the manifest, by the name of its input.
pub fn from_reference(key: &str) -> Option<&str> {
    let named = key.strip_prefix("from ")?;
    Some(named.split_once(" on ").map_or(named, |(reference, _)| reference))
}

/// The references that some units stand on and that have no digest of their own, by their full form:
/// the sources of mirrors, and bases outside of the manifest.
pub fn references<'w>(units: impl Iterator<Item = &'w Unit>) -> BTreeMap<String, RegistryRef> {
    let texts = units.flat_map(|unit| match &unit.origin {
        Origin::Mirror(source) => vec![source.as_str()],
        Origin::Build(build) => build.externals.iter().map(|base| base.image.as_str()).collect(),
    });
    let distinct: HashSet<&str> = texts.collect();
    distinct.into_iter().filter_map(to_pin).map(|one| (one.to_string(), one)).collect()
}

/// Where a Dockerfile names bases outside of the manifest that are pinned, and what goes there: the
/// image by its digest. Without the tag, which says nothing beside a digest, and which some builders
/// do not take with one.
pub fn held_bases(
    build: &BuildOrigin,
    platform: Platform,
    inputs: &Inputs,
) -> Vec<(Range<usize>, String)> {
    let held = |base: &ExternalBase| {
        let digest = inputs.get(&from_key(base, platform))?;
        let name = base.image.parse::<RegistryRef>().ok()?.name();
        Some((base.range.clone(), format!("{name}@{digest}")))
    };
    build.externals.iter().filter_map(held).collect()
}

/// A mirror's source, by its digest where it is pinned: what was planned is what arrives. It keeps
/// its tag, from which the service derives the tag of what it makes.
pub fn held_source(source: &SourceRef, inputs: &Inputs) -> SourceRef {
    let held = || {
        let digest = inputs.get("digest")?;
        let tagged = source.as_str().rsplit('/').next()?.contains(':');
        let latest = if tagged { "" } else { ":latest" };
        format!("{source}{latest}@{digest}").parse().ok()
    };
    held().unwrap_or_else(|| source.clone())
}

/// In what the pins of a lockfile are not those of the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outdated {
    /// References that have no pin.
    pub missing: Vec<String>,
    /// Pins of what nothing stands on any more.
    pub unused: Vec<String>,
}

impl Outdated {
    /// Whether there is a pin for each reference, and none besides.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty()
    }
}

/// Compares the pins of a lockfile with the references of the manifest. A reference that stands for
/// another image by now is not out of date: pins only move when that is asked for.
pub fn outdated(workspace: &Workspace, state: &State) -> Outdated {
    let wanted = references(workspace.units.iter());
    let missing = wanted.keys().filter(|key| !state.pins.contains_key(*key)).cloned();
    let unused = state.pins.keys().filter(|key| !wanted.contains_key(*key)).cloned();
    Outdated { missing: missing.collect(), unused: unused.collect() }
}

/// Takes units that were made before their references had pins for made from what these are pinned to
/// first: nothing says that they were not, and to make thousands of mirrors again because they are
/// pinned would help nobody. Only what does not differ otherwise is taken so. A tag that holds the
/// fingerprint is no more that of the content then: the next plan renames the image.
pub fn adopted(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Record> {
    let lookup = Lookup::new(workspace, state);
    // By unit, what others have of it among their inputs, and what takes its place.
    let mut renamed: HashMap<UnitId, (Known, Known)> = HashMap::new();
    let mut records = Vec::new();
    for (index, unit) in workspace.units.iter().enumerate() {
        let Some(Previous { key, entry, .. }) = lookup.of(workspace, unit) else { continue };
        let Some(built) = &entry.built else { continue };
        let mut inputs = built.inputs.clone();
        pin(unit, facts, state, &mut inputs);
        for (old, new) in unit.needs.iter().filter_map(|base| renamed.get(base)) {
            if inputs.get(&old.0) == Some(old.1.as_str()) {
                inputs.0.remove(&old.0);
                inputs.set(new.0.clone(), &new.1);
            }
        }
        if inputs == built.inputs {
            continue;
        }
        let fingerprint = inputs.fingerprint();
        let tag = unit.content_tag.as_ref().map(|template| template.with_fingerprint(&fingerprint));
        let now = ImageRef { tag: tag.unwrap_or_else(|| key.tag.clone()), ..key.clone() };
        let known = |key: &ImageRef, fingerprint: Fingerprint| {
            (format!("base {key}"), fingerprint.to_string())
        };
        renamed.insert(UnitId(index), (known(key, built.fingerprint), known(&now, fingerprint)));
        let (kind, platform, unit) = (entry.kind, entry.platform, key.clone());
        let built = Some(Built { fingerprint, inputs, ..built.clone() });
        records.push(Record::Known { unit, kind, platform, built });
    }
    records
}

/// An input that is a base: its key, and its value.
type Known = (String, String);

/// Adds the pins that a unit's inputs have not, where they are of what it was made from.
fn pin(unit: &Unit, facts: &Facts, state: &State, inputs: &mut Inputs) {
    let pinned = |text: &str, platform: Option<Platform>| {
        let pin = facts.pin_in(state, text)?;
        Some(platform.map_or(pin.digest, |platform| pin.on(platform)))
    };
    match &unit.origin {
        Origin::Mirror(source) => {
            let same = inputs.get("source") == Some(source.as_str());
            if let (None, true, Some(digest)) =
                (inputs.get("digest"), same, pinned(source.as_str(), Some(unit.platform)))
            {
                inputs.set("digest", digest);
            }
        }
        Origin::Build(build) => {
            let text = Digest::of(build.dockerfile.text().as_bytes());
            if inputs.get("dockerfile") != Some(text.to_string().as_str()) {
                return;
            }
            for base in &build.externals {
                let key = from_key(base, unit.platform);
                let digest = pinned(&base.image, base.platform);
                if let (None, Some(digest)) = (inputs.get(&key), digest) {
                    inputs.set(key, digest);
                }
            }
        }
    }
}
