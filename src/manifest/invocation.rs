//! What the command line says about the manifest: which files, `--var` and `--set`. Pure.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base::glob::Glob;
use crate::base::name::NameError;

/// The manifest's files, and what is said over them.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The files; `-` is standard input. The first is read as if it included the others.
    pub files: Vec<PathBuf>,
    /// Variables that win over all others; of two with one name the last.
    pub vars: Vec<Variable>,
    /// What images are told to say, in order.
    pub sets: Vec<Override>,
}

impl Invocation {
    /// One file, and nothing said over it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()], vars: Vec::new(), sets: Vec::new() }
    }

    /// The first file: the lockfile lies beside it.
    pub fn first(&self) -> &Path {
        self.files.first().map_or(Path::new("imgplan.yaml"), PathBuf::as_path)
    }
}

/// A variable: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name: letters, digits and `_`, no digit first.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The variable that must not be written anywhere.
pub(super) const SECRET: &str = "PRIME_API_KEY";

impl Variable {
    /// Whether it is the key of the service, which goes into no manifest and no message.
    pub fn is_secret(&self) -> bool {
        self.name == SECRET
    }
}

/// Whether a text can stand in `${...}`.
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
                "write NAME=VALUE, the name of letters, digits and `_`",
            )),
        }
    }
}

/// What some images are told to say: `PATTERN.FIELD=V`, or `PATTERN.FIELD+=V` to add to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    text: String,
    images: Glob,
    pattern: Range<usize>,
    field: Range<usize>,
    inner: Option<Range<usize>>,
    /// Where the value begins.
    value: usize,
    /// Whether the value is added to what the image says, and does not replace it.
    pub(super) adds: bool,
}

impl Override {
    /// All of it, as it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which images, by name.
    pub(super) fn images(&self) -> &Glob {
        &self.images
    }

    /// Where in [`text`](Self::text) the pattern stands.
    pub(super) fn pattern_place(&self) -> Range<usize> {
        self.pattern.clone()
    }

    /// Where the field stands.
    pub(super) fn field_place(&self) -> Range<usize> {
        self.field.clone()
    }

    /// Where the key inside the field stands, as in `args.PY`.
    pub(super) fn inner_place(&self) -> Option<Range<usize>> {
        self.inner.clone()
    }

    /// Where the value stands.
    pub(super) fn value_place(&self) -> Range<usize> {
        self.value..self.text.len()
    }
}

/// Fields that have keys of their own.
const MAPPINGS: [&str; 2] = ["args", "labels"];

impl FromStr for Override {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || {
            NameError::new(
                "this sets nothing",
                "write PATTERN.FIELD=VALUE, as '*.visibility=public', 'api*.args.PY=3.13' or \
                 'api.platforms+=linux/arm64'",
            )
        };
        let equals = text.find('=').ok_or_else(wrong)?;
        let adds = text[..equals].ends_with('+');
        let left = if adds { equals - 1 } else { equals };
        let path = &text[..left];
        // A label's own name has dots, and so may an image's: what decides is the mapping's name.
        let mapping = MAPPINGS.iter().filter_map(|name| {
            let at = path.find(&format!(".{name}."))?;
            Some((at, at + 1..at + 1 + name.len()))
        });
        let mapping = mapping.min_by_key(|(at, _)| *at);
        let (pattern, field, inner) = if let Some((at, field)) = mapping {
            let inner = field.end + 1..left;
            (0..at, field, Some(inner))
        } else {
            let dot = path.rfind('.').ok_or_else(wrong)?;
            (0..dot, dot + 1..left, None)
        };
        if pattern.is_empty() || field.is_empty() || inner.as_ref().is_some_and(Range::is_empty) {
            return Err(wrong());
        }
        let images: Glob = text[pattern.clone()].parse()?;
        Ok(Self { text: text.to_owned(), images, pattern, field, inner, value: equals + 1, adds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_taken_apart() {
        for (text, pattern, field, inner, value, adds) in [
            ("*.visibility=public", "*", "visibility", "", "public", false),
            ("api*.args.PY=3.13", "api*", "args", "PY", "3.13", false),
            ("a.b.tag=v=1", "a.b", "tag", "", "v=1", false),
            ("a.platforms+=linux/arm64", "a", "platforms", "", "linux/arm64", true),
            ("a.labels.org.x=y", "a", "labels", "org.x", "y", false),
            ("a.args.X=", "a", "args", "X", "", false),
        ] {
            let read: Override = text.parse().unwrap();
            let at = |place: Range<usize>| &read.text[place];
            let found = (read.images().as_str(), at(read.field_place()), at(read.value_place()));
            assert_eq!(found, (pattern, field, value), "{text}");
            assert_eq!(read.inner_place().map_or("", at), inner, "{text}");
            assert_eq!(read.adds, adds, "{text}");
        }
        for text in ["", "a", "a=b", "a.tag", ".tag=x", "a.=x", "a.args.=x", "+=x", "a b.tag=x"] {
            assert!(text.parse::<Override>().is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_taken_apart() {
        let read: Variable = "A_1=x=y".parse().unwrap();
        assert_eq!((read.name.as_str(), read.value.as_str()), ("A_1", "x=y"));
        for text in ["", "A", "=x", "1A=x", "A-B=x"] {
            assert!(text.parse::<Variable>().is_err(), "{text}");
        }
    }
}
