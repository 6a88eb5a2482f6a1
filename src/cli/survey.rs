//! Collects the facts for a plan, from contexts, the service and registries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::args::LookupArgs;
use super::failure::{self, Failure};
use super::lockfile::{check_no_conflicts, check_no_missing_pins, check_pins, conflict_notes};
use super::registries;
use super::selection::{check_conflicts, check_upgrades};
use super::service::ServiceProfile;
use super::settings::Settings;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::api::Client;
use crate::base::reference::RegistryRef;
use crate::event::RunEvent;
use crate::manifest::Workspace;
use crate::plan::{Facts, PlanOptions, SavedPlan, pins};
use crate::registry::RegistryCache;
use crate::state::State;
use crate::survey::{self, Caches, PinSource, Query, Refresh, RegistryLookup, ServiceQuery};

/// A survey before planning: what to ask the service and registries, and which checks to make.
pub(super) struct SurveyRequest<'a> {
    pub(super) settings: &'a Settings,
    pub(super) args: &'a LookupArgs,
    pub(super) options: &'a PlanOptions,
    pub(super) service: &'a ServiceProfile,
    /// Client of the service; `None` if the service is not asked.
    pub(super) client: Option<&'a Client>,
    /// True if no new pins are looked up.
    pub(super) offline: bool,
    /// True if the lockfile has conflict markers.
    pub(super) has_conflict_markers: bool,
    /// Saved plan, whose pins are used.
    pub(super) saved: Option<&'a SavedPlan>,
    /// True if warnings are errors.
    pub(super) deny_warnings: bool,
}

impl LookupArgs {
    /// Fails if two flags contradict each other. clap cannot check this: to it, an environment
    /// variable with the value `false` is a flag that was given.
    pub(super) fn check(&self, offline: bool) -> Result<(), Failure> {
        let upgrades =
            [("--upgrade", self.upgrade), ("--upgrade-image", !self.upgrade_image.is_empty())];
        check_conflicts(("--locked", self.locked), &[("--frozen", self.frozen)])?;
        check_conflicts(("--locked", self.locked), &upgrades)?;
        check_conflicts(("--frozen", self.frozen), &upgrades)?;
        check_conflicts(("--offline", offline), &upgrades)
    }
}

impl SurveyRequest<'_> {
    /// Collects the facts and prints their warnings.
    ///
    /// # Errors
    ///
    /// Fails if the pins are not as `--locked` or `--frozen` demand, if a context cannot be sent,
    /// and if warnings are errors and there are any.
    pub(super) async fn facts(
        &self,
        ui: &mut Ui,
        workspace: &Workspace,
        state: &State,
        caches: Caches,
    ) -> Result<Facts, Failure> {
        if let Some(warning) = self.client.and_then(|_| self.service.warning()) {
            ui.message(warning)?;
        }
        check_upgrades(&self.args.upgrade_image, workspace, state)?;
        self.check_lockfile(workspace, state)?;
        let references = self.references(workspace, state);
        let registries = if references.is_empty() { None } else { Some(registries::connect()?) };
        let writer = BackgroundWriter::start(ui)?;
        let pins = match (self.saved, &registries) {
            (Some(saved), _) => PinSource::Saved(saved.pins()),
            (None, None) => PinSource::Lockfile,
            (None, Some(registries)) => PinSource::Registries(RegistryLookup {
                references,
                upgrade: self.args.upgrade || !self.args.upgrade_image.is_empty(),
                registries,
                cache: RegistryCache::read(&self.settings.work_dir()),
                max_age: self.args.max_age,
                progress: &|progress| registries::print(&writer, progress),
            }),
        };
        let client = self.client.map(|client| with_progress(client, &writer));
        let service = client.as_ref().map(|client| ServiceQuery {
            client,
            default_owner: &self.service.owner.owner,
            refresh: match self.args {
                LookupArgs { minimal_refresh: true, .. } => Refresh::Minimal(self.options),
                LookupArgs { refresh: true, .. } => Refresh::Full,
                _ => Refresh::None,
            },
        });
        let lockfile = &self.service.paths.lockfile;
        let notes =
            if self.has_conflict_markers { conflict_notes(lockfile, state) } else { vec![] };
        let unasked = self.unasked();
        let query = Query { workspace, state, caches, service, pins, notes, unasked };
        let facts = survey::facts(query).await?;
        writer.flush().await?;
        ui.warnings(&facts.warnings, &workspace.sources)?;
        let warnings = workspace.warnings.len() + facts.warnings.len();
        failure::deny_warnings(self.deny_warnings, warnings)?;
        Ok(facts)
    }

    /// Returns the flag or reason for which the service is not asked to list images.
    fn unasked(&self) -> Option<&'static str> {
        match (self.client, self.args) {
            (None, _) if self.offline => Some("--offline"),
            (None, _) => self.service.no_reader_reason(),
            (Some(_), LookupArgs { refresh: false, .. }) => Some("--refresh=false"),
            (Some(_), LookupArgs { minimal_refresh: true, .. }) => Some("--minimal-refresh"),
            (Some(_), _) => None,
        }
    }

    /// Returns the references to look up: those to upgrade and, if the project uses pins, those
    /// without a pin.
    fn references(&self, workspace: &Workspace, state: &State) -> BTreeMap<String, RegistryRef> {
        let LookupArgs { upgrade, upgrade_image, locked, frozen, .. } = self.args;
        let units = workspace.units.iter();
        let mut references = if *upgrade {
            pins::references(units.filter(|unit| self.options.selection.selects(unit)))
        } else {
            let matches = |unit: &&_| upgrade_image.iter().any(|pattern| pattern.matches(unit));
            pins::references(units.filter(matches))
        };
        let may_pin = self.options.selection.partition.is_none();
        if may_pin && !(state.pins.is_empty() || self.offline || *locked || *frozen) {
            let all = pins::references(workspace.units.iter()).into_iter();
            references.extend(all.filter(|(key, _)| !state.pins.contains_key(key)));
        }
        references
    }

    /// Fails if the lockfile is not as `--locked`, `--frozen` or a partition demand.
    fn check_lockfile(&self, workspace: &Workspace, state: &State) -> Result<(), Failure> {
        let lockfile = &self.service.paths.lockfile;
        let is_lockfile = self.service.state.is_none();
        if (self.args.frozen || self.args.locked) && is_lockfile && !lockfile.exists() {
            let flag = if self.args.frozen { "--frozen" } else { "--locked" };
            let message = format!("there is no {}, and {flag} was given", lockfile.display());
            return Err(Failure::with_help(message, "`imgplan lock` creates it; commit it"));
        }
        if self.options.selection.partition.is_some() && !self.offline {
            check_no_missing_pins(workspace, state, lockfile)?;
        }
        if self.args.locked {
            check_no_conflicts(self.has_conflict_markers, state, "--locked", lockfile)?;
            check_pins(workspace, state, "--locked", lockfile)?;
        }
        Ok(())
    }
}

/// Returns the client with an observer that prints retries and waits.
fn with_progress(client: &Client, writer: &BackgroundWriter) -> Client {
    let writer = writer.clone();
    client.with_observer(Arc::new(move |notice| {
        writer.event(RunEvent::Notice { unit: None, notice });
    }))
}
