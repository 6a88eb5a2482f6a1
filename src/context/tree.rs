//! The words of a context: paths, entries, and the tree that they make.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, FieldHasher};

/// A path inside a context: `/` between its parts, never absolute, never `..`. Bytes, since a name
/// need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Takes a path as it stands. `None` where it is absolute or empty, or a part of it is empty,
    /// `.` or `..`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let ok =
            |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        bytes.split(|byte| *byte == b'/').all(ok).then_some(Self(bytes))
    }

    /// The entry `name` in the folder `parent`; at the root without one.
    pub(super) fn child(parent: Option<&Self>, name: &OsStr) -> Self {
        let above = parent.map_or(0, |parent| parent.0.len() + 1);
        let mut bytes = Vec::with_capacity(above + name.len());
        if let Some(parent) = parent {
            bytes.extend_from_slice(&parent.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_encoded_bytes());
        Self(bytes)
    }

    /// A name at the root, which holds no `/`.
    pub(super) fn of_name(name: String) -> Self {
        Self(name.into_bytes())
    }

    /// Its last part.
    pub(super) fn name(&self) -> &OsStr {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        as_os_str(&self.0[slash.map_or(0, |slash| slash + 1)..])
    }

    /// All of its parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = &OsStr> {
        self.0.split(|byte| *byte == b'/').map(as_os_str)
    }

    /// Whether it lies in a folder, or in one below that.
    pub(super) fn is_below(&self, folder: &Self) -> bool {
        let rest = self.0.strip_prefix(&folder.0[..]);
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// Its parts after a folder that it lies below.
    pub(super) fn parts_below(&self, folder: &Self) -> impl Iterator<Item = &OsStr> {
        self.parts().skip(folder.parts().count())
    }

    /// The folder that holds it; `None` where that is the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// The path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, each byte that is not UTF-8 replaced as Go's matcher sees it.
    pub(super) fn lossy(&self) -> Cow<'_, str> {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        Cow::Owned(text)
    }

    /// The path under a root of the file system.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(as_os_str(&self.0))
    }
}

#[cfg(unix)]
pub(super) fn as_os_str(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// What is no text there is in no path that came from the system.
#[cfg(not(unix))]
pub(super) fn as_os_str(bytes: &[u8]) -> &OsStr {
    OsStr::new(std::str::from_utf8(bytes).unwrap_or_default())
}

/// Readable whatever the name: control characters escaped, and bytes that are no text as `\xNN`.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
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

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it; all of the mode that is kept, as git has it.
        executable: bool,
        /// The digest of its content.
        digest: Digest,
    },
    /// A symbolic link, never followed.
    Link {
        /// What it points to, as it was written.
        target: Vec<u8>,
    },
    /// A folder, listed even if it is empty.
    Dir,
}

/// One path of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: EntryKind,
}

/// Everything that a context sends, as it was when it was scanned.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(super) root: PathBuf,
    /// The root without links, which every file that is opened must lie under.
    pub(super) real_root: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) digest: Digest,
    pub(super) ignored_by: Option<PathBuf>,
}

impl Tree {
    pub(super) fn new(
        root: PathBuf,
        real_root: PathBuf,
        mut entries: Vec<Entry>,
        ignored_by: Option<PathBuf>,
    ) -> Self {
        // They come folder by folder, each in order: the stable sort makes use of that.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let digest = digest(&entries, b"");
        Self { root, real_root, entries, digest, ignored_by }
    }

    /// The folder that was scanned, as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entries, sorted by the bytes of their paths: a folder comes before what it holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path));
        found.ok().map(|index| &self.entries[index])
    }

    /// The digest of every path, its kind, its executable bit and its content or target. Neither
    /// times nor owners nor other bits of the mode are a part of it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same without the content of one file, if the tree has it: for a file that is an input
    /// of its own. That it is there still counts.
    pub fn digest_without(&self, path: &[u8]) -> Digest {
        match self.get(path) {
            Some(Entry { kind: EntryKind::File { .. }, .. }) => digest(&self.entries, path),
            _ => self.digest,
        }
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.entries.iter().fold(0, |sum: u64, entry| match entry.kind {
            EntryKind::File { size, .. } => sum.saturating_add(size),
            _ => sum,
        })
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. })).count()
    }

    /// The `.dockerignore` that was followed.
    pub fn ignored_by(&self) -> Option<&Path> {
        self.ignored_by.as_deref()
    }
}

fn digest(entries: &[Entry], without: &[u8]) -> Digest {
    digest_of(entries.iter().map(|entry| stamp(entry, without)))
}

/// What of a path counts: the path, a letter for its kind, and its content's digest or its target.
pub(super) type Stamp<'e> = (&'e [u8], u8, &'e [u8]);

/// The letter of a folder in a [`Stamp`].
pub(super) const DIR: u8 = b'd';

/// The letter of a file whose content does not count.
pub(super) const PRESENT: u8 = b'-';

/// The letters of a file, and of one that may be executed.
pub(super) const FILES: [u8; 2] = [b'f', b'x'];

/// What of an entry counts; of a file at the path `without`, only that it is there.
pub(super) fn stamp<'e>(entry: &'e Entry, without: &[u8]) -> Stamp<'e> {
    let path = entry.path.as_bytes();
    match &entry.kind {
        EntryKind::File { .. } if path == without => (path, PRESENT, b""),
        EntryKind::File { executable, digest, .. } => {
            (path, FILES[usize::from(*executable)], digest.as_bytes())
        }
        EntryKind::Link { target } => (path, b'l', target),
        EntryKind::Dir => (path, DIR, b""),
    }
}

/// The digest of all that counts of a tree.
pub(super) fn digest_of<'e>(stamps: impl Iterator<Item = Stamp<'e>>) -> Digest {
    let mut hasher = FieldHasher::new("tree");
    for (path, kind, value) in stamps {
        hasher.field(path).field(&[kind]).field(value);
    }
    hasher.finish()
}
