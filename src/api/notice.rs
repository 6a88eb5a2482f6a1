//! What the client tells while it waits, so that nobody takes a wait for a standstill. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::base::limit::{Class, Limit};

/// Something that takes time and is no failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A request has failed and will be sent again after `wait`; where its answer was lost and it
    /// asked for something new, it is looked up first. Told before the wait.
    Retry {
        /// What is tried: `start the build`.
        action: &'static str,
        /// The budget of the request; none for an upload, which has none.
        class: Option<Class>,
        /// Which try has failed, from 1.
        attempt: u32,
        /// The answer's status, where there was one.
        status: Option<u16>,
        /// What went wrong, without secrets.
        why: String,
        /// How long until the next.
        wait: Duration,
    },
    /// Requests of this class wait for their budget. Told by the first of those that wait, when it
    /// will wait for a second or more, and about once in a window.
    RateWait {
        /// Which requests.
        class: Class,
        /// Their limit as it is now: lower than the one that was set while the service refuses.
        limit: Limit,
        /// How long the first of them waits.
        wait: Duration,
    },
}

/// Hears notices; called in the midst of requests, so it should be quick.
pub type Observer = Arc<dyn Fn(Notice) + Send + Sync>;
