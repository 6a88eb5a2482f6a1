//! Secret values: the API key and signed URLs, and their removal from texts. Pure.

use secrecy::{ExposeSecret, SecretString};

/// Replaces a secret in a text.
const HIDDEN: &str = "[hidden]";

/// An API key. Has no `Display`, its `Debug` hides it, and its memory is zeroed on drop.
#[derive(Clone, Debug)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Creates a key, without surrounding white space. `None` if it is blank or has characters that
    /// an HTTP header cannot carry.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        is_valid.then(|| Self(text.into()))
    }

    /// Returns the key, for the `Authorization` header.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A presigned URL: anyone who has it can upload. Its `Debug` hides the query.
#[derive(Clone)]
pub struct SignedUrl(String);

impl SignedUrl {
    /// Wraps a URL of the service.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the complete URL, for the upload.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let without_query = self.0.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{without_query}?{HIDDEN}")
    }
}

/// Minimum length of a secret that is replaced. A shorter one is no secret, and is a part of many words:
/// the key `a` would leave no text readable.
const MIN_SECRET_LEN: usize = 4;

/// Replaces `key`, if it has at least four characters, and the query of every URL by `[hidden]`. Used on
/// texts of servers (error messages, for example) before they are shown or stored.
///
/// ```
/// use imgplan::test_support::base::secret::scrub;
/// let text = scrub("PUT http://h/up?sig=abc failed for k123456789", Some("k123456789"));
/// assert_eq!(text, "PUT http://h/up?[hidden] failed for [hidden]");
/// ```
pub fn scrub(text: &str, key: Option<&str>) -> String {
    let mut text = match key {
        Some(key) if key.len() >= MIN_SECRET_LEN => text.replace(key, HIDDEN),
        _ => text.to_owned(),
    };
    let mut from = 0;
    while let Some(start) = text[from..].find("://").map(|at| from + at) {
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')'))
            .map_or(text.len(), |at| start + at);
        from = end;
        if let Some(query) = text[start..end].find('?').map(|at| start + at + 1) {
            text.replace_range(query..end, HIDDEN);
            from = query + HIDDEN.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secrets() {
        let key = ApiKey::new(" secret-key ").unwrap();
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(key.expose(), "secret-key");
        let url = SignedUrl::new("https://h/p?X-Sig=abc".to_owned());
        assert_eq!(format!("{url:?}"), "https://h/p?[hidden]");
        assert!(ApiKey::new("  ").is_none());
        assert!(ApiKey::new("a\nb").is_none());
    }

    #[test]
    fn the_query_of_every_url_is_scrubbed() {
        assert_eq!(
            scrub("a http://x/?a=1 b \"http://y/z?b=2\" c?d=e", None),
            "a http://x/?[hidden] b \"http://y/z?[hidden]\" c?d=e"
        );
        assert_eq!(scrub("http://x?é", None), "http://x?[hidden]");
    }

    #[test]
    fn short_keys_do_not_blank_out_letters() {
        let text = "a token, a key and http://a/?a=1";
        for (key, expected) in [
            ("", "a token, a key and http://a/?[hidden]"),
            ("a", "a token, a key and http://a/?[hidden]"),
            ("key", "a token, a key and http://a/?[hidden]"),
            ("token", "a [hidden], a key and http://a/?[hidden]"),
            ("a token", "[hidden], a key and http://a/?[hidden]"),
        ] {
            assert_eq!(scrub(text, Some(key)), expected, "{key}");
        }
    }
}
