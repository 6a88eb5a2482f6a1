//! Sends a context to where the service said: past the API, into its storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio_util::io::ReaderStream;

use super::client::Client;
use super::error::{ApiError, ErrorKind};
use crate::base::secret::SignedUrl;

/// An upload of which nothing has moved for so long is given up. The provider's own client allows
/// as long for one to be read.
const STALL: Duration = Duration::from_secs(600);

impl Client {
    /// `PUT` of a context to where the service said. Sends exactly `length` bytes, said up front.
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
        let request = self
            .inner
            .storage
            .put(url.expose())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(stream));
        let answer = tokio::select! {
            answer = request.send() => answer,
            () = stalled(&sent) => {
                let message = format!("nothing has moved for {} s", STALL.as_secs());
                return Err(ApiError::new(ACTION, ErrorKind::Lost, message));
            }
        };
        let answer = answer.map_err(|error| self.transport(ACTION, "where contexts go", error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = self.body(ACTION, answer).await?;
        Err(ApiError::from_answer(ACTION, status.as_u16(), None, &body, self.inner.key.expose()))
    }
}

/// Ends once a count has stood still.
async fn stalled(count: &AtomicU64) {
    let mut before = count.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL).await;
        let now = count.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}
