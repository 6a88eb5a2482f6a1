//! Takes the leases of a shared state, and waits for those of other runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::error::SharedError;
use super::history::RunHistory;
use super::lease_clock::LeaseClock;
use super::object::Version;
use super::shard::{Holder, Lease, ShardId};
use super::shard_task::{RunContext, ShardTask};
use super::shared_state::{MAX_REQUESTS, ReadShard, SharedState};
use super::writer::{SharedLease, SharedWriter};
use crate::state::State;

/// A held lease is polled this many times in its length.
const POLLS_PER_LEASE: u32 = 30;

/// Maximum time between two polls of a held lease.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The description of a run for others, and the time that it waits for them.
#[derive(Debug, Clone)]
pub(crate) struct LockRequest {
    /// The run.
    pub(crate) holder: Holder,
    /// Length of its leases.
    pub(crate) lease: Duration,
    /// Maximum wait for the leases of other runs.
    pub(crate) timeout: Duration,
    /// Tracks the tasks of the shards, which give them back when the run ends early.
    pub(crate) tasks: TaskTracker,
}

impl SharedState {
    /// Takes the leases of some shards, and returns them with their writer and what all shards have.
    /// Shards are taken in one order by all runs, so that no two runs wait for each other. `waits` is
    /// called for each other run that this one waits for.
    ///
    /// # Errors
    ///
    /// Fails with [`SharedError::Locked`] if another run holds a shard for longer than the run waits,
    /// and if the store cannot be reached or a shard cannot be read.
    pub(crate) async fn lock(
        &self,
        shards: &BTreeSet<ShardId>,
        request: &LockRequest,
        waits: &mut dyn FnMut(ShardId, &Lease),
    ) -> Result<(SharedLease, SharedWriter, State), SharedError> {
        let context = Arc::new(RunContext {
            objects: self.objects.clone(),
            url: self.url.to_string(),
            service: self.service.clone(),
            holder: request.holder.clone(),
            lease: request.lease,
            clock: LeaseClock::new(request.lease),
            history: RunHistory::of(&request.holder),
        });
        let mut lease = SharedLease::new(Arc::clone(&context), request.tasks.clone());
        let mut state = State::default();
        let mut watch = LeaseWatch::new(request);
        let mut missing = shards.clone();
        let mut reads = self.read_shards(missing.iter().copied()).await?;
        while let Some(first) = missing.first().copied() {
            watch.observe(&reads);
            let mut ready: Vec<(ShardId, ReadShard)> = Vec::new();
            // Of two runs that begin at once, one gets the first shard, and then all of them.
            let count = if lease.is_empty() { 1 } else { missing.len() };
            for id in missing.iter().take(count) {
                match reads.remove(id) {
                    Some(read) if watch.is_free(*id, &read) => ready.push((*id, read)),
                    _ => break,
                }
            }
            let is_complete = if ready.is_empty() {
                self.wait(first, &mut watch, waits).await?;
                false
            } else {
                let count = ready.len();
                let taken = self.take(ready, &context, request).await?;
                let is_complete = taken.len() == count;
                for task in taken {
                    merge(&mut state, &task.state);
                    missing.remove(&task.shard);
                    lease.hold(task);
                }
                is_complete
            };
            if !is_complete || missing.iter().any(|id| !reads.contains_key(id)) {
                reads = self.read_shards(missing.iter().copied()).await?;
            }
        }
        let others = ShardId::all().filter(|id| !shards.contains(id));
        for ReadShard { shard, .. } in self.read_shards(others).await?.into_values() {
            merge(&mut state, &shard.state);
        }
        let writer = lease.writer();
        Ok((lease, writer, state))
    }

    /// Takes leases at once, as [`take`]. If the command ends meanwhile, they are given back.
    async fn take(
        &self,
        ready: Vec<(ShardId, ReadShard)>,
        context: &Arc<RunContext>,
        request: &LockRequest,
    ) -> Result<Vec<ShardTask>, SharedError> {
        let first = ready.first().map_or(ShardId::Pins, |(id, _)| *id);
        let (answer, taken) = oneshot::channel();
        let context = Arc::clone(context);
        request.tasks.spawn(async move {
            if let Err(Ok(taken)) = answer.send(take(ready, &context).await) {
                join_all(taken.into_iter().map(ShardTask::give_back)).await;
            }
        });
        taken.await.unwrap_or_else(|_| Err(SharedError::ended(first)))
    }

    /// Waits until a shard is free.
    ///
    /// # Errors
    ///
    /// Fails with [`SharedError::Locked`] after the time of the request.
    async fn wait(
        &self,
        id: ShardId,
        watch: &mut LeaseWatch,
        waits: &mut dyn FnMut(ShardId, &Lease),
    ) -> Result<(), SharedError> {
        let mut reported: Option<Holder> = None;
        loop {
            let read = self.read_shard(id).await?;
            watch.observe_one(id, &read);
            let Some(lease) = read.shard.header.lease.clone() else { return Ok(()) };
            if watch.is_free(id, &read) {
                return Ok(());
            }
            if watch.is_late(&lease) {
                return Err(SharedError::Locked { shard: id, lease: Box::new(lease) });
            }
            if reported.as_ref() != Some(&lease.holder) {
                waits(id, &lease);
                reported = Some(lease.holder.clone());
            }
            sleep((lease.length() / POLLS_PER_LEASE).min(MAX_POLL_INTERVAL)).await;
        }
    }
}

/// Takes leases at once. Returns the tasks up to the first shard of which another run was faster, and gives
/// the later ones back. A run that kept a later shard while it waits for an earlier one could deadlock with
/// the run that holds the earlier one.
///
/// # Errors
///
/// Fails if the store cannot be written. The leases that were taken are then given back.
async fn take(
    ready: Vec<(ShardId, ReadShard)>,
    context: &Arc<RunContext>,
) -> Result<Vec<ShardTask>, SharedError> {
    let take = async |(id, read)| {
        let mut task = ShardTask::new(id, Arc::clone(context), read);
        let is_taken = task.take().await;
        (task, is_taken)
    };
    let results: Vec<_> =
        stream::iter(ready.into_iter().map(take)).buffered(MAX_REQUESTS).collect().await;
    let (mut taken, mut later, mut result) = (Vec::new(), Vec::new(), Ok(()));
    let mut is_complete = true;
    for (task, is_taken) in results {
        match is_taken {
            Ok(true) if is_complete => taken.push(task),
            Ok(true) => later.push(task),
            Ok(false) => is_complete = false,
            Err(error) => {
                is_complete = false;
                result = Err(error);
            }
        }
    }
    if result.is_err() {
        later.append(&mut taken);
    }
    join_all(later.into_iter().map(ShardTask::give_back)).await;
    result.map(|()| taken)
}

/// The observation of leases that other runs hold.
struct LeaseWatch {
    run: String,
    began: Instant,
    timeout: Duration,
    /// The version of each shard, and the time since which it has that version.
    unchanged: BTreeMap<ShardId, (Version, Instant)>,
}

impl LeaseWatch {
    fn new(request: &LockRequest) -> Self {
        let (run, timeout) = (request.holder.run.clone(), request.timeout);
        Self { run, began: Instant::now(), timeout, unchanged: BTreeMap::new() }
    }

    fn observe(&mut self, reads: &BTreeMap<ShardId, ReadShard>) {
        for (id, read) in reads {
            self.observe_one(*id, read);
        }
    }

    fn observe_one(&mut self, id: ShardId, read: &ReadShard) {
        let known = self.unchanged.get(&id).is_some_and(|(version, _)| *version == read.version);
        if !known {
            self.unchanged.insert(id, (read.version.clone(), Instant::now()));
        }
    }

    /// True if a run may take a shard: nobody holds it, its lease was not renewed for its length, or
    /// it is held by this very run, whose attempt to give it back failed.
    fn is_free(&self, id: ShardId, read: &ReadShard) -> bool {
        let Some(lease) = &read.shard.header.lease else { return true };
        let unchanged = self.unchanged.get(&id).map(|(_, since)| since.elapsed());
        lease.holder.run == self.run || lease.is_over(unchanged.unwrap_or_default())
    }

    /// True if the run has waited for long enough. The lease of a run that has most likely died, by this
    /// machine's clock, is observed for its length in any case.
    fn is_late(&self, lease: &Lease) -> bool {
        let is_dead = lease.until <= Timestamp::now();
        let least = if is_dead { lease.length() + MAX_POLL_INTERVAL } else { Duration::ZERO };
        self.began.elapsed() >= self.timeout.max(least)
    }
}

fn merge(state: &mut State, shard: &State) {
    let entries = shard.entries.iter();
    state.entries.extend(entries.map(|(unit, entry)| (unit.clone(), entry.clone())));
    let pins = shard.pins.iter();
    state.pins.extend(pins.map(|(reference, pin)| (reference.clone(), pin.clone())));
}
