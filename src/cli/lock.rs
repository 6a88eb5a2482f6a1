//! `imgplan lock`: pins what sources and bases stand for, in the lockfile. Builds nothing.

use serde_json::json;

use super::args::LockArgs;
use super::asking::check_locked;
use super::failure::{Exit, Failure};
use super::registries;
use super::service::Target;
use super::settings::{Settings, env};
use super::ui::Ui;
use crate::manifest::Workspace;
use crate::plan::reason::short;
use crate::plan::{Facts, pins};
use crate::state::{Pin, Record, State, Store};
use crate::survey;
use crate::upstream::UpstreamError;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: LockArgs) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warn(&workspace.warnings, &workspace.sources)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    if args.check {
        let state = Store::read(&target.paths, &target.name)?;
        check_locked(&workspace, &state, "--check was given", &target.paths.lockfile)?;
        if !ui.is_json() {
            let count = state.pins.len();
            ui.data(format_args!("The lockfile is up to date: {count} references are pinned."))?;
        }
        return Ok(Exit::Success);
    }
    if args.dry_run {
        let state = Store::read(&target.paths, &target.name)?;
        let found = find(ui, settings, &args, &workspace, &state).await?;
        return tell(ui, &state, found, "Would pin");
    }
    let mut store = Store::open(target.paths.clone(), &target.name)?;
    let mut found = find(ui, settings, &args, &workspace, store.state()).await?;
    let before = store.state().clone();
    store.record(&std::mem::take(&mut found.records))?;
    store.commit()?;
    tell(ui, &before, found, "Pinned")
}

/// What `lock` found out, and what it records of it.
struct Found {
    /// What is pinned now and was not, or otherwise.
    pins: Vec<(String, Pin)>,
    /// References that are no longer needed.
    unused: Vec<String>,
    /// Units that are taken for made from what is pinned first.
    adopted: usize,
    records: Vec<Record>,
    errors: Vec<UpstreamError>,
}

async fn find(
    ui: &Ui,
    settings: &Settings,
    args: &LockArgs,
    workspace: &Workspace,
    state: &State,
) -> Result<Found, Failure> {
    let all = pins::references(workspace.units.iter());
    let named = |unit: &&_| args.upgrade_image.iter().any(|pattern| pattern.matches(unit));
    let upgraded = pins::references(workspace.units.iter().filter(named));
    if upgraded.is_empty() && !args.upgrade_image.is_empty() {
        let help = "name an image whose source or base has no digest of its own";
        return Err(Failure::usage("--upgrade-image names nothing that could be pinned", help));
    }
    let mut wanted = all;
    wanted.retain(|key, _| {
        args.upgrade || upgraded.contains_key(key) || !state.pins.contains_key(key)
    });
    let mut facts = Facts::default();
    let errors = registries::ask(ui, settings, args.max_age, wanted, state, &mut facts).await?;
    let moved = |(key, pin): (&String, &Pin)| {
        (state.pins.get(key) != Some(pin)).then(|| (key.clone(), pin.clone()))
    };
    let pins: Vec<(String, Pin)> = facts.pins.iter().filter_map(moved).collect();
    let unused = pins::outdated(workspace, state).unused;
    let mut first = Facts::default();
    first.pins.extend(pins.iter().filter(|(key, _)| !state.pins.contains_key(key)).cloned());
    let mut records = pins::adopted(workspace, &first, state);
    let adopted = records.len();
    let record = |(key, pin): &(String, Pin)| Record::Pinned {
        reference: key.clone(),
        pin: Some(pin.clone()),
    };
    records.extend(pins.iter().map(record));
    let drop = |key: &String| Record::Pinned { reference: key.clone(), pin: None };
    records.extend(unused.iter().map(drop));
    Ok(Found { pins, unused, adopted, records, errors })
}

/// Tells what was pinned; what could not be is an error at the end, after all else was kept.
fn tell(ui: &mut Ui, before: &State, found: Found, word: &str) -> Result<Exit, Failure> {
    let Found { pins, unused, adopted, errors, .. } = found;
    for (key, pin) in &pins {
        let old = before.pins.get(key).map(|pin| pin.digest.to_string());
        let new = pin.digest.to_string();
        if ui.is_json() {
            ui.data(
                json!({ "reference": key, "old": old, "new": new, "platforms": pin.platforms }),
            )?;
        } else if let Some(old) = old {
            ui.data(format_args!("  ~ {key}  {} -> {}", short(&old), short(&new)))?;
        } else {
            ui.data(format_args!("  + {key}  {}", short(&new)))?;
        }
    }
    for key in &unused {
        if ui.is_json() {
            let old = before.pins.get(key).map(|pin| pin.digest.to_string());
            ui.data(json!({ "reference": key, "old": old, "new": null }))?;
        } else {
            ui.data(format_args!("  - {key}  nothing needs it"))?;
        }
    }
    if adopted > 0 {
        ui.talk(format_args!(
            "{adopted} units were made before that; they are taken for made from these. \
             `imgplan apply --replace NAME` makes one anew."
        ))?;
    }
    if !ui.is_json() {
        let moved = pins.iter().filter(|(key, _)| before.pins.contains_key(key)).count();
        let new = pins.len() - moved;
        ui.data(format_args!("{word} {new} new, {moved} moved, {} dropped.", unused.len()))?;
    }
    let mut facts = Facts::default();
    survey::note_unknown(&errors, &mut facts);
    for note in &facts.notes {
        ui.talk(format_args!("error: {note}"))?;
    }
    match errors.first() {
        None => Ok(Exit::Success),
        Some(first) => {
            let references = if errors.len() == 1 { "reference" } else { "references" };
            let message = format!("{} {references} could not be pinned", errors.len());
            Err(Failure::with_help(message, first.help.clone()))
        }
    }
}
