//! Verdicts about the service: its address, the key and the clock. Pure.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::SignedDuration;

use super::request::RequestFailure;
use crate::api::ErrorKind;
use crate::base::text::duration;
use crate::cli::failure::Failure;
use crate::report::checks::{Check, Verdict};

/// Difference between two clocks from which on there is a warning. Responses have times in whole seconds.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A request to the service.
pub(super) struct ServiceFinding {
    /// Name of the service.
    pub(super) url: String,
    /// Variable or file with the API key.
    pub(super) key_from: Option<&'static str>,
    /// True if the key is sent without encryption.
    pub(super) is_unencrypted: bool,
    pub(super) outcome: ServiceOutcome,
}

/// The result of a request to the service.
#[derive(Debug)]
pub(super) enum ServiceOutcome {
    /// There is an API key, and `--offline` was given.
    Offline,
    /// There is no API key, and nothing was sent.
    NoKey,
    /// The API key must not be sent there.
    Withheld(Failure),
    /// Nothing can be sent.
    NoClient(Failure),
    /// The request failed.
    Failed(RequestFailure),
    /// There was a response after `elapsed`. `skew` is positive if this machine's clock is ahead.
    Answered { elapsed: Duration, skew: Option<SignedDuration> },
}

/// Returns the check of a failure.
pub(super) fn problem(name: &'static str, verdict: Verdict, failure: &Failure) -> Check {
    let help = failure.report.help().map(|help| help.to_string());
    Check { help, ..Check::new(name, verdict, failure.report.to_string()) }
}

impl ServiceFinding {
    /// Returns the checks of the service, of the key and of the clock.
    pub(super) fn checks(&self) -> [Check; 3] {
        [self.service(), self.key(), self.clock()]
    }

    fn service(&self) -> Check {
        let (name, url) = ("service", &self.url);
        match &self.outcome {
            ServiceOutcome::Offline => {
                Check::new(name, Verdict::Skipped, format!("{url} was not asked (--offline)"))
            }
            ServiceOutcome::NoKey | ServiceOutcome::Withheld(_) => {
                Check::new(name, Verdict::Skipped, format!("{url} was not asked"))
            }
            ServiceOutcome::NoClient(failure) => problem(name, Verdict::Error, failure),
            ServiceOutcome::Failed(failure) => match failure.about_key() {
                Some(_) => Check::new(name, Verdict::Ok, format!("{url} responds")),
                None => failure.check(name, url),
            },
            ServiceOutcome::Answered { elapsed, .. } => {
                let elapsed = elapsed.as_millis();
                Check::new(name, Verdict::Ok, format!("{url} responds in {elapsed} ms"))
            }
        }
    }

    fn key(&self) -> Check {
        let (name, from) = ("key", self.key_from.unwrap_or("the environment"));
        let found = match &self.outcome {
            ServiceOutcome::NoKey => {
                return Check::new(name, Verdict::Error, "there is no API key")
                    .with_help("set PRIME_API_KEY, or run `prime login`; `--local` needs no key");
            }
            ServiceOutcome::Withheld(failure) => return problem(name, Verdict::Error, failure),
            ServiceOutcome::Failed(failure) if failure.about_key().is_some() => {
                return refused(failure, from);
            }
            ServiceOutcome::Answered { .. } => {
                Check::new(name, Verdict::Ok, format!("the key of {from} is accepted"))
            }
            _ => Check::new(name, Verdict::Skipped, format!("the key of {from} was not tried")),
        };
        if !self.is_unencrypted {
            return found;
        }
        let finding = format!("{}; it is sent without encryption", found.finding);
        Check::new(name, Verdict::Warning, finding).with_help("use a service with https://")
    }

    fn clock(&self) -> Check {
        let name = "clock";
        let ServiceOutcome::Answered { skew: Some(skew), .. } = &self.outcome else {
            return Check::new(name, Verdict::Skipped, "not checked");
        };
        let amount = duration(skew.unsigned_abs());
        let direction = if skew.is_negative() { "behind" } else { "ahead of" };
        let finding = format!("this machine's clock is {amount} {direction} the service's");
        if skew.abs() <= MAX_SKEW {
            return Check::new(name, Verdict::Ok, finding);
        }
        Check::new(name, Verdict::Warning, format!("{finding}: ages and times will be wrong"))
            .with_help("set the clock, for example with NTP")
    }
}

/// Returns the check of a key with which a request failed. An account that has to be paid, or a quota,
/// is no refusal of the key.
fn refused(failure: &RequestFailure, from: &str) -> Check {
    let is_refused = |kind| matches!(kind, ErrorKind::Unauthorized | ErrorKind::Forbidden);
    let is_refused = failure.about_key().is_some_and(|error| is_refused(error.kind));
    let refusal = format!("the key of {from} is refused");
    failure.check("key", if is_refused { &refusal } else { from })
}
