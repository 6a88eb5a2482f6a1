//! The bases of a plan whose path comes from the lockfile alone.

use std::collections::{BTreeMap, HashSet};

use super::PlanView;
use crate::base::image_path::ImagePath;
use crate::base::name::{ImageRef, Owner};
use crate::manifest::workspace::{Origin, UnitId};
use crate::plan::{Action, Step};

/// Returns the bases that are built on under a recorded path which the service did not confirm, and
/// these paths. Whoever can edit the lockfile can put another image there.
pub(super) fn unconfirmed_bases<'v>(view: &PlanView<'v>) -> BTreeMap<&'v ImageRef, &'v ImagePath> {
    let steps = view.plan.steps.iter().filter(|step| matches!(step.action, Action::Create(_)));
    // A base with a step of its own gets its path from the service.
    let planned: HashSet<UnitId> = view.plan.steps.iter().filter_map(Step::unit).collect();
    steps
        .flat_map(|step| bases(view, step))
        .filter(|base| !planned.contains(base))
        .filter_map(|base| unconfirmed(view, base))
        .collect()
}

/// Returns the bases of a step that are built.
fn bases<'v>(view: &PlanView<'v>, step: &Step) -> impl Iterator<Item = UnitId> + use<'v> {
    let unit = step.unit().map(|unit| view.workspace.unit(unit));
    let bases = unit.and_then(|unit| match &unit.origin {
        Origin::Build(build) => Some(build.bases.iter().map(|base| base.unit)),
        Origin::Mirror(_) => None,
    });
    bases.into_iter().flatten()
}

fn unconfirmed<'v>(view: &PlanView<'v>, base: UnitId) -> Option<(&'v ImageRef, &'v ImagePath)> {
    let key = &view.workspace.unit(base).key;
    let built = view.state.entries.get(key)?.built.as_ref()?;
    let listed = view.facts.recorded(key, built).flatten().and_then(|image| image.path.as_ref());
    let is_name = built.owner == Owner::Platform && built.path == ImagePath::from(built.image(key));
    let is_known = built.path.is_empty() || is_name || listed == Some(&built.path);
    (!is_known).then_some((key, &built.path))
}
