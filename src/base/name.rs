//! Names, tags, platforms, owners, visibilities and build IDs, validated when parsed. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::safe_text::is_unsafe;
pub(crate) use super::template::TagTemplate;

/// An error for a text that is not a valid name, with the correction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NameError {
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The correction, in the imperative.
    pub help: String,
}

impl NameError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Maximum length of an image name, as in Docker.
const MAX_NAME_CHARS: usize = 255;

/// Maximum length of a tag (OCI distribution specification).
const MAX_TAG_CHARS: usize = 128;

/// The name of an image without its tag: `api`, or `team/api` where the owner is the platform.
///
/// Segments of lower case letters, digits, `.`, `_` and `-`, which begin and end with a letter or a
/// digit, separated by `/`. Only platform images may have a `/` (API contract, section 5); the
/// manifest checks that, because only there the owner is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

impl ImageName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the name has a namespace (a `/`), which only platform images may have.
    pub fn has_namespace(&self) -> bool {
        self.0.contains('/')
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str = "use lower case letters, digits, and `.`, `_` or `-` between them";
        let is_segment = |segment: &str| {
            let is_alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            segment.starts_with(is_alnum)
                && segment.ends_with(is_alnum)
                && segment.chars().all(|c| is_alnum(c) || matches!(c, '.' | '_' | '-'))
        };
        if text.is_empty() {
            return Err(NameError::new("an image name cannot be empty", HELP));
        }
        if text.len() > MAX_NAME_CHARS {
            let message = format!("an image name has at most {MAX_NAME_CHARS} characters");
            return Err(NameError::new(message, "shorten the name"));
        }
        if !text.split('/').all(is_segment) {
            let lower = text.to_lowercase();
            let help = if lower != text && lower.split('/').all(is_segment) {
                format!("write `{lower}`")
            } else if text.contains(':') {
                "write the tag under its own key, `tag:`".to_owned()
            } else {
                HELP.to_owned()
            };
            return Err(NameError::new(format!("`{text}` is not an image name"), help));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Converts a text to an image name, as the provider's own tool does (API contract, section 5): in
/// lowercase, with a `-` for other characters, and a letter or digit at both ends. May be empty.
pub(crate) fn image_name_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// The tag of an image: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`, the rule of the service's own client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Returns `latest`, the tag of a reference without a tag, as in Docker.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Returns the tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Creates a tag without checking it again.
    pub(super) fn new_unchecked(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str =
            "use letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`";
        if text.is_empty() {
            return Err(NameError::new("a tag cannot be empty", HELP));
        }
        if text.len() > MAX_TAG_CHARS {
            let message = format!("a tag has at most {MAX_TAG_CHARS} characters");
            return Err(NameError::new(message, "shorten the tag"));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !text.starts_with(is_word) || !text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
        {
            return Err(NameError::new(format!("`{text}` is not a tag"), HELP));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The destination of a unit in the service, `name:tag`. It identifies the unit everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    /// The image's name.
    pub name: ImageName,
    /// Its tag.
    pub tag: Tag,
}

impl FromStr for ImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, tag) = text.rsplit_once(':').ok_or_else(|| {
            NameError::new(format!("`{text}` has no tag"), "write it as `name:tag`")
        })?;
        Ok(Self { name: name.parse()?, tag: tag.parse()? })
    }
}

/// Deserializes a value through its [`FromStr`], and fails where that does. In the error, the help
/// follows the message on the next line.
pub(crate) fn deserialize_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = NameError>,
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error: NameError| {
        serde::de::Error::custom(format_args!("{}\n{}", error.message, error.help))
    })
}

macro_rules! text_value {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
pub(crate) use text_value;

text_value!(ImageName, Tag, ImageRef, Platform, Owner, Visibility);

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// The platforms that the service builds for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// 64-bit x86, the service's default.
    #[default]
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Platform {
    /// All platforms, in display order.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Returns the platform as the service and Docker write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    /// Returns the architecture alone, as in Docker's `TARGETARCH`.
    pub fn arch(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl FromStr for Platform {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == text).ok_or_else(|| {
            let help = match text {
                "amd64" | "x86_64" | "linux/x86_64" => "write `linux/amd64`",
                "arm64" | "aarch64" | "linux/aarch64" | "linux/arm64/v8" => "write `linux/arm64`",
                _ => "the service builds for `linux/amd64` and `linux/arm64`",
            };
            NameError::new(format!("`{text}` is not a platform of the service"), help)
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The owner of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The account whose key is used.
    #[default]
    Personal,
    /// A team, by its ID.
    Team(String),
    /// The platform itself. Such images are always public, and only admins can write them.
    Platform,
}

impl FromStr for Owner {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "personal" => Ok(Self::Personal),
            "platform" => Ok(Self::Platform),
            _ => match text.strip_prefix("team:").map(str::trim) {
                Some(id) if !id.is_empty() && !id.contains(is_unsafe) => {
                    Ok(Self::Team(id.to_owned()))
                }
                _ => Err(NameError::new(
                    format!("`{text}` is not an owner"),
                    "write `personal`, `platform` or `team: <id>`",
                )),
            },
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Personal => f.write_str("personal"),
            Self::Team(id) => write!(f, "team:{id}"),
            Self::Platform => f.write_str("platform"),
        }
    }
}

/// The visibility of an image whose build is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Only the owner can pull the image.
    Private,
    /// Everyone can pull the image.
    Public,
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "private",
            Self::Public => "public",
        })
    }
}

impl FromStr for Visibility {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.to_ascii_lowercase().as_str() {
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            _ => Err(NameError::new(
                format!("`{text}` is not a visibility"),
                "write `inherit`, `private` or `public`",
            )),
        }
    }
}

/// A build ID, assigned by the service. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BuildId(String);

impl BuildId {
    /// Checks an ID of the service. `None` if it is longer than 256 characters, consists of dots, or
    /// has a character that is not safe in a URL's path: responses of a server are not trusted.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let is_safe =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | ':');
        // Also true of an empty text.
        let only_dots = text.chars().all(|c| c == '.');
        (!only_dots && text.len() <= 256 && text.chars().all(is_safe)).then_some(Self(text))
    }

    /// Returns a number as an ID of 32 hexadecimal digits.
    pub(crate) fn of_number(number: u128) -> Self {
        Self(format!("{number:032x}"))
    }

    /// Returns the ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Finds an ID in a map by its text.
impl std::borrow::Borrow<str> for BuildId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<BuildId> for String {
    fn from(id: BuildId) -> Self {
        id.0
    }
}

impl TryFrom<String> for BuildId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&*text).ok_or_else(|| format!("`{}` is not a build ID", text.escape_debug()))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_validated() {
        for ok in ["api", "a", "a--b", "ns__x", "my.app-1", "ns/app"] {
            assert!(ok.parse::<ImageName>().is_ok(), "{ok}");
        }
        for bad in ["", "Api", "-a", "a-", "a b", "a:b", "a//b", "/a", "ä", &"x".repeat(256)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
        assert_eq!("Api".parse::<ImageName>().unwrap_err().help, "write `api`");
    }

    #[test]
    fn tags_are_validated() {
        for ok in ["latest", "1.10", "_x", "V1", "a-b.c", &"x".repeat(128)] {
            assert!(ok.parse::<Tag>().is_ok(), "{ok}");
        }
        for bad in ["", "-a", ".a", "a/b", "a:b", "a b", "é", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn build_ids_are_safe_in_a_path() {
        for ok in ["8f2c", "build_1", "a-b.c", "cmk:1"] {
            assert!(BuildId::new(ok).is_some(), "{ok}");
        }
        for bad in ["", "..", "a/b", "a?b", "a b", "a\nb", "%2e"] {
            assert!(BuildId::new(bad).is_none(), "{bad}");
        }
    }
}
