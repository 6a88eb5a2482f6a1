//! Rate limits: every request to the service waits here until its class has a free slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error::TransferUsage;
use super::window::ClassWindow;
use crate::base::budget::{Budget, RunLimit};
use crate::base::limit::{Class, Limit};
use crate::base::name::Owner;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::window::Admission;

/// Minimum length of a reported wait.
const MIN_REPORTED_WAIT: Duration = Duration::from_secs(1);

/// The rate limits of all classes. All requests to the service share one.
#[derive(Debug)]
pub struct RateLimiter {
    queues: HashMap<Class, Arc<RateQueue>>,
    /// Transfers are counted per owner.
    transfers: Mutex<HashMap<Owner, Arc<RateQueue>>>,
    budget: Budget,
}

/// One window and the requests that wait for it, first come, first served.
#[derive(Debug)]
struct RateQueue {
    class: Class,
    /// Held by the first waiting request. Only that one sleeps and reports; if it is cancelled, the
    /// next one takes its place.
    first: tokio::sync::Mutex<()>,
    window: Mutex<ClassWindow>,
    /// Wakes the first waiting request when slots may have become free.
    freed: Notify,
    /// Time and length of the last reported wait.
    last_reported: Mutex<Option<(Instant, Duration)>>,
}

/// Permission to send one request, or to transfer some images. When it is dropped, its requests
/// count as completed: their slots become free one window later.
#[derive(Debug)]
#[must_use = "a dropped permit counts as a completed request"]
pub struct Permit {
    queue: Arc<RateQueue>,
    slots: u32,
    admitted: Instant,
}

impl RateLimiter {
    /// Creates a limiter with these limits, and with the default limits of all other classes.
    #[cfg(any(test, feature = "test-support"))]
    pub fn new(limits: &[(Class, Limit)]) -> Self {
        Self::within(Budget::new(limits.to_vec()))
    }

    /// Creates a limiter with the limits of a budget.
    pub fn within(budget: Budget) -> Self {
        let queue = |class| (class, Arc::new(RateQueue::new(class, budget.of(class))));
        let queues = Class::ALL.into_iter().map(queue).collect();
        Self { queues, transfers: Mutex::default(), budget }
    }

    /// Returns the limit on requests of a class.
    pub(super) fn limit(&self, class: Class) -> Limit {
        self.budget.of(class).limit
    }

    /// Waits for a slot of a class.
    pub(super) async fn acquire(&self, class: Class, observer: ObserverRef<'_>) -> Permit {
        RateQueue::take(Arc::clone(&self.queues[&class]), 1, observer).await
    }

    /// Waits until `owner` may transfer images, and takes as many of `max_images` as fit, at least
    /// one. An owner without a limit gets all of them, without a permit.
    ///
    /// Slots that become free one by one are gathered until half of the window, or all of
    /// `max_images`, is free; but no slot stays idle for more than 1/20 of the window. The caller waits
    /// for [`Permit::until_turn`] right before it sends them.
    pub(super) async fn acquire_transfers(
        &self,
        owner: &Owner,
        max_images: u32,
        observer: ObserverRef<'_>,
    ) -> (u32, Option<Permit>) {
        let Some(queue) = self.transfers_of(owner) else { return (max_images, None) };
        let permit = RateQueue::take_up_to(queue, max_images, observer).await;
        (permit.slots, Some(permit))
    }

    /// Returns the permit for images that were sent without one, and that count for the personal
    /// account.
    pub(super) fn sent_without_permit(&self, images: u32) -> Permit {
        let queue = self.queue_of(&Owner::Personal, self.budget.of(Class::Images));
        queue.window().sent(images);
        Permit { queue, slots: images, admitted: Instant::now() }
    }

    fn transfers_of(&self, owner: &Owner) -> Option<Arc<RateQueue>> {
        Some(self.queue_of(owner, self.budget.of_transfers(owner)?))
    }

    fn queue_of(&self, owner: &Owner, limit: RunLimit) -> Arc<RateQueue> {
        let mut queues = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(owner.clone());
        Arc::clone(queue.or_insert_with(|| Arc::new(RateQueue::new(Class::Images, limit))))
    }
}

impl RateQueue {
    fn new(class: Class, limit: RunLimit) -> Self {
        Self {
            class,
            first: tokio::sync::Mutex::new(()),
            window: Mutex::new(ClassWindow::of_run(limit, SystemTime::now(), Instant::now())),
            freed: Notify::new(),
            last_reported: Mutex::new(None),
        }
    }

    async fn take(queue: Arc<Self>, slots: u32, observer: ObserverRef<'_>) -> Permit {
        Self::wait(queue, observer, |window, now| window.admit(slots, now)).await
    }

    async fn take_up_to(queue: Arc<Self>, max_slots: u32, observer: ObserverRef<'_>) -> Permit {
        let mut first_free = None;
        let admit = move |window: &mut ClassWindow, now| {
            window.admit_up_to(max_slots, &mut first_free, now)
        };
        Self::wait(queue, observer, admit).await
    }

    /// Waits to be the first, and then until the window admits the request. Nothing is awaited
    /// after that, so that a cancelled request loses no slot.
    async fn wait(
        queue: Arc<Self>,
        observer: ObserverRef<'_>,
        mut admit: impl FnMut(&mut ClassWindow, Instant) -> Admission,
    ) -> Permit {
        let (slots, admitted) = {
            let _first = queue.first.lock().await;
            loop {
                // Created before the window is read, so that no response is missed in between.
                let freed = queue.freed.notified();
                let now = Instant::now();
                let admission = admit(&mut queue.window(), now);
                match admission {
                    Admission::Granted(slots) => break (slots, now),
                    Admission::At(at) => {
                        queue.report_wait(at, now, observer);
                        // Slots that are given back are free before that time.
                        let _ = timeout_at(at, freed).await;
                    }
                    Admission::AfterResponse => freed.await,
                }
            }
        };
        let at = admitted.into_std();
        observer(Notice::Admitted { class: queue.class, count: slots, at });
        Permit { queue, slots, admitted }
    }

    /// Reports a wait, once per window: slots that become free one by one are one wait. A wait
    /// twice as long as the reported one is reported as well, for example if a pause is followed by
    /// a full window.
    fn report_wait(&self, until: Instant, now: Instant, observer: ObserverRef<'_>) {
        let wait = until.saturating_duration_since(now);
        if wait < MIN_REPORTED_WAIT {
            return;
        }
        let limit = self.window().limit();
        {
            let mut last = self.last_reported.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = last.is_none_or(|(at, reported): (Instant, Duration)| {
                at + limit.window <= now || reported * 2 <= wait
            });
            if !is_new {
                return;
            }
            *last = Some((now, wait));
        }
        observer(Notice::RateWait { class: self.class, limit, wait });
    }

    fn window(&self) -> MutexGuard<'_, ClassWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Reduces the permit to this number of slots. The others are free at once.
    pub fn shrink_to(&mut self, slots: u32) {
        let unused = self.slots.saturating_sub(slots);
        self.slots -= unused;
        self.queue.window().give_back(unused);
        self.queue.freed.notify_one();
    }

    /// Records that the service accepted the request.
    pub fn accepted(&self) {
        self.queue.window().record_success(self.admitted);
    }

    /// Records that the service refused the request with a 429. Returns the length of the pause of
    /// the whole class: `retry_after`, or else longer with each further refusal.
    pub fn refused(&self, retry_after: Option<Duration>) -> Duration {
        self.queue.window().record_refusal(self.admitted, retry_after, Instant::now())
    }

    /// Records that the service accepted only some images of the request. The slots of the others are
    /// free at once. Returns the length of the pause of all transfers of the owner.
    pub(super) fn refused_images(
        &mut self,
        accepted: u32,
        retry_after: Option<Duration>,
        usage: Option<TransferUsage>,
    ) -> Duration {
        let refused = self.slots.saturating_sub(accepted);
        self.shrink_to(accepted);
        let (mut window, now) = (self.queue.window(), Instant::now());
        match usage {
            Some(usage) => {
                let request = (self.admitted, refused);
                window.record_partial_refusal(request, retry_after, usage, now)
            }
            None => window.record_refusal(self.admitted, retry_after, now),
        }
    }

    /// Returns the number of images that the limit allows in one window.
    pub fn limit(&self) -> u32 {
        self.queue.window().maximum()
    }

    /// True if the request may be sent now: always, unless the run has turns.
    pub fn is_in_turn(&self) -> bool {
        self.queue.window().next_turn(Instant::now()).is_none()
    }

    /// Waits for the run's next turn, unless it is its turn now. Only runs whose share is below one request
    /// per window have turns. Call it right before the request is sent: a turn is short, and may be over
    /// once the transfer is recorded.
    pub(super) async fn until_turn(&self, observer: ObserverRef<'_>) {
        loop {
            let now = Instant::now();
            let Some(turn) = self.queue.window().next_turn(now) else { return };
            self.queue.report_wait(turn, now, observer);
            tokio::time::sleep_until(turn).await;
        }
    }

    /// Waits for the same number of new slots. The old ones stay used: their request was refused or
    /// redirected.
    pub(super) async fn renew(&mut self, observer: ObserverRef<'_>) {
        let slots = self.slots;
        self.release();
        *self = RateQueue::take(Arc::clone(&self.queue), slots, observer).await;
    }

    fn release(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.queue.window().complete(slots, Instant::now());
        self.queue.freed.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
