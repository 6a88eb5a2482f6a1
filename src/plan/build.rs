//! Builds a plan: one pass over the units, bases first, and one over the orphans. Pure.

use std::collections::{HashMap, HashSet};

use super::differences::{Differences, change};
use super::facts::{Drift, Facts, PendingBuild, RemoteState};
use super::identify::{Identity, identify};
use super::options::PlanOptions;
use super::orphans::{self, Orphans};
use super::previous::{Previous, PreviousKind};
use super::reason::Reason;
use super::select::select;
use super::steps::{Action, Change, Create, Plan, RequestInDoubt, Step, StepId};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{BuildStage, Entry, State};

/// Builds the plan of the selected units, without the state updates of [`decide`](super::decide()).
pub fn build(workspace: &Workspace, facts: &Facts, state: &State, options: &PlanOptions) -> Plan {
    let identities = identify(workspace, facts, state, options);
    let mut plan = build_all(workspace, identities, facts, state, options);
    select(&mut plan, workspace, &options.selection);
    plan
}

/// Builds the plan of all units, whatever is selected.
pub(super) fn build_all(
    workspace: &Workspace,
    identities: Vec<Identity<'_>>,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> Plan {
    let mut planner = Planner {
        workspace,
        facts,
        steps: Vec::new(),
        step_of: HashMap::new(),
        bases: workspace.units.iter().flat_map(|unit| unit.needs.iter().copied()).collect(),
        continued: HashSet::new(),
    };
    let mut new = Vec::new();
    for (index, (unit, identity)) in workspace.units.iter().zip(identities).enumerate() {
        let id = UnitId(index);
        if identity.previous.is_none() && unit.content_tag.is_none() {
            new.push((identity.fingerprint, id));
        }
        let own = state.entries.get(&unit.key);
        if let Some((action, reasons)) = planner.decide(id, unit, own, identity) {
            planner.add(id, action, reasons);
        }
    }
    let Planner { steps, step_of, continued, .. } = planner;
    let mut plan = Plan { steps, units: workspace.units.len(), ..Plan::default() };
    Orphans { workspace, facts, state, options }.add(&mut plan, &continued, &step_of);
    plan.renamed = orphans::renamed(workspace, state, &new, &plan);
    plan.visibility_drift = silent_drift(workspace, facts, state);
    let unchanged = (0..workspace.units.len()).map(UnitId).filter(|id| !step_of.contains_key(id));
    plan.unchanged = unchanged.map(|id| workspace.unit(id).kind()).collect();
    plan
}

/// Returns the number of images whose visibility differs from the lockfile while the manifest sets
/// none.
fn silent_drift(workspace: &Workspace, facts: &Facts, state: &State) -> usize {
    let differs = |unit: &&Unit| {
        let built = state.entries.get(&unit.key).and_then(|entry| entry.built.as_ref());
        unit.visibility.is_none()
            && built.is_some_and(|built| facts.visibility(&unit.key, built) != built.visibility)
    };
    workspace.units.iter().filter(differs).count()
}

struct Planner<'a> {
    workspace: &'a Workspace,
    facts: &'a Facts,
    steps: Vec<Step>,
    step_of: HashMap<UnitId, StepId>,
    /// Units that other units need.
    bases: HashSet<UnitId>,
    /// Entries of other names that units continue.
    continued: HashSet<&'a ImageRef>,
}

impl<'a> Planner<'a> {
    fn add(&mut self, id: UnitId, action: Action, reasons: Vec<Reason>) {
        let unit = self.workspace.unit(id);
        let needs = unit.needs.iter().filter_map(|need| self.step_of.get(need).copied());
        let (key, kind) = (unit.key.clone(), unit.kind());
        let step = Step { key, kind, action, reasons, needs: needs.collect(), added: false };
        self.step_of.insert(id, StepId(self.steps.len()));
        self.steps.push(step);
    }

    /// Decides on the action for a unit, if it needs one.
    fn decide(
        &mut self,
        id: UnitId,
        unit: &Unit,
        entry: Option<&'a Entry>,
        identity: Identity<'a>,
    ) -> Option<(Action, Vec<Reason>)> {
        if let Some(adopted) = entry.and_then(|entry| self.adopt(id, unit, entry, &identity)) {
            return Some(adopted);
        }
        match self.keep(id, unit, &identity) {
            Keep::Unchanged => None,
            Keep::Update(change, reasons) => {
                let previous = identity.previous;
                if let Some(previous) = previous.filter(|p| p.kind != PreviousKind::Own) {
                    self.continued.insert(previous.key);
                }
                Some((Action::Update { unit: id, change }, reasons))
            }
            Keep::Rebuild(reason) => Some(self.create(id, unit, entry, identity, reason)),
        }
    }

    /// Builds or mirrors a unit.
    fn create(
        &self,
        id: UnitId,
        unit: &Unit,
        entry: Option<&Entry>,
        identity: Identity<'_>,
        reason: Option<Reason>,
    ) -> (Action, Vec<Reason>) {
        let fingerprint = identity.fingerprint;
        let mut reasons = self.differences(id, &identity);
        reasons.extend(reason);
        reasons.extend(self.drift(unit, &identity));
        let overwrites_unrecorded = self.exists_unrecorded(unit, entry, &identity);
        if overwrites_unrecorded {
            reasons.insert(0, Reason::ExistsRemote);
        }
        // A build that can still complete has not failed.
        let unfinished = entry.filter(|entry| self.facts.adoptable(entry).is_none());
        let unfinished = unfinished.and_then(|entry| entry.pending.as_ref());
        let failed = entry.and_then(|entry| entry.failed.as_ref());
        let tried = failed.is_some_and(|failed| failed.fingerprint == fingerprint)
            || unfinished.is_some_and(|unfinished| unfinished.fingerprint == fingerprint);
        let in_doubt = entry.and_then(|entry| entry.submitted.as_ref()).map(|submitted| {
            RequestInDoubt { at: submitted.at, same: submitted.fingerprint == fingerprint }
        });
        reasons.extend(identity.forced);
        if let Some(previous) = identity.previous.filter(|p| p.kind == PreviousKind::Moved) {
            reasons.push(Reason::Moved { from: previous.key.clone() });
        }
        if tried || (unfinished.is_some() && reasons.is_empty()) {
            let error = failed.filter(|_| unfinished.is_none());
            let error = error.and_then(|failed| failed.error.clone());
            reasons.push(Reason::PreviousFailed { error });
        }
        if in_doubt.is_some() {
            reasons.push(Reason::InDoubt);
        }
        if reasons.is_empty() {
            reasons.push(Reason::New);
        }
        let running = entry.and_then(|entry| self.facts.running(entry));
        let create = Create {
            unit: id,
            kind: unit.kind(),
            owner: unit.owner.clone(),
            visibility: unit.visibility,
            replaces: overwrites_unrecorded || self.may_exist(unit, entry),
            fingerprint,
            inputs: identity.inputs.into_owned(),
            after: running.map(|running| running.build.clone()),
            in_doubt,
        };
        (Action::Create(create), reasons)
    }

    /// Returns the differences from the last build, or from a pending build if there was none.
    fn differences(&self, id: UnitId, identity: &Identity<'_>) -> Vec<Reason> {
        let entry = identity.previous.map(|previous| previous.entry);
        let built = entry.and_then(|entry| Some(&entry.built.as_ref()?.inputs));
        let pending = entry.and_then(|entry| Some(&self.facts.adoptable(entry)?.inputs));
        let Some(before) = built.or(pending) else { return Vec::new() };
        let (workspace, facts, steps) = (self.workspace, self.facts, self.steps.as_slice());
        let differences = Differences { workspace, facts, steps };
        differences.between(id, before, &identity.inputs, |base| self.step_of.get(&base))
    }

    /// Waits for a pending build of the same inputs.
    fn adopt(
        &self,
        id: UnitId,
        unit: &Unit,
        entry: &Entry,
        identity: &Identity<'_>,
    ) -> Option<(Action, Vec<Reason>)> {
        let pending = self.facts.adoptable(entry);
        let pending = pending.filter(|pending| pending.fingerprint == identity.fingerprint)?;
        let (then, mut reasons) = change(unit, &pending.owner, pending.visibility);
        let age = match self.facts.builds.get(&pending.build) {
            Some(PendingBuild::Running { age }) => *age,
            Some(PendingBuild::NotStarted | PendingBuild::Ended) | None => None,
        };
        reasons.insert(0, Reason::Pending { age_seconds: age.map(|age| age.as_secs()) });
        let (build, start) = (pending.build.clone(), pending.stage == BuildStage::Uploaded);
        Some((Action::Adopt { unit: id, build, start, then }, reasons))
    }

    /// Decides whether the last build is kept.
    fn keep(&self, id: UnitId, unit: &Unit, identity: &Identity<'_>) -> Keep {
        let Some(Previous { key, entry, kind }) = identity.previous else {
            return Keep::Rebuild(None);
        };
        // A pending build of other inputs may still push the tag, so that the image cannot be kept
        // even if it has the right content.
        let available = kind == PreviousKind::Own || !self.continued.contains(key);
        let settled = available && self.facts.running(entry).is_none() && entry.submitted.is_none();
        let (true, Some(built)) = (settled, &entry.built) else { return Keep::Rebuild(None) };
        let drift = self.facts.drift(key, built);
        // An image that an interrupted run renamed or gave to another owner is not missing.
        let exists =
            drift.is_none() || (drift == Some(Drift::Gone) && self.has_arrived(unit, identity));
        if built.fingerprint != identity.fingerprint || !exists {
            return Keep::Rebuild(None);
        }
        let visibility = self.facts.visibility(key, built);
        let (change, mut reasons) = change(unit, &built.owner, visibility);
        // Another tag with the same content: the entry had no pins when its tag was made.
        let renamed = (kind != PreviousKind::Own).then(|| key.clone());
        match change {
            // Dependents need the full path of their base, and the service does not tell the path
            // of an image that moved to another owner: rebuild it there.
            Some(Change { owner: Some(_), .. }) if self.bases.contains(&id) => {
                Keep::Rebuild(reasons.pop())
            }
            None if renamed.is_none() => Keep::Unchanged,
            change => {
                let rename_only = || Change {
                    of: built.owner.clone(),
                    from: None,
                    visibility: None,
                    owner: None,
                };
                if let Some(from) = &renamed {
                    reasons.insert(0, Reason::Moved { from: from.clone() });
                }
                let change = Change { from: renamed, ..change.unwrap_or_else(rename_only) };
                Keep::Update(change, reasons)
            }
        }
    }

    /// True if an interrupted run has already renamed or moved the image without recording it.
    fn has_arrived(&self, unit: &Unit, identity: &Identity<'_>) -> bool {
        let Some(Previous { key, entry, .. }) = identity.previous else { return false };
        let Some(built) = &entry.built else { return false };
        let owner = unit.owner.as_ref().unwrap_or(&built.owner);
        (owner, &unit.key) != (&built.owner, key) && self.facts.arrived(owner, &unit.key, built)
    }

    /// True if the service has an image with the unit's name and owner that the lockfile does not
    /// have.
    fn exists_unrecorded(
        &self,
        unit: &Unit,
        entry: Option<&Entry>,
        identity: &Identity<'_>,
    ) -> bool {
        let owner = self.facts.owner_of_unrecorded(unit, entry);
        let remote = owner.and_then(|owner| self.facts.remote(owner, &unit.key).flatten());
        let complete = remote.is_some_and(|remote| remote.state == RemoteState::Complete);
        complete && !self.has_arrived(unit, identity)
    }

    /// True if the recorded image is not known to be missing. It may exist even if the service
    /// shows a failed build.
    fn may_exist(&self, unit: &Unit, entry: Option<&Entry>) -> bool {
        let built = entry.and_then(|entry| entry.built.as_ref());
        built.is_some_and(|built| self.facts.recorded(&unit.key, built) != Some(None))
    }

    /// Returns the drift of the last build as a reason.
    fn drift(&self, unit: &Unit, identity: &Identity<'_>) -> Option<Reason> {
        let Previous { key, entry, .. } = identity.previous?;
        let built = entry.built.as_ref()?;
        match self.facts.drift(key, built)? {
            Drift::Gone if self.has_arrived(unit, identity) => None,
            Drift::Gone => Some(Reason::MissingRemote),
            // Our own pending build may have replaced the image.
            Drift::Replaced if entry.pending.is_some() || entry.submitted.is_some() => None,
            Drift::Replaced => {
                let remote = self.facts.recorded(key, built).flatten();
                Some(Reason::RemoteChanged { at: remote.and_then(|remote| remote.changed) })
            }
        }
    }
}

/// Decision on the last build of a unit.
enum Keep {
    /// The image is kept as it is.
    Unchanged,
    /// The image is kept and changed.
    Update(Change, Vec<Reason>),
    /// The image is rebuilt; with a reason if `differences` finds none.
    Rebuild(Option<Reason>),
}
