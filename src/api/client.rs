//! The client of the service: one method per endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Call, CallResponse, Caller, Connection};
use super::endpoint::Endpoint;
use super::error::{ApiError, ErrorKind, TransferUsage, shorten_lines};
use super::gate::Gate;
use super::rate_limiter::{Permit, RateLimiter};
use super::response::{self, AcceptedBuild, BuildProgress, RefusedSource, RemoteBuild};
use super::retry::{Attempts, MAX_ATTEMPTS, Repeat};
use super::wire::{BuildImageRequest, StartBuildRequest};
use crate::base::limit::Class;
use crate::base::name::{BuildId, Owner};
use crate::base::secret::scrub;
use crate::http::backoff::Jitter;
use crate::http::notice::{Notice, Observer};
use crate::http::transport::{Network, Transport};

/// Maximum number of builds on one page of the listing.
pub(crate) const BUILDS_PER_PAGE: u64 = 100;

const CONNECT: &str = "connect to the service";
const INITIATE: &str = "initiate the build";

/// A connection to the service. Clones share it.
#[derive(Clone)]
pub struct Client {
    pub(super) caller: Caller,
}

/// A page of the listing of builds.
#[derive(Debug, Clone)]
pub struct BuildsPage {
    /// The builds that could be read.
    pub builds: Vec<RemoteBuild>,
    /// Offset of the next page; `None` on the last page.
    pub next: Option<u64>,
    /// The service's time of the response, in whole seconds.
    pub date: Option<Timestamp>,
}

/// The results of a request for builds: one for each build or source.
pub(crate) type InitiateResults = Vec<Result<AcceptedBuild, RefusedSource>>;

/// A refusal of transfers because their limit is reached.
#[derive(Debug, Clone)]
pub struct TransferRefusal {
    status: Option<u16>,
    message: String,
    retry_after: Option<Duration>,
    /// Number of images in the request.
    sent: u32,
    /// Number of images that the service accepted all the same.
    pub accepted: u32,
}

impl TransferRefusal {
    /// Returns the refusal of a request for `sent` images, if their limit refused any of them.
    pub fn of(sent: usize, results: &Result<InitiateResults, ApiError>) -> Option<Self> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (status, message, retry_after, accepted) = match results {
            Ok(results) => {
                let refused = results.iter().filter_map(|result| result.as_ref().err());
                let message =
                    refused.into_iter().find(|refused| refused.is_rate())?.message.clone();
                (None, message, None, results.iter().filter(|result| result.is_ok()).count())
            }
            Err(error) if error.kind == ErrorKind::RateLimited => {
                (error.status, error.message.clone(), error.retry_after, 0)
            }
            Err(_) => return None,
        };
        Some(Self { status, message, retry_after, sent: count(sent), accepted: count(accepted) })
    }

    /// Returns the use of the limit, if the service states it.
    pub fn usage(&self) -> Option<TransferUsage> {
        TransferUsage::of(&self.message)
    }
}

impl Client {
    /// Creates a client of an endpoint.
    ///
    /// # Errors
    ///
    /// Fails without an API key, with an invalid URL, and if TLS cannot be set up.
    pub fn new(endpoint: &Endpoint, limiter: RateLimiter) -> Result<Self, ApiError> {
        let network = Network::new(concat!("imgplan/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| ApiError::new(CONNECT, ErrorKind::Rejected, error.message))?;
        Self::with_transport(endpoint, limiter, Arc::new(network))
    }

    /// Creates a client that sends its requests over `transport`.
    ///
    /// # Errors
    ///
    /// Fails without an API key and with an invalid URL.
    pub fn with_transport(
        endpoint: &Endpoint,
        limiter: RateLimiter,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ApiError> {
        let key = endpoint.key.clone().ok_or_else(|| {
            ApiError::new(CONNECT, ErrorKind::Unauthorized, "there is no API key")
        })?;
        if let Some(reason) = endpoint.invalid_url_reason() {
            return Err(ApiError::new(CONNECT, ErrorKind::Unreachable, reason));
        }
        let connection = Connection {
            transport,
            base_url: format!("{}/api/v1", endpoint.url),
            key,
            limiter,
            // Without entropy all clients draw the same numbers, which does no harm.
            jitter: Jitter::new(getrandom::u64().unwrap_or_default()),
            reached: AtomicBool::new(false),
            uploaded: AtomicU64::new(0),
        };
        let connection = Arc::new(connection);
        let (max_attempts, fails_at_rate_limit) = (MAX_ATTEMPTS, false);
        Ok(Self {
            caller: Caller {
                connection,
                observer: None,
                max_attempts,
                fails_at_rate_limit,
                gate: None,
            },
        })
    }

    /// Returns the same client with an observer, which receives the notices of its requests.
    #[must_use]
    pub fn with_observer(&self, observer: Observer) -> Self {
        Self { caller: Caller { observer: Some(observer), ..self.caller.clone() } }
    }

    /// Returns the same client with a gate, which is passed right before each request that may change
    /// something, and can refuse it.
    #[must_use]
    pub(crate) fn with_gate(&self, gate: Gate) -> Self {
        Self { caller: Caller { gate: Some(gate), ..self.caller.clone() } }
    }

    /// Returns the same client with another maximum number of attempts per request, at least one.
    #[must_use]
    pub fn with_max_attempts(&self, max_attempts: u32) -> Self {
        Self { caller: Caller { max_attempts: max_attempts.max(1), ..self.caller.clone() } }
    }

    /// Returns the same client with one attempt per request, also if a rate limit of the service is
    /// reached.
    #[must_use]
    pub fn with_one_attempt(&self) -> Self {
        Self {
            caller: Caller { max_attempts: 1, fails_at_rate_limit: true, ..self.caller.clone() },
        }
    }

    /// Returns the number of bytes of contexts that were sent so far. All clones share it.
    pub fn uploaded_bytes(&self) -> u64 {
        self.caller.connection.uploaded.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of attempts per request.
    pub fn max_attempts(&self) -> u32 {
        self.caller.max_attempts
    }

    /// Returns the run's limit on requests of a class, relative to the default limit.
    pub fn relative_limit(&self, class: Class) -> f64 {
        let limit = self.caller.connection.limiter.limit(class);
        limit.per_second() / class.default_limit().per_second()
    }

    /// Waits until `owner` may transfer images. Returns the number of images, between one and
    /// `max_images`, and the permit to hold until the response; unlimited owners need no permit.
    ///
    /// # Errors
    ///
    /// Fails if `stop` is cancelled first.
    pub async fn transfer_permit(
        &self,
        owner: &Owner,
        max_images: u32,
        stop: &CancellationToken,
    ) -> Result<(u32, Option<Permit>), ApiError> {
        let observer = |notice| self.caller.notify(notice);
        let limiter = &self.caller.connection.limiter;
        let permit = limiter.acquire_transfers(owner, max_images, &observer);
        stop.run_until_cancelled(permit).await.ok_or_else(|| ApiError::stopped(INITIATE))
    }

    /// Waits for the run's turn to transfer images. Returns false if `stop` is cancelled first.
    pub async fn transfer_turn(&self, permit: &Permit, stop: &CancellationToken) -> bool {
        let observer = |notice| self.caller.notify(notice);
        stop.run_until_cancelled(permit.until_turn(&observer)).await.is_some()
    }

    /// Records that the service refused transfers: those of the permit's owner pause, and the next
    /// requests are smaller. Without a permit, those of the personal account do.
    pub fn transfers_refused(&self, refusal: &TransferRefusal, permit: Option<&mut Permit>) {
        let limiter = &self.caller.connection.limiter;
        let TransferRefusal { status, ref message, retry_after, sent, accepted } = *refusal;
        let refused =
            |permit: &mut Permit| permit.refused_images(accepted, retry_after, refusal.usage());
        let wait = match permit {
            Some(permit) => refused(permit),
            None => refused(&mut limiter.sent_without_permit(sent)),
        };
        self.caller.notify(Notice::Retry {
            registry: None,
            action: INITIATE,
            class: Some(Class::Images),
            attempt: 1,
            status,
            why: message.clone(),
            wait,
        });
    }

    /// `POST /images/build`: initiates a build, or transfers. Returns one result per build or
    /// source of the response. `stop` ends the wait for the rate limit, never a request that was
    /// sent.
    ///
    /// A build from a context is [`Repeat::Safe`]: a build whose upload URL is lost never starts. A
    /// transfer is [`Repeat::LookUpFirst`]: see [`ApiError::look_up_after`]. It needs another
    /// permit when it is sent again, because the lost request may have been counted.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good, with `look_up_after` if the response is lost, or with
    /// [`ApiError::is_transfer_limit`] if the limit on transfers has no room for all of them.
    pub async fn initiate(
        &self,
        request: &BuildImageRequest,
        attempts: &mut Attempts,
        transfer: Option<&mut Permit>,
        stop: &CancellationToken,
    ) -> Result<InitiateResults, ApiError> {
        let path = "/images/build".to_owned();
        let call = Call::new(Class::Initiate, INITIATE, Method::POST, path).with_body(request)?;
        let call = call.until(Some(stop)).with_look_up();
        let call = call.for_transfers(request.source_image.is_some());
        let read = |response: &CallResponse<'_>| {
            response::initiated(&response.json()?)
                .ok_or_else(|| response.bad("the response has no build ID"))
        };
        let mut results = self.caller.call(&call, attempts, transfer, read).await?;
        for refused in results.iter_mut().filter_map(|result| result.as_mut().err()) {
            refused.message = self.caller.clean(&refused.message);
        }
        Ok(results)
    }

    /// `POST /images/build/{id}/start`: starts a build whose context is uploaded. Every success
    /// counts, with or without a body, unless it is an HTML page.
    ///
    /// It is [`Repeat::LookUpFirst`]: see [`ApiError::look_up_after`]. The caller looks up the
    /// status of the build, and starts it again if it still waits for its start.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good, or with `look_up_after` if the response is lost.
    pub async fn start(&self, build: &BuildId, attempts: &mut Attempts) -> Result<(), ApiError> {
        let path = format!("/images/build/{build}/start");
        let body = StartBuildRequest { context_uploaded: true };
        let call = Call::new(Class::Start, "start the build", Method::POST, path);
        let call = call.with_body(&body)?.with_look_up();
        let read = |response: &CallResponse<'_>| response.reject_html();
        self.caller.call(&call, attempts, None, read).await
    }

    /// `GET /images/build/{id}`: returns the status of a build.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good; with [`ErrorKind::NotFound`] if the build is unknown.
    pub async fn status(&self, build: &BuildId) -> Result<RemoteBuild, ApiError> {
        self.status_within(build, Attempts::new(Repeat::Safe)).await
    }

    pub(super) async fn status_within(
        &self,
        build: &BuildId,
        mut attempts: Attempts,
    ) -> Result<RemoteBuild, ApiError> {
        let path = format!("/images/build/{build}");
        let call = Call::get(Class::Status, "query the build's status", path);
        let read = |response: &CallResponse<'_>| {
            self.build(&response.json()?).ok_or_else(|| response.bad("the response has no status"))
        };
        self.caller.call(&call, &mut attempts, None, read).await
    }

    /// `GET /images/builds`: returns the page of builds at an offset.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good.
    pub async fn builds(&self, offset: u64) -> Result<BuildsPage, ApiError> {
        self.builds_within(offset, BUILDS_PER_PAGE, Attempts::new(Repeat::Safe)).await
    }

    pub(super) async fn builds_within(
        &self,
        offset: u64,
        limit: u64,
        mut attempts: Attempts,
    ) -> Result<BuildsPage, ApiError> {
        let path = format!("/images/builds?offset={offset}&limit={limit}");
        let call = Call::get(Class::List, "list the builds", path);
        let read = |response: &CallResponse<'_>| {
            let page = response.json()?;
            let rows = page.get("data").and_then(Value::as_array);
            let rows = rows.ok_or_else(|| response.bad("the response has no `data`"))?;
            let (count, limits) = (rows.len() as u64, (limit, page.get("limit")));
            Ok(BuildsPage {
                builds: rows.iter().filter_map(|row| self.build(row)).collect(),
                next: next_offset(offset, count, limits, total(&page)),
                date: response.date,
            })
        };
        self.caller.call(&call, &mut attempts, None, read).await
    }

    fn build(&self, row: &Value) -> Option<RemoteBuild> {
        let mut build = response::remote_build(row)?;
        if let BuildProgress::Failed(reason) = &mut build.progress {
            let key = self.caller.connection.key.expose();
            *reason = shorten_lines(&scrub(reason, Some(key)));
        }
        Some(build)
    }
}

/// Returns the total number of rows that a page of a listing states.
pub(super) fn total(page: &Value) -> Option<u64> {
    ["total_count", "totalCount"].iter().find_map(|key| page.get(*key)?.as_u64())
}

/// Returns the offset of the page after this one, or `None` if this is the last. The service may
/// grant a smaller page size than requested, and then states it.
pub(super) fn next_offset(
    offset: u64,
    rows: u64,
    (requested_limit, granted_limit): (u64, Option<&Value>),
    total: Option<u64>,
) -> Option<u64> {
    let granted = granted_limit.and_then(Value::as_u64).filter(|granted| *granted > 0);
    let limit = granted.unwrap_or(requested_limit).min(requested_limit);
    let next = offset + limit;
    let has_more = match total {
        Some(total) => next < total && rows > 0,
        None => rows >= limit,
    };
    has_more.then_some(next)
}

#[cfg(test)]
impl Client {
    /// Creates a client of a fake server, which also receives its notices.
    pub(crate) fn fake(server: &Arc<crate::http::fake::FakeServer>) -> Self {
        Self::fake_with_limits(server, &[])
    }

    /// Creates a client of a fake server with these rate limits.
    pub(super) fn fake_with_limits(
        server: &Arc<crate::http::fake::FakeServer>,
        limits: &[(Class, crate::base::limit::Limit)],
    ) -> Self {
        let (url, key) = ("https://fake".to_owned(), crate::base::secret::ApiKey::new("k-123"));
        let endpoint = Endpoint {
            url,
            key,
            key_from: None,
            owner: crate::base::owner::DefaultOwner::default(),
        };
        let limiter = RateLimiter::new(limits);
        let client = Self::with_transport(&endpoint, limiter, Arc::clone(server) as _).unwrap();
        client.with_observer(server.observer())
    }
}

#[cfg(test)]
mod tests;
