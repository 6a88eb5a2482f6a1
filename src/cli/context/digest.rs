//! `imgplan context digest`: what decides the content of a unit.

use std::collections::HashSet;

use serde_json::json;

use super::scan;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::cli::ui::Ui;
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit, UnitId};
use crate::plan::facts::Context;
use crate::plan::{self, Facts, PlanOptions};
use crate::state::{StatePaths, Store};

/// Prints what decides the content of a unit, and the fingerprint of all of it.
pub(super) fn digest(
    ui: &mut Ui,
    settings: &Settings,
    workspace: &Workspace,
    unit: &Unit,
) -> Result<(), Failure> {
    let Some(id) = workspace.units.iter().position(|other| other.key == unit.key) else {
        return Err(Failure::new(format!("{} is not in the manifest", unit.key)));
    };
    // Units that do not count have no context here and a fingerprint that nobody looks at.
    let counts = bases(workspace, UnitId(id));
    let build = |index: usize| match &workspace.units[index].origin {
        Origin::Build(build) if counts.contains(&UnitId(index)) => Some((index, build)),
        _ => None,
    };
    let builds: Vec<(usize, &BuildOrigin)> = (0..=id).filter_map(build).collect();
    let wanted: Vec<&BuildOrigin> = builds.iter().map(|(_, build)| *build).collect();
    let mut contexts: Vec<Option<Context>> = (0..=id).map(|_| None).collect();
    for ((index, _), tree) in builds.iter().zip(scan(settings, &wanted)?) {
        let dockerfile = workspace.units[*index].dockerfile_inside().as_bytes();
        contexts[*index] = Some(Context { digest: tree.digest_without(dockerfile), tree });
    }
    let facts = Facts { contexts, ..Facts::default() };
    let state = Store::read_any(&StatePaths::beside(&settings.root()))?;
    let identities = plan::identities(workspace, &facts, &state, &PlanOptions::default());
    let Some((inputs, fingerprint)) = identities.into_iter().nth(id) else {
        return Err(Failure::new(format!("{} was not identified", unit.key)));
    };
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
