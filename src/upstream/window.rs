//! Says when the next request to a host may leave. Pure: the time is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::retry::LONGEST_ASKED;
use crate::base::limit::Limit;

/// The first pause after a 429 that does not say how long to wait; the next are twice as long each.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// So many 429s in a row, and the host is asked no more.
const MOST_STRIKES: u32 = 5;

/// A strict sliding window over the requests to one host, as *it* sees them: a slot frees one window
/// after the answer came, not after the request left. A 429 pauses all of it.
#[derive(Debug)]
pub(super) struct Window {
    limit: Limit,
    in_flight: u32,
    answered: VecDeque<Instant>,
    paused_until: Option<Instant>,
    /// 429s in a row.
    strikes: u32,
    /// When the last of them came.
    struck: Option<Instant>,
}

/// What [`Window::admit`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admit {
    /// Go: a slot is taken.
    Now,
    /// Ask again at this time, or when an answer has come.
    At(Instant),
    /// Ask again when an answer has come.
    AfterAnswer,
}

/// What a 429 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing leaves for so long. Whether that is new, and not for one that left with the last.
    Pause(Duration, bool),
    /// It asks for so long a wait, or has asked so often, that it is asked no more.
    Enough(Option<Duration>),
}

impl Window {
    pub(super) fn new(limit: Limit) -> Self {
        let answered = VecDeque::new();
        // One of nothing would let nobody through, ever.
        let limit = Limit { count: limit.count.max(1), ..limit };
        Self { limit, in_flight: 0, answered, paused_until: None, strikes: 0, struck: None }
    }

    /// Takes a slot if one is free.
    pub(super) fn admit(&mut self, now: Instant) -> Admit {
        while self.answered.front().is_some_and(|at| *at + self.limit.window <= now) {
            self.answered.pop_front();
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Admit::At(until);
        }
        let answered = u32::try_from(self.answered.len()).unwrap_or(u32::MAX);
        if self.in_flight.saturating_add(answered) < self.limit.count {
            self.in_flight += 1;
            return Admit::Now;
        }
        let next = self.answered.front().map(|at| *at + self.limit.window);
        next.map_or(Admit::AfterAnswer, Admit::At)
    }

    /// Says that the answer to an admitted request has come, or that there will be none.
    pub(super) fn answered(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered.push_back(now);
    }

    /// Takes in that a request which was admitted at `admitted` was let through.
    pub(super) fn accepted(&mut self, admitted: Instant) {
        if self.struck.is_none_or(|struck| admitted >= struck) {
            self.strikes = 0;
        }
    }

    /// Takes in a 429 to a request that was admitted at `admitted`. Many that left together meet the
    /// same full budget: that is one 429 and not many.
    pub(super) fn refused(
        &mut self,
        admitted: Instant,
        asked: Option<Duration>,
        now: Instant,
    ) -> Refused {
        // That it asks for no wait at all says nothing.
        let asked = asked.filter(|asked| !asked.is_zero());
        if asked.is_some_and(|asked| asked > LONGEST_ASKED) {
            return Refused::Enough(asked);
        }
        let new = self.struck.is_none_or(|struck| admitted >= struck);
        if new {
            self.struck = Some(now);
            self.strikes += 1;
            if self.strikes > MOST_STRIKES {
                self.strikes = 0;
                return Refused::Enough(None);
            }
        }
        let doubled = FIRST_PAUSE * (1 << self.strikes.saturating_sub(1).min(8));
        let pause = asked.or(Some(doubled).filter(|_| new)).unwrap_or_default();
        self.paused_until = self.paused_until.max(Some(now + pause));
        let paused = self.paused_until.map_or(pause, |until| until.saturating_duration_since(now));
        Refused::Pause(paused, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn window(count: u32, secs: u64) -> Window {
        Window::new(Limit { count, window: Duration::from_secs(secs) })
    }

    #[test]
    fn a_slot_frees_a_window_after_its_answer() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = window(2, 10);
        assert_eq!([window.admit(at(0)), window.admit(at(0))], [Admit::Now; 2]);
        assert_eq!(window.admit(at(0)), Admit::AfterAnswer);
        window.answered(at(3));
        assert_eq!(window.admit(at(10)), Admit::At(at(13)));
        assert_eq!(window.admit(at(13)), Admit::Now);
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
        assert_eq!(window.admit(at(2)), Admit::At(at(10)));
        assert_eq!(window.admit(at(10)), Admit::Now);
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
