//! Reads the headers of a registry's answer that are a registry's own. Pure.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName};

use crate::base::reference::OciDigest;
use crate::http::header::text;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The digest of what a tag names. `None` where the registry does not say, or says it in another way
/// than SHA-256.
pub(super) fn digest(headers: &HeaderMap) -> Option<OciDigest> {
    text(headers, &DIGEST)?.parse().ok()
}

/// What kind of thing it is.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    text(headers, &CONTENT_TYPE)
}
