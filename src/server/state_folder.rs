//! The parts of a state folder that are not the state: its origin, and the token of its server.
//!
//! The folder of `--local` is inside of a checkout, which can bring a folder along. The files of the
//! state are opened with care ([`crate::base::work_dir`]); the stores of an engine and of a registry are
//! not, because other programs open them. A link in a store could lead them to any file of the user.
//! So a folder that this machine has not made is deleted before an engine uses it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::error::ServerError;
use crate::base::file::{AtPath, LockError, PathError};
use crate::base::input::InputKind;
use crate::base::secret::ApiKey;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// Makes sure that this machine has made a state folder: deletes it if it has another origin, such as a
/// checkout or a copy, and creates it if it does not exist.
///
/// # Errors
/// Fails if another server uses the folder, and if it cannot be deleted or created.
pub(super) fn ensure_made_here(path: &Path) -> Result<(), ServerError> {
    if let Some(dir) = WorkDir::open(path)? {
        let recorded = dir.read(&WorkName::MADE_HERE, InputKind::ServerState).ok().flatten();
        if recorded == Some(identity(path)?) {
            return Ok(());
        }
        let lock = dir.lock(&WorkName::LOCK, "a server that starts");
        let _lock = lock.map_err(|error| match error {
            LockError::Held(holder) => ServerError::Held { dir: path.to_owned(), holder },
            LockError::Path(error) => ServerError::State(error),
        })?;
        // Follows no links.
        fs::remove_dir_all(path).at("delete the folder", path)?;
    }
    let dir = WorkDir::create_private(path)?;
    Ok(dir.replace(&WorkName::MADE_HERE, &identity(path)?, FileMode::Private)?)
}

/// Returns a text about a folder that a folder of another origin does not have, and that nobody can
/// guess: the time of its creation, in nanoseconds, or its number where there is no such time.
fn identity(path: &Path) -> Result<Vec<u8>, PathError> {
    let of = || -> io::Result<String> {
        let meta = fs::symlink_metadata(path)?;
        let created = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let number = 0;
        let of_number = || format!("number {number}\n");
        Ok(created.map_or_else(of_number, |time| format!("created {}\n", time.as_nanos())))
    };
    of().map(String::into_bytes).at("read", path)
}

/// Returns a new random token.
///
/// # Errors
/// Fails if the operating system provides no random numbers.
pub(crate) fn new_token() -> Result<Option<ApiKey>, ServerError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(ServerError::Random)?;
    Ok(ApiKey::new(&blake3::Hash::from_bytes(bytes).to_hex()))
}

/// Writes the token of a server for other commands of its user, or removes that of an earlier server.
pub(super) fn share_token(dir: &WorkDir, token: Option<&ApiKey>) -> Result<(), PathError> {
    match token {
        Some(token) => {
            let text = token.expose().as_bytes();
            dir.replace(&WorkName::SERVER_TOKEN, text, FileMode::Private)
        }
        // There may be none.
        None => dir.remove(WorkName::SERVER_TOKEN).or(Ok(())),
    }
}

/// Returns the token that a server has shared.
pub(super) fn shared_token(dir: &WorkDir) -> Option<ApiKey> {
    let bytes = dir.read(&WorkName::SERVER_TOKEN, InputKind::ServerState).ok()??;
    ApiKey::new(std::str::from_utf8(&bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_origin_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("server");
        ensure_made_here(&path).unwrap();
        fs::create_dir(path.join("engine")).unwrap();
        ensure_made_here(&path).unwrap();
        assert!(path.join("engine").exists(), "it was made here");
        // The same files in a folder that another program has created.
        let copy = root.path().join("copy");
        fs::create_dir_all(copy.join("engine")).unwrap();
        fs::rename(path.join("made-here"), copy.join("made-here")).unwrap();
        ensure_made_here(&copy).unwrap();
        assert!(!copy.join("engine").exists());
        assert!(copy.join("made-here").exists());
        ensure_made_here(&path).unwrap();
        assert!(!path.join("engine").exists(), "it has lost its mark");
    }

    #[test]
    fn a_token_is_shared_until_a_server_has_none() {
        let root = tempfile::tempdir().unwrap();
        let dir = WorkDir::create_private(root.path()).unwrap();
        assert!(shared_token(&dir).is_none());
        let token = new_token().unwrap().unwrap();
        share_token(&dir, Some(&token)).unwrap();
        assert_eq!(shared_token(&dir).unwrap().expose(), token.expose());
        assert_eq!(token.expose().len(), 64);
        share_token(&dir, None).unwrap();
        assert!(shared_token(&dir).is_none());
    }
}
