//! Tables: each result of a request with its lines.

use super::*;
use crate::api::ApiError;

fn line(check: &Check) -> String {
    let help = check.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{:?} {} {}{help}", check.verdict, check.name, check.finding)
}

fn lines(outcome: ServiceOutcome, is_unencrypted: bool) -> [String; 3] {
    let url = "https://s".to_owned();
    let key_from = Some("PRIME_API_KEY");
    ServiceFinding { url, key_from, is_unencrypted, outcome }.checks().map(|check| line(&check))
}

fn failed(error: ApiError) -> ServiceOutcome {
    ServiceOutcome::Failed(RequestFailure::Failed(error))
}

fn response(status: u16, body: &str) -> ServiceOutcome {
    failed(ApiError::from_response("list the builds", status, None, body.as_bytes(), "k"))
}

const NO_CLOCK: &str = "Skipped clock not checked";
const UNTRIED: &str = "Skipped key the key of PRIME_API_KEY was not tried";

#[test]
fn services_without_a_request() {
    let unasked = "Skipped service https://s was not asked";
    for (outcome, expected) in [
        (
            ServiceOutcome::Offline,
            ["Skipped service https://s was not asked (--offline)", UNTRIED, NO_CLOCK],
        ),
        (
            ServiceOutcome::NoKey,
            [
                unasked,
                "Error key there is no API key; set PRIME_API_KEY, or run `prime login`; `--local` \
                 needs no key",
                NO_CLOCK,
            ],
        ),
        (
            ServiceOutcome::Withheld(Failure::with_help("not for it", "do it")),
            [unasked, "Error key not for it; do it", NO_CLOCK],
        ),
        (
            ServiceOutcome::NoClient(Failure::with_help("no certificates", "do it")),
            ["Error service no certificates; do it", UNTRIED, NO_CLOCK],
        ),
    ] {
        assert_eq!(lines(outcome, false), expected);
    }
}

/// Only what stops an apply is an error.
#[test]
fn services_that_do_not_answer() {
    let unreachable = "https://s/api/v1: connection refused";
    for (outcome, expected) in [
        (
            ServiceOutcome::Failed(RequestFailure::TimedOut),
            "Warning service https://s: no response within 10s; check PRIME_API_BASE_URL and the \
             network connection",
        ),
        (
            failed(ApiError::new("list the builds", ErrorKind::Unreachable, unreachable)),
            "Error service cannot reach the service: https://s/api/v1: connection refused; check \
             PRIME_API_BASE_URL and the network connection",
        ),
        (
            response(503, r#"{"detail": "down"}"#),
            "Warning service https://s: cannot list the builds (HTTP 503): down; the service has a \
             problem: try again later",
        ),
        (
            response(429, r#"{"detail": "Rate limit exceeded"}"#),
            "Warning service https://s: responds; its rate limit is reached; lower the rate limit \
             of these requests with --limit",
        ),
        (
            response(403, "<html>Blocked</html>"),
            "Error service https://s: cannot list the builds (HTTP 403): an HTML page instead of \
             JSON; this is not the images API: check that PRIME_API_BASE_URL is correct and that \
             no proxy responds in its place",
        ),
    ] {
        assert_eq!(lines(outcome, false), [expected, UNTRIED, NO_CLOCK]);
    }
}

#[test]
fn keys_that_were_tried() {
    for (outcome, expected) in [
        (
            response(401, ""),
            "Error key the key of PRIME_API_KEY is refused: cannot list the builds (HTTP 401); the \
             API key is not accepted: check that PRIME_API_KEY is correct and not revoked",
        ),
        (
            response(401, r#"{"detail": "bad key"}"#),
            "Error key the key of PRIME_API_KEY is refused: cannot list the builds (HTTP 401): bad \
             key; the API key is not accepted: check that PRIME_API_KEY is correct and not revoked",
        ),
        (
            response(402, r#"{"detail": "pay"}"#),
            "Error key PRIME_API_KEY: cannot list the builds (HTTP 402): pay; pay the account's \
             outstanding balance",
        ),
    ] {
        assert_eq!(lines(outcome, false), ["Ok service https://s responds", expected, NO_CLOCK]);
    }
    let answered = ServiceOutcome::Answered { elapsed: Duration::from_millis(80), skew: None };
    assert_eq!(
        lines(answered, true),
        [
            "Ok service https://s responds in 80 ms",
            "Warning key the key of PRIME_API_KEY is accepted; it is sent without encryption; use a \
             service with https://",
            NO_CLOCK,
        ]
    );
}

#[test]
fn clocks() {
    for (seconds, expected) in [
        (0, "Ok clock this machine's clock is 0.0s ahead of the service's"),
        (30, "Ok clock this machine's clock is 30s ahead of the service's"),
        (-30, "Ok clock this machine's clock is 30s behind the service's"),
        (
            31,
            "Warning clock this machine's clock is 31s ahead of the service's: ages and times will be \
             wrong; set the clock, for example with NTP",
        ),
    ] {
        let skew = Some(SignedDuration::from_secs(seconds));
        let outcome = ServiceOutcome::Answered { elapsed: Duration::ZERO, skew };
        assert_eq!(lines(outcome, false)[2], expected);
    }
}
