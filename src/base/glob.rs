//! Glob patterns for image names and tags: `api*`, `*:nightly-?`. Pure.

use std::fmt;
use std::str::FromStr;

use super::name::{ImageRef, NameError};

/// A pattern in which `*` matches any number of characters, also none, and `?` exactly one.
///
/// Unlike in file globs, both also match `/` and `:`.
///
/// ```
/// use imgplan::test_support::base::glob::Glob;
/// let glob: Glob = "api-*:v?".parse()?;
/// assert!(glob.matches("api-web:v1"));
/// assert!(!glob.matches("api-web:v10"));
/// # Ok::<(), imgplan::test_support::base::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(String);

/// Maximum length of a pattern: more than a name and a tag can have together.
const MAX_PATTERN_CHARS: usize = 512;

impl Glob {
    /// Returns the pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the pattern matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Index of the last `*`, and the end of the text that it matches so far. After a mismatch it
        // takes one more byte.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = text.get(t) {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(one) if *one == b'?' || one == byte => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((at, end)) = star else { return false };
                    star = Some((at, end + 1));
                    p = at + 1;
                    t = end + 1;
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
    }

    /// True if the pattern matches an image: its `name:tag` if the pattern has a `:`, else its name.
    pub fn matches_image(&self, key: &ImageRef) -> bool {
        if self.0.contains(':') {
            self.matches(&key.to_string())
        } else {
            self.matches(key.name.as_str())
        }
    }
}

impl FromStr for Glob {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str =
            "write a name or `name:tag`; `*` matches any characters, `?` matches one character";
        if text.is_empty() {
            return Err(NameError::new("a pattern cannot be empty", HELP));
        }
        if text.len() > MAX_PATTERN_CHARS {
            let message = format!("a pattern has at most {MAX_PATTERN_CHARS} characters");
            return Err(NameError::new(message, "shorten the pattern"));
        }
        // A pattern with any other character could never match.
        let is_allowed = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '*' | '?')
        };
        match text.chars().find(|c| !is_allowed(*c)) {
            Some(c) => {
                let shown = c.escape_debug();
                let message = format!("`{shown}` cannot be part of an image name or tag");
                Err(NameError::new(message, HELP))
            }
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        for (pattern, text, expected) in [
            ("api", "api", true),
            ("api", "apis", false),
            ("api", "ap", false),
            ("api*", "api", true),
            ("api*", "api-v1.2/x:y", true),
            ("*api", "my-api", true),
            ("*api", "my-api-2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "anything", true),
            ("*", "", true),
            ("?", "", false),
            ("a**b", "ab", true),
            ("*a*a*", "banana", true),
            ("*ab", "aab", true),
            ("a*b?d", "axxbbcd", true),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_with_a_colon_matches_name_and_tag() {
        for (pattern, expected) in [
            ("api", true),
            ("*", true),
            ("*v1", false),
            ("*:v1", true),
            ("api:*", true),
            ("api:v2", false),
            ("web:*", false),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches_image(&"api:v1".parse().unwrap()), expected, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_cannot_match_are_rejected() {
        for bad in ["", "a b", "a[bc]", "é", "a\n", &"x".repeat(513)] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    /// Reference implementation, with full backtracking.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                slow(rest, text) || (!text.is_empty() && slow(pattern, &text[1..]))
            }
            ([b'?', rest @ ..], [_, after @ ..]) => slow(rest, after),
            ([one, rest @ ..], [other, after @ ..]) => one == other && slow(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_agrees_with_the_reference_implementation(pattern in "[ab*?]{1,7}", text in "[ab]{0,9}") {
            let glob: Glob = pattern.parse().unwrap();
            prop_assert_eq!(glob.matches(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
