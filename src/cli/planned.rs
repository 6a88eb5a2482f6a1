//! Plans for the commands that change nothing: `plan` and `why`.

use std::path::Path;

use jiff::Timestamp;

use super::args::{LookupArgs, SelectionArgs, ServiceArgs};
use super::failure::Failure;
use super::history;
use super::owner_change;
use super::selection::check_partition_keeps_pins;
use super::service::ServiceProfile;
use super::session::{PendingCache, Session};
use super::settings::Settings;
use super::state_place;
use super::survey::SurveyRequest;
use super::ui::Ui;
use crate::base::file;
use crate::manifest::Workspace;
use crate::plan::{self, Decision, Facts, Plan, SavedPlan};
use crate::report::PlanView;
use crate::state::State;

/// Selection, lookups and checks of a plan.
pub(super) struct PlanQuery<'a> {
    pub(super) service: &'a ServiceArgs,
    pub(super) selection: &'a SelectionArgs,
    pub(super) lookup: &'a LookupArgs,
    pub(super) offline: bool,
    /// True if only the images are compared, and nothing is planned.
    pub(super) refresh_only: bool,
    pub(super) deny_warnings: bool,
}

/// A plan and what it was made from.
pub(super) struct Planned {
    pub(super) workspace: Workspace,
    /// Recorded state after the refresh, which `apply` would write.
    pub(super) state: State,
    pub(super) plan: Plan,
    pub(super) facts: Facts,
    pub(super) service: ServiceProfile,
    saved: SavedPlan,
}

impl Planned {
    /// Plans, and prints warnings and notes.
    ///
    /// # Errors
    ///
    /// Fails on an invalid manifest, unreadable state, contexts that cannot be sent, and flags that
    /// contradict each other.
    pub(super) async fn load(
        ui: &mut Ui,
        settings: &Settings,
        query: PlanQuery<'_>,
    ) -> Result<Self, Failure> {
        let PlanQuery { service: args, selection, lookup, offline, refresh_only, deny_warnings } =
            query;
        lookup.check(offline)?;
        check_partition_keeps_pins(selection, lookup)?;
        let cache = PendingCache::start(settings);
        let session = Session::read(settings, args).await?;
        session.print_warnings(ui)?;
        let Session { workspace, service, state: snapshot } = session;
        if ui.is_verbose() && !ui.is_json() {
            ui.skipped(&workspace.skipped)?;
        }
        let has_conflict_markers = snapshot.has_conflict_markers;
        let mut state = snapshot.state;
        let options = selection.plan_options(&workspace, &state)?;
        if service.state.is_some() {
            state_place::check_whole_shards(options.selection.partition)?;
        }
        let service = service.with_partition(options.selection.partition);
        let client = if offline { None } else { service.reader()? };
        let facts = SurveyRequest {
            settings,
            args: lookup,
            options: &options,
            service: &service,
            client: client.as_ref(),
            offline,
            has_conflict_markers,
            saved: None,
            deny_warnings,
        };
        let facts = facts.facts(ui, &workspace, &state, cache.load(&service).await).await?;
        let Decision { workspace, plan, refreshed, .. } =
            plan::decide(workspace, &facts, &state, &options);
        if !refresh_only {
            owner_change::warn(ui, &service, (&workspace, &plan, &state), deny_warnings)?;
        }
        let now = Timestamp::now();
        let saved = SavedPlan::new(&plan, &state, &service.name, &options, &facts.pins, now);
        for record in refreshed {
            state.apply(&record);
        }
        Ok(Self { workspace, state, plan, facts, service, saved })
    }

    /// Writes the plan to a file that only its owner can read.
    pub(super) fn save(&self, path: &Path) -> Result<(), Failure> {
        let text = self
            .saved
            .encode()
            .map_err(|error| Failure::new(format!("cannot write the plan: {error}")))?;
        Ok(file::replace_private(path, text.as_bytes())?)
    }

    /// Returns what a reporter needs to show the plan.
    pub(super) fn view(&self) -> PlanView<'_> {
        self.service.view(&self.plan, &self.workspace, &self.facts, &self.state)
    }

    /// Keeps the file lists of contexts for the next plan. Takes time, so call it last.
    pub(super) fn keep_history(&self) {
        let history = self.service.history();
        history::keep_recorded(&history, &self.workspace, &self.facts, &self.state);
    }
}
