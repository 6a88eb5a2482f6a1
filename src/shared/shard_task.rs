//! The task that holds one shard: it alone writes it. It gathers changes into one write a second,
//! renews the lease, and gives it back at the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::error::SharedError;
use super::history::RunHistory;
use super::lease_clock::LeaseClock;
use super::object::{PutError, Version};
use super::objects::Objects;
use super::shard::{Holder, Lease, Shard, ShardHeader, ShardId, random_id};
use super::shared_state::ReadShard;
use crate::base::name::ImageRef;
use crate::state::{Entry, Pin, State};

/// Minimum time between two writes of changes.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A lease is renewed when this part of its length has passed.
const RENEWAL_DIVISOR: u32 = 3;

/// Wait before a failed write is tried again; the store's client has already tried it several times.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Values that all tasks of a run share.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) objects: Objects,
    /// URL of the state, for messages.
    pub(super) url: String,
    pub(super) service: String,
    pub(super) holder: Holder,
    pub(super) lease: Duration,
    pub(super) clock: LeaseClock,
    pub(super) history: RunHistory,
}

/// A change of one shard.
#[derive(Debug)]
pub(super) enum ShardChange {
    /// The new entry of a unit; `None` if it is dropped.
    Entry(ImageRef, Option<Box<Entry>>),
    /// The new pin of a reference; `None` if it is dropped.
    Pin(String, Option<Pin>),
}

/// A message to the task of a shard.
#[derive(Debug)]
pub(super) enum ShardMessage {
    /// Change the content.
    Change(ShardChange),
    /// Drop entries, once the shards that take them over have confirmed that. So a run that dies in
    /// between leaves an entry in both shards, and not in none.
    DropMoved(Vec<ImageRef>, oneshot::Receiver<()>),
    /// Confirm once all changes before this message are in the store.
    Confirm(Arc<WriteConfirmation>),
    /// Write all changes, give the lease back, answer, and end.
    Release(oneshot::Sender<Result<(), SharedError>>),
}

/// Confirmations to steps that wait for several shards. The steps learn of a failure by its drop.
#[derive(Debug)]
pub(super) struct WriteConfirmation {
    missing: AtomicUsize,
    steps: Mutex<Vec<oneshot::Sender<()>>>,
}

impl WriteConfirmation {
    /// Creates a confirmation that is sent once `shards` shards are written.
    pub(super) fn new(shards: usize, steps: Vec<oneshot::Sender<()>>) -> Self {
        Self { missing: AtomicUsize::new(shards), steps: Mutex::new(steps) }
    }

    fn written(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            for step in steps.drain(..) {
                // Fails only if the step is gone.
                let _ = step.send(());
            }
        }
    }
}

/// The task of one shard.
#[derive(Debug)]
pub(super) struct ShardTask {
    pub(super) shard: ShardId,
    pub(super) context: Arc<RunContext>,
    pub(super) state: State,
    version: Version,
    changed_by: Option<Holder>,
    /// The object as it was before this run, until its first change is written.
    before: Option<Vec<u8>>,
    last_write: Instant,
    is_changed: bool,
    /// Drops of entries that another shard takes over, each with the confirmation of that shard.
    deferred: Vec<(oneshot::Receiver<()>, Vec<ImageRef>)>,
    /// IDs of the writes since the last one that is known to have arrived.
    attempts: Vec<String>,
    confirmations: Vec<Arc<WriteConfirmation>>,
}

impl ShardTask {
    /// Creates the task of a shard as it was read.
    pub(super) fn new(id: ShardId, context: Arc<RunContext>, read: ReadShard) -> Self {
        let ReadShard { shard: Shard { header, state }, bytes, version } = read;
        Self {
            shard: id,
            context,
            state,
            version,
            changed_by: header.changed_by,
            before: Some(bytes),
            last_write: Instant::now(),
            is_changed: false,
            deferred: Vec::new(),
            attempts: Vec::new(),
            confirmations: Vec::new(),
        }
    }

    /// Takes the lease by one write. Returns false if another run was faster.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be written.
    pub(super) async fn take(&mut self) -> Result<bool, SharedError> {
        match self.put(true).await {
            Ok(()) => Ok(true),
            Err(WriteError::TakenOver(_)) => Ok(false),
            Err(WriteError::Failed(reason)) => {
                let url = format!("{}/{}", self.context.url, self.shard.object());
                Err(SharedError::Store { action: "write", url, reason })
            }
        }
    }

    /// Gives back a lease that was just taken. An error is no loss: the lease ends by itself.
    pub(super) async fn give_back(mut self) {
        let _ = self.put(false).await;
        self.context.clock.released(self.shard);
    }

    /// Serves messages until the lease is given back or lost.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<ShardMessage>) {
        loop {
            let renewal = self.context.lease / RENEWAL_DIVISOR;
            let is_idle =
                !self.is_changed && self.confirmations.is_empty() && self.deferred.is_empty();
            let interval = if is_idle { renewal } else { COMMIT_INTERVAL.min(renewal) };
            let message = tokio::select! {
                message = messages.recv() => message,
                () = sleep_until(self.last_write + interval) => {
                    self.drop_moved();
                    if self.write(true).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            match message {
                Some(ShardMessage::Change(change)) => self.change(change),
                Some(ShardMessage::DropMoved(units, taken_over)) => {
                    self.deferred.push((taken_over, units));
                }
                Some(ShardMessage::Confirm(confirmation)) if self.is_changed => {
                    self.confirmations.push(confirmation);
                }
                Some(ShardMessage::Confirm(confirmation)) => confirmation.written(),
                Some(ShardMessage::Release(answer)) => {
                    let _ = answer.send(self.end().await);
                    return;
                }
                None => {
                    // The command has ended early. An error is in the clock of the run.
                    let _ = self.end().await;
                    return;
                }
            }
        }
    }

    /// Writes all changes, and gives the lease back.
    ///
    /// # Errors
    ///
    /// Fails if the lease is lost.
    async fn end(&mut self) -> Result<(), SharedError> {
        if !self.deferred.is_empty() {
            // Other shards may wait for this one: they never wait for a drop.
            self.write(true).await?;
            for (taken_over, units) in std::mem::take(&mut self.deferred) {
                // Without a confirmation, a shard is lost, and the entries stay in both.
                if taken_over.await.is_ok() {
                    self.drop_entries(units);
                }
            }
        }
        self.write(false).await
    }

    /// Drops the entries that other shards have taken over by now.
    fn drop_moved(&mut self) {
        let mut moved = Vec::new();
        self.deferred.retain_mut(|(taken_over, units)| match taken_over.try_recv() {
            Ok(()) => {
                moved.append(units);
                false
            }
            Err(_) => true,
        });
        self.drop_entries(moved);
    }

    fn drop_entries(&mut self, units: Vec<ImageRef>) {
        for unit in units {
            self.change(ShardChange::Entry(unit, None));
        }
    }

    fn change(&mut self, change: ShardChange) {
        self.is_changed = true;
        match change {
            ShardChange::Entry(unit, Some(entry)) => {
                for (_, moved) in &mut self.deferred {
                    moved.retain(|moved| *moved != unit);
                }
                self.state.entries.insert(unit, *entry);
            }
            ShardChange::Entry(unit, None) => {
                self.state.entries.remove(&unit);
            }
            ShardChange::Pin(reference, Some(pin)) => {
                self.state.pins.insert(reference, pin);
            }
            ShardChange::Pin(reference, None) => {
                self.state.pins.remove(&reference);
            }
        }
    }

    /// Writes the shard, and keeps the lease or gives it back. Tries until the lease is about to end.
    ///
    /// # Errors
    ///
    /// Fails if the lease is lost; the clock of the run then knows.
    async fn write(&mut self, keeps_lease: bool) -> Result<(), SharedError> {
        loop {
            let error = match self.put(keeps_lease).await {
                Ok(()) => {
                    self.is_changed = false;
                    for confirmation in self.confirmations.drain(..) {
                        confirmation.written();
                    }
                    return Ok(());
                }
                Err(WriteError::TakenOver(by)) => SharedError::TakenOver { shard: self.shard, by },
                Err(WriteError::Failed(reason)) => {
                    if !self.context.clock.is_ending(self.shard) {
                        sleep(RETRY_INTERVAL.min(self.context.lease / RENEWAL_DIVISOR)).await;
                        continue;
                    }
                    SharedError::Expired { shard: self.shard, reason }
                }
            };
            self.context.clock.lose(error.clone());
            return Err(error);
        }
    }

    /// Writes the shard once.
    async fn put(&mut self, keeps_lease: bool) -> Result<(), WriteError> {
        let since = (Instant::now(), SystemTime::now());
        let RunContext { objects, service, holder, lease: length, clock, history, .. } =
            &*self.context;
        if self.is_changed
            && let Some(before) = &self.before
        {
            history.keep(objects, self.shard, before, holder).await.map_err(WriteError::Failed)?;
            self.before = None;
        }
        let lease = keeps_lease.then(|| Lease {
            holder: holder.clone(),
            until: Timestamp::now().checked_add(*length).unwrap_or(Timestamp::MAX),
            length_ms: u32::try_from(length.as_millis()).unwrap_or(u32::MAX),
        });
        if self.is_changed {
            self.changed_by = Some(holder.clone());
        }
        let header = ShardHeader::new(random_id(), lease, self.changed_by.clone());
        self.attempts.push(header.write.clone());
        let bytes = Shard::encode(self.shard, &header, service, &self.state);
        let bytes = bytes.map_err(WriteError::Failed)?;
        let put = objects.put_if(&self.shard.object(), bytes, Some(&self.version)).await;
        let version = match put {
            Ok(version) => version,
            Err(error) => {
                // The write may have arrived, and its response may be lost.
                let (version, write) = self.own_write(&error).await?;
                self.version = version.clone();
                if write != header.write {
                    return Err(WriteError::Failed(error.to_string()));
                }
                version
            }
        };
        self.attempts.clear();
        (self.version, self.last_write) = (version, Instant::now());
        if keeps_lease {
            clock.renewed(self.shard, since, *length);
        } else {
            clock.released(self.shard);
        }
        Ok(())
    }

    /// Returns the current version of the object and the ID of its write, if this task wrote it.
    /// `failed` is the error of the last write.
    async fn own_write(&self, failed: &PutError) -> Result<(Version, String), WriteError> {
        let RunContext { objects, service, holder, .. } = &*self.context;
        let read = objects.get(&self.shard.object()).await;
        // The error of the write says more than that of reading.
        let read = read.map_err(|_| WriteError::Failed(failed.to_string()))?;
        let Some((bytes, version)) = read else {
            return Err(WriteError::TakenOver("somebody who removed the object".to_owned()));
        };
        let theirs = Shard::decode(self.shard, &bytes, service).map_err(WriteError::Failed)?.header;
        if self.version == version || self.attempts.contains(&theirs.write) {
            return Ok((version, theirs.write));
        }
        let by = theirs.lease.map(|lease| lease.holder).or(theirs.changed_by);
        let by = by.filter(|by| by.run != holder.run);
        let by = by.map_or_else(|| "another run".to_owned(), |by| by.to_string());
        Err(WriteError::TakenOver(by))
    }
}

/// An error of one write.
enum WriteError {
    /// Another run wrote the shard; how it describes itself.
    TakenOver(String),
    /// The store failed; its error.
    Failed(String),
}
