//! The clock of the leases that a run holds: whether it may still write and send requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::SharedError;
use super::shard::ShardId;

/// Maximum time before the end of a lease at which requests are no longer sent.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// The margin of short leases, in parts of their length.
const MARGIN_DIVISOR: u32 = 6;

/// The ends of the leases that a run holds.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    margin: Duration,
    leases: Mutex<Leases>,
    /// Changes with each renewal, and when a lease is lost.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Leases {
    /// The end of each lease by both clocks of this machine: one stands still while the machine
    /// sleeps, the other one may be set.
    ends: BTreeMap<ShardId, (Instant, SystemTime)>,
    error: Option<SharedError>,
    /// True once the leases are given back.
    is_closed: bool,
}

impl LeaseClock {
    /// Creates the clock of leases of a length.
    pub(super) fn new(length: Duration) -> Self {
        let margin = MAX_MARGIN.min(length / MARGIN_DIVISOR);
        Self { margin, leases: Mutex::default(), changes: watch::Sender::default() }
    }

    /// Waits until all leases last for a while: a request that is sent when one is about to end could be
    /// sent by the next holder as well.
    ///
    /// # Errors
    ///
    /// Fails once a lease is lost, and once the leases are given back.
    pub(crate) async fn safe(&self) -> Result<(), SharedError> {
        let mut changes = self.changes.subscribe();
        while !self.is_safe()? {
            // Never fails: the sender is part of the clock.
            let _ = changes.changed().await;
        }
        Ok(())
    }

    fn is_safe(&self) -> Result<bool, SharedError> {
        let leases = self.leases();
        let (now, clock) = (Instant::now() + self.margin, SystemTime::now() + self.margin);
        match &leases.error {
            Some(error) => Err(error.clone()),
            None if leases.is_closed => Err(SharedError::Closed),
            None => Ok(leases.ends.values().all(|(end, wall)| *end > now && *wall > clock)),
        }
    }

    /// Returns the reason for which a lease was lost. `None` if none was.
    pub(super) fn error(&self) -> Option<SharedError> {
        self.leases().error.clone()
    }

    /// Waits until a lease is lost. Returns the reason.
    pub(crate) async fn lost(&self) -> SharedError {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(error) = self.error() {
                return error;
            }
            let _ = changes.changed().await;
        }
    }

    /// Records that a lease was taken or renewed by a write that began `since`.
    pub(super) fn renewed(&self, shard: ShardId, since: (Instant, SystemTime), length: Duration) {
        self.leases().ends.insert(shard, (since.0 + length, since.1 + length));
        self.changes.send_replace(());
    }

    /// Records that a lease was given back.
    pub(super) fn released(&self, shard: ShardId) {
        self.leases().ends.remove(&shard);
        self.changes.send_replace(());
    }

    /// Records that the leases are given back: nothing may be sent any more.
    pub(super) fn close(&self) {
        self.leases().is_closed = true;
        self.changes.send_replace(());
    }

    /// Records that a lease was lost. The first reason is kept.
    pub(super) fn lose(&self, error: SharedError) {
        self.leases().error.get_or_insert(error);
        self.changes.send_replace(());
    }

    /// True if less than the margin is left of a lease.
    pub(super) fn is_ending(&self, shard: ShardId) -> bool {
        let now = Instant::now() + self.margin;
        self.leases().ends.get(&shard).is_none_or(|(end, _)| *end <= now)
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
