//! Patterns over the names of images: `api*`, `*:nightly-?`. Pure.

use std::fmt;
use std::str::FromStr;

use super::name::{ImageRef, NameError};

/// A pattern in which `*` stands for any run of characters, none included, and `?` for any one.
///
/// There is nothing that `*` stops at: not `-`, `.`, `/` or `:`.
///
/// ```
/// use imgplan::base::glob::Glob;
/// let glob: Glob = "api-*:v?".parse()?;
/// assert!(glob.matches("api-web:v1"));
/// assert!(!glob.matches("api-web:v10"));
/// # Ok::<(), imgplan::base::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(String);

/// Characters of a pattern: more than a name and a tag have together.
const LONGEST: usize = 512;

impl Glob {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole text is one that this pattern stands for.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where the last `*` stands, and how far it reaches: what fails after it, it takes.
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
                    let Some((at, reach)) = star else { return false };
                    star = Some((at, reach + 1));
                    p = at + 1;
                    t = reach + 1;
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|rest| *rest == b'*')
    }

    /// Whether a unit is meant: by its `name:tag` where the pattern has a `:`, else by its name.
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
            "write a name or `name:tag`, in which `*` is any run of characters and `?` any one";
        if text.is_empty() {
            return Err(NameError::new("a pattern cannot be empty", HELP));
        }
        if text.len() > LONGEST {
            let message = format!("a pattern has at most {LONGEST} characters");
            return Err(NameError::new(message, "shorten the pattern"));
        }
        // What no name and no tag has would match nothing, ever.
        let known = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '*' | '?')
        };
        match text.chars().find(|c| !known(*c)) {
            Some(c) => {
                let shown = c.escape_debug();
                Err(NameError::new(format!("no image has a `{shown}` in its name or tag"), HELP))
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
    fn patterns() {
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
    fn a_colon_brings_the_tag_in() {
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
    fn what_no_name_has_is_refused() {
        for bad in ["", "a b", "a[bc]", "é", "a\n", &"x".repeat(513)] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    /// The definition, which tries everything.
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
        fn it_is_what_it_is_defined_to_be(pattern in "[ab*?]{1,7}", text in "[ab]{0,9}") {
            let glob: Glob = pattern.parse().unwrap();
            prop_assert_eq!(glob.matches(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
