//! Progress and delays of requests. Clients report them so that a wait does not look like a hang.
//! Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::limit::{Class, Limit};

/// Progress or delay of a client's requests; never a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A request failed with a transient error and is sent again after `wait`. Reported before the
    /// wait. A request that must not be repeated blindly is looked up first.
    Retry {
        /// Host of the registry, such as `ghcr.io`; `None` for a request to the service.
        registry: Option<String>,
        /// Purpose of the request, such as `start the build`.
        action: &'static str,
        /// Rate limit class of a request to the service; uploads have none.
        class: Option<Class>,
        /// Number of the failed attempt, from 1.
        attempt: u32,
        /// HTTP status of the response, if there was one.
        status: Option<u16>,
        /// Cause on one line, without secrets.
        why: String,
        /// Time until the next attempt.
        wait: Duration,
    },
    /// Requests of a class wait for its rate limit. Reported for waits of a second or more, about
    /// once per window, and not by every waiting request.
    RateWait {
        /// Class of the requests.
        class: Class,
        /// Current limit: lower than the configured one while the service answers 429.
        limit: Limit,
        /// Time until the first waiting request may be sent.
        wait: Duration,
    },
    /// A rate limit admitted requests, which are sent now.
    Admitted {
        /// Class of the requests.
        class: Class,
        /// Number of requests, or of images for a request of transfers.
        count: u32,
        /// Time at which they were admitted.
        at: Instant,
    },
    /// A registry answered 429: no request to it is sent for `wait`.
    RegistryPaused {
        /// Host of the registry, such as `ghcr.io`.
        registry: String,
        /// Time until the next request.
        wait: Duration,
    },
    /// A lookup of a reference ended, with or without an error.
    LookupDone {
        /// Registry of the reference, such as `ghcr.io`.
        registry: String,
        /// Number of lookups that have ended.
        done: usize,
        /// Number of lookups in all; each reference counts once.
        total: usize,
    },
}

/// Receives notices. Called between requests, so it must return quickly.
pub(crate) type Observer = Arc<dyn Fn(Notice) + Send + Sync>;

/// An [`Observer`] borrowed for one call.
pub(crate) type ObserverRef<'a> = &'a (dyn Fn(Notice) + Sync);
