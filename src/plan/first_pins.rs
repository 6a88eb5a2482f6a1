//! Credits existing images to the first pins of their references, so that pinning for the first
//! time triggers no rebuild. Pure.

use std::collections::{HashMap, HashSet};

use super::facts::Facts;
use super::pins::base_input;
use super::previous::PreviousLookup;
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::{ImageRef, Platform};
use crate::base::reference::{full_form, pin_key};
use crate::manifest::workspace::{Origin, Unit, Workspace};
use crate::state::{Built, Entry, Inputs, Pending, Pin, Record, State, Submission};

/// On the first pin of a reference, assumes that existing units were built from that digest:
/// nothing says otherwise, and a rebuild of thousands of mirrors would help nobody. Only units with
/// the same source or Dockerfile count. Their dependents get the new fingerprint of their base.
pub(crate) fn adopt_first_pins(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Record> {
    let pins = facts.pins.iter().filter(|(key, _)| !state.pins.contains_key(*key));
    let pins: HashMap<&str, &Pin> = pins.map(|(key, pin)| (key.as_str(), pin)).collect();
    if pins.is_empty() || state.entries.is_empty() {
        return Vec::new();
    }
    let lookup = PreviousLookup::new(workspace, state);
    let mut adoption = Adoption { pins, changed: HashMap::new(), records: Vec::new() };
    let mut seen = HashSet::new();
    for unit in &workspace.units {
        for previous in lookup.all(workspace, unit) {
            if seen.insert(previous.key) {
                adoption.adopt(unit, previous.key, previous.entry);
            }
        }
    }
    adoption.records
}

/// State of the adoption, which goes through the units bases first.
struct Adoption<'a> {
    /// First pins, by the full form of the reference.
    pins: HashMap<&'a str, &'a Pin>,
    /// Recorded fingerprints and their replacements, by the key of the base.
    changed: HashMap<String, Vec<(Fingerprint, Fingerprint)>>,
    records: Vec<Record>,
}

impl Adoption<'_> {
    /// Adds the first pins to all inputs recorded for a unit: of its image, its pending build and
    /// its request in doubt.
    fn adopt(&mut self, unit: &Unit, key: &ImageRef, entry: &Entry) {
        let (kind, platform) = (entry.kind, entry.platform);
        if let Some(built) = &entry.built
            && let Some((inputs, fingerprint)) =
                self.with_pins(unit, key, &built.inputs, built.fingerprint)
        {
            let built = Some(Built { fingerprint, inputs, ..built.clone() });
            self.records.push(Record::Known { unit: key.clone(), kind, platform, built });
        }
        let pending = entry.pending.as_ref().and_then(|pending| {
            let (inputs, fingerprint) =
                self.with_pins(unit, key, &pending.inputs, pending.fingerprint)?;
            Some(Pending { fingerprint, inputs, ..pending.clone() })
        });
        let submitted = entry.submitted.as_ref().and_then(|submitted| {
            let (inputs, fingerprint) =
                self.with_pins(unit, key, &submitted.inputs, submitted.fingerprint)?;
            Some(Submission { fingerprint, inputs, ..submitted.clone() })
        });
        // `Record::Created` clears the request in doubt, although it was for another build: keep
        // it.
        let unchanged = entry.submitted.clone().filter(|_| pending.is_some());
        if let Some(pending) = pending {
            self.records.push(Record::Created { unit: key.clone(), kind, platform, pending });
        }
        if let Some(submission) = submitted.or(unchanged) {
            self.records.push(Record::Submitting { unit: key.clone(), kind, platform, submission });
        }
    }

    /// Returns inputs with the first pins added, and their fingerprint; `None` if nothing changes.
    fn with_pins(
        &mut self,
        unit: &Unit,
        key: &ImageRef,
        recorded: &Inputs,
        old: Fingerprint,
    ) -> Option<(Inputs, Fingerprint)> {
        // A git merge of single lines leaves a fingerprint that belongs to no inputs.
        if recorded.fingerprint() != old {
            return None;
        }
        let mut inputs = recorded.clone();
        self.add_pins(unit, &mut inputs);
        for (key, value) in &mut inputs.0 {
            let changed = key.strip_prefix("base ").and_then(|base| self.changed.get(base));
            let new = changed.into_iter().flatten().find(|(old, _)| old.to_string() == *value);
            if let Some((_, new)) = new {
                *value = new.to_string();
            }
        }
        if inputs == *recorded {
            return None;
        }
        let new = inputs.fingerprint();
        self.changed.entry(key.to_string()).or_default().push((old, new));
        Some((inputs, new))
    }

    /// Adds missing pins to the inputs, if they have the unit's source or Dockerfile.
    fn add_pins(&self, unit: &Unit, inputs: &mut Inputs) {
        let digest = |text: &str, platform: Option<Platform>| {
            self.pins.get(pin_key(text)?.as_str())?.digest_for(platform)
        };
        match &unit.origin {
            Origin::Mirror(source) => {
                let same = inputs.get("source") == Some(full_form(source.as_str()).as_str());
                let digest = digest(source.as_str(), Some(unit.platform));
                if let (None, true, Some(digest)) = (inputs.get("digest"), same, digest) {
                    inputs.set("digest", digest);
                }
            }
            Origin::Build(build) => {
                let dockerfile = Digest::of(build.dockerfile.text().as_bytes());
                if inputs.get("dockerfile") != Some(dockerfile.to_string().as_str()) {
                    return;
                }
                for base in &build.externals {
                    let name = base_input(base, unit.platform);
                    let digest = digest(&base.image, base.platform);
                    if let (None, Some(digest)) = (inputs.get(&name), digest) {
                        inputs.set(name, digest);
                    }
                }
            }
        }
    }
}
