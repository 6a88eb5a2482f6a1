//! Says which answers are worth another try, and after how long. Pure: the caller sleeps and draws.
//!
//! All requests only read, so any of them may be sent again.

use std::time::Duration;

use crate::http::backoff;

/// The longest wait of our own accord.
const LONGEST: Duration = Duration::from_secs(15);

/// Whether a status says that the registry is in trouble, which may pass.
pub(super) fn is_trouble(status: u16) -> bool {
    // 501 is for what a registry cannot do at all.
    matches!(status, 408 | 425 | 500 | 502..)
}

/// The wait after so many tries that failed, from 1: what the registry asks for, or else a backoff.
/// `jitter` is 0 or more and below 1.
pub(super) fn wait(failed: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    backoff::delay(failed, asked, LONGEST, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_quarter_of_a_minute() {
        let millis = [1, 5, 6, u32::MAX].map(|failed| wait(failed, None, 1.0).as_millis());
        assert_eq!(millis, [500, 8000, 15_000, 15_000]);
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
