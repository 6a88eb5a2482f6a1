//! Says when the next request of a class may leave, so that no window of the service is exceeded, and
//! finds a share of it where others use it too. Pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::limit::Limit;
use crate::http::window::{Admission, SlidingWindow, pause_after};

/// The part of a window that a free slot may wait for others, so that a bulk request is not cut
/// into single images: a twentieth, which costs no more than 5 % of what the limit allows.
const PATIENCE: u32 = 20;

/// A strict sliding window over one class of requests.
///
/// A 429 shows that somebody else uses the same budget. Then the window learns: it lets through
/// less, and a little more again with each window without a 429, so that two runs that share a token
/// find their shares. It never lets through more than the limit.
#[derive(Debug)]
pub struct ClassWindow {
    limit: Limit,
    window: SlidingWindow,
    /// What is let through of the limit's count.
    allowed: u32,
    /// Since when there was no 429, or when `allowed` last grew.
    quiet_since: Option<Instant>,
}

impl ClassWindow {
    /// A window in which nothing was sent yet.
    pub fn new(limit: Limit) -> Self {
        let window = SlidingWindow::new(limit.window);
        Self { limit, window, allowed: limit.count, quiet_since: None }
    }

    /// The limit, with the count that is let through now.
    pub fn limit(&self) -> Limit {
        Limit { count: self.allowed, ..self.limit }
    }

    /// Takes `slots` if they are free. More than the window ever holds count as all of it.
    pub fn admit(&mut self, slots: u32, now: Instant) -> Admission {
        if let Some(until) = self.turn(now) {
            return Admission::At(until);
        }
        let slots = slots.min(self.limit.count);
        // What is more than is let through at present goes when nothing else is under way.
        let needs = slots.min(self.allowed);
        match (self.window.used() + needs).saturating_sub(self.allowed) {
            0 => self.window.take(slots),
            short => self.free_at(short),
        }
    }

    /// Takes as many of `most` as are free, at least one. While less than `most` and less than half
    /// of the window are free, it waits for the next to free if that takes no more than a twentieth
    /// of a window since `since`, when whoever asks first found some free. `since` is set then.
    pub fn admit_up_to(
        &mut self,
        most: u32,
        since: &mut Option<Instant>,
        now: Instant,
    ) -> Admission {
        if let Some(until) = self.turn(now) {
            return Admission::At(until);
        }
        let used = self.window.used();
        let free = self.allowed.saturating_sub(used);
        if free == 0 {
            return self.free_at(used + 1 - self.allowed);
        }
        let most = most.max(1);
        if free < most.min(self.allowed.div_ceil(2)) {
            let patience = *since.get_or_insert(now) + self.limit.window / PATIENCE;
            if let Some(next) = self.window.frees_at(1).filter(|next| *next <= patience) {
                return Admission::At(next);
            }
        }
        self.window.take(free.min(most))
    }

    /// Says that the answer to an admitted request has come, or that there will be none.
    pub fn answered(&mut self, slots: u32, now: Instant) {
        self.window.complete(slots, now);
    }

    /// Gives back slots for which nothing was sent: they are free at once.
    pub fn unused(&mut self, slots: u32) {
        self.window.give_back(slots);
    }

    /// Takes in a 429 to a request that was admitted at `admitted`: nothing is let through for as
    /// long as the service asks, or else as 2 s, doubled with each in a row up to a window. Says how
    /// long from now.
    pub fn refused(
        &mut self,
        admitted: Instant,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Duration {
        // That it asks for no wait at all says nothing.
        let asked = retry_after.filter(|asked| !asked.is_zero());
        let strikes = self.window.record_refusal(admitted, now);
        if strikes.is_some() {
            self.allowed = (self.allowed * 7 / 10).max(1);
        }
        let own = strikes.map(|strikes| pause_after(strikes).min(self.limit.window));
        if let Some(pause) = asked.or(own) {
            self.window.pause(pause, now);
        }
        self.quiet_since = Some(now);
        self.window.pause_left(now)
    }

    /// Takes in that a request which was admitted at `admitted` was let through.
    pub fn accepted(&mut self, admitted: Instant) {
        self.window.record_success(admitted);
    }

    /// Lets time pass. Until when nothing goes, if so.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        while let Some(grows) = self.grows_at().filter(|grows| *grows <= now) {
            self.quiet_since = Some(grows);
            let more = self.allowed + self.limit.count.div_ceil(10);
            self.allowed = more.min(self.limit.count);
        }
        self.window.advance(now)
    }

    /// When a whole window without a 429 is over, where less than the limit is let through.
    fn grows_at(&self) -> Option<Instant> {
        let quiet = self.quiet_since.filter(|_| self.allowed < self.limit.count)?;
        Some(quiet + self.limit.window)
    }

    /// When `slots` more will be free than now, or there may be more of them.
    fn free_at(&self, slots: u32) -> Admission {
        let at = [self.window.frees_at(slots), self.grows_at()].into_iter().flatten().min();
        at.map_or(Admission::AfterResponse, Admission::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(count: u32, millis: u64) -> Limit {
        Limit { count, window: Duration::from_millis(millis) }
    }

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_frees_a_window_after_its_answer() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = ClassWindow::new(limit(2, 100));
        assert_eq!(window.admit(1, at(0)), Admission::Granted(1));
        assert_eq!(window.admit(1, at(0)), Admission::Granted(1));
        assert_eq!(window.admit(1, at(0)), Admission::AfterResponse);
        window.answered(1, at(30));
        assert_eq!(window.admit(1, at(100)), Admission::At(at(130)));
        assert_eq!(window.admit(1, at(130)), Admission::Granted(1));
        window.answered(2, at(140));
        assert_eq!(window.admit(5, at(140)), Admission::At(at(240)));
        assert_eq!(
            window.admit(5, at(240)),
            Admission::Granted(2),
            "more than fits is all that fits"
        );
        window.unused(2);
        assert_eq!(
            window.admit(2, at(241)),
            Admission::Granted(2),
            "what was not sent is free at once"
        );
    }

    #[test]
    fn a_refusal_holds_back_the_class_and_longer_each_time() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(10, 60_000));
        let pause = |window: &mut ClassWindow, secs| {
            // Each left after the last refusal.
            window.refused(at(secs), None, at(secs)).as_secs()
        };
        let pauses = [0, 10, 20, 40, 80, 160].map(|secs| pause(&mut window, secs));
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60], "doubling, up to a window");
        assert_eq!(window.admit(1, at(161)), Admission::At(at(220)));
        // One that left before the last refusal says nothing about after it.
        window.accepted(at(159));
        assert_eq!(pause(&mut window, 300), 60);
        window.accepted(at(361));
        assert_eq!(pause(&mut window, 400), 2);
        // What the service asks for counts, up to two minutes.
        assert_eq!(window.refused(at(500), Some(SEC * 7), at(500)), SEC * 7);
        assert_eq!(window.refused(at(600), Some(SEC * 86_400), at(600)), SEC * 120);
    }

    #[test]
    fn many_that_met_the_same_full_window_are_one_refusal() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(100, 60_000));
        assert_eq!(window.admit(100, at(0)), Admission::Granted(100));
        for _ in 0..50 {
            assert_eq!(window.refused(at(0), None, at(1)), SEC * 2);
        }
        // One of them says how long.
        assert_eq!(window.refused(at(0), Some(SEC * 9), at(1)), SEC * 9);
        assert_eq!(window.limit().count, 70);
    }

    #[test]
    fn what_is_let_through_shrinks_with_each_refusal_and_grows_back() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = ClassWindow::new(limit(100, 60_000));
        for secs in [0, 10, 20] {
            window.refused(at(secs), None, at(secs));
        }
        assert_eq!(window.limit().count, 34);
        let mut counts = Vec::new();
        for minute in 1..9 {
            // Whatever was let through is answered: it only has to be asked.
            window.admit(0, at(20 + 60 * minute));
            counts.push(window.limit().count);
        }
        assert_eq!(counts, [44, 54, 64, 74, 84, 94, 100, 100]);
        for secs in 1000..1020 {
            window.refused(at(secs), None, at(secs));
        }
        assert_eq!(window.limit().count, 1, "never nothing");
        // More than is let through at present goes when nothing else is under way.
        assert_eq!(window.admit(5, at(1100)), Admission::Granted(5));
    }

    #[test]
    fn slots_that_free_one_by_one_are_gathered() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = ClassWindow::new(limit(10, 60_000));
        let mut since = None;
        assert_eq!(window.admit_up_to(3, &mut since, at(0)), Admission::Granted(3));
        assert_eq!(
            window.admit_up_to(30, &mut since, at(0)),
            Admission::Granted(7),
            "all that fits"
        );
        assert_eq!(window.admit_up_to(1, &mut since, at(0)), Admission::AfterResponse);
        for answered in [0, 1000, 2000, 2900, 3500, 20_000, 20_000, 20_000, 20_000, 20_000] {
            window.answered(1, at(answered));
        }
        assert_eq!(window.admit_up_to(10, &mut since, at(3000)), Admission::At(at(60_000)));
        assert_eq!(window.admit_up_to(10, &mut since, at(60_000)), Admission::At(at(61_000)));
        assert_eq!(window.admit_up_to(10, &mut since, at(61_000)), Admission::At(at(62_000)));
        assert_eq!(window.admit_up_to(10, &mut since, at(62_000)), Admission::At(at(62_900)));
        // The next would come 3.5 s after the first: more than a twentieth of the window.
        assert_eq!(window.admit_up_to(10, &mut since, at(62_900)), Admission::Granted(4));
        // All that is asked for needs no company, nor does half of the window.
        let mut since = None;
        assert_eq!(window.admit_up_to(1, &mut since, at(63_500)), Admission::Granted(1));
        assert_eq!(window.admit_up_to(10, &mut since, at(80_000)), Admission::Granted(5));
    }

    /// One request: how long it takes there and back, whether it is refused, and for how long.
    type Sent = (u64, u64, Option<Option<u64>>);

    fn sent() -> impl Strategy<Value = Sent> {
        let refused = prop::option::weighted(0.2, prop::option::of(1u64..400));
        (0u64..300, 0u64..300, refused)
    }

    proptest! {
        /// Whatever delay each request has on its way there and back, and whatever is refused, the
        /// server never sees more than the limit in any window, and all is sent in the end.
        #[test]
        fn the_server_never_sees_too_many(
            count in 1u32..6,
            bulk in any::<bool>(),
            requests in prop::collection::vec(sent(), 1..60),
        ) {
            let window_millis = 100;
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(millis);
            let mut window = ClassWindow::new(limit(count, window_millis));
            let mut now = 0u64;
            let mut seen: Vec<(u64, u32)> = Vec::new();
            // When, admitted when, slots, refused.
            let mut answers: Vec<(u64, u64, u32, Option<Option<u64>>)> = Vec::new();
            for (there, back, refused) in requests {
                let mut since = None;
                let slots = loop {
                    answers.sort_unstable();
                    while answers.first().is_some_and(|answer| answer.0 <= now) {
                        let (when, admitted, slots, refused) = answers.remove(0);
                        match refused {
                            Some(asked) => {
                                let asked = asked.map(Duration::from_millis);
                                window.refused(at(admitted), asked, at(when));
                            }
                            None => window.accepted(at(admitted)),
                        }
                        window.answered(slots, at(when));
                    }
                    let admit = if bulk {
                        window.admit_up_to(3, &mut since, at(now))
                    } else {
                        window.admit(1, at(now))
                    };
                    prop_assert!((1..=count).contains(&window.limit().count));
                    match admit {
                        Admission::Granted(slots) => break slots,
                        Admission::At(until) => {
                            let until = u64::try_from((until - start).as_millis()).unwrap();
                            prop_assert!(until > now);
                            // An answer may come before that and must not be missed.
                            let first = answers.first().map_or(until, |first| until.min(first.0));
                            now = first.max(now + 1);
                        }
                        Admission::AfterResponse => now = answers[0].0,
                    }
                };
                seen.push((now + there, slots));
                answers.push((now + there + back, now, slots, refused));
            }
            seen.sort_unstable();
            for (index, (from, _)) in seen.iter().enumerate() {
                let within = seen[index..].iter().filter(|(later, _)| *later < from + window_millis);
                let within: u32 = within.map(|(_, slots)| slots).sum();
                prop_assert!(within <= count, "{within} in one window of {count}");
            }
        }
    }
}
