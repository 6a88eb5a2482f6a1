//! Turns the texts that name an image into values: names, tags, platforms, owners, build IDs. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::template::TagTemplate;

/// What is wrong with a text that should name something, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NameError {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl NameError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// The name of an image without its tag: `api`, or `team/api` where the owner is the platform.
///
/// Lower case letters, digits and `.`, `_`, `-` inside; segments between `/`. A `/` is only
/// allowed for platform images (`api.md` §5), which is checked where the owner is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name holds a namespace, which only platform images may have.
    pub fn has_namespace(&self) -> bool {
        self.0.contains('/')
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str = "use lower case letters, digits, and `.`, `_` or `-` between them";
        let segment_ok = |segment: &str| {
            let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            segment.starts_with(alnum)
                && segment.ends_with(alnum)
                && segment.chars().all(|c| alnum(c) || matches!(c, '.' | '_' | '-'))
        };
        if text.is_empty() {
            return Err(NameError::new("an image name cannot be empty", HELP));
        }
        if text.len() > 255 {
            return Err(NameError::new(
                "an image name has at most 255 characters",
                "shorten the name",
            ));
        }
        if !text.split('/').all(segment_ok) {
            let lower = text.to_lowercase();
            let help = if lower != text && lower.split('/').all(segment_ok) {
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

/// The tag of an image: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`, the rule of the provider's client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag of an image that names none, as Docker has it.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A tag that was checked in parts.
    pub(super) fn trusted(text: String) -> Self {
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
        if text.len() > 128 {
            return Err(NameError::new("a tag has at most 128 characters", "shorten the tag"));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !text.starts_with(word) || !text.chars().all(|c| word(c) || matches!(c, '.' | '-')) {
            return Err(NameError::new(format!("`{text}` is not a tag"), HELP));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Where a unit lands in the service: `name:tag`. The key of a unit everywhere.
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

/// Reads a value through its [`FromStr`]. The way out follows the message on a line of its own.
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
pub(super) use text_value;

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
    /// All platforms, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The platform as the service and Docker write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    /// The architecture alone, as Docker's `TARGETARCH` has it.
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

/// Who owns an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The account whose key is used.
    #[default]
    Personal,
    /// A team, by its ID.
    Team(String),
    /// The platform itself: an image without an owner, always public, for admins only.
    Platform,
}

impl FromStr for Owner {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "personal" => Ok(Self::Personal),
            "platform" => Ok(Self::Platform),
            _ => match text.strip_prefix("team:").map(str::trim) {
                Some(id) if !id.is_empty() => Ok(Self::Team(id.to_owned())),
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

/// Who may pull an image: the two states that the service knows once a build is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Only its owner.
    Private,
    /// Everyone.
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

/// The ID that the service gave a build. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BuildId(String);

impl BuildId {
    /// Takes an ID as the service gave it. `None` where the text is empty or holds characters
    /// that could not stand in a URL's path: what comes from a server is not trusted.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | ':');
        let dots = text.chars().all(|c| c == '.');
        (!dots && text.len() <= 256 && text.chars().all(ok)).then_some(Self(text))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
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
    fn names() {
        for ok in ["api", "a", "a--b", "ns__x", "my.app-1", "ns/app"] {
            assert!(ok.parse::<ImageName>().is_ok(), "{ok}");
        }
        for bad in ["", "Api", "-a", "a-", "a b", "a:b", "a//b", "/a", "ä", &"x".repeat(256)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
        assert_eq!("Api".parse::<ImageName>().unwrap_err().help, "write `api`");
    }

    #[test]
    fn tags() {
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
