//! Decides when to poll pending builds again. Pure: the caller passes the time.
//!
//! The numbers are for the default limit of 300 requests in 60 s. With another limit, requests are divided
//! by the ratio of that limit to the default.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::client::BUILDS_PER_PAGE;

/// Requests that may be sent without delay, so that the end of a build of a few seconds is seen soon: a
/// twelfth of the default limit.
const BURST_REQUESTS: f64 = 24.0;

/// Maximum number of requests that a poll waits for. A larger one goes into debt.
const MAX_COST: f64 = 8.0;

/// Long-term poll requests per second, if one page of the listing shows all pending builds.
const POLLS_PER_SECOND: f64 = 0.8;

/// Maximum poll requests per second: half of the default limit, so that other users of the key keep
/// a share. Reached with many builds, or if the listing is of no use and each build is polled alone.
const MAX_POLLS_PER_SECOND: f64 = 2.5;

/// Maximum delay between polls, whatever a poll costs and however often it has failed. With less than two
/// requests per minute, polls use more than half of the limit.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Maximum debt, in requests: what [`MAX_DELAY`] pays back. A larger debt would outlast the builds
/// that caused it, and delay the polls of the remaining ones.
const MAX_DEBT: f64 = MAX_POLLS_PER_SECOND * 60.0 - MAX_COST;

/// A token bucket of poll requests.
#[derive(Debug)]
pub(super) struct Pace {
    /// The limit on requests, relative to the default limit.
    scale: f64,
    /// Requests that may be sent now, over `scale`. Negative: a debt.
    tokens: f64,
    /// Tokens per second since `filled`.
    rate: f64,
    filled: Instant,
    /// Requests of the last poll, over `scale`.
    last_cost: f64,
    /// End of the last poll.
    ended: Instant,
}

impl Pace {
    /// Creates a full bucket. `scale` is the limit on requests, relative to the default limit.
    pub(super) fn new(scale: f64, now: Instant) -> Self {
        let rate = POLLS_PER_SECOND;
        Self { scale, tokens: BURST_REQUESTS, rate, filled: now, last_cost: 0.0, ended: now }
    }

    /// Returns the time of the next poll of `pending` builds. `youngest` is the time at which the
    /// newest of them was added, `failures` the number of failed polls in a row.
    pub(super) fn next(
        &mut self,
        pending: usize,
        youngest: Instant,
        last: Option<Instant>,
        failures: u32,
        now: Instant,
    ) -> Instant {
        // Counted from the last poll and not from the newest build: new builds that keep coming must
        // not put off the poll of the others.
        let from = last.unwrap_or(youngest);
        let gap = spacing(from.saturating_duration_since(youngest)) * (1 << failures.min(5));
        self.fill(now);
        let cost = (pages(pending) / self.scale).min(MAX_COST);
        // The cost of a large poll is paid back at the rate of large polls, even if few builds remain.
        self.rate = (POLLS_PER_SECOND * cost.max(self.last_cost)).min(MAX_POLLS_PER_SECOND);
        let until_full = Duration::from_secs_f64((cost - self.tokens).max(0.0) / self.rate);
        // Counted from fixed moments, so that repeated calls do not extend the delay.
        (from + gap).max(now + until_full).min(from.max(self.ended) + MAX_DELAY)
    }

    /// Notes that a poll has ended and took `requests` requests.
    pub(super) fn spent(&mut self, requests: u32, now: Instant) {
        self.fill(now);
        (self.last_cost, self.ended) = (f64::from(requests) / self.scale, now);
        self.tokens = (self.tokens - self.last_cost).max(-MAX_DEBT);
    }

    /// Adds the tokens of the time since the last call, at the rate of that time.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(BURST_REQUESTS);
        self.filled = now;
    }
}

/// Returns the minimum number of listing pages that show so many builds.
fn pages(pending: usize) -> f64 {
    let pages = (pending as u64).div_ceil(BUILDS_PER_PAGE);
    f64::from(u32::try_from(pages).unwrap_or(u32::MAX)).max(1.0)
}

/// Returns the delay between two polls of builds of this age: a sixteenth of the age, from a quarter
/// of a second to five seconds.
fn spacing(age: Duration) -> Duration {
    (age / 16).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls `pending` builds by pages for `secs` seconds. Returns the times and the number of requests.
    fn polls(pending: usize, secs: u64) -> (Vec<f64>, u32) {
        polls_of(pending, u32::try_from(pending.div_ceil(100)).unwrap(), secs)
    }

    /// The same with `requests_each` requests per poll.
    fn polls_of(pending: usize, requests_each: u32, secs: u64) -> (Vec<f64>, u32) {
        let start = Instant::now();
        let (mut pace, mut now, mut last) = (Pace::new(1.0, start), start, None);
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
    fn polls_are_frequent_at_first_and_rare_later() {
        let (times, _) = polls(1, 600);
        let next_after = |secs: f64| times.iter().find(|time| **time >= secs).unwrap() - secs;
        assert!(next_after(2.0) <= 0.25, "a build of two seconds: {times:?}");
        assert!(next_after(5.0) <= 0.4, "one of five: {times:?}");
        assert!(next_after(20.0) <= 1.5, "one of twenty: {times:?}");
        assert!(next_after(400.0) <= 5.0, "one of many minutes: {times:?}");
        assert!(times.len() < 200);
    }

    #[test]
    fn many_builds_cost_little_more_than_few() {
        let (_, few) = polls(64, 600);
        assert!(few < 600, "more than one per second: {few}");
        let (times, many) = polls(1000, 600);
        assert!(many < 1600 && times.len() > 100, "{many} in {} polls", times.len());
    }

    #[test]
    fn many_unlisted_builds_are_polled_at_the_maximum_rate() {
        let longest =
            |times: &[f64]| times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
        for (builds, each, wait) in [(4, 5, 5.0), (64, 65, 27.0), (500, 501, 60.0)] {
            let (times, requests) = polls_of(builds, each, 600);
            assert!(times[0] < 1.0 && longest(&times) <= wait + 0.001, "{builds}: {times:?}");
            let within = (600.0 * MAX_POLLS_PER_SECOND + 60.0).max(f64::from(each) * 11.0);
            assert!(f64::from(requests) <= within, "{builds}: {requests}");
        }
        let (times, _) = polls_of(64, 65, 60);
        assert!(times.len() >= 3, "{times:?}");
    }

    #[test]
    fn the_last_few_of_many_unlisted_builds_are_polled_soon() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0, start);
        for _ in 0..3 {
            pace.spent(500, start);
        }
        let due = pace.next(3, start, Some(start), 0, start);
        assert!(due <= start + MAX_DELAY, "{:?}", due - start);
        pace.spent(3, due);
        let soon = pace.next(3, start, Some(due), 0, due);
        assert!(soon - due <= Duration::from_secs(5), "{:?}", soon - due);
    }

    #[test]
    fn repeated_calls_do_not_extend_the_delay() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0, start);
        pace.spent(1000, start);
        for secs in 0..60 {
            let now = start + Duration::from_secs(secs);
            let due = pace.next(600, now, Some(start), 99, now);
            assert!(due <= start + MAX_DELAY, "{:?}", due - start);
        }
    }

    #[test]
    fn a_long_poll_is_not_followed_by_another_at_once() {
        let (start, ended) = (Instant::now(), Instant::now() + Duration::from_secs(300));
        let mut pace = Pace::new(1.0, start);
        pace.spent(500, ended);
        let due = pace.next(500, start, Some(start), 5, ended);
        assert!(due > ended + Duration::from_secs(50), "{:?}", due - start);
    }

    #[test]
    fn many_builds_that_end_at_once_leave_no_debt() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0, start);
        let mut now = start;
        // A thousand short transfers that all end before the next poll, twenty times.
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
    fn new_builds_do_not_put_off_the_poll() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0, start);
        let due = pace.next(1, start, Some(start), 0, start);
        for later in [100, 200, 249] {
            let young = start + Duration::from_millis(later);
            assert_eq!(pace.next(2, young, Some(start), 0, young), due);
        }
    }

    #[test]
    fn the_pace_follows_the_limit() {
        for (scale, builds, each, seconds) in [
            // A sixteenth of the default limit: polls use half of it.
            (1.0 / 16.0, 1, 1, 6.4),
            (1.0, 375, 60, 24.0),
            (8.0, 375, 60, 3.0),
        ] {
            let start = Instant::now();
            let (mut pace, mut now) = (Pace::new(scale, start), start);
            let mut last = None;
            for _ in 0..40 {
                last = Some(now);
                pace.spent(each, now);
                now = pace.next(builds, now, last, 0, now);
            }
            let delay = (now - last.unwrap()).as_secs_f64();
            assert!((delay - seconds).abs() < 0.01, "{scale}: {delay}");
        }
    }

    #[test]
    fn failures_make_polls_rare() {
        let start = Instant::now();
        let at =
            |failures| Pace::new(1.0, start).next(1, start, Some(start), failures, start) - start;
        assert_eq!(at(0).as_millis(), 250);
        assert_eq!(at(3).as_secs(), 2);
        assert_eq!(at(99).as_secs(), 8);
    }
}
