//! Assigns steps to pools. The steps of a pool share a limit on how many run at once. Pure.

use std::collections::HashMap;

use super::options::Run;
use crate::base::kind::ImageKind;
use crate::base::name::Owner;
use crate::manifest::workspace::UnitId;
use crate::plan::{Action, Create, Step};
use crate::state::State;

/// Concurrent steps in a pool whose steps only wait for the service.
const MAX_WAITING_STEPS: usize = 1000;

const WAITING_POOL: usize = 0;
const BUILD_POOL: usize = 1;
const UPDATE_POOL: usize = 2;
const DELETION_POOL: usize = 3;

/// Returns the pool of each step, and the limit of each pool.
///
/// Steps that wait for different rate limits are in different pools, so that none holds up another:
/// builds, updates, deletions, and the transfers of each owner.
pub(super) fn pools(run: &Run<'_>, state: &State) -> (Vec<usize>, Vec<usize>) {
    let mut limits =
        vec![MAX_WAITING_STEPS, run.options.builds, MAX_WAITING_STEPS, MAX_WAITING_STEPS];
    let mut owners: HashMap<Owner, usize> = HashMap::new();
    let pool = |step: &Step| match &step.action {
        Action::Create(Create { kind: ImageKind::Build, .. }) => BUILD_POOL,
        Action::Create(create) => {
            let owner = owner_of(run, create.unit, state);
            *owners.entry(owner).or_insert_with(|| {
                limits.push(run.options.transfers);
                limits.len() - 1
            })
        }
        Action::Update { .. } => UPDATE_POOL,
        Action::Delete { .. } => DELETION_POOL,
        Action::Adopt { .. } | Action::Forget { .. } => WAITING_POOL,
    };
    (run.plan.steps.iter().map(pool).collect(), limits)
}

/// Returns the owner to ask for: the manifest's, else the recorded one, else the run's default. For
/// a mirror of Docker Hub, the platform as the recorded owner is the service's choice.
pub(super) fn owner_of(run: &Run<'_>, unit: UnitId, state: &State) -> Owner {
    let unit = run.workspace.unit(unit);
    let built = || state.entries.get(&unit.key)?.built.as_ref();
    let recorded = || built().map(|built| built.owner.clone());
    let recorded =
        || recorded().filter(|owner| *owner != Owner::Platform || !unit.mirrors_docker_hub());
    unit.owner.clone().or_else(recorded).unwrap_or_else(|| run.options.owner.clone())
}
