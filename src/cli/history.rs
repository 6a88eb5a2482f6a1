//! Keeps the file lists of contexts, so that later plans can name the files that changed.

use std::collections::HashSet;

use crate::base::digest::Digest;
use crate::context::{BuiltContext, History};
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;
use crate::plan::{Action, Facts, Plan};
use crate::state::{Entry, Inputs, State};

/// Keeps the file lists of contexts that equal the recorded ones: lockfile and files may come from
/// another machine, by git.
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
    history.keep(recorded.filter_map(|id| file_list(workspace, facts, id)));
}

/// Keeps the file lists of contexts that are about to be built.
pub(super) fn keep_planned(history: &History, workspace: &Workspace, facts: &Facts, plan: &Plan) {
    let planned = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Create(create) => file_list(workspace, facts, create.unit),
        _ => None,
    });
    history.keep(planned);
}

/// Removes the file lists of contexts that the lockfile no longer has.
pub(super) fn prune(history: &History, state: &State) {
    let recorded: HashSet<Digest> = state.entries.values().flat_map(contexts).collect();
    history.prune(&recorded);
}

/// Returns the digests of the contexts of an entry. Those of a failed build are not recorded.
fn contexts(entry: &Entry) -> impl Iterator<Item = Digest> {
    let built = entry.built.as_ref().map(|built| &built.inputs);
    let pending = entry.pending.as_ref().map(|pending| &pending.inputs);
    built.into_iter().chain(pending).filter_map(Inputs::context)
}

fn file_list<'a>(
    workspace: &'a Workspace,
    facts: &'a Facts,
    id: UnitId,
) -> Option<BuiltContext<'a>> {
    let context = facts.context(id)?;
    let dockerfile = workspace.unit(id).dockerfile_inside().as_bytes();
    Some(BuiltContext { digest: context.digest, tree: &context.tree, dockerfile })
}
