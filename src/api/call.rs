//! Sends one request as often as [`retry`](super::retry) allows, each time through the gate, and
//! reads its answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::error::{ApiError, ErrorKind, looks_like_html, shorten};
use super::rate_limiter::Permit;
use super::redirect::{Redirect, redirect};
use super::retry::{Attempts, RetryDecision};
use crate::base::limit::Class;
use crate::base::secret::scrub;
use crate::http::body::{BodyError, BodyLimits, read_body};
use crate::http::header;
use crate::http::notice::Notice;
use crate::http::transport::TransportError;

/// No answer of the service is near this; a body that goes on and on is not read to its end.
const MAX_BODY_BYTES: usize = 16 << 20;

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(60);

/// The same where something new is asked for: the service may have much to do before it answers, and
/// the provider's own client waits for ever (`api.md` §3).
const HEAD_OF_POST: Duration = Duration::from_secs(180);

/// How long a body may bring nothing.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// How long one request to the API may take in all, after the time for its head.
const REST: Duration = Duration::from_secs(60);

/// One request: what it is, and how it may be treated.
pub(super) struct Call<'a> {
    pub(super) class: Class,
    pub(super) action: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Bytes>,
    /// Ends waits, never a request that has left.
    pub(super) stop: Option<&'a CancellationToken>,
    /// Whether the caller looks up what it must before it asks again. If not, that is a failure.
    pub(super) looks: bool,
}

/// What came back with a success.
pub(super) struct Answer<'a> {
    client: &'a Client,
    action: &'static str,
    bytes: Bytes,
    /// The service's clock.
    pub(super) now: Option<Timestamp>,
}

impl Call<'_> {
    pub(super) fn get(class: Class, action: &'static str, path: String) -> Self {
        let method = Method::GET;
        Self { class, action, method, path, body: None, stop: None, looks: false }
    }

    pub(super) fn send(
        class: Class,
        action: &'static str,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::new(action, ErrorKind::Rejected, error.to_string()))?;
        let call = Self::get(class, action, path);
        Ok(Self { method, body: Some(body.into()), ..call })
    }

    /// How long the head of its answer may take.
    fn head(&self) -> Duration {
        if self.method == Method::POST { HEAD_OF_POST } else { HEAD }
    }

    /// Waits for something, unless the run is stopped first.
    pub(super) async fn unless_stopped<T>(
        &self,
        wait: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        match self.stop {
            None => Ok(wait.await),
            Some(stop) => stop.run_until_cancelled(wait).await.ok_or_else(|| stopped(self.action)),
        }
    }
}

pub(super) fn stopped(action: &'static str) -> ApiError {
    ApiError::new(action, ErrorKind::Stopped, "the run was stopped")
}

impl Answer<'_> {
    /// The answer's JSON.
    pub(super) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.bytes).map_err(|_| self.stranger())
    }

    /// Fails where a page for people came, and takes all else.
    pub(super) fn not_html(&self) -> Result<(), ApiError> {
        let html = looks_like_html(&String::from_utf8_lossy(&self.bytes));
        if html { Err(self.stranger()) } else { Ok(()) }
    }

    /// The error for an answer that has not what it should have.
    pub(super) fn odd(&self, message: &str) -> ApiError {
        ApiError::new(self.action, ErrorKind::BadResponse, message)
    }

    fn stranger(&self) -> ApiError {
        let text = String::from_utf8_lossy(&self.bytes);
        let what = match text.trim() {
            "" => "an empty answer".to_owned(),
            html if looks_like_html(html) => "an HTML page".to_owned(),
            other => {
                // Before anything is cut: half a key is a secret too.
                let other = self.client.clean(other);
                format!("`{}`", other.chars().take(80).collect::<String>())
            }
        };
        self.odd(&format!("the service answered with {what} instead of JSON"))
    }
}

impl Client {
    /// Sends a request until its answer can be read, or it should not be sent again.
    pub(super) async fn call<T>(
        &self,
        call: &Call<'_>,
        tries: &mut Attempts,
        mut transfer: Option<&mut Permit>,
        read: impl Fn(&Answer<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let tell = |notice| self.tell(notice);
        loop {
            let turn = self.inner.gate.request_told(call.class, &tell);
            let mut permit = call.unless_stopped(turn).await?;
            let answer = self.once(call, &mut permit).await;
            let mut error = match answer.and_then(|answer| read(&answer)) {
                Ok(value) => {
                    self.inner.reached.store(true, Ordering::Relaxed);
                    permit.accepted();
                    if let Some(transfer) = transfer {
                        transfer.accepted();
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            if error.kind == ErrorKind::Unreachable {
                permit.keep(0);
            }
            if error.kind == ErrorKind::RateLimited {
                // It is the class that is over its budget, not this request: all of it waits, and
                // this request with it.
                let of_transfers = error.message.to_lowercase().contains("transfer");
                let lane = transfer.as_deref_mut().filter(|_| of_transfers);
                let paused = lane.map_or_else(
                    || permit.refused(error.retry_after),
                    |transfer| transfer.refused(error.retry_after),
                );
                self.judge(Some(call.class), &error, tries, Some(paused), false);
                drop(permit);
                if let Some(transfer) = transfer.as_deref_mut().filter(|_| of_transfers) {
                    call.unless_stopped(transfer.renew(&tell)).await?;
                }
                continue;
            }
            drop(permit);
            match self.judge(Some(call.class), &error, tries, None, call.looks) {
                RetryDecision::Again(wait) => call.unless_stopped(tokio::time::sleep(wait)).await?,
                RetryDecision::Look(wait) => {
                    error.look_up_after = Some(wait);
                    return Err(error);
                }
                RetryDecision::GiveUp => return Err(error),
            }
        }
    }

    /// Judges a failure by the rules of [`retry`](super::retry), and tells of it where there will
    /// be another try.
    pub(super) fn judge(
        &self,
        class: Option<Class>,
        error: &ApiError,
        tries: &mut Attempts,
        paused: Option<Duration>,
        looks: bool,
    ) -> RetryDecision {
        let reached = self.inner.reached.load(Ordering::Relaxed);
        tries.cap(self.max_attempts);
        let (attempt, verdict) =
            tries.failed(error, reached, self.inner.jitter.draw(), Instant::now());
        let wait = match verdict {
            RetryDecision::Again(wait) => wait,
            RetryDecision::Look(wait) if looks => wait,
            // Nobody looks it up: whether it took effect stays unknown.
            RetryDecision::Look(_) | RetryDecision::GiveUp => return RetryDecision::GiveUp,
        };
        self.tell(Notice::Retry {
            registry: None,
            action: error.action,
            class,
            attempt,
            status: error.status,
            why: error.reason(),
            wait: paused.unwrap_or(wait),
        });
        verdict
    }

    /// Judges a failed upload: the wait before it may be sent again whole, to the same place.
    /// `None` where it should not. Tells of it.
    pub fn retry_upload_after(&self, error: &ApiError, tries: &mut Attempts) -> Option<Duration> {
        match self.judge(None, error, tries, None, true) {
            RetryDecision::Again(wait) | RetryDecision::Look(wait) => Some(wait),
            RetryDecision::GiveUp => None,
        }
    }

    /// Sends a request once and takes in the whole answer. Where it is sent on within the service
    /// that is another request, which waits for a turn of its own.
    async fn once(&self, call: &Call<'_>, permit: &mut Permit) -> Result<Answer<'_>, ApiError> {
        let mut url = Url::parse(&format!("{}{}", self.inner.base, call.path)).map_err(|_| {
            let message = "the service's URL is not one";
            ApiError::new(call.action, ErrorKind::Unreachable, message)
        })?;
        let mut hops = 0;
        loop {
            let deadline = Instant::now() + call.head() + REST;
            let sent = self.inner.transport.send(self.request(call, url.clone())?);
            let answer = match tokio::time::timeout(call.head(), sent).await {
                Ok(answer) => answer.map_err(|e| self.broken(call.action, &self.inner.base, &e))?,
                Err(_) => return Err(silent(call.action, call.head())),
            };
            let (asked, status) = ((&call.method, &*call.path), answer.status());
            match redirect(asked, &url, hops, status, answer.headers()) {
                None => return self.take_in(call, answer, deadline).await,
                Some(Redirect::Tell(message)) => {
                    let error =
                        ApiError::new(call.action, ErrorKind::Rejected, self.clean(&message));
                    return Err(ApiError { status: Some(status.as_u16()), ..error });
                }
                Some(Redirect::Follow(next)) => url = next,
            }
            hops += 1;
            permit.renew(&|notice| self.tell(notice)).await;
        }
    }

    async fn take_in(
        &self,
        call: &Call<'_>,
        answer: Response,
        deadline: Instant,
    ) -> Result<Answer<'_>, ApiError> {
        let status = answer.status();
        let now = header::date(answer.headers());
        let retry_after = header::retry_after(answer.headers(), Timestamp::now());
        let bytes = self.body(call.action, answer, deadline).await?;
        if status.is_success() {
            return Ok(Answer { client: self, action: call.action, bytes, now });
        }
        if serde_json::from_slice::<Value>(&bytes).is_ok_and(|body| body.is_object()) {
            self.inner.reached.store(true, Ordering::Relaxed);
        }
        let key = self.inner.key.expose();
        Err(ApiError::from_answer(call.action, status.as_u16(), retry_after, &bytes, key))
    }

    fn request(&self, call: &Call<'_>, url: Url) -> Result<Request, ApiError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.inner.key.expose()))
            .map_err(|_| {
                ApiError::new(call.action, ErrorKind::Unauthorized, "the key is malformed")
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

    /// Reads a body. If the body of an error response is incomplete, returns the received part: the
    /// status says enough.
    pub(super) async fn body(
        &self,
        action: &'static str,
        response: Response,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let is_success = response.status().is_success();
        let limits = BodyLimits { max_bytes: MAX_BODY_BYTES, max_silence: MAX_SILENCE, deadline };
        let mut body = Vec::new();
        let error = match read_body(response, limits, &mut body).await {
            Err(BodyError::TooLarge) => {
                let message = "the answer is longer than any of the service's";
                return Err(ApiError::new(action, ErrorKind::BadResponse, message));
            }
            Err(error) if is_success => error,
            _ => return Ok(body.into()),
        };
        Err(match error {
            BodyError::Broken(error) => {
                let error = TransportError { sent: true, ..error };
                self.broken(action, &self.inner.base, &error)
            }
            BodyError::Silent => silent(action, MAX_SILENCE),
            BodyError::TimedOut | BodyError::TooLarge => {
                ApiError::new(action, ErrorKind::ResponseLost, "it was not at its end in time")
            }
        })
    }

    pub(super) fn broken(
        &self,
        action: &'static str,
        place: &str,
        broken: &TransportError,
    ) -> ApiError {
        let message = shorten(&scrub(&broken.message, Some(self.inner.key.expose())));
        if broken.sent {
            return ApiError::new(action, ErrorKind::ResponseLost, message);
        }
        ApiError::new(action, ErrorKind::Unreachable, format!("{place}: {message}"))
    }
}

/// The error for an answer that does not come.
fn silent(action: &'static str, waited: Duration) -> ApiError {
    let message = format!("nothing came for {} s", waited.as_secs());
    ApiError::new(action, ErrorKind::ResponseLost, message)
}
