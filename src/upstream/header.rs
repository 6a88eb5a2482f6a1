//! Reads the headers of a registry's answer. Pure: the clock is given.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::base::reference::OciDigest;

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

/// How long the registry asks to wait: in seconds, or until a date, which is by its own clock where
/// the answer has that (RFC 9110, 10.2.3), else by `clock`, which is ours.
pub(super) fn retry_after(headers: &HeaderMap, clock: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = self::text(headers, &DATE).and_then(http_date).unwrap_or(clock);
    Some(Duration::try_from(http_date(text)?.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A date as HTTP writes it is one of RFC 2822, but for its zone, which is always `GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_two_ways() {
        let clock: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let table = [
            ("7", None, Some(7)),
            ("Sat, 01 Aug 2026 12:00:09 GMT", Some("Sat, 01 Aug 2026 12:00:00 GMT"), Some(9)),
            ("Sat, 01 Aug 2026 10:00:09 GMT", None, Some(9)),
            ("Sat, 01 Aug 2026 09:00:00 GMT", None, Some(0)),
            ("soon", None, None),
            ("-1", None, None),
        ];
        for (after, date, expected) in table {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, after.parse().unwrap())]);
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let read = retry_after(&headers, clock).map(|wait| wait.as_secs());
            assert_eq!(read, expected, "{after:?} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), clock), None);
    }
}
