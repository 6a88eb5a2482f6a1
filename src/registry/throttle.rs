//! Lets requests to one host through, a few at a time and within its budget, and closes it for a
//! while where it is of no use to ask: all who wait learn that at once.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::{RegistryErrorKind, RegistryFailure};
use super::window::{HostWindow, Refused};
use crate::base::limit::Limit;
use crate::http::window::Admission;

/// How long a host is not asked after it could not be reached. Long enough for all who wait to hear
/// of it; short enough that a later question is a new one.
const CLOSED: Duration = Duration::from_secs(30);

/// So many that gave up in a row, and none that came through between them, close a host.
const MOST_GIVEN_UP: u32 = 3;

/// All hosts that were asked, each for itself.
pub(super) struct HostThrottles {
    budget: Limit,
    seats: usize,
    known: Mutex<HashMap<String, Arc<HostThrottle>>>,
}

impl HostThrottles {
    pub(super) fn new(budget: Limit, seats: usize) -> Self {
        Self { budget, seats, known: Mutex::default() }
    }

    /// The host with this origin: `https://ghcr.io`.
    pub(super) fn get(&self, origin: String) -> Arc<HostThrottle> {
        let mut known = lock(&self.known);
        let host = known.entry(origin).or_insert_with_key(|origin| {
            let name = origin.split_once("://").map_or(origin.as_str(), |(_, name)| name);
            Arc::new(HostThrottle {
                name: name.to_owned(),
                seats: Semaphore::new(self.seats.max(1)),
                state: Mutex::new(State {
                    window: HostWindow::new(self.budget),
                    given_up: 0,
                    closed: None,
                }),
                changed: Notify::new(),
            })
        });
        Arc::clone(host)
    }
}

/// One host: `ghcr.io`, `localhost:5000`.
pub(super) struct HostThrottle {
    pub(super) name: String,
    seats: Semaphore,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    window: HostWindow,
    /// Requests in a row that were given up.
    given_up: u32,
    /// Until when, and why.
    closed: Option<(Instant, RegistryFailure)>,
}

/// The right to send one request, until dropped.
pub(super) struct SendPermit<'a> {
    host: &'a HostThrottle,
    admitted: Instant,
}

impl HostThrottle {
    /// Waits for one of the seats, which is held over all tries at a request: were it given back while
    /// one waits for its next try, all others would meet the same trouble for themselves meanwhile.
    pub(super) async fn seat(&self) -> Result<SemaphorePermit<'_>, RegistryFailure> {
        self.seats.acquire().await.map_err(|_| RegistryFailure::odd("nobody is asked any more"))
    }

    /// Waits until a request may leave. Fails at once where, or when, the host is closed.
    pub(super) async fn turn(&self) -> Result<SendPermit<'_>, RegistryFailure> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let admit = {
                let mut state = self.state();
                if let Some((_, why)) = state.closed.as_ref().filter(|(until, _)| *until > now) {
                    return Err(why.clone());
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

    /// Takes in that a request was given up. Where that is because there is no way to the host, or
    /// it is not the first one, all others are given up too.
    pub(super) fn gave_up(&self, why: &RegistryFailure, no_way: bool) {
        let mut state = self.state();
        state.given_up += 1;
        if no_way || state.given_up >= MOST_GIVEN_UP {
            state.close(CLOSED, why);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn close(&mut self, length: Duration, why: &RegistryFailure) {
        self.given_up = 0;
        self.closed = Some((Instant::now() + length, why.clone()));
    }
}

impl SendPermit<'_> {
    /// Takes in that an answer came, and not that the host is in trouble.
    pub(super) fn accepted(&self) {
        let mut state = self.host.state();
        state.given_up = 0;
        state.window.accepted(self.admitted);
    }

    /// Takes in a 429: all requests to the host wait. `Some` where that is told to the user, since it
    /// is not known yet. Fails where it is of no use to wait.
    pub(super) fn refused(
        &self,
        asked: Option<Duration>,
        said: &str,
    ) -> Result<Option<Duration>, RegistryFailure> {
        let mut state = self.host.state();
        match state.window.refused(self.admitted, asked, Instant::now()) {
            Refused::Pause(pause, new) => Ok(new.then_some(pause)),
            Refused::Enough(asked) => {
                let wait = match asked {
                    Some(asked) => format!("asks to wait {} s", asked.as_secs()),
                    None => "goes on to refuse, however long we wait".to_owned(),
                };
                let message =
                    format!("{} has had too many requests and {wait}: {said}", self.host.name);
                let help = "try again later, or log in to the registry (docker login): it lets those \
                            whom it knows ask more";
                let why = RegistryFailure::new(RegistryErrorKind::RateLimited, message, help);
                state.close(asked.unwrap_or(CLOSED).clamp(CLOSED, 20 * CLOSED), &why);
                Err(why)
            }
        }
    }
}

impl Drop for SendPermit<'_> {
    fn drop(&mut self) {
        self.host.state().window.answered(Instant::now());
        self.host.changed.notify_waiters();
    }
}

/// A panic elsewhere leaves all of these as they should be: each change is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
