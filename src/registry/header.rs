//! Reads the headers of a registry's response. Pure.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName};

use crate::base::reference::OciDigest;
use crate::http::header::text;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Returns the digest of the manifest. `None` if the header is missing, or is not a SHA-256 digest.
pub(super) fn digest(headers: &HeaderMap) -> Option<OciDigest> {
    text(headers, &DIGEST)?.parse().ok()
}

/// Returns the media type.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    text(headers, &CONTENT_TYPE)
}
