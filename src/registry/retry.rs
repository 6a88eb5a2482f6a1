//! Decides which responses are retried, and after which wait. Pure: the caller sleeps and provides the
//! random number.
//!
//! Every request that comes here may be repeated: it reads, opens an upload, puts a manifest, or deletes
//! one. The upload of a blob is not sent again by itself, but with a new upload (`blob_copy`).

use std::time::Duration;

use crate::http::backoff;

/// Maximum backoff, if the registry asks for no specific wait.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// True if the status is a transient error.
pub(super) fn is_transient(status: u16) -> bool {
    // 501 is permanent: the registry does not implement the request.
    matches!(status, 408 | 425 | 500 | 502..)
}

/// Returns the wait after the failed attempt number `attempt`, from 1: what the registry asks for, else
/// a backoff. `jitter` is a random number in `0.0..1.0`.
pub(super) fn wait(attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    backoff::delay(attempt, retry_after, MAX_BACKOFF, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_15_s() {
        let millis = [1, 5, 6, u32::MAX].map(|attempt| wait(attempt, None, 1.0).as_millis());
        assert_eq!(millis, [500, 8000, 15_000, 15_000]);
    }

    #[test]
    fn transient_statuses() {
        for status in [408, 425, 500, 502, 503, 504, 520] {
            assert!(is_transient(status), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 405, 429, 501] {
            assert!(!is_transient(status), "{status}");
        }
    }
}
