//! Secret values: the API key and signed URLs, and their removal from texts. Pure.

use std::collections::BTreeSet;

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

/// Maximum number of backslashes before an encoded character: a text that was encoded three times.
const MAX_ESCAPES: usize = 8;

/// Replaces `key`, if it has at least four characters, and the query of every URL by `[hidden]`. Used on
/// texts of servers (error messages, for example) before they are shown or stored.
///
/// The key is found in the form of a JSON string (`\u0061`, `\/`) and percent-encoded (`%61`) as well,
/// even if it was encoded several times.
///
/// ```
/// use imgplan::test_support::base::secret::scrub;
/// let text = scrub("PUT http://h/up?sig=abc failed for k123456789", Some("k123456789"));
/// assert_eq!(text, "PUT http://h/up?[hidden] failed for [hidden]");
/// ```
pub fn scrub(text: &str, key: Option<&str>) -> String {
    let mut text = match key {
        Some(key) if key.len() >= MIN_SECRET_LEN => without_key(text, key),
        _ => text.to_owned(),
    };
    let mut from = 0;
    while let Some(start) = find_any(&text[from..], &["://", ":\\/\\/"]).map(|(at, _)| from + at) {
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')'))
            .map_or(text.len(), |at| start + at);
        from = end;
        let mark = find_any(&text[start..end], &["?", "\\u003f", "\\u003F", "%3f", "%3F"]);
        if let Some(query) = mark.map(|(at, mark)| start + at + mark.len()) {
            text.replace_range(query..end, HIDDEN);
            from = query + HIDDEN.len();
        }
    }
    text
}

/// Returns the first of several parts in a text, and its offset.
fn find_any<'p>(text: &str, parts: &[&'p str]) -> Option<(usize, &'p str)> {
    parts.iter().filter_map(|part| Some((text.find(part)?, *part))).min_by_key(|(at, _)| *at)
}

/// Replaces the key in all its forms.
fn without_key(text: &str, key: &str) -> String {
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(c) = text[at..].chars().next() {
        if let Some(len) = key_len(&text[at..], key) {
            shown.push_str(HIDDEN);
            at += len;
        } else {
            shown.push(c);
            at += c.len_utf8();
        }
    }
    shown
}

/// Returns the length of the key at the beginning of a text. Each character may be encoded.
fn key_len(text: &str, key: &str) -> Option<usize> {
    let mut ends = BTreeSet::from([0]);
    for c in key.chars() {
        ends = ends
            .iter()
            .flat_map(|end| encodings(&text[*end..], c).map(move |len| end + len))
            .collect();
        if ends.is_empty() {
            return None;
        }
    }
    ends.last().copied()
}

/// Returns the lengths of all encodings of a character at the beginning of a text.
fn encodings(text: &str, c: char) -> impl Iterator<Item = usize> {
    let plain = text.starts_with(c).then_some(c.len_utf8());
    let is_code = move |digits: Option<&str>| {
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) == Some(u32::from(c))
    };
    // A backslash before the character, or before its number; more if it was encoded again.
    // Counted up to the maximum only: a text may have nothing but backslashes.
    let slashes = text.bytes().take(MAX_ESCAPES).take_while(|byte| *byte == b'\\').count();
    let escaped = (1..=slashes).flat_map(move |count| {
        let rest = &text[count..];
        let number = rest.strip_prefix('u').is_some_and(|rest| is_code(rest.get(..4)));
        [rest.starts_with(c).then(|| count + c.len_utf8()), number.then_some(count + 5)]
    });
    // `%61`, or `%2561` if it was encoded again.
    let percent = text.strip_prefix('%').and_then(|rest| {
        let pairs = rest.as_bytes().chunks_exact(2).take(MAX_ESCAPES);
        let again = pairs.take_while(|pair| *pair == b"25").count();
        let code_at = |count: &usize| is_code(rest.get(2 * count..2 * count + 2));
        (0..=again).rev().find(code_at).map(|count| 2 * count + 3)
    });
    plain.into_iter().chain(escaped.flatten()).chain(percent)
}

/// Returns true for the usual names of variables that hold secrets.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let mut words = name.split('_');
    let has_word =
        words.any(|word| matches!(word, "TOKEN" | "PAT" | "PASS" | "PWD" | "DSN" | "AUTH"));
    let parts = ["SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "WEBHOOK"];
    // The working directory is none.
    (has_word && name != "PWD")
        || name.ends_with("_KEY")
        || parts.iter().any(|part| name.contains(part))
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

    /// A text of a server may be any; this one took days while its backslashes were counted anew.
    #[test]
    fn a_text_of_escapes_is_scrubbed_in_linear_time() {
        for text in
            ["\\".repeat(1 << 20), "%25".repeat(1 << 19), "%".to_owned() + &"25".repeat(1 << 19)]
        {
            assert_eq!(scrub(&text, Some("key-1234567")).len(), text.len());
        }
    }

    #[test]
    fn encoded_keys_are_scrubbed() {
        let key = "k-a/b+c%\\d";
        for text in [
            r"k-a/b+c%\d",
            r"k-a\/b+c%\\d",
            r"\u006b-a/b\u002Bc%\d",
            r"\\u006b-a\\/b+c%\\\\d",
            "k-a%2Fb%2bc%25%5cd",
            "%6b%2d%61%2fb%2bc%25%5Cd",
            "k-a%252Fb%252Bc%2525%255Cd",
        ] {
            assert_eq!(scrub(&format!("é {text}."), Some(key)), "é [hidden].", "{text}");
        }
        for text in ["k-a/b", "k-a%2eb+c%\\d", "\\u006", "%6", "\\", "k-a\\u00é0"] {
            assert_eq!(scrub(text, Some(key)), text);
        }
        let text = r#"{"u":"http:\/\/h\/p?sig=1","v":"http:\/\/h\/p\u003fsig=1"} http://h%3fsig"#;
        let shown = r#"{"u":"http:\/\/h\/p?[hidden]","v":"http:\/\/h\/p\u003f[hidden]"} http://h%3f[hidden]"#;
        assert_eq!(scrub(text, None), shown);
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
