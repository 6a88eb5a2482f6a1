//! Tags with a part that is known later: `v1-{arch}`, `{fingerprint}`. Pure.

use std::fmt;
use std::str::FromStr;

use super::digest::Fingerprint;
use super::name::{NameError, Platform, Tag};

/// A tag as a manifest writes it: a [`Tag`] in which `{arch}` stands for the architecture of the
/// platform, and `{fingerprint}` for the first 12 hex digits of the fingerprint of the content.
///
/// Whatever is put in, the result is a valid tag.
///
/// ```
/// use imgplan::base::name::{Platform, TagTemplate};
/// let template: TagTemplate = "v1-{arch}".parse()?;
/// assert_eq!(template.for_platform(Platform::Arm64).placeholder_tag().as_str(), "v1-arm64");
/// # Ok::<(), imgplan::base::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagTemplate(String);

const ARCH: &str = "{arch}";
const FINGERPRINT: &str = "{fingerprint}";

/// Hex digits of a fingerprint in a tag: 48 bits, with which two contents of one image meet by
/// chance once in millions of builds.
const DIGITS: usize = 12;

impl TagTemplate {
    /// The template as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the architecture is a part of it.
    pub fn has_arch(&self) -> bool {
        self.0.contains(ARCH)
    }

    /// Whether the fingerprint is a part of it.
    pub fn has_fingerprint(&self) -> bool {
        self.0.contains(FINGERPRINT)
    }

    /// The template with the platform's architecture put in.
    #[must_use]
    pub fn for_platform(&self, platform: Platform) -> Self {
        Self(self.0.replace(ARCH, platform.arch()))
    }

    /// The template of one platform of several where the architecture is no part of it: `3.12` on
    /// `linux/arm64` is `3.12-arm64`. An error where that is too long for a tag.
    pub fn with_suffix(&self, platform: Platform) -> Result<Self, NameError> {
        format!("{}-{}", self.0, platform.arch()).parse()
    }

    /// The tag for some content. An architecture that is still open is the default platform's.
    pub fn with_fingerprint(&self, fingerprint: &Fingerprint) -> Tag {
        let text = fingerprint.to_string();
        let hex = text.rsplit(':').next().unwrap_or_default();
        self.filled(hex.get(..DIGITS).unwrap_or(hex))
    }

    /// The tag while the content is not known: zeros stand for its fingerprint. An architecture
    /// that is still open is the default platform's.
    pub fn placeholder_tag(&self) -> Tag {
        self.filled(&"0".repeat(DIGITS))
    }

    /// Whether the tag could be one of this template's, for some content. An architecture that is
    /// still open may be any.
    pub fn matches(&self, tag: &Tag) -> bool {
        if self.has_arch() {
            return Platform::ALL.into_iter().any(|one| self.for_platform(one).matches(tag));
        }
        let Some(at) = self.0.find(FINGERPRINT) else { return self.0 == tag.as_str() };
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        match tag.as_str().get(at..at + DIGITS).filter(|digits| digits.chars().all(hex)) {
            Some(digits) => self.0.replace(FINGERPRINT, digits) == tag.as_str(),
            None => false,
        }
    }

    fn filled(&self, digits: &str) -> Tag {
        let whole = self.for_platform(Platform::default()).0.replace(FINGERPRINT, digits);
        Tag::trusted(whole)
    }
}

impl FromStr for TagTemplate {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str = "a tag may hold {arch} and {fingerprint}";
        if !text.contains(['{', '}']) {
            return text.parse().map(|tag: Tag| Self(tag.as_str().to_owned()));
        }
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (_, from) = rest.split_at(open);
            let Some(end) = from.find('}').filter(|_| from.starts_with('{')) else {
                let lone = if from.starts_with('{') {
                    "a `{` without its `}`"
                } else {
                    "a `}` without its `{`"
                };
                return Err(NameError::new(format!("`{text}` has {lone}"), HELP));
            };
            let placeholder = &from[..=end];
            if placeholder != ARCH && placeholder != FINGERPRINT {
                let message = format!("`{placeholder}` stands for nothing in a tag");
                return Err(NameError::new(message, HELP));
            }
            rest = &from[end + 1..];
        }
        // The longest that it can become: no other is less of a tag.
        let arch = Platform::ALL.map(Platform::arch).into_iter().max_by_key(|arch| arch.len());
        let filled = text.replace(ARCH, arch.unwrap_or_default());
        let filled = filled.replace(FINGERPRINT, &"0".repeat(DIGITS));
        match filled.parse::<Tag>() {
            Ok(_) => Ok(Self(text.to_owned())),
            // What was written is what is wrong.
            Err(error) => Err(NameError::new(error.message.replace(&filled, text), error.help)),
        }
    }
}

impl From<Tag> for TagTemplate {
    fn from(tag: Tag) -> Self {
        Self(tag.as_str().to_owned())
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use proptest::prelude::*;

    fn template(text: &str) -> TagTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_put_in() {
        let fingerprint = Fingerprint(Digest::from_bytes([0xab; 32]));
        for (text, arm, open, known) in [
            ("v1", "v1", "v1", "v1"),
            ("v1-{arch}", "v1-arm64", "v1-arm64", "v1-arm64"),
            ("{fingerprint}", "{fingerprint}", "000000000000", "abababababab"),
            (
                "{arch}.{fingerprint}-x",
                "arm64.{fingerprint}-x",
                "arm64.000000000000-x",
                "arm64.abababababab-x",
            ),
        ] {
            let arm64 = template(text).for_platform(Platform::Arm64);
            assert_eq!(arm64.as_str(), arm, "{text}");
            assert_eq!(arm64.placeholder_tag().as_str(), open, "{text}");
            assert_eq!(arm64.with_fingerprint(&fingerprint).as_str(), known, "{text}");
        }
        assert_eq!(template("v1").with_suffix(Platform::Amd64).unwrap().as_str(), "v1-amd64");
    }

    #[test]
    fn what_matches() {
        for (text, tag, expected) in [
            ("v1", "v1", true),
            ("v1", "v2", false),
            ("v1-{fingerprint}", "v1-0123456789ab", true),
            ("v1-{fingerprint}", "v1-0123456789a", false),
            ("v1-{fingerprint}", "v1-0123456789abc", false),
            ("v1-{fingerprint}", "v1-0123456789aG", false),
            ("v1-{fingerprint}", "v2-0123456789ab", false),
            ("v1-{fingerprint}", "v1", false),
            ("{fingerprint}.{fingerprint}", "aaaaaaaaaaaa.aaaaaaaaaaaa", true),
            ("{fingerprint}.{fingerprint}", "aaaaaaaaaaaa.bbbbbbbbbbbb", false),
            ("v1-{arch}", "v1-arm64", true),
            ("v1-{arch}", "v1-amd64", true),
            ("v1-{arch}", "v1-riscv", false),
        ] {
            assert_eq!(template(text).matches(&tag.parse().unwrap()), expected, "{text} {tag}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, words) in [
            ("v1-{os}", "`{os}` stands for nothing in a tag"),
            ("v1-{}", "`{}` stands for nothing in a tag"),
            ("{{arch}}", "`{{arch}` stands for nothing in a tag"),
            ("v1-{arch", "`v1-{arch` has a `{` without its `}`"),
            ("v1-arch}", "`v1-arch}` has a `}` without its `{`"),
            ("-{arch}", "`-{arch}` is not a tag"),
            ("a b{fingerprint}", "`a b{fingerprint}` is not a tag"),
            (&format!("{}{{fingerprint}}", "x".repeat(117)), "a tag has at most 128 characters"),
            ("", "a tag cannot be empty"),
        ] {
            assert_eq!(text.parse::<TagTemplate>().unwrap_err().message, words, "{text}");
        }
        assert!(format!("{}{{fingerprint}}", "x".repeat(116)).parse::<TagTemplate>().is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_put_in_is_a_tag(
            text in r"([a-c._-]|\{arch\}|\{fingerprint\}){0,9}", bytes in any::<[u8; 32]>()
        ) {
            let Ok(template) = text.parse::<TagTemplate>() else { return Ok(()) };
            let fingerprint = Fingerprint(Digest::from_bytes(bytes));
            for platform in Platform::ALL {
                let template = template.for_platform(platform);
                for tag in [template.placeholder_tag(), template.with_fingerprint(&fingerprint)] {
                    prop_assert_eq!(tag.as_str().parse::<Tag>(), Ok(tag.clone()));
                    prop_assert!(template.matches(&tag));
                }
            }
        }
    }
}
