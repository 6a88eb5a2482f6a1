//! `imgplan context digest`: prints the fingerprint of an image and its inputs.

use std::collections::HashSet;

use serde_json::json;

use super::find::scan;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::cli::ui::Ui;
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;
use crate::plan::{self, Facts, Identity, PlanOptions};
use crate::state::State;

/// Prints the inputs of an image and their fingerprint.
pub(super) fn digest(
    ui: &mut Ui,
    settings: &Settings,
    workspace: &Workspace,
    id: UnitId,
    state: &State,
) -> Result<(), Failure> {
    let unit = workspace.unit(id);
    // The other units have no context here, and their fingerprints are not used.
    let contexts = scan(settings, workspace, state, &with_bases(workspace, id))?;
    let facts = Facts { contexts, ..Facts::default() };
    let identities = plan::identify(workspace, &facts, state, &PlanOptions::default());
    let Some(Identity { inputs, fingerprint, .. }) = identities.into_iter().nth(id.0) else {
        return Err(Failure::new(format!("{} has no fingerprint", unit.key)));
    };
    if ui.is_json() {
        let object = json!({ "image": unit.key, "inputs": inputs, "fingerprint": fingerprint });
        ui.json_data(&object)?;
        return Ok(());
    }
    let keys = inputs.0.keys().map(|key| key.chars().count());
    let width = keys.max().unwrap_or(0).max("fingerprint".len());
    for (key, value) in inputs.0.iter() {
        ui.data(format_args!("{key:width$}  {value}"))?;
    }
    ui.data(format_args!("{:width$}  {fingerprint}", "fingerprint"))?;
    Ok(())
}

/// Returns a unit and all its bases, direct and indirect.
fn with_bases(workspace: &Workspace, id: UnitId) -> HashSet<UnitId> {
    let mut units = HashSet::from([id]);
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        next.extend(workspace.unit(id).needs.iter().filter(|&&need| units.insert(need)));
    }
    units
}
