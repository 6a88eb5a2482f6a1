//! The one door through which every request leaves: it waits until its class has a free slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::window::ClassWindow;
use crate::base::limit::{self, Class, Limit};
use crate::base::name::Owner;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::window::Admission;

/// A wait shorter than this is not told of.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The budgets of all classes, shared by everything that talks to the service.
#[derive(Debug)]
pub struct RateLimiter {
    lanes: HashMap<Class, Arc<Lane>>,
    /// Transfers are counted by account; the limit of all accounts where one was given.
    transfers: Mutex<HashMap<Owner, Arc<Lane>>>,
    transfer_limit: Option<Limit>,
}

/// One window and those who wait for it, first come, first served.
#[derive(Debug)]
struct Lane {
    class: Class,
    /// Held by the first of those who wait, who alone sleeps and tells. One who leaves the queue
    /// drops it, and the next is the first.
    turn: tokio::sync::Mutex<()>,
    window: Mutex<ClassWindow>,
    answered: Notify,
    /// The last wait that was told of, and when.
    told: Mutex<Option<(Instant, Duration)>>,
}

/// The right to send one request (or transfer some images); its slots are given back when dropped,
/// one window later.
#[derive(Debug)]
#[must_use = "a dropped permit counts as answered"]
pub struct Permit {
    lane: Arc<Lane>,
    slots: u32,
    admitted: Instant,
}

impl RateLimiter {
    /// Budgets with the given limits, and the defaults for all other classes.
    pub fn new(limits: &[(Class, Limit)]) -> Self {
        let given =
            |class| limits.iter().rev().find(|(of, _)| *of == class).map(|(_, limit)| *limit);
        let lanes = Class::ALL
            .into_iter()
            .map(|class| {
                let limit = given(class).unwrap_or_else(|| class.default_limit());
                (class, Arc::new(Lane::new(class, limit)))
            })
            .collect();
        Self { lanes, transfers: Mutex::default(), transfer_limit: given(Class::Images) }
    }

    /// Waits for a slot of a class.
    pub async fn request(&self, class: Class) -> Permit {
        self.request_told(class, &|_| {}).await
    }

    pub(super) async fn request_told(&self, class: Class, tell: ObserverRef<'_>) -> Permit {
        Lane::take(Arc::clone(&self.lanes[&class]), 1, tell).await
    }

    /// How many images an owner may transfer in how long.
    pub fn transfer_limit(&self, owner: &Owner) -> Option<Limit> {
        limit::transfer_limit(owner, self.transfer_limit)
    }

    /// Waits until `owner` may transfer images, and takes as many of `most` as fit, at least one.
    /// Without a limit that is all of them, and no permit.
    ///
    /// Slots that free one by one are gathered for a moment: until half of the window or all that
    /// was asked for is free, but no slot stays idle for more than a twentieth of the window.
    pub async fn transfer_up_to(&self, owner: &Owner, most: u32) -> (u32, Option<Permit>) {
        self.transfer_up_to_told(owner, most, &|_| {}).await
    }

    pub(super) async fn transfer_up_to_told(
        &self,
        owner: &Owner,
        most: u32,
        tell: ObserverRef<'_>,
    ) -> (u32, Option<Permit>) {
        let Some(limit) = self.transfer_limit(owner) else { return (most, None) };
        let lane = {
            let mut lanes = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(owner.clone());
            Arc::clone(lane.or_insert_with(|| Arc::new(Lane::new(Class::Images, limit))))
        };
        let permit = Lane::take_up_to(lane, most, tell).await;
        (permit.slots, Some(permit))
    }
}

impl Lane {
    fn new(class: Class, limit: Limit) -> Self {
        Self {
            class,
            turn: tokio::sync::Mutex::new(()),
            window: Mutex::new(ClassWindow::new(limit)),
            answered: Notify::new(),
            told: Mutex::new(None),
        }
    }

    async fn take(lane: Arc<Self>, slots: u32, tell: ObserverRef<'_>) -> Permit {
        Self::first(lane, tell, |window, now| window.admit(slots, now)).await
    }

    async fn take_up_to(lane: Arc<Self>, most: u32, tell: ObserverRef<'_>) -> Permit {
        let mut since = None;
        Self::first(lane, tell, move |window, now| window.admit_up_to(most, &mut since, now)).await
    }

    /// Waits to be the first, and then until the window admits. Nothing is awaited once it did, so
    /// no slot is lost with whoever leaves.
    async fn first(
        lane: Arc<Self>,
        tell: ObserverRef<'_>,
        mut admit: impl FnMut(&mut ClassWindow, Instant) -> Admission,
    ) -> Permit {
        let (slots, admitted) = {
            let _turn = lane.turn.lock().await;
            loop {
                // Made before the window is read, so that no answer slips between.
                let answered = lane.answered.notified();
                let now = Instant::now();
                let admitted = admit(&mut lane.window(), now);
                match admitted {
                    Admission::Granted(slots) => break (slots, now),
                    Admission::At(at) => {
                        lane.tell_wait(at, now, tell);
                        // What was not sent frees its slots at once, so every answer counts.
                        let _ = timeout_at(at, answered).await;
                    }
                    Admission::AfterResponse => answered.await,
                }
            }
        };
        Permit { lane, slots, admitted }
    }

    /// Tells of a wait, once in a window: slots that free one by one are one wait. One that is twice
    /// as long as what was told is another, as when a pause ends before a full window.
    fn tell_wait(&self, until: Instant, now: Instant, tell: ObserverRef<'_>) {
        let wait = until.saturating_duration_since(now);
        if wait < WORTH_TELLING {
            return;
        }
        let limit = self.window().limit();
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let again = |(at, of): (Instant, Duration)| at + limit.window <= now || of * 2 <= wait;
            if !told.is_none_or(again) {
                return;
            }
            *told = Some((now, wait));
        }
        tell(Notice::RateWait { class: self.class, limit, wait });
    }

    fn window(&self) -> MutexGuard<'_, ClassWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// How many requests or images it is for.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Gives back, at once, what is more than so many: nothing will be sent for it.
    pub fn keep(&mut self, slots: u32) {
        let spare = self.slots.saturating_sub(slots);
        self.slots -= spare;
        self.lane.window().unused(spare);
        self.lane.answered.notify_one();
    }

    /// Takes in that the service let it through.
    pub fn accepted(&self) {
        self.lane.window().accepted(self.admitted);
    }

    /// Takes in that the service refused it for the rate: all of the class waits, as long as the
    /// service asks, or longer with each further refusal. Says for how long from now.
    pub fn refused(&self, retry_after: Option<Duration>) -> Duration {
        self.lane.window().refused(self.admitted, retry_after, Instant::now())
    }

    /// Waits for as many slots anew: those it has are used up by a request that was refused.
    pub(super) async fn renew(&mut self, tell: ObserverRef<'_>) {
        let slots = self.slots;
        self.release();
        *self = Lane::take(Arc::clone(&self.lane), slots, tell).await;
    }

    fn release(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.lane.window().answered(slots, Instant::now());
        self.lane.answered.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
