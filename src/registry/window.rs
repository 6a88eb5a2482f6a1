//! Says when the next request to a host may leave, and when it is of no use to ask. Pure: the time
//! is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::limit::Limit;
use crate::http::backoff::MAX_RETRY_AFTER;
use crate::http::window::{Admission, SlidingWindow, pause_after};

/// So many 429s in a row, and the host is asked no more.
const MOST_STRIKES: u32 = 5;

/// A strict sliding window over the requests to one host.
///
/// Unlike one over a class of the service's requests, it does not learn to let through less: a host
/// whose pull limit is used up refuses for hours. It pauses a few times, and then is asked no more.
#[derive(Debug)]
pub(super) struct HostWindow {
    most: u32,
    window: SlidingWindow,
}

/// What a 429 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing leaves for so long. Whether that is new, and not for one that left with the last.
    Pause(Duration, bool),
    /// It asks for so long a wait, or has asked so often, that it is asked no more.
    Enough(Option<Duration>),
}

impl HostWindow {
    pub(super) fn new(limit: Limit) -> Self {
        // One of nothing would let nobody through, ever.
        Self { most: limit.count.max(1), window: SlidingWindow::new(limit.window) }
    }

    /// Takes a slot if one is free.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.window.advance(now) {
            return Admission::At(until);
        }
        if self.window.used() < self.most {
            return self.window.take(1);
        }
        self.window.frees_at(1).map_or(Admission::AfterResponse, Admission::At)
    }

    /// Says that the answer to an admitted request has come, or that there will be none.
    pub(super) fn answered(&mut self, now: Instant) {
        self.window.complete(1, now);
    }

    /// Takes in that a request which was admitted at `admitted` was let through.
    pub(super) fn accepted(&mut self, admitted: Instant) {
        self.window.record_success(admitted);
    }

    /// Takes in a 429 to a request that was admitted at `admitted`.
    pub(super) fn refused(
        &mut self,
        admitted: Instant,
        asked: Option<Duration>,
        now: Instant,
    ) -> Refused {
        // That it asks for no wait at all says nothing.
        let asked = asked.filter(|asked| !asked.is_zero());
        if asked.is_some_and(|asked| asked > MAX_RETRY_AFTER) {
            return Refused::Enough(asked);
        }
        let strikes = self.window.record_refusal(admitted, now);
        if strikes.is_some_and(|strikes| strikes > MOST_STRIKES) {
            self.window.reset_refusals();
            return Refused::Enough(None);
        }
        if let Some(pause) = asked.or(strikes.map(pause_after)) {
            self.window.pause(pause, now);
        }
        Refused::Pause(self.window.pause_left(now), strikes.is_some())
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
    fn a_slot_frees_a_window_after_its_answer() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = window(2, 10);
        assert_eq!([window.admit(at(0)), window.admit(at(0))], [Admission::Granted(1); 2]);
        assert_eq!(window.admit(at(0)), Admission::AfterResponse);
        window.answered(at(3));
        assert_eq!(window.admit(at(10)), Admission::At(at(13)));
        assert_eq!(window.admit(at(13)), Admission::Granted(1));
    }

    #[test]
    fn a_refusal_pauses_all_and_longer_each_time() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = window(10, 10);
        assert_eq!(window.refused(at(0), None, at(1)), Refused::Pause(SEC * 2, true));
        assert_eq!(
            window.refused(at(0), None, at(1)),
            Refused::Pause(SEC * 2, false),
            "left together"
        );
        assert_eq!(window.refused(at(0), Some(SEC * 9), at(1)), Refused::Pause(SEC * 9, false));
        assert_eq!(window.admit(at(2)), Admission::At(at(10)));
        assert_eq!(window.admit(at(10)), Admission::Granted(1));
        let pauses = [20, 30, 50, 90].map(|secs| window.refused(at(secs), None, at(secs)));
        assert_eq!(pauses, [4, 8, 16, 32].map(|secs| Refused::Pause(SEC * secs, true)));
        assert_eq!(window.refused(at(200), None, at(200)), Refused::Enough(None));
        // One that was let through begins anew, if it left after the last refusal.
        window.refused(at(300), None, at(301));
        window.accepted(at(300));
        assert_eq!(window.refused(at(310), None, at(310)), Refused::Pause(SEC * 4, true));
        window.accepted(at(320));
        assert_eq!(
            window.refused(at(330), Some(Duration::ZERO), at(330)),
            Refused::Pause(SEC * 2, true)
        );
        let day = SEC * 86_400;
        assert_eq!(window.refused(at(400), Some(day), at(400)), Refused::Enough(Some(day)));
    }
}
