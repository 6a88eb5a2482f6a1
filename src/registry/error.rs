//! What can go wrong when a registry is asked, in words that name a way out and hold no secret.

use serde_json::Value;

use crate::base::one_line::one_line;
use crate::base::reference::RegistryRef;
use crate::base::secret::scrub;

/// A reference that could not be looked up. One line, of bounded length, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference}: {message}")]
pub struct RegistryError {
    /// What was looked up.
    pub reference: Box<RegistryRef>,
    /// What kind of failure it is.
    pub kind: RegistryErrorKind,
    /// What went wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// The kinds of failure, by what the user can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryErrorKind {
    /// The registry does not know the tag, the digest or the repository.
    NotFound,
    /// The registry does not let us read it, or does not say whether it is there.
    Denied,
    /// The registry asks to wait longer than we do.
    RateLimited,
    /// No connection, no answer, or only that the registry is in trouble: it may pass.
    Unreachable,
    /// An answer that cannot be right.
    Odd,
}

/// The same before it is known which reference it is for: many share a host and its failures.
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

    /// For an answer that makes no sense.
    pub(super) fn odd(message: impl AsRef<str>) -> Self {
        let help = "see that this is a registry, and that no proxy answers in its place";
        Self::new(RegistryErrorKind::Odd, message, help)
    }

    pub(super) fn of(self, reference: &RegistryRef) -> RegistryError {
        let Self { kind, message, help } = self;
        RegistryError { reference: Box::new(reference.clone()), kind, message, help }
    }
}

/// Most characters of a message.
const LONGEST: usize = 400;

/// One line of printable characters, not too long.
pub(super) fn shorten(text: &str) -> String {
    let line = one_line(text, 4 * LONGEST);
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST).chain("...".chars()).collect()
}

/// What is taken out of every text that a registry sends: what was sent to it and is secret, and the
/// queries of URLs. Before anything is cut, since half a secret is one too.
pub(super) fn without(text: &str, secrets: &[&str]) -> String {
    secrets.iter().fold(scrub(text, None), |text, secret| scrub(&text, Some(secret)))
}

/// What an error's body says in a registry's own words: the code and the message of its first error,
/// or what a token service says. `None` where it does not speak so.
pub(super) fn said(body: &[u8]) -> Option<Said> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let errors = json.get("errors").and_then(Value::as_array);
    if let Some(first) = errors.and_then(|errors| errors.first()) {
        let code = text(first, "code");
        let detail = first.get("detail").and_then(Value::as_str).map(str::to_owned);
        return Some(Said { code, message: text(first, "message").or(detail) });
    }
    let own = ["details", "error_description", "message", "error", "detail"];
    let message = own.iter().find_map(|name| text(&json, name))?;
    Some(Said { code: None, message: Some(message) })
}

/// A registry's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// `MANIFEST_UNKNOWN`.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// An answer as part of a sentence: `HTTP 403: no access`.
pub(super) fn answer(status: u16, body: &[u8], secrets: &[&str]) -> String {
    let said = said(body).and_then(|said| said.message.or(said.code));
    match said {
        Some(said) => format!("HTTP {status}: {}", without(&said, secrets)),
        None => format!("HTTP {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_words() {
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
            assert_eq!(answer(1, body.as_bytes(), &["p4ss"]), expected, "{body}");
        }
        let url = r#"{"message":"see https://h/p?token=abc now"}"#;
        assert_eq!(answer(1, url.as_bytes(), &[]), "HTTP 1: see https://h/p?[hidden] now");
    }

    #[test]
    fn one_line_of_bounded_length() {
        assert_eq!(shorten("a\u{1b}[31m\n b\u{202e}c"), "a [31m b c");
        assert_eq!(shorten(&"x".repeat(LONGEST)).len(), LONGEST);
        assert_eq!(shorten(&"x".repeat(9999)).len(), LONGEST + 3);
    }
}
