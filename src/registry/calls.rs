//! The calls that copy and delete images: blobs and manifests, read and written.
//!
//! The crate `oci-client` has such calls, but would bring 47 crates and a second client with its own
//! tokens and retries. These calls share sessions, rate limits and the rules for secrets with the lookups.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Body, Method, Request, Response, Url};
use tokio::time::Instant;

use super::authorization::Authorization;
use super::blob_stream::{BlobDownload, BlobMonitor};
use super::challenge::RepositoryAccess;
use super::content::{self, BlobDescriptor, ParsedManifest};
use super::error::{self, RegistryErrorKind, RegistryFailure, without_secrets};
use super::header;
use super::message::{RegistryResponse, RequestBody};
use super::registries::{digest_mismatch, status_failure};
use super::retry;
use super::session::{ImageRequest, RegistrySession};
use super::throttle::SendPermit;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::body::{BodyLimits, read_body};
use crate::http::header::retry_after;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::stall::stall;
use crate::http::target::{check_target, origin};

/// Maximum time of an upload without progress. After the last byte, a registry may copy the blob within
/// its storage before it responds.
const MAX_STALL: Duration = Duration::from_secs(300);

/// Maximum size and time of the body of a response to an upload.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const MAX_ANSWER_TIME: Duration = Duration::from_secs(30);

/// A manifest or an index as it was sent, so that a copy keeps its digest.
#[derive(Debug)]
pub(super) struct RawManifest {
    pub(super) digest: OciDigest,
    pub(super) bytes: Bytes,
    pub(super) parsed: ParsedManifest,
}

/// The beginning of an upload.
pub(super) enum BlobUpload {
    /// The registry has taken the blob from the other repository: nothing is to be sent.
    Mounted,
    /// The registry waits for the blob.
    Waiting(UploadTarget),
}

/// The URL to which a blob is sent.
pub(super) struct UploadTarget {
    url: Url,
    /// True if the URL is of the registry itself. Another host gets no credentials.
    is_same_origin: bool,
}

/// The failure of an upload.
pub(super) struct UploadError {
    pub(super) failure: RegistryFailure,
    /// True if a new upload may succeed.
    pub(super) is_transient: bool,
    /// True if the download failed, and not the upload.
    pub(super) is_of_download: bool,
}

impl From<RegistryFailure> for UploadError {
    fn from(failure: RegistryFailure) -> Self {
        Self { failure, is_transient: false, is_of_download: false }
    }
}

/// The result of the deletion of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestDeletion {
    /// The manifest is gone, and with it all tags of its digest.
    Deleted,
    /// The registry does not delete manifests.
    Unsupported,
}

impl RegistrySession {
    /// Returns a manifest with its bytes, whose digest is `expected`, if that is known.
    pub(super) async fn raw_manifest(
        &self,
        image: &RegistryRef,
        name: &str,
        expected: Option<OciDigest>,
        observer: ObserverRef<'_>,
    ) -> Result<RawManifest, RegistryFailure> {
        let response = self.manifest(&Method::GET, image, name, observer).await?;
        if response.status != 200 {
            return Err(status_failure(&response, image));
        }
        let digest = OciDigest::of(&response.body);
        let from_header = header::digest(&response.headers);
        if [expected, from_header].into_iter().flatten().any(|other| other != digest) {
            return Err(digest_mismatch());
        }
        let content_type = header::content_type(&response.headers);
        let parsed = content::parse(&response.body, content_type);
        let parsed = parsed.map_err(RegistryFailure::unexpected)?;
        Ok(RawManifest { digest, bytes: response.body, parsed })
    }

    /// Returns true if the repository of an image has a manifest. A registry only accepts a manifest whose
    /// blobs it has, so it then has them as well.
    pub(super) async fn has_manifest(
        &self,
        image: &RegistryRef,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<bool, RegistryFailure> {
        let response = self.manifest(&Method::HEAD, image, &digest.to_string(), observer).await?;
        Ok(response.status == 200)
    }

    /// Writes a manifest, under a tag or its digest as `name`.
    pub(super) async fn put_manifest(
        &self,
        image: &RegistryRef,
        name: &str,
        manifest: &RawManifest,
        observer: ObserverRef<'_>,
    ) -> Result<(), RegistryFailure> {
        let media_type = HeaderValue::from_static(manifest.parsed.media_type);
        let body = RequestBody::Manifest { media_type, bytes: manifest.bytes.clone() };
        let url = self.protocol.manifest_url(image, name);
        let access = RepositoryAccess::Push;
        let request = ImageRequest { access, body, ..ImageRequest::read(&Method::PUT, image, url) };
        let response = self.request(request, observer).await?;
        if !matches!(response.status, 200..=204) {
            return Err(refused(&response, "the manifest"));
        }
        match header::digest(&response.headers) {
            Some(digest) if digest != manifest.digest => Err(digest_mismatch()),
            _ => Ok(()),
        }
    }

    /// Deletes a manifest and all tags of its digest. One that is missing counts as deleted.
    pub(super) async fn delete_manifest(
        &self,
        image: &RegistryRef,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<ManifestDeletion, RegistryFailure> {
        let url = self.protocol.manifest_url(image, &digest.to_string());
        let access = RepositoryAccess::Delete;
        let request = ImageRequest { access, ..ImageRequest::read(&Method::DELETE, image, url) };
        let response = self.request(request, observer).await?;
        match response.status {
            200..=204 | 404 => Ok(ManifestDeletion::Deleted),
            405 => Ok(ManifestDeletion::Unsupported),
            _ => Err(refused(&response, "the deletion")),
        }
    }

    /// Returns true if the repository of an image has a blob.
    pub(super) async fn has_blob(
        &self,
        image: &RegistryRef,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<bool, RegistryFailure> {
        let url = self.protocol.blob_url(image, digest);
        let request = ImageRequest::read(&Method::HEAD, image, url);
        Ok(self.request(request, observer).await?.status == 200)
    }

    /// Begins the download of a blob. Fails at once if the registry announces another size.
    pub(super) async fn pull_blob(
        &self,
        image: &RegistryRef,
        blob: BlobDescriptor,
        observer: ObserverRef<'_>,
    ) -> Result<BlobDownload, RegistryFailure> {
        let url = self.protocol.blob_url(image, blob.digest);
        let request =
            ImageRequest { leaves_body: true, ..ImageRequest::read(&Method::GET, image, url) };
        let mut response = self.request(request, observer).await?;
        let host = origin(&response.url);
        let Some(unread) = response.unread.take().filter(|_| response.status == 200) else {
            let response = response.describe();
            let message = format!("the registry has no blob {}: {response}", blob.digest);
            let help = "the image is incomplete there: push it again";
            return Err(RegistryFailure::new(RegistryErrorKind::NotFound, message, help));
        };
        match unread.content_length() {
            Some(length) if length != blob.size => {
                let (digest, size) = (blob.digest, blob.size);
                let message = format!("{host} has {length} bytes for the blob {digest} of {size}");
                Err(RegistryFailure::unexpected(message))
            }
            _ => Ok(BlobDownload::new(unread, host, blob)),
        }
    }

    /// Begins the upload of a blob, or mounts it from another repository of the registry, if that has it
    /// and the credentials allow to read it there.
    pub(super) async fn begin_upload(
        &self,
        image: &RegistryRef,
        mount: Option<(OciDigest, &str)>,
        observer: ObserverRef<'_>,
    ) -> Result<BlobUpload, RegistryFailure> {
        let mut url = self.protocol.uploads_url(image);
        if let (Some(url), Some((digest, from))) = (&mut url, mount) {
            let digest = digest.to_string();
            url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", from);
        }
        let access = RepositoryAccess::Push;
        let request = ImageRequest { access, ..ImageRequest::read(&Method::POST, image, url) };
        let response = self.request(request, observer).await?;
        match response.status {
            201 if mount.is_some() => Ok(BlobUpload::Mounted),
            202 => Ok(BlobUpload::Waiting(upload_target(&response)?)),
            _ => Err(refused(&response, "an upload")),
        }
    }

    /// Sends a blob with one PUT, while it is downloaded.
    ///
    /// # Errors
    ///
    /// Fails if the download fails, or the registry does not accept the blob. Then the registry has no
    /// part of it: an upload whose PUT is incomplete is dropped.
    pub(super) async fn push_blob(
        &self,
        image: &RegistryRef,
        target: UploadTarget,
        blob: BlobDescriptor,
        download: BlobDownload,
        observer: ObserverRef<'_>,
    ) -> Result<(), UploadError> {
        let UploadTarget { mut url, is_same_origin } = target;
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let authorization = match self.protocol.uploads_url(image).filter(|_| is_same_origin) {
            Some(registry) => {
                let access = RepositoryAccess::Push;
                self.expected_authorization(image, access, &registry, observer).await?
            }
            None => None,
        };
        let host = self.sender.hosts.get(origin(&url));
        let _slot = host.acquire_slot().await?;
        let permit = host.acquire().await?;
        let monitor = download.monitor();
        let request = upload_request(url, blob, download, authorization.as_ref());
        let response = tokio::select! {
            response = self.sender.transport.send(request) => {
                response.map_err(|error| error.message)
            }
            () = stall(monitor.passed_bytes(), MAX_STALL) => {
                Err(format!("no progress for {} s", MAX_STALL.as_secs()))
            }
        };
        let secrets = Authorization::secrets(authorization.as_ref());
        let outcome = UploadOutcome { host: &host.name, blob, secrets, permit: &permit };
        match response {
            Ok(response) => outcome.read(response, &monitor, observer).await,
            Err(cause) => Err(outcome.broken(&cause, &monitor)),
        }
    }
}

/// The parts of an upload that judge its response.
struct UploadOutcome<'a> {
    host: &'a str,
    blob: BlobDescriptor,
    secrets: Vec<&'a str>,
    permit: &'a SendPermit<'a>,
}

impl UploadOutcome<'_> {
    /// Returns the failure of an upload without a response. The reason is often the download's.
    fn broken(&self, cause: &str, monitor: &BlobMonitor) -> UploadError {
        let Self { host, blob, secrets, .. } = self;
        let of_download = monitor.failure();
        let is_of_download = of_download.is_some();
        let failure = of_download.unwrap_or_else(|| {
            let cause = without_secrets(cause, secrets);
            let message =
                format!("{host}: the upload of the blob {} broke off: {cause}", blob.digest);
            RegistryFailure::new(RegistryErrorKind::Unreachable, message, "try again later")
        });
        let is_transient = failure.kind == RegistryErrorKind::Unreachable;
        UploadError { failure, is_transient, is_of_download }
    }

    async fn read(
        &self,
        response: Response,
        monitor: &BlobMonitor,
        observer: ObserverRef<'_>,
    ) -> Result<(), UploadError> {
        let status = response.status().as_u16();
        if matches!(status, 200..=204) {
            self.permit.record_success();
            return Ok(());
        }
        if monitor.failure().is_some() {
            return Err(self.broken("", monitor));
        }
        let wait = retry_after(response.headers(), Timestamp::now());
        let deadline = Instant::now() + MAX_ANSWER_TIME;
        let limits =
            BodyLimits { max_bytes: MAX_ANSWER_BYTES, max_silence: MAX_ANSWER_TIME, deadline };
        let mut body = Vec::new();
        // The status says enough if the body cannot be read.
        let _ = read_body(response, limits, &mut body).await;
        let answer = error::describe_response(status, &body, &self.secrets);
        if status == 429
            && let Some(wait) = self.permit.record_429(wait, &answer)?
        {
            observer(Notice::RegistryPaused { registry: self.host.to_owned(), wait });
        }
        let message = format!("{} answered {answer} to the blob {}", self.host, self.blob.digest);
        let kind = match status {
            401 | 403 => RegistryErrorKind::Denied,
            429 => RegistryErrorKind::RateLimited,
            _ if retry::is_transient(status) => RegistryErrorKind::Unreachable,
            _ => RegistryErrorKind::Unexpected,
        };
        let help = "check the registry's log and its free disk space, and try again";
        let failure = RegistryFailure::new(kind, message, help);
        // A token may have expired, and a registry that was restarted no longer knows the upload.
        let is_transient = matches!(status, 401 | 404 | 429) || retry::is_transient(status);
        Err(UploadError { failure, is_transient, is_of_download: false })
    }
}

/// Returns the URL for the bytes of a blob, from the response to the beginning of its upload.
///
/// # Errors
///
/// Fails if there is none, or if the registry may not lead there.
fn upload_target(response: &RegistryResponse) -> Result<UploadTarget, RegistryFailure> {
    let from = &response.url;
    let error = |problem: &str| {
        RegistryFailure::unexpected(format!("{} sends an upload {problem}", origin(from)))
    };
    let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok());
    let url = url.ok_or_else(|| error("without a valid location"))?;
    check_target(from, &url).map_err(|target| error(&format!("to {target}")))?;
    let is_same_origin = response.from_first_origin && url.origin() == from.origin();
    Ok(UploadTarget { url, is_same_origin })
}

fn upload_request(
    url: Url,
    blob: BlobDescriptor,
    download: BlobDownload,
    authorization: Option<&Authorization>,
) -> Request {
    let mut request = Request::new(Method::PUT, url);
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, blob.size.into());
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.value.clone());
    }
    *request.body_mut() = Some(Body::wrap_stream(download.into_stream()));
    request
}

/// Returns the failure for a response that refuses `what`.
fn refused(response: &RegistryResponse, what: &str) -> RegistryFailure {
    let message = format!("{} answered {} to {what}", origin(&response.url), response.describe());
    let help = "check the registry's log and its settings";
    RegistryFailure::new(RegistryErrorKind::Unexpected, message, help)
}
