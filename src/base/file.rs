//! Atomic file replacement, and file locks.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::input::{check_regular, is_device_path};

/// Prefix of the names of temporary files; six letters and digits follow.
pub(crate) const TEMP_FILE_PREFIX: &str = ".imgplan.new-";

/// An I/O error with the operation and the path.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// The operation, as it follows "cannot": `read`, `create the folder`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

/// Adds an operation and a path to an [`io::Error`].
pub(crate) trait AtPath<T> {
    /// Converts the error to a [`PathError`].
    fn at(self, action: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|source| PathError { action, path: path.to_owned(), source })
    }
}

/// Replaces a file atomically: after a crash it has either the old content or the new one.
///
/// The new content is written to a temporary file in the same folder, synced and renamed over
/// `path`; then the folder is synced. An existing file keeps its permissions.
///
/// # Errors
///
/// Fails if a file cannot be created, written or renamed in the folder. The old content then stays.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    replace_with(path, |file| file.write_all(bytes))
}

/// Fails if [`replace`] would fail now: creates a temporary file in the folder, and removes it.
pub(crate) fn check_writable(path: &Path) -> Result<(), PathError> {
    let check = || {
        if is_device_path(path) {
            return open_device(path).map(drop);
        }
        check_replaceable(path)?;
        let builder = &mut tempfile::Builder::new();
        builder
            .prefix(TEMP_FILE_PREFIX)
            .tempfile_in(folder_of(path))
            .map(drop)
            .map_err(without_path)
    };
    check().at("write", path)
}

/// True for the errors of a rename over a mount. If the folder is read-only, the mount in it may
/// still be writable.
pub(crate) fn is_mount(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | ReadOnlyFilesystem | ResourceBusy)
}

/// Writes a file in place, because it is a mount of its own, over which nothing can be renamed. After
/// a crash, it has parts of both contents.
///
/// # Errors
///
/// Fails if the file does not exist, is not a regular file, or cannot be written.
#[expect(clippy::disallowed_methods, reason = "the only file that is written in place")]
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let write = || {
        check_replaceable(path)?;
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write().at("write", path)
}

/// Adds bytes to the end of a regular file that exists. A link is not followed.
///
/// # Errors
///
/// Fails if the path is not that of a regular file, or if the file cannot be written.
#[expect(
    clippy::disallowed_methods,
    reason = "only a regular file is written, and no link followed"
)]
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let write = || {
        // Before the file is opened: a FIFO would block.
        check_regular(&fs::symlink_metadata(path)?)?;
        let mut options = fs::OpenOptions::new();
        options.append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            options.custom_flags(flags.bits().cast_signed());
        }
        let mut file = options.open(path)?;
        check_regular(&file.metadata()?)?;
        file.write_all(bytes)
    };
    write().at("write", path)
}

/// Opens a device or descriptor for writing, whose path a person named ([`is_device_path`]). Fails if it
/// does not exist or cannot be opened.
#[expect(clippy::disallowed_methods, reason = "a person named the device")]
fn open_device(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).open(path)
}

/// Like [`replace`], for content that `fill` writes piece by piece.
///
/// # Errors
///
/// Fails as [`replace`] does, or if `fill` fails. The old content then stays.
pub(crate) fn replace_with<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> Result<T, PathError> {
    replace_as(path, fill, |file| {
        // A temporary file is readable only by its owner; a file that is committed to git should
        // have ordinary permissions.
        let existing = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        set_mode(file, existing.map(|meta| meta.permissions()))
    })
}

/// Like [`replace`], for a file that does not exist yet: nothing is ever overwritten.
///
/// # Errors
///
/// Fails as [`replace`] does, and with [`io::ErrorKind::AlreadyExists`] if the name is taken.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let create = || {
        let dir = folder_of(path);
        let temp = tempfile::Builder::new().prefix(TEMP_FILE_PREFIX).tempfile_in(dir);
        let mut temp = temp.map_err(without_path)?;
        temp.write_all(bytes)?;
        set_mode(temp.as_file(), None)?;
        temp.as_file().sync_all()?;
        temp.persist_noclobber(path).map_err(|error| error.error)?;
        sync_dir(dir)
    };
    create().at("create", path)
}

/// Like [`replace`], for a file that only its owner may read.
///
/// # Errors
///
/// Fails as [`replace`] does.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    replace_as(path, |file| file.write_all(bytes), |_| Ok(()))
}

fn replace_as<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
    set_mode: impl FnOnce(&File) -> io::Result<()>,
) -> Result<T, PathError> {
    let dir = folder_of(path);
    let write = || -> io::Result<T> {
        if is_device_path(path) {
            return fill(&mut open_device(path)?);
        }
        check_replaceable(path)?;
        let temp = tempfile::Builder::new().prefix(TEMP_FILE_PREFIX).tempfile_in(dir);
        let mut temp = temp.map_err(without_path)?;
        let value = fill(temp.as_file_mut())?;
        set_mode(temp.as_file())?;
        temp.as_file().sync_all()?;
        temp.persist(path).map_err(|error| error.error)?;
        sync_dir(dir)?;
        Ok(value)
    };
    write().at("write", path)
}

/// Returns the folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Fails if a name is taken by something that a file must not replace: a folder, a device, or a FIFO.
/// A link is replaced itself.
fn check_replaceable(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_symlink() => check_regular(&meta),
        _ => Ok(()),
    }
}

/// Returns an error of `tempfile` without the name of the temporary file, which tells a user nothing.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((text, _)) => io::Error::new(error.kind(), text),
        None => error,
    }
}

#[cfg(unix)]
fn set_mode(file: &File, existing: Option<fs::Permissions>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(existing.unwrap_or_else(|| fs::Permissions::from_mode(0o644)))
}

#[cfg(not(unix))]
fn set_mode(_file: &File, _existing: Option<fs::Permissions>) -> io::Result<()> {
    Ok(())
}

/// Syncs a folder, so that the names in it survive a power cut. Does nothing on Windows, where
/// folders cannot be opened as files.
///
/// # Errors
///
/// Fails if the folder cannot be opened or synced.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the folder of a file that was just written")]
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// An exclusive lock on a file, held until it is dropped. The kernel releases it if the process dies.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

/// An error of [`FileLock::acquire`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process holds the lock; its description of itself.
    #[error("held by {0}")]
    Held(String),
    /// The file cannot be opened or locked.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl FileLock {
    /// Acquires the lock on an open file, and writes `holder` into it, for the error message of the
    /// next process that tries. `path` is for messages.
    ///
    /// # Errors
    ///
    /// Fails with [`LockError::Held`], without waiting, if another process holds the lock, and with
    /// [`LockError::Path`] if the file cannot be locked or written.
    pub(crate) fn acquire(mut file: File, path: &Path, holder: &str) -> Result<Self, LockError> {
        let mut result = file.try_lock();
        for _ in 0..MAX_LOCK_RETRIES {
            if !matches!(result, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOCK_RETRY_INTERVAL);
            result = file.try_lock();
        }
        match result {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held(read_holder(&file)));
            }
            Err(TryLockError::Error(error)) => return Err(error).at("lock", path)?,
        }
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).at("write", path)?;
        Ok(Self { _file: file })
    }

    /// Returns the description of the process that holds the lock on an open file. `None` if no process
    /// holds it.
    pub(crate) fn holder(file: &File) -> Option<String> {
        match file.try_lock_shared() {
            // Closing the file releases the shared lock again.
            Ok(()) => None,
            Err(_) => Some(read_holder(file)),
        }
    }
}

/// Retries of [`FileLock::acquire`]: [`FileLock::holder`] in another process takes the lock for a
/// moment, which must not make a run fail.
const MAX_LOCK_RETRIES: u32 = 3;

/// Wait between two tries at a lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the description of a lock's holder. Errors are ignored: the lock itself is the information,
/// the description is a courtesy.
fn read_holder(file: &File) -> String {
    let mut text = String::new();
    let _ = file.take(4096).read_to_string(&mut text);
    let text = text.trim();
    if text.is_empty() { "another run".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_one_file_with_the_default_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }

    #[test]
    fn a_created_file_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, b"one").unwrap();
        let error = create(&path, b"two").unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink("nowhere", &link).unwrap();
            let error = create(&link, b"two").unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn a_replace_names_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let missing = replace(&dir.path().join("none/f"), b"").unwrap_err();
        assert_eq!(missing.source.kind(), io::ErrorKind::NotFound);
        assert!(!missing.source.to_string().contains(TEMP_FILE_PREFIX), "{missing:?}");
        let folder = replace(dir.path(), b"").unwrap_err();
        assert_eq!(folder.source.kind(), io::ErrorKind::IsADirectory);
    }

    #[cfg(unix)]
    #[test]
    fn only_a_regular_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link, fifo) =
            (dir.path().join("f"), dir.path().join("link"), dir.path().join("fifo"));
        let kind = |path: &Path| append(path, b"x").unwrap_err().source.kind();
        assert_eq!(kind(&path), io::ErrorKind::NotFound);
        fs::write(&path, "a").unwrap();
        append(&path, b"b").unwrap();
        append(&path, b"c").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for other in [&link, &fifo, dir.path(), Path::new("/dev/null")] {
            append(other, b"x").unwrap_err();
        }
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }

    #[cfg(unix)]
    #[test]
    fn a_replace_spares_special_files_and_the_targets_of_links() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link, victim) =
            (dir.path().join("fifo"), dir.path().join("link"), dir.path().join("victim"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let error = replace(&fifo, b"").unwrap_err();
        assert_eq!(error.source.to_string(), "it is a FIFO, not a regular file");
        // A device that the path itself names is written to.
        replace(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(!link.is_symlink());
    }

    #[test]
    fn a_failed_replace_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let fail_half_way = |file: &mut File| {
            file.write_all(b"ha")?;
            Err::<(), _>(io::ErrorKind::StorageFull.into())
        };
        let error = replace_with(&path, fail_half_way).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        replace(&path, b"old").unwrap();
        replace_with(&path, fail_half_way).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_held_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || {
            File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap()
        };
        let lock = FileLock::acquire(open(), &path, "PID 1 on host a").unwrap();
        let Err(LockError::Held(holder)) = FileLock::acquire(open(), &path, "PID 2") else {
            panic!("not held")
        };
        assert_eq!(holder, "PID 1 on host a");
        assert_eq!(FileLock::holder(&open()), Some(holder));
        drop(lock);
        assert_eq!(FileLock::holder(&open()), None);
        assert!(FileLock::acquire(open(), &path, "PID 2").is_ok());
    }
}
