//! What the lockfile has and the manifest no longer does: forgotten, deleted, or kept because it is
//! protected. Pure.

use std::collections::{HashMap, HashSet};

use super::facts::Facts;
use super::identify::under_way;
use super::options::Options;
use super::{Action, Plan, Reason, Renamed, Step, StepId};
use crate::base::digest::Fingerprint;
use crate::base::name::ImageRef;
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{Entry, State};

/// Adds a step for each entry that no unit goes by, except for those that are `taken` over.
pub(super) fn add(
    plan: &mut Plan,
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    options: &Options,
    taken: &HashSet<&ImageRef>,
    step_of: &HashMap<UnitId, StepId>,
) {
    for (key, entry) in gone(workspace, state).filter(|(key, _)| !taken.contains(key)) {
        let said = workspace.removed.iter().find(|removed| removed.from.matches(key));
        let after = under_way(entry, facts).map(|pending| pending.build.clone());
        let built = entry.built.as_ref();
        let destroy = said.map_or(options.prune, |removed| removed.destroy);
        // To forget an image because the manifest says just that is no way to lose it.
        if entry.protect && built.is_some() && said.is_none_or(|removed| removed.destroy) {
            plan.protected.push(key.clone());
            continue;
        }
        let successor = successor(workspace, key, entry);
        let needs = successor.and_then(|(id, _)| step_of.get(&id)).copied();
        let (action, kept) = match built.filter(|_| destroy) {
            Some(built) => (Action::Remove { owner: built.owner.clone(), after }, false),
            None => (Action::Forget { after }, true),
        };
        let reason = match successor {
            Some((_, unit)) => Reason::Superseded { by: unit.key.clone(), kept },
            None => Reason::RemovedFromManifest { kept },
        };
        plan.steps.push(Step {
            key: key.clone(),
            kind: entry.kind,
            action,
            reasons: vec![reason],
            // What has its place is there before it goes.
            needs: needs.into_iter().collect(),
            added: false,
        });
    }
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
    let known: HashSet<ImageRef> = workspace.units.iter().map(|unit| unit.key.clone()).collect();
    state.entries.iter().filter(move |(key, _)| !known.contains(*key))
}

/// The unit that has the place of an entry: its content has another tag now, or it was renamed.
fn successor<'w>(
    workspace: &'w Workspace,
    key: &ImageRef,
    entry: &Entry,
) -> Option<(UnitId, &'w Unit)> {
    let mut units = workspace.units.iter().enumerate();
    let moved = workspace.moved.iter().find(|moved| moved.from.matches(key));
    let fits = |unit: &Unit| match (&unit.content_tag, moved) {
        (Some(template), _) if unit.key.name == key.name && template.matches(&key.tag) => true,
        (_, Some(moved)) => moved.to.matches(&unit.key),
        (_, None) => false,
    };
    units
        .find(|(_, unit)| unit.platform == entry.platform && fits(unit))
        .map(|(index, unit)| (UnitId(index), unit))
}
