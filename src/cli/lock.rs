//! `imgplan lock`: pins sources and bases to digests in the lockfile. Builds nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::args::LockArgs;
use super::failure::{Exit, Failure};
use super::lockfile::{check_no_conflicts, check_pins, check_resolved, conflict_notes};
use super::registries;
use super::selection::{check_conflicts, check_upgrades};
use super::session::Session;
use super::settings::Settings;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::span::Problem;
use crate::base::text::{list, plural};
use crate::manifest::Workspace;
use crate::manifest::workspace::Origin;
use crate::plan::reason::short;
use crate::plan::unpinned::{outdated_pins, unpinned, uses};
use crate::plan::{Facts, carry_inputs_over, pins};
use crate::registry::RegistryError;
use crate::state::{Pin, Record, State};
use crate::survey::Lookups;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: LockArgs) -> Result<Exit, Failure> {
    let upgrades_images = !args.upgrade_image.is_empty();
    let writing_flags = [
        ("--upgrade", args.upgrade),
        ("--upgrade-image", upgrades_images),
        ("--dry-run", args.dry_run),
    ];
    check_conflicts(("--check", args.check), &writing_flags)?;
    if args.check || args.dry_run {
        let session = Session::read(settings, &args.service).await?;
        session.print_warnings(ui)?;
        let (workspace, state) = (&session.workspace, &session.state.state);
        if args.check {
            let lockfile = &session.service.paths.lockfile;
            let has_conflict_markers = session.state.has_conflict_markers;
            check_no_conflicts(has_conflict_markers, state, "--check", lockfile)?;
            check_pins(workspace, state, "--check", lockfile)?;
            return print_up_to_date(ui, state);
        }
        let update = PinUpdate::find(ui, settings, &args, workspace, state).await?;
        return update.print(ui, workspace, state, "Would pin");
    }
    let session = Session::write(ui, settings, (&args.service, &args.lease)).await?;
    session.print_warnings(ui)?;
    let Session { workspace, service, state: mut open } = session;
    let lockfile = &service.paths.lockfile;
    // Without the contexts, the right side of a conflict between targets is unknown.
    check_resolved(open.store.state(), false, lockfile)?;
    if open.store.has_conflict_markers() {
        ui.notes(&conflict_notes(lockfile, open.store.state()))?;
    }
    let update = PinUpdate::find(ui, settings, &args, &workspace, open.store.state()).await?;
    let before = open.store.state().clone();
    open.store.record(&update.records)?;
    open.close().await?;
    update.print(ui, &workspace, &before, "Pinned")
}

fn print_up_to_date(ui: &mut Ui, state: &State) -> Result<Exit, Failure> {
    let verb = if state.pins.len() == 1 { "is" } else { "are" };
    let references = plural(state.pins.len(), "reference");
    let message = format!("The lockfile is up to date: {references} {verb} pinned.");
    if ui.is_json() {
        let summary = json!({ "pinned": state.pins.len() });
        ui.json_line("pin_summary", message, json!({ "pin_summary": summary }))?;
    } else {
        ui.data(message)?;
    }
    Ok(Exit::Success)
}

/// Changes of the pins in the lockfile.
struct PinUpdate {
    /// Pins that are new or have moved.
    pins: Vec<(String, Pin)>,
    /// References that are no longer used.
    unused: Vec<String>,
    /// Number of existing targets that are taken as built from their first pin.
    adopted: usize,
    records: Vec<Record>,
    /// References that could not be pinned, with the images that use them.
    errors: Vec<Problem>,
}

impl PinUpdate {
    /// Asks the registries for the references that are to be pinned.
    async fn find(
        ui: &Ui,
        settings: &Settings,
        args: &LockArgs,
        workspace: &Workspace,
        state: &State,
    ) -> Result<Self, Failure> {
        check_upgrades(&args.upgrade_image, workspace, state)?;
        let matches = |unit: &&_| args.upgrade_image.iter().any(|pattern| pattern.matches(unit));
        let upgraded = pins::references(workspace.units.iter().filter(matches));
        let mut references = pins::references(workspace.units.iter());
        references.retain(|key, _| {
            args.upgrade || upgraded.contains_key(key) || !state.pins.contains_key(key)
        });
        let Lookups { pins, errors: failed, .. } =
            registries::look_up(ui, settings, args.max_age, references, state).await?;
        let facts = Facts { pins, ..Facts::default() };
        let is_changed = |(key, pin): &(&String, &Pin)| state.pins.get(*key) != Some(pin);
        let pins: Vec<(String, Pin)> = facts
            .pins
            .iter()
            .filter(is_changed)
            .map(|(key, pin)| (key.clone(), pin.clone()))
            .collect();
        let unused = outdated_pins(workspace, state).unused;
        let mut records = carry_inputs_over(workspace, &facts, state);
        let adopted = records.iter().filter_map(unit_of).collect::<BTreeSet<_>>().len();
        let pinned = |key: &String, pin| Record::Pinned { reference: key.clone(), pin };
        records.extend(pins.iter().map(|(key, pin)| pinned(key, Some(pin.clone()))));
        records.extend(unused.iter().map(|key| pinned(key, None)));
        let errors = problems(workspace, &facts, state, &failed);
        Ok(Self { pins, unused, adopted, records, errors })
    }

    /// Prints the changes, and fails if a reference could not be pinned. `verb` begins the summary.
    fn print(
        self,
        ui: &mut Ui,
        workspace: &Workspace,
        before: &State,
        verb: &str,
    ) -> Result<Exit, Failure> {
        let Self { pins, unused, adopted, errors, .. } = self;
        let old = |key: &String| before.pins.get(key).map(|pin| pin.digest.to_string());
        for (key, pin) in &pins {
            let (old, new) = (old(key), pin.digest.to_string());
            let line = match &old {
                Some(old) => format!("  ~ {key}  {} -> {}", short(old), short(&new)),
                None => format!("  + {key}  {}", short(&new)),
            };
            let platforms = &pin.platforms;
            let payload =
                json!({ "reference": key, "old": old, "new": new, "platforms": platforms });
            print_line(ui, "pin", line, payload)?;
        }
        for key in &unused {
            let payload = json!({ "reference": key, "old": old(key), "new": null });
            print_line(ui, "pin", format!("  - {key}  no longer used"), payload)?;
        }
        ui.notes(&notes_on_infer_bases(workspace))?;
        if adopted > 0 && !ui.is_json() {
            let (targets, verb) =
                (plural(adopted, "existing target"), if adopted == 1 { "is" } else { "are" });
            ui.message(format_args!(
                "{targets} {verb} assumed to be built from these digests; \
                 `imgplan apply --replace NAME` forces a rebuild."
            ))?;
        }
        let moved = pins.iter().filter(|(key, _)| before.pins.contains_key(key)).count();
        let (new, dropped, failed) = (pins.len() - moved, unused.len(), errors.len());
        let line = format!("{verb} {new} new, {moved} moved, {dropped} dropped.");
        let payload = json!({
            "new": new, "moved": moved, "dropped": dropped, "adopted": adopted, "failed": failed,
        });
        print_line(ui, "pin_summary", line, payload)?;
        ui.warnings(&errors, &workspace.sources)?;
        match failed {
            0 => Ok(Exit::Success),
            _ => Err(Failure::new(format!("{} could not be pinned", plural(failed, "reference")))),
        }
    }
}

fn unit_of(record: &Record) -> Option<&ImageRef> {
    match record {
        Record::Known { unit, .. }
        | Record::Created { unit, .. }
        | Record::Submitting { unit, .. } => Some(unit),
        _ => None,
    }
}

/// Returns one error for each reference that could not be pinned.
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
        let users: BTreeSet<String> = of.units.into_iter().map(|(name, _)| name).collect();
        let label = format!("used by {}", list(users, 1));
        let problem =
            Problem::new(format!("{key} could not be pinned: {}", error.message), of.span, label);
        problems.push(problem.help(error.help.clone()));
    }
    let others = unpinned(workspace, facts, state).into_iter();
    let others = others.filter(|unpinned| !failed.contains_key(&unpinned.reference));
    problems.extend(others.map(|unpinned| unpinned.problem()));
    problems
}

/// Prints a line for people, or a JSON line with a payload.
fn print_line(
    ui: &mut Ui,
    kind: &str,
    line: String,
    payload: serde_json::Value,
) -> std::io::Result<()> {
    if ui.is_json() {
        ui.json_line(kind, line.trim_start().to_owned(), json!({ kind: payload }))
    } else {
        ui.data(line)
    }
}

/// Returns a note for each image whose bases are not pinned because of `infer_bases: false`.
fn notes_on_infer_bases(workspace: &Workspace) -> Vec<String> {
    let units = workspace.units.iter().filter(|unit| match &unit.origin {
        Origin::Mirror(_) => false,
        Origin::Build(build) => {
            build.externals.is_empty()
                && build.bases.is_empty()
                && !build.dockerfile.references(unit.platform).is_empty()
        }
    });
    let names: BTreeSet<&str> = units.map(|unit| unit.image.as_str()).collect();
    let note = |name| format!("{name} has `infer_bases: false`, so its bases are not pinned");
    names.into_iter().map(note).collect()
}
