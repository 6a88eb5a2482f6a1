//! `imgplan plan`: what would be done, and why. Changes nothing.

use std::panic::resume_unwind;

use super::args::{PlanArgs, ServiceArgs};
use super::asking;
use super::failure::{self, Exit, Failure};
use super::lists;
use super::service::Target;
use super::settings::{Settings, env};
use super::ui::Ui;
use crate::context::Cache;
use crate::manifest::Workspace;
use crate::plan::{Facts, Plan};
use crate::report::PlanView;
use crate::state::{Snapshot, State};
use crate::survey::Caches;
use crate::{plan, survey};

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: PlanArgs) -> Result<Exit, Failure> {
    let planned = Planned::load(ui, settings, &args.service, args.offline).await?;
    failure::deny(args.strict.deny_warnings, planned.warnings)?;
    ui.plan(&planned.view())?;
    planned.keep_lists();
    let changes = args.detailed_exitcode && !planned.plan.is_noop();
    // The process ends here: to give the memory of a hundred thousand files back piece by piece
    // would only take time.
    std::mem::forget(planned);
    Ok(if changes { Exit::Changes } else { Exit::Success })
}

/// A plan and all that it was made from, for the commands that only look.
pub(super) struct Planned {
    pub(super) workspace: Workspace,
    pub(super) state: State,
    pub(super) plan: Plan,
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
        service: &ServiceArgs,
        offline: bool,
    ) -> Result<Self, Failure> {
        // What lies on the disk is read on one core while another reads the manifest.
        let (paths, work) = (service.paths(&settings.root()), settings.work());
        let read = move || (Snapshot::read(&paths), Cache::read(&work));
        let reading = tokio::task::spawn_blocking(read);
        let workspace = Workspace::load(&settings.manifest, &env)?;
        ui.warn(&workspace.warnings, &workspace.sources)?;
        let target = Target::find(&settings.root(), &workspace, service)?;
        if let Some(warning) = target.warning() {
            ui.talk(warning)?;
        }
        let read = reading.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        let (snapshot, stat) = read;
        let mut state = snapshot?.of(&target.name)?.state;
        let client = if offline { None } else { target.client_to_ask() };
        let caches = Caches { stat, history: target.history() };
        let facts = asking::facts(ui, &workspace, &state, caches, client.as_ref()).await?;
        ui.warn(&facts.warnings, &workspace.sources)?;
        // What `apply` would keep is here only known.
        for record in survey::learned(&state, &facts) {
            state.apply(&record);
        }
        let plan = plan::build(&workspace, &facts, &state, &plan::Options::default());
        let (asked, warnings) = (client.is_some(), workspace.warnings.len() + facts.warnings.len());
        Ok(Self { workspace, state, plan, target, facts, asked, warnings })
    }

    /// The plan, to be shown.
    pub(super) fn view(&self) -> PlanView<'_> {
        self.target.view(&self.plan, &self.workspace, &self.facts, &self.state, self.asked)
    }

    /// Keeps what lets the next plan name files. Last, since nobody should wait for it.
    pub(super) fn keep_lists(&self) {
        lists::keep_recorded(&self.target.history(), &self.workspace, &self.facts, &self.state);
    }
}
