//! When to look at pending builds again. Pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::client::BUILDS_PER_PAGE;

/// Requests that may follow each other at once, so that a build of a few seconds is not waited for
/// longer than it takes.
const BURST: f64 = 8.0;

/// Requests in a second in the long run, where one page shows all that is pending.
const A_SECOND: f64 = 0.8;

/// The most of them, however many are pending, and however many a look takes where the listing is of
/// no use and each build is asked for by itself: half of what the class allows without a limit of
/// its own, for others may use the same key.
const AT_MOST: f64 = 2.5;

/// The longest wait, whatever a look takes and however often it was in vain: no build should be
/// waited for much longer than it takes.
const LONGEST: Duration = Duration::from_secs(60);

/// The most requests that are owed: what is paid back in the longest wait. More would still be owed
/// when those that were dear to look at have ended.
const MOST_OWED: f64 = AT_MOST * 60.0 - BURST;

/// A bucket of requests for looking, which fills with time.
#[derive(Debug)]
pub(super) struct Pace {
    /// Below zero, what is owed.
    left: f64,
    /// How fast it fills since `filled`.
    rate: f64,
    filled: Instant,
    /// How many the last look took, and when it ended.
    last_cost: f64,
    ended: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, rate: A_SECOND, filled: now, last_cost: 0.0, ended: now }
    }

    /// When to look next at `pending` builds, the youngest of which is watched since `youngest`, and
    /// which were last looked at then, `failures` times in vain.
    pub(super) fn next(
        &mut self,
        pending: usize,
        youngest: Instant,
        last: Option<Instant>,
        failures: u32,
        now: Instant,
    ) -> Instant {
        // From the last look and not from the youngest build: those that keep coming must not put
        // off the look at those that are there.
        let from = last.unwrap_or(youngest);
        let gap = spacing(from.saturating_duration_since(youngest)) * (1 << failures.min(5));
        self.fill(now);
        let cost = cost(pending);
        // What a look took is paid back by the rate of such looks, even where few are left after it.
        self.rate = (A_SECOND * cost.max(self.last_cost)).min(AT_MOST);
        let until_full = Duration::from_secs_f64((cost - self.left).max(0.0) / self.rate);
        // From a moment that stays: who asks again and again does not wait anew.
        (from + gap).max(now + until_full).min(from.max(self.ended) + LONGEST)
    }

    /// Notes that a look took so many requests.
    pub(super) fn spent(&mut self, requests: u32, now: Instant) {
        self.fill(now);
        (self.last_cost, self.ended) = (f64::from(requests), now);
        self.left = (self.left - self.last_cost).max(-MOST_OWED);
    }

    /// By the rate of the time that has passed: a look after which few are left was waited for by
    /// the rate of many.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(BURST);
        self.filled = now;
    }
}

/// Requests that a look at so many builds takes at least.
fn cost(pending: usize) -> f64 {
    let pages = (pending as u64).div_ceil(BUILDS_PER_PAGE);
    // No more than the bucket ever holds, or it would be waited for in vain.
    f64::from(u32::try_from(pages).unwrap_or(u32::MAX)).clamp(1.0, BURST)
}

/// The time between two looks at builds of this age: a quarter second for the first moments, and a
/// sixteenth of the age up to five seconds.
fn spacing(age: Duration) -> Duration {
    (age / 16).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at `pending` builds for so long, by pages, and how many requests that took.
    fn looks(pending: usize, secs: u64) -> (Vec<f64>, u32) {
        looks_of(pending, u32::try_from(pending.div_ceil(100)).unwrap(), secs)
    }

    /// The same where a look takes so many requests.
    fn looks_of(pending: usize, requests_each: u32, secs: u64) -> (Vec<f64>, u32) {
        let start = Instant::now();
        let (mut pace, mut now, mut last) = (Pace::new(start), start, None);
        let (mut times, mut requests) = (Vec::new(), 0);
        loop {
            now = pace.next(pending, start, last, 0, now).max(now);
            if now >= start + Duration::from_secs(secs) {
                return (times, requests);
            }
            times.push((now - start).as_secs_f64());
            pace.spent(requests_each, now);
            requests += requests_each;
            last = Some(now);
        }
    }

    #[test]
    fn the_first_looks_are_soon_and_the_later_ones_rare() {
        let (times, _) = looks(1, 600);
        let next_after = |secs: f64| times.iter().find(|time| **time >= secs).unwrap() - secs;
        assert!(next_after(2.0) <= 0.5, "a build of two seconds: {times:?}");
        assert!(next_after(20.0) <= 1.5, "one of twenty: {times:?}");
        assert!(next_after(400.0) <= 5.0, "one of many minutes: {times:?}");
        assert!(times.len() < 200);
    }

    #[test]
    fn many_cost_little_more_than_few() {
        let (_, few) = looks(64, 600);
        assert!(few < 600, "less than one in a second: {few}");
        let (times, many) = looks(1000, 600);
        assert!(many < 1600 && times.len() > 100, "{many} in {} looks", times.len());
    }

    #[test]
    fn many_that_are_not_listed_are_asked_for_as_often_as_may_be() {
        let longest =
            |times: &[f64]| times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
        for (builds, each, wait) in [(4, 5, 5.0), (64, 65, 27.0), (500, 501, 60.0)] {
            let (times, requests) = looks_of(builds, each, 600);
            assert!(times[0] < 1.0 && longest(&times) <= wait, "{builds}: {times:?}");
            let within = (600.0 * AT_MOST + 60.0).max(f64::from(each) * 11.0);
            assert!(f64::from(requests) <= within, "{builds}: {requests}");
        }
        let (times, _) = looks_of(64, 65, 60);
        assert!(times.len() >= 3, "{times:?}");
    }

    #[test]
    fn the_last_few_of_many_that_are_not_listed_are_not_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..3 {
            pace.spent(500, start);
        }
        let due = pace.next(3, start, Some(start), 0, start);
        assert!(due <= start + LONGEST, "{:?}", due - start);
        pace.spent(3, due);
        let soon = pace.next(3, start, Some(due), 0, due);
        assert!(soon - due <= Duration::from_secs(5), "{:?}", soon - due);
    }

    #[test]
    fn who_asks_again_does_not_wait_anew() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.spent(1000, start);
        for secs in 0..60 {
            let now = start + Duration::from_secs(secs);
            let due = pace.next(600, now, Some(start), 99, now);
            assert!(due <= start + LONGEST, "{:?}", due - start);
        }
    }

    #[test]
    fn a_look_that_takes_long_is_no_reason_to_look_at_once() {
        let (start, ended) = (Instant::now(), Instant::now() + Duration::from_secs(300));
        let mut pace = Pace::new(start);
        pace.spent(500, ended);
        let due = pace.next(500, start, Some(start), 5, ended);
        assert!(due > ended + Duration::from_secs(50), "{:?}", due - start);
    }

    #[test]
    fn many_that_end_at_once_leave_no_debt() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        // A thousand that end with one look, again and again, as short transfers do.
        for _ in 0..20 {
            now = pace.next(1064, now, Some(now), 0, now);
            pace.spent(11, now);
            pace.next(64, now, Some(now), 0, now);
        }
        assert!(now - start < Duration::from_secs(20 * 5), "{:?}", now - start);
        let few = pace.next(64, now, Some(now), 0, now);
        assert!(few - now <= Duration::from_secs(6), "{:?}", few - now);
    }

    #[test]
    fn builds_that_keep_coming_do_not_put_off_the_look() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let due = pace.next(1, start, Some(start), 0, start);
        for later in [100, 200, 249] {
            let young = start + Duration::from_millis(later);
            assert_eq!(pace.next(2, young, Some(start), 0, young), due);
        }
    }

    #[test]
    fn trouble_makes_looks_rare() {
        let start = Instant::now();
        let at = |failures| Pace::new(start).next(1, start, Some(start), failures, start) - start;
        assert_eq!(at(0).as_millis(), 250);
        assert_eq!(at(3).as_secs(), 2);
        assert_eq!(at(99).as_secs(), 8);
    }
}
