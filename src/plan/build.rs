//! The planner: one pass over the units, bases first, and one over what the manifest no longer has.

use std::collections::{HashMap, HashSet};

use super::differences::{Differences, change};
use super::facts::{Drift, Facts, PendingBuild, RemoteState};
use super::identify::{Identifier, Identity};
use super::options::PlanOptions;
use super::orphans::{self, Orphans};
use super::previous::{Previous, PreviousKind};
use super::select;
use super::{Action, Change, Create, Plan, Reason, RequestInDoubt, Step, StepId};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{BuildStage, Entry, State};

/// Compares what should exist with what is known to exist. The tags of the workspace are settled
/// by `settle`.
pub fn build(workspace: &Workspace, facts: &Facts, state: &State, options: &PlanOptions) -> Plan {
    let mut plan = whole(workspace, facts, state, options);
    select::select(&mut plan, workspace, &options.selection);
    plan
}

/// The plan of all units, whatever is selected.
pub(super) fn whole(
    workspace: &Workspace,
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
        taken: HashSet::new(),
    };
    let mut identifier = Identifier::new(workspace, facts, state, options);
    let mut news = Vec::new();
    for (index, unit) in workspace.units.iter().enumerate() {
        let id = UnitId(index);
        let identity = identifier.next(workspace, id);
        let (previous, fingerprint) = (identity.previous, identity.fingerprint);
        if previous.is_none() && unit.content_tag.is_none() {
            news.push((fingerprint, id));
        }
        let own = identifier.lookup.own(&unit.key).map(|own| own.entry);
        if let Some((action, reasons)) = planner.decide(id, unit, own, identity) {
            planner.add(id, action, reasons);
        }
    }
    let Planner { steps, step_of, taken, .. } = planner;
    let mut plan = Plan { steps, units: workspace.units.len(), ..Plan::default() };
    Orphans { workspace, facts, state, options }.add(&mut plan, &taken, &step_of);
    plan.renamed = orphans::renamed(workspace, state, &news, &plan);
    plan.drift = drift(workspace, facts, state);
    let kept = (0..workspace.units.len()).map(UnitId).filter(|id| !step_of.contains_key(id));
    plan.unchanged = kept.map(|id| workspace.unit(id).kind()).collect();
    plan
}

/// How many images the service shows otherwise than the lockfile, where that changes nothing.
fn drift(workspace: &Workspace, facts: &Facts, state: &State) -> usize {
    let silent = |unit: &&Unit| {
        let built = state.entries.get(&unit.key).and_then(|entry| entry.built.as_ref());
        unit.visibility.is_none()
            && built.is_some_and(|built| facts.visibility(&unit.key, built) != built.visibility)
    };
    workspace.units.iter().filter(silent).count()
}

struct Planner<'a> {
    workspace: &'a Workspace,
    facts: &'a Facts,
    steps: Vec<Step>,
    step_of: HashMap<UnitId, StepId>,
    /// Units that others need.
    bases: HashSet<UnitId>,
    /// Entries of other names that units take over.
    taken: HashSet<&'a ImageRef>,
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

    fn decide(
        &mut self,
        id: UnitId,
        unit: &Unit,
        entry: Option<&'a Entry>,
        identity: Identity<'a>,
    ) -> Option<(Action, Vec<Reason>)> {
        let fingerprint = identity.fingerprint;
        if let Some(entry) = entry
            && let Some(adopted) = self.adopt(id, unit, entry, &identity)
        {
            return Some(adopted);
        }
        let mut reasons = Vec::new();
        match self.keep(id, unit, &identity) {
            Keep::As => return None,
            Keep::Update(change, reasons) => {
                if let Some(previous) = identity.previous.filter(|p| p.link != PreviousKind::Own) {
                    self.taken.insert(previous.key);
                }
                return Some((Action::Update { unit: id, change }, reasons));
            }
            Keep::Not(moved) => reasons.extend(moved),
        }
        reasons.splice(0..0, self.differences(id, &identity));
        let gone = self.gone(id, &identity);
        reasons.extend(gone);
        let stranger = self.is_taken(unit, entry, &identity);
        if stranger {
            reasons.insert(0, Reason::ExistsRemote);
        }
        // One that is alive did not fail.
        let unfinished = entry.filter(|entry| self.facts.adoptable(entry).is_none());
        let unfinished = unfinished.and_then(|entry| entry.pending.as_ref());
        let failed = entry.and_then(|entry| entry.failed.as_ref());
        let tried = failed.is_some_and(|failed| failed.fingerprint == fingerprint)
            || unfinished.is_some_and(|unfinished| unfinished.fingerprint == fingerprint);
        let in_doubt = in_doubt(entry, &identity);
        let pending = entry.and_then(|entry| self.facts.running(entry));
        let (link, must) = (identity.link(), identity.must);
        reasons.extend(must);
        if let (Some(PreviousKind::Moved), Some(previous)) = (link, identity.previous) {
            reasons.push(Reason::Moved { from: previous.key.clone() });
        }
        if tried || (unfinished.is_some() && reasons.is_empty()) {
            reasons.push(Reason::PreviousFailed);
        }
        if in_doubt.is_some() {
            reasons.push(Reason::InDoubt);
        }
        if reasons.is_empty() {
            reasons.push(Reason::New);
        }
        let make = Create {
            unit: id,
            kind: unit.kind(),
            owner: unit.owner.clone(),
            visibility: unit.visibility,
            replaces: stranger || self.is_there(unit, entry),
            fingerprint,
            inputs: identity.inputs,
            after: pending.map(|pending| pending.build.clone()),
            in_doubt,
        };
        Some((Action::Create(make), reasons))
    }

    /// In what a unit differs from what was built last; where nothing was, from what is under way: that
    /// is of something else.
    fn differences(&self, id: UnitId, identity: &Identity<'_>) -> Vec<Reason> {
        let entry = identity.previous.map(|previous| previous.entry);
        let built = entry.and_then(|entry| Some(&entry.built.as_ref()?.inputs));
        let running = entry.and_then(|entry| Some(&self.facts.adoptable(entry)?.inputs));
        let Some(before) = built.or(running) else { return Vec::new() };
        let (workspace, facts, steps) = (self.workspace, self.facts, self.steps.as_slice());
        let differences = Differences { workspace, facts, steps };
        differences.between(id, before, &identity.inputs, |base| self.step_of.get(&base))
    }

    /// Waits for a build that is under way and is of just this.
    fn adopt(
        &self,
        id: UnitId,
        unit: &Unit,
        entry: &Entry,
        identity: &Identity<'_>,
    ) -> Option<(Action, Vec<Reason>)> {
        let pending = self
            .facts
            .adoptable(entry)
            .filter(|pending| pending.fingerprint == identity.fingerprint)?;
        let (then, mut reasons) = change(unit, &pending.owner, pending.visibility);
        let age = match self.facts.builds.get(&pending.build) {
            Some(PendingBuild::Running { age }) => *age,
            Some(PendingBuild::NotStarted | PendingBuild::Ended) | None => None,
        };
        reasons.insert(0, Reason::Pending { age_seconds: age.map(|age| age.as_secs()) });
        let (build, start) = (pending.build.clone(), pending.stage == BuildStage::Uploaded);
        Some((Action::Adopt { unit: id, build, start, then }, reasons))
    }

    /// Whether what was built last is just what is wanted.
    fn keep(&self, id: UnitId, unit: &Unit, identity: &Identity<'_>) -> Keep {
        let Some(Previous { key, entry, link }) = identity.previous else { return Keep::Not(None) };
        // A pending build of something else may yet land on the tag: what is there now cannot be
        // kept, even if it is just what is wanted.
        let free = link == PreviousKind::Own || !self.taken.contains(key);
        let settled = free && self.facts.running(entry).is_none() && entry.submitted.is_none();
        let (true, Some(built)) = (settled, &entry.built) else { return Keep::Not(None) };
        let drift = self.facts.drift(key, built);
        // What a run that died has renamed, or given away, is not gone.
        let is_there =
            drift.is_none() || (drift == Some(Drift::Gone) && self.arrived(unit, identity));
        if built.fingerprint != identity.fingerprint || !is_there {
            return Keep::Not(None);
        }
        let visibility = self.facts.visibility(key, built);
        let (change, mut reasons) = change(unit, &built.owner, visibility);
        // A tag of another content with just this content: it was on record as made of less.
        let renamed = (link != PreviousKind::Own).then(|| key.clone());
        match change {
            // What is built on a base needs to know where it is, and the service does not say of one
            // that has moved to another owner: it is made anew there.
            Some(Change { owner: Some(_), .. }) if self.bases.contains(&id) => {
                Keep::Not(reasons.pop())
            }
            None if renamed.is_none() => Keep::As,
            change => {
                let of = || Change {
                    of: built.owner.clone(),
                    from: None,
                    visibility: None,
                    owner: None,
                };
                if let Some(from) = &renamed {
                    reasons.insert(0, Reason::Moved { from: from.clone() });
                }
                let change = Change { from: renamed, ..change.unwrap_or_else(of) };
                Keep::Update(change, reasons)
            }
        }
    }

    /// Whether what was built last has the name and the owner already that the manifest wants for it,
    /// and the lockfile does not know.
    fn arrived(&self, unit: &Unit, identity: &Identity<'_>) -> bool {
        let Some(Previous { key, entry, .. }) = identity.previous else { return false };
        let Some(built) = &entry.built else { return false };
        let owner = unit.owner.as_ref().unwrap_or(&built.owner);
        (owner, &unit.key) != (&built.owner, key) && self.facts.arrived(owner, &unit.key, built)
    }

    /// Whether the service has an image at a unit's place that the lockfile does not know of.
    fn is_taken(&self, unit: &Unit, entry: Option<&Entry>, identity: &Identity<'_>) -> bool {
        let owner = self.facts.unrecorded(unit, entry);
        let row = owner.and_then(|owner| self.facts.remote(owner, &unit.key).flatten());
        let complete = row.is_some_and(|row| row.state == RemoteState::Complete);
        complete && !self.arrived(unit, identity)
    }

    /// Whether an image that was built is there, for all that is known: one of which the service shows
    /// a build that failed may well be.
    fn is_there(&self, unit: &Unit, entry: Option<&Entry>) -> bool {
        let built = entry.and_then(|entry| entry.built.as_ref());
        built.is_some_and(|built| self.facts.remote(&built.owner, &unit.key) != Some(None))
    }

    /// What the service shows to have become of what was built last.
    fn gone(&self, id: UnitId, identity: &Identity<'_>) -> Option<Reason> {
        let Previous { key, entry, .. } = identity.previous?;
        let built = entry.built.as_ref()?;
        match self.facts.drift(key, built)? {
            Drift::Gone if self.arrived(self.workspace.unit(id), identity) => None,
            Drift::Gone => Some(Reason::MissingRemote),
            // What is under way on our behalf may be what is there now.
            Drift::Replaced if entry.pending.is_some() || entry.submitted.is_some() => None,
            Drift::Replaced => {
                let remote = self.facts.remote(&built.owner, key).flatten();
                Some(Reason::RemoteChanged { at: remote.and_then(|remote| remote.changed) })
            }
        }
    }
}

/// What becomes of what was built last.
enum Keep {
    /// It stays as it is.
    As,
    /// It stays, but for this.
    Update(Change, Vec<Reason>),
    /// It does not stay; a reason of which nothing else tells.
    Not(Option<Reason>),
}

/// A request for the unit that was never answered.
fn in_doubt(entry: Option<&Entry>, identity: &Identity<'_>) -> Option<RequestInDoubt> {
    let in_doubt = entry?.submitted.as_ref()?;
    let same = in_doubt.fingerprint == identity.fingerprint;
    Some(RequestInDoubt { at: in_doubt.at, same })
}
