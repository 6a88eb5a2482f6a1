//! Decides whether a failed request is sent again, and after which delay. Pure: time and random
//! numbers are given.
//!
//! The service has no idempotency key (API contract, section 4). If a transfer or
//! an update is lost, the caller looks up its result before it sends the request again. A context
//! build is repeated without a lookup: a build without its context never begins.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{ApiError, ErrorKind};
use crate::http::backoff;

/// Way to repeat a request whose response was lost or made no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Unchanged: the request reads, sets the same value again, or leaves something harmless
    /// behind.
    Safe,
    /// Only after a lookup: the request creates something that may exist by now.
    LookUpFirst,
}

/// Decision about a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Send the request again after this delay.
    Retry(Duration),
    /// After this delay, look up whether the request took effect; send it again if it did not.
    LookUp(Duration),
    /// Return the error.
    GiveUp,
}

impl RetryDecision {
    /// Returns the delay before the next attempt, or `None` if there is none.
    pub(super) fn delay(self) -> Option<Duration> {
        match self {
            Self::Retry(delay) | Self::LookUp(delay) => Some(delay),
            Self::GiveUp => None,
        }
    }
}

/// State of a request that a decision depends on, besides the error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RetryState {
    /// Number of failed attempts, including the last one. Rate limits are counted apart from other
    /// errors.
    pub attempts: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// Time since the first failed attempt.
    pub since_first: Duration,
    /// True if the service has sent a valid response before in this run.
    pub reached: bool,
    /// A random number in `0.0..1.0`.
    pub jitter: f64,
}

/// Maximum number of attempts at one request: about three minutes of delays.
pub(super) const MAX_ATTEMPTS: u32 = 10;

/// Maximum number of attempts if the service was never reached, so that a wrong URL is reported
/// within seconds.
const MAX_ATTEMPTS_UNREACHED: u32 = 4;

/// The same if another server responds, which is even more likely a wrong URL.
const MAX_ATTEMPTS_WRONG_SERVER: u32 = 3;

/// Maximum delay without `Retry-After`.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Maximum time from the first failed attempt to the start of the last attempt.
const MAX_TOTAL_TIME: Duration = Duration::from_secs(15 * 60);

/// Decides about a failed request.
///
/// For a rate limit there is no maximum, neither of attempts nor of time: the request had no
/// effect, and waiting is all that the service asks for. A rate limit never fails a unit.
pub(super) fn decide(error: &ApiError, state: &RetryState, repeat: Repeat) -> RetryDecision {
    use ErrorKind::{BadResponse, RateLimited, ResponseLost, ServerError, Unreachable};
    let delay = backoff::delay(state.attempts, error.retry_after, MAX_BACKOFF, state.jitter);
    let max_attempts = match error.kind {
        RateLimited => return RetryDecision::Retry(delay),
        BadResponse if !state.reached => MAX_ATTEMPTS_WRONG_SERVER,
        Unreachable | ServerError | ResponseLost | BadResponse if state.reached => {
            state.max_attempts
        }
        Unreachable | ServerError | ResponseLost | BadResponse => MAX_ATTEMPTS_UNREACHED,
        _ => return RetryDecision::GiveUp,
    };
    if state.attempts >= max_attempts.min(state.max_attempts)
        || state.since_first + delay > MAX_TOTAL_TIME
    {
        return RetryDecision::GiveUp;
    }
    match repeat {
        // A request that was never sent needs no lookup.
        Repeat::LookUpFirst if error.kind != Unreachable => RetryDecision::LookUp(delay),
        Repeat::LookUpFirst | Repeat::Safe => RetryDecision::Retry(delay),
    }
}

/// Counts the attempts at one request, across the lookups in between.
#[derive(Debug, Clone)]
pub struct Attempts {
    repeat: Repeat,
    maximum: u32,
    failed: u32,
    rate_limited: u32,
    first_failure: Option<Instant>,
    /// True if an attempt failed without an answer of the service about its effect.
    in_doubt: bool,
}

impl Attempts {
    /// Creates a counter without attempts and without a maximum.
    pub fn new(repeat: Repeat) -> Self {
        let (maximum, first_failure, in_doubt) = (u32::MAX, None, false);
        Self { repeat, maximum, failed: 0, rate_limited: 0, first_failure, in_doubt }
    }

    /// Sets the maximum number of attempts.
    #[must_use]
    pub fn at_most(self, maximum: u32) -> Self {
        Self { maximum, ..self }
    }

    /// True if a failed attempt may have taken effect.
    pub(super) fn may_have_taken_effect(&self) -> bool {
        self.in_doubt
    }

    /// Lowers the maximum number of attempts to this number.
    pub(super) fn limit_to(&mut self, maximum: u32) {
        self.maximum = self.maximum.min(maximum);
    }

    /// Records a failed attempt. Returns its number, from 1, and the decision about it.
    pub fn record_failure(
        &mut self,
        error: &ApiError,
        reached: bool,
        jitter: f64,
        now: Instant,
    ) -> (u32, RetryDecision) {
        use ErrorKind::{BadResponse, ResponseLost, ServerError};
        self.in_doubt |= matches!(error.kind, BadResponse | ResponseLost | ServerError);
        let is_rate_limit = error.kind == ErrorKind::RateLimited;
        let count = if is_rate_limit { &mut self.rate_limited } else { &mut self.failed };
        *count += 1;
        let attempts = *count;
        // Waiting for a rate limit is not a failure, however long it takes.
        let first = if is_rate_limit { now } else { *self.first_failure.get_or_insert(now) };
        let since_first = now.saturating_duration_since(first);
        let max_attempts = self.maximum;
        let state = RetryState { attempts, max_attempts, since_first, reached, jitter };
        (self.rate_limited + self.failed, decide(error, &state, self.repeat))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use insta::assert_snapshot;

    const ACTION: &str = "try";

    fn state(attempts: u32) -> RetryState {
        let (max_attempts, since_first) = (MAX_ATTEMPTS, Duration::ZERO);
        RetryState { attempts, max_attempts, since_first, reached: true, jitter: 1.0 }
    }

    fn response(status: u16, retry_after: Option<u64>, detail: &str) -> ApiError {
        let body = format!(r#"{{"detail": "{detail}"}}"#);
        let retry_after = retry_after.map(Duration::from_secs);
        ApiError::from_response(ACTION, status, retry_after, body.as_bytes(), "k")
    }

    #[test]
    fn every_failure_has_a_decision() {
        let error = |kind| ApiError::new(ACTION, kind, "");
        let mut failures = vec![
            ("200 and HTML".to_owned(), error(ErrorKind::BadResponse)),
            ("201 without a build".to_owned(), error(ErrorKind::BadResponse)),
        ];
        for status in [302, 400, 401, 402, 403, 404, 405, 408, 409, 422, 425, 429] {
            failures.push((status.to_string(), response(status, None, "")));
        }
        let not_found = ApiError::from_response(ACTION, 404, None, b"default backend", "k");
        failures.push(("404 of another server".to_owned(), not_found));
        failures.push(("429 asks for 7 s".to_owned(), response(429, Some(7), "")));
        failures.push(("429 of a quota".to_owned(), response(429, None, "Image limit exceeded")));
        for status in [500, 502, 503, 504] {
            failures.push((status.to_string(), response(status, None, "")));
        }
        failures.push(("503 asks for 7 s".to_owned(), response(503, Some(7), "")));
        failures.push(("503 asks for a day".to_owned(), response(503, Some(86_400), "")));
        failures.push(("503 asks for 0 s".to_owned(), response(503, Some(0), "")));
        failures.push(("not connected".to_owned(), error(ErrorKind::Unreachable)));
        failures.push(("response lost".to_owned(), error(ErrorKind::ResponseLost)));
        failures.push(("stopped".to_owned(), error(ErrorKind::Stopped)));
        let mut table = String::new();
        for (name, error) in &failures {
            let decision = |repeat| format!("{:?}", decide(error, &state(1), repeat));
            let (safe, look_up) = (decision(Repeat::Safe), decision(Repeat::LookUpFirst));
            writeln!(table, "{name:22}{safe:15}{look_up}").unwrap();
        }
        assert_snapshot!(table, @"
        200 and HTML          Retry(500ms)   LookUp(500ms)
        201 without a build   Retry(500ms)   LookUp(500ms)
        302                   GiveUp         GiveUp
        400                   GiveUp         GiveUp
        401                   GiveUp         GiveUp
        402                   GiveUp         GiveUp
        403                   GiveUp         GiveUp
        404                   GiveUp         GiveUp
        405                   GiveUp         GiveUp
        408                   Retry(500ms)   LookUp(500ms)
        409                   GiveUp         GiveUp
        422                   GiveUp         GiveUp
        425                   Retry(500ms)   LookUp(500ms)
        429                   Retry(500ms)   Retry(500ms)
        404 of another server Retry(500ms)   LookUp(500ms)
        429 asks for 7 s      Retry(7s)      Retry(7s)
        429 of a quota        GiveUp         GiveUp
        500                   Retry(500ms)   LookUp(500ms)
        502                   Retry(500ms)   LookUp(500ms)
        503                   Retry(500ms)   LookUp(500ms)
        504                   Retry(500ms)   LookUp(500ms)
        503 asks for 7 s      Retry(7s)      LookUp(7s)
        503 asks for a day    Retry(120s)    LookUp(120s)
        503 asks for 0 s      Retry(500ms)   LookUp(500ms)
        not connected         Retry(500ms)   Retry(500ms)
        response lost         Retry(500ms)   LookUp(500ms)
        stopped               GiveUp         GiveUp
        ");
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        let error = response(503, None, "");
        let secs =
            [2, 3, 7, 8, 9].map(|attempts| match decide(&error, &state(attempts), Repeat::Safe) {
                RetryDecision::Retry(delay) => delay.as_secs(),
                other => panic!("{other:?}"),
            });
        assert_eq!(secs, [1, 2, 32, 60, 60]);
    }

    #[test]
    fn attempts_end_except_for_rate_limits() {
        let last = |error: &ApiError, base: RetryState| {
            let goes_on = |attempts: &u32| {
                let state = RetryState { attempts: *attempts, ..base };
                decide(error, &state, Repeat::Safe) != RetryDecision::GiveUp
            };
            (1..100).take_while(goes_on).count() + 1
        };
        let unreached = RetryState { reached: false, ..state(1) };
        let kind = |kind| ApiError::new(ACTION, kind, "");
        for error in
            [response(500, None, ""), kind(ErrorKind::ResponseLost), kind(ErrorKind::Unreachable)]
        {
            assert_eq!((last(&error, state(1)), last(&error, unreached)), (10, 4), "{error}");
        }
        let bad_response = kind(ErrorKind::BadResponse);
        assert_eq!((last(&bad_response, state(1)), last(&bad_response, unreached)), (10, 3));
        let quick = RetryState { max_attempts: 2, ..state(1) };
        assert_eq!((last(&bad_response, quick), last(&response(429, None, ""), quick)), (2, 100));
    }

    #[test]
    fn no_attempt_starts_after_a_quarter_of_an_hour() {
        let decide_after = |error: &ApiError, secs| {
            let since_first = Duration::from_secs(secs);
            decide(error, &RetryState { since_first, ..state(2) }, Repeat::Safe)
        };
        let error = response(503, Some(60), "");
        assert_eq!(decide_after(&error, 840), RetryDecision::Retry(Duration::from_secs(60)));
        assert_eq!(decide_after(&error, 841), RetryDecision::GiveUp);
        assert_ne!(decide_after(&response(429, Some(60), ""), 86_400), RetryDecision::GiveUp);
    }

    #[test]
    fn waiting_for_a_rate_limit_is_not_an_attempt() {
        let (start, mut attempts) = (Instant::now(), Attempts::new(Repeat::Safe));
        let mut fail = |error: &ApiError, secs| {
            attempts.record_failure(error, true, 1.0, start + Duration::from_secs(secs)).1
        };
        for secs in 0..50 {
            assert_ne!(fail(&response(429, None, ""), secs * 60), RetryDecision::GiveUp);
        }
        let first = fail(&response(500, None, ""), 3000);
        assert_eq!(first, RetryDecision::Retry(Duration::from_millis(500)), "the first failure");
    }
}
