//! When to look at pending builds again. Pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::client::BUILDS_PER_PAGE;

/// Requests that may follow each other at once, so that a build of a few seconds is not waited for
/// longer than it takes.
const BURST: f64 = 8.0;

/// Requests in a second in the long run, where one page shows all that is pending.
const A_SECOND: f64 = 0.8;

/// The most of them, however many are pending: half of what the class allows without a limit of its
/// own, for others may use the same key.
const AT_MOST: f64 = 2.5;

/// The longest wait for it: where the listing is of no use, hundreds of builds take a request each,
/// and none of them should be waited for much longer than it takes.
const LONGEST: Duration = Duration::from_secs(60);

/// A bucket of requests for looking, which fills with time.
#[derive(Debug)]
pub(super) struct Pace {
    left: f64,
    /// How fast it fills since `filled`.
    rate: f64,
    filled: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, rate: A_SECOND, filled: now }
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
        self.rate = rate(pending);
        let cost = cost(pending);
        let until_full = Duration::from_secs_f64((cost - self.left).max(0.0) / self.rate);
        (from + gap).max(now + until_full.min(LONGEST))
    }

    /// Notes that a look took so many requests.
    pub(super) fn spent(&mut self, requests: u32) {
        self.left -= f64::from(requests);
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

fn rate(pending: usize) -> f64 {
    (A_SECOND * cost(pending)).min(AT_MOST)
}

/// The time between two looks at builds of this age: a quarter second for the first moments, and a
/// sixteenth of the age up to five seconds.
fn spacing(age: Duration) -> Duration {
    (age / 16).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at `pending` builds for so long, and how many requests that took.
    fn looks(pending: usize, secs: u64) -> (Vec<f64>, u32) {
        let start = Instant::now();
        let (mut pace, mut now, mut last) = (Pace::new(start), start, None);
        let (mut times, mut requests) = (Vec::new(), 0);
        let pages = u32::try_from(pending.div_ceil(100)).unwrap();
        loop {
            now = pace.next(pending, start, last, 0, now).max(now);
            if now >= start + Duration::from_secs(secs) {
                return (times, requests);
            }
            times.push((now - start).as_secs_f64());
            pace.spent(pages);
            requests += pages;
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
    fn many_that_end_at_once_leave_no_debt() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        // A thousand that end with one look, again and again, as short transfers do.
        for _ in 0..20 {
            now = pace.next(1064, now, Some(now), 0, now);
            pace.spent(11);
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
