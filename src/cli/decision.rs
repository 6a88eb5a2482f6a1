//! Plans an apply. With a shared state, the run then holds all shards that the plan changes, and the
//! bases of a partition's targets are up to date.

use std::collections::BTreeSet;

use super::args::ApplyArgs;
use super::base_wait::BaseWait;
use super::failure::Failure;
use super::rerun;
use super::saved_plan;
use super::selection::check_blocked;
use super::service::ServiceProfile;
use super::session::PendingCache;
use super::settings::Settings;
use super::state_place::{self, OpenState, StateScope};
use super::survey::SurveyRequest;
use super::ui::Ui;
use crate::api::Client;
use crate::manifest::Workspace;
use crate::plan::{self, Decision, Facts, PlanOptions, SavedPlan, Step};
use crate::shared::ShardId;
use crate::state::{Record, State, Store};

/// The sources of the plan of an apply.
pub(super) struct ApplyQuery<'a> {
    pub(super) settings: &'a Settings,
    pub(super) args: &'a ApplyArgs,
    pub(super) options: &'a PlanOptions,
    pub(super) service: &'a ServiceProfile,
    pub(super) client: &'a Client,
    pub(super) saved: Option<&'a SavedPlan>,
}

/// A plan that can be carried out, and what it was made from.
pub(super) struct Decided {
    pub(super) open: OpenState,
    pub(super) facts: Facts,
    pub(super) decision: Decision,
}

impl ApplyQuery<'_> {
    /// Surveys and decides, again if other runs have to be waited for.
    ///
    /// # Errors
    ///
    /// Fails as a survey does, if the saved plan is stale, if a base of another partition is not up to
    /// date in time, and if a shard cannot be taken in time.
    pub(super) async fn decide(
        &self,
        ui: &mut Ui,
        mut workspace: Workspace,
        mut open: OpenState,
        mut cache: PendingCache,
    ) -> Result<Decided, Failure> {
        let lease_args = &self.args.lease;
        let mut wait = BaseWait::new(lease_args.timeout());
        let mut more = BTreeSet::new();
        loop {
            let facts = self.facts(ui, &workspace, &open, cache).await?;
            let decision = plan::decide(workspace, &facts, open.store.state(), self.options);
            let lacking = lacking(&decision, &open.store);
            let blocked = &decision.plan.blocked;
            if blocked.is_empty() && lacking.is_empty() {
                let state = open.store.state();
                let decision = saved_plan::reduce(decision, state, self.saved)?;
                return Ok(Decided { open, facts, decision });
            }
            if open.lease.is_none() {
                check_blocked(blocked, || rerun::trunk(self.settings, self.args))?;
            }
            // Other runs may need these shards to build the bases.
            open.close().await?;
            let is_unblocked = blocked.is_empty()
                || wait.wait(ui, self.service, blocked, open.store.state()).await?;
            if !is_unblocked {
                check_blocked(blocked, || rerun::trunk(self.settings, self.args))?;
            }
            drop(open);
            more.extend(lacking);
            workspace = decision.workspace;
            let options = |_: &State| Ok(self.options.clone());
            let scope = StateScope { is_whole: false, options: &options, more: more.clone() };
            (open, _) = state_place::open_for(
                (ui, self.settings),
                &workspace,
                self.service,
                lease_args,
                &scope,
            )
            .await?;
            cache = PendingCache::start(self.settings);
        }
    }

    async fn facts(
        &self,
        ui: &mut Ui,
        workspace: &Workspace,
        open: &OpenState,
        cache: PendingCache,
    ) -> Result<Facts, Failure> {
        let request = SurveyRequest {
            settings: self.settings,
            args: &self.args.lookup,
            options: self.options,
            service: self.service,
            client: Some(self.client),
            offline: self.saved.is_some(),
            has_conflict_markers: open.store.has_conflict_markers(),
            saved: self.saved,
            deny_warnings: self.args.strict.deny_warnings,
        };
        request.facts(ui, workspace, open.store.state(), cache.load(self.service).await).await
    }
}

/// Returns the shards that a plan changes and that the run does not hold: those of tags with a
/// fingerprint, of entries that another run has just changed, and that of the pins.
fn lacking(decision: &Decision, store: &Store) -> BTreeSet<ShardId> {
    let keys = decision.plan.steps.iter().flat_map(Step::keys);
    let mut lacking: BTreeSet<ShardId> =
        keys.filter(|key| !store.holds(key)).map(ShardId::of).collect();
    let is_pin = |record: &&Record| matches!(record, Record::Pinned { .. });
    let mut pins = decision.bookkeeping.iter().filter(is_pin);
    if pins.any(|record| !store.may(record)) {
        lacking.insert(ShardId::Pins);
    }
    lacking
}
