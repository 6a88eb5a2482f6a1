//! Says how long to wait after a failure, and draws numbers so that those who failed together do not
//! come back together. Pure: the seed is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait that a server is granted (`api.md` §3: honour it and cap it).
pub const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// The wait after so many tries that failed, from 1: what the server asks for, up to
/// [`LONGEST_ASKED`]; else a backoff up to `longest`. `jitter` is 0 or more and below 1.
///
/// A backoff has at least half its length and at most all of it. Full jitter, down to nothing, would
/// spread as well, but could spend all tries within moments of an outage.
pub fn wait(failed: u32, asked: Option<Duration>, longest: Duration, jitter: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    let backoff = (FIRST * (1 << doublings)).min(longest).mul_f64(0.5 + jitter / 2.0);
    // That it asks for no wait at all says nothing.
    let asked = asked.filter(|asked| !asked.is_zero());
    asked.map_or(backoff, |asked| asked.min(LONGEST_ASKED))
}

/// A splitmix64 generator (Steele, Lea and Flood, 2014), which many may draw from at once. Not for
/// secrets.
#[derive(Debug)]
pub struct Jitter(AtomicU64);

impl Jitter {
    /// A generator whose numbers follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number: 0 or more, below 1.
    pub fn draw(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        f64::from(u32::try_from(z >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_spread() {
        let longest = Duration::from_secs(60);
        let millis = |failed, jitter| wait(failed, None, longest, jitter).as_millis();
        let doubled: Vec<_> = (1..=10).map(|failed| millis(failed, 1.0)).collect();
        assert_eq!(doubled, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!((millis(1, 0.0), millis(9, 0.0), millis(u32::MAX, 0.5)), (250, 30_000, 45_000));
    }

    #[test]
    fn what_is_asked_for_counts_for_more() {
        for (asked, expected) in [(0, 250), (1, 1000), (7, 7000), (120, 120_000), (121, 120_000)] {
            let asked_for = Some(Duration::from_secs(asked));
            let wait = wait(1, asked_for, Duration::from_secs(15), 0.0);
            assert_eq!(wait.as_millis(), expected, "{asked}");
        }
    }

    #[test]
    fn draws_are_spread_between_0_and_1() {
        let jitter = Jitter::new(0);
        let draws: Vec<f64> = (0..1000).map(|_| jitter.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        // The reference's first number for the seed 0 is e220a8397b1dcdaf.
        assert!((draws[0] * 65536.0 - f64::from(0xe220_u32)).abs() < 1.0, "{}", draws[0]);
        assert!((Jitter::new(1).draw() - Jitter::new(2).draw()).abs() > 0.0);
    }
}
