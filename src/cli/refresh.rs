//! `--refresh-only`: shows drift between the lockfile and the service, and records it.

use std::collections::HashMap;

use serde_json::json;

use super::args::{LookupArgs, SelectionArgs};
use super::failure::{Exit, Failure};
use super::selection::check_conflicts;
use super::state_place::OpenState;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::text::plural;
use crate::plan::facts::Drift;
use crate::plan::{self, Facts};
use crate::state::{Entry, State};

/// Fails if flags contradict `--refresh-only`, which compares all images and plans nothing.
pub(super) fn check(lookup: &LookupArgs, selection: &SelectionArgs) -> Result<(), Failure> {
    if *selection != SelectionArgs::default() {
        let message = "--refresh-only cannot be used with flags that select images";
        return Err(Failure::usage(message, "omit --refresh-only, or the other flags"));
    }
    let skips_images =
        [("--minimal-refresh", lookup.minimal_refresh), ("--refresh=false", !lookup.refresh)];
    check_conflicts(("--refresh-only", true), &skips_images)
}

/// Fails if there is a reason for which the service was not asked.
pub(super) fn check_key(reason: Option<&str>) -> Result<(), Failure> {
    let Some(reason) = reason else { return Ok(()) };
    let message = format!("--refresh-only cannot compare: the service was not asked ({reason})");
    Err(Failure::with_help(message, "set PRIME_API_KEY, or run `prime login`"))
}

/// Prints the drift, and returns true if there is any.
pub(super) fn show(ui: &mut Ui, facts: &Facts, state: &State) -> Result<bool, Failure> {
    ui.notes(&facts.notes)?;
    let mut differences = 0;
    for (key, entry) in &state.entries {
        let Some((code, text)) = difference(facts, key, entry) else { continue };
        differences += 1;
        let change = json!({ "image": key, "action": code });
        ui.json_line("drift", format!("{key}: {text}"), json!({ "change": change }))?;
        if !ui.is_json() {
            ui.data(format_args!("  {key}  {text}"))?;
        }
    }
    let listed = facts.images.values().map(HashMap::len).sum::<usize>();
    let summary = if state.entries.values().all(|entry| entry.built.is_none()) {
        "The lockfile has no images yet.".to_owned()
    } else if facts.images.is_empty() {
        "Drift is unknown: the service listed no images.".to_owned()
    } else if differences == 0 {
        let platform = if facts.refused.is_empty() { "" } else { ", without the platform's" };
        format!("No drift. The service lists {}{platform}.", plural(listed, "image"))
    } else {
        let verb = if differences == 1 { "differs" } else { "differ" };
        format!("{} {verb} from the lockfile.", plural(differences, "image"))
    };
    let payload = json!({ "differs": differences, "listed": listed });
    ui.json_line("refresh_complete", summary.clone(), payload)?;
    if !ui.is_json() {
        ui.data(summary)?;
    }
    Ok(differences > 0)
}

/// Returns the difference between the service and an entry: its code in JSON, and its text.
fn difference(facts: &Facts, key: &ImageRef, entry: &Entry) -> Option<(&'static str, String)> {
    let built = entry.built.as_ref()?;
    let visibility = facts.visibility(key, built);
    match facts.drift(key, built) {
        Some(Drift::Gone) => Some(("missing_remote", "is missing in the service".to_owned())),
        Some(Drift::Replaced) if !is_in_progress(entry) => {
            Some(("remote_changed", "was replaced outside of imgplan".to_owned()))
        }
        _ if visibility != built.visibility => {
            Some(("visibility_changed", format!("visibility {} -> {visibility}", built.visibility)))
        }
        _ => None,
    }
}

/// Returns true if imgplan itself may have replaced the image.
fn is_in_progress(entry: &Entry) -> bool {
    entry.pending.is_some() || entry.submitted.is_some()
}

/// Prints the drift and updates the lockfile to match the service.
pub(super) async fn apply(
    ui: &mut Ui,
    facts: &Facts,
    open: &mut OpenState,
    detailed_exitcode: bool,
) -> Result<Exit, Failure> {
    show(ui, facts, open.store.state())?;
    let replaced = open.store.state().entries.iter().any(|(key, entry)| {
        let drift = entry.built.as_ref().and_then(|built| facts.drift(key, built));
        drift == Some(Drift::Replaced) && !is_in_progress(entry)
    });
    let records = plan::refresh_records(facts, open.store.state());
    open.store.record(&records)?;
    open.close().await?;
    if !records.is_empty() {
        let images = plural(records.len(), "image");
        ui.message(format_args!("Updated the lockfile for {images}."))?;
    }
    if replaced && ui.shows_hints() {
        ui.message("Replaced images keep their entries; `imgplan apply` rebuilds them.")?;
    }
    let changed = detailed_exitcode && !records.is_empty();
    Ok(if changed { Exit::Changes } else { Exit::Success })
}
