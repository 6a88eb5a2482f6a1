//! The part of the command line that concerns the manifest: `--file`, `--var` and `--set`. Pure.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::header::root_of;
use crate::base::glob::Glob;
use crate::base::input::is_device_path;
use crate::base::name::NameError;
use crate::base::reach::Reach;

/// Files of the manifest, with the variables and overrides of the command line.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// The files; `-` is standard input. The first file is read as if it included the others.
    pub files: Vec<PathBuf>,
    /// Text of the first file, which is then not read; `None` for a file on disk.
    pub text: Option<String>,
    /// Variables of `--var`, which override all others. The last one of a name counts.
    pub vars: Vec<Variable>,
    /// Overrides of `--set`, in order.
    pub sets: Vec<Override>,
    /// Permissions that go beyond the repository.
    pub allowed: Allowed,
}

/// Permissions of the user for a manifest, which a stranger may have written.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Folders outside of the repository.
    pub folders: Vec<PathBuf>,
    /// Environment variables whose names look like secrets.
    pub variables: Vec<String>,
}

impl Invocation {
    /// Creates an invocation with one file, without variables and overrides.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()], ..Self::default() }
    }

    /// Returns the folders in which the files lie that the manifest may name.
    pub(super) fn reach(&self) -> Reach {
        let files = std::iter::once(self.first()).chain(self.files.iter().map(PathBuf::as_path));
        // A device or a descriptor lies in no repository.
        let files = files.filter(|file| !is_device_path(file));
        let folders: Vec<PathBuf> = files.map(root_of).collect();
        Reach::new(folders.iter().map(PathBuf::as_path), &self.allowed.folders)
    }

    /// Returns the first file. The lockfile lies in its folder.
    pub fn first(&self) -> &Path {
        self.files.first().map_or(Path::new("imgplan.yaml"), PathBuf::as_path)
    }
}

/// A variable of `--var`: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name: letters, digits and `_`; the first character is not a digit.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Environment variable with the API key, which must not appear in a manifest or a message.
pub(super) const API_KEY_VARIABLE: &str = "PRIME_API_KEY";

impl Variable {
    /// True if this is the API key, which must not appear in a manifest or a message.
    pub fn is_secret(&self) -> bool {
        self.name == API_KEY_VARIABLE
    }
}

/// Returns true if a text is a valid variable name.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl FromStr for Variable {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('=') {
            Some((name, value)) if is_variable_name(name) => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(NameError::new(
                "this is not a variable",
                "write NAME=VALUE; a name has letters, digits and `_`",
            )),
        }
    }
}

/// An override of `--set`: `PATTERN.FIELD=VALUE`, or `PATTERN.FIELD+=VALUE` to add to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    text: String,
    images: Glob,
    pattern: Range<usize>,
    field: Range<usize>,
    inner: Option<Range<usize>>,
    /// Offset of the value.
    value: usize,
    /// True for `+=`: the value is added to the list of the image.
    pub(super) adds: bool,
}

impl Override {
    /// Returns the text as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the pattern of the image names.
    pub(super) fn images(&self) -> &Glob {
        &self.images
    }

    /// Returns the range of the pattern in [`text`](Self::text).
    pub(super) fn pattern_range(&self) -> Range<usize> {
        self.pattern.clone()
    }

    /// Returns the range of the field.
    pub(super) fn field_range(&self) -> Range<usize> {
        self.field.clone()
    }

    /// Returns the range of the key inside the field: `PY` in `args.PY`.
    pub(super) fn inner_range(&self) -> Option<Range<usize>> {
        self.inner.clone()
    }

    /// Returns the range of the value.
    pub(super) fn value_range(&self) -> Range<usize> {
        self.value..self.text.len()
    }
}

/// Fields that are mappings.
const MAPPING_FIELDS: [&str; 2] = ["args", "labels"];

impl FromStr for Override {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let invalid = || {
            NameError::new(
                "invalid override",
                "write PATTERN.FIELD=VALUE, for example '*.visibility=public', \
                 'api*.args.PY=3.13' or 'api.platforms+=linux/arm64'",
            )
        };
        let equals = text.find('=').ok_or_else(invalid)?;
        let adds = text[..equals].ends_with('+');
        let left = if adds { equals - 1 } else { equals };
        let path = &text[..left];
        // Names of images and keys of labels may contain dots, so look for the mapping's name
        // first.
        let mapping = MAPPING_FIELDS.iter().filter_map(|name| {
            let at = path.find(&format!(".{name}."))?;
            Some((at, at + 1..at + 1 + name.len()))
        });
        let mapping = mapping.min_by_key(|(at, _)| *at);
        let (pattern, field, inner) = if let Some((at, field)) = mapping {
            let inner = field.end + 1..left;
            (0..at, field, Some(inner))
        } else {
            let dot = path.rfind('.').ok_or_else(invalid)?;
            (0..dot, dot + 1..left, None)
        };
        if pattern.is_empty() || field.is_empty() || inner.as_ref().is_some_and(Range::is_empty) {
            return Err(invalid());
        }
        let images: Glob = text[pattern.clone()].parse()?;
        Ok(Self { text: text.to_owned(), images, pattern, field, inner, value: equals + 1, adds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_parsed() {
        for (text, pattern, field, inner, value, adds) in [
            ("*.visibility=public", "*", "visibility", "", "public", false),
            ("api*.args.PY=3.13", "api*", "args", "PY", "3.13", false),
            ("a.b.tag=v=1", "a.b", "tag", "", "v=1", false),
            ("a.platforms+=linux/arm64", "a", "platforms", "", "linux/arm64", true),
            ("a.labels.org.x=y", "a", "labels", "org.x", "y", false),
            ("a.args.X=", "a", "args", "X", "", false),
        ] {
            let set: Override = text.parse().unwrap();
            let at = |range: Range<usize>| &set.text[range];
            let parts = (set.images().as_str(), at(set.field_range()), at(set.value_range()));
            assert_eq!(parts, (pattern, field, value), "{text}");
            assert_eq!(set.inner_range().map_or("", at), inner, "{text}");
            assert_eq!(set.adds, adds, "{text}");
        }
        for text in ["", "a", "a=b", "a.tag", ".tag=x", "a.=x", "a.args.=x", "+=x", "a b.tag=x"] {
            assert!(text.parse::<Override>().is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_parsed() {
        let variable: Variable = "A_1=x=y".parse().unwrap();
        assert_eq!((variable.name.as_str(), variable.value.as_str()), ("A_1", "x=y"));
        for text in ["", "A", "=x", "1A=x", "A-B=x"] {
            assert!(text.parse::<Variable>().is_err(), "{text}");
        }
    }
}
