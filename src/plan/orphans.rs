//! Decides what to do with orphans: lockfile entries without a unit in the manifest, except
//! those that the manifest holds. Pure.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::facts::{Drift, Facts};
use super::options::PlanOptions;
use super::previous::{Moves, same_tag};
use super::reason::Reason;
use super::steps::{Action, Plan, Renamed, Step, StepId};
use crate::base::digest::Fingerprint;
use crate::base::name::{BuildId, ImageName, ImageRef, Owner};
use crate::base::source_ref::SourceRef;
use crate::manifest::workspace::{Removed, Unit, UnitId, Workspace};
use crate::state::{Entry, State, Submission};

/// Maximum age of a request in doubt that may still become a build.
const MAX_DOUBT_AGE: SignedDuration = SignedDuration::from_mins(15);

/// Context of the decision.
pub(super) struct Orphans<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) facts: &'a Facts,
    pub(super) state: &'a State,
    pub(super) options: &'a PlanOptions,
}

impl Orphans<'_> {
    /// Adds a step for each orphan, except those that a unit continues.
    pub(super) fn add(
        &self,
        plan: &mut Plan,
        continued: &HashSet<&ImageRef>,
        step_of: &HashMap<UnitId, StepId>,
    ) {
        let Self { workspace, facts, state, options } = *self;
        let in_doubt = |entry: &Entry| {
            entry.submitted.as_ref().is_some_and(|submitted| is_in_doubt(submitted, facts.now))
        };
        let orphans: Vec<_> = orphans(workspace, state)
            .filter(|(key, entry)| !continued.contains(key) && !in_doubt(entry))
            .collect();
        if orphans.is_empty() {
            return;
        }
        let (successors, removals) = (Successors::new(workspace), Removals::new(workspace));
        let orphans = orphans
            .into_iter()
            .map(|(key, entry)| (key, entry, removals.find(key), successors.find(key, entry)));
        let (protected, orphans): (Vec<_>, Vec<_>) =
            orphans.partition(|(_, entry, removal, successors)| {
                self.is_protected(entry, *removal, successors)
            });
        let protected = protected.into_iter().map(|(key, ..)| key);
        let kept_images =
            self.kept_images(&continued.iter().copied().chain(protected.clone()).collect());
        plan.protected.extend(protected.cloned());
        for (key, entry, removal, successors) in orphans {
            let after = facts.running(entry).map(|running| running.build.clone());
            let is_kept = entry.built.as_ref().is_some_and(|built| {
                kept_images.contains(&(built.owner.clone(), built.image(key).clone()))
            });
            let delete = removal.map_or(options.prune, |removal| removal.destroy) && !is_kept;
            let (action, kept, drift) = self.action_for_orphan(key, entry, after, delete);
            let reason = match successors.first() {
                Some((_, unit)) => Reason::Superseded { by: unit.key.clone(), kept },
                None => Reason::RemovedFromManifest { kept },
            };
            // The successor must exist before the orphan goes.
            let needs = successors.iter().filter_map(|(id, _)| step_of.get(id)).copied();
            plan.steps.push(Step {
                key: key.clone(),
                kind: entry.kind,
                action,
                reasons: [Some(reason), drift].into_iter().flatten().collect(),
                needs: needs.collect(),
                added: false,
            });
        }
    }

    /// True if the image of an orphan must not be deleted.
    fn is_protected(
        &self,
        entry: &Entry,
        removal: Option<&Removed>,
        successors: &[(UnitId, &Unit)],
    ) -> bool {
        let exists = entry.built.is_some() || self.facts.running(entry).is_some();
        let is_set = |protect| successors.iter().any(|(_, unit)| unit.protect == Some(protect));
        // Forgetting an image because the manifest says so keeps the image: that is safe.
        let lifted = removal.is_some_and(|removal| !removal.destroy) || is_set(false);
        (entry.protect || is_set(true)) && !lifted && exists
    }

    /// Returns the images that remain: those of the units and of these entries. The service may make
    /// one image for several entries.
    fn kept_images(&self, kept: &HashSet<&ImageRef>) -> HashSet<(Owner, ImageRef)> {
        let Self { workspace, facts, state, .. } = *self;
        let units: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
        let of_unit = |unit: &Unit| {
            if let Some(image) = unit.source().and_then(SourceRef::platform_image) {
                return Some((Owner::Platform, image));
            }
            let owner = unit.owner.as_ref().or(facts.default_owner.as_ref())?;
            Some((owner.clone(), unit.key.clone()))
        };
        let is_kept = |(key, _): &(&ImageRef, &Entry)| {
            units.contains(key) || kept.contains(key) || workspace.holds(key)
        };
        let of_entry = |(key, entry): (&ImageRef, &Entry)| {
            let built = entry.built.as_ref()?;
            Some((built.owner.clone(), built.image(key).clone()))
        };
        let of_entries = state.entries.iter().filter(is_kept).filter_map(of_entry);
        workspace.units.iter().filter_map(of_unit).chain(of_entries).collect()
    }

    /// Returns the action for an orphan, whether its image is kept, and its drift. Only our own
    /// image is deleted, not one that replaced it.
    fn action_for_orphan(
        &self,
        key: &ImageRef,
        entry: &Entry,
        after: Option<BuildId>,
        delete: bool,
    ) -> (Action, bool, Option<Reason>) {
        let built = entry.built.as_ref();
        let changed = built
            .and_then(|built| self.facts.recorded(key, built))
            .flatten()
            .and_then(|remote| remote.changed);
        // A running build of ours will replace whatever is there.
        let recorded = built.filter(|_| after.is_none());
        match recorded.and_then(|built| self.facts.difference(key, built)) {
            Some(Drift::Gone) => {
                return (Action::Forget { after }, false, Some(Reason::MissingRemote));
            }
            Some(Drift::Replaced) => {
                let replaced = Reason::RemoteChanged { at: changed };
                return (Action::Forget { after }, true, Some(replaced));
            }
            None => {}
        }
        let pending = after.as_ref().and(entry.pending.as_ref());
        let owner = built.map(|built| &built.owner).or(pending.map(|pending| &pending.owner));
        // The service chooses name and owner of a mirror of Docker Hub, so the image of a running build
        // is not known. An API key that may not list the images of an owner may not delete them either.
        let is_known = pending.is_none_or(|pending| pending.inputs.platform_path().is_none());
        let may_delete = |owner: &&Owner| is_known && !self.facts.refused.contains(owner);
        match owner.filter(|owner| delete && may_delete(owner)) {
            Some(owner) => (Action::Delete { owner: owner.clone(), after, changed }, false, None),
            None => (Action::Forget { after }, true, None),
        }
    }
}

/// The manifest's `removed:` entries, by name.
struct Removals<'w>(HashMap<&'w ImageName, Vec<&'w Removed>>);

impl<'w> Removals<'w> {
    fn new(workspace: &'w Workspace) -> Self {
        let mut by_name: HashMap<&ImageName, Vec<&Removed>> = HashMap::new();
        for removed in &workspace.removed {
            by_name.entry(&removed.from.name).or_default().push(removed);
        }
        Self(by_name)
    }

    /// Returns the entry for an image. An entry for one tag comes before an entry for all tags of a
    /// name.
    fn find(&self, key: &ImageRef) -> Option<&'w Removed> {
        let removals = self.0.get(&key.name)?.iter().copied();
        let matching = removals.filter(|removed| removed.from.matches(key));
        matching.max_by_key(|removed| removed.from.tag.is_some())
    }
}

/// True if a request in doubt may still become a build. If its unit were forgotten or deleted
/// meanwhile, the image would reappear unrecorded.
fn is_in_doubt(submitted: &Submission, now: Option<Timestamp>) -> bool {
    now.is_none_or(|now| now.duration_since(submitted.at) <= MAX_DOUBT_AGE)
}

/// Returns new units with the content of an orphan: most likely, they were renamed.
pub(super) fn renamed(
    workspace: &Workspace,
    state: &State,
    new: &[(Fingerprint, UnitId)],
    plan: &Plan,
) -> Vec<Renamed> {
    if new.is_empty() || plan.steps.iter().all(|step| step.unit().is_some()) {
        return Vec::new();
    }
    let built =
        |(key, entry): (&ImageRef, &Entry)| Some((entry.built.as_ref()?.fingerprint, key.clone()));
    let orphans: HashMap<Fingerprint, ImageRef> =
        orphans(workspace, state).filter_map(built).collect();
    let renamed = |&(fingerprint, id): &(Fingerprint, UnitId)| {
        let from = orphans.get(&fingerprint)?.clone();
        Some(Renamed { from, to: workspace.unit(id).key.clone() })
    };
    new.iter().filter_map(renamed).collect()
}

/// Returns the lockfile entries without a unit, except those of units that are left as they are.
fn orphans<'s>(
    workspace: &'s Workspace,
    state: &'s State,
) -> impl Iterator<Item = (&'s ImageRef, &'s Entry)> {
    let units: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
    state.entries.iter().filter(move |(key, _)| !units.contains(key) && !workspace.holds(key))
}

/// Index of the units that take the place of orphans.
struct Successors<'w> {
    workspace: &'w Workspace,
    moves: Moves,
    by_name: HashMap<&'w ImageName, Vec<UnitId>>,
}

impl<'w> Successors<'w> {
    fn new(workspace: &'w Workspace) -> Self {
        let mut by_name: HashMap<&ImageName, Vec<UnitId>> = HashMap::new();
        for (index, unit) in workspace.units.iter().enumerate() {
            by_name.entry(&unit.key.name).or_default().push(UnitId(index));
        }
        Self { workspace, moves: Moves::new(workspace), by_name }
    }

    /// Returns the units that take the place of an orphan: its content has another tag now, or it
    /// was renamed. If all tags of a name moved, that is the unit with the same tag, or else all of
    /// them.
    fn find(&self, key: &ImageRef, entry: &Entry) -> Vec<(UnitId, &'w Unit)> {
        let named = |name: &ImageName| {
            let ids = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
            let units = ids.iter().map(|&id| (id, self.workspace.unit(id)));
            units.filter(|(_, unit)| unit.platform == entry.platform)
        };
        let of_content: Vec<_> = named(&key.name)
            .filter(|(_, unit)| unit.content_tag.is_some() && same_tag(unit, key))
            .collect();
        let rule = self.moves.rule(self.workspace, key);
        let (true, Some(moved)) = (of_content.is_empty(), rule) else { return of_content };
        let to: Vec<_> =
            named(&moved.to.name).filter(|(_, unit)| moved.to.matches(&unit.key)).collect();
        match to.iter().find(|(_, unit)| same_tag(unit, key)) {
            Some(same) => vec![*same],
            None => to,
        }
    }
}
