//! Limits requests to one host by concurrency and rate, and stops requests to a host that fails: all
//! waiting requests then fail at once with the same error.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::{RegistryErrorKind, RegistryFailure};
use super::window::{HostWindow, RateLimited};
use crate::base::limit::Limit;
use crate::http::window::Admission;

/// Time for which requests to a failed host fail at once. Long enough to reach all waiting requests,
/// short enough that a later lookup tries again.
const MIN_CLOSED_TIME: Duration = Duration::from_secs(30);

/// Maximum time for which a host is closed, if it asks for a longer wait.
const MAX_CLOSED_TIME: Duration = Duration::from_secs(600);

/// Number of consecutive requests that fail after all their attempts, at which a host is closed.
const MAX_CONSECUTIVE_FAILURES: u32 = 3;

/// The throttles of all hosts.
pub(super) struct HostThrottles {
    limit: Limit,
    concurrency: usize,
    hosts: Mutex<HashMap<String, Arc<HostThrottle>>>,
}

impl HostThrottles {
    /// Creates throttles with this rate limit and this number of concurrent requests per host.
    pub(super) fn new(limit: Limit, concurrency: usize) -> Self {
        Self { limit, concurrency, hosts: Mutex::default() }
    }

    /// Returns the throttle of an origin such as `https://ghcr.io`.
    pub(super) fn get(&self, origin: String) -> Arc<HostThrottle> {
        let mut hosts = lock(&self.hosts);
        let host = hosts.entry(origin).or_insert_with_key(|origin| {
            let name = origin.split_once("://").map_or(origin.as_str(), |(_, name)| name);
            Arc::new(HostThrottle {
                name: name.to_owned(),
                slots: Semaphore::new(self.concurrency.max(1)),
                state: Mutex::new(ThrottleState {
                    window: HostWindow::new(self.limit),
                    consecutive_failures: 0,
                    closed: None,
                }),
                changed: Notify::new(),
            })
        });
        Arc::clone(host)
    }
}

/// The throttle of one host.
pub(super) struct HostThrottle {
    /// Host and port: `ghcr.io`, `localhost:5000`.
    pub(super) name: String,
    slots: Semaphore,
    state: Mutex<ThrottleState>,
    changed: Notify,
}

struct ThrottleState {
    window: HostWindow,
    consecutive_failures: u32,
    /// If the host is closed: the end of that time, and the failure of its requests.
    closed: Option<(Instant, RegistryFailure)>,
}

/// Permission to send one request. Dropping it records the end of the request.
pub(super) struct SendPermit<'a> {
    host: &'a HostThrottle,
    admitted: Instant,
}

impl HostThrottle {
    /// Waits for a slot. A request keeps its slot over all its attempts: if it released the slot during
    /// a backoff, other requests would run into the same transient error meanwhile.
    pub(super) async fn acquire_slot(&self) -> Result<SemaphorePermit<'_>, RegistryFailure> {
        let slot = self.slots.acquire().await;
        slot.map_err(|_| RegistryFailure::unexpected("the registry client was shut down"))
    }

    /// Waits until a request may be sent.
    ///
    /// # Errors
    ///
    /// Fails if the host is closed, or becomes closed during the wait.
    pub(super) async fn acquire(&self) -> Result<SendPermit<'_>, RegistryFailure> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let admit = {
                let mut state = self.state();
                if let Some((_, failure)) = state.closed.as_ref().filter(|(end, _)| *end > now) {
                    return Err(failure.clone());
                }
                state.window.admit(now)
            };
            match admit {
                Admission::Granted(_) => return Ok(SendPermit { host: self, admitted: now }),
                Admission::At(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                Admission::AfterResponse => changed.await,
            }
        }
    }

    /// Records that a request failed after all its attempts. Closes the host if there is no connection
    /// to it, or if too many requests in a row failed.
    pub(super) fn record_failure(&self, failure: &RegistryFailure, no_connection: bool) {
        let mut state = self.state();
        state.consecutive_failures += 1;
        if no_connection || state.consecutive_failures >= MAX_CONSECUTIVE_FAILURES {
            state.close(MIN_CLOSED_TIME, failure);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        lock(&self.state)
    }
}

impl ThrottleState {
    fn close(&mut self, time: Duration, failure: &RegistryFailure) {
        self.consecutive_failures = 0;
        self.closed = Some((Instant::now() + time, failure.clone()));
    }
}

impl SendPermit<'_> {
    /// Records a response that is no transient error.
    pub(super) fn record_success(&self) {
        let mut state = self.host.state();
        state.consecutive_failures = 0;
        state.window.record_success(self.admitted);
    }

    /// Records a 429 response, which pauses all requests to the host. Returns the length of the pause if
    /// it is new, so that it is reported once.
    ///
    /// # Errors
    ///
    /// Fails, and closes the host, if the wait would be too long or the host keeps answering 429.
    /// `response` describes the response for the message.
    pub(super) fn record_429(
        &self,
        retry_after: Option<Duration>,
        response: &str,
    ) -> Result<Option<Duration>, RegistryFailure> {
        let mut state = self.host.state();
        match state.window.record_429(self.admitted, retry_after, Instant::now()) {
            RateLimited::Pause(pause, is_new) => Ok(is_new.then_some(pause)),
            RateLimited::GiveUp(wait) => {
                let host = &self.host.name;
                let message = match wait {
                    Some(wait) => format!(
                        "{host} has had too many requests and asks to wait {} s: {response}",
                        wait.as_secs()
                    ),
                    None => {
                        format!("{host} still rejects requests after several waits: {response}")
                    }
                };
                let help = format!(
                    "try again later, or log in with `docker login {host}`: registries allow more \
                     requests to known users"
                );
                let failure = RegistryFailure::new(RegistryErrorKind::RateLimited, message, help);
                let time = wait.unwrap_or(MIN_CLOSED_TIME);
                state.close(time.clamp(MIN_CLOSED_TIME, MAX_CLOSED_TIME), &failure);
                Err(failure)
            }
        }
    }
}

impl Drop for SendPermit<'_> {
    fn drop(&mut self) {
        self.host.state().window.record_end(Instant::now());
        self.host.changed.notify_waiters();
    }
}

/// Locks a mutex even if it is poisoned: every change under these locks is a single step, so a panic
/// elsewhere leaves consistent data.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
