//! Errors of registry lookups. Their texts contain no secrets.

use serde_json::Value;

use crate::base::reference::RegistryRef;
use crate::base::safe_text::one_line;
use crate::base::secret::scrub;

/// A failed lookup of a reference. Its text is one line of bounded length, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference}: {message}")]
pub struct RegistryError {
    /// The reference.
    pub reference: Box<RegistryRef>,
    /// The kind of the error.
    pub kind: RegistryErrorKind,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The correction, in the imperative.
    pub help: String,
}

/// The kinds of lookup errors, by what the user can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryErrorKind {
    /// The registry does not have the tag, the digest or the repository.
    NotFound,
    /// The registry denies access, or does not say whether the reference exists.
    Denied,
    /// The registry answers 429, and asks for a longer wait than imgplan makes.
    RateLimited,
    /// A transient error: no connection, no response, or a server error.
    Unreachable,
    /// The response violates the protocol.
    Unexpected,
}

/// A [`RegistryError`] without its reference: many references fail with the same error of their host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegistryFailure {
    pub(super) kind: RegistryErrorKind,
    pub(super) message: String,
    pub(super) help: String,
}

impl RegistryFailure {
    pub(super) fn new(
        kind: RegistryErrorKind,
        message: impl AsRef<str>,
        help: impl AsRef<str>,
    ) -> Self {
        Self { kind, message: shorten(message.as_ref()), help: shorten(help.as_ref()) }
    }

    /// Creates a failure for a response that violates the protocol.
    pub(super) fn unexpected(message: impl AsRef<str>) -> Self {
        let help = "check that this is a registry, and that no proxy answers instead";
        Self::new(RegistryErrorKind::Unexpected, message, help)
    }

    pub(super) fn with_reference(self, reference: &RegistryRef) -> RegistryError {
        let Self { kind, message, help } = self;
        RegistryError { reference: Box::new(reference.clone()), kind, message, help }
    }
}

/// Maximum length of a message.
const MAX_MESSAGE_CHARS: usize = 400;

/// Converts a text to one line of printable characters and shortens it.
pub(super) fn shorten(text: &str) -> String {
    let line = one_line(text, 4 * MAX_MESSAGE_CHARS);
    if line.chars().count() <= MAX_MESSAGE_CHARS {
        return line;
    }
    line.chars().take(MAX_MESSAGE_CHARS).chain("...".chars()).collect()
}

/// Removes `secrets` and the queries of URLs from a text of a registry. Must be done before the text
/// is shortened: half of a secret would not be recognized.
pub(super) fn without_secrets(text: &str, secrets: &[&str]) -> String {
    secrets.iter().fold(scrub(text, None), |text, secret| scrub(&text, Some(secret)))
}

/// Code and message of an error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// For example `MANIFEST_UNKNOWN`.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Parses the body of an error response: the first error of a registry, or the error of a token
/// service. `None` if the body has another form.
pub(super) fn parse_error_body(body: &[u8]) -> Option<ErrorBody> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let errors = json.get("errors").and_then(Value::as_array);
    if let Some(first) = errors.and_then(|errors| errors.first()) {
        let code = text(first, "code");
        let detail = first.get("detail").and_then(Value::as_str).map(str::to_owned);
        return Some(ErrorBody { code, message: text(first, "message").or(detail) });
    }
    // Token services use several names for the message.
    let names = ["details", "error_description", "message", "error", "detail"];
    let message = names.iter().find_map(|name| text(&json, name))?;
    Some(ErrorBody { code: None, message: Some(message) })
}

/// Describes a response for an error message: `HTTP 403: no access`.
pub(super) fn describe_response(status: u16, body: &[u8], secrets: &[&str]) -> String {
    match parse_error_body(body).and_then(|error| error.message.or(error.code)) {
        Some(message) => format!("HTTP {status}: {}", without_secrets(&message, secrets)),
        None => format!("HTTP {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_described() {
        let table = [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                "HTTP 1: manifest unknown",
            ),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, "HTTP 1: DENIED"),
            (r#"{"errors":[{"code":"X","detail":"for p4ss"}]}"#, "HTTP 1: for [hidden]"),
            (r#"{"errors":[]}"#, "HTTP 1"),
            (
                r#"{"details":"incorrect username or password"}"#,
                "HTTP 1: incorrect username or password",
            ),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "HTTP 1: expired"),
            ("<html>", "HTTP 1"),
            ("", "HTTP 1"),
        ];
        for (body, expected) in table {
            assert_eq!(describe_response(1, body.as_bytes(), &["p4ss"]), expected, "{body}");
        }
        let url = r#"{"message":"see https://h/p?token=abc now"}"#;
        let expected = "HTTP 1: see https://h/p?[hidden] now";
        assert_eq!(describe_response(1, url.as_bytes(), &[]), expected);
    }

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        assert_eq!(shorten("a\u{1b}[31m\n b\u{202e}c"), "a [31m b c");
        assert_eq!(shorten(&"x".repeat(MAX_MESSAGE_CHARS)).len(), MAX_MESSAGE_CHARS);
        assert_eq!(shorten(&"x".repeat(9999)).len(), MAX_MESSAGE_CHARS + 3);
    }
}
