//! Numbers that differ from run to run, so that those who failed together do not come back
//! together. Not for secrets. Pure: the seed is given.

use std::sync::atomic::{AtomicU64, Ordering};

/// A splitmix64 generator (Steele, Lea and Flood, 2014), which many may draw from at once.
#[derive(Debug)]
pub(super) struct Jitter(AtomicU64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number: 0 or more, below 1.
    pub(super) fn draw(&self) -> f64 {
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
