//! Finds targets whose recorded owner is not the default owner of this run. Pure.

use std::collections::BTreeMap;

use super::steps::{Action, Plan, Step};
use crate::base::name::Owner;
use crate::manifest::workspace::Workspace;
use crate::state::State;

/// Consequences of a default owner that differs from the one in the lockfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnerChange {
    /// Number of targets without an owner in the manifest, by their recorded owner. They keep it,
    /// even if they are built again.
    pub recorded: BTreeMap<Owner, usize>,
    /// Number of these targets that the plan builds again.
    pub rebuilt: usize,
    /// Number of targets without a record that the plan builds for the default owner.
    pub new: usize,
}

impl OwnerChange {
    /// Compares the lockfile with the default owner. Images on the platform do not count: the
    /// service puts images there whoever the default owner is.
    pub(crate) fn find(
        workspace: &Workspace,
        state: &State,
        plan: &Plan,
        default: &Owner,
    ) -> Option<Self> {
        let recorded_owner = |key| Some(&state.entries.get(key)?.built.as_ref()?.owner);
        let is_other = |owner: &&Owner| **owner != *default && **owner != Owner::Platform;
        let mut recorded = BTreeMap::new();
        for unit in workspace.units.iter().filter(|unit| unit.owner.is_none()) {
            if let Some(owner) = recorded_owner(&unit.key).filter(is_other) {
                *recorded.entry(owner.clone()).or_default() += 1;
            }
        }
        if recorded.is_empty() {
            return None;
        }
        let is_default = |step: &&Step| match &step.action {
            Action::Create(create) => create.owner.is_none(),
            _ => false,
        };
        let created = plan.steps.iter().filter(is_default).map(|step| recorded_owner(&step.key));
        let (mut rebuilt, mut new) = (0, 0);
        for owner in created {
            match owner {
                None => new += 1,
                Some(owner) => rebuilt += usize::from(is_other(&owner)),
            }
        }
        Some(Self { recorded, rebuilt, new })
    }
}
