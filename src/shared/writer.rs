//! The shards that a run holds: the lease, and the writer that passes changes to their tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::error::SharedError;
use super::history;
use super::shard::ShardId;
use super::shard_task::{RunContext, ShardChange, ShardMessage, ShardTask, WriteConfirmation};
use crate::base::name::ImageRef;
use crate::state::replica::Replica;
use crate::state::{Entry, Pin};

/// The tasks of the shards that a run holds.
type Tasks = BTreeMap<ShardId, mpsc::UnboundedSender<ShardMessage>>;

/// The right of a run to write some shards, which is renewed until it is released. If it and its
/// writers are dropped, the shards are given back as far as that is possible.
#[derive(Debug)]
pub struct SharedLease {
    context: Arc<RunContext>,
    tasks: Tasks,
    tracker: TaskTracker,
}

/// Passes the changes of a store to the shards.
#[derive(Debug)]
pub(crate) struct SharedWriter {
    context: Arc<RunContext>,
    tasks: Tasks,
    /// The shards that were changed since the last confirmation.
    changed: BTreeSet<ShardId>,
}

impl SharedLease {
    pub(super) fn new(context: Arc<RunContext>, tracker: TaskTracker) -> Self {
        Self { context, tasks: BTreeMap::new(), tracker }
    }

    /// True if no shard is held.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts the task of a shard whose lease was taken.
    pub(super) fn hold(&mut self, task: ShardTask) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (shard, context) = (task.shard, Arc::clone(&self.context));
        self.tasks.insert(shard, messages);
        let task = self.tracker.spawn(task.run(inbox));
        self.tracker.spawn(async move {
            if task.await.is_err() {
                context.clock.lose(SharedError::ended(shard));
            }
        });
    }

    /// Returns a writer of the shards.
    pub(super) fn writer(&self) -> SharedWriter {
        let (context, tasks) = (Arc::clone(&self.context), self.tasks.clone());
        SharedWriter { context, tasks, changed: BTreeSet::new() }
    }

    /// Writes all changes, and gives the shards back.
    ///
    /// # Errors
    ///
    /// Fails if a shard was lost. The others are given back all the same.
    pub(crate) async fn release(&mut self) -> Result<(), SharedError> {
        self.context.clock.close();
        let give_back = async |shard, messages: &mpsc::UnboundedSender<ShardMessage>| {
            let (answer, result) = oneshot::channel();
            let _ = messages.send(ShardMessage::Release(answer));
            match result.await {
                Ok(result) => result,
                // The task has ended, because its lease is lost.
                Err(_) => {
                    Err(self.context.clock.error().unwrap_or_else(|| SharedError::ended(shard)))
                }
            }
        };
        let tasks = self.tasks.iter();
        let results = join_all(tasks.map(|(shard, messages)| give_back(*shard, messages))).await;
        self.tasks.clear();
        results.into_iter().collect::<Result<(), SharedError>>()?;
        history::prune(&self.context.objects, &self.context.history).await;
        Ok(())
    }

    /// Waits until a shard is lost. Returns the reason.
    pub(crate) async fn lost(&self) -> SharedError {
        self.context.clock.lost().await
    }

    /// Returns a function that waits until no lease is about to end, and fails once one is lost.
    pub(crate) fn guard(&self) -> impl Fn() -> BoxFuture<'static, Result<(), SharedError>> + use<> {
        let context = Arc::clone(&self.context);
        move || {
            let context = Arc::clone(&context);
            async move { context.clock.safe().await }.boxed()
        }
    }
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        self.context.clock.close();
    }
}

impl SharedWriter {
    fn change(&mut self, shard: ShardId, change: ShardChange) {
        let Some(messages) = self.tasks.get(&shard) else { return };
        // Fails only if the lease is lost; the run is then told by its clock.
        let _ = messages.send(ShardMessage::Change(change));
        self.changed.insert(shard);
    }

    /// Asks for a confirmation of all changes of some shards until now.
    fn confirm_shards(&self, shards: &BTreeSet<ShardId>, steps: Vec<oneshot::Sender<()>>) {
        if shards.is_empty() {
            for step in steps {
                // Fails only if the step is gone.
                let _ = step.send(());
            }
            return;
        }
        let confirmation = Arc::new(WriteConfirmation::new(shards.len(), steps));
        for messages in shards.iter().filter_map(|shard| self.tasks.get(shard)) {
            let _ = messages.send(ShardMessage::Confirm(Arc::clone(&confirmation)));
        }
    }
}

impl Replica for SharedWriter {
    fn holds(&self, unit: &ImageRef) -> bool {
        self.tasks.contains_key(&ShardId::of(unit))
    }

    fn holds_pins(&self) -> bool {
        self.tasks.contains_key(&ShardId::Pins)
    }

    fn set_entry(&mut self, unit: ImageRef, entry: Option<Entry>) {
        let shard = ShardId::of(&unit);
        self.change(shard, ShardChange::Entry(unit, entry.map(Box::new)));
    }

    fn drop_moved(&mut self, units: Vec<ImageRef>) {
        let mut moved: BTreeMap<ShardId, Vec<ImageRef>> = BTreeMap::new();
        for unit in units {
            moved.entry(ShardId::of(&unit)).or_default().push(unit);
        }
        let changed = self.changed.clone();
        let mut steps = Vec::new();
        for (shard, units) in moved {
            let Some(messages) = self.tasks.get(&shard) else { continue };
            let (confirm, taken_over) = oneshot::channel();
            let _ = messages.send(ShardMessage::DropMoved(units, taken_over));
            steps.push(confirm);
            self.changed.insert(shard);
        }
        self.confirm_shards(&changed, steps);
    }

    fn set_pin(&mut self, reference: String, pin: Option<Pin>) {
        self.change(ShardId::Pins, ShardChange::Pin(reference, pin));
    }

    fn confirm(&mut self, steps: Vec<oneshot::Sender<()>>) {
        if steps.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            if self.context.clock.error().is_none() {
                for step in steps {
                    // Fails only if the step is gone.
                    let _ = step.send(());
                }
            }
            return;
        }
        self.confirm_shards(&changed, steps);
    }
}
