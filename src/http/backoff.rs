//! Computes retry delays, spread by jitter so that clients that failed together do not return
//! together. Pure: the seed is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Delay after the first failed attempt; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Maximum delay that a server may request with `Retry-After` (API contract, section 3: honour it
/// and cap it).
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Returns the delay after the given number of failed attempts, from 1: the server's `retry_after`,
/// up to [`MAX_RETRY_AFTER`], or else an exponential backoff up to `max_backoff`. `jitter` is in
/// `0.0..1.0`.
///
/// A backoff takes between half and all of its full length. Full jitter, down to zero, would spread
/// requests as well, but could use up all attempts within moments of an outage.
pub(crate) fn delay(
    failed_attempts: u32,
    retry_after: Option<Duration>,
    max_backoff: Duration,
    jitter: f64,
) -> Duration {
    // A `Retry-After` of zero says nothing about the wait.
    if let Some(requested) = retry_after.filter(|requested| !requested.is_zero()) {
        return requested.min(MAX_RETRY_AFTER);
    }
    let doublings = failed_attempts.saturating_sub(1).min(16);
    (FIRST_DELAY * (1 << doublings)).min(max_backoff).mul_f64(0.5 + jitter / 2.0)
}

/// A splitmix64 generator (Steele, Lea and Flood, 2014) that threads share. Not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    /// Creates a generator whose numbers depend on the seed only.
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Returns the next number, in `0.0..1.0`.
    pub(crate) fn draw(&self) -> f64 {
        const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA);
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
    fn delays_double_and_are_spread() {
        let max_backoff = Duration::from_secs(60);
        let millis = |failed, jitter| delay(failed, None, max_backoff, jitter).as_millis();
        let doubled: Vec<_> = (1..=10).map(|failed| millis(failed, 1.0)).collect();
        assert_eq!(doubled, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!((millis(1, 0.0), millis(9, 0.0), millis(u32::MAX, 0.5)), (250, 30_000, 45_000));
    }

    #[test]
    fn retry_after_overrides_the_backoff() {
        for (secs, expected) in [(0, 250), (1, 1000), (7, 7000), (120, 120_000), (121, 120_000)] {
            let retry_after = Some(Duration::from_secs(secs));
            let delay = delay(1, retry_after, Duration::from_secs(15), 0.0);
            assert_eq!(delay.as_millis(), expected, "{secs}");
        }
    }

    #[test]
    fn draws_are_spread_between_0_and_1() {
        let jitter = Jitter::new(0);
        let draws: Vec<f64> = (0..1000).map(|_| jitter.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        // The first number of the reference implementation for seed 0 is e220a8397b1dcdaf.
        assert!((draws[0] * 65536.0 - f64::from(0xe220_u32)).abs() < 1.0, "{}", draws[0]);
        assert!((Jitter::new(1).draw() - Jitter::new(2).draw()).abs() > 0.0);
    }
}
