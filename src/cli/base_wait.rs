//! Waits until other runs have built the bases of a partition's targets, which a shared state tells.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::service::ServiceProfile;
use super::ui::Ui;
use crate::base::text::exact_duration;
use crate::plan::Blocked;
use crate::shared::{Holder, ShardId, SharedState, time};
use crate::state::{Entry, State};

/// Time between two polls of the state.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The time that a run waits for bases in all.
pub(super) struct BaseWait {
    limit: Duration,
    deadline: Instant,
    /// The base that was reported last, and the run that held it then.
    reported: Option<(String, Option<Holder>)>,
}

impl BaseWait {
    /// Starts the time.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit, reported: None }
    }

    /// Waits until the state has other builds of all bases than `seen` has, and none in progress. Returns
    /// false once the time has passed.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be read.
    pub(super) async fn wait(
        &mut self,
        ui: &mut Ui,
        service: &ServiceProfile,
        blocked: &[Blocked],
        seen: &State,
    ) -> Result<bool, Failure> {
        let Some(url) = &service.state else { return Ok(false) };
        let shared = SharedState::find(url, Some(&service.name)).await?;
        let mut waiting: Vec<&Blocked> = blocked.iter().collect();
        let mut has_paused = false;
        loop {
            if Instant::now() >= self.deadline {
                return Ok(false);
            }
            let shards: BTreeSet<ShardId> =
                waiting.iter().map(|blocked| ShardId::of(&blocked.base)).collect();
            let shards = shared.read_some(shards.into_iter()).await?;
            let leases: Vec<_> = shards.leases().map(|(id, lease)| (id, lease.clone())).collect();
            let state = shards.into_state();
            let entry =
                |state: &State, blocked: &Blocked| state.entries.get(&blocked.base).cloned();
            waiting.retain(|blocked| !is_done(entry(&state, blocked), entry(seen, blocked)));
            let Some(first) = waiting.first() else {
                if !has_paused {
                    // A base that stays out of date must not cause one survey after another.
                    self.pause().await;
                }
                return Ok(true);
            };
            let shard = ShardId::of(&first.base);
            let lease = leases.iter().find(|(id, _)| *id == shard).map(|(_, lease)| lease);
            let reported = (first.base.to_string(), lease.map(|lease| lease.holder.clone()));
            if self.reported.as_ref() != Some(&reported) {
                let held = lease.map_or_else(
                    || "no run holds it yet".to_owned(),
                    |lease| format!("held until {} by {}", time(lease.until), lease.holder),
                );
                let Blocked { unit, base } = first;
                let limit = exact_duration(self.limit);
                ui.message(format!(
                    "Waiting up to {limit} for {base}, the base of {unit}, in shard {shard}: {held}"
                ))?;
                self.reported = Some(reported);
            }
            self.pause().await;
            has_paused = true;
        }
    }

    async fn pause(&self) {
        sleep(POLL_INTERVAL.min(self.deadline - Instant::now())).await;
    }
}

/// True if the entry of a base tells of another build than before, which has ended.
fn is_done(entry: Option<Entry>, seen: Option<Entry>) -> bool {
    let in_progress = |entry: &Entry| entry.pending.is_some() || entry.submitted.is_some();
    entry != seen && !entry.as_ref().is_some_and(in_progress)
}
