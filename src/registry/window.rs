//! The rate limit of one registry host. Pure: the caller provides the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::limit::Limit;
use crate::http::backoff::MAX_RETRY_AFTER;
use crate::http::window::{Admission, SlidingWindow, pause_after};

/// Maximum number of consecutive 429 responses; after that, lookups fail.
const MAX_CONSECUTIVE_429: u32 = 5;

/// A strict sliding window over the requests to one host.
///
/// Unlike the windows of the service's endpoint classes, it does not adapt its size: a host whose pull
/// limit is exhausted answers 429 for hours. After a few pauses, lookups fail instead.
#[derive(Debug)]
pub(super) struct HostWindow {
    max_requests: u32,
    window: SlidingWindow,
}

/// The consequence of a 429 response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateLimited {
    /// No request is sent for this time. True if the pause is new, and not the consequence of requests
    /// that were sent together.
    Pause(Duration, bool),
    /// Lookups fail: the host asks for this wait, which is too long, or answered 429 too often.
    GiveUp(Option<Duration>),
}

impl HostWindow {
    pub(super) fn new(limit: Limit) -> Self {
        // A limit of 0 would block for ever.
        Self { max_requests: limit.count.max(1), window: SlidingWindow::new(limit.window) }
    }

    /// Takes a slot if one is free; otherwise returns when to try again.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.window.advance(now) {
            return Admission::At(until);
        }
        if self.window.used() < self.max_requests {
            return self.window.take(1);
        }
        self.window.frees_at(1).map_or(Admission::AfterResponse, Admission::At)
    }

    /// Records that an admitted request ended, with or without a response.
    pub(super) fn record_end(&mut self, now: Instant) {
        self.window.complete(1, now);
    }

    /// Records a response other than 429 to a request that was admitted at `admitted`.
    pub(super) fn record_success(&mut self, admitted: Instant) {
        self.window.record_success(admitted);
    }

    /// Records a 429 response to a request that was admitted at `admitted`.
    pub(super) fn record_429(
        &mut self,
        admitted: Instant,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> RateLimited {
        // A wait of 0 is no information.
        let retry_after = retry_after.filter(|wait| !wait.is_zero());
        if retry_after.is_some_and(|wait| wait > MAX_RETRY_AFTER) {
            return RateLimited::GiveUp(retry_after);
        }
        let refusals = self.window.record_refusal(admitted, now);
        if refusals.is_some_and(|refusals| refusals > MAX_CONSECUTIVE_429) {
            self.window.reset_refusals();
            return RateLimited::GiveUp(None);
        }
        if let Some(pause) = retry_after.or(refusals.map(pause_after)) {
            self.window.pause(pause, now);
        }
        RateLimited::Pause(self.window.pause_left(now), refusals.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn window(count: u32, secs: u64) -> HostWindow {
        HostWindow::new(Limit { count, window: Duration::from_secs(secs) })
    }

    #[test]
    fn a_slot_is_free_again_one_window_after_its_response() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = window(2, 10);
        assert_eq!([window.admit(at(0)), window.admit(at(0))], [Admission::Granted(1); 2]);
        assert_eq!(window.admit(at(0)), Admission::AfterResponse);
        window.record_end(at(3));
        assert_eq!(window.admit(at(10)), Admission::At(at(13)));
        assert_eq!(window.admit(at(13)), Admission::Granted(1));
    }

    #[test]
    fn each_429_pauses_the_host_for_longer() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = window(10, 10);
        assert_eq!(window.record_429(at(0), None, at(1)), RateLimited::Pause(SEC * 2, true));
        assert_eq!(
            window.record_429(at(0), None, at(1)),
            RateLimited::Pause(SEC * 2, false),
            "sent together"
        );
        assert_eq!(
            window.record_429(at(0), Some(SEC * 9), at(1)),
            RateLimited::Pause(SEC * 9, false)
        );
        assert_eq!(window.admit(at(2)), Admission::At(at(10)));
        assert_eq!(window.admit(at(10)), Admission::Granted(1));
        let pauses = [20, 30, 50, 90].map(|secs| window.record_429(at(secs), None, at(secs)));
        assert_eq!(pauses, [4, 8, 16, 32].map(|secs| RateLimited::Pause(SEC * secs, true)));
        assert_eq!(window.record_429(at(200), None, at(200)), RateLimited::GiveUp(None));
        // A success resets the pauses if its request was sent after the last 429.
        window.record_429(at(300), None, at(301));
        window.record_success(at(300));
        assert_eq!(window.record_429(at(310), None, at(310)), RateLimited::Pause(SEC * 4, true));
        window.record_success(at(320));
        assert_eq!(
            window.record_429(at(330), Some(Duration::ZERO), at(330)),
            RateLimited::Pause(SEC * 2, true)
        );
        let day = SEC * 86_400;
        assert_eq!(window.record_429(at(400), Some(day), at(400)), RateLimited::GiveUp(Some(day)));
    }
}
