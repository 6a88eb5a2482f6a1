//! Paths inside a context. Pure.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::safe_text::is_unsafe;

/// A path inside a context: separated by `/`, never absolute, without `..`. It is made of bytes,
/// because file names need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Returns the path, or `None` if it is absolute or empty, or if a part of it is empty, `.` or
    /// `..`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let is_valid =
            |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        bytes.split(|byte| *byte == b'/').all(is_valid).then_some(Self(bytes))
    }

    /// Returns the path of `name` in the folder `parent`, or at the root if there is none.
    pub(super) fn child(parent: Option<&Self>, name: &[u8]) -> Self {
        let prefix_len = parent.map_or(0, |parent| parent.0.len() + 1);
        let mut bytes = Vec::with_capacity(prefix_len + name.len());
        if let Some(parent) = parent {
            bytes.extend_from_slice(&parent.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// Returns the path of a name at the root. The name must not contain a `/`.
    pub(super) fn from_name(name: String) -> Self {
        Self(name.into_bytes())
    }

    /// Returns the last part.
    pub(super) fn name(&self) -> &OsStr {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        as_os_str(&self.0[slash.map_or(0, |slash| slash + 1)..])
    }

    /// Returns all parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = &OsStr> {
        self.0.split(|byte| *byte == b'/').map(as_os_str)
    }

    /// Returns the folders above the path, the outermost first.
    pub fn folders(&self) -> impl Iterator<Item = Self> {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].to_vec()))
    }

    /// Returns true if the path is in `folder`, at any depth.
    pub(super) fn is_below(&self, folder: &Self) -> bool {
        let rest = self.0.strip_prefix(&folder.0[..]);
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// Returns the parts after `folder`, which must be above the path.
    pub(super) fn parts_below(&self, folder: &Self) -> impl Iterator<Item = &OsStr> {
        self.parts().skip(folder.parts().count())
    }

    /// Returns the folder that contains the path; `None` for the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// Returns the path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as text, as Go's matcher sees it.
    pub(super) fn lossy(&self) -> Cow<'_, str> {
        lossy(&self.0)
    }

    /// Returns the path on disk, below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(as_os_str(&self.0))
    }
}

/// Returns a path as text. Each invalid byte becomes one replacement character, as Go's matcher
/// sees it.
pub(super) fn lossy(path: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(path) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

#[cfg(unix)]
pub(super) fn as_os_str(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// Converts a name that came from the system, which is always valid text here.
#[cfg(not(unix))]
pub(super) fn as_os_str(bytes: &[u8]) -> &OsStr {
    OsStr::new(std::str::from_utf8(bytes).unwrap_or_default())
}

/// Writes the path with unsafe characters escaped, and invalid bytes as `\xNN`.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_unsafe(c) {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
