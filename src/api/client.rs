//! Talks to the service: one method an endpoint, each behind the [`RateLimiter`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Answer, Call, stopped};
use super::endpoint::Endpoint;
use super::error::{ApiError, ErrorKind, shorten};
use super::rate_limiter::{Permit, RateLimiter};
use super::response::{self, AcceptedBuild, BuildProgress, RefusedSource, RemoteBuild};
use super::retry::{Attempts, Repeat, TRIES};
use super::wire::{BuildImageRequest, StartBuildRequest};
use crate::base::limit::{Class, Limit};
use crate::base::name::{BuildId, Owner};
use crate::base::secret::{ApiKey, scrub};
use crate::http::backoff::Jitter;
use crate::http::notice::{Notice, Observer};
use crate::http::transport::{Network, Transport};

/// Builds a page of the listing holds.
pub const BUILDS_PER_PAGE: u64 = 100;

const CONNECT: &str = "connect to the service";
const INITIATE: &str = "initiate the build";

/// A connection to the service, cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    observer: Option<Observer>,
    pub(super) max_attempts: u32,
}

pub(super) struct Inner {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) base: String,
    pub(super) key: ApiKey,
    pub(super) gate: RateLimiter,
    pub(super) jitter: Jitter,
    /// Whether the service has ever answered sensibly.
    pub(super) reached: AtomicBool,
}

/// A page of the listing of builds.
#[derive(Debug, Clone)]
pub struct BuildsPage {
    /// The builds that could be read.
    pub builds: Vec<RemoteBuild>,
    /// How many there are in all, where the service says.
    pub total: Option<u64>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<u64>,
    /// The service's clock when it answered, to the second.
    pub now: Option<Timestamp>,
}

impl Client {
    /// A client for an endpoint. Fails without a key, or where no connection can be made secure.
    pub fn new(endpoint: &Endpoint, gate: RateLimiter) -> Result<Self, ApiError> {
        let network = Network::new(concat!("imgplan/", env!("CARGO_PKG_VERSION")))
            .map_err(|broken| ApiError::new(CONNECT, ErrorKind::Rejected, broken.message))?;
        Self::with_transport(endpoint, gate, Arc::new(network))
    }

    /// A client whose requests something else carries: for tests that answer inside the process.
    pub fn with_transport(
        endpoint: &Endpoint,
        gate: RateLimiter,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ApiError> {
        let key = endpoint.key.clone().ok_or_else(|| {
            ApiError::new(CONNECT, ErrorKind::Unauthorized, "there is no API key")
        })?;
        if let Some(problem) = endpoint.invalid_url_reason() {
            return Err(ApiError::new(CONNECT, ErrorKind::Unreachable, problem));
        }
        let inner = Inner {
            transport,
            base: format!("{}/api/v1", endpoint.url),
            key,
            gate,
            // Without entropy all clients wait alike; that is all.
            jitter: Jitter::new(getrandom::u64().unwrap_or_default()),
            reached: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner), observer: None, max_attempts: TRIES })
    }

    /// The same client, of which `observer` hears why requests made through it take time.
    #[must_use]
    pub fn with_observer(&self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self.clone() }
    }

    /// The same client, which tries each thing so often at most, and at least once.
    #[must_use]
    pub fn with_max_attempts(&self, most: u32) -> Self {
        Self { max_attempts: most.max(1), ..self.clone() }
    }

    /// How often it tries a thing at most.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    pub(super) fn tell(&self, notice: Notice) {
        if let Some(observer) = &self.observer {
            observer(notice);
        }
    }

    /// Waits for a turn to transfer images: as many of `most` as fit, at least one. Nothing limits
    /// some transfers of the platform; then there is no permit. It is held until the answer to the
    /// request came. `stop` ends the wait.
    pub async fn transfer_permit(
        &self,
        owner: &Owner,
        most: u32,
        stop: &CancellationToken,
    ) -> Result<(u32, Option<Permit>), ApiError> {
        let tell = |notice| self.tell(notice);
        let turn = self.inner.gate.transfer_up_to_told(owner, most, &tell);
        stop.run_until_cancelled(turn).await.ok_or_else(|| stopped(INITIATE))
    }

    /// How many images an owner may transfer in how long.
    pub fn transfer_limit(&self, owner: &Owner) -> Option<Limit> {
        self.inner.gate.transfer_limit(owner)
    }

    /// `POST /images/build`: asks for a build, or for transfers. One result for each build or
    /// source in the answer. `stop` ends the wait for a turn, never a request that has left.
    ///
    /// A build of a context is [`Repeat::Safe`]: one whose upload URL was lost is never started. A
    /// transfer is [`Repeat::LookUpFirst`]: where the error says `look_up_after`, the caller waits so
    /// long, looks for the builds, and asks again for what is not there, with the same `tries` and a
    /// new turn: the lost request may have been counted.
    pub async fn initiate(
        &self,
        request: &BuildImageRequest,
        tries: &mut Attempts,
        transfer: Option<&mut Permit>,
        stop: &CancellationToken,
    ) -> Result<Vec<Result<AcceptedBuild, RefusedSource>>, ApiError> {
        let path = "/images/build".to_owned();
        let call = Call::send(Class::Initiate, INITIATE, Method::POST, path, request)?;
        let call = Call { stop: Some(stop), looks: true, ..call };
        let read = |answer: &Answer<'_>| {
            response::initiated(&answer.json()?)
                .ok_or_else(|| answer.odd("the answer has no build ID"))
        };
        let mut results = self.call(&call, tries, transfer, read).await?;
        for refused in results.iter_mut().filter_map(|result| result.as_mut().err()) {
            refused.message = self.clean(&refused.message);
        }
        Ok(results)
    }

    /// `POST /images/build/{id}/start`: the context is there. Any success is one, a body or none,
    /// but for a page for people.
    ///
    /// It is [`Repeat::LookUpFirst`]: where the error says `look_up_after`, the caller waits so long, asks
    /// for the build's status, and starts it again with the same `tries` if it still waits for it.
    pub async fn start(&self, build: &BuildId, tries: &mut Attempts) -> Result<(), ApiError> {
        let path = format!("/images/build/{build}/start");
        let body = StartBuildRequest { context_uploaded: true };
        let call = Call::send(Class::Start, "start the build", Method::POST, path, &body)?;
        let call = Call { looks: true, ..call };
        self.call(&call, tries, None, |answer: &Answer<'_>| answer.not_html()).await
    }

    /// `GET /images/build/{id}`.
    pub async fn status(&self, build: &BuildId) -> Result<RemoteBuild, ApiError> {
        self.status_within(build, Attempts::new(Repeat::Safe)).await
    }

    pub(super) async fn status_within(
        &self,
        build: &BuildId,
        mut tries: Attempts,
    ) -> Result<RemoteBuild, ApiError> {
        let path = format!("/images/build/{build}");
        let call = Call::get(Class::Status, "ask for the build's status", path);
        let read = |answer: &Answer<'_>| {
            self.view(&answer.json()?).ok_or_else(|| answer.odd("the answer has no status"))
        };
        self.call(&call, &mut tries, None, read).await
    }

    /// `GET /images/builds`: a page of builds.
    pub async fn builds(&self, offset: u64) -> Result<BuildsPage, ApiError> {
        self.builds_within(offset, BUILDS_PER_PAGE, Attempts::new(Repeat::Safe)).await
    }

    pub(super) async fn builds_within(
        &self,
        offset: u64,
        limit: u64,
        mut tries: Attempts,
    ) -> Result<BuildsPage, ApiError> {
        let path = format!("/images/builds?offset={offset}&limit={limit}");
        let call = Call::get(Class::List, "list the builds", path);
        let read = |answer: &Answer<'_>| {
            let value = answer.json()?;
            let rows = value.get("data").and_then(Value::as_array);
            let rows = rows.ok_or_else(|| answer.odd("the answer has no `data`"))?;
            let total = total(&value);
            Ok(BuildsPage {
                builds: rows.iter().filter_map(|row| self.view(row)).collect(),
                total,
                next: next(offset, rows.len() as u64, (limit, value.get("limit")), total),
                now: answer.now,
            })
        };
        self.call(&call, &mut tries, None, read).await
    }

    fn view(&self, answer: &Value) -> Option<RemoteBuild> {
        let mut view = response::build_view(answer)?;
        if let BuildProgress::Failed(reason) = &mut view.progress {
            *reason = self.clean(reason);
        }
        Some(view)
    }

    /// The service's words, fit to be shown: a line without secrets and control characters.
    pub(super) fn clean(&self, words: &str) -> String {
        shorten(&scrub(words, Some(self.inner.key.expose())))
    }
}

/// How many there are in all, where a page of a listing says so.
pub(super) fn total(page: &Value) -> Option<u64> {
    ["total_count", "totalCount"].iter().find_map(|key| page.get(*key)?.as_u64())
}

/// Where the page after this one begins. The service may grant less than was asked for: then its
/// own word for the limit counts.
pub(super) fn next(
    offset: u64,
    rows: u64,
    (asked, granted): (u64, Option<&Value>),
    total: Option<u64>,
) -> Option<u64> {
    let granted = granted.and_then(Value::as_u64).filter(|granted| *granted > 0);
    let limit = granted.unwrap_or(asked).min(asked);
    let next = offset + limit;
    let more = match total {
        Some(total) => next < total && rows > 0,
        None => rows >= limit,
    };
    more.then_some(next)
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
        limits: &[(Class, Limit)],
    ) -> Self {
        let (url, key) = ("https://fake".to_owned(), ApiKey::new("k-123"));
        let endpoint = Endpoint { url, key, owner: Owner::Personal };
        let limiter = RateLimiter::new(limits);
        let client = Self::with_transport(&endpoint, limiter, Arc::clone(server) as _).unwrap();
        client.with_observer(server.observer())
    }
}

#[cfg(test)]
mod tests;
