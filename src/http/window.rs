//! A strict sliding window over requests, as the server counts them, with pauses after a 429. Pure:
//! the time is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::MAX_RETRY_AFTER;

/// Pause after the first 429 without `Retry-After`; it doubles with each further one (API contract,
/// section 3).
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Slots in use, the current pause, and the number of 429s in a row. The capacity, and the effect
/// of a 429 on it, is up to the owner of the window.
///
/// The server counts a request at some time between its departure and its response. Therefore a
/// slot becomes free one window length after the response, not after the request. Whatever the
/// network delays, no window of the server then holds more requests than the capacity.
#[derive(Debug)]
pub(crate) struct SlidingWindow {
    length: Duration,
    in_flight: u32,
    responses: VecDeque<Instant>,
    paused_until: Option<Instant>,
    consecutive_refusals: u32,
    last_refusal: Option<Instant>,
}

/// Answer to the question whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes; this number of slots is taken.
    Granted(u32),
    /// Ask again at this time, or when a response has arrived.
    At(Instant),
    /// Ask again when a response has arrived.
    AfterResponse,
}

impl SlidingWindow {
    /// Creates an empty window of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            in_flight: 0,
            responses: VecDeque::new(),
            paused_until: None,
            consecutive_refusals: 0,
            last_refusal: None,
        }
    }

    /// Moves the window to `now`. Returns the end of the current pause, if there is one.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Instant> {
        while self.responses.front().is_some_and(|at| *at + self.length <= now) {
            self.responses.pop_front();
        }
        self.paused_until.filter(|until| *until > now)
    }

    /// Returns the number of slots in use.
    pub(crate) fn used(&self) -> u32 {
        self.in_flight.saturating_add(u32::try_from(self.responses.len()).unwrap_or(u32::MAX))
    }

    /// Takes slots without checking the capacity.
    pub(crate) fn take(&mut self, slots: u32) -> Admission {
        self.in_flight += slots;
        Admission::Granted(slots)
    }

    /// Returns the time at which `slots` (at least one) more than now become free, or `None` if
    /// that depends on responses that have not arrived yet.
    pub(crate) fn frees_at(&self, slots: u32) -> Option<Instant> {
        let last = usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(1);
        self.responses.get(last).map(|at| *at + self.length)
    }

    /// Records that an admitted request got its response, or that there will be none.
    pub(crate) fn complete(&mut self, slots: u32, now: Instant) {
        let slots = slots.min(self.in_flight);
        self.in_flight -= slots;
        self.responses.extend((0..slots).map(|_| now));
    }

    /// Frees slots at once because no request was sent for them.
    pub(crate) fn give_back(&mut self, slots: u32) {
        self.in_flight -= slots.min(self.in_flight);
    }

    /// Records that the server accepted a request that was admitted at `admitted`. Requests that
    /// were sent before the last 429 do not count.
    pub(crate) fn record_success(&mut self, admitted: Instant) {
        if self.last_refusal.is_none_or(|refusal| admitted >= refusal) {
            self.consecutive_refusals = 0;
        }
    }

    /// Records a 429 for a request that was admitted at `admitted`. Returns the number of 429s in a
    /// row, from 1, or `None` if the request was sent before the last 429: requests that met the
    /// same full window count as one.
    pub(crate) fn record_refusal(&mut self, admitted: Instant, now: Instant) -> Option<u32> {
        if self.last_refusal.is_some_and(|refusal| admitted < refusal) {
            return None;
        }
        self.last_refusal = Some(now);
        self.consecutive_refusals += 1;
        Some(self.consecutive_refusals)
    }

    /// Resets the number of 429s in a row.
    pub(crate) fn reset_refusals(&mut self) {
        self.consecutive_refusals = 0;
    }

    /// Pauses for this time, at most [`MAX_RETRY_AFTER`]. Never shortens a pause.
    pub(crate) fn pause(&mut self, length: Duration, now: Instant) {
        self.paused_until = self.paused_until.max(Some(now + length.min(MAX_RETRY_AFTER)));
    }

    /// Returns the remaining time of the current pause.
    pub(crate) fn pause_left(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

/// Returns the pause after this number of 429s in a row, from 1, without `Retry-After`: 2 s,
/// doubled with each.
pub(crate) fn pause_after(consecutive_refusals: u32) -> Duration {
    FIRST_PAUSE * (1 << consecutive_refusals.saturating_sub(1).min(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_frees_a_window_after_its_response() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = SlidingWindow::new(SEC * 10);
        assert_eq!(window.take(3), Admission::Granted(3));
        assert_eq!((window.used(), window.frees_at(1)), (3, None), "no response yet");
        window.complete(1, at(3));
        window.complete(9, at(5));
        assert_eq!(window.used(), 3, "only requests in flight can complete");
        let frees = [1, 2, 3, 4].map(|slots| window.frees_at(slots));
        assert_eq!(frees, [Some(at(13)), Some(at(15)), Some(at(15)), None]);
        for (now, used) in [(12, 3), (13, 2), (14, 2), (15, 0)] {
            assert_eq!((window.advance(at(now)), window.used()), (None, used), "{now}");
        }
        window.take(2);
        window.give_back(1);
        assert_eq!(window.used(), 1, "an unused slot is free at once");
        window.give_back(5);
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn requests_in_flight_at_a_429_count_as_one_refusal() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = SlidingWindow::new(SEC);
        let refusals = [window.record_refusal(at(0), at(1)), window.record_refusal(at(0), at(1))];
        assert_eq!(refusals, [Some(1), None]);
        assert_eq!(window.record_refusal(at(1), at(2)), Some(2));
        window.record_success(at(1));
        assert_eq!(window.record_refusal(at(2), at(3)), Some(3), "sent before the refusal");
        window.record_success(at(3));
        assert_eq!(window.record_refusal(at(4), at(5)), Some(1));
        window.reset_refusals();
        assert_eq!(window.record_refusal(at(6), at(7)), Some(1));
    }

    #[test]
    fn pauses_double_and_the_longest_stays() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let pauses = [0, 1, 2, 3, 9, u32::MAX].map(|refusals| pause_after(refusals).as_secs());
        assert_eq!(pauses, [2, 2, 4, 8, 512, 512]);
        let mut window = SlidingWindow::new(SEC);
        assert_eq!(window.pause_left(at(0)), Duration::ZERO);
        window.pause(SEC * 9, at(0));
        window.pause(SEC * 2, at(1));
        assert_eq!((window.advance(at(2)), window.pause_left(at(2))), (Some(at(9)), SEC * 7));
        assert_eq!((window.advance(at(9)), window.pause_left(at(9))), (None, Duration::ZERO));
        window.pause(SEC * 86_400, at(10));
        assert_eq!(window.pause_left(at(10)), MAX_RETRY_AFTER);
    }
}
