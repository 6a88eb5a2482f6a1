//! Sends a context to where the service said: past the API, into its storage.

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
use crate::base::secret::SignedUrl;
use crate::http::header;

/// An upload of which nothing has moved for so long is given up. The provider's own client allows
/// 600 s for one to be read (`api.md` §2), but a connection that stood still for two minutes hardly
/// comes back, and is better begun anew.
const STALL: Duration = Duration::from_secs(120);

/// How often that is looked at.
const GLANCE: Duration = Duration::from_secs(5);

/// How long the answer's body may take.
const BODY: Duration = Duration::from_secs(30);

impl Client {
    /// `PUT` of a context to where the service said, once. Sends exactly `length` bytes, said up
    /// front. [`Client::retry_upload_after`] says whether to send it again.
    pub async fn upload(
        &self,
        url: &SignedUrl,
        file: std::fs::File,
        length: u64,
    ) -> Result<(), ApiError> {
        const ACTION: &str = "upload the context";
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10)
            .inspect_ok(move |chunk| {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            });
        let url = Url::parse(url.expose()).map_err(|_| {
            let message = "the service gave no URL for it";
            ApiError::new(ACTION, ErrorKind::Rejected, message)
        })?;
        let mut request = Request::new(Method::PUT, url);
        let octets = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(CONTENT_TYPE, octets);
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        *request.body_mut() = Some(Body::wrap_stream(stream));
        let answer = tokio::select! {
            answer = self.inner.transport.upload(request) => answer,
            () = stalled(&sent) => {
                let message = format!("nothing has moved for {} s", STALL.as_secs());
                return Err(ApiError::new(ACTION, ErrorKind::ResponseLost, message));
            }
        };
        let answer = answer.map_err(|broken| self.broken(ACTION, "where contexts go", &broken))?;
        let status = answer.status();
        if status.is_success() {
            // The status is enough, unless a page for people came in the storage's place.
            let body = self.body(ACTION, answer, Instant::now() + BODY).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&body);
            // Storages speak XML.
            if !looks_like_html(&text) || text.trim_start().starts_with("<?xml") {
                return Ok(());
            }
            let message = "an HTML page answered in the storage's place";
            return Err(ApiError::new(ACTION, ErrorKind::BadResponse, message));
        }
        if status.is_redirection() {
            // It would redirect the next one too.
            let message = format!("it is redirected (HTTP {})", status.as_u16());
            return Err(ApiError::new(ACTION, ErrorKind::Rejected, message));
        }
        let asked = header::retry_after(answer.headers(), Timestamp::now());
        let body = self.body(ACTION, answer, Instant::now() + BODY).await?;
        let key = self.inner.key.expose();
        Err(ApiError::from_storage(ACTION, status.as_u16(), asked, &body, key))
    }
}

/// Ends once a count has stood still.
async fn stalled(count: &AtomicU64) {
    let (mut before, mut moved) = (count.load(Ordering::Relaxed), Instant::now());
    while moved.elapsed() < STALL {
        tokio::time::sleep(GLANCE).await;
        let now = count.load(Ordering::Relaxed);
        if now != before {
            (before, moved) = (now, Instant::now());
        }
    }
}
