//! `imgplan show`: prints the recorded state.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::json;

use super::args::ShowArgs;
use super::failure::{Exit, Failure};
use super::settings::Settings;
use super::state_place;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::reference::pin_key;
use crate::base::safe_text::escaped;
use crate::manifest::help_for_missing;
use crate::plan::pins::reference_of_input;
use crate::state::{Entry, Inputs, Pin, State};

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: ShowArgs) -> Result<Exit, Failure> {
    let state = state_place::read_any(settings, &args.state, args.local).await?;
    let all = args.images.is_empty();
    if state == State::default()
        && let Some(failure) = missing_manifest(settings)
    {
        return Err(failure);
    }
    let unknown: Vec<&str> = args
        .images
        .iter()
        .filter(|image| !state.entries.iter().any(|(key, entry)| is_named(key, entry, image)))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let message = format!("the lockfile has no image `{}`", unknown.join("`, `"));
        return Err(Failure::with_help(message, "`imgplan show` lists all images"));
    }
    let is_selected = |(key, entry): &(&ImageRef, &Entry)| {
        all || args.images.iter().any(|image| is_named(key, entry, image))
    };
    let entries: Vec<(&ImageRef, &Entry)> = state.entries.iter().filter(is_selected).collect();
    if ui.is_json() {
        let units: Vec<_> = entries.iter().map(|(key, entry)| entry_json(key, entry)).collect();
        let pins = pins(&state, &entries, all);
        ui.json_data(&json!({ "format_version": "1.0", "units": units, "pins": pins }))?;
        return Ok(Exit::Success);
    }
    let width = entries.iter().map(|(key, _)| key.to_string().len()).max().unwrap_or(0);
    for (key, entry) in &entries {
        ui.data(line(key, entry, width))?;
    }
    if entries.is_empty() {
        ui.message("The lockfile is empty.")?;
    }
    Ok(Exit::Success)
}

/// Returns an error if there is neither a lockfile nor a manifest: most likely, this is the wrong
/// folder.
fn missing_manifest(settings: &Settings) -> Option<Failure> {
    let manifest = settings.manifest.first();
    let is_there = manifest.exists() || manifest == Path::new("-");
    let message = format!("there is neither a lockfile nor {}", manifest.display());
    (!is_there).then(|| Failure::with_help(message, help_for_missing(manifest)))
}

/// True if a text names an entry: as `name` or `name:tag`, or as the `name:tag` of an image with
/// several platforms, whose targets have the platform as a suffix.
fn is_named(key: &ImageRef, entry: &Entry, image: &str) -> bool {
    let full = key.to_string();
    let suffix = format!("-{}", entry.platform.arch());
    key.name.as_str() == image || full == image || full.strip_suffix(&suffix) == Some(image)
}

fn line(key: &ImageRef, entry: &Entry, width: usize) -> String {
    let mut parts = vec![
        format!("{:width$}", key.to_string()),
        format!("{:<6}", entry.kind.as_str()),
        entry.platform.to_string(),
    ];
    if let Some(built) = &entry.built {
        parts.push(format!("{:<7}", built.visibility.to_string()));
        parts.push(format!("{} [build {}]", built.path, built.build));
    }
    if let Some(pending) = &entry.pending {
        parts.push(format!("pending [build {}]", pending.build));
    }
    if let Some(failed) = &entry.failed {
        let error = failed.error.as_ref().map(|error| format!(": {}", escaped(error)));
        parts.push(format!("failed [build {}]{}", failed.build, error.unwrap_or_default()));
    }
    if entry.protect {
        parts.push("protected".to_owned());
    }
    parts.join("  ")
}

/// Returns the pins of these entries, or all pins.
fn pins<'s>(
    state: &'s State,
    entries: &[(&'s ImageRef, &'s Entry)],
    all: bool,
) -> BTreeMap<&'s String, &'s Pin> {
    let inputs = |entry: &'s Entry| {
        let built = entry.built.as_ref().map(|built| &built.inputs);
        built.into_iter().chain(entry.pending.as_ref().map(|pending| &pending.inputs))
    };
    let sources = |inputs: &Inputs| {
        let references =
            inputs.0.keys().filter_map(|key| reference_of_input(key).and_then(pin_key));
        references.chain(inputs.get("source").and_then(pin_key)).collect::<Vec<_>>()
    };
    let used: HashSet<String> =
        entries.iter().flat_map(|(_, entry)| inputs(entry)).flat_map(sources).collect();
    state.pins.iter().filter(|(key, _)| all || used.contains(*key)).collect()
}

fn entry_json(key: &ImageRef, entry: &Entry) -> serde_json::Value {
    json!({
        "image": key,
        "kind": entry.kind,
        "platform": entry.platform,
        "protect": entry.protect,
        "built": entry.built.as_ref().map(|built| json!({
            "build_id": built.build,
            "path": built.path,
            "owner": built.owner,
            "visibility": built.visibility,
            "completed": built.completed,
            "seconds": built.seconds,
            "fingerprint": built.fingerprint,
            "inputs": built.inputs,
        })),
        "pending": entry.pending,
        "failed": entry.failed.as_ref().map(|failed| json!({
            "build_id": failed.build,
            "fingerprint": failed.fingerprint,
            "error": failed.error,
        })),
    })
}
