//! The server's sliding window. It is exact, and shares no code with the client's, so that each tests
//! the other. Pure: the caller passes the time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::limit::Limit;

/// A refusal by a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitExceeded {
    /// Number that is counted now.
    pub(super) used: u32,
    /// Time until the same request would be admitted.
    pub(super) retry_after: Duration,
}

/// The events within the window, the newest at the back.
///
/// An event at `t` counts until just before `t + window`: the interval is half-open.
#[derive(Debug, Default)]
struct Recent {
    entries: VecDeque<(Instant, u32)>,
    sum: u32,
}

impl Recent {
    fn forget_before(&mut self, now: Instant, window: Duration) {
        while let Some((at, weight)) = self.entries.front().copied() {
            if now.duration_since(at) < window {
                break;
            }
            self.entries.pop_front();
            self.sum -= weight;
        }
    }

    fn push(&mut self, now: Instant, weight: u32) {
        self.entries.push_back((now, weight));
        self.sum = self.sum.saturating_add(weight);
    }
}

/// One rate limit of one token or account.
#[derive(Debug)]
pub(super) struct Window {
    limit: Limit,
    admitted: Recent,
    arrived: Recent,
    peak: u32,
}

impl Window {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, admitted: Recent::default(), arrived: Recent::default(), peak: 0 }
    }

    /// Admits `weight`, or returns when to try again. A refused request does not use the limit, but
    /// counts for the peak.
    pub(super) fn admit(&mut self, now: Instant, weight: u32) -> Result<(), LimitExceeded> {
        self.count_arrival(now, weight);
        self.admitted.forget_before(now, self.limit.window);
        let used = self.admitted.sum;
        if used.saturating_add(weight) <= self.limit.count {
            self.admitted.push(now, weight);
            return Ok(());
        }
        Err(LimitExceeded { used, retry_after: self.room_after(now, weight) })
    }

    /// Returns the maximum that arrived within any window, admitted or not.
    pub(super) fn peak(&self) -> u32 {
        self.peak
    }

    fn count_arrival(&mut self, now: Instant, weight: u32) {
        self.arrived.forget_before(now, self.limit.window);
        self.arrived.push(now, weight);
        self.peak = self.peak.max(self.arrived.sum);
    }

    /// Returns the time until enough of the admitted weight has left the window.
    fn room_after(&self, now: Instant, weight: u32) -> Duration {
        let mut used = self.admitted.sum;
        for (at, freed) in &self.admitted.entries {
            used -= freed;
            if used.saturating_add(weight) <= self.limit.count {
                return self.limit.window.saturating_sub(now.duration_since(*at));
            }
        }
        self.limit.window
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        Window::new(text.parse().unwrap())
    }

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = window("2/1s");
        assert_eq!(window.admit(at(0), 1), Ok(()));
        assert_eq!(window.admit(at(900), 1), Ok(()));
        let full = LimitExceeded { used: 2, retry_after: Duration::from_millis(1) };
        assert_eq!(window.admit(at(999), 1), Err(full));
        assert_eq!(window.admit(at(1000), 1), Ok(()));
        assert_eq!(window.admit(at(1001), 1).unwrap_err().retry_after.as_millis(), 899);
        assert_eq!(window.admit(at(1900), 1), Ok(()));
    }

    #[test]
    fn refused_requests_count_for_the_peak_only() {
        let start = Instant::now();
        let mut window = window("1/1s");
        assert!(window.admit(start, 1).is_ok());
        for _ in 0..3 {
            assert!(window.admit(start, 1).is_err());
        }
        assert_eq!(window.peak(), 4);
        assert!(window.admit(start + Duration::from_secs(1), 1).is_ok());
        assert_eq!(window.peak(), 4);
    }

    #[test]
    fn weights() {
        let start = Instant::now();
        let mut window = window("10/60s");
        assert!(window.admit(start, 7).is_ok());
        assert_eq!(window.admit(start + Duration::from_secs(10), 4).unwrap_err().used, 7);
        assert!(window.admit(start + Duration::from_secs(10), 3).is_ok());
        let full = window.admit(start + Duration::from_secs(20), 8).unwrap_err();
        assert_eq!(full.retry_after, Duration::from_secs(50));
    }

    proptest! {
        /// No window holds more than the limit, and a request is refused only if one would.
        #[test]
        fn is_exact(gaps in prop::collection::vec(0u64..400, 1..80)) {
            let start = Instant::now();
            let mut window = window("5/1s");
            let (mut now, mut admitted) = (0, Vec::<u64>::new());
            for gap in gaps {
                now += gap;
                let recent = admitted.iter().filter(|at| now - **at < 1000).count();
                let ok = window.admit(start + Duration::from_millis(now), 1).is_ok();
                prop_assert_eq!(ok, recent < 5);
                if ok {
                    admitted.push(now);
                }
            }
        }
    }
}
