//! Says which answers are worth another try, and after how long. Pure: the caller sleeps and draws.
//!
//! All requests only read, so any of them may be sent again.

use std::time::Duration;

/// The first wait; each further one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait of our own accord.
const LONGEST: Duration = Duration::from_secs(15);

/// The longest wait that a registry is granted. Who asks for more is told to the user instead.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// Whether a status says that the registry is in trouble, which may pass.
pub(super) fn is_trouble(status: u16) -> bool {
    // 501 is for what a registry cannot do at all.
    matches!(status, 408 | 425 | 500 | 502..)
}

/// The wait after so many tries that failed, from 1: what the registry asks for, or else a backoff of
/// at least half its length. `jitter` is 0 or more and below 1.
pub(super) fn wait(failed: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    let backoff = (FIRST * (1 << doublings)).min(LONGEST).mul_f64(0.5 + jitter / 2.0);
    // That it asks for no wait at all says nothing.
    asked.filter(|asked| !asked.is_zero()).unwrap_or(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_spread() {
        let millis = |failed, jitter| wait(failed, None, jitter).as_millis();
        let longest: Vec<_> = (1..=7).map(|failed| millis(failed, 1.0)).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert_eq!((millis(1, 0.0), millis(u32::MAX, 0.0)), (250, 7500));
        assert_eq!(wait(1, Some(Duration::from_secs(7)), 0.0).as_secs(), 7);
        assert_eq!(wait(1, Some(Duration::ZERO), 0.0).as_millis(), 250);
    }

    #[test]
    fn what_passes() {
        for status in [408, 425, 500, 502, 503, 504, 520] {
            assert!(is_trouble(status), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 405, 429, 501] {
            assert!(!is_trouble(status), "{status}");
        }
    }
}
