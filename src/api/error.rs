//! Errors of requests to the service: kinds that decide what happens next, and texts that say what
//! to do. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::base::safe_text::{is_unsafe, one_line};
use crate::base::secret::scrub;

/// Action of a request that deletes an image.
pub(super) const DELETE: &str = "delete the image";

/// Reason for a failure that comes without one.
pub(super) const NO_REASON: &str = "the service gave no reason";

/// Maximum length of a text of the service in messages, in characters.
const MAX_TEXT_CHARS: usize = 1000;

/// Maximum number of lines of such a text.
const MAX_TEXT_LINES: usize = 24;

/// A failed request to the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct ApiError {
    /// Purpose of the request, such as `start the build`.
    pub action: &'static str,
    /// Kind of the failure.
    pub kind: ErrorKind,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// True if the body of the response is a JSON object, or empty as with the API's 401. A proxy sends
    /// other bodies.
    pub is_from_api: bool,
    /// Text of the service or the network, without secrets.
    pub message: String,
    /// Wait that the service asks for.
    pub retry_after: Option<Duration>,
    /// True if a 429 is of the limit on transfers, which counts images and not requests (API
    /// contract, section 3).
    pub is_transfer_limit: bool,
    /// Set if the request must not be repeated blindly and may have taken effect: wait this long,
    /// look up whether it did, and only then send it again.
    pub look_up_after: Option<Duration>,
}

/// Kinds of failures, by their consequence for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 401: the API key is not accepted.
    Unauthorized,
    /// 402: the account has to be paid.
    PaymentRequired,
    /// 403: the API key does not permit the action.
    Forbidden,
    /// 404, sent by the API itself.
    NotFound,
    /// Another image has the name and tag.
    NameTaken,
    /// 429 because a quota is used up. Waiting does not help.
    QuotaExceeded,
    /// 429 because of too many requests. Waiting helps.
    RateLimited,
    /// Any other 4xx, or a redirect that is not followed: the request is wrong.
    Rejected,
    /// 5xx, 408 or 425: the service has a problem.
    ServerError,
    /// No connection. Nothing was sent.
    Unreachable,
    /// The response was lost. The request may have taken effect.
    ResponseLost,
    /// A response that the service cannot have meant.
    BadResponse,
    /// The service or its storage leads to an address that no request goes to. Nothing was sent there.
    Misdirected,
    /// Not sent, because the run was stopped while the request waited.
    Stopped,
}

impl ApiError {
    /// Creates the error for a response of which no data arrives.
    pub(super) fn no_data(action: &'static str, waited: Duration) -> Self {
        let message = format!("no data for {} s", waited.as_secs());
        Self::new(action, ErrorKind::ResponseLost, message)
    }

    /// Creates the error for a response of the API that is not a success.
    ///
    /// A 404 whose body is not a JSON object comes from an ingress without a backend and not from
    /// the API: it does not mean that a build is unknown, and it may pass. A 401 or 403 of a proxy
    /// stays what it is: sending the same key again does not help.
    pub fn from_response(
        action: &'static str,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        key: &str,
    ) -> Self {
        let error = Self::from_storage(action, status, retry_after, body, key);
        let is_object = serde_json::from_slice::<Value>(body).is_ok_and(|body| body.is_object());
        let kind = match error.kind {
            ErrorKind::NotFound if !is_object => ErrorKind::BadResponse,
            kind => kind,
        };
        Self { kind, is_from_api: is_object || body.is_empty(), ..error }
    }

    /// Creates the error for a response of the object storage that is not a success. Storages
    /// respond with XML, or without a body.
    pub(super) fn from_storage(
        action: &'static str,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        key: &str,
    ) -> Self {
        // Scrubbed before it is shortened: half a key is a secret too.
        let message = error_text(&scrub(&String::from_utf8_lossy(body), Some(key)));
        let kind = match status {
            401 => ErrorKind::Unauthorized,
            402 => ErrorKind::PaymentRequired,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            429 if is_quota(&message) => ErrorKind::QuotaExceeded,
            429 => ErrorKind::RateLimited,
            // 408 is a timeout, and 425 a connection that may be replayed: the request is fine.
            408 | 425 | 500.. => ErrorKind::ServerError,
            // A redirect would be answered with a redirect again.
            300.. => ErrorKind::Rejected,
            _ => ErrorKind::BadResponse,
        };
        let is_transfer_limit = kind == ErrorKind::RateLimited && is_transfer_limit(&message);
        let status = Some(status);
        Self { status, retry_after, is_transfer_limit, ..Self::new(action, kind, message) }
    }

    /// Creates an error without a response.
    pub fn new(action: &'static str, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            action,
            kind,
            status: None,
            is_from_api: false,
            message: message.into(),
            retry_after: None,
            is_transfer_limit: false,
            look_up_after: None,
        }
    }

    /// Creates the error for a request that was not sent because the run was stopped.
    pub(super) fn stopped(action: &'static str) -> Self {
        Self::new(action, ErrorKind::Stopped, "the run was stopped")
    }

    /// Returns true if every other request would fail in the same way, so that the run should send
    /// no new work. All retries are used up at this point: an outage that long, or a wrong server,
    /// affects all requests.
    pub fn stops_run(&self) -> bool {
        match self.kind {
            // Another image may have another creator, and the result of one update in a response is
            // about one image.
            ErrorKind::Forbidden => self.action != DELETE && self.status.is_some(),
            ErrorKind::Unauthorized
            | ErrorKind::PaymentRequired
            | ErrorKind::QuotaExceeded
            | ErrorKind::Unreachable
            | ErrorKind::BadResponse
            | ErrorKind::Misdirected => true,
            _ => false,
        }
    }

    /// Returns true if every other request would fail in the same way, now or until an outage ends.
    pub fn affects_all_requests(&self) -> bool {
        self.stops_run() || self.is_transient()
    }

    /// Returns true if the endpoint does not exist, as opposed to the requested object. The
    /// framework of the API has a fixed text for that.
    pub(super) fn is_missing_endpoint(&self) -> bool {
        self.kind == ErrorKind::NotFound && self.status == Some(404) && self.message == "Not Found"
    }

    /// Returns true for a transient error: the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        use ErrorKind::{RateLimited, ResponseLost, ServerError, Unreachable};
        matches!(self.kind, ServerError | ResponseLost | Unreachable | RateLimited)
    }

    /// Returns the cause on one line, without the action.
    pub fn reason(&self) -> String {
        let kind = match (self.kind, self.status) {
            (_, Some(status)) => format!("HTTP {status}"),
            (ErrorKind::ResponseLost, None) => "no response".to_owned(),
            (ErrorKind::Unreachable, None) => "no connection".to_owned(),
            (_, None) => String::new(),
        };
        match (kind.as_str(), self.message.as_str()) {
            (text, "") | ("", text) => text.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        }
    }

    fn sentence(&self) -> String {
        let Self { action, message, .. } = self;
        let detail = match message.as_str() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        match (self.kind, self.status) {
            (ErrorKind::Unreachable, _) => format!("cannot reach the service{detail}"),
            (ErrorKind::ResponseLost, _) => {
                format!("no response to the request to {action}{detail}")
            }
            (_, Some(status)) => format!("cannot {action} (HTTP {status}){detail}"),
            (_, None) => format!("cannot {action}{detail}"),
        }
    }

    /// Returns what the user can do about the error.
    pub fn help(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Unauthorized if self.status.is_none() => {
                Some("set PRIME_API_KEY, or run `prime login`; `--local` needs no key")
            }
            ErrorKind::Unauthorized => Some(
                "the API key is not accepted: check that PRIME_API_KEY is correct and not revoked",
            ),
            ErrorKind::PaymentRequired => Some("pay the account's outstanding balance"),
            ErrorKind::Forbidden if self.action == DELETE => Some(
                "only the image's creator or an admin of its team may delete it: use the API key \
                 of one of them",
            ),
            ErrorKind::Forbidden => {
                Some("the API key does not permit this: check its scopes and its team")
            }
            ErrorKind::QuotaExceeded => {
                Some("delete images that are no longer needed, or request a larger quota")
            }
            ErrorKind::Unreachable => Some("check PRIME_API_BASE_URL and the network connection"),
            ErrorKind::BadResponse => Some(
                "this is not the images API: check that PRIME_API_BASE_URL is correct and that no \
                 proxy responds in its place",
            ),
            ErrorKind::Misdirected => Some(
                "contexts are sent over HTTPS only, and to this machine only for a service on this \
                 machine",
            ),
            ErrorKind::ResponseLost => {
                Some("the request may have taken effect: check the service before you apply again")
            }
            ErrorKind::NameTaken => Some(
                "imgplan does not overwrite images: delete or rename the image that has this name, \
                 or choose another name",
            ),
            ErrorKind::RateLimited => Some("lower the rate limit of these requests with --limit"),
            ErrorKind::ServerError => Some("the service has a problem: try again later"),
            ErrorKind::NotFound if self.is_missing_endpoint() => Some(
                "this service has no such endpoint: check PRIME_API_BASE_URL, or make the change \
                 without imgplan",
            ),
            ErrorKind::NotFound | ErrorKind::Rejected | ErrorKind::Stopped => None,
        }
    }
}

/// Returns true if the text of a 429 is about a quota. Only two phrases are (API contract, section
/// 3); any other text is about a rate, because waiting in vain is better than giving up in vain.
pub(super) fn is_quota(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("image limit exceeded") || lower.contains("image storage limit exceeded")
}

/// Use of a limit on transfers, as the service states it in a refusal: `10/10 images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferUsage {
    /// Number of images that are counted now.
    pub used: u32,
    /// Maximum number of images.
    pub limit: u32,
}

impl TransferUsage {
    /// Reads the use from the text of a refusal: `... rate limit exceeded: 10/10 images`.
    pub fn of(message: &str) -> Option<Self> {
        let lower = message.to_lowercase();
        let (_, rest) = lower.split_once("rate limit exceeded:")?;
        let (numbers, _) = rest.trim_start().split_once(" image")?;
        let (used, limit) = numbers.split_once('/')?;
        Some(Self { used: used.trim().parse().ok()?, limit: limit.trim().parse().ok()? })
    }
}

/// Returns true if the text of a 429 is about the limit that counts images and not requests (API
/// contract, section 3).
fn is_transfer_limit(message: &str) -> bool {
    let lower = message.to_lowercase();
    let named = ["transfer", "source image build"].iter().any(|name| lower.contains(name));
    named || TransferUsage::of(message).is_some()
}

/// Returns true if an error text inside a response is about a rate limit of the service itself (API
/// contract, section 3). Registries have rate limits with similar texts; waiting does not help
/// there.
pub(super) fn is_rate(message: &str) -> bool {
    let lower = message.to_lowercase();
    let first = lower.split(['.', ':', ';', '!', '\n']).next().unwrap_or_default();
    TransferUsage::of(message).is_some()
        || lower.contains("image transfer rate limit exceeded")
        || lower.contains("source image build rate limit exceeded")
        || lower.contains("too many requests (per-token limit)")
        || first.trim() == "rate limit exceeded"
}

/// Returns the text of an error body, in the order of the API contract, section 1: a `detail` text,
/// a `detail` list, an `errors` list, or else the shortened body.
fn error_text(body: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return if let Some(error) = storage_error(body) {
            error
        } else if looks_like_html(body) {
            "an HTML page instead of JSON".to_owned()
        } else {
            shorten(body)
        };
    };
    let item_text = |item: &Value, location: &str, text: &str| -> Option<String> {
        let text = item.get(text)?.as_str()?;
        Some(match item.get(location) {
            Some(Value::String(location)) => format!("{location}: {text}"),
            Some(Value::Array(location)) => {
                let location: Vec<String> = location
                    .iter()
                    .map(|key| key.as_str().map_or_else(|| key.to_string(), str::to_owned))
                    .collect();
                format!("{}: {text}", location.join("."))
            }
            _ => text.to_owned(),
        })
    };
    let list_text = |items: &Value, location: &str, text: &str| -> Option<String> {
        let texts: Vec<String> =
            items.as_array()?.iter().filter_map(|item| item_text(item, location, text)).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    };
    let detail = json.get("detail");
    detail
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| list_text(detail?, "loc", "msg"))
        .or_else(|| list_text(json.get("errors")?, "param", "details"))
        .or_else(|| json.get("message")?.as_str().map(str::to_owned))
        .map_or_else(|| shorten(body), |text| shorten(&text))
}

/// Returns the code and message of an XML error of the object storage. Its other elements are left
/// out: they may contain the signature.
fn storage_error(body: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, after) = body.split_once(&format!("<{name}>"))?;
        Some(after.split_once(&format!("</{name}>"))?.0)
    };
    let error = match (element("Code")?, element("Message")) {
        (code, Some(message)) => format!("{code}: {message}"),
        (code, None) => code.to_owned(),
    };
    Some(shorten(&error))
}

/// Returns true if a body is HTML or XML.
pub(super) fn looks_like_html(body: &str) -> bool {
    body.trim_start().starts_with('<')
}

/// Returns one line of printable characters, cut at [`MAX_TEXT_CHARS`].
pub(super) fn shorten(text: &str) -> String {
    one_line(text, MAX_TEXT_CHARS)
}

/// Returns a text of the service without control characters. A text of several lines, such as the end
/// of a build's log, keeps these and their indentation.
pub(super) fn shorten_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    if lines.len() < 2 {
        return shorten(text);
    }
    let left_out = lines.len().saturating_sub(MAX_TEXT_LINES);
    let plain = |line: &&str| -> String {
        let chars = line.trim_end().chars().take(MAX_TEXT_CHARS);
        chars.map(|c| if is_unsafe(c) { ' ' } else { c }).collect()
    };
    // The end of a log is worth more than its middle, and the first line says what failed.
    let shown = lines.iter().take(1).chain(lines.iter().skip(1 + left_out));
    shown.map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_all_shapes_are_read() {
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
            assert_eq!(error_text(body), expected);
        }
    }

    #[test]
    fn quotas_and_rates_differ_by_exact_phrases() {
        let kind = |text: &str| {
            let body = format!(r#"{{"detail": "{text}"}}"#);
            ApiError::from_response("try", 429, None, body.as_bytes(), "k").kind
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
    fn only_the_api_itself_reports_not_found() {
        let kind =
            |body: &str| ApiError::from_response("try", 404, None, body.as_bytes(), "key-123").kind;
        for of_api in [r#"{"detail": "Build b-1 not found"}"#, r#"{"detail": "Not Found"}"#, "{}"] {
            assert_eq!(kind(of_api), ErrorKind::NotFound, "{of_api}");
        }
        for other in ["default backend - 404", "<html>404</html>", "", "[]", "null", "\"no\""] {
            assert_eq!(kind(other), ErrorKind::BadResponse, "{other}");
        }
        let xml = b"<Error><Code>NoSuchBucket</Code></Error>";
        let stored = ApiError::from_storage("try", 404, None, xml, "key-123");
        assert_eq!((stored.kind, &*stored.message), (ErrorKind::NotFound, "NoSuchBucket"));
        let backend =
            ApiError::from_response("try", 404, None, b"default backend - 404", "key-123");
        assert_eq!(backend.to_string(), "cannot try (HTTP 404): default backend - 404");
        for (status, expected) in [(401, ErrorKind::Unauthorized), (403, ErrorKind::Forbidden)] {
            let page = ApiError::from_response("try", status, None, b"<html>no</html>", "key-123");
            assert_eq!(page.kind, expected, "page of a proxy");
        }
    }

    #[test]
    fn errors_do_not_contain_the_key() {
        let error = ApiError::from_response("try", 400, None, b"bad key k-123", "k-123");
        assert_eq!(error.to_string(), "cannot try (HTTP 400): bad key [hidden]");
    }

    #[test]
    fn the_use_of_a_limit_is_read() {
        for (text, expected) in [
            ("Image transfer rate limit exceeded: 10/10 images", Some((10, 10))),
            ("Source image build rate limit exceeded: 3/60 images", Some((3, 60))),
            ("cannot do that: rate limit exceeded: 0/1 image", Some((0, 1))),
            ("Image transfer rate limit exceeded", None),
            ("Image limit exceeded. Personal has 100 images. Maximum allowed is 100.", None),
            ("pull rate limit exceeded: try again in 2/3 hours", None),
        ] {
            let usage = TransferUsage::of(text).map(|usage| (usage.used, usage.limit));
            assert_eq!(usage, expected, "{text}");
            assert!(expected.is_none() || is_rate(text), "{text}");
        }
    }

    #[test]
    fn a_rate_limit_of_transfers_is_recognized() {
        for (status, text, expected) in [
            (429, "Image transfer rate limit exceeded: 10/10 images", true),
            (429, "Source image build rate limit exceeded: 10/10 images", true),
            (429, "Docker Hub rate limit exceeded: 3/10 images", true),
            (429, "Too Many Requests (per-token limit)", false),
            (500, "the transfer failed", false),
        ] {
            let body = format!(r#"{{"detail": "{text}"}}"#);
            let error = ApiError::from_response("try", status, None, body.as_bytes(), "k");
            assert_eq!(error.is_transfer_limit, expected, "{text}");
        }
    }
}
