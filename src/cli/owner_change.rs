//! Warns if the default owner is not the one of the lockfile.

use super::failure::{self, Failure};
use super::service::ServiceProfile;
use super::ui::Ui;
use crate::base::name::Owner;
use crate::base::text::plural;
use crate::manifest::Workspace;
use crate::plan::{OwnerChange, Plan};
use crate::state::State;

/// Prints the warning, if there is a reason for it.
///
/// # Errors
///
/// Fails if there is a warning and `deny` says that warnings are errors.
pub(super) fn warn(
    ui: &mut Ui,
    service: &ServiceProfile,
    (workspace, plan, state): (&Workspace, &Plan, &State),
    deny: bool,
) -> Result<(), Failure> {
    let change = OwnerChange::find(workspace, state, plan, &service.owner.owner);
    let Some(change) = change else { return Ok(()) };
    let (message, help) = text(&change, &service.owner.owner, &service.owner.to_string());
    ui.warning(message, help)?;
    failure::deny_warnings(deny, 1)
}

/// Returns the warning and the way out.
fn text(change: &OwnerChange, owner: &Owner, shown: &str) -> (String, String) {
    let OwnerChange { recorded, rebuilt, new } = change;
    let of: Vec<String> = recorded
        .iter()
        .map(|(owner, count)| format!("{} of {}", plural(*count, "target"), owner.words()))
        .collect();
    let mut effects = vec!["they stay there".to_owned()];
    if *rebuilt > 0 {
        effects.push(format!("the plan builds {rebuilt} of them again"));
    }
    if *new > 0 {
        let verb = if *new == 1 { "goes" } else { "go" };
        effects.push(format!("{} {verb} to {}", plural(*new, "new target"), owner.words()));
    }
    let message = format!(
        "the owner is {shown}, and the lockfile has {}: {}",
        of.join(" and "),
        effects.join("; ")
    );
    let earlier = match recorded.keys().next() {
        Some(Owner::Team(id)) => format!("set PRIME_TEAM_ID to {id}"),
        _ => "set PRIME_TEAM_ID to an empty text".to_owned(),
    };
    let help = format!(
        "to keep one owner, {earlier}; to move them to {}, write `owner:` in the manifest",
        owner.words()
    );
    (message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_says_what_the_plan_does() {
        let team = |id: &str| Owner::Team(id.to_owned());
        for (recorded, rebuilt, new, expected, way_out) in [
            (
                vec![(team("t1"), 3)],
                3,
                0,
                "3 targets of team t1: they stay there; the plan builds 3 of them again",
                "PRIME_TEAM_ID to t1;",
            ),
            (
                vec![(Owner::Personal, 1)],
                0,
                2,
                "1 target of personal: they stay there; 2 new targets go to team t2",
                "PRIME_TEAM_ID to an empty text",
            ),
            (
                vec![(Owner::Personal, 1), (team("t1"), 4)],
                0,
                0,
                "1 target of personal and 4 targets of team t1: they stay there",
                "PRIME_TEAM_ID to an empty text",
            ),
        ] {
            let recorded = recorded.into_iter().collect();
            let change = OwnerChange { recorded, rebuilt, new };
            let (message, help) = text(&change, &team("t2"), "team t2 (PRIME_TEAM_ID)");
            let owner = "the owner is team t2 (PRIME_TEAM_ID), and the lockfile has ";
            assert_eq!(message, format!("{owner}{expected}"));
            assert!(help.contains(way_out), "{help}");
        }
    }
}
