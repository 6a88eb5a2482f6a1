//! Says whether a request may be sent again, and after how long. Pure: the caller sleeps, and
//! brings the time and the dice.
//!
//! The service has no idempotency key (`api.md` §4): a request that asks for something new and whose
//! answer was lost is looked up before it is sent again.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{ApiError, ErrorKind};
use crate::http::backoff;

/// What may be done with a request whose answer was lost, or makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It may be sent again as it is: it reads, sets what is set already, or leaves something
    /// behind that does no harm.
    Safe,
    /// It asks for something new: whether that is there must be looked up first.
    LookUpFirst,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Wait so long and send it again.
    Again(Duration),
    /// Wait so long, look whether it took effect, and send it again if it did not.
    Look(Duration),
    /// The failure stands.
    GiveUp,
}

/// What a verdict depends on besides the error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// Attempts so far, the one that has just failed among them. Of a 429 those that met a 429; of
    /// all else those that met all else.
    pub tries: u32,
    /// Attempts in all, at most.
    pub most: u32,
    /// The time since the first that failed.
    pub since_first: Duration,
    /// Whether the service has ever answered sensibly in this run.
    pub reached: bool,
    /// 0 or more, below 1: drawn by the caller.
    pub jitter: f64,
}

/// Attempts at one request: some three minutes of waits.
pub const TRIES: u32 = 10;

/// Attempts where the service was never reached: a wrong URL is told within seconds.
const TRIES_UNREACHED: u32 = 4;

/// The same where something answers that is not the service: that is a wrong URL even more likely.
const TRIES_STRANGER: u32 = 3;

/// The longest wait of our own accord.
const LONGEST: Duration = Duration::from_secs(60);

/// No try begins later than this after the first that failed.
const IN_ALL: Duration = Duration::from_secs(15 * 60);

/// Judges a failure.
///
/// A rate has no cap, neither on tries nor on time: nothing was done, and waiting is all that is
/// asked. It never fails a unit.
pub fn after(error: &ApiError, attempt: &Attempt, repeat: Repeat) -> RetryDecision {
    use ErrorKind::{BadResponse, RateLimited, ResponseLost, ServerError, Unreachable};
    let wait = backoff::delay(attempt.tries, error.retry_after, LONGEST, attempt.jitter);
    let tries = match error.kind {
        RateLimited => return RetryDecision::Again(wait),
        BadResponse if !attempt.reached => TRIES_STRANGER,
        Unreachable | ServerError | ResponseLost | BadResponse if attempt.reached => attempt.most,
        Unreachable | ServerError | ResponseLost | BadResponse => TRIES_UNREACHED,
        _ => return RetryDecision::GiveUp,
    };
    if attempt.tries >= tries.min(attempt.most) || attempt.since_first + wait > IN_ALL {
        return RetryDecision::GiveUp;
    }
    match repeat {
        // Of what was never sent there is nothing to look up.
        Repeat::LookUpFirst if error.kind != Unreachable => RetryDecision::Look(wait),
        Repeat::LookUpFirst | Repeat::Safe => RetryDecision::Again(wait),
    }
}

/// The tries at one thing, over the look-ups between them.
#[derive(Debug, Clone)]
pub struct Attempts {
    repeat: Repeat,
    most: u32,
    failed: u32,
    rates: u32,
    first: Option<Instant>,
}

impl Attempts {
    /// None so far.
    pub fn new(repeat: Repeat) -> Self {
        Self { repeat, most: u32::MAX, failed: 0, rates: 0, first: None }
    }

    /// No more than so many, for whoever comes back anyway.
    #[must_use]
    pub fn at_most(self, most: u32) -> Self {
        Self { most, ..self }
    }

    /// No more than so many, if it were more.
    pub(super) fn cap(&mut self, most: u32) {
        self.most = self.most.min(most);
    }

    /// Takes in that another has failed: which one it was, from 1, and the verdict on it.
    pub fn failed(
        &mut self,
        error: &ApiError,
        reached: bool,
        jitter: f64,
        now: Instant,
    ) -> (u32, RetryDecision) {
        let rate = error.kind == ErrorKind::RateLimited;
        let tries = if rate { &mut self.rates } else { &mut self.failed };
        *tries += 1;
        let tries = *tries;
        // To wait one's turn is no failure, however long it takes.
        let first = if rate { now } else { *self.first.get_or_insert(now) };
        let since_first = now.saturating_duration_since(first);
        let attempt = Attempt { tries, most: self.most, since_first, reached, jitter };
        (self.rates + self.failed, after(error, &attempt, self.repeat))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use insta::assert_snapshot;

    const ACTION: &str = "try";

    fn attempt(tries: u32) -> Attempt {
        let since_first = Duration::ZERO;
        Attempt { tries, most: TRIES, since_first, reached: true, jitter: 1.0 }
    }

    fn answer(status: u16, retry_after: Option<u64>, detail: &str) -> ApiError {
        let body = format!(r#"{{"detail": "{detail}"}}"#);
        let retry_after = retry_after.map(Duration::from_secs);
        ApiError::from_answer(ACTION, status, retry_after, body.as_bytes(), "k")
    }

    #[test]
    fn every_failure_has_its_verdict() {
        let error = |kind| ApiError::new(ACTION, kind, "");
        let mut failures = vec![
            ("200 and HTML".to_owned(), error(ErrorKind::BadResponse)),
            ("201 without a build".to_owned(), error(ErrorKind::BadResponse)),
        ];
        for status in [302, 400, 401, 402, 403, 404, 405, 408, 409, 422, 425, 429] {
            failures.push((status.to_string(), answer(status, None, "")));
        }
        let stranger = ApiError::from_answer(ACTION, 404, None, b"default backend", "k");
        failures.push(("404 of a stranger".to_owned(), stranger));
        failures.push(("429 asks for 7 s".to_owned(), answer(429, Some(7), "")));
        failures.push(("429 of a quota".to_owned(), answer(429, None, "Image limit exceeded")));
        for status in [500, 502, 503, 504] {
            failures.push((status.to_string(), answer(status, None, "")));
        }
        failures.push(("503 asks for 7 s".to_owned(), answer(503, Some(7), "")));
        failures.push(("503 asks for a day".to_owned(), answer(503, Some(86_400), "")));
        failures.push(("503 asks for 0 s".to_owned(), answer(503, Some(0), "")));
        failures.push(("not connected".to_owned(), error(ErrorKind::Unreachable)));
        failures.push(("answer lost".to_owned(), error(ErrorKind::ResponseLost)));
        failures.push(("stopped".to_owned(), error(ErrorKind::Stopped)));
        let mut table = String::new();
        for (name, error) in &failures {
            let verdict = |repeat| format!("{:?}", after(error, &attempt(1), repeat));
            let (safe, look) = (verdict(Repeat::Safe), verdict(Repeat::LookUpFirst));
            writeln!(table, "{name:20}{safe:15}{look}").unwrap();
        }
        assert_snapshot!(table, @"
        200 and HTML        Again(500ms)   Look(500ms)
        201 without a build Again(500ms)   Look(500ms)
        302                 GiveUp         GiveUp
        400                 GiveUp         GiveUp
        401                 GiveUp         GiveUp
        402                 GiveUp         GiveUp
        403                 GiveUp         GiveUp
        404                 GiveUp         GiveUp
        405                 GiveUp         GiveUp
        408                 Again(500ms)   Look(500ms)
        409                 GiveUp         GiveUp
        422                 GiveUp         GiveUp
        425                 Again(500ms)   Look(500ms)
        429                 Again(500ms)   Again(500ms)
        404 of a stranger   Again(500ms)   Look(500ms)
        429 asks for 7 s    Again(7s)      Again(7s)
        429 of a quota      GiveUp         GiveUp
        500                 Again(500ms)   Look(500ms)
        502                 Again(500ms)   Look(500ms)
        503                 Again(500ms)   Look(500ms)
        504                 Again(500ms)   Look(500ms)
        503 asks for 7 s    Again(7s)      Look(7s)
        503 asks for a day  Again(120s)    Look(120s)
        503 asks for 0 s    Again(500ms)   Look(500ms)
        not connected       Again(500ms)   Again(500ms)
        answer lost         Again(500ms)   Look(500ms)
        stopped             GiveUp         GiveUp
        ");
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let error = answer(503, None, "");
        let secs =
            [2, 3, 7, 8, 9].map(|tries| match after(&error, &attempt(tries), Repeat::Safe) {
                RetryDecision::Again(wait) => wait.as_secs(),
                other => panic!("{other:?}"),
            });
        assert_eq!(secs, [1, 2, 32, 60, 60]);
    }

    #[test]
    fn tries_end_but_for_those_that_wait_their_turn() {
        let last = |error: &ApiError, base: Attempt| {
            let stays = |tries: &u32| {
                let attempt = Attempt { tries: *tries, ..base };
                after(error, &attempt, Repeat::Safe) != RetryDecision::GiveUp
            };
            (1..100).take_while(stays).count() + 1
        };
        let new = Attempt { reached: false, ..attempt(1) };
        let kind = |kind| ApiError::new(ACTION, kind, "");
        for error in
            [answer(500, None, ""), kind(ErrorKind::ResponseLost), kind(ErrorKind::Unreachable)]
        {
            assert_eq!((last(&error, attempt(1)), last(&error, new)), (10, 4), "{error}");
        }
        let stranger = kind(ErrorKind::BadResponse);
        assert_eq!((last(&stranger, attempt(1)), last(&stranger, new)), (10, 3));
        let quick = Attempt { most: 2, ..attempt(1) };
        assert_eq!((last(&stranger, quick), last(&answer(429, None, ""), quick)), (2, 100));
    }

    #[test]
    fn no_try_begins_after_a_quarter_of_an_hour() {
        let after_secs = |error: &ApiError, secs| {
            let since_first = Duration::from_secs(secs);
            after(error, &Attempt { since_first, ..attempt(2) }, Repeat::Safe)
        };
        let error = answer(503, Some(60), "");
        assert_eq!(after_secs(&error, 840), RetryDecision::Again(Duration::from_secs(60)));
        assert_eq!(after_secs(&error, 841), RetryDecision::GiveUp);
        assert_ne!(after_secs(&answer(429, Some(60), ""), 86_400), RetryDecision::GiveUp);
    }

    #[test]
    fn to_wait_a_turn_is_no_try() {
        let (start, mut tries) = (Instant::now(), Attempts::new(Repeat::Safe));
        let mut fail = |error: &ApiError, secs| {
            tries.failed(error, true, 1.0, start + Duration::from_secs(secs)).1
        };
        for secs in 0..50 {
            assert_ne!(fail(&answer(429, None, ""), secs * 60), RetryDecision::GiveUp);
        }
        let first = fail(&answer(500, None, ""), 3000);
        assert_eq!(
            first,
            RetryDecision::Again(Duration::from_millis(500)),
            "it is the first that failed"
        );
    }
}
