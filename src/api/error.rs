//! What can go wrong between us and the service, in kinds that decide what happens next, and in
//! words that say what to do. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::base::one_line::one_line;
use crate::base::secret::scrub;

/// What is tried where an image is to be deleted.
pub(super) const DELETE: &str = "delete the image";

/// A request that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct ApiError {
    /// What was tried: `start the build`.
    pub action: &'static str,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The answer's status, where there was one.
    pub status: Option<u16>,
    /// What the service or the network said, without secrets.
    pub message: String,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// Set where it may have taken effect and asks for something new: wait so long, look whether it
    /// did, and only then send it again.
    pub look_up_after: Option<Duration>,
}

/// The kinds of failure, by what they mean for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 401: the key is not accepted.
    Unauthorized,
    /// 402: the account has to pay first.
    PaymentRequired,
    /// 403: the key may not do this.
    Forbidden,
    /// 404, in the API's own words.
    NotFound,
    /// Another image has the name and tag already.
    NameTaken,
    /// 429 for lack of quota: waiting does not help.
    QuotaExceeded,
    /// 429 for too many requests: waiting helps.
    RateLimited,
    /// Any other 4xx: this request is wrong. Or a 3xx that is not followed: it is for elsewhere.
    Rejected,
    /// 5xx, and 408 and 425: the service is in trouble.
    ServerError,
    /// No connection: nothing was sent.
    Unreachable,
    /// The answer was lost: whether the request took effect is not known.
    ResponseLost,
    /// An answer that cannot be what the service means.
    BadResponse,
    /// Not sent: the run was stopped while it waited for its turn.
    Stopped,
}

impl ApiError {
    /// An error out of an answer of the API that is not a success.
    ///
    /// A 404 that is no JSON object is not the API's own: it does not say that a build is unknown,
    /// but that an ingress has nobody to ask, and passes. A 401 or a 403 of a proxy, with a page for
    /// people, is left as it is: whoever refuses, to ask again with the same key is of no use.
    pub fn from_answer(
        action: &'static str,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        key: &str,
    ) -> Self {
        let error = Self::from_storage(action, status, retry_after, body, key);
        let own = serde_json::from_slice::<Value>(body).is_ok_and(|body| body.is_object());
        match error.kind {
            ErrorKind::NotFound if !own => Self { kind: ErrorKind::BadResponse, ..error },
            _ => error,
        }
    }

    /// The same out of an answer of the storage, which speaks XML, if anything.
    pub(super) fn from_storage(
        action: &'static str,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        key: &str,
    ) -> Self {
        // Before anything is cut: half a key is a secret too.
        let message = answer_text(&scrub(&String::from_utf8_lossy(body), Some(key)));
        let kind = match status {
            401 => ErrorKind::Unauthorized,
            402 => ErrorKind::PaymentRequired,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            429 if is_quota(&message) => ErrorKind::QuotaExceeded,
            429 => ErrorKind::RateLimited,
            // A timeout, and a connection that may be replayed: neither blames the request.
            408 | 425 | 500.. => ErrorKind::ServerError,
            // It would be redirected again.
            300.. => ErrorKind::Rejected,
            _ => ErrorKind::BadResponse,
        };
        Self { action, kind, status: Some(status), message, retry_after, look_up_after: None }
    }

    /// An error without an answer.
    pub fn new(action: &'static str, kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { action, kind, status: None, message, retry_after: None, look_up_after: None }
    }

    /// Whether every other request would meet the same: the run should send no new work. Whoever
    /// sees an error sees it after all tries: an outage that long, or a stranger that answers in the
    /// service's place, is there for all.
    pub fn stops_run(&self) -> bool {
        match self.kind {
            // Another image may well have another creator.
            ErrorKind::Forbidden => self.action != DELETE,
            ErrorKind::Unauthorized
            | ErrorKind::PaymentRequired
            | ErrorKind::QuotaExceeded
            | ErrorKind::Unreachable
            | ErrorKind::BadResponse => true,
            _ => false,
        }
    }

    /// Whether it is the endpoint that is not there, and not what was asked for: the API says so in
    /// the words of its framework.
    pub(super) fn is_of_endpoint(&self) -> bool {
        self.kind == ErrorKind::NotFound && self.status == Some(404) && self.message == "Not Found"
    }

    /// Whether the same request may well succeed later, whatever it is for: it is the service or
    /// the way to it that is in trouble.
    pub fn is_transient(&self) -> bool {
        use ErrorKind::{RateLimited, ResponseLost, ServerError, Unreachable};
        matches!(self.kind, ServerError | ResponseLost | Unreachable | RateLimited)
    }

    /// What went wrong, without what was tried.
    pub fn reason(&self) -> String {
        let kind = match (self.kind, self.status) {
            (_, Some(status)) => format!("HTTP {status}"),
            (ErrorKind::ResponseLost, None) => "the answer was lost".to_owned(),
            (ErrorKind::Unreachable, None) => "no connection".to_owned(),
            (_, None) => String::new(),
        };
        match (kind.as_str(), self.message.as_str()) {
            (some, "") | ("", some) => some.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        }
    }

    fn sentence(&self) -> String {
        let Self { action, message, .. } = self;
        let said = match message.as_str() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        match (self.kind, self.status) {
            (ErrorKind::Unreachable, _) => format!("cannot reach the service{said}"),
            (ErrorKind::ResponseLost, _) => {
                format!("lost the answer when trying to {action}{said}")
            }
            (ErrorKind::BadResponse, None) => format!("cannot {action}: {message}"),
            (_, Some(status)) => format!("cannot {action} (HTTP {status}){said}"),
            (_, None) => format!("cannot {action}{said}"),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Unauthorized if self.status.is_none() => {
                Some("set PRIME_API_KEY, or run `prime login`; `--local` needs no key")
            }
            ErrorKind::Unauthorized => {
                Some("the key is not accepted: see that PRIME_API_KEY is right and not revoked")
            }
            ErrorKind::PaymentRequired => Some("the account has to be paid first"),
            ErrorKind::Forbidden if self.action == DELETE => Some(
                "only the image's creator, or an admin of its team, may delete it: use a key of \
                 theirs",
            ),
            ErrorKind::Forbidden => Some("this key may not do that: see its scopes and its team"),
            ErrorKind::QuotaExceeded => {
                Some("delete images that are no longer needed, or ask for a larger quota")
            }
            ErrorKind::Unreachable => {
                Some("see that PRIME_API_BASE_URL is right and the network is up")
            }
            ErrorKind::BadResponse => Some(
                "this is not the images API: see that PRIME_API_BASE_URL is right and no proxy \
                 answers in its place",
            ),
            ErrorKind::ResponseLost => Some(
                "whether it took effect is not known: see whether the service has it before \
                 applying again",
            ),
            ErrorKind::NameTaken => Some(
                "nothing is overwritten: delete or rename the image that has the name, or choose \
                 another one",
            ),
            ErrorKind::RateLimited => Some("lower the budget of these requests with --limit"),
            ErrorKind::ServerError => Some("the service is in trouble: try again later"),
            ErrorKind::NotFound if self.is_of_endpoint() => Some(
                "this service has no such endpoint: see that PRIME_API_BASE_URL is right, or do it \
                 by other means",
            ),
            ErrorKind::NotFound | ErrorKind::Rejected | ErrorKind::Stopped => None,
        }
    }
}

/// The two phrases that tell a quota from a rate (`api.md` §3). Any other text is a rate: to wait
/// needlessly is better than to give up needlessly.
pub fn is_quota(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("image limit exceeded") || lower.contains("image storage limit exceeded")
}

/// Whether a text within an answer is the service's own for a rate of its own (`api.md` §3). A
/// registry has limits too, and words for them that are much alike: those do not pass by our waiting.
pub fn is_rate(message: &str) -> bool {
    let lower = message.to_lowercase();
    let first = lower.split(['.', ':', ';', '!', '\n']).next().unwrap_or_default();
    lower.contains("image transfer rate limit exceeded")
        || lower.contains("too many requests (per-token limit)")
        || first.trim() == "rate limit exceeded"
}

/// What an error's body says, in the order of `api.md` §1: a `detail` text, a `detail` list, an
/// `errors` list, else the body itself, cut short.
fn answer_text(text: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(text) else {
        return if let Some(error) = storage_error(text) {
            error
        } else if looks_like_html(text) {
            "an HTML page instead of JSON".to_owned()
        } else {
            shorten(text)
        };
    };
    let part = |item: &Value, place: &str, words: &str| -> Option<String> {
        let words = item.get(words)?.as_str()?;
        Some(match item.get(place) {
            Some(Value::String(place)) => format!("{place}: {words}"),
            Some(Value::Array(place)) => {
                let place: Vec<String> = place
                    .iter()
                    .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                    .collect();
                format!("{}: {words}", place.join("."))
            }
            _ => words.to_owned(),
        })
    };
    let list = |items: &Value, place: &str, words: &str| -> Option<String> {
        let parts: Vec<String> =
            items.as_array()?.iter().filter_map(|item| part(item, place, words)).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    };
    let detail = json.get("detail");
    detail
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| list(detail?, "loc", "msg"))
        .or_else(|| list(json.get("errors")?, "param", "details"))
        .or_else(|| json.get("message")?.as_str().map(str::to_owned))
        .map_or_else(|| shorten(text), |text| shorten(&text))
}

/// What object storage says in XML, in its own two elements: the others may hold the signature.
fn storage_error(text: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let error = match (element("Code")?, element("Message")) {
        (code, Some(message)) => format!("{code}: {message}"),
        (code, None) => code.to_owned(),
    };
    Some(shorten(&error))
}

/// Whether a text is a page for people where JSON should be.
pub(super) fn looks_like_html(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

/// One line of printable characters, at most 1000 of them.
pub(super) fn shorten(text: &str) -> String {
    one_line(text, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_all_shapes_are_read() {
        for (body, expected) in [
            (r#"{"detail": "no such image"}"#, "no such image"),
            (r#"{"detail": [{"loc": ["body", "tag"], "msg": "is bad"}]}"#, "body.tag: is bad"),
            (r#"{"errors": [{"param": "tag", "details": "is bad"}]}"#, "tag: is bad"),
            (r#"{"message": "hm"}"#, "hm"),
            ("<html><body>Bad Gateway</body></html>", "an HTML page instead of JSON"),
            (
                "<?xml version='1.0'?><Error><Code>Expired</Code><Message>Too late</Message><Sig>s</Sig></Error>",
                "Expired: Too late",
            ),
            ("plain\u{1b}[31m words\n", "plain [31m words"),
            ("", ""),
            ("[1]", "[1]"),
        ] {
            assert_eq!(answer_text(body), expected);
        }
    }

    #[test]
    fn a_quota_is_told_from_a_rate_by_exact_phrases() {
        let kind = |text: &str| {
            let body = format!(r#"{{"detail": "{text}"}}"#);
            ApiError::from_answer("try", 429, None, body.as_bytes(), "k").kind
        };
        assert_eq!(
            kind("Image limit exceeded. Personal has 100 images."),
            ErrorKind::QuotaExceeded
        );
        assert_eq!(kind("image STORAGE limit exceeded"), ErrorKind::QuotaExceeded);
        assert_eq!(kind("Too Many Requests (per-token limit)"), ErrorKind::RateLimited);
        assert_eq!(
            kind("Image transfer rate limit exceeded: 10/10 images"),
            ErrorKind::RateLimited
        );
        assert_eq!(kind("Rate limit exceeded"), ErrorKind::RateLimited);
    }

    #[test]
    fn what_is_not_found_is_said_by_the_service_itself() {
        let kind =
            |body: &str| ApiError::from_answer("try", 404, None, body.as_bytes(), "key-123").kind;
        for own in [r#"{"detail": "Build b-1 not found"}"#, r#"{"detail": "Not Found"}"#, "{}"] {
            assert_eq!(kind(own), ErrorKind::NotFound, "{own}");
        }
        for other in ["default backend - 404", "<html>404</html>", "", "[]", "null", "\"no\""] {
            assert_eq!(kind(other), ErrorKind::BadResponse, "{other}");
        }
        let xml = b"<Error><Code>NoSuchBucket</Code></Error>";
        let stored = ApiError::from_storage("try", 404, None, xml, "key-123");
        assert_eq!((stored.kind, &*stored.message), (ErrorKind::NotFound, "NoSuchBucket"));
        let backend = ApiError::from_answer("try", 404, None, b"default backend - 404", "key-123");
        assert_eq!(backend.to_string(), "cannot try (HTTP 404): default backend - 404");
        for (status, expected) in [(401, ErrorKind::Unauthorized), (403, ErrorKind::Forbidden)] {
            let page = ApiError::from_answer("try", status, None, b"<html>no</html>", "key-123");
            assert_eq!(page.kind, expected, "a proxy's page");
        }
    }

    #[test]
    fn the_key_does_not_come_back_in_an_error() {
        let error = ApiError::from_answer("try", 400, None, b"bad key k-123", "k-123");
        assert_eq!(error.to_string(), "cannot try (HTTP 400): bad key [hidden]");
    }
}
