//! Carries recorded inputs over to those of today where nothing that they cover has changed, so that
//! nothing is rebuilt: to the first pins of their references, and from whole contexts to the files
//! that the instructions reach. Pure.

use std::collections::{HashMap, HashSet};

use super::facts::{Context, Facts};
use super::inputs::set_files;
use super::pins::base_input;
use super::previous::PreviousLookup;
use crate::base::digest::Fingerprint;
use crate::base::name::{ImageRef, Platform};
use crate::base::reference::{full_form, pin_key};
use crate::manifest::workspace::{Origin, Unit, UnitId, Workspace};
use crate::state::{Built, Entry, Inputs, Pending, Pin, Record, State, Submission};

/// Carries the inputs of all entries over. Their dependents get the new fingerprint of their base.
///
/// On the first pin of a reference, assumes that existing units were built from that digest:
/// nothing says otherwise, and a rebuild of thousands of mirrors would help nobody. Only units with
/// the same source or Dockerfile count.
pub(crate) fn carry_inputs_over(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
) -> Vec<Record> {
    let pins = facts.pins.iter().filter(|(key, _)| !state.pins.contains_key(*key));
    let pins: HashMap<&str, &Pin> = pins.map(|(key, pin)| (key.as_str(), pin)).collect();
    let has_whole = facts.contexts.iter().flatten().any(|context| context.whole.is_some());
    if (pins.is_empty() && !has_whole) || state.entries.is_empty() {
        return Vec::new();
    }
    let lookup = PreviousLookup::new(workspace, state);
    let mut adoption = Adoption { pins, changed: HashMap::new(), records: Vec::new() };
    let mut seen = HashSet::new();
    for (index, unit) in workspace.units.iter().enumerate() {
        let context = facts.context(UnitId(index));
        for previous in lookup.all(workspace, unit) {
            if seen.insert(previous.key) {
                adoption.adopt((unit, context), previous.key, previous.entry);
            }
        }
    }
    adoption.records
}

/// A unit and its context.
type UnitContext<'a> = (&'a Unit, Option<&'a Context>);

/// Replaces the inputs of a whole context by those of the files that the instructions reach, if
/// nothing in the context and the Dockerfile has changed.
fn narrow(unit: &Unit, context: Option<&Context>, inputs: &mut Inputs) {
    let (Origin::Build(build), Some(context)) = (&unit.origin, context) else { return };
    if !inputs.has_whole_context() || context.instructions.is_none() {
        return;
    }
    let Some(as_whole) = context.as_whole() else { return };
    let mut whole = Inputs::default();
    set_files(&mut whole, build, Some(&as_whole));
    let is_same = |key: &str| inputs.get(key) == whole.get(key);
    if ["context", "dockerfile", "dockerfile_path"].into_iter().all(is_same) {
        inputs.0.remove("dockerfile_path");
        set_files(inputs, build, Some(context));
    }
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
    /// Carries over all inputs recorded for a unit: of its image, its pending build and its request
    /// in doubt.
    fn adopt(&mut self, unit: UnitContext<'_>, key: &ImageRef, entry: &Entry) {
        let (kind, platform) = (entry.kind, entry.platform);
        if let Some(built) = &entry.built
            && let Some((inputs, fingerprint)) =
                self.carried(unit, key, &built.inputs, built.fingerprint)
        {
            let built = Some(Built { fingerprint, inputs, ..built.clone() });
            self.records.push(Record::Known { unit: key.clone(), kind, platform, built });
        }
        let pending = entry.pending.as_ref().and_then(|pending| {
            let (inputs, fingerprint) =
                self.carried(unit, key, &pending.inputs, pending.fingerprint)?;
            Some(Pending { fingerprint, inputs, ..pending.clone() })
        });
        let submitted = entry.submitted.as_ref().and_then(|submitted| {
            let (inputs, fingerprint) =
                self.carried(unit, key, &submitted.inputs, submitted.fingerprint)?;
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

    /// Returns the inputs of today and their fingerprint; `None` if nothing changes.
    fn carried(
        &mut self,
        (unit, context): UnitContext<'_>,
        key: &ImageRef,
        recorded: &Inputs,
        old: Fingerprint,
    ) -> Option<(Inputs, Fingerprint)> {
        // A git merge of single lines leaves a fingerprint that belongs to no inputs.
        if recorded.fingerprint() != old {
            return None;
        }
        let mut inputs = recorded.clone();
        narrow(unit, context, &mut inputs);
        self.add_pins((unit, context), &mut inputs);
        for (key, value) in inputs.0.iter_mut() {
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
    fn add_pins(&self, (unit, context): UnitContext<'_>, inputs: &mut Inputs) {
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
                let mut today = Inputs::default();
                set_files(&mut today, build, context);
                if inputs.get("dockerfile") != today.get("dockerfile") {
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
