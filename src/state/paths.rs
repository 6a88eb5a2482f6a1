//! Paths of the lockfile and the work folder. Pure.

use std::path::{Path, PathBuf};

use crate::base::state_url::StateUrl;
use crate::base::work_dir::WorkName;

/// Paths of the state on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePaths {
    /// The lockfile; for messages only, the URL of a shared state.
    pub lockfile: PathBuf,
    /// The work folder (`.imgplan`): journal, lock and caches, which are not committed to git.
    pub work: PathBuf,
}

impl StatePaths {
    /// Returns the paths for a manifest in the folder `root`.
    pub fn beside(root: &Path) -> Self {
        let root = without_dot(root);
        Self { lockfile: root.join("imgplan.lock"), work: root.join(".imgplan") }
    }

    /// Returns the paths for the local server, which has its own lockfile in `.imgplan/local/`.
    pub fn local(root: &Path) -> Self {
        let work = without_dot(root).join(".imgplan").join("local");
        Self { lockfile: work.join("imgplan.lock"), work }
    }

    /// Returns the paths for a shared state: its URL in the place of the lockfile, for messages, and a
    /// work folder of its own, in which the journal is. The URL must be resolved.
    pub(crate) fn shared(root: &Path, url: &StateUrl) -> Self {
        let url = url.to_string();
        let name = WorkName::shared_state(&url);
        let work = without_dot(root).join(".imgplan").join("shared").join(name.as_ref());
        Self { lockfile: PathBuf::from(url), work }
    }

    /// Returns the path of the journal, for messages.
    pub(super) fn journal(&self) -> PathBuf {
        self.work.join(WorkName::JOURNAL.as_ref())
    }

    /// Returns the path of the copy of the lockfile, for messages.
    pub(super) fn lockfile_copy(&self) -> PathBuf {
        self.work.join(WorkName::LOCKFILE_COPY.as_ref())
    }
}

/// Removes a leading `./`, so that messages show `imgplan.lock`.
fn without_dot(root: &Path) -> &Path {
    root.strip_prefix(".").unwrap_or(root)
}
