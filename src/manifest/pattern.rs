//! Patterns of units in `moved` and `removed`: `name` or `name:tag`. Pure.

use std::fmt;
use std::str::FromStr;

use crate::base::name::{ImageName, ImageRef, NameError, Tag};

/// All units of an image, or only the units with one tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitPattern {
    /// Name of the image.
    pub name: ImageName,
    /// Tag of the units; `None` matches all tags.
    pub tag: Option<Tag>,
}

impl UnitPattern {
    /// True if the pattern matches this unit.
    pub fn matches(&self, key: &ImageRef) -> bool {
        self.name == key.name && self.tag.as_ref().is_none_or(|tag| *tag == key.tag)
    }
}

impl FromStr for UnitPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text.rsplit_once(':') {
            Some((name, tag)) => Self { name: name.parse()?, tag: Some(tag.parse()?) },
            None => Self { name: text.parse()?, tag: None },
        })
    }
}

impl fmt::Display for UnitPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "{}:{tag}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_units() {
        for (text, key, expected) in [
            ("api", "api:v1", true),
            ("api:v1", "api:v1", true),
            ("api:v2", "api:v1", false),
            ("web", "api:v1", false),
        ] {
            let pattern: UnitPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            assert_eq!(pattern.matches(&key.parse().unwrap()), expected, "{text} {key}");
        }
        for bad in ["", ":v1", "api:", "Api", "api:a b", "a:b:c"] {
            assert!(bad.parse::<UnitPattern>().is_err(), "{bad}");
        }
    }
}
