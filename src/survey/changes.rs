//! Finds the files of each context that changed since the last build.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::digest::Digest;
use crate::context::{self, FileChange, FileList, History};
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;
use crate::plan::PreviousLookup;
use crate::plan::facts::Context;
use crate::state::State;

/// Compares each changed context with the file list of the unit's last build. Units whose list is
/// not in the history are left out.
pub(super) async fn find(
    workspace: &Workspace,
    state: &State,
    history: &History,
    contexts: &[Option<Context>],
) -> HashMap<UnitId, Arc<[FileChange]>> {
    let lookup = PreviousLookup::new(workspace, state);
    let changed = |(index, context): (usize, &Option<Context>)| {
        let (id, context) = (UnitId(index), context.as_ref()?);
        let unit = workspace.unit(id);
        let built = lookup.of(workspace, unit)?.entry.built.as_ref()?;
        // The files of a whole context cannot be compared with those that instructions reach.
        if built.inputs.has_whole_context() != context.instructions.is_none() {
            return None;
        }
        let old = built.inputs.context().filter(|old| *old != context.digest)?;
        Some((id, old, context.clone(), unit.dockerfile_inside().as_bytes().to_vec()))
    };
    let changed: Vec<_> = contexts.iter().enumerate().filter_map(changed).collect();
    if changed.is_empty() {
        return HashMap::new();
    }
    let history = history.clone();
    let compare = move || {
        // Units with the same old and new digest have the same changes.
        let mut known: HashMap<_, Option<Arc<[FileChange]>>> = HashMap::new();
        let compare = |(id, old, new, dockerfile): (UnitId, Digest, Context, Vec<u8>)| {
            let changes = known.entry((old, new.digest)).or_insert_with(|| {
                let new = FileList::new(&new.tree, &dockerfile);
                Some(context::changes(&history.load(old)?, &new).into())
            });
            Some((id, changes.clone()?))
        };
        changed.into_iter().filter_map(compare).collect()
    };
    match tokio::task::spawn_blocking(compare).await {
        Ok(changes) => changes,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
