//! The folder in which an engine keeps its files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::base::file::AtPath;
use crate::base::work_dir::WorkDir;
use crate::server::error::ServerError;

/// A private folder for the files of an engine.
#[derive(Debug)]
pub(super) struct EngineFolder {
    /// Its absolute path.
    pub(super) path: PathBuf,
    /// Deletes the folder of a server without a state when dropped.
    _temp: Option<TempDir>,
}

impl EngineFolder {
    /// Opens the folder in `state`, the folder of the server's state; without one, a temporary folder.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created.
    pub(super) fn open(state: Option<&Path>) -> Result<Self, ServerError> {
        let (path, temp) = if let Some(state) = state {
            (state.join("engine"), None)
        } else {
            let system = std::env::temp_dir();
            let temp = tempfile::Builder::new().prefix("imgplan-engine-").tempdir();
            let temp = temp.at("create a folder in", &system)?;
            (temp.path().to_owned(), Some(temp))
        };
        WorkDir::create_private(&path)?;
        let path = std::path::absolute(&path).at("find", &path)?;
        Ok(Self { path, _temp: temp })
    }
}
