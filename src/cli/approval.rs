//! Shows a plan and asks for approval; limits deletions.

use super::args::{ApplyArgs, OutputFormat};
use super::failure::Failure;
use super::refresh;
use super::selection::check_partition_keeps_pins;
use super::ui::Ui;
use crate::base::text::{list, plural};
use crate::plan::{Action, Plan, SavedPlan};
use crate::report::{PlanView, Reporter};

/// Maximum number of images named if more would be deleted than is allowed.
const MAX_NAMES_SHOWN: usize = 3;

/// Fails if flags contradict each other, or if approval is needed and cannot be given.
pub(super) fn check_args(ui: &Ui, args: &ApplyArgs) -> Result<(), Failure> {
    args.lookup.check(false)?;
    check_partition_keeps_pins(&args.selection, &args.lookup)?;
    if args.refresh_only {
        return refresh::check(&args.lookup, &args.selection);
    }
    if ui.is_json() && !args.auto_approve && args.saved.is_none() {
        let help = "add --auto-approve, or omit --json";
        return Err(Failure::usage("--json cannot prompt for approval", help));
    }
    Ok(())
}

/// Shows a plan. A saved plan without steps has a message of its own: the manifest may have changed
/// since it was saved.
pub(super) fn show(
    ui: &mut Ui,
    saved: Option<&SavedPlan>,
    view: &PlanView<'_>,
) -> std::io::Result<()> {
    match saved {
        Some(saved) if saved.steps.is_empty() && !view.plan.has_changes() && !ui.is_json() => {
            ui.json_lines(|json| json.plan(view))?;
            ui.data("No changes. The saved plan has no steps.")
        }
        _ if ui.is_json() => ui.plan(view, OutputFormat::Json),
        _ => ui.plan(view, OutputFormat::Text),
    }
}

/// Returns true if the plan may be applied, after a prompt if one is needed. A plan without steps
/// needs none, unless it lifts protection, which is the first half of a deletion. The prompt names
/// the `owners` of the targets.
///
/// # Errors
///
/// Fails if more images would be deleted than is allowed, and if the answer cannot be read.
pub(super) async fn is_approved(
    ui: &mut Ui,
    plan: &Plan,
    owners: &str,
    args: &ApplyArgs,
) -> Result<bool, Failure> {
    check_deletions(plan, args)?;
    let needs_approval = !plan.is_noop() || !plan.unprotects.is_empty();
    Ok(!needs_approval || args.saved.is_some() || args.auto_approve || prompt(ui, owners).await?)
}

/// Fails if more images would be deleted than is allowed. With `--auto-approve` nobody has seen the
/// plan, so the limit is then 0 by default; a saved plan has been seen.
fn check_deletions(plan: &Plan, args: &ApplyArgs) -> Result<(), Failure> {
    let unseen = args.auto_approve && args.saved.is_none();
    let max = args.max_destroy.unwrap_or(if unseen { 0 } else { usize::MAX });
    let count = plan.counts(None).delete;
    if count <= max {
        return Ok(());
    }
    let deletions = plan.steps.iter().filter(|step| matches!(step.action, Action::Delete { .. }));
    let names = list(deletions.map(|step| &step.key), MAX_NAMES_SHOWN);
    let images = format!("{} ({names})", plural(count, "image"));
    let message = match args.max_destroy {
        Some(max) => format!("{images} would be deleted, but --max-destroy allows {max}"),
        None => format!("{images} would be deleted, which --auto-approve alone does not allow"),
    };
    let help = format!("nothing was done; to allow it, add --max-destroy {count}");
    Err(Failure::with_help(message, help))
}

async fn prompt(ui: &mut Ui, owners: &str) -> Result<bool, Failure> {
    let question = Question {
        text: &format!("Apply these changes for {owners}?"),
        declined: "Nothing was changed.",
        without_terminal: "To apply without a terminal, use --auto-approve.",
        flag: "--auto-approve",
        accepts_y: false,
    };
    is_confirmed(ui, &question).await
}

/// A question to which `yes` is the confirmation.
pub(super) struct Question<'a> {
    pub(super) text: &'a str,
    /// Message after any other answer.
    pub(super) declined: &'a str,
    /// Message if there was no answer.
    pub(super) without_terminal: &'a str,
    /// Flag that confirms.
    pub(super) flag: &'a str,
    /// True if `y` confirms as well, because nothing is lost.
    pub(super) accepts_y: bool,
}

/// Asks a question, and returns true if it is confirmed.
///
/// # Errors
///
/// Fails if the answer cannot be read.
pub(super) async fn is_confirmed(ui: &mut Ui, question: &Question<'_>) -> Result<bool, Failure> {
    let accepted = if question.accepts_y { "[y/N]" } else { "Only \"yes\" is accepted:" };
    let text = format!("{} {accepted}", question.text);
    let answer = ui.prompt(&text).await.map_err(|error| {
        let help = format!("use {}", question.flag);
        Failure::with_help(format!("cannot read the answer: {error}"), help)
    })?;
    let is_confirmed = answer.trim() == "yes" || question.accepts_y && answer.trim() == "y";
    if !is_confirmed {
        ui.message(question.declined)?;
        if answer.is_empty() && ui.shows_hints() {
            ui.message(question.without_terminal)?;
        }
    }
    Ok(is_confirmed)
}
