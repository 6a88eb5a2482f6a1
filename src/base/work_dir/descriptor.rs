//! The operations on a folder by its descriptor: nothing that happens to its path later changes where
//! its files are.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::folder::{FileMode, Folder, OpenMode, link_error};

/// The descriptor of a folder.
#[derive(Debug)]
pub(super) struct DescriptorFolder(OwnedFd);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Flags for opening a file. `NONBLOCK`, because opening a FIFO would block otherwise.
const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Folder for DescriptorFolder {
    #[expect(clippy::disallowed_methods, reason = "this is the door of the work folder")]
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(retry_on_intr(|| openat(CWD, path, FOLDER, Mode::empty()))?))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door of the work folder")]
    fn child(&self, name: &OsStr) -> io::Result<Self> {
        let flags = FOLDER | OFlags::NOFOLLOW;
        match retry_on_intr(|| openat(&self.0, name, flags, Mode::empty())) {
            Ok(folder) => Ok(Self(folder)),
            Err(error) => Err(self.explain(name, error)),
        }
    }

    fn create_child(&self, name: &OsStr, mode: FileMode) -> io::Result<()> {
        Ok(mkdirat(&self.0, name, Mode::from_raw_mode(mode.folder_bits().into()))?)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door of the work folder")]
    fn open(&self, name: &OsStr, how: OpenMode, mode: FileMode) -> io::Result<File> {
        let flags = FILE
            | match how {
                OpenMode::Read => OFlags::RDONLY,
                OpenMode::ReadWrite => OFlags::RDWR | OFlags::CREATE,
                OpenMode::Append => OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE,
                OpenMode::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
        let mode = Mode::from_raw_mode(mode.bits().into());
        match retry_on_intr(|| openat(&self.0, name, flags, mode)) {
            Ok(file) => Ok(file.into()),
            Err(error) => Err(self.explain(name, error)),
        }
    }

    #[cfg(target_os = "linux")]
    #[expect(clippy::disallowed_methods, reason = "this is the door of the work folder")]
    fn open_unnamed(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FileMode::Private.bits().into());
        Ok(openat(&self.0, ".", flags, mode)?.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn open_unnamed(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                visit(OsStr::from_bytes(name));
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

impl DescriptorFolder {
    /// Returns the error for a name that cannot be opened. The errors for a link differ between
    /// systems, and none of them says that it is a link.
    fn explain(&self, name: &OsStr, error: Errno) -> io::Error {
        let unclear = matches!(error, Errno::LOOP | Errno::MLINK | Errno::NOTDIR | Errno::NXIO);
        let meta = unclear.then(|| statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()).flatten();
        match meta.map(|meta| FileType::from_raw_mode(meta.st_mode)) {
            Some(FileType::Symlink) => link_error(),
            Some(FileType::Fifo) => io::Error::new(io::ErrorKind::InvalidInput, "it is a FIFO"),
            Some(FileType::Socket) => io::Error::new(io::ErrorKind::InvalidInput, "it is a socket"),
            _ => error.into(),
        }
    }
}
