//! Reads a saved plan and compares it with the current plan.

use std::path::Path;

use super::args::{ApplyArgs, LookupArgs, SelectionArgs};
use super::failure::Failure;
use super::selection;
use super::service::ServiceProfile;
use crate::base::input::{self, InputKind};
use crate::manifest::Workspace;
use crate::plan::saved::VERSION;
use crate::plan::{Decision, Plan, PlanOptions, SavedPlan, SavedPlanError};
use crate::state::State;

/// Maximum number of stale steps and pins named in the error.
const MAX_NAMES_SHOWN: usize = 10;

/// Reads the saved plan that the arguments name, if they do.
///
/// # Errors
///
/// Fails if planning flags are given too, or if the file cannot be read, is not a saved plan, has
/// another format version or was edited.
pub(super) fn from_args(args: &ApplyArgs) -> Result<Option<SavedPlan>, Failure> {
    let Some(path) = &args.saved else { return Ok(None) };
    let LookupArgs { upgrade, upgrade_image, .. } = &args.lookup;
    if args.selection == SelectionArgs::default() && !*upgrade && upgrade_image.is_empty() {
        return read(path).map(Some);
    }
    let message = "a saved plan cannot be combined with planning flags";
    let variables = selection::set_variables().join(", ");
    if variables.is_empty() {
        let help = "give these flags to `imgplan plan --out` instead";
        return Err(Failure::usage(message, help));
    }
    let message = format!("{message}, and the environment sets {variables}");
    Err(Failure::usage(message, format!("unset {variables} for this command")))
}

fn read(path: &Path) -> Result<SavedPlan, Failure> {
    #[derive(serde::Deserialize)]
    struct VersionOnly {
        version: u32,
    }

    const HELP: &str = "save a plan with `imgplan plan --out FILE`";
    let path_text = path.display();
    let text = input::read_text_argument(path, InputKind::SavedPlan).map_err(|error| {
        let help = format!("{HELP}; to select images, use --target");
        Failure::with_help(format!("cannot read the plan {path_text}: {error}"), help)
    })?;
    let malformed = |error: serde_json::Error| {
        Failure::with_help(format!("{path_text} is not a saved plan: {error}"), HELP)
    };
    let VersionOnly { version } = serde_json::from_str(&text).map_err(malformed)?;
    if version < VERSION {
        let message = format!("the plan {path_text} was saved by an older imgplan");
        return Err(Failure::with_help(message, "plan again"));
    }
    if version > VERSION {
        let message = format!(
            "the plan {path_text} has format version {version}; this imgplan reads version {VERSION}"
        );
        return Err(Failure::with_help(message, "use the imgplan that saved it, or plan again"));
    }
    SavedPlan::decode(&text).map_err(|error| match error {
        SavedPlanError::Malformed(error) => malformed(error),
        SavedPlanError::Changed => {
            let message = format!("the plan {path_text} was changed after it was written");
            Failure::with_help(
                message,
                "plan again; a saved plan is applied only as it was written",
            )
        }
    })
}

/// Returns the options of a saved plan.
///
/// # Errors
///
/// Fails if the plan was saved for another service.
pub(super) fn options(saved: &SavedPlan, service: &ServiceProfile) -> Result<PlanOptions, Failure> {
    if saved.service != service.name {
        let message =
            format!("the plan was saved for {}, and this run uses {}", saved.service, service.name);
        return Err(Failure::with_help(message, "plan again for this service"));
    }
    Ok(saved.options.clone())
}

/// Reduces a decision to the steps of a saved plan, if there is one.
///
/// # Errors
///
/// Fails if something in the saved plan has changed since.
pub(super) fn reduce(
    decision: Decision,
    state: &State,
    saved: Option<&SavedPlan>,
) -> Result<Decision, Failure> {
    let Some(saved) = saved else { return Ok(decision) };
    let plan = check(saved, decision.plan, &decision.workspace, state)?;
    Ok(Decision { plan, ..decision })
}

fn check(
    saved: &SavedPlan,
    fresh: Plan,
    workspace: &Workspace,
    state: &State,
) -> Result<Plan, Failure> {
    saved.check(fresh, workspace, state).map_err(|stale| {
        let mut lines: Vec<String> = stale
            .iter()
            .take(MAX_NAMES_SHOWN)
            .map(|stale| format!("  {}: {}", stale.subject, stale.cause))
            .collect();
        if let more @ 1.. = stale.len().saturating_sub(MAX_NAMES_SHOWN) {
            lines.push(format!("  and {more} more"));
        }
        let total = saved.steps.len();
        let pins = stale.iter().filter(|stale| saved.pins().contains_key(&stale.subject)).count();
        let changes = match (stale.len() - pins, pins) {
            (0, 1) => "1 of its pins has changed".to_owned(),
            (0, many) => format!("{many} of its pins have changed"),
            (1, _) if total == 1 => "its only step has changed".to_owned(),
            (1, _) => format!("1 of its {total} steps has changed"),
            (many, _) => format!("{many} of its {total} steps have changed"),
        };
        let message = format!("the saved plan is stale: {changes}; nothing was done");
        Failure::with_lines(message, lines, "plan again and review the changes")
    })
}
