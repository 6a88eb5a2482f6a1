//! The bytes of a blob on their way from one registry to another, checked as they pass.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::content::BlobDescriptor;
use super::error::{RegistryErrorKind, RegistryFailure, shorten, without_secrets};
use super::throttle::lock;
use crate::base::reference::OciDigest;
use crate::base::safe_text::error_chain;

/// Maximum time without any data.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// A blob whose download has begun.
pub(super) struct BlobDownload {
    source: BlobSource,
    /// Host of the registry, for messages.
    host: String,
    expected: BlobDescriptor,
    hasher: Sha256,
    received: u64,
    /// The last chunk that arrived. It is passed on once the next one, or the end, has arrived: so the last
    /// chunk of a blob with a wrong digest never leaves, and its upload stays incomplete.
    held: Option<Bytes>,
    monitor: BlobMonitor,
}

/// The origin of the bytes of a blob.
enum BlobSource {
    Registry(Response),
    /// Bytes of this process, until they are taken.
    Memory(Option<Bytes>),
}

impl BlobSource {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Memory(bytes) => Ok(bytes.take()),
            Self::Registry(response) => match timeout(MAX_SILENCE, response.chunk()).await {
                Ok(chunk) => chunk.map_err(|error| error_chain(&error.without_url())),
                Err(_) => Err(format!("no data for {} s", MAX_SILENCE.as_secs())),
            },
        }
    }
}

/// The progress and the failure of a download, seen by the task that uploads it.
#[derive(Clone, Default)]
pub(super) struct BlobMonitor {
    passed_bytes: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<RegistryFailure>>>,
}

impl BlobMonitor {
    /// Returns the number of bytes that were passed on.
    pub(super) fn passed_bytes(&self) -> &AtomicU64 {
        &self.passed_bytes
    }

    /// Returns the failure of the download, if it failed.
    pub(super) fn failure(&self) -> Option<RegistryFailure> {
        lock(&self.failure).clone()
    }
}

impl BlobDownload {
    /// Begins with the head of a successful `response` of `host`.
    pub(super) fn new(response: Response, host: String, expected: BlobDescriptor) -> Self {
        Self::from_source(BlobSource::Registry(response), host, expected)
    }

    /// Returns a small blob of this process, to be uploaded as if it were downloaded.
    pub(super) fn of_bytes(bytes: &'static [u8]) -> (Self, BlobDescriptor) {
        let blob = BlobDescriptor { digest: OciDigest::of(bytes), size: bytes.len() as u64 };
        let source = BlobSource::Memory(Some(Bytes::from_static(bytes)));
        (Self::from_source(source, "imgplan".to_owned(), blob), blob)
    }

    fn from_source(source: BlobSource, host: String, expected: BlobDescriptor) -> Self {
        let (hasher, monitor) = (Sha256::new(), BlobMonitor::default());
        Self { source, host, expected, hasher, received: 0, held: None, monitor }
    }

    pub(super) fn monitor(&self) -> BlobMonitor {
        self.monitor.clone()
    }

    /// Returns the bytes. The stream ends with an error if they do not have the expected size and digest,
    /// or if no data arrives for a minute; [`BlobMonitor::failure`] then has the reason.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(Some(self), |download| async {
            let Some(mut download) = download else { return Ok(None) };
            match download.next().await {
                Ok(Some(chunk)) => Ok(Some((chunk, Some(download)))),
                Ok(None) => Ok(download.held.take().map(|last| (last, None))),
                Err(failure) => {
                    *lock(&download.monitor.failure) = Some(failure);
                    Err(io::Error::other("the download failed"))
                }
            }
        })
    }

    /// Returns the next chunk to pass on. `None` if only the held chunk is left, and the blob is valid.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryFailure> {
        loop {
            let chunk = self.source.chunk().await.map_err(|cause| self.broken(&cause))?;
            let Some(chunk) = chunk else {
                self.check_end()?;
                return Ok(None);
            };
            if chunk.is_empty() {
                continue;
            }
            self.received += chunk.len() as u64;
            if self.received > self.expected.size {
                return Err(self.wrong(&format!("more than its {} bytes", self.expected.size)));
            }
            self.hasher.update(&chunk);
            self.monitor.passed_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if let Some(before) = self.held.replace(chunk) {
                return Ok(Some(before));
            }
        }
    }

    fn check_end(&self) -> Result<(), RegistryFailure> {
        if self.received < self.expected.size {
            let (received, size) = (self.received, self.expected.size);
            return Err(self.broken(&format!("it ended after {received} of {size} bytes")));
        }
        let digest = OciDigest::of_hash(self.hasher.clone().finalize().into());
        if digest != self.expected.digest {
            return Err(self.wrong(&format!("bytes of the digest {digest}")));
        }
        Ok(())
    }

    /// Returns the failure for a blob that another attempt may get.
    fn broken(&self, cause: &str) -> RegistryFailure {
        let cause = shorten(&without_secrets(cause, &[]));
        let message =
            format!("{}: the blob {} broke off: {cause}", self.host, self.expected.digest);
        RegistryFailure::new(RegistryErrorKind::Unreachable, message, "try again later")
    }

    fn wrong(&self, what: &str) -> RegistryFailure {
        let message = format!("{} sent {what} for the blob {}", self.host, self.expected.digest);
        let help =
            "the registry's copy is damaged, or a proxy changes it: push the image there again";
        RegistryFailure::new(RegistryErrorKind::Unexpected, message, help)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, TryStreamExt};
    use reqwest::Body;

    use super::*;

    /// Downloads `chunks` as a blob; returns the bytes that were passed on, and the failure.
    async fn download(chunks: &[&str], expected: &str, size: u64) -> (String, Option<String>) {
        let chunks: Vec<io::Result<String>> = chunks.iter().map(|c| Ok((*c).to_owned())).collect();
        let body = Body::wrap_stream(stream::iter(chunks));
        let response = axum::http::Response::new(body).into();
        let expected = BlobDescriptor { digest: OciDigest::of(expected.as_bytes()), size };
        let download = BlobDownload::new(response, "a.example".to_owned(), expected);
        let monitor = download.monitor();
        let mut stream = Box::pin(download.into_stream());
        let mut passed = Vec::new();
        while let Some(Ok(chunk)) = stream.next().await {
            passed.extend_from_slice(&chunk);
        }
        assert!(stream.try_next().await.is_ok(), "nothing comes after an error");
        (String::from_utf8(passed).unwrap(), monitor.failure().map(|failure| failure.message))
    }

    #[tokio::test]
    async fn a_valid_blob_passes_and_the_end_of_another_is_held_back() {
        for chunks in [&["abc"][..], &["a", "", "bc"], &["a", "b", "c", ""]] {
            assert_eq!(download(chunks, "abc", 3).await, ("abc".to_owned(), None), "{chunks:?}");
        }
        assert_eq!(download(&[], "", 0).await, (String::new(), None));
        let table: &[(&[&str], &str, u64, &str, &str)] = &[
            (&["a", "bd"], "abc", 3, "a", "bytes of the digest sha256:"),
            (&["abd"], "abc", 3, "", "bytes of the digest sha256:"),
            (&["ab", "cd"], "abc", 3, "", "more than its 3 bytes"),
            (&["a", "b"], "abc", 3, "a", "it ended after 2 of 3 bytes"),
            (&[], "abc", 3, "", "it ended after 0 of 3 bytes"),
        ];
        for (chunks, expected, size, passed, problem) in table {
            let (bytes, failure) = download(chunks, expected, *size).await;
            assert_eq!(bytes, *passed, "{chunks:?}");
            let failure = failure.unwrap();
            assert!(failure.starts_with("a.example") && failure.contains(problem), "{failure}");
        }
    }
}
