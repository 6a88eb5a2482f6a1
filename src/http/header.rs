//! Reads response headers: text, dates and `Retry-After`. Pure: the current time is given.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// Returns the server's time of the response, in whole seconds.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, &DATE)?)
}

/// Maximum wait that is believed. A longer one is a mistake in most cases: some servers send the time
/// at which to return, in seconds or milliseconds since 1970.
const MAX_PLAUSIBLE_WAIT: Duration = Duration::from_secs(3600);

/// Returns the wait that the server asks for, given in seconds or as a date. A wait of more than an hour
/// counts as absent.
///
/// A date is compared with the server's clock if the response has a `Date` (RFC 9110, section
/// 10.2.3), or else with `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = http_date(text)?.duration_since(date(headers).unwrap_or(now));
        Duration::try_from(until).unwrap_or(Duration::ZERO)
    };
    Some(wait).filter(|wait| *wait <= MAX_PLAUSIBLE_WAIT)
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
            ("3600", None, Some(3600)),
            ("3601", None, None),
            ("1785578400", None, None),
            ("1785578400000", None, None),
            ("99999999999999999999999", None, None),
            ("Sat, 01 Aug 2026 13:00:00 GMT", Some(server_now), Some(3600)),
            ("Sat, 01 Aug 2026 13:00:01 GMT", Some(server_now), None),
            ("Fri, 01 Aug 2036 12:00:00 GMT", Some(server_now), None),
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
