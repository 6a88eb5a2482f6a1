//! The rate limit of one class of requests: admits requests without exceeding any window of the
//! service, and finds a fair share if others use the same limit. Pure: the time is given.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error::TransferUsage;
use crate::base::budget::{RunLimit, Turns};
use crate::base::limit::Limit;
use crate::http::window::{Admission, SlidingWindow, pause_after};

/// Fraction of a window that a free slot may wait for others, so that a bulk request is not cut
/// into single images: 1/20 costs at most 5 % of what the limit allows.
const MAX_IDLE_FRACTION: u32 = 20;

/// Minimum time before a turn in which its transfer may be recorded, if that is at most half of the time
/// between two turns.
const MIN_PREPARATION_TIME: Duration = Duration::from_secs(10);

/// A sliding window that adapts to other users of the same limit.
///
/// A 429 shows that somebody else uses the limit too. The window then admits 30 % less, or what the
/// service says is left. With each whole window without a 429 it admits 10 % of the limit more, so
/// that two runs that share a token find their shares. It never admits more than the limit.
#[derive(Debug)]
pub(super) struct ClassWindow {
    limit: Limit,
    window: SlidingWindow,
    /// Number of slots in use at present, at most the count of the limit.
    capacity: u32,
    /// Time of the last 429, or of the last growth of `capacity` since.
    quiet_since: Option<Instant>,
    /// Turns of the run, and the beginning of one of them.
    turns: Option<(Turns, Instant)>,
}

impl ClassWindow {
    /// Creates an empty window with the full capacity.
    #[cfg(test)]
    pub(super) fn new(limit: Limit) -> Self {
        Self::of_run(RunLimit { limit, turns: None }, SystemTime::UNIX_EPOCH, Instant::now())
    }

    /// Creates an empty window with the full capacity. The turns of all runs are at times of the clock,
    /// which shows `clock` at the time `now`.
    pub(super) fn of_run(run: RunLimit, clock: SystemTime, now: Instant) -> Self {
        let RunLimit { limit, turns } = run;
        let turns = turns.map(|turns| (turns, now + time_to_turn(turns, clock)));
        // A slot is free again one window after the response. With turns, it is free some time before the
        // next one, in which the transfer is recorded.
        let length = turns.map_or(limit.window, |(turns, _)| {
            limit.window.saturating_sub(turns.step.max(MIN_PREPARATION_TIME)).max(limit.window / 2)
        });
        let window = SlidingWindow::new(length);
        Self { limit, window, capacity: limit.count, quiet_since: None, turns }
    }

    /// Returns the number of slots that the limit allows.
    pub(super) fn maximum(&self) -> u32 {
        self.limit.count
    }

    /// Returns the limit at its present capacity.
    pub(super) fn limit(&self) -> Limit {
        Limit { count: self.capacity, ..self.limit }
    }

    /// Takes `slots` if they are free; more than the limit counts as the whole limit.
    pub(super) fn admit(&mut self, slots: u32, now: Instant) -> Admission {
        if let Some(until) = self.advance(now) {
            return Admission::At(until);
        }
        let slots = slots.min(self.limit.count);
        // A request larger than the present capacity is admitted when nothing else is in flight.
        let needed = slots.min(self.capacity);
        match (self.window.used() + needed).saturating_sub(self.capacity) {
            0 => self.next_turn(now).map_or_else(|| self.window.take(slots), Admission::At),
            missing => self.free_at(missing),
        }
    }

    /// Takes as many of `max_slots` as are free, at least one. Does not wait for a turn; the caller does
    /// that (see [`ClassWindow::next_turn`]).
    ///
    /// If fewer than `max_slots` and fewer than half of the capacity are free, waits for the next
    /// slot, for up to 1/20 of the window in all. `first_free` holds the time at which this caller
    /// first found a free slot, between its calls.
    pub(super) fn admit_up_to(
        &mut self,
        max_slots: u32,
        first_free: &mut Option<Instant>,
        now: Instant,
    ) -> Admission {
        if let Some(until) = self.advance(now) {
            return Admission::At(until);
        }
        let used = self.window.used();
        let free = self.capacity.saturating_sub(used);
        if free == 0 {
            return self.free_at(used + 1 - self.capacity);
        }
        let max_slots = max_slots.max(1);
        if free < max_slots.min(self.capacity.div_ceil(2)) {
            let deadline = *first_free.get_or_insert(now) + self.limit.window / MAX_IDLE_FRACTION;
            if let Some(next) = self.window.frees_at(1).filter(|next| *next <= deadline) {
                return Admission::At(next);
            }
        }
        self.window.take(free.min(max_slots))
    }

    /// Returns the beginning of the run's next turn, if it is not its turn now.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let (turns, first) = self.turns?;
        let Some(elapsed) = now.checked_duration_since(first) else { return Some(first) };
        let nanos = elapsed.as_nanos() % turns.period.as_nanos().max(1);
        let of_turn = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        (of_turn >= turns.length).then(|| now + turns.period.saturating_sub(of_turn))
    }

    /// Takes slots for a request that was sent without asking.
    pub(super) fn sent(&mut self, slots: u32) {
        let _ = self.window.take(slots);
    }

    /// Records that an admitted request got its response, or that there will be none.
    pub(super) fn complete(&mut self, slots: u32, now: Instant) {
        self.window.complete(slots, now);
    }

    /// Frees slots at once because no request was sent for them.
    pub(super) fn give_back(&mut self, slots: u32) {
        self.window.give_back(slots);
    }

    /// Records a 429 for a request that was admitted at `admitted`, and returns the length of the
    /// pause that follows: `Retry-After`, or else 2 s, doubled with each 429 in a row up to one
    /// window.
    pub(super) fn record_refusal(
        &mut self,
        admitted: Instant,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Duration {
        self.shrink(admitted, retry_after, self.capacity * 7 / 10, now)
    }

    /// Records that the service refused this number of slots, and stated the use of the limit. The
    /// slots are given back already. Returns the length of the pause that follows.
    ///
    /// The window then admits what other users of the limit leave. If they use all of it, or if the
    /// request was not larger than that, it admits 30 % less.
    pub(super) fn record_partial_refusal(
        &mut self,
        (admitted, refused): (Instant, u32),
        retry_after: Option<Duration>,
        usage: TransferUsage,
        now: Instant,
    ) -> Duration {
        self.limit.count = self.limit.count.min(usage.limit.max(1));
        self.capacity = self.capacity.min(self.limit.count);
        let others = usage.used.saturating_sub(self.window.used());
        let share = usage.limit.saturating_sub(others);
        let told = (1..self.window.used() + refused).contains(&share);
        let capacity = if told { self.capacity.min(share) } else { self.capacity * 7 / 10 };
        self.shrink(admitted, retry_after, capacity, now)
    }

    fn shrink(
        &mut self,
        admitted: Instant,
        retry_after: Option<Duration>,
        capacity: u32,
        now: Instant,
    ) -> Duration {
        // A `Retry-After` of zero says nothing about the wait.
        let requested = retry_after.filter(|requested| !requested.is_zero());
        let refusals = self.window.record_refusal(admitted, now);
        if refusals.is_some() {
            self.capacity = capacity.max(1);
        }
        let default = refusals.map(|refusals| pause_after(refusals).min(self.limit.window));
        if let Some(pause) = requested.or(default) {
            self.window.pause(pause, now);
        }
        self.quiet_since = Some(now);
        self.window.pause_left(now)
    }

    /// Records that the service accepted a request that was admitted at `admitted`.
    pub(super) fn record_success(&mut self, admitted: Instant) {
        self.window.record_success(admitted);
    }

    /// Moves the window to `now` and lets the capacity grow. Returns the end of the current pause,
    /// if there is one.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        while let Some(grows) = self.grows_at().filter(|grows| *grows <= now) {
            self.quiet_since = Some(grows);
            let larger = self.capacity + self.limit.count.div_ceil(10);
            self.capacity = larger.min(self.limit.count);
        }
        self.window.advance(now)
    }

    /// Returns the end of the current window without a 429, if the capacity is below the limit.
    fn grows_at(&self) -> Option<Instant> {
        let quiet = self.quiet_since.filter(|_| self.capacity < self.limit.count)?;
        Some(quiet + self.limit.window)
    }

    /// Waits for `slots` more to become free, or for the capacity to grow.
    fn free_at(&self, slots: u32) -> Admission {
        let at = [self.window.frees_at(slots), self.grows_at()].into_iter().flatten().min();
        at.map_or(Admission::AfterResponse, Admission::At)
    }
}

/// Returns the time until the next turn begins.
fn time_to_turn(turns: Turns, clock: SystemTime) -> Duration {
    let period = turns.period.as_nanos().max(1);
    let at = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() % period;
    let wait = (turns.offset.as_nanos() % period + period - at) % period;
    Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::budget::share_of;
    use proptest::prelude::*;

    fn limit(count: u32, millis: u64) -> Limit {
        Limit { count, window: Duration::from_millis(millis) }
    }

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_frees_a_window_after_its_response() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = ClassWindow::new(limit(2, 100));
        assert_eq!(window.admit(1, at(0)), Admission::Granted(1));
        assert_eq!(window.admit(1, at(0)), Admission::Granted(1));
        assert_eq!(window.admit(1, at(0)), Admission::AfterResponse);
        window.complete(1, at(30));
        assert_eq!(window.admit(1, at(100)), Admission::At(at(130)));
        assert_eq!(window.admit(1, at(130)), Admission::Granted(1));
        window.complete(2, at(140));
        assert_eq!(window.admit(5, at(140)), Admission::At(at(240)));
        assert_eq!(
            window.admit(5, at(240)),
            Admission::Granted(2),
            "more than the limit is the limit"
        );
        window.give_back(2);
        assert_eq!(
            window.admit(2, at(241)),
            Admission::Granted(2),
            "an unused slot is free at once"
        );
    }

    #[test]
    fn each_refusal_pauses_the_class_longer() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(10, 60_000));
        let pause = |window: &mut ClassWindow, secs| {
            // Sent after the last refusal.
            window.record_refusal(at(secs), None, at(secs)).as_secs()
        };
        let pauses = [0, 10, 20, 40, 80, 160].map(|secs| pause(&mut window, secs));
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60], "doubled, up to one window");
        assert_eq!(window.admit(1, at(161)), Admission::At(at(220)));
        // A request that was sent before the last refusal does not end the row.
        window.record_success(at(159));
        assert_eq!(pause(&mut window, 300), 60);
        window.record_success(at(361));
        assert_eq!(pause(&mut window, 400), 2);
        // `Retry-After` counts, up to two minutes.
        assert_eq!(window.record_refusal(at(500), Some(SEC * 7), at(500)), SEC * 7);
        assert_eq!(window.record_refusal(at(600), Some(SEC * 86_400), at(600)), SEC * 120);
    }

    #[test]
    fn requests_that_meet_the_same_full_window_are_one_refusal() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(100, 60_000));
        assert_eq!(window.admit(100, at(0)), Admission::Granted(100));
        for _ in 0..50 {
            assert_eq!(window.record_refusal(at(0), None, at(1)), SEC * 2);
        }
        // One of them has a `Retry-After`.
        assert_eq!(window.record_refusal(at(0), Some(SEC * 9), at(1)), SEC * 9);
        assert_eq!(window.limit().count, 70);
    }

    #[test]
    fn capacity_shrinks_with_each_refusal_and_grows_back() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(100, 60_000));
        for secs in [0, 10, 20] {
            window.record_refusal(at(secs), None, at(secs));
        }
        assert_eq!(window.limit().count, 34);
        let mut counts = Vec::new();
        for minute in 1..9 {
            window.admit(0, at(20 + 60 * minute));
            counts.push(window.limit().count);
        }
        assert_eq!(counts, [44, 54, 64, 74, 84, 94, 100, 100]);
        for secs in 1000..1020 {
            window.record_refusal(at(secs), None, at(secs));
        }
        assert_eq!(window.limit().count, 1, "never zero");
        // A request larger than the capacity is admitted when nothing else is in flight.
        assert_eq!(window.admit(5, at(1100)), Admission::Granted(5));
    }

    #[test]
    fn the_capacity_is_what_others_leave_of_the_stated_limit() {
        let start = Instant::now();
        // Images of ours in the window, refused images, use and limit as stated.
        for (ours, refused, used, count, expected) in [
            (0, 10, 3, 10, 7),
            (0, 25, 0, 10, 10),
            (5, 5, 8, 10, 7),
            // Nobody else uses it.
            (10, 15, 10, 10, 10),
            (8, 2, 10, 10, 8),
            // Others use all of it: what they leave later is not known.
            (0, 10, 10, 10, 7),
            // The request fits into what is left, and is refused all the same.
            (0, 7, 3, 10, 7),
            (0, 1, 0, 1, 1),
            (0, 9, 0, 0, 1),
        ] {
            let mut window = ClassWindow::new(limit(60, 60_000));
            window.sent(ours);
            window.complete(ours, start);
            let usage = TransferUsage { used, limit: count };
            window.record_partial_refusal((start, refused), None, usage, start);
            assert_eq!(window.limit().count, expected, "{ours} {refused} {used}/{count}");
        }
    }

    #[test]
    fn single_free_slots_are_gathered() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = ClassWindow::new(limit(10, 60_000));
        let mut first_free = None;
        assert_eq!(window.admit_up_to(3, &mut first_free, at(0)), Admission::Granted(3));
        assert_eq!(
            window.admit_up_to(30, &mut first_free, at(0)),
            Admission::Granted(7),
            "all that is free"
        );
        assert_eq!(window.admit_up_to(1, &mut first_free, at(0)), Admission::AfterResponse);
        for response in [0, 1000, 2000, 2900, 3500, 20_000, 20_000, 20_000, 20_000, 20_000] {
            window.complete(1, at(response));
        }
        assert_eq!(window.admit_up_to(10, &mut first_free, at(3000)), Admission::At(at(60_000)));
        assert_eq!(window.admit_up_to(10, &mut first_free, at(60_000)), Admission::At(at(61_000)));
        assert_eq!(window.admit_up_to(10, &mut first_free, at(61_000)), Admission::At(at(62_000)));
        assert_eq!(window.admit_up_to(10, &mut first_free, at(62_000)), Admission::At(at(62_900)));
        // The next slot would come 3.5 s after the first: more than 1/20 of the window.
        assert_eq!(window.admit_up_to(10, &mut first_free, at(62_900)), Admission::Granted(4));
        // No wait if the whole request fits, or if half of the capacity is free.
        let mut first_free = None;
        assert_eq!(window.admit_up_to(1, &mut first_free, at(63_500)), Admission::Granted(1));
        assert_eq!(window.admit_up_to(10, &mut first_free, at(80_000)), Admission::Granted(5));
    }

    /// A request: latency to the server and back in ms; if refused, `Some(Retry-After in ms)`.
    type Sent = (u64, u64, Option<Option<u64>>);

    fn sent() -> impl Strategy<Value = Sent> {
        let refused = prop::option::weighted(0.2, prop::option::of(1u64..400));
        (0u64..300, 0u64..300, refused)
    }

    proptest! {
        /// Whatever the latencies and refusals, the server never counts more than the limit in any
        /// window, and every request is sent in the end.
        #[test]
        fn the_server_never_counts_more_than_the_limit(
            count in 1u32..6,
            bulk in any::<bool>(),
            requests in prop::collection::vec(sent(), 1..60),
        ) {
            let window_millis = 100;
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(millis);
            let mut window = ClassWindow::new(limit(count, window_millis));
            let mut now = 0u64;
            let mut arrivals: Vec<(u64, u32)> = Vec::new();
            // Time of the response, time of admission, slots, refusal.
            let mut responses: Vec<(u64, u64, u32, Option<Option<u64>>)> = Vec::new();
            for (there, back, refused) in requests {
                let mut first_free = None;
                let slots = loop {
                    responses.sort_unstable();
                    while responses.first().is_some_and(|response| response.0 <= now) {
                        let (when, admitted, slots, refused) = responses.remove(0);
                        match refused {
                            Some(retry_after) => {
                                let retry_after = retry_after.map(Duration::from_millis);
                                window.record_refusal(at(admitted), retry_after, at(when));
                            }
                            None => window.record_success(at(admitted)),
                        }
                        window.complete(slots, at(when));
                    }
                    let admit = if bulk {
                        window.admit_up_to(3, &mut first_free, at(now))
                    } else {
                        window.admit(1, at(now))
                    };
                    prop_assert!((1..=count).contains(&window.limit().count));
                    match admit {
                        Admission::Granted(slots) => break slots,
                        Admission::At(until) => {
                            let until = u64::try_from((until - start).as_millis()).unwrap();
                            prop_assert!(until > now);
                            // A response may arrive before that and must not be missed.
                            let first = responses.first().map_or(until, |first| until.min(first.0));
                            now = first.max(now + 1);
                        }
                        Admission::AfterResponse => now = responses[0].0,
                    }
                };
                arrivals.push((now + there, slots));
                responses.push((now + there + back, now, slots, refused));
            }
            arrivals.sort_unstable();
            for (index, (from, _)) in arrivals.iter().enumerate() {
                let end = from + window_millis;
                let within = arrivals[index..].iter().filter(|(at, _)| *at < end);
                let within: u32 = within.map(|(_, slots)| slots).sum();
                prop_assert!(within <= count, "{within} in one window of {count}");
            }
        }
    }

    #[test]
    fn runs_take_turns_by_the_clock() {
        let share = "2/4".parse().unwrap();
        let run = share_of(limit(2, 1000), "1/4".parse().unwrap(), Some(share));
        // Steps of 525 ms: the turns of the second run are at 525 ms, 2625 ms and so on.
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + SEC);
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = ClassWindow::of_run(run, clock, start);
        assert_eq!(window.admit(1, at(0)), Admission::At(at(1625)));
        assert_eq!(window.admit(1, at(1625)), Admission::Granted(1));
        window.complete(1, at(2000));
        assert_eq!(window.admit(1, at(2001)), Admission::At(at(2000 + 1050)));
        assert_eq!(window.admit_up_to(5, &mut None, at(3600)), Admission::Granted(1));
        assert_eq!(window.next_turn(at(3600)), Some(at(3725)));
        assert_eq!(window.next_turn(at(3749)), None);
        assert_eq!(window.next_turn(at(3750)), Some(at(5825)));
    }
}
