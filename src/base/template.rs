//! Tags with placeholders: `v1-{arch}`, `{fingerprint}`. Pure.

use std::fmt;
use std::str::FromStr;

use super::digest::Fingerprint;
use super::name::{NameError, Platform, Tag};

/// A [`Tag`] with placeholders: `{arch}` is the architecture of the platform, `{fingerprint}` the
/// first 12 hex digits of the unit's fingerprint.
///
/// Parsing guarantees that every substitution gives a valid tag.
///
/// ```
/// use imgplan::test_support::base::name::{Platform, TagTemplate};
/// let template: TagTemplate = "v1-{arch}".parse()?;
/// assert_eq!(template.for_platform(Platform::Arm64).placeholder_tag().as_str(), "v1-arm64");
/// # Ok::<(), imgplan::test_support::base::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagTemplate(String);

const ARCH: &str = "{arch}";
const FINGERPRINT: &str = "{fingerprint}";

/// Fills in `{arch}` in any text. `${arch}` is a variable of a shell, and stays.
pub(crate) fn fill_arch(text: &str, platform: Platform) -> String {
    let mut filled = String::with_capacity(text.len());
    for part in text.split_inclusive(ARCH) {
        match part.strip_suffix(ARCH).filter(|before| !before.ends_with('$')) {
            Some(before) => {
                filled.push_str(before);
                filled.push_str(platform.arch());
            }
            None => filled.push_str(part),
        }
    }
    filled
}

/// Number of hex digits of the fingerprint in a tag. 48 bits make a collision between two builds of
/// one image unlikely below millions of builds.
const FINGERPRINT_DIGITS: usize = 12;

impl TagTemplate {
    /// Returns the template as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the template has the placeholder `{arch}`.
    pub fn has_arch(&self) -> bool {
        self.0.contains(ARCH)
    }

    /// True if the template has the placeholder `{fingerprint}`.
    pub fn has_fingerprint(&self) -> bool {
        self.0.contains(FINGERPRINT)
    }

    /// Returns the template with `{arch}` replaced.
    #[must_use]
    pub fn for_platform(&self, platform: Platform) -> Self {
        Self(self.0.replace(ARCH, platform.arch()))
    }

    /// Returns the tag of one of `count` platforms: with the architecture filled in, or with the
    /// suffix `-arm64` if there are several platforms and the template has no `{arch}`.
    ///
    /// # Errors
    ///
    /// Fails if the result is too long for a tag.
    pub fn for_one_of(&self, platform: Platform, count: usize) -> Result<Self, NameError> {
        if count < 2 || self.has_arch() {
            return Ok(self.for_platform(platform));
        }
        format!("{}-{}", self.0, platform.arch()).parse()
    }

    /// Returns the tag for a fingerprint. A remaining `{arch}` becomes the default platform's.
    pub fn with_fingerprint(&self, fingerprint: &Fingerprint) -> Tag {
        let text = fingerprint.to_string();
        let hex = text.rsplit(':').next().unwrap_or_default();
        self.filled(hex.get(..FINGERPRINT_DIGITS).unwrap_or(hex))
    }

    /// Returns the tag to show while the fingerprint is not known: it has zeros instead. A remaining
    /// `{arch}` becomes the default platform's.
    pub fn placeholder_tag(&self) -> Tag {
        self.filled(&"0".repeat(FINGERPRINT_DIGITS))
    }

    /// True if the tag is the result of this template for some fingerprint and, if the template still
    /// has `{arch}`, some platform.
    pub fn matches(&self, tag: &Tag) -> bool {
        if self.has_arch() {
            return Platform::ALL
                .into_iter()
                .any(|platform| self.for_platform(platform).matches(tag));
        }
        let Some(at) = self.0.find(FINGERPRINT) else { return self.0 == tag.as_str() };
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        match tag.as_str().get(at..at + FINGERPRINT_DIGITS).filter(|digits| digits.chars().all(hex))
        {
            Some(digits) => self.0.replace(FINGERPRINT, digits) == tag.as_str(),
            None => false,
        }
    }

    fn filled(&self, digits: &str) -> Tag {
        let text = self.for_platform(Platform::default()).0.replace(FINGERPRINT, digits);
        Tag::new_unchecked(text)
    }
}

impl FromStr for TagTemplate {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str = "the placeholders of a tag are {arch} and {fingerprint}";
        if !text.contains(['{', '}']) {
            return text.parse().map(|tag: Tag| Self(tag.as_str().to_owned()));
        }
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (_, from) = rest.split_at(open);
            let Some(end) = from.find('}').filter(|_| from.starts_with('{')) else {
                let unbalanced = if from.starts_with('{') {
                    "a `{` without its `}`"
                } else {
                    "a `}` without its `{`"
                };
                return Err(NameError::new(format!("`{text}` has {unbalanced}"), HELP));
            };
            let placeholder = &from[..=end];
            if placeholder != ARCH && placeholder != FINGERPRINT {
                let message = format!("`{placeholder}` is not a placeholder of a tag");
                return Err(NameError::new(message, HELP));
            }
            rest = &from[end + 1..];
        }
        // Check the longest possible result: if it is a valid tag, all others are.
        let arch = Platform::ALL.map(Platform::arch).into_iter().max_by_key(|arch| arch.len());
        let filled = text.replace(ARCH, arch.unwrap_or_default());
        let filled = filled.replace(FINGERPRINT, &"0".repeat(FINGERPRINT_DIGITS));
        match filled.parse::<Tag>() {
            Ok(_) => Ok(Self(text.to_owned())),
            // Show the user's text, not the result of the substitution.
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
    fn placeholders_are_replaced() {
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
        assert_eq!(template("v1").for_one_of(Platform::Amd64, 2).unwrap().as_str(), "v1-amd64");
    }

    #[test]
    fn matching_tags_are_recognized() {
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
    fn invalid_templates_are_rejected() {
        for (text, message) in [
            ("v1-{os}", "`{os}` is not a placeholder of a tag"),
            ("v1-{}", "`{}` is not a placeholder of a tag"),
            ("{{arch}}", "`{{arch}` is not a placeholder of a tag"),
            ("v1-{arch", "`v1-{arch` has a `{` without its `}`"),
            ("v1-arch}", "`v1-arch}` has a `}` without its `{`"),
            ("-{arch}", "`-{arch}` is not a tag"),
            ("a b{fingerprint}", "`a b{fingerprint}` is not a tag"),
            (&format!("{}{{fingerprint}}", "x".repeat(117)), "a tag has at most 128 characters"),
            ("", "a tag cannot be empty"),
        ] {
            assert_eq!(text.parse::<TagTemplate>().unwrap_err().message, message, "{text}");
        }
        assert!(format!("{}{{fingerprint}}", "x".repeat(116)).parse::<TagTemplate>().is_ok());
    }

    proptest! {
        #[test]
        fn every_substitution_is_a_valid_tag(
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
