//! Recognizes URLs of the local machine. Pure.

use reqwest::Url;

/// Returns true if the host of a URL is `localhost` or a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_end_matches('.');
    // `Url` normalizes IPv4 hosts to four decimal numbers.
    let numbers = host.split('.').all(|part| part.parse::<u8>().is_ok());
    matches!(host, "localhost" | "[::1]")
        || host.ends_with(".localhost")
        || (numbers && host.starts_with("127."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_local() {
        for (url, expected) in [
            ("http://localhost:8080/x", true),
            ("https://LOCALHOST", true),
            ("http://127.1.2.3", true),
            ("http://127.1", true),
            ("http://0x7f000001", true),
            ("http://[0:0::1]:5000", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example.com", false),
            ("http://0.0.0.0", false),
            ("http://[::]", false),
            ("http://10.0.0.1", false),
            ("data:text/plain,localhost", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
