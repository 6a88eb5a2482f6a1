//! Folders as the walk and the packer read them: what is in one, and its files, without ever
//! following a link.
//!
//! Linux gets a way of its own, by descriptors (`linux`); `portable` uses what std has everywhere, and
//! is tested on Linux too.

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

/// The fastest way that this system has.
#[cfg(target_os = "linux")]
pub(super) type NativeDir = linux::LinuxDir;
/// The fastest way that this system has.
#[cfg(not(target_os = "linux"))]
pub(super) type NativeDir = portable::PortableDir;

/// A regular file of a context, open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) stat: Stat,
}

/// An open folder. Its place was reached without following a link, and nothing that is asked of it
/// follows one: a link that takes the place of a file or a folder cannot have what it points to
/// read. By descriptor that holds at any moment; by path, unless it is undone again in between.
pub(super) trait Dir: Sized + Send + Sync {
    /// Opens a folder by a path without links in it.
    fn at(path: &Path) -> io::Result<Self>;
    /// Opens a folder in this one.
    fn child(&self, name: &OsStr) -> io::Result<Self>;
    /// All names, sorted.
    fn names(&self) -> io::Result<FolderNames>;
    /// What the system says of a name.
    fn stat(&self, name: &OsStr) -> io::Result<Stat>;
    /// What a link points to, as it was written.
    fn link(&self, name: &OsStr) -> io::Result<Vec<u8>>;
    /// Opens a regular file; `None` where the name stands for none.
    fn open(&self, name: &OsStr) -> io::Result<Option<OpenFile>>;
}
