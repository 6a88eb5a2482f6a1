//! Which public references a workspace stands on, and what the lockfile has of them. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::ops::Range;

use super::unpinned::{Unpinned, unpinned};
use super::{Facts, PreviousLookup};
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::{ImageRef, Platform};
use crate::base::reference::{RegistryRef, full_form, pin_key, pinnable};
use crate::base::source_ref::SourceRef;
use crate::manifest::workspace::{BuildOrigin, ExternalBase, Origin, Unit, Workspace};
use crate::state::{Built, Entry, Inputs, Pending, Pin, Record, State, Submission};

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
    distinct.into_iter().filter_map(pinnable).map(|one| (one.to_string(), one)).collect()
}

/// Where a Dockerfile names bases outside of the manifest that are pinned, and what goes there: the
/// image by its digest. Without the tag, which says nothing beside a digest, and which some builders
/// do not take with one.
pub fn held_bases(
    build: &BuildOrigin,
    platform: Platform,
    inputs: &Inputs,
) -> Vec<(Range<usize>, String)> {
    let of = |base: &ExternalBase| held(base, inputs.get(&from_key(base, platform))?);
    build.externals.iter().filter_map(of).collect()
}

/// The same of one base, by its digest.
pub fn held(base: &ExternalBase, digest: impl Display) -> Option<(Range<usize>, String)> {
    let name = base.image.parse::<RegistryRef>().ok()?.name();
    Some((base.range.clone(), format!("{name}@{digest}")))
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
    /// References that have no pin, or none for a platform that needs them.
    pub missing: Vec<Unpinned>,
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
    let missing = unpinned(workspace, &Facts::default(), state);
    let unused = state.pins.keys().filter(|key| !wanted.contains_key(*key)).cloned();
    Outdated { missing, unused: unused.collect() }
}

/// Takes units that were made before their references had pins for made from what these are pinned to
/// first: nothing says that they were not, and to make thousands of mirrors again because they are
/// pinned would help nobody. Only what is of the same source, or the same Dockerfile, is taken so; and
/// what is built on such a unit goes by its new fingerprint.
pub fn adopted(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Record> {
    let first = facts.pins.iter().filter(|(key, _)| !state.pins.contains_key(*key));
    let first: HashMap<&str, &Pin> = first.map(|(key, pin)| (key.as_str(), pin)).collect();
    if first.is_empty() || state.entries.is_empty() {
        return Vec::new();
    }
    let lookup = PreviousLookup::new(workspace, state);
    let mut adoption = Adoption { first, renamed: HashMap::new(), records: Vec::new() };
    let mut seen = HashSet::new();
    for unit in &workspace.units {
        for previous in lookup.all(workspace, unit) {
            if seen.insert(previous.key) {
                adoption.take(unit, previous.key, previous.entry);
            }
        }
    }
    adoption.records
}

/// What is taken for made from its first pins, bases first.
struct Adoption<'a> {
    /// The pins that are new.
    first: HashMap<&'a str, &'a Pin>,
    /// By the name of a unit as inputs have it, the fingerprints on record and those in their place.
    renamed: HashMap<String, Vec<(Fingerprint, Fingerprint)>>,
    records: Vec<Record>,
}

impl Adoption<'_> {
    /// All that is known of one unit: what is there, what is under way, and what was asked for.
    fn take(&mut self, unit: &Unit, key: &ImageRef, entry: &Entry) {
        let (kind, platform) = (entry.kind, entry.platform);
        if let Some(built) = &entry.built
            && let Some((inputs, fingerprint)) =
                self.pinned(unit, key, &built.inputs, built.fingerprint)
        {
            let built = Some(Built { fingerprint, inputs, ..built.clone() });
            self.records.push(Record::Known { unit: key.clone(), kind, platform, built });
        }
        let pending = entry.pending.as_ref().and_then(|pending| {
            let (inputs, fingerprint) =
                self.pinned(unit, key, &pending.inputs, pending.fingerprint)?;
            Some(Pending { fingerprint, inputs, ..pending.clone() })
        });
        let submitted = entry.submitted.as_ref().and_then(|submitted| {
            let (inputs, fingerprint) =
                self.pinned(unit, key, &submitted.inputs, submitted.fingerprint)?;
            Some(Submission { fingerprint, inputs, ..submitted.clone() })
        });
        let answered = pending.is_some();
        if let Some(pending) = pending {
            self.records.push(Record::Created { unit: key.clone(), kind, platform, pending });
        }
        // A build on record answers what was asked for: that was not this.
        let asked = entry.submitted.clone().filter(|_| answered);
        if let Some(submission) = submitted.or(asked) {
            self.records.push(Record::Submitting { unit: key.clone(), kind, platform, submission });
        }
    }

    /// The inputs with what is new of them; `None` where nothing is.
    fn pinned(
        &mut self,
        unit: &Unit,
        key: &ImageRef,
        before: &Inputs,
        old: Fingerprint,
    ) -> Option<(Inputs, Fingerprint)> {
        // What a merge took from both sides is nobody's.
        if before.fingerprint() != old {
            return None;
        }
        let mut inputs = before.clone();
        self.pin(unit, &mut inputs);
        for (key, value) in &mut inputs.0 {
            let renamed = key.strip_prefix("base ").and_then(|base| self.renamed.get(base));
            let new = renamed.into_iter().flatten().find(|(old, _)| old.to_string() == *value);
            if let Some((_, new)) = new {
                *value = new.to_string();
            }
        }
        if inputs == *before {
            return None;
        }
        let new = inputs.fingerprint();
        self.renamed.entry(key.to_string()).or_default().push((old, new));
        Some((inputs, new))
    }

    /// Adds the pins that inputs have not, where they are of what the unit is made from.
    fn pin(&self, unit: &Unit, inputs: &mut Inputs) {
        let pinned = |text: &str, platform: Option<Platform>| {
            self.first.get(pin_key(text)?.as_str())?.digest_for(platform)
        };
        match &unit.origin {
            Origin::Mirror(source) => {
                let same = inputs.get("source") == Some(full_form(source.as_str()).as_str());
                let digest = pinned(source.as_str(), Some(unit.platform));
                if let (None, true, Some(digest)) = (inputs.get("digest"), same, digest) {
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
                    if let (None, Some(digest)) =
                        (inputs.get(&key), pinned(&base.image, base.platform))
                    {
                        inputs.set(key, digest);
                    }
                }
            }
        }
    }
}
