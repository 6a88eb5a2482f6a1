//! Replaces files in one step and holds locks that die with the process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the names of temporary files begin; six letters and digits follow.
pub const TEMP_FILE_PREFIX: &str = ".imgplan.new-";

/// A failure at a path: what was tried, where, and what the system said.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// The verb and its object: `read`, `create the folder`.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Adds the path to an [`io::Error`].
pub trait AtPath<T> {
    /// Says what was tried, and where.
    fn at(self, action: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|source| PathError { action, path: path.to_owned(), source })
    }
}

/// Writes a file so that a reader, or a crash, sees the old text or the new one and nothing else:
/// a temporary file beside it, synced, renamed over it, and the folder synced.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same for what is too large for the memory: `fill` writes it. Where that fails, the file is as
/// it was.
pub fn replace_with<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> Result<T, PathError> {
    replace_as(path, fill, |file| {
        // A temporary file is readable by its owner alone; a committed file should not be.
        let mode = fs::metadata(path).map(|meta| meta.permissions()).ok();
        set_mode(file, mode)
    })
}

/// The same as [`replace`], for what only its owner is to read.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    replace_as(path, |file| file.write_all(bytes), |_| Ok(()))
}

fn replace_as<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
    set_mode: impl FnOnce(&File) -> io::Result<()>,
) -> Result<T, PathError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || -> io::Result<T> {
        let mut temp = tempfile::Builder::new().prefix(TEMP_FILE_PREFIX).tempfile_in(dir)?;
        let filled = fill(temp.as_file_mut())?;
        set_mode(temp.as_file())?;
        temp.as_file().sync_all()?;
        temp.persist(path).map_err(|error| error.error)?;
        sync_dir(dir)?;
        Ok(filled)
    };
    write().at("write", path)
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

/// Makes the names inside a folder survive a power cut; a no-op where folders cannot be opened.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Makes the folder of what is not committed, which takes itself out of git before anything else is
/// written there, so that nobody has to.
pub fn create_work_dir(dir: &Path) -> Result<(), PathError> {
    fs::create_dir_all(dir).at("create the folder", dir)?;
    let path = dir.join(".gitignore");
    if path.exists() { Ok(()) } else { fs::write(&path, "*\n").at("write", &path) }
}

/// Reads a file of text. `None` where there is none.
pub fn read_if_exists(path: &Path) -> Result<Option<String>, PathError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

/// Reads a file of at most `max_bytes`: a path may lead to a device without an end.
///
/// # Errors
///
/// Fails if the file cannot be read, and with [`io::ErrorKind::FileTooLarge`] if it is larger.
pub fn read_limited(file: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        let message = format!("it has more than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// A lock on a file, held until dropped or until the process dies: the kernel frees it.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it; what they wrote about themselves.
    #[error("held by {0}")]
    Held(String),
    /// The file cannot be opened or locked.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl FileLock {
    /// Takes the lock or fails at once; `holder` is left in the file for whoever comes next.
    pub fn acquire(path: &Path, holder: &str) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .at("open", path)?;
        let mut tried = file.try_lock();
        for _ in 0..GLANCES {
            if !matches!(tried, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(GLANCE);
            tried = file.try_lock();
        }
        match tried {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held(said(&file)));
            }
            Err(TryLockError::Error(error)) => return Err(error).at("lock", path)?,
        }
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).at("write", path)?;
        Ok(Self { _file: file })
    }

    /// What the holder of a lock wrote about itself, if somebody holds it.
    pub fn holder(path: &Path) -> Option<String> {
        let file = File::open(path).ok()?;
        match file.try_lock_shared() {
            // Only to see that nobody has it: given back at once, with the file.
            Ok(()) => None,
            Err(_) => Some(said(&file)),
        }
    }
}

/// How often a taken lock is tried again, since [`FileLock::holder`] takes it for a moment.
const GLANCES: u32 = 3;

/// How long to wait before that.
const GLANCE: Duration = Duration::from_millis(20);

/// What a holder wrote is a courtesy: the lock says enough without it.
fn said(file: &File) -> String {
    let mut text = String::new();
    let _ = file.take(4096).read_to_string(&mut text);
    let text = text.trim();
    if text.is_empty() { "another run".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_keeps_the_mode() {
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
    fn a_file_stays_as_it_was_where_the_new_one_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let half = |file: &mut File| {
            file.write_all(b"ha")?;
            Err::<(), _>(io::ErrorKind::StorageFull.into())
        };
        let error = replace_with(&path, half).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        replace(&path, b"whole").unwrap();
        replace_with(&path, half).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_taker_learns_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path, "me@here, process 1").unwrap();
        let Err(LockError::Held(who)) = FileLock::acquire(&path, "you") else { panic!("not held") };
        assert_eq!(who, "me@here, process 1");
        assert_eq!(FileLock::holder(&path), Some(who));
        drop(held);
        assert_eq!(FileLock::holder(&path), None);
        assert!(FileLock::acquire(&path, "you").is_ok());
    }
}
