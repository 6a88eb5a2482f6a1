//! `GET /`: a page for people, which shows images, builds and their logs. It has no data itself: its
//! script asks the API, with the key that the user enters.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The page. It needs nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// The rule for the browser: nothing runs, is loaded or is asked but what is on the page and on this
/// server. A text of a build that were taken for HTML could do nothing.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let (script, style) = (hash_of("<script>", "</script>"), hash_of("<style>", "</style>"));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
});

/// Returns the hash of the part of the page between two tags, as a policy names it.
fn hash_of(begin: &str, end: &str) -> String {
    let part = PAGE.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    let part = part.map(|(part, _)| part).unwrap_or_default();
    format!("sha256-{}", STANDARD.encode(Sha256::digest(part)))
}

/// Returns the page.
pub(super) fn page() -> Response {
    let mut response = Html(PAGE).into_response();
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    let policy = POLICY.clone().unwrap_or_else(|| fixed("default-src 'none'"));
    let pairs: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::CACHE_CONTROL, fixed("no-cache")),
    ];
    headers.extend(pairs);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_makes_no_html() {
        for tag in ["<script", "<style", "</script>", "</style>"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        // Attributes with code or styles would be refused by the policy.
        let forbidden = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http://",
            "https://",
            " onclick=\"",
            " style=\"",
            "localStorage",
            "document.cookie",
        ];
        for text in forbidden {
            assert!(!PAGE.contains(text), "{text}");
        }
        assert!(PAGE.len() < 30_000, "{} bytes", PAGE.len());
    }

    #[test]
    fn the_policy_allows_only_this_page() {
        let response = page();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        // The hash of an empty text: a part was not found.
        assert!(!policy.contains("47DEQpj8HBSa"), "{policy}");
    }
}
