//! The planner: one pass over the units, bases first.

use std::collections::{HashMap, HashSet};

use super::facts::{Facts, Known};
use super::inputs::inputs_of;
use super::{Action, Change, Make, Plan, Reason, Step, StepId, Unanswered};
use crate::base::digest::Fingerprint;
use crate::base::name::{ImageRef, Owner, Visibility};
use crate::manifest::workspace::{Origin, Unit, UnitId, Workspace};
use crate::state::{Built, Entry, Inputs, Kind, Pending, Stage, State};

/// Compares what should exist with what is known to exist.
pub fn build(workspace: &Workspace, facts: &Facts, state: &State) -> Plan {
    let mut planner = Planner {
        workspace,
        facts,
        fingerprints: Vec::with_capacity(workspace.units.len()),
        steps: Vec::new(),
        step_of: HashMap::new(),
        bases: workspace.units.iter().flat_map(|unit| unit.needs.iter().copied()).collect(),
    };
    let mut unchanged = Vec::new();
    for (index, unit) in workspace.units.iter().enumerate() {
        let id = UnitId(index);
        let inputs = inputs_of(workspace, facts, id, &planner.fingerprints);
        let fingerprint = inputs.fingerprint();
        planner.fingerprints.push(fingerprint);
        match planner.decide(id, unit, inputs, fingerprint, state.entries.get(&unit.key)) {
            Some((action, reasons)) => planner.add(id, action, reasons),
            None => unchanged.push(kind_of(unit)),
        }
    }
    let mut steps = planner.steps;
    let known: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
    let gone = state.entries.iter().filter(|(key, _)| !known.contains(key));
    steps.extend(gone.map(|(key, entry)| Step {
        key: key.clone(),
        kind: entry.kind,
        action: Action::Forget { after: under_way(entry, facts).map(|p| p.build.clone()) },
        reasons: vec![Reason::RemovedFromManifest],
        needs: Vec::new(),
    }));
    Plan { steps, unchanged, units: workspace.units.len() }
}

struct Planner<'a> {
    workspace: &'a Workspace,
    facts: &'a Facts,
    fingerprints: Vec<Fingerprint>,
    steps: Vec<Step>,
    step_of: HashMap<UnitId, StepId>,
    /// Units that others need.
    bases: HashSet<UnitId>,
}

impl Planner<'_> {
    fn add(&mut self, id: UnitId, action: Action, reasons: Vec<Reason>) {
        let unit = self.workspace.unit(id);
        let needs = unit.needs.iter().filter_map(|need| self.step_of.get(need).copied());
        let (key, kind) = (unit.key.clone(), kind_of(unit));
        let step = Step { key, kind, action, reasons, needs: needs.collect() };
        self.step_of.insert(id, StepId(self.steps.len()));
        self.steps.push(step);
    }

    fn decide(
        &self,
        id: UnitId,
        unit: &Unit,
        inputs: Inputs,
        fingerprint: Fingerprint,
        entry: Option<&Entry>,
    ) -> Option<(Action, Vec<Reason>)> {
        let built = entry.and_then(|entry| entry.built.as_ref());
        let unfinished = entry.and_then(|entry| entry.pending.as_ref());
        let pending = entry.and_then(|entry| under_way(entry, self.facts));
        let adopted = entry.and_then(|entry| alive(entry, self.facts));
        if let Some(pending) = adopted.filter(|pending| pending.fingerprint == fingerprint) {
            let (then, mut reasons) = change(unit, &pending.owner, pending.visibility);
            let age = match self.facts.builds.get(&pending.build) {
                Some(Known::Alive { age }) => *age,
                Some(Known::Unstarted | Known::Dead) | None => None,
            };
            reasons.insert(0, Reason::Pending { age_seconds: age.map(|age| age.as_secs()) });
            let (build, start) = (pending.build.clone(), pending.stage == Stage::Uploaded);
            return Some((Action::Adopt { unit: id, build, start, then }, reasons));
        }
        // A pending build of something else may yet land on the tag: what is there now cannot be
        // kept, even if it is just what is wanted.
        let unanswered = entry.and_then(|entry| entry.submitted.as_ref());
        let unanswered = unanswered.map(|unanswered| Unanswered {
            at: unanswered.at,
            same: unanswered.fingerprint == fingerprint,
        });
        let mut moved = None;
        if let (Some(built), None, None) = (built, pending, unanswered)
            && built.fingerprint == fingerprint
        {
            let (change, mut reasons) = change(unit, &built.owner, built.visibility);
            // The service does not say where a moved image is, and what is built on a base needs
            // to know: a base is made anew under its new owner.
            let base = self.bases.contains(&id);
            match change {
                Some(Change { owner: Some(_), .. }) if base => moved = reasons.pop(),
                change => return change.map(|c| (Action::Update { unit: id, change: c }, reasons)),
            }
        }
        let mut reasons = built.map_or_else(Vec::new, |built| self.differences(id, built, &inputs));
        reasons.extend(moved);
        let failed = entry.and_then(|entry| entry.failed.as_ref());
        let tried = failed.is_some_and(|failed| failed.fingerprint == fingerprint)
            || unfinished.is_some_and(|unfinished| unfinished.fingerprint == fingerprint);
        if tried || (unfinished.is_some() && reasons.is_empty()) {
            reasons.push(Reason::PreviousFailed);
        }
        if unanswered.is_some() {
            reasons.push(Reason::Unanswered);
        }
        if reasons.is_empty() {
            reasons.push(Reason::New);
        }
        let kind = kind_of(unit);
        let replaces = built.is_some();
        let after = pending.map(|pending| pending.build.clone());
        let make = Make { unit: id, kind, replaces, fingerprint, inputs, after, unanswered };
        Some((Action::Make(make), reasons))
    }

    /// Which inputs differ from those of the last build, the likeliest cause first.
    fn differences(&self, id: UnitId, built: &Built, inputs: &Inputs) -> Vec<Reason> {
        let differs = |key: &str| built.inputs.get(key) != inputs.get(key);
        let mut reasons = Vec::new();
        if differs("format") {
            return vec![Reason::FingerprintFormatChanged];
        }
        if differs("dockerfile") || differs("dockerfile_path") {
            reasons.push(Reason::DockerfileChanged);
        }
        let files = self.facts.changes.get(&id).cloned();
        // Where another file became the Dockerfile, the files are as they were: that is said.
        let same = files.as_ref().is_some_and(|files| files.is_empty()) && !reasons.is_empty();
        if differs("context") && !same {
            reasons.push(Reason::ContextChanged { files });
        }
        for field in ["source", "platform"] {
            if differs(field) {
                let text = |inputs: &Inputs| inputs.get(field).unwrap_or_default().to_owned();
                reasons.push(Reason::ConfigChanged {
                    field: field.to_owned(),
                    old: text(&built.inputs),
                    new: text(inputs),
                });
            }
        }
        for &base in &self.workspace.unit(id).needs {
            let key = &self.workspace.unit(base).key;
            let name = format!("base {key}");
            match built.inputs.get(&name) {
                Some(old) if Some(old) != inputs.get(&name) => {
                    let via = self.root_of(base);
                    reasons.push(Reason::DependencyChanged { base: key.clone(), via });
                }
                Some(_) => {}
                None => reasons.push(config_change("base", "", &key.to_string())),
            }
        }
        for key in built.inputs.0.keys().filter(|key| inputs.get(key).is_none()) {
            if let Some(base) = key.strip_prefix("base ") {
                reasons.push(config_change("base", base, ""));
            }
        }
        reasons
    }

    /// The chain of bases below one that changes, down to the one that changes by itself.
    fn root_of(&self, base: UnitId) -> Vec<ImageRef> {
        let step = self.step_of.get(&base).and_then(|step| self.steps.get(step.0));
        match step.and_then(|step| step.reasons.first()) {
            Some(Reason::DependencyChanged { base, via }) => {
                [base.clone()].into_iter().chain(via.iter().cloned()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn kind_of(unit: &Unit) -> Kind {
    match unit.origin {
        Origin::Build(_) => Kind::Build,
        Origin::Mirror(_) => Kind::Mirror,
    }
}

fn config_change(field: &str, old: &str, new: &str) -> Reason {
    Reason::ConfigChanged { field: field.to_owned(), old: old.to_owned(), new: new.to_owned() }
}

/// The build of a unit that comes to something, if it is waited for, or started first.
fn alive<'s>(entry: &'s Entry, facts: &Facts) -> Option<&'s Pending> {
    entry.pending.as_ref().filter(|pending| match facts.builds.get(&pending.build) {
        Some(known) => *known != Known::Dead,
        None => pending.stage > Stage::Created,
    })
}

/// The build of a unit that may yet land on its tag. What died, or was never started, lands on
/// none: it is as if it were not there.
fn under_way<'s>(entry: &'s Entry, facts: &Facts) -> Option<&'s Pending> {
    let unstarted = |pending: &Pending| facts.builds.get(&pending.build) == Some(&Known::Unstarted);
    alive(entry, facts).filter(|pending| !unstarted(pending))
}

/// What the manifest wants changed of an image whose content is right. What it does not say stays
/// as it is, whoever's credentials are in use.
fn change(unit: &Unit, of: &Owner, current: Visibility) -> (Option<Change>, Vec<Reason>) {
    let visibility = unit.visibility.filter(|wanted| *wanted != current);
    let owner = unit.owner.clone().filter(|wanted| wanted != of);
    let mut reasons = Vec::new();
    if let Some(new) = visibility {
        reasons.push(Reason::VisibilityChanged { old: current, new });
    }
    if let Some(to) = &owner {
        reasons.push(Reason::Moved { from: of.clone(), to: to.clone() });
    }
    let change = Change { of: of.clone(), from: None, visibility, owner };
    ((!reasons.is_empty()).then_some(change), reasons)
}
