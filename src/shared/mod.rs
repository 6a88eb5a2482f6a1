//! A shared state: the same entries and pins as in a lockfile, in one object for each of 64 buckets, and
//! the lease of the run that may write it in the same object. Every write is conditional on the version
//! that was read, so that a run whose lease was taken over cannot write.
//!
//! ```text
//!  SharedState::read ───► Shards ──► State                         (commands that only read)
//!  SharedState::lock ───► a task for each shard ◄── SharedWriter   (a run; the replica of its `Store`)
//!                                               ◄── SharedLease    (renewed until it is released)
//! ```

mod error;
mod folder;
mod history;
mod lease_clock;
mod lock;
mod object;
mod objects;
mod probe;
mod shard;
mod shard_task;
mod shared_state;
mod writer;

pub(crate) use error::SharedError;
pub(crate) use lock::LockRequest;
pub(crate) use shard::{Holder, Lease, ShardId, random_id, time};
pub(crate) use shared_state::{SharedState, Unlock};
pub(crate) use writer::SharedLease;
