//! The objects of a shared state in a folder, as on a network file system. A write is conditional: it
//! compares and replaces a file while it holds the lock of the folder. No link in the folder is
//! followed, because a checkout may have brought it along.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object_store::UpdateVersion;

use super::object::{ObjectError, PutError, Version};
use crate::base::digest::Digest;
use crate::base::file::{FileLock, LockError, PathError};
use crate::base::input::InputKind;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// Maximum wait for the lock, which each writer holds for one write only.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(20);

/// Wait between two tries at the lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// A folder with the objects of a shared state. The names of objects have a folder at most.
#[derive(Debug)]
pub(super) struct StateFolder(PathBuf);

impl StateFolder {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads a file, as [`Objects::get`](super::objects::Objects::get).
    pub(super) fn get(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, ObjectError> {
        let Some(root) = WorkDir::open(&self.0)? else { return Ok(None) };
        let (folder, file) = split(name);
        let folder = match folder {
            Some(folder) => root.child(&folder)?,
            None => Some(root),
        };
        Ok(folder.map(|folder| read(&folder, &file)).transpose()?.flatten())
    }

    /// Writes a file, as [`Objects::put_if`](super::objects::Objects::put_if).
    pub(super) fn put_if(
        &self,
        name: &str,
        bytes: &[u8],
        expected: Option<&Version>,
    ) -> Result<Version, PutError> {
        let root = WorkDir::create_shared(&self.0)?;
        let _lock = lock(&root)?;
        let (folder, file) = split(name);
        let folder = match folder {
            Some(folder) => root.create_child(&folder, FileMode::Shared)?,
            None => root,
        };
        let current = read(&folder, &file)?.map(|(_, version)| version);
        if current.as_ref() != expected {
            return Err(PutError::Conflict);
        }
        folder.replace(&file, bytes, FileMode::Shared)?;
        Ok(version_of(bytes))
    }

    /// Returns the names of the files in a folder.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, ObjectError> {
        let Some(root) = WorkDir::open(&self.0)? else { return Ok(Vec::new()) };
        let folder = root.child(&WorkName::of_object(folder))?;
        let names = folder.map(|folder| folder.names()).unwrap_or_default();
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Removes a file, as [`Objects::delete`](super::objects::Objects::delete).
    pub(super) fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let Some(root) = WorkDir::open(&self.0)? else { return Ok(()) };
        let (folder, file) = split(name);
        let folder = match folder {
            Some(folder) => root.child(&folder)?,
            None => Some(root),
        };
        Ok(folder.map_or(Ok(()), |folder| folder.remove(&file))?)
    }
}

/// Returns the folder and the file of an object.
fn split(name: &str) -> (Option<WorkName>, WorkName) {
    match name.split_once('/') {
        Some((folder, file)) => (Some(WorkName::of_object(folder)), WorkName::of_object(file)),
        None => (None, WorkName::of_object(name)),
    }
}

fn read(folder: &WorkDir, file: &WorkName) -> Result<Option<(Vec<u8>, Version)>, PathError> {
    let bytes = folder.read(file, InputKind::Lockfile)?;
    Ok(bytes.map(|bytes| {
        let version = version_of(&bytes);
        (bytes, version)
    }))
}

fn lock(root: &WorkDir) -> Result<FileLock, ObjectError> {
    let began = Instant::now();
    loop {
        match root.lock(&WorkName::LOCK, "") {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held(_)) if began.elapsed() < MAX_LOCK_WAIT => {
                std::thread::sleep(LOCK_RETRY_INTERVAL);
            }
            Err(LockError::Held(_)) => {
                let path = root.path_of(WorkName::LOCK);
                return Err(ObjectError(format!("{} stays locked", path.display())));
            }
            Err(LockError::Path(error)) => return Err(error.into()),
        }
    }
}

/// Returns the version of a file: the digest of its content, which has a random ID.
fn version_of(bytes: &[u8]) -> Version {
    Version(UpdateVersion { e_tag: Some(Digest::of(bytes).to_string()), version: None })
}
