//! Talks to the service: one method an endpoint, each behind the [`Gate`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Accepted, BuildView, Progress, Refused};
use super::endpoint::Endpoint;
use super::error::{ApiError, ErrorKind, chain, looks_like_html, shorten};
use super::gate::{Gate, Permit};
use super::retry::{self, Repeat};
use super::wire::{BuildImageRequest, StartBuildRequest, UpdateImagesRequest};
use crate::base::limit::Class;
use crate::base::name::{BuildId, Owner};
use crate::base::secret::{ApiKey, scrub};

/// No answer of the service is near this; a body that goes on and on is not read to its end.
const MAX_BODY: usize = 16 << 20;

/// Builds a page of the listing holds.
pub const BUILDS_PER_PAGE: u64 = 100;

/// A connection to the service, cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    api: reqwest::Client,
    pub(super) storage: reqwest::Client,
    base: String,
    pub(super) key: ApiKey,
    gate: Gate,
}

/// A page of the listing of builds.
#[derive(Debug, Clone)]
pub struct BuildsPage {
    /// The builds that could be read.
    pub builds: Vec<BuildView>,
    /// How many there are in all, where the service says.
    pub total: Option<u64>,
    /// How many rows the page had, read or not.
    pub rows: usize,
}

impl Client {
    /// A client for an endpoint. Fails without a key, or where no connection can be made secure.
    pub fn new(endpoint: &Endpoint, gate: Gate) -> Result<Self, ApiError> {
        const ACTION: &str = "connect to the service";
        let key = endpoint
            .key
            .clone()
            .ok_or_else(|| ApiError::new(ACTION, ErrorKind::Unauthorized, "there is no API key"))?;
        if let Some(problem) = endpoint.url_problem() {
            return Err(ApiError::new(ACTION, ErrorKind::Unreachable, problem));
        }
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("imgplan/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(10));
            // A proxy is for the world outside: it could not reach this machine's loopback.
            if endpoint.is_loopback() { builder.no_proxy() } else { builder }
        };
        let api = builder().timeout(Duration::from_secs(120)).build();
        // A presigned URL is for this one request: wherever it redirects to was not signed.
        // No timeout of its own: a large context may take long, as long as it moves.
        let storage = builder().redirect(reqwest::redirect::Policy::none()).build();
        let fail = |error: reqwest::Error| {
            ApiError::new(
                ACTION,
                ErrorKind::Rejected,
                format!(
                    "{}; the system's CA certificates are needed (ca-certificates, or SSL_CERT_FILE)",
                    chain(&error)
                ),
            )
        };
        Ok(Self {
            inner: Arc::new(Inner {
                api: api.map_err(fail)?,
                storage: storage.map_err(fail)?,
                base: format!("{}/api/v1", endpoint.url),
                key,
                gate,
            }),
        })
    }

    /// `POST /images/build`: asks for a build, or for transfers. One result for each build or
    /// source in the answer. `stop` ends the wait for a turn, never a request that has left.
    pub async fn initiate(
        &self,
        request: &BuildImageRequest,
        owner: &Owner,
        stop: &CancellationToken,
    ) -> Result<Vec<Result<Accepted, Refused>>, ApiError> {
        const ACTION: &str = "initiate the build";
        let images = request.source_image.as_ref().map(|list| list.split(',').count());
        let images = images.and_then(|images| u32::try_from(images).ok());
        let transfer = match images {
            Some(images) => {
                let turn = self.inner.gate.transfer(owner, images);
                stop.run_until_cancelled(turn).await.ok_or_else(|| stopped(ACTION))?
            }
            None => None,
        };
        let call = Call {
            class: Class::Initiate,
            action: ACTION,
            method: Method::POST,
            path: "/images/build".to_owned(),
            repeat: Repeat::Unsafe,
            transfer: transfer.as_ref(),
            stop: Some(stop),
        };
        let value = self.json(&call, Some(request)).await?;
        let mut results = answer::initiated(&value).ok_or_else(|| {
            ApiError::new(ACTION, ErrorKind::BadAnswer, "the answer has no build ID")
        })?;
        for refused in results.iter_mut().filter_map(|result| result.as_mut().err()) {
            refused.message = self.clean(&refused.message);
        }
        Ok(results)
    }

    /// `POST /images/build/{id}/start`: the context is there. Any success is one, a body or none.
    pub async fn start(&self, build: &BuildId) -> Result<(), ApiError> {
        let call = Call {
            class: Class::Start,
            action: "start the build",
            method: Method::POST,
            path: format!("/images/build/{build}/start"),
            repeat: Repeat::Unsafe,
            transfer: None,
            stop: None,
        };
        self.call(&call, Some(&StartBuildRequest { context_uploaded: true })).await.map(|_| ())
    }

    /// `GET /images/build/{id}`.
    pub async fn status(&self, build: &BuildId) -> Result<BuildView, ApiError> {
        const ACTION: &str = "ask for the build's status";
        let path = format!("/images/build/{build}");
        let value = self.json(&Call::get(Class::Status, ACTION, path), None::<&()>).await?;
        self.view(&value)
            .ok_or_else(|| ApiError::new(ACTION, ErrorKind::BadAnswer, "the answer has no status"))
    }

    /// `GET /images/builds`: a page of builds.
    pub async fn builds(&self, offset: u64) -> Result<BuildsPage, ApiError> {
        const ACTION: &str = "list the builds";
        let path = format!("/images/builds?offset={offset}&limit={BUILDS_PER_PAGE}");
        let value = self.json(&Call::get(Class::List, ACTION, path), None::<&()>).await?;
        let rows = value.get("data").and_then(Value::as_array).ok_or_else(|| {
            ApiError::new(ACTION, ErrorKind::BadAnswer, "the answer has no `data`")
        })?;
        let total = value.get("total_count").or_else(|| value.get("totalCount"));
        Ok(BuildsPage {
            builds: rows.iter().filter_map(|row| self.view(row)).collect(),
            total: total.and_then(Value::as_u64),
            rows: rows.len(),
        })
    }

    /// `PATCH /images`: changes images without building them. Each result is checked: the answer
    /// is a success even where items failed.
    pub async fn update(
        &self,
        request: &UpdateImagesRequest,
        stop: &CancellationToken,
    ) -> Result<(), ApiError> {
        const ACTION: &str = "update the image";
        let moves = request.updates.iter().any(|update| update.set.owner.is_some());
        let call = Call {
            class: Class::Update,
            action: ACTION,
            method: Method::PATCH,
            path: "/images".to_owned(),
            // An image that has moved is not found where it was.
            repeat: if moves { Repeat::Unsafe } else { Repeat::Safe },
            transfer: None,
            stop: Some(stop),
        };
        let value = self.json(&call, Some(request)).await?;
        let results = value.get("results").and_then(Value::as_array);
        let results = results.map(Vec::as_slice).unwrap_or_default();
        let failed = results
            .iter()
            .find(|result| result.get("success").and_then(Value::as_bool) != Some(true));
        if let Some(failed) = failed {
            let reason = |key: &str| failed.get("error").and_then(|error| error.get(key)?.as_str());
            let reason = reason("message").or_else(|| reason("code")).unwrap_or("no reason given");
            return Err(ApiError::new(ACTION, ErrorKind::Rejected, self.clean(reason)));
        }
        if results.len() != request.updates.len() {
            let message = "the answer does not say of each image whether it was changed";
            return Err(ApiError::new(ACTION, ErrorKind::BadAnswer, message));
        }
        Ok(())
    }

    fn view(&self, answer: &Value) -> Option<BuildView> {
        let mut view = answer::build_view(answer)?;
        if let Progress::Failed(reason) = &mut view.progress {
            *reason = self.clean(reason);
        }
        Some(view)
    }

    /// The service's words, fit to be shown: a line without secrets and control characters.
    fn clean(&self, words: &str) -> String {
        shorten(&scrub(words, Some(self.inner.key.expose())))
    }

    /// Sends a request and reads the JSON of its answer.
    async fn json(
        &self,
        call: &Call<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Value, ApiError> {
        let bytes = self.call(call, body).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            let text = String::from_utf8_lossy(&bytes);
            let what = match text.trim() {
                "" => "an empty answer".to_owned(),
                html if looks_like_html(html) => "an HTML page".to_owned(),
                other => format!("`{}`", shorten(other).chars().take(80).collect::<String>()),
            };
            let message = scrub(&what, Some(self.inner.key.expose()));
            let message = format!("the service answered with {message} instead of JSON");
            ApiError::new(call.action, ErrorKind::BadAnswer, message)
        })
    }

    /// Sends a request as often as [`retry::after`] allows, each time through the gate.
    async fn call(
        &self,
        call: &Call<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ApiError> {
        let mut tries = 0;
        loop {
            let permit = call.unless_stopped(self.inner.gate.request(call.class)).await?;
            let error = match self.once(call, body).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            tries += 1;
            let Some(wait) = retry::after(&error, tries, call.repeat) else { return Err(error) };
            if error.kind == ErrorKind::Rate {
                // It is the class that is over its budget, not this request: all of it waits.
                match call.transfer.filter(|_| error.message.to_lowercase().contains("transfer")) {
                    Some(transfer) => transfer.pause(wait),
                    None => permit.pause(wait),
                }
            }
            drop(permit);
            call.unless_stopped(tokio::time::sleep(wait)).await?;
        }
    }

    async fn once(
        &self,
        call: &Call<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ApiError> {
        let Inner { api, base, key, .. } = &*self.inner;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                ApiError::new(call.action, ErrorKind::Unauthorized, "the key is malformed")
            })?;
        bearer.set_sensitive(true);
        let mut request = api
            .request(call.method.clone(), format!("{base}{}", call.path))
            .header(AUTHORIZATION, bearer);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.transport(call.action, &self.inner.base, error))?;
        let status = answer.status();
        let retry_after = retry_after(&answer);
        let bytes = self.body(call.action, answer).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(ApiError::from_answer(call.action, status.as_u16(), retry_after, &bytes, key.expose()))
    }

    pub(super) async fn body(
        &self,
        action: &'static str,
        mut answer: Response,
    ) -> Result<Bytes, ApiError> {
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend(chunk),
                Ok(Some(_)) => {
                    let message = "the answer is longer than any of the service's";
                    return Err(ApiError::new(action, ErrorKind::BadAnswer, message));
                }
                Ok(None) => return Ok(body.into()),
                // Of an error the status is enough; of a success the answer is what was asked for.
                Err(_) if !answer.status().is_success() => return Ok(body.into()),
                Err(error) => return Err(self.transport(action, &self.inner.base, error)),
            }
        }
    }

    pub(super) fn transport(
        &self,
        action: &'static str,
        place: &str,
        error: reqwest::Error,
    ) -> ApiError {
        // A connection that was never made sent nothing; a request that could not be built neither.
        let kind = if error.is_connect() || error.is_builder() {
            ErrorKind::Unreachable
        } else {
            ErrorKind::Lost
        };
        let message = scrub(&chain(&error.without_url()), Some(self.inner.key.expose()));
        let message = match kind {
            ErrorKind::Unreachable => format!("{place}: {message}"),
            _ => message,
        };
        ApiError::new(action, kind, message)
    }
}

/// One request: what it is, and how it may be treated.
struct Call<'a> {
    class: Class,
    action: &'static str,
    method: Method,
    path: String,
    repeat: Repeat,
    transfer: Option<&'a Permit>,
    stop: Option<&'a CancellationToken>,
}

impl Call<'_> {
    fn get(class: Class, action: &'static str, path: String) -> Self {
        let (method, repeat) = (Method::GET, Repeat::Safe);
        Self { class, action, method, path, repeat, transfer: None, stop: None }
    }

    /// Waits for something, unless the run is stopped first.
    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, ApiError> {
        match self.stop {
            None => Ok(wait.await),
            Some(stop) => stop.run_until_cancelled(wait).await.ok_or_else(|| stopped(self.action)),
        }
    }
}

fn stopped(action: &'static str) -> ApiError {
    ApiError::new(action, ErrorKind::Stopped, "the run was stopped")
}

/// `Retry-After`, in seconds. As a date it is left alone: the clocks may differ.
fn retry_after(answer: &Response) -> Option<Duration> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
