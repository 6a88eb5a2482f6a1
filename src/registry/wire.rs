//! Sends one request to a registry: waits for the throttle of its host, follows redirects, reads the
//! response, and retries transient errors.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Response, StatusCode, Url};
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use super::authorization::Authorization;
use super::error::{self, RegistryErrorKind, RegistryFailure, without_secrets};
use super::message::{RegistryRequest, RegistryResponse, RequestBody, build_request};
use super::retry;
use super::throttle::{HostThrottles, SendPermit};
use crate::http::backoff::{Jitter, MAX_RETRY_AFTER};
use crate::http::body::{BodyError, BodyLimits, read_body};
use crate::http::header;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::target::{check_target, origin};
use crate::http::{Transport, TransportError};

/// Maximum time until the head of a response arrives.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time until a response is complete.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a response. Registries have to accept manifests of this size (OCI distribution
/// specification, "Pushing Manifests").
const MAX_BODY_BYTES: usize = 4 << 20;

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: u32 = 5;

/// Maximum number of 429 responses to one request, whatever other requests to the host receive.
const MAX_429_PER_REQUEST: u32 = 10;

/// Sends requests.
pub(super) struct RequestSender {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) hosts: HostThrottles,
    /// Maximum number of attempts of one request.
    pub(super) max_attempts: u32,
    pub(super) jitter: Jitter,
}

/// The failure of one attempt.
enum AttemptError {
    /// A 429 response. The request is sent again at once: the throttle of the host waits.
    RateLimited,
    Transient(TransientError),
    Fatal(RegistryFailure),
}

struct TransientError {
    failure: RegistryFailure,
    status: Option<u16>,
    retry_after: Option<Duration>,
    /// True if there was no connection to the host.
    no_connection: bool,
    /// Origin of the host that failed.
    origin: String,
}

impl TransientError {
    /// Creates an error without a response. `secrets` are removed from the cause.
    fn new(host: &str, origin: &str, cause: &str, secrets: &[&str]) -> Self {
        let cause = error::shorten(&without_secrets(cause, secrets));
        let help = "check the name of the registry and the network";
        let kind = RegistryErrorKind::Unreachable;
        Self {
            failure: RegistryFailure::new(kind, format!("{host}: {cause}"), help),
            status: None,
            retry_after: None,
            no_connection: false,
            origin: origin.to_owned(),
        }
    }
}

impl From<RegistryFailure> for AttemptError {
    fn from(failure: RegistryFailure) -> Self {
        Self::Fatal(failure)
    }
}

impl From<TransientError> for AttemptError {
    fn from(error: TransientError) -> Self {
        Self::Transient(error)
    }
}

/// The result of one exchange with a host.
enum Exchange {
    Redirect(Url),
    Response(Box<RegistryResponse>),
}

impl RequestSender {
    /// Sends a request, and repeats it after transient errors.
    ///
    /// # Errors
    ///
    /// Fails if a transient error persists, if the host keeps answering 429, and if a response violates
    /// the protocol.
    pub(super) async fn send(
        &self,
        request: &RegistryRequest<'_>,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        let host = self.hosts.get(origin(&request.url));
        let _slot = host.acquire_slot().await?;
        let (mut attempt, mut rate_limited) = (0, 0);
        loop {
            match self.attempt(request, observer).await {
                Ok(response) => return Ok(response),
                Err(AttemptError::Fatal(failure)) => return Err(failure),
                Err(AttemptError::RateLimited) => {
                    rate_limited += 1;
                    if rate_limited >= MAX_429_PER_REQUEST {
                        let message = format!("{} keeps answering HTTP 429", host.name);
                        let (kind, help) = (RegistryErrorKind::RateLimited, "try again later");
                        return Err(RegistryFailure::new(kind, message, help));
                    }
                }
                Err(AttemptError::Transient(error)) => {
                    attempt += 1;
                    let TransientError { failure, status, retry_after, .. } = error;
                    let is_too_long = retry_after.is_some_and(|wait| wait > MAX_RETRY_AFTER);
                    if attempt >= self.max_attempts || is_too_long {
                        self.hosts.get(error.origin).record_failure(&failure, error.no_connection);
                        return Err(failure);
                    }
                    let wait = retry::wait(attempt, retry_after, self.jitter.draw());
                    observer(Notice::Retry {
                        registry: Some(host.name.clone()),
                        action: "query the registry",
                        class: None,
                        attempt,
                        status,
                        why: failure.message,
                        wait,
                    });
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Sends a request once and follows its redirects.
    async fn attempt(
        &self,
        request: &RegistryRequest<'_>,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, AttemptError> {
        let (first_origin, mut url) = (request.url.origin(), request.url.clone());
        // After a redirect to another origin the authorization is not sent again, even if a further
        // redirect leads back: the other origin chose the URL.
        let mut from_first_origin = true;
        for _ in 0..=MAX_REDIRECTS {
            match self.exchange(request, &url, from_first_origin, observer).await? {
                Exchange::Response(response) => return Ok(*response),
                Exchange::Redirect(target) => {
                    from_first_origin = from_first_origin && target.origin() == first_origin;
                    url = target;
                }
            }
        }
        let message = format!("too many redirects, the last one by {}", origin(&url));
        Err(RegistryFailure::unexpected(message).into())
    }

    /// Sends a request to `url` and reads the response.
    async fn exchange(
        &self,
        request: &RegistryRequest<'_>,
        url: &Url,
        from_first_origin: bool,
        observer: ObserverRef<'_>,
    ) -> Result<Exchange, AttemptError> {
        let origin = origin(url);
        let host = self.hosts.get(origin.clone());
        let permit = host.acquire().await?;
        let deadline = Instant::now() + RESPONSE_TIMEOUT;
        let secrets = Authorization::secrets(request.authorization);
        let transient = |cause: &str| TransientError::new(&host.name, &origin, cause, &secrets);
        let http_request = build_request(request, url, from_first_origin);
        let response = match timeout(HEAD_TIMEOUT, self.transport.send(http_request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(TransportError { sent, message })) => {
                return Err(TransientError { no_connection: !sent, ..transient(&message) }.into());
            }
            Err(_) => return Err(transient(&no_response(HEAD_TIMEOUT)).into()),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if is_redirect(status) {
            permit.record_success();
            return Ok(Exchange::Redirect(redirect_target(request, url, &headers)?));
        }
        let retry_after = header::retry_after(&headers, Timestamp::now());
        let mut answer = Box::new(RegistryResponse {
            status: status.as_u16(),
            headers,
            body: Bytes::new(),
            unread: None,
            url: url.clone(),
            from_first_origin,
            secrets: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
        });
        if request.leaves_body && status.is_success() {
            permit.record_success();
            answer.unread = Some(response);
            return Ok(Exchange::Response(answer));
        }
        let body = match read(response, deadline).await {
            Ok(body) => body,
            Err(ReadError::Unacceptable(problem)) if status.is_success() => {
                let message = format!("{}: {problem}", host.name);
                return Err(RegistryFailure::unexpected(message).into());
            }
            Err(ReadError::Incomplete(cause)) if status.is_success() => {
                let status = Some(status.as_u16());
                return Err(TransientError { status, ..transient(&cause) }.into());
            }
            // The status of an error response says enough.
            Err(_) => Vec::new(),
        };
        let describe = || error::describe_response(status.as_u16(), &body, &secrets);
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(rate_limited(&permit, &host.name, retry_after, &describe(), observer));
        }
        let status = status.as_u16();
        if retry::is_transient(status) {
            let error = transient(&describe());
            return Err(TransientError { status: Some(status), retry_after, ..error }.into());
        }
        permit.record_success();
        answer.body = body.into();
        Ok(Exchange::Response(answer))
    }
}

/// The failure to read a response body.
enum ReadError {
    /// The body is too large or has an unknown content coding. Another attempt would fail the same way.
    Unacceptable(String),
    /// The body ended early; the cause.
    Incomplete(String),
}

/// Reads a response body.
async fn read(response: Response, deadline: Instant) -> Result<Vec<u8>, ReadError> {
    let limits = BodyLimits { max_bytes: MAX_BODY_BYTES, max_silence: RESPONSE_TIMEOUT, deadline };
    let mut body = Vec::new();
    read_body(response, limits, &mut body).await.map_err(|error| match error {
        BodyError::TooLarge => {
            let limit = MAX_BODY_BYTES >> 20;
            ReadError::Unacceptable(format!("the response has more than {limit} MiB"))
        }
        BodyError::Coded(cause) => ReadError::Unacceptable(cause),
        BodyError::Broken(error) => ReadError::Incomplete(error.message),
        BodyError::Silent | BodyError::TimedOut => {
            ReadError::Incomplete(no_response(RESPONSE_TIMEOUT))
        }
    })?;
    Ok(body)
}

/// Returns the target of a redirect.
///
/// # Errors
///
/// Fails if the response has no valid target, or if the request may not be sent there.
fn redirect_target(
    request: &RegistryRequest<'_>,
    from: &Url,
    headers: &HeaderMap,
) -> Result<Url, RegistryFailure> {
    let host = origin(from);
    let error = |problem: &str| RegistryFailure::unexpected(format!("{host} redirects {problem}"));
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|to| from.join(to).ok()) else {
        return Err(error("without a valid location"));
    };
    check_target(from, &to).map_err(|target| error(&format!("to {target}")))?;
    let is_other_origin = to.origin() != from.origin();
    if matches!(request.body, RequestBody::Form(_))
        || (is_other_origin && !request.follows_to_other_hosts)
    {
        return Err(error(&format!("a request with secrets to {}", origin(&to))));
    }
    Ok(to)
}

/// Records a 429 response, and reports the pause if it is new.
fn rate_limited(
    permit: &SendPermit<'_>,
    host: &str,
    retry_after: Option<Duration>,
    response: &str,
    observer: ObserverRef<'_>,
) -> AttemptError {
    match permit.record_429(retry_after, response) {
        Ok(pause) => {
            if let Some(wait) = pause {
                observer(Notice::RegistryPaused { registry: host.to_owned(), wait });
            }
            AttemptError::RateLimited
        }
        Err(failure) => failure.into(),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn no_response(timeout: Duration) -> String {
    format!("no complete response within {} s", timeout.as_secs())
}
