//! Reads response headers: text, dates and `Retry-After`. Pure: the current time is given.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// Returns the server's time of the response, in whole seconds.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, &DATE)?)
}

/// Returns the wait that the server asks for, given in seconds or as a date.
///
/// A date is compared with the server's clock if the response has a `Date` (RFC 9110, section
/// 10.2.3), or else with `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?.duration_since(date(headers).unwrap_or(now));
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

/// Returns the trimmed value of a header, or `None` if it is absent or not ASCII text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Parses an HTTP date. It has the format of RFC 2822, with `GMT` as its only time zone.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let server_now = "Sat, 01 Aug 2026 12:00:00 GMT";
        let table = [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("99999999", None, Some(99_999_999)),
            ("Sat, 01 Aug 2026 12:00:09 GMT", Some(server_now), Some(9)),
            ("Sat, 01 Aug 2026 10:00:09 GMT", None, Some(9)),
            ("Sat, 01 Aug 2026 10:00:09 GMT", Some("nonsense"), Some(9)),
            // The date has passed.
            ("Sat, 01 Aug 2026 11:59:00 GMT", Some(server_now), Some(0)),
            ("Sat, 01 Aug 2026 09:00:00 GMT", None, Some(0)),
            ("soon", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("", None, None),
        ];
        for (value, date, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let read = retry_after(&headers, now).map(|wait| wait.as_secs());
            assert_eq!(read, expected, "{value:?} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
