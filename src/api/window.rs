//! Says when the next request may leave so that a window of the service is never exceeded. Pure:
//! the time is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::limit::Limit;

/// A strict sliding window over one class of requests, as the *server* sees it.
///
/// The server stamps a request somewhere between its departure and its answer. So a slot frees one
/// window after the answer came, not after the request left: however the network delays either,
/// no `window` at the server ever holds more than `count`.
#[derive(Debug)]
pub struct SlidingWindow {
    limit: Limit,
    in_flight: u32,
    answered: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

/// What [`SlidingWindow::admit`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Go: the slots are taken.
    Now,
    /// Ask again at this time.
    At(Instant),
    /// Ask again when an answer has come.
    AfterAnswer,
}

impl SlidingWindow {
    /// A window in which nothing was sent yet.
    pub fn new(limit: Limit) -> Self {
        Self { limit, in_flight: 0, answered: VecDeque::new(), paused_until: None }
    }

    /// Takes `slots` if they are free. More than the window ever holds count as all of it.
    pub fn admit(&mut self, slots: u32, now: Instant) -> Admit {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Admit::At(until);
        }
        while self.answered.front().is_some_and(|at| *at + self.limit.window <= now) {
            self.answered.pop_front();
        }
        let slots = slots.min(self.limit.count);
        let used = self.in_flight + u32::try_from(self.answered.len()).unwrap_or(u32::MAX);
        let short = (used + slots).saturating_sub(self.limit.count);
        if short == 0 {
            self.in_flight += slots;
            return Admit::Now;
        }
        match self.answered.get(short as usize - 1) {
            Some(at) => Admit::At(*at + self.limit.window),
            None => Admit::AfterAnswer,
        }
    }

    /// Says that the answer to an admitted request has come, or that there will be none.
    pub fn answered(&mut self, slots: u32, now: Instant) {
        let slots = slots.min(self.limit.count).min(self.in_flight);
        self.in_flight -= slots;
        self.answered.extend((0..slots).map(|_| now));
    }

    /// Lets nothing through until then: the service asked to wait.
    pub fn pause(&mut self, length: Duration, now: Instant) {
        self.paused_until = self.paused_until.max(Some(now + length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(count: u32, millis: u64) -> Limit {
        Limit { count, window: Duration::from_millis(millis) }
    }

    #[test]
    fn a_slot_frees_a_window_after_its_answer() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = SlidingWindow::new(limit(2, 100));
        assert_eq!(window.admit(1, at(0)), Admit::Now);
        assert_eq!(window.admit(1, at(0)), Admit::Now);
        assert_eq!(window.admit(1, at(0)), Admit::AfterAnswer);
        window.answered(1, at(30));
        assert_eq!(window.admit(1, at(100)), Admit::At(at(130)));
        assert_eq!(window.admit(1, at(130)), Admit::Now);
        window.answered(2, at(140));
        window.pause(Duration::from_millis(500), at(140));
        assert_eq!(window.admit(1, at(300)), Admit::At(at(640)));
        assert_eq!(window.admit(5, at(640)), Admit::Now, "more than fits is all that fits");
    }

    proptest! {
        /// Whatever delay each request has on its way there and back, the server never sees more
        /// than the limit in any window, and no slot that is free stays empty.
        #[test]
        fn the_server_never_sees_too_many(
            count in 1u32..6,
            delays in prop::collection::vec((0u64..300, 0u64..300), 1..60),
        ) {
            let window_millis = 100;
            let start = Instant::now();
            let mut window = SlidingWindow::new(limit(count, window_millis));
            let mut now = 0u64;
            let mut seen: Vec<u64> = Vec::new();
            let mut answers: Vec<u64> = Vec::new();
            let settle = |window: &mut SlidingWindow, answers: &mut Vec<u64>, now: u64| {
                answers.sort_unstable();
                while answers.first().is_some_and(|at| *at <= now) {
                    window.answered(1, start + Duration::from_millis(answers.remove(0)));
                }
            };
            for (there, back) in delays {
                loop {
                    settle(&mut window, &mut answers, now);
                    match window.admit(1, start + Duration::from_millis(now)) {
                        Admit::Now => break,
                        Admit::At(at) => {
                            let at = u64::try_from((at - start).as_millis()).unwrap();
                            prop_assert!(at > now);
                            // An answer may come before that and must not be missed.
                            now = answers.first().map_or(at, |first| at.min(*first)).max(now + 1);
                        }
                        Admit::AfterAnswer => now = answers[0],
                    }
                }
                seen.push(now + there);
                answers.push(now + there + back);
            }
            seen.sort_unstable();
            for (index, at) in seen.iter().enumerate() {
                let within = seen[index..].iter().filter(|later| **later < at + window_millis).count();
                prop_assert!(within <= count as usize, "{within} in one window of {count}");
            }
        }
    }
}
