//! Sends calls to the service: each waits for its rate limit, is retried as [`retry`](super::retry)
//! decides, and its response is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::error::{ApiError, ErrorKind, looks_like_html, shorten};
use super::gate::Gate;
use super::rate_limiter::{Permit, RateLimiter};
use super::redirect::{Redirect, redirect};
use super::retry::{Attempts, RetryDecision};
use crate::base::limit::Class;
use crate::base::secret::{ApiKey, scrub};
use crate::http::backoff::Jitter;
use crate::http::body::{BodyError, BodyLimits, read_body, without_byte_order_mark};
use crate::http::header;
use crate::http::notice::{Notice, Observer};
use crate::http::transport::{Transport, TransportError};

/// Maximum size of a response body. No response of the service comes near it.
const MAX_BODY_MIB: usize = 16;

/// Maximum time until the response headers.
const MAX_HEADER_WAIT: Duration = Duration::from_secs(60);

/// The same for a POST: the service may have much to do before it responds, and the provider's own
/// client waits forever (API contract, section 3).
const MAX_POST_HEADER_WAIT: Duration = Duration::from_secs(180);

/// Maximum time without any data of a body.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Maximum time for a whole response, in addition to the time until its headers.
const MAX_BODY_TIME: Duration = Duration::from_secs(60);

/// Maximum length of an unexpected body in an error message, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// The parts that all clones of a client share.
pub(super) struct Connection {
    pub(super) transport: Arc<dyn Transport>,
    /// URL of the service with `/api/v1`.
    pub(super) base_url: String,
    pub(super) key: ApiKey,
    pub(super) limiter: RateLimiter,
    pub(super) jitter: Jitter,
    /// True once the service has sent a valid response.
    pub(super) reached: AtomicBool,
    /// Number of bytes of contexts that were read for uploads.
    pub(super) uploaded: AtomicU64,
}

/// Sends calls over a connection.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) connection: Arc<Connection>,
    pub(super) observer: Option<Observer>,
    pub(super) max_attempts: u32,
    /// True if a call that is over a rate limit fails; otherwise it waits.
    pub(super) fails_at_rate_limit: bool,
    pub(super) gate: Option<Gate>,
}

/// One call of an endpoint.
pub(super) struct Call<'a> {
    class: Class,
    action: &'static str,
    method: Method,
    path: String,
    body: Option<Bytes>,
    /// Ends waits, never a request that was sent.
    stop: Option<&'a CancellationToken>,
    /// True if the caller looks up the result of a lost call. If false, a lost call fails.
    can_look_up: bool,
    /// True for a request of transfers. If their limit is reached, the caller asks for fewer.
    is_transfer: bool,
}

/// A successful response to a call.
pub(super) struct CallResponse<'a> {
    caller: &'a Caller,
    action: &'static str,
    body: Bytes,
    /// The service's time of the response.
    pub(super) date: Option<Timestamp>,
}

impl<'a> Call<'a> {
    pub(super) fn new(class: Class, action: &'static str, method: Method, path: String) -> Self {
        let (body, stop, can_look_up, is_transfer) = (None, None, false, false);
        Self { class, action, method, path, body, stop, can_look_up, is_transfer }
    }

    pub(super) fn get(class: Class, action: &'static str, path: String) -> Self {
        Self::new(class, action, Method::GET, path)
    }

    /// Adds a JSON body.
    pub(super) fn with_body(self, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::new(self.action, ErrorKind::Rejected, error.to_string()))?;
        Ok(Self { body: Some(body.into()), ..self })
    }

    /// Ends the waits of the call when `stop` is cancelled.
    pub(super) fn until(self, stop: Option<&'a CancellationToken>) -> Self {
        Self { stop, ..self }
    }

    /// Returns a lost call to the caller, who looks up its result.
    pub(super) fn with_look_up(self) -> Self {
        Self { can_look_up: true, ..self }
    }

    /// Returns a call that is over the limit on transfers to the caller, if `is_transfer`.
    pub(super) fn for_transfers(self, is_transfer: bool) -> Self {
        Self { is_transfer, ..self }
    }

    fn max_header_wait(&self) -> Duration {
        if self.method == Method::POST { MAX_POST_HEADER_WAIT } else { MAX_HEADER_WAIT }
    }

    /// Awaits `wait`, unless the run is stopped first.
    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, ApiError> {
        let Some(stop) = self.stop else { return Ok(wait.await) };
        stop.run_until_cancelled(wait).await.ok_or_else(|| ApiError::stopped(self.action))
    }
}

impl CallResponse<'_> {
    /// Parses the body as JSON.
    pub(super) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|_| self.not_json())
    }

    /// Fails if the body is HTML.
    pub(super) fn reject_html(&self) -> Result<(), ApiError> {
        let is_html = looks_like_html(&String::from_utf8_lossy(&self.body));
        if is_html { Err(self.not_json()) } else { Ok(()) }
    }

    /// Creates the error for a response without the expected content.
    pub(super) fn bad(&self, message: &str) -> ApiError {
        ApiError::new(self.action, ErrorKind::BadResponse, message)
    }

    fn not_json(&self) -> ApiError {
        let text = String::from_utf8_lossy(&self.body);
        let content = match text.trim() {
            "" => "an empty body".to_owned(),
            html if looks_like_html(html) => "an HTML page".to_owned(),
            other => {
                // Cleaned before it is cut: half a key is a secret too.
                let other = self.caller.clean(other);
                format!("`{}`", other.chars().take(MAX_QUOTED_CHARS).collect::<String>())
            }
        };
        self.bad(&format!("the service answered with {content} instead of JSON"))
    }
}

impl Caller {
    /// Sends a call until `read` accepts its response, or until it must not be sent again.
    ///
    /// # Errors
    ///
    /// Fails with the last error. If that has [`ApiError::look_up_after`], the caller may look up
    /// the result and then send the call again, with the same `attempts`.
    pub(super) async fn call<T>(
        &self,
        call: &Call<'_>,
        attempts: &mut Attempts,
        transfer: Option<&mut Permit>,
        read: impl Fn(&CallResponse<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let observer = |notice| self.notify(notice);
        loop {
            let permit = self.connection.limiter.acquire(call.class, &observer);
            let mut permit = call.unless_stopped(permit).await?;
            if let Some(transfer) = &transfer {
                // The waits before may have outlasted the turn.
                call.unless_stopped(transfer.until_turn(&observer)).await?;
            }
            let response = self.send(call, &mut permit).await;
            let mut error = match response.and_then(|response| read(&response)) {
                Ok(value) => {
                    self.connection.reached.store(true, Ordering::Relaxed);
                    permit.accepted();
                    if let Some(transfer) = transfer {
                        transfer.accepted();
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            if error.kind == ErrorKind::Unreachable {
                permit.shrink_to(0);
            }
            if error.is_transfer_limit && call.is_transfer {
                return Err(error);
            }
            if error.kind == ErrorKind::RateLimited {
                // The class is over its limit, not this request: the whole class pauses.
                let pause = permit.refused(error.retry_after);
                if self.fails_at_rate_limit {
                    return Err(error);
                }
                self.decide(Some(call.class), &error, attempts, Some(pause), false);
                continue;
            }
            drop(permit);
            match self.decide(Some(call.class), &error, attempts, None, call.can_look_up) {
                RetryDecision::Retry(delay) => {
                    call.unless_stopped(tokio::time::sleep(delay)).await?;
                }
                RetryDecision::LookUp(delay) => {
                    error.look_up_after = Some(delay);
                    return Err(error);
                }
                RetryDecision::GiveUp => return Err(error),
            }
        }
    }

    /// Decides about a failed attempt, and reports it if there will be another one. `pause` is the
    /// length of the pause after a 429.
    pub(super) fn decide(
        &self,
        class: Option<Class>,
        error: &ApiError,
        attempts: &mut Attempts,
        pause: Option<Duration>,
        can_look_up: bool,
    ) -> RetryDecision {
        let reached = self.connection.reached.load(Ordering::Relaxed);
        attempts.limit_to(self.max_attempts);
        let jitter = self.connection.jitter.draw();
        let (attempt, decision) = attempts.record_failure(error, reached, jitter, Instant::now());
        let delay = match decision {
            RetryDecision::LookUp(_) if !can_look_up => None,
            decision => decision.delay(),
        };
        let Some(delay) = delay else { return RetryDecision::GiveUp };
        self.notify(Notice::Retry {
            registry: None,
            action: error.action,
            class,
            attempt,
            status: error.status,
            why: error.reason(),
            wait: pause.unwrap_or(delay),
        });
        decision
    }

    pub(super) fn notify(&self, notice: Notice) {
        if let Some(observer) = &self.observer {
            observer(notice);
        }
    }

    /// Sends a call once and reads the response. A redirect within the service is another request, which
    /// waits for the rate limit again.
    async fn send(
        &self,
        call: &Call<'_>,
        permit: &mut Permit,
    ) -> Result<CallResponse<'_>, ApiError> {
        let base_url = &self.connection.base_url;
        let mut url = Url::parse(&format!("{base_url}{}", call.path)).map_err(|_| {
            ApiError::new(call.action, ErrorKind::Unreachable, "the URL of the service is invalid")
        })?;
        let mut redirects = 0;
        loop {
            Gate::pass(self.gate.as_ref().filter(|_| call.method != Method::GET), call.action)
                .await?;
            let deadline = Instant::now() + call.max_header_wait() + MAX_BODY_TIME;
            let response = self.connection.transport.send(self.request(call, url.clone())?);
            let response = match timeout(call.max_header_wait(), response).await {
                Ok(response) => {
                    response.map_err(|error| self.broken(call.action, base_url, &error))?
                }
                Err(_) => return Err(ApiError::no_data(call.action, call.max_header_wait())),
            };
            let status = response.status();
            match redirect(&call.method, &url, redirects, status, response.headers()) {
                None => return self.read(call, response, deadline).await,
                Some(Redirect::Refuse(message)) => {
                    let message = self.clean(&message);
                    let error = ApiError::new(call.action, ErrorKind::Rejected, message);
                    return Err(ApiError { status: Some(status.as_u16()), ..error });
                }
                Some(Redirect::Follow(next)) => url = next,
            }
            redirects += 1;
            permit.renew(&|notice| self.notify(notice)).await;
        }
    }

    async fn read(
        &self,
        call: &Call<'_>,
        response: Response,
        deadline: Instant,
    ) -> Result<CallResponse<'_>, ApiError> {
        let status = response.status();
        let date = header::date(response.headers());
        let retry_after = header::retry_after(response.headers(), Timestamp::now());
        let body = self.body(call.action, response, deadline).await?;
        let body = body.slice_ref(without_byte_order_mark(&body));
        if status.is_success() {
            return Ok(CallResponse { caller: self, action: call.action, body, date });
        }
        if serde_json::from_slice::<Value>(&body).is_ok_and(|body| body.is_object()) {
            self.connection.reached.store(true, Ordering::Relaxed);
        }
        let key = self.connection.key.expose();
        Err(ApiError::from_response(call.action, status.as_u16(), retry_after, &body, key))
    }

    fn request(&self, call: &Call<'_>, url: Url) -> Result<Request, ApiError> {
        let bearer = format!("Bearer {}", self.connection.key.expose());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
            let message = "the API key contains characters that a header cannot hold";
            ApiError::new(call.action, ErrorKind::Unauthorized, message)
        })?;
        bearer.set_sensitive(true);
        let mut request = Request::new(call.method.clone(), url);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        if let Some(body) = &call.body {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.clone().into());
        }
        Ok(request)
    }

    /// Reads a body. If the body of an error response is incomplete, returns the part that arrived:
    /// the status says enough.
    pub(super) async fn body(
        &self,
        action: &'static str,
        response: Response,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let is_success = response.status().is_success();
        let max_bytes = MAX_BODY_MIB << 20;
        let limits = BodyLimits { max_bytes, max_silence: MAX_SILENCE, deadline };
        let mut body = Vec::new();
        match read_body(response, limits, &mut body).await {
            Err(BodyError::TooLarge) => {
                let message = format!("the response is larger than {MAX_BODY_MIB} MiB");
                Err(ApiError::new(action, ErrorKind::BadResponse, message))
            }
            Err(BodyError::Broken(error)) if is_success => {
                let error = TransportError { sent: true, ..error };
                Err(self.broken(action, &self.connection.base_url, &error))
            }
            Err(BodyError::Silent) if is_success => Err(ApiError::no_data(action, MAX_SILENCE)),
            Err(BodyError::TimedOut) if is_success => {
                let message = "the response was not complete in time";
                Err(ApiError::new(action, ErrorKind::ResponseLost, message))
            }
            Err(BodyError::Coded(cause)) if is_success => {
                Err(ApiError::new(action, ErrorKind::BadResponse, self.clean(&cause)))
            }
            Ok(()) | Err(_) => Ok(body.into()),
        }
    }

    /// Creates the error for a request to `server` that the transport could not deliver.
    pub(super) fn broken(
        &self,
        action: &'static str,
        server: &str,
        error: &TransportError,
    ) -> ApiError {
        let message = self.clean(&error.message);
        if error.sent {
            return ApiError::new(action, ErrorKind::ResponseLost, message);
        }
        ApiError::new(action, ErrorKind::Unreachable, format!("{server}: {message}"))
    }

    /// Returns a text of the service as one line without secrets and control characters.
    pub(super) fn clean(&self, text: &str) -> String {
        shorten(&scrub(text, Some(self.connection.key.expose())))
    }
}
