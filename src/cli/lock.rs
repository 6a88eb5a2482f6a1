//! `imgplan lock`: pins what sources and bases stand for, in the lockfile. Builds nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::args::LockArgs;
use super::env::env;
use super::failure::{Exit, Failure};
use super::registries;
use super::selection::{apart, check_upgrades};
use super::service::Target;
use super::session::{check_locked, check_merged, check_settled, merged};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::span::Problem;
use crate::manifest::Workspace;
use crate::manifest::workspace::Origin;
use crate::plan::reason::short;
use crate::plan::unpinned::{some_of, unpinned, uses};
use crate::plan::{Facts, pins};
use crate::registry::RegistryError;
use crate::state::{Pin, Record, State, StateSnapshot, Store};
use crate::survey::Lookups;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: LockArgs) -> Result<Exit, Failure> {
    let images = !args.upgrade_image.is_empty();
    let asks =
        [("--upgrade", args.upgrade), ("--upgrade-image", images), ("--dry-run", args.dry_run)];
    apart(("--check", args.check), &asks)?;
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    let lockfile = &target.paths.lockfile;
    if args.check || args.dry_run {
        let snapshot = StateSnapshot::read(&target.paths)?.for_service(&target.name)?;
        let (marks, state) = (snapshot.has_conflict_markers(), snapshot.state);
        if args.check {
            check_merged(marks, &state, "--check was given", lockfile)?;
            check_locked(&workspace, &state, "--check was given", lockfile)?;
            return up_to_date(ui, &state);
        }
        let found = find(ui, settings, &args, &workspace, &state).await?;
        return tell(ui, &workspace, &state, found, "Would pin");
    }
    let mut store = Store::open(target.paths.clone(), &target.name)?;
    // Which side is right of a unit is known once the contexts are: not here.
    check_settled(store.state(), false, lockfile)?;
    if store.has_conflict_markers() {
        ui.notes(&merged(lockfile, store.state()))?;
    }
    let mut found = find(ui, settings, &args, &workspace, store.state()).await?;
    let before = store.state().clone();
    store.record(&std::mem::take(&mut found.records))?;
    store.commit()?;
    tell(ui, &workspace, &before, found, "Pinned")
}

fn up_to_date(ui: &mut Ui, state: &State) -> Result<Exit, Failure> {
    let pinned = match state.pins.len() {
        1 => "1 reference is pinned".to_owned(),
        count => format!("{count} references are pinned"),
    };
    let message = format!("The lockfile is up to date: {pinned}.");
    if ui.is_json() {
        let summary = json!({ "pinned": state.pins.len() });
        ui.json_line("pin_summary", message, json!({ "pin_summary": summary }))?;
    } else {
        ui.data(message)?;
    }
    Ok(Exit::Success)
}

/// What `lock` found out, and what it records of it.
struct Found {
    /// What is pinned now and was not, or otherwise.
    pins: Vec<(String, Pin)>,
    /// References that are no longer needed.
    unused: Vec<String>,
    /// How many units are taken for made from what is pinned first.
    adopted: usize,
    records: Vec<Record>,
    /// References that could not be pinned, each with the images that need it.
    errors: Vec<Problem>,
}

async fn find(
    ui: &Ui,
    settings: &Settings,
    args: &LockArgs,
    workspace: &Workspace,
    state: &State,
) -> Result<Found, Failure> {
    check_upgrades(&args.upgrade_image, workspace, state)?;
    let named = |unit: &&_| args.upgrade_image.iter().any(|pattern| pattern.matches(unit));
    let upgraded = pins::references(workspace.units.iter().filter(named));
    let mut wanted = pins::references(workspace.units.iter());
    wanted.retain(|key, _| {
        args.upgrade || upgraded.contains_key(key) || !state.pins.contains_key(key)
    });
    let Lookups { pins, errors: failed, .. } =
        registries::look_up(ui, settings, args.max_age, wanted, state).await?;
    let facts = Facts { pins, ..Facts::default() };
    let moved = |(key, pin): (&String, &Pin)| {
        (state.pins.get(key) != Some(pin)).then(|| (key.clone(), pin.clone()))
    };
    let pins: Vec<(String, Pin)> = facts.pins.iter().filter_map(moved).collect();
    let unused = pins::outdated(workspace, state).unused;
    let mut records = pins::adopted(workspace, &facts, state);
    let adopted = records.iter().filter_map(unit_of).collect::<BTreeSet<_>>().len();
    let record = |(key, pin): &(String, Pin)| Record::Pinned {
        reference: key.clone(),
        pin: Some(pin.clone()),
    };
    records.extend(pins.iter().map(record));
    let drop = |key: &String| Record::Pinned { reference: key.clone(), pin: None };
    records.extend(unused.iter().map(drop));
    let errors = problems(workspace, &facts, state, &failed);
    Ok(Found { pins, unused, adopted, records, errors })
}

fn unit_of(record: &Record) -> Option<&ImageRef> {
    match record {
        Record::Known { unit, .. }
        | Record::Created { unit, .. }
        | Record::Submitting { unit, .. } => Some(unit),
        _ => None,
    }
}

/// One error for each reference that could not be pinned.
fn problems(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    failed: &[RegistryError],
) -> Vec<Problem> {
    let failed: BTreeMap<String, &RegistryError> =
        failed.iter().map(|error| (error.reference.to_string(), error)).collect();
    let mut problems = Vec::new();
    for (key, of) in uses(workspace) {
        let Some(error) = failed.get(&key) else { continue };
        let by = of.by.into_iter().map(|(name, _)| name).collect();
        let label = format!("needed by {}", some_of(&by));
        let problem =
            Problem::new(format!("{key} could not be pinned: {}", error.message), of.span, label);
        problems.push(problem.help(error.help.clone()));
    }
    let others = unpinned(workspace, facts, state).into_iter();
    let others = others.filter(|unpinned| !failed.contains_key(&unpinned.reference));
    problems.extend(others.map(|unpinned| unpinned.problem()));
    problems
}

/// Tells what was pinned; what could not be is an error at the end, after all else was kept.
fn tell(
    ui: &mut Ui,
    workspace: &Workspace,
    before: &State,
    found: Found,
    word: &str,
) -> Result<Exit, Failure> {
    let Found { pins, unused, adopted, errors, .. } = found;
    let old = |key: &String| before.pins.get(key).map(|pin| pin.digest.to_string());
    for (key, pin) in &pins {
        let (old, new) = (old(key), pin.digest.to_string());
        let line = match &old {
            Some(old) => format!("  ~ {key}  {} -> {}", short(old), short(&new)),
            None => format!("  + {key}  {}", short(&new)),
        };
        let platforms = &pin.platforms;
        let of = json!({ "reference": key, "old": old, "new": new, "platforms": platforms });
        line_of(ui, "pin", line, of)?;
    }
    for key in &unused {
        let of = json!({ "reference": key, "old": old(key), "new": null });
        line_of(ui, "pin", format!("  - {key}  nothing needs it"), of)?;
    }
    ui.notes(&unlooked(workspace))?;
    if adopted > 0 && !ui.is_json() {
        let (units, they) = match adopted {
            1 => ("1 unit was", "it is"),
            many => (&*format!("{many} units were"), "they are"),
        };
        ui.message(format_args!(
            "{units} made before that; {they} taken for made from these. \
             `imgplan apply --replace NAME` makes one anew."
        ))?;
    }
    let moved = pins.iter().filter(|(key, _)| before.pins.contains_key(key)).count();
    let (new, dropped) = (pins.len() - moved, unused.len());
    let counts = json!({
        "new": new, "moved": moved, "dropped": dropped, "adopted": adopted, "failed": errors.len(),
    });
    line_of(
        ui,
        "pin_summary",
        format!("{word} {new} new, {moved} moved, {dropped} dropped."),
        counts,
    )?;
    ui.warnings(&errors, &workspace.sources)?;
    match errors.len() {
        0 => Ok(Exit::Success),
        1 => Err(Failure::new("1 reference could not be pinned")),
        many => Err(Failure::new(format!("{many} references could not be pinned"))),
    }
}

/// A line for people, or one for programs that has more.
fn line_of(ui: &mut Ui, kind: &str, line: String, of: serde_json::Value) -> std::io::Result<()> {
    if ui.is_json() {
        ui.json_line(kind, line.trim_start().to_owned(), json!({ kind: of }))
    } else {
        ui.data(line)
    }
}

/// Images whose bases are not looked for, since the manifest says so.
fn unlooked(workspace: &Workspace) -> Vec<String> {
    let unlooked = workspace.units.iter().filter(|unit| match &unit.origin {
        Origin::Mirror(_) => false,
        Origin::Build(build) => {
            build.externals.is_empty()
                && build.bases.is_empty()
                && !build.dockerfile.references(unit.platform).is_empty()
        }
    });
    let names: BTreeSet<&str> = unlooked.map(|unit| unit.image.as_str()).collect();
    let note = |name| format!("{name} has `infer_bases: false`: none of its bases is pinned");
    names.into_iter().map(note).collect()
}
