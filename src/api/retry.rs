//! Says whether a request may be sent again, and after how long. Pure: the caller sleeps.

use std::time::Duration;

use super::error::{ApiError, ErrorKind};

/// Whether the effect of a request is the same if it is sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Reading, or setting what is set already.
    Safe,
    /// Asking for something new: only sent again when nothing can have happened.
    Unsafe,
}

/// Tries at one request in all, but for those that only wait their turn.
const TRIES: u32 = 4;

/// The longest wait, whatever the service asks for.
const LONGEST: Duration = Duration::from_secs(120);

/// How long to wait before trying again; `None` gives up. `tries` counts those that failed.
pub fn after(error: &ApiError, tries: u32, repeat: Repeat) -> Option<Duration> {
    let backoff = Duration::from_millis(500 << tries.min(8));
    match error.kind {
        // Nothing was done, and waiting is all that is asked: however often.
        ErrorKind::Rate => Some(error.retry_after.unwrap_or(backoff * 2).min(LONGEST)),
        ErrorKind::Unreachable if tries < TRIES => Some(backoff),
        ErrorKind::Server | ErrorKind::Lost if repeat == Repeat::Safe && tries < TRIES => {
            Some(error.retry_after.unwrap_or(backoff).min(LONGEST))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_not_sent_again() {
        let all = [
            ErrorKind::Unauthorized,
            ErrorKind::PaymentRequired,
            ErrorKind::Forbidden,
            ErrorKind::NotFound,
            ErrorKind::Quota,
            ErrorKind::Rate,
            ErrorKind::Rejected,
            ErrorKind::Server,
            ErrorKind::Unreachable,
            ErrorKind::Lost,
            ErrorKind::BadAnswer,
            ErrorKind::Stopped,
        ];
        let again =
            |kind, repeat, tries| after(&ApiError::new("try", kind, ""), tries, repeat).is_some();
        for kind in all {
            let safe = matches!(
                kind,
                ErrorKind::Rate | ErrorKind::Server | ErrorKind::Unreachable | ErrorKind::Lost
            );
            let unsafe_too = matches!(kind, ErrorKind::Rate | ErrorKind::Unreachable);
            assert_eq!(again(kind, Repeat::Safe, 1), safe, "{kind:?}");
            assert_eq!(again(kind, Repeat::Unsafe, 1), unsafe_too, "{kind:?}");
            assert_eq!(again(kind, Repeat::Safe, TRIES), kind == ErrorKind::Rate, "{kind:?}");
        }
    }

    #[test]
    fn the_service_is_heard_but_not_for_ever() {
        let mut error = ApiError::new("try", ErrorKind::Rate, "");
        error.retry_after = Some(Duration::from_secs(7));
        assert_eq!(after(&error, 1, Repeat::Unsafe), Some(Duration::from_secs(7)));
        error.retry_after = Some(Duration::from_secs(86_400));
        assert_eq!(after(&error, 1, Repeat::Unsafe), Some(LONGEST));
        assert!(after(&ApiError::new("t", ErrorKind::Rate, ""), 1000, Repeat::Safe).is_some());
    }
}
