//! Errors of a shared state.

use miette::Diagnostic;

use super::object::ObjectError;
use super::shard::{Lease, ShardId, time};
use crate::base::state_url::StateUrl;
use crate::state::StateError;

/// An error of a shared state.
#[derive(Debug, Clone, thiserror::Error, Diagnostic)]
pub enum SharedError {
    /// There is no state yet.
    #[error("there is no state at {url}")]
    #[diagnostic(help(
        "run `imgplan state init` once, which also checks that the store can hold a state"
    ))]
    Missing {
        /// URL of the state.
        url: String,
    },
    /// There is a state already.
    #[error("there is a state at {url} already")]
    #[diagnostic(help("`imgplan state show` lists it; choose another path for another state"))]
    Exists {
        /// URL of the state.
        url: String,
    },
    /// The state belongs to another service.
    #[error("{url} belongs to {theirs}, but this run uses {ours}")]
    #[diagnostic(help(
        "set PRIME_API_BASE_URL or `settings.url` to {theirs}, or choose another path for the state"
    ))]
    OtherService {
        /// URL of the state.
        url: String,
        /// The service of the state.
        theirs: String,
        /// The service of this run.
        ours: String,
    },
    /// The store cannot be reached, or refuses a request.
    #[error("cannot {action} {url}: {reason}")]
    #[diagnostic(help(
        "check the bucket, the credentials in the environment (AWS_…, GOOGLE_…, AZURE_…) and the \
         network; `imgplan doctor` tries them"
    ))]
    Store {
        /// The verb of what was tried: `read`, `write`.
        action: &'static str,
        /// URL of the state, or of an object of it.
        url: String,
        /// The store's error.
        reason: String,
    },
    /// An object of the state cannot be read.
    #[error("cannot read {url}: {reason}")]
    #[diagnostic(help(
        "if a later imgplan wrote it, use that one; otherwise put an older version of the object \
         back: the store may keep versions, and `history/` has copies"
    ))]
    Damaged {
        /// URL of the object.
        url: String,
        /// The problem.
        reason: String,
    },
    /// Another run holds a shard.
    #[error(
        "the state is locked: shard {shard} is held by {}, until {}",
        lease.holder,
        time(lease.until)
    )]
    #[diagnostic(help(
        "wait for it to end, or let this run wait with `--lock-timeout 10m`; the lease of a run that \
         has died ends by itself, {} after its last renewal",
        crate::base::text::exact_duration(lease.length())
    ))]
    Locked {
        /// The shard.
        shard: ShardId,
        /// The lease of the other run.
        lease: Box<Lease>,
    },
    /// Another run has taken over a shard.
    #[error("{} has taken over shard {shard} of the state, so this run was stopped", by)]
    #[diagnostic(help(
        "this run did not renew its lease in time; builds that it started continue, and the next run \
         records them"
    ))]
    TakenOver {
        /// The shard.
        shard: ShardId,
        /// The other run, as it described itself.
        by: String,
    },
    /// The lease could not be renewed in time.
    #[error("the lease of shard {shard} could not be renewed, so this run was stopped: {reason}")]
    #[diagnostic(help(
        "builds that it started continue; the next run records them. Check the network and the store"
    ))]
    Expired {
        /// The shard.
        shard: ShardId,
        /// The last error of the store.
        reason: String,
    },
    /// The run has given its leases back.
    #[error("the run has given the shared state back")]
    Closed,
    /// The store does not enforce conditional writes.
    #[error("{url} cannot hold a state: {reason}")]
    #[diagnostic(help(
        "runs would overwrite each other's state there. Use a store with conditional writes: \
         Amazon S3, Google Cloud Storage, Azure Blob Storage, or a folder"
    ))]
    Unreliable {
        /// URL of the state.
        url: String,
        /// The fault, as it follows the URL.
        reason: String,
    },
}

impl SharedError {
    /// Returns the error of reading an object.
    pub(super) fn reading(url: &StateUrl, name: &str, error: &ObjectError) -> Self {
        Self::store("read", url, name, error)
    }

    /// Returns the error of writing an object.
    pub(super) fn writing(url: &StateUrl, name: &str, error: &ObjectError) -> Self {
        Self::store("write", url, name, error)
    }

    /// Returns the error of a shard whose task has ended by itself.
    pub(super) fn ended(shard: ShardId) -> Self {
        Self::Expired { shard, reason: "its task has ended, which is a bug".to_owned() }
    }

    fn store(action: &'static str, url: &StateUrl, name: &str, error: &ObjectError) -> Self {
        let url = if name.is_empty() { url.to_string() } else { format!("{url}/{name}") };
        Self::Store { action, url, reason: error.to_string() }
    }
}

impl From<SharedError> for StateError {
    fn from(error: SharedError) -> Self {
        Self::Replica {
            message: error.to_string(),
            help: error.help().map(|help| help.to_string()).unwrap_or_default(),
            is_locked: matches!(error, SharedError::Locked { .. }),
        }
    }
}
