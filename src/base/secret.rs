//! Keeps what must not be seen: the key, and URLs that carry a signature. Pure.

use secrecy::{ExposeSecret, SecretString};
use url_parts::without_query;

/// An API key. Its text is not in `Debug`, has no `Display`, and is wiped when dropped.
#[derive(Clone, Debug)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Takes a key. `None` where it is blank or cannot stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let ok = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        ok.then(|| Self(text.into()))
    }

    /// The key itself, for the one header that carries it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A presigned URL: whoever has it may write. Its query never shows.
#[derive(Clone)]
pub struct SignedUrl(String);

impl SignedUrl {
    /// Takes a URL as the service gave it.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The whole URL, for the one request that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}?[hidden]", without_query(&self.0))
    }
}

mod url_parts {
    pub(super) fn without_query(url: &str) -> &str {
        url.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Takes secrets out of a text that came from elsewhere (a server's message, say) before it is
/// shown or stored: the key itself, and the query of every URL.
///
/// ```
/// use imgplan::base::secret::scrub;
/// let text = scrub("PUT http://h/up?sig=abc failed for k123456789", Some("k123456789"));
/// assert_eq!(text, "PUT http://h/up?[hidden] failed for [hidden]");
/// ```
pub fn scrub(text: &str, key: Option<&str>) -> String {
    let mut text = match key {
        Some(key) if !key.is_empty() => text.replace(key, "[hidden]"),
        _ => text.to_owned(),
    };
    let mut from = 0;
    while let Some(start) = text[from..].find("://").map(|at| from + at) {
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')'))
            .map_or(text.len(), |at| start + at);
        from = end;
        if let Some(query) = text[start..end].find('?').map(|at| start + at + 1) {
            text.replace_range(query..end, "[hidden]");
            from = query + "[hidden]".len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows() {
        let key = ApiKey::new(" secret-key ").unwrap();
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(key.expose(), "secret-key");
        let url = SignedUrl::new("https://h/p?X-Sig=abc".to_owned());
        assert_eq!(format!("{url:?}"), "https://h/p?[hidden]");
        assert!(ApiKey::new("  ").is_none());
        assert!(ApiKey::new("a\nb").is_none());
    }

    #[test]
    fn scrubs_every_url() {
        assert_eq!(
            scrub("a http://x/?a=1 b \"http://y/z?b=2\" c?d=e", None),
            "a http://x/?[hidden] b \"http://y/z?[hidden]\" c?d=e"
        );
        assert_eq!(scrub("http://x?é", None), "http://x?[hidden]");
    }
}
