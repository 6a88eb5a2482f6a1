//! Reads a saved plan, and holds it against what is there now.

use std::path::Path;

use super::failure::Failure;
use super::service::Target;
use crate::manifest::Workspace;
use crate::plan::saved::VERSION;
use crate::plan::{Plan, PlanOptions, SavedPlan};
use crate::state::State;

/// Units named where a plan is stale.
const NAMED: usize = 10;

/// Reads the file of a plan.
pub(super) fn read(path: &Path) -> Result<SavedPlan, Failure> {
    #[derive(serde::Deserialize)]
    struct VersionOnly {
        version: u32,
    }

    const HELP: &str = "make one with `imgplan plan --out FILE`";
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = format!("{HELP}; to work on some images only, use --target");
        Failure::with_help(format!("cannot read the plan {}: {error}", path.display()), help)
    })?;
    let no_plan = |error: serde_json::Error| {
        Failure::with_help(format!("{} is no saved plan: {error}", path.display()), HELP)
    };
    let VersionOnly { version } = serde_json::from_str(&text).map_err(no_plan)?;
    if version < VERSION {
        let message = format!("the plan {} is of an earlier imgplan", path.display());
        return Err(Failure::with_help(message, "plan again"));
    }
    if version > VERSION {
        let message = format!(
            "the plan {} has version {version}, and this imgplan reads {VERSION}",
            path.display()
        );
        return Err(Failure::with_help(message, "use the imgplan that made it, or plan again"));
    }
    serde_json::from_str(&text).map_err(no_plan)
}

/// What a saved plan was asked to be, if it is for this service.
pub(super) fn options(saved: &SavedPlan, target: &Target) -> Result<PlanOptions, Failure> {
    if saved.service != target.name {
        let message =
            format!("the plan is for {}, and this run goes to {}", saved.service, target.name);
        return Err(Failure::with_help(message, "plan again for this service"));
    }
    saved.options().map_err(|error| Failure::with_help(error.message, "plan again"))
}

/// What was agreed to, where all of it is still the same.
pub(super) fn check(
    saved: &SavedPlan,
    fresh: Plan,
    workspace: &Workspace,
    state: &State,
) -> Result<Plan, Failure> {
    saved.check(fresh, workspace, state).map_err(|stale| {
        let mut lines: Vec<String> = stale
            .iter()
            .take(NAMED)
            .map(|stale| format!("  {}: {}", stale.what_of, stale.what))
            .collect();
        if let more @ 1.. = stale.len().saturating_sub(NAMED) {
            lines.push(format!("  and {more} more"));
        }
        let of = saved.steps.len();
        let pins = stale.iter().filter(|stale| saved.pins().contains_key(&stale.what_of)).count();
        let are = match (stale.len() - pins, pins) {
            (0, 1) => "1 of its pins is not as it was".to_owned(),
            (0, many) => format!("{many} of its pins are not as they were"),
            (1, _) if of == 1 => "its only step is not as it was".to_owned(),
            (1, _) => format!("1 of its {of} steps is not as it was"),
            (many, _) => format!("{many} of its {of} steps are not as they were"),
        };
        let lines = lines.join("\n");
        let message = format!("the saved plan is stale, {are}; nothing was done\n{lines}");
        Failure::with_help(message, "plan again, and look at what changed")
    })
}
