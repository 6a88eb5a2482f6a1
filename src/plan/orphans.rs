//! What the lockfile has and the manifest no longer does: forgotten, deleted, or kept because it is
//! protected. Pure.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::facts::{Drift, Facts};
use super::options::PlanOptions;
use super::previous::{Moves, same_tag};
use super::{Action, Plan, Reason, Renamed, Step, StepId};
use crate::base::digest::Fingerprint;
use crate::base::name::{BuildId, ImageName, ImageRef, Owner};
use crate::manifest::workspace::{Removed, Unit, UnitId, Workspace};
use crate::state::{Entry, State, Submission};

/// How long a request that the service does not speak of may still come to something.
const DOUBT: SignedDuration = SignedDuration::from_mins(15);

/// What is known where it is decided what becomes of them.
pub(super) struct Orphans<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) facts: &'a Facts,
    pub(super) state: &'a State,
    pub(super) options: &'a PlanOptions,
}

impl Orphans<'_> {
    /// Adds a step for each entry that no unit goes by, except for those that are `taken` over.
    pub(super) fn add(
        &self,
        plan: &mut Plan,
        taken: &HashSet<&ImageRef>,
        step_of: &HashMap<UnitId, StepId>,
    ) {
        let Self { workspace, facts, state, options } = *self;
        let gone: Vec<_> = gone(workspace, state).filter(|(key, _)| !taken.contains(key)).collect();
        if gone.is_empty() {
            return;
        }
        let (successors, removed) = (Successors::of(workspace), Said::of(workspace));
        for (key, entry) in gone {
            if entry.submitted.as_ref().is_some_and(|submitted| in_doubt(submitted, facts.now)) {
                continue;
            }
            let said = removed.find(key);
            let successors = successors.find(key, entry);
            let after = facts.running(entry).map(|pending| pending.build.clone());
            let built = entry.built.as_ref();
            // To forget an image because the manifest says just that is no way to lose it.
            let lifted = said.is_some_and(|removed| !removed.destroy)
                || successors.iter().any(|(_, unit)| unit.protect == Some(false));
            let safe =
                entry.protect || successors.iter().any(|(_, unit)| unit.protect == Some(true));
            if safe && !lifted && (built.is_some() || after.is_some()) {
                plan.protected.push(key.clone());
                continue;
            }
            let destroy = said.map_or(options.prune, |removed| removed.destroy);
            let (action, kept, more) = self.let_go(key, entry, after, destroy);
            let reason = match successors.first() {
                Some((_, unit)) => Reason::Superseded { by: unit.key.clone(), kept },
                None => Reason::RemovedFromManifest { kept },
            };
            // What has its place is there before it goes.
            let needs = successors.iter().filter_map(|(id, _)| step_of.get(id)).copied();
            plan.steps.push(Step {
                key: key.clone(),
                kind: entry.kind,
                action,
                reasons: [Some(reason), more].into_iter().flatten().collect(),
                needs: needs.collect(),
                added: false,
            });
        }
    }
}

impl Orphans<'_> {
    /// What becomes of an entry, whether the image stays, and what the service shows of it. Only what we
    /// made is deleted: what somebody else put in its place is not ours.
    fn let_go(
        &self,
        key: &ImageRef,
        entry: &Entry,
        after: Option<BuildId>,
        destroy: bool,
    ) -> (Action, bool, Option<Reason>) {
        let built = entry.built.as_ref();
        let row = |owner: &Owner| self.facts.remote(owner, key).flatten();
        let changed = |owner: &Owner| row(owner).and_then(|remote| remote.changed);
        // Where a build of ours has yet to land, that is what will be there.
        let drift = built.filter(|_| after.is_none());
        let drift = drift.and_then(|built| Some((built, self.facts.drift(key, built)?)));
        match drift {
            Some((_, Drift::Gone)) => {
                return (Action::Forget { after }, false, Some(Reason::MissingRemote));
            }
            Some((built, Drift::Replaced)) => {
                let more = Reason::RemoteChanged { at: changed(&built.owner) };
                return (Action::Forget { after }, true, Some(more));
            }
            None => {}
        }
        let coming = after.as_ref().and(entry.pending.as_ref()).map(|pending| &pending.owner);
        let owner = built.map(|built| &built.owner).or(coming);
        match owner.filter(|_| destroy) {
            Some(owner) => {
                let (owner, changed) = (owner.clone(), changed(owner));
                (Action::Delete { owner, after, changed }, false, None)
            }
            None => (Action::Forget { after }, true, None),
        }
    }
}

/// What the manifest says of images that it no longer has.
struct Said<'w>(HashMap<&'w ImageName, Vec<&'w Removed>>);

impl<'w> Said<'w> {
    fn of(workspace: &'w Workspace) -> Self {
        let mut said: HashMap<&ImageName, Vec<&Removed>> = HashMap::new();
        for removed in &workspace.removed {
            said.entry(&removed.from.name).or_default().push(removed);
        }
        Self(said)
    }

    /// What names one tag is meant before what names them all.
    fn find(&self, key: &ImageRef) -> Option<&'w Removed> {
        let said = self.0.get(&key.name)?.iter().copied();
        said.filter(|said| said.from.matches(key)).max_by_key(|said| said.from.tag.is_some())
    }
}

/// Whether something may still come of a request that was never answered: what is forgotten, or
/// deleted, meanwhile would come back, and be nobody's.
fn in_doubt(submitted: &Submission, now: Option<Timestamp>) -> bool {
    now.is_none_or(|now| now.duration_since(submitted.at) <= DOUBT)
}

/// New units with the content of an entry that no unit goes by: most likely they are renamed.
pub(super) fn renamed(
    workspace: &Workspace,
    state: &State,
    news: &[(Fingerprint, UnitId)],
    plan: &Plan,
) -> Vec<Renamed> {
    if news.is_empty() || plan.steps.iter().all(|step| step.unit().is_some()) {
        return Vec::new();
    }
    let built =
        |(key, entry): (&ImageRef, &Entry)| Some((entry.built.as_ref()?.fingerprint, key.clone()));
    let gone: HashMap<Fingerprint, ImageRef> = gone(workspace, state).filter_map(built).collect();
    let hint = |&(fingerprint, id): &(Fingerprint, UnitId)| {
        let from = gone.get(&fingerprint)?.clone();
        Some(Renamed { from, to: workspace.unit(id).key.clone() })
    };
    news.iter().filter_map(hint).collect()
}

/// The entries that no unit goes by.
fn gone<'s>(
    workspace: &Workspace,
    state: &'s State,
) -> impl Iterator<Item = (&'s ImageRef, &'s Entry)> {
    let known: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
    state.entries.iter().filter(move |(key, _)| !known.contains(key))
}

/// Who has the place of entries.
struct Successors<'w> {
    workspace: &'w Workspace,
    moves: Moves,
    named: HashMap<&'w ImageName, Vec<UnitId>>,
}

impl<'w> Successors<'w> {
    fn of(workspace: &'w Workspace) -> Self {
        let mut named: HashMap<&ImageName, Vec<UnitId>> = HashMap::new();
        for (index, unit) in workspace.units.iter().enumerate() {
            named.entry(&unit.key.name).or_default().push(UnitId(index));
        }
        Self { workspace, moves: Moves::of(workspace), named }
    }

    /// The units that have the place of an entry: its content has another tag now, or it was renamed.
    /// Of an image that moved as a whole that is the one with the same tag, else any of them may be.
    fn find(&self, key: &ImageRef, entry: &Entry) -> Vec<(UnitId, &'w Unit)> {
        let named = |name: &ImageName| {
            let ids = self.named.get(name).map(Vec::as_slice).unwrap_or_default();
            let units = ids.iter().map(|&id| (id, self.workspace.unit(id)));
            units.filter(|(_, unit)| unit.platform == entry.platform)
        };
        let open = |(_, unit): &(UnitId, &Unit)| unit.content_tag.is_some() && same_tag(unit, key);
        let of_content: Vec<_> = named(&key.name).filter(open).collect();
        let rule = self.moves.rule(self.workspace, key);
        let (true, Some(moved)) = (of_content.is_empty(), rule) else { return of_content };
        let to: Vec<_> =
            named(&moved.to.name).filter(|(_, unit)| moved.to.matches(&unit.key)).collect();
        let alike = |(_, unit): &&(UnitId, &Unit)| same_tag(unit, key);
        match to.iter().find(alike) {
            Some(alike) => vec![*alike],
            None => to,
        }
    }
}
