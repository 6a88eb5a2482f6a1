//! Reads the names and the files of folders without ever following a link.
//!
//! There are two implementations: `linux` uses descriptors, and `portable` uses std. Both are
//! tested on Linux.

#[cfg(target_os = "linux")]
pub(super) mod linux;
#[cfg(any(test, not(target_os = "linux")))]
pub(super) mod portable;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use super::names::FolderNames;
use super::stat::Stat;

/// The fastest implementation for this system.
#[cfg(target_os = "linux")]
pub(super) use self::linux::LinuxDir as NativeDir;
/// The fastest implementation for this system.
#[cfg(not(target_os = "linux"))]
pub(super) use self::portable::PortableDir as NativeDir;

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) stat: Stat,
}

/// An open folder. It was reached without following a link, and its methods follow none. So if a
/// link replaces a file or a folder, its target is not read. By descriptor, this holds at any time;
/// by path, it holds unless the link is removed again in between.
pub(super) trait Dir: Sized + Send + Sync {
    /// Opens a folder. The path must not contain links.
    fn at(path: &Path) -> io::Result<Self>;
    /// Returns the metadata of a path whose folders are no links. If one of them is replaced by a link
    /// meanwhile, the metadata may be of another file.
    fn stat_at(path: &Path) -> io::Result<Stat>;
    /// Returns true if the file system of a folder is known to change the folder's times whenever a name
    /// is added or removed. FAT does not for its root, some file systems in user space never do, and those
    /// of other machines tell it later.
    fn keeps_folder_times(path: &Path) -> bool;
    /// Opens a subfolder.
    fn child(&self, name: &OsStr) -> io::Result<Self>;
    /// Returns all names, sorted.
    fn names(&self) -> io::Result<FolderNames>;
    /// Returns the metadata of a name.
    fn stat(&self, name: &OsStr) -> io::Result<Stat>;
    /// Returns the target of a link as written.
    fn link(&self, name: &OsStr) -> io::Result<Vec<u8>>;
    /// Opens a regular file. Returns `None` if the name is something else.
    fn open(&self, name: &OsStr) -> io::Result<Option<OpenFile>>;
}
