//! Single files of the work folder: new ones, and the checks of those that are written in place.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
pub(super) use super::descriptor::DescriptorFolder as NativeFolder;
use super::folder::{FileMode, Folder, OpenMode};
use super::names::WorkName;
#[cfg(not(unix))]
pub(super) use super::portable::PathFolder as NativeFolder;
use crate::base::input::check_regular;

/// Tries to find a free name for a new file.
const MAX_NAME_TRIES: u32 = 16;

/// A new file of a work folder. It is removed when dropped, unless it was renamed.
#[derive(Debug)]
pub(crate) struct WorkFile {
    folder: Arc<NativeFolder>,
    /// The path of the folder, for messages.
    folder_path: PathBuf,
    name: Option<OsString>,
    /// The open file.
    pub(crate) file: File,
}

impl WorkFile {
    /// Creates a file whose name is a prefix and six random letters.
    pub(super) fn create(
        folder: &Arc<NativeFolder>,
        folder_path: &Path,
        prefix: &str,
        mode: FileMode,
    ) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let name = OsString::from(format!("{prefix}{}", random_letters()?));
            match folder.open(&name, OpenMode::New, mode) {
                Ok(file) => {
                    let (folder, folder_path) = (Arc::clone(folder), folder_path.to_owned());
                    return Ok(Self { folder, folder_path, name: Some(name), file });
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && tries < MAX_NAME_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the path, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder_path.join(self.name.as_deref().unwrap_or_default())
    }

    /// Renames the file. Replaces a file with that name.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be renamed. The file is removed then.
    pub(crate) fn rename(mut self, to: &WorkName) -> io::Result<()> {
        if let Some(name) = &self.name {
            self.folder.rename(name, to.as_ref())?;
            self.name = None;
        }
        Ok(())
    }
}

impl Drop for WorkFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // A file that remains only takes disk space.
            let _ = self.folder.remove(name);
        }
    }
}

/// Returns six random letters and digits.
fn random_letters() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// Fails if a file that is written in place is not a regular file, or is another file as well.
pub(super) fn check_own(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    check_regular(&meta)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
        let text = "it has another hard link, so it may be a file of something else; remove it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Takes the permissions of other users away from a private file.
#[cfg(unix)]
pub(super) fn restrict(file: &File, mode: FileMode) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = file.metadata()?.permissions();
    let others = permissions.mode() & 0o077;
    if mode == FileMode::Shared || others == 0 {
        return Ok(());
    }
    permissions.set_mode(mode.bits().into());
    file.set_permissions(permissions)
}

#[cfg(not(unix))]
pub(super) fn restrict(_: &File, _: FileMode) -> io::Result<()> {
    Ok(())
}
