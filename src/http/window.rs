//! A strict sliding window over requests, as the *server* sees them, and the pauses that it asks for.
//! Pure: the time is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::LONGEST_ASKED;

/// The first pause after a 429 that does not say how long to wait; the next are twice as long each
/// (`api.md` §3).
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Which slots are taken, until when nothing goes, and how many 429s came in a row. How many slots
/// there are, and what a 429 means for that, is up to whoever has the window.
///
/// The server stamps a request somewhere between its departure and its answer. So a slot frees one
/// window after the answer came, not after the request left: however the network delays either, no
/// window at the server ever holds more than was let through at once.
#[derive(Debug)]
pub struct SlidingWindow {
    length: Duration,
    in_flight: u32,
    answered: VecDeque<Instant>,
    paused_until: Option<Instant>,
    /// 429s in a row.
    strikes: u32,
    /// When the last of them came.
    struck: Option<Instant>,
}

/// What whoever asks to send a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Go: so many slots are taken.
    Now(u32),
    /// Ask again at this time, or when an answer has come.
    At(Instant),
    /// Ask again when an answer has come.
    AfterAnswer,
}

impl SlidingWindow {
    /// A window of this length in which nothing was sent yet.
    pub fn new(length: Duration) -> Self {
        let answered = VecDeque::new();
        Self { length, in_flight: 0, answered, paused_until: None, strikes: 0, struck: None }
    }

    /// Lets time pass. Until when nothing goes, if so.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        while self.answered.front().is_some_and(|at| *at + self.length <= now) {
            self.answered.pop_front();
        }
        self.paused_until.filter(|until| *until > now)
    }

    /// Slots that are not free.
    pub fn used(&self) -> u32 {
        self.in_flight.saturating_add(u32::try_from(self.answered.len()).unwrap_or(u32::MAX))
    }

    /// Takes slots, which whoever has the window knows to be free.
    pub fn take(&mut self, slots: u32) -> Admit {
        self.in_flight += slots;
        Admit::Now(slots)
    }

    /// When `slots` (at least one) more will be free than now, if enough were answered to tell.
    pub fn frees_at(&self, slots: u32) -> Option<Instant> {
        let last = usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(1);
        self.answered.get(last).map(|at| *at + self.length)
    }

    /// Says that the answer to an admitted request has come, or that there will be none.
    pub fn answered(&mut self, slots: u32, now: Instant) {
        let slots = slots.min(self.in_flight);
        self.in_flight -= slots;
        self.answered.extend((0..slots).map(|_| now));
    }

    /// Gives back slots for which nothing was sent: they are free at once.
    pub fn unused(&mut self, slots: u32) {
        self.in_flight -= slots.min(self.in_flight);
    }

    /// Takes in that a request which was admitted at `admitted` was let through. One that left
    /// before the last 429 says nothing about after it.
    pub fn accepted(&mut self, admitted: Instant) {
        if self.struck.is_none_or(|struck| admitted >= struck) {
            self.strikes = 0;
        }
    }

    /// Takes in a 429 to a request that was admitted at `admitted`. Which in a row it is, from 1;
    /// `None` where that request left before the last one came: many that left together meet the same
    /// full window, and that is one 429 and not many.
    pub fn struck(&mut self, admitted: Instant, now: Instant) -> Option<u32> {
        if self.struck.is_some_and(|struck| admitted < struck) {
            return None;
        }
        self.struck = Some(now);
        self.strikes += 1;
        Some(self.strikes)
    }

    /// Forgets how many 429s came in a row.
    pub fn forgive(&mut self) {
        self.strikes = 0;
    }

    /// Lets nothing go for so long from now, but for no longer than [`LONGEST_ASKED`]. A longer pause
    /// stays.
    pub fn pause(&mut self, length: Duration, now: Instant) {
        self.paused_until = self.paused_until.max(Some(now + length.min(LONGEST_ASKED)));
    }

    /// For how long from now nothing goes.
    pub fn paused(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

/// The pause after so many 429s in a row, from 1, where none of them says how long: 2 s, doubled with
/// each.
pub fn pause_after(strikes: u32) -> Duration {
    FIRST_PAUSE * (1 << strikes.saturating_sub(1).min(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_frees_a_window_after_its_answer() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = SlidingWindow::new(SEC * 10);
        assert_eq!(window.take(3), Admit::Now(3));
        assert_eq!((window.used(), window.frees_at(1)), (3, None), "nobody knows when");
        window.answered(1, at(3));
        window.answered(9, at(5));
        assert_eq!(window.used(), 3, "none is answered that was not sent");
        let frees = [1, 2, 3, 4].map(|slots| window.frees_at(slots));
        assert_eq!(frees, [Some(at(13)), Some(at(15)), Some(at(15)), None]);
        for (now, used) in [(12, 3), (13, 2), (14, 2), (15, 0)] {
            assert_eq!((window.turn(at(now)), window.used()), (None, used), "{now}");
        }
        window.take(2);
        window.unused(1);
        assert_eq!(window.used(), 1, "what was not sent is free at once");
        window.unused(5);
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn many_that_left_together_are_one_strike() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let mut window = SlidingWindow::new(SEC);
        assert_eq!([window.struck(at(0), at(1)), window.struck(at(0), at(1))], [Some(1), None]);
        assert_eq!(window.struck(at(1), at(2)), Some(2));
        window.accepted(at(1));
        assert_eq!(window.struck(at(2), at(3)), Some(3), "that one had left before");
        window.accepted(at(3));
        assert_eq!(window.struck(at(4), at(5)), Some(1));
        window.forgive();
        assert_eq!(window.struck(at(6), at(7)), Some(1));
    }

    #[test]
    fn pauses_double_and_the_longest_stays() {
        let start = Instant::now();
        let at = |secs| start + SEC * secs;
        let pauses = [0, 1, 2, 3, 9, u32::MAX].map(|strikes| pause_after(strikes).as_secs());
        assert_eq!(pauses, [2, 2, 4, 8, 512, 512]);
        let mut window = SlidingWindow::new(SEC);
        assert_eq!(window.paused(at(0)), Duration::ZERO);
        window.pause(SEC * 9, at(0));
        window.pause(SEC * 2, at(1));
        assert_eq!((window.turn(at(2)), window.paused(at(2))), (Some(at(9)), SEC * 7));
        assert_eq!((window.turn(at(9)), window.paused(at(9))), (None, Duration::ZERO));
        window.pause(SEC * 86_400, at(10));
        assert_eq!(window.paused(at(10)), LONGEST_ASKED);
    }
}
