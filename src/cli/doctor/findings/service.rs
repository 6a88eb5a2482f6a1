//! Verdicts about the service: its address, the key, the clock and the owners. Pure.

use std::time::Duration;

use jiff::SignedDuration;

use super::{CheckProblem, check, problem, with_help};
use crate::api::{ApiError, ErrorKind};
use crate::base::text::duration;
use crate::report::checks::{Check, Verdict};

/// Difference between two clocks from which on there is a warning. Responses have times in whole seconds.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A request to the service.
#[derive(Debug)]
pub(in crate::cli::doctor) struct ServiceFinding {
    /// Name of the service.
    pub(in crate::cli::doctor) url: String,
    /// Variable or file with the API key.
    pub(in crate::cli::doctor) key_from: Option<&'static str>,
    /// True if the key is sent without encryption.
    pub(in crate::cli::doctor) is_unencrypted: bool,
    pub(in crate::cli::doctor) outcome: ServiceOutcome,
}

/// The result of a request to the service.
#[derive(Debug)]
pub(in crate::cli::doctor) enum ServiceOutcome {
    /// The service is inside of this process.
    Local,
    /// There is no API key, and nothing was sent.
    NoKey,
    /// The API key must not be sent there.
    Withheld(CheckProblem),
    /// Nothing can be sent.
    NoClient(CheckProblem),
    /// There was no response within this time.
    TimedOut(Duration),
    /// The request failed.
    Failed(ApiError),
    /// There was a response after `elapsed`. `skew` is positive if this machine's clock is ahead.
    Answered { elapsed: Duration, skew: Option<SignedDuration> },
}

/// An owner of images, and the result of a request for them.
#[derive(Debug)]
pub(in crate::cli::doctor) struct OwnerFinding {
    /// The owner in words, with its origin.
    pub(in crate::cli::doctor) words: String,
    pub(in crate::cli::doctor) outcome: OwnerOutcome,
}

/// The result of a request for an owner's images.
#[derive(Debug)]
pub(in crate::cli::doctor) enum OwnerOutcome {
    /// The service was not asked.
    NotAsked,
    /// The owner is that of the key.
    Own,
    /// There was no response within this time.
    TimedOut(Duration),
    /// The request ended.
    Asked(Result<(), ApiError>),
}

/// True if an error is about the key, and not about the service.
fn is_about_key(error: &ApiError) -> bool {
    use ErrorKind::{Forbidden, PaymentRequired, QuotaExceeded, Unauthorized};
    matches!(error.kind, Unauthorized | Forbidden | PaymentRequired | QuotaExceeded)
}

fn api_problem(error: &ApiError) -> CheckProblem {
    CheckProblem { message: error.to_string(), help: error.help().map(str::to_owned) }
}

fn no_response(limit: Duration) -> String {
    format!("no response within {}", duration(limit))
}

impl ServiceFinding {
    /// Returns the checks of the service, of the key and of the clock.
    pub(in crate::cli::doctor) fn checks(&self) -> [Check; 3] {
        [self.service(), self.key(), self.clock()]
    }

    fn service(&self) -> Check {
        let (name, url) = ("service", &self.url);
        match &self.outcome {
            ServiceOutcome::Local => check(name, Verdict::Ok, "the server inside of imgplan"),
            ServiceOutcome::NoKey | ServiceOutcome::Withheld(_) => {
                check(name, Verdict::Skipped, format!("{url} was not asked"))
            }
            ServiceOutcome::NoClient(found) => problem(name, Verdict::Error, found),
            ServiceOutcome::TimedOut(limit) => with_help(
                check(name, Verdict::Error, format!("{url}: {}", no_response(*limit))),
                "check PRIME_API_BASE_URL and the network connection",
            ),
            ServiceOutcome::Failed(error) if !is_about_key(error) => {
                let CheckProblem { message, help } = api_problem(error);
                let names_url = message.contains(url);
                let message = if names_url { message } else { format!("{url}: {message}") };
                problem(name, Verdict::Error, &CheckProblem { message, help })
            }
            ServiceOutcome::Failed(_) => check(name, Verdict::Ok, format!("{url} responds")),
            ServiceOutcome::Answered { elapsed, .. } => {
                let elapsed = elapsed.as_millis();
                check(name, Verdict::Ok, format!("{url} responds in {elapsed} ms"))
            }
        }
    }

    fn key(&self) -> Check {
        let (name, from) = ("key", self.key_from.unwrap_or("the environment"));
        let found = match &self.outcome {
            ServiceOutcome::Local => {
                return check(name, Verdict::Skipped, "the server inside of imgplan needs none");
            }
            ServiceOutcome::NoKey => {
                return with_help(
                    check(name, Verdict::Error, "there is no API key"),
                    "set PRIME_API_KEY, or run `prime login`; `--local` needs no key",
                );
            }
            ServiceOutcome::Withheld(found) => return problem(name, Verdict::Error, found),
            ServiceOutcome::Failed(error) if is_about_key(error) => {
                let CheckProblem { message, help } = api_problem(error);
                let message = format!("the key of {from} is refused: {message}");
                return problem(name, Verdict::Error, &CheckProblem { message, help });
            }
            ServiceOutcome::Answered { .. } => {
                check(name, Verdict::Ok, format!("the key of {from} is accepted"))
            }
            ServiceOutcome::NoClient(_)
            | ServiceOutcome::TimedOut(_)
            | ServiceOutcome::Failed(_) => {
                check(name, Verdict::Skipped, format!("the key of {from} cannot be tried"))
            }
        };
        if !self.is_unencrypted {
            return found;
        }
        let finding = format!("{}, and is sent without encryption", found.finding);
        with_help(check(name, Verdict::Warning, finding), "use a service with https://")
    }

    fn clock(&self) -> Check {
        let name = "clock";
        match &self.outcome {
            ServiceOutcome::Local => check(name, Verdict::Ok, "that of the server is the same"),
            ServiceOutcome::Answered { skew: Some(skew), .. } => {
                let amount = duration(skew.unsigned_abs());
                let direction = if skew.is_negative() { "behind" } else { "ahead of" };
                let finding = format!("this machine's clock is {amount} {direction} the service's");
                if skew.abs() <= MAX_SKEW {
                    return check(name, Verdict::Ok, finding);
                }
                with_help(
                    check(
                        name,
                        Verdict::Warning,
                        format!("{finding}: ages and times will be wrong"),
                    ),
                    "set the clock, for example with NTP",
                )
            }
            _ => check(name, Verdict::Skipped, "the service did not tell its time"),
        }
    }
}

impl OwnerFinding {
    pub(in crate::cli::doctor) fn check(&self) -> Check {
        let (name, words) = ("owner", &self.words);
        match &self.outcome {
            OwnerOutcome::Own => check(name, Verdict::Ok, words),
            OwnerOutcome::NotAsked => {
                check(name, Verdict::Skipped, format!("{words}: the service was not asked"))
            }
            OwnerOutcome::TimedOut(limit) => with_help(
                check(name, Verdict::Warning, format!("{words}: {}", no_response(*limit))),
                "try again",
            ),
            OwnerOutcome::Asked(Ok(())) => {
                check(name, Verdict::Ok, format!("{words}: the key may read its images"))
            }
            OwnerOutcome::Asked(Err(error)) => {
                let CheckProblem { message, help } = api_problem(error);
                let message = format!("{words}: {message}");
                problem(name, Verdict::Error, &CheckProblem { message, help })
            }
        }
    }
}
