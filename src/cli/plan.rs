//! `imgplan plan`: what would be done, and why. Changes nothing.

use std::panic::resume_unwind;
use std::path::Path;

use jiff::Timestamp;

use super::args::{LookupArgs, PlanArgs, SelectionArgs, ServiceArgs};
use super::env::env;
use super::failure::{self, Exit, Failure};
use super::selection::apart;
use super::service::Target;
use super::session::Asking;
use super::settings::Settings;
use super::ui::Ui;
use super::{history, refresh, rerun};
use crate::base::file;
use crate::context::StatCache;
use crate::manifest::Workspace;
use crate::plan::{self, Decision, Facts, Plan, SavedPlan};
use crate::report::PlanView;
use crate::state::{State, StateSnapshot};
use crate::survey::Caches;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: PlanArgs) -> Result<Exit, Failure> {
    let PlanArgs { service, selection: choice, lookup: look, offline, .. } = &args;
    apart(("--refresh-only", args.refresh_only), &[("--offline", *offline)])?;
    if args.refresh_only {
        refresh::check(look, choice)?;
    }
    let ask = Ask { service, choice, look, offline: *offline };
    let planned = Planned::load(ui, settings, ask).await?;
    failure::deny_warnings(args.strict.deny_warnings, planned.warnings)?;
    let changes = if args.refresh_only {
        refresh::show(ui, &planned.facts, &planned.state)?
    } else {
        ui.plan(&planned.view())?;
        if let Some(path) = &args.out {
            planned.save(ui, settings, path)?;
        }
        planned.plan.has_changes()
    };
    planned.keep_lists();
    // The process ends here: to give the memory of a hundred thousand files back piece by piece
    // would only take time.
    std::mem::forget(planned);
    Ok(if changes && args.detailed_exitcode { Exit::Changes } else { Exit::Success })
}

/// What is planned, and who is asked for it.
pub(super) struct Ask<'a> {
    pub(super) service: &'a ServiceArgs,
    pub(super) choice: &'a SelectionArgs,
    pub(super) look: &'a LookupArgs,
    pub(super) offline: bool,
}

/// A plan and all that it was made from, for the commands that only look.
pub(super) struct Planned {
    pub(super) workspace: Workspace,
    pub(super) state: State,
    pub(super) plan: Plan,
    /// What is on the disk, of which a saved plan says whether it is still the same.
    saved: SavedPlan,
    target: Target,
    facts: Facts,
    asked: bool,
    /// How many warnings were shown.
    warnings: usize,
}

impl Planned {
    /// Reads, asks and plans, and tells what is worth a warning on the way.
    pub(super) async fn load(
        ui: &mut Ui,
        settings: &Settings,
        ask: Ask<'_>,
    ) -> Result<Self, Failure> {
        let Ask { service, choice, look, offline } = ask;
        look.check(offline)?;
        // What lies on the disk is read on one core while another reads the manifest.
        let (paths, work) = (service.paths(&settings.root()), settings.work_dir());
        let read = move || (StateSnapshot::read(&paths), StatCache::read(&work));
        let reading = tokio::task::spawn_blocking(read);
        let workspace = Workspace::load(&settings.manifest, &env)?;
        ui.warnings(&workspace.warnings, &workspace.sources)?;
        if ui.is_verbose() && !ui.is_json() {
            ui.skipped(&workspace.skipped)?;
        }
        let target = Target::find(&settings.root(), &workspace, service)?;
        if let Some(warning) = target.warning() {
            ui.message(warning)?;
        }
        let read = reading.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        let (snapshot, stat) = read;
        let snapshot = snapshot?.for_service(&target.name)?;
        let (merged, mut state) = (snapshot.has_conflict_markers(), snapshot.state);
        let options = choice.options(&workspace, &state)?;
        let client = if offline { None } else { target.client_to_ask() };
        let caches = Caches { stat, history: target.history() };
        let paths = &target.paths;
        let client = client.as_ref();
        let (options, saved, owner) = (&options, None, &target.owner);
        let asking =
            Asking { settings, look, options, client, owner, offline, paths, merged, saved };
        let facts = asking.facts(ui, &workspace, &state, caches).await?;
        ui.warnings(&facts.warnings, &workspace.sources)?;
        let Decision { workspace, plan, refreshed, .. } =
            plan::decide(workspace, &facts, &state, options);
        let pins = &facts.pins;
        let now = Timestamp::now();
        let saved = SavedPlan::new(&plan, &state, &target.name, options, pins, now);
        // What `apply` would keep is here only known.
        for record in refreshed {
            state.apply(&record);
        }
        let (asked, warnings) = (client.is_some(), workspace.warnings.len() + facts.warnings.len());
        Ok(Self { workspace, state, plan, saved, target, facts, asked, warnings })
    }

    /// Writes the plan to a file that only its owner reads.
    fn save(&self, ui: &mut Ui, settings: &Settings, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.saved)
            .map_err(|error| Failure::new(format!("cannot write the plan: {error}")))?;
        file::replace_private(path, text.as_bytes())
            .map_err(|error| Failure::new(error.to_string()))?;
        ui.message(format_args!("Saved the plan to {}.", path.display()))?;
        if ui.shows_hints() && self.plan.has_changes() {
            let command = rerun::saved(settings, self.target.is_local(), path);
            ui.message(format_args!("To do just this: {command}"))?;
        }
        Ok(())
    }

    /// The plan, to be shown.
    pub(super) fn view(&self) -> PlanView<'_> {
        self.target.view(&self.plan, &self.workspace, &self.facts, &self.state, self.asked)
    }

    /// Keeps what lets the next plan name files. Last, since nobody should wait for it.
    pub(super) fn keep_lists(&self) {
        history::keep_recorded(&self.target.history(), &self.workspace, &self.facts, &self.state);
    }
}
