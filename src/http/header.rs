//! Reads the headers of an HTTP answer, and those that tell the time. Pure: the clock is given.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The server's clock when it answered, to the second.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, &DATE)?)
}

/// How long the server asks to wait: in seconds, or until a date. A date is by the server's own
/// clock where the answer has that (RFC 9110, 10.2.3), else by `clock`, which is ours.
pub fn retry_after(headers: &HeaderMap, clock: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?.duration_since(date(headers).unwrap_or(clock));
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

/// A header's value, where it is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
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
        let now = "Sat, 01 Aug 2026 12:00:00 GMT";
        let table = [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("99999999", None, Some(99_999_999)),
            ("Sat, 01 Aug 2026 12:00:09 GMT", Some(now), Some(9)),
            ("Sat, 01 Aug 2026 10:00:09 GMT", None, Some(9)),
            ("Sat, 01 Aug 2026 10:00:09 GMT", Some("nonsense"), Some(9)),
            // It has passed.
            ("Sat, 01 Aug 2026 11:59:00 GMT", Some(now), Some(0)),
            ("Sat, 01 Aug 2026 09:00:00 GMT", None, Some(0)),
            ("soon", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("", None, None),
        ];
        for (after, date, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let read = retry_after(&headers, clock).map(|wait| wait.as_secs());
            assert_eq!(read, expected, "{after:?} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), clock), None);
    }
}
