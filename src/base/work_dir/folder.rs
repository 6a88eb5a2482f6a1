//! The operations on a folder of which the work folder consists.
//!
//! There are two implementations: `descriptor` uses descriptors, and `portable` uses paths. Both are
//! tested on Unix.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

/// The way in which a file of the work folder is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it is created, and never truncated.
    ReadWrite,
    /// For appending; it is created.
    Append,
    /// For reading and writing; it must not exist.
    New,
}

/// The permissions of a new file, from which the umask takes some away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileMode {
    /// Other users may read it, and write it if the umask allows that.
    Shared,
    /// Only the owner may read it: it has secrets.
    Private,
}

impl FileMode {
    /// The bits for a file.
    pub(super) fn bits(self) -> u16 {
        match self {
            Self::Shared => 0o666,
            Self::Private => 0o600,
        }
    }

    /// The bits for a folder.
    pub(super) fn folder_bits(self) -> u16 {
        match self {
            Self::Shared => 0o777,
            Self::Private => 0o700,
        }
    }
}

/// An open folder whose names are opened, replaced and removed without following a link.
pub(super) trait Folder: Sized {
    /// Opens a folder at a path of the user, in which links are followed.
    fn at(path: &Path) -> io::Result<Self>;
    /// Opens a subfolder. Fails if the name is a link or a file.
    fn child(&self, name: &OsStr) -> io::Result<Self>;
    /// Creates a subfolder. Fails if the name exists.
    fn create_child(&self, name: &OsStr, mode: FileMode) -> io::Result<()>;
    /// Opens a file. Does not block, and fails if the name is a link. The caller checks that it is a
    /// regular file.
    fn open(&self, name: &OsStr, how: OpenMode, mode: FileMode) -> io::Result<File>;
    /// Opens a new file without a name, which leaves no trace. Fails where the system has no such files.
    fn open_unnamed(&self) -> io::Result<File>;
    /// Renames a file over another one.
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// Removes a file, or a link itself.
    fn remove(&self, name: &OsStr) -> io::Result<()>;
    /// Passes all names to `visit`, in any order.
    fn visit_names(&self, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()>;
    /// Writes the names to disk.
    fn sync(&self) -> io::Result<()>;
}

/// Returns the error for a name that is a link.
pub(super) fn link_error() -> io::Error {
    let text = "it is a link; remove it: imgplan follows no links in its work folder";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
