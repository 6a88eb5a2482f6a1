//! Which steps share a limit on how many are worked on at once. Pure.

use std::collections::HashMap;

use super::driver::Run;
use crate::base::kind::ImageKind;
use crate::base::name::Owner;
use crate::manifest::workspace::UnitId;
use crate::plan::{Action, Create, Step};
use crate::state::State;

/// Steps of a lane at once that neither build nor transfer: they only wait.
const OTHERS: usize = 1000;

/// The lane of each step, and how many steps of each lane are worked on at once. What waits for a
/// budget of its own has a lane of its own: builds, updates, deletions, and the transfers of each
/// owner.
pub(super) fn lanes(run: &Run<'_>, state: &State) -> (Vec<usize>, Vec<usize>) {
    let mut limits = vec![OTHERS, run.options.builds, OTHERS, OTHERS];
    let mut owners: HashMap<Owner, usize> = HashMap::new();
    let lane = |step: &Step| match &step.action {
        Action::Create(Create { kind: ImageKind::Build, .. }) => 1,
        Action::Create(make) => {
            let owner = owner_of(run, make.unit, state);
            *owners.entry(owner).or_insert_with(|| {
                limits.push(run.options.transfers);
                limits.len() - 1
            })
        }
        Action::Update { .. } => 2,
        Action::Delete { .. } => 3,
        Action::Adopt { .. } | Action::Forget { .. } => 0,
    };
    (run.plan.steps.iter().map(lane).collect(), limits)
}

/// Who will own a unit. What the manifest leaves open stays with whoever has it.
pub(super) fn owner_of(run: &Run<'_>, unit: UnitId, state: &State) -> Owner {
    let unit = run.workspace.unit(unit);
    let built = || state.entries.get(&unit.key)?.built.as_ref();
    let known = || built().map(|built| built.owner.clone());
    unit.owner.clone().or_else(known).unwrap_or_else(|| run.options.owner.clone())
}
