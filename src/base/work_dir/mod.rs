//! The door for the files of the work folder (`.imgplan`): a checkout can bring the folder along, and
//! must not make imgplan read or write a file outside of it.
//!
//! The folder is opened once, and its files relative to it. Nothing from the last `.imgplan` of the
//! path on is opened through a link; the part before is the user's own path. A file must be a regular
//! file, and one that is written in place must have no other hard link. New content comes in a
//! temporary file that is renamed.
//!
//! Owners are not compared. Whoever can create the work folder can write the manifest beside it as
//! well, and in containers the user IDs of the checkout, of earlier runs and of this run often differ.

#[cfg(unix)]
mod descriptor;
mod folder;
pub(crate) mod names;
#[cfg(any(test, not(unix)))]
mod portable;
mod work_file;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use self::folder::FileMode;
use self::folder::{Folder, OpenMode};
pub(crate) use self::names::WorkName;
pub(crate) use self::work_file::WorkFile;
use self::work_file::{NativeFolder, check_own, restrict};
use super::file::{AtPath, FileLock, LockError, PathError, TEMP_FILE_PREFIX};
use super::input::{InputKind, check_regular, read_file};

/// Name of the work folder.
const NAME: &str = ".imgplan";

/// Prefix of the names of new cache files.
const CACHE_PREFIX: &str = ".new-";

/// An open work folder, or a folder in it.
#[derive(Debug, Clone)]
pub(crate) struct WorkDir {
    /// The path, for messages.
    path: PathBuf,
    folder: Arc<NativeFolder>,
}

impl WorkDir {
    /// Opens a work folder. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is a link or a file, or cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, PathError> {
        let (outer, inner) = split(path);
        let mut here = match NativeFolder::at(or_current(&outer)) {
            Ok(folder) => Self { path: outer, folder: Arc::new(folder) },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("open the folder", &outer),
        };
        for name in inner {
            match here.open_child(&name)? {
                Some(child) => here = child,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// Opens a work folder, and creates it if it does not exist, with a `.gitignore` that excludes the
    /// whole folder, so that users need not exclude it from git themselves.
    ///
    /// # Errors
    ///
    /// Fails if it is a link or a file, or cannot be created or opened.
    pub(crate) fn create(path: &Path) -> Result<Self, PathError> {
        let here = Self::create_as(path, FileMode::Shared)?;
        let name = WorkName::GITIGNORE;
        match here.folder.open(name.as_ref(), OpenMode::New, FileMode::Shared) {
            Ok(mut file) => file.write_all(b"*\n").at("write", &here.path_of(&name))?,
            // Whatever it is: it is not opened.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).at("write", &here.path_of(&name)),
        }
        Ok(here)
    }

    /// Opens a folder that other users may read, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails as [`WorkDir::create`] does.
    pub(crate) fn create_shared(path: &Path) -> Result<Self, PathError> {
        Self::create_as(path, FileMode::Shared)
    }

    /// Opens a work folder that only its owner can read, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails as [`WorkDir::create`] does.
    pub(crate) fn create_private(path: &Path) -> Result<Self, PathError> {
        Self::create_as(path, FileMode::Private)
    }

    fn create_as(path: &Path, mode: FileMode) -> Result<Self, PathError> {
        let (outer, inner) = split(path);
        let builder = &mut fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(builder, mode.folder_bits().into());
        let missing = outer.ancestors().take_while(|folder| !or_current(folder).exists()).count();
        builder.create(&outer).at("create the folder", &outer)?;
        if mode == FileMode::Private {
            // Its files are of no use if the name of the folder is lost in a power failure.
            for parent in outer.ancestors().skip(1).take(missing).map(or_current) {
                let synced = NativeFolder::at(parent).and_then(|parent| parent.sync());
                synced.at("sync", parent)?;
            }
        }
        let folder = NativeFolder::at(or_current(&outer)).at("open the folder", &outer)?;
        let mut here = Self { path: outer, folder: Arc::new(folder) };
        let last = inner.len().saturating_sub(1);
        for (index, name) in inner.iter().enumerate() {
            let mode = if index == last { mode } else { FileMode::Shared };
            here = here.make_child(name, mode)?;
        }
        Ok(here)
    }

    /// Opens a subfolder. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is a link or a file, or cannot be opened.
    pub(crate) fn child(&self, name: &WorkName) -> Result<Option<Self>, PathError> {
        self.open_child(name.as_ref())
    }

    fn open_child(&self, name: &OsStr) -> Result<Option<Self>, PathError> {
        let path = self.path_of(name);
        match self.folder.child(name) {
            Ok(folder) => Ok(Some(Self { path, folder: Arc::new(folder) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("open the folder", &path),
        }
    }

    /// Opens a subfolder, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is a link or a file, or cannot be created or opened.
    pub(crate) fn create_child(&self, name: &WorkName, mode: FileMode) -> Result<Self, PathError> {
        self.make_child(name.as_ref(), mode)
    }

    fn make_child(&self, name: &OsStr, mode: FileMode) -> Result<Self, PathError> {
        if let Some(child) = self.open_child(name)? {
            return Ok(child);
        }
        let path = self.path_of(name);
        match self.folder.create_child(name, mode) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.at("create the folder", &path)?,
        }
        if mode == FileMode::Private {
            self.sync()?;
        }
        let folder = self.folder.child(name).at("open the folder", &path)?;
        Ok(Self { path, folder: Arc::new(folder) })
    }

    /// Returns the path of a name, for messages.
    pub(crate) fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Reads a file. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the name is not a regular file, if it cannot be read, or if it is larger than its kind
    /// may be.
    pub(crate) fn read(
        &self,
        name: &WorkName,
        kind: InputKind,
    ) -> Result<Option<Vec<u8>>, PathError> {
        let file = match self.folder.open(name.as_ref(), OpenMode::Read, FileMode::Shared) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at("read", &self.path_of(name))?,
        };
        read_file(&file, kind).at("read", &self.path_of(name)).map(Some)
    }

    /// Opens a file for reading, of any length.
    ///
    /// # Errors
    ///
    /// Fails if the name is not a regular file, or cannot be opened.
    pub(crate) fn open_file(&self, name: &WorkName) -> Result<File, PathError> {
        let open = || {
            let file = self.folder.open(name.as_ref(), OpenMode::Read, FileMode::Shared)?;
            check_regular(&file.metadata()?)?;
            Ok(file)
        };
        open().at("open", &self.path_of(name))
    }

    /// Opens a file for appending, and creates it if it does not exist. A private file that others may
    /// read is closed to them.
    ///
    /// # Errors
    ///
    /// Fails if the name is not a regular file with one hard link, or cannot be opened.
    pub(crate) fn append(&self, name: &WorkName, mode: FileMode) -> Result<File, PathError> {
        let open = || {
            let file = self.folder.open(name.as_ref(), OpenMode::Append, mode)?;
            check_own(&file)?;
            restrict(&file, mode)?;
            Ok(file)
        };
        open().at("open", &self.path_of(name))
    }

    /// Acquires a lock, without waiting. `holder` describes this process to the next one that tries.
    ///
    /// # Errors
    ///
    /// Fails with [`LockError::Held`] if another process holds the lock, and with [`LockError::Path`]
    /// if the name is not a regular file with one hard link, or cannot be opened or written.
    pub(crate) fn lock(&self, name: &WorkName, holder: &str) -> Result<FileLock, LockError> {
        let open = || {
            let file = self.folder.open(name.as_ref(), OpenMode::ReadWrite, FileMode::Shared)?;
            check_own(&file)?;
            Ok(file)
        };
        let path = self.path_of(name);
        let file = open().at("open", &path)?;
        FileLock::acquire(file, &path, holder)
    }

    /// Returns the description of the process that holds a lock. `None` if no process holds it.
    pub(crate) fn lock_holder(&self, name: &WorkName) -> Option<String> {
        FileLock::holder(&self.open_file(name).ok()?)
    }

    /// Replaces a file: after a crash it has either the old content or the new one.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be created, written or renamed. The old content then stays.
    pub(crate) fn replace(
        &self,
        name: &WorkName,
        bytes: &[u8],
        mode: FileMode,
    ) -> Result<(), PathError> {
        let write = || {
            let mut new = self.new_file(TEMP_FILE_PREFIX, mode)?;
            new.file.write_all(bytes)?;
            new.file.sync_all()?;
            new.rename(name)?;
            self.folder.sync()
        };
        write().at("write", &self.path_of(name))
    }

    /// Replaces a file that can be lost: readers see the old content or the new one, but a power
    /// failure can damage it.
    ///
    /// # Errors
    ///
    /// Fails as [`WorkDir::replace`] does.
    pub(crate) fn replace_cache(&self, name: &WorkName, parts: &[&[u8]]) -> Result<(), PathError> {
        let write = || {
            let mut new = self.new_file(CACHE_PREFIX, FileMode::Shared)?;
            parts.iter().try_for_each(|part| new.file.write_all(part))?;
            new.rename(name)
        };
        write().at("write", &self.path_of(name))
    }

    /// Creates a private file with a name of its own, which is removed unless it is renamed.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created.
    pub(crate) fn temporary(&self, prefix: &str) -> Result<WorkFile, PathError> {
        self.new_file(prefix, FileMode::Private).at("create a file in", &self.path)
    }

    fn new_file(&self, prefix: &str, mode: FileMode) -> io::Result<WorkFile> {
        WorkFile::create(&self.folder, &self.path, prefix, mode)
    }

    /// Removes a file, or a link itself. Does nothing if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be removed.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), PathError> {
        match self.folder.remove(name.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.at("remove", &self.path_of(name)),
        }
    }

    /// Returns all names in the folder, in any order. None if the folder cannot be read.
    pub(crate) fn names(&self) -> Vec<OsString> {
        let mut names = Vec::new();
        self.visit_names(|name| names.push(name.to_owned()));
        names
    }

    /// Passes all names in the folder to `visit`, in any order. None if the folder cannot be read.
    pub(crate) fn visit_names(&self, mut visit: impl FnMut(&OsStr)) {
        // The names before an error count.
        let _ = self.folder.visit_names(&mut visit);
    }

    /// Writes the names in the folder to disk, so that they survive a power failure.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot do so.
    pub(crate) fn sync(&self) -> Result<(), PathError> {
        self.folder.sync().at("sync", &self.path)
    }

    /// Returns the current time by the clock of the folder's file system. Fails if no file can be
    /// created.
    pub(crate) fn now(&self) -> io::Result<SystemTime> {
        let meta = match self.folder.open_unnamed() {
            Ok(file) => file.metadata()?,
            Err(_) => self.new_file(CACHE_PREFIX, FileMode::Private)?.file.metadata()?,
        };
        meta.modified()
    }
}

/// Splits a path before the last `.imgplan`. A path without one is the user's own as a whole.
fn split(path: &Path) -> (PathBuf, Vec<OsString>) {
    let parts: Vec<Component<'_>> = path.components().collect();
    let is_name = |part: &Component<'_>| part.as_os_str() == NAME;
    let at = parts.iter().rposition(is_name).unwrap_or(parts.len());
    let inner = parts[at..].iter().map(|part| part.as_os_str().to_owned()).collect();
    (parts[..at].iter().collect(), inner)
}

fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests;
