//! Requests to the service, and the verdict of one that failed.

use std::time::Duration;

use crate::api::{ApiError, ErrorKind};
use crate::base::text::{duration, plural};
use crate::report::checks::{Check, Verdict};

/// Maximum time of a request.
pub(super) const MAX_REQUEST_TIME: Duration = Duration::from_secs(10);

/// The failure of a request to the service.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// There was no response within [`MAX_REQUEST_TIME`].
    TimedOut,
    /// The request ended with an error.
    Failed(ApiError),
}

/// Awaits a request for [`MAX_REQUEST_TIME`].
pub(super) async fn ask<T>(
    request: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, RequestFailure> {
    let response = tokio::time::timeout(MAX_REQUEST_TIME, request).await;
    response.map_err(|_| RequestFailure::TimedOut)?.map_err(RequestFailure::Failed)
}

/// Returns the text for a server that did not respond.
pub(super) fn no_response() -> String {
    format!("no response within {}", duration(MAX_REQUEST_TIME))
}

/// Returns a line for the number of owners or registries above the maximum, if there are any.
pub(super) fn not_checked(name: &'static str, noun: &str, number: usize) -> Option<Check> {
    let finding = format!("{} not checked", plural(number, noun));
    (number > 0).then(|| Check::new(name, Verdict::Skipped, finding))
}

impl RequestFailure {
    /// A transient error, and a late response, are a warning: an apply tries again. Any other error
    /// stops it, and so does a missing connection, which seldom passes.
    fn verdict(&self) -> Verdict {
        match self {
            Self::TimedOut => Verdict::Warning,
            Self::Failed(error) if error.kind == ErrorKind::Unreachable => Verdict::Error,
            Self::Failed(error) if error.is_transient() => Verdict::Warning,
            Self::Failed(_) => Verdict::Error,
        }
    }

    /// Returns the error if the service responded, and the key or its account is the problem. A proxy
    /// may refuse a request too, but does not know the key.
    pub(super) fn about_key(&self) -> Option<&ApiError> {
        use ErrorKind::{Forbidden, PaymentRequired, QuotaExceeded, Unauthorized};
        let Self::Failed(error) = self else { return None };
        let is_kind =
            matches!(error.kind, Unauthorized | Forbidden | PaymentRequired | QuotaExceeded);
        (is_kind && (error.is_from_api || error.status.is_none())).then_some(error)
    }

    /// Returns the check of the service or of an owner, named by `subject`.
    pub(super) fn check(&self, name: &'static str, subject: &str) -> Check {
        let (message, help) = match self {
            Self::TimedOut => {
                (no_response(), Some("check PRIME_API_BASE_URL and the network connection"))
            }
            Self::Failed(error) if error.kind == ErrorKind::RateLimited && error.is_from_api => {
                ("responds; its rate limit is reached".to_owned(), error.help())
            }
            Self::Failed(error) => (error.to_string(), help(error)),
        };
        let finding =
            if message.contains(subject) { message } else { format!("{subject}: {message}") };
        let check = Check::new(name, self.verdict(), finding);
        help.into_iter().fold(check, Check::with_help)
    }
}

/// Returns what the user can do. Of a proxy, the status says nothing about the key.
fn help(error: &ApiError) -> Option<&'static str> {
    if error.status.is_none() || error.is_from_api || error.is_transient() {
        return error.help();
    }
    ApiError { kind: ErrorKind::BadResponse, ..error.clone() }.help()
}
