//! The path of an image in the service, which goes into Dockerfiles and to terminals. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::ImageRef;

/// Maximum length of a path in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The full path of an image in the service, as an image is pulled: `prime/me/api:v1`. Opaque, and empty
/// as long as the service has not reported it.
///
/// It has only the characters of references, wherever it was read (a response, the lockfile, the
/// journal): one with a newline would add an instruction to the Dockerfile that is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImagePath(String);

impl ImagePath {
    /// Checks a path. `None` if it is too long, begins as an option does, or has a character that no
    /// reference has.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let is_allowed = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '+')
        };
        let is_path =
            text.len() <= MAX_PATH_BYTES && !text.starts_with('-') && text.chars().all(is_allowed);
        is_path.then_some(Self(text))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the service has not reported the path.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&ImageRef> for ImagePath {
    /// Returns the path of an image of the platform, which is its name.
    fn from(image: &ImageRef) -> Self {
        Self(image.to_string())
    }
}

impl From<ImagePath> for String {
    fn from(path: ImagePath) -> Self {
        path.0
    }
}

impl TryFrom<String> for ImagePath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const MESSAGE: &str = "the path of an image has only letters, digits and `.`, `_`, `-`, \
                               `/`, `:`, `@` and `+`";
        Self::new(text).ok_or(MESSAGE)
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_only_characters_of_references() {
        for ok in ["", "redis:7", "prime/me/api:v1", "registry.test:5000/x@sha256:00", "a+b"] {
            let json = serde_json::to_string(ok).unwrap();
            assert_eq!(serde_json::from_str::<ImagePath>(&json).unwrap().as_str(), ok);
        }
        let long = "x".repeat(MAX_PATH_BYTES + 1);
        for bad in ["x\nRUN evil", "x\u{1b}[2J", "x y", "$x", "x#y", "-x", "é", &long] {
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<ImagePath>(&json).is_err(), "{bad:?}");
        }
    }
}
