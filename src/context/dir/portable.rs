//! Reads folders with std, which works on every system: by path, and with checks before and after.

use std::ffi::OsStr;
use std::fs::{self, File, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::{Dir, OpenFile};
use crate::context::names::{FolderNames, ItemKind, SpecialKind};
use crate::context::stat::Stat;

/// The path of a folder, without links.
#[derive(Debug)]
pub(in crate::context) struct PortableDir(PathBuf);

impl Dir for PortableDir {
    fn at(path: &Path) -> io::Result<Self> {
        // Opening by descriptor detects here that the path is not a folder, so do the same.
        if fs::symlink_metadata(path)?.is_dir() {
            Ok(Self(path.to_owned()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn stat_at(path: &Path) -> io::Result<Stat> {
        Ok(Stat::of(&fs::symlink_metadata(path)?))
    }

    #[cfg(target_os = "linux")]
    fn keeps_folder_times(path: &Path) -> bool {
        super::linux::LinuxDir::keeps_folder_times(path)
    }

    #[cfg(not(target_os = "linux"))]
    fn keeps_folder_times(_: &Path) -> bool {
        false
    }

    fn child(&self, name: &OsStr) -> io::Result<Self> {
        Self::at(&self.0.join(name))
    }

    fn names(&self) -> io::Result<FolderNames> {
        let mut names = FolderNames::default();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            names.push(entry.file_name().as_encoded_bytes(), kind_of(entry.file_type()?));
        }
        names.sort();
        Ok(names)
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Self::stat_at(&self.0.join(name))
    }

    fn link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        Ok(fs::read_link(self.0.join(name))?.into_os_string().into_encoded_bytes())
    }

    /// Checks that the path was the opened file, without following links, before it was opened, and
    /// that its folder is still at its path.
    fn open(&self, name: &OsStr) -> io::Result<Option<OpenFile>> {
        let path = self.0.join(name);
        let before = fs::symlink_metadata(&path)?;
        // Opening a FIFO would block.
        if !before.is_file() {
            return Ok(None);
        }
        let file = open_file(&path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || !is_same_file(&before, &meta) {
            return Ok(None);
        }
        self.check_path()?;
        Ok(Some(OpenFile { stat: Stat::of(&meta), file }))
    }
}

/// Opens a file. Does not block if a FIFO has replaced it.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "this is the door of contexts; it follows no link")]
fn open_file(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "this is the door of contexts; its caller compares")]
fn open_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

impl PortableDir {
    /// Fails if a link has replaced a folder in the path.
    fn check_path(&self) -> io::Result<()> {
        if fs::canonicalize(&self.0)? == self.0 {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len()
}

fn kind_of(kind: FileType) -> ItemKind {
    if kind.is_file() {
        ItemKind::File
    } else if kind.is_dir() {
        ItemKind::Dir
    } else if kind.is_symlink() {
        ItemKind::Link
    } else {
        ItemKind::Special(special_kind(kind))
    }
}

#[cfg(unix)]
fn special_kind(kind: FileType) -> SpecialKind {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_socket() {
        SpecialKind::Socket
    } else if kind.is_fifo() {
        SpecialKind::Fifo
    } else {
        SpecialKind::Device
    }
}

#[cfg(not(unix))]
fn special_kind(_: FileType) -> SpecialKind {
    SpecialKind::Device
}
