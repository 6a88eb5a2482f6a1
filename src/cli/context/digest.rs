//! `imgplan context digest`: what decides the content of a unit.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use super::scan;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, Unit, UnitId};
use crate::plan::facts::Context;
use crate::plan::{Facts, inputs_of};

/// Prints what decides the content of a unit, and the fingerprint of all of it.
pub(super) fn digest(ui: &mut Ui, workspace: &Workspace, unit: &Unit) -> Result<(), Failure> {
    let Some(id) = workspace.units.iter().position(|other| other.key == unit.key) else {
        return Err(Failure::internal(format!("{} is not in the manifest", unit.key)));
    };
    let counts = bases(workspace, UnitId(id));
    let mut facts = Facts::default();
    let mut fingerprints = Vec::new();
    // Units that do not count have no context here and a fingerprint that nobody looks at.
    for (index, other) in workspace.units[..=id].iter().enumerate() {
        let context = match &other.origin {
            Origin::Build(build) if counts.contains(&UnitId(index)) => {
                let tree = Arc::new(scan(build)?);
                let digest = tree.digest_without(other.dockerfile_inside().as_bytes());
                Some(Context { tree, digest })
            }
            _ => None,
        };
        facts.contexts.push(context);
        let inputs = inputs_of(workspace, &facts, UnitId(index), &fingerprints);
        fingerprints.push(inputs.fingerprint());
    }
    let inputs = inputs_of(workspace, &facts, UnitId(id), &fingerprints);
    let fingerprint = inputs.fingerprint();
    if ui.is_json() {
        let object = json!({ "image": unit.key, "inputs": inputs, "fingerprint": fingerprint });
        ui.data(object)?;
        return Ok(());
    }
    let wide = inputs.0.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    let wide = wide.max("fingerprint".len());
    for (key, value) in &inputs.0 {
        ui.data(format_args!("{key:wide$}  {value}"))?;
    }
    ui.data(format_args!("{:wide$}  {fingerprint}", "fingerprint"))?;
    Ok(())
}

/// A unit and all that it is built on.
fn bases(workspace: &Workspace, id: UnitId) -> HashSet<UnitId> {
    let mut found = HashSet::from([id]);
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        next.extend(workspace.unit(id).needs.iter().filter(|&&need| found.insert(need)));
    }
    found
}
