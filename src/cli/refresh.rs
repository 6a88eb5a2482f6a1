//! `--refresh-only`: how the service differs from the lockfile, and bringing the lockfile in line.

use serde_json::json;

use super::args::{LookupArgs, SelectionArgs};
use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::base::text::plural;
use crate::plan::facts::Drift;
use crate::plan::{self, Facts};
use crate::state::{Record, State, Store};

/// Fails where the flags say not to ask what only asking can tell, or to plan what is not planned.
pub(super) fn check(look: &LookupArgs, choice: &SelectionArgs) -> Result<(), Failure> {
    if *choice != SelectionArgs::default() {
        let help = "leave the flags out that say what to plan, or leave --refresh-only out";
        return Err(Failure::usage("--refresh-only is about all images, and plans nothing", help));
    }
    if look.refresh && !look.minimal_refresh {
        return Ok(());
    }
    let flag = if look.minimal_refresh { "--minimal-refresh" } else { "--refresh=false" };
    let message = format!("--refresh-only is to ask about all images, and {flag} is not to");
    Err(Failure::usage(
        message,
        format!("leave {flag} out, on the command line and in the environment"),
    ))
}

/// Shows how the service differs from the lockfile, and says whether it does.
pub(super) fn show(ui: &mut Ui, facts: &Facts, state: &State) -> Result<bool, Failure> {
    ui.notes(&facts.notes)?;
    let mut differs = 0;
    for (key, entry) in &state.entries {
        let Some(built) = &entry.built else { continue };
        let visibility = facts.visibility(key, built);
        let (action, words) = match facts.drift(key, built) {
            Some(Drift::Gone) => ("missing_remote", "is not there any more".to_owned()),
            Some(Drift::Replaced) if entry.pending.is_none() && entry.submitted.is_none() => {
                ("remote_changed", "was replaced by somebody else".to_owned())
            }
            _ if visibility != built.visibility => {
                ("visibility_changed", format!("visibility {} -> {visibility}", built.visibility))
            }
            _ => continue,
        };
        differs += 1;
        if ui.is_json() {
            let change = json!({ "image": key, "action": action });
            ui.json_line("drift", format!("{key}: {words}"), json!({ "change": change }))?;
        } else {
            ui.data(format_args!("  {key}  {words}"))?;
        }
    }
    let listed = facts.images.values().map(std::collections::HashMap::len).sum::<usize>();
    let on_record = state.entries.values().any(|entry| entry.built.is_some());
    let words = match (facts.images.is_empty(), differs) {
        _ if !on_record => "No images are on record yet.".to_owned(),
        (true, _) => {
            "The service was not asked, or did not answer: nothing is known of it.".to_owned()
        }
        (false, 0) => format!("No differences. The service lists {}.", plural(listed, "image")),
        (false, 1) => "1 image differs from the lockfile.".to_owned(),
        (false, _) => format!("{differs} images differ from the lockfile."),
    };
    if ui.is_json() {
        ui.json_line("refresh_complete", words, json!({ "differs": differs, "listed": listed }))?;
    } else {
        ui.data(words)?;
    }
    Ok(differs > 0)
}

/// Brings the lockfile in line with the service, and does nothing else.
pub(super) fn apply(
    ui: &mut Ui,
    facts: &Facts,
    store: &mut Store,
    detailed_exitcode: bool,
) -> Result<Exit, Failure> {
    show(ui, facts, store.state())?;
    let replaced = store.state().entries.iter().any(|(key, entry)| {
        let drift = entry.built.as_ref().and_then(|built| facts.drift(key, built));
        drift == Some(Drift::Replaced) && entry.pending.is_none() && entry.submitted.is_none()
    });
    let records: Vec<Record> = plan::refresh_records(facts, store.state());
    store.record(&records)?;
    store.commit()?;
    if !records.is_empty() {
        ui.message(format_args!(
            "Brought the lockfile in line for {}.",
            plural(records.len(), "image")
        ))?;
    }
    if replaced && ui.shows_hints() {
        ui.message("What was replaced stays on record as it was: `imgplan apply` makes it again.")?;
    }
    let changed = detailed_exitcode && !records.is_empty();
    Ok(if changed { Exit::Changes } else { Exit::Success })
}
