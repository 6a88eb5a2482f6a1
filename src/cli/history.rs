//! Keeps the file lists of contexts, so that later plans can name the files that changed.

use std::collections::HashSet;

use crate::base::digest::Digest;
use crate::context::{BuiltContext, History};
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;
use crate::plan::{Action, Facts, Plan};
use crate::state::{Entry, Inputs, State};

/// Keeps the lists of contexts that are now just what the lockfile says was sent: it may have come
/// from another machine, by git, and the files with it.
pub(super) fn keep_recorded(
    history: &History,
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
) {
    let recorded = (0..workspace.units.len()).map(UnitId).filter(|&id| {
        let entry = state.entries.get(&workspace.unit(id).key);
        let digest = facts.context(id).map(|context| context.digest);
        entry.is_some_and(|entry| contexts(entry).any(|recorded| Some(recorded) == digest))
    });
    history.keep(recorded.filter_map(|id| kept(workspace, facts, id)));
}

/// Keeps the lists of contexts that are about to be built.
pub(super) fn keep_planned(history: &History, workspace: &Workspace, facts: &Facts, plan: &Plan) {
    let made = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Create(make) => kept(workspace, facts, make.unit),
        _ => None,
    });
    history.keep(made);
}

/// Removes the lists that the lockfile does not name any more.
pub(super) fn prune(history: &History, state: &State) {
    let named: HashSet<Digest> = state.entries.values().flat_map(contexts).collect();
    history.prune(&named);
}

/// What the lockfile has of the contexts of a unit. Of a build that failed it has none.
fn contexts(entry: &Entry) -> impl Iterator<Item = Digest> {
    let built = entry.built.as_ref().map(|built| &built.inputs);
    let pending = entry.pending.as_ref().map(|pending| &pending.inputs);
    built.into_iter().chain(pending).filter_map(Inputs::context)
}

fn kept<'a>(workspace: &'a Workspace, facts: &'a Facts, id: UnitId) -> Option<BuiltContext<'a>> {
    let context = facts.context(id)?;
    let dockerfile = workspace.unit(id).dockerfile_inside().as_bytes();
    Some(BuiltContext { digest: context.digest, tree: &context.tree, dockerfile })
}
