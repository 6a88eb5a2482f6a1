//! Uploads a context to the URL that the service has signed, in its object storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Url};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::client::Client;
use super::error::{ApiError, ErrorKind, looks_like_html};
use super::retry::Attempts;
use crate::base::secret::SignedUrl;
use crate::http::header;
use crate::http::stall::stall;
use crate::http::target::check_target;

/// Maximum time without progress. The provider's own client allows 600 s (API contract, section 2),
/// but a connection that stood still for two minutes hardly recovers; a new attempt is better.
const MAX_STALL: Duration = Duration::from_secs(120);

/// Maximum time for the body of the response.
const MAX_BODY_TIME: Duration = Duration::from_secs(30);

/// Size of the chunks in which the file is read.
const CHUNK_BYTES: usize = 256 << 10;

const ACTION: &str = "upload the context";

impl Client {
    /// Sends a context of exactly `length` bytes with one `PUT`. After an error,
    /// [`Client::retry_upload_after`] decides about the next attempt.
    ///
    /// # Errors
    ///
    /// Fails if the upload stalls, if the storage does not accept it, and if something other than
    /// the storage responds.
    pub async fn upload(
        &self,
        url: &SignedUrl,
        file: std::fs::File,
        length: u64,
    ) -> Result<(), ApiError> {
        let sent = Arc::new(AtomicU64::new(0));
        let (counter, connection) = (Arc::clone(&sent), Arc::clone(&self.caller.connection));
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES)
            .inspect_ok(move |chunk| {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                connection.uploaded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            });
        let url = self.upload_target(url)?;
        let mut request = Request::new(Method::PUT, url);
        let octets = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(CONTENT_TYPE, octets);
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        *request.body_mut() = Some(Body::wrap_stream(stream));
        let response = tokio::select! {
            response = self.caller.connection.transport.upload(request) => response,
            () = stall(&sent, MAX_STALL) => {
                let message = format!("no progress for {} s", MAX_STALL.as_secs());
                return Err(ApiError::new(ACTION, ErrorKind::ResponseLost, message));
            }
        };
        let response =
            response.map_err(|error| self.caller.broken(ACTION, "upload URL", &error))?;
        let (status, deadline) = (response.status(), Instant::now() + MAX_BODY_TIME);
        if status.is_success() {
            // The status is enough, unless the body is the web page of a proxy.
            let body = self.caller.body(ACTION, response, deadline).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&body);
            // Storages respond with XML.
            if !looks_like_html(&text) || text.trim_start().starts_with("<?xml") {
                return Ok(());
            }
            let message = "an HTML page came instead of the storage's response";
            return Err(ApiError::new(ACTION, ErrorKind::BadResponse, message));
        }
        if status.is_redirection() {
            // The next attempt, and the next URL, would be redirected as well.
            let message = format!("redirected (HTTP {})", status.as_u16());
            return Err(ApiError::new(ACTION, ErrorKind::Misdirected, message));
        }
        let retry_after = header::retry_after(response.headers(), Timestamp::now());
        let body = self.caller.body(ACTION, response, deadline).await?;
        let key = self.caller.connection.key.expose();
        Err(ApiError::from_storage(ACTION, status.as_u16(), retry_after, &body, key))
    }

    /// Returns the parsed upload URL.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::Misdirected`], after which no other URL is asked for, if the service
    /// may not lead there.
    fn upload_target(&self, url: &SignedUrl) -> Result<Url, ApiError> {
        let refuse = |what: &str| {
            let message = format!("the service sent an upload URL to {what}");
            ApiError::new(ACTION, ErrorKind::Misdirected, message)
        };
        let service = Url::parse(&self.caller.connection.base_url);
        let to = Url::parse(url.expose()).map_err(|_| refuse("an invalid URL"))?;
        let service = service.map_err(|_| refuse("storage, and its own URL is invalid"))?;
        check_target(&service, &to).map(|()| to).map_err(|target| refuse(&target))
    }

    /// Returns the delay after which a failed upload is sent again, to the same URL, or `None` if
    /// it must not be. Reports the retry.
    pub fn retry_upload_after(
        &self,
        error: &ApiError,
        attempts: &mut Attempts,
    ) -> Option<Duration> {
        self.caller.decide(None, error, attempts, None, true).delay()
    }
}
