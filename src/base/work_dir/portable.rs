//! The operations on a folder with std, which works on every system: by path, and with a check for
//! links before.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{FileMode, Folder, OpenMode, link_error};
use crate::base::input::check_regular;

/// The path of a folder.
#[derive(Debug)]
pub(super) struct PathFolder(PathBuf);

impl Folder for PathFolder {
    fn at(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() {
            Ok(Self(path.to_owned()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn child(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.0.join(name);
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_symlink() {
            return Err(link_error());
        }
        if meta.is_dir() { Ok(Self(path)) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    fn create_child(&self, name: &OsStr, mode: FileMode) -> io::Result<()> {
        let builder = &mut fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(builder, mode.folder_bits().into());
        #[cfg(not(unix))]
        let _ = mode.folder_bits();
        builder.create(self.0.join(name))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door of the work folder")]
    fn open(&self, name: &OsStr, how: OpenMode, mode: FileMode) -> io::Result<File> {
        let path = self.0.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => return Err(link_error()),
            // Opening a FIFO would block.
            Ok(meta) => check_regular(&meta)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let options = &mut OpenOptions::new();
        match how {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true).create(true).truncate(false),
            OpenMode::Append => options.append(true).create(true),
            OpenMode::New => options.read(true).write(true).create_new(true),
        };
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(options, mode.bits().into());
        #[cfg(not(unix))]
        let _ = mode.bits();
        options.open(path)
    }

    fn open_unnamed(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        fs::read_dir(&self.0)?.try_for_each(|entry| {
            visit(&entry?.file_name());
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        // Folders cannot be opened as files on Windows.
        Ok(())
    }
}
